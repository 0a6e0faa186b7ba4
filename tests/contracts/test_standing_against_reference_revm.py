"""Standing orders over many epochs, rolled or missed, agree with the reference and brute force to the unit."""

import random
from collections import Counter
from dataclasses import dataclass, field, replace

import pytest

from busbar.clearing import Balance, clear_orders, dust, escrow, histogram, remainder, settle
from busbar.orders import Order, Side, order_id
from busbar.units import MIN_ORDER_WH
from tests.books import NOTHING, Book, judged, total
from tests.revm import REGULATOR, Revm

SEED = 20_260_515
ENERGY_WH = 2_000_000_000
MONEY_UNITS = 10**20
PARTICIPANTS = 5
EPOCHS = 60


@dataclass
class Holder:
    """A participant in the test's own books: what is free, and the orders of its newest epoch in their places."""

    account: str
    free: Balance
    epoch: int = 0
    orders: list[Order | None] = field(default_factory=list)

    @property
    def live(self):
        return [order for order in self.orders if order is not None]

    @property
    def escrow(self):
        return total(map(escrow, self.live))

    def end(self, result):
        """Its epoch is over: dust, ordinary orders and what is too small go free."""
        for place, order in enumerate(self.orders):
            if order is None:
                continue
            left_wh = remainder(result, order)
            rests = order.life > 0 and left_wh >= MIN_ORDER_WH
            kept = replace(order, quantity_wh=left_wh) if rests else None
            self.free += settle(result, order) - (escrow(kept) if kept else NOTHING)
            self.orders[place] = kept

    def expire(self, epoch):
        for place, order in enumerate(self.orders):
            if order is not None and order.life < epoch - self.epoch:
                self.free += escrow(order)
                self.orders[place] = None

    def roll(self, epoch):
        if self.epoch != epoch:
            self.orders = [order.aged(epoch - self.epoch) for order in self.live]
            self.epoch = epoch


@pytest.mark.parametrize("run", range(8))
def test_standing__random_epochs__agree_with_the_reference_to_the_unit(run):
    rng = random.Random(SEED + run)
    market, seen = Revm(), Counter()
    holders = []
    for number in range(PARTICIPANTS):
        account = market.participant(number, ENERGY_WH, MONEY_UNITS)
        holders.append(Holder(account, market.held([account])[0].free))
    lost = NOTHING
    for step in range(EPOCHS):
        told = f"seed {SEED + run}, step {step}"
        _act(market, holders, rng, seen)
        epoch = market.epoch
        open_ = [holder for holder in holders if holder.epoch == epoch]
        book = Book(tuple(tuple(holder.live) for holder in open_))
        judged(book)
        assert market.book() == histogram(book.all_live), told
        _compare(market, holders, told)
        result = clear_orders(book.all_live)
        lost += dust(result, book.all_live)
        market.next_epoch(rng.choice((1, 1, 1, 1, 2, 7)))
        for holder in open_:
            holder.end(result)
        for holder in holders:
            holder.expire(market.epoch)
        _compare(market, holders, told)
        if rng.random() < 0.3:
            market.send(REGULATOR, "Trading", "settle", rng.sample([h.account for h in holders], 3))
            _compare(market, holders, told)
        held = total(holder.free + holder.escrow for holder in holders)
        assert market.totals() == market.tokens() == held + lost, told
    assert min(seen[kind] for kind in ("entered behind a roll", "rolled", "rested", "cancelled at rest")) >= 5, seen


def _act(market, holders, rng, seen):
    """Some cancel what rests, somebody rolls some accounts, some enter, and some miss the epoch."""
    epoch = market.epoch
    for holder in holders:
        places = [place for place, order in enumerate(holder.orders) if order is not None]
        if places and holder.epoch != epoch and rng.random() < 0.15:
            place = rng.choice(places)
            market.send(holder.account, "Trading", "cancelOrder", order_id(holder.account, holder.epoch, place))
            holder.free += escrow(holder.orders[place])
            holder.orders[place] = None
            seen["cancelled at rest"] += 1
    chosen = [holder for holder in holders if rng.random() < 0.5]
    expected = [holder for holder in chosen if holder.live and holder.epoch != epoch]
    assert market.send(holders[0].account, "Trading", "roll", [h.account for h in chosen]) == len(expected)
    for holder in expected:
        holder.roll(epoch)
    seen["rolled"] += len(expected)
    for holder in holders:
        if rng.random() < 0.4:
            seen["rested"] += holder.epoch != epoch and bool(holder.live)
            continue
        seen["entered behind a roll"] += holder.epoch != epoch and bool(holder.live)
        orders = [_order(rng) for _ in range(rng.choice((1, 1, 2, 7)))]
        market.enter(holder.account, orders)
        holder.roll(epoch)
        holder.orders += orders
        holder.free -= total(map(escrow, orders))


def _order(rng):
    side = rng.choice(tuple(Side))
    # Most meet at a few ticks, where one side is rationed.
    tick = rng.choice((200, 200, 200, 199, 201, 1, 1023))
    return Order(side, tick, rng.choice((100, 101, 300, 700, 1_000, 9_999)), rng.choice((0, 0, 1, 2, 5, 96)))


def _compare(market, holders, told):
    held = market.held([holder.account for holder in holders])
    assert [(entry.free, entry.escrow) for entry in held] == [(h.free, h.escrow) for h in holders], told
    for holder in holders:
        if holder.live:
            stored = market.view("Trading", "ordersOf", holder.account)
            assert [entry[3] for entry in stored] == [order.quantity_wh if order else 0 for order in holder.orders]
