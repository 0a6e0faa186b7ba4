"""The reference auction: one price for all, to the last unit.

The contract is judged against this module, and this module against a slow solver that follows from first
principles (tests/pure/brute.py). It is written after the definitions, not after the contract: D(>=p) is the
volume of bids with a limit of at least p, S(<=p) that of asks with a limit of at most p, and so on.

Units as in `busbar.units`: volumes in Wh, fills in micro-Wh and money units, prices in half ticks.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple, Self

from busbar import errors
from busbar.orders import Order, Side
from busbar.units import ENERGY_UNITS_PER_WH, MAX_TICK, MIN_TICK

MAX_TICK_WH: Final = 2**38 - 1
"""Most volume that one side of one tick can hold."""


class LongSide(IntEnum):
    """The side that has more than it can trade at the marginal tick; the numbers are the contracts'."""

    NEITHER = 0
    BIDS = 1
    ASKS = 2


@dataclass(frozen=True, slots=True)
class Result:
    """What an auction decided.

    Attributes:
        lower_tick: Lowest tick of the equilibrium interval; 0 if nothing traded.
        upper_tick: Highest tick of the equilibrium interval; 0 if nothing traded.
        long_side: The side rationed at `lower_tick`, which then is `upper_tick`.
        filled_wh: R, what the rationed side trades at the marginal tick; 0 if neither is rationed.
        offered_wh: M, what the rationed side has at the marginal tick; 0 if neither is rationed.
        volume_wh: V, what is traded in all.
    """

    lower_tick: int
    upper_tick: int
    long_side: LongSide
    filled_wh: int
    offered_wh: int
    volume_wh: int

    @property
    def price2(self) -> int:
        """The price in half ticks: the middle of the interval, exactly. 0 if nothing traded, then it is no price."""
        return self.lower_tick + self.upper_tick

    @property
    def traded(self) -> bool:
        """Whether there was any trade, and so a price."""
        return self.volume_wh != 0

    @classmethod
    def none(cls) -> Self:
        """The result of an epoch without trade."""
        return cls(0, 0, LongSide.NEITHER, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Balance:
    """Energy and money inside the market.

    Attributes:
        energy_units: Energy in micro-Wh.
        money_units: Money in money units.
    """

    energy_units: int
    money_units: int

    def __add__(self, other: "Balance") -> "Balance":
        """Both together."""
        return Balance(self.energy_units + other.energy_units, self.money_units + other.money_units)

    def __sub__(self, other: "Balance") -> "Balance":
        """What is left of this one."""
        return Balance(self.energy_units - other.energy_units, self.money_units - other.money_units)


@dataclass(frozen=True, slots=True)
class Fill:
    """What an order traded.

    Attributes:
        energy_units: Micro-Wh that a bid received, or an ask gave.
        money_units: Money units that a bid paid, or an ask received.
    """

    energy_units: int
    money_units: int


class Step(NamedTuple):
    """A step of a supply or demand curve."""

    tick: int
    """Limit of the volume that this step adds."""
    cumulative_wh: int
    """Volume up to and including this step."""


class Curves(NamedTuple):
    """Both curves, each in merit order: bids from the dearest, asks from the cheapest."""

    demand: tuple[Step, ...]
    supply: tuple[Step, ...]


# ------------------------------------------------------------------ the auction


class _Level(NamedTuple):
    """A tick p that holds volume, and what a price of p would bring about; all but the tick in Wh."""

    tick: int
    bid: int
    ask: int
    demand: int  # D(>=p)
    demand_above: int  # D(>p)
    supply: int  # S(<=p)
    supply_below: int  # S(<p)


def clear(bids: Mapping[int, int], asks: Mapping[int, int]) -> Result:
    """Runs the auction.

    It is enough to look at ticks that hold volume. Between two of them nothing changes but who is
    indifferent, and if anything trades both ends of the equilibrium interval hold volume.

    Args:
        bids: Volume of bids in Wh by tick.
        asks: Volume of asks in Wh by tick.

    Raises:
        errors.InvalidTick: A tick is not within 1..1023.
        errors.InvalidQuantity: A volume is negative.
        errors.TickFull: A volume is more than a tick holds.
    """
    levels = _levels(_occupied(Side.BID, bids), _occupied(Side.ASK, asks))
    volume = max((min(level.demand, level.supply) for level in levels), default=0)
    if volume == 0:
        return Result.none()
    lower = next(level for level in levels if level.demand_above <= level.supply)
    upper = next(level for level in reversed(levels) if level.supply_below <= level.demand)
    long_side, filled, offered = LongSide.NEITHER, 0, 0
    if lower.tick == upper.tick:
        if lower.demand > lower.supply:
            long_side, filled, offered = LongSide.BIDS, volume - lower.demand_above, lower.bid
        elif lower.supply > lower.demand:
            long_side, filled, offered = LongSide.ASKS, volume - lower.supply_below, lower.ask
    return Result(lower.tick, upper.tick, long_side, filled, offered, volume)


def histogram(orders: Iterable[Order]) -> tuple[dict[int, int], dict[int, int]]:
    """Volumes in Wh by tick, of the bids and of the asks."""
    volumes: tuple[dict[int, int], dict[int, int]] = ({}, {})
    for order in orders:
        side = volumes[order.side]
        side[order.tick] = side.get(order.tick, 0) + order.quantity_wh
    return volumes


def clear_orders(orders: Iterable[Order]) -> Result:
    """Runs the auction over orders; see `clear`."""
    bids, asks = histogram(orders)
    return clear(bids, asks)


def curves(bids: Mapping[int, int], asks: Mapping[int, int]) -> Curves:
    """Demand and supply as steps, for plots. Arguments and errors as for `clear`."""
    demand = _occupied(Side.BID, bids)
    supply = _occupied(Side.ASK, asks)
    return Curves(_steps(demand, sorted(demand, reverse=True)), _steps(supply, sorted(supply)))


def _levels(bids: Mapping[int, int], asks: Mapping[int, int]) -> list[_Level]:
    levels = []
    demand, supply_below = sum(bids.values()), 0
    for tick in sorted({*bids, *asks}):
        bid, ask = bids.get(tick, 0), asks.get(tick, 0)
        levels.append(_Level(tick, bid, ask, demand, demand - bid, supply_below + ask, supply_below))
        demand, supply_below = demand - bid, supply_below + ask
    return levels


def _occupied(side: Side, volumes: Mapping[int, int]) -> dict[int, int]:
    for tick, volume in volumes.items():
        if not MIN_TICK <= tick <= MAX_TICK:
            raise errors.InvalidTick(tick)
        if volume < 0:
            raise errors.InvalidQuantity(volume)
        if volume > MAX_TICK_WH:
            raise errors.TickFull(side, tick, volume)
    return {tick: volume for tick, volume in volumes.items() if volume}


def _steps(volumes: Mapping[int, int], ticks: Iterable[int]) -> tuple[Step, ...]:
    steps, cumulative = [], 0
    for tick in ticks:
        cumulative += volumes[tick]
        steps.append(Step(tick, cumulative))
    return tuple(steps)


# --------------------------------------------------------------- what it means for an order


def escrow(order: Order) -> Balance:
    """What an open order locks: a bid its limit's worth of money, an ask its energy."""
    energy = order.quantity_wh * ENERGY_UNITS_PER_WH
    if order.side is Side.ASK:
        return Balance(energy, 0)
    return Balance(0, energy * 2 * order.tick)


def fill(result: Result, order: Order) -> Fill:
    """What an order of the cleared epoch trades.

    Whoever is better than the price trades whole, and so do those at the price on the short side. The long
    side shares R of M at the marginal tick. With the exact share f = q R / M a bid receives floor(f) and
    pays ceil(f p); an ask gives ceil(f) and receives floor(f p): the market can always pay, and nobody's
    fill depends on who settles first.
    """
    if not result.traded:
        return Fill(0, 0)
    energy = order.quantity_wh * ENERGY_UNITS_PER_WH
    price2 = result.price2
    if _is_rationed(result, order):
        share = energy * result.filled_wh  # f, in M-ths of a unit
        if order.side is Side.BID:
            return Fill(share // result.offered_wh, _ceil_div(share * price2, result.offered_wh))
        return Fill(_ceil_div(share, result.offered_wh), share * price2 // result.offered_wh)
    trades = 2 * order.tick >= price2 if order.side is Side.BID else 2 * order.tick <= price2
    return Fill(energy, energy * price2) if trades else Fill(0, 0)


def settle(result: Result, order: Order) -> Balance:
    """What returns to the owner's free balance when an order's epoch is settled.

    A bid gets the energy it bought and the money it did not spend; an ask the energy it did not sell and
    the money it earned.
    """
    locked, traded = escrow(order), fill(result, order)
    if order.side is Side.BID:
        return Balance(traded.energy_units, locked.money_units - traded.money_units)
    return Balance(locked.energy_units - traded.energy_units, traded.money_units)


def remainder(result: Result, order: Order) -> int:
    """What an order has left after its epoch, in whole Wh, rounded down: what stands on if it is a standing one.

    Its escrow is never more than what `settle` gives back, see note R9 of docs/protocol.md.
    """
    units = order.quantity_wh * ENERGY_UNITS_PER_WH
    if _is_rationed(result, order):
        # A rationed bid may have been given less than it has left: f rounded up, whatever the side.
        return (units - _ceil_div(units * result.filled_wh, result.offered_wh)) // ENERGY_UNITS_PER_WH
    return order.quantity_wh if fill(result, order).energy_units == 0 else 0


def dust(result: Result, orders: Iterable[Order]) -> Balance:
    """What rounding leaves in the market, for ever, once all orders of an epoch are settled: never negative.

    Args:
        result: Result of the epoch.
        orders: Every order of the epoch that was open when it ended.
    """
    energy = money = 0
    for order in orders:
        traded = fill(result, order)
        sign = 1 if order.side is Side.ASK else -1
        energy += sign * traded.energy_units
        money -= sign * traded.money_units
    return Balance(energy, money)


def _is_rationed(result: Result, order: Order) -> bool:
    long_side = LongSide.BIDS if order.side is Side.BID else LongSide.ASKS
    return result.long_side is long_side and order.tick == result.lower_tick


def _ceil_div(x: int, y: int) -> int:
    return -(-x // y)
