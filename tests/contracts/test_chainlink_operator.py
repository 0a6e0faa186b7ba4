"""Chainlink's own Operator 1.0.0 and LINK, unmodified, deliver `fulfillEnergyData` through a node of ours.

Nothing stands between them: a request's id is that which the Operator gives to the same account's request with the same
nonce, and what the Operator calls back with is what `fulfillEnergyData` takes.
"""

import pytest
from eth_abi import encode
from eth_utils.crypto import keccak

from busbar.chain import Call, Chain, NodeRefusedError
from busbar.devnet import dev_signer
from busbar.readings import meter_id_bytes
from tests import chainlink
from tests.contracts.test_oracle_client import (
    DATUM,
    FT,
    FULFILLED,
    METER,
    PENDING,
    TIMED_OUT,
    TIMEOUT_BLOCKS,
    encoded,
    fulfil,
    number,
    request,
    status,
    time_out,
    to_block,
)
from tests.contracts.test_submit_readings import world
from tests.market import P256, SECP256K1

LINK = 10**18
FEE = LINK // 10
ROLE = 2
JOB = b"energy data".ljust(32, b"\0")
NOBODY = "0x" + "00" * 20
FULFILL = keccak(text="fulfillEnergyData(bytes32,bytes)")[:4]
SUBMIT = keccak(text="submitReadings((bytes32,uint64,uint64,uint64,bytes32,bytes32)[],(bytes32,bytes32)[])")[:4]


class Node:
    """A Chainlink node, small: takes requests out of the Operator's log and answers them."""

    def __init__(self, chain, signer):
        self.chain, self.signer = chain, signer

    def answer(self, asked, data, by=None):
        """Answers what was asked of the Operator; gives the outcome."""
        args = asked.args
        call = Call(
            "Operator",
            "fulfillOracleRequest2",
            (
                args["requestId"],
                args["payment"],
                args["callbackAddr"],
                args["callbackFunctionId"],
                args["cancelExpiration"],
                encode(["bytes32", "bytes"], [args["requestId"], data]),
            ),
        )
        return self.chain.send(by or self.signer, call)


class Service:
    """An operator's Operator contract on the panel of a market, and LINK for whoever asks."""

    def __init__(self, market):
        self.market = market
        self.chain = Chain(market.devnet.url, market.chain.addresses, after_send=market.devnet.mine)
        owner, worker = dev_signer(50), dev_signer(51)
        link, _, _ = self.chain.deploy(owner, "LinkToken", [])
        self.chain.send(owner, Call("LinkToken", "grantMintAndBurnRoles", (owner.address,)))
        for asker in (market.actors.producer, market.actors.consumer):
            self.chain.send(owner, Call("LinkToken", "mint", (asker.address, LINK)))
        self.address, _, _ = self.chain.deploy(owner, "Operator", [link, owner.address])
        self.chain.send(owner, Call("Operator", "setAuthorizedSenders", ([worker.address],)))
        regulator = market.actors.regulator
        market.chain.send(regulator, Call("Authority", "grantRole", (ROLE, self.address, 0)))
        market.chain.send(regulator, Call("OracleClient", "setOperator", (self.address, True)))
        self.node = Node(self.chain, worker)

    def ask(self, sender, nonce, *, to=None, function=FULFILL):
        """Pays for a request; gives the Operator's event. By default the answer goes to OracleClient."""
        to = to or self.market.chain.addresses["OracleClient"]
        types = ["address", "uint256", "bytes32", "address", "bytes4", "uint256", "uint256", "bytes"]
        # LINK puts the first two in: who pays, and how much.
        values = [NOBODY, 0, JOB, to, function, nonce, 2, b""]
        selector = keccak(text=f"oracleRequest({','.join(types)})")[:4]
        call = Call("LinkToken", "transferAndCall", (self.address, FEE, selector + encode(types, values)))
        (event,) = [e for e in self.chain.decode_logs(self.chain.send(sender, call).logs) if e.name == "OracleRequest"]
        event.args["callbackAddr"] = to  # the event names the sender instead
        return event

    def request(self, sender, kind=DATUM, subject=FT):
        """Asks the market, and then the Operator under the same id."""
        nonce = self.market.chain.view("OracleClient", "nonceOf", sender.address)
        asked = request(self.market, sender, kind, subject)
        event = self.ask(sender, nonce)
        assert event.args["requestId"] == asked
        return asked, event


@pytest.fixture
def service(market):
    with chainlink.known_to_the_client():
        yield Service(market)


def answered(market, outcome):
    """Names of our events in an outcome."""
    return [e.name for e in market.events(outcome) if e.contract in ("OracleClient", "Metering")]


def nothing_comes_of(market, service, event, data):
    """The Operator is paid all the same; the market is as before."""
    before = world(market)
    assert answered(market, service.node.answer(event, data)) == []
    assert world(market) == before


# -------------------------------------------------------------------------- delivered


@pytest.mark.parametrize("value", [0, 397_200, -397_200])
def test_operator__asked_for_a_datum__delivers_it(market, actors, service, value):
    asked, event = service.request(actors.producer)
    assert answered(market, service.node.answer(event, number(value))) == ["DatumAnswered", "EnergyDataFulfilled"]
    assert market.chain.view("OracleClient", "datumOf", FT)[::2] == (value, asked)
    assert status(market, asked) == FULFILLED


@pytest.mark.parametrize("key_type", [SECP256K1, P256])
def test_operator__asked_for_a_reading__delivers_it_and_it_counts(market, actors, service, key_type):
    meter = market.meter("m-1", actors.producer, key_type=key_type)
    asked, event = service.request(actors.consumer, METER, meter_id_bytes("m-1"))
    data = encoded(meter.read(export_wh=5, at=market.chain.head().timestamp))
    assert answered(market, service.node.answer(event, data)) == ["EnergyDataFulfilled", "ReadingAccepted"]
    assert market.free_wh(actors.producer) == 5
    assert status(market, asked) == FULFILLED


def test_operator__one_of_a_panel_of_three__is_one_voice(market, actors, service):
    other = dev_signer(52)
    market.chain.send(actors.regulator, Call("Authority", "grantRole", (ROLE, other.address, 0)))
    market.chain.send(actors.regulator, Call("OracleClient", "setOperator", (other.address, True)))
    market.chain.send(actors.regulator, Call("OracleClient", "setPanel", (3, 1_000)))
    asked, event = service.request(actors.producer)
    fulfil(market, asked, number(100))
    outcome = service.node.answer(event, number(900))
    assert (answered(market, outcome), status(market, asked)) == (["DatumAnswered"], PENDING)
    fulfil(market, asked, number(101), by=other)
    assert market.chain.view("OracleClient", "datumOf", FT)[0] == 101
    assert market.chain.view("OracleClient", "operatorOf", service.address) == (True, 1, 1, 1)


def test_operator__second_request_of_an_account__has_the_next_id(market, actors, service):
    first, _ = service.request(actors.producer)
    second, event = service.request(actors.producer)
    service.node.answer(event, number(5))
    assert (status(market, first), status(market, second)) == (PENDING, FULFILLED)


# ---------------------------------------------------------------------------- refused


def test_operator__answered_by_somebody_else_than_its_node__reverts(market, actors, service):
    asked, event = service.request(actors.producer)
    with pytest.raises(NodeRefusedError, match="Not authorized sender"):
        service.node.answer(event, number(5), by=actors.outsider)
    assert status(market, asked) == PENDING


def test_operator__answered_twice__reverts(market, actors, service):
    _, event = service.request(actors.producer)
    service.node.answer(event, number(5))
    with pytest.raises(NodeRefusedError, match="Must have a valid requestId"):
        service.node.answer(event, number(6))
    assert market.chain.view("OracleClient", "datumOf", FT)[0] == 5


def test_operator__request_that_the_market_does_not_know__comes_to_nothing(market, actors, service):
    nothing_comes_of(market, service, service.ask(actors.producer, nonce=7), number(5))


def test_operator__paid_by_somebody_else_with_the_same_nonce__comes_to_nothing(market, actors, service):
    """The id is bound to who asked: nobody has another's request answered."""
    nonce = market.chain.view("OracleClient", "nonceOf", actors.producer.address)
    asked = request(market, actors.producer)
    nothing_comes_of(market, service, service.ask(actors.consumer, nonce), number(5))
    assert status(market, asked) == PENDING


def test_operator__too_late__comes_to_nothing_and_the_request_is_made_again(market, actors, service):
    asked, event = service.request(actors.producer)
    to_block(market, market.chain.head().number + TIMEOUT_BLOCKS + 2)
    time_out(market, asked)
    nothing_comes_of(market, service, event, number(5))
    assert status(market, asked) == TIMED_OUT
    again, event = service.request(actors.producer)
    service.node.answer(event, number(6))
    assert status(market, again) == FULFILLED


def test_operator__answer_that_is_no_reading_of_the_meter__comes_to_nothing(market, actors, service):
    market.meter("m-1", actors.producer)
    other = market.meter("m-2", actors.consumer)
    asked, event = service.request(actors.consumer, METER, meter_id_bytes("m-1"))
    data = encoded(other.read(export_wh=5, at=market.chain.head().timestamp))
    nothing_comes_of(market, service, event, data)
    assert status(market, asked) == PENDING


def test_operator__without_the_role__comes_to_nothing(market, actors, service):
    _, event = service.request(actors.producer)
    market.chain.send(actors.regulator, Call("Authority", "revokeRole", (ROLE, service.address)))
    nothing_comes_of(market, service, event, number(5))


def test_operator__told_to_call_metering_instead__comes_to_nothing(market, actors, service):
    """Who pays names the callback: the Operator's role must be worth nothing but answers."""
    event = service.ask(actors.producer, 3, to=market.chain.addresses["Metering"], function=SUBMIT)
    nothing_comes_of(market, service, event, number(5))
