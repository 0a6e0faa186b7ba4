"""Communities for tests: whole days of a few long intervals, so that a day is over in seconds.

What a file says is worked out here once more, by nothing but the csv module: replays are judged against it.
"""

import csv
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from busbar.tools import project_root

HEADER = "meter_id,role,timestamp,consumption_wh,generation_wh"
MIDNIGHT = datetime.fromisoformat("2026-03-14T00:00:00+07:00")
SHIPPED = project_root() / "data" / "neighbourhood" / "neighbourhood.csv"


@dataclass(frozen=True)
class House:
    """A meter and what is consumed and generated behind it, in Wh, by interval."""

    meter_id: str
    consumption_wh: tuple[int, ...]
    generation_wh: tuple[int, ...] = ()

    @property
    def role(self) -> str:
        return "prosumer" if self.generation_wh else "consumer"


def write_community(path: Path, *houses: House, days: int = 1, start: datetime = MIDNIGHT) -> Path:
    """Writes these houses' `days`, whose intervals share them evenly."""
    rows = [HEADER]
    for house in houses:
        count = len(house.consumption_wh)
        generation = house.generation_wh or (0,) * count
        for n, energies in enumerate(zip(house.consumption_wh, generation, strict=True)):
            moment = start + timedelta(seconds=n * days * 86_400 // count)
            rows.append(f"{house.meter_id},{house.role},{moment.isoformat()},{energies[0]},{energies[1]}")
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def shipped_day(path: Path, meter_ids: tuple[str, ...], *, hours: int = 3, day: str = "2026-03-14") -> Path:
    """A day of the shipped community: these meters alone, their quarter-hours added up to longer intervals."""
    sums: dict[tuple[str, str, str], list[int]] = {}
    with SHIPPED.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["meter_id"] in meter_ids and row["timestamp"].startswith(day):
                moment = datetime.fromisoformat(row["timestamp"])
                start = moment.replace(hour=moment.hour // hours * hours, minute=0).isoformat()
                both = sums.setdefault((row["meter_id"], row["role"], start), [0, 0])
                both[0] += int(row["consumption_wh"])
                both[1] += int(row["generation_wh"])
    rows = [",".join([*key, *map(str, energies)]) for key, energies in sums.items()]
    path.write_text("\n".join([HEADER, *rows]) + "\n", encoding="utf-8")
    return path


def metered(path: Path) -> dict[str, list[tuple[int, int]]]:
    """(import, export) in Wh by meter and interval, as the meter at the point of connection counts them."""
    found = defaultdict(list)
    with path.open(encoding="utf-8", newline="") as file:
        for row in sorted(csv.DictReader(file), key=lambda row: row["timestamp"]):
            net = int(row["consumption_wh"]) - int(row["generation_wh"])
            found[row["meter_id"]].append((max(0, net), max(0, -net)))
    return dict(found)
