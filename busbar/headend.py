"""A small AMI head-end, simulated: an enrolled community's meters as signed readings, page by page, over HTTP.

It stands for the system of a distributor that has collected readings from its meters, and is a process of its own.
What has not ended on the chain is not there yet. A cursor is the number of the first reading of its page.
"""

import json
from typing import Annotated, Any

from fastapi import FastAPI, Query

from busbar import __version__
from busbar.api import problems
from busbar.api.middleware import Door
from busbar.chain import Chain
from busbar.door import Groups
from busbar.meters import SimulatedMeters
from busbar.readings import Reading

PAGE = 500
"""Most readings of a page."""


class Readings:
    """Every reading there will be, oldest first, signed when it is asked for."""

    def __init__(self, chain: Chain, source: SimulatedMeters) -> None:
        self.chain = chain
        self.source = source
        everything = (reading for readings in source.readings.values() for reading in readings)
        self._readings: list[Reading] = sorted(everything, key=lambda r: (r.interval_end, r.meter_id))

    def page(self, first: int, limit: int) -> dict[str, Any]:
        """The readings from a number on that have ended on the newest block, at most so many."""
        now = self.chain.head().timestamp
        shown = [reading for reading in self._readings[first : first + limit] if reading.interval_end <= now]
        last = first + len(shown)
        signed = [self.source.keys[r.meter_id].sign(r, self.chain.meter_domain) for r in shown]
        return {
            "readings": [json.loads(one.to_json()) for one in signed],
            "count": len(signed),
            "next_cursor": str(last),
            "more": last < len(self._readings) and self._readings[last].interval_end <= now,
        }

    def knows(self, first: int) -> bool:
        """Whether a cursor may stand for this number."""
        return first <= len(self._readings)


def create_app(readings: Readings) -> FastAPI:
    """The head-end's one endpoint."""
    app = FastAPI(title="Busbar head-end", version=__version__, docs_url=None, redoc_url=None)
    groups: Groups[None] = Groups(lambda _: [])
    problems.install(app)

    @app.get("/readings")
    async def get_readings(
        cursor: Annotated[str | None, Query(max_length=100)] = None,
        limit: Annotated[int, Query(ge=1, le=PAGE)] = PAGE,
    ) -> dict[str, Any]:
        """A page of readings: those after a cursor, oldest first, or from the beginning."""
        first = int(cursor) if cursor is not None and cursor.isdecimal() else 0 if cursor is None else None
        if first is None or not readings.knows(first):
            raise problems.Problem(410, "Unknown cursor", "begin without one")
        page: dict[str, Any] = await groups.look(readings.page, first, limit)
        return page

    app.add_middleware(Door, rate=None)
    return app
