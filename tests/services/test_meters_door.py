"""The gateway as the process an operator runs, fed over HTTP: counts, parks, skips, refuses, survives."""

import json
import signal
import socket
from contextlib import contextmanager

import pytest

from busbar import errors
from busbar.chain import ROLL_GAS, TRANSACTION_GAS_CAP, Call, Head, readings_in
from busbar.intake import AHEAD_S, KEEP_S, MAX_REGISTER_WH, Intake
from busbar.meters import BATCH_GAS, TOGETHER, Gateway, share, together
from busbar.meters_api import MOST_BYTES
from busbar.outbox import Outbox, State
from busbar.readings import KeyType, Reading, SignedReading, meter_id_bytes
from tests import processes
from tests.market import P256, SECP256K1
from tests.operators import METERS, PATIENCE_S
from tests.services.test_meters import impatient


class Process(processes.Process):
    """`busbar meters` with a door and without meters of its own."""

    bot, pays = "meters", METERS

    def post(self, signed, **changes):
        return self.client.post("/readings", json=json.loads(signed.to_json()) | changes)

    def take(self, signed):
        answer = self.post(signed)
        assert answer.status_code == 202, answer.text
        return answer.json()["id"]

    def status(self, key):
        return self.client.get(f"/readings/{key}").json()

    def ended(self, key):
        """What became of a reading in the end, blocks being made."""
        self.until(lambda: self.status(key)["state"] not in ("waiting", "submitted"), mine=True)
        return self.status(key)


@contextmanager
def running(*arguments, **settings):
    gateway = Process(*arguments, **settings)
    try:
        yield gateway.start()
    finally:
        gateway.kill()


@pytest.fixture
def gateway(market, tmp_path):
    with running(market, tmp_path) as gateway:
        yield gateway


@pytest.fixture
def roof(market, actors):
    """A prosumer's meter."""
    return assigned(market, "roof", actors.producer)


@pytest.fixture
def intake(market):
    return Intake(market.chain, Outbox(None))


@pytest.fixture(autouse=True)
def pool_left_empty(market):
    """Snapshots do not hold what waits for a block."""
    yield
    market.chain.node.request("anvil_dropAllTransactions")


def now(market):
    return market.chain.head().timestamp


def assigned(market, meter_id, owner, **config):
    """A meter, assigned a while ago."""
    meter = market.meter(meter_id, owner, **config)
    market.pass_time(60)
    return meter


def counted(market):
    """(meter, end) of every reading that counted, in the chain's order."""
    events = market.chain.events([("Metering", "ReadingAccepted")], 0, market.chain.head().number)
    return [(event.args["meterId"].rstrip(b"\0").decode(), event.args["intervalEnd"]) for event in events]


def problem(answer):
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["type"].removeprefix("urn:busbar:error:")


def names(answers):
    return [type(answer).__name__ for answer in answers]


# ---- what becomes of a reading


@pytest.mark.parametrize("key_type", [SECP256K1, P256], ids=["secp256k1", "P-256"])
def test_post__a_meters_reading__counts_and_is_told_with_its_transaction(gateway, market, actors, key_type):
    roof = assigned(market, "roof", actors.producer, key_type=key_type)
    signed = roof.read(import_wh=30, export_wh=700, at=now(market))
    key = gateway.take(signed)
    told = gateway.ended(key)
    (event,) = market.chain.events([("Metering", "ReadingAccepted")], 0, market.chain.head().number)
    assert told == {
        "id": f"roof@{signed.reading.interval_end}",
        "state": "counted",
        "transaction": event.tx_hash,
        "block": event.block,
        "parked": None,
        "reason": None,
    }
    assert market.free_wh(actors.producer) == 700
    assert market.chain.imports([actors.producer.address])[0].outstanding_wh == 30


def test_post__not_on_the_chain_yet__says_waiting_then_submitted(gateway, market, roof):
    later = roof.read(export_wh=5, at=now(market) + AHEAD_S)
    key = gateway.take(later)
    assert gateway.status(key)["state"] == "waiting"
    market.devnet.mine(later.reading.interval_end)
    gateway.until(gateway.sent)
    assert gateway.status(key)["state"] == "submitted"


def test_post__more_than_the_meter_can__is_told_as_parked(gateway, market, actors):
    roof = assigned(market, "roof", actors.producer, export_w=1_000)
    told = gateway.ended(gateway.take(roof.read(export_wh=900_000, at=now(market))))
    assert told["state"] == "parked"
    assert told["parked"] == {"id": 1, "import_wh": 0, "export_wh": 900_000}
    assert market.free_wh(actors.producer) == 0


def test_post__revoked_between_the_door_and_the_chain__is_skipped_with_the_contracts_reason(gateway, market, roof):
    signed = roof.read(export_wh=5, at=now(market) + AHEAD_S)
    key = gateway.take(signed)
    market.chain.send(market.actors.distributor, Call("Registry", "revokeMeter", (meter_id_bytes("roof"),)))
    market.devnet.mine(signed.reading.interval_end)
    told = gateway.ended(key)
    assert (told["state"], told["reason"]) == ("skipped", "revoked meter")


def test_post__the_same_again_signed_anew__is_one_and_answers_the_same(gateway, market, actors, roof):
    signed = roof.read(export_wh=700, at=now(market))
    first = gateway.ended(gateway.take(signed))
    # As a signer with other chance would: the other half of the curve is no signature, so another r is made up.
    other = {"r": "0x" + "77" * 32}
    for answer in (gateway.post(signed), gateway.post(signed, **other)):
        assert (answer.status_code, answer.json()) == (202, first)
    market.devnet.mine()
    assert len(counted(market)) == 1
    assert market.free_wh(actors.producer) == 700


def test_post__other_registers_for_the_same_time__is_a_conflict(gateway, market, roof):
    at = now(market) + AHEAD_S
    gateway.take(roof.read(export_wh=10, at=at))
    assert problem(gateway.post(roof.read(export_wh=10, at=at))) == (409, "KeyConflictError")


def test_post__meter_id_of_any_characters__is_found_where_the_answer_says(gateway, market, actors):
    meter = assigned(market, "a/b?c#d%e@7", actors.producer)
    answer = gateway.post(meter.read(export_wh=1, at=now(market)))
    found = gateway.client.get(answer.headers["location"])
    assert (found.status_code, found.json()["id"]) == (200, answer.json()["id"])


def test_batch__good_and_bad__each_is_answered_for_itself(gateway, market, actors, roof):
    shop = assigned(market, "shop", actors.consumer, kind=2)
    good, bad = roof.read(export_wh=5, at=now(market)), shop.read(import_wh=5, at=now(market))
    fields = [json.loads(signed.to_json()) for signed in (good, bad)]
    fields[1]["importWh"] += 1
    answer = gateway.client.post("/readings/batch", json={"readings": fields})
    first, second = answer.json()["readings"]
    assert (answer.status_code, first["taken"]["id"], first["refused"]) == (202, good.reading.key, None)
    assert (second["taken"], second["refused"]["error"]) == (None, "ForgedReadingError")
    assert gateway.ended(good.reading.key)["state"] == "counted"


def test_get__unknown__is_not_found(gateway):
    assert gateway.client.get("/readings/roof@900").status_code == 404


# ---- attacks


def test_take__what_could_never_count__is_refused_by_name(market, actors, intake):
    roof, old = assigned(market, "roof", actors.producer), assigned(market, "old", actors.other_producer)
    other_curve = assigned(market, "curve", actors.third_producer, key_type=P256)
    market.chain.send(actors.distributor, Call("Registry", "revokeMeter", (meter_id_bytes("old"),)))
    market.to_epoch(KEEP_S // 900 + 10)
    at = now(market)
    market.submit(roof.read(export_wh=100, at=at))

    def signed(meter_id="roof", end=at + 1, import_wh=5_000_000, export_wh=3_000_200, key=roof.key):
        return market.signed(meter_id, key, end, import_wh, export_wh)

    refused = {
        "UnknownMeterError": signed("none"),
        "RevokedMeterError": old.read(at=at),
        "FutureReadingError": signed(end=now(market) + AHEAD_S + 1),
        "OldReadingError": signed(end=now(market) - KEEP_S - 1),
        "OvertakenError": signed(end=at),
        "RegisterWentBackError": signed(export_wh=3_000_099),
        "OutOfRangeError": signed(import_wh=MAX_REGISTER_WH + 1),
        "ForgedReadingError": signed(key=old.key),
    }
    assert names(intake.take(list(refused.values()))) == list(refused)
    assert names(intake.take([signed("curve", key=other_curve.key)])) == ["ForgedReadingError"]
    assert intake.outbox.counts() == dict.fromkeys(State, 0)


def test_take__replaced_key__is_refused_and_the_new_one_taken(market, actors, intake, roof):
    assert names(intake.take([roof.read(export_wh=1)])) == ["str"]
    new = bytes([9]) * 32
    market.replace_meter(roof, new, (roof.import_wh, roof.export_wh), (0, 0), key_type=P256)
    at = now(market) + 1
    assert names(intake.take([market.signed("roof", roof.key, at, 5, 5)])) == ["ForgedReadingError"]
    assert names(intake.take([market.signed("roof", new, at, 5, 5, P256)])) == ["str"]


def test_take__signature_of_another_contract__is_refused(market, intake, roof):
    signed = roof.read(export_wh=1)
    elsewhere = market.chain.meter_domain.__class__(1, market.chain.addresses["Metering"])
    other = roof.key_type.sign(signed.reading, elsewhere, roof.key)
    assert names(intake.take([other])) == ["ForgedReadingError"]


def test_take__forgeries_before_the_meter__use_up_nothing_of_its_own(market, roof):
    intake = Intake(market.chain, Outbox(None), rate="1/hour")
    at = now(market)
    forged = [market.signed("roof", b"\7" * 32, at + i, 5_000_000, 3_000_001) for i in range(5)]
    assert names(intake.take(forged)) == ["ForgedReadingError"] * 5
    answers = intake.take([roof.read(export_wh=1, at=at + 6), roof.read(export_wh=1, at=at + 7)])
    assert names(answers) == ["str", "MeterRateError"]


def test_take__another_door_takes_the_same_meanwhile__is_one_and_the_first_stands(market, roof, tmp_path):
    at = now(market)
    first, second = roof.read(export_wh=1, at=at), roof.read(export_wh=1, at=at)
    here, there = (Intake(market.chain, Outbox(tmp_path / "box.sqlite")) for _ in range(2))
    look = here.outbox.found

    def found(keys):
        # The other door is quicker, just after the look.
        here.outbox.found = look
        seen = look(keys)
        there.take([first])
        return seen

    here.outbox.found = found
    assert names(here.take([second])) == ["KeyConflictError"]
    assert names(here.take([first])) == ["str"]
    assert len(here.outbox.open()) == 1


def test_post__flood_of_one_meter__is_told_to_wait(market, actors, tmp_path, roof):
    with running(market, tmp_path, rate="2/hour") as gateway:
        at = now(market)
        answers = [gateway.post(roof.read(export_wh=1, at=at + i)) for i in range(3)]
        assert [answer.status_code for answer in answers] == [202, 202, 429]
        assert problem(answers[2]) == (429, "MeterRateError")
        assert "retry-after" in answers[2].headers


def test_post__flood_of_one_address__is_refused_at_the_door(market, tmp_path):
    with running(market, tmp_path, address_rate="3/hour") as gateway:
        answers = [gateway.client.get("/readings/x@1") for _ in range(4)]
        assert [answer.status_code for answer in answers] == [404, 404, 404, 429]


@pytest.mark.parametrize("told", [True, False], ids=["its length told", "in pieces of unknown number"])
def test_post__huge_body__is_refused_before_it_is_read(gateway, told):
    piece = b"[" * 100_000
    body = piece * 10 if told else (piece for _ in range(10))
    answer = gateway.client.post("/readings", content=body, headers={"Content-Type": "application/json"})
    assert problem(answer) == (413, "about:blank")
    assert str(MOST_BYTES) in answer.json()["detail"]


def test_post__body_that_never_ends__holds_up_nobody(gateway, market, roof):
    with socket.create_connection(("127.0.0.1", gateway.client.base_url.port)) as slow:
        slow.sendall(b"POST /readings HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        gateway.take(roof.read(export_wh=1, at=now(market)))


def test_post__misshapen__is_refused_with_the_field(gateway, market, roof):
    signed = roof.read(at=now(market))
    for change, field in (
        ({"importWh": "1"}, "body.importWh"),
        ({"importWh": 1.0}, "body.importWh"),
        ({"exportWh": -1}, "body.exportWh"),
        ({"meterId": "a b"}, "body.meterId"),
        ({"r": "0x12"}, "body.r"),
        ({"owner": "me"}, "body.owner"),
    ):
        answer = gateway.post(signed, **change)
        assert (answer.status_code, [entry["location"] for entry in answer.json()["errors"]]) == (422, [field])


# ---- killed, twice, stopped


def test_gateway__killed_between_acceptance_and_submission__counts_once(gateway, market, actors, roof):
    signed = roof.read(export_wh=700, at=now(market) + AHEAD_S)
    key = gateway.take(signed)
    gateway.kill()
    market.devnet.mine(signed.reading.interval_end)
    gateway.start()
    assert gateway.ended(key)["state"] == "counted"
    assert market.free_wh(actors.producer) == 700


def test_gateway__killed_between_sending_and_receipt__counts_once(gateway, market, actors, roof):
    key = gateway.take(roof.read(export_wh=700, at=now(market)))
    gateway.until(gateway.sent)
    gateway.kill()
    market.devnet.mine()
    gateway.start()
    told = gateway.ended(key)
    # Nobody saw the receipt, so the transaction is not known.
    assert (told["state"], told["transaction"]) == ("counted", None)
    assert market.free_wh(actors.producer) == 700


def test_gateway__accepted_reading_replayed_after_a_restart__changes_nothing(gateway, market, actors, roof):
    signed = roof.read(export_wh=700, at=now(market))
    told = gateway.ended(gateway.take(signed))
    gateway.kill()
    gateway.start()
    answer = gateway.post(signed)
    assert (answer.status_code, answer.json()) == (202, told)
    market.devnet.mine()
    assert len(counted(market)) == 1
    # Another gateway, which never heard of it, refuses it.
    assert names(Intake(market.chain, Outbox(None)).take([signed])) == ["OvertakenError"]


def test_gateway__asked_to_stop__ends_in_order(gateway):
    gateway.process.send_signal(signal.SIGTERM)
    assert gateway.process.wait(PATIENCE_S) == 0


# ---- in this process


def test_step__chain_goes_back__submits_what_was_taken_in_again(market, actors, intake, roof):
    gateway = Gateway(market.chain, actors.minter, outbox=intake.outbox)
    intake.take([roof.read(export_wh=700, at=now(market))])
    before = market.devnet.snapshot()
    gateway.step()
    gateway.step()
    assert intake.outbox.counts()[State.DONE] == 1
    market.devnet.restore(before)
    gateway.step()
    assert market.free_wh(actors.producer) == 700


def test_step__newer_reading_came_first__is_told_as_skipped(market, actors, intake, roof):
    at = now(market)
    early, late = roof.read(export_wh=100, at=at), roof.read(export_wh=100, at=at + 1)
    intake.take([early])
    market.submit(late)
    gateway = Gateway(market.chain, actors.minter, outbox=intake.outbox)
    assert gateway.step() == []
    (item,) = intake.outbox.of(State.DONE)
    assert json.loads(item.reason) == {"overtaken": True}
    assert market.free_wh(actors.producer) == 200


def test_step__brought_by_another_gateway__is_done_and_not_sent(market, actors, intake, roof):
    signed = roof.read(export_wh=100, at=now(market))
    intake.take([signed])
    market.submit(signed)
    assert Gateway(market.chain, actors.minter, outbox=intake.outbox).step() == []
    (item,) = intake.outbox.of(State.DONE)
    assert item.reason == ""


def test_step__many_meters_at_one_time__go_together_in_one_block(market, actors, intake, monkeypatch):
    monkeypatch.setattr("busbar.meters.BATCH", 2)
    meters = [assigned(market, f"m-{i}", actors.producer) for i in range(6)]
    intake.take([meter.read(export_wh=10, at=now(market)) for meter in meters])
    outcomes = Gateway(market.chain, actors.minter, outbox=intake.outbox).step()
    assert [outcome.ok for outcome in outcomes] == [True] * 3
    assert len({outcome.block for outcome in outcomes}) == 1


def test_step__more_comes_in_while_a_block_is_filled__goes_with_what_is_left(market, actors, intake, monkeypatch):
    monkeypatch.setattr("busbar.meters.BATCH", 2)
    monkeypatch.setattr("busbar.meters.TOGETHER", 1)
    first, second, third, late = (assigned(market, f"m-{i}", actors.producer) for i in range(4))
    intake.take([meter.read(export_wh=10, at=now(market)) for meter in (first, second, third)])
    gateway = Gateway(market.chain, actors.minter, outbox=intake.outbox)
    send_many = market.chain.send_many

    def while_it_is_mined(batch, nonces=None):
        outcomes = send_many(batch, nonces)
        intake.take([late.read(export_wh=10, at=now(market))])
        return outcomes

    monkeypatch.setattr(market.chain, "send_many", while_it_is_mined)
    assert [len(readings_in(sent)) for sent in inputs(market, gateway.step())] == [2, 2]


def test_step__first_of_two_blocks_fails__leaves_the_rest_to_the_next_pass(market, actors, intake, monkeypatch):
    monkeypatch.setattr("busbar.meters.BATCH", 1)
    monkeypatch.setattr("busbar.meters.TOGETHER", 1)
    intake.take([assigned(market, f"m-{i}", actors.producer).read(export_wh=10, at=now(market)) for i in range(3)])
    (outcome,) = Gateway(market.chain, actors.outsider, outbox=intake.outbox).step()
    assert isinstance(outcome.error, errors.AccessManagedUnauthorized)
    assert [o.ok for o in Gateway(market.chain, actors.minter, outbox=intake.outbox).step()] == [True] * 3


def inputs(market, outcomes):
    """What the transactions were called with."""
    found = [market.chain.node.request("eth_getTransactionByHash", outcome.tx_hash) for outcome in outcomes]
    return [bytes.fromhex(transaction["input"][2:]) for transaction in found]


def of_one_meter(count, key_type=KeyType.SECP256K1, name="m"):
    key = bytes(64) if key_type is KeyType.P256 else b""
    return [SignedReading(Reading(f"{name}-{n}", 900, 0, 0), bytes(32), bytes(32), key) for n in range(count)]


@pytest.mark.parametrize("gas_limit", [8_000_000, 30_000_000, 60_000_000, 10**15])
def test_share__nine_of_them__fill_a_block_with_the_last_ones_limit(gas_limit):
    most = share(Head(1, 1, "0x", 0, gas_limit))
    limit = most * 5 // 4 + ROLL_GAS
    assert limit <= TRANSACTION_GAS_CAP
    assert (TOGETHER - 1) * most + limit <= gas_limit
    assert limit >= TRANSACTION_GAS_CAP - 2 or TOGETHER * most + limit > gas_limit


@pytest.mark.parametrize("most_gas", [0, 100_000, 1_000_000, 3_000_000])
def test_together__whatever_they_need__each_batch_fits_and_nothing_is_lost(most_gas):
    due = of_one_meter(700) + of_one_meter(700, KeyType.P256, "p")
    needed = {False: 30_000, True: 35_600}
    groups = together(due, lambda signed: needed[bool(signed.public_key)], most_gas)
    batches = [batch for group in groups for batch in group]
    assert [signed for batch in batches for signed in batch] == due
    gas = [BATCH_GAS + sum(needed[bool(signed.public_key)] for signed in batch) for batch in batches]
    assert all(of <= most_gas or len(batch) == 1 for of, batch in zip(gas, batches, strict=True))
    assert all(len(group) == TOGETHER for group in groups[:-1])


def test_step__what_it_expects_is_far_too_little__expects_more_until_it_fits(market, actors, intake, roof):
    gateway = Gateway(market.chain, actors.minter, outbox=intake.outbox)
    gateway._reading_gas = 1_000
    meters = [roof, *(assigned(market, f"m-{i}", actors.producer) for i in range(9))]
    intake.take([meter.read(export_wh=700, at=now(market)) for meter in meters])
    assert gateway.step()[0].tx_hash is None
    for _ in range(10):
        gateway.step()
    assert len(counted(market)) == 10
    assert 10_000 < gateway._reading_gas < 60_000


def test_step__not_included__is_sent_again_and_counts_once(market, actors, intake, roof):
    intake.take([roof.read(export_wh=700, at=now(market))])
    Gateway(impatient(market), actors.minter, outbox=intake.outbox).step()
    Gateway(impatient(market), actors.minter, outbox=intake.outbox).step()
    market.devnet.mine()
    assert len(counted(market)) == 1
