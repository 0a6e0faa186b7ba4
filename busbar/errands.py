"""Errands: signed messages that the relay brings one by one, each as a transaction of its own.

Cancels of an order, cancels of messages, withdrawals, and deposits by the token's permit. Every one can have its effect
once, by the contracts' own rules, so bringing it twice does no harm; whose transaction did it is found by the
signature in its input, whoever sent it.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from eth_hash.auto import keccak

from busbar import errors, permits
from busbar.chain import (
    Account,
    Call,
    Chain,
    Head,
    cancel_order_for_call,
    cancel_up_to_for_call,
    deposit_for_call,
    withdraw_for_call,
)
from busbar.orders import Order, Side, order_id
from busbar.permits import Permit
from busbar.signing import CancelOrder, CancelUpTo, InvalidMessage, Withdraw, signer
from busbar.units import Asset

Message = CancelOrder | CancelUpTo | Withdraw | Permit


class Kind(StrEnum):
    """What an errand is, in the order in which an account's are brought."""

    CANCEL_ORDER = "cancel-order"
    CANCEL_UP_TO = "cancel-up-to"
    DEPOSIT = "deposit"
    WITHDRAW = "withdraw"


KINDS: Final[dict[type, Kind]] = {
    CancelOrder: Kind.CANCEL_ORDER,
    CancelUpTo: Kind.CANCEL_UP_TO,
    Permit: Kind.DEPOSIT,
    Withdraw: Kind.WITHDRAW,
}
SHOWS: Final = {
    Kind.CANCEL_ORDER: "OrderCancelled",
    Kind.CANCEL_UP_TO: "NonceUsed",
    Kind.DEPOSIT: "Deposited",
    Kind.WITHDRAW: "Withdrawn",
}
"""The event of Trading by which an errand shows that it was done."""

MOST: Final = 20
"""Most errands of a pass: a quarter of a block of 30 million gas."""

GAS: Final = 400_000
"""Most that an errand's gas limit takes of a block, with room for clearing."""

_SIDES: Final = {"buy": Side.BID, "sell": Side.ASK}
_ASSETS: Final = {"energy": Asset.ENERGY, "money": Asset.MONEY}
_ASSET_NAMES: Final = {asset: name for name, asset in _ASSETS.items()}
_TOKENS: Final = {Asset.ENERGY: "GridToken", Asset.MONEY: "BahtToken"}


class OtherSpenderError(errors.BusbarError):
    """A permit that allows somebody else than this market to take tokens."""


class PermitNonceError(errors.BusbarError):
    """The token has counted this permit's nonce already: it was used, or another one was. Sign again."""


class NotDoableError(errors.BusbarError):
    """A contract wallet's message that the chain would not take now: whether it signed, only the chain can say."""


@dataclass(frozen=True, slots=True)
class SignedMessage:
    """A message with its signature: 64 bytes of a key, or what the account's contract takes."""

    message: Message
    signature: bytes

    @property
    def kind(self) -> Kind:
        """What it is."""
        return KINDS[type(self.message)]

    @property
    def account(self) -> str:
        """Whose it is, as it was signed."""
        return self.message.account

    @property
    def key(self) -> str:
        """Its id: the account, and a hash over message and signature, so that a forgery has another."""
        return self.account.lower() + keccak(self._written() + self.signature)[:16].hex()

    def body(self, seen: int) -> bytes:
        """As the outbox keeps it, with the newest block when it was taken on."""
        told = json.loads(self._written()) | {"signature": self.signature.hex(), "seen": seen}
        return json.dumps(told).encode()

    def _written(self) -> bytes:
        asset = _ASSET_NAMES[self.message.asset] if isinstance(self.message, Permit) else None
        return json.dumps({"errand": self.kind, "asset": asset, "message": self.message.fields()}).encode()


@dataclass(frozen=True, slots=True)
class Errand:
    """A message that was taken on.

    Attributes:
        key: Its id.
        signed: What is to be brought.
        seen: Newest block when it was taken on: it was done in a later one, if it was.
    """

    key: str
    signed: SignedMessage
    seen: int

    @property
    def account(self) -> str:
        """Whose it is, in lower case."""
        return self.signed.account.lower()

    @property
    def kind(self) -> Kind:
        """What it is."""
        return self.signed.kind

    @property
    def nonce(self) -> int:
        """Its nonce, 0 if it has none: the token's for a deposit."""
        message = self.signed.message
        return 0 if isinstance(message, CancelOrder) else message.nonce


def message_of(kind: Kind, fields: Mapping[str, Any], asset: str | None = None) -> Message:
    """A message from its fields, as a wallet signed them.

    Args:
        kind: What it is.
        fields: By name; numbers are numbers.
        asset: The token of a deposit, energy or money; its message does not name it.

    Raises:
        InvalidMessage: A field is missing or none of ours.
        errors.BusbarError: As for the message and its order.
    """
    try:
        match kind:
            case Kind.CANCEL_ORDER:
                order = Order(_SIDES[fields["action"]], fields["limitTicksPerKWh"], fields["energyWh"])
                return CancelOrder(fields["account"], fields["epoch"], fields["index"], order)
            case Kind.CANCEL_UP_TO:
                return CancelUpTo(fields["account"], fields["nonce"])
            case Kind.WITHDRAW:
                where = fields["account"], _ASSETS[fields["asset"]], fields["amountWei"], fields["to"]
                return Withdraw(*where, fields["nonce"], fields["deadline"])
            case Kind.DEPOSIT:
                return Permit.from_fields(_ASSETS[str(asset)], fields)
    except (KeyError, TypeError) as problem:
        raise InvalidMessage(f"the message is none: {problem}") from None


def parse(key: str, body: Mapping[str, Any]) -> Errand:
    """An errand as the outbox keeps it."""
    message = message_of(Kind(body["errand"]), body["message"], body["asset"])
    return Errand(key, SignedMessage(message, bytes.fromhex(body["signature"])), body["seen"])


def call_of(signed: SignedMessage) -> Call:
    """The call that brings a message."""
    match signed.message:
        case CancelOrder():
            return cancel_order_for_call(signed.message, signed.signature)
        case CancelUpTo():
            return cancel_up_to_for_call(signed.message, signed.signature)
        case Withdraw():
            return withdraw_for_call(signed.message, signed.signature)
        case Permit():
            return deposit_for_call(signed.message, permits.split(signed.signature))


# ------------------------------------------------------------------------------ taking on


def check(chain: Chain, signed: SignedMessage, account: Account, head: Head) -> None:
    """Refuses what could never be done. Balances are not looked at: what is missing may be on its way.

    Raises:
        BusbarError: The contract's own error where it has one.
    """
    message = signed.message
    if account.status == 0:
        raise errors.NotRegistered(message.account)
    match message:
        case CancelOrder():
            if message.epoch != chain.calendar.epoch_at(head.timestamp):
                raise errors.OrderNotOpen(order_id(message.account, message.epoch, message.index))
        case Permit():
            _check_permit(chain, message, account, head)
        case CancelUpTo() | Withdraw() if message.nonce < account.nonce:
            raise errors.InvalidNonce(message.account, message.nonce, account.nonce)
        case Withdraw() if message.deadline < head.timestamp:
            raise errors.DeadlinePassed(message.deadline)
    _check_signature(chain, signed, head)


def _check_permit(chain: Chain, permit: Permit, account: Account, head: Head) -> None:
    if account.status != 1:
        raise errors.AccountSuspended(permit.account)
    if permit.spender.lower() != chain.addresses["Trading"].lower():
        raise OtherSpenderError(f"the permit is for {permit.spender}, not for {chain.addresses['Trading']}")
    if permit.deadline < head.timestamp:
        raise errors.ERC2612ExpiredSignature(permit.deadline)
    lowest = chain.view(_TOKENS[permit.asset], "nonces", permit.account, block=head.number)
    if permit.nonce < lowest:
        raise PermitNonceError(f"the token's next permit of {permit.account} has the nonce {lowest}: sign again")


def _check_signature(chain: Chain, signed: SignedMessage, head: Head) -> None:
    message = signed.message
    if isinstance(message, Permit):
        if not permits.is_by_owner(message, token_domain(chain, message.asset), signed.signature):
            raise errors.BadSignature(message.account)
        return
    try:
        by = signer(message, chain.trading_domain, signed.signature).lower()
    except errors.BusbarError:
        by = ""
    if by == message.account.lower():
        return
    if chain.node.request("eth_getCode", message.account, hex(head.number)) == "0x":
        raise errors.BadSignature(message.account)
    try:
        chain.read([call_of(signed)], head.number)
    except errors.ContractError as problem:
        told = f"the contract {message.account} did not sign it, or it cannot be done just now: {problem}"
        raise NotDoableError(told) from None


def token_domain(chain: Chain, asset: Asset) -> permits.TokenDomain:
    """Where permits of a token count.

    Raises:
        BusbarError: The token takes none.
    """
    token = _TOKENS[asset]
    _, name, version, chain_id, address, _, _ = chain.view(token, "eip712Domain")
    return permits.TokenDomain(name, version, chain_id, address)


def deadline_of(chain: Chain, signed: SignedMessage) -> int | None:
    """Chain time after which it cannot be done any more; None if it can for ever."""
    match signed.message:
        case CancelOrder():
            return chain.calendar.end(signed.message.epoch) - 1
        case Withdraw() | Permit():
            return signed.message.deadline
        case _:
            return None


# ------------------------------------------------------------------------------ what goes when


def turn(errands: Sequence[Errand], lowest: Mapping[str, int], failures: Mapping[str, int]) -> list[Errand]:
    """What is brought now: at most one of each account, since a second may depend on the first.

    An account's cancels go first, then its deposits, then its withdrawals by nonce. A withdrawal waits for orders
    with a lower nonce, which it would make worthless. Accounts take turns by who came first, and what failed before
    goes behind what failed less often.

    Args:
        errands: In order of acceptance.
        lowest: Lowest nonce of each account's orders that may enter now.
        failures: How often each was tried in vain, by key.
    """
    ranks = {kind: rank for rank, kind in enumerate(Kind)}
    chosen: dict[str, Errand] = {}
    for errand in sorted(errands, key=lambda errand: (ranks[errand.kind], errand.nonce)):
        waits = errand.kind is Kind.WITHDRAW and lowest.get(errand.account, errand.nonce) < errand.nonce
        if not waits:
            chosen.setdefault(errand.account, errand)
    going = {errand.key for errand in chosen.values()}
    return sorted((e for e in errands if e.key in going), key=lambda errand: failures.get(errand.key, 0))[:MOST]


def withdrawing(errands: Iterable[Errand]) -> dict[str, int]:
    """Lowest nonce by account of the withdrawals that wait: orders with a higher one come after it."""
    lowest: dict[str, int] = {}
    for errand in errands:
        if errand.kind is Kind.WITHDRAW:
            lowest[errand.account] = min(errand.nonce, lowest.get(errand.account, errand.nonce))
    return lowest


def cancelling(errands: Iterable[Errand]) -> dict[str, int]:
    """Nonce by account up to which these make messages worthless."""
    return {errand.account: errand.nonce for errand in errands if errand.kind is Kind.CANCEL_UP_TO}


def find(chain: Chain, errand: Errand, head: Head) -> tuple[str, int] | None:
    """Transaction and block in which an errand was done, by whomever; None if it was not."""
    mark = _mark(errand.signed)
    kinds = [("Trading", SHOWS[errand.kind])]
    for event in chain.events_paged(kinds, errand.seen, head.number, [errand.account]):
        if not _tells(event.args, errand.signed.message):
            continue
        sent = chain.node.request("eth_getTransactionByHash", event.tx_hash)
        if sent is not None and mark in bytes.fromhex(sent["input"][2:]):
            return event.tx_hash, event.block
    return None


def _tells(args: Mapping[str, Any], message: Message) -> bool:
    """Whether an event of the account tells what this message asks for."""
    match message:
        case CancelOrder():
            return (args["epoch"], args["index"]) == (message.epoch, message.index)
        case CancelUpTo():
            return bool(args["nonce"] == message.nonce)
        case Withdraw():
            done = (args["asset"], args["amountWei"], args["to"].lower())
            return done == (message.asset, message.amount_wei, message.to.lower())
        case Permit():
            return (args["asset"], args["amountWei"]) == (message.asset, message.amount_wei)


def _mark(signed: SignedMessage) -> bytes:
    """What of a signature stands in a transaction's input, in one piece."""
    if isinstance(signed.message, Permit):
        _, r, s = permits.split(signed.signature)
        return r + s
    return signed.signature
