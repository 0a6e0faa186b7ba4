"""Wh, ticks, money and epochs: what the market counts in, and how people read it.

Every quantity is a whole number whose name says its unit:

| name      | unit                                                                              |
|-----------|-----------------------------------------------------------------------------------|
| `_wh`     | Wh, in orders, readings and results                                               |
| `energy_units` | micro-Wh, inside accounts                                                    |
| `tick`    | price limit per kWh, 1..1023; worth `tick_wei` of the quote token                 |
| `price2`  | clearing price per kWh in half ticks, so that the middle of two ticks is whole    |
| `money_units` | half a tick x one micro-Wh, so that energy_units x price2 is money, undivided |
| `_wei`    | 1e-18 of a token, outside accounts                                                |

Converting is exact or refused. Only the functions that write for people round, and they say so.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from busbar import errors

GRID_WEI_PER_WH: Final = 10**15
"""GRID wei in a Wh: 1 GRID is 1 kWh."""
ENERGY_UNITS_PER_WH: Final = 10**6
"""Accounting units of energy (micro-Wh) in a Wh."""
ENERGY_UNIT_WEI: Final = 10**9
"""GRID wei in an accounting unit of energy."""
MIN_TICK: Final = 1
"""Lowest price limit. At tick 0 a bid would escrow nothing."""
MAX_TICK: Final = 1023
"""Highest price limit."""
MIN_ORDER_WH: Final = 100
"""Smallest order."""
MAX_ORDER_WH: Final = 10_000_000
"""Largest order."""
MAX_ORDERS: Final = 100
"""Orders per participant and epoch, cancelled ones included."""
MAX_LIFE: Final = 96
"""Most epochs that a standing order stands beyond the one it enters."""
MAX_METERS: Final = 10
"""Meters per participant."""
PERIOD_EPOCHS: Final = 96
"""Epochs in a settlement period: a day of quarter hours."""
GRACE_EPOCHS: Final = 4
"""Epochs into the next period in which a period's import can still be retired."""
SATANG_WEI: Final = 10**16
"""0.01 THB, the usual value of a tick."""

_HALF_TICKS_PER_KWH: Final = 2 * 1000 * ENERGY_UNITS_PER_WH
_WEI_DIGITS: Final = 18


class BeforeGenesis(errors.BusbarError):
    """A time lies before the market's epoch 0.

    Attributes:
        timestamp: The time asked for, Unix seconds.
        genesis: Start of epoch 0, Unix seconds.
    """

    def __init__(self, timestamp: int, genesis: int) -> None:
        self.timestamp = timestamp
        self.genesis = genesis
        super().__init__(f"{timestamp} lies before the market's genesis at {genesis}: ask for a later time")


class Asset(IntEnum):
    """What is held for participants; the numbers are the contracts'."""

    ENERGY = 0
    MONEY = 1


@dataclass(frozen=True, slots=True)
class Calendar:
    """The market's clock. Times are chain times in Unix seconds, never the wall's.

    Attributes:
        genesis: Start of epoch 0.
        epoch_seconds: Length of every epoch.

    Raises:
        errors.InvalidEpochs: The length is not positive or the genesis is negative.
    """

    genesis: int
    epoch_seconds: int

    def __post_init__(self) -> None:
        if self.epoch_seconds <= 0 or self.genesis < 0:
            raise errors.InvalidEpochs(self.genesis, self.epoch_seconds)

    def epoch_at(self, timestamp: int) -> int:
        """The epoch that holds a time; an epoch's start belongs to it, its end to the next.

        Raises:
            BeforeGenesis: There was no epoch yet.
        """
        if timestamp < self.genesis:
            raise BeforeGenesis(timestamp, self.genesis)
        return (timestamp - self.genesis) // self.epoch_seconds

    def start(self, epoch: int) -> int:
        """First second of an epoch."""
        return self.genesis + epoch * self.epoch_seconds

    def end(self, epoch: int) -> int:
        """First second after an epoch."""
        return self.start(epoch + 1)

    def period_of(self, epoch: int) -> int:
        """The settlement period an epoch belongs to."""
        return epoch // PERIOD_EPOCHS


@dataclass(frozen=True, slots=True)
class Money:
    """A market's money, given by what a tick is worth.

    Attributes:
        tick_wei: Quote wei per kWh in a tick.

    Raises:
        errors.TickNotRepresentable: Half a tick x one micro-Wh is not a whole number of wei.
    """

    tick_wei: int

    def __post_init__(self) -> None:
        if self.tick_wei <= 0 or self.tick_wei % _HALF_TICKS_PER_KWH:
            raise errors.TickNotRepresentable(self.tick_wei)

    @property
    def unit_wei(self) -> int:
        """Quote wei in a money unit."""
        return self.tick_wei // _HALF_TICKS_PER_KWH

    def to_wei(self, units: int) -> int:
        """Quote wei of an amount in money units."""
        return units * self.unit_wei

    def from_wei(self, wei: int) -> int:
        """Money units of an amount in quote wei. Zero is zero here, though the contract moves no zero.

        Raises:
            errors.InexactAmount: The amount is not a whole number of money units.
        """
        return _exact_units(Asset.MONEY, wei, self.unit_wei)

    def cost_units(self, energy_units: int, price2: int) -> int:
        """What energy costs at a price in half ticks, in money units: exact, nothing is divided."""
        return energy_units * price2


def energy_to_wei(energy_units: int) -> int:
    """GRID wei of an amount in accounting units."""
    return energy_units * ENERGY_UNIT_WEI


def energy_from_wei(wei: int) -> int:
    """Accounting units of an amount in GRID wei.

    Raises:
        errors.InexactAmount: The amount is not a whole number of accounting units.
    """
    return _exact_units(Asset.ENERGY, wei, ENERGY_UNIT_WEI)


def kwh(wh: int) -> str:
    """Energy for people, exact: 1234 Wh is "1.234 kWh"."""
    return f"{_decimal(wh, 3, 3)} kWh"


def thb(wei: int, digits: int = 2) -> str:
    """Money for people: 1.005e18 wei is "1.00 THB". For display only, as it rounds, half to even.

    Args:
        wei: Amount in wei of a token of 18 decimals.
        digits: Decimal places shown, 0 to 18.
    """
    return f"{_decimal(wei, _WEI_DIGITS, digits)} THB"


def price(price2: int, tick_wei: int = SATANG_WEI) -> str:
    """A price for people in THB/kWh, exact and bare: 441 half ticks of one satang are "2.205".

    Three decimal places, or as many as it takes.
    """
    # Half of tick_wei may end in half a wei: one digit more makes it whole.
    exact = _decimal(price2 * tick_wei * 5, _WEI_DIGITS + 1, _WEI_DIGITS + 1)
    whole, _, digits = exact.partition(".")
    return f"{whole}.{digits.rstrip('0'):0<3}"


def _exact_units(asset: Asset, wei: int, unit_wei: int) -> int:
    units, rest = divmod(wei, unit_wei)
    if rest:
        raise errors.InexactAmount(asset, wei, unit_wei)
    return units


def _decimal(value: int, scale: int, digits: int) -> str:
    """`value` x 10**-scale with so many decimal places, rounded half to even."""
    step = 10 ** (scale - digits)
    quotient, rest = divmod(abs(value), step)
    if 2 * rest > step or (2 * rest == step and quotient % 2 == 1):
        quotient += 1
    sign = "-" if value < 0 and quotient else ""
    whole, decimals = divmod(quotient, 10**digits)
    return f"{sign}{whole}.{decimals:0{digits}d}" if digits else f"{sign}{whole}"
