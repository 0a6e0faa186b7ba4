"""cancelOrder: takes an open order out of the book and frees its escrow."""

import pytest

from busbar import errors
from busbar.chain import Call
from busbar.orders import order_id
from tests.market import BAHT, MONEY, ZONE, ask, bid, reverts

FUNDED_UNITS = 1_000 * BAHT // (5 * 10**6)
CUTOFF_S = 60


def test_cancel_order__somebody_elses_order__reverts(market, actors):
    market.buy(actors.consumer, 300, 1_000)
    stolen = market.order_id(actors.consumer)
    with reverts(errors.NotOrderOwner, orderId=stolen):
        market.cancel(actors.outsider, stolen)


def test_cancel_order__cancelled_already__reverts(market, actors):
    market.buy(actors.consumer, 300, 1_000)
    order = market.order_id(actors.consumer)
    market.cancel(actors.consumer, order)
    with reverts(errors.OrderNotOpen, orderId=order):
        market.cancel(actors.consumer, order)


def test_cancel_order__epoch_over__reverts(market, actors):
    market.buy(actors.consumer, 300, 1_000)
    order = market.order_id(actors.consumer)
    market.next_epoch()
    with reverts(errors.OrderNotOpen, orderId=order):
        market.cancel(actors.consumer, order)


def test_cancel_order__index_never_used__reverts(market, actors):
    market.buy(actors.consumer, 300, 1_000)
    order = order_id(actors.consumer.address, market.epoch, 1)
    with reverts(errors.OrderNotOpen, orderId=order):
        market.cancel(actors.consumer, order)


def test_cancel_order__future_epoch__reverts(market, actors):
    market.buy(actors.consumer, 300, 1_000)
    order = order_id(actors.consumer.address, market.epoch + 1, 0)
    with reverts(errors.OrderNotOpen, orderId=order):
        market.cancel(actors.consumer, order)


def test_cancel_order__no_order_ever__reverts(market, actors):
    order = market.order_id(actors.consumer)
    with reverts(errors.OrderNotOpen, orderId=order):
        market.cancel(actors.consumer, order)


def test_cancel_order__index_of_the_epoch_before__reverts(market, actors):
    market.enter(actors.consumer, *[bid(300, 1_000)] * 8)
    market.next_epoch()
    market.buy(actors.consumer, 300, 1_000)
    for index in (1, 7):
        order = market.order_id(actors.consumer, index)
        with reverts(errors.OrderNotOpen, orderId=order):
            market.cancel(actors.consumer, order)


def test_cancel_order__number_that_is_no_id__reverts(market, actors):
    market.buy(actors.consumer, 300, 1_000)
    for order in (2**256 - 2**160 + int(actors.consumer.address, 16), int(actors.consumer.address, 16) | 255 << 160):
        with reverts(errors.OrderNotOpen, orderId=order):
            market.cancel(actors.consumer, order)


def test_cancel_order__within_the_cutoff__reverts(market, actors):
    chain = _market_with_cutoff(market, actors)
    chain.send(actors.consumer, Call("Trading", "createBuyOrder", (10, 100)))
    order = order_id(actors.consumer.address, 0, 0)
    end = chain.calendar.end(0)
    # The transaction's block is made a second after this one.
    for seconds in (CUTOFF_S, 1):
        market.devnet.mine(end - seconds - 1)
        with reverts(errors.CancelClosed, orderId=order, cutoffSeconds=CUTOFF_S):
            chain.send(actors.consumer, Call("Trading", "cancelOrder", (order,)))


def test_cancel_order__before_the_cutoff__frees_the_escrow(market, actors):
    chain = _market_with_cutoff(market, actors)
    chain.send(actors.consumer, Call("Trading", "createBuyOrder", (10, 100)))
    market.devnet.mine(chain.calendar.end(0) - CUTOFF_S - 2)
    chain.send(actors.consumer, Call("Trading", "cancelOrder", (order_id(actors.consumer.address, 0, 0),)))
    account = chain.accounts([actors.consumer.address])[0]
    assert (account.money_free_units, account.money_escrow_units) == (FUNDED_UNITS // 1_000, 0)


def test_cancel_order__last_second_without_a_cutoff__frees_the_escrow(market, actors):
    market.buy(actors.consumer, 300, 1_000)
    order = market.order_id(actors.consumer)
    market.devnet.mine(market.chain.calendar.end(market.epoch) - 2)
    market.cancel(actors.consumer, order)
    assert market.account(actors.consumer).money_free_units == FUNDED_UNITS


def test_cancel_order__suspended__frees_the_escrow(market, actors):
    market.buy(actors.consumer, 300, 1_000)
    market.chain.send(actors.distributor, Call("Registry", "setStatus", (actors.consumer.address, 2)))
    market.cancel(actors.consumer, market.order_id(actors.consumer))
    assert market.account(actors.consumer).money_free_units == FUNDED_UNITS


def test_cancel_order__paused__frees_the_escrow(market, actors):
    market.buy(actors.consumer, 300, 1_000)
    market.chain.send(actors.regulator, Call("Trading", "setPaused", (ZONE, True)))
    market.cancel(actors.consumer, market.order_id(actors.consumer))
    assert market.account(actors.consumer).money_free_units == FUNDED_UNITS


@pytest.mark.parametrize("index", [0, 1, 6, 7, 12, 13, 99])
def test_cancel_order__any_place_among_100__takes_that_one_only(market, actors, index):
    orders = [bid(1 + i, 100 + i) for i in range(100)]
    market.enter(actors.consumer, *orders)
    before = market.account(actors.consumer)
    outcome = market.cancel(actors.consumer, market.order_id(actors.consumer, index))
    (event,) = market.events(outcome)
    assert event.name == "OrderCancelled"
    assert event.args == {
        "account": actors.consumer.address,
        "epoch": market.epoch,
        "zone": ZONE,
        "index": index,
        "order": orders[index].pack(),
    }
    left = [None if i == index else order for i, order in enumerate(orders)]
    assert [entry.order for entry in market.chain.orders(actors.consumer.address)] == left
    assert market.chain.book(ZONE) == ({order.tick: order.quantity_wh for order in left if order}, {})
    freed = orders[index].quantity_wh * orders[index].tick * 2 * 10**6
    after = market.account(actors.consumer)
    assert after.money_free_units == before.money_free_units + freed
    assert after.money_escrow_units == before.money_escrow_units - freed
    assert (after.energy_free_uwh, after.order_count) == (before.energy_free_uwh, 100)


def test_cancel_order__all_of_them__leaves_an_empty_epoch(market, actors):
    market.give_energy(actors.consumer, 1_000)
    market.enter(actors.consumer, bid(300, 1_000), ask(200, 400), ask(300, 600))
    for index in (2, 0, 1):
        market.cancel(actors.consumer, market.order_id(actors.consumer, index))
    assert market.chain.book(ZONE) == ({}, {})
    account = market.account(actors.consumer)
    assert (account.money_free_units, account.energy_free_uwh) == (FUNDED_UNITS, 1_000 * 10**6)
    market.next_epoch()
    assert not market.chain.results(ZONE, [market.epoch - 1])[0].traded
    assert market.account(actors.consumer).money_free_units == FUNDED_UNITS


def test_cancel_order__one_of_two_at_a_tick__leaves_the_other(market, actors):
    market.buy(actors.consumer, 300, 1_000)
    market.buy(actors.other_consumer, 300, 700)
    market.cancel(actors.consumer, market.order_id(actors.consumer))
    assert market.chain.book(ZONE) == ({300: 700}, {})


def test_cancel_order__freed_money__buys_again_at_once(market, actors):
    market.buy(actors.consumer, 100, 10**6)
    assert market.account(actors.consumer).money_free_units == 0
    market.cancel(actors.consumer, market.order_id(actors.consumer))
    market.buy(actors.consumer, 100, 10**6)
    assert market.chain.orders(actors.consumer.address)[1].order == bid(100, 10**6)


def test_cancel_order__open_order__frees_escrow_and_leaves_the_book(market, actors):
    market.give_energy(actors.producer, 9_000)
    market.enter(actors.producer, *[ask(200 + i, 1_000) for i in range(9)])
    outcome = market.cancel(actors.producer, market.order_id(actors.producer, 7))
    assert market.account(actors.producer).energy_free_uwh == 1_000 * 10**6
    assert market.account(actors.producer).energy_escrow_uwh == 8_000 * 10**6
    _, asks = market.chain.book(1)
    assert asks == {200 + i: 1_000 for i in range(9) if i != 7}
    (event,) = market.events(outcome, "OrderCancelled")
    assert event.args["index"] == 7
    assert market.chain.orders(actors.producer.address)[7].order is None


def _market_with_cutoff(market, actors):
    """A market whose orders cannot be cancelled in the last minute; the consumer has a baht in it."""
    chain = market.another_trading(cancel_cutoff_s=CUTOFF_S)
    chain.send(actors.issuer, Call("BahtToken", "issue", (actors.consumer.address, BAHT, bytes(32))))
    chain.send(actors.consumer, Call("BahtToken", "approve", (chain.addresses["Trading"], BAHT)))
    chain.send(actors.consumer, Call("Trading", "deposit", (MONEY, BAHT)))
    return chain
