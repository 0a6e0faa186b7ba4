"""Contract events into SQL: follows the chain, goes back when the chain does, and can be made again from block zero.

Whatever is in the database is a function of the chain's blocks, in order; see `busbar.tables`. A batch of blocks with
all that follows from it is written in one transaction, so a process stopped at any moment goes on where the last
batch ended, and doing a batch twice is not possible. The hashes of all blocks are kept: if the newest is no longer
the chain's, everything after the last common block is taken back first.

Two indexers must not write into one database at a time; the second fails at its first write.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import (
    URL,
    BigInteger,
    ColumnElement,
    Connection,
    CursorResult,
    Engine,
    Select,
    Table,
    bindparam,
    create_engine,
    delete,
    event,
    func,
    insert,
    make_url,
    select,
    true,
    update,
)
from sqlalchemy.exc import IntegrityError, OperationalError, SQLAlchemyError
from sqlalchemy.pool import StaticPool

from busbar import errors, metrics, panel, tables
from busbar.chain import Chain, Event
from busbar.clearing import LongSide, Result, clear, escrow, fill, histogram, remainder, settle
from busbar.deployment import genesis_hash
from busbar.orders import Order, Side
from busbar.readings import meter_id_text
from busbar.signing import EnteredBundle, unpack_orders
from busbar.units import (
    ENERGY_UNIT_WEI,
    ENERGY_UNITS_PER_WH,
    GRACE_EPOCHS,
    MAX_LIFE,
    MIN_ORDER_WH,
    PERIOD_EPOCHS,
    Asset,
    Calendar,
    Money,
)

BATCH_BLOCKS = 500
"""Most blocks to a transaction."""

AT_A_TIME = 500
"""Accounts looked up at a time."""

REWIND_BLOCKS = 200
"""Hashes compared at a time when looking for the last common block."""

LATE = "late"
"""Kind of a reading of a replaced device: its energy is in the final registers already."""

ZERO_ADDRESS = "0x0000000000000000000000000000000000000000"


class HistoryError(errors.BusbarError):
    """The database cannot be used for this market, or cannot be reached. The message says what to do."""


class DatabaseError(HistoryError):
    """The database does not take what is written: it is gone, full, or somebody else's for too long."""

    remedy = errors.Remedy.RETRY


class Difference(NamedTuple):
    """Something that the database and the chain say differently."""

    what: str
    database: str
    chain: str


def open_database(url: str) -> Engine:
    """A database, its tables made if missing: `sqlite:///file`, `sqlite://` in memory, or `postgresql+psycopg://...`.

    Raises:
        HistoryError: There is no such database, or it does not answer.
    """
    try:
        # As many connections as a server has threads that may ask at a time.
        pool: dict[str, Any] = {"pool_size": 20, "max_overflow": 20}
        ours = url.startswith("sqlite")
        options = {"poolclass": StaticPool} if ours and not in_file(make_url(url)) else pool
        engine = create_engine(url, pool_pre_ping=not ours, **options)
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", _prepare_sqlite)
        tables.metadata.create_all(engine)
    except (SQLAlchemyError, ImportError) as problem:
        raise HistoryError(f"the database does not open: {str(problem).splitlines()[0]}") from None
    return engine


def in_file(url: URL) -> bool:
    """Whether a database is a file of this machine: neither in memory nor at a server."""
    return url.get_backend_name() == "sqlite" and url.database not in (None, "", ":memory:")


def open_index(url: str) -> Engine:
    """As `open_database`, for who reads: an index that is not there is not made.

    Raises:
        HistoryError: There is no such database, or it does not answer.
    """
    missing = _missing(url)
    if missing is not None:
        raise HistoryError(f"{missing} is missing: run `busbar index` first")
    return open_database(url)


@contextmanager
def snapshot(engine: Engine) -> Iterator[Connection]:
    """A database as it is at one moment, whatever is written meanwhile, for who reads more than once."""
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        elif not isinstance(engine.pool, StaticPool):
            # Python's driver of SQLite begins a transaction for what writes alone.
            connection.exec_driver_sql("BEGIN")
        yield connection


def _missing(url: str) -> str | None:
    """The file that a database would be in, if it is not there."""
    try:
        database = make_url(url)
    except SQLAlchemyError as problem:
        raise HistoryError(f"the database does not open: {str(problem).splitlines()[0]}") from None
    file = database.database if database.get_backend_name() == "sqlite" else None
    return file if file and not Path(file).is_file() else None


def _prepare_sqlite(connection: Any, _: Any) -> None:
    cursor = connection.cursor()
    # Readers do not wait for the writer, and a writer waits for another one for a while.
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA busy_timeout=10000")
    # What is deleted is overwritten: somebody's name does not stay behind in the file.
    cursor.execute("PRAGMA secure_delete=ON")
    cursor.close()


def indexed_block(chain: Chain, url: str) -> int:
    """Newest block in a market's index; an index that is not there is not made.

    Raises:
        HistoryError: There is no index, it is empty, it does not answer, or it holds another market.
    """
    missing = _missing(url)
    if missing is not None:
        raise HistoryError(f"{missing} is missing")
    try:
        engine = create_engine(url)
        with engine.connect() as connection:
            held = connection.execute(select(tables.market)).mappings().one_or_none()
            head = head_of(connection)
        engine.dispose()
    except (SQLAlchemyError, ImportError) as problem:
        raise HistoryError(f"the database does not answer: {str(problem).splitlines()[0]}") from None
    if held is None or head is None:
        raise HistoryError("nothing is indexed yet")
    if dict(held) != _identity(chain):
        raise HistoryError("the database holds another market")
    return head.number


def _identity(chain: Chain) -> dict[str, Any]:
    return {
        "chain_id": chain.chain_id,
        "genesis_hash": genesis_hash(chain),
        "addresses": json.dumps(chain.addresses, sort_keys=True),
        "genesis": chain.calendar.genesis,
        "epoch_seconds": chain.calendar.epoch_seconds,
        "tick_wei": chain.money.tick_wei,
        "layout": tables.LAYOUT,
    }


class History:
    """One market's history in a database.

    Args:
        chain: The market.
        engine: Where to, of `open_database`.

    Raises:
        HistoryError: The database holds another market, or another chain.
    """

    def __init__(self, chain: Chain, engine: Engine) -> None:
        self.chain = chain
        self.engine = engine
        identity = _identity(chain)
        try:
            with engine.begin() as connection:
                held = connection.execute(select(tables.market)).mappings().one_or_none()
                if held is None:
                    connection.execute(insert(tables.market), identity)
        except SQLAlchemyError as problem:
            reason = str(problem).splitlines()[0]
            raise HistoryError(
                f"the database cannot be used ({reason}): if another version made it, index with --rebuild"
            ) from None
        if held is not None and dict(held) != identity:
            raise HistoryError("the database holds another market: name another one, or index with --rebuild")

    @staticmethod
    def forget(engine: Engine) -> None:
        """Removes everything that came from the chain. What is known of people stays."""
        tables.metadata.drop_all(engine, tables=tables.FROM_CHAIN)
        tables.metadata.create_all(engine)

    def step(self) -> int:
        """Goes on to the newest block, and returns how many blocks that took.

        Raises:
            HistoryError: Somebody else writes into the database.
            DatabaseError: The database does not answer; the batch under way was not written.
        """
        try:
            return self._follow()
        except OperationalError as problem:
            raise DatabaseError(f"the database does not answer: {str(problem.orig).splitlines()[0]}") from None

    def _follow(self) -> int:
        done = 0
        while True:
            head = self.chain.head().number
            with self.engine.connect() as connection:
                last = self._common(connection, head)
            self._roll_back(last)
            metrics.INDEXED.set(last)
            if last >= head:
                return done
            batch = self._fetch(last + 1, min(last + BATCH_BLOCKS, head))
            if batch is None:
                return done  # the chain changed while it was read: the next step looks again
            self._write(batch)
            done += len(batch.blocks)

    def _common(self, connection: Connection, head: int) -> int:
        """The newest block that database and chain have in common; -1 if there is none."""
        top = connection.scalar(select(func.max(tables.blocks.c.number)))
        last = -1 if top is None else min(int(top), head)
        size = 1  # nearly always the newest is the chain's
        while last >= 0:
            first = max(0, last - size + 1)
            wanted = range(last, first - 1, -1)
            b = tables.blocks
            rows = connection.execute(select(b.c.number, b.c.hash).where(b.c.number.between(first, last)))
            kept = {row.number: row.hash for row in rows}
            headers = self.chain.node.batch([("eth_getBlockByNumber", [hex(n), False]) for n in wanted])
            for number, header in zip(wanted, headers, strict=True):
                if isinstance(header, dict) and header["hash"] == kept.get(number):
                    return number
            last, size = first - 1, REWIND_BLOCKS
        return -1

    def _roll_back(self, to: int) -> None:
        """Takes back every block after `to`."""
        with self.engine.begin() as connection:
            gone = connection.execute(delete(tables.blocks).where(tables.blocks.c.number > to)).rowcount
            if gone:
                take_back(connection, to)

    def _fetch(self, first: int, last: int) -> "_Batch | None":
        """Blocks and events of a range, all of one chain; None if the chain changed meanwhile."""
        node = self.chain.node
        headers = node.batch([("eth_getBlockByNumber", [hex(n), False]) for n in range(first, last + 1)])
        logs = node.request(
            "eth_getLogs",
            {"address": list(self.chain.addresses.values()), "fromBlock": hex(first), "toBlock": hex(last)},
        )
        if not all(isinstance(header, dict) for header in headers):
            return None
        hashes = {int(header["number"], 16): header["hash"] for header in headers}
        linked = all(header["parentHash"] == before["hash"] for before, header in pairwise(headers))
        if not linked or any(log["blockHash"] != hashes.get(int(log["blockNumber"], 16)) for log in logs):
            return None
        with self.engine.connect() as connection:
            before = connection.scalar(select(tables.blocks.c.hash).where(tables.blocks.c.number == first - 1))
        if before is not None and before != headers[0]["parentHash"]:
            return None
        found = sorted(self.chain.decode_logs(logs), key=lambda e: (e.block, e.log_index))
        return _Batch([self._block_row(header) for header in headers], found)

    def _block_row(self, header: Mapping[str, Any]) -> dict[str, Any]:
        timestamp, calendar = int(header["timestamp"], 16), self.chain.calendar
        return {
            "number": int(header["number"], 16),
            "hash": header["hash"],
            "parent_hash": header["parentHash"],
            "timestamp": timestamp,
            "epoch": calendar.epoch_at(timestamp) if timestamp >= calendar.genesis else None,
            "gas_used": int(header["gasUsed"], 16),
            "transactions": len(header["transactions"]),
        }

    def _write(self, batch: "_Batch") -> None:
        try:
            with self.engine.begin() as connection:
                connection.execute(insert(tables.blocks), batch.blocks)
                writer = _Writer(connection, self.chain.money, batch.blocks)
                for found in batch.events:
                    writer.apply(found)
                writer.finish()
        except IntegrityError as problem:
            reason = str(problem.orig).splitlines()[0]
            raise HistoryError(f"the database refused a row ({reason}): does another indexer write to it?") from None


@dataclass(frozen=True, slots=True)
class _Batch:
    blocks: list[dict[str, Any]]
    events: list[Event]


def take_back(connection: Connection, to: int) -> None:
    """Removes everything that blocks after `to` brought, but the blocks themselves."""
    journal = tables.journal
    touched = connection.scalars(select(journal.c.account).where(journal.c.block > to).distinct()).all()
    for table in tables.FROM_CHAIN:
        if "block" in table.c:
            connection.execute(delete(table).where(table.c.block > to))
    for table, column, others in tables.LATER:
        gone = dict.fromkeys((column, *others))
        connection.execute(update(table).where(table.c[column] > to).values(gone))
    for account in touched:
        for table in (tables.accounts, tables.periods):
            connection.execute(delete(table).where(table.c.account == account))
        rows = connection.execute(select(journal).where(journal.c.account == account)).mappings()
        sums = _Sums()
        for row in rows:
            sums.add(dict(row))
        sums.write(connection)


# ------------------------------------------------------------------------------ from events to rows

BALANCES = ("energy_free_uwh", "energy_escrow_uwh", "money_free_units", "money_escrow_units")
"""What an account holds."""
LEDGER = ("import_wh", "retired_wh")
"""What an account owes and has covered, by settlement period."""


@dataclass(slots=True)
class _Sums:
    """What journal rows add up to."""

    accounts: dict[str, dict[str, int]] = field(default_factory=lambda: defaultdict(lambda: dict.fromkeys(BALANCES, 0)))
    periods: dict[tuple[str, int], dict[str, int]] = field(
        default_factory=lambda: defaultdict(lambda: dict.fromkeys(LEDGER, 0))
    )

    def add(self, row: Mapping[str, Any]) -> None:
        account = self.accounts[row["account"]]
        for name in BALANCES:
            account[name] += row[name]
        if row["period"] is not None:
            period = self.periods[(row["account"], row["period"])]
            for name in LEDGER:
                period[name] += row[name]

    def write(self, connection: Connection) -> None:
        """Adds the sums to what the tables hold."""
        self._add(connection, tables.accounts, BALANCES, {(account,): sums for account, sums in self.accounts.items()})
        self._add(connection, tables.periods, LEDGER, self.periods)

    @staticmethod
    def _add(
        connection: Connection, table: Table, names: Sequence[str], sums: Mapping[tuple[Any, ...], dict[str, int]]
    ) -> None:
        keys = list(table.primary_key.columns)
        accounts = sorted({key[0] for key in sums})
        held: dict[tuple[Any, ...], Mapping[str, Any]] = {}
        for start in range(0, len(accounts), AT_A_TIME):
            query = select(table).where(table.c.account.in_(accounts[start : start + AT_A_TIME]))
            for row in connection.execute(query).mappings():
                held[tuple(row[key.name] for key in keys)] = dict(row)
        new, changed = [], []
        for key, values in sums.items():
            here = {column.name: value for column, value in zip(keys, key, strict=True)}
            if key in held:
                total = {f"new_{name}": held[key][name] + values[name] for name in names}
                changed.append({f"at_{name}": value for name, value in here.items()} | total)
            else:
                new.append(here | values)
        if changed:
            there = [column == bindparam(f"at_{column.name}") for column in keys]
            totals: dict[str, Any] = {name: bindparam(f"new_{name}") for name in names}
            connection.execute(update(table).where(*there).values(totals), changed)
        if new:
            connection.execute(insert(table), new)


class _Writer:
    """Turns the events of one batch into rows."""

    def __init__(self, connection: Connection, money: Money, blocks: Iterable[Mapping[str, Any]]) -> None:
        self.connection = connection
        self.money = money
        self.epochs: dict[int, int] = {row["number"]: row["epoch"] for row in blocks}
        self.rows: dict[Table, list[dict[str, Any]]] = defaultdict(list)
        self.updates: list[Any] = []
        self.sums = _Sums()
        self.owners: dict[str, str] = {}
        self.registers: dict[str, tuple[int, int, int]] = {}
        self.parked: dict[int, dict[str, Any]] = {}
        self.grown: dict[str, int] = {}
        self.books: dict[tuple[int, int], dict[tuple[str, int], dict[str, Any]]] = {}
        self.newest: dict[str, tuple[int, int]] = {}
        self.results: dict[tuple[int, int], Result] = {}
        self.supply_wei: int | None = None
        self.seq = 0

    def apply(self, found: Event) -> None:
        self.rows[tables.events].append(
            _origin(found)
            | {"contract": found.contract, "name": found.name, "args": json.dumps(found.args, default=_hex)}
        )
        self.seq = 0
        handler = _HANDLERS.get((found.contract, found.name))
        if handler is not None:
            handler(self, found, found.args)

    def finish(self) -> None:
        """Writes everything."""
        for table, rows in self.rows.items():
            self.connection.execute(insert(table), rows)
        for statement in self.updates:
            self.connection.execute(statement)
        self.sums.write(self.connection)

    # ---- what is known already

    def owner(self, meter_id: str) -> str:
        if meter_id not in self.owners:
            meters = tables.meters
            self.owners[meter_id] = self.connection.execute(
                select(meters.c.account).where(meters.c.meter_id == meter_id)
            ).scalar_one()
        return self.owners[meter_id]

    def register(self, meter_id: str) -> tuple[int, int, int]:
        """End of the newest interval, import and export register."""
        if meter_id not in self.registers:
            r = tables.readings
            row = self.connection.execute(
                select(r.c.interval_end, r.c.import_register_wh, r.c.export_register_wh)
                .where(r.c.meter_id == meter_id, r.c.kind != LATE)
                .order_by(r.c.block.desc(), r.c.log_index.desc())
                .limit(1)
            ).one()
            self.registers[meter_id] = (row[0], row[1], row[2])
        return self.registers[meter_id]

    def book(self, zone: int, epoch: int) -> dict[tuple[str, int], dict[str, Any]]:
        """Orders of an epoch by account and index, cancelled ones included."""
        if (zone, epoch) not in self.books:
            o = tables.orders
            rows = self.connection.execute(select(o).where(o.c.zone == zone, o.c.epoch == epoch)).mappings()
            self.books[(zone, epoch)] = {(row["account"], row["index"]): dict(row) for row in rows}
        return self.books[(zone, epoch)]

    def note(self, found: Event, account: str, kind: str, **values: int) -> None:
        """A line of the journal."""
        row: dict[str, Any] = dict.fromkeys((*BALANCES, *LEDGER), 0)
        row |= {
            "account": account,
            "kind": kind,
            "seq": self.seq,
            "interval_end": None,
            "period": None,
            "epoch": self.epochs[found.block],
        }
        row |= _origin(found) | values
        self.seq += 1
        self.rows[tables.journal].append(row)
        self.sums.add(row)

    # ---- registry

    def registered(self, found: Event, args: Mapping[str, Any]) -> None:
        row = {"account": args["account"], "ref": _hex(args["ref"])}
        self.rows[tables.participants].append(_origin(found) | row)

    def account_set(self, found: Event, args: Mapping[str, Any]) -> None:
        self.rows[tables.standings].append(_origin(found) | dict(args))

    def zone_set(self, found: Event, args: Mapping[str, Any]) -> None:
        row = {"zone": args["zone"], "paused": args["paused"], "order_cap": args["orderCap"]}
        self.rows[tables.zones].append(_origin(found) | row)

    def auto_retire_set(self, found: Event, args: Mapping[str, Any]) -> None:
        self.rows[tables.auto_retire].append(_origin(found) | dict(args))

    def meter_assigned(self, found: Event, args: Mapping[str, Any]) -> None:
        meter_id, config = meter_id_text(args["meterId"]), args["config"]
        self.owners[meter_id] = args["owner"]
        row = {
            "meter_id": meter_id,
            "account": args["owner"],
            "kind": config["kind"],
            "source": config["source"],
            "rated_import_w": config["ratedImportW"],
            "rated_export_w": config["ratedExportW"],
        }
        self.rows[tables.meters].append(_origin(found) | row)
        self.meter_key(found, meter_id, config["key"], config["keyType"])

    def meter_replaced(self, found: Event, args: Mapping[str, Any]) -> None:
        meter_id = meter_id_text(args["meterId"])
        self.meter_key(found, meter_id, args["newKey"], args["newKeyType"])
        self.grow(found, "final", meter_id, self.register(meter_id)[0], args["finalImportWh"], args["finalExportWh"])

    def meter_revoked(self, found: Event, args: Mapping[str, Any]) -> None:
        self.meter_key(found, meter_id_text(args["meterId"]), None, None)

    def meter_key(self, found: Event, meter_id: str, key: str | None, key_type: int | None) -> None:
        row = {"meter_id": meter_id, "key": key, "key_type": key_type}
        self.rows[tables.meter_keys].append(_origin(found) | row)

    # ---- metering

    def register_opened(self, found: Event, args: Mapping[str, Any]) -> None:
        meter_id = meter_id_text(args["meterId"])
        self.registers[meter_id] = (args["openedAt"], args["importWh"], args["exportWh"])
        self.reading_row(found, "opened", meter_id, self.registers[meter_id], 0, 0)

    def reading_accepted(self, found: Event, args: Mapping[str, Any]) -> None:
        meter_id = meter_id_text(args["meterId"])
        self.grow(found, "reading", meter_id, args["intervalEnd"], args["importWh"], args["exportWh"])

    def grow(self, found: Event, kind: str, meter_id: str, end: int, import_wh: int, export_wh: int) -> None:
        _, import_before_wh, export_before_wh = self.register(meter_id)
        self.registers[meter_id] = (end, import_wh, export_wh)
        self.grown[meter_id] = end
        grown = (import_wh - import_before_wh, export_wh - export_before_wh)
        self.reading_row(found, kind, meter_id, self.registers[meter_id], *grown)
        self.meter(found, meter_id, *grown)

    def late_reading(self, found: Event, args: Mapping[str, Any]) -> None:
        register = (args["intervalEnd"], args["importWh"], args["exportWh"])
        self.reading_row(found, LATE, meter_id_text(args["meterId"]), register, 0, 0)

    def reading_row(
        self, found: Event, kind: str, meter_id: str, register: tuple[int, int, int], import_wh: int, export_wh: int
    ) -> None:
        end, import_register_wh, export_register_wh = register
        row = {
            "meter_id": meter_id,
            "account": self.owner(meter_id),
            "kind": kind,
            "interval_end": end,
            "import_register_wh": import_register_wh,
            "export_register_wh": export_register_wh,
            "import_wh": import_wh,
            "export_wh": export_wh,
        }
        self.rows[tables.readings].append(_origin(found) | row)

    def meter(
        self, found: Event, meter_id: str, import_wh: int, export_wh: int, kind: str = "metered", end: int | None = None
    ) -> None:
        """Metered energy: export is GRID, import is owed for the settlement period of its acceptance."""
        if not import_wh and not export_wh:
            return
        self.note(
            found,
            self.owner(meter_id),
            kind,
            interval_end=self.register(meter_id)[0] if end is None else end,
            energy_free_uwh=export_wh * ENERGY_UNITS_PER_WH,
            period=self.epochs[found.block] // PERIOD_EPOCHS,
            import_wh=import_wh,
        )

    def growth_parked(self, found: Event, args: Mapping[str, Any]) -> None:
        row = {
            "id": args["id"],
            "meter_id": meter_id_text(args["meterId"]),
            "account": args["owner"],
            "import_wh": args["importWh"],
            "export_wh": args["exportWh"],
        }
        self.parked[args["id"]] = row
        self.rows[tables.parked].append(
            _origin(found) | row | {"decided_block": None, "decided_tx": None, "released": None}
        )
        # The growth was booked by an event before, in the same transaction: it is taken back where it was booked, even
        # though a replaced meter's register begins later.
        end = self.grown[row["meter_id"]]
        self.meter(found, row["meter_id"], -args["importWh"], -args["exportWh"], "parked", end)

    def parked_released(self, found: Event, args: Mapping[str, Any]) -> None:
        p = tables.parked
        if args["id"] not in self.parked:
            row = self.connection.execute(select(p).where(p.c.id == args["id"])).mappings().one()
            self.parked[args["id"]] = dict(row)
        waiting = self.parked[args["id"]]
        self.meter(found, waiting["meter_id"], waiting["import_wh"], waiting["export_wh"], "released")
        self.decided(found, args["id"], released=True)

    def parked_rejected(self, found: Event, args: Mapping[str, Any]) -> None:
        self.decided(found, args["id"], released=False)

    def decided(self, found: Event, parked_id: int, *, released: bool) -> None:
        p = tables.parked
        values = {"decided_block": found.block, "decided_tx": found.tx_hash, "released": released}
        self.updates.append(update(p).where(p.c.id == parked_id).values(values))

    def retired(self, found: Event, args: Mapping[str, Any]) -> None:
        period = self.epochs[found.block] // PERIOD_EPOCHS
        kind = "retired_out" if args["fromWallet"] else "retired"
        for of, energy_wh in ((period - 1, args["previousWh"]), (period, args["currentWh"])):
            if energy_wh:
                taken_uwh = 0 if args["fromWallet"] else -energy_wh * ENERGY_UNITS_PER_WH
                self.note(found, args["account"], kind, energy_free_uwh=taken_uwh, period=of, retired_wh=energy_wh)

    def surrendered(self, found: Event, args: Mapping[str, Any]) -> None:
        energy_uwh = args["energyWh"] * ENERGY_UNITS_PER_WH
        self.note(found, args["account"], "surrendered", energy_free_uwh=-energy_uwh)

    def minted(self, found: Event, args: Mapping[str, Any]) -> None:
        self.supplied(found, args["amount"])

    def transferred(self, found: Event, args: Mapping[str, Any]) -> None:
        if args["to"] == ZERO_ADDRESS:
            self.supplied(found, -args["value"])

    def supplied(self, found: Event, amount_wei: int) -> None:
        if self.supply_wei is None:
            self.supply_wei = grid_supply_wei(self.connection)
        self.supply_wei += amount_wei
        row = {"amount_wei": amount_wei, "total_wei": self.supply_wei}
        self.rows[tables.supply].append(_origin(found) | row)

    # ---- trading

    def deposited(self, found: Event, args: Mapping[str, Any]) -> None:
        self.moved(found, args, "deposited", 1)

    def withdrawn(self, found: Event, args: Mapping[str, Any]) -> None:
        self.moved(found, args, "withdrawn", -1)

    def moved(self, found: Event, args: Mapping[str, Any], kind: str, sign: int) -> None:
        if args["asset"] == Asset.ENERGY:
            self.note(found, args["account"], kind, energy_free_uwh=sign * (args["amountWei"] // ENERGY_UNIT_WEI))
        else:
            self.note(found, args["account"], kind, money_free_units=sign * self.money.from_wei(args["amountWei"]))

    def orders_entered(self, found: Event, args: Mapping[str, Any]) -> None:
        orders = [Order.unpack(packed) for packed in args["orders"]]
        self.entered(found, args["account"], args["epoch"], args["zone"], args["firstIndex"], orders, None)

    def bundle_entered(self, found: Event, args: Mapping[str, Any]) -> None:
        e = EnteredBundle.from_event(args)
        self.nonce(found, e.account, e.nonce)
        self.entered(found, e.account, e.epoch, e.zone, e.first_index, e.orders, e.nonce)

    def nonce_used(self, found: Event, args: Mapping[str, Any]) -> None:
        self.nonce(found, args["account"], args["nonce"])

    def nonce(self, found: Event, account: str, nonce: int) -> None:
        self.rows[tables.nonces].append(_origin(found) | {"account": account, "nonce": nonce})

    def entered(
        self,
        found: Event,
        account: str,
        epoch: int,
        zone: int,
        first_index: int,
        orders: Sequence[Order],
        nonce: int | None,
        *,
        rolled: bool = False,
    ) -> None:
        book = self.book(zone, epoch)
        self.newest[account] = (zone, epoch)
        for place, order in enumerate(orders, start=first_index):
            row = {
                "epoch": epoch,
                "account": account,
                "index": place,
                "zone": zone,
                "side": int(order.side),
                "tick": order.tick,
                "quantity_wh": order.quantity_wh,
                "life": order.life,
                "nonce": nonce,
                "rolled": rolled,
                "cancelled_block": None,
                "cancelled_tx": None,
                "ended_block": None,
                "ended_tx": None,
                "ended": None,
            }
            row |= _origin(found)
            book[(account, place)] = row
            self.rows[tables.orders].append(dict(row))
            self.lock(found, "rolled" if rolled else "ordered", row, 1)

    def orders_rolled(self, found: Event, args: Mapping[str, Any]) -> None:
        account, zone, epoch = args["account"], args["zone"], args["epoch"]
        before = self.newest_of(account)
        if before not in self.results:
            self.results[before] = result_of(self.connection, *before)
        for row in self.book(*before).values():
            # In the journal everything is free once its epoch has ended: what rests is locked again by entering.
            if row["account"] == account and rest_of(row, self.results[before], epoch) is not None:
                self.ended(found, row, "rolled")
        self.entered(found, account, epoch, zone, 0, unpack_orders(args["orders"]), None, rolled=True)

    def newest_of(self, account: str) -> tuple[int, int]:
        """Zone and epoch of an account's newest orders."""
        if account not in self.newest:
            o = tables.orders
            query = select(o.c.zone, o.c.epoch).where(o.c.account == account).order_by(o.c.epoch.desc()).limit(1)
            zone, epoch = self.connection.execute(query).one()
            self.newest[account] = (zone, epoch)
        return self.newest[account]

    def order_cancelled(self, found: Event, args: Mapping[str, Any]) -> None:
        row = self.book(args["zone"], args["epoch"])[(args["account"], args["index"])]
        if self.epochs[found.block] > args["epoch"]:
            self.ended(found, row, "cancelled")
            return
        self.change(row, {"cancelled_block": found.block, "cancelled_tx": found.tx_hash})
        self.lock(found, "cancelled", row, -1)

    def ended(self, found: Event, row: dict[str, Any], how: str) -> None:
        """What rested of a standing order no longer does."""
        self.change(row, {"ended_block": found.block, "ended_tx": found.tx_hash, "ended": how})

    def change(self, row: dict[str, Any], values: Mapping[str, Any]) -> None:
        row |= values
        o = tables.orders
        here = (o.c.epoch == row["epoch"], o.c.account == row["account"], o.c.index == row["index"])
        self.updates.append(update(o).where(*here).values(values))

    def lock(self, found: Event, kind: str, row: Mapping[str, Any], sign: int) -> None:
        locked = escrow(order_of(row))
        self.note(
            found,
            row["account"],
            kind,
            epoch=row["epoch"],
            energy_free_uwh=-sign * locked.energy_units,
            energy_escrow_uwh=sign * locked.energy_units,
            money_free_units=-sign * locked.money_units,
            money_escrow_units=sign * locked.money_units,
        )

    def epoch_cleared(self, found: Event, args: Mapping[str, Any]) -> None:
        zone, epoch, r = args["zone"], args["epoch"], args["result"]
        result = Result(
            r["lowerTick"], r["upperTick"], LongSide(r["longSide"]), r["filledWh"], r["offeredWh"], r["volumeWh"]
        )
        self.rows[tables.epochs].append(
            _origin(found)
            | {
                "zone": zone,
                "epoch": epoch,
                "price2": r["price2"],
                "lower_tick": result.lower_tick,
                "upper_tick": result.upper_tick,
                "long_side": int(result.long_side),
                "filled_wh": result.filled_wh,
                "offered_wh": result.offered_wh,
                "volume_wh": result.volume_wh,
            }
        )
        self.results[(zone, epoch)] = result
        for row in _in_order(self.book(zone, epoch).values()):
            self.fill(found, row, result)

    def fill(self, found: Event, row: Mapping[str, Any], result: Result) -> None:
        order = order_of(row)
        locked, back, traded = escrow(order), settle(result, order), fill(result, order)
        self.note(
            found,
            row["account"],
            "settled",
            epoch=row["epoch"],
            energy_free_uwh=back.energy_units,
            energy_escrow_uwh=-locked.energy_units,
            money_free_units=back.money_units,
            money_escrow_units=-locked.money_units,
        )
        if traded.energy_units:
            names = ("epoch", "account", "index", "zone", "side", "tick", "quantity_wh")
            values = {
                "price2": result.price2,
                "energy_uwh": traded.energy_units,
                "money_units": traded.money_units,
                "order_tx": row["tx_hash"],
            }
            self.rows[tables.fills].append({name: row[name] for name in names} | values | _origin(found))

    # ---- oracle

    def data_requested(self, found: Event, args: Mapping[str, Any]) -> None:
        row = {
            "request_id": _hex(args["requestId"]),
            "requester": args["requester"],
            "kind": args["kind"],
            "subject": _hex(args["subject"]),
            "done_block": None,
            "done_tx": None,
            "fulfilled": None,
            "data": None,
        }
        self.rows[tables.requests].append(_origin(found) | row)

    def datum_answered(self, found: Event, args: Mapping[str, Any]) -> None:
        row = {"request_id": _hex(args["requestId"]), "operator": args["operator"], "value": args["value"]}
        self.rows[tables.answers].append(_origin(found) | row)

    def datum_outlier(self, found: Event, args: Mapping[str, Any]) -> None:
        row = {"request_id": _hex(args["requestId"]), "operator": args["operator"]}
        self.rows[tables.outliers].append(_origin(found) | row)

    def operator_set(self, found: Event, args: Mapping[str, Any]) -> None:
        self.rows[tables.seats].append(_origin(found) | {"operator": args["operator"], "active": args["active"]})

    def panel_set(self, found: Event, args: Mapping[str, Any]) -> None:
        row = {"quorum": args["quorum"], "tolerance_bp": args["toleranceBp"]}
        self.rows[tables.panels].append(_origin(found) | row)

    def data_fulfilled(self, found: Event, args: Mapping[str, Any]) -> None:
        self.request_done(found, args["requestId"], fulfilled=True, data=_hex(args["data"]))

    def request_timed_out(self, found: Event, args: Mapping[str, Any]) -> None:
        self.request_done(found, args["requestId"], fulfilled=False, data=None)

    def request_done(self, found: Event, request_id: bytes, *, fulfilled: bool, data: str | None) -> None:
        r = tables.requests
        values = {"done_block": found.block, "done_tx": found.tx_hash, "fulfilled": fulfilled, "data": data}
        self.updates.append(update(r).where(r.c.request_id == _hex(request_id)).values(values))


_HANDLERS = {
    ("Registry", "UserRegistered"): _Writer.registered,
    ("Registry", "MeterAssigned"): _Writer.meter_assigned,
    ("Registry", "MeterReplaced"): _Writer.meter_replaced,
    ("Registry", "MeterRevoked"): _Writer.meter_revoked,
    ("Trading", "AccountSet"): _Writer.account_set,
    ("Trading", "ZoneSet"): _Writer.zone_set,
    ("Trading", "Deposited"): _Writer.deposited,
    ("Trading", "Withdrawn"): _Writer.withdrawn,
    ("Trading", "OrdersEntered"): _Writer.orders_entered,
    ("Trading", "SignedOrderEntered"): _Writer.bundle_entered,
    ("Trading", "BundleEntered"): _Writer.bundle_entered,
    ("Trading", "NonceUsed"): _Writer.nonce_used,
    ("Trading", "OrderCancelled"): _Writer.order_cancelled,
    ("Trading", "OrdersRolled"): _Writer.orders_rolled,
    ("Trading", "EpochCleared"): _Writer.epoch_cleared,
    ("Metering", "RegisterOpened"): _Writer.register_opened,
    ("Metering", "ReadingAccepted"): _Writer.reading_accepted,
    ("Metering", "LateReadingRecorded"): _Writer.late_reading,
    ("Metering", "GrowthParked"): _Writer.growth_parked,
    ("Metering", "ParkedReleased"): _Writer.parked_released,
    ("Metering", "ParkedRejected"): _Writer.parked_rejected,
    ("Metering", "Retired"): _Writer.retired,
    ("Metering", "Surrendered"): _Writer.surrendered,
    ("Metering", "AutoRetireSet"): _Writer.auto_retire_set,
    ("GridToken", "Minted"): _Writer.minted,
    ("GridToken", "Transfer"): _Writer.transferred,
    ("OracleClient", "EnergyDataRequested"): _Writer.data_requested,
    ("OracleClient", "DatumAnswered"): _Writer.datum_answered,
    ("OracleClient", "DatumOutlier"): _Writer.datum_outlier,
    ("OracleClient", "OperatorSet"): _Writer.operator_set,
    ("OracleClient", "PanelSet"): _Writer.panel_set,
    ("OracleClient", "EnergyDataFulfilled"): _Writer.data_fulfilled,
    ("OracleClient", "RequestTimedOut"): _Writer.request_timed_out,
}
"""What each event means; others are kept in `events` and mean nothing more."""


def _origin(found: Event) -> dict[str, Any]:
    return {"block": found.block, "log_index": found.log_index, "tx_hash": found.tx_hash}


def _hex(value: Any) -> str:
    return "0x" + bytes(value).hex()


def order_of(row: Mapping[str, Any]) -> Order:
    """The order in a row of `orders`."""
    return Order(Side(row["side"]), row["tick"], row["quantity_wh"], row["life"])


def rest_of(row: Mapping[str, Any], result: Result, epoch: int) -> Order | None:
    """What rests in a later epoch of the order in a row of `orders`; None if it has ended.

    Args:
        row: The row.
        result: Result of its epoch.
        epoch: The later epoch, in which nothing happened to it yet.
    """
    alive = row["cancelled_block"] is None and row["ended_block"] is None and row["epoch"] + row["life"] >= epoch
    left_wh = remainder(result, order_of(row)) if alive else 0
    return replace(order_of(row), quantity_wh=left_wh) if left_wh >= MIN_ORDER_WH else None


def _in_order(rows: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Live orders in the order they were entered."""
    live = (row for row in rows if row["cancelled_block"] is None)
    return iter(sorted(live, key=lambda row: (row["block"], row["log_index"], row["index"])))


# ------------------------------------------------------------------------------ reading it back


class Head(NamedTuple):
    """The newest block in the database."""

    number: int
    hash: str
    timestamp: int
    epoch: int


@dataclass(slots=True)
class Holding:
    """What an account holds at the newest block, orders of ended epochs settled."""

    energy_free_uwh: int = 0
    energy_escrow_uwh: int = 0
    money_free_units: int = 0
    money_escrow_units: int = 0


@dataclass(slots=True)
class ImportLedger:
    """An account's import at the newest block, in Wh."""

    current_wh: int = 0
    previous_wh: int = 0
    grid_import_wh: int = 0


def _newest_block(*more: ColumnElement[Any]) -> Select[Any]:
    b = tables.blocks
    return select(b.c.number, b.c.hash, b.c.timestamp, b.c.epoch, *more).order_by(b.c.number.desc()).limit(1)


def _eventful() -> ColumnElement[Any]:
    """The hash of the newest block that brought an event."""
    told = tables.blocks.alias()
    last = select(func.max(tables.events.c.block)).scalar_subquery()
    return select(told.c.hash).where(told.c.number == last).scalar_subquery()


# Made once: every request asks them, and to make a query costs more than to run it.
_HEAD = _newest_block()
_NEWEST = _newest_block(_eventful())


def head_of(connection: Connection) -> Head | None:
    """The newest block in the database; None before the first. Before the market's genesis its epoch is 0."""
    row = connection.execute(_HEAD).one_or_none()
    return None if row is None else Head(row[0], row[1], row[2], row[3] or 0)


def newest_of(connection: Connection) -> tuple[Head, str] | None:
    """The newest block, and the hash of the newest that brought an event: whose is the same, its history is."""
    row = connection.execute(_NEWEST).one_or_none()
    return None if row is None else (Head(row[0], row[1], row[2], row[3] or 0), row[4] or "")


def _with_market() -> Select[Any]:
    b, m = tables.blocks, tables.market
    return _newest_block(m.c.genesis, m.c.epoch_seconds, m.c.tick_wei).select_from(b.join(m, true()))


_PLACE = _with_market()


def place_of(connection: Connection) -> tuple[Head, Calendar, Money] | None:
    """The newest block, and clock and money of the market in the database; None while either is missing."""
    row = connection.execute(_PLACE).one_or_none()
    if row is None:
        return None
    return Head(row[0], row[1], row[2], row[3] or 0), Calendar(row[4], row[5]), Money(row[6])


def grid_supply_wei(connection: Connection) -> int:
    """GRID in existence at the newest block."""
    s = tables.supply
    newest = select(s.c.total_wei).order_by(s.c.block.desc(), s.c.log_index.desc()).limit(1)
    return connection.scalar(newest) or 0


def live_orders(
    connection: Connection, zone: int, epoch: int, accounts: Sequence[str] | None = None
) -> list[Mapping[str, Any]]:
    """Orders of an epoch that were not cancelled, as entered; of everybody if no account is named."""
    o = tables.orders
    here = [o.c.zone == zone, o.c.epoch == epoch, o.c.cancelled_block.is_(None)]
    if accounts is not None:
        here.append(o.c.account.in_(accounts))
    rows = connection.execute(select(o).where(*here).order_by(o.c.block, o.c.log_index, o.c.index)).mappings()
    return [dict(row) for row in rows]


def _volumes() -> Select[Any]:
    o = tables.orders
    here = (o.c.zone == bindparam("in_zone"), o.c.epoch == bindparam("in_epoch"), o.c.cancelled_block.is_(None))
    summed = select(o.c.side, o.c.tick, func.sum(o.c.quantity_wh), func.count())
    return summed.where(*here).group_by(o.c.side, o.c.tick)


_VOLUMES = _volumes()


def volumes(connection: Connection, zone: int, epoch: int) -> tuple[int, dict[int, int], dict[int, int]]:
    """How many orders of an epoch were not cancelled, and the Wh they bid and ask by tick."""
    sides: dict[int, dict[int, int]] = {Side.BID: {}, Side.ASK: {}}
    count = 0
    for side, tick, quantity_wh, orders in connection.execute(_VOLUMES, {"in_zone": zone, "in_epoch": epoch}).all():
        sides[side][tick] = int(quantity_wh)
        count += orders
    return count, sides[Side.BID], sides[Side.ASK]


_ZONES = select(tables.zones.c.zone).distinct()
_LAST_TRADED = select(func.max(tables.orders.c.epoch)).where(
    tables.orders.c.zone == bindparam("zone"), tables.orders.c.epoch < bindparam("epoch")
)
_CLEARED = select(tables.epochs.c.epoch).where(
    tables.epochs.c.zone == bindparam("zone"), tables.epochs.c.epoch == bindparam("epoch")
)


def uncleared(connection: Connection, epoch: int) -> list[tuple[int, int]]:
    """Zones and epochs that ended before `epoch`, had orders, and were not cleared yet."""
    found = []
    for zone in connection.scalars(_ZONES).all():
        # At most one epoch of a zone waits: the next order clears it.
        newest = connection.scalar(_LAST_TRADED, {"zone": zone, "epoch": epoch})
        if newest is not None and connection.scalar(_CLEARED, {"zone": zone, "epoch": newest}) is None:
            found.append((int(zone), int(newest)))
    return found


def _of(query: Select[Any], table: Table) -> tuple[Select[Any], Select[Any]]:
    """A query for everybody, and for the named accounts alone."""
    return query, query.where(table.c.account.in_(bindparam("accounts", expanding=True)))


def _asked(
    connection: Connection, queries: tuple[Select[Any], Select[Any]], accounts: Sequence[str] | None, **more: int
) -> CursorResult[*tuple[Any, ...]]:
    """Asks one of the two: for everybody if no account is named."""
    if accounts is None:
        return connection.execute(queries[0], more)
    return connection.execute(queries[1], {"accounts": list(accounts), **more})


_HELD = _of(select(tables.accounts), tables.accounts)
_PERIODS = _of(select(tables.periods), tables.periods)
_NONCES = _of(
    select(tables.nonces.c.account, func.max(tables.nonces.c.nonce)).group_by(tables.nonces.c.account), tables.nonces
)
_RESTING = _of(
    select(tables.orders).where(
        tables.orders.c.life > 0,
        # None stands longer than that, and what the index finds by its epoch is not looked through.
        tables.orders.c.epoch >= bindparam("epoch", type_=BigInteger) - MAX_LIFE,
        tables.orders.c.epoch < bindparam("epoch"),
        tables.orders.c.epoch + tables.orders.c.life >= bindparam("epoch"),
    ),
    tables.orders,
)


def holdings(connection: Connection, head: Head, accounts: Sequence[str] | None = None) -> dict[str, Holding]:
    """What accounts hold at the newest block; all of them if none is named.

    An epoch that ended and was not cleared yet counts as cleared, as it does in the contract's views.
    """
    rows = _asked(connection, _HELD, accounts).mappings()
    held = {row["account"]: Holding(*(row[name] for name in BALANCES)) for row in rows}
    for zone, epoch in uncleared(connection, head.epoch):
        result = result_of(connection, zone, epoch)
        for row in live_orders(connection, zone, epoch, accounts):
            if row["account"] in held:
                holding, order = held[row["account"]], order_of(row)
                locked, back = escrow(order), settle(result, order)
                holding.energy_escrow_uwh -= locked.energy_units
                holding.money_escrow_units -= locked.money_units
                holding.energy_free_uwh += back.energy_units
                holding.money_free_units += back.money_units
    for row, rest in resting(connection, head, accounts):
        if row["account"] in held:
            holding, locked = held[row["account"]], escrow(rest)
            holding.energy_free_uwh -= locked.energy_units
            holding.money_free_units -= locked.money_units
            holding.energy_escrow_uwh += locked.energy_units
            holding.money_escrow_units += locked.money_units
    return held


def resting(
    connection: Connection, head: Head, accounts: Sequence[str] | None = None
) -> list[tuple[dict[str, Any], Order]]:
    """Standing orders of ended epochs that wait to be rolled: their rows, and what is left of each.

    No event tells when one expires, so this is worked out when it is read, as the contract's views do.
    """
    found = []
    results: dict[tuple[int, int], Result] = {}
    for found_row in _asked(connection, _RESTING, accounts, epoch=head.epoch).mappings().all():
        row = dict(found_row)
        place = (row["zone"], row["epoch"])
        if place not in results:
            results[place] = result_of(connection, *place)
        rest = rest_of(row, results[place], head.epoch)
        if rest is not None:
            found.append((row, rest))
    return found


def result_of(connection: Connection, zone: int, epoch: int) -> Result:
    """Result of an ended epoch: as it was cleared, or as it would be."""
    e = tables.epochs
    names = ("lower_tick", "upper_tick", "long_side", "filled_wh", "offered_wh", "volume_wh")
    query = select(*(e.c[name] for name in names)).where(e.c.zone == zone, e.c.epoch == epoch)
    row = connection.execute(query).one_or_none()
    if row is None:
        return clear(*volumes(connection, zone, epoch)[1:])
    return Result(row[0], row[1], LongSide(row[2]), *row[3:])


def lowest_nonces(connection: Connection, accounts: Sequence[str] | None = None) -> dict[str, int]:
    """The lowest nonce that a signed message may still use, of accounts that have used one; all if none is named."""
    return {row[0]: row[1] + 1 for row in _asked(connection, _NONCES, accounts)}


def import_ledgers(
    connection: Connection, head: Head, accounts: Sequence[str] | None = None
) -> dict[str, ImportLedger]:
    """Import of accounts at the newest block; all of them if none is named."""
    period, place = divmod(head.epoch, PERIOD_EPOCHS)
    ledgers: dict[str, ImportLedger] = defaultdict(ImportLedger)
    for row in _asked(connection, _PERIODS, accounts).mappings():
        ledger, left_wh = ledgers[row["account"]], row["import_wh"] - row["retired_wh"]
        if row["period"] == period:
            ledger.current_wh += left_wh
        elif row["period"] == period - 1 and place < GRACE_EPOCHS:
            ledger.previous_wh += left_wh
        else:
            ledger.grid_import_wh += left_wh
    return ledgers


# ------------------------------------------------------------------------------ held against the chain


def verify(chain: Chain, engine: Engine) -> tuple[int, list[Difference]]:
    """Compares the database with the contracts' views at the newest block of the database.

    Returns:
        The block, and everything that differs: balances, nonces, import ledgers, registers, supply, results,
        open books and the oracle's panel.

    Raises:
        HistoryError: Nothing was indexed yet, or the database's newest block is not the chain's.
    """
    # What the index writes meanwhile is of later blocks.
    with snapshot(engine) as connection:
        head = head_of(connection)
        if head is None:
            raise HistoryError("the database is empty: run `busbar index` first")
        header = chain.node.request("eth_getBlockByNumber", hex(head.number), False)
        if header is None or header["hash"] != head.hash:
            raise HistoryError(f"block {head.number} is not the chain's any more: run `busbar index` first")
        found = [
            *_verify_accounts(connection, chain, head),
            *_verify_registers(connection, chain, head),
            *_verify_supply(connection, chain, head),
            *_verify_results(connection, chain, head),
            *_verify_books(connection, chain, head),
            *_verify_panel(connection, chain, head),
        ]
    return head.number, found


def _differing(what: str, database: object, on_chain: object) -> Iterator[Difference]:
    if database != on_chain:
        yield Difference(what, str(database), str(on_chain))


def _verify_accounts(connection: Connection, chain: Chain, head: Head) -> Iterator[Difference]:
    known = connection.scalars(select(tables.participants.c.account)).all()
    registered = chain.participants(head.number)
    yield from _differing("participants", sorted(known), sorted(registered))
    held, ledgers = holdings(connection, head), import_ledgers(connection, head)
    nonces = lowest_nonces(connection)
    for account in chain.accounts(registered, head.number):
        holding = held.pop(account.address, Holding())
        for name in BALANCES:
            yield from _differing(f"{name} of {account.address}", getattr(holding, name), getattr(account, name))
        yield from _differing(f"lowest nonce of {account.address}", nonces.get(account.address, 0), account.nonce)
    for address, holding in held.items():
        yield from _differing(f"balance of {address}, no participant", holding, Holding())
    for imports in chain.imports(registered, head.number):
        ledger = ledgers[imports.address]
        for name in ("current_wh", "previous_wh", "grid_import_wh"):
            yield from _differing(f"import {name} of {imports.address}", getattr(ledger, name), getattr(imports, name))


def _verify_registers(connection: Connection, chain: Chain, head: Head) -> Iterator[Difference]:
    newest: dict[str, tuple[int, int, int]] = {}
    r = tables.readings
    columns = (r.c.meter_id, r.c.interval_end, r.c.import_register_wh, r.c.export_register_wh)
    last = (
        select(r.c.meter_id, func.max(r.c.block * 1_000_000 + r.c.log_index).label("place"))
        .where(r.c.kind != LATE)
        .group_by(r.c.meter_id)
        .subquery()
    )
    here = (last.c.meter_id == r.c.meter_id) & (last.c.place == r.c.block * 1_000_000 + r.c.log_index)
    for meter_id, *registers in connection.execute(select(*columns).join(last, here)):
        newest[meter_id] = (registers[0], registers[1], registers[2])
    meter_ids = chain.meter_ids(head.number)
    yield from _differing("meters", sorted(newest), sorted(meter_ids))
    for register in chain.registers(meter_ids, head.number):
        on_chain = (register.interval_end, register.import_wh, register.export_wh)
        yield from _differing(f"registers of {register.meter_id}", newest.get(register.meter_id), on_chain)


def _verify_supply(connection: Connection, chain: Chain, head: Head) -> Iterator[Difference]:
    yield from _differing(
        "GRID supply", grid_supply_wei(connection), chain.view("GridToken", "totalSupply", block=head.number)
    )


def _verify_results(connection: Connection, chain: Chain, head: Head) -> Iterator[Difference]:
    by_zone: dict[int, dict[int, Result]] = defaultdict(dict)
    for row in connection.execute(select(tables.epochs)).mappings():
        names = ("lower_tick", "upper_tick", "long_side", "filled_wh", "offered_wh", "volume_wh")
        lower, upper, side, *volumes = (row[name] for name in names)
        by_zone[row["zone"]][row["epoch"]] = Result(lower, upper, LongSide(side), *volumes)
    for zone, results in by_zone.items():
        for epoch, on_chain in zip(results, chain.results(zone, list(results), head.number), strict=True):
            yield from _differing(f"result of zone {zone} in epoch {epoch}", results[epoch], on_chain)


def _verify_books(connection: Connection, chain: Chain, head: Head) -> Iterator[Difference]:
    for zone in connection.scalars(select(tables.zones.c.zone).distinct()).all():
        rows = live_orders(connection, zone, head.epoch)
        book = histogram([order_of(row) for row in rows])
        yield from _differing(f"open book of zone {zone}", book, chain.book(zone, head.number))


def _verify_panel(connection: Connection, chain: Chain, head: Head) -> Iterator[Difference]:
    now = panel.parameters(connection)
    seated, *on_chain = chain.view("OracleClient", "panel", block=head.number)
    yield from _differing("quorum and tolerance of the panel", [now.quorum, now.tolerance_bp], on_chain)
    known = panel.operators(connection, head.number)
    yield from _differing("panel", sorted(who.account for who in known if who.active), sorted(seated))
    for who in known:
        told = (who.active, who.asked, who.answered, who.outliers)
        held = chain.view("OracleClient", "operatorOf", who.account, block=head.number)
        yield from _differing(f"record of the operator {who.account}", told, tuple(held))
