"""Pages by cursor: a page begins where the one before ended, whatever came in meanwhile."""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, Field
from sqlalchemy import Column, Connection, Select, tuple_

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
    descending: bool = True,
) -> tuple[list[Mapping[str, Any]], str | None]:
    """One page of a query's rows, and the cursor of the next.

    Args:
        connection: Where to read.
        query: What to read, without an order.
        keys: Columns that give every row its place; they must be among the query's.
        cursor: End of the page before.
        limit: Most rows.
        descending: Newest first.

    Raises:
        Problem: The cursor is none of this list.
    """
    if cursor is not None:
        place = _decode(cursor, keys)
        query = query.where(tuple_(*keys) < place if descending else tuple_(*keys) > place)
    order = [key.desc() if descending else key.asc() for key in keys]
    result = connection.execute(query.order_by(*order).limit(limit + 1))
    names = tuple(result.keys())
    found = [dict(zip(names, row, strict=True)) for row in result]
    rows = found[:limit]
    following = _encode([rows[-1][key.name] for key in keys]) if len(found) > limit else None
    return list(rows), following


def _encode(place: Sequence[int | str]) -> str:
    return base64.urlsafe_b64encode(json.dumps(place, separators=(",", ":")).encode()).decode().rstrip("=")


def _decode(cursor: str, keys: Sequence[Column[Any]]) -> tuple[int | str, ...]:
    try:
        place = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        kinds = [key.type.python_type for key in keys]
        fits = type(place) is list and [type(part) for part in place] == kinds
        if fits and all(abs(part) < 1 << 63 for part in place if isinstance(part, int)):
            return tuple(place)
    except (ValueError, RecursionError):
        pass
    raise Problem(422, "Invalid cursor", "the cursor is none of this list's: leave it out to begin")
