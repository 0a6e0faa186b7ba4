"""A month's bill reckoned a second time, for the audit: from the rebuilt books and the tariff file alone.

Nothing here is shared with `busbar.tariff` and `busbar.statements`, which it is held against, but the meaning of their
figures and words: the file's rows are read again, in fractions, and every amount is rounded once, where a line ends
([R7], [R8]). Blocks are cut by where each interval stands in the month's import ([R10]), whose bounds count for the
share of the month's days that readings cover.
"""

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from math import ceil, floor
from pathlib import Path
from typing import NamedTuple

from busbar import errors

CLOCK = timezone(timedelta(hours=7))
"""Thailand's, all year round."""

UTHB_WEI = 10**12
"""Baht wei in a micro-THB."""

PLANS = ("residential-1.1", "residential-1.2", "tou-1.3")
PEAK_ITEMS = ("on_peak_first_weekday", "on_peak_last_weekday", "on_peak_from", "on_peak_to")
BY_TIME_ITEMS = {"tou-1.3": ("energy_on_peak", "energy_off_peak", *PEAK_ITEMS)}
BLOCK_ITEM = "energy_kwh_"
COMMON_ITEMS = ("ft", "buyback", "vat")


class ReckoningError(errors.BusbarError):
    """The tariff file has no number that a bill needs."""


class Interval(NamedTuple):
    """Import of the interval that ends at a time, Unix seconds, and the transaction it came with."""

    end: int
    import_wh: int
    tx_hash: str = ""


class Deal(NamedTuple):
    """What an order bought or sold, and the transactions that entered and cleared it."""

    energy_uwh: int
    money_wei: int
    transactions: tuple[str, str]


class Charge(NamedTuple):
    """A line of a bill, as `busbar.statements.Line` has them."""

    section: str
    item: str
    source: str
    first_day: date
    last_day: date
    quantity_wh: int | None
    price_uthb_per_kwh: int | None
    amount_uthb: int
    transactions: list[str]


class Entry(NamedTuple):
    """What the file says of an item on a day: the rows that hold, the value, in THB, and the row it is quoted from."""

    rows: tuple[int, ...]
    value: Fraction
    quoted: str


@dataclass(frozen=True, slots=True)
class Day:
    """A plan's numbers on a day, by item."""

    entries: dict[str, Entry]

    @property
    def rows(self) -> dict[str, tuple[int, ...]]:
        """Which rows of the file they come from: days in a row with the same ones are charged together."""
        return {item: entry.rows for item, entry in self.entries.items()}

    def value(self, item: str) -> Fraction:
        """What an item comes to, in THB or in its own unit."""
        return self.entries[item].value

    def on_peak(self, at: datetime) -> bool:
        """Whether a time is on-peak; never where there are blocks."""
        if PEAK_ITEMS[0] not in self.entries:
            return False
        first, last, begins, ends = (self.value(item) for item in PEAK_ITEMS)
        return first <= at.isoweekday() <= last and begins <= at.hour < ends

    def blocks(self) -> dict[str, tuple[int, int | None]]:
        """Above which Wh of the month each block begins and at which it ends, by item."""
        found: dict[str, tuple[int, int | None]] = {}
        for item in self.entries:
            if item.startswith(BLOCK_ITEM):
                first, last = item.removeprefix(BLOCK_ITEM).split("_")
                found[item] = (int(first) - 1) * 1000, None if last == "up" else int(last) * 1000
        return dict(sorted(found.items(), key=lambda block: block[1][0]))


class Period(NamedTuple):
    """Days of a month in a row with the same numbers."""

    first: date
    last: date
    day: Day


class Rates:
    """The numbers of a tariff file, day by day.

    Args:
        path: As documented in data/tariffs/README.md.
        plan: One of its plans.
    """

    def __init__(self, path: Path, plan: str) -> None:
        with path.open(encoding="utf-8-sig", newline="") as file:
            self._rows = [row for row in csv.DictReader(file) if row["value"]]
        if plan not in PLANS:
            raise ReckoningError(f"no plan {plan!r}")
        self.plan = plan
        self._days: dict[date, Day] = {}

    def on(self, day: date) -> Day:
        """The numbers of a day.

        Raises:
            ReckoningError: One is missing, or the blocks do not cover a month once.
        """
        if day not in self._days:
            energy = BY_TIME_ITEMS.get(self.plan) or self._block_items(day)
            wanted = [(self.plan, item) for item in (*energy, "service")] + [
                ("thailand", item) for item in COMMON_ITEMS
            ]
            found = Day({item: self._find(tariff, item, day) for tariff, item in wanted})
            reached: int | None = 0
            for begins, ends in found.blocks().values():
                if begins != reached:
                    raise ReckoningError(f"the blocks of {self.plan} on {day} do not cover a month once")
                reached = ends
            if found.blocks() and reached is not None:
                raise ReckoningError(f"the blocks of {self.plan} on {day} have an end")
            self._days[day] = found
        return self._days[day]

    def periods(self, first_day: date) -> list[Period]:
        """A month's days, those in a row with the same rows together; days without numbers belong to none."""
        found: list[Period] = []
        for day in (first_day + timedelta(days=n) for n in range(31)):
            try:
                here = self.on(day) if day.month == first_day.month else None
            except ReckoningError:
                here = None
            if here is None:
                continue
            if found and found[-1].last == day - timedelta(days=1) and found[-1].day.rows == here.rows:
                found[-1] = found[-1]._replace(last=day)
            else:
                found.append(Period(day, day, here))
        return found

    def _block_items(self, day: date) -> list[str]:
        items = {
            row["item"]
            for row in self._rows
            if row["tariff_id"] == self.plan and row["item"].startswith(BLOCK_ITEM) and _holds(row, day)
        }
        if not items:
            raise ReckoningError(f"the tariff file has no {self.plan} energy on {day}")
        return sorted(items)

    def _find(self, tariff: str, item: str, day: date) -> Entry:
        of_item = [
            (number, *_span(row), row)
            for number, row in enumerate(self._rows)
            if (row["tariff_id"], row["item"]) == (tariff, item)
        ]
        holding = [entry for entry in of_item if entry[1] <= day <= entry[2]]
        numbers = tuple(entry[0] for entry in holding)
        if not holding and item == "ft" and of_item:
            # The nearest dated period, the earlier of two: data/tariffs/README.md.
            holding = [min(of_item, key=lambda entry: (max(entry[1] - day, day - entry[2]), entry[1]))]
            numbers = (-1, holding[0][0])  # outside its period the row is another matter
        if not holding:
            raise ReckoningError(f"the tariff file has no {tariff} {item} on {day}")
        row = max(holding, key=lambda entry: entry[1])[3]
        return Entry(numbers, Fraction(row["value"]), _quoted(row))


def _span(row: dict[str, str]) -> tuple[date, date]:
    first, last = row["valid_from"], row["valid_to"]
    return date.fromisoformat(first) if first else date.min, date.fromisoformat(last) if last else date.max


def _holds(row: dict[str, str], day: date) -> bool:
    first, last = _span(row)
    return first <= day <= last


def _quoted(row: dict[str, str]) -> str:
    """A row as a line's source."""
    first, last = (date.fromisoformat(row[end]) if row[end] else "" for end in ("valid_from", "valid_to"))
    value = Decimal(row["value"])
    return f"{row['item']} {value} {row['unit']}, {first}..{last} [{row['status']}] {row['source']}"


# ------------------------------------------------------------------------------ from the grid


class _Stretch(NamedTuple):
    """Where an interval's import stands in the month's, in Wh."""

    period: Period
    on_peak: bool
    begins_wh: int
    ends_wh: int
    transactions: tuple[str, ...]


def covered_days(first_day: date, ends: Iterable[int], epoch_seconds: int) -> int:
    """Days from the first to the last on which an interval of the month begins, both counted; 0 if there is none.

    Args:
        first_day: First of the month.
        ends: When the intervals end, of every reading that counted, Unix seconds.
        epoch_seconds: Length of an interval.
    """
    days = {_begin(first_day, end, epoch_seconds).date() for end in ends}
    return (max(days) - min(days) + timedelta(days=1)).days if days else 0


def from_grid(
    rates: Rates,
    first_day: date,
    intervals: Iterable[Interval],
    epoch_seconds: int,
    covered: int,
    *,
    service: bool,
) -> list[Charge]:
    """What the utility charges in a month: energy by block or time of use, Ft, service, and VAT on them.

    Args:
        rates: The tariff.
        first_day: First of the month, by whose numbers service and VAT go.
        intervals: What is charged.
        epoch_seconds: Length of an interval, which is priced by its start.
        covered: How many days of the month readings cover.
        service: Whether there is a meter.
    """
    last_day = _last_day(first_day)
    share = Fraction(covered, last_day.day)
    of_days = "" if covered == last_day.day else f" a month, {covered} of {last_day.day} days"
    stretches = list(_stretches(rates, first_day, intervals, epoch_seconds))
    lines: list[Charge] = []
    for period in rates.periods(first_day):
        mine = [stretch for stretch in stretches if stretch.period == period]
        if PEAK_ITEMS[0] in period.day.entries:
            for name in ("off-peak", "on-peak"):
                chosen = [stretch for stretch in mine if stretch.on_peak == (name == "on-peak")]
                item = f"energy_{name.replace('-', '_')}"
                lines += _priced(f"Energy charge, {name}", item, period, chosen, 0, None)
                lines += _priced(f"Ft, {name}", "ft", period, chosen, 0, None)
        else:
            for item, (above_wh, to_wh) in period.day.blocks().items():
                kwh = f"above {above_wh // 1000}" if to_wh is None else f"{above_wh // 1000 + 1} to {to_wh // 1000}"
                bounds = floor(above_wh * share), None if to_wh is None else floor(to_wh * share)
                lines += _priced(f"Energy charge, {kwh} kWh{of_days}", item, period, mine, *bounds)
            lines += _priced("Ft", "ft", period, mine, 0, None)
    whole = Period(first_day, last_day, rates.on(first_day))
    if service:
        lines.append(_fixed("Service charge", "service", whole, int(whole.day.value("service") * 10**6)))
    if lines:
        percent = whole.day.value("vat")
        lines.append(
            _fixed(f"VAT {percent} %", "vat", whole, ceil(sum(line.amount_uthb for line in lines) * percent / 100))
        )
    return lines


def _last_day(first_day: date) -> date:
    return (first_day + timedelta(days=31)).replace(day=1) - timedelta(days=1)


def _begin(first_day: date, end: int, epoch_seconds: int) -> datetime:
    """When the interval that ends at a time begins, but not before the month does."""
    midnight = datetime(first_day.year, first_day.month, 1, tzinfo=CLOCK)
    return max(datetime.fromtimestamp(end - epoch_seconds, CLOCK), midnight)


def _stretches(rates: Rates, first_day: date, intervals: Iterable[Interval], epoch_seconds: int) -> Iterator[_Stretch]:
    """Each interval's place in the month, its meters together."""
    energy_wh: dict[int, int] = {}
    transactions: dict[int, list[str]] = {}
    for interval in intervals:
        energy_wh[interval.end] = energy_wh.get(interval.end, 0) + interval.import_wh
        transactions.setdefault(interval.end, []).append(interval.tx_hash)
    periods, reached_wh = rates.periods(first_day), 0
    for end in sorted(energy_wh):
        start = _begin(first_day, end, epoch_seconds)
        rates.on(start.date())  # which says what is missing
        period = next(one for one in periods if one.first <= start.date() <= one.last)
        yield _Stretch(
            period, period.day.on_peak(start), reached_wh, reached_wh + energy_wh[end], tuple(transactions[end])
        )
        reached_wh += energy_wh[end]


def _priced(
    words: str, item: str, period: Period, stretches: Sequence[_Stretch], above_wh: int, to_wh: int | None
) -> list[Charge]:
    """The line of what of some stretches lies in a part of the month's import; none if nothing does."""
    quantity_wh = 0
    transactions: list[str] = []
    for one in stretches:
        upper_wh = one.ends_wh if to_wh is None else min(one.ends_wh, to_wh)
        inside_wh = upper_wh - max(one.begins_wh, above_wh)
        if inside_wh > 0:
            quantity_wh += inside_wh
            transactions += one.transactions
    if not quantity_wh:
        return []
    entry = period.day.entries[item]
    each, amount = int(entry.value * 10**6), ceil(quantity_wh * entry.value * 1000)
    hashes = list(dict.fromkeys(transactions))
    return [Charge("grid", words, entry.quoted, period.first, period.last, quantity_wh, each, amount, hashes)]


def _fixed(words: str, item: str, month: Period, amount_uthb: int) -> Charge:
    quoted = month.day.entries[item].quoted
    return Charge("grid", words, quoted, month.first, month.last, None, None, amount_uthb, [])


# ------------------------------------------------------------------------------ from neighbours, and without them


def from_neighbours(first_day: date, last_day: date, bought: Sequence[Deal], sold: Sequence[Deal]) -> list[Charge]:
    """What was paid for GRID in a month, rounded up, and earned with it, rounded down."""
    lines = []
    for deals, words, sign in ((bought, "Bought from neighbours", 1), (sold, "Sold to neighbours", -1)):
        if deals:
            exact = Fraction(sum(deal.money_wei for deal in deals), UTHB_WEI)
            amount_uthb = ceil(exact) if sign > 0 else -floor(exact)
            energy_wh = sum(deal.energy_uwh for deal in deals) // 10**6
            hashes = list(dict.fromkeys(tx for deal in deals for tx in deal.transactions))
            source = "the market's epochs, at the price of each"
            lines.append(Charge("market", words, source, first_day, last_day, energy_wh, None, amount_uthb, hashes))
    return lines


def without_market(
    rates: Rates, first_day: date, intervals: Iterable[Interval], export_wh: int, epoch_seconds: int, covered: int
) -> int:
    """What a month with a meter comes to with retail and buyback alone, in micro-THB."""
    charged = from_grid(rates, first_day, intervals, epoch_seconds, covered, service=True)
    credit = floor(max(export_wh, 0) * rates.on(first_day).value("buyback") * 1000)
    return sum(line.amount_uthb for line in charged) - credit
