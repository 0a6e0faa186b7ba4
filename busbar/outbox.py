"""Accepted once, done once: what a process has taken on, kept in a file until the chain shows that it is done.

`accept` returns when the items are on the disk; from then on they survive the process, the node and the machine. An
item goes from accepted to sent, and ends as done, refused or expired. Sending is repeated until the chain shows an
effect, so whoever sends must do what is harmless to repeat; "done" is what the chain shows and not what was sent.

The file is SQLite, through the standard library: one table and six statements need no more. Write-ahead logging with
full synchronisation; several processes may share a file. No call takes longer because more has ended.
"""

import sqlite3
import time
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from busbar import errors

SCHEMA = """
CREATE TABLE IF NOT EXISTS items (
    number INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    body BLOB NOT NULL,
    deadline INTEGER,
    state TEXT NOT NULL CHECK (state IN ('accepted', 'sent', 'done', 'refused', 'expired')),
    reason TEXT NOT NULL DEFAULT '',
    accepted_at INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS items_by_state ON items (state, number);
CREATE INDEX IF NOT EXISTS items_by_age ON items (accepted_at);
CREATE TABLE IF NOT EXISTS about (market TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS cursors (source TEXT PRIMARY KEY, cursor TEXT NOT NULL) STRICT;
"""
VERSION = 1
"""Of the table. A file of another version is refused."""

BUSY_S = 30
"""Longest wait for another process that writes."""


class State(StrEnum):
    """What has become of an item."""

    ACCEPTED = "accepted"
    SENT = "sent"
    DONE = "done"
    REFUSED = "refused"
    EXPIRED = "expired"


OPEN = (State.ACCEPTED, State.SENT)


class OutboxError(errors.BusbarError):
    """The file cannot be used. The message says why and what to do."""

    remedy = errors.Remedy.STOP


class KeyConflictError(errors.BusbarError):
    """The key was accepted before with other content: of one key only one content is ever done."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a source that is asked page by page has been read.

    Attributes:
        source: Which source, by its address.
        place: What it is to be asked with next.
    """

    source: str
    place: str


@dataclass(frozen=True, slots=True)
class Item:
    """Something taken on.

    Attributes:
        key: What makes it the same thing when it comes again.
        body: What is to be done, as the owner of the outbox writes it.
        deadline: Chain time (Unix seconds) after which it is not worth doing; None for ever.
        state: What has become of it.
        reason: Why it was refused, or what else its owner notes about the state.
    """

    key: str
    body: bytes
    deadline: int | None = None
    state: State = State.ACCEPTED
    reason: str = ""


class Outbox:
    """An outbox in a file, which is made if it is missing.

    Args:
        path: The file; None keeps everything in memory, for a replay that nothing survives.
        market: What the items are for; a file of another market is refused. None takes any, to look at it.

    Raises:
        OutboxError: It is no outbox, of another version or market, damaged, or cannot be written.
    """

    def __init__(self, path: Path | None, market: str | None = None) -> None:
        self.path = path
        try:
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
            # A service's passes may run on another thread than the one that opened the file, one after another.
            self._db = sqlite3.connect(
                path or ":memory:", timeout=BUSY_S, isolation_level=None, check_same_thread=False
            )
            self._close = weakref.finalize(self, self._db.close)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            (tables,) = self._db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            if version not in (0, VERSION) or (version == 0 and tables):
                raise OutboxError(f"{path} is no outbox of this version ({version} instead of {VERSION}): name another")
            (sound,) = self._db.execute("PRAGMA quick_check(1)").fetchone()
            if sound != "ok":
                raise OutboxError(f"{path} is damaged ({sound}): restore it from a backup, or begin with a new one")
            self._db.executescript(f"BEGIN IMMEDIATE; {SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")
            self._db.execute("INSERT INTO about SELECT ? WHERE NOT EXISTS (SELECT 1 FROM about)", (market or "",))
            (held,) = self._db.execute("SELECT market FROM about").fetchone()
            if market not in (None, held):
                raise OutboxError(f"{path} is of the market {held}, not {market}: name another, or move it away")
        except (sqlite3.Error, OSError) as problem:
            raise OutboxError(f"the outbox {path} cannot be opened: {problem}") from None

    def accept(self, items: Iterable[Item], cursor: Cursor | None = None) -> int:
        """Takes items on, all or none, and returns how many were new. They are on the disk when it returns.

        Args:
            items: What to take on.
            cursor: Moved with the items and never without them.

        Raises:
            KeyConflictError: One was accepted before with other content; then none is taken on.
        """
        new = 0
        now = int(time.time())
        with closing(self._db.cursor()) as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                for item in items:
                    db.execute(
                        "INSERT INTO items (key, body, deadline, state, accepted_at) VALUES (?, ?, ?, ?, ?) "
                        "ON CONFLICT (key) DO NOTHING",
                        (item.key, item.body, item.deadline, State.ACCEPTED, now),
                    )
                    new += db.rowcount
                    if not db.rowcount:
                        self._same(db, item)
                if cursor is not None:
                    db.execute(
                        "INSERT INTO cursors (source, cursor) VALUES (?, ?) "
                        "ON CONFLICT (source) DO UPDATE SET cursor = excluded.cursor",
                        (cursor.source, cursor.place),
                    )
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")
        return new

    def cursor(self, source: str) -> str | None:
        """What a source is to be asked with next; None if it was never read."""
        found = self._db.execute("SELECT cursor FROM cursors WHERE source = ?", (source,)).fetchone()
        return None if found is None else str(found[0])

    def forget_cursor(self, source: str) -> None:
        """Has a source read from its beginning."""
        self._db.execute("DELETE FROM cursors WHERE source = ?", (source,))

    @staticmethod
    def _same(cursor: sqlite3.Cursor, item: Item) -> None:
        (body,) = cursor.execute("SELECT body FROM items WHERE key = ?", (item.key,)).fetchone()
        if body != item.body:
            raise KeyConflictError(f"{item.key} was accepted before with other content")

    def open(self, limit: int = 10_000) -> list[Item]:
        """What is still to be done, in order of acceptance; all of it if the limit is -1."""
        return self._items("state IN ('accepted', 'sent') ORDER BY number LIMIT ?", limit)

    def of(self, state: State, limit: int = 10_000) -> list[Item]:
        """Items of one state, the newest first."""
        return self._items("state = ? ORDER BY number DESC LIMIT ?", state, limit)

    def find(self, key: str) -> Item | None:
        """One item, if it was ever accepted and is not forgotten."""
        return next(iter(self._items("key = ?", key)), None)

    def found(self, keys: Iterable[str]) -> dict[str, Item]:
        """The named items by key; unknown ones are left out."""
        return {item.key: item for key in keys if (item := self.find(key)) is not None}

    def keys(self, state: State, limit: int) -> list[str]:
        """Keys of items of one state, the newest first."""
        found = self._db.execute("SELECT key FROM items WHERE state = ? ORDER BY number DESC LIMIT ?", (state, limit))
        return [row[0] for row in found]

    def open_count(self, prefix: str) -> int:
        """How many items are still to be done whose keys begin so."""
        # The plus keeps SQLite from going through all open items instead of those with these keys.
        found = self._db.execute(
            "SELECT count(*) FROM items WHERE key >= ? AND key < ? AND +state IN ('accepted', 'sent')",
            (prefix, prefix + "\x7f"),
        )
        return int(found.fetchone()[0])

    def states(self, keys: Iterable[str]) -> dict[str, State]:
        """What has become of the named items; unknown ones are left out."""
        found = (self._db.execute("SELECT key, state FROM items WHERE key = ?", (key,)).fetchone() for key in keys)
        return {row[0]: State(row[1]) for row in found if row is not None}

    def _items(self, where: str, *values: object) -> list[Item]:
        found = self._db.execute(f"SELECT key, body, deadline, state, reason FROM items WHERE {where}", values)  # noqa: S608  (our own words)
        return [Item(key, body, deadline, State(state), reason) for key, body, deadline, state, reason in found]

    def mark(self, keys: Sequence[str], state: State, reason: str = "") -> None:
        """Notes what has become of items. What was done may be due again: the chain may have been reorganised."""
        self.mark_each(dict.fromkeys(keys, reason), state)

    def mark_each(self, reasons: Mapping[str, str], state: State, *, synced: bool = True) -> None:
        """As `mark`, with a reason for each key.

        Args:
            reasons: By key.
            state: What has become of them.
            synced: Whether it is on the disk when this returns. What the chain tells again need not be: it survives
                the process all the same, and only a machine that loses its power may forget the newest of it.
        """
        if not reasons:
            return
        with closing(self._db.cursor()) as cursor, self._synchronous("FULL" if synced else "NORMAL"):
            cursor.execute("BEGIN IMMEDIATE")
            cursor.executemany(
                "UPDATE items SET state = ?, reason = ? WHERE key = ?",
                [(state, reason, key) for key, reason in reasons.items()],
            )
            cursor.execute("COMMIT")

    @contextmanager
    def _synchronous(self, how: str) -> Iterator[None]:
        """Has what is committed meanwhile wait for the disk (FULL), or follow with what is committed next (NORMAL)."""
        self._db.execute(f"PRAGMA synchronous = {how}")
        try:
            yield
        finally:
            self._db.execute("PRAGMA synchronous = FULL")

    def expire(self, now: int) -> int:
        """Gives up what is past its deadline, and returns how many that were.

        Args:
            now: Chain time.
        """
        return self._db.execute(
            "UPDATE items SET state = 'expired' WHERE state IN ('accepted', 'sent') AND deadline < ?", (now,)
        ).rowcount

    def forget(self, before: int) -> int:
        """Drops what ended and was accepted before a time of this machine's clock, and returns how many that were.

        Refused items stay: forgotten, they would be tried and paid for again.
        """
        # The plus keeps SQLite from going through all that ended instead of what is old.
        return self._db.execute(
            "DELETE FROM items WHERE +state IN ('done', 'expired') AND accepted_at < ?", (before,)
        ).rowcount

    def count(self, state: State) -> int:
        """How many items are in a state; as quick as they are few."""
        return int(self._db.execute("SELECT count(*) FROM items WHERE state = ?", (state,)).fetchone()[0])

    def counts(self) -> dict[State, int]:
        """How many items are in each state."""
        found = dict(self._db.execute("SELECT state, count(*) FROM items GROUP BY state").fetchall())
        return {state: found.get(state.value, 0) for state in State}

    def backup(self, path: Path) -> None:
        """Writes a copy that is whole, while others go on writing.

        Raises:
            OutboxError: It cannot be written, or stands already.
        """
        if path.exists():
            raise OutboxError(f"{path} stands already: name another file")
        try:
            with closing(sqlite3.connect(path)) as copy:
                self._db.backup(copy)
        except sqlite3.Error as problem:
            raise OutboxError(f"{path} cannot be written: {problem}") from None

    def close(self) -> None:
        """Closes the file."""
        self._close()
