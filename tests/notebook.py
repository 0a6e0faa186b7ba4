"""Runs docs/notebooks/market.ipynb. `make notebook` replays the shipped Saturday for it and writes what it printed.

Usage: .venv/bin/python -m tests.notebook
"""

import contextlib
import os
import tempfile
from datetime import date
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from busbar import logs
from busbar.api.context import Settings
from busbar.history import open_database
from busbar.tools import project_root
from tests.communities import SHIPPED
from tests.days import indexed_day
from tests.served import served

NOTEBOOK = project_root() / "docs" / "notebooks" / "market.ipynb"
LONGEST_CELL_S = 600
SATURDAY = date(2026, 3, 14)


def executed(day):
    """The notebook with what its cells printed, over a replayed day; fails with the first cell that does."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    engine = open_database(day.url)
    archive = str(day.archive)
    with served(Settings(engine, rate=None)) as url, in_environment(BUSBAR_API_URL=url, BUSBAR_ARCHIVE=archive):
        runner = NotebookClient(
            notebook,
            timeout=LONGEST_CELL_S,
            kernel_name="python3",
            record_timing=False,
            resources={"metadata": {"path": str(day.archive.parent)}},
        )
        runner.execute()
    engine.dispose()
    return notebook


@contextlib.contextmanager
def in_environment(**values):
    """Has these in the environment of what is started."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def main():
    """The command."""
    logs.configure(level="warning")
    with tempfile.TemporaryDirectory() as folder:
        notebook = executed(indexed_day(SHIPPED, Path(folder), SATURDAY))
    notebook.metadata["language_info"] = {"name": "python"}
    nbformat.write(notebook, NOTEBOOK)


if __name__ == "__main__":
    main()
