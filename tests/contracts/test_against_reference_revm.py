"""Contract, reference auction and brute force agree to the unit, in volume: in an EVM inside this process."""

import random
from collections import Counter

import pytest

from busbar import errors
from busbar.clearing import Balance, LongSide, Result, histogram
from busbar.orders import Order, Side
from tests.books import Ledger, chunks, full_book, judged, random_book
from tests.market import reverts
from tests.revm import REGULATOR, ZONE, Revm

SEED = 20_260_314
BATCHES = 10
BOOKS_PER_BATCH = 100
KINDS = ("no trade", "both sides whole", "bids rationed", "asks rationed", "smallest against largest", "dust")
FULL_BOOKS = ("any", "extremes", "small", "round", "thirds")

ENERGY_WH = 2_000_000_000
MONEY_UNITS = 10**20

TICK_FULL_WH = 2**38 - 1
BIGGEST_WH = 10_000_000


@pytest.mark.parametrize("batch", range(BATCHES))
def test_clearing__random_books__agrees_with_the_reference_to_the_unit(batch):
    rng = random.Random(SEED + batch)
    market, accounts, ledger = _market(6)
    seen = Counter()
    for number in range(BOOKS_PER_BATCH):
        most = 600 if number % 16 == 0 else rng.choice((8, 8, 60))
        book = random_book(rng, 6, rng.randint(2, most))
        seen += judged(book)
        _play(market, accounts, ledger, book, rng, f"seed {SEED + batch}, book {number}")
    assert seen["books"] == BOOKS_PER_BATCH
    assert min(seen[kind] for kind in KINDS) >= 2, seen


@pytest.mark.parametrize("size", FULL_BOOKS)
def test_clearing__volume_at_all_1023_ticks_of_both_sides__agrees_with_the_reference_to_the_unit(size):
    rng = random.Random(f"{SEED}{size}")
    market, accounts, ledger = _market(21)
    for number in range(3):
        book = full_book(rng, size)
        assert judged(book)["all ticks of both sides"]
        _play(market, accounts, ledger, book, rng, f"seed {SEED}{size}, book {number}")


def test_clearing__one_tick_full_to_the_last_wh__agrees_with_the_reference_to_the_unit():
    market = Revm()
    tick = 700
    buyers = [market.participant(i, 0, 2**38 * 10**6 * 2 * tick // 200) for i in range(280)]
    seller = market.participant(1_000, 100 * BIGGEST_WH, 0)
    left, bids = TICK_FULL_WH, {}
    for buyer in buyers:
        orders = []
        while left and len(orders) < 100:
            orders.append(Order(Side.BID, tick, min(left, BIGGEST_WH)))
            left -= orders[-1].quantity_wh
        if orders:
            market.enter(buyer, orders)
            bids[buyer] = orders
    assert left == 0
    with reverts(errors.TickFull, side=Side.BID, tick=tick, volumeWh=TICK_FULL_WH + 100):
        market.enter(buyers[-1], [Order(Side.BID, tick, 100)])
    # Its neighbours in the word are untouched and still take orders.
    market.enter(buyers[-1], [Order(Side.BID, tick - 1, 100), Order(Side.BID, tick + 1, 100)])
    assert market.book()[0] == {tick - 1: 100, tick: TICK_FULL_WH, tick + 1: 100}
    market.enter(seller, [Order(Side.ASK, 1, BIGGEST_WH)] * 100)
    traded = 100 * BIGGEST_WH
    ended = market.next_epoch()
    assert market.result(ended) == Result(tick, tick, LongSide.BIDS, traded - 100, TICK_FULL_WH, traded)
    market.send(REGULATOR, "Trading", "settle", [*buyers, seller])
    (sold,) = market.held([seller])
    assert sold.free == Balance(0, traded * 10**6 * 2 * tick)
    bought = sum(held.free.energy_units for held in market.held(buyers))
    assert 0 <= traded * 10**6 - bought <= sum(map(len, bids.values()))


def _market(participants):
    market = Revm()
    accounts = [market.participant(i, ENERGY_WH, MONEY_UNITS) for i in range(participants)]
    ledger = Ledger([held.free for held in market.held(accounts)])
    return market, accounts, ledger


def _play(market, accounts, ledger, book, rng, told):
    """Plays one epoch on the contract and in the reference, and compares whatever can be seen at each step."""
    for account, orders in zip(accounts, book.orders, strict=True):
        for part in chunks(rng, orders):
            market.enter(account, part)
    for participant, index in sorted(book.cancelled):
        market.cancel(accounts[participant], index)
    locked = ledger.escrow(book)
    open_ = market.held(accounts)
    assert [held.free for held in open_] == ledger.while_open(book), told
    assert [held.escrow for held in open_] == locked, told
    assert market.indicative() == book.result, told
    if rng.random() < 0.2:
        assert market.book() == histogram(book.all_live), told

    ended = market.next_epoch(rng.choice((1, 1, 1, 2, 10)))
    ledger.close(book)
    assert market.result(ended) == book.result, told
    assert _free(market, accounts) == ledger.balances, told
    _act(market, accounts, book, rng)
    assert market.result(ended) == book.result, told
    assert _free(market, accounts) == ledger.balances, told
    assert market.totals() == market.tokens() == ledger.total + ledger.dust, told


def _act(market, accounts, book, rng):
    """Clears the ended epoch, or settles somebody, or does nothing: whoever acts next does it then."""
    traders = [account for account, orders in zip(accounts, book.orders, strict=True) if orders]
    match rng.randrange(4):
        case 0 if traders:
            market.send(REGULATOR, "Trading", "matchOrders", ZONE)
        case 1:
            market.send(REGULATOR, "Trading", "settle", rng.sample(accounts, rng.randint(1, len(accounts))))
        case 2:
            market.send(REGULATOR, "Trading", "settle", accounts)


def _free(market, accounts):
    held = market.held(accounts)
    assert all(entry.escrow == Balance(0, 0) for entry in held)
    return [entry.free for entry in held]
