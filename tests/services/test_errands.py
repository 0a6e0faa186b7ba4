"""Cancels, withdrawals and deposits by signature: brought by the relay that an operator runs, fed by the API."""

import httpx
import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data

from busbar import permits
from busbar.api.context import Settings
from busbar.chain import Call, withdraw_for_call
from busbar.devnet import dev_signer
from busbar.errands import MOST, PermitNonceError, SignedMessage, token_domain
from busbar.history import open_database
from busbar.outbox import Outbox, State
from busbar.permits import Permit
from busbar.relay import Intake, NotEnterableError, Relay
from busbar.signing import CancelOrder, CancelUpTo, Withdraw
from busbar.units import Asset
from tests.market import BAHT, bid
from tests.served import followed, served
from tests.services.test_relay import RELAY, becomes_a_contract, problem, running

FAR = 2**40


@pytest.fixture
def relay(market, tmp_path):
    with running(market, tmp_path) as relay:
        yield relay


@pytest.fixture
def api(market, tmp_path, relay):
    """A server before the relay."""
    engine = open_database(f"sqlite:///{tmp_path / 'index.db'}")
    settings = Settings(engine, market.chain, rate=None, relay_url=str(relay.client.base_url))
    with (
        followed(market.chain, engine),
        served(settings) as url,
        httpx.Client(base_url=url + "/api/v1/", headers={"connection": "close"}, timeout=30) as http,
    ):
        yield http
    engine.dispose()


def signature_of(participant, typed_data):
    """As any wallet signs: 65 bytes."""
    signable = encode_typed_data(full_message=typed_data)
    return "0x" + bytes(Account.sign_message(signable, participant.account.key).signature).hex()


def brought(api, participant, kind, wish, **more):
    """Asks what to sign, signs it and hands it on."""
    to_sign = api.post(f"typed-data/{kind}", json=wish).raise_for_status().json()["typed_data"]
    body = more | {"message": to_sign["message"], "signature": signature_of(participant, to_sign)}
    return api.post(f"errands/{kind}", json=body)


def ended(api, relay, answer):
    """What became of it in the end, blocks being made."""
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == answer.json()["follow"]
    follow = answer.json()["follow"].removeprefix("/api/v1/")
    relay.until(lambda: api.get(follow).json()["state"] not in ("accepted", "sent"), mine=True)
    return api.get(follow).json()


def signed(market, participant, message):
    return SignedMessage(message, market.signature(participant, message))


def withdrawal(market, participant, nonce=0, baht=1, deadline=FAR):
    message = Withdraw(participant.address, Asset.MONEY, baht * BAHT, participant.address, nonce, deadline)
    return signed(market, participant, message)


def permit_of(market, participant, baht=1, nonce=0, deadline=FAR, **other):
    trading = other.get("spender", market.chain.addresses["Trading"])
    permit = Permit(participant.address, Asset.MONEY, trading, baht * BAHT, nonce, deadline)
    by = other.get("by", participant)
    domain = token_domain(market.chain, Asset.MONEY)
    return SignedMessage(permit, permits.sign(permit, domain, bytes(by.account.key)))


# ------------------------------------------------------------------------------ over HTTP, by a process


def test_errand__signed_cancel_of_an_order__frees_its_escrow(market, actors, api, relay):
    market.enter(actors.consumer, bid(300, 400))
    number = market.order_id(actors.consumer)
    told = ended(api, relay, brought(api, actors.consumer, "cancel-order", {"order_id": str(number)}))
    assert (told["errand"], told["state"], told["reason"]) == ("cancel-order", "done", None)
    assert market.account(actors.consumer).money_escrow_units == 0
    (event,) = market.chain.events([("Trading", "OrderCancelled")], 0, market.chain.head().number)
    assert (event.tx_hash, event.block) == (told["transaction"], told["block"])


def test_delete_order__with_its_signature__is_done_by_the_relay(market, actors, api, relay):
    market.enter(actors.consumer, bid(300, 400))
    number = str(market.order_id(actors.consumer))
    to_sign = api.post("typed-data/cancel-order", json={"order_id": number}).json()["typed_data"]
    answer = api.delete(f"energy/orders/{number}", params={"signature": signature_of(actors.consumer, to_sign)})
    assert ended(api, relay, answer)["state"] == "done"
    assert market.account(actors.consumer).money_escrow_units == 0


def test_errand__signed_cancel_of_messages__stops_a_bundle_that_waits(market, actors, api, relay):
    epoch = market.epoch
    waits = relay.take(market.signed_orders(actors.consumer, bid(300, 100), nonce=4, epochs=(epoch + 1, epoch + 1)))
    wish = {"account": actors.consumer.address, "nonce": 4}
    assert ended(api, relay, brought(api, actors.consumer, "cancel-up-to", wish))["state"] == "done"
    market.next_epoch()
    assert relay.ended(waits)["reason"]["error"] == "InvalidNonce"


def test_errand__signed_payment__reaches_its_receiver(market, actors, api, relay):
    to = actors.outsider.address
    wish = {"account": actors.consumer.address, "asset": "money", "amount_wei": str(3 * BAHT), "to": to}
    assert ended(api, relay, brought(api, actors.consumer, "withdraw", wish))["state"] == "done"
    assert market.token_balance("BahtToken", to) == 3 * BAHT


def test_errand__permit__is_deposited_without_gas_of_ones_own(market, actors, api, relay):
    market.withdraw(actors.consumer, Asset.MONEY, 5 * BAHT)
    free = market.account(actors.consumer).money_free_units
    wish = {"account": actors.consumer.address, "asset": "money", "amount_wei": str(5 * BAHT)}
    assert ended(api, relay, brought(api, actors.consumer, "deposit", wish, asset="money"))["state"] == "done"
    assert market.account(actors.consumer).money_free_units - free == market.chain.money.from_wei(5 * BAHT)


def test_errand__more_than_the_balance__is_refused_with_the_contracts_reason(market, actors, api, relay):
    wish = {"account": actors.consumer.address, "asset": "money", "amount_wei": str(10**9 * BAHT)}
    told = ended(api, relay, brought(api, actors.consumer, "withdraw", wish))
    assert (told["state"], told["transaction"], told["reason"]["error"]) == ("refused", None, "InsufficientFree")
    assert market.account(actors.consumer).nonce == 0


def test_errand__the_same_again__is_one(market, actors, api, relay):
    wish = {"account": actors.consumer.address, "asset": "money", "amount_wei": str(BAHT), "deadline": FAR}
    first = brought(api, actors.consumer, "withdraw", wish | {"nonce": 2})
    told = ended(api, relay, first)
    again = brought(api, actors.consumer, "withdraw", wish | {"nonce": 2})
    assert (again.status_code, again.json()["state"], again.json()["id"]) == (202, "done", told["id"])
    assert market.token_balance("BahtToken", actors.consumer.address) == BAHT


def test_errand__of_a_bundle__is_unknown(market, actors, api, relay):
    key = relay.take(market.signed_orders(actors.consumer, bid(300, 100)))
    assert api.get(f"errands/status/{key}").status_code == 404
    key = brought(api, actors.consumer, "cancel-up-to", {"account": actors.consumer.address, "nonce": 9}).json()["id"]
    assert api.get(f"energy/bundles/{key}").status_code == 404


def test_relay__killed_between_sending_a_withdrawal_and_its_receipt__does_it_once(market, actors, api, relay):
    wish = {"account": actors.consumer.address, "asset": "money", "amount_wei": str(3 * BAHT)}
    answer = brought(api, actors.consumer, "withdraw", wish)
    relay.until(relay.sent)
    relay.kill()
    market.devnet.mine()
    relay.start()
    key = answer.json()["id"]
    relay.until(lambda: relay.client.get(f"/errands/{key}").json()["state"] not in ("accepted", "sent"), mine=True)
    assert relay.client.get(f"/errands/{key}").json()["state"] == "done"
    assert market.token_balance("BahtToken", actors.consumer.address) == 3 * BAHT


def test_post__what_can_never_be_done__is_refused_by_name(market, actors, api, relay):
    market.chain.send(actors.other_consumer, Call("Trading", "cancelUpTo", (4,)))
    consumer, other = actors.consumer, actors.other_consumer
    wish = {"account": consumer.address, "asset": "money", "amount_wei": str(BAHT)}
    wrong = {"message": {"account": consumer.address, "nonce": 1}, "signature": "0x" + "11" * 64}
    answers = {
        "BadSignature": api.post("errands/cancel-up-to", json=wrong),
        "InvalidNonce": brought(api, other, "withdraw", wish | {"account": other.address, "nonce": 4}),
        "DeadlinePassed": brought(api, consumer, "withdraw", wish | {"deadline": 1}),
        "ERC2612ExpiredSignature": brought(api, consumer, "deposit", wish | {"deadline": 1}, asset="money"),
    }
    assert {name: problem(answer) for name, answer in answers.items()} == {name: (422, name) for name in answers}


def test_post__more_than_the_rate__is_refused(market, actors, tmp_path):
    with running(market, tmp_path, rate="1/hour") as relay:
        messages = [CancelUpTo(actors.consumer.address, nonce) for nonce in (1, 2)]
        answers = [
            relay.client.post(
                "/errands/cancel-up-to",
                json={"message": m.fields(), "signature": "0x" + market.signature(actors.consumer, m).hex()},
            )
            for m in messages
        ]
        assert [answer.status_code for answer in answers] == [202, 429]
        assert problem(answers[1]) == (429, "RateError")


@pytest.mark.parametrize("value", [True, 1.5, "1e3", "-1", "0x10", -1, 2**256])
def test_post__amount_that_is_no_whole_number__is_refused_with_the_field(actors, api, value):
    message = withdrawal_fields(actors.consumer) | {"amountWei": value}
    answer = api.post("errands/withdraw", json={"message": message, "signature": "0x11"})
    assert [entry["location"] for entry in answer.json()["errors"]] == ["body.message.amountWei"]


def withdrawal_fields(participant):
    return Withdraw(participant.address, Asset.MONEY, BAHT, participant.address, 0, FAR).fields()


# ------------------------------------------------------------------------------ in this process


@pytest.fixture
def box():
    return Outbox(None)


@pytest.fixture
def intake(market, box):
    return Intake(market.chain, box, rate="1000/minute", most_waiting=1_000)


@pytest.fixture
def steps(market, box):
    return Relay(market.chain, dev_signer(RELAY), box)


def test_step__orders_and_a_withdrawal_after_them__come_in_the_order_of_their_nonces(
    market, actors, box, intake, steps
):
    keys = intake.take(
        [
            withdrawal(market, actors.consumer, nonce=6),
            market.signed_orders(actors.consumer, bid(300, 100), nonce=5),
            market.signed_orders(actors.consumer, bid(300, 100), nonce=7),
        ]
    )
    for done in (1, 2, 3):
        steps.step()
        assert box.counts()[State.DONE] == done
    assert [box.find(key).state for key in keys] == [State.DONE] * 3


def test_step__a_cancel_of_messages_and_those_messages__costs_no_gas_for_them(market, actors, box, intake, steps):
    stop = CancelUpTo(actors.consumer.address, 5)
    intake.take([market.signed_orders(actors.consumer, bid(300, 100), nonce=5), signed(market, actors.consumer, stop)])
    assert [str(outcome.call) for outcome in steps.step()] == ["Trading.cancelUpToFor"]
    assert steps.step() == []
    (item,) = box.of(State.REFUSED)
    assert "InvalidNonce" in item.reason


def test_step__two_permits_of_an_account__are_both_used_in_turn(market, actors, box, intake, steps):
    market.withdraw(actors.consumer, Asset.MONEY, 2 * BAHT)
    intake.take([permit_of(market, actors.consumer, nonce=n) for n in (0, 1)])
    steps.step()
    steps.step()
    assert box.counts()[State.DONE] == 2
    assert market.token_balance("BahtToken", actors.consumer.address) == 0


def test_step__somebody_else_brought_it__is_done_by_that_transaction(market, actors, box, intake, steps):
    mine = withdrawal(market, actors.consumer)
    (key,) = intake.take([mine])
    outcome = market.chain.send(actors.outsider, withdraw_for_call(mine.message, mine.signature))
    assert steps.step()[0].tx_hash is None
    assert box.find(key).state is State.DONE
    assert outcome.tx_hash in box.find(key).reason


def test_step__another_message_used_the_nonce__is_refused(market, actors, box, intake, steps):
    (key,) = intake.take([withdrawal(market, actors.consumer, baht=2)])
    other = withdrawal(market, actors.consumer, baht=1)
    market.chain.send(actors.outsider, withdraw_for_call(other.message, other.signature))
    steps.step()
    assert box.find(key).state is State.REFUSED


def test_step__past_its_deadline__expires(market, actors, box, intake, steps):
    (key,) = intake.take([withdrawal(market, actors.consumer, deadline=market.chain.head().timestamp + 5)])
    market.pass_time(10)
    assert steps.step() == []
    assert box.find(key).state is State.EXPIRED


def test_take__permit_for_somebody_else__is_refused(market, actors, box, intake):
    (refusal,) = intake.take([permit_of(market, actors.consumer, spender=actors.outsider.address)])
    assert type(refusal).__name__ == "OtherSpenderError"


def test_take__permit_that_was_used__is_refused(market, actors, intake):
    market.withdraw(actors.consumer, Asset.MONEY, BAHT)
    used = permit_of(market, actors.consumer)
    v, r, s = permits.split(used.signature)
    args = (actors.consumer.address, Asset.MONEY, BAHT, FAR, v, r, s)
    market.chain.send(actors.outsider, Call("Trading", "depositWithPermitFor", args))
    (refusal,) = intake.take([permit_of(market, actors.consumer, baht=2)])
    assert type(refusal) is PermitNonceError


def test_take__permit_signed_by_another__is_refused(market, actors, intake):
    (refusal,) = intake.take([permit_of(market, actors.consumer, by=actors.producer)])
    assert type(refusal).__name__ == "BadSignature"


def test_take__order_of_another_epoch__is_refused(market, actors, intake):
    message = CancelOrder(actors.consumer.address, market.epoch + 1, 0, bid(300, 400))
    (refusal,) = intake.take([signed(market, actors.consumer, message)])
    assert type(refusal).__name__ == "OrderNotOpen"


def test_take__suspended_account__may_cancel_and_withdraw_and_not_deposit(market, actors, box, intake):
    permit = permit_of(market, actors.consumer)
    market.chain.send(actors.distributor, Call("Registry", "setStatus", (actors.consumer.address, 2)))
    stop = signed(market, actors.consumer, CancelUpTo(actors.consumer.address, 1))
    answers = intake.take([permit, stop, withdrawal(market, actors.consumer)])
    assert type(answers[0]).__name__ == "AccountSuspended"
    assert [box.find(key).state for key in answers[1:]] == [State.ACCEPTED] * 2


def test_take__contract_wallet_that_says_yes__is_taken_and_done(market, actors, box, intake, steps):
    market.chain.send(actors.consumer, Call("Trading", "setContractWallet", (True,)))
    becomes_a_contract(market, actors.consumer)
    message = Withdraw(actors.consumer.address, Asset.MONEY, BAHT, actors.outsider.address, 0, FAR)
    (key,) = intake.take([SignedMessage(message, b"any bytes")])
    steps.step()
    assert box.find(key).state is State.DONE


def test_take__contract_that_did_not_opt_in__is_refused(market, actors, box, intake):
    becomes_a_contract(market, actors.consumer)
    message = Withdraw(actors.consumer.address, Asset.MONEY, BAHT, actors.outsider.address, 0, FAR)
    (refusal,) = intake.take([SignedMessage(message, b"any bytes")])
    assert type(refusal).__name__ == "NotDoableError"
    assert type(refusal) is not NotEnterableError


# ---- wallets that answer a transaction otherwise than a simulation

TWO_FACED = "0x3a15631626ba7e60e01b0260005260206000f3"
"""Code of a wallet: it signed everything if gas is free, as in a simulation, and nothing if gas has a price."""


@pytest.fixture
def priced(market):
    """A chain on which gas has a price from the next block on."""
    node = market.devnet.node

    def price(wei):
        node.request("anvil_setBalance", dev_signer(RELAY).address, hex(10**20))
        node.request("anvil_setNextBlockBaseFeePerGas", hex(wei))
        market.devnet.mine()

    yield lambda: price(10**9)
    price(0)


def two_faced(market, *participants):
    for participant in participants:
        market.devnet.node.request("anvil_setBalance", participant.address, hex(10**18))
        market.chain.send(participant, Call("Trading", "setContractWallet", (True,)))
        market.devnet.node.request("anvil_setCode", participant.address, TWO_FACED)


def test_step__wallet_says_yes_to_simulations_alone__is_paid_for_twice_and_refused(
    market, actors, box, intake, steps, priced
):
    two_faced(market, actors.other_consumer)
    (key,) = intake.take([SignedMessage(CancelUpTo(actors.other_consumer.address, 5), b"any")])
    priced()
    paid = [outcome.gas_used for _ in range(4) for outcome in steps.step()]
    assert len(paid) == 2
    assert box.find(key).state is State.REFUSED
    assert market.account(actors.other_consumer).nonce == 0


def test_step__as_many_such_wallets_as_a_pass_takes__an_honest_errand_comes_second(
    market, actors, box, intake, steps, priced
):
    crowd = [dev_signer(400 + i) for i in range(MOST)]
    market.register(*crowd)
    two_faced(market, *crowd)
    intake.take([SignedMessage(CancelUpTo(one.address, 5), b"any") for one in crowd])
    (honest,) = intake.take([withdrawal(market, actors.consumer)])
    priced()
    steps.step()
    steps.step()
    assert box.find(honest).state is State.DONE
