"""The contract on a chain, through the shipped client, against the reference auction: random books to the unit."""

import random

import pytest

from busbar.chain import Call
from busbar.clearing import Balance, histogram
from busbar.orders import Side
from busbar.units import GRID_WEI_PER_WH
from tests.books import Ledger, chunks, random_book
from tests.market import BAHT, ENERGY, MONEY, ZONE

SEEDS = range(20_260_314, 20_260_314 + 25)
MONEY_UNIT_WEI = 5 * 10**6


@pytest.mark.parametrize("seed", SEEDS)
def test_clearing__random_book__agrees_with_the_reference_to_the_unit(market, actors, seed):
    rng = random.Random(seed)
    book = random_book(rng, len(actors.participants), rng.randint(2, 60))
    addresses = [participant.address for participant in actors.participants]
    _equip(market, actors, book)
    ledger = Ledger([free for free, _ in _held(market, addresses)])
    for participant, orders in zip(actors.participants, book.orders, strict=True):
        for part in chunks(rng, orders):
            market.enter(participant, *part)
    cancels = [
        (actors.participants[p], Call("Trading", "cancelOrder", (market.order_id(actors.participants[p], i),)))
        for p, i in sorted(book.cancelled)
    ]
    market._all(cancels)
    told = f"seed {seed}"
    epoch = market.epoch
    assert market.chain.book(ZONE) == histogram(book.all_live), told
    assert market.chain.indicative(ZONE) == book.result, told
    assert _held(market, addresses) == list(zip(ledger.while_open(book), ledger.escrow(book), strict=True)), told

    market.next_epoch(rng.choice((1, 3)))
    ledger.close(book)
    settled = [(balance, Balance(0, 0)) for balance in ledger.balances]
    assert market.chain.results(ZONE, [epoch]) == [book.result], told
    assert _held(market, addresses) == settled, told
    if rng.random() < 0.5:
        market.clear()
    market.settle(*rng.sample(actors.participants, 6))
    assert market.chain.results(ZONE, [epoch]) == [book.result], told
    assert _held(market, addresses) == settled, told

    totals = Balance(*market.chain.view("Trading", "totals"))
    assert totals == ledger.total + book.dust, told
    # Everybody can take everything out; what stays is the dust.
    withdrawals = [
        (participant, Call("Trading", "withdraw", (asset, wei, participant.address)))
        for participant, balance in zip(actors.participants, ledger.balances, strict=True)
        for asset, wei in ((ENERGY, balance.energy_units * 10**9), (MONEY, balance.money_units * MONEY_UNIT_WEI))
        if wei
    ]
    market._all(withdrawals)
    trading = market.chain.addresses["Trading"]
    assert Balance(*market.chain.view("Trading", "totals")) == book.dust, told
    assert market.token_balance("GridToken", trading) == book.dust.energy_units * 10**9, told
    assert market.token_balance("BahtToken", trading) == book.dust.money_units * MONEY_UNIT_WEI, told


def _equip(market, actors, book):
    """Energy for every ask, and money for every bid; everybody's at once, which is quicker."""
    given = []
    for participant, orders in zip(actors.participants, book.orders, strict=True):
        energy_wh = sum(order.quantity_wh for order in orders if order.side is Side.ASK)
        units = sum(order.quantity_wh * 2 * 10**6 * order.tick for order in orders if order.side is Side.BID)
        given.append((participant, "GridToken", ENERGY, energy_wh * GRID_WEI_PER_WH))
        given.append((participant, "BahtToken", MONEY, -(-units * MONEY_UNIT_WEI // BAHT) * BAHT))
    given = [gift for gift in given if gift[3]]
    market.mint_to_wallet(actors.outsider, 1)  # gives the minter its role
    source = {"GridToken": (actors.minter, "mint"), "BahtToken": (actors.issuer, "issue")}
    trading = market.chain.addresses["Trading"]
    market._all(
        [(source[token][0], Call(token, source[token][1], (p.address, wei, bytes(32)))) for p, token, _, wei in given]
    )
    market._all([(p, Call(token, "approve", (trading, wei))) for p, token, _, wei in given])
    market._all([(p, Call("Trading", "deposit", (asset, wei))) for p, _, asset, wei in given])


def _held(market, addresses):
    return [
        (
            Balance(account.energy_free_uwh, account.money_free_units),
            Balance(account.energy_escrow_uwh, account.money_escrow_units),
        )
        for account in market.chain.accounts(addresses)
    ]
