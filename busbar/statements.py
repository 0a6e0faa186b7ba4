"""A participant's month as a bill: energy, money, every line traceable to transactions.

The formula is that of docs/protocol.md, section 8: grid import at retail, plus what was paid for GRID, less what was
earned with it; here by the plan's progressive blocks, with service charge and VAT on what the utility charges. Each
line is quantity x price, rounded once ([R8], [R10]). It is held against the same month with retail and buyback alone.
Of a month that is read on some of its days the bounds of the blocks count for their share.

A reading belongs to the month in which its interval ends, midnight still to the day before; a trade to the month in
which its epoch starts. Months are those of the Bangkok calendar.
"""

import csv
import io
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

from pydantic import Field
from sqlalchemy import Connection, func, select

from busbar import errors, tables
from busbar.history import HistoryError, place_of
from busbar.orders import Side, order_id
from busbar.results import Model
from busbar.tariff import FLAT_MARGINAL_PLAN, Share, Tariff, load_tariff
from busbar.units import ENERGY_UNITS_PER_WH, GRACE_EPOCHS, PERIOD_EPOCHS, Calendar
from busbar.wide import Wide

BANGKOK = timezone(timedelta(hours=7), "Bangkok")
WEI_PER_UTHB = 10**12

_MONTH = re.compile(r"([0-9]{4})-(0[1-9]|1[0-2])")


class StatementError(errors.BusbarError):
    """A statement was asked for that cannot be made; the message says why."""


class Month(NamedTuple):
    """A month of the Bangkok calendar."""

    year: int
    month: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """The month behind `2026-03`.

        Raises:
            StatementError: The text is no month.
        """
        match = _MONTH.fullmatch(text)
        if match is None or not 1970 < int(match[1]) < 9999:
            raise StatementError(f"{text!r} is no month: write YYYY-MM")
        return cls(int(match[1]), int(match[2]))

    @property
    def first(self) -> date:
        """First day."""
        return date(self.year, self.month, 1)

    @property
    def last(self) -> date:
        """Last day."""
        return (self.first + timedelta(days=31)).replace(day=1) - timedelta(days=1)

    @property
    def start(self) -> int:
        """First second, Unix time."""
        return int(datetime(self.year, self.month, 1, tzinfo=BANGKOK).timestamp())

    @property
    def end(self) -> int:
        """First second after it, Unix time."""
        return int(datetime.combine(self.last + timedelta(days=1), datetime.min.time(), BANGKOK).timestamp())

    def __str__(self) -> str:
        return f"{self.year:04}-{self.month:02}"


Section = Literal["grid", "market"]


class Line(Model):
    """One line of the bill.

    Attributes:
        item: What is charged or paid, each block of a progressive plan on its own line.
        source: The row of the tariff file it comes from.
        first_day: First day it applies to.
        last_day: Last day it applies to.
        quantity_wh: Energy; None where there is none, as for a service charge.
        price_uthb_per_kwh: Price before VAT; None where there is none.
        amount_uthb: Micro-THB, negative if in the participant's favour.
        transactions: Hashes of the transactions behind it.
    """

    section: Section
    item: str
    source: str
    first_day: date
    last_day: date
    quantity_wh: int | None
    price_uthb_per_kwh: int | None
    amount_uthb: int
    transactions: list[str]


class Trade(Model):
    """An order's fill."""

    epoch: int
    start: int
    order_id: Wide
    side: Literal["buy", "sell"]
    limit_tick: int
    price2: int
    energy_uwh: Wide
    money_wei: Wide
    order_tx: str
    clear_tx: str


class Metered(Model):
    """Metered growth that counted in the interval ending at `interval_end`; negative when it was parked."""

    kind: Literal["metered", "parked", "released"]
    interval_end: int
    import_wh: int
    export_wh: int
    grid_import_wh: int
    tx_hash: str


class Movement(Model):
    """A deposit, withdrawal, retirement or surrender."""

    kind: str
    time: int
    energy_uwh: Wide
    money_wei: Wide
    tx_hash: str


class Statement(Model):
    """A month's bill.

    Attributes:
        provisional: Whether something of it may still change: the month or the time to retire has not ended at `block`.
        self_supplied_wh: Import covered by GRID, bought or one's own.
        grid_import_wh: Import that no GRID covers.
        total_uthb: Sum of all lines.
        baseline_uthb: The same month with retail and buyback alone, VAT and service charge included.
        saving_uthb: Baseline less total.
        assumptions: What the tariff assumes, a line each.
    """

    account: str
    month: str
    covered_days: int = Field(
        description="Days from the first to the last of the month's on which an interval of the account's accepted "
        "readings starts, both counted, 0 without one: the bounds of blocks count for this share of the month"
    )
    month_days: int = Field(description="Days of the month")
    chain_id: int
    block: int
    block_hash: str
    provisional: bool
    plan: str
    vat_percent: int
    import_wh: int
    export_wh: int
    self_supplied_wh: int
    grid_import_wh: int
    bought_uwh: Wide
    sold_uwh: Wide
    lines: list[Line]
    total_uthb: int
    baseline_uthb: int
    saving_uthb: int
    trades: list[Trade]
    readings: list[Metered]
    movements: list[Movement]
    assumptions: list[str]


class Tariffs:
    """A plan's dated numbers, loaded when a day needs them.

    Args:
        path: A tariff file as documented in data/tariffs/README.md.
        plan: One of its plans.
    """

    def __init__(self, path: Path, plan: str = FLAT_MARGINAL_PLAN) -> None:
        self.path = path
        self.plan = plan
        self._loaded: list[Tariff] = []

    def on(self, day: date) -> Tariff:
        """The tariff of a day.

        Raises:
            TariffError: The file has none for it.
        """
        for tariff in self._loaded:
            if tariff.holds_from <= day <= tariff.holds_to:
                return tariff
        self._loaded.append(load_tariff(self.path, day, self.plan))
        return self._loaded[-1]


@dataclass(slots=True)
class Lot:
    """Import of one interval, and how much of it no GRID covers."""

    interval_end: int
    import_wh: int
    left_wh: int
    tx_hash: str


class _Price(NamedTuple):
    """What energy of the month costs: a block, or on-peak or off-peak, of one period of the tariff.

    Attributes:
        of_day: What the period's Ft is parted by: on-peak and off-peak by time of use, else nothing.
        place: Where its line stands among those of its period.
    """

    tariff: Tariff
    of_day: str
    place: int
    words: str
    uthb_per_kwh: int
    source: str


@dataclass(slots=True)
class _Sum:
    """Energy at one price, and the transactions it came with, as the keys."""

    energy_wh: int = 0
    transactions: dict[str, None] = field(default_factory=dict)


def make(connection: Connection, account: str, month: Month, tariffs: Tariffs) -> Statement:
    """The statement of one participant's month, as of the newest block in the database.

    Raises:
        StatementError: The account is no participant, or the month is not of the market's time.
        HistoryError: Nothing was indexed yet.
        TariffError: The tariff file does not cover the month.
    """
    place = place_of(connection)
    if place is None:
        raise HistoryError("the database is empty: run `busbar index` first")
    head, calendar, money = place
    p, m = tables.participants, tables.meters
    if connection.scalar(select(p.c.account).where(p.c.account == account)) is None:
        raise StatementError(f"{account} is no participant")
    if head.timestamp < month.start or month.end <= calendar.genesis:
        raise StatementError(
            f"nothing of {month} is in the market's time: it runs from its genesis to block {head.number}"
        )
    metered, lots = _metered(connection, account, month)
    trades = _trades(connection, account, month, calendar, money.unit_wei)
    has_meter = connection.scalar(select(m.c.meter_id).where(m.c.account == account).limit(1)) is not None
    ends = [*_read(connection, account, month), *(row.interval_end for row in metered)]
    share = share_of(month, ends, calendar.epoch_seconds)
    lines = grid_lines(
        [(lot, lot.left_wh) for lot in lots], month, tariffs, calendar.epoch_seconds, share, service=has_meter
    )
    lines += market_lines(trades, month)
    total = sum(line.amount_uthb for line in lines)
    alone = grid_lines(
        [(lot, lot.import_wh) for lot in lots], month, tariffs, calendar.epoch_seconds, share, service=has_meter
    )
    export_wh = sum(row.export_wh for row in metered)
    tariff = tariffs.on(month.first)
    baseline = sum(line.amount_uthb for line in alone) - tariff.buyback_credit_uthb(max(export_wh, 0))
    # A participant without a meter, the utility say, has no month without the market to compare with.
    baseline = baseline if has_meter else total
    import_wh, grid_wh = sum(lot.import_wh for lot in lots), sum(lot.left_wh for lot in lots)
    sides = {side: sum(t.energy_uwh for t in trades if t.side == side) for side in ("buy", "sell")}
    return Statement(
        account=account,
        month=str(month),
        covered_days=share.covered_days,
        month_days=share.month_days,
        chain_id=connection.execute(select(tables.market.c.chain_id)).scalar_one(),
        block=head.number,
        block_hash=head.hash,
        provisional=head.timestamp < _final(calendar, month),
        plan=tariffs.plan,
        vat_percent=tariff.vat_percent,
        import_wh=import_wh,
        export_wh=export_wh,
        self_supplied_wh=import_wh - grid_wh,
        grid_import_wh=grid_wh,
        bought_uwh=sides["buy"],
        sold_uwh=sides["sell"],
        lines=lines,
        total_uthb=total,
        baseline_uthb=baseline,
        saving_uthb=baseline - total,
        trades=trades,
        readings=metered,
        movements=_movements(connection, account, month, money.unit_wei),
        assumptions=list(tariff.bill_assumptions),
    )


def _final(calendar: Calendar, month: Month) -> int:
    """When nothing of a month can be retired any more, if its readings came within an epoch."""
    last_period = calendar.period_of(calendar.epoch_at(max(month.end, calendar.genesis)))
    return calendar.start((last_period + 1) * PERIOD_EPOCHS + GRACE_EPOCHS)


# ------------------------------------------------------------------------------ what the database says


def _metered(connection: Connection, account: str, month: Month) -> tuple[list[Metered], list[Lot]]:
    j = tables.journal
    inside = (j.c.account == account, j.c.interval_end > month.start, j.c.interval_end <= month.end)
    periods = connection.scalars(select(j.c.period).where(*inside).distinct()).all()
    rows = connection.execute(
        select(j).where(j.c.account == account, j.c.period.in_(periods)).order_by(j.c.block, j.c.log_index, j.c.seq)
    ).mappings()
    everything = [dict(row) for row in rows]
    lots = uncovered(everything)
    wanted = [row for row in everything if row["interval_end"] and month.start < row["interval_end"] <= month.end]
    left = {place: lot.left_wh for place, lot in lots}
    metered = [
        Metered(
            kind=row["kind"],
            interval_end=row["interval_end"],
            import_wh=row["import_wh"],
            export_wh=row["energy_free_uwh"] // ENERGY_UNITS_PER_WH,
            grid_import_wh=left.get(_place(row), 0),
            tx_hash=row["tx_hash"],
        )
        for row in wanted
    ]
    return metered, [lot for _, lot in lots if month.start < lot.interval_end <= month.end]


def _read(connection: Connection, account: str, month: Month) -> list[int]:
    """Ends of the month's first and last accepted readings; those without growth count too."""
    r = tables.readings
    found = connection.execute(
        select(func.min(r.c.interval_end), func.max(r.c.interval_end)).where(
            r.c.account == account,
            r.c.kind == "reading",
            r.c.interval_end > month.start,
            r.c.interval_end <= month.end,
        )
    ).one()
    return [end for end in found if end is not None]


def _place(row: Mapping[str, Any]) -> tuple[int, int, int]:
    return (row["block"], row["log_index"], row["seq"])


def uncovered(rows: Iterable[Mapping[str, Any]]) -> list[tuple[tuple[int, int, int], Lot]]:
    """Import lots of whole settlement periods with what is left of each; GRID covers the oldest first.

    Args:
        rows: The account's journal of these periods, in order of the chain.
    """
    lots: dict[int, list[tuple[tuple[int, int, int], Lot]]] = defaultdict(list)
    for row in rows:
        period = lots[row["period"]]
        if row["import_wh"] > 0:
            lot = Lot(row["interval_end"], row["import_wh"], row["import_wh"], row["tx_hash"])
            period.append((_place(row), lot))
        elif row["import_wh"] < 0:
            period.pop()  # parked: the growth booked right before counts for nothing
        retired_wh = row["retired_wh"]
        for _, lot in period:
            taken = min(lot.left_wh, retired_wh)
            lot.left_wh -= taken
            retired_wh -= taken
    return [entry for period in lots.values() for entry in period]


def _trades(connection: Connection, account: str, month: Month, calendar: Calendar, unit_wei: int) -> list[Trade]:
    f = tables.fills
    first, last = (max(0, -(-(t - calendar.genesis) // calendar.epoch_seconds)) for t in (month.start, month.end))
    rows = connection.execute(
        select(f).where(f.c.account == account, f.c.epoch >= first, f.c.epoch < last).order_by(f.c.epoch, f.c.index)
    ).mappings()
    return [
        Trade(
            epoch=row["epoch"],
            start=calendar.start(row["epoch"]),
            order_id=order_id(account, row["epoch"], row["index"]),
            side="buy" if row["side"] == Side.BID else "sell",
            limit_tick=row["tick"],
            price2=row["price2"],
            energy_uwh=row["energy_uwh"],
            money_wei=row["money_units"] * unit_wei,
            order_tx=row["order_tx"],
            clear_tx=row["tx_hash"],
        )
        for row in rows
    ]


def _movements(connection: Connection, account: str, month: Month, unit_wei: int) -> list[Movement]:
    j, b = tables.journal, tables.blocks
    kinds = ("deposited", "withdrawn", "retired", "retired_out", "surrendered")
    rows = connection.execute(
        select(j, b.c.timestamp)
        .join(b, b.c.number == j.c.block)
        .where(j.c.account == account, j.c.kind.in_(kinds), b.c.timestamp >= month.start, b.c.timestamp < month.end)
        .order_by(j.c.block, j.c.log_index, j.c.seq)
    ).mappings()
    return [
        Movement(
            kind=row["kind"],
            time=row["timestamp"],
            # From the wallet nothing leaves the account: what was burnt is said by the import it covers.
            energy_uwh=row["energy_free_uwh"] or -row["retired_wh"] * ENERGY_UNITS_PER_WH,
            money_wei=row["money_free_units"] * unit_wei,
            tx_hash=row["tx_hash"],
        )
        for row in rows
    ]


# ------------------------------------------------------------------------------ lines


def share_of(month: Month, ends: Iterable[int], epoch_seconds: int) -> Share:
    """The share of a month from the first to the last day on which an interval starts, both counted.

    Args:
        month: The month.
        ends: When the intervals end, Unix seconds, in any order: after the month's start, and no later than its end.
        epoch_seconds: Length of an interval.
    """
    days = [_start(end, month, epoch_seconds).day for end in ends]
    return Share(max(days) - min(days) + 1 if days else 0, month.last.day)


def _start(end: int, month: Month, epoch_seconds: int) -> datetime:
    """When an interval starts; what began in the month before counts from this one's first second."""
    return datetime.fromtimestamp(max(end - epoch_seconds, month.start), BANGKOK)


def grid_lines(
    charged: Iterable[tuple[Lot, int]],
    month: Month,
    tariffs: Tariffs,
    epoch_seconds: int,
    share: Share,
    *,
    service: bool,
) -> list[Line]:
    """What the utility charges: energy by block or time of use, Ft, service charge, and VAT on them.

    The month's import fills the blocks in order of time, each Wh at the price of its day ([R10]).

    Args:
        charged: Import of each interval, with what of it is charged, in Wh.
        month: The month.
        tariffs: What the grid charges.
        epoch_seconds: Length of an interval: it is priced by its start.
        share: For how much of the month the bounds of blocks count. The service charge is the whole month's.
        service: Whether there is a service charge, as there is with a meter.
    """
    lines: list[Line] = []
    sums = _by_price(charged, month, tariffs, epoch_seconds, share)
    in_order = sorted(sums, key=lambda price: (price.tariff.holds_from, price.place))
    for (tariff, of_day), prices in groupby(in_order, key=lambda price: (price.tariff, price.of_day)):
        together = _Sum()
        for price in prices:
            part = sums[price]
            lines.append(
                _energy(f"Energy charge, {price.words}", price.source, tariff, price.uthb_per_kwh, month, part)
            )
            together.energy_wh += part.energy_wh
            together.transactions |= part.transactions
        lines.append(_energy(f"Ft{of_day}", _row(tariff, "ft"), tariff, tariff.ft_uthb_per_kwh, month, together))
    if service:
        tariff = tariffs.on(month.first)
        lines.append(_plain("Service charge", month, tariff.service_uthb_per_month, _row(tariff, "service")))
    if lines:
        tariff = tariffs.on(month.first)
        vat = tariff.vat_uthb(sum(line.amount_uthb for line in lines))
        lines.append(_plain(f"VAT {tariff.vat_percent} %", month, vat, _row(tariff, "vat")))
    return lines


def _by_price(
    charged: Iterable[tuple[Lot, int]], month: Month, tariffs: Tariffs, epoch_seconds: int, share: Share
) -> dict[_Price, _Sum]:
    """Energy of the month by what it costs. Meters that counted in one interval share its place in the month."""
    intervals: dict[int, _Sum] = defaultdict(_Sum)
    for lot, energy_wh in charged:
        if energy_wh:
            intervals[lot.interval_end].energy_wh += energy_wh
            intervals[lot.interval_end].transactions[lot.tx_hash] = None
    sums: dict[_Price, _Sum] = defaultdict(_Sum)
    before_wh = 0
    for end, interval in sorted(intervals.items()):
        when = _start(end, month, epoch_seconds)
        for price, inside_wh in _prices(tariffs.on(when.date()), when, before_wh, interval.energy_wh, share):
            sums[price].energy_wh += inside_wh
            sums[price].transactions |= interval.transactions
        before_wh += interval.energy_wh
    return sums


def _prices(tariff: Tariff, when: datetime, before_wh: int, energy_wh: int, share: Share) -> list[tuple[_Price, int]]:
    """What import costs that begins at a time, and after some of its month."""
    if tariff.blocks:
        return [
            (_Price(tariff, "", block.above_wh, block.words(share), block.uthb_per_kwh, block.row), inside_wh)
            for block, inside_wh in tariff.in_blocks(before_wh, energy_wh, share)
        ]
    on_peak = tariff.is_on_peak(when)
    words, item = ("on-peak", "energy_on_peak") if on_peak else ("off-peak", "energy_off_peak")
    uthb_per_kwh = tariff.on_peak_uthb_per_kwh if on_peak else tariff.off_peak_uthb_per_kwh
    return [(_Price(tariff, f", {words}", int(on_peak), words, uthb_per_kwh, _row(tariff, item)), energy_wh)]


def _energy(item: str, source: str, tariff: Tariff, uthb_per_kwh: int, month: Month, of: _Sum) -> Line:
    return Line(
        section="grid",
        item=item,
        source=source,
        first_day=max(month.first, tariff.holds_from),
        last_day=min(month.last, tariff.holds_to),
        quantity_wh=of.energy_wh,
        price_uthb_per_kwh=uthb_per_kwh,
        # [R8] rounded up once, against whoever takes the energy.
        amount_uthb=-(-of.energy_wh * uthb_per_kwh // 1000),
        transactions=list(of.transactions),
    )


def _row(tariff: Tariff, item: str) -> str:
    """The tariff file's row of an item, as a report quotes it."""
    return next((row for row in tariff.rows if row.startswith(f"{item} ")), "")


def _plain(item: str, month: Month, amount_uthb: int, source: str) -> Line:
    return Line(
        section="grid",
        item=item,
        source=source,
        first_day=month.first,
        last_day=month.last,
        quantity_wh=None,
        price_uthb_per_kwh=None,
        amount_uthb=amount_uthb,
        transactions=[],
    )


def market_lines(trades: Iterable[Trade], month: Month) -> list[Line]:
    """What was paid for GRID and earned with it. [R7] paid is rounded up, earned down, once each."""
    lines = []
    for side, item in (("buy", "Bought from neighbours"), ("sell", "Sold to neighbours")):
        chosen = [trade for trade in trades if trade.side == side]
        if not chosen:
            continue
        wei, energy_uwh = sum(trade.money_wei for trade in chosen), sum(trade.energy_uwh for trade in chosen)
        amount = -(-wei // WEI_PER_UTHB) if side == "buy" else -(wei // WEI_PER_UTHB)
        lines.append(
            Line(
                section="market",
                item=item,
                source="the market's epochs, at the price of each",
                first_day=month.first,
                last_day=month.last,
                quantity_wh=energy_uwh // ENERGY_UNITS_PER_WH,
                price_uthb_per_kwh=None,
                amount_uthb=amount,
                transactions=list(dict.fromkeys(tx for trade in chosen for tx in (trade.order_tx, trade.clear_tx))),
            )
        )
    return lines


# ------------------------------------------------------------------------------ CSV

CSV_COLUMNS = (
    "record",
    "item",
    "source",
    "first_day",
    "last_day",
    "time_unix_s",
    "epoch",
    "order_id",
    "import_wh",
    "export_wh",
    "grid_import_wh",
    "energy_uwh",
    "price2_half_ticks",
    "price_uthb_per_kwh",
    "money_wei",
    "amount_uthb",
    "transactions",
)
CSV_HEAD = (
    *("account", "month", "covered_days", "month_days"),
    *("chain_id", "block", "block_hash", "provisional", "plan"),
)
"""What the first records say, one each: fields of a `Statement`."""


def to_csv(statement: Statement) -> str:
    """The statement as one table: whose it is, lines of the bill, then trades, readings and movements."""
    head = [{"record": name, "item": getattr(statement, name)} for name in CSV_HEAD]
    rows = [*head, *_bill_rows(statement), *_detail_rows(statement)]
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _bill_rows(statement: Statement) -> Iterator[dict[str, object]]:
    for line in statement.lines:
        yield {
            "record": "line",
            "item": line.item,
            "source": line.source,
            "first_day": line.first_day,
            "last_day": line.last_day,
            "energy_uwh": "" if line.quantity_wh is None else line.quantity_wh * ENERGY_UNITS_PER_WH,
            "price_uthb_per_kwh": line.price_uthb_per_kwh,
            "amount_uthb": line.amount_uthb,
            "transactions": " ".join(line.transactions),
        }
    for name in ("total", "baseline", "saving"):
        yield {"record": name, "amount_uthb": getattr(statement, f"{name}_uthb")}


def _detail_rows(statement: Statement) -> Iterator[dict[str, object]]:
    for trade in statement.trades:
        yield {
            "record": "trade",
            "item": trade.side,
            "time_unix_s": trade.start,
            "epoch": trade.epoch,
            "order_id": trade.order_id,
            "energy_uwh": trade.energy_uwh,
            "price2_half_ticks": trade.price2,
            "money_wei": trade.money_wei,
            "transactions": f"{trade.order_tx} {trade.clear_tx}",
        }
    for reading in statement.readings:
        yield {
            "record": "reading",
            "item": reading.kind,
            "time_unix_s": reading.interval_end,
            "import_wh": reading.import_wh,
            "export_wh": reading.export_wh,
            "grid_import_wh": reading.grid_import_wh,
            "transactions": reading.tx_hash,
        }
    for movement in statement.movements:
        yield {
            "record": "movement",
            "item": movement.kind,
            "time_unix_s": movement.time,
            "energy_uwh": movement.energy_uwh,
            "money_wei": movement.money_wei,
            "transactions": movement.tx_hash,
        }
