"""The oracle's panel as the index knows it: who sits on it, what each was asked, answered and kept silent on."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, Table, and_, exists, func, select

from busbar import tables

TIMEOUT_BLOCKS = 100
"""How long a request takes answers, as in OracleClient.sol."""

DATUM = 1
"""Kind of the requests that the panel is asked."""

_NEVER = 2**62


@dataclass(frozen=True, slots=True)
class Parameters:
    """What makes a datum of answers.

    Attributes:
        quorum: Answers that decide, an odd number; 0 before the panel was set.
        tolerance_bp: Distance from the median, as a share of it in 1/100 %, beyond which an answer is an outlier.
    """

    quorum: int
    tolerance_bp: int


@dataclass(frozen=True, slots=True)
class Operator:
    """What an operator of the panel has done.

    Attributes:
        account: Its address.
        active: Whether it sits on the panel now.
        asked: Requests for data made while it did.
        answered: How many of all it answered.
        outliers: Answers beyond the tolerance.
        silent: Requests it was asked, did not answer, and can answer no more.
    """

    account: str
    active: bool
    asked: int
    answered: int
    outliers: int
    silent: int


@dataclass(frozen=True, slots=True)
class _Term:
    """A time on the panel, in places on the chain; the end is open."""

    first: int
    end: int


def parameters(connection: Connection, place: int = _NEVER) -> Parameters:
    """The panel's parameters, now or as of a place on the chain (see `place_of`)."""
    p = tables.panels
    found = connection.execute(
        select(p.c.quorum, p.c.tolerance_bp)
        .where(_place(p) <= place)
        .order_by(p.c.block.desc(), p.c.log_index.desc())
        .limit(1)
    ).one_or_none()
    return Parameters(0, 0) if found is None else Parameters(*found)


def seated(connection: Connection, place: int) -> list[str]:
    """Who sat on the panel at a place on the chain."""
    terms = _terms(connection)
    return sorted(who for who, held in terms.items() if any(term.first < place < term.end for term in held))


def operators(connection: Connection, newest_block: int) -> list[Operator]:
    """Everybody who ever sat on the panel.

    Args:
        connection: The index.
        newest_block: Its newest block.
    """
    answered, beyond = (_counted(connection, table) for table in (tables.answers, tables.outliers))
    return [
        Operator(
            account=who,
            active=held[-1].end == _NEVER,
            asked=sum(_asked(connection, term) for term in held),
            answered=answered.get(who, 0),
            outliers=beyond.get(who, 0),
            silent=sum(_unanswered(connection, who, term, newest_block - TIMEOUT_BLOCKS) for term in held),
        )
        for who, held in sorted(_terms(connection).items())
    ]


def place_of(block: int, log_index: int) -> int:
    """A place on the chain as one number, in the chain's order."""
    return block * 1_000_000 + log_index


def _place(table: Table) -> ColumnElement[int]:
    place: ColumnElement[int] = table.c.block * 1_000_000 + table.c.log_index
    return place


def _terms(connection: Connection) -> dict[str, list[_Term]]:
    s = tables.seats
    terms: dict[str, list[_Term]] = defaultdict(list)
    for row in connection.execute(select(s).order_by(s.c.block, s.c.log_index)).mappings():
        place = place_of(row["block"], row["log_index"])
        if row["active"]:
            terms[row["operator"]].append(_Term(place, _NEVER))
        else:
            terms[row["operator"]][-1] = _Term(terms[row["operator"]][-1].first, place)
    return terms


def _requests(term: _Term) -> Iterator[ColumnElement[bool]]:
    r = tables.requests
    yield r.c.kind == DATUM
    yield _place(r) > term.first
    yield _place(r) < term.end


def _counted(connection: Connection, table: Table) -> dict[str, int]:
    """Rows of each operator."""
    rows = connection.execute(select(table.c.operator, func.count()).group_by(table.c.operator))
    return {row[0]: row[1] for row in rows}


def _asked(connection: Connection, term: _Term) -> int:
    r = tables.requests
    return connection.scalar(select(func.count()).select_from(r).where(*_requests(term))) or 0


def _unanswered(connection: Connection, who: str, term: _Term, before: int) -> int:
    r, a = tables.requests, tables.answers
    answered = exists().where(and_(a.c.request_id == r.c.request_id, a.c.operator == who))
    query = select(func.count()).select_from(r).where(*_requests(term), r.c.block < before, ~answered)
    return connection.scalar(query) or 0
