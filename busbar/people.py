"""What is known of people, and nowhere on the chain: name, e-mail address, place. Kept in one table, and erasable."""

from dataclasses import dataclass

from sqlalchemy import Connection, Engine, delete, insert, select, text
from sqlalchemy.exc import IntegrityError, OperationalError

from busbar import errors
from busbar.tables import once, people

PATIENCE_S = 3
"""How long erasing waits for whoever reads the database."""


LOCK_NOT_AVAILABLE = "55P03"
"""PostgreSQL's code for a lock that was not to be had in time."""


class StillReadError(errors.BusbarError):
    """The row is deleted, but somebody reads the database, whose files cannot be cleared until then."""

    remedy = errors.Remedy.RETRY


@dataclass(frozen=True, slots=True)
class Person:
    """Who stands behind an account, as far as told."""

    account: str
    name: str | None
    email: str | None
    location: str | None


def remember(connection: Connection, person: Person) -> None:
    """Keeps what is known of somebody, in place of what was."""
    connection.execute(delete(people).where(people.c.account == person.account))
    values = {"name": person.name, "email": person.email, "location": person.location}
    connection.execute(insert(people), {"account": person.account, **values})


def look_up(connection: Connection, account: str) -> Person | None:
    """What is known of somebody, if anything."""
    p = people.c
    row = connection.execute(select(p.account, p.name, p.email, p.location).where(p.account == account)).one_or_none()
    return None if row is None else Person(row[0], row[1], row[2], row[3])


def first_time(connection: Connection, digest: str, expires: int, now: int) -> bool:
    """Notes a signed request as carried out; says whether it was not before: if it was, the transaction has to end.

    Otherwise the same request, sent again by whoever saw it, would bring back what was erased meanwhile.

    Args:
        connection: Of the transaction that the request is carried out in.
        digest: Hash of what was signed, and by whom.
        expires: When the signature ends, Unix seconds; from then on nothing of it is kept.
        now: Unix seconds.
    """
    connection.execute(delete(once).where(once.c.expires < now))
    try:
        connection.execute(insert(once), {"digest": digest, "expires": expires})
    except IntegrityError:
        return False
    return True


def forget(connection: Connection, account: str) -> None:
    """Removes what is known of somebody; its remnants go with `clear`."""
    connection.execute(delete(people).where(people.c.account == account))


def clear(engine: Engine) -> None:
    """Removes what was forgotten from the database's files, too.

    Copies made before, such as backups and a PostgreSQL server's archived log, are beyond it.

    Raises:
        StillReadError: It is known to nobody any more, but remnants are in the files.
    """
    # A deleted row stays in the files until its place is used again, unless they are written anew.
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if engine.dialect.name == "sqlite":
            _clean(connection)
        else:
            _rewrite(connection)


def _rewrite(connection: Connection) -> None:
    """Writes PostgreSQL's table anew. It is locked meanwhile, and whoever asks after this waits for whom this waits."""
    connection.execute(text(f"SET lock_timeout = {int(PATIENCE_S * 1000)}"))
    try:
        connection.execute(text("VACUUM FULL people"))
    except OperationalError as problem:
        if getattr(problem.orig, "sqlstate", None) != LOCK_NOT_AVAILABLE:
            raise
        raise _still_read() from None
    finally:
        connection.execute(text("RESET lock_timeout"))


def _still_read() -> StillReadError:
    return StillReadError(f"somebody has read the database for {PATIENCE_S} s: erase again to clear its files")


def _clean(connection: Connection) -> None:
    """Writes SQLite's log into its file and empties it, which waits for whoever reads what is older."""
    waits_ms = connection.execute(text("PRAGMA busy_timeout")).scalar_one()
    connection.execute(text(f"PRAGMA busy_timeout={PATIENCE_S * 1000}"))
    try:
        busy, _, _ = connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)")).one()
    finally:
        connection.execute(text(f"PRAGMA busy_timeout={waits_ms}"))
    if busy:
        raise _still_read()
