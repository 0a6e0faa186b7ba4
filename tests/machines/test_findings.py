"""What the state machines found, or their author on the way, as ordinary tests.

Each is a script for the machine, called rule by rule: what the contracts do is compared with the model as ever.
"""

import pytest

from busbar.clearing import LongSide
from tests.machines.machine import BAHT, MarketMachine
from tests.machines.model import ENERGY, MAX_IMPORT, MAX_REGISTER_WH, MONEY, WAITING, WH, Refused
from tests.machines.test_market_revm import RevmMachine

CONSUMERS_METER = b"meter-3".ljust(32, b"\0")
PRODUCERS_METER = b"meter-0".ljust(32, b"\0")


@pytest.fixture
def machine():
    """A market with the keepers dead; all of it is compared once more in the end."""
    machine = RevmMachine()
    machine.keeper = "dead"
    yield machine
    machine.everything_agrees()
    machine.teardown()


def test_submit_readings__import_ledger_filled_by_a_mistaken_release__whole_batch_is_refused(machine):
    """A reading that overflows its owner's ledger is not skipped, as the manual says of bad entries: the batch reverts.

    It takes a distributor who mistypes as many final registers as the ledger holds and releases each growth; it lasts
    until the period ends.
    """
    filled_wh = 0
    while filled_wh < MAX_IMPORT:
        now_wh = machine.m.meters[CONSUMERS_METER].registers[0]
        final_wh = min(MAX_REGISTER_WH, now_wh + MAX_IMPORT - filled_wh)
        filled_wh += final_wh - now_wh
        assert replace(machine, CONSUMERS_METER, final_wh, initial_wh=0) is None
        assert machine.do("distributor", "Metering", "releaseParked", len(machine.m.parked)) is None
    machine._move(machine.m.now + 3_600)
    good = machine._read(PRODUCERS_METER, "none", "some", machine.m.now, None)
    full = machine._read(CONSUMERS_METER, "some", "none", machine.m.now, None)
    assert name(submit(machine, good, full)) == "ImportOverflow"
    assert submit(machine, good) == 1
    machine.time_passes(kind="period", n=1, blocks=1)
    assert submit(machine, full) == 1


def test_replace_meter__register_no_meter_shows__is_refused_wherever_it_stands(machine):
    """A slip of the hand in the final registers up to what a meter shows is parked; beyond, it is told at once."""
    for final_wh, initial_wh in ((MAX_REGISTER_WH + 1, 0), (MAX_REGISTER_WH, MAX_REGISTER_WH + 1), (2**64 - 1, 0)):
        assert name(replace(machine, CONSUMERS_METER, final_wh, initial_wh=initial_wh)) == "RegisterOutOfRange"
    assert replace(machine, CONSUMERS_METER, MAX_REGISTER_WH, initial_wh=0) is None
    assert machine.m.parked[0].status == WAITING
    assert machine.do("distributor", "Metering", "rejectParked", 1) is None


def test_bid__share_below_a_unit__gets_nothing_and_pays_less_than_a_unit_costs(machine):
    """The smallest share there is: 1 Wh for 110,000,100 Wh of bids. What rounding takes is counted as dust."""
    machine._fund("consumer", MONEY, 1_000_000 * BAHT)
    machine.do("producer", "Trading", "createSellOrder", 1, 101)
    machine.do("other_producer", "Trading", "createBuyOrder", 501, 100)
    machine.ladder(person="consumer", side=0, tick=500, step=0, count=11, quantity=10_000_000)
    machine.do("other_consumer", "Trading", "createBuyOrder", 500, 100)
    before = list(machine.m.accounts[machine.actors["other_consumer"]].free)
    dust = list(machine.m.dust)
    machine.everything_agrees()
    machine.epoch_ends(n=1)
    result = machine.m.ended[(1, 0)].result
    assert (result.long_side, result.filled_wh, result.offered_wh) == (LongSide.BIDS, 1, 110_000_100)
    energy, money = machine.m.accounts[machine.actors["other_consumer"]].free
    paid = before[MONEY] + 100 * WH * 2 * 500 - money
    assert energy == before[ENERGY]
    assert 0 < paid < result.price2
    assert machine.m.dust[ENERGY] > dust[ENERGY]


def replace(machine: MarketMachine, meter_id: bytes, final_wh: int, *, initial_wh: int):
    """Another device takes a consumer's meter's place; gives the refusal, if there is one."""
    registers = (final_wh, machine.m.meters[meter_id].registers[1], initial_wh, 0)
    return machine.do("distributor", "Registry", "replaceMeter", meter_id, *machine._new_key(), *registers)


def submit(machine: MarketMachine, *readings):
    keys = [reading.public_key for reading in readings if reading.public_key]
    return machine.do("minter", "Metering", "submitReadings", [reading.entry for reading in readings], keys)


def name(refused) -> str:
    assert isinstance(refused, Refused)
    return refused.name
