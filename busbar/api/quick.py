"""Reads of a moment, made on the event loop's own thread.

Python runs one thread at a time, and SQLite's driver lets others have their turn before every row: beside a busy loop a
page took several times as long as alone. Whose queries take longer than a moment is stopped, and begun again on a
thread.
"""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, PoolProxiedConnection, create_engine, event
from sqlalchemy.exc import OperationalError

from busbar import errors, history

MOST_S = 0.01
"""CPU time of a read's queries. What is made of them takes as much again; nothing else is answered meanwhile."""

STEPS = 2_000
"""Of SQLite's machine between two looks at the clock, which it takes some 0.1 ms for."""


class NotQuickError(errors.BusbarError):
    """It takes longer than a moment, or has to wait for somebody."""


class Quick:
    """An index in a file, read by one thread.

    Args:
        url: Where it is.

    Attributes:
        engine: Its connections.
    """

    def __init__(self, url: URL) -> None:
        self._until = 0.0
        self._watching: PoolProxiedConnection | None = None
        self._path = Path(url.database or "")
        self._file: tuple[int, int] | None = None
        self.engine = create_engine(url, pool_size=2)
        event.listen(self.engine, "connect", self._prepare)

    def snapshot(self) -> AbstractContextManager[Connection]:
        """The index as it is at one moment, see `busbar.history.snapshot`.

        Raises:
            NotQuickError: What is asked takes longer than `MOST_S`, or the database does not answer at once.
        """
        return self._within(lambda: history.snapshot(self.engine))

    def connect(self) -> AbstractContextManager[Connection]:
        """Likewise, for a single question."""
        return self._within(self.engine.connect)

    def is_replaced(self) -> bool:
        """Whether another file has taken the place of the one that was read; from now on that one is.

        A file that is deleted is still there for whoever has opened it.
        """
        try:
            status = self._path.stat()
        except OSError:
            return False
        before, self._file = self._file, (status.st_dev, status.st_ino)
        if before in (None, self._file):
            return False
        if self._watching is not None:
            self._watching.close()
            self._watching = None
        self.engine.dispose()
        return True

    def version(self) -> int:
        """Another one whenever somebody wrote to the file; it costs next to nothing.

        Raises:
            NotQuickError: The database does not answer at once.
        """
        try:
            if self._watching is None:
                self._watching = self.engine.raw_connection()
            cursor = self._watching.cursor()
            cursor.execute("PRAGMA data_version")
            ((version,),) = cursor.fetchall()
        except (sqlite3.OperationalError, OperationalError) as problem:
            raise NotQuickError(str(problem)) from None
        return int(version)

    @contextmanager
    def _within(self, opening: Callable[[], AbstractContextManager[Connection]]) -> Iterator[Connection]:
        self._until = time.thread_time() + MOST_S
        try:
            with opening() as connection:
                yield connection
        except OperationalError as problem:
            raise NotQuickError(str(problem.orig)) from None

    def _prepare(self, connection: Any, _: Any) -> None:
        connection.execute("PRAGMA busy_timeout=0")
        connection.execute("PRAGMA query_only=ON")
        connection.set_progress_handler(lambda: time.thread_time() > self._until, STEPS)
