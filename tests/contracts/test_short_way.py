"""Bundles of one order have a short way in, which is assembly and arithmetic; the long way is its readable twin.

A bundle goes the long way if its signature's length is written out, and is the same message: so the same bundles go
both ways, and the chain must be the same afterwards, to the last storage word.
"""

import random

import pytest

from busbar.chain import Call
from busbar.devnet import dev_signer
from busbar.orders import Order, Side
from busbar.signing import EnteredBundle, SignedBundle
from tests.market import ZONE, ask, bid

PEOPLE = 12
ROUNDS = 3
"""Epochs of a story: settling the last one, an older one, none."""


def long_way(packed):
    """The same bundle of one order, with the length of its signature."""
    return packed[:32] + b"\x81" + packed[33:39] + (64).to_bytes(2, "big") + packed[39:]


@pytest.fixture(scope="module")
def people(deployed):
    people = [dev_signer(300 + i) for i in range(PEOPLE)]
    state = deployed.devnet.snapshot()
    deployed.register(*people)
    for person in people:
        deployed.fund(person, 1_000)
        deployed.give_energy(person, 50_000)
    suspend = Call("Registry", "setStatus", (people[-1].address, 2))
    deployed.chain.send(deployed.actors.distributor, suspend)
    yield people
    deployed.devnet.restore(state)


@pytest.fixture
def crowd(people, market):
    """The same, with everything a test does undone afterwards."""
    return people


def draw_bundle(rng, market, person, nonce):
    """A bundle that enters, or fails for any one of the reasons there are."""
    epoch = market.epoch
    side, tick = rng.choice(list(Side)), rng.choice([1, 299, 300, 301, 1_023, rng.randint(1, 1_023)])
    order = Order(side, tick, rng.choice([100, 1_000, rng.randint(100, 60_000)]))
    others = [(0, 2**32 - 1), (epoch + 1, epoch + 2), (0, max(epoch - 1, 0)), (epoch + 1, 0)]
    epochs = rng.choice([(epoch, epoch)] * 6 + others)
    nonce += rng.choice([0] * 6 + [5, -1])
    signed = market.signed_orders(person, order, nonce=max(nonce, 0), epochs=epochs, zone=rng.choice([ZONE] * 9 + [2]))
    packed = signed.pack()
    spoilt = rng.randrange(12)
    if spoilt == 0:
        at = rng.randrange(20, len(packed))
        return packed[:at] + bytes([packed[at] ^ 1 << rng.randrange(8)]) + packed[at + 1 :]
    if spoilt == 1:
        return SignedBundle.by(signed.bundle, market.chain.trading_domain, b"\x07" * 32).pack()
    return packed


def everything(market, people, outcome):
    """What a batch can change, and what it says."""
    addresses = [p.address for p in people]
    return (
        [(e.name, e.args) for e in market.events(outcome)],
        market.chain.accounts(addresses),
        [market.chain.orders(a) for a in addresses],
        market.chain.book(ZONE),
        market.chain.zone(ZONE),
        written(market, outcome),
    )


def written(market, outcome):
    """Storage words of Trading that a transaction changed, and what is in them now."""
    options = {"tracer": "prestateTracer", "tracerConfig": {"diffMode": True}}
    changes = market.devnet.node.request("debug_traceTransaction", outcome.tx_hash, options)["post"]
    return changes.get(market.chain.addresses["Trading"].lower())


@pytest.mark.parametrize("seed", range(12))
def test_enter_bundles__single_orders_by_either_way__leave_the_same_chain(crowd, market, seed):
    rng = random.Random(f"short way {seed}")
    for _ in range(ROUNDS):
        batch = []
        for person in rng.sample(crowd, PEOPLE):
            if rng.random() < 0.8:
                packed = draw_bundle(rng, market, person, market.account(person).nonce)
                # Only one of a single order, with all its bytes, has two ways.
                if packed[32] == 1:
                    batch.append(packed)
        ends = []
        for way in (bytes, long_way):
            before = market.devnet.snapshot()
            outcome = market.chain.send(
                market.actors.outsider, Call("Trading", "enterBundles", (ZONE, b"".join(map(way, batch))))
            )
            ends.append(everything(market, crowd, outcome))
            if not ends[1:]:
                market.devnet.restore(before)
        assert ends[0] == ends[1]
        if rng.random() < 0.3:
            market.enter(rng.choice(crowd[:-1]), ask(300, 100), bid(290, 100))
        market.next_epoch(rng.choice([1, 1, 2]))
        if rng.random() < 0.5 and market.chain.clearing_due(ZONE) is not None:
            market.clear()


def test_enter_bundles__the_short_way__is_the_one_that_a_single_order_takes(crowd, market):
    person = crowd[0]
    market.next_epoch()
    gas = {}
    packed = market.signed_orders(person, bid(300, 1_000)).pack()
    for way in (bytes, long_way):
        before = market.devnet.snapshot()
        outcome = market.chain.send(market.actors.outsider, Call("Trading", "enterBundles", (ZONE, way(packed))))
        (event,) = market.events(outcome, "SignedOrderEntered")
        assert EnteredBundle.from_event(event.args).orders == (bid(300, 1_000),)
        gas[way] = outcome.gas_used
        market.devnet.restore(before)
    assert gas[bytes] < gas[long_way] - 2_000
