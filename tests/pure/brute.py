"""The auction from first principles: short, slow, and meant to be believed by reading it.

At a price, whoever would gain by trading wants to trade all of its order, whoever would lose wants none, and
whoever's limit is the price does not mind. A price clears the market if some choice for those who do not
mind makes supply equal demand. Every half tick is tried; every order is asked; shares are exact fractions.

Orders are (is_bid, limit, quantity) with the limit in ticks and the quantity in Wh. Knows nothing of busbar.
"""

from fractions import Fraction
from typing import NamedTuple


class Outcome(NamedTuple):
    """What the auction comes to; without trade there is no price."""

    lower: Fraction | None  # lowest and highest price that clears the market, in ticks
    upper: Fraction | None
    price: Fraction | None  # their middle
    volume: int
    long_side: str  # "neither", "bids" or "asks"
    filled: Fraction  # of the long side's orders at the price
    offered: int
    shares: list[Fraction]  # Wh that each order trades


def auction(orders):
    """Tries every half tick from the lowest limit to the highest: beyond them one side has nobody."""
    bids = [(2 * limit, quantity) for is_bid, limit, quantity in orders if is_bid]
    asks = [(2 * limit, quantity) for is_bid, limit, quantity in orders if not is_bid]
    limits = [limit for limit, _ in bids + asks] or [0]
    clearing_prices = []
    volume = 0
    for price in range(min(limits), max(limits) + 1):
        bids_must = sum(quantity for limit, quantity in bids if limit > price)
        bids_would = sum(quantity for limit, quantity in bids if limit >= price)
        asks_must = sum(quantity for limit, quantity in asks if limit < price)
        asks_would = sum(quantity for limit, quantity in asks if limit <= price)
        # Either side may trade anything from what it must to what it would. Do the two ranges meet?
        if max(bids_must, asks_must) <= min(bids_would, asks_would):
            clearing_prices.append(Fraction(price, 2))
        volume = max(volume, min(bids_would, asks_would))
    shares = [Fraction(0)] * len(orders)
    if volume == 0:
        return Outcome(None, None, None, 0, "neither", Fraction(0), 0, shares)

    lower, upper = min(clearing_prices), max(clearing_prices)
    price = (lower + upper) / 2
    long_side, filled, offered = "neither", Fraction(0), 0
    for side, name in ((True, "bids"), (False, "asks")):
        left = volume
        indifferent = []
        for i, (is_bid, limit, quantity) in enumerate(orders):
            gain = limit - price if is_bid else price - limit
            if is_bid is side and gain > 0:
                shares[i] = Fraction(quantity)
                left -= quantity
            elif is_bid is side and gain == 0:
                indifferent.append(i)
        # What is left of the volume goes to those who do not mind, each in proportion.
        at_price = sum(orders[i][2] for i in indifferent)
        for i in indifferent:
            shares[i] = Fraction(orders[i][2] * left, at_price)
        if left < at_price:
            assert long_side == "neither", "only one side can be long"
            long_side, filled, offered = name, Fraction(left), at_price
    return Outcome(lower, upper, price, volume, long_side, filled, offered, shares)


def merit_order_volume(orders):
    """The volume by hand: the dearest bid meets the cheapest ask for as long as neither loses."""
    bids = sorted(([limit, quantity] for is_bid, limit, quantity in orders if is_bid), reverse=True)
    asks = sorted([limit, quantity] for is_bid, limit, quantity in orders if not is_bid)
    volume = 0
    while bids and asks and bids[0][0] >= asks[0][0]:
        quantity = min(bids[0][1], asks[0][1])
        volume += quantity
        for side in (bids, asks):
            side[0][1] -= quantity
            if side[0][1] == 0:
                side.pop(0)
    return volume
