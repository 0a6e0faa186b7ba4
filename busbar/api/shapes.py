"""What is answered, typed: Wh are JSON numbers, `_uwh`, `_units`, `_wei` and ids of orders decimal strings."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from busbar.api.context import AddressText
from busbar.wide import Wide

_PRINTABLE = r"^[^\x00-\x1f\x7f]*$"


class Shape(BaseModel):
    """Base of all answers."""

    model_config = ConfigDict(frozen=True)


class Request(BaseModel):
    """Base of all bodies: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Contract(Shape):
    """A contract of the market."""

    name: str
    address: str


class RelayStatus(Shape):
    """How a relay is: which market it serves, what waits there, and how its last pass went."""

    version: str
    chain_id: int
    trading: str = Field(description="The market's Trading contract")
    payer: str = Field(description="Account that pays for gas")
    waiting: int = Field(description="Messages that wait for their turn")
    sent: int = Field(description="Messages in a transaction that is not known to be included")
    done: int = Field(description="Of the last seven days")
    refused: int
    expired: int
    turned_s: int = Field(description="Seconds since it last looked at the chain")
    problem: str | None = Field(description="What its last pass failed with; null if it came to its end")


class RelayHealth(Shape):
    """How the relay is that this server hands signed messages to."""

    state: Literal["working", "failing", "away"]
    waiting: int | None = Field(description="Messages there that are not done; null if it does not answer")
    turned_s: int | None = Field(description="Seconds since it last looked at the chain")


AGE_DESCRIPTION = (
    "Whole seconds, by the server's clock, since this server first saw its newest block: "
    "when they grow, the chain or the index stands still"
)


class Status(Shape):
    """What this server serves, and how far it is."""

    version: str
    chain_id: int
    block: int
    block_hash: str
    timestamp: int
    age_s: int = Field(description=AGE_DESCRIPTION)
    epoch: int
    epoch_ends_at: int
    genesis: int
    epoch_seconds: int
    tick_wei: Wide
    money_unit_wei: Wide
    contracts: list[Contract]
    node_block: int | None = Field(description="Newest block at the node; null if it does not answer")
    behind_blocks: int | None = Field(description="How far the index is behind the node")
    relay: RelayHealth | None = Field(description="Null if this server knows no relay")


class BlockShape(Shape):
    """A block, with what the market did in it."""

    number: int
    hash: str
    parent_hash: str
    timestamp: int
    epoch: int | None
    gas_used: int
    transactions: int
    events: int


class EventShape(Shape):
    """An event of a contract. Its values are as the contract's interface names them."""

    contract: str
    name: str
    log_index: int
    args: dict[str, Any]


class TransactionShape(Shape):
    """Where a transaction stands."""

    tx_hash: str
    status: Literal["pending", "included", "failed"]
    block: int | None
    indexed: bool = Field(description="Whether its block is in the index")
    events: list[EventShape]


class RawTransaction(Request):
    """A signed transaction of type 1 or 2, to one of the market's contracts."""

    raw: str = Field(pattern="^0x([0-9a-fA-F]{2})+$", max_length=262146)


class Accepted(Shape):
    """Something was taken in; `follow` says where it stands."""

    tx_hash: str
    follow: str


class OrderShape(Shape):
    """An order. `energy_uwh` and `money_units` are what it traded, once its epoch is cleared."""

    order_id: Wide
    account: str
    zone: int
    epoch: int
    index: int
    side: Literal["buy", "sell"]
    tick: int
    quantity_wh: int
    until_epoch: int = Field(description="Last epoch in which it may trade")
    rolled: bool = Field(description="Whether it is what was left of an earlier order")
    nonce: int | None = Field(
        description="Of the signed message it came in; null if its account sent it, or it was rolled"
    )
    status: Literal["open", "waiting", "cancelled", "filled", "partial", "unfilled"] = Field(
        description="In its epoch: of a standing order, `ended` tells what came of the rest"
    )
    energy_uwh: Wide
    money_units: Wide
    price2: int
    tx_hash: str
    cancel_tx: str | None
    clear_tx: str | None
    ended: Literal["rolled", "cancelled"] | None = Field(
        description="What became of the rest of a standing order; null while it rests, or once it has filled or expired"
    )
    ended_tx: str | None


class TickVolume(Shape):
    """Volume at one tick."""

    tick: int
    energy_wh: int


class CurveStep(Shape):
    """A step of a cumulative curve."""

    tick: int
    cumulative_wh: int


class ResultShape(Shape):
    """Outcome of an auction; all zero if nothing trades."""

    price2: int = Field(description="Price per kWh in half ticks; 0 without trade")
    lower_tick: int
    upper_tick: int
    long_side: Literal["neither", "bids", "asks"]
    filled_wh: int
    offered_wh: int
    volume_wh: int


class BookShape(Shape):
    """A zone's book in one epoch, and what it would clear at."""

    zone: int
    epoch: int
    open: bool
    orders: int
    bids: list[TickVolume]
    asks: list[TickVolume]
    indicative: ResultShape
    block: int


class EpochShape(Shape):
    """A cleared epoch."""

    zone: int
    epoch: int
    start: int
    end: int
    result: ResultShape
    cleared_block: int
    clear_tx: str


class EpochDetail(Shape):
    """An epoch with its curves, cleared or not."""

    zone: int
    epoch: int
    start: int
    end: int
    status: Literal["open", "waiting", "cleared", "empty"]
    result: ResultShape
    orders: int
    demand: list[CurveStep]
    supply: list[CurveStep]
    cleared_block: int | None
    clear_tx: str | None


class TradeShape(Shape):
    """An order's fill. Everyone trades with the book: there are no counterparties."""

    order_id: Wide
    account: str
    zone: int
    epoch: int
    time: int
    side: Literal["buy", "sell"]
    limit_tick: int
    quantity_wh: int
    price2: int
    energy_uwh: Wide
    money_units: Wide
    money_wei: Wide
    order_tx: str
    clear_tx: str


class StatShape(Shape):
    """Trade by epoch, hour, day, participant or zone."""

    key: str = Field(description="Epoch, zone, account, or start of the hour or day (Bangkok) as ISO 8601")
    epochs: int
    trades: int
    bought_uwh: Wide
    sold_uwh: Wide
    paid_units: Wide
    earned_units: Wide
    average_price2: int = Field(description="By volume, rounded down; 0 without trade")


class Stats(Shape):
    """Trade in a range of epochs."""

    by: str
    first_epoch: int
    last_epoch: int
    items: list[StatShape]
    block: int


class EnergyRow(Shape):
    """Metered energy of an epoch, hour or day. `covered_wh` of the import was covered by GRID, bought or one's own."""

    key: str = Field(description="Epoch, or start of the hour or day (Bangkok) as ISO 8601")
    import_wh: int
    export_wh: int
    covered_wh: int


class MeteredEnergy(Shape):
    """What all meters counted in a range of epochs."""

    by: str
    first_epoch: int
    last_epoch: int
    items: list[EnergyRow]
    block: int


class TariffStep(Shape):
    """Prices of the grid from an epoch on, before VAT; the ticks are rounded so that no trade inside them is a loss."""

    epoch: int
    start: int
    retail_uthb_per_kwh: int = Field(description="Energy charge and Ft, micro-THB per kWh")
    buyback_uthb_per_kwh: int = Field(description="What the utility pays for surplus, micro-THB per kWh")
    retail_tick: int
    buyback_tick: int


class TariffSteps(Shape):
    """How the grid's prices change in a range of epochs."""

    plan: str
    items: list[TariffStep]
    block: int


class Flow(Shape):
    """Energy from a seller to a buyer, as attributed."""

    seller: str
    buyer: str
    energy_wh: int


class Flows(Shape):
    """Who supplied whom in a range of epochs."""

    first_epoch: int
    last_epoch: int
    items: list[Flow]
    block: int


class ZoneShape(Shape):
    """A zone."""

    zone: int
    paused: bool
    order_cap: int
    waiting_epoch: int | None = Field(description="An ended epoch not cleared yet")


class GridStatus(Shape):
    """The market as a whole."""

    epoch: int
    participants: int
    meters: int
    zones: list[ZoneShape]
    grid_supply_wei: Wide
    parked_waiting: int
    requests_pending: int
    block: int


class AccountShape(Shape):
    """A participant. Nothing personal is shown here."""

    account: str
    status: Literal["unknown", "active", "suspended"]
    zone: int
    ref: str
    registered_block: int


class BalanceShape(Shape):
    """What an account holds and owes, as if settled now."""

    account: str
    energy_free_uwh: Wide
    energy_escrow_uwh: Wide
    money_free_units: Wide
    money_escrow_units: Wide
    money_free_wei: Wide
    import_current_wh: int
    import_previous_wh: int
    grid_import_wh: int
    auto_retire: bool
    nonce: int = Field(description="Lowest nonce that a signed message may still use")
    block: int


class JournalShape(Shape):
    """A line of an account's history: every change, by what it changes."""

    block: int
    log_index: int
    seq: int
    tx_hash: str
    kind: str
    epoch: int
    energy_free_uwh: Wide
    energy_escrow_uwh: Wide
    money_free_units: Wide
    money_escrow_units: Wide
    import_wh: int
    retired_wh: int


class MeterShape(Shape):
    """A meter."""

    meter_id: str
    account: str
    kind: Literal["prosumer", "consumer"]
    source: int
    rated_import_w: int
    rated_export_w: int
    key: str | None = Field(description="Address of its present key; null if it is revoked")
    key_type: Literal["secp256k1", "P-256"] | None
    interval_end: int | None
    import_register_wh: int | None
    export_register_wh: int | None


class ReadingShape(Shape):
    """Registers that counted, with their growth."""

    meter_id: str
    account: str
    kind: Literal["reading", "opened", "final", "late"]
    interval_end: int
    import_register_wh: int
    export_register_wh: int
    import_wh: int
    export_wh: int
    block: int
    tx_hash: str


class OracleRequest(Shape):
    """A request for data."""

    request_id: str
    requester: str
    kind: Literal["meter", "datum"]
    subject: str
    status: Literal["pending", "fulfilled", "timed out"]
    block: int
    tx_hash: str
    done_tx: str | None
    data: str | None


class Amount(Request):
    """What to move: wei of GRID (energy) or of the quote token (money)."""

    asset: Literal["energy", "money"]
    amount_wei: Wide = Field(gt=0, lt=2**256)


class Transfer(Amount):
    """As `Amount`, from wallet to wallet."""

    to: AddressText


class Payload(Shape):
    """A transaction to sign, as wallets take it. Numbers are decimal strings where they may be large."""

    chain_id: int
    sender: str
    to: str
    data: str
    value: Wide
    nonce: int
    gas: int
    max_fee_per_gas: Wide
    max_priority_fee_per_gas: Wide
    type: Literal[2]


class Payloads(Shape):
    """Transactions to sign and send, in this order."""

    transactions: list[Payload]
    then: str = Field(description="Where signed ones go")


class PersonRequest(Request):
    """What is to be known of somebody, here and nowhere on the chain."""

    account: AddressText
    name: str | None = Field(default=None, max_length=200, pattern=_PRINTABLE)
    email: str | None = Field(default=None, max_length=254, pattern=r"^[!-?A-~]{1,64}@[!-?A-~]{1,189}$")
    location: str | None = Field(default=None, max_length=400, pattern=_PRINTABLE)


class PersonShape(Shape):
    """What is known of somebody."""

    account: str
    name: str | None
    email: str | None
    location: str | None
