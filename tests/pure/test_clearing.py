"""The reference auction: against a slow solver that nobody need doubt, by its promises, and by hand."""

import itertools
import random
from fractions import Fraction

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from busbar import errors
from busbar.clearing import (
    MAX_TICK_WH,
    Balance,
    Fill,
    LongSide,
    Result,
    Step,
    clear,
    clear_orders,
    curves,
    dust,
    escrow,
    fill,
    histogram,
    settle,
)
from busbar.orders import Order, Side
from busbar.units import ENERGY_UNITS_PER_WH, MAX_ORDER_WH, MAX_TICK, MIN_ORDER_WH
from tests.pure import brute

NOTHING = Balance(0, 0)
LONG_SIDES = {"neither": LongSide.NEITHER, "bids": LongSide.BIDS, "asks": LongSide.ASKS}


def bid(tick, wh=MIN_ORDER_WH):
    return Order(Side.BID, tick, wh)


def ask(tick, wh=MIN_ORDER_WH):
    return Order(Side.ASK, tick, wh)


# Few ticks make ties, and few sizes make sides of equal volume; both are where auctions go wrong.
SIZES = st.sampled_from([100, 100, 200, 300, 101, 333, 9_999_991, MAX_ORDER_WH]) | st.integers(
    MIN_ORDER_WH, MAX_ORDER_WH
)
EQUAL_SIZES = st.sampled_from([100, 200, 300])
SIDES = st.sampled_from(Side)


def books(ticks, sizes, most=10):
    return st.lists(st.builds(Order, SIDES, ticks, sizes), max_size=most)


BOOKS = st.one_of(
    books(st.integers(1, 4), SIZES),
    books(st.integers(1, 8), EQUAL_SIZES),
    books(st.integers(1019, 1023), SIZES),
    books(st.integers(500, 512), SIZES, most=14),
    books(st.sampled_from([1, 2, 511, 512, 513, 1022, 1023]), SIZES, most=5),
)


def many(count):
    """So many random books, of any shape."""
    return settings(max_examples=count, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def total(balances):
    return sum(balances, NOTHING)


def as_brute(orders):
    return [(order.side is Side.BID, order.tick, order.quantity_wh) for order in orders]


# --------------------------------------------------------------------------- against brute force


@many(2500)
@given(BOOKS)
def test_clear__any_book__agrees_with_brute_force(orders):
    expected = brute.auction(as_brute(orders))

    result = clear_orders(orders)

    if expected.volume == 0:
        assert result == Result.none()
        return
    assert (result.lower_tick, result.upper_tick) == (expected.lower, expected.upper)
    assert Fraction(result.price2, 2) == expected.price
    assert result.volume_wh == expected.volume == brute.merit_order_volume(as_brute(orders))
    assert result.long_side is LONG_SIDES[expected.long_side]
    assert (result.filled_wh, result.offered_wh) == (expected.filled, expected.offered)


@many(500)
@given(BOOKS)
def test_fill__any_book__is_the_exact_share_rounded_against_its_owner_by_less_than_a_unit(orders):
    expected = brute.auction(as_brute(orders))
    result = clear_orders(orders)

    for order, share in zip(orders, expected.shares, strict=True):
        energy = share * ENERGY_UNITS_PER_WH
        money = energy * result.price2
        got = fill(result, order)
        if order.side is Side.BID:
            assert 0 <= energy - got.energy_units < 1
            assert 0 <= got.money_units - money < 1
        else:
            assert 0 <= got.energy_units - energy < 1
            assert 0 <= money - got.money_units < 1


# --------------------------------------------------------------------------- promises


@many(1000)
@given(BOOKS)
def test_clear__any_book__leaves_nobody_who_would_rather_trade_and_trades_all_it_can(orders):
    result = clear_orders(orders)
    bids, asks = histogram(orders)

    possible = (
        min(sum(wh for t, wh in bids.items() if t >= p), sum(wh for t, wh in asks.items() if t <= p))
        for p in {*bids, *asks}
    )
    assert result.volume_wh == max(possible, default=0)
    if not result.traded:
        return
    for order in orders:
        gain = 2 * order.tick - result.price2 if order.side is Side.BID else result.price2 - 2 * order.tick
        whole = order.quantity_wh * ENERGY_UNITS_PER_WH
        energy = fill(result, order).energy_units
        if gain > 0:
            assert energy == whole, "left out although it would gain"
        if gain < 0:
            assert energy == 0, "made to trade at a loss"


@many(500)
@given(BOOKS)
def test_fill__any_book__stays_within_the_limit_to_one_accounting_unit(orders):
    result = clear_orders(orders)
    for order in orders:
        got = fill(result, order)
        if order.side is Side.BID:
            assert got.money_units <= 2 * order.tick * (got.energy_units + 1)
        else:
            assert got.money_units >= 2 * order.tick * (got.energy_units - 1)


@many(1000)
@given(BOOKS)
def test_settle__any_book__is_solvent_and_dust_is_what_was_paid_in_less_what_was_paid_out(orders):
    result = clear_orders(orders)

    paid_in = total(escrow(order) for order in orders)
    paid_out = total(settle(result, order) for order in orders)
    left = dust(result, orders)

    assert left == paid_in - paid_out
    rationed_side = {LongSide.BIDS: Side.BID, LongSide.ASKS: Side.ASK}.get(result.long_side)
    rationed = sum(order.side is rationed_side and order.tick == result.lower_tick for order in orders)
    for units in (left.energy_units, left.money_units):
        assert 0 <= units < max(rationed, 1)
    for order in orders:
        back, locked = settle(result, order), escrow(order)
        assert back.energy_units >= 0
        assert back.money_units >= 0
        if order.side is Side.BID:
            assert back.money_units <= locked.money_units
        else:
            assert back.energy_units <= locked.energy_units


@many(400)
@given(BOOKS, st.randoms(use_true_random=False))
def test_settle__in_any_order__gives_everyone_the_same(orders, chance):
    result = clear_orders(orders)
    shuffled = list(enumerate(orders))
    chance.shuffle(shuffled)

    assert clear_orders(order for _, order in shuffled) == result
    later = {i: settle(result, order) for i, order in shuffled}
    assert [later[i] for i in range(len(orders))] == [settle(result, order) for order in orders]
    cut = len(shuffled) // 2
    halves = [[order for _, order in half] for half in (shuffled[:cut], shuffled[cut:])]
    assert total(dust(result, half) for half in halves) == dust(result, orders)


@many(400)
@given(BOOKS)
def test_fill__order_that_is_not_rationed__is_exact(orders):
    result = clear_orders(orders)
    long_side = {LongSide.BIDS: Side.BID, LongSide.ASKS: Side.ASK}.get(result.long_side)
    for order in orders:
        if order.side is long_side and order.tick == result.lower_tick:
            continue
        whole = order.quantity_wh * ENERGY_UNITS_PER_WH
        assert fill(result, order) in (Fill(0, 0), Fill(whole, whole * result.price2))


@many(200)
@given(BOOKS)
def test_clear__sides_swapped_and_prices_turned_round__is_the_mirror_image(orders):
    mirrored = [Order(Side(1 - order.side), 1024 - order.tick, order.quantity_wh) for order in orders]
    result = clear_orders(orders)
    image = clear_orders(mirrored)

    assert (image.volume_wh, image.filled_wh, image.offered_wh) == (
        result.volume_wh,
        result.filled_wh,
        result.offered_wh,
    )
    if result.traded:
        assert (image.lower_tick, image.upper_tick) == (1024 - result.upper_tick, 1024 - result.lower_tick)
        turned = {LongSide.BIDS: LongSide.ASKS, LongSide.ASKS: LongSide.BIDS}
        assert image.long_side is turned.get(result.long_side, LongSide.NEITHER)


# --------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("tick", [0, 1024, -1])
def test_clear__tick_out_of_range__raises_invalid_tick(tick):
    with pytest.raises(errors.InvalidTick) as caught:
        clear({tick: 100}, {})
    assert caught.value.values == {"tick": tick}


def test_clear__negative_volume__raises_invalid_quantity():
    with pytest.raises(errors.InvalidQuantity) as caught:
        clear({}, {5: -1})
    assert caught.value.values == {"quantityWh": -1}


@pytest.mark.parametrize("side", Side)
def test_clear__more_than_a_tick_holds__raises_tick_full(side):
    volumes = {7: MAX_TICK_WH + 1}
    with pytest.raises(errors.TickFull) as caught:
        clear(*((volumes, {}) if side is Side.BID else ({}, volumes)))
    assert caught.value.values == {"side": side, "tick": 7, "volumeWh": 2**38}


# --------------------------------------------------------------------------- epochs by hand


def test_clear__no_orders__has_no_price():
    assert clear_orders([]) == clear({}, {}) == Result.none()
    assert not Result.none().traded
    assert dust(Result.none(), []) == NOTHING


def test_clear__ticks_without_volume__are_as_if_not_there():
    assert clear({90: 0, 100: 1000, 200: 0}, {50: 1000, 95: 0}) == clear({100: 1000}, {50: 1000})


@pytest.mark.parametrize("tick", [1, 512, 1023])
@pytest.mark.parametrize("side", Side)
def test_clear__one_sided__returns_the_whole_escrow(side, tick):
    order = Order(side, tick, MAX_ORDER_WH)
    result = clear_orders([order])
    assert result == Result.none()
    assert fill(result, order) == Fill(0, 0)
    assert settle(result, order) == escrow(order)


def test_escrow__each_side__locks_what_it_may_have_to_give():
    assert escrow(bid(3, 100)) == Balance(0, 100 * 10**6 * 6)
    assert escrow(ask(3, 100)) == Balance(100 * 10**6, 0)


@pytest.mark.parametrize(("highest_bid", "lowest_ask"), [(1, 2), (99, 100), (1, 1023), (1022, 1023)])
def test_clear__uncrossed__has_no_price(highest_bid, lowest_ask):
    orders = [bid(highest_bid), bid(1), ask(lowest_ask), ask(1023)]
    assert clear_orders(orders) == Result.none()
    assert [settle(Result.none(), order) for order in orders] == [escrow(order) for order in orders]


@pytest.mark.parametrize(
    ("bid_wh", "ask_wh", "long_side", "filled", "offered"),
    [
        (300, 300, LongSide.NEITHER, 0, 0),
        (400, 300, LongSide.BIDS, 300, 400),
        (300, 400, LongSide.ASKS, 300, 400),
    ],
)
@pytest.mark.parametrize("tick", [1, 77, 1023])
def test_clear__everything_at_one_tick__trades_there(tick, bid_wh, ask_wh, long_side, filled, offered):
    result = clear({tick: bid_wh}, {tick: ask_wh})
    assert result == Result(tick, tick, long_side, filled, offered, 300)
    assert result.price2 == 2 * tick


# Both sides fill exactly. Who stays outside bounds the price from within.
EXACT = {
    "bid outside bounds from below": ([(100, 10), (90, 10)], [(50, 10)], 90, 100),
    "ask outside bounds from above": ([(100, 10)], [(50, 10), (60, 10)], 50, 60),
    "one outside on each side": ([(100, 10), (70, 10)], [(50, 10), (80, 10)], 70, 80),
    "nobody outside": ([(100, 10)], [(50, 10)], 50, 100),
    "those outside do not bound": ([(100, 10), (40, 10)], [(50, 10), (120, 10)], 50, 100),
    "bid outside at the ask": ([(100, 10), (50, 10)], [(50, 10)], 50, 100),
    "ask outside at the bid": ([(100, 10)], [(50, 10), (100, 10)], 50, 100),
    "whole range": ([(1023, 10)], [(1, 10)], 1, 1023),
    "odd middle": ([(100, 10), (91, 10)], [(50, 10)], 91, 100),
    "neighbouring ticks": ([(100, 10), (99, 10)], [(50, 10)], 99, 100),
    "several levels": ([(100, 4), (95, 6), (80, 9)], [(20, 7), (60, 3), (93, 5)], 80, 93),
}


@pytest.mark.parametrize(("bids", "asks", "lower", "upper"), EXACT.values(), ids=EXACT)
def test_clear__exact_exhaustion__takes_the_middle_of_the_equilibrium_interval(bids, asks, lower, upper):
    kwh_bids = {tick: 1000 * kwh for tick, kwh in bids}
    kwh_asks = {tick: 1000 * kwh for tick, kwh in asks}
    result = clear(kwh_bids, kwh_asks)
    assert result == Result(lower, upper, LongSide.NEITHER, 0, 0, 10_000)
    assert result.price2 == lower + upper
    orders = [bid(tick, wh) for tick, wh in kwh_bids.items()]
    orders += [ask(tick, wh) for tick, wh in kwh_asks.items()]
    assert dust(result, orders) == NOTHING


def test_fill__bid_at_the_lower_end_of_the_interval__does_not_trade():
    outside = bid(90, 10_000)
    result = clear_orders([bid(100, 10_000), outside, ask(50, 10_000)])
    assert result.price2 == 190
    assert fill(result, outside) == Fill(0, 0)


def test_fill__ask_at_the_upper_end_of_the_interval__does_not_trade():
    outside = ask(60, 10_000)
    result = clear_orders([bid(100, 10_000), outside, ask(50, 10_000)])
    assert result.price2 == 110
    assert fill(result, outside) == Fill(0, 0)


def test_settle__three_asks_for_one_bid__pays_out_no_more_than_came_in():
    # Flooring both sides alike would take 3 x 33,333,333 micro-Wh and owe 100,000,000.
    asks, buyer = [ask(50), ask(50), ask(50)], bid(50)
    orders = [*asks, buyer]
    result = clear_orders(orders)
    assert result == Result(50, 50, LongSide.ASKS, 100, 300, 100)
    assert [fill(result, order) for order in asks] == [Fill(33_333_334, 3_333_333_333)] * 3
    assert fill(result, buyer) == Fill(100_000_000, 10_000_000_000)
    assert settle(result, asks[0]) == Balance(66_666_666, 3_333_333_333)
    assert settle(result, buyer) == Balance(100_000_000, 0)
    assert dust(result, orders) == Balance(2, 1)


def test_settle__three_bids_for_one_ask__pays_out_no_more_than_came_in():
    bids, seller = [bid(50), bid(50), bid(50)], ask(50)
    orders = [*bids, seller]
    result = clear_orders(orders)
    assert result == Result(50, 50, LongSide.BIDS, 100, 300, 100)
    assert [fill(result, order) for order in bids] == [Fill(33_333_333, 3_333_333_334)] * 3
    assert settle(result, bids[0]) == Balance(33_333_333, 10_000_000_000 - 3_333_333_334)
    assert settle(result, seller) == Balance(0, 10_000_000_000)
    assert dust(result, orders) == Balance(1, 2)


def test_settle__same_participant_on_both_sides__gets_its_own_back_to_the_dust():
    mine = [bid(60, 1000), ask(50, 1000)]
    result = clear_orders(mine)
    assert result.price2 == 110
    assert total(settle(result, order) for order in mine) == total(escrow(order) for order in mine)

    # Rationed on one side against its own other side and a stranger.
    mine, stranger = [bid(50, 1000), ask(50, 700)], bid(50, 333)
    result = clear_orders([*mine, stranger])
    assert result == Result(50, 50, LongSide.BIDS, 700, 1333, 700)
    back, locked = total(settle(result, order) for order in mine), total(escrow(order) for order in mine)
    theirs = fill(result, stranger)
    left = dust(result, [*mine, stranger])
    assert back.energy_units == locked.energy_units - theirs.energy_units - left.energy_units
    assert back.money_units == locked.money_units + theirs.money_units - left.money_units


def test_clear__crossing_at_the_extremes_with_largest_orders__is_exact():
    buyer, seller = bid(1023, MAX_ORDER_WH), ask(1, MAX_ORDER_WH)
    result = clear_orders([buyer, seller])
    assert result == Result(1, 1023, LongSide.NEITHER, 0, 0, MAX_ORDER_WH)
    cost = MAX_ORDER_WH * ENERGY_UNITS_PER_WH * 1024
    assert settle(result, buyer) == Balance(MAX_ORDER_WH * ENERGY_UNITS_PER_WH, 2046 * cost // 1024 - cost)
    assert settle(result, seller) == Balance(0, cost)


@pytest.mark.parametrize("tick", [1, 1023])
def test_clear__fullest_tick_against_a_smallest_order__rations_without_loss(tick):
    # The greatest numbers that an order's settlement can meet.
    result = clear({tick: MAX_TICK_WH}, {tick: 100})
    assert result == Result(tick, tick, LongSide.BIDS, 100, MAX_TICK_WH, 100)
    share = Fraction(MAX_ORDER_WH * ENERGY_UNITS_PER_WH * 100, MAX_TICK_WH)
    got = fill(result, bid(tick, MAX_ORDER_WH))
    assert 0 <= share - got.energy_units < 1
    assert 0 <= got.money_units - share * 2 * tick < 1


def test_clear__every_tick_taken_on_both_sides__meets_in_the_middle():
    orders = [Order(side, tick, 1000) for tick in range(1, MAX_TICK + 1) for side in Side]
    result = clear_orders(orders)
    # D(>=512) = S(<=512) = 512 orders: all of tick 512 trades, with nobody left at the margin.
    assert result == Result(512, 512, LongSide.NEITHER, 0, 0, 512_000)
    assert dust(result, orders) == NOTHING
    assert brute.merit_order_volume(as_brute(orders)) == 512_000


def test_clear__every_tick_taken_with_random_volumes__agrees_with_brute_force():
    chance = random.Random(1023)
    ticks = range(1, MAX_TICK + 1)
    orders = [Order(side, tick, chance.randint(100, MAX_ORDER_WH)) for tick in ticks for side in Side]
    result = clear_orders(orders)
    expected = brute.auction(as_brute(orders))
    assert (result.lower_tick, result.upper_tick) == (expected.lower, expected.upper)
    assert (result.filled_wh, result.offered_wh) == (expected.filled, expected.offered)
    assert result.volume_wh == expected.volume == brute.merit_order_volume(as_brute(orders))
    assert dust(result, orders) == total(map(escrow, orders)) - total(settle(result, o) for o in orders)


def test_clear__every_tick_full__stays_within_the_result_word():
    full = dict.fromkeys(range(1, MAX_TICK + 1), MAX_TICK_WH)
    result = clear(full, full)
    assert result == Result(512, 512, LongSide.NEITHER, 0, 0, 512 * MAX_TICK_WH)
    deepest = clear(full, {1: MAX_TICK_WH}).volume_wh, clear({1023: MAX_TICK_WH}, full).volume_wh
    assert deepest == (MAX_TICK_WH, MAX_TICK_WH)


def test_clear__all_small_books__agree_with_brute_force():
    # Every book of 0, 1 or 2 units at each of three ticks and both sides: 729 of them.
    for volumes in itertools.product((0, 1, 2), repeat=6):
        bids = {tick: 100 * v for tick, v in zip((1, 2, 3), volumes[:3], strict=True)}
        asks = {tick: 100 * v for tick, v in zip((1, 2, 3), volumes[3:], strict=True)}
        expected = brute.auction(
            [(True, t, v) for t, v in bids.items() if v] + [(False, t, v) for t, v in asks.items() if v]
        )
        result = clear(bids, asks)
        assert result.volume_wh == expected.volume
        if result.traded:
            assert (result.lower_tick, result.upper_tick) == (expected.lower, expected.upper)
            assert result.long_side is LONG_SIDES[expected.long_side]
            assert (result.filled_wh, result.offered_wh) == (expected.filled, expected.offered)


# --------------------------------------------------------------------------- helpers


def test_histogram__orders_of_one_tick__are_added_up():
    assert histogram([bid(5, 100), ask(5, 300), bid(5, 200), bid(6, 100)]) == ({5: 300, 6: 100}, {5: 300})


def test_curves__any_volumes__run_in_merit_order():
    demand, supply = curves({5: 100, 9: 300, 7: 0}, {4: 200, 2: 100})
    assert demand == (Step(9, 300), Step(5, 400))
    assert supply == (Step(2, 100), Step(4, 300))


def test_curves__no_volumes__are_empty():
    assert curves({}, {}) == ((), ())
