"""What agents want: orders out of what stands on chain, decided without one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busbar.agents import Corridor, Role, decide, draw_limit
from busbar.chain import Account, Imports
from busbar.clearing import escrow
from busbar.orders import Side
from busbar.units import ENERGY_UNITS_PER_WH, MAX_ORDER_WH, MAX_ORDERS, MAX_TICK, MIN_ORDER_WH, MIN_TICK

PRODUCER = "0x" + "a1" * 20
OPEN = Corridor(buyback_tick=220, retail_tick=431)
RICH_UNITS = 10**24

TRADERS = (Role.PROSUMER, Role.CONSUMER)


def look(role=Role.PROSUMER, corridor=OPEN, *, epoch=7, seed=1, money_units=RICH_UNITS, market_wh=0, **energy):
    """The orders decided on; `free_wh`, `free_uwh`, `import_wh` and `previous_wh` say what stands on chain."""
    free_uwh = energy.get("free_wh", 0) * ENERGY_UNITS_PER_WH + energy.get("free_uwh", 0)
    account = Account(PRODUCER, 1, 1, 0, 0, 0, free_uwh, money_units, 0, 0)
    imports = Imports(PRODUCER, 1, energy.get("import_wh", 0), energy.get("previous_wh", 0), 0, True)
    market_uwh = market_wh * ENERGY_UNITS_PER_WH
    return decide(role, account, imports, corridor, epoch=epoch, seed=seed, market_energy_uwh=market_uwh)


def total(orders):
    return sum(order.quantity_wh for order in orders)


# ------------------------------------------------------------------------------ surplus


def test_decide__surplus__is_offered_within_the_corridor():
    (order,) = look(free_wh=1_500)
    assert (order.side, order.quantity_wh) == (Side.ASK, 1_500)
    assert 220 <= order.tick <= 431


def test_decide__own_import__is_covered_first():
    (order,) = look(free_wh=1_500, import_wh=300, previous_wh=200)
    assert (order.side, order.quantity_wh) == (Side.ASK, 1_000)


def test_decide__as_much_energy_as_import__wants_nothing():
    assert look(free_wh=700, import_wh=700) == []


@pytest.mark.parametrize(("free_wh", "orders"), [(0, 0), (1, 0), (99, 0), (100, 1)])
def test_decide__surplus_below_the_smallest_order__accumulates_until_it_is_one(free_wh, orders):
    assert len(look(free_wh=free_wh)) == orders


def test_decide__fractions_of_a_wh__are_not_offered():
    assert look(free_wh=99, free_uwh=999_999) == []
    assert total(look(free_wh=100, free_uwh=999_999)) == 100


@pytest.mark.parametrize("role", TRADERS)
def test_decide__consumer_and_prosumer__trade_alike(role):
    """Who has bought more than it used sells again, and a prosumer buys at night."""
    assert look(role, free_wh=1_500)[0].side is Side.ASK
    assert look(role, import_wh=1_500)[0].side is Side.BID


# ------------------------------------------------------------------------------- import


def test_decide__import__is_bid_for_below_retail():
    (order,) = look(import_wh=800, previous_wh=400)
    assert (order.side, order.quantity_wh) == (Side.BID, 1_200)
    assert 220 <= order.tick <= 430


def test_decide__import__only_what_own_energy_leaves_is_bid_for():
    (order,) = look(free_wh=500, import_wh=800)
    assert (order.side, order.quantity_wh) == (Side.BID, 300)


@pytest.mark.parametrize(("import_wh", "orders"), [(99, 0), (100, 1)])
def test_decide__import_below_the_smallest_order__accumulates_until_it_is_one(import_wh, orders):
    assert len(look(import_wh=import_wh)) == orders


def test_decide__bids__never_stand_at_retail_itself():
    ticks = {look(import_wh=500, corridor=Corridor(429, 431), epoch=epoch)[0].tick for epoch in range(64)}
    assert ticks == {429, 430}


def test_decide__asks__may_stand_at_either_end_of_the_corridor():
    ticks = {look(free_wh=500, corridor=Corridor(429, 431), epoch=epoch)[0].tick for epoch in range(64)}
    assert ticks == {429, 430, 431}


def test_decide__money_for_part_of_it__bids_for_that_part():
    tick = look(import_wh=1_000)[0].tick
    pays_for_400 = 400 * ENERGY_UNITS_PER_WH * 2 * tick
    assert [o.quantity_wh for o in look(import_wh=1_000, money_units=pays_for_400)] == [400]
    assert [o.quantity_wh for o in look(import_wh=1_000, money_units=pays_for_400 - 1)] == [399]


def test_decide__money_for_less_than_the_smallest_order__bids_nothing():
    tick = look(import_wh=1_000)[0].tick
    assert look(import_wh=1_000, money_units=MIN_ORDER_WH * ENERGY_UNITS_PER_WH * 2 * tick - 1) == []
    assert look(import_wh=1_000, money_units=0) == []


# ------------------------------------------------------------------------------ corridor


@pytest.mark.parametrize("corridor", [Corridor(300, 300), Corridor(301, 300), Corridor(220, 0), Corridor(1023, 2000)])
@pytest.mark.parametrize("energy", [{"free_wh": 5_000}, {"import_wh": 5_000}], ids=["surplus", "import"])
def test_decide__corridor_closed__nobody_trades(corridor, energy):
    assert look(corridor=corridor, **energy) == []


@pytest.mark.parametrize("role", Role)
def test_decide__buyback_beyond_every_tick__enters_nothing(role):
    assert look(role, Corridor(MAX_TICK + 1, MAX_TICK + 100), free_wh=5_000, market_wh=5_000) == []


def test_decide__corridor_wider_than_the_ticks__stays_within_them():
    wide = Corridor(-5, 5_000)
    asks = [look(free_wh=500, corridor=wide, epoch=epoch)[0].tick for epoch in range(200)]
    assert MIN_TICK <= min(asks) < 50
    assert MAX_TICK - 50 < max(asks) <= MAX_TICK


# ---------------------------------------------------------------------------- large amounts


def test_decide__large_surplus__is_split_into_orders_of_the_largest_size():
    orders = look(free_wh=2 * MAX_ORDER_WH + 12_345)
    assert [order.quantity_wh for order in orders] == [MAX_ORDER_WH, MAX_ORDER_WH, 12_345]
    assert len({order.tick for order in orders}) == 1


def test_decide__large_import__is_split_likewise():
    assert [order.quantity_wh for order in look(import_wh=MAX_ORDER_WH + 100)] == [MAX_ORDER_WH, 100]


def test_decide__rest_below_the_smallest_order__is_kept_for_later():
    assert [order.quantity_wh for order in look(free_wh=MAX_ORDER_WH + 99)] == [MAX_ORDER_WH]


def test_decide__more_than_an_account_may_enter__enters_what_it_may():
    orders = look(free_wh=(MAX_ORDERS + 5) * MAX_ORDER_WH)
    assert [order.quantity_wh for order in orders] == [MAX_ORDER_WH] * MAX_ORDERS


# ------------------------------------------------------------------------------- utility


@pytest.mark.parametrize("market_wh", [0, 1, 99, 1_234_567, 90 * MAX_ORDER_WH])
def test_decide__utility__bids_at_buyback_for_more_than_all_energy_in_the_market(market_wh):
    orders = look(Role.UTILITY, market_wh=market_wh)
    assert {(order.side, order.tick) for order in orders} == {(Side.BID, 220)}
    assert total(orders) > market_wh


def test_decide__utility__bids_for_less_if_that_is_what_it_can_pay():
    pays_for_250 = 250 * ENERGY_UNITS_PER_WH * 2 * 220
    assert [o.quantity_wh for o in look(Role.UTILITY, market_wh=9_000, money_units=pays_for_250)] == [250]
    assert look(Role.UTILITY, market_wh=9_000, money_units=0) == []


def test_decide__utility__takes_surplus_even_when_neighbours_have_no_corridor():
    (order,) = look(Role.UTILITY, Corridor(220, 220), market_wh=1_000)
    assert order.tick == 220


def test_decide__buyback_between_two_ticks__utility_bids_the_lower():
    between = Corridor(buyback_tick=221, retail_tick=431, utility_tick=220)
    assert {order.tick for order in look(Role.UTILITY, between, market_wh=1_000)} == {220}
    assert min(look(free_wh=500, corridor=between, epoch=epoch)[0].tick for epoch in range(900)) == 221


def test_decide__buyback_below_the_lowest_tick__utility_enters_nothing():
    assert look(Role.UTILITY, Corridor(1, 431, utility_tick=0), market_wh=1_000) == []


# ---------------------------------------------------------------------------- in general

corridors = st.builds(Corridor, st.integers(-10, 1_100), st.integers(-10, 1_100))


@given(
    role=st.sampled_from(Role),
    corridor=corridors,
    free_uwh=st.integers(0, 2**60),
    money_units=st.integers(0, 2**70),
    import_wh=st.integers(0, 2**40),
    previous_wh=st.integers(0, 2**40),
    epoch=st.integers(0, 2**27 - 1),
    seed=st.integers(),
    market_wh=st.integers(0, 2**40),
)
def test_decide__whatever_stands_on_chain__can_be_paid_for_and_keeps_to_the_corridor(
    role, corridor, free_uwh, money_units, import_wh, previous_wh, epoch, seed, market_wh
):
    orders = look(
        role,
        corridor,
        epoch=epoch,
        seed=seed,
        money_units=money_units,
        market_wh=market_wh,
        free_uwh=free_uwh,
        import_wh=import_wh,
        previous_wh=previous_wh,
    )
    locked = [escrow(order) for order in orders]
    assert sum(part.money_units for part in locked) <= money_units
    owed_uwh = (import_wh + previous_wh) * ENERGY_UNITS_PER_WH
    assert sum(part.energy_units for part in locked) <= max(0, free_uwh - owed_uwh)
    assert len(orders) <= MAX_ORDERS
    assert len({(order.side, order.tick) for order in orders}) <= 1
    for order in orders:
        assert order.tick >= corridor.buyback_tick
        if role is not Role.UTILITY:
            assert order.tick <= corridor.retail_tick - (order.side is Side.BID)
            # One never asks for more than it has over, nor for more than it lacks.
            assert (order.side is Side.ASK) == (free_uwh >= owed_uwh)


# -------------------------------------------------------------------------------- limits


@given(seed=st.integers(), epoch=st.integers(0, 2**27), low=st.integers(1, 1023), width=st.integers(0, 1022))
def test_draw_limit__whatever_it_is_asked__stays_within_bounds_and_says_the_same_again(seed, epoch, low, width):
    drawn = draw_limit(seed, PRODUCER, epoch, low, low + width)
    assert low <= drawn <= low + width
    assert drawn == draw_limit(seed, PRODUCER, epoch, low, low + width)


def test_draw_limit__today_and_in_years__is_the_same_number():
    """Frozen: replays of the past must not change with the release."""
    assert [draw_limit(1, PRODUCER, epoch, 220, 431) for epoch in (0, 1, 2, 96)] == [316, 426, 329, 419]


def test_draw_limit__other_seed_epoch_or_account__draws_otherwise():
    def drawn(seed=1, account=PRODUCER):
        return [draw_limit(seed, account, epoch, 220, 431) for epoch in range(20)]

    assert drawn() != drawn(seed=2)
    assert drawn() != drawn(account="0x" + "b2" * 20)
    assert len(set(drawn())) > 10


def test_draw_limit__address_in_other_case__is_the_same_account():
    assert draw_limit(1, PRODUCER.upper().replace("0X", "0x"), 5, 1, 1023) == draw_limit(1, PRODUCER, 5, 1, 1023)


def test_draw_limit__over_many_epochs__reaches_every_tick_of_a_narrow_corridor():
    assert {draw_limit(1, PRODUCER, epoch, 10, 14) for epoch in range(200)} == {10, 11, 12, 13, 14}
