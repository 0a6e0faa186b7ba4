"""The tables that history is kept in: what each row says, in which unit, and which block brought it.

Every table but `people` and `once` is a function of the chain's blocks and can be made again from block zero. A row
belongs to the block in its column `block` and is deleted when that block turns out not to be the chain's; what happens
to a row later (an order is cancelled, say) stands in columns of its own beside the block it happened in. The sums in
`accounts` and `periods` are of the rows in `journal`.

`people` holds what never stands on the chain: names, e-mail addresses and places. Nothing else refers to it.
`once` holds hashes of signed requests of the last minutes, each of which counts once.
"""

from decimal import Decimal
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Index,
    Integer,
    MetaData,
    Numeric,
    String,
    Table,
    Text,
    TypeDecorator,
)
from sqlalchemy.types import TypeEngine

LAYOUT = 4
"""Number of this arrangement of tables. It grows with every change: an index of another one is made again."""

EXACT_DIGITS = 78
"""Decimal digits of the largest 256-bit integer."""


class Exact(TypeDecorator[int]):
    """An integer of up to 256 bits and its sign, exact everywhere: a decimal text in SQLite, NUMERIC elsewhere.

    SQLite's own integers end at 64 bits and turn into floating point beyond. Such a column is not summed or ordered
    by in SQL.
    """

    impl = Numeric
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Text for SQLite, NUMERIC(78, 0) for others."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(String(EXACT_DIGITS + 1))
        return dialect.type_descriptor(Numeric(EXACT_DIGITS, 0))

    def process_bind_param(self, value: int | None, dialect: Dialect) -> Any:
        """What goes into the database.

        Raises:
            OverflowError: The number has more than 256 bits.
        """
        if value is None:
            return None
        if abs(value) >= 1 << 256:
            raise OverflowError(f"{value} has more than 256 bits")
        return str(value) if dialect.name == "sqlite" else Decimal(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> int | None:  # noqa: ARG002  (its signature)
        """The integer that went in."""
        return None if value is None else int(value)


metadata = MetaData()
"""All tables."""

ADDRESS = String(42)
HASH = String(66)
METER_ID = String(66)  # as `meter_id_text` gives it


def _born() -> list[Column[Any]]:
    """Where a row comes from: block, place of the event in it, transaction."""
    return [
        Column("block", BigInteger, nullable=False, index=True),
        Column("log_index", Integer, nullable=False),
        Column("tx_hash", HASH, nullable=False),
    ]


def _event_key() -> list[Column[Any]]:
    """As `_born`, for tables with one row an event."""
    return [
        Column("block", BigInteger, primary_key=True),
        Column("log_index", Integer, primary_key=True),
        Column("tx_hash", HASH, nullable=False),
    ]


market = Table(
    "market",
    metadata,
    Column("chain_id", BigInteger, primary_key=True),
    Column("genesis_hash", HASH, nullable=False),
    Column("addresses", Text, nullable=False),  # JSON: contract to address
    Column("genesis", BigInteger, nullable=False),  # Unix seconds of epoch 0
    Column("epoch_seconds", BigInteger, nullable=False),
    Column("tick_wei", Exact, nullable=False),
    Column("layout", Integer, nullable=False),  # `LAYOUT` that these tables were made by
)
blocks = Table(
    "blocks",
    metadata,
    Column("number", BigInteger, primary_key=True),
    Column("hash", HASH, nullable=False, unique=True),
    Column("parent_hash", HASH, nullable=False),
    Column("timestamp", BigInteger, nullable=False),
    Column("epoch", BigInteger),  # null before the market's genesis
    Column("gas_used", BigInteger, nullable=False),
    Column("transactions", Integer, nullable=False),
)
events = Table(
    "events",
    metadata,
    Column("block", BigInteger, primary_key=True),
    Column("log_index", Integer, primary_key=True),
    Column("tx_hash", HASH, nullable=False, index=True),
    Column("contract", String(32), nullable=False),
    Column("name", String(64), nullable=False),
    Column("args", Text, nullable=False),  # JSON; bytes as 0x and hex digits
)
participants = Table(
    "participants",
    metadata,
    Column("account", ADDRESS, primary_key=True),
    Column("ref", HASH, nullable=False),
    *_born(),
)
standings = Table(  # every change of an account's status or zone
    "standings",
    metadata,
    Column("account", ADDRESS, nullable=False, index=True),
    Column("status", Integer, nullable=False),  # 1 active, 2 suspended
    Column("zone", Integer, nullable=False),
    *_event_key(),
)
zones = Table(  # every change of a zone
    "zones",
    metadata,
    Column("zone", Integer, nullable=False, index=True),
    Column("paused", Boolean, nullable=False),
    Column("order_cap", BigInteger, nullable=False),
    *_event_key(),
)
auto_retire = Table(  # every time an account switched it
    "auto_retire",
    metadata,
    Column("account", ADDRESS, nullable=False, index=True),
    Column("enabled", Boolean, nullable=False),
    *_event_key(),
)
meters = Table(
    "meters",
    metadata,
    Column("meter_id", METER_ID, primary_key=True),
    Column("account", ADDRESS, nullable=False, index=True),
    Column("kind", Integer, nullable=False),  # 1 prosumer, 2 consumer
    Column("source", Integer, nullable=False),
    Column("rated_import_w", BigInteger, nullable=False),
    Column("rated_export_w", BigInteger, nullable=False),
    *_born(),
)
meter_keys = Table(  # a meter's key from here on; none once it is revoked
    "meter_keys",
    metadata,
    Column("meter_id", METER_ID, nullable=False, index=True),
    Column("key", ADDRESS),
    Column("key_type", Integer),  # 0 secp256k1, 1 P-256
    *_event_key(),
)
readings = Table(  # registers as they were accepted, with their growth; a late reading has none
    "readings",
    metadata,
    Column("meter_id", METER_ID, nullable=False),
    Column("account", ADDRESS, nullable=False),
    Column("kind", String(8), nullable=False),  # reading; opened: a new start; final, late: of a replaced device
    Column("interval_end", BigInteger, nullable=False),
    Column("import_register_wh", BigInteger, nullable=False),
    Column("export_register_wh", BigInteger, nullable=False),
    Column("import_wh", BigInteger, nullable=False),
    Column("export_wh", BigInteger, nullable=False),
    *_event_key(),
    Index("readings_of_meter", "meter_id", "block", "log_index"),
    Index("readings_of_account", "account", "interval_end"),
)
parked = Table(
    "parked",
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("meter_id", METER_ID, nullable=False),
    Column("account", ADDRESS, nullable=False),
    Column("import_wh", BigInteger, nullable=False),
    Column("export_wh", BigInteger, nullable=False),
    *_born(),
    Column("decided_block", BigInteger),
    Column("decided_tx", HASH),
    Column("released", Boolean),
)
orders = Table(
    "orders",
    metadata,
    Column("epoch", BigInteger, primary_key=True),
    Column("account", ADDRESS, primary_key=True),
    Column("index", Integer, primary_key=True),
    Column("zone", Integer, nullable=False),
    Column("side", Integer, nullable=False),  # 0 bid, 1 ask
    Column("tick", Integer, nullable=False),
    Column("quantity_wh", BigInteger, nullable=False),
    Column("life", Integer, nullable=False),  # epochs it stands beyond its own; 0 for an order of one epoch
    Column("nonce", BigInteger),  # of the signed message it came in; null if its account sent it, or it was rolled
    Column("rolled", Boolean, nullable=False),  # whether it was left of earlier orders, and rolled into its epoch
    *_born(),
    Column("cancelled_block", BigInteger),
    Column("cancelled_tx", HASH),
    Column("ended_block", BigInteger),  # of a standing order that rested: where that ended before it expired
    Column("ended_tx", HASH),
    Column("ended", String(9)),  # rolled or cancelled
    Index("orders_of_zone", "zone", "epoch"),
    Index("orders_of_account", "account", "epoch"),
)
nonces = Table(  # messages used up: this nonce and every lower one of the account
    "nonces",
    metadata,
    Column("account", ADDRESS, nullable=False),
    Column("nonce", BigInteger, nullable=False),
    *_event_key(),
    Index("nonces_of_account", "account", "nonce"),
)
epochs = Table(  # cleared epochs
    "epochs",
    metadata,
    Column("zone", Integer, primary_key=True),
    Column("epoch", BigInteger, primary_key=True),
    Column("price2", Integer, nullable=False),  # half ticks per kWh; 0 if nothing traded
    Column("lower_tick", Integer, nullable=False),
    Column("upper_tick", Integer, nullable=False),
    Column("long_side", Integer, nullable=False),  # 0 neither, 1 bids, 2 asks
    Column("filled_wh", BigInteger, nullable=False),
    Column("offered_wh", BigInteger, nullable=False),
    Column("volume_wh", BigInteger, nullable=False),
    *_born(),
)
fills = Table(  # what each order traded; its transaction is the one that cleared
    "fills",
    metadata,
    Column("epoch", BigInteger, primary_key=True),
    Column("account", ADDRESS, primary_key=True),
    Column("index", Integer, primary_key=True),
    Column("zone", Integer, nullable=False),
    Column("side", Integer, nullable=False),
    Column("tick", Integer, nullable=False),
    Column("quantity_wh", BigInteger, nullable=False),
    Column("price2", Integer, nullable=False),
    Column("energy_uwh", BigInteger, nullable=False),
    Column("money_units", Exact, nullable=False),
    Column("order_tx", HASH, nullable=False),
    *_born(),
    Index("fills_of_account", "account", "epoch"),
)
journal = Table(  # every change of an account, by what it changes
    "journal",
    metadata,
    Column("block", BigInteger, primary_key=True),
    Column("log_index", Integer, primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("tx_hash", HASH, nullable=False),
    Column("account", ADDRESS, nullable=False),
    Column("kind", String(12), nullable=False),
    Column("epoch", BigInteger, nullable=False),  # of the order, or of the block
    Column("energy_free_uwh", BigInteger, nullable=False),
    Column("energy_escrow_uwh", BigInteger, nullable=False),
    Column("money_free_units", Exact, nullable=False),
    Column("money_escrow_units", Exact, nullable=False),
    Column("interval_end", BigInteger),  # of the reading it comes from, Unix seconds
    Column("period", BigInteger),  # settlement period of the import below
    Column("import_wh", BigInteger, nullable=False),
    Column("retired_wh", BigInteger, nullable=False),
    Index("journal_of_account", "account", "block", "log_index", "seq"),
)
accounts = Table(  # sums over the journal
    "accounts",
    metadata,
    Column("account", ADDRESS, primary_key=True),
    Column("energy_free_uwh", BigInteger, nullable=False),
    Column("energy_escrow_uwh", BigInteger, nullable=False),
    Column("money_free_units", Exact, nullable=False),
    Column("money_escrow_units", Exact, nullable=False),
)
periods = Table(  # sums over the journal: import and what was retired against it
    "periods",
    metadata,
    Column("account", ADDRESS, primary_key=True),
    Column("period", BigInteger, primary_key=True),
    Column("import_wh", BigInteger, nullable=False),
    Column("retired_wh", BigInteger, nullable=False),
)
supply = Table(  # GRID minted (positive) and burnt (negative)
    "supply",
    metadata,
    *_event_key(),
    Column("amount_wei", Exact, nullable=False),
    Column("total_wei", Exact, nullable=False),  # GRID in existence from here on
)
requests = Table(
    "requests",
    metadata,
    Column("request_id", HASH, primary_key=True),
    Column("requester", ADDRESS, nullable=False),
    Column("kind", Integer, nullable=False),  # 0 meter, 1 datum
    Column("subject", HASH, nullable=False),
    *_born(),
    Column("done_block", BigInteger),
    Column("done_tx", HASH),
    Column("fulfilled", Boolean),
    Column("data", Text),
)
answers = Table(  # what operators of the panel said to requests for data
    "answers",
    metadata,
    *_event_key(),
    Column("request_id", HASH, nullable=False),
    Column("operator", ADDRESS, nullable=False),
    Column("value", Exact, nullable=False),
    Index("answers_of_request", "request_id"),
    Index("answers_of_operator", "operator"),
)
outliers = Table(  # answers beyond the tolerance
    "outliers",
    metadata,
    *_event_key(),
    Column("request_id", HASH, nullable=False),
    Column("operator", ADDRESS, nullable=False),
    Index("outliers_of_operator", "operator"),
)
seats = Table(  # operators that joined the panel or left it
    "seats",
    metadata,
    *_event_key(),
    Column("operator", ADDRESS, nullable=False),
    Column("active", Boolean, nullable=False),
)
panels = Table(  # the panel's parameters from here on
    "panels",
    metadata,
    *_event_key(),
    Column("quorum", Integer, nullable=False),
    Column("tolerance_bp", Integer, nullable=False),
)
people = Table(
    "people",
    metadata,
    Column("account", ADDRESS, primary_key=True),
    Column("name", Text),
    Column("email", Text),
    Column("location", Text),
)

once = Table(  # requests that were carried out and count once, by hash, for as long as their signatures hold
    "once",
    metadata,
    Column("digest", HASH, primary_key=True),
    Column("expires", BigInteger, nullable=False, index=True),
)

FROM_CHAIN: tuple[Table, ...] = tuple(table for table in metadata.sorted_tables if table not in (people, once))
"""Tables made from the chain alone."""

LATER: tuple[tuple[Table, str, tuple[str, ...]], ...] = (
    (orders, "cancelled_block", ("cancelled_tx",)),
    (orders, "ended_block", ("ended_tx", "ended")),
    (parked, "decided_block", ("decided_tx", "released")),
    (requests, "done_block", ("done_tx", "fulfilled", "data")),
)
"""What happens to a row after its own block: table, block of it, and what else is said of it."""
