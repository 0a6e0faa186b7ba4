"""A month's bill reckoned a second time, for the audit: from the rebuilt books and the tariff file alone.

Nothing here is shared with `busbar.tariff` and `busbar.statements`, which it is held against, but the meaning of their
figures: the file's rows are read again, in fractions, and every amount is rounded once, where a line ends ([R7], [R8]).
"""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from fractions import Fraction
from math import ceil, floor
from pathlib import Path
from typing import NamedTuple

from busbar import errors

CLOCK = timezone(timedelta(hours=7))
"""Thailand's, all year round."""

UTHB_WEI = 10**12
"""Baht wei in a micro-THB."""

FLAT = "residential-1.2"
ENERGY_ITEMS = {FLAT: ("energy_kwh_151_400",), "tou-1.3": ("energy_on_peak", "energy_off_peak")}
PEAK_ITEMS = ("on_peak_first_weekday", "on_peak_last_weekday", "on_peak_from", "on_peak_to")
COMMON_ITEMS = ("ft", "buyback", "vat")


class ReckoningError(errors.BusbarError):
    """The tariff file has no number that a bill needs."""


class Interval(NamedTuple):
    """Import of the interval that ends at a time, Unix seconds."""

    end: int
    import_wh: int


class Amount(NamedTuple):
    """A line of a bill: energy and price where there are any, and what it comes to."""

    section: str
    quantity_wh: int | None
    price_uthb_per_kwh: int | None
    amount_uthb: int


@dataclass(frozen=True, slots=True)
class Day:
    """A plan's numbers on a day, in THB.

    Attributes:
        rows: Which rows of the file they come from: days with the same ones are charged on one line.
        values: By item.
    """

    rows: tuple[tuple[int, ...], ...]
    values: dict[str, Fraction]

    def on_peak(self, at: datetime) -> bool:
        """Whether a time is on-peak; never under a flat plan."""
        if PEAK_ITEMS[0] not in self.values:
            return False
        first, last, begins, ends = (self.values[item] for item in PEAK_ITEMS)
        return first <= at.isoweekday() <= last and begins <= at.hour < ends

    def energy(self, on_peak: bool) -> Fraction:
        """What a kWh costs without Ft and VAT, in THB."""
        if PEAK_ITEMS[0] not in self.values:
            return self.values[ENERGY_ITEMS[FLAT][0]]
        return self.values["energy_on_peak" if on_peak else "energy_off_peak"]


class Rates:
    """The numbers of a tariff file, day by day.

    Args:
        path: As documented in data/tariffs/README.md.
        plan: One of its plans.
    """

    def __init__(self, path: Path, plan: str) -> None:
        with path.open(encoding="utf-8-sig", newline="") as file:
            self._rows = [row for row in csv.DictReader(file) if row["value"]]
        if plan not in ENERGY_ITEMS:
            raise ReckoningError(f"no plan {plan!r}")
        self.plan = plan
        peak = () if plan == FLAT else PEAK_ITEMS
        self._wanted = [(plan, item) for item in (*ENERGY_ITEMS[plan], *peak, "service")]
        self._wanted += [("thailand", item) for item in COMMON_ITEMS]
        self._days: dict[date, Day] = {}

    def on(self, day: date) -> Day:
        """The numbers of a day.

        Raises:
            ReckoningError: One is missing.
        """
        if day not in self._days:
            found = [self._find(tariff, item, day) for tariff, item in self._wanted]
            values = {item: value for (_, item), (_, value) in zip(self._wanted, found, strict=True)}
            self._days[day] = Day(tuple(rows for rows, _ in found), values)
        return self._days[day]

    def _find(self, tariff: str, item: str, day: date) -> tuple[tuple[int, ...], Fraction]:
        of_item = [
            (number, *_span(row), Fraction(row["value"]))
            for number, row in enumerate(self._rows)
            if (row["tariff_id"], row["item"]) == (tariff, item)
        ]
        holding = [entry for entry in of_item if entry[1] <= day <= entry[2]]
        if not holding and item == "ft" and of_item:
            # The nearest dated period, the earlier of two: data/tariffs/README.md.
            holding = [min(of_item, key=lambda entry: (max(entry[1] - day, day - entry[2]), entry[1]))]
        if not holding:
            raise ReckoningError(f"the tariff file has no {tariff} {item} on {day}")
        return tuple(entry[0] for entry in holding), max(holding, key=lambda entry: entry[1])[3]


def _span(row: dict[str, str]) -> tuple[date, date]:
    first, last = row["valid_from"], row["valid_to"]
    return date.fromisoformat(first) if first else date.min, date.fromisoformat(last) if last else date.max


def from_grid(
    rates: Rates, first_day: date, intervals: Iterable[Interval], epoch_seconds: int, *, service: bool
) -> list[Amount]:
    """What the utility charges in a month: energy and Ft by price, service, and VAT on them.

    Args:
        rates: The tariff.
        first_day: First of the month, by whose numbers service and VAT go.
        intervals: What is charged.
        epoch_seconds: Length of an interval, which is priced by its start.
        service: Whether there is a meter.
    """
    sums: dict[tuple[tuple[tuple[int, ...], ...], bool], int] = {}
    when: dict[tuple[tuple[tuple[int, ...], ...], bool], tuple[date, Day]] = {}
    for interval in intervals:
        start = datetime.fromtimestamp(interval.end - epoch_seconds, CLOCK)
        day = rates.on(start.date())
        key = day.rows, day.on_peak(start)
        sums[key] = sums.get(key, 0) + interval.import_wh
        when[key] = min(when.get(key, (date.max, day)), (start.date(), day), key=lambda entry: entry[0])
    # Periods in order of time, off-peak before on-peak within one.
    begins = {rows: min(when[key][0] for key in when if key[0] == rows) for rows, _ in when}
    lines = [
        Amount("grid", sums[key], int(price * 10**6), ceil(sums[key] * price * 1000))
        for key in sorted(sums, key=lambda key: (begins[key[0]], key[1]))
        if sums[key]
        for price in (when[key][1].energy(key[1]), when[key][1].values["ft"])
    ]
    monthly = rates.on(first_day).values
    if service:
        lines.append(Amount("grid", None, None, int(monthly["service"] * 10**6)))
    if lines:
        vat = ceil(sum(line.amount_uthb for line in lines) * monthly["vat"] / 100)
        lines.append(Amount("grid", None, None, vat))
    return lines


def from_neighbours(bought: Sequence[tuple[int, int]], sold: Sequence[tuple[int, int]]) -> list[Amount]:
    """What was paid for GRID, rounded up, and earned with it, rounded down; given as (micro-Wh, wei)."""
    lines = []
    for trades, sign in ((bought, 1), (sold, -1)):
        if trades:
            energy_uwh, wei = sum(uwh for uwh, _ in trades), sum(wei for _, wei in trades)
            exact = Fraction(wei, UTHB_WEI)
            lines.append(
                Amount("market", energy_uwh // 10**6, None, sign * (ceil(exact) if sign > 0 else floor(exact)))
            )
    return lines


def without_market(
    rates: Rates, first_day: date, intervals: Iterable[Interval], export_wh: int, epoch_seconds: int
) -> int:
    """What a month with a meter comes to with retail and buyback alone, in micro-THB."""
    charged = from_grid(rates, first_day, intervals, epoch_seconds, service=True)
    credit = floor(max(export_wh, 0) * rates.on(first_day).values["buyback"] * 1000)
    return sum(line.amount_uthb for line in charged) - credit
