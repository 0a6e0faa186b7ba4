"""A statement's CSV as the audit reads it: how each line must read, worked out apart from what writes them.

Of `busbar.statements` only the shapes and the names of records are known here.
"""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest

from busbar.statements import CSV_HEAD, Line, Metered, Month, Movement, Statement, StatementError, Trade

COLUMNS = (
    *("record", "item", "source", "first_day", "last_day", "time_unix_s", "epoch", "order_id"),
    *("import_wh", "export_wh", "grid_import_wh", "energy_uwh", "price2_half_ticks", "price_uthb_per_kwh"),
    *("money_wei", "amount_uthb", "transactions"),
)


@dataclass(frozen=True, slots=True)
class Sheet:
    """A statement as CSV: what it says of itself, and all of it."""

    account: str
    month: str
    block: int
    provisional: bool
    text: str

    @classmethod
    def parse(cls, text: str) -> "Sheet":
        """Reads the first records.

        Raises:
            StatementError: One is missing or cannot be.
        """
        said = {row.get("record"): row.get("item") or "" for row in csv.DictReader(io.StringIO(text))}
        missing = [name for name in CSV_HEAD if name not in said]
        if missing:
            raise StatementError(f"no record says its {missing[0]}")
        if not said["block"].isdecimal() or said["provisional"] not in ("True", "False"):
            raise StatementError("its block, or whether it is provisional, cannot be read")
        month = str(Month.parse(said["month"]))
        return cls(said["account"], month, int(said["block"]), said["provisional"] == "True", text)

    def faults(self, bill: Statement) -> Iterator[tuple[str, str, str]]:
        """Where it is not the sheet of a bill: the place, what must stand there, and what does."""
        must = "\n".join([",".join(COLUMNS), *(_written(record) for record in _records(bill)), ""])
        for number, (one, other) in enumerate(zip_longest(must.split("\n"), self.text.split("\n")), start=1):
            if one != other:
                yield f"line {number} of the file", str(one), str(other)


def _written(record: dict[str, object]) -> str:
    """A record as a line: a field with a comma, a quote or an end of line in it stands in quotes."""
    fields = ["" if record.get(name) is None else str(record[name]) for name in COLUMNS]
    return ",".join(
        f'"{field.replace(chr(34), 2 * chr(34))}"' if set(field) & set(',"\r\n') else field for field in fields
    )


def _records(bill: Statement) -> Iterator[dict[str, object]]:
    """Whose it is, lines of the bill, its sums, then trades, readings and movements."""
    yield from ({"record": name, "item": getattr(bill, name)} for name in CSV_HEAD)
    yield from map(_line, bill.lines)
    sums = {"total": bill.total_uthb, "baseline": bill.baseline_uthb, "saving": bill.saving_uthb}
    yield from ({"record": name, "amount_uthb": uthb} for name, uthb in sums.items())
    yield from map(_trade, bill.trades)
    yield from map(_reading, bill.readings)
    yield from map(_movement, bill.movements)


def _line(line: Line) -> dict[str, object]:
    return {
        **{name: getattr(line, name) for name in ("item", "source", "first_day", "last_day", "price_uthb_per_kwh")},
        "record": "line",
        "energy_uwh": None if line.quantity_wh is None else line.quantity_wh * 10**6,
        "amount_uthb": line.amount_uthb,
        "transactions": " ".join(line.transactions),
    }


def _trade(trade: Trade) -> dict[str, object]:
    return {
        **{name: getattr(trade, name) for name in ("epoch", "order_id", "energy_uwh", "money_wei")},
        "record": "trade",
        "item": trade.side,
        "time_unix_s": trade.start,
        "price2_half_ticks": trade.price2,
        "transactions": f"{trade.order_tx} {trade.clear_tx}",
    }


def _reading(reading: Metered) -> dict[str, object]:
    return {
        **{name: getattr(reading, name) for name in ("import_wh", "export_wh", "grid_import_wh")},
        "record": "reading",
        "item": reading.kind,
        "time_unix_s": reading.interval_end,
        "transactions": reading.tx_hash,
    }


def _movement(movement: Movement) -> dict[str, object]:
    return {
        **{name: getattr(movement, name) for name in ("energy_uwh", "money_wei")},
        "record": "movement",
        "item": movement.kind,
        "time_unix_s": movement.time,
        "transactions": movement.tx_hash,
    }
