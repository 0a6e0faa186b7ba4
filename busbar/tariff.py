"""What the grid charges and pays, as dated data: the corridor inside which neighbours trade.

The file format, the sources and their limits are documented in ``data/tariffs/README.md``.

Money here is whole micro-THB (``_uthb``, 1e-6 THB) because tariffs such as 4.2218 THB/kWh are finer than a
satang; prices are whole micro-THB per kWh (``_uthb_per_kwh``). Price limits for orders are ticks of one
satang (0.01 THB) per kWh: rounded down for a buyer and up for a seller, so that no agent ever bids above
retail or offers below buyback. Pure: no clock.
"""

from __future__ import annotations

import csv
import io
import re
from calendar import monthrange
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from busbar import errors

__all__ = ["FLAT_MARGINAL_PLAN", "SMALL_PLAN", "TOU_PLAN", "Block", "Share", "Tariff", "TariffError", "load_tariff"]

FLAT_MARGINAL_PLAN = "residential-1.2"
SMALL_PLAN = "residential-1.1"
TOU_PLAN = "tou-1.3"
PLANS = (SMALL_PLAN, FLAT_MARGINAL_PLAN, TOU_PLAN)
UTHB_PER_THB = 1_000_000
UTHB_PER_TICK = 10_000
FLAT_MARGINAL_WH = 400_000
"""Of a month: the block in which the last of it lies has the price that the corridor takes for every kWh."""

HEADER = (
    "tariff_id",
    "item",
    "value",
    "unit",
    "valid_from",
    "valid_to",
    "source",
    "source_date",
    "status",
)

# Thailand has no daylight saving time; a fixed offset needs no time zone database.
_BANGKOK = timezone(timedelta(hours=7), "Bangkok")
_COMMON_ID = "thailand"
_WH_PER_KWH = 1_000
_FLAT_MARGINAL = "flat-marginal"
_BY_BLOCK = (
    "blocks-by-time: the import of a calendar month, of all the account's meters, fills the blocks in order of time, "
    "each Wh at the price of its day; the bounds count for the share of the month's days that the readings cover"
)
_BLOCK_ITEM = re.compile(r"energy_kwh_([1-9][0-9]{0,8})_([1-9][0-9]{0,8}|up)")
_NEAREST_REACH = timedelta(days=366)
_DECIMAL = re.compile(r"-?[0-9]{1,9}(?:\.[0-9]{1,6})?")
_STATUSES = frozenset({"read", "secondary", "news", "draft", "planned", "assumption", "not_found"})


class TariffError(errors.BusbarError):
    """A tariff file is malformed, or holds no value for what is asked; the message is one line."""


class Share(NamedTuple):
    """How many days of a calendar month an account's readings cover."""

    covered_days: int
    month_days: int

    def of_wh(self, month_wh: int) -> int:
        """Return the part of a bound of the month, in Wh, rounded down ([R10] of docs/protocol.md)."""
        return month_wh * self.covered_days // self.month_days


@dataclass(frozen=True)
class Block:
    """A part of a calendar month's energy that has a price of its own.

    Attributes:
        item: Its name in the tariff file.
        above_wh: Energy of the month that comes before it.
        to_wh: Energy of the month with which it ends; None if it has no end.
        uthb_per_kwh: Energy charge in micro-THB per kWh, without Ft and VAT.
        row: The file's row, as in ``Tariff.rows``.
    """

    item: str
    above_wh: int
    to_wh: int | None
    uthb_per_kwh: int
    row: str

    def words(self, share: Share) -> str:
        """Which kWh of the month they are, for people, and of which share of it."""
        above = self.above_wh // _WH_PER_KWH
        kwh = f"above {above} kWh" if self.to_wh is None else f"{above + 1} to {self.to_wh // _WH_PER_KWH} kWh"
        if share.covered_days == share.month_days:
            return kwh
        return f"{kwh} a month, {share.covered_days} of {share.month_days} days"


@dataclass(frozen=True)
class Tariff:
    """One plan with the numbers in force on one date.

    Attributes:
        plan: ``FLAT_MARGINAL_PLAN``, ``SMALL_PLAN`` or ``TOU_PLAN``.
        currency: ISO 4217 code of all money, ``"THB"``.
        on: The date it was loaded for.
        holds_from: First day on which the file gives these same rows.
        holds_to: Last such day; it is far in the future if no end is known.
        on_peak_uthb_per_kwh: Energy charge on-peak, without Ft and VAT; a flat plan has the same value twice.
        off_peak_uthb_per_kwh: Energy charge off-peak, without Ft and VAT.
        on_peak_weekdays: ISO weekdays (Monday is 1) that have on-peak hours; empty for a flat plan.
        on_peak_hours: Hours of the Bangkok clock that are on-peak, end excluded; empty for a flat plan.
        blocks: What a month's bill goes by instead of the flat price, from the first kWh on; empty by time of use.
        ft_uthb_per_kwh: Ft, the fuel adjustment, in micro-THB per kWh; it has been negative.
        buyback_uthb_per_kwh: What the utility pays for surplus, in micro-THB per kWh.
        service_uthb_per_month: Service charge in micro-THB per month, without VAT.
        vat_percent: VAT in whole percent, on everything the customer pays.
        rows: One line per row used, those of blocks apart: item, value, unit, period, status, source.
        assumptions: One line per assumption made, beginning with its name.
    """

    plan: str
    currency: str
    on: date
    holds_from: date
    holds_to: date
    on_peak_uthb_per_kwh: int
    off_peak_uthb_per_kwh: int
    on_peak_weekdays: range
    on_peak_hours: range
    blocks: tuple[Block, ...]
    ft_uthb_per_kwh: int
    buyback_uthb_per_kwh: int
    service_uthb_per_month: int
    vat_percent: int
    rows: tuple[str, ...]
    assumptions: tuple[str, ...]

    @property
    def bill_assumptions(self) -> tuple[str, ...]:
        """What a month's bill assumes, a line each: it goes by blocks where the corridor has one flat price."""
        return tuple(_BY_BLOCK if told.startswith(f"{_FLAT_MARGINAL}:") else told for told in self.assumptions)

    @property
    def buyback_tick(self) -> int:
        """Lowest price in ticks that is not below buyback: the least a seller should accept (rounded up)."""
        return -(-self.buyback_uthb_per_kwh // UTHB_PER_TICK)

    @property
    def buyback_bid_tick(self) -> int:
        """Highest price in ticks that is not above buyback: the utility's own bid (rounded down)."""
        return self.buyback_uthb_per_kwh // UTHB_PER_TICK

    def is_on_peak(self, at: datetime) -> bool:
        """Tell whether ``at`` is on-peak, by the Bangkok clock; always False for a flat plan.

        An interval is priced by its start. Public holidays are not known (see ``assumptions``).

        Raises:
            TariffError: ``at`` is naive, or outside ``holds_from`` to ``holds_to``.
        """
        local = self._local(at)
        return local.isoweekday() in self.on_peak_weekdays and local.hour in self.on_peak_hours

    def in_blocks(self, before_wh: int, import_wh: int, share: Share) -> list[tuple[Block, int]]:
        """Return how import that comes after ``before_wh`` of its month falls into the blocks, in Wh.

        Of a month that readings cover in part the bounds count for that share. The cut is between two whole Wh
        ([R10] of docs/protocol.md). By time of use there are no blocks.

        Raises:
            TariffError: Either energy is negative.
        """
        begins, ends = _energy(before_wh), before_wh + _energy(import_wh)
        parts = [
            (
                block,
                min(ends, ends if block.to_wh is None else share.of_wh(block.to_wh))
                - max(begins, share.of_wh(block.above_wh)),
            )
            for block in self.blocks
        ]
        return [(block, inside_wh) for block, inside_wh in parts if inside_wh > 0]

    def retail_uthb_per_kwh(self, at: datetime) -> int:
        """Return what one more kWh from the grid costs: energy charge plus Ft, before VAT, in micro-THB.

        Raises:
            TariffError: ``at`` is naive, or outside ``holds_from`` to ``holds_to``.
        """
        energy = self.on_peak_uthb_per_kwh if self.is_on_peak(at) else self.off_peak_uthb_per_kwh
        return energy + self.ft_uthb_per_kwh

    def retail_limit_tick(self, at: datetime) -> int:
        """Return the highest price in ticks that is not above retail before VAT: the most a buyer should bid.

        Raises:
            TariffError: ``at`` is naive, or outside ``holds_from`` to ``holds_to``.
        """
        return self.retail_uthb_per_kwh(at) // UTHB_PER_TICK

    def grid_cost_uthb(self, import_wh: int, at: datetime) -> int:
        """Return what the grid charges for ``import_wh``: energy plus Ft, before VAT, in micro-THB.

        Rounded up to a whole micro-THB, against whoever takes the energy: cutting one import into many then
        never makes it cheaper, and a report never shows the grid as cheaper than it is. The error is below
        one micro-THB per call.

        Args:
            import_wh: Whole Wh taken from the grid, 0 or more.
            at: Start of the interval in which they were taken.

        Raises:
            TariffError: ``import_wh`` is negative, or ``at`` is naive or outside ``holds_from`` to
                ``holds_to``.
        """
        return _ceil_div(_energy(import_wh) * self.retail_uthb_per_kwh(at), _WH_PER_KWH)

    def buyback_credit_uthb(self, export_wh: int) -> int:
        """Return what the utility pays for ``export_wh`` of surplus, in micro-THB.

        Rounded down, against the seller, for the reason given at ``grid_cost_uthb``: cutting never gains.

        Raises:
            TariffError: ``export_wh`` is negative.
        """
        return _energy(export_wh) * self.buyback_uthb_per_kwh // _WH_PER_KWH

    def ft_cost_uthb(self, import_wh: int) -> int:
        """Return the part of ``grid_cost_uthb`` that is Ft, in micro-THB, rounded down; Ft may be negative.

        Raises:
            TariffError: ``import_wh`` is negative.
        """
        return _energy(import_wh) * self.ft_uthb_per_kwh // _WH_PER_KWH

    def service_uthb(self, day: date) -> int:
        """Return one day's part of a meter's monthly service charge, in micro-THB, rounded up, before VAT."""
        return _ceil_div(self.service_uthb_per_month, monthrange(day.year, day.month)[1])

    def vat_uthb(self, amount_uthb: int) -> int:
        """Return the VAT on an amount before VAT, in micro-THB, rounded up."""
        return _ceil_div(amount_uthb * self.vat_percent, 100)

    def describe(self) -> str:
        """Return what a report prints: the plan, its numbers, their sources and every assumption."""
        off_peak = _thb(self.off_peak_uthb_per_kwh + self.ft_uthb_per_kwh)
        retail = f"retail {off_peak}"
        kind = "one flat marginal price"
        if self.on_peak_hours:
            hours = f"{self.on_peak_hours.start:02}:00-{self.on_peak_hours.stop:02}:00"
            kind = f"time of use, on-peak {hours} on ISO weekdays {', '.join(map(str, self.on_peak_weekdays))}"
            on_peak = _thb(self.on_peak_uthb_per_kwh + self.ft_uthb_per_kwh)
            retail = f"retail {on_peak} on-peak, {off_peak} off-peak"
        lines = [
            f"tariff {self.plan} on {self.on} ({kind})",
            f"  {retail}, buyback {_thb(self.buyback_uthb_per_kwh)} {self.currency}/kWh",
            f"  retail includes Ft {_thb(self.ft_uthb_per_kwh)} and excludes VAT {self.vat_percent} %",
        ]
        lines += [f"  row: {row}" for row in self.rows]
        lines += [f"  assumption: {assumption}" for assumption in self.assumptions]
        return "\n".join(lines)

    def _local(self, at: datetime) -> datetime:
        if at.utcoffset() is None:
            raise TariffError(f"{at.isoformat()} has no UTC offset, so its hour is unknown")
        local = at.astimezone(_BANGKOK)
        # A tariff kept past its period would go on silently with last season's Ft.
        if not self.holds_from <= local.date() <= self.holds_to:
            held = f"{self.holds_from} to {self.holds_to}"
            raise TariffError(f"{self.plan} loaded for {self.on} holds {held}, not {local.date()}: load it anew")
        return local


@dataclass(frozen=True)
class _Row:
    number: int
    tariff_id: str
    item: str
    value: Decimal
    unit: str
    valid_from: date
    valid_to: date
    source: str
    status: str

    def covers(self, on: date) -> bool:
        return self.valid_from <= on <= self.valid_to

    def distance_days(self, on: date) -> int:
        return max((self.valid_from - on).days, (on - self.valid_to).days, 0)

    @property
    def period(self) -> str:
        first = "" if self.valid_from == date.min else str(self.valid_from)
        last = "" if self.valid_to == date.max else str(self.valid_to)
        return f"{first}..{last}"

    def __str__(self) -> str:
        return f"{self.item} {self.value} {self.unit}, {self.period} [{self.status}] {self.source}"


def load_tariff(path: Path | str, on: date, plan: str = FLAT_MARGINAL_PLAN) -> Tariff:
    """Read the tariff of one plan as it stands on one date.

    Args:
        path: A tariff file as documented in ``data/tariffs/README.md``.
        on: The date, by the Bangkok calendar.
        plan: ``FLAT_MARGINAL_PLAN`` or ``SMALL_PLAN`` (for the corridor every kWh at the price of the block in
            which the 400th of a month lies, for a bill by blocks), or ``TOU_PLAN``.

    Raises:
        TariffError: The file cannot be read or is malformed, the plan is unknown, two rows contradict each
            other, the blocks leave a gap, or a number other than Ft is missing for the date. A missing Ft is
            taken from the nearest dated period and named in ``Tariff.assumptions``.
    """
    if plan not in PLANS:
        raise TariffError(f"no plan {plan!r}; plans are {', '.join(PLANS[:-1])} and {PLANS[-1]}")
    book = _Book(str(path), _read(Path(path)), on)
    ft = book.ft()
    buyback = book.uthb(_COMMON_ID, "buyback", "THB/kWh")
    vat_percent = book.whole(_COMMON_ID, "vat", "percent")
    service = book.uthb(plan, "service", "THB/month")
    weekdays = hours = range(0)
    blocks: tuple[Block, ...] = ()
    if plan != TOU_PLAN:
        blocks = book.blocks(plan)
        marginal = next(block for block in blocks if block.to_wh is None or block.to_wh >= FLAT_MARGINAL_WH)
        on_peak = off_peak = book.uthb(plan, marginal.item, "THB/kWh")
        which = marginal.item.removeprefix("energy_kwh_").replace("_", "-")
        book.assumptions.append(
            f"{_FLAT_MARGINAL}: every kWh costs the price of block {which} kWh/month; "
            "a day or a week cannot know in which block its month ends"
        )
    else:
        on_peak = book.uthb(plan, "energy_on_peak", "THB/kWh")
        off_peak = book.uthb(plan, "energy_off_peak", "THB/kWh")
        first_weekday = book.whole(plan, "on_peak_first_weekday", "iso weekday")
        weekdays = range(first_weekday, book.whole(plan, "on_peak_last_weekday", "iso weekday") + 1)
        hours = range(book.whole(plan, "on_peak_from", "hour"), book.whole(plan, "on_peak_to", "hour"))
        book.assumptions.append("holidays-ignored: public holidays are priced like any other day of the week")
    return Tariff(
        plan=plan,
        currency="THB",
        on=on,
        holds_from=book.holds_from,
        holds_to=book.holds_to,
        on_peak_uthb_per_kwh=on_peak,
        off_peak_uthb_per_kwh=off_peak,
        on_peak_weekdays=weekdays,
        on_peak_hours=hours,
        blocks=blocks,
        ft_uthb_per_kwh=ft,
        buyback_uthb_per_kwh=buyback,
        service_uthb_per_month=service,
        vat_percent=vat_percent,
        rows=tuple(str(row) for row in book.used),
        assumptions=tuple(book.assumptions),
    )


class _Book:
    """The rows of one file seen from one date; remembers which were used and how long they hold."""

    def __init__(self, file: str, rows: list[_Row], on: date) -> None:
        self.file = file
        self.rows = rows
        self.on = on
        self.used: list[_Row] = []
        self.assumptions: list[str] = []
        self.holds_from = date.min
        self.holds_to = date.max

    def uthb(self, tariff_id: str, item: str, unit: str) -> int:
        return _uthb(self._value(tariff_id, item, unit))

    def whole(self, tariff_id: str, item: str, unit: str) -> int:
        value = self._value(tariff_id, item, unit)
        if value != int(value):
            raise TariffError(f"{self.file}: {tariff_id} {item} is {value}, not a whole number")
        return int(value)

    def blocks(self, plan: str) -> tuple[Block, ...]:
        """Return a plan's blocks from the first kWh on, each where the one before ends, the last without end."""
        known = [row for row in self.rows if row.tariff_id == plan and _BLOCK_ITEM.fullmatch(row.item)]
        items = {row.item for row in known if row.covers(self.on)}
        found = sorted((self._block(plan, item) for item in items), key=lambda block: block.above_wh)
        begins = [block.above_wh for block in found]
        if [*begins, None] != [0, *(block.to_wh for block in found)]:
            told = ", ".join(block.item for block in found) or "none"
            raise TariffError(f"{self.file}: the blocks of {plan} on {self.on} do not cover a month once: {told}")
        # Blocks of another cut come and go as rows of other items.
        self._narrow_to(known)
        return tuple(found)

    def _block(self, plan: str, item: str) -> Block:
        row = self._row(plan, item, "THB/kWh")
        first, last = _BLOCK_ITEM.fullmatch(item).groups()  # type: ignore[union-attr]  # chosen by it
        to_wh = None if last == "up" else int(last) * _WH_PER_KWH
        return Block(item, (int(first) - 1) * _WH_PER_KWH, to_wh, _uthb(row.value), str(row))

    def ft(self) -> int:
        """Return Ft in micro-THB/kWh; by the nearest-period rule, and named as such, if the date has none."""
        known = self._rows_of(_COMMON_ID, "ft")
        if not known or any(row.covers(self.on) for row in known):
            return self.uthb(_COMMON_ID, "ft", "THB/kWh")

        def nearest(day: date) -> _Row:
            return min(known, key=lambda row: (row.distance_days(day), row.valid_from))

        row = nearest(self.on)
        self._check_unit(row, "THB/kWh")
        days = row.distance_days(self.on)
        self.assumptions.append(
            f"ft-nearest-period: the file has no Ft for {self.on}; used {row.value} of {row.period}, {days} days away"
        )
        # The assumption holds on the neighbouring days of the gap for which the same period is the nearest.
        day = timedelta(days=1)
        first = last = self.on
        while self.on - first < _NEAREST_REACH and nearest(first - day) is row and not row.covers(first - day):
            first -= day
        while last - self.on < _NEAREST_REACH and nearest(last + day) is row and not row.covers(last + day):
            last += day
        self._narrow(first, last)
        self.used.append(row)
        return _uthb(row.value)

    def _value(self, tariff_id: str, item: str, unit: str) -> Decimal:
        row = self._row(tariff_id, item, unit)
        if row not in self.used:
            self.used.append(row)
        return row.value

    def _row(self, tariff_id: str, item: str, unit: str) -> _Row:
        rows = self._rows_of(tariff_id, item)
        current = [row for row in rows if row.covers(self.on)]
        if not current:
            known = ", ".join(row.period for row in rows) or "none"
            raise TariffError(f"{self.file}: no {tariff_id} {item} on {self.on}; known periods: {known}")
        # Two sources for one number are welcome; the one that speaks of the later period is quoted.
        best = max(current, key=lambda row: row.valid_from)
        for row in current:
            self._check_unit(row, unit)
            if row.value != best.value:
                reason = f"{row.value} contradicts {best.value} in row {best.number} on {self.on}"
                raise TariffError(f"{self.file}: row {row.number}: {reason}")
        self._narrow_to(rows)
        return best

    def _narrow_to(self, rows: list[_Row]) -> None:
        """Holds no longer than the date's rows among these are the same: one that begins later may contradict."""
        day = timedelta(days=1)
        for row in rows:
            if row.covers(self.on):
                self._narrow(row.valid_from, row.valid_to)
            elif row.valid_from > self.on:
                self._narrow(date.min, row.valid_from - day)
            else:
                self._narrow(row.valid_to + day, date.max)

    def _check_unit(self, row: _Row, unit: str) -> None:
        if row.unit != unit:
            raise TariffError(f"{self.file}: row {row.number}: unit {row.unit!r} must be {unit!r}")

    def _rows_of(self, tariff_id: str, item: str) -> list[_Row]:
        return [row for row in self.rows if (row.tariff_id, row.item) == (tariff_id, item)]

    def _narrow(self, first: date, last: date) -> None:
        self.holds_from = max(self.holds_from, first)
        self.holds_to = min(self.holds_to, last)


def _read(path: Path) -> list[_Row]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise TariffError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise TariffError(f"{path}: is not UTF-8 text") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows = []
    try:
        if tuple(next(reader, [])) != HEADER:
            raise TariffError(f"{path}: row 1: header must be exactly {','.join(HEADER)}")
        for fields in reader:
            row = _parse(f"{path}: row {reader.line_num}", reader.line_num, fields) if fields else None
            if row is not None:
                rows.append(row)
    except csv.Error as error:
        raise TariffError(f"{path}: row {reader.line_num}: is not valid CSV: {error}") from error
    return rows


def _parse(where: str, number: int, fields: list[str]) -> _Row | None:
    """Check one row; None if it only records that a value was not found."""
    if len(fields) != len(HEADER):
        raise TariffError(f"{where}: has {len(fields)} fields, not {len(HEADER)}")
    tariff_id, item, value, unit, valid_from, valid_to, source, _, status = fields
    if value and not _DECIMAL.fullmatch(value):
        raise TariffError(f"{where}: value {value!r} is not a decimal with at most six decimals")
    if status.partition(":")[0] not in _STATUSES:
        raise TariffError(f"{where}: status {status!r} must begin with one of {', '.join(sorted(_STATUSES))}")
    first_day = _day(where, "valid_from", valid_from, date.min)
    last_day = _day(where, "valid_to", valid_to, date.max)
    if first_day > last_day:
        raise TariffError(f"{where}: valid_from {valid_from} is after valid_to {valid_to}")
    if not value:
        return None
    return _Row(
        number=number,
        tariff_id=tariff_id,
        item=item,
        value=Decimal(value),
        unit=unit,
        valid_from=first_day,
        valid_to=last_day,
        source=source,
        status=status,
    )


def _day(where: str, column: str, text: str, unknown: date) -> date:
    if not text:
        return unknown
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise TariffError(f"{where}: {column} {text!r} is not a date such as 2026-03-09") from error


def _energy(energy_wh: int) -> int:
    if energy_wh < 0:
        raise TariffError(f"{energy_wh} Wh is negative; import and export are 0 or more")
    return energy_wh


def _uthb(thb: Decimal) -> int:
    # Exact: the file allows no more than six decimals.
    return int(thb.scaleb(6))


def _thb(uthb: int) -> str:
    """Write micro-THB as THB with at least four decimals, exactly."""
    sign = "-" if uthb < 0 else ""
    whole, fraction = divmod(abs(uthb), UTHB_PER_THB)
    digits = f"{fraction:06}"
    return f"{sign}{whole}.{digits[:4]}{digits[4:].rstrip('0')}"


def _ceil_div(numerator: int, denominator: int) -> int:
    return -(-numerator // denominator)
