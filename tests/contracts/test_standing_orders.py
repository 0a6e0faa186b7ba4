"""Standing orders: what an epoch leaves of them rests, and is rolled into the current one, cancelled, or expires."""

from dataclasses import replace

import pytest

from busbar import errors
from busbar.chain import Call, decode_revert
from busbar.clearing import Balance, clear_orders, escrow, remainder, settle
from busbar.orders import Order, Side, order_id
from busbar.signing import CancelOrder, CancelUpTo
from tests.market import BAHT, MONEY, ZONE, ask, bid, is_refusal, reverts

FUNDED_UNITS = 1_000 * BAHT // (5 * 10**6)
NONE, STANDING, RESTING = 0, 1, 2
SUSPENDED = 2


def standing(order, life=4):
    return replace(order, life=life)


def roll(market, *participants):
    """A stranger rolls."""
    addresses = [p.address for p in participants]
    return market.chain.send(market.actors.outsider, Call("Trading", "roll", (addresses,)))


def stored(market, participant):
    return [entry.order for entry in market.chain.orders(participant.address)]


def rolled(market, outcome):
    """Account, epoch and orders of every roll that took place."""
    events = market.events(outcome, "OrdersRolled")
    return [(e.args["account"], e.args["epoch"], _orders(e.args["orders"])) for e in events]


def _orders(packed):
    return [Order.unpack(int.from_bytes(packed[i : i + 6], "big")) for i in range(0, len(packed), 6)]


def skipped(market, outcome):
    """The one account that was not rolled, and why."""
    ((account, reason),) = [
        (e.args["account"], decode_revert(e.args["reason"])) for e in market.events(outcome, "RollSkipped")
    ]
    return account, reason


def cancel_for(market, participant, epoch, index, order):
    signature = market.signature(participant, CancelOrder(participant.address, epoch, index, order))
    place = order_id(participant.address, epoch, index)
    return market.chain.send(
        market.actors.outsider, Call("Trading", "cancelOrderFor", (place, order.pack(), signature))
    )


# ---- resting


def test_settle__standing_bid_that_did_not_trade__rests_with_its_escrow(market, actors):
    order = standing(bid(300, 1_000))
    market.enter(actors.consumer, order)
    assert market.account(actors.consumer).standing == STANDING
    ended = market.epoch
    market.next_epoch()
    for settled in (False, True):
        if settled:
            assert market.settle(actors.consumer).logs != ()
        account = market.account(actors.consumer)
        assert (account.standing, account.order_count, account.epoch) == (RESTING, 1, ended)
        assert account.money_escrow_units == escrow(order).money_units
        assert account.money_free_units == FUNDED_UNITS - escrow(order).money_units
        assert stored(market, actors.consumer) == [order]
        assert market.chain.book(ZONE) == ({}, {})


def test_settle__ordinary_order_beside_a_standing_one__goes_free_and_keeps_its_place_empty(market, actors):
    market.enter(actors.consumer, bid(200, 500), standing(bid(300, 1_000)))
    market.next_epoch()
    market.settle(actors.consumer)
    assert stored(market, actors.consumer) == [None, standing(bid(300, 1_000))]
    assert market.account(actors.consumer).money_escrow_units == escrow(bid(300, 1_000)).money_units


@pytest.mark.parametrize("side", list(Side))
def test_settle__rationed_standing_order__keeps_whole_watt_hours_and_frees_the_rest(market, actors, side):
    sellers, buyers = ([actors.producer, actors.other_producer], [actors.consumer])
    orders = {actors.producer: [standing(ask(200, 1_000))], actors.other_producer: [ask(200, 700)]}
    orders[actors.consumer] = [bid(200, 1_111)]
    if side is Side.BID:
        sellers, buyers = [actors.producer], [actors.consumer, actors.other_consumer]
        orders = {actors.consumer: [standing(bid(200, 1_000))], actors.other_consumer: [bid(200, 700)]}
        orders[actors.producer] = [ask(200, 1_111)]
    for seller in sellers:
        market.give_energy(seller, 2_000)
    for participant in (*sellers, *buyers):
        market.enter(participant, *orders[participant])
    who = next(p for p in (*sellers, *buyers) if orders[p][0].life)
    (order,) = orders[who]
    result = clear_orders([o for entered in orders.values() for o in entered])
    before = market.account(who)
    market.next_epoch()
    left_wh = remainder(result, order)
    back, kept = settle(result, order), escrow(replace(order, quantity_wh=left_wh))
    assert 100 < left_wh < 1_000
    for settled in (False, True):
        if settled:
            market.settle(who)
        account = market.account(who)
        assert account.energy_escrow_uwh == kept.energy_units
        assert account.money_escrow_units == kept.money_units
        free = Balance(account.energy_free_uwh, account.money_free_units)
        assert free == Balance(before.energy_free_uwh, before.money_free_units) + back - kept
        assert stored(market, who) == [replace(order, quantity_wh=left_wh)]


def test_settle__standing_order_filled__leaves_nothing(market, actors):
    market.give_energy(actors.producer, 1_000)
    market.enter(actors.consumer, standing(bid(300, 1_000)))
    market.enter(actors.producer, standing(ask(200, 1_000)))
    market.next_epoch()
    outcome = market.settle(actors.consumer, actors.producer)
    assert [event.name for event in market.events(outcome)] == ["EpochCleared"]
    for participant in (actors.consumer, actors.producer):
        account = market.account(participant)
        assert (account.standing, account.order_count) == (NONE, 0)
        assert (account.energy_escrow_uwh, account.money_escrow_units) == (0, 0)
        assert stored(market, participant) == []


def test_settle__less_than_the_smallest_order_is_left__ends_it_and_says_so(market, actors):
    market.give_energy(actors.producer, 5_000)
    # 1,050 of 1,100 fill: two orders with 45 and 4 Wh left, and one at another tick with all of it.
    market.enter(actors.producer, standing(ask(200, 1_000)), standing(ask(900, 400)), standing(ask(200, 100)))
    market.enter(actors.consumer, bid(200, 1_050))
    ended = market.epoch
    market.next_epoch()
    assert [order and order.quantity_wh for order in stored(market, actors.producer)] == [None, 400, None]
    outcome = market.settle(actors.producer)
    (event,) = market.events(outcome, "StandingOrdersEnded")
    assert event.args == {"account": actors.producer.address, "epoch": ended, "zone": ZONE, "indices": 0b101}
    account = market.account(actors.producer)
    assert account.energy_escrow_uwh == 400 * 10**6
    # Each of the two gave a fraction of a unit more than its share: a unit of dust.
    assert account.energy_free_uwh == (5_000 - 1_050 - 400) * 10**6 - 1


@pytest.mark.parametrize("epochs", [1, 4])
def test_settle__within_its_life__rests(market, actors, epochs):
    market.enter(actors.consumer, standing(bid(300, 1_000), life=4))
    market.next_epoch(epochs)
    assert market.account(actors.consumer).standing == RESTING


@pytest.mark.parametrize("settled_between", [False, True])
def test_settle__past_its_life__frees_everything(market, actors, settled_between):
    market.enter(actors.consumer, standing(bid(300, 1_000), life=4))
    if settled_between:
        market.next_epoch()
        market.settle(actors.consumer)
        market.next_epoch(4)
    else:
        market.next_epoch(5)
    for _ in range(2):
        account = market.account(actors.consumer)
        assert (account.money_free_units, account.money_escrow_units) == (FUNDED_UNITS, 0)
        assert (account.standing, account.order_count) == (NONE, 0)
        assert stored(market, actors.consumer) == []
        market.settle(actors.consumer)


def test_settle__a_second_time__changes_nothing(market, actors):
    market.enter(actors.consumer, *[standing(bid(300 + i, 1_000), life=i) for i in range(9)])
    market.next_epoch(3)
    market.settle(actors.consumer)
    account, orders = market.account(actors.consumer), market.chain.orders(actors.consumer.address)
    outcome = market.settle(actors.consumer, actors.consumer)
    assert outcome.logs == ()
    assert market.account(actors.consumer) == account
    assert market.chain.orders(actors.consumer.address) == orders


def test_withdraw__standing_order_rests__gives_what_is_free_and_no_more(market, actors):
    order = standing(bid(300, 1_000))
    market.enter(actors.consumer, order)
    market.next_epoch()
    locked_wei = escrow(order).money_units * 5 * 10**6
    with reverts(errors.InsufficientFree, freeUnits=FUNDED_UNITS - escrow(order).money_units):
        market.withdraw(actors.consumer, MONEY, 1_000 * BAHT)
    market.withdraw(actors.consumer, MONEY, 1_000 * BAHT - locked_wei)
    assert stored(market, actors.consumer) == [order]


def test_set_account__other_zone_with_resting_orders__reverts_until_they_are_gone(market, actors):
    market.chain.send(actors.regulator, Call("Trading", "openZone", (2, 0)))
    market.enter(actors.consumer, standing(bid(300, 1_000)))
    epoch = market.epoch
    market.next_epoch()
    move = Call("Registry", "setZone", (actors.consumer.address, 2))
    with reverts(errors.UnsettledOrders, account=actors.consumer.address, epoch=epoch):
        market.chain.send(actors.distributor, move)
    market.cancel(actors.consumer, order_id(actors.consumer.address, epoch, 0))
    market.chain.send(actors.distributor, move)
    assert market.account(actors.consumer).zone == 2


# ---- rolling


def test_roll__by_a_stranger__enters_what_rests_with_a_shorter_life(market, actors):
    orders = [standing(bid(300 + i, 1_000), life=1 + i) for i in range(9)]
    market.enter(actors.consumer, *orders)
    epoch = market.next_epoch(3)
    free = market.account(actors.consumer).money_free_units
    outcome = roll(market, actors.consumer)
    live = [order.aged(3) for order in orders if order.life >= 3]
    assert rolled(market, outcome) == [(actors.consumer.address, epoch, live)]
    assert stored(market, actors.consumer) == live
    assert [entry.order_id for entry in market.chain.orders(actors.consumer.address)] == [
        order_id(actors.consumer.address, epoch, index) for index in range(7)
    ]
    assert market.chain.book(ZONE) == ({order.tick: 1_000 for order in live}, {})
    account = market.account(actors.consumer)
    assert (account.standing, account.epoch, account.order_count) == (STANDING, epoch, 7)
    assert account.money_free_units == free
    assert market.chain.zone(ZONE).counted_orders == 6


def test_roll__a_second_time__changes_nothing(market, actors):
    market.enter(actors.consumer, standing(bid(300, 1_000)))
    market.next_epoch()
    roll(market, actors.consumer)
    account = market.account(actors.consumer)
    outcome = roll(market, actors.consumer, actors.consumer)
    assert outcome.logs == ()
    assert market.account(actors.consumer) == account
    assert market.chain.book(ZONE) == ({300: 1_000}, {})


def test_roll__same_account_twice_in_a_call__enters_once(market, actors):
    market.enter(actors.consumer, standing(bid(300, 1_000)))
    market.next_epoch()
    assert len(rolled(market, roll(market, actors.consumer, actors.consumer))) == 1
    assert market.chain.book(ZONE) == ({300: 1_000}, {})


def test_roll__expired__settles_and_enters_nothing(market, actors):
    market.enter(actors.consumer, standing(bid(300, 1_000), life=1))
    market.next_epoch(2)
    outcome = roll(market, actors.consumer)
    assert [event.name for event in market.events(outcome)] == ["EpochCleared"]
    assert market.chain.book(ZONE) == ({}, {})
    assert market.account(actors.consumer).money_free_units == FUNDED_UNITS


def test_roll__last_epoch_of_its_life__trades_and_is_gone(market, actors):
    market.give_energy(actors.producer, 400)
    market.enter(actors.consumer, standing(bid(300, 1_000), life=1))
    market.next_epoch()
    roll(market, actors.consumer)
    market.sell(actors.producer, 300, 400)
    market.next_epoch()
    assert market.free_wh(actors.consumer) == 400
    account = market.account(actors.consumer)
    assert (account.standing, account.money_escrow_units) == (NONE, 0)
    assert market.chain.results(ZONE, [market.epoch - 1])[0].volume_wh == 400


def test_roll__accounts_without_standing_orders__leaves_them_alone(market, actors):
    market.buy(actors.consumer, 300, 1_000)
    market.next_epoch()
    outcome = roll(market, actors.consumer, actors.producer, actors.outsider)
    assert outcome.logs == ()
    assert stored(market, actors.consumer) == [bid(300, 1_000)]


def test_roll__suspended__rests(market, actors):
    order = standing(bid(300, 1_000))
    market.enter(actors.consumer, order)
    market.enter(actors.other_consumer, order)
    market.chain.send(actors.distributor, Call("Registry", "setStatus", (actors.consumer.address, SUSPENDED)))
    epoch = market.next_epoch()
    outcome = roll(market, actors.consumer, actors.other_consumer)
    account, reason = skipped(market, outcome)
    assert account == actors.consumer.address
    assert is_refusal(reason, errors.AccountSuspended, account=actors.consumer.address)
    assert rolled(market, outcome) == [(actors.other_consumer.address, epoch, [order.aged(1)])]
    assert market.account(actors.consumer).standing == RESTING
    assert stored(market, actors.consumer) == [order]


def test_roll__suspended_for_a_while__enters_afterwards(market, actors):
    market.enter(actors.consumer, standing(bid(300, 1_000), life=4))
    market.chain.send(actors.distributor, Call("Registry", "setStatus", (actors.consumer.address, SUSPENDED)))
    market.next_epoch()
    roll(market, actors.consumer)
    market.chain.send(actors.distributor, Call("Registry", "setStatus", (actors.consumer.address, 1)))
    epoch = market.next_epoch()
    assert rolled(market, roll(market, actors.consumer)) == [
        (actors.consumer.address, epoch, [standing(bid(300, 1_000), life=2)])
    ]


def test_roll__paused__rests(market, actors):
    market.enter(actors.consumer, standing(bid(300, 1_000)))
    market.next_epoch()
    market.chain.send(actors.regulator, Call("Trading", "setPaused", (ZONE, True)))
    _, reason = skipped(market, roll(market, actors.consumer))
    assert is_refusal(reason, errors.ZonePaused, zone=ZONE)
    assert market.account(actors.consumer).standing == RESTING


def test_roll__cap_full__skips_several_orders_but_not_a_single_one(market, actors):
    market.enter(actors.consumer, standing(bid(300, 1_000)), standing(bid(301, 1_000)))
    market.enter(actors.other_consumer, standing(bid(302, 1_000)))
    epoch = market.next_epoch()
    market.chain.send(actors.regulator, Call("Trading", "setOrderCap", (ZONE, 1)))
    market.enter(actors.third_consumer, bid(100, 100), bid(100, 100))
    outcome = roll(market, actors.consumer, actors.other_consumer)
    account, reason = skipped(market, outcome)
    assert account == actors.consumer.address
    assert is_refusal(reason, errors.EpochFull, zone=ZONE, epoch=epoch, orderCap=1)
    assert [who for who, _, _ in rolled(market, outcome)] == [actors.other_consumer.address]
    # One of the two taken back, the other enters.
    market.cancel(actors.consumer, order_id(actors.consumer.address, epoch - 1, 0))
    assert rolled(market, roll(market, actors.consumer)) == [
        (actors.consumer.address, epoch, [standing(bid(301, 1_000), life=3)])
    ]


def test_roll__after_a_cancel__leaves_that_order_out(market, actors):
    market.enter(actors.consumer, *[standing(bid(300 + i, 1_000)) for i in range(8)])
    epoch = market.epoch
    market.cancel(actors.consumer, order_id(actors.consumer.address, epoch, 3))
    market.next_epoch()
    market.cancel(actors.consumer, order_id(actors.consumer.address, epoch, 0))
    market.cancel(actors.consumer, order_id(actors.consumer.address, epoch, 7))
    ((_, _, orders),) = rolled(market, roll(market, actors.consumer))
    assert [order.tick for order in orders] == [301, 302, 304, 305, 306]


def test_roll__hundred_orders_over_epochs__loses_none(market, actors):
    market.enter(actors.consumer, *[standing(bid(1 + i, 100 + i), life=96) for i in range(100)])
    for epochs in (1, 1, 40):
        market.next_epoch(epochs)
        roll(market, actors.consumer)
    assert stored(market, actors.consumer) == [standing(bid(1 + i, 100 + i), life=54) for i in range(100)]
    assert market.chain.book(ZONE) == ({1 + i: 100 + i for i in range(100)}, {})


@pytest.mark.parametrize("side", list(Side))
def test_roll__rationed_epoch_after_epoch__trades_until_nothing_is_left(market, actors, side):
    market.give_energy(actors.producer, 20_000)
    market.give_energy(actors.other_producer, 20_000)
    order = Order(side, 200, 3_000, 9)
    who, rival, other = (actors.producer, actors.other_producer, actors.consumer)
    if side is Side.BID:
        who, rival, other = (actors.consumer, actors.other_consumer, actors.producer)
    start = market.account(who)
    held = Balance(start.energy_free_uwh, start.money_free_units)
    market.enter(who, order)
    for number in range(9):
        against, beside = Order(Side(1 - side), 200, 777 + number), Order(side, 200, 1_300 + number)
        market.enter(rival, beside)
        market.enter(other, against)
        result = clear_orders([order, beside, against])
        left_wh = remainder(result, order)
        held += settle(result, order) - escrow(order)
        market.next_epoch()
        account = market.account(who)
        total = Balance(
            account.energy_free_uwh + account.energy_escrow_uwh, account.money_free_units + account.money_escrow_units
        )
        assert total == held
        roll(market, who)
        if left_wh < 100:
            assert number > 3
            assert stored(market, who) == []
            return
        order = replace(order, quantity_wh=left_wh).aged(1)
        assert stored(market, who) == [order]
    raise AssertionError("never ended")


# ---- the owner enters


def test_create_orders__with_resting_orders__rolls_first(market, actors):
    market.enter(actors.consumer, standing(bid(300, 1_000)), standing(bid(301, 1_000)))
    epoch = market.next_epoch()
    outcome = market.enter(actors.consumer, bid(400, 700))
    assert [event.name for event in market.events(outcome)] == ["EpochCleared", "OrdersRolled", "OrdersEntered"]
    assert market.events(outcome, "OrdersEntered")[0].args["firstIndex"] == 2
    assert stored(market, actors.consumer) == [
        standing(bid(300, 1_000), life=3),
        standing(bid(301, 1_000), life=3),
        bid(400, 700),
    ]
    assert market.chain.book(ZONE) == ({300: 1_000, 301: 1_000, 400: 700}, {})
    assert market.chain.zone(ZONE).counted_orders == 2
    assert market.account(actors.consumer).epoch == epoch


def test_create_orders__resting_orders_cannot_roll__reverts_for_that_reason(market, actors):
    market.enter(actors.consumer, standing(bid(300, 1_000)), standing(bid(301, 1_000)))
    epoch = market.next_epoch()
    market.chain.send(actors.regulator, Call("Trading", "setOrderCap", (ZONE, 1)))
    market.enter(actors.third_consumer, bid(100, 100), bid(100, 100))
    with reverts(errors.EpochFull, zone=ZONE, epoch=epoch, orderCap=1):
        market.buy(actors.consumer, 300, 100)


def test_create_orders__more_than_100_with_those_that_rest__reverts(market, actors):
    market.enter(actors.consumer, *[standing(bid(1, 100))] * 60)
    market.next_epoch()
    with reverts(errors.TooManyOrders, account=actors.consumer.address, count=101):
        market.enter(actors.consumer, *[bid(1, 100)] * 41)


def test_create_orders__expired_ones_behind_it__counts_from_nothing(market, actors):
    market.enter(actors.consumer, *[standing(bid(1, 100), life=1)] * 60)
    market.next_epoch(2)
    market.enter(actors.consumer, *[bid(2, 100)] * 100)
    assert stored(market, actors.consumer) == [bid(2, 100)] * 100


def test_enter_bundles__with_resting_orders__rolls_first(market, actors):
    market.enter(actors.consumer, standing(bid(300, 1_000)))
    market.next_epoch()
    outcome = market.relay(market.signed_orders(actors.consumer, bid(400, 700)))
    assert [event.name for event in market.events(outcome)] == ["EpochCleared", "OrdersRolled", "SignedOrderEntered"]
    assert stored(market, actors.consumer) == [standing(bid(300, 1_000), life=3), bid(400, 700)]
    assert market.chain.zone(ZONE).counted_orders == 1


def test_enter_bundles__bad_after_the_roll__leaves_only_the_roll_behind(market, actors):
    market.enter(actors.consumer, standing(bid(300, 1_000)))
    market.next_epoch()
    bundle = market.bundle(actors.consumer, bid(400, 700))
    forged = market.signed_orders(actors.other_consumer, bid(400, 700))
    outcome = market.relay(replace(forged, bundle=bundle))
    assert [event.name for event in market.events(outcome)] == ["EpochCleared", "OrdersRolled", "BundleSkipped"]
    assert stored(market, actors.consumer) == [standing(bid(300, 1_000), life=3)]
    assert market.account(actors.consumer).nonce == 0


def test_enter_bundles__roll_refused__is_skipped_for_that_reason(market, actors):
    market.enter(actors.consumer, standing(bid(300, 1_000)), standing(bid(301, 1_000)))
    epoch = market.next_epoch()
    market.chain.send(actors.regulator, Call("Trading", "setOrderCap", (ZONE, 1)))
    market.enter(actors.third_consumer, bid(100, 100), bid(100, 100))
    outcome = market.relay(market.signed_orders(actors.consumer, bid(400, 700)))
    ((_, _, reason),) = market.skipped(outcome)
    assert is_refusal(reason, errors.EpochFull, zone=ZONE, epoch=epoch, orderCap=1)
    assert market.account(actors.consumer).standing == RESTING


# ---- signed


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize(("late", "life"), [(0, 5), (2, 3), (5, 0), (7, 0)])
def test_enter_bundles__standing__stands_until_the_signed_epoch(market, actors, count, late, life):
    epoch = market.epoch
    orders = [standing(bid(300 + i, 1_000), life=5) for i in range(count)]
    signed = market.signed_orders(actors.consumer, *orders, epochs=(epoch, epoch + 9))
    market.to_epoch(epoch + late, 800)
    outcome = market.relay(signed)
    entered = [replace(order, life=life) for order in orders]
    (event,) = market.events(outcome)
    packed = event.args["placed"] & 2**48 - 1 if count == 1 else event.args["orders"]
    assert ([Order.unpack(packed)] if count == 1 else _orders(packed)) == entered
    assert stored(market, actors.consumer) == entered


def test_enter_bundles__standing_order_sent_again_after_it_was_rolled__is_skipped(market, actors):
    epoch = market.epoch
    signed = market.signed_orders(actors.consumer, standing(bid(300, 1_000)), epochs=(epoch, epoch + 4))
    market.relay(signed)
    market.next_epoch()
    roll(market, actors.consumer)
    ((_, _, reason),) = market.skipped(market.relay(signed))
    assert is_refusal(reason, errors.InvalidNonce, nonce=0, lowest=1)
    assert market.chain.book(ZONE) == ({300: 1_000}, {})


def test_enter_bundles__standing_order_cancelled_before_it_was_sent__is_skipped(market, actors):
    signed = market.signed_orders(actors.consumer, standing(bid(300, 1_000)))
    message = CancelUpTo(actors.consumer.address, 0)
    signature = market.signature(actors.consumer, message)
    market.chain.send(actors.outsider, Call("Trading", "cancelUpToFor", (actors.consumer.address, 0, signature)))
    ((_, _, reason),) = market.skipped(market.relay(signed))
    assert is_refusal(reason, errors.InvalidNonce, nonce=0, lowest=1)


@pytest.mark.parametrize("life", [3, 5])
def test_enter_bundles__another_life_than_was_signed__is_skipped(market, actors, life):
    signed = market.signed_orders(actors.consumer, standing(bid(300, 1_000), life=4))
    forged = replace(signed, bundle=replace(signed.bundle, orders=(standing(bid(300, 1_000), life=life),)))
    ((_, _, reason),) = market.skipped(market.relay(forged))
    assert is_refusal(reason, errors.BadSignature, account=actors.consumer.address)


# ---- cancelling


@pytest.mark.parametrize("settled", [False, True])
@pytest.mark.parametrize("index", [0, 1, 7])
def test_cancel_order__epoch_over__frees_what_rests_of_a_standing_one(market, actors, settled, index):
    orders = [standing(bid(300 + i, 1_000 + i)) for i in range(8)]
    market.enter(actors.consumer, *orders)
    epoch = market.epoch
    market.next_epoch()
    if settled:
        market.settle(actors.consumer)
    before = market.account(actors.consumer)
    outcome = market.cancel(actors.consumer, order_id(actors.consumer.address, epoch, index))
    (event,) = market.events(outcome, "OrderCancelled")
    assert event.args["order"] == orders[index].pack()
    assert (event.args["epoch"], event.args["index"]) == (epoch, index)
    after = market.account(actors.consumer)
    freed = escrow(orders[index]).money_units
    assert after.money_free_units == before.money_free_units + freed
    assert after.money_escrow_units == before.money_escrow_units - freed
    assert stored(market, actors.consumer) == [None if i == index else order for i, order in enumerate(orders)]


def test_cancel_order__partly_filled__frees_what_is_left(market, actors):
    market.give_energy(actors.producer, 400)
    market.enter(actors.consumer, standing(bid(300, 1_000)))
    market.sell(actors.producer, 300, 400)
    epoch = market.epoch
    market.next_epoch()
    outcome = market.cancel(actors.consumer, order_id(actors.consumer.address, epoch, 0))
    (event,) = market.events(outcome, "OrderCancelled")
    assert event.args["order"] == standing(bid(300, 600)).pack()
    account = market.account(actors.consumer)
    assert (account.money_escrow_units, account.standing) == (0, NONE)
    assert account.money_free_units == FUNDED_UNITS - 400 * 600 * 10**6


def test_cancel_order__ordinary_one_beside_a_standing_one_after_the_epoch__reverts(market, actors):
    market.enter(actors.consumer, bid(200, 500), standing(bid(300, 1_000)))
    place = market.order_id(actors.consumer)
    market.next_epoch()
    with reverts(errors.OrderNotOpen, orderId=place):
        market.cancel(actors.consumer, place)


@pytest.mark.parametrize("case", ["filled", "expired", "rolled", "twice"])
def test_cancel_order__nothing_rests_under_the_id__reverts(market, actors, case):
    market.give_energy(actors.producer, 1_000)
    market.enter(actors.consumer, standing(bid(300, 1_000), life=2), standing(bid(250, 1_000), life=2))
    place = market.order_id(actors.consumer)
    if case == "filled":
        market.sell(actors.producer, 300, 1_000)
    market.next_epoch(3 if case == "expired" else 1)
    if case == "rolled":
        roll(market, actors.consumer)
    if case == "twice":
        market.cancel(actors.consumer, place)
    with reverts(errors.OrderNotOpen, orderId=place):
        market.cancel(actors.consumer, place)


def test_cancel_order__rolled__goes_by_its_new_id(market, actors):
    market.enter(actors.consumer, bid(200, 500), standing(bid(300, 1_000)))
    market.next_epoch()
    roll(market, actors.consumer)
    market.cancel(actors.consumer, market.order_id(actors.consumer))
    assert market.chain.book(ZONE) == ({}, {})
    assert market.account(actors.consumer).money_free_units == FUNDED_UNITS


def test_cancel_order__suspended_and_paused__frees_what_rests(market, actors):
    market.enter(actors.consumer, standing(bid(300, 1_000)))
    place = market.order_id(actors.consumer)
    market.next_epoch()
    market.chain.send(actors.distributor, Call("Registry", "setStatus", (actors.consumer.address, SUSPENDED)))
    market.chain.send(actors.regulator, Call("Trading", "setPaused", (ZONE, True)))
    market.cancel(actors.consumer, place)
    assert market.account(actors.consumer).money_free_units == FUNDED_UNITS


def test_cancel_order__within_the_cutoff__frees_what_rests_for_it_is_in_no_book(market, actors):
    chain = market.another_trading(cancel_cutoff_s=899)
    chain.send(actors.issuer, Call("BahtToken", "issue", (actors.consumer.address, BAHT, bytes(32))))
    chain.send(actors.consumer, Call("BahtToken", "approve", (chain.addresses["Trading"], BAHT)))
    chain.send(actors.consumer, Call("Trading", "deposit", (MONEY, BAHT)))
    chain.send(actors.consumer, Call("Trading", "createOrders", ([standing(bid(10, 100)).pack()],)))
    epoch = market.epoch
    market.to_epoch(epoch + 1, 898)
    chain.send(actors.consumer, Call("Trading", "cancelOrder", (order_id(actors.consumer.address, epoch, 0),)))
    assert chain.accounts([actors.consumer.address])[0].money_escrow_units == 0


def test_cancel_order_for__signed_before_some_of_it_traded__cancels_what_is_left(market, actors):
    market.give_energy(actors.producer, 400)
    order = standing(bid(300, 1_000))
    market.enter(actors.consumer, order)
    market.sell(actors.producer, 300, 400)
    epoch = market.epoch
    market.next_epoch()
    outcome = cancel_for(market, actors.consumer, epoch, 0, order)
    (event,) = market.events(outcome, "OrderCancelled")
    assert event.args["order"] == standing(bid(300, 600)).pack()


def test_cancel_order_for__standing_order_in_its_open_epoch__cancels_whatever_its_life(market, actors):
    market.enter(actors.consumer, standing(bid(300, 1_000)))
    cancel_for(market, actors.consumer, market.epoch, 0, bid(300, 1_000))
    assert market.account(actors.consumer).money_escrow_units == 0


@pytest.mark.parametrize("named", [bid(300, 999), bid(301, 1_000), ask(300, 1_000)])
def test_cancel_order_for__less_or_another_order_than_rests__reverts(market, actors, named):
    market.enter(actors.consumer, standing(bid(300, 1_000)))
    epoch = market.epoch
    market.next_epoch()
    with reverts(errors.OtherOrder, order=standing(bid(300, 1_000)).pack(), signedOrder=named.pack()):
        cancel_for(market, actors.consumer, epoch, 0, named)


def test_cancel_order_for__more_than_stands_in_the_open_epoch__reverts(market, actors):
    market.enter(actors.consumer, standing(bid(300, 1_000)))
    with reverts(errors.OtherOrder):
        cancel_for(market, actors.consumer, market.epoch, 0, bid(300, 1_001))


def test_cancel_order_for__sent_again_after_the_order_was_rolled__reverts(market, actors):
    market.enter(actors.consumer, standing(bid(300, 1_000)), standing(bid(300, 1_000)))
    epoch = market.epoch
    market.next_epoch()
    cancel_for(market, actors.consumer, epoch, 0, bid(300, 1_000))
    roll(market, actors.consumer)
    with reverts(errors.OrderNotOpen, orderId=order_id(actors.consumer.address, epoch, 0)):
        cancel_for(market, actors.consumer, epoch, 0, bid(300, 1_000))
    assert market.chain.book(ZONE) == ({300: 1_000}, {})
