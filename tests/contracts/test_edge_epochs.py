"""Epochs at the edges: each on the chain and in the reference auction, result and every account to the unit."""

import pytest

from busbar.clearing import Balance, LongSide, Result
from tests.books import Book, Ledger
from tests.market import ZONE, ask, bid

PARTICIPANTS = ("producer", "other_producer", "third_producer", "consumer", "other_consumer", "third_consumer")


@pytest.fixture
def play(market, actors):
    """Plays an epoch and compares every step with the reference; gives the result."""

    def play_(late=1, idle=0, **orders):
        book = Book(tuple(tuple(orders.get(name, ())) for name in PARTICIPANTS))
        accounts = [getattr(actors, name) for name in PARTICIPANTS]
        for account, mine in zip(accounts, book.orders, strict=True):
            energy_wh = sum(order.quantity_wh for order in mine if order.side == 1)
            if energy_wh:
                market.give_energy(account, energy_wh)
        before = _held(market, accounts)
        ledger = Ledger([free for free, _ in before])
        for account, mine in zip(accounts, book.orders, strict=True):
            if mine:
                market.enter(account, *mine)
        epoch, result = market.epoch, book.result
        open_ = list(zip(ledger.while_open(book), ledger.escrow(book), strict=True))
        assert _held(market, accounts) == open_
        assert market.chain.indicative(ZONE) == result

        market.next_epoch(late)
        ledger.close(book)
        settled = [(balance, Balance(0, 0)) for balance in ledger.balances]
        assert market.chain.results(ZONE, [epoch]) == [result]
        assert _held(market, accounts) == settled
        if book.all_live:
            assert market.chain.clearing_due(ZONE) == epoch
            (event,) = market.events(market.clear(), "EpochCleared")
            assert (event.args["epoch"], event.args["result"]["price2"]) == (epoch, result.price2)
            assert event.args["result"]["volumeWh"] == result.volume_wh
        assert market.chain.clearing_due(ZONE) is None
        assert market.chain.results(ZONE, [epoch]) == [result]
        assert _held(market, accounts) == settled
        if idle:
            market.next_epoch(idle)
        market.settle(*accounts)
        assert _held(market, accounts) == settled
        return result

    return play_


def test_edge__empty_epoch__has_no_price(play):
    assert play() == Result.none()


@pytest.mark.parametrize("tick", [1, 1023])
@pytest.mark.parametrize("side", ["bids", "asks"])
def test_edge__one_side_only__has_no_price(play, side, tick):
    orders = {"consumer": [bid(tick, 1_000)]} if side == "bids" else {"producer": [ask(tick, 1_000)]}
    assert play(**orders) == Result.none()


@pytest.mark.parametrize("tick", [1, 1023])
def test_edge__trade_at_the_outermost_tick__has_that_price(play, tick):
    result = play(producer=[ask(tick, 1_000)], consumer=[bid(tick, 700)])
    assert result == Result(tick, tick, LongSide.ASKS, 700, 1_000, 700)


def test_edge__bid_at_1023_and_ask_at_1__trade_in_the_middle(play):
    assert play(producer=[ask(1, 500)], consumer=[bid(1023, 500)]).price2 == 1024


def test_edge__uncrossed_by_a_tick__has_no_price(play):
    assert play(producer=[ask(301, 1_000)], consumer=[bid(300, 1_000)]) == Result.none()


def test_edge__everything_at_one_tick__shares_the_long_side(play):
    result = play(
        producer=[ask(250, 333), ask(250, 334)],
        other_producer=[ask(250, 1_001)],
        consumer=[bid(250, 777)],
        other_consumer=[bid(250, 100), bid(250, 101)],
    )
    assert result == Result(250, 250, LongSide.ASKS, 978, 1_668, 978)


def test_edge__everything_at_one_tick_and_equal__fills_both_sides(play):
    result = play(producer=[ask(250, 1_000)], consumer=[bid(250, 400), bid(250, 600)])
    assert result == Result(250, 250, LongSide.NEITHER, 0, 0, 1_000)


def test_edge__exact_exhaustion__outside_orders_bound_the_price(play):
    # 1 kWh trades anywhere in 100..400; the bid at 180 and the ask at 301 are outside and close the interval.
    result = play(
        producer=[ask(100, 1_000)],
        other_producer=[ask(301, 500)],
        consumer=[bid(400, 1_000)],
        other_consumer=[bid(180, 500)],
    )
    assert result == Result(180, 301, LongSide.NEITHER, 0, 0, 1_000)
    assert result.price2 == 481


def test_edge__exact_exhaustion_without_outside_orders__ends_at_the_limits(play):
    assert play(producer=[ask(100, 1_000)], consumer=[bid(400, 1_000)]).price2 == 500


def test_edge__interval_between_neighbouring_ticks__has_half_a_tick(play):
    assert play(producer=[ask(200, 1_000)], consumer=[bid(201, 1_000)]).price2 == 401


def test_edge__ends_of_the_interval_in_first_and_last_page__agrees(play):
    result = play(producer=[ask(36, 1_000)], consumer=[bid(1_009, 1_000)])
    assert (result.lower_tick, result.upper_tick) == (36, 1_009)


def test_edge__three_asks_of_100_against_one_bid_of_100__stays_solvent(market, actors, play):
    result = play(
        producer=[ask(333, 100)],
        other_producer=[ask(333, 100)],
        third_producer=[ask(333, 100)],
        consumer=[bid(333, 100)],
    )
    assert result == Result(333, 333, LongSide.ASKS, 100, 300, 100)
    # ceil(f) given, floor(f p) received: a third of 100 Wh each, up and down to the unit.
    sellers = market.chain.accounts(
        [p.address for p in (actors.producer, actors.other_producer, actors.third_producer)]
    )
    assert [100 * 10**6 - seller.energy_free_uwh for seller in sellers] == [33_333_334] * 3
    assert market.account(actors.consumer).energy_free_uwh == 100 * 10**6


def test_edge__three_bids_of_100_against_one_ask_of_100__stays_solvent(market, actors, play):
    play(
        producer=[ask(333, 100)],
        consumer=[bid(333, 100)],
        other_consumer=[bid(333, 100)],
        third_consumer=[bid(333, 100)],
    )
    buyers = market.chain.accounts([p.address for p in (actors.consumer, actors.other_consumer, actors.third_consumer)])
    assert [buyer.energy_free_uwh for buyer in buyers] == [33_333_333] * 3


def test_edge__keeper_late_by_ten_epochs__gives_the_same(play):
    result = play(late=10, producer=[ask(200, 1_000)], consumer=[bid(300, 700)], other_consumer=[bid(200, 700)])
    assert result == Result(200, 200, LongSide.BIDS, 300, 700, 1_000)


def test_edge__accounts_idle_for_many_epochs__settle_the_same(play):
    play(idle=5_000, producer=[ask(200, 1_000)], consumer=[bid(300, 700)], other_consumer=[bid(200, 700)])


def test_edge__same_participant_on_both_sides__trades_with_itself(market, actors, play):
    before = market.account(actors.producer).money_free_units
    result = play(producer=[ask(200, 1_000), bid(300, 1_000)])
    assert (result.volume_wh, result.price2) == (1_000, 500)
    account = market.account(actors.producer)
    assert (account.energy_free_uwh, account.money_free_units) == (1_000 * 10**6, before)


def test_edge__same_participant_rationed_against_itself_and_others__agrees(play):
    play(
        producer=[ask(200, 1_000), bid(200, 701)],
        other_producer=[ask(200, 333)],
        consumer=[bid(200, 211), ask(200, 1_009)],
    )


def test_edge__100_orders_and_then_one__leaves_nothing_of_the_hundred(market, actors, play):
    play(producer=[ask(100 + i, 100 + i) for i in range(100)], consumer=[bid(250 - i, 100 + i) for i in range(100)])
    result = play(producer=[ask(500, 1_000)], consumer=[bid(500, 600)])
    assert result == Result(500, 500, LongSide.ASKS, 600, 1_000, 600)
    assert market.chain.book(ZONE) == ({}, {})


def test_edge__next_epoch_at_other_ticks_of_the_same_words__reads_no_stale_volume(market, actors, play):
    # Ticks 1..6 share a word, 1..36 a page, 1..180 a page word.
    play(producer=[ask(1, 1_000), ask(40, 500), ask(170, 100)], consumer=[bid(6, 3_000), bid(41, 100), bid(180, 100)])
    assert play(producer=[ask(2, 100)], consumer=[bid(3, 100)]).price2 == 5
    result = play(producer=[ask(5, 100)], consumer=[bid(179, 100)])
    assert (result.lower_tick, result.upper_tick) == (5, 179)
    assert play(consumer=[bid(1, 100)]) == Result.none()


def test_edge__largest_and_smallest_orders_together__agrees(market, actors, play):
    market.fund(actors.consumer, 300_000)
    play(
        producer=[ask(1, 10_000_000), ask(1_023, 100)],
        consumer=[bid(1_023, 9_999_999)],
        other_consumer=[bid(1, 100), bid(1, 10_000_000)],
    )


def _held(market, accounts):
    return [
        (
            Balance(account.energy_free_uwh, account.money_free_units),
            Balance(account.energy_escrow_uwh, account.money_escrow_units),
        )
        for account in market.chain.accounts([a.address for a in accounts])
    ]
