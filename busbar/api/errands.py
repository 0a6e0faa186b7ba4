"""Cancels, withdrawals and deposits by signature, handed on to the relay. `typed-data` gives what is signed."""

import re
from typing import Annotated, Any, Literal

from fastapi import Path as InPath
from fastapi import Response
from pydantic import BeforeValidator, Field, WithJsonSchema

from busbar.api import operations
from busbar.api.context import AddressText
from busbar.api.messages import Number, SkipReason
from busbar.api.relayed import Relay, asked
from busbar.api.shapes import Request, Shape
from busbar.errands import Kind

router = operations.router("/errands", "signing")

_DIGITS = re.compile("[0-9]{1,78}", re.ASCII)


def _whole(value: Any) -> Any:
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError("must be a whole number, or one in decimal digits")


Whole = Annotated[
    int,
    Field(ge=0, lt=2**256),
    BeforeValidator(_whole),
    WithJsonSchema(
        {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": "^[0-9]{1,77}$"}]},
    ),
]
"""A number of a signed message, as `typed-data` gave it: a decimal string if it outgrows 53 bits."""

Deadline = Annotated[Whole, Field(lt=2**63, description="Last second in which it may be used, Unix")]
Signature = Annotated[
    str,
    Field(
        pattern="^0x([0-9a-fA-F]{2})+$",
        max_length=8_194,
        description="65 bytes as wallets give it, 64 in compact form, or what the account's contract takes",
    ),
]


class CancelOrderMessage(Request):
    """The message of `CancelOrder`, as it was signed."""

    account: AddressText
    epoch: Number
    index: Number
    action: Literal["buy", "sell"]
    energyWh: Number  # noqa: N815
    limitTicksPerKWh: Number  # noqa: N815


class CancelUpToMessage(Request):
    """The message of `CancelUpTo`, as it was signed."""

    account: AddressText
    nonce: Number


class WithdrawMessage(Request):
    """The message of `Withdraw`, as it was signed."""

    account: AddressText
    asset: Literal["energy", "money"]
    amountWei: Whole  # noqa: N815
    to: AddressText
    nonce: Number
    deadline: Deadline


class PermitMessage(Request):
    """The message of a token's `Permit`, as it was signed."""

    owner: AddressText
    spender: AddressText
    value: Whole
    nonce: Whole
    deadline: Deadline


class SignedCancelOrder(Request):
    """A signed cancel of an order."""

    message: CancelOrderMessage
    signature: Signature


class SignedCancelUpTo(Request):
    """A signed cancel of messages."""

    message: CancelUpToMessage
    signature: Signature


class SignedWithdrawal(Request):
    """A signed withdrawal."""

    message: WithdrawMessage
    signature: Signature


class SignedDeposit(Request):
    """A token's permit for the market, and which token's it is."""

    asset: Literal["energy", "money"]
    message: PermitMessage
    signature: Signature


class ErrandStatus(Shape):
    """What became of a signed message, as the relay tells."""

    id: str
    errand: Kind
    state: Literal["accepted", "sent", "done", "refused", "expired"]
    transaction: str | None = Field(None, description="That did it")
    block: int | None = Field(None, description="Of that transaction")
    reason: SkipReason | None = None


class ErrandShape(ErrandStatus):
    """What became of a signed message."""

    follow: str = Field(description="Where this is asked for again")


def shape(told: dict[str, Any]) -> ErrandShape:
    """What the relay tells of an errand, with where to ask again."""
    return ErrandShape(**told, follow=f"/api/v1/errands/status/{told['id']}")


async def hand_on(relay: Relay, kind: Kind, body: Request, response: Response) -> ErrandShape:
    """Hands a signed message to the relay.

    Raises:
        Problem: The relay refuses it, or does not answer.
    """
    taken = await asked(relay, shape, "POST", f"/errands/{kind}", body.model_dump(mode="json"))
    response.headers["Location"] = taken.follow
    return taken


@router.post("/cancel-order", status_code=202)
async def post_cancel_order(relay: Relay, body: SignedCancelOrder, response: Response) -> ErrandShape:
    """Hands a signed cancel of an order to the relay. `follow` says what became of it."""
    return await hand_on(relay, Kind.CANCEL_ORDER, body, response)


@router.post("/cancel-up-to", status_code=202)
async def post_cancel_up_to(relay: Relay, body: SignedCancelUpTo, response: Response) -> ErrandShape:
    """Hands a signed cancel of messages to the relay. It goes before any of them that wait there."""
    return await hand_on(relay, Kind.CANCEL_UP_TO, body, response)


@router.post("/withdraw", status_code=202)
async def post_withdrawal(relay: Relay, body: SignedWithdrawal, response: Response) -> ErrandShape:
    """Hands a signed withdrawal, or payment, to the relay. It comes after orders of a lower nonce."""
    return await hand_on(relay, Kind.WITHDRAW, body, response)


@router.post("/deposit", status_code=202)
async def post_deposit(relay: Relay, body: SignedDeposit, response: Response) -> ErrandShape:
    """Hands a token's permit to the relay, which brings the tokens into the market."""
    return await hand_on(relay, Kind.DEPOSIT, body, response)


@router.get("/status/{errand_id}")
async def errand(
    relay: Relay,
    errand_id: Annotated[str, InPath(pattern="^0x[0-9a-f]{72}$", description="Id of a message that was taken on")],
) -> ErrandShape:
    """What became of a signed message."""
    return await asked(relay, shape, "GET", f"/errands/{errand_id}")
