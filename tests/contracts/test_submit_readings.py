"""submitReadings, releaseParked, rejectParked: from signed registers to GRID and to the import ledger."""

import dataclasses

import pytest

from busbar import errors
from busbar.chain import Call, NodeRefusedError
from busbar.devnet import dev_meter_key
from busbar.readings import MeterDomain, Reading, SignedReading, digest, meter_id_bytes, sign
from tests.market import SimulatedMeter, reverts

UNKNOWN_METER, REVOKED_METER, IN_FUTURE, NOT_NEWER, REGISTER_WENT_BACK, BAD_SIGNATURE, OUT_OF_RANGE = range(1, 8)
WAITING, RELEASED, REJECTED = 1, 2, 3
CONSUMER = 2
ZERO = "0x" + "00" * 20
CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
METER = meter_id_bytes("m-1")


@pytest.fixture
def meter(market, actors):
    """A prosumer's meter of the producer, a minute after it joined."""
    meter = market.meter("m-1", actors.producer)
    market.pass_time(60)
    return meter


def world(market, *participants):
    """Everything readings can change."""
    accounts = [p.address for p in participants or market.actors.participants]
    return (
        market.chain.accounts(accounts),
        market.chain.imports(accounts),
        market.chain.registers(market.chain.meter_ids()),
        market.chain.view("Metering", "parkedCount"),
        market.chain.view("GridToken", "totalSupply"),
        market.chain.view("Trading", "totals"),
    )


def imports(market, participant):
    return market.chain.imports([participant.address])[0]


def register(market, meter):
    (found,) = market.chain.registers([meter.meter_id])
    return (found.interval_end, found.import_wh, found.export_wh)


def submit_is_skipped(market, reading, reason):
    """Submits one reading, which must be skipped for this reason, say so, and change nothing."""
    before = world(market)
    call = market.chain.submit_readings_call([reading])
    assert market.returned(market.actors.minter, call.contract, call.function, *call.args) == 0
    outcome = market.submit(reading)
    (event,) = market.events(outcome)
    assert event.name == "ReadingSkipped"
    assert event.args == {
        "meterId": meter_id_bytes(reading.reading.meter_id),
        "intervalEnd": reading.reading.interval_end,
        "reason": reason,
    }
    assert world(market) == before


# ---------------------------------------------------------------------- who and what


@pytest.mark.parametrize("role", ["regulator", "distributor", "oracle_operator", "keeper", "producer", "outsider"])
def test_submit_readings__without_the_minters_role__reverts(market, meter, role):
    sender = getattr(market.actors, role)
    with reverts(errors.AccessManagedUnauthorized, caller=sender.address):
        market.submit(meter.read(export_wh=1), by=sender)


def test_submit_readings__none__reverts(market):
    with reverts(errors.NoReadings):
        market.submit()


def test_submit_readings__more_than_a_transaction_holds__is_refused_whole(market, meter):
    market.pass_time(3_000)
    start = market.chain.head().timestamp - 2_500
    batch = [meter.read(export_wh=1, at=start + i) for i in range(2_000)]
    before = world(market)
    with pytest.raises(NodeRefusedError, match=r"OutOfGas|OOG"):
        market.submit(*batch)
    assert world(market) == before


# ----------------------------------------------------------------------------- skips


def test_submit_readings__unknown_meter__is_skipped(market, meter):
    ghost = SimulatedMeter(market, "ghost", meter.key, 0, 0)
    submit_is_skipped(market, ghost.read(export_wh=10), UNKNOWN_METER)


def test_submit_readings__revoked_meter__is_skipped(market, actors, meter):
    market.chain.send(actors.distributor, Call("Registry", "revokeMeter", (METER,)))
    submit_is_skipped(market, meter.read(export_wh=10), REVOKED_METER)


def test_submit_readings__ends_in_the_future__is_skipped(market, meter):
    # The next block is one second after the head.
    submit_is_skipped(market, meter.read(export_wh=10, at=market.chain.head().timestamp + 2), IN_FUTURE)


def test_submit_readings__ends_far_in_the_future__is_skipped(market, meter):
    submit_is_skipped(market, meter.read(export_wh=10, at=2**64 - 1), IN_FUTURE)


def test_submit_readings__ends_now__counts(market, actors, meter):
    market.submit(meter.read(export_wh=10, at=market.chain.head().timestamp + 1))
    assert market.free_wh(actors.producer) == 10


def test_submit_readings__duplicate__is_skipped(market, meter):
    reading = meter.read(import_wh=3, export_wh=10)
    market.submit(reading)
    submit_is_skipped(market, reading, NOT_NEWER)


def test_submit_readings__older_than_the_newest__is_skipped(market, meter):
    now = market.chain.head().timestamp
    older = meter.read(export_wh=10, at=now - 10)
    market.submit(meter.read(export_wh=10, at=now))
    submit_is_skipped(market, older, NOT_NEWER)


def test_submit_readings__as_old_as_the_newest_with_more_energy__is_skipped(market, meter):
    now = market.chain.head().timestamp
    market.submit(meter.read(export_wh=10, at=now))
    submit_is_skipped(market, meter.read(export_wh=10, at=now), NOT_NEWER)


def test_submit_readings__from_before_the_meter_joined__is_skipped(market, meter):
    opened, _, _ = register(market, meter)
    submit_is_skipped(market, meter.read(export_wh=10, at=opened), NOT_NEWER)
    submit_is_skipped(market, meter.read(export_wh=10, at=0), NOT_NEWER)


@pytest.mark.parametrize("grown", [(-1, 5), (5, -1), (-1, -1)])
def test_submit_readings__register_went_back__is_skipped(market, meter, grown):
    submit_is_skipped(market, meter.read(*grown), REGISTER_WENT_BACK)


def test_submit_readings__signed_by_another_meter__is_skipped(market, actors, meter):
    other = market.meter("m-2", actors.producer)
    forged = SimulatedMeter(market, "m-1", other.key, meter.import_wh, meter.export_wh)
    submit_is_skipped(market, forged.read(export_wh=10), BAD_SIGNATURE)


@pytest.mark.parametrize("field", ["interval_end", "import_wh", "export_wh"])
def test_submit_readings__tampered_with__is_skipped(market, meter, field):
    signed = meter.read(import_wh=3, export_wh=10, at=market.chain.head().timestamp - 5)
    changed = dataclasses.replace(signed.reading, **{field: getattr(signed.reading, field) + 1})
    submit_is_skipped(market, dataclasses.replace(signed, reading=changed), BAD_SIGNATURE)


def test_submit_readings__moved_to_another_meter__is_skipped(market, actors, meter):
    market.meter("m-2", actors.consumer)
    signed = meter.read(export_wh=10)
    moved = dataclasses.replace(signed, reading=dataclasses.replace(signed.reading, meter_id="m-2"))
    submit_is_skipped(market, moved, BAD_SIGNATURE)


def test_submit_readings__parity_flipped__is_skipped(market, meter):
    signed = meter.read(export_wh=10)
    flipped = bytes([signed.vs[0] ^ 0x80]) + signed.vs[1:]
    submit_is_skipped(market, dataclasses.replace(signed, vs=flipped), BAD_SIGNATURE)


def test_submit_readings__the_signatures_twin__is_skipped(market, meter):
    signed = meter.read(export_wh=10)
    vs = int.from_bytes(signed.vs, "big")
    parity, s = vs >> 255, vs & (2**255 - 1)
    twin = CURVE_ORDER - s
    for value in (twin, twin | (1 - parity) << 255):
        submit_is_skipped(market, dataclasses.replace(signed, vs=value.to_bytes(32, "big")), BAD_SIGNATURE)


@pytest.mark.parametrize(
    ("r", "vs"),
    [
        (0, 0),
        (0, 1),
        (1, 0),
        (1, CURVE_ORDER // 2 + 1),
        (CURVE_ORDER, 1),
        (2**256 - 1, 2**256 - 1),
    ],
)
def test_submit_readings__no_signature_at_all__is_skipped(market, meter, r, vs):
    reading = meter.read(export_wh=10).reading
    nothing = SignedReading(reading, r.to_bytes(32, "big"), vs.to_bytes(32, "big"))
    submit_is_skipped(market, nothing, BAD_SIGNATURE)


@pytest.mark.parametrize("changed", ["chain", "contract"])
def test_submit_readings__signed_for_elsewhere__is_skipped(market, meter, changed):
    domain = market.chain.meter_domain
    if changed == "chain":
        domain = MeterDomain(domain.chain_id + 1, domain.verifying_contract)
    else:
        domain = MeterDomain(domain.chain_id, market.chain.addresses["Trading"])
    reading = meter.read(export_wh=10).reading
    submit_is_skipped(market, sign(reading, domain, meter.key), BAD_SIGNATURE)


# --------------------------------------------------------------------------- accepts


def test_submit_readings__one_reading__mints_the_export_and_owes_the_import(market, actors, meter):
    supply = market.chain.view("GridToken", "totalSupply")
    held = market.token_balance("GridToken", market.chain.addresses["Trading"])
    energy_total, money_total = market.chain.view("Trading", "totals")
    reading = meter.read(import_wh=321, export_wh=1_234, at=market.chain.head().timestamp)
    call = market.chain.submit_readings_call([reading])
    assert market.returned(actors.minter, call.contract, call.function, *call.args) == 1

    outcome = market.submit(reading)

    trading = market.chain.addresses["Trading"]
    wei = 1_234 * 10**15
    assert [(e.contract, e.name) for e in market.events(outcome)] == [
        ("Metering", "ReadingAccepted"),
        ("GridToken", "Transfer"),
        ("GridToken", "Minted"),
    ]
    accepted, transfer, minted = market.events(outcome)
    end = reading.reading.interval_end
    assert accepted.args == {
        "meterId": METER,
        "intervalEnd": end,
        "importWh": meter.import_wh,
        "exportWh": meter.export_wh,
    }
    assert transfer.args == {"from": ZERO, "to": trading, "value": wei}
    assert minted.args == {"to": trading, "amount": wei, "meterId": bytes(32)}
    assert market.account(actors.producer).energy_free_uwh == 1_234 * 10**6
    assert market.chain.view("GridToken", "totalSupply") == supply + wei
    assert market.token_balance("GridToken", trading) == held + wei
    assert market.chain.view("Trading", "totals") == (energy_total + 1_234 * 10**6, money_total)
    ledger = imports(market, actors.producer)
    assert (ledger.current_wh, ledger.previous_wh, ledger.grid_import_wh) == (321, 0, 0)
    assert register(market, meter) == (end, meter.import_wh, meter.export_wh)


def test_submit_readings__registers_unchanged__is_accepted_and_mints_nothing(market, actors, meter):
    outcome = market.submit(meter.read())
    assert [e.name for e in market.events(outcome)] == ["ReadingAccepted"]
    assert market.free_wh(actors.producer) == 0
    assert imports(market, actors.producer).outstanding_wh == 0


def test_submit_readings__import_only__mints_nothing(market, actors):
    meter = market.meter("m-1", actors.consumer, kind=CONSUMER)
    outcome = market.submit(meter.read(import_wh=40))
    assert [e.name for e in market.events(outcome)] == ["ReadingAccepted"]
    assert imports(market, actors.consumer).current_wh == 40


def test_submit_readings__a_lost_reading__is_made_good_by_the_next(market, actors, meter):
    now = market.chain.head().timestamp
    meter.read(import_wh=10, export_wh=100, at=now - 10)
    market.submit(meter.read(import_wh=1, export_wh=5, at=now))
    assert market.free_wh(actors.producer) == 105
    assert imports(market, actors.producer).current_wh == 11


def test_submit_readings__several_of_one_meter_in_a_batch__each_counts(market, actors, meter):
    now = market.chain.head().timestamp
    readings = [meter.read(import_wh=i, export_wh=10 * i, at=now - 10 + i) for i in range(1, 6)]
    outcome = market.submit(*readings)
    assert len(market.events(outcome, "ReadingAccepted")) == 5
    assert len(market.events(outcome, "Minted")) == 1
    assert market.free_wh(actors.producer) == 150
    assert imports(market, actors.producer).current_wh == 15


def test_submit_readings__of_one_meter_in_the_wrong_order__only_the_newest_counts(market, actors, meter):
    now = market.chain.head().timestamp
    first, second = [meter.read(import_wh=1, export_wh=10, at=now - 10 + i) for i in range(2)]
    outcome = market.submit(second, first)
    assert [e.name for e in market.events(outcome)][:2] == ["ReadingAccepted", "ReadingSkipped"]
    assert market.events(outcome, "ReadingSkipped")[0].args["reason"] == NOT_NEWER
    assert market.free_wh(actors.producer) == 20
    assert imports(market, actors.producer).current_wh == 2


def test_submit_readings__the_same_twice_in_a_batch__counts_once(market, actors, meter):
    reading = meter.read(import_wh=1, export_wh=10)
    outcome = market.submit(reading, reading)
    assert [e.name for e in market.events(outcome)][:2] == ["ReadingAccepted", "ReadingSkipped"]
    assert market.free_wh(actors.producer) == 10
    assert imports(market, actors.producer).current_wh == 1


def test_submit_readings__bad_ones_among_good__the_good_count(market, actors, meter):
    other = market.meter("m-2", actors.consumer)
    market.pass_time(60)
    forged = SimulatedMeter(market, "m-1", other.key, meter.import_wh, meter.export_wh)
    ghost = SimulatedMeter(market, "ghost", other.key, 0, 0)
    now = market.chain.head().timestamp
    batch = [
        ghost.read(export_wh=5),
        meter.read(import_wh=1, export_wh=10, at=now),
        forged.read(import_wh=5, export_wh=999),
        other.read(import_wh=2, export_wh=20, at=now),
        meter.read(import_wh=1, export_wh=10, at=now + 1000),
    ]
    call = market.chain.submit_readings_call(batch)
    assert market.returned(actors.minter, call.contract, call.function, *call.args) == 2
    supply = market.chain.view("GridToken", "totalSupply")
    outcome = market.submit(*batch)
    assert [e.args["reason"] for e in market.events(outcome, "ReadingSkipped")] == [
        UNKNOWN_METER,
        BAD_SIGNATURE,
        IN_FUTURE,
    ]
    assert (market.free_wh(actors.producer), market.free_wh(actors.consumer)) == (10, 20)
    assert imports(market, actors.producer).current_wh == 1
    assert imports(market, actors.consumer).current_wh == 2
    assert market.chain.view("GridToken", "totalSupply") == supply + 30 * 10**15


def test_submit_readings__two_meters_of_one_owner__add_up(market, actors, meter):
    other = market.meter("m-2", actors.producer)
    market.submit(meter.read(import_wh=1, export_wh=10), other.read(import_wh=2, export_wh=20))
    assert market.free_wh(actors.producer) == 30
    assert imports(market, actors.producer).current_wh == 3


def test_submit_readings__a_batch_sent_twice__changes_nothing_the_second_time(market, actors, meter):
    other = market.meter("m-2", actors.consumer)
    batch = [meter.read(import_wh=1, export_wh=10), other.read(import_wh=2, export_wh=20)]
    market.submit(*batch)
    before = world(market)
    outcome = market.submit(*batch)
    assert [e.args["reason"] for e in market.events(outcome)] == [NOT_NEWER, NOT_NEWER]
    assert world(market) == before


def test_submit_readings__while_orders_are_open__leaves_escrow_alone(market, actors, meter):
    market.give_energy(actors.producer, 1_000)
    market.sell(actors.producer, 300, 1_000)
    market.submit(meter.read(export_wh=10))
    account = market.account(actors.producer)
    assert (account.energy_free_uwh, account.energy_escrow_uwh) == (10 * 10**6, 1_000 * 10**6)


def test_reading_digest__of_the_contract__is_the_packages(market, meter):
    reading = Reading("m-1", 17, 2**64 - 1, 2**64 - 2)
    args = (METER, reading.interval_end, reading.import_wh, reading.export_wh)
    assert market.chain.view("Metering", "readingDigest", *args) == digest(reading, market.chain.meter_domain)


def authentic(market, signed):
    reading = signed.reading
    fields = (meter_id_bytes(reading.meter_id), reading.interval_end, reading.import_wh, reading.export_wh)
    return market.chain.view("Metering", "isAuthentic", (*fields, signed.r, signed.vs), [])


def test_is_authentic__signed_by_the_meters_key__whether_it_counts_or_not(market, actors, meter):
    newer = meter.read(import_wh=3, export_wh=10)
    older = meter.read(import_wh=-3, export_wh=-10, at=17)
    for _ in range(2):
        assert authentic(market, newer)
        assert authentic(market, older)
        market.submit(newer)
    market.chain.send(actors.distributor, Call("Registry", "revokeMeter", (METER,)))
    assert authentic(market, newer)


@pytest.mark.parametrize("field", ["interval_end", "import_wh", "export_wh"])
def test_is_authentic__tampered_with__is_not(market, meter, field):
    signed = meter.read(export_wh=10)
    changed = dataclasses.replace(signed.reading, **{field: getattr(signed.reading, field) + 1})
    assert not authentic(market, dataclasses.replace(signed, reading=changed))


def test_is_authentic__signed_by_another_meter_or_by_nobody__is_not(market, actors, meter):
    other = market.meter("m-2", actors.producer)
    signed = meter.read(export_wh=10)
    assert not authentic(market, SimulatedMeter(market, "m-1", other.key, 0, 0).read())
    assert not authentic(market, dataclasses.replace(signed, r=bytes(32), vs=bytes(32)))
    # Who nobody is signs for no unknown meter either.
    for ghost in (signed, dataclasses.replace(signed, r=bytes(32), vs=bytes(32))):
        unknown = dataclasses.replace(ghost.reading, meter_id="ghost")
        assert not authentic(market, dataclasses.replace(ghost, reading=unknown))


def test_is_authentic__meter_replaced__only_the_new_devices_key_counts(market, actors, meter):
    old, new = meter.read(export_wh=10), dev_meter_key(900)
    market.replace_meter(meter, new, (meter.import_wh, meter.export_wh), (0, 0))
    assert not authentic(market, old)
    assert authentic(market, SimulatedMeter(market, "m-1", new, 0, 0).read(export_wh=1))


# ---------------------------------------------------------------------- plausibility

# 3600 W over 100 s, and a tenth more: 110 Wh exactly.
RATED_W, ELAPSED_S, LIMIT_WH = 3_600, 100, 110


@pytest.fixture
def limited(market, actors):
    """A meter of 3600 W in each direction, whose register was opened 1000 s ago."""
    meter = market.meter("m-1", actors.producer, import_w=RATED_W, export_w=RATED_W)
    market.pass_time(1_000)
    return meter


def at(market, meter, seconds):
    return register(market, meter)[0] + seconds


def test_submit_readings__growth_at_the_limit__is_accepted(market, actors, limited):
    outcome = market.submit(limited.read(LIMIT_WH, LIMIT_WH, at=at(market, limited, ELAPSED_S)))
    assert market.events(outcome, "GrowthParked") == []
    assert market.free_wh(actors.producer) == LIMIT_WH
    assert imports(market, actors.producer).current_wh == LIMIT_WH


def test_submit_readings__a_second_less_for_the_same_growth__is_parked(market, actors, limited):
    outcome = market.submit(limited.read(LIMIT_WH, LIMIT_WH, at=at(market, limited, ELAPSED_S - 1)))
    assert len(market.events(outcome, "GrowthParked")) == 1


@pytest.mark.parametrize(
    ("grown", "parked"),
    [
        ((LIMIT_WH + 1, LIMIT_WH), (LIMIT_WH + 1, 0)),
        ((LIMIT_WH, LIMIT_WH + 1), (0, LIMIT_WH + 1)),
        ((LIMIT_WH + 1, LIMIT_WH + 1), (LIMIT_WH + 1, LIMIT_WH + 1)),
        ((0, LIMIT_WH + 1), (0, LIMIT_WH + 1)),
    ],
)
def test_submit_readings__a_wh_above_the_limit__is_parked_each_direction_apart(market, actors, limited, grown, parked):
    supply = market.chain.view("GridToken", "totalSupply")
    end = at(market, limited, ELAPSED_S)
    reading = limited.read(*grown, at=end)
    call = market.chain.submit_readings_call([reading])
    assert market.returned(actors.minter, call.contract, call.function, *call.args) == 1

    outcome = market.submit(reading)

    (event,) = market.events(outcome, "GrowthParked")
    assert event.args == {
        "id": 1,
        "meterId": METER,
        "owner": actors.producer.address,
        "importWh": parked[0],
        "exportWh": parked[1],
    }
    assert market.chain.view("Metering", "parkedCount") == 1
    assert market.chain.view("Metering", "parkedOf", 1) == (METER, actors.producer.address, *parked, WAITING)
    # The baseline advances all the same.
    assert register(market, limited) == (end, limited.import_wh, limited.export_wh)
    assert market.free_wh(actors.producer) == grown[1] - parked[1]
    assert imports(market, actors.producer).current_wh == grown[0] - parked[0]
    assert market.chain.view("GridToken", "totalSupply") == supply + (grown[1] - parked[1]) * 10**15


def test_submit_readings__after_parked_growth__waiting_does_not_smuggle_it_in(market, actors, limited):
    market.submit(limited.read(LIMIT_WH + 1, LIMIT_WH + 1, at=at(market, limited, ELAPSED_S)))
    # There would be room for it now, were it not behind the baseline.
    market.submit(limited.read(1, 2, at=at(market, limited, 800)))
    assert market.free_wh(actors.producer) == 2
    assert imports(market, actors.producer).current_wh == 1
    assert market.chain.view("Metering", "parkedCount") == 1


def test_submit_readings__old_registers_after_parked_growth__are_skipped(market, limited):
    before = (limited.import_wh, limited.export_wh)
    market.submit(limited.read(LIMIT_WH + 1, LIMIT_WH + 1, at=at(market, limited, ELAPSED_S)))
    limited.import_wh, limited.export_wh = before
    submit_is_skipped(market, limited.read(1, 1), REGISTER_WENT_BACK)


def test_submit_readings__export_of_a_consumers_meter__is_parked_whatever_its_size(market, actors):
    meter = market.meter("m-1", actors.consumer, kind=CONSUMER)
    market.pass_time(100)
    outcome = market.submit(meter.read(import_wh=5, export_wh=1))
    (event,) = market.events(outcome, "GrowthParked")
    assert (event.args["importWh"], event.args["exportWh"]) == (0, 1)
    assert imports(market, actors.consumer).current_wh == 5
    assert market.free_wh(actors.consumer) == 0


def test_submit_readings__largest_register_there_is__is_parked_and_nothing_overflows(market, actors, limited):
    limited.import_wh = limited.export_wh = 2**48 - 1
    outcome = market.submit(limited.read())
    assert market.events(outcome, "GrowthParked")[0].args["exportWh"] == 2**48 - 1 - 3_000_000
    assert market.free_wh(actors.producer) == 0


@pytest.mark.parametrize("field", ["import_wh", "export_wh"])
@pytest.mark.parametrize("register_wh", [2**48, 2**64 - 1])
def test_submit_readings__register_no_meter_shows__is_skipped(market, limited, field, register_wh):
    setattr(limited, field, register_wh)
    submit_is_skipped(market, limited.read(), OUT_OF_RANGE)


def test_submit_readings__several_in_a_batch__are_judged_one_by_one(market, actors, limited):
    first = at(market, limited, ELAPSED_S)
    batch = [limited.read(0, LIMIT_WH, at=first), limited.read(0, LIMIT_WH + 1, at=first + ELAPSED_S)]
    outcome = market.submit(*batch)
    assert len(market.events(outcome, "GrowthParked")) == 1
    assert market.free_wh(actors.producer) == LIMIT_WH


# ---------------------------------------------------------------------------- parked


@pytest.fixture
def parked(market, limited):
    """Parked growth with id 1: 200 Wh import, 300 Wh export."""
    market.submit(limited.read(200, 300, at=at(market, limited, ELAPSED_S)))
    assert market.chain.view("Metering", "parkedCount") == 1
    return 1


def decide(market, function, number, by=None):
    return market.chain.send(by or market.actors.distributor, Call("Metering", function, (number,)))


@pytest.mark.parametrize("role", ["regulator", "minter", "oracle_operator", "keeper", "producer", "outsider"])
@pytest.mark.parametrize("function", ["releaseParked", "rejectParked"])
def test_decide_parked__without_the_distributors_role__reverts(market, parked, role, function):
    sender = getattr(market.actors, role)
    with reverts(errors.AccessManagedUnauthorized, caller=sender.address):
        decide(market, function, parked, by=sender)


@pytest.mark.parametrize("number", [0, 2, 2**256 - 1])
@pytest.mark.parametrize("function", ["releaseParked", "rejectParked"])
def test_decide_parked__id_never_given__reverts(market, parked, function, number):
    with reverts(errors.NothingParked, id=number):
        decide(market, function, number)


@pytest.mark.parametrize("first", ["releaseParked", "rejectParked"])
@pytest.mark.parametrize("second", ["releaseParked", "rejectParked"])
def test_decide_parked__decided_already__reverts(market, actors, parked, first, second):
    decide(market, first, parked)
    before = world(market)
    with reverts(errors.NothingParked, id=parked):
        decide(market, second, parked, by=actors.other_distributor)
    assert world(market) == before


def test_release_parked__waiting__mints_and_owes(market, actors, parked):
    supply = market.chain.view("GridToken", "totalSupply")
    outcome = decide(market, "releaseParked", parked)
    assert [e.name for e in market.events(outcome)] == ["ParkedReleased", "Transfer", "Minted"]
    assert market.events(outcome)[0].args == {"id": parked}
    assert market.free_wh(actors.producer) == 300
    assert imports(market, actors.producer).current_wh == 200
    assert market.chain.view("GridToken", "totalSupply") == supply + 300 * 10**15
    record = market.chain.view("Metering", "parkedOf", parked)
    assert record == (METER, actors.producer.address, 200, 300, RELEASED)


def test_release_parked__in_a_later_period__is_owed_in_that_period(market, actors, parked):
    market.to_epoch(96 * 3 + 10)
    decide(market, "releaseParked", parked)
    ledger = imports(market, actors.producer)
    assert (ledger.period, ledger.current_wh, ledger.grid_import_wh) == (3, 200, 0)


def test_release_parked__meter_revoked_since__still_goes_to_the_owner(market, actors, parked):
    market.chain.send(actors.distributor, Call("Registry", "revokeMeter", (METER,)))
    decide(market, "releaseParked", parked)
    assert market.free_wh(actors.producer) == 300


def test_release_parked__more_than_the_market_can_hold__reverts_and_keeps_waiting(market, actors, limited):
    limited.export_wh = 2**48 - 1
    market.submit(limited.read())
    with reverts(errors.MarketCapReached, asset=0, maximumUnits=2**60 - 1):
        decide(market, "releaseParked", 1)
    assert market.chain.view("Metering", "parkedOf", 1)[4] == WAITING
    decide(market, "rejectParked", 1)


def test_reject_parked__waiting__changes_nothing_else(market, actors, parked):
    before = world(market)
    outcome = decide(market, "rejectParked", parked)
    (event,) = market.events(outcome)
    assert (event.name, event.args) == ("ParkedRejected", {"id": parked})
    assert market.chain.view("Metering", "parkedOf", parked)[4] == REJECTED
    assert world(market) == before


def test_parked_of__id_never_given__is_all_zero(market):
    assert market.chain.view("Metering", "parkedOf", 1) == (bytes(32), ZERO, 0, 0, 0)


def test_submit_readings__signed_by_a_key_of_nobody__is_skipped(market, meter):
    forged = SimulatedMeter(market, "m-1", dev_meter_key(900), meter.import_wh, meter.export_wh)
    submit_is_skipped(market, forged.read(export_wh=10), BAD_SIGNATURE)
