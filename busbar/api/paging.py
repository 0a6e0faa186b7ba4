"""Pages by cursor: a page begins where the one before ended, whatever came in meanwhile."""

import base64
import functools
import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, Field
from sqlalchemy import BigInteger, Column, Connection, Integer, Select, bindparam, tuple_

from busbar.api.problems import Problem

Item = TypeVar("Item", bound=BaseModel)


class Page(BaseModel, Generic[Item]):
    """A page of a list, newest first unless said otherwise."""

    items: list[Item]
    next_cursor: str | None = Field(description="For the next page; null on the last")
    block: int = Field(description="The newest block this was read at")


def read(
    connection: Connection,
    query: Select[Any],
    keys: Sequence[Column[Any]],
    cursor: str | None,
    limit: int,
    *,
    equal: Mapping[Column[Any], Any] = MappingProxyType({}),
    descending: bool = True,
) -> tuple[list[Mapping[str, Any]], str | None]:
    """One page of a query's rows, and the cursor of the next.

    Args:
        connection: Where to read.
        query: What to read, without an order; the same object for the same question, for what it is written as is kept.
        keys: Columns that give every row its place; they must be among the query's.
        cursor: End of the page before.
        limit: Most rows.
        equal: Columns, and what they have to be; any if None.
        descending: Newest first.

    Raises:
        Problem: The cursor is none of this list.
    """
    given = {column: value for column, value in equal.items() if value is not None}
    place = () if cursor is None else _decode(cursor, keys)
    page = _page(query, tuple(keys), tuple(given), descending, bool(place))
    values = {f"is_{column.name}": value for column, value in given.items()}
    values |= {f"after_{number}": part for number, part in enumerate(place)}
    result = connection.execute(page, values | {"most": limit + 1})
    names = tuple(result.keys())
    found = [dict(zip(names, row, strict=True)) for row in result.all()]
    rows = found[:limit]
    following = _encode([rows[-1][key.name] for key in keys]) if len(found) > limit else None
    return list(rows), following


@functools.lru_cache(256)
def _page(
    query: Select[Any], keys: tuple[Column[Any], ...], equal: tuple[Column[Any], ...], descending: bool, goes_on: bool
) -> Select[Any]:
    """Made once: to make a query costs more than to run it."""
    query = query.where(*(column == bindparam(f"is_{column.name}") for column in equal))
    if goes_on:
        place = tuple_(*(bindparam(f"after_{number}", type_=key.type) for number, key in enumerate(keys)))
        query = query.where(tuple_(*keys) < place if descending else tuple_(*keys) > place)
    order = [key.desc() if descending else key.asc() for key in keys]
    return query.order_by(*order).limit(bindparam("most", type_=Integer))


def _can_be(part: int | str, key: Column[Any]) -> bool:
    """Whether a database takes a value of a column; those of texts are addresses, hashes and ids."""
    if isinstance(part, str):
        return part.isascii() and part.isprintable()
    return abs(part) < 1 << (63 if isinstance(key.type, BigInteger) else 31)


def _encode(place: Sequence[int | str]) -> str:
    return base64.urlsafe_b64encode(json.dumps(place, separators=(",", ":")).encode()).decode().rstrip("=")


def _decode(cursor: str, keys: Sequence[Column[Any]]) -> tuple[int | str, ...]:
    try:
        place = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        kinds = [key.type.python_type for key in keys]
        fits = type(place) is list and [type(part) for part in place] == kinds
        if fits and all(_can_be(part, key) for part, key in zip(place, keys, strict=True)):
            return tuple(place)
    except (ValueError, RecursionError):
        pass
    raise Problem(422, "Invalid cursor", "the cursor is none of this list's: leave it out to begin")
