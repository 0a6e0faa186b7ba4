"""Answers kept until they change: what has the newest block's ETag is a function of that block and of the address.

Most follow from the events so far and the open epoch alone. A block that brings no event and opens no epoch changes
nothing of these but the number of the block they were read at, which is written anew. What others than the index have a
part in is kept for a moment.

Whoever asks is told what the index holds after the question came in: the newest block is looked up for every request,
and requests that wait for a look share it.
"""

import asyncio
import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from anyio import CapacityLimiter, to_thread
from sqlalchemy.exc import SQLAlchemyError
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from busbar.api.context import LASTS, PASSES, Settings, etag_of, is_known
from busbar.api.quick import NotQuickError, Quick
from busbar.history import Head, newest_of

MOST_BYTES = 64_000_000
"""Of answers that are kept at a time."""

LARGEST_BYTES = 1_000_000
"""Of an answer that is kept."""

PASSES_S = 0.5
"""How long a `Passing` answer is kept."""

Key = tuple[str, bytes]
Newest = tuple[Head, str] | None


@dataclass(slots=True)
class Held:
    """An answer that is kept.

    Attributes:
        start: Status and headers.
        body: All of it.
        block: Number of the block it was read at.
        lasts: Whether only events and epochs change it, see `Lasting`.
        until: When it is too old, by the monotonic clock; None if only a block makes it so. Then it has an ETag.
    """

    start: Message
    body: bytes
    block: int
    lasts: bool
    until: float | None

    def moved_to(self, block: int) -> None:
        """Says that it was read at a later block, which changed nothing of it."""
        before = b'"block":%d}' % self.block
        if self.body.endswith(before):
            self.body = self.body.removesuffix(before) + b'"block":%d}' % block
        self.block = block


class Answers:
    """Keeps answers to GET for as long as nothing changed them.

    Args:
        app: What answers.
        settings: Where the index is.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self.settings = settings
        self._etag = ""
        self._newest_block = 0
        self._mark: tuple[str, int] = ("", 0)
        self._held: dict[Key, Held] = {}
        self._bytes = 0
        self._under_way: dict[Key, asyncio.Future[None]] = {}
        # Beside those who answer: what is kept does not wait for what is made.
        self._looking = CapacityLimiter(1)
        self._seen: tuple[int, Newest] | None = None
        self._look: asyncio.Task[Newest] | None = None
        self._next: asyncio.Task[Newest] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http" or scope["method"] != "GET":
            await self.app(scope, receive, send)
            return
        key = (scope["path"], scope["query_string"])
        asked = Headers(scope=scope).get("if-none-match")
        try:
            await self._renew()
        except SQLAlchemyError:
            await self.app(scope, receive, send)  # which finds the same, and has words for it
            return
        while self._kept(key) is None and key in self._under_way:
            # Somebody asks the same just now: that answer is as new as one of our own.
            await asyncio.shield(self._under_way[key])
        held = self._kept(key)
        if held is None:
            await self._ask(key, asked, scope, receive, send)
        else:
            await self._repeat(held, asked, send)

    def _kept(self, key: Key) -> Held | None:
        held = self._held.get(key)
        return None if held is None or (held.until is not None and held.until < time.monotonic()) else held

    async def _renew(self) -> None:
        newest = await self._newest()
        etag = "" if newest is None else etag_of(newest[0])
        if etag == self._etag:
            return
        self._etag = etag
        before, self._mark = self._mark, ("", 0)
        if newest is not None:
            head, eventful = newest
            self._newest_block, self._mark = head.number, (eventful, head.epoch)
        same = self._mark == before
        self._held = {key: held for key, held in self._held.items() if same and held.lasts}
        self._bytes = sum(_size(key, held.body) for key, held in self._held.items())

    async def _newest(self) -> Newest:
        """The newest block, as of a look that began after this was asked."""
        if self.settings.quick is not None:
            with contextlib.suppress(NotQuickError):
                return self._newest_in(self.settings.quick)
        if self._next is None:
            self._next = asyncio.create_task(self._look_after(self._look))
        return await asyncio.shield(self._next)

    def _newest_in(self, quick: Quick) -> Newest:
        if quick.is_replaced():
            self.settings.engine.dispose()
            self._seen = None
        version = quick.version()  # before the look: what is written in between is looked for again
        if self._seen is None or self._seen[0] != version:
            with quick.connect() as connection:
                self._seen = version, newest_of(connection)
        return self._seen[1]

    async def _look_after(self, before: "asyncio.Task[Newest] | None") -> Newest:
        if before is not None:
            await asyncio.wait([before])
        self._look, self._next = self._next, None
        return await to_thread.run_sync(self._read, limiter=self._looking)

    def _read(self) -> Newest:
        with self.settings.engine.connect() as connection:
            return newest_of(connection)

    async def _ask(self, key: Key, asked: str | None, scope: Scope, receive: Receive, send: Send) -> None:
        """Has the request answered, and keeps the answer if it is the newest block's.

        Only then it is sent: others wait for the answer, and not for somebody who does not read it.
        """
        done = asyncio.get_running_loop().create_future()
        self._under_way[key] = done
        heard: list[Message] = []
        etag, passed_on = self._etag, False

        def release() -> None:
            if not done.done():
                del self._under_way[key]
                done.set_result(None)

        async def hear(message: Message) -> None:
            nonlocal passed_on
            if message["type"] == "http.response.start":
                # A stream, which may never end, or what is nobody else's: nobody waits for it, nothing of it is kept.
                passed_on = "etag" not in Headers(raw=message["headers"]) and PASSES not in scope.get("state", {})
            if passed_on:
                release()
                await send(message)
            else:
                heard.append(message)

        try:
            await self.app(scope, receive, hear)
            self._keep(key, etag, heard, scope.get("state", {}))
        finally:
            release()
        if heard and heard[0]["status"] == 200:
            told = Headers(raw=heard[0]["headers"]).get("etag")
            if told is not None and is_known(told, asked):
                await _tell_known(told, send)
                return
        for message in heard:
            # Whoever is outside adds headers of its own to what is sent.
            await send({**message, "headers": list(message["headers"])} if "headers" in message else message)

    def _keep(self, key: Key, etag: str, heard: list[Message], state: Mapping[str, Any]) -> None:
        whole = bool(heard) and heard[0]["status"] == 200 and not heard[-1].get("more_body", False)
        body = b"".join(message.get("body", b"") for message in heard)
        if not whole or len(body) > LARGEST_BYTES:
            return
        passes = PASSES in state
        told = etag if passes else Headers(raw=heard[0]["headers"]).get("etag")
        if self._etag and told == self._etag:
            self._drop(key)
            until = time.monotonic() + PASSES_S if passes else None
            self._held[key] = Held(heard[0], body, self._newest_block, LASTS in state, until)
            self._bytes += _size(key, body)
            while self._bytes > MOST_BYTES:
                # The one that was kept first: nobody can fill the memory with answers that nobody asks for again.
                self._drop(next(iter(self._held)))

    def _drop(self, key: Key) -> None:
        held = self._held.pop(key, None)
        self._bytes -= 0 if held is None else _size(key, held.body)

    async def _repeat(self, held: Held, asked: str | None, send: Send) -> None:
        if held.until is None and is_known(self._etag, asked):
            await _tell_known(self._etag, send)
            return
        etag = self._etag.encode()
        if held.block != self._newest_block:
            held.moved_to(self._newest_block)
        now = {b"etag": etag, b"content-length": str(len(held.body)).encode()}
        headers = [(name, now.get(name, value)) for name, value in held.start["headers"]]
        await send({**held.start, "headers": headers})
        await send({"type": "http.response.body", "body": held.body})


def _size(key: Key, body: bytes) -> int:
    """What keeping an answer takes, in bytes; some of it for headers and the like."""
    path, query = key
    return len(path) + len(query) + len(body) + 2_000


async def _tell_known(etag: str, send: Send) -> None:
    """Tells the caller that it has the answer already."""
    headers = [(b"etag", etag.encode()), (b"cache-control", b"no-cache")]
    await send({"type": "http.response.start", "status": 304, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
