"""Trading by signature over HTTP: what a wallet signs, the contract takes; the relay enters what is posted."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data

from busbar.chain import cancel_order_for_call, cancel_up_to_for_call, enter_bundles_call, withdraw_for_call
from busbar.devnet import free_port
from busbar.replay import orders_entered
from busbar.signing import Bundle, CancelOrder, CancelUpTo, SignedBundle, Withdraw, compact
from busbar.units import Asset
from tests.market import BAHT, ask, bid
from tests.served import servers
from tests.services.test_relay import running

BUY = {"side": "buy", "tick": 310, "quantity_wh": 500}
SELL = {"side": "sell", "tick": 320, "quantity_wh": 200}


@pytest.fixture
def http_of(market, tmp_path):
    """A server over the tests' market, and a client of it; with a relay or without."""
    with servers(market.chain, tmp_path) as of:
        yield of


@pytest.fixture
def http(http_of):
    return http_of()


@pytest.fixture
def with_relay(market, tmp_path, http_of):
    """The API before the relay that an operator runs, and that relay."""
    with running(market, tmp_path) as relay:
        yield http_of(relay_url=str(relay.client.base_url)), relay


def asked(http, kind, **body):
    answer = http.post(f"typed-data/{kind}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def signed_by_a_wallet(participant, to_sign):
    """As any wallet does: from the typed data alone, 65 bytes."""
    signable = encode_typed_data(full_message=to_sign["typed_data"])
    return bytes(Account.sign_message(signable, participant.account.key).signature)


def posted(http, participant, to_sign):
    signature = "0x" + signed_by_a_wallet(participant, to_sign).hex()
    return http.post("energy/orders", json={"message": to_sign["typed_data"]["message"], "signature": signature})


# ------------------------------------------------------------------------------ what is to be signed


def test_typed_data__of_orders__is_what_the_contract_takes(market, actors, http):
    market.give_energy(actors.producer, 1_000)
    to_sign = asked(http, "orders", account=actors.producer.address, orders=[BUY, SELL])
    signature = compact(signed_by_a_wallet(actors.producer, to_sign))
    bundle = Bundle.from_fields(to_sign["typed_data"]["message"])
    outcome = market.chain.send(actors.outsider, enter_bundles_call(1, [SignedBundle(bundle, signature)]))
    (entered,) = market.events(outcome, "BundleEntered")
    assert bundle.orders == (bid(310, 500), ask(320, 200))
    assert list(orders_entered(entered)) == [(market.epoch, 2)]


def test_typed_data__of_orders__has_the_shape_of_eth_sign_typed_data_v4(market, actors, http):
    data = asked(http, "orders", account=actors.consumer.address, orders=[BUY])["typed_data"]
    assert set(data) == {"types", "primaryType", "domain", "message"}
    assert set(data["types"]) == {"EIP712Domain", "Orders", "Order"}
    assert data["primaryType"] == "Orders"
    assert data["domain"] == {
        "name": "Busbar Trading",
        "version": "1",
        "chainId": market.chain.chain_id,
        "verifyingContract": market.chain.addresses["Trading"],
    }


def test_typed_data__of_orders_with_everything_named__says_just_that(market, actors, http):
    wish = {"account": actors.consumer.address, "nonce": 9, "first_epoch": 40, "last_epoch": 44, "orders": [BUY]}
    message = asked(http, "orders", **wish)["typed_data"]["message"]
    assert (message["nonce"], message["firstEpoch"], message["lastEpoch"]) == (9, 40, 44)


def test_typed_data__of_a_standing_order__says_until_when_and_is_what_the_contract_takes(market, actors, http):
    epoch = market.epoch
    to_sign = asked(http, "orders", account=actors.consumer.address, orders=[BUY | {"until_epoch": epoch + 7}])
    message = to_sign["typed_data"]["message"]
    assert message["orders"][0]["untilEpoch"] == epoch + 7
    signature = compact(signed_by_a_wallet(actors.consumer, to_sign))
    market.chain.send(actors.outsider, enter_bundles_call(1, [SignedBundle(Bundle.from_fields(message), signature)]))
    (entry,) = market.chain.orders(actors.consumer.address)
    assert entry.order.life == 7
    shown = http.get("energy/orders", params={"account": actors.consumer.address}).json()["items"]
    assert [(order["until_epoch"], order["rolled"], order["ended"]) for order in shown] == [(epoch + 7, False, None)]


def test_typed_data__standing_longer_than_a_day__is_a_problem_document(market, actors, http):
    body = {"account": actors.consumer.address, "orders": [BUY | {"until_epoch": market.epoch + 97}]}
    answer = http.post("typed-data/orders", json=body)
    assert (answer.status_code, "InvalidLife" in answer.text) == (422, True)


def test_typed_data__of_a_cancel__is_what_the_contract_takes(market, actors, http):
    market.enter(actors.consumer, bid(300, 400), bid(310, 500))
    to_sign = asked(http, "cancel-order", order_id=str(market.order_id(actors.consumer, 1)))
    signature = compact(signed_by_a_wallet(actors.consumer, to_sign))
    message = CancelOrder(actors.consumer.address, market.epoch, 1, bid(310, 500))
    outcome = market.chain.send(actors.outsider, cancel_order_for_call(message, signature))
    assert [event.args["index"] for event in market.events(outcome, "OrderCancelled")] == [1]


def test_typed_data__of_a_cancel_of_messages__is_what_the_contract_takes(market, actors, http):
    to_sign = asked(http, "cancel-up-to", account=actors.consumer.address, nonce=6)
    signature = compact(signed_by_a_wallet(actors.consumer, to_sign))
    market.chain.send(actors.outsider, cancel_up_to_for_call(CancelUpTo(actors.consumer.address, 6), signature))
    assert market.account(actors.consumer).nonce == 7
    assert http.get(f"accounts/{actors.consumer.address}/balance").json()["nonce"] == 7


def test_typed_data__of_a_withdrawal__is_what_the_contract_takes(market, actors, http):
    to = actors.outsider.address
    wish = {"account": actors.consumer.address, "asset": "money", "amount_wei": str(3 * BAHT), "to": to}
    to_sign = asked(http, "withdraw", **wish)
    signature = compact(signed_by_a_wallet(actors.consumer, to_sign))
    deadline = to_sign["typed_data"]["message"]["deadline"]
    message = Withdraw(actors.consumer.address, Asset.MONEY, 3 * BAHT, to, 0, deadline)
    market.chain.send(actors.outsider, withdraw_for_call(message, signature))
    assert market.token_balance("BahtToken", to) == 3 * BAHT


def test_typed_data__a_number_beyond_53_bits__is_a_decimal_string(actors, http):
    wish = {"account": actors.consumer.address, "asset": "money", "amount_wei": str(BAHT), "deadline": 2**53 - 1}
    message = asked(http, "withdraw", **wish)["typed_data"]["message"]
    assert (message["amountWei"], message["deadline"]) == (str(BAHT), 2**53 - 1)


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("orders", {"account": "0x" + "11" * 20, "orders": [BUY]}, 404),
        ("orders", {"account": "0x" + "11" * 20, "orders": []}, 422),
        ("cancel-order", {"order_id": "12345"}, 404),
        ("cancel-order", {"order_id": str(2**255)}, 422),
        ("withdraw", {"account": "0x" + "11" * 20, "asset": "money", "amount_wei": "0"}, 422),
    ],
)
def test_typed_data__of_what_cannot_be__is_a_problem_document(http, kind, body, status):
    answer = http.post(f"typed-data/{kind}", json=body)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


# ------------------------------------------------------------------------------ handed to the relay


def test_orders__a_wallet_signs_and_posts__are_in_the_market_after_two_calls(market, actors, with_relay):
    http, relay = with_relay
    to_sign = asked(http, "orders", account=actors.consumer.address, orders=[BUY])
    answer = posted(http, actors.consumer, to_sign)
    taken = answer.json()
    assert (answer.status_code, taken.get("state")) == (202, "accepted"), taken
    assert answer.headers["location"] == taken["follow"]
    relay.ended(taken["id"])
    market.chain.after_send()
    status = http.get(taken["follow"].removeprefix("/api/v1/")).json()
    assert (status["state"], status["epoch"]) == ("entered", market.epoch)
    (order,) = http.get("energy/orders", params={"account": actors.consumer.address}).json()["items"]
    assert (order["tx_hash"], order["nonce"], order["quantity_wh"]) == (status["transaction"], 0, 500)


def test_orders__not_signed_by_their_account__are_refused_by_the_contracts_name(actors, with_relay):
    http, _ = with_relay
    answer = posted(http, actors.producer, asked(http, "orders", account=actors.consumer.address, orders=[BUY]))
    problem = answer.json()
    assert (answer.status_code, problem["type"]) == (422, "urn:busbar:error:BadSignature")
    assert problem["values"] == {"account": actors.consumer.address}


def test_orders__many_at_once_and_one_forged__each_gets_its_own_answer(actors, with_relay):
    http, _ = with_relay
    crowd = [actors.consumer, actors.producer]
    wishes = [
        (who, nonce, asked(http, "orders", account=who.address, nonce=nonce, orders=[BUY]))
        for nonce in range(8)
        for who in crowd
    ]
    with ThreadPoolExecutor(16) as pool:
        # Of the last one the other account's key signed.
        signers = [who for who, _, _ in wishes[:-1]] + [actors.consumer]
        answers = list(pool.map(lambda pair: posted(http, pair[0], pair[1][2]), zip(signers, wishes, strict=True)))
    assert [answer.status_code for answer in answers] == [202] * 15 + [422]
    ids = [answer.json()["id"] for answer in answers[:-1]]
    assert [key[:42] for key in ids] == [who.address.lower() for who, _, _ in wishes[:-1]]
    assert len(set(ids)) == 15
    assert answers[-1].json()["title"] == "BadSignature"


def test_orders__more_than_the_rate__is_429_with_the_time_to_wait(market, actors, http_of, tmp_path):
    with running(market, tmp_path, rate="1/hour") as relay:
        http = http_of(relay_url=str(relay.client.base_url))
        wishes = [asked(http, "orders", account=actors.consumer.address, nonce=nonce, orders=[BUY]) for nonce in (0, 1)]
        first, second = (posted(http, actors.consumer, wish) for wish in wishes)
        assert (first.status_code, second.status_code) == (202, 429)
        assert (second.headers["retry-after"], second.json()["title"]) == ("10", "Too many messages")


def signed_bundle(http, who, account, **wish):
    """A bundle as it is posted, signed by `who` for an account."""
    to_sign = asked(http, "orders", account=account.address, orders=[BUY], **wish)
    return {"message": to_sign["typed_data"]["message"], "signature": "0x" + signed_by_a_wallet(who, to_sign).hex()}


def test_bundles__of_several_and_one_forged__each_is_answered_in_order(market, actors, with_relay):
    http, relay = with_relay
    pairs = [(actors.consumer, actors.consumer), (actors.producer, actors.consumer), (actors.producer, actors.producer)]
    body = {"bundles": [signed_bundle(http, who, account) for who, account in pairs]}
    answer = http.post("energy/bundles", json=body)
    first, forged, third = answer.json()["bundles"]
    assert answer.status_code == 202
    assert (forged["taken"], forged["refused"]["title"]) == (None, "BadSignature")
    for taken in (first["taken"], third["taken"]):
        relay.ended(taken["id"])
        assert http.get(taken["follow"].removeprefix("/api/v1/")).json()["state"] == "entered"


def test_bundles__one_misshapen__refuses_all_and_names_the_field(actors, with_relay):
    http, relay = with_relay
    good = signed_bundle(http, actors.consumer, actors.consumer)
    answer = http.post("energy/bundles", json={"bundles": [good, good | {"signature": "0x1"}]})
    assert (answer.status_code, answer.json()["errors"][0]["location"]) == (422, "body.bundles.1.signature")
    assert relay.client.get("/status").json()["waiting"] == 0


def test_bundles__the_relay_is_gone__is_503(actors, http_of):
    http = http_of(relay_url=f"http://127.0.0.1:{free_port()}")
    answer = http.post("energy/bundles", json={"bundles": [signed_bundle(http, actors.consumer, actors.consumer)]})
    assert (answer.status_code, answer.json()["title"]) == (503, "The relay does not answer")


def test_orders__the_relay_is_gone__is_503(actors, http_of):
    http = http_of(relay_url=f"http://127.0.0.1:{free_port()}")
    answer = posted(http, actors.consumer, asked(http, "orders", account=actors.consumer.address, orders=[BUY]))
    assert (answer.status_code, answer.json()["title"]) == (503, "The relay does not answer")
    assert http.get("energy/bundles/0x" + "0" * 72).status_code == 503


def test_orders__something_else_stands_where_the_relay_should__is_503(market, actors, http_of):
    http = http_of(relay_url=market.devnet.url)
    answer = posted(http, actors.consumer, asked(http, "orders", account=actors.consumer.address, orders=[BUY]))
    assert (answer.status_code, answer.json()["title"]) == (503, "The relay does not answer")


def test_orders__no_relay_is_configured__is_503(actors, http):
    answer = posted(http, actors.consumer, asked(http, "orders", account=actors.consumer.address, orders=[BUY]))
    assert (answer.status_code, answer.json()["title"]) == (503, "No relay")


def test_bundle__nobody_took_on__is_404(with_relay):
    answer = with_relay[0].get("energy/bundles/0x" + "0" * 72)
    assert (answer.status_code, answer.json()["title"]) == (404, "Unknown message")


# ------------------------------------------------------------------------------ cancels


def test_cancel__of_an_open_order__is_its_accounts_transaction(market, actors, http):
    market.enter(actors.consumer, bid(300, 400))
    (payload,) = http.delete(f"energy/orders/{market.order_id(actors.consumer)}").json()["transactions"]
    assert (payload["sender"], payload["to"]) == (actors.consumer.address, market.chain.addresses["Trading"])
    assert sent(market, actors.consumer, payload) == ["OrderCancelled"]


def test_cancel__signed__is_anybodys_transaction(market, actors, http):
    market.enter(actors.consumer, bid(300, 400))
    number = market.order_id(actors.consumer)
    signature = signed_by_a_wallet(actors.consumer, asked(http, "cancel-order", order_id=str(number)))
    params = {"signature": "0x" + signature.hex(), "sender": actors.outsider.address}
    (payload,) = http.delete(f"energy/orders/{number}", params=params).json()["transactions"]
    assert sent(market, actors.outsider, payload) == ["OrderCancelled"]


def test_cancel__signed_by_another__is_refused_by_the_contracts_name(market, actors, http):
    market.enter(actors.consumer, bid(300, 400))
    number = market.order_id(actors.consumer)
    signature = signed_by_a_wallet(actors.producer, asked(http, "cancel-order", order_id=str(number)))
    params = {"signature": "0x" + signature.hex(), "sender": actors.outsider.address}
    answer = http.delete(f"energy/orders/{number}", params=params)
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:busbar:error:BadSignature")


def sent(market, signer, payload):
    """Signs and sends a payload; the names of what it brought."""
    names = {
        "chainId": "chain_id",
        "to": "to",
        "data": "data",
        "nonce": "nonce",
        "gas": "gas",
        "maxFeePerGas": "max_fee_per_gas",
        "maxPriorityFeePerGas": "max_priority_fee_per_gas",
    }
    fields = {name: payload[of] for name, of in names.items()}
    fields |= {name: int(fields[name]) for name in ("maxFeePerGas", "maxPriorityFeePerGas")}
    raw = signer.sign(fields | {"value": 0, "type": 2})
    tx = market.chain.node.request("eth_sendRawTransaction", "0x" + bytes(raw).hex())
    market.devnet.mine()
    receipt = market.chain.node.request("eth_getTransactionReceipt", tx)
    return [event.name for event in market.chain.decode_logs(receipt["logs"])]
