"""What happens, as it happens: server-sent events for blocks, a book, cleared epochs and one account's orders.

A stream begins with what stands now and goes on with every change. Its event ids are block numbers. It ends after a
while; clients such as EventSource come back by themselves.
"""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Annotated

from anyio import to_thread
from fastapi import Depends, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel, Field
from sqlalchemy.exc import SQLAlchemyError

from busbar import tables
from busbar.api import operations
from busbar.api.context import AddressInPath, Configured, OneZone, Settings, View, view_of
from busbar.api.energy import book_of, newest_epoch, order_shape, orders_query
from busbar.api.problems import Problem
from busbar.api.shapes import AGE_DESCRIPTION
from busbar.history import Head, head_of

router = operations.router("/streams", "streams")

PAUSE_S = 0.5
"""Between looks at the index."""

UNASKED_S = 2
"""Between looks for which nobody asks, so that the age of the newest block is known to whoever comes."""

MOST_OPEN = 500
"""Streams open at a time."""

MOST_OF_ADDRESS = 16
"""Streams open at a time from one address."""


Look = Callable[[View], BaseModel | None]
"""What a stream tells of the index; None for nothing."""

Looks = Mapping[str, Look]

News = tuple[Head, Mapping[str, str]]
"""A block, and what looks gave at it, as JSON; empty for nothing."""


class Watch:
    """The newest block, looked up once for all streams, and since when it is the newest.

    Args:
        settings: Where the index is.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.open: Counter[str] = Counter()
        self.ended = False
        self._head: Head | None = None
        self._since = 0.0
        self._looked_at = 0.0
        self._found: dict[str, tuple[Head | None, asyncio.Task[News]]] = {}
        self._lock = asyncio.Lock()

    async def head(self) -> Head | None:
        """The newest block, at most half a second old."""
        async with self._lock:
            if time.monotonic() - self._looked_at > PAUSE_S:
                head = await to_thread.run_sync(self._look)
                self._looked_at = time.monotonic()
                if head != self._head:
                    self._head, self._since = head, self._looked_at
        return self._head

    def end(self) -> None:
        """Has every stream end at its next look."""
        self.ended = True

    async def keep_looking(self) -> None:
        """Looks again and again, until it is cancelled."""
        while True:
            # A database that does not answer lets what is known grow old, which is the truth of it.
            with contextlib.suppress(SQLAlchemyError):
                await self.head()
            await asyncio.sleep(UNASKED_S)

    def age_s(self, head: Head) -> int:
        """Seconds since a newest block was first seen; 0 for one that is newer than the last look."""
        return int(time.monotonic() - self._since) if head == self._head else 0

    def _look(self) -> Head | None:
        with self.settings.engine.connect() as connection:
            return head_of(connection)

    async def news(self, looks: Looks, shared: str | None) -> News:
        """What looks at the index give, all at one block.

        Args:
            looks: By their events' names.
            shared: What all looks of this name give alike, so that it is looked up once a block; None if nobody shares.
        """
        if shared is None:
            return await to_thread.run_sync(self._at, looks)
        found = self._found.get(shared)
        if found is None or found[0] != self._head:
            found = self._head, asyncio.create_task(to_thread.run_sync(self._at, looks))
            self._found[shared] = found
        try:
            return await asyncio.shield(found[1])
        except SQLAlchemyError:
            self._found.pop(shared, None)
            raise

    def _at(self, looks: Looks) -> News:
        with view_of(self.settings) as here:
            news = {name: look(here) for name, look in looks.items()}
            return here.head, {name: "" if one is None else one.model_dump_json() for name, one in news.items()}


class BlockNews(BaseModel):
    """A new newest block. A number that is not above the last one means that the chain went back."""

    number: int
    hash: str
    timestamp: int
    epoch: int
    age_s: int = Field(description=AGE_DESCRIPTION)


class OrdersNews(BaseModel):
    """An account's orders of its newest epochs."""

    account: str
    block: int
    orders: list[dict[str, object]]


async def watched_of(request: Request) -> Watch:
    """The application's watch."""
    watch: Watch = request.app.state.watch
    return watch


Watched = Annotated[Watch, Depends(watched_of)]


async def watch_of(request: Request, watch: Watched) -> AsyncIterator[Watch]:
    """The application's watch, with one more stream open."""
    caller = request.client.host if request.client else "unknown"
    if watch.open.total() >= MOST_OPEN:
        raise Problem(503, "Too many streams", f"{MOST_OPEN} are open", {"Retry-After": "30"})
    if watch.open[caller] >= MOST_OF_ADDRESS:
        detail = f"{MOST_OF_ADDRESS} are open from {caller}"
        raise Problem(429, "Too many streams", detail, {"Retry-After": "30"})
    watch.open[caller] += 1
    try:
        yield watch
    finally:
        watch.open[caller] -= 1
        if not watch.open[caller]:
            del watch.open[caller]


Watching = Annotated[Watch, Depends(watch_of)]


async def _changes(
    watch: Watch, settings: Settings, looks: Looks, shared: str | None = None, *, blocks: bool = False
) -> AsyncIterator[ServerSentEvent]:
    """What stands now, then every change of it, by the event's name."""
    ends, seen = time.monotonic() + settings.stream_seconds, ""
    told: dict[str, str] = {}
    while True:
        head = await watch.head()
        if head is not None and head.hash != seen:
            head, news = await watch.news(looks, shared)
            seen = head.hash
            if blocks:
                # Its age is another one for each who asks.
                block = BlockNews(**head._asdict(), age_s=watch.age_s(head))
                yield ServerSentEvent(raw_data=block.model_dump_json(), event="block", id=str(head.number))
            for name, data in news.items():
                if data and data != told.get(name):
                    told[name] = data
                    yield ServerSentEvent(raw_data=data, event=name, id=str(head.number))
        if watch.ended or time.monotonic() >= ends:
            return
        await asyncio.sleep(PAUSE_S)


def _book(zone: int) -> Look:
    return lambda here: book_of(here, zone, here.head.epoch)


def _epoch(zone: int) -> Look:
    return lambda here: newest_epoch(here, zone)


@router.get("/blocks", response_class=EventSourceResponse)
async def blocks(watch: Watching, settings: Configured) -> AsyncIterator[ServerSentEvent]:
    """Every new newest block: event `block`."""
    async for event in _changes(watch, settings, {}, "", blocks=True):
        yield event


@router.get("/book", response_class=EventSourceResponse)
async def book(watch: Watching, settings: Configured, zone: OneZone = 1) -> AsyncIterator[ServerSentEvent]:
    """A zone's open book whenever it may have changed: event `book`, data as of GET energy/book."""
    async for event in _changes(watch, settings, {"book": _book(zone)}, f"book {zone}"):
        yield event


@router.get("/epochs", response_class=EventSourceResponse)
async def epochs(watch: Watching, settings: Configured, zone: OneZone = 1) -> AsyncIterator[ServerSentEvent]:
    """A zone's epochs as they are cleared: event `epoch`, data as of GET energy/epochs."""
    async for event in _changes(watch, settings, {"epoch": _epoch(zone)}, f"epoch {zone}"):
        yield event


@router.get("/market", response_class=EventSourceResponse)
async def market(watch: Watching, settings: Configured, zone: OneZone = 1) -> AsyncIterator[ServerSentEvent]:
    """The events of `streams/blocks`, `streams/book` and `streams/epochs` over one connection."""
    looks = {"book": _book(zone), "epoch": _epoch(zone)}
    async for event in _changes(watch, settings, looks, f"market {zone}", blocks=True):
        yield event


@router.get("/orders/{account}", response_class=EventSourceResponse)
async def orders(watch: Watching, settings: Configured, account: AddressInPath) -> AsyncIterator[ServerSentEvent]:
    """An account's newest orders whenever one changes: event `orders`, orders as of GET energy/orders."""

    def look(here: View) -> OrdersNews:
        o = tables.orders
        query = orders_query().where(o.c.account == account, o.c.epoch >= here.head.epoch - 1)
        rows = here.connection.execute(query.order_by(o.c.epoch, o.c.index)).mappings().all()
        shapes = [order_shape(here, dict(row)).model_dump(mode="json") for row in rows]
        return OrdersNews(account=account, block=here.head.number, orders=shapes)

    async for event in _changes(watch, settings, {"orders": look}):
        yield event
