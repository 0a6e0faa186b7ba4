"""submitReadings after replaceMeter: what the old device still has to tell is recorded, and counts for nothing."""

import dataclasses

import pytest

from busbar import errors
from busbar.chain import Call
from busbar.devnet import dev_meter_key
from busbar.readings import meter_id_bytes
from tests.contracts.test_oracle_client import encoded, fulfil, request
from tests.contracts.test_submit_readings import submit_is_skipped, world
from tests.market import P256, SECP256K1, SimulatedMeter, reverts

REVOKED_METER, NOT_NEWER, REGISTER_WENT_BACK, BAD_SIGNATURE, TOO_LATE, ABOVE_FINAL_REGISTER = 2, 4, 5, 6, 8, 9
WEEK_S = 7 * 86_400
METER = meter_id_bytes("m-1")
KEYS = [dev_meter_key(n) for n in (900, 901, 902)]
FINAL = (50, 70)
"""What the old device's registers grew by until it was replaced."""


class Replaced:
    """A meter after its replacement: the old device's double, the new one's, and when it was."""

    def __init__(self, market, old, key=KEYS[0], key_type=SECP256K1):
        self.market, self.old = market, old
        self.first_wh = (old.import_wh, old.export_wh)
        final = (old.import_wh + FINAL[0], old.export_wh + FINAL[1])
        market.replace_meter(old, key, final, (7, 8), key_type=key_type)
        self.at = market.chain.head().timestamp
        self.new = SimulatedMeter(market, old.meter_id, key, 7, 8, key_type)

    def late(self, import_wh=10, export_wh=20, before_s=60):
        """A reading of the old device, so much above where it stood and so long before the replacement."""
        meter = dataclasses.replace(self.old, import_wh=self.first_wh[0], export_wh=self.first_wh[1])
        return meter.read(import_wh, export_wh, at=self.at - before_s)


@pytest.fixture(params=[SECP256K1, P256], ids=["secp256k1", "p256"])
def old(market, actors, request):
    """A meter that joined an hour ago."""
    meter = market.meter("m-1", actors.producer, key_type=request.param)
    market.pass_time(3_600)
    return meter


@pytest.fixture
def replaced(market, old):
    return Replaced(market, old)


def is_recorded(market, signed):
    """Submits one late reading, which must be recorded and change nothing else."""
    before = world(market)
    call = market.chain.submit_readings_call([signed])
    assert market.returned(market.actors.minter, call.contract, call.function, *call.args) == 0
    (event,) = market.events(market.submit(signed))
    assert event.name == "LateReadingRecorded"
    assert event.args == {
        "meterId": METER,
        "intervalEnd": signed.reading.interval_end,
        "importWh": signed.reading.import_wh,
        "exportWh": signed.reading.export_wh,
    }
    assert world(market) == before


# --------------------------------------------------------------------------- skipped


def test_late_reading__sent_twice__is_recorded_once(market, replaced):
    late = replaced.late()
    is_recorded(market, late)
    submit_is_skipped(market, late, NOT_NEWER)


def test_late_reading__not_newer_than_the_old_devices_newest__is_skipped(market, old):
    market.submit(old.read(at=market.chain.head().timestamp - 600))
    replaced = Replaced(market, old)
    submit_is_skipped(market, replaced.late(before_s=700), NOT_NEWER)
    is_recorded(market, replaced.late(before_s=500))
    submit_is_skipped(market, replaced.late(before_s=500), NOT_NEWER)
    submit_is_skipped(market, replaced.late(before_s=550), NOT_NEWER)


@pytest.mark.parametrize("grown", [(9, 20), (10, 19)])
def test_late_reading__below_one_recorded_before__is_skipped(market, replaced, grown):
    is_recorded(market, replaced.late(10, 20, before_s=60))
    submit_is_skipped(market, replaced.late(*grown, before_s=30), REGISTER_WENT_BACK)


@pytest.mark.parametrize("grown", [(FINAL[0] + 1, FINAL[1]), (FINAL[0], FINAL[1] + 1)])
def test_late_reading__above_the_final_registers__is_skipped(market, replaced, grown):
    submit_is_skipped(market, replaced.late(*grown), ABOVE_FINAL_REGISTER)


def test_late_reading__more_than_a_week_after_the_replacement__is_skipped(market, replaced):
    # The next block is a second later.
    market.devnet.mine(replaced.at + WEEK_S)
    submit_is_skipped(market, replaced.late(), TOO_LATE)


def test_late_reading__dated_after_the_replacement__is_skipped(market, replaced):
    market.pass_time(60)
    after = replaced.late(before_s=-30)
    submit_is_skipped(market, after, BAD_SIGNATURE)
    # Nor when the new device has been read since.
    market.submit(replaced.new.read(1, 1))
    submit_is_skipped(market, after, BAD_SIGNATURE)


@pytest.mark.parametrize("key", ["nobody's", "the new device's", "another meter's former one"])
def test_late_reading__not_signed_by_the_old_key__is_skipped(market, actors, replaced, key):
    other = market.meter("m-2", actors.consumer)
    market.replace_meter(other, KEYS[1], (other.import_wh, other.export_wh), (0, 0))
    signing = {"nobody's": KEYS[2], "the new device's": KEYS[0], "another meter's former one": other.key}[key]
    late = replaced.late().reading
    forged = market.signed("m-1", signing, late.interval_end, late.import_wh, late.export_wh)
    submit_is_skipped(market, forged, NOT_NEWER)


def test_late_reading__tampered_with__is_skipped(market, replaced):
    late = replaced.late()
    changed = dataclasses.replace(late.reading, export_wh=late.reading.export_wh + 1)
    submit_is_skipped(market, dataclasses.replace(late, reading=changed), NOT_NEWER)


def test_late_reading__of_a_meter_that_was_revoked__is_skipped(market, actors, replaced):
    market.chain.send(actors.distributor, Call("Registry", "revokeMeter", (METER,)))
    submit_is_skipped(market, replaced.late(), REVOKED_METER)


def test_late_reading__for_a_data_request__does_not_answer_it(market, actors, old):
    replaced = Replaced(market, old)
    asked = request(market, actors.producer, 0, METER)
    with reverts(errors.ReadingRefused, requestId=asked, meterId=METER):
        fulfil(market, asked, encoded(replaced.late()))


# -------------------------------------------------------------------------- recorded


def test_late_reading__within_the_final_registers__is_recorded_and_counts_for_nothing(market, replaced):
    is_recorded(market, replaced.late())


@pytest.mark.parametrize("grown", [(0, 0), FINAL])
def test_late_reading__at_either_end_of_its_registers__is_recorded(market, replaced, grown):
    is_recorded(market, replaced.late(*grown))


def test_late_reading__dated_at_the_replacement__is_recorded(market, replaced):
    is_recorded(market, replaced.late(*FINAL, before_s=0))


def test_late_reading__in_the_weeks_last_second__is_recorded(market, replaced):
    market.devnet.mine(replaced.at + WEEK_S - 1)
    is_recorded(market, replaced.late())


def test_late_reading__after_the_new_device_was_read__is_recorded(market, replaced):
    market.pass_time(60)
    market.submit(replaced.new.read(3, 4))
    is_recorded(market, replaced.late())


def test_late_readings__several_in_their_order__are_each_recorded(market, replaced):
    batch = [replaced.late(i, i, before_s=100 - i) for i in range(5)]
    before = world(market)
    assert [e.name for e in market.events(market.submit(*batch))] == ["LateReadingRecorded"] * 5
    assert world(market) == before


def test_late_reading__meter_replaced_twice__both_devices_are_heard(market, replaced):
    market.pass_time(600)
    market.submit(replaced.new.read(3, 4))
    market.pass_time(120)
    second = Replaced(market, replaced.new, KEYS[1])
    is_recorded(market, second.late())
    is_recorded(market, replaced.late())
    submit_is_skipped(market, replaced.late(), NOT_NEWER)


def test_late_reading__growth_up_to_the_final_registers_was_parked__leaves_it_waiting(market, actors):
    meter = market.meter("m-1", actors.producer, export_w=1)
    market.pass_time(3_600)
    replaced = Replaced(market, meter)
    assert market.chain.view("Metering", "parkedCount") == 1
    is_recorded(market, replaced.late())
    market.chain.send(actors.distributor, Call("Metering", "releaseParked", (1,)))
    assert market.free_wh(actors.producer) == FINAL[1]


@pytest.mark.parametrize("final", [(2**48, 3_000_000), (5_000_000, 2**48)])
def test_replace_meter__final_register_no_meter_shows__reverts(market, old, final):
    with reverts(errors.RegisterOutOfRange, meterId=METER, importWh=final[0], exportWh=final[1]):
        market.replace_meter(old, KEYS[0], final, (0, 0))
