"""Orders as the contracts see them: a side, a limit and a quantity in 42 bits.

Layout, least significant bit first: quantity in Wh 24 | tick 10 | side 1 | life 7. An order with a life is a standing
one: it stands for so many epochs beyond its own. See contracts/libraries/OrderCodec.sol.
"""

import re
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Final, Self

from eth_typing import ChecksumAddress
from eth_utils.address import to_checksum_address

from busbar import errors
from busbar.units import MAX_LIFE, MAX_ORDER_WH, MAX_ORDERS, MAX_TICK, MIN_ORDER_WH, MIN_TICK

_TICK_SHIFT: Final = 24
_SIDE_SHIFT: Final = 34
_LIFE_SHIFT: Final = 35
_QUANTITY_MASK: Final = (1 << _TICK_SHIFT) - 1
_TICK_MASK: Final = (1 << (_SIDE_SHIFT - _TICK_SHIFT)) - 1
_ORDER_BITS: Final = 42

_INDEX_SHIFT: Final = 160
_EPOCH_SHIFT: Final = 168
_ACCOUNT_MASK: Final = (1 << _INDEX_SHIFT) - 1
_INDEX_MASK: Final = (1 << (_EPOCH_SHIFT - _INDEX_SHIFT)) - 1
_EPOCH_END: Final = 1 << 27  # of the epoch field in Accounts.sol

_ADDRESS: Final = re.compile("0x[0-9a-fA-F]{40}")


class Side(IntEnum):
    """Which way energy goes; the numbers are the contracts'."""

    BID = 0
    """Buys energy."""
    ASK = 1
    """Sells energy."""


@dataclass(frozen=True, slots=True)
class Order:
    """An order that the contracts would take.

    Attributes:
        side: Buy or sell.
        tick: Limit per kWh: a bid pays no more, an ask gets no less.
        quantity_wh: Energy in Wh. A cancelled order is none: see `unpack_stored`.
        life: Epochs that it stands beyond the one it enters, 0 to 96; in a signed bundle, beyond its first epoch.

    Raises:
        errors.InvalidLife: The life is not within 0..96.
        errors.InvalidTick: The tick is not within 1..1023.
        errors.InvalidQuantity: The quantity is not within 100..10,000,000 Wh.
    """

    side: Side
    tick: int
    quantity_wh: int
    life: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.life <= MAX_LIFE:
            raise errors.InvalidLife(self.life)
        if not MIN_TICK <= self.tick <= MAX_TICK:
            raise errors.InvalidTick(self.tick)
        if not MIN_ORDER_WH <= self.quantity_wh <= MAX_ORDER_WH:
            raise errors.InvalidQuantity(self.quantity_wh)

    def pack(self) -> int:
        """The order as `createOrders` takes it."""
        return self.life << _LIFE_SHIFT | self.side << _SIDE_SHIFT | self.tick << _TICK_SHIFT | self.quantity_wh

    def aged(self, epochs: int) -> "Order":
        """The same order some epochs later: its life is that much shorter, but not below 0."""
        return replace(self, life=max(0, self.life - epochs))

    @classmethod
    def unpack(cls, word: int) -> Self:
        """The order behind an encoded one.

        Raises:
            errors.InvalidOrder: It has more than 42 bits.
            errors.InvalidLife: As for the order itself.
            errors.InvalidTick: As for the order itself.
            errors.InvalidQuantity: As for the order itself; so for a cancelled one.
        """
        if word >> _ORDER_BITS:
            raise errors.InvalidOrder(word)
        side, tick = Side(word >> _SIDE_SHIFT & 1), word >> _TICK_SHIFT & _TICK_MASK
        return cls(side, tick, word & _QUANTITY_MASK, word >> _LIFE_SHIFT)


def unpack_stored(word: int) -> Order | None:
    """The order behind a stored one, or None if it is cancelled: then its quantity is 0.

    Raises:
        errors.BusbarError: As for `Order.unpack`.
    """
    cancelled = not word >> _ORDER_BITS and not word & _QUANTITY_MASK
    return None if cancelled else Order.unpack(word)


@dataclass(frozen=True, slots=True)
class OrderId:
    """What an order's id says.

    Attributes:
        account: Whose order it is, checksummed.
        epoch: The epoch it was entered in.
        index: Its place among the account's orders of that epoch, from 0.
    """

    account: ChecksumAddress
    epoch: int
    index: int

    @classmethod
    def parse(cls, order_id: int) -> Self:
        """Takes an id apart.

        Raises:
            errors.OrderNotOpen: No order can have this id.
        """
        index = order_id >> _INDEX_SHIFT & _INDEX_MASK
        epoch = order_id >> _EPOCH_SHIFT
        if not 0 <= epoch < _EPOCH_END or index >= MAX_ORDERS:
            raise errors.OrderNotOpen(order_id)
        account = (order_id & _ACCOUNT_MASK).to_bytes(20, "big")
        return cls(to_checksum_address(account), epoch, index)


def order_id(account: str, epoch: int, index: int) -> int:
    """The id of an order, as `orderIdOf` gives it: epoch << 168 | index << 160 | account.

    Args:
        account: Address of the participant, 0x and 40 hex digits.
        epoch: Epoch the order was entered in.
        index: Its place among the account's orders of that epoch, from 0.

    Raises:
        errors.TooManyOrders: The index is beyond what an account may enter in an epoch.
        ValueError: The account is no address, a number is negative, or the epoch lies beyond the market's life.
    """
    if index >= MAX_ORDERS:
        raise errors.TooManyOrders(account, index + 1)
    if index < 0 or not 0 <= epoch < _EPOCH_END:
        raise ValueError(f"no order has epoch {epoch} and index {index}")
    if _ADDRESS.fullmatch(account) is None:
        raise ValueError(f"{account!r} is no address")
    return epoch << _EPOCH_SHIFT | index << _INDEX_SHIFT | int(account, 16)
