"""What participants sign: orders, cancels and withdrawals as EIP-712 messages, for somebody else to bring to the chain.

A message counts for one Trading contract on one chain. `typed_data` gives it as a wallet shows it, `digest` as it is
signed; a test holds the two together. Signatures are compact (EIP-2098): 32 bytes r, 32 bytes s with the parity of v in
the highest bit. `Bundle.pack` and a signature make what `enterBundles` takes, see contracts/libraries/BundleCodec.sol.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Self

from eth_hash.auto import keccak
from eth_typing import ChecksumAddress
from eth_utils.address import is_hex_address

from busbar import errors
from busbar.orders import Order, Side
from busbar.recovery import HALF_ORDER, PARITY_SHIFT, SIGNATURE_BYTES, recover, sign_digest
from busbar.units import MAX_ORDERS, Asset

LAST_NONCE: Final = 2**32 - 2
"""The largest nonce of a message: the number after it marks the end."""
MAX_BATCH_BYTES: Final = 98_304
"""Most bytes of bundles in one call, as in Trading.sol."""

_DOMAIN_TYPE: Final = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
_NAME: Final = "Busbar Trading"
_VERSION: Final = "1"
_ORDER_TYPE: Final = "Order(string action,uint32 energyWh,uint16 limitTicksPerKWh,uint32 untilEpoch)"
_ORDERS_TYPE: Final = (
    "Orders(address account,uint8 zone,uint8 source,uint32 nonce,uint32 firstEpoch,uint32 lastEpoch,Order[] orders)"
)
_CANCEL_ORDER_TYPE: Final = (
    "CancelOrder(address account,uint32 epoch,uint8 index,string action,uint32 energyWh,uint16 limitTicksPerKWh)"
)
_CANCEL_UP_TO_TYPE: Final = "CancelUpTo(address account,uint32 nonce)"
_WITHDRAW_TYPE: Final = (
    "Withdraw(address account,string asset,uint256 amountWei,address to,uint32 nonce,uint64 deadline)"
)
_ORDER_HASH: Final = keccak(_ORDER_TYPE.encode())
_ORDERS_HASH: Final = keccak((_ORDERS_TYPE + _ORDER_TYPE).encode())
_CANCEL_ORDER_HASH: Final = keccak(_CANCEL_ORDER_TYPE.encode())
_CANCEL_UP_TO_HASH: Final = keccak(_CANCEL_UP_TO_TYPE.encode())
_WITHDRAW_HASH: Final = keccak(_WITHDRAW_TYPE.encode())

_ACTIONS: Final = {Side.BID: "buy", Side.ASK: "sell"}
_SIDES: Final = {word: side for side, word in _ACTIONS.items()}
_ACTION_HASHES: Final = {side: keccak(word.encode()) for side, word in _ACTIONS.items()}
_ASSETS: Final = {Asset.ENERGY: "energy", Asset.MONEY: "money"}
_ANY_SOURCE: Final = 0

_LENGTH_PRECEDES: Final = 0x80
_ORDER_MASK: Final = 2**48 - 1
_HEAD_BYTES, _ORDER_BYTES, _LENGTH_BYTES = 33, 6, 2


class InvalidMessage(errors.BusbarError):
    """A message cannot be expressed on chain; the text names the field."""


@dataclass(frozen=True, slots=True)
class TradingDomain:
    """Where a message counts.

    Attributes:
        chain_id: The chain.
        verifying_contract: Address of the Trading contract.
    """

    chain_id: int
    verifying_contract: str


@dataclass(frozen=True, slots=True)
class Bundle:
    """Orders under one signature: they enter together, in one of the stated epochs, or not at all.

    Attributes:
        account: Whose orders, and who signs.
        zone: The zone the account trades in.
        nonce: 0 to `LAST_NONCE`; entering makes this one and every lower one worthless.
        first_epoch: First epoch in which they may enter.
        last_epoch: Last one.
        orders: 1 to 100. The life of each counts from `first_epoch`: what is signed is its last epoch. An order that
            would have ended before the epoch it enters trades in that one all the same.

    Raises:
        InvalidMessage: The account is no address, or a number does not fit.
        errors.NoOrders: There is none.
        errors.TooManyOrders: There are more than 100.
    """

    account: str
    zone: int
    nonce: int
    first_epoch: int
    last_epoch: int
    orders: tuple[Order, ...]

    def __post_init__(self) -> None:
        _require_address("account", self.account)
        _require_number("zone", self.zone, 2**8 - 1)
        _require_number("nonce", self.nonce, LAST_NONCE)
        _require_number("firstEpoch", self.first_epoch, 2**32 - 1)
        _require_number("lastEpoch", self.last_epoch, 2**32 - 1)
        if not self.orders:
            raise errors.NoOrders
        for order in self.orders:
            _require_number("untilEpoch", self.first_epoch + order.life, 2**32 - 1)
        if len(self.orders) > MAX_ORDERS:
            raise errors.TooManyOrders(self.account, len(self.orders))

    @property
    def lowest_tick(self) -> int:
        """Lowest limit in it: batches are cheapest sorted by this."""
        return min(order.tick for order in self.orders)

    def struct_hash(self) -> bytes:
        """The message's hash without its domain."""
        orders = b"".join(
            keccak(
                _ORDER_HASH
                + _ACTION_HASHES[o.side]
                + _word(o.quantity_wh)
                + _word(o.tick)
                + _word(self.first_epoch + o.life)
            )
            for o in self.orders
        )
        numbers = (self.zone, _ANY_SOURCE, self.nonce, self.first_epoch, self.last_epoch)
        return keccak(
            _ORDERS_HASH + _address_word(self.account) + b"".join(_word(number) for number in numbers) + keccak(orders)
        )

    def fields(self) -> dict[str, Any]:
        """The message as a wallet shows it."""
        return {
            "account": self.account,
            "zone": self.zone,
            "source": _ANY_SOURCE,
            "nonce": self.nonce,
            "firstEpoch": self.first_epoch,
            "lastEpoch": self.last_epoch,
            "orders": [_order_fields(order) | {"untilEpoch": self.first_epoch + order.life} for order in self.orders],
        }

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        """The bundle of a message as `fields` gives it.

        Raises:
            InvalidMessage: A field is missing or none of ours.
            errors.BusbarError: As for the bundle and its orders.
        """
        try:
            first_epoch = fields["firstEpoch"]
            orders = tuple(
                Order(
                    _SIDES[entry["action"]],
                    entry["limitTicksPerKWh"],
                    entry["energyWh"],
                    _life(first_epoch, entry["untilEpoch"]),
                )
                for entry in fields["orders"]
            )
            if fields["source"] != _ANY_SOURCE:
                raise InvalidMessage(f"source: must be {_ANY_SOURCE}, not {fields['source']}")
            account, zone, nonce = fields["account"], fields["zone"], fields["nonce"]
            return cls(account, zone, nonce, first_epoch, fields["lastEpoch"], orders)
        except (KeyError, TypeError) as problem:
            raise InvalidMessage(f"the message is none: {problem}") from None

    def pack(self, signature: bytes) -> bytes:
        """The bundle and its signature as `enterBundles` takes them; `b"".join` makes a batch.

        Args:
            signature: 64 bytes of the account's key, or what its contract takes, below 65,536 bytes.
        """
        head = _address_bytes(self.account)
        head += b"".join(number.to_bytes(4, "big") for number in (self.nonce, self.first_epoch, self.last_epoch))
        orders = b"".join(order.pack().to_bytes(6, "big") for order in self.orders)
        if len(signature) == SIGNATURE_BYTES:
            return head + bytes([len(self.orders)]) + orders + signature
        if len(signature) >= 2**16:
            raise InvalidMessage(f"signature: has {len(signature)} bytes, more than 65,535")
        length = len(signature).to_bytes(2, "big")
        return head + bytes([len(self.orders) | _LENGTH_PRECEDES]) + orders + length + signature


@dataclass(frozen=True, slots=True)
class CancelOrder:
    """Takes one order back. An order's place is its for ever, so this can be used once and needs no nonce.

    Attributes:
        account: Whose order, and who signs.
        epoch: Epoch it was entered in.
        index: Its place among the account's orders of that epoch.
        order: The order itself: if another one stands there, nothing is cancelled. Once its epoch is over, less may be
            left of a standing order than this names; its life is not part of the message.
    """

    account: str
    epoch: int
    index: int
    order: Order

    def __post_init__(self) -> None:
        _require_address("account", self.account)
        _require_number("epoch", self.epoch, 2**32 - 1)
        _require_number("index", self.index, MAX_ORDERS - 1)

    def struct_hash(self) -> bytes:
        """The message's hash without its domain."""
        order = _ACTION_HASHES[self.order.side] + _word(self.order.quantity_wh) + _word(self.order.tick)
        return keccak(_CANCEL_ORDER_HASH + _address_word(self.account) + _word(self.epoch) + _word(self.index) + order)

    def fields(self) -> dict[str, Any]:
        """The message as a wallet shows it."""
        place = {"account": self.account, "epoch": self.epoch, "index": self.index}
        return place | _order_fields(self.order)


@dataclass(frozen=True, slots=True)
class CancelUpTo:
    """Makes every message of the account with this nonce or a lower one worthless."""

    account: str
    nonce: int

    def __post_init__(self) -> None:
        _require_address("account", self.account)
        _require_number("nonce", self.nonce, LAST_NONCE)

    def struct_hash(self) -> bytes:
        """The message's hash without its domain."""
        return keccak(_CANCEL_UP_TO_HASH + _address_word(self.account) + _word(self.nonce))

    def fields(self) -> dict[str, Any]:
        """The message as a wallet shows it."""
        return {"account": self.account, "nonce": self.nonce}


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Takes free balance out, to the account's own wallet or to anybody's.

    Attributes:
        account: Whose balance, and who signs.
        asset: Energy (GRID) or money.
        amount_wei: How much, in wei of the token.
        to: Who receives it.
        nonce: As in a bundle.
        deadline: Last second in which it may be used, Unix.
    """

    account: str
    asset: Asset
    amount_wei: int
    to: str
    nonce: int
    deadline: int

    def __post_init__(self) -> None:
        _require_address("account", self.account)
        _require_address("to", self.to)
        _require_number("amountWei", self.amount_wei, 2**256 - 1)
        _require_number("nonce", self.nonce, LAST_NONCE)
        _require_number("deadline", self.deadline, 2**64 - 1)

    def struct_hash(self) -> bytes:
        """The message's hash without its domain."""
        return keccak(
            _WITHDRAW_HASH
            + _address_word(self.account)
            + keccak(_ASSETS[self.asset].encode())
            + _word(self.amount_wei)
            + _address_word(self.to)
            + _word(self.nonce)
            + _word(self.deadline)
        )

    def fields(self) -> dict[str, Any]:
        """The message as a wallet shows it."""
        return {
            "account": self.account,
            "asset": _ASSETS[self.asset],
            "amountWei": self.amount_wei,
            "to": self.to,
            "nonce": self.nonce,
            "deadline": self.deadline,
        }


Message = Bundle | CancelOrder | CancelUpTo | Withdraw

_TYPES: Final[dict[type, tuple[str, ...]]] = {
    Bundle: (_ORDERS_TYPE, _ORDER_TYPE),
    CancelOrder: (_CANCEL_ORDER_TYPE,),
    CancelUpTo: (_CANCEL_UP_TO_TYPE,),
    Withdraw: (_WITHDRAW_TYPE,),
}


@dataclass(frozen=True, slots=True)
class SignedBundle:
    """A bundle with a signature, whoever gave it: see `is_by_key`."""

    bundle: Bundle
    signature: bytes

    def pack(self) -> bytes:
        """As `enterBundles` takes it."""
        return self.bundle.pack(self.signature)

    @property
    def packed_bytes(self) -> int:
        """Length of that."""
        extra = 0 if len(self.signature) == SIGNATURE_BYTES else _LENGTH_BYTES
        return _HEAD_BYTES + _ORDER_BYTES * len(self.bundle.orders) + extra + len(self.signature)

    def is_by_key(self, domain: TradingDomain) -> bool:
        """Whether the account's own key signed it. A contract wallet's signature only the chain can judge."""
        try:
            return signer(self.bundle, domain, self.signature).lower() == self.bundle.account.lower()
        except errors.BusbarError:
            return False

    @classmethod
    def by(cls, bundle: Bundle, domain: TradingDomain, key: bytes) -> Self:
        """Signs a bundle."""
        return cls(bundle, sign(bundle, domain, key))


@dataclass(frozen=True, slots=True)
class EnteredBundle:
    """A bundle that entered, as its event tells: `BundleEntered`, or `SignedOrderEntered` for a single order."""

    account: str
    epoch: int
    zone: int
    first_index: int
    nonce: int
    orders: tuple[Order, ...]

    @classmethod
    def from_event(cls, args: Mapping[str, Any]) -> Self:
        """Reads the values of either event.

        Raises:
            errors.InvalidOrder: What it tells cannot have entered.
        """
        if "placed" in args:
            place, orders = args["placed"] >> 48, unpack_orders((args["placed"] & _ORDER_MASK).to_bytes(6, "big"))
        else:
            place, orders = args["place"], unpack_orders(args["orders"])
        return cls(
            args["account"],
            place >> 48,
            place >> 40 & 255,
            place >> 32 & 255,
            place & 2**32 - 1,
            orders,
        )


def unpack_orders(packed: bytes) -> tuple[Order, ...]:
    """Orders as events tell them, six bytes each.

    Raises:
        errors.BusbarError: As for `Order.unpack`.
    """
    words = (packed[i : i + _ORDER_BYTES] for i in range(0, len(packed), _ORDER_BYTES))
    return tuple(Order.unpack(int.from_bytes(word, "big")) for word in words)


def pack_batch(bundles: Sequence[SignedBundle]) -> bytes:
    """A batch as `enterBundles` takes it.

    Raises:
        errors.BatchTooLarge: It has more bytes than the contract takes.
    """
    batch = b"".join(bundle.pack() for bundle in bundles)
    if len(batch) > MAX_BATCH_BYTES:
        raise errors.BatchTooLarge(len(batch), MAX_BATCH_BYTES)
    return batch


def typed_data(message: Message, domain: TradingDomain) -> dict[str, Any]:
    """The message for a wallet's `eth_signTypedData_v4`."""
    types = (_DOMAIN_TYPE, *_TYPES[type(message)])
    return {
        "types": dict(map(_members, types)),
        "primaryType": types[1].split("(")[0],
        "domain": {
            "name": _NAME,
            "version": _VERSION,
            "chainId": domain.chain_id,
            "verifyingContract": domain.verifying_contract,
        },
        "message": message.fields(),
    }


def digest(message: Message, domain: TradingDomain) -> bytes:
    """The 32 bytes that are signed. Hashed directly, for a relay checks thousands of messages."""
    return keccak(b"\x19\x01" + _domain_separator(domain) + message.struct_hash())


def sign(message: Message, domain: TradingDomain, key: bytes) -> bytes:
    """A compact signature of a message, 64 bytes.

    Args:
        message: What to sign.
        domain: Where it shall count.
        key: The account's secp256k1 private key, 32 bytes.
    """
    return sign_digest(digest(message, domain), key)


def as_taken(signature: bytes) -> bytes:
    """A signature as the contract takes it: a wallet's 65 bytes made compact, anything else as it is.

    Raises:
        errors.BusbarError: It has 65 bytes and is none, see `compact`.
    """
    return compact(signature) if len(signature) == SIGNATURE_BYTES + 1 else signature


def compact(signature: bytes) -> bytes:
    """The 64 bytes of a signature as wallets give it: r, s and v, 65 bytes.

    Raises:
        errors.ECDSAInvalidSignatureLength: It has not 65 bytes.
        errors.ECDSAInvalidSignatureS: s is in the upper half, where every signature has a twin.
        errors.ECDSAInvalidSignature: v is not 27 or 28.
    """
    if len(signature) != SIGNATURE_BYTES + 1:
        raise errors.ECDSAInvalidSignatureLength(len(signature))
    s, v = int.from_bytes(signature[32:64], "big"), signature[64]
    if s > HALF_ORDER:
        raise errors.ECDSAInvalidSignatureS(signature[32:64])
    if v not in (27, 28):
        raise errors.ECDSAInvalidSignature
    return signature[:32] + _word((v - 27) << PARITY_SHIFT | s)


def signer(message: Message, domain: TradingDomain, signature: bytes) -> ChecksumAddress:
    """The address whose key signed this message for this domain, by the contract's rules.

    Raises:
        errors.ECDSAInvalidSignatureLength: The signature has not 64 bytes.
        errors.ECDSAInvalidSignatureS: s is in the upper half, where every signature has a twin.
        errors.ECDSAInvalidSignature: No key can have signed this.
    """
    return recover(digest(message, domain), signature)


@lru_cache(maxsize=64)
def _domain_separator(domain: TradingDomain) -> bytes:
    names = keccak(_NAME.encode()) + keccak(_VERSION.encode())
    contract = _address_word(domain.verifying_contract)
    return keccak(keccak(_DOMAIN_TYPE.encode()) + names + _word(domain.chain_id) + contract)


def _members(kind: str) -> tuple[str, list[dict[str, str]]]:
    """A type's name and members: `A(uint8 b)` gives A and b."""
    name, members = kind.rstrip(")").split("(")
    pairs = (member.split(" ") for member in members.split(","))
    return name, [{"name": field, "type": type_} for type_, field in pairs]


def _life(first_epoch: int, until_epoch: int) -> int:
    """How long an order of a bundle stands, by its last epoch."""
    if until_epoch < first_epoch:
        raise InvalidMessage(f"untilEpoch: {until_epoch} lies before the first epoch, {first_epoch}")
    return until_epoch - first_epoch


def _order_fields(order: Order) -> dict[str, Any]:
    return {"action": _ACTIONS[order.side], "energyWh": order.quantity_wh, "limitTicksPerKWh": order.tick}


def _require_address(field: str, value: str) -> None:
    if not is_hex_address(value):
        raise InvalidMessage(f"{field}: {value!r} is no address")


def _require_number(field: str, value: int, largest: int) -> None:
    if not 0 <= value <= largest:
        raise InvalidMessage(f"{field}: must be a whole number from 0 to {largest}, not {value}")


def _word(value: int) -> bytes:
    return value.to_bytes(32, "big")


def _address_bytes(address: str) -> bytes:
    """Of an address that was found to be one, with or without its 0x."""
    return bytes.fromhex(address[-40:])


def _address_word(address: str) -> bytes:
    return _address_bytes(address).rjust(32, b"\0")
