"""The relay as the process an operator runs, fed over HTTP: enters, skips, expires, refuses, survives."""

import signal
import socket
from contextlib import contextmanager
from dataclasses import replace

import pytest

from busbar.chain import Call, Chain, Policy
from busbar.devnet import dev_signer
from busbar.outbox import Outbox, State
from busbar.relay import FARTHEST_EPOCHS, Intake, NotEnterableError, Relay
from busbar.relay_api import MOST_BYTES
from busbar.signing import EnteredBundle, SignedBundle
from tests import processes
from tests.market import bid
from tests.operators import PATIENCE_S

RELAY, OTHER_RELAY = 8, 9
"""Development accounts that pay for gas."""


class Process(processes.Process):
    """`busbar relay`, and its participants' way to it."""

    bot, pays = "relay", RELAY

    def post(self, signed, signature=None):
        body = {"message": signed.bundle.fields(), "signature": "0x" + (signature or signed.signature).hex()}
        return self.client.post("/bundles", json=body)

    def take(self, signed):
        answer = self.post(signed)
        assert answer.status_code == 202, answer.text
        return answer.json()["id"]

    def status(self, key):
        return self.client.get(f"/bundles/{key}").json()

    def ended(self, key):
        """What became of a bundle in the end, blocks being made."""
        self.until(lambda: self.status(key)["state"] not in ("accepted", "sent"), mine=True)
        return self.status(key)


@contextmanager
def running(*arguments, **settings):
    relay = Process(*arguments, **settings)
    try:
        yield relay.start()
    finally:
        relay.kill()
        # What it leaves in the pool would come into the next test's chain.
        relay.market.devnet.node.request("anvil_dropAllTransactions")


@pytest.fixture
def relay(market, tmp_path):
    with running(market, tmp_path) as relay:
        yield relay


def test_post__a_body_above_the_bound__is_413_unread(relay):
    url = relay.client.base_url
    with socket.create_connection((url.host, url.port), PATIENCE_S) as connection:
        connection.sendall(f"POST /bundles HTTP/1.1\r\nHost: x\r\nContent-Length: {MOST_BYTES + 1}\r\n\r\n".encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 413 ")


def entries(market, participant):
    """All bundles of an account that entered."""
    kinds = [("Trading", "SignedOrderEntered"), ("Trading", "BundleEntered")]
    events = market.chain.events(kinds, 0, market.chain.head().number, [participant.address])
    return [(EnteredBundle.from_event(event.args), event) for event in events]


def problem(answer):
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["type"].removeprefix("urn:busbar:error:")


# ---- what becomes of a bundle


def test_relay__bundles_of_several__enter_and_are_told_with_their_transaction(relay, market, actors):
    keys = {
        actors.consumer: relay.take(market.signed_orders(actors.consumer, bid(300, 1_000), bid(200, 500))),
        actors.other_consumer: relay.take(market.signed_orders(actors.other_consumer, bid(400, 700))),
    }
    for participant, key in keys.items():
        told = relay.ended(key)
        ((entered, event),) = entries(market, participant)
        assert told == {
            "id": key,
            "state": "entered",
            "transaction": event.tx_hash,
            "block": event.block,
            "epoch": entered.epoch,
            "first_index": 0,
            "reason": None,
        }
    assert sum(market.chain.book(1)[0].values()) == 2_200


def test_relay__signature_as_wallets_give_it__enters(relay, market, actors):
    signed = market.signed_orders(actors.consumer, bid(300, 1_000))
    v = 27 + (signed.signature[32] >> 7)
    s = bytes([signed.signature[32] & 127]) + signed.signature[33:]
    answer = relay.post(signed, signed.signature[:32] + s + bytes([v]))
    assert relay.ended(answer.json()["id"])["state"] == "entered"


def test_relay__more_than_the_balance__is_skipped_with_the_reason(relay, market, actors):
    key = relay.take(market.signed_orders(actors.consumer, bid(1_000, 10_000_000)))
    told = relay.ended(key)
    assert (told["state"], told["reason"]["error"]) == ("skipped", "InsufficientFree")
    assert market.account(actors.consumer).nonce == 0


def test_relay__several_of_an_account_out_of_order__all_enter(relay, market, actors):
    ticks = {3: 100, 1: 900, 2: 50}
    # All of the next epoch: the relay has them all before it may bring one.
    coming = (market.epoch + 1, market.epoch + 1)
    bundles = [market.signed_orders(actors.consumer, bid(t, 100), nonce=n, epochs=coming) for n, t in ticks.items()]
    keys = [relay.take(bundle) for bundle in bundles]
    market.next_epoch()
    assert {relay.ended(key)["state"] for key in keys} == {"entered"}
    assert [entered.nonce for entered, _ in entries(market, actors.consumer)] == [1, 2, 3]


def test_relay__epoch_to_come__waits_for_it(relay, market, actors):
    epoch = market.epoch
    later = relay.take(market.signed_orders(actors.consumer, bid(300, 100), epochs=(epoch + 1, epoch + 1)))
    now = relay.take(market.signed_orders(actors.other_consumer, bid(300, 100)))
    assert relay.ended(now)["state"] == "entered"
    assert relay.status(later)["state"] == "accepted"
    market.next_epoch()
    assert (relay.ended(later)["state"], relay.status(later)["epoch"]) == ("entered", epoch + 1)


def test_relay__zone_paused_until_its_epochs_are_over__expires(relay, market, actors):
    market.chain.send(actors.regulator, Call("Trading", "setPaused", (1, True)))
    key = relay.take(market.signed_orders(actors.consumer, bid(300, 100)))
    relay.until(lambda: "ZonePaused" in relay.said())
    market.next_epoch()
    assert relay.ended(key)["state"] == "expired"
    assert entries(market, actors.consumer) == []


def test_relay__the_same_again__is_one(relay, market, actors):
    signed = market.signed_orders(actors.consumer, bid(300, 100))
    key = relay.take(signed)
    assert relay.ended(key)["state"] == "entered"
    answer = relay.post(signed)
    assert (answer.status_code, answer.json()["state"]) == (202, "entered")
    assert len(entries(market, actors.consumer)) == 1


# ---- refused at once


def test_post__what_can_never_enter__is_refused_by_name(relay, market, actors):
    epoch = market.next_epoch()
    good = market.signed_orders(actors.consumer, bid(300, 100))
    market.chain.send(actors.other_consumer, Call("Trading", "cancelUpTo", (4,)))
    market.chain.send(actors.distributor, Call("Registry", "setStatus", (actors.third_consumer.address, 2)))
    market.chain.send(actors.regulator, Call("Trading", "openZone", (2, 0)))
    answers = {
        "BadSignature": relay.post(SignedBundle(good.bundle, bytes(64))),
        "NotRegistered": relay.post(market.signed_orders(actors.outsider, bid(300, 100))),
        "AccountSuspended": relay.post(market.signed_orders(actors.third_consumer, bid(300, 100))),
        "OtherZone": relay.post(market.signed_orders(actors.consumer, bid(300, 100), zone=2)),
        "OutsideEpochs": relay.post(market.signed_orders(actors.consumer, bid(300, 100), epochs=(0, 0))),
        "InvalidNonce": relay.post(market.signed_orders(actors.other_consumer, bid(300, 100), nonce=4)),
        "TooFarAheadError": relay.post(
            market.signed_orders(actors.consumer, bid(300, 100), epochs=(epoch + FARTHEST_EPOCHS + 1, 2**32 - 1))
        ),
    }
    assert {name: problem(answer) for name, answer in answers.items()} == {name: (422, name) for name in answers}
    assert relay.client.get("/bundles/0x00").status_code == 404


def test_post__misshapen__is_refused_with_the_field(relay, market, actors):
    fields = market.signed_orders(actors.consumer, bid(300, 100)).bundle.fields()
    for change, field in (({"nonce": "1"}, "body.message.nonce"), ({"orders": []}, "body.message.orders")):
        answer = relay.client.post("/bundles", json={"message": fields | change, "signature": "0x"})
        assert [entry["location"] for entry in answer.json()["errors"]] == [field]


def test_post_batch__one_forged_and_one_not_expressible__each_is_answered_for_itself(relay, market, actors):
    good, other = (market.signed_orders(who, bid(310, 500)) for who in (actors.consumer, actors.producer))
    bundles = [
        {"message": good.bundle.fields(), "signature": "0x" + other.signature.hex()},
        {"message": good.bundle.fields() | {"source": 1}, "signature": "0x" + good.signature.hex()},
        {"message": good.bundle.fields(), "signature": "0x" + good.signature.hex()},
    ]
    answer = relay.client.post("/bundles/batch", json={"bundles": bundles})
    forged, unfit, taken = answer.json()["bundles"]
    assert answer.status_code == 202
    assert (forged["refused"]["status"], forged["refused"]["title"]) == (422, "BadSignature")
    assert forged["refused"]["values"] == {"account": actors.consumer.address}
    assert (unfit["refused"]["title"], unfit["taken"]) == ("InvalidMessage", None)
    assert (taken["taken"]["state"], taken["refused"]) == ("accepted", None)
    assert relay.ended(taken["taken"]["id"])["state"] == "entered"


def test_post_batch__more_than_the_rate__the_rest_is_429(market, actors, tmp_path):
    with running(market, tmp_path, rate="2/hour") as relay:
        signed = [market.signed_orders(actors.consumer, bid(310, 500), nonce=nonce) for nonce in range(3)]
        bundles = [{"message": one.bundle.fields(), "signature": "0x" + one.signature.hex()} for one in signed]
        answers = relay.client.post("/bundles/batch", json={"bundles": bundles}).json()["bundles"]
        assert [answer["refused"] and answer["refused"]["status"] for answer in answers] == [None, None, 429]
        alone = relay.post(market.signed_orders(actors.consumer, bid(310, 500), nonce=3))
        assert (alone.status_code, alone.json()["title"]) == (429, answers[2]["refused"]["title"])


def test_post__more_than_the_rate__is_refused_and_others_are_not(market, actors, tmp_path):
    with running(market, tmp_path, rate="2/hour", most_waiting=5) as relay:
        answers = [relay.post(market.signed_orders(actors.consumer, bid(300, 100), nonce=n)) for n in range(3)]
        assert [answer.status_code for answer in answers] == [202, 202, 429]
        assert problem(answers[2]) == (429, "RateError")
        assert relay.post(market.signed_orders(actors.other_consumer, bid(300, 100))).status_code == 202


def test_post__more_waiting_than_allowed__is_refused(market, actors, tmp_path):
    epochs = (market.epoch + 1, market.epoch + 1)
    with running(market, tmp_path, most_waiting=1) as relay:
        relay.take(market.signed_orders(actors.consumer, bid(300, 100), epochs=epochs))
        answer = relay.post(market.signed_orders(actors.consumer, bid(300, 100), epochs=epochs, nonce=1))
        assert problem(answer) == (429, "TooManyWaitingError")


# ---- killed, twice, stopped


def test_relay__killed_between_sending_and_receipt__enters_once(relay, market, actors):
    keys = [relay.take(market.signed_orders(who, bid(300, 100))) for who in (actors.consumer, actors.other_consumer)]
    relay.until(relay.sent)
    relay.kill()
    market.devnet.mine()
    relay.start()
    assert [relay.ended(key)["state"] for key in keys] == ["entered", "entered"]
    assert [len(entries(market, who)) for who in (actors.consumer, actors.other_consumer)] == [1, 1]


def test_relay__killed_and_started_before_the_block__enters_once(relay, market, actors):
    key = relay.take(market.signed_orders(actors.consumer, bid(300, 100)))
    relay.until(relay.sent)
    relay.kill()
    relay.start()
    assert relay.ended(key)["state"] == "entered"
    assert len(entries(market, actors.consumer)) == 1


def test_relay__killed_once_accepted_and_the_epoch_ends__tells_what_the_chain_shows(relay, market, actors):
    sent = relay.take(market.signed_orders(actors.consumer, bid(300, 100)))
    relay.until(relay.sent)
    relay.kill()
    market.devnet.mine()
    market.next_epoch()
    relay.start()
    assert relay.ended(sent)["state"] == "entered"


def test_relay__asked_to_stop__ends_in_order(relay):
    relay.process.send_signal(signal.SIGTERM)
    assert relay.process.wait(PATIENCE_S) == 0


def test_relays__two_on_the_same_work__are_harmless(relay, market, actors, tmp_path):
    with running(market, tmp_path, name="other", account=OTHER_RELAY) as other:
        signed = [
            market.signed_orders(who, bid(300, 100), nonce=n)
            for n in range(2)
            for who in (actors.consumer, actors.other_consumer, actors.third_consumer)
        ]
        keys = [{relay: relay.take(one), other: other.take(one)} for one in signed]
        relay.until(lambda: all(r.status(k)["state"] == "entered" for both in keys for r, k in both.items()), mine=True)
        told = [[r.status(key) for r, key in both.items()] for both in keys]
        assert all(one == two for one, two in told)
        assert [len(entries(market, who)) for who in (actors.consumer, actors.other_consumer)] == [2, 2]


# ---- in this process


@pytest.fixture
def box():
    return Outbox(None)


@pytest.fixture
def intake(market, box):
    return Intake(market.chain, box, rate="1000/minute", most_waiting=1_000)


@pytest.fixture
def steps(market, box):
    return Relay(market.chain, dev_signer(RELAY), box)


def states(box):
    return {state.value: count for state, count in box.counts().items() if count}


def test_step__first_batch_done__takes_what_it_took_for_the_next(market, actors, intake, steps):
    intake.take([market.signed_orders(who, bid(300, 100)) for who in actors.participants])
    steps.step()
    assert 0 < steps._scale < 1
    intake.take([market.signed_orders(who, bid(300, 100), nonce=1) for who in actors.participants])
    assert steps.step()[0].ok


def test_step__what_it_expects_is_far_too_little__expects_more_until_it_fits(
    market, actors, box, intake, steps, monkeypatch
):
    monkeypatch.setattr("busbar.relay.ROLL_GAS", 0)
    intake.take([market.signed_orders(who, bid(300, 100)) for who in actors.participants])
    steps._scale = 0.1
    (too_little,) = steps.step()
    assert too_little.tx_hash is None
    # What nobody has measured is enough.
    steps.step()
    assert states(box) == {"done": len(actors.participants)}


def unaffordable(market, participant, nonce):
    """Signed and valid, and as many orders as fit, but nobody can pay for them."""
    return market.signed_orders(participant, *[bid(1_000, 10_000_000)] * 100, nonce=nonce)


def hundred(market, participant):
    return market.signed_orders(participant, *[bid(1 + 10 * i, 100) for i in range(100)])


def test_step__bundles_that_were_skipped__teach_nothing_about_those_that_enter(market, actors, box, intake, steps):
    intake.take([unaffordable(market, actors.other_consumer, nonce) for nonce in range(3)])
    steps.step()
    intake.take([hundred(market, actors.consumer)])
    steps.step()
    assert states(box) == {"refused": 3, "done": 1}


def test_step__worthless_bundles_in_every_pass__hold_no_honest_one_up(market, actors, box, intake, steps):
    for number in range(3):
        intake.take([unaffordable(market, actors.other_consumer, 2 * number + i) for i in range(2)])
        steps.step()
    intake.take([unaffordable(market, actors.other_consumer, 9), hundred(market, actors.consumer)])
    steps.step()
    assert market.account(actors.consumer).order_count == 100


def test_step__another_order_used_the_nonce__is_skipped(market, actors, box, intake, steps):
    intake.take([market.signed_orders(actors.consumer, bid(300, 100))])
    market.relay(market.signed_orders(actors.consumer, bid(301, 100)))
    assert steps.step() == []
    (item,) = box.of(State.REFUSED)
    assert "InvalidNonce" in item.reason


def test_step__an_account_whose_standing_orders_rest__has_the_gas_to_roll_them(market, actors, intake, steps):
    market.enter(actors.consumer, *[replace(bid(1 + 11 * i, 100), life=5) for i in range(90)])
    market.next_epoch()
    intake.take([market.signed_orders(actors.consumer, bid(300, 100))])
    (outcome,) = steps.step()
    assert outcome.ok
    assert [event.name for event in market.events(outcome)] == ["EpochCleared", "OrdersRolled", "SignedOrderEntered"]
    # What a roll took says nothing of what a bundle needs.
    assert steps._scale == 1


def test_step__standing_order_that_another_brought_epochs_later__has_entered(market, actors, box, intake, steps):
    epoch = market.epoch
    signed = market.signed_orders(actors.consumer, replace(bid(300, 100), life=5), epochs=(epoch, epoch + 3))
    intake.take([signed])
    market.next_epoch(2)
    market.relay(signed)
    assert steps.step() == []
    assert states(box) == {"done": 1}


def test_step__dry_run__sends_nothing(market, actors, box, intake):
    chain = Chain(market.devnet.url, market.chain.addresses, policy=Policy(dry_run=True))
    intake.take([market.signed_orders(actors.consumer, bid(300, 100))])
    (outcome,) = Relay(chain, dev_signer(RELAY), box).step()
    assert outcome.tx_hash is None
    assert states(box) == {"accepted": 1}


def becomes_a_contract(market, participant):
    """A participant with money whose address is a contract wallet's from now on, one that says yes to everything."""
    chain = Chain(market.devnet.url, market.chain.addresses, after_send=market.devnet.mine)
    address = market.deploy_helper(chain, "Wallet", chain.addresses["Trading"])
    code = chain.node.request("eth_getCode", address, "latest")
    market.devnet.node.request("anvil_setCode", participant.address, code)


def test_take__contract_wallet_that_says_yes__is_taken_and_enters(market, actors, box, intake, steps):
    market.chain.send(actors.consumer, Call("Trading", "setContractWallet", (True,)))
    becomes_a_contract(market, actors.consumer)
    (key,) = intake.take([SignedBundle(market.bundle(actors.consumer, bid(300, 100)), b"any bytes")])
    steps.step()
    assert box.find(key).state is State.DONE


def test_take__contract_that_did_not_opt_in__is_refused(market, actors, box, intake):
    becomes_a_contract(market, actors.consumer)
    (refusal,) = intake.take([SignedBundle(market.bundle(actors.consumer, bid(300, 100)), b"any bytes")])
    assert type(refusal) is NotEnterableError
    assert states(box) == {}
