"""A community's measured days: one CSV file in, validated series of whole Wh out.

The file format is documented in ``data/README.md``. A file is either accepted whole or refused with a single
line naming the file, the row, the column and the reason; nothing is repaired or filled in, because a filled
gap is an invented reading.

Energies are whole Wh per interval; instants are aware datetimes; an interval is addressed by its index ``i``,
counted from the first interval of the file. Pure: no chain, no clock.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path
from typing import Literal, NamedTuple

from busbar import errors

__all__ = ["Community", "CommunityError", "CommunityMeter", "Registers", "load_community"]

Role = Literal["prosumer", "consumer"]

HEADER = ("meter_id", "role", "timestamp", "consumption_wh", "generation_wh")
DEFAULT_INTERVAL_S = 900
MIN_INTERVAL_S = 60
MAX_INTERVAL_WH = 2**40 - 1
MAX_METER_ID_LENGTH = 31
RATING_MARGIN_PERCENT = 25
RATING_STEP_W = 100
MIN_RATING_W = 1_000

_DAY_S = 86_400
_UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class CommunityError(errors.BusbarError):
    """A community file is malformed, or a community is asked for what it does not hold.

    Attributes:
        file: Name of the file or of the community.
        row: Line number in the file (the header is row 1), or None if no row is to blame.
        column: Column name, or None if no column is to blame.
        reason: What is wrong, in one line.
    """

    def __init__(self, file: str, row: int | None, column: str | None, reason: str) -> None:
        """Compose the one line that a person reads: file, row, column, reason."""
        self.file = file
        self.row = row
        self.column = column
        self.reason = reason
        where = [file]
        if row is not None:
            where.append(f"row {row}")
        if column is not None:
            where.append(f"column {column}")
        super().__init__(f"{', '.join(where)}: {reason}")


class Registers(NamedTuple):
    """Cumulative registers of a meter at the point of connection, in Wh; they only grow."""

    import_wh: int
    """Energy drawn from the network so far (OBIS 1.8.0)."""
    export_wh: int
    """Energy fed into the network so far (OBIS 2.8.0)."""


@dataclass(frozen=True)
class CommunityMeter:
    """One meter and its gross series, one value per interval of the community.

    Attributes:
        meter_id: 1 to 31 printable ASCII characters without spaces.
        role: ``"prosumer"`` or ``"consumer"``; a consumer never generates.
        consumption_wh: Gross consumption behind the meter, before PV, in Wh per interval.
        generation_wh: Gross PV output in Wh per interval.
    """

    meter_id: str
    role: Role
    consumption_wh: tuple[int, ...] = field(repr=False)
    generation_wh: tuple[int, ...] = field(repr=False)


@dataclass(frozen=True)
class Community:
    """Meters that share one complete, contiguous grid of intervals.

    Attributes:
        name: Name for reports; the file's stem unless stated.
        meters: The meters, sorted by id, so that the order of rows in the file does not matter.
        start: Start of the first interval, in the file's own UTC offset; its days are this community's days.
        interval_s: Length of every interval in seconds; divides a day.
        sha256: SHA-256 of the file's bytes, 64 hex digits, so that a report can say what it was made from.
    """

    name: str
    meters: tuple[CommunityMeter, ...]
    start: datetime
    interval_s: int
    sha256: str

    @property
    def interval_count(self) -> int:
        """Number of intervals in the file, the same for every meter."""
        return len(self.meters[0].consumption_wh)

    @property
    def end(self) -> datetime:
        """End of the last interval."""
        return self.start + timedelta(seconds=self.interval_s * self.interval_count)

    def meter(self, meter_id: str) -> CommunityMeter:
        """Return the meter with this id.

        Raises:
            CommunityError: No meter has this id.
        """
        for meter in self.meters:
            if meter.meter_id == meter_id:
                return meter
        raise CommunityError(self.name, None, "meter_id", f"no meter {_show(meter_id)}")

    def start_of(self, i: int) -> datetime:
        """Return the start of interval ``i``.

        Raises:
            IndexError: The community has no interval ``i``.
        """
        return self.start + timedelta(seconds=self.interval_s * self._checked(i))

    def end_of(self, i: int) -> datetime:
        """Return the end of interval ``i``, which is the instant its reading bears.

        Raises:
            IndexError: The community has no interval ``i``.
        """
        return self.start_of(i) + timedelta(seconds=self.interval_s)

    def available_days(self) -> tuple[date, ...]:
        """Return the days of which every interval is in the file, in order."""
        first = self.start.date()
        if self.start.time() != datetime.min.time():
            first += timedelta(days=1)
        return tuple(first + timedelta(days=n) for n in range((self.end.date() - first).days))

    def intervals(self, day: date, days: int = 1) -> range:
        """Return the indices of all intervals of ``days`` whole days beginning with ``day``.

        Args:
            day: First day, in the community's own UTC offset.
            days: Number of consecutive days, at least 1.

        Raises:
            CommunityError: A day is not completely in the file; the message states which days are.
        """
        if days < 1:
            raise CommunityError(self.name, None, None, f"cannot take {days} days; take at least 1")
        available = self.available_days()
        if not available or day < available[0] or days > (available[-1] - day).days + 1:
            wanted = str(day) if days == 1 else f"{days} days from {day}"
            held = "no complete day"
            if available:
                held = f"{available[0]} to {available[-1]} ({len(available)} days)"
            raise CommunityError(self.name, None, None, f"{wanted} not available; available: {held}")
        per_day = _DAY_S // self.interval_s
        midnight = datetime.combine(day, datetime.min.time(), tzinfo=self.start.tzinfo)
        first = (midnight - self.start) // timedelta(seconds=self.interval_s)
        return range(first, first + days * per_day)

    def import_wh(self, meter: CommunityMeter, i: int) -> int:
        """Return the Wh that ``meter`` draws from the network in interval ``i``.

        The meter stands at the point of connection: max(0, consumption - generation) of the interval.

        Raises:
            IndexError: The community has no interval ``i``.
        """
        self._checked(i)
        return max(0, meter.consumption_wh[i] - meter.generation_wh[i])

    def export_wh(self, meter: CommunityMeter, i: int) -> int:
        """Return the Wh that ``meter`` feeds into the network in interval ``i``.

        The meter stands at the point of connection: max(0, generation - consumption) of the interval.

        Raises:
            IndexError: The community has no interval ``i``.
        """
        self._checked(i)
        return max(0, meter.generation_wh[i] - meter.consumption_wh[i])

    def initial_registers(self, meter: CommunityMeter) -> Registers:
        """Return what the registers of ``meter`` show before the first interval, in Wh.

        The file does not say, so it is made up: 1 to 50 MWh of import and 1 to 20 MWh of export, derived from
        the meter's id alone. Never zero, because a meter that has been on the wall for years does not show
        zero, and code that assumes so must fail in tests and not in a street.
        """
        digest = hashlib.sha256(meter.meter_id.encode("ascii")).digest()
        return Registers(
            import_wh=1_000_000 + int.from_bytes(digest[:8], "big") % 49_000_000,
            export_wh=1_000_000 + int.from_bytes(digest[8:16], "big") % 19_000_000,
        )

    def registers(self, meter: CommunityMeter, initial: Registers | None = None) -> tuple[Registers, ...]:
        """Return the cumulative registers of ``meter`` in Wh, at the end of every interval.

        Args:
            meter: A meter of this community.
            initial: Registers before the first interval; ``initial_registers(meter)`` unless stated.
        """
        import_wh, export_wh = self.initial_registers(meter) if initial is None else initial
        shown = []
        for i in range(self.interval_count):
            import_wh += self.import_wh(meter, i)
            export_wh += self.export_wh(meter, i)
            shown.append(Registers(import_wh, export_wh))
        return tuple(shown)

    def rated_import_w(self, meter: CommunityMeter) -> int:
        """Return a rated import power in W, derived from the data because the file states none.

        The largest interval as mean power, plus 25 %, rounded up to the next 100 W, at least 1,000 W. A real
        deployment takes the rating from the installation's papers.
        """
        return self._rating_w(max(self.import_wh(meter, i) for i in range(self.interval_count)))

    def rated_export_w(self, meter: CommunityMeter) -> int:
        """Return a rated export power in W, derived in the way of ``rated_import_w``."""
        return self._rating_w(max(self.export_wh(meter, i) for i in range(self.interval_count)))

    def surplus_intervals(self, day: date) -> int:
        """Count the intervals of ``day`` in which the community as a whole generates more than it consumes.

        Raises:
            CommunityError: The day is not completely in the file.
        """
        return sum(
            sum(meter.generation_wh[i] - meter.consumption_wh[i] for meter in self.meters) > 0
            for i in self.intervals(day)
        )

    def export_intervals(self, day: date) -> int:
        """Count the intervals of ``day`` in which at least one meter exports, so that something can be sold.

        Raises:
            CommunityError: The day is not completely in the file.
        """
        return sum(
            any(meter.generation_wh[i] > meter.consumption_wh[i] for meter in self.meters) for i in self.intervals(day)
        )

    def _checked(self, i: int) -> int:
        # A negative index would quietly read the end of the week.
        if not 0 <= i < self.interval_count:
            raise IndexError(f"{self.name} has intervals 0 to {self.interval_count - 1}, not {i}")
        return i

    def _rating_w(self, max_interval_wh: int) -> int:
        numerator = max_interval_wh * 3_600 * (100 + RATING_MARGIN_PERCENT)
        steps = -(-numerator // (self.interval_s * 100 * RATING_STEP_W))
        return max(MIN_RATING_W, steps * RATING_STEP_W)


class _Cell(NamedTuple):
    row: int
    consumption_wh: int
    generation_wh: int


@dataclass
class _Series:
    role: Role
    first_row: int
    cells: dict[int, _Cell] = field(default_factory=dict)
    """By the interval's start in Unix seconds."""


class _Stamp(NamedTuple):
    unix_s: int
    offset: timedelta


def load_community(path: Path | str, name: str | None = None) -> Community:
    """Read and validate a community file.

    Args:
        path: The CSV file. UTF-8; a byte order mark, CRLF and blank lines are tolerated; rows in any order.
        name: Name for reports; the file's stem unless stated.

    Returns:
        The community, every meter on the same complete grid of intervals.

    Raises:
        CommunityError: The file cannot be read or breaks a rule of ``data/README.md``; the first offence
            found is reported in one line.
    """
    path = Path(path)
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise CommunityError(str(path), None, None, f"cannot be read: {error.strerror}") from error
    return _Loader(str(path), raw).community(path.stem if name is None else name)


class _Loader:
    """Turns the bytes of one file into a community; every check knows the file it speaks of."""

    def __init__(self, file: str, raw: bytes) -> None:
        self.file = file
        self.raw = raw
        self.series: dict[str, _Series] = {}
        self.stamps: dict[str, _Stamp] = {}  # one timestamp stands on a row of every meter: parse it once
        self.offset: tuple[timedelta, int] | None = None  # and the row that set it
        self.first_rows: dict[int, int] = {}  # the first row of each instant, to blame if it is off the grid

    def error(self, row: int | None, column: str | None, reason: str) -> CommunityError:
        return CommunityError(self.file, row, column, reason)

    def community(self, name: str) -> Community:
        self._read_rows()
        if self.offset is None:
            raise self.error(1, None, "the file has no rows after the header")
        offset = self.offset[0]
        instants = sorted(self.first_rows)
        interval_s = self._interval_s(instants)
        self._check_grid(instants, interval_s, offset)
        count = (instants[-1] - instants[0]) // interval_s + 1
        meters = []
        for meter_id, series in sorted(self.series.items()):
            cells = self._complete(meter_id, series, instants[0], interval_s, count, offset)
            meters.append(
                CommunityMeter(
                    meter_id=meter_id,
                    role=series.role,
                    consumption_wh=tuple(cell.consumption_wh for cell in cells),
                    generation_wh=tuple(cell.generation_wh for cell in cells),
                )
            )
        return Community(
            name=name,
            meters=tuple(meters),
            start=_at(instants[0], offset),
            interval_s=interval_s,
            sha256=hashlib.sha256(self.raw).hexdigest(),
        )

    def _read_rows(self) -> None:
        try:
            text = self.raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            row = error.object.count(b"\n", 0, error.start) + 1
            raise self.error(row, None, "is not UTF-8 text") from error
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        try:
            header = next(reader, None)
            if header is None:
                raise self.error(1, None, "the file is empty")
            self._check_header(header)
            for fields in reader:
                if fields:
                    self._read_row(reader.line_num, fields)
        except csv.Error as error:
            raise self.error(reader.line_num, None, f"is not valid CSV: {error}") from error

    def _check_header(self, header: list[str]) -> None:
        for position, expected in enumerate(HEADER):
            found = header[position] if position < len(header) else ""
            if found != expected:
                reason = f"header has {_show(found)} here; it must be exactly {','.join(HEADER)}"
                raise self.error(1, expected, reason)
        self._check_width(1, header)

    def _check_width(self, row: int, fields: list[str]) -> None:
        if len(fields) < len(HEADER):
            reason = f"is missing: the row has {len(fields)} fields, not {len(HEADER)}"
            raise self.error(row, HEADER[len(fields)], reason)
        if len(fields) > len(HEADER):
            reason = f"is one too many: the row has {len(fields)} fields, not {len(HEADER)}"
            raise self.error(row, str(len(HEADER) + 1), reason)

    def _read_row(self, row: int, fields: list[str]) -> None:
        self._check_width(row, fields)
        meter_id, role, timestamp, consumption, generation = fields
        series = self._series_of(row, meter_id, role)
        stamp = self.stamps.get(timestamp)
        if stamp is None:
            stamp = self.stamps[timestamp] = self._parse_stamp(row, timestamp)
        self.first_rows.setdefault(stamp.unix_s, row)
        consumption_wh = self._parse_wh(row, "consumption_wh", consumption)
        generation_wh = self._parse_wh(row, "generation_wh", generation)
        if series.role == "consumer" and generation_wh > 0:
            reason = f"{meter_id} is a consumer and cannot generate {generation_wh} Wh"
            raise self.error(row, "generation_wh", reason)
        earlier = series.cells.get(stamp.unix_s)
        if earlier is not None:
            reason = f"{meter_id} has {_at(*stamp).isoformat()} already, in row {earlier.row}"
            raise self.error(row, "timestamp", reason)
        series.cells[stamp.unix_s] = _Cell(row, consumption_wh, generation_wh)

    def _series_of(self, row: int, meter_id: str, role: str) -> _Series:
        series = self.series.get(meter_id)
        if series is None:
            if not _is_meter_id(meter_id):
                reason = f"{_show(meter_id)} is not 1 to 31 printable ASCII characters without spaces"
                raise self.error(row, "meter_id", reason)
            series = self.series[meter_id] = _Series(role=self._parse_role(row, role), first_row=row)
        elif role != series.role:
            reason = f"{_show(role)}, but {meter_id} is a {series.role} in row {series.first_row}"
            raise self.error(row, "role", reason)
        return series

    def _parse_role(self, row: int, role: str) -> Role:
        if role == "prosumer":
            return "prosumer"
        if role == "consumer":
            return "consumer"
        raise self.error(row, "role", f"{_show(role)} is neither prosumer nor consumer")

    def _parse_stamp(self, row: int, text: str) -> _Stamp:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError as error:
            raise self.error(row, "timestamp", f"{_show(text)} is not an ISO 8601 timestamp") from error
        offset = moment.utcoffset()
        if offset is None:
            raise self.error(row, "timestamp", f"{_show(text)} has no UTC offset such as +07:00")
        if moment.microsecond or offset % timedelta(minutes=1):
            reason = f"{_show(text)} is not in whole seconds with an offset in whole minutes"
            raise self.error(row, "timestamp", reason)
        if not 1970 < moment.year < 2200:
            raise self.error(row, "timestamp", f"{_show(text)} is outside the years 1971 to 2199")
        if self.offset is None:
            self.offset = (offset, row)
        elif offset != self.offset[0]:
            reason = f"{_show(text)} has another UTC offset than row {self.offset[1]}; write all in one offset"
            raise self.error(row, "timestamp", reason)
        return _Stamp((moment - _UNIX_EPOCH) // timedelta(seconds=1), offset)

    def _parse_wh(self, row: int, column: str, text: str) -> int:
        # str.isdigit alone would let other scripts' digits in, and int() signs, blanks and underscores.
        if not (text.isascii() and text.isdigit()):
            raise self.error(row, column, f"{_show(text)} is not a whole number of Wh, 0 or more")
        if len(text) > 13 or int(text) > MAX_INTERVAL_WH:
            raise self.error(row, column, f"{_show(text)} is more than {MAX_INTERVAL_WH} Wh in one interval")
        return int(text)

    def _interval_s(self, instants: list[int]) -> int:
        if len(instants) == 1:
            return DEFAULT_INTERVAL_S
        steps = Counter(later - earlier for earlier, later in pairwise(instants))
        # The commonest step, not the smallest: one timestamp off the grid must not redefine the grid.
        interval_s = min(steps, key=lambda step: (-steps[step], step != DEFAULT_INTERVAL_S, step))
        if interval_s < MIN_INTERVAL_S or _DAY_S % interval_s:
            rule = f"they must be {MIN_INTERVAL_S} s at least and divide a day"
            reason = f"intervals are {interval_s} s long; {rule}"
            raise self.error(self.first_rows[instants[1]], "timestamp", reason)
        return interval_s

    def _check_grid(self, instants: list[int], interval_s: int, offset: timedelta) -> None:
        offset_s = offset // timedelta(seconds=1)
        for unix_s in instants:
            if (unix_s + offset_s) % interval_s:
                found = _at(unix_s, offset).isoformat()
                reason = f"{found} is not a multiple of {interval_s} s after midnight"
                raise self.error(self.first_rows[unix_s], "timestamp", reason)

    def _complete(
        self, meter_id: str, series: _Series, first: int, interval_s: int, count: int, offset: timedelta
    ) -> list[_Cell]:
        """Return the meter's cells in time order, or raise at the first interval it lacks."""
        ordered = sorted(series.cells.items())
        for n, (unix_s, _) in enumerate(ordered):
            expected = first + n * interval_s
            if unix_s != expected:
                raise self._missing(meter_id, ordered[max(0, n - 1)][1].row, expected, offset)
        if len(ordered) < count:
            raise self._missing(meter_id, ordered[-1][1].row, first + len(ordered) * interval_s, offset)
        return [cell for _, cell in ordered]

    def _missing(self, meter_id: str, neighbour_row: int, unix_s: int, offset: timedelta) -> CommunityError:
        # A missing row has no number: point at the meter's row next to the hole.
        reason = f"{meter_id} has no row for {_at(unix_s, offset).isoformat()}, next in time to this one"
        return self.error(neighbour_row, "timestamp", reason)


def _is_meter_id(text: str) -> bool:
    return 1 <= len(text) <= MAX_METER_ID_LENGTH and all("!" <= char <= "~" for char in text)


def _at(unix_s: int, offset: timedelta) -> datetime:
    return (_UNIX_EPOCH + timedelta(seconds=unix_s)).astimezone(timezone(offset))


def _show(text: str) -> str:
    """Quote a value from the file so that it stays short and on one line."""
    return repr(text if len(text) <= 40 else text[:37] + "...")
