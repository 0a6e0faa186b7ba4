"""createSellOrder, createBuyOrder, createOrders: enter orders, all or none."""

import pytest

from busbar import errors
from busbar.chain import Call
from busbar.orders import order_id
from busbar.units import MAX_ORDER_WH
from tests.market import BAHT, ENERGY, MONEY, ZONE, ask, bid, reverts

FUNDED_UNITS = 1_000 * BAHT // (5 * 10**6)
LIFE_BIT = 1 << 35


def test_create_orders__no_order__reverts(market, actors):
    with reverts(errors.NoOrders):
        market.enter(actors.consumer)


@pytest.mark.parametrize("enter", ["sell", "buy", "several"])
def test_create_orders__not_registered__reverts(market, actors, enter):
    with reverts(errors.NotRegistered, account=actors.outsider.address):
        _one(market, actors.outsider, enter)


@pytest.mark.parametrize("enter", ["sell", "buy", "several"])
def test_create_orders__suspended__reverts(market, actors, enter):
    market.give_energy(actors.consumer, 1_000)
    market.chain.send(actors.distributor, Call("Registry", "setStatus", (actors.consumer.address, 2)))
    with reverts(errors.AccountSuspended, account=actors.consumer.address):
        _one(market, actors.consumer, enter)
    market.chain.send(actors.distributor, Call("Registry", "setStatus", (actors.consumer.address, 1)))
    _one(market, actors.consumer, enter)


@pytest.mark.parametrize("enter", ["sell", "buy", "several"])
def test_create_orders__paused__reverts(market, actors, enter):
    market.give_energy(actors.consumer, 1_000)
    market.chain.send(actors.regulator, Call("Trading", "setPaused", (ZONE, True)))
    with reverts(errors.ZonePaused, zone=ZONE):
        _one(market, actors.consumer, enter)
    market.chain.send(actors.regulator, Call("Trading", "setPaused", (ZONE, False)))
    _one(market, actors.consumer, enter)


@pytest.mark.parametrize("function", ["createSellOrder", "createBuyOrder"])
@pytest.mark.parametrize("tick", [0, 1024, 65_535])
def test_create_orders__tick_out_of_range__reverts(market, actors, function, tick):
    with reverts(errors.InvalidTick, tick=tick):
        market.chain.send(actors.consumer, Call("Trading", function, (tick, 1_000)))


@pytest.mark.parametrize("function", ["createSellOrder", "createBuyOrder"])
@pytest.mark.parametrize("energy_wh", [0, 99, 10_000_001, 2**24 + 100, 2**32 - 1])
def test_create_orders__quantity_out_of_range__reverts(market, actors, function, energy_wh):
    with reverts(errors.InvalidQuantity, quantityWh=energy_wh):
        market.chain.send(actors.consumer, Call("Trading", function, (300, energy_wh)))


def test_create_orders__tick_0_among_several__reverts(market, actors):
    with reverts(errors.InvalidTick, tick=0):
        _raw(market, actors.consumer, bid(300, 1_000).pack(), 1_000)


@pytest.mark.parametrize("energy_wh", [0, 99, 10_000_001, 2**24 - 1])
def test_create_orders__quantity_out_of_range_among_several__reverts(market, actors, energy_wh):
    with reverts(errors.InvalidQuantity, quantityWh=energy_wh):
        _raw(market, actors.consumer, bid(300, 1_000).pack(), (300 << 24) | energy_wh)


@pytest.mark.parametrize("life", [97, 127])
def test_create_orders__stands_longer_than_a_day__reverts(market, actors, life):
    with reverts(errors.InvalidLife, life=life):
        _raw(market, actors.consumer, bid(300, 1_000).pack() | life * LIFE_BIT)


@pytest.mark.parametrize("bits", [1 << 42, 1 << 47])
def test_create_orders__bits_no_order_has__reverts(market, actors, bits):
    word = bid(300, 1_000).pack() | bits
    with reverts(errors.InvalidOrder, order=word):
        _raw(market, actors.consumer, word)


def test_create_orders__less_money_than_the_bids_need__reverts(market, actors):
    needed = 1_023 * 2 * 10**6 * MAX_ORDER_WH
    with reverts(
        errors.InsufficientFree,
        account=actors.consumer.address,
        asset=MONEY,
        freeUnits=FUNDED_UNITS,
        neededUnits=needed,
    ):
        market.buy(actors.consumer, 1_023, MAX_ORDER_WH)


def test_create_orders__less_energy_than_the_asks_need__reverts(market, actors):
    market.give_energy(actors.producer, 1_999)
    with reverts(errors.InsufficientFree, asset=ENERGY, freeUnits=1_999 * 10**6, neededUnits=2_000 * 10**6):
        market.enter(actors.producer, ask(300, 1_000), ask(301, 1_000))
    assert market.chain.book(ZONE) == ({}, {})
    assert market.account(actors.producer).order_count == 0


def test_create_orders__a_unit_short__reverts(market, actors):
    # 1,000 THB are 2e14 units: 1,000 kWh at tick 100 to the unit.
    market.withdraw(actors.consumer, MONEY, 5 * 10**6)
    needed = 10**6 * 10**6 * 2 * 100
    with reverts(errors.InsufficientFree, asset=MONEY, freeUnits=needed - 1, neededUnits=needed):
        market.buy(actors.consumer, 100, 10**6)


def test_create_orders__100_one_by_one_and_one_more__reverts(market, actors):
    call = Call("Trading", "createBuyOrder", (10, 100))
    market._all([(actors.consumer, call)] * 100)
    with reverts(errors.TooManyOrders, account=actors.consumer.address, count=101):
        market.buy(actors.consumer, 10, 100)
    assert market.account(actors.consumer).order_count == 100
    assert market.chain.book(ZONE) == ({10: 10_000}, {})


def test_create_orders__100_in_a_call_and_one_more__reverts(market, actors):
    market.enter(actors.consumer, *[bid(10, 100)] * 100)
    with reverts(errors.TooManyOrders, account=actors.consumer.address, count=101):
        market.buy(actors.consumer, 10, 100)
    # Cancelled ones count too.
    market.cancel(actors.consumer, market.order_id(actors.consumer, 99))
    with reverts(errors.TooManyOrders, account=actors.consumer.address, count=102):
        market.enter(actors.consumer, bid(10, 100), bid(10, 100))
    market.next_epoch()
    market.enter(actors.consumer, *[bid(10, 100)] * 100)


def test_create_orders__101_in_a_call__reverts(market, actors):
    with reverts(errors.TooManyOrders, account=actors.consumer.address, count=101):
        market.enter(actors.consumer, *[bid(10, 100)] * 101)


def test_create_orders__zones_cap_reached__reverts_but_for_first_orders(market, actors):
    _set_cap(market, 3)
    market.enter(actors.consumer, *[bid(10, 100)] * 4)
    assert market.chain.zone(ZONE).counted_orders == 3
    full = {"zone": ZONE, "epoch": market.epoch, "orderCap": 3}
    with reverts(errors.EpochFull, **full):
        market.buy(actors.consumer, 10, 100)
    with reverts(errors.EpochFull, **full):
        market.enter(actors.other_consumer, bid(10, 100), bid(10, 100))
    market.buy(actors.other_consumer, 10, 100)
    market.buy(actors.third_consumer, 10, 100)
    with reverts(errors.EpochFull, **full):
        market.buy(actors.other_consumer, 10, 100)
    assert market.chain.zone(ZONE).counted_orders == 3
    # A new epoch counts from nothing, and a cap of nothing is none.
    market.next_epoch()
    market.enter(actors.consumer, *[bid(10, 100)] * 4)
    with reverts(errors.EpochFull, orderCap=3):
        market.buy(actors.consumer, 10, 100)
    _set_cap(market, 0)
    market.enter(actors.consumer, *[bid(10, 100)] * 96)


def test_create_orders__cap_lowered_below_what_is_counted__lets_first_orders_in(market, actors):
    market.enter(actors.consumer, *[bid(10, 100)] * 5)
    _set_cap(market, 1)
    with reverts(errors.EpochFull, orderCap=1):
        market.buy(actors.consumer, 10, 100)
    market.buy(actors.other_consumer, 10, 100)


def test_create_orders__cancelling__does_not_make_room_under_the_cap(market, actors):
    _set_cap(market, 1)
    market.enter(actors.consumer, bid(10, 100), bid(10, 100))
    market.cancel(actors.consumer, market.order_id(actors.consumer, 1))
    with reverts(errors.EpochFull, orderCap=1):
        market.buy(actors.consumer, 10, 100)


def test_create_orders__single_orders__never_touch_the_counter(market, actors):
    market.buy(actors.consumer, 10, 100)
    words = [market.chain.zone(ZONE)]
    for who in (actors.other_consumer, actors.third_consumer):
        market.buy(who, 10, 100)
        words.append(market.chain.zone(ZONE))
    assert words[0] == words[1] == words[2]
    assert words[0].counted_orders == 0


def test_create_orders__sell__locks_the_energy_and_enters_the_book(market, actors):
    market.give_energy(actors.producer, 1_500)
    _check(market, actors.producer, "createSellOrder", 1_023, 1_000, ask(1_023, 1_000))
    account = market.account(actors.producer)
    assert (account.energy_free_uwh, account.energy_escrow_uwh) == (500 * 10**6, 1_000 * 10**6)
    assert (account.money_free_units, account.money_escrow_units) == (FUNDED_UNITS, 0)
    assert market.chain.book(ZONE) == ({}, {1_023: 1_000})


def test_create_orders__buy__locks_the_money_at_the_limit_and_enters_the_book(market, actors):
    _check(market, actors.consumer, "createBuyOrder", 1, MAX_ORDER_WH, bid(1, MAX_ORDER_WH))
    account = market.account(actors.consumer)
    locked = MAX_ORDER_WH * 10**6 * 2
    assert (account.money_free_units, account.money_escrow_units) == (FUNDED_UNITS - locked, locked)
    assert (account.energy_free_uwh, account.energy_escrow_uwh) == (0, 0)
    assert market.chain.book(ZONE) == ({1: MAX_ORDER_WH}, {})


def test_create_orders__several_in_several_calls__are_numbered_on(market, actors):
    market.give_energy(actors.producer, 10_000)
    orders = [(bid if i % 3 else ask)(1 + 100 * i, 100 + i) for i in range(10)]
    for first, last in ((0, 3), (3, 4), (4, 10)):
        call = Call("Trading", "createOrders", ([o.pack() for o in orders[first:last]],))
        (returned,) = market.chain.read([call], sender=actors.producer.address)
        assert returned == market.order_id(actors.producer, first)
        outcome = market.enter(actors.producer, *orders[first:last])
        (event,) = market.events(outcome)
        assert event.name == "OrdersEntered"
        assert event.args | {"orders": list(event.args["orders"])} == {
            "account": actors.producer.address,
            "epoch": market.epoch,
            "zone": ZONE,
            "firstIndex": first,
            "orders": [o.pack() for o in orders[first:last]],
        }
    entered = market.chain.orders(actors.producer.address)
    assert [entry.order for entry in entered] == orders
    assert [entry.order_id for entry in entered] == [market.order_id(actors.producer, i) for i in range(10)]
    account = market.account(actors.producer)
    asks = [o for i, o in enumerate(orders) if i % 3 == 0]
    bids = [o for i, o in enumerate(orders) if i % 3]
    assert account.order_count == 10
    assert account.energy_escrow_uwh == sum(o.quantity_wh for o in asks) * 10**6
    assert account.money_escrow_units == sum(o.quantity_wh * o.tick for o in bids) * 2 * 10**6
    assert account.energy_free_uwh + account.energy_escrow_uwh == 10_000 * 10**6
    assert account.money_free_units + account.money_escrow_units == FUNDED_UNITS
    book = {o.tick: o.quantity_wh for o in bids}, {o.tick: o.quantity_wh for o in asks}
    assert market.chain.book(ZONE) == book


def test_create_orders__order_id__names_epoch_index_and_account(market, actors):
    account = actors.consumer.address
    told = market.chain.view("Trading", "orderIdOf", account, 2**27 - 1, 99)
    assert told == order_id(account, 2**27 - 1, 99) == (2**27 - 1) << 168 | 99 << 160 | int(account, 16)


def test_create_orders__fewer_than_in_the_epoch_before__leaves_no_stale_order_alive(market, actors):
    market.enter(actors.consumer, *[bid(500 + i, 100) for i in range(30)])
    market.next_epoch()
    market.enter(actors.consumer, bid(7, 200), bid(8, 300), bid(9, 400))
    assert [entry.order for entry in market.chain.orders(actors.consumer.address)] == [
        bid(7, 200),
        bid(8, 300),
        bid(9, 400),
    ]
    assert market.chain.book(ZONE) == ({7: 200, 8: 300, 9: 400}, {})
    stale = market.order_id(actors.consumer, 3)
    with reverts(errors.OrderNotOpen, orderId=stale):
        market.cancel(actors.consumer, stale)
    # The next one takes the lane where a stale one lies.
    market.buy(actors.consumer, 10, 500)
    assert market.chain.orders(actors.consumer.address)[3].order == bid(10, 500)
    market.next_epoch()
    assert market.account(actors.consumer).money_free_units == FUNDED_UNITS
    market.settle(actors.consumer)
    assert market.account(actors.consumer).money_free_units == FUNDED_UNITS
    assert market.chain.orders(actors.consumer.address) == []


def test_create_orders__first_of_a_new_epoch__settles_the_old_one_and_spends_its_proceeds(market, actors):
    market.give_energy(actors.producer, 1_000)
    market.sell(actors.producer, 200, 1_000)
    market.buy(actors.consumer, 300, 1_000)
    ended = market.epoch
    market.next_epoch()
    # The consumer offers what it has just bought.
    outcome = market.sell(actors.consumer, 250, 1_000)
    cleared, entered = market.events(outcome)
    assert (cleared.name, cleared.args["epoch"], cleared.args["result"]["price2"]) == ("EpochCleared", ended, 500)
    assert (entered.name, entered.args["epoch"], entered.args["firstIndex"]) == ("OrdersEntered", ended + 1, 0)
    account = market.account(actors.consumer)
    assert (account.energy_free_uwh, account.energy_escrow_uwh) == (0, 1_000 * 10**6)
    assert account.money_free_units == FUNDED_UNITS - 1_000 * 10**6 * 500


def test_create_orders__refused_first_order_of_an_epoch__clears_nothing(market, actors):
    market.buy(actors.consumer, 300, 1_000)
    market.next_epoch()
    with reverts(errors.InsufficientFree, asset=ENERGY, freeUnits=0):
        market.sell(actors.other_consumer, 250, 1_000)
    assert not market.chain.zone(ZONE).cleared


def _one(market, who, enter):
    match enter:
        case "sell":
            return market.sell(who, 300, 1_000)
        case "buy":
            return market.buy(who, 300, 1_000)
        case _:
            return market.enter(who, bid(300, 1_000))


def _raw(market, who, *words):
    return market.chain.send(who, Call("Trading", "createOrders", (list(words),)))


def _set_cap(market, cap):
    market.chain.send(market.actors.regulator, Call("Trading", "setOrderCap", (ZONE, cap)))


def _check(market, who, function, tick, energy_wh, order):
    call = Call("Trading", function, (tick, energy_wh))
    (returned,) = market.chain.read([call], sender=who.address)
    assert returned == market.order_id(who, 0)
    outcome = market.chain.send(who, call)
    (event,) = market.events(outcome)
    assert event.name == "OrdersEntered"
    assert event.args | {"orders": list(event.args["orders"])} == {
        "account": who.address,
        "epoch": market.epoch,
        "zone": ZONE,
        "firstIndex": 0,
        "orders": [order.pack()],
    }
    assert [entry.order for entry in market.chain.orders(who.address)] == [order]
    zone = market.chain.zone(ZONE)
    assert (zone.epoch, zone.cleared, zone.counted_orders) == (market.epoch, False, 0)
