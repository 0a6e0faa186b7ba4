"""requestEnergyData, fulfillEnergyData, timeOutRequests: asking for energy data and delivering it."""

import dataclasses

import pytest
from eth_abi import encode

from busbar import errors
from busbar.chain import Call
from busbar.devnet import dev_meter_key
from busbar.readings import meter_id_bytes
from tests.market import P256, SimulatedMeter, reverts

METER, DATUM = 0, 1
PENDING, FULFILLED, TIMED_OUT = 1, 2, 3
TIMEOUT_BLOCKS = 100
MAX_PENDING = 10
FT = b"ft".ljust(32, b"\0")
ZERO = "0x" + "00" * 20


def word(number):
    return number.to_bytes(32, "big")


def request(market, sender, kind=DATUM, subject=FT):
    """Asks, and returns the request's id."""
    outcome = market.chain.send(sender, Call("OracleClient", "requestEnergyData", (kind, subject)))
    (event,) = market.events(outcome, "EnergyDataRequested")
    return event.args["requestId"]


def fulfil(market, request_id, data, by=None):
    call = Call("OracleClient", "fulfillEnergyData", (request_id, data))
    return market.chain.send(by or market.actors.oracle_operator, call)


def time_out(market, *request_ids):
    return market.chain.send(market.actors.outsider, Call("OracleClient", "timeOutRequests", (list(request_ids),)))


def number(value):
    return encode(["int256"], [value])


def registers(signed):
    return (signed.reading.interval_end, signed.reading.import_wh, signed.reading.export_wh)


def entry(signed):
    """The reading as the contracts take it."""
    return (meter_id_bytes(signed.reading.meter_id), *registers(signed), signed.r, signed.vs)


def encoded(signed):
    """What an operator delivers: the reading, and the public key of a P-256 meter."""
    data = encode(["(bytes32,uint64,uint64,uint64,bytes32,bytes32)"], [entry(signed)])
    return data + signed.public_key


def record(market, request_id):
    return market.chain.view("OracleClient", "requestOf", request_id)


def status(market, request_id):
    return record(market, request_id)[2]


def pending(market, offset=0, limit=1_000):
    return list(market.chain.view("OracleClient", "pendingRequests", offset, limit))


def to_block(market, block):
    """Makes blocks until this one is the newest."""
    market.devnet.node.request("anvil_mine", hex(block - market.chain.head().number))


@pytest.fixture
def meter(market, actors):
    """The producer's meter."""
    return market.meter("m-1", actors.producer)


# -------------------------------------------------------------- requestEnergyData


def test_request__by_a_stranger__reverts(market, actors):
    with reverts(errors.NotAllowedToRequest, account=actors.outsider.address):
        request(market, actors.outsider)


@pytest.mark.parametrize("role", ["regulator", "distributor", "minter", "keeper", "issuer"])
def test_request__by_another_role__reverts(market, role):
    sender = getattr(market.actors, role)
    with reverts(errors.NotAllowedToRequest, account=sender.address):
        request(market, sender)


def test_request__by_a_suspended_participant__reverts(market, actors):
    market.chain.send(actors.distributor, Call("Registry", "setStatus", (actors.producer.address, 2)))
    with reverts(errors.NotAllowedToRequest, account=actors.producer.address):
        request(market, actors.producer)


def test_request__by_a_former_operator__reverts(market, actors):
    market.chain.send(actors.regulator, Call("Authority", "revokeRole", (2, actors.oracle_operator.address)))
    with reverts(errors.NotAllowedToRequest, account=actors.oracle_operator.address):
        request(market, actors.oracle_operator)


@pytest.mark.parametrize("kind", [METER, DATUM])
def test_request__without_a_subject__reverts(market, actors, kind):
    with reverts(errors.EmptySubject):
        request(market, actors.producer, kind, bytes(32))


def test_request__for_an_unknown_meter__reverts(market, actors):
    with reverts(errors.UnknownMeter, meterId=meter_id_bytes("ghost")):
        request(market, actors.producer, METER, meter_id_bytes("ghost"))


def test_request__beyond_the_enum__reverts_without_data(market, actors):
    with reverts(errors.UnknownRevert) as caught:
        request(market, actors.producer, 2)
    assert caught.value.data == b""


@pytest.mark.parametrize("role", ["producer", "consumer", "oracle_operator"])
@pytest.mark.parametrize("kind", [METER, DATUM])
def test_request__by_a_participant_or_an_operator__waits_to_be_fulfilled(market, meter, role, kind):
    sender = getattr(market.actors, role)
    subject = meter_id_bytes("m-1") if kind == METER else FT
    expected = market.returned(sender, "OracleClient", "requestEnergyData", kind, subject)
    outcome = market.chain.send(sender, Call("OracleClient", "requestEnergyData", (kind, subject)))
    (event,) = market.events(outcome)
    assert event.name == "EnergyDataRequested"
    assert event.args == {"requestId": expected, "requester": sender.address, "kind": kind, "subject": subject}
    quorum = 1 if kind == DATUM else 0
    assert record(market, expected) == (sender.address, kind, PENDING, outcome.block, quorum, 0, subject)
    assert pending(market) == [expected]


def test_request__made_again__has_an_id_of_its_own(market, actors):
    ids = [request(market, actors.producer) for _ in range(3)]
    assert len(set(ids)) == 3
    assert pending(market) == ids


def ask_up_to_the_limit(market, sender):
    return [request(market, sender) for _ in range(MAX_PENDING)]


@pytest.mark.parametrize("role", ["producer", "oracle_operator"])
def test_request__eleventh_of_an_account__reverts_and_crowds_out_nobody(market, actors, role):
    sender = getattr(actors, role)
    assert market.chain.view("OracleClient", "MAX_PENDING") == MAX_PENDING
    asked = ask_up_to_the_limit(market, sender)
    with reverts(errors.TooManyRequests, account=sender.address, maximum=MAX_PENDING):
        request(market, sender)
    assert pending(market) == asked
    request(market, actors.consumer)


def test_request__eleventh_after_one_was_fulfilled__is_taken(market, actors):
    asked = ask_up_to_the_limit(market, actors.producer)
    fulfil(market, asked[3], number(5))
    request(market, actors.producer)
    with reverts(errors.TooManyRequests, account=actors.producer.address):
        request(market, actors.producer)


def test_request__eleventh_after_some_were_timed_out__is_taken(market, actors):
    asked = ask_up_to_the_limit(market, actors.producer)
    to_block(market, market.chain.head().number + TIMEOUT_BLOCKS + 1)
    # Expired, but nobody has given them up yet.
    with reverts(errors.TooManyRequests, account=actors.producer.address):
        request(market, actors.producer)
    time_out(market, *asked[:2])
    for _ in range(2):
        request(market, actors.producer)
    with reverts(errors.TooManyRequests, account=actors.producer.address):
        request(market, actors.producer)


def test_request__tenth_after_a_delivery_was_refused__still_counts_as_pending(market, actors):
    asked = ask_up_to_the_limit(market, actors.producer)
    with reverts(errors.UnknownRevert):
        fulfil(market, asked[0], b"five")
    with reverts(errors.TooManyRequests, account=actors.producer.address):
        request(market, actors.producer)


def test_request_of__never_made__is_all_zero(market):
    assert record(market, word(1)) == (ZERO, 0, 0, 0, 0, 0, bytes(32))
    assert market.chain.view("OracleClient", "datumOf", FT) == (0, 0, bytes(32))


# -------------------------------------------------------------- fulfillEnergyData


@pytest.mark.parametrize("role", ["regulator", "distributor", "minter", "keeper", "producer", "outsider"])
def test_fulfill__without_the_operators_role__reverts(market, role):
    asked = request(market, market.actors.producer)
    sender = getattr(market.actors, role)
    with reverts(errors.AccessManagedUnauthorized, caller=sender.address):
        fulfil(market, asked, number(5), by=sender)


@pytest.mark.parametrize("request_id", [0, 2, 2**256 - 1])
def test_fulfill__never_asked__reverts(market, actors, request_id):
    request(market, actors.producer)
    with reverts(errors.RequestNotPending, requestId=word(request_id), status=0):
        fulfil(market, word(request_id), number(5))


def test_fulfill__a_reading_twice__reverts(market, actors, meter):
    signed = meter.read(export_wh=5)
    asked = request(market, actors.producer, METER, meter_id_bytes("m-1"))
    fulfil(market, asked, encoded(signed))
    with reverts(errors.RequestNotPending, requestId=asked, status=FULFILLED):
        fulfil(market, asked, encoded(signed))


def test_fulfill__timed_out__reverts(market, actors):
    asked = request(market, actors.producer)
    to_block(market, record(market, asked)[3] + TIMEOUT_BLOCKS + 1)
    time_out(market, asked)
    with reverts(errors.RequestNotPending, requestId=asked, status=TIMED_OUT):
        fulfil(market, asked, number(5))


def test_fulfill__in_the_hundredth_block__counts(market, actors):
    asked = request(market, actors.producer)
    last = record(market, asked)[3] + TIMEOUT_BLOCKS
    to_block(market, last - 1)
    outcome = fulfil(market, asked, number(5))
    assert outcome.block == last
    assert status(market, asked) == FULFILLED


def test_fulfill__a_block_later__reverts(market, actors):
    asked = request(market, actors.producer)
    last = record(market, asked)[3] + TIMEOUT_BLOCKS
    to_block(market, last)
    with reverts(errors.RequestExpired, requestId=asked, lastBlock=last):
        fulfil(market, asked, number(5))
    assert status(market, asked) == PENDING


def test_fulfill__data_that_is_no_number__reverts(market, actors):
    asked = request(market, actors.producer)
    with reverts(errors.UnknownRevert):
        fulfil(market, asked, b"five")
    assert status(market, asked) == PENDING


@pytest.mark.parametrize("value", [0, 1, -397_100, 2**95 - 1, -(2**95)])
def test_fulfill__a_datum__is_kept_with_its_time_and_request(market, actors, value):
    asked = request(market, actors.producer)
    outcome = fulfil(market, asked, number(value))
    answered, event = market.events(outcome)
    assert answered.name == "DatumAnswered"
    assert answered.args == {"requestId": asked, "operator": actors.oracle_operator.address, "value": value}
    assert event.name == "EnergyDataFulfilled"
    assert event.args == {
        "requestId": asked,
        "operator": actors.oracle_operator.address,
        "subject": FT,
        "data": number(value),
    }
    now = market.chain.head().timestamp
    assert market.chain.view("OracleClient", "datumOf", FT) == (value, now, asked)
    assert status(market, asked) == FULFILLED
    assert pending(market) == []


def test_fulfill__several_requests_for_one_datum__the_newest_delivery_stands(market, actors):
    first, second = request(market, actors.producer), request(market, actors.consumer)
    fulfil(market, second, number(2))
    fulfil(market, first, number(1))
    assert market.chain.view("OracleClient", "datumOf", FT)[::2] == (1, first)


def test_fulfill__reading_of_another_meter__reverts(market, actors, meter):
    other = market.meter("m-2", actors.consumer)
    asked = request(market, actors.producer, METER, meter_id_bytes("m-1"))
    with reverts(
        errors.WrongMeter,
        requestId=asked,
        expected=meter_id_bytes("m-1"),
        delivered=meter_id_bytes("m-2"),
    ):
        fulfil(market, asked, encoded(other.read(export_wh=5)))
    assert status(market, asked) == PENDING


def test_fulfill__reading_somebody_else_signed__reverts(market, actors, meter):
    other = market.meter("m-2", actors.consumer)
    asked = request(market, actors.producer, METER, meter_id_bytes("m-1"))
    forged = SimulatedMeter(market, "m-1", other.key, meter.import_wh, meter.export_wh)
    with reverts(errors.ReadingRefused, requestId=asked, meterId=meter_id_bytes("m-1")):
        fulfil(market, asked, encoded(forged.read(export_wh=5)))
    assert status(market, asked) == PENDING


def test_fulfill__reading_of_a_revoked_meter__reverts(market, actors, meter):
    asked = request(market, actors.producer, METER, meter_id_bytes("m-1"))
    market.chain.send(actors.distributor, Call("Registry", "revokeMeter", (meter_id_bytes("m-1"),)))
    with reverts(errors.ReadingRefused, requestId=asked):
        fulfil(market, asked, encoded(meter.read(export_wh=5)))


def test_fulfill__reading_that_was_overtaken__reverts(market, actors, meter):
    now = market.chain.head().timestamp
    older = meter.read(export_wh=5, at=now + 1)
    market.submit(meter.read(export_wh=5, at=now + 2), meter.read(at=now + 1))
    market.pass_time(5)
    market.submit(meter.read(export_wh=5))
    asked = request(market, actors.producer, METER, meter_id_bytes("m-1"))
    with reverts(errors.ReadingRefused, requestId=asked):
        fulfil(market, asked, encoded(older))


@pytest.mark.parametrize("field", ["import_wh", "export_wh"])
def test_fulfill__reading_on_chain_with_another_register__reverts(market, actors, meter, field):
    signed = meter.read(import_wh=3, export_wh=5)
    market.submit(signed)
    asked = request(market, actors.producer, METER, meter_id_bytes("m-1"))
    changed = dataclasses.replace(signed.reading, **{field: getattr(signed.reading, field) + 1})
    with reverts(errors.ReadingRefused, requestId=asked):
        fulfil(market, asked, encoded(dataclasses.replace(signed, reading=changed)))


@pytest.mark.parametrize("signature", ["none", "of another meter"])
def test_fulfill__newest_registers_without_the_meters_signature__reverts(market, actors, meter, signature):
    other = market.meter("m-2", actors.consumer)
    signed = meter.read(import_wh=3, export_wh=5)
    market.submit(signed)
    asked = request(market, actors.producer, METER, meter_id_bytes("m-1"))
    forged = dataclasses.replace(signed, r=bytes(32), vs=bytes(32))
    if signature == "of another meter":
        forged = market.signed("m-1", other.key, *registers(signed))
    with reverts(errors.ReadingRefused, requestId=asked, meterId=meter_id_bytes("m-1")):
        fulfil(market, asked, encoded(forged))
    assert status(market, asked) == PENDING
    fulfil(market, asked, encoded(signed))


def test_fulfill__registers_that_the_meter_was_opened_with__need_its_signature(market, actors, meter):
    (opened,) = market.chain.registers(["m-1"])
    shown = (opened.interval_end, opened.import_wh, opened.export_wh)
    asked = request(market, actors.producer, METER, meter_id_bytes("m-1"))
    for key in (dev_meter_key(900), actors.oracle_operator.account.key):
        with reverts(errors.ReadingRefused, requestId=asked):
            fulfil(market, asked, encoded(market.signed("m-1", key, *shown)))
    assert status(market, asked) == PENDING
    fulfil(market, asked, encoded(market.signed("m-1", meter.key, *shown)))
    assert status(market, asked) == FULFILLED
    assert market.free_wh(actors.producer) == 0


def test_fulfill__registers_of_a_new_device_signed_by_the_old_one__reverts(market, actors, meter):
    new_key = dev_meter_key(900)
    market.replace_meter(meter, new_key, (meter.import_wh, meter.export_wh), (7, 8))
    shown = (market.chain.head().timestamp, 7, 8)
    asked = request(market, actors.producer, METER, meter_id_bytes("m-1"))
    with reverts(errors.ReadingRefused, requestId=asked):
        fulfil(market, asked, encoded(market.signed("m-1", meter.key, *shown)))
    fulfil(market, asked, encoded(market.signed("m-1", new_key, *shown)))


def test_fulfill__data_that_is_no_reading__reverts(market, actors, meter):
    asked = request(market, actors.producer, METER, meter_id_bytes("m-1"))
    with reverts(errors.UnknownRevert):
        fulfil(market, asked, number(5))


def test_fulfill__a_meters_reading__counts_as_if_a_minter_had_submitted_it(market, actors, meter):
    asked = request(market, actors.consumer, METER, meter_id_bytes("m-1"))
    signed = meter.read(import_wh=3, export_wh=5, at=market.chain.head().timestamp)
    outcome = fulfil(market, asked, encoded(signed))
    assert [e.name for e in market.events(outcome)] == [
        "EnergyDataFulfilled",
        "ReadingAccepted",
        "Transfer",
        "Minted",
    ]
    told = market.events(outcome)[0].args
    assert (told["requestId"], told["subject"]) == (asked, meter_id_bytes("m-1"))
    assert told["data"] == encoded(signed)
    assert market.free_wh(actors.producer) == 5
    assert market.chain.imports([actors.producer.address])[0].current_wh == 3
    assert (status(market, asked), pending(market)) == (FULFILLED, [])


def test_fulfill__a_p256_meters_reading_with_its_key__counts_once(market, actors):
    meter = market.meter("m-1", actors.producer, key_type=P256)
    signed = meter.read(export_wh=5)
    for _ in range(2):
        asked = request(market, actors.consumer, METER, meter_id_bytes("m-1"))
        fulfil(market, asked, encoded(signed))
        assert status(market, asked) == FULFILLED
    assert market.free_wh(actors.producer) == 5


def test_fulfill__a_p256_meters_reading_without_its_key__reverts(market, actors):
    meter = market.meter("m-1", actors.producer, key_type=P256)
    asked = request(market, actors.consumer, METER, meter_id_bytes("m-1"))
    with reverts(errors.ReadingRefused, requestId=asked):
        fulfil(market, asked, encoded(dataclasses.replace(meter.read(export_wh=5), public_key=b"")))


def test_fulfill__reading_that_is_on_chain_already__fulfils_and_counts_once(market, actors, meter):
    signed = meter.read(import_wh=3, export_wh=5)
    market.submit(signed)
    asked = request(market, actors.consumer, METER, meter_id_bytes("m-1"))
    outcome = fulfil(market, asked, encoded(signed))
    assert [e.name for e in market.events(outcome)] == ["EnergyDataFulfilled", "ReadingSkipped"]
    assert status(market, asked) == FULFILLED
    assert market.free_wh(actors.producer) == 5
    assert market.chain.imports([actors.producer.address])[0].current_wh == 3


def test_fulfill__implausible_reading__is_parked_and_fulfils(market, actors):
    meter = market.meter("m-1", actors.producer, export_w=1)
    asked = request(market, actors.consumer, METER, meter_id_bytes("m-1"))
    outcome = fulfil(market, asked, encoded(meter.read(export_wh=5_000, at=market.chain.head().timestamp)))
    assert len(market.events(outcome, "GrowthParked")) == 1
    assert status(market, asked) == FULFILLED
    assert market.free_wh(actors.producer) == 0


# ---------------------------------------------------------------- timeOutRequests


def test_time_out__never_asked__reverts(market):
    with reverts(errors.RequestNotPending, requestId=word(1), status=0):
        time_out(market, word(1))


def test_time_out__in_the_hundredth_block__reverts(market, actors):
    asked = request(market, actors.producer)
    last = record(market, asked)[3] + TIMEOUT_BLOCKS
    to_block(market, last - 1)
    with reverts(errors.RequestNotExpired, requestId=asked, lastBlock=last):
        time_out(market, asked)


def test_time_out__a_block_later__is_given_up_by_anyone(market, actors):
    asked = request(market, actors.producer)
    last = record(market, asked)[3] + TIMEOUT_BLOCKS
    # The node simulates on the newest block, so that one has to be late already.
    to_block(market, last + 1)
    outcome = time_out(market, asked)
    (event,) = market.events(outcome)
    assert (event.name, event.args) == ("RequestTimedOut", {"requestId": asked})
    assert (status(market, asked), pending(market)) == (TIMED_OUT, [])


def test_time_out__fulfilled__reverts(market, actors):
    asked = request(market, actors.producer)
    fulfil(market, asked, number(5))
    to_block(market, market.chain.head().number + 200)
    with reverts(errors.RequestNotPending, requestId=asked, status=FULFILLED):
        time_out(market, asked)


def test_time_out__twice__reverts(market, actors):
    asked = request(market, actors.producer)
    to_block(market, market.chain.head().number + 200)
    time_out(market, asked)
    with reverts(errors.RequestNotPending, requestId=asked, status=TIMED_OUT):
        time_out(market, asked)


def test_time_out__named_twice__reverts(market, actors):
    asked = request(market, actors.producer)
    to_block(market, market.chain.head().number + 200)
    with reverts(errors.RequestNotPending, requestId=asked, status=TIMED_OUT):
        time_out(market, asked, asked)


def test_time_out__one_too_young_among_old__reverts_all(market, actors):
    old = request(market, actors.producer)
    to_block(market, market.chain.head().number + 100)
    young = request(market, actors.producer)
    with reverts(errors.RequestNotExpired, requestId=young):
        time_out(market, old, young)
    assert status(market, old) == PENDING


def test_time_out__many__gives_up_each_and_leaves_the_others(market, actors):
    asked = [request(market, actors.producer) for _ in range(6)]
    to_block(market, market.chain.head().number + 200)
    given_up = [asked[4], asked[0], asked[2]]
    outcome = time_out(market, *given_up)
    assert [e.args["requestId"] for e in market.events(outcome, "RequestTimedOut")] == given_up
    assert {r: status(market, r) for r in asked} == {r: TIMED_OUT if r in given_up else PENDING for r in asked}
    assert set(pending(market)) == set(asked) - set(given_up)


def test_time_out__none__does_nothing(market):
    assert market.events(time_out(market)) == []


def test_time_out__asked_again__is_a_new_request(market, actors):
    asked = request(market, actors.producer)
    to_block(market, market.chain.head().number + 200)
    time_out(market, asked)
    again = request(market, actors.producer)
    fulfil(market, again, number(5))
    assert (status(market, asked), status(market, again)) == (TIMED_OUT, FULFILLED)


# ---------------------------------------------------------------- pendingRequests


def test_pending_requests__pages__are_short_or_empty_at_the_end(market, actors):
    asked = [request(market, actors.producer) for _ in range(5)]
    assert pending(market, 0, 2) + pending(market, 2, 2) + pending(market, 4, 2) == asked
    assert pending(market, 0, 0) == []
    assert pending(market, 5, 2) == []
    assert pending(market, 1_000, 2) == []
    assert pending(market, 0, 2**256 - 1) == asked


def test_pending_requests__fulfilled_ones__are_left_out(market, actors):
    asked = [request(market, actors.producer) for _ in range(4)]
    fulfil(market, asked[1], number(1))
    assert set(pending(market)) == {asked[0], asked[2], asked[3]}


@pytest.mark.parametrize(("offset", "limit"), [(1, 2**256 - 1), (2**256 - 1, 1), (2**256 - 1, 2**256 - 1)])
def test_pending_requests__offset_and_limit_beyond_what_fits__is_the_rest_of_the_list(market, actors, offset, limit):
    asked = [request(market, actors.producer) for _ in range(3)]
    assert pending(market, offset, limit) == asked[offset:]
