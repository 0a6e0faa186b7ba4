"""Random order books, and what the reference auction makes of them: every account's balances to the unit."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil, floor

from busbar.clearing import Balance, Fill, LongSide, Result, clear_orders, dust, escrow, fill, remainder, settle
from busbar.orders import Order, Side
from busbar.units import ENERGY_UNITS_PER_WH, MAX_ORDER_WH, MAX_ORDERS, MAX_TICK, MIN_ORDER_WH
from tests.pure import brute

NOTHING = Balance(0, 0)


@dataclass(frozen=True)
class Book:
    """Orders of one epoch by participant, in the order they enter, and which are cancelled before it ends."""

    orders: tuple[tuple[Order, ...], ...]
    cancelled: frozenset[tuple[int, int]] = field(default_factory=frozenset)

    def live(self, participant: int) -> list[Order]:
        """The participant's orders that are still open when the epoch ends."""
        return [o for i, o in enumerate(self.orders[participant]) if (participant, i) not in self.cancelled]

    @property
    def all_live(self) -> list[Order]:
        return [order for participant in range(len(self.orders)) for order in self.live(participant)]

    @property
    def result(self) -> Result:
        return clear_orders(self.all_live)

    @property
    def dust(self) -> Balance:
        return dust(self.result, self.all_live)


class Ledger:
    """The test's own books: what each participant must have."""

    def __init__(self, balances: Sequence[Balance]) -> None:
        self.balances = list(balances)
        self.dust = NOTHING

    def escrow(self, book: Book) -> list[Balance]:
        return [total(map(escrow, book.live(p))) for p in range(len(book.orders))]

    def while_open(self, book: Book) -> list[Balance]:
        """Free balances before the epoch ends."""
        return [held - locked for held, locked in zip(self.balances, self.escrow(book), strict=True)]

    def close(self, book: Book) -> None:
        """Books what the epoch's auction brings."""
        result = book.result
        open_ = self.while_open(book)
        gained = [total(settle(result, o) for o in book.live(p)) for p in range(len(book.orders))]
        self.balances = [free + back for free, back in zip(open_, gained, strict=True)]
        self.dust += book.dust

    @property
    def total(self) -> Balance:
        return total(self.balances)


LONG_SIDES = {"neither": LongSide.NEITHER, "bids": LongSide.BIDS, "asks": LongSide.ASKS}


def judged(book: Book) -> Counter[str]:
    """Holds the reference against brute force, result and every fill to the unit; tells of what kinds the book was."""
    orders = book.all_live
    expected = brute.auction([(order.side is Side.BID, order.tick, order.quantity_wh) for order in orders])
    result = clear_orders(orders)
    assert result.volume_wh == expected.volume
    assert result.traded == (expected.volume > 0)
    price2 = 2 * expected.price if result.traded else 0
    if result.traded:
        assert (result.lower_tick, result.upper_tick, result.price2) == (expected.lower, expected.upper, price2)
        assert result.long_side is LONG_SIDES[expected.long_side]
        assert (result.filled_wh, result.offered_wh) == (expected.filled, expected.offered)
    for order, share_wh in zip(orders, expected.shares, strict=True):
        energy = share_wh * ENERGY_UNITS_PER_WH
        bid = order.side is Side.BID
        rounded = (floor(energy), ceil(energy * price2)) if bid else (ceil(energy), floor(energy * price2))
        assert fill(result, order) == Fill(*rounded)
        assert remainder(result, order) == floor(order.quantity_wh - share_wh)
    return Counter(
        {
            "books": 1,
            "orders": len(orders),
            "no trade": not result.traded,
            "both sides whole": result.traded and result.long_side is LongSide.NEITHER,
            "bids rationed": result.long_side is LongSide.BIDS,
            "asks rationed": result.long_side is LongSide.ASKS,
            "dust": book.dust != NOTHING,
            "price between two ticks": result.price2 % 2,
            "interval wider than a tick": result.upper_tick - result.lower_tick > 1,
            "smallest orders": any(order.quantity_wh == MIN_ORDER_WH for order in orders),
            "largest orders": any(order.quantity_wh == MAX_ORDER_WH for order in orders),
            "smallest against largest": {MIN_ORDER_WH, MAX_ORDER_WH} <= {order.quantity_wh for order in orders},
            "lowest and highest tick": {1, MAX_TICK} <= {order.tick for order in orders},
            "cancelled orders": bool(book.cancelled),
            "all ticks of both sides": all(
                {order.tick for order in orders if order.side is side} == set(range(1, MAX_TICK + 1)) for side in Side
            ),
        }
    )


def total(balances) -> Balance:
    return sum(balances, NOTHING)


def random_book(rng: random.Random, participants: int, orders: int) -> Book:
    """A book of one of several shapes, with rationing on either side, extremes of size and some cancels."""
    shape = rng.choice(("wide", "narrow", "one tick", "two ticks", "uncrossed", "edges"))
    size = rng.choice(("any", "extremes", "small", "round", "thirds"))
    # A lopsided book rations the side it has more of.
    bids = rng.choice((0.1, 0.35, 0.5, 0.5, 0.65, 0.9))
    centre = rng.randint(1, MAX_TICK)
    entered: list[list[Order]] = [[] for _ in range(participants)]
    for _ in range(orders):
        side = Side.BID if rng.random() < bids else Side.ASK
        mine = entered[rng.randrange(participants)]
        if len(mine) < MAX_ORDERS:
            mine.append(Order(side, _tick(rng, shape, side, centre), _quantity(rng, size)))
    cancelled = set()
    if rng.random() < 0.4:
        cancelled = {(p, i) for p, mine in enumerate(entered) for i in range(len(mine)) if rng.random() < 0.2}
    return Book(tuple(map(tuple, entered)), frozenset(cancelled))


def full_book(rng: random.Random, size: str = "any") -> Book:
    """Volume on both sides of every tick, 100 orders a participant."""
    orders = [Order(side, tick, _quantity(rng, size)) for tick in range(1, MAX_TICK + 1) for side in Side]
    rng.shuffle(orders)
    return Book(tuple(tuple(orders[i : i + MAX_ORDERS]) for i in range(0, len(orders), MAX_ORDERS)))


def chunks(rng: random.Random, orders: Sequence[Order]) -> list[Sequence[Order]]:
    """Splits a participant's orders into calls of random length."""
    parts, start = [], 0
    while start < len(orders):
        end = min(len(orders), start + rng.choice((1, 2, 5, 6, 7, 13, 100)))
        parts.append(orders[start:end])
        start = end
    return parts


def _tick(rng: random.Random, shape: str, side: Side, centre: int) -> int:
    match shape:
        case "wide":
            tick = rng.randint(1, MAX_TICK)
        case "narrow":
            tick = centre + rng.randint(-4, 4)
        case "one tick":
            tick = centre
        case "two ticks":
            # Next to each other or across a page of 36 ticks.
            tick = centre + rng.choice((0, 0, 37))
        case "uncrossed":
            tick = rng.randint(centre + 1, centre + 60) if side is Side.ASK else rng.randint(centre - 60, centre)
        case _:
            tick = rng.choice((1, 2, 6, 7, 36, 37, 180, 181, 1008, 1009, 1022, 1023))
    return max(1, min(MAX_TICK, tick))


def _quantity(rng: random.Random, size: str) -> int:
    match size:
        case "any":
            return round(MIN_ORDER_WH * 10 ** (rng.random() * 5))
        case "extremes":
            return rng.choice((MIN_ORDER_WH, MIN_ORDER_WH + 1, MAX_ORDER_WH - 1, MAX_ORDER_WH))
        case "small":
            return rng.randint(MIN_ORDER_WH, 400)
        case "round":
            # Sums often come out equal: exact exhaustion, and intervals wider than a tick.
            return 1_000 * rng.randint(1, 3)
        case _:
            return rng.choice((100, 300, 700))
