"""openZone, setOrderCap, setPaused, setAccount: verbs of the regulator and Registry; zones apart from each other."""

import pytest

from busbar import errors
from busbar.chain import Call
from busbar.clearing import LongSide, Result, clear_orders
from tests.market import ZONE, ask, bid, reverts

OTHER = 2
NEVER_OPENED = 9
MAX_ORDER_CAP = 2**24 - 1


@pytest.mark.parametrize(
    ("function", "args"), [("openZone", (OTHER, 0)), ("setOrderCap", (ZONE, 1)), ("setPaused", (ZONE, True))]
)
@pytest.mark.parametrize("who", ["outsider", "consumer", "keeper", "distributor"])
def test_zones__not_the_regulator__reverts(market, actors, function, args, who):
    caller = getattr(actors, who)
    with reverts(errors.AccessManagedUnauthorized, caller=caller.address):
        market.chain.send(caller, Call("Trading", function, args))


@pytest.mark.parametrize("who", ["outsider", "keeper", "distributor", "regulator"])
def test_set_account__not_registry__reverts(market, actors, who):
    caller = getattr(actors, who)
    with reverts(errors.AccessManagedUnauthorized, caller=caller.address):
        market.chain.send(caller, Call("Trading", "setAccount", (actors.outsider.address, 1, ZONE)))


@pytest.mark.parametrize("status", [0, 3])
def test_set_account__status_that_is_none__reverts(market, actors, status):
    chain = market.another_trading()
    with reverts(errors.InvalidStatus, status=status):
        chain.send(actors.regulator, Call("Trading", "setAccount", (actors.consumer.address, status, ZONE)))


def test_open_zone__a_second_time__reverts(market, actors):
    with reverts(errors.ZoneAlreadyOpen, zone=ZONE):
        _regulate(market, "openZone", ZONE, 5)
    _regulate(market, "openZone", OTHER, 5)
    with reverts(errors.ZoneAlreadyOpen, zone=OTHER):
        _regulate(market, "openZone", OTHER, 5)


@pytest.mark.parametrize(("function", "value"), [("setOrderCap", 1), ("setPaused", True)])
def test_zones__never_opened__reverts(market, function, value):
    with reverts(errors.UnknownZone, zone=NEVER_OPENED):
        _regulate(market, function, NEVER_OPENED, value)


@pytest.mark.parametrize(("function", "zone"), [("openZone", OTHER), ("setOrderCap", ZONE)])
@pytest.mark.parametrize("cap", [MAX_ORDER_CAP + 1, 2**32 - 1])
def test_zones__cap_too_large__reverts(market, function, zone, cap):
    before = market.chain.zone(zone)
    with reverts(errors.InvalidOrderCap, orderCap=cap, maximum=MAX_ORDER_CAP):
        _regulate(market, function, zone, cap)
    assert market.chain.zone(zone) == before


def test_open_zone__with_the_largest_cap__has_it(market):
    _regulate(market, "openZone", OTHER, MAX_ORDER_CAP)
    assert market.chain.zone(OTHER).order_cap == MAX_ORDER_CAP


def test_set_account__zone_never_opened__reverts(market, actors):
    with reverts(errors.UnknownZone, zone=NEVER_OPENED):
        market.register(actors.outsider, zone=NEVER_OPENED)
    with reverts(errors.UnknownZone, zone=NEVER_OPENED):
        _move(market, actors.consumer, NEVER_OPENED)
    assert market.account(actors.consumer).zone == ZONE


def test_set_account__zone_with_open_orders__reverts(market, actors):
    _regulate(market, "openZone", OTHER, 0)
    market.buy(actors.consumer, 300, 1_000)
    epoch = market.epoch
    with reverts(errors.UnsettledOrders, account=actors.consumer.address, epoch=epoch):
        _move(market, actors.consumer, OTHER)
    # A cancelled order still holds the account until the epoch's end.
    market.cancel(actors.consumer, market.order_id(actors.consumer))
    with reverts(errors.UnsettledOrders, account=actors.consumer.address, epoch=epoch):
        _move(market, actors.consumer, OTHER)


def test_set_account__suspending_with_open_orders__keeps_them(market, actors):
    market.give_energy(actors.producer, 1_000)
    market.sell(actors.producer, 200, 1_000)
    market.buy(actors.consumer, 300, 1_000)
    outcome = market.chain.send(actors.distributor, Call("Registry", "setStatus", (actors.producer.address, 2)))
    (event,) = market.events(outcome, "AccountSet")
    assert event.args == {"account": actors.producer.address, "status": 2, "zone": ZONE}
    assert market.account(actors.producer).status == 2
    market.next_epoch()
    assert market.account(actors.producer).money_free_units > market.account(actors.consumer).money_free_units


def test_set_account__zone_after_the_epochs_end__settles_and_moves(market, actors):
    _regulate(market, "openZone", OTHER, 0)
    market.give_energy(actors.producer, 1_000)
    market.sell(actors.producer, 200, 1_000)
    market.buy(actors.consumer, 300, 1_000)
    market.next_epoch()
    outcome = _move(market, actors.consumer, OTHER)
    assert {event.name for event in market.events(outcome)} >= {"EpochCleared", "AccountSet"}
    account = market.account(actors.consumer)
    assert (account.zone, account.energy_free_uwh, account.order_count) == (OTHER, 1_000 * 10**6, 0)
    market.sell(actors.consumer, 100, 1_000)
    assert market.chain.book(OTHER) == ({}, {100: 1_000})
    assert market.chain.book(ZONE) == ({}, {})


def test_open_zone__new__is_there_and_tells_it(market):
    outcome = _regulate(market, "openZone", OTHER, 77)
    (event,) = market.events(outcome)
    assert event.name == "ZoneSet"
    assert event.args == {"zone": OTHER, "paused": False, "orderCap": 77}
    zone = market.chain.zone(OTHER)
    assert (zone.open, zone.paused, zone.cleared, zone.counted_orders, zone.order_cap) == (True, False, True, 0, 77)
    assert market.chain.clearing_due(OTHER) is None
    market.next_epoch()
    assert market.chain.clearing_due(OTHER) is None


def test_set_order_cap__open_zone__changes_nothing_else(market, actors):
    market.enter(actors.consumer, bid(10, 100), bid(10, 100))
    _regulate(market, "setPaused", ZONE, True)
    before = market.chain.zone(ZONE)
    (event,) = market.events(_regulate(market, "setOrderCap", ZONE, MAX_ORDER_CAP))
    assert event.name == "ZoneSet"
    assert event.args == {"zone": ZONE, "paused": True, "orderCap": MAX_ORDER_CAP}
    after = market.chain.zone(ZONE)
    assert after.order_cap == MAX_ORDER_CAP
    assert (after.open, after.paused, after.epoch, after.cleared, after.counted_orders) == (
        before.open,
        before.paused,
        before.epoch,
        before.cleared,
        before.counted_orders,
    )


def test_set_paused__and_again_off__tells_it_and_lets_orders_in_again(market, actors):
    for paused in (True, True, False):
        (event,) = market.events(_regulate(market, "setPaused", ZONE, paused))
        assert event.args == {"zone": ZONE, "paused": paused, "orderCap": 10_000}
        assert market.chain.zone(ZONE).paused == paused
    market.buy(actors.consumer, 10, 100)


def test_set_paused__one_zone__leaves_the_other_trading(market, actors):
    _two_zones(market, actors)
    _regulate(market, "setPaused", ZONE, True)
    market.buy(actors.other_consumer, 10, 100)
    with reverts(errors.ZonePaused, zone=ZONE):
        market.buy(actors.consumer, 10, 100)


def test_zones__same_ticks_in_both__clear_apart_from_each_other(market, actors):
    _two_zones(market, actors)
    books = {
        ZONE: {actors.producer: [ask(200, 1_000)], actors.consumer: [bid(300, 700)]},
        OTHER: {actors.other_producer: [ask(200, 500)], actors.other_consumer: [bid(300, 900)]},
    }
    for orders in books.values():
        for participant, mine in orders.items():
            market.enter(participant, *mine)
    epoch = market.epoch
    assert market.chain.book(ZONE) == ({300: 700}, {200: 1_000})
    assert market.chain.book(OTHER) == ({300: 900}, {200: 500})
    market.next_epoch()
    (event,) = market.events(market.clear(zone=OTHER))
    assert event.args["zone"] == OTHER
    assert market.chain.clearing_due(ZONE) == epoch
    assert not market.chain.zone(ZONE).cleared
    # The other zone goes on while this one waits.
    market.buy(actors.other_consumer, 400, 100)
    market.next_epoch()
    market.clear(zone=OTHER)
    market.clear(zone=ZONE)
    results = {zone: market.chain.results(zone, [epoch])[0] for zone in books}
    assert results == {
        zone: clear_orders(order for mine in orders.values() for order in mine) for zone, orders in books.items()
    }
    assert results[ZONE] == Result(200, 200, LongSide.ASKS, 700, 1_000, 700)
    assert results[OTHER] == Result(300, 300, LongSide.BIDS, 500, 900, 500)
    assert market.free_wh(actors.consumer) == 700
    assert market.free_wh(actors.producer) == 300
    assert market.free_wh(actors.other_producer) == 0


def test_zones__only_crossed_between_two__do_not_trade(market, actors):
    _two_zones(market, actors)
    market.sell(actors.producer, 100, 1_000)
    market.buy(actors.other_consumer, 900, 1_000)
    market.next_epoch()
    assert [market.chain.results(zone, [market.epoch - 1])[0] for zone in (ZONE, OTHER)] == [Result.none()] * 2


def _two_zones(market, actors):
    """The other producer and consumer live in the other zone; producers have a kWh each."""
    _regulate(market, "openZone", OTHER, 0)
    for participant in (actors.other_producer, actors.other_consumer):
        _move(market, participant, OTHER)
    market.give_energy(actors.producer, 1_000)
    market.give_energy(actors.other_producer, 500)


def _regulate(market, function, *args):
    return market.chain.send(market.actors.regulator, Call("Trading", function, args))


def _move(market, participant, zone):
    return market.chain.send(market.actors.distributor, Call("Registry", "setZone", (participant.address, zone)))
