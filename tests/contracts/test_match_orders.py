"""matchOrders, and the same done by whoever acts first in a later epoch."""

import pytest

from busbar import errors
from busbar.chain import Call
from busbar.clearing import LongSide, Result
from tests.market import ENERGY, ZONE, bid, reverts

NEVER_OPENED = 200


@pytest.mark.parametrize("who", ["outsider", "consumer", "distributor", "regulator"])
def test_match_orders__no_market_maker__reverts(market, actors, who):
    _trade(market, actors)
    market.next_epoch()
    caller = getattr(actors, who)
    with reverts(errors.AccessManagedUnauthorized, caller=caller.address):
        market.clear(caller)


def test_match_orders__epoch_still_open__reverts(market, actors):
    _trade(market, actors)
    # The transaction's block is made a second later: the last one of the epoch.
    market.devnet.mine(market.chain.calendar.end(market.epoch) - 2)
    with reverts(errors.NothingToClear, zone=ZONE, currentEpoch=market.epoch):
        market.clear()


def test_match_orders__a_second_time__reverts(market, actors):
    _trade(market, actors)
    market.next_epoch()
    market.clear()
    with reverts(errors.NothingToClear, zone=ZONE, currentEpoch=market.epoch):
        market.clear()


def test_match_orders__no_order_ever__reverts(market):
    market.next_epoch()
    with reverts(errors.NothingToClear, zone=ZONE, currentEpoch=market.epoch):
        market.clear()


def test_match_orders__zone_never_opened__reverts(market):
    market.next_epoch()
    with reverts(errors.NothingToClear, zone=NEVER_OPENED, currentEpoch=market.epoch):
        market.clear(zone=NEVER_OPENED)


def test_match_orders__first_second_of_the_next_epoch__clears(market, actors):
    _trade(market, actors)
    market.devnet.mine(market.chain.calendar.end(market.epoch))
    assert market.events(market.clear(), "EpochCleared")


def test_match_orders__trade__stores_the_result_and_tells_it(market, actors):
    ended = _trade(market, actors)
    expected = Result(200, 200, LongSide.ASKS, 1_000, 1_500, 1_000)
    assert market.chain.indicative(ZONE) == expected
    market.next_epoch()
    assert market.chain.clearing_due(ZONE) == ended
    assert market.chain.results(ZONE, [ended]) == [expected]
    views = market.chain.accounts([p.address for p in actors.participants])
    trading = market.chain.addresses["Trading"]
    before = market.chain.view("Trading", "totals"), market.token_balance("GridToken", trading)

    (event,) = market.events(market.clear())
    assert event.name == "EpochCleared"
    assert event.args == {
        "zone": ZONE,
        "epoch": ended,
        "result": {
            "price2": 400,
            "lowerTick": 200,
            "upperTick": 200,
            "longSide": 2,
            "filledWh": 1_000,
            "offeredWh": 1_500,
            "volumeWh": 1_000,
        },
    }
    assert market.chain.clearing_due(ZONE) is None
    zone = market.chain.zone(ZONE)
    assert (zone.epoch, zone.cleared) == (ended, True)
    # Clearing moves nothing and changes no balance: everybody was shown settled already.
    assert market.chain.accounts([p.address for p in actors.participants]) == views
    assert (market.chain.view("Trading", "totals"), market.token_balance("GridToken", trading)) == before
    market.next_epoch(10)
    assert market.chain.results(ZONE, [ended, ended + 1]) == [expected, Result.none()]


def test_match_orders__no_trade__tells_there_is_no_price(market, actors):
    ended = market.epoch
    market.buy(actors.consumer, 300, 1_000)
    market.next_epoch()
    (event,) = market.events(market.clear())
    assert (event.args["epoch"], set(event.args["result"].values())) == (ended, {0})
    assert market.chain.results(ZONE, [ended]) == [Result.none()]


def test_match_orders__paused__clears(market, actors):
    _trade(market, actors)
    market.chain.send(actors.regulator, Call("Trading", "setPaused", (ZONE, True)))
    market.next_epoch()
    assert market.events(market.clear(), "EpochCleared")


@pytest.mark.parametrize("action", ["order", "several orders", "withdraw", "settle", "suspend"])
def test_match_orders__first_action_of_anyone_concerned__clears_the_same(market, actors, action):
    ended = _trade(market, actors)
    market.next_epoch()
    match action:
        case "order":
            outcome = market.buy(actors.other_consumer, 10, 100)  # who had none before
        case "several orders":
            outcome = market.enter(actors.other_consumer, bid(10, 100), bid(11, 100))
        case "withdraw":
            outcome = market.withdraw(actors.consumer, ENERGY, 10**15)
        case "settle":
            outcome = market.settle(actors.other_producer, actors.consumer)
        case _:
            outcome = market.chain.send(actors.distributor, Call("Registry", "setStatus", (actors.producer.address, 2)))
    (event,) = market.events(outcome, "EpochCleared")
    assert (event.args["epoch"], event.args["result"]["price2"]) == (ended, 400)
    assert market.chain.results(ZONE, [ended]) == [Result(200, 200, LongSide.ASKS, 1_000, 1_500, 1_000)]
    with reverts(errors.NothingToClear):
        market.clear()


def test_match_orders__cancel_of_an_ended_order__clears_nothing(market, actors):
    _trade(market, actors)
    order = market.order_id(actors.producer)
    market.next_epoch()
    with reverts(errors.OrderNotOpen, orderId=order):
        market.cancel(actors.producer, order)
    assert not market.chain.zone(ZONE).cleared


def test_match_orders__refused_order_of_a_paused_zone__clears_nothing(market, actors):
    _trade(market, actors)
    market.chain.send(actors.regulator, Call("Trading", "setPaused", (ZONE, True)))
    market.next_epoch()
    with reverts(errors.ZonePaused, zone=ZONE):
        market.buy(actors.consumer, 10, 100)
    assert not market.chain.zone(ZONE).cleared


def _trade(market, actors):
    """Two asks share one bid at tick 200; returns the epoch."""
    for producer, energy_wh in ((actors.producer, 500), (actors.other_producer, 1_000)):
        market.give_energy(producer, energy_wh)
        market.sell(producer, 200, energy_wh)
    market.buy(actors.consumer, 300, 1_000)
    return market.epoch
