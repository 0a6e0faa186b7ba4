"""A replayed day whose chain is looked at before it is stopped: indexed, exported, verified."""

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from unittest.mock import patch

from busbar import replay as replays
from busbar.archive import collect as collect_archive
from busbar.history import Difference, History, open_database, verify
from busbar.results import Run


@dataclass(frozen=True)
class Day:
    """What is left of a replayed day.

    Attributes:
        run: The replay's own findings.
        url: The database it was indexed into.
        differences: What `verify` found against the chain.
        archive: The file `busbar export` would have written.
    """

    run: Run
    url: str
    differences: list[Difference]
    archive: Path


class Silent:
    """Watches nothing."""

    def stage(self, text):
        pass

    def epoch(self, progress):
        pass


def indexed_day(community: Path, folder: Path, first: date | None = None) -> Day:
    """Replays a community's day, its first unless another is named, and indexes it while its chain still runs."""
    url = f"sqlite:///{folder / 'history.db'}"
    found = []
    collect = replays._collect

    def look(work, *rest):
        engine = open_database(url)
        History(work.chain, engine).step()
        found.extend(verify(work.chain, engine)[1])
        engine.dispose()
        collect_archive(work.chain).save(folder / "archive.jsonl")
        return collect(work, *rest)

    with patch("busbar.replay._collect", look):
        run = replays.replay(replays.ReplaySettings(community, first, 1, 1, folder), Silent())
    return Day(run, url, found, folder / "archive.jsonl")
