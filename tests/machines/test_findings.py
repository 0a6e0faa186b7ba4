"""What the state machines found, or their author on the way, as ordinary tests.

Each is a script for the machine, called rule by rule: what the contracts do is compared with the model as ever.
"""

import pytest

from busbar.clearing import LongSide
from tests.machines.machine import BAHT, MarketMachine
from tests.machines.model import ENERGY, MAX_IMPORT, MAX_REGISTER_WH, MONEY, WAITING, WH, Refused
from tests.machines.test_market_revm import RevmMachine
from tests.machines.worlds import address_of

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

    It takes a distributor who mistypes a final register and then releases the growth; it lasts until the period ends.
    """
    final_wh = machine.m.meters[CONSUMERS_METER].registers[0] + MAX_IMPORT
    assert replace(machine, CONSUMERS_METER, final_wh, initial_wh=5_000_000) is None
    assert machine.do("distributor", "Metering", "releaseParked", 1) is None
    machine._move(machine.m.now + 3_600)
    good = machine._read(PRODUCERS_METER, "none", "some", machine.m.now, None)
    full = machine._read(CONSUMERS_METER, "some", "none", machine.m.now, None)
    assert name(submit(machine, good, full)) == "ImportOverflow"
    assert submit(machine, good) == 1
    machine.time_passes(kind="period", n=1, blocks=1)
    assert submit(machine, full) == 1


def test_replace_meter__final_register_no_meter_shows__is_taken_and_parked(machine):
    """Initial registers above 2**48 Wh are refused, final ones are not: a slip of the hand is parked instead."""
    assert name(replace(machine, CONSUMERS_METER, MAX_REGISTER_WH + 1, initial_wh=MAX_REGISTER_WH + 1)) == (
        "RegisterOutOfRange"
    )
    assert replace(machine, CONSUMERS_METER, 2**64 - 1, initial_wh=0) is None
    assert machine.m.parked[0].status == WAITING
    assert name(machine.do("distributor", "Metering", "releaseParked", 1)) == "ImportOverflow"
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
    key = machine._new_key()
    registers = (final_wh, machine.m.meters[meter_id].registers[1], initial_wh, 0)
    return machine.do("distributor", "Registry", "replaceMeter", meter_id, address_of(key), *registers)


def submit(machine: MarketMachine, *readings):
    return machine.do("minter", "Metering", "submitReadings", [tuple(reading) for reading in readings])


def name(refused) -> str:
    assert isinstance(refused, Refused)
    return refused.name
