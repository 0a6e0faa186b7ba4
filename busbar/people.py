"""What is known of people, and nowhere on the chain: name, e-mail address, place. Kept in one table, and erasable."""

from dataclasses import dataclass

from sqlalchemy import Connection, Engine, delete, insert, select, text

from busbar.tables import people


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


def erase(engine: Engine, account: str) -> bool:
    """Removes what is known of somebody from the database and its files; says whether there was anything.

    Copies made before, such as backups and a PostgreSQL server's archived log, are beyond it.
    """
    with engine.begin() as connection:
        known = connection.execute(delete(people).where(people.c.account == account)).rowcount
    if known:
        # A deleted row stays in the files until its place is used again, unless they are written anew.
        clean = "PRAGMA wal_checkpoint(TRUNCATE)" if engine.dialect.name == "sqlite" else "VACUUM FULL people"
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text(clean))
    return bool(known)
