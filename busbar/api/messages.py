"""What is signed and handed on, typed. Names inside a message are the signed message's own, as EIP-712 hashes them."""

from typing import Annotated, Any, Literal

from pydantic import Field

from busbar.api.context import MAX_EPOCH, AddressText
from busbar.api.shapes import Request, Shape
from busbar.signing import LAST_NONCE
from busbar.units import MAX_ORDER_WH, MAX_ORDERS, MAX_TICK, MIN_ORDER_WH, MIN_TICK
from busbar.wide import Wide

MOST_BUNDLES = 200
"""Bundles that are handed on together."""

Nonce = Annotated[int, Field(ge=0, le=LAST_NONCE, strict=True)]
Epoch = Annotated[int, Field(ge=0, le=MAX_EPOCH, strict=True)]
Number = Annotated[int, Field(ge=0, le=2**32 - 1, strict=True)]
Register = Annotated[int, Field(ge=0, le=2**48 - 1, strict=True, description="Cumulative, Wh")]
Word = Annotated[str, Field(pattern="^0x[0-9a-fA-F]{64}$", description="32 bytes")]


class OrderWish(Request):
    """An order to be signed."""

    side: Literal["buy", "sell"]
    tick: int = Field(ge=MIN_TICK, le=MAX_TICK, strict=True, description="Limit per kWh")
    quantity_wh: int = Field(ge=MIN_ORDER_WH, le=MAX_ORDER_WH, strict=True)
    until_epoch: Epoch | None = Field(
        None, description="Last epoch in which it may trade, if it shall stand beyond the first: at most 96 later"
    )


class OrdersWish(Request):
    """Orders that shall enter together. What is left out is filled in from the chain."""

    account: AddressText
    orders: list[OrderWish] = Field(min_length=1, max_length=MAX_ORDERS)
    nonce: Nonce | None = Field(None, description="The lowest that the account may still use, if left out")
    first_epoch: Epoch | None = Field(None, description="The open one, if left out")
    last_epoch: Epoch | None = Field(None, description="The first and the one after, if left out")


class CancelOrderWish(Request):
    """Takes an order back, by its id."""

    order_id: Wide = Field(ge=0, lt=2**256)


class CancelUpToWish(Request):
    """Makes all messages with this nonce or a lower one worthless."""

    account: AddressText
    nonce: Nonce


class WithdrawWish(Request):
    """Takes tokens out of the market. To somebody else's address it is a payment."""

    account: AddressText
    asset: Literal["energy", "money"]
    amount_wei: Wide = Field(gt=0, lt=2**256)
    to: AddressText | None = Field(None, description="The account's own wallet, if left out")
    nonce: Nonce | None = Field(None, description="The lowest that the account may still use, if left out")
    deadline: int | None = Field(
        None, ge=0, le=2**63 - 1, strict=True, description="Unix seconds; an hour from now, if left out"
    )


class DepositWish(Request):
    """Brings tokens from the account's wallet into the market, by the token's permit."""

    account: AddressText
    asset: Literal["energy", "money"]
    amount_wei: Wide = Field(gt=0, lt=2**256)
    nonce: int | None = Field(
        None, ge=0, le=2**63 - 1, strict=True, description="The token's next permit of the account, if left out"
    )
    deadline: int | None = Field(
        None, ge=0, le=2**63 - 1, strict=True, description="Unix seconds; an hour from now, if left out"
    )


class TypedField(Shape):
    """A member of a signed type."""

    name: str
    type: str


class TypedData(Shape):
    """What `eth_signTypedData_v4` takes. Numbers beyond 53 bits are decimal strings, which wallets read alike."""

    types: dict[str, list[TypedField]]
    primaryType: str  # noqa: N815  (EIP-712's name)
    domain: dict[str, str | int]
    message: dict[str, Any]


class ToSign(Shape):
    """A message to be signed by its account."""

    typed_data: TypedData
    digest: str = Field(description="The 32 bytes that are signed in the end")


class OrderMessage(Request):
    """An order, as it was signed."""

    action: Literal["buy", "sell"]
    energyWh: Number  # noqa: N815
    limitTicksPerKWh: Number  # noqa: N815
    untilEpoch: Number  # noqa: N815


class OrdersMessage(Request):
    """The message of `Orders`, as it was signed."""

    account: AddressText
    zone: Number
    source: Number
    nonce: Number
    firstEpoch: Number  # noqa: N815
    lastEpoch: Number  # noqa: N815
    orders: list[OrderMessage] = Field(min_length=1, max_length=MAX_ORDERS)


class SignedOrders(Request):
    """Orders under one signature."""

    message: OrdersMessage
    signature: str = Field(
        pattern="^0x([0-9a-fA-F]{2})*$",
        max_length=8_194,
        description="65 bytes as wallets give it, 64 in compact form, or what the account's contract takes",
    )


class SignedBundles(Request):
    """Orders of several accounts, or of one under several signatures."""

    bundles: list[SignedOrders] = Field(min_length=1, max_length=MOST_BUNDLES)


class SkipReason(Shape):
    """Why orders did not enter."""

    error: str = Field(description="The contract's error by name")
    detail: str


class BundleStatus(Shape):
    """What became of signed orders, as the relay tells."""

    id: str
    state: Literal["accepted", "sent", "entered", "skipped", "expired"]
    transaction: str | None = Field(None, description="That entered them")
    block: int | None = Field(None, description="Of that transaction")
    epoch: int | None = Field(None, description="In which the orders are")
    first_index: int | None = Field(None, description="Place of the first among the account's orders of the epoch")
    reason: SkipReason | None = None


class BundleShape(BundleStatus):
    """What became of signed orders."""

    follow: str = Field(description="Where this is asked for again")


class Refusal(Shape):
    """Why signed orders were not taken on: what a problem document would say."""

    status: int = Field(description="That they would be answered with alone: 422, or 429 for too many")
    type: str = Field(description="urn:busbar:error: and a contract's error or one of ours by name")
    title: str
    detail: str
    values: dict[str, str] = Field(default={}, description="A contract error's values by name")


class BundleAnswer(Shape):
    """What the relay says to one bundle of several: its status, or why it was not taken on."""

    taken: BundleStatus | None = None
    refused: Refusal | None = None


class BundleAnswers(Shape):
    """What the relay says to several bundles, in their order."""

    bundles: list[BundleAnswer]


class TakenBundle(Shape):
    """What became of one bundle of several: its status, or why it was not taken on."""

    taken: BundleShape | None = None
    refused: Refusal | None = None


class TakenBundles(Shape):
    """What became of several bundles, in the order in which they came."""

    bundles: list[TakenBundle]


class SignedReadingMessage(Request):
    """A meter's registers at the end of an interval, signed by its key: EIP-712, see docs/metering.md."""

    meterId: str = Field(pattern="^[!-~]{1,31}$")  # noqa: N815
    intervalEnd: int = Field(ge=0, le=2**32 - 1, strict=True, description="Unix seconds")  # noqa: N815
    importWh: Register  # noqa: N815
    exportWh: Register  # noqa: N815
    r: Word
    vs: Word = Field(description="s, in the lower half; for secp256k1 with the parity in the highest bit (EIP-2098)")
    publicKey: str | None = Field(  # noqa: N815
        None, pattern="^0x[0-9a-fA-F]{128}$", description="x and y, of a P-256 meter"
    )


class Parked(Shape):
    """Growth that was implausible and waits for a distributor."""

    id: int
    import_wh: int
    export_wh: int


class ReadingStatus(Shape):
    """What became of a reading, as the gateway tells."""

    id: str
    state: Literal["waiting", "submitted", "counted", "parked", "skipped"]
    transaction: str | None = Field(None, description="In which it counted; null if the gateway did not see it")
    block: int | None = Field(None, description="Of that transaction")
    parked: Parked | None = None
    reason: str | None = Field(None, description="Why the contract passed it over")


class TakenReading(ReadingStatus):
    """What became of a reading."""

    follow: str = Field(description="Where this is asked for again")
