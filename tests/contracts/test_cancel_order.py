"""cancelOrder: takes an open order out of the book and frees its escrow."""

from busbar import errors
from busbar.orders import order_id

from tests.market import ask, reverts


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
