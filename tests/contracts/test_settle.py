"""settle: turns ended orders into free balances now; nobody needs it, and it changes nothing that views show."""

import itertools

import pytest

from busbar.chain import Call
from busbar.clearing import Balance
from tests.books import Book, Ledger
from tests.market import ZONE, ask, bid

# Three asks share two bids, with fractions of a unit everywhere; the last bid is outside.
BOOK = Book(
    (
        (ask(200, 700),),
        (ask(200, 1_100), ask(199, 100)),
        (ask(200, 1_300),),
        (bid(300, 1_009),),
        (bid(200, 353),),
        (bid(150, 5_000),),
    )
)


@pytest.fixture
def traded(market, actors):
    """The market after an epoch in which `BOOK` traded and nobody has acted since; with what everybody must have."""
    for participant, orders in zip(actors.participants, BOOK.orders, strict=True):
        sold = sum(order.quantity_wh for order in orders if order.side == 1)
        if sold:
            market.give_energy(participant, sold)
    ledger = Ledger(_free(market, actors))
    for participant, orders in zip(actors.participants, BOOK.orders, strict=True):
        market.enter(participant, *orders)
    ledger.close(BOOK)
    market.next_epoch()
    return ledger


def test_settle__before_anybody_cleared__views_show_the_settled_balances(market, actors, traded):
    assert BOOK.dust.energy_units > 0
    assert BOOK.dust.money_units > 0
    assert not market.chain.zone(ZONE).cleared
    assert _free(market, actors) == traded.balances
    market.clear()
    assert _free(market, actors) == traded.balances


def test_settle__by_anyone__clears_and_settles(market, actors, traded):
    outcome = market.settle(*actors.participants)
    assert [event.name for event in market.events(outcome)] == ["EpochCleared"]
    assert _free(market, actors) == traded.balances
    for participant in actors.participants:
        assert market.chain.orders(participant.address) == []
    energy, money = market.chain.view("Trading", "totals")
    assert Balance(energy, money) == traded.total + traded.dust


def test_settle__a_second_time__changes_nothing(market, actors, traded):
    market.settle(*actors.participants)
    outcome = market.settle(*actors.participants, *actors.participants)
    assert outcome.logs == ()
    assert _free(market, actors) == traded.balances


def test_settle__same_account_twice_in_a_call__counts_once(market, actors, traded):
    market.settle(actors.producer, actors.producer, actors.consumer, actors.producer)
    assert _free(market, actors) == traded.balances


def test_settle__in_any_order__gives_the_same_balances(market, actors, traded):
    orders = list(itertools.permutations(range(6)))[:: 720 // 8]
    for order in [*orders, tuple(range(6))[::-1]]:
        state = market.devnet.snapshot()
        for i in order:
            market.settle(actors.participants[i])
        assert _free(market, actors) == traded.balances
        market.devnet.restore(state)


@pytest.mark.parametrize("epochs", [1, 7, 1_000])
def test_settle__later__gives_the_same_balances(market, actors, traded, epochs):
    market.next_epoch(epochs)
    market.settle(*actors.participants)
    assert _free(market, actors) == traded.balances


def test_settle__idle_while_others_trade_on__gives_the_same_balances(market, actors, traded):
    idle = (0, 4)
    for _ in range(3):
        market.buy(actors.consumer, 800, 200)
        market.sell(actors.third_producer, 800, 200)
        market.next_epoch()
    market.next_epoch(1_000)
    shown = _free(market, actors)
    assert [shown[i] for i in idle] == [traded.balances[i] for i in idle]
    market.settle(*[actors.participants[i] for i in idle])
    shown = _free(market, actors)
    assert [shown[i] for i in idle] == [traded.balances[i] for i in idle]


def test_settle__orders_of_the_open_epoch__leaves_them_alone(market, actors):
    market.enter(actors.consumer, bid(300, 1_000), bid(200, 100))
    account, orders = market.account(actors.consumer), market.chain.orders(actors.consumer.address)
    outcome = market.settle(actors.consumer)
    assert outcome.logs == ()
    assert market.account(actors.consumer) == account
    assert market.chain.orders(actors.consumer.address) == orders
    assert market.chain.book(ZONE) == ({300: 1_000, 200: 100}, {})


def test_settle__accounts_nobody_knows__changes_nothing(market, actors):
    outcome = market.chain.send(
        actors.outsider, Call("Trading", "settle", ([actors.outsider.address, market.chain.addresses["Trading"]],))
    )
    assert outcome.logs == ()
    assert market.account(actors.outsider).status == 0


def test_settle__nobody__changes_nothing(market):
    assert market.settle().logs == ()


def test_settle__suspended_and_paused__settles(market, actors, traded):
    market.chain.send(actors.distributor, Call("Registry", "setStatus", (actors.producer.address, 2)))
    market.chain.send(actors.regulator, Call("Trading", "setPaused", (ZONE, True)))
    market.settle(*actors.participants)
    assert _free(market, actors) == traded.balances


def _free(market, actors):
    return [
        Balance(account.energy_free_uwh, account.money_free_units)
        for account in market.chain.accounts([p.address for p in actors.participants])
    ]
