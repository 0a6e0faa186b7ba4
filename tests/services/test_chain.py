"""The door to the contracts: errors by name, batches, nonces, reads of one block."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from eth_abi import encode
from eth_utils.crypto import keccak

from busbar import errors
from busbar.chain import (
    TRANSACTION_GAS_CAP,
    Call,
    Chain,
    ChainUnreachableError,
    KeySigner,
    NoContractError,
    Node,
    NodeRefusedError,
    NotMinedError,
    WrongChainError,
    decode_revert,
)
from busbar.devnet import dev_signer, free_port
from tests.market import BAHT, MONEY, ZONE, reverts


def register(account):
    return Call("Registry", "registerUser", (account.address, ZONE, bytes(32)))


def set_status(account, status):
    return Call("Registry", "setStatus", (account.address, status))


def nonce(market, signer):
    return int(market.chain.node.request("eth_getTransactionCount", signer.address, "latest"), 16)


def one_line(error):
    text = str(error)
    return text != "" and "\n" not in text


class Interfering:
    """A signer during whose signing, after the simulation and before the broadcast, something else happens."""

    def __init__(self, signer, happens):
        self.signer = signer
        self.happens = happens

    @property
    def address(self):
        return self.signer.address

    def sign(self, transaction):
        self.happens()
        return self.signer.sign(transaction)


@contextmanager
def serving(status, body, content_type="application/json"):
    """A server that is no node; gives its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


# --------------------------------------------------------------------- connecting


def test_chain__nobody_listens__says_so_in_one_line_with_the_address():
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(ChainUnreachableError) as caught:
        Chain(url)
    assert one_line(caught.value)
    assert url in str(caught.value)
    assert "make devnet" in str(caught.value)


@pytest.mark.parametrize("status", [404, 502])
def test_chain__a_server_that_refuses__says_so_in_one_line(status):
    with serving(status, b"<html>\nno\n</html>", "text/html") as url, pytest.raises(ChainUnreachableError) as caught:
        Chain(url)
    assert one_line(caught.value)


@pytest.mark.parametrize("body", [b"<html>\nhello\n</html>", b"", b"\xff\xfe\x00", b"{"], ids=repr)
def test_chain__a_server_that_speaks_something_else__says_so_in_one_line(body):
    with serving(200, body, "text/html") as url, pytest.raises(NodeRefusedError, match="not JSON") as caught:
        Chain(url)
    assert one_line(caught.value)
    assert url in str(caught.value)


def test_chain__a_node_without_batches__says_so_in_one_line():
    body = b'{"jsonrpc":"2.0","id":1,"error":{"code":-32600,"message":"no batches here"}}'
    with serving(200, body) as url, pytest.raises(NodeRefusedError, match="no batches here") as caught:
        Chain(url)
    assert one_line(caught.value)


def test_batch__a_node_that_answers_in_another_order__is_put_in_order():
    body = b'[{"jsonrpc":"2.0","id":1,"result":"second"},{"jsonrpc":"2.0","id":0,"result":"first"}]'
    with serving(200, body) as url:
        assert Node(url).batch([("one", []), ("two", [])]) == ["first", "second"]


@pytest.mark.parametrize(
    "ids", [b"[0, 0]", b"[0, null]", b"[1, 2]", b"[0]", b"[0, 1, 2]", b"[0, 1, 1]"], ids=bytes.decode
)
def test_batch__answers_that_fit_no_question__are_refused_in_one_line(ids):
    body = json.dumps([{"jsonrpc": "2.0", "id": number, "result": "0x0"} for number in json.loads(ids)]).encode()
    with serving(200, body) as url, pytest.raises(NodeRefusedError, match="answered a batch with") as caught:
        Node(url).batch([("one", []), ("two", [])])
    assert one_line(caught.value)


def test_chain__a_node_that_refuses_on_two_lines__is_told_in_one():
    body = b'[{"jsonrpc":"2.0","id":0,"error":{"code":-32000,"message":"not\\ntoday"}}]'
    with serving(200, body) as url, pytest.raises(NodeRefusedError, match="not today") as caught:
        Chain(url)
    assert one_line(caught.value)


def test_chain__proxy_in_the_environment__is_not_asked_about_this_machine(market, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert Chain(market.devnet.url).chain_id == 31337


def test_chain__another_chain_than_expected__is_refused(market):
    with pytest.raises(WrongChainError) as caught:
        Chain(market.devnet.url, chain_id=1)
    assert one_line(caught.value)
    assert "31337" in str(caught.value)


def test_chain__the_expected_chain__is_accepted(market):
    assert Chain(market.devnet.url, chain_id=31337).chain_id == 31337


def test_request__method_the_node_does_not_know__is_named_in_one_line(market):
    with pytest.raises(NodeRefusedError) as caught:
        market.chain.node.request("busbar_nothing")
    assert one_line(caught.value)


# ------------------------------------------------------------------------- reading


def test_read__refused__is_the_contracts_error_by_name(market, actors):
    with reverts(errors.AlreadyRegistered, account=actors.producer.address):
        market.chain.read([register(actors.producer)], sender=actors.distributor.address)


def test_read__without_a_sender__comes_from_nobody(market, actors):
    with reverts(errors.AccessManagedUnauthorized, caller="0x" + "00" * 20):
        market.chain.read([register(actors.outsider)])


def test_read__many_calls__are_answered_in_order_at_one_block(market, actors):
    market.devnet.mine()
    calls = [Call("Trading", "currentEpoch"), Call("Registry", "userCount"), Call("Trading", "tickWei")]
    assert market.chain.read(calls) == [market.epoch, len(actors.participants), 10**16]
    assert market.chain.read([]) == []


def test_read__more_calls_than_a_batch__are_all_answered(market):
    calls = [Call("Trading", "orderIdOf", ("0x" + "00" * 20, i, 0)) for i in range(450)]
    assert market.chain.read(calls) == [i << 168 for i in range(450)]


def test_read__at_an_older_block__is_consistent(market, actors):
    meter = market.meter("m-1", actors.consumer)
    market.buy(actors.consumer, 300, 1_000)
    block = market.chain.head().number
    chain, address = market.chain, [actors.consumer.address]

    def state(at):
        return (
            chain.accounts(address, block=at),
            chain.imports(address, block=at),
            chain.registers(["m-1"], block=at),
            chain.zone(ZONE, block=at),
            chain.book(ZONE, block=at),
            chain.orders(actors.consumer.address, block=at),
            chain.participants(block=at),
            chain.clearing_due(ZONE, block=at),
            chain.results(ZONE, [market.epoch], block=at),
        )

    before = state(None)
    assert state(block) == before

    market.register(actors.outsider)
    market.cancel(actors.consumer, market.order_id(actors.consumer))
    market.submit(meter.read(5, 7))
    epoch = market.epoch
    market.next_epoch(200)

    now = market.chain.head().number
    assert state(None) == state(now)
    assert chain.participants(block=block) == [p.address for p in actors.participants]
    # Views that depend on time see the old block's.
    assert chain.view("Trading", "currentEpoch", block=block) == epoch
    for old, was in zip(state(block)[:-1], before[:-1], strict=True):
        assert old == was
    changed = [new != was for new, was in zip(state(None)[:7], before[:7], strict=True)]
    # Nobody has touched the zone.
    assert changed == [True, True, True, False, True, True, True]


def test_read__a_block_that_does_not_exist_yet__is_refused(market):
    with pytest.raises(errors.BusbarError) as caught:
        market.chain.view("Registry", "userCount", block=10**9)
    assert one_line(caught.value)


def test_read__where_no_contract_stands__names_contract_and_address(market, actors):
    chain = Chain(market.devnet.url, {"Registry": actors.outsider.address})
    with pytest.raises(NoContractError, match=r"Registry\.userCount .* no contract stands at 0x") as caught:
        chain.view("Registry", "userCount")
    assert one_line(caught.value)
    assert actors.outsider.address in str(caught.value)


def test_read__where_something_else_stands__names_contract_and_address(market):
    echo = "0x" + "04".rjust(40, "0")  # a precompile that gives back what it is told
    chain = Chain(market.devnet.url, {"Registry": echo})
    with pytest.raises(NoContractError, match=rf"Registry\.userCount .* another contract stands at {echo}") as caught:
        chain.view("Registry", "userCount")
    assert one_line(caught.value)


# ------------------------------------------------------------------------- sending


def test_send__refused_in_simulation__is_named_and_not_broadcast(market, actors):
    before, head = nonce(market, actors.distributor), market.chain.head()
    with reverts(errors.AlreadyRegistered, account=actors.producer.address) as caught:
        market.chain.send(actors.distributor, register(actors.producer))
    assert one_line(caught.value)
    assert nonce(market, actors.distributor) == before
    assert market.chain.head() == head


def test_send__taken__tells_block_gas_and_logs(market, actors):
    call = register(actors.outsider)
    outcome = market.chain.send(actors.distributor, call)
    head = market.chain.head()
    assert (outcome.call, outcome.sender, outcome.block) == (call, actors.distributor.address, head.number)
    assert outcome.ok
    assert outcome.error is None
    assert outcome.tx_hash in market.chain.node.request("eth_getBlockByNumber", "latest", False)["transactions"]
    assert 50_000 < outcome.gas_used < 300_000
    assert {e.name for e in market.events(outcome)} == {"UserRegistered", "AccountSet"}
    assert {e.tx_hash for e in market.events(outcome)} == {outcome.tx_hash}
    found = market.chain.events([("Registry", "UserRegistered"), ("Trading", "AccountSet")], head.number, head.number)
    assert found == market.events(outcome)


def test_send__overtaken_between_simulation_and_block__is_named_from_the_included_transaction(market, actors):
    rival = Chain(market.devnet.url, market.chain.addresses, after_send=market.devnet.mine)
    late = Interfering(actors.distributor, lambda: rival.send(actors.other_distributor, register(actors.outsider)))
    before = nonce(market, actors.distributor)
    (outcome,) = market.chain.send_many([(late, register(actors.outsider))])
    assert type(outcome.error) is errors.AlreadyRegistered
    assert outcome.error.values["account"].lower() == actors.outsider.address.lower()
    # It was included, and failed there.
    assert outcome.block == market.chain.head().number
    assert outcome.gas_used > 21_000
    assert (outcome.ok, outcome.logs) == (False, ())
    assert nonce(market, actors.distributor) == before + 1


def test_send__overtaken__raises_the_named_error(market, actors):
    rival = Chain(market.devnet.url, market.chain.addresses, after_send=market.devnet.mine)
    late = Interfering(actors.distributor, lambda: rival.send(actors.other_distributor, register(actors.outsider)))
    with reverts(errors.AlreadyRegistered, account=actors.outsider.address):
        market.chain.send(late, register(actors.outsider))


def test_send_many__overtaken_within_the_same_block__fails_in_one_line(market, actors):
    batch = [(actors.distributor, register(actors.outsider)), (actors.other_distributor, register(actors.outsider))]
    outcomes = market.chain.send_many(batch)
    # Which of two senders goes first is the block's choice.
    assert sorted(o.ok for o in outcomes) == [False, True]
    (failed,) = [o for o in outcomes if not o.ok]
    # It would not fail on the block before, but does on the block itself.
    assert type(failed.error) is errors.AlreadyRegistered
    assert failed.error.values["account"].lower() == actors.outsider.address.lower()
    assert failed.block == market.chain.head().number


def test_send__failed_for_a_reason_that_came_and_went_in_its_block__says_what_is_known(market, actors):
    at = market.chain.addresses
    paused = Call("Trading", "setPaused", (ZONE, True))
    closed, opened = (Call("Authority", "setTargetClosed", (at["Trading"], close)) for close in (True, False))
    # Of one sender, so they stand in the block as they are sent.
    sent = market.chain.broadcast(
        [
            (actors.regulator, {"to": at[call.contract], "data": market.chain._encode(call), "gas": 200_000})
            for call in (closed, paused, opened)
        ]
    )
    receipts = market.chain._receipts(sent)
    assert [int(receipts[tx]["status"], 16) for tx in sent] == [1, 0, 1]
    outcome = market.chain._outcome(actors.regulator, paused, sent[1], receipts[sent[1]])
    assert type(outcome.error) is NodeRefusedError
    assert "would not fail on the block before" in str(outcome.error)
    assert one_line(outcome.error)


def test_send_many__with_nonces__what_follows_a_refused_call_is_not_sent(market, actors):
    """It would come after what is under way already, as a second helping of it."""
    consumer = actors.consumer
    under_way, *withdrawals = [
        (consumer, Call("Trading", "withdraw", (MONEY, wei * BAHT, consumer.address))) for wei in (1, 2, 3)
    ]
    before = market.chain.nonces([consumer.address])
    Chain(market.devnet.url, market.chain.addresses, timeout_s=0).send_many([under_way], before)
    outcomes = market.chain.send_many(
        [*withdrawals, (actors.distributor, register(actors.outsider))],
        before | market.chain.nonces([actors.distributor.address]),
    )
    assert [outcome.ok for outcome in outcomes] == [False, False, True]
    assert outcomes[0].error is outcomes[1].error
    market.devnet.mine()
    assert nonce(market, consumer) == before[consumer.address] + 1


def test_send_many__with_nonces__many_of_one_sender_go_in_order(market, actors):
    nonces = market.chain.nonces([actors.distributor.address])
    batch = [(actors.distributor, register(dev_signer(40 + n))) for n in range(3)]
    outcomes = market.chain.send_many(batch, nonces)
    assert all(outcome.ok for outcome in outcomes)
    assert market.chain.participants()[-3:] == [dev_signer(40 + n).address for n in range(3)]


def test_send_many__nothing__does_nothing(market):
    head = market.chain.head()
    assert market.chain.send_many([]) == []
    assert market.chain.head() == head


def test_send_many__one_refused_among_good__disturbs_none_of_them(market, actors):
    newcomers = [dev_signer(i) for i in (40, 41, 42)]
    batch = [
        (actors.distributor, register(newcomers[0])),
        (actors.distributor, register(actors.producer)),
        (actors.outsider, register(newcomers[1])),
        (actors.distributor, register(newcomers[1])),
        (actors.other_distributor, register(newcomers[2])),
    ]
    before = nonce(market, actors.distributor)
    outcomes = market.chain.send_many(batch)
    assert [type(o.error) for o in outcomes] == [
        type(None),
        errors.AlreadyRegistered,
        errors.AccessManagedUnauthorized,
        type(None),
        type(None),
    ]
    assert [o.call for o in outcomes] == [call for _, call in batch]
    assert [o.sender for o in outcomes] == [signer.address for signer, _ in batch]
    assert [o.tx_hash is None for o in outcomes] == [False, True, True, False, False]
    assert nonce(market, actors.distributor) == before + 2
    assert len({o.block for o in outcomes if o.ok}) == 1
    for newcomer in newcomers:
        assert market.account(newcomer).status == 1


def test_send_many__all_refused__broadcasts_nothing(market, actors):
    head = market.chain.head()
    outcomes = market.chain.send_many([(actors.distributor, register(p)) for p in actors.participants])
    assert {type(o.error) for o in outcomes} == {errors.AlreadyRegistered}
    assert market.chain.head() == head


def test_send__not_mined_in_time__says_it_may_still_be(market, actors):
    impatient = Chain(market.devnet.url, market.chain.addresses, timeout_s=0.1)
    with pytest.raises(NotMinedError) as caught:
        impatient.send(actors.distributor, register(actors.outsider))
    assert one_line(caught.value)
    market.devnet.mine()
    assert market.account(actors.outsider).status == 1


@pytest.mark.parametrize("again", ["the same", "something else"])
def test_send__started_again_while_a_transaction_is_under_way__only_one_takes_effect(market, actors, again):
    consumer, wei = actors.consumer, BAHT
    first = Call("Trading", "withdraw", (MONEY, wei, consumer.address))
    second = first if again == "the same" else Call("Trading", "withdraw", (MONEY, 2 * wei, consumer.address))
    before = nonce(market, consumer)
    crashed = Chain(market.devnet.url, market.chain.addresses, timeout_s=0.1)
    with pytest.raises(NotMinedError):
        crashed.send(consumer, first)
    assert nonce(market, consumer) == before

    restarted = Chain(market.devnet.url, market.chain.addresses, timeout_s=0.1)
    (outcome,) = restarted.send_many([(consumer, second)])
    assert not outcome.ok
    assert one_line(outcome.error)
    for _ in range(3):
        market.devnet.mine()
    assert nonce(market, consumer) == before + 1
    assert market.token_balance("BahtToken", consumer.address) in (wei, wei if second is first else 2 * wei)
    # And what did not go through can be sent now.
    market.chain.send(consumer, second)
    assert nonce(market, consumer) == before + 2


def test_broadcast__gas_above_the_cap__is_refused_by_the_node(market, actors):
    request = {"to": actors.outsider.address, "data": "0x", "gas": TRANSACTION_GAS_CAP + 1}
    (error,) = market.chain.broadcast([(actors.outsider, request)])
    assert isinstance(error, NodeRefusedError)
    assert one_line(error)


def test_deploy__constructor_refuses__is_named(market, actors):
    at = market.chain.addresses
    chain = Chain(market.devnet.url, at, after_send=market.devnet.mine)
    args = [at["Authority"], at["GridToken"], at["BahtToken"], 3, 0, 900, 0]
    with reverts(errors.TickNotRepresentable, tickWei=3):
        chain.deploy(actors.regulator, "Trading", args)
    assert chain.addresses["Trading"] == at["Trading"]


def test_key_signer__from_key__has_the_keys_address(actors):
    signer = KeySigner.from_key(actors.producer.account.key)
    assert signer.address == actors.producer.address


# -------------------------------------------------------------------- decode_revert


def selector(signature):
    return keccak(text=signature)[:4]


@pytest.mark.parametrize("data", [b"", b"\x01", bytes(4), bytes.fromhex("deadbeef") + bytes(32)], ids=bytes.hex)
def test_decode_revert__unknown_data__keeps_it(data):
    error = decode_revert(data)
    assert type(error) is errors.UnknownRevert
    assert error.data == data
    assert data.hex() in str(error)
    assert one_line(error)


def test_decode_revert__error_with_a_text__tells_it():
    data = selector("Error(string)") + encode(["string"], ["not today"])
    error = decode_revert(data)
    assert type(error) is NodeRefusedError
    assert str(error) == "the contract refused: not today"


@pytest.mark.parametrize("code", [0x01, 0x11, 0x12, 0x32])
def test_decode_revert__panic__tells_its_code(code):
    error = decode_revert(selector("Panic(uint256)") + encode(["uint256"], [code]))
    assert type(error) is NodeRefusedError
    assert str(error) == f"the contract panicked with code 0x{code:02x}"


def test_decode_revert__custom_error_with_values__is_its_mirror():
    account = "0x" + "11" * 20
    data = selector("InsufficientFree(address,uint8,uint256,uint256)")
    data += encode(["address", "uint8", "uint256", "uint256"], [account, 1, 5, 6])
    error = decode_revert(data)
    assert type(error) is errors.InsufficientFree
    assert error.values["account"] == account
    assert list(error.values.values())[1:] == [1, 5, 6]


def test_decode_revert__custom_error_without_values__is_its_mirror():
    assert type(decode_revert(selector("NoReadings()"))) is errors.NoReadings


@pytest.mark.parametrize("kind", errors.CONTRACT_ERRORS.values(), ids=lambda kind: kind.__name__)
def test_decode_revert__every_mirrored_error__is_recognised(kind):
    inside = kind.signature[kind.signature.index("(") + 1 : -1]
    types = inside.split(",") if inside else []
    values = [{"address": "0x" + "22" * 20, "string": "text", "bool": True}.get(t, 0) for t in types]
    values = [bytes(int(t[5:])) if t.startswith("bytes") else v for t, v in zip(types, values, strict=True)]
    error = decode_revert(selector(kind.signature) + encode(types, values))
    assert type(error) is kind
    assert list(error.values) == list(kind.fields)
    assert one_line(error)


@pytest.mark.parametrize(
    "data",
    [
        selector("AlreadyRegistered(address)"),
        selector("AlreadyRegistered(address)") + b"\xff" * 32,
        selector("Error(string)"),
        selector("Error(string)") + b"\xff" * 64,
        selector("Error(string)") + encode(["bytes"], [b"\xff\xfe"]),
        selector("Panic(uint256)"),
        selector("InvalidMeter(bytes32,string)") + b"\xff" * 64,
    ],
    ids=["custom error", "garbage", "text", "text of no length", "no text", "panic", "text inside a custom error"],
)
def test_decode_revert__known_selector_with_data_that_does_not_fit__is_unknown(data):
    error = decode_revert(data)
    assert type(error) is errors.UnknownRevert
    assert error.data == data


def test_decode_revert__error_with_a_text_of_two_lines__is_told_in_one():
    error = decode_revert(selector("Error(string)") + encode(["string"], ["one\ntwo\r\n three"]))
    assert str(error) == "the contract refused: one two three"
