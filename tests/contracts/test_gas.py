"""What things cost: receipts of a node under the rules of the chains the market is made for, the 21,000 included.

Steady state: the storage words in question were used in earlier epochs. `whole life` of an order is entering it and
settling it, which the account's next order does: so each account's second epoch is measured.
"""

import random

import pytest

from busbar.chain import Call, create_orders_call
from busbar.devnet import dev_signer
from busbar.orders import Order, Side
from busbar.units import GRID_WEI_PER_WH
from tests.books import full_book
from tests.market import BAHT, ENERGY, MONEY, ZONE, ask, bid

CLEAR_GAS = 150_000
"""Clearing 10 orders, or volume at all 1,023 ticks of both sides, or any book with a rationed side."""
CLEAR_WORST_GAS = 167_000
"""Clearing the worst book there is: the price interval's ends are the last ticks of two pages."""
ROLL_GAS = 150_000
"""What clearing the worst book adds to somebody's order; busbar.chain.ROLL_GAS leaves room for it."""
ORDER_GAS = 48_000
"""A direct order, whole life, its transaction included."""
HUNDRED_RANDOM_GAS = 950_000
"""100 orders in a call at random ticks of both sides, whole life."""
HUNDRED_LADDER_GAS = 460_000
"""100 orders in a call at 100 ticks in a row, whole life."""
RELAYED_GAS = 20_100
"""One signed order of twenty in a batch sorted by tick, whole life; of a hundred it is less, see bench."""
UNDER_ONE_SIGNATURE_GAS = 434_000
"""100 orders under one signature at 100 ticks in a row, whole life."""
CANCEL_GAS = 42_000
"""Cancelling an account's first order of the epoch."""
CANCEL_FURTHER_GAS = 47_500
"""Cancelling another one, which lies in a word of its own."""

CROWD = [dev_signer(100 + i) for i in range(21)]
LAST_OF_PAGE_27, LAST_OF_PAGE_28 = 972, 1_008


@pytest.fixture(scope="module")
def crowded(deployed):
    """21 participants with much energy and money, enough for 2,046 orders."""
    state = deployed.devnet.snapshot()
    actors, trading = deployed.actors, deployed.chain.addresses["Trading"]
    deployed.register(*CROWD)
    deployed.mint_to_wallet(CROWD[0], 1)  # gives the minter its role
    for token, holder, verb, asset, wei in (
        ("BahtToken", actors.issuer, "issue", MONEY, 10**9 * BAHT),
        ("GridToken", actors.minter, "mint", ENERGY, 2 * 10**9 * GRID_WEI_PER_WH),
    ):
        deployed._all([(holder, Call(token, verb, (p.address, wei, bytes(32)))) for p in CROWD])
        deployed._all([(p, Call(token, "approve", (trading, wei))) for p in CROWD])
        deployed._all([(p, Call("Trading", "deposit", (asset, wei))) for p in CROWD])
    # Every word of the book is written once and never empty again.
    _clear_gas(deployed, [order(tick, 100) for tick in range(1, 1_024) for order in (bid, ask)])
    yield deployed
    deployed.devnet.restore(state)


@pytest.fixture
def crowd(crowded, market):
    """The same, with everything a test does undone afterwards."""
    return crowded


def test_gas__clearing_10_orders(crowd):
    orders = [bid(300 + i, 1_000) for i in range(5)] + [ask(298 + i, 700) for i in range(5)]
    assert _clear_gas(crowd, orders) <= CLEAR_GAS


@pytest.mark.parametrize("size", ["any", "small", "extremes"])
def test_gas__clearing_volume_at_all_1023_ticks_of_both_sides(crowd, size):
    book = full_book(random.Random(size), size)
    assert _clear_gas(crowd, book.all_live) <= CLEAR_GAS


@pytest.mark.parametrize("tick", [1, 36, 511, LAST_OF_PAGE_27, LAST_OF_PAGE_28, 1_023])
@pytest.mark.parametrize("long_side", [Side.BID, Side.ASK])
def test_gas__clearing_with_a_rationed_side_at_any_depth(crowd, tick, long_side):
    orders = [Order(long_side, tick, 1_000), Order(Side(1 - long_side), tick, 700)]
    assert _clear_gas(crowd, orders) <= CLEAR_GAS


WORST = {
    "two orders": [ask(LAST_OF_PAGE_27, 1_000), bid(LAST_OF_PAGE_28, 1_000)],
    "ends far apart": [ask(36, 1_000), bid(LAST_OF_PAGE_28, 1_000)],
    "every tick but between the ends": [
        *[ask(tick, 100) for tick in range(1, LAST_OF_PAGE_27 + 1)],
        *[bid(tick, 100) for tick in range(LAST_OF_PAGE_28 + 1, 1_024)],
        bid(LAST_OF_PAGE_28, 100 * LAST_OF_PAGE_27 - 1_500),
    ],
    "both sides at both ends": [
        ask(LAST_OF_PAGE_27, 1_000),
        bid(LAST_OF_PAGE_28, 1_000),
        bid(LAST_OF_PAGE_27, 100),
        ask(LAST_OF_PAGE_28, 100),
    ],
}


@pytest.mark.parametrize("book", WORST)
def test_gas__clearing_an_interval_over_two_pages__worst_case(crowd, book):
    assert _clear_gas(crowd, WORST[book]) <= CLEAR_WORST_GAS
    assert crowd.chain.results(ZONE, [crowd.epoch - 1])[0].upper_tick == LAST_OF_PAGE_28


def test_gas__order_that_finds_the_worst_book_to_clear(crowd):
    for epoch in range(3):
        crowd.sell(CROWD[0], LAST_OF_PAGE_27, 1_000)
        crowd.buy(CROWD[1], LAST_OF_PAGE_28, 1_000)
        plain = crowd.buy(CROWD[2], 1, 100).gas_used
        crowd.next_epoch()
        rolling = crowd.buy(CROWD[2], 1, 100).gas_used
        crowd.next_epoch()
        assert epoch == 0 or rolling - plain <= ROLL_GAS


@pytest.mark.parametrize("verb", ["buy", "sell"])
def test_gas__one_direct_order__whole_life(crowd, verb):
    for epoch in range(3):
        crowd.buy(CROWD[0], 300, 1_000)  # clears what was before
        gas = getattr(crowd, verb)(CROWD[1], 310, 1_000).gas_used
        crowd.next_epoch()
        assert epoch == 0 or gas <= ORDER_GAS


@pytest.mark.parametrize(("ticks", "bound"), [("random", HUNDRED_RANDOM_GAS), ("ladder", HUNDRED_LADDER_GAS)])
def test_gas__100_orders_in_a_call__whole_life(crowd, ticks, bound):
    rng = random.Random(ticks)
    for epoch in range(3):
        crowd.buy(CROWD[0], 300, 1_000)
        crowd.sell(CROWD[2], 150, 500)
        orders = [bid(200 + i, 1_000) for i in range(100)]
        if ticks == "random":
            orders = [Order(rng.choice(list(Side)), rng.randint(1, 1_023), rng.randint(100, 9_999)) for _ in range(100)]
        gas = crowd.enter(CROWD[1], *orders).gas_used
        crowd.next_epoch()
        assert epoch == 0 or gas <= bound


def test_gas__one_signed_order_in_a_sorted_batch__whole_life(crowd):
    for nonce in range(3):
        crowd.buy(CROWD[20], 300, 1_000)
        batch = [
            crowd.signed_orders(who, Order(Side(i % 2), 300 + i // 10, 1_000), nonce=nonce)
            for i, who in enumerate(CROWD[:20])
        ]
        gas = crowd.relay(*batch).gas_used
        crowd.next_epoch()
        assert nonce == 0 or gas <= 20 * RELAYED_GAS


def test_gas__100_orders_under_one_signature__whole_life(crowd):
    for nonce in range(3):
        crowd.buy(CROWD[0], 300, 1_000)
        crowd.sell(CROWD[2], 150, 500)
        gas = crowd.relay(
            crowd.signed_orders(CROWD[1], *[bid(200 + i, 1_000) for i in range(100)], nonce=nonce)
        ).gas_used
        crowd.next_epoch()
        assert nonce == 0 or gas <= UNDER_ONE_SIGNATURE_GAS


def test_gas__cancel(crowd):
    crowd.enter(CROWD[0], bid(300, 1_000), bid(301, 1_000))
    crowd.buy(CROWD[1], 300, 1_000)
    assert crowd.cancel(CROWD[0], crowd.order_id(CROWD[0], 0)).gas_used <= CANCEL_GAS
    assert crowd.cancel(CROWD[0], crowd.order_id(CROWD[0], 1)).gas_used <= CANCEL_FURTHER_GAS


def _clear_gas(market, orders):
    """Gas of a keeper's clearing of a book with these orders."""
    batch = [(CROWD[i // 100], create_orders_call(orders[i : i + 100])) for i in range(0, len(orders), 100)]
    for start in range(0, len(batch), 5):  # as many as fit a block
        market._all(batch[start : start + 5])
    market.next_epoch()
    return market.clear().gas_used
