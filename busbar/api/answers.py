"""Answers kept until the next block: what has the newest block's ETag is a function of that block and of the address.

Whoever asks is told what the index holds after the question came in: the newest block is looked up for every request,
and requests that wait for a look share it.
"""

import asyncio

from anyio import to_thread
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from busbar.api.context import Settings, etag_of
from busbar.history import Head, head_of

MOST_BYTES = 64_000_000
"""Of answers that are kept at a time."""

LARGEST_BYTES = 1_000_000
"""Of an answer that is kept."""

Key = tuple[str, bytes]


class Answers:
    """Keeps answers to GET for as long as their block is the newest.

    Args:
        app: What answers.
        settings: Where the index is.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self.settings = settings
        self._etag = ""
        self._held: dict[Key, list[Message]] = {}
        self._bytes = 0
        self._under_way: dict[Key, asyncio.Future[None]] = {}
        self._look: asyncio.Task[Head | None] | None = None
        self._next: asyncio.Task[Head | None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http" or scope["method"] != "GET":
            await self.app(scope, receive, send)
            return
        key = (scope["path"], scope["query_string"])
        await self._renew()
        while key not in self._held and key in self._under_way:
            # Somebody asks the same just now: that answer is as new as one of our own.
            await asyncio.shield(self._under_way[key])
        if key in self._held:
            await self._repeat(self._held[key], Headers(scope=scope), send)
        else:
            await self._ask(key, scope, receive, send)

    async def _renew(self) -> None:
        head = await self._newest()
        etag = "" if head is None else etag_of(head)
        if etag != self._etag:
            self._etag, self._held, self._bytes = etag, {}, 0

    async def _newest(self) -> Head | None:
        """The newest block, as of a look that began after this was asked."""
        if self._next is None:
            self._next = asyncio.create_task(self._look_after(self._look))
        return await asyncio.shield(self._next)

    async def _look_after(self, before: "asyncio.Task[Head | None] | None") -> Head | None:
        if before is not None:
            await asyncio.wait([before])
        self._look, self._next = self._next, None
        return await to_thread.run_sync(self._read)

    def _read(self) -> Head | None:
        with self.settings.engine.connect() as connection:
            return head_of(connection)

    async def _ask(self, key: Key, scope: Scope, receive: Receive, send: Send) -> None:
        """Has the request answered, and keeps the answer if it is the newest block's."""
        done = asyncio.get_running_loop().create_future()
        self._under_way[key] = done
        heard: list[Message] = []

        def release() -> None:
            if not done.done():
                del self._under_way[key]
                done.set_result(None)

        async def hear(message: Message) -> None:
            if message["type"] == "http.response.start" and "etag" not in Headers(raw=message["headers"]):
                # A stream, which may never end, or what is nobody else's: nobody waits for it, nothing of it is kept.
                release()
            if not done.done():
                # Whoever is outside adds headers of its own to what is sent.
                heard.append({**message, "headers": list(message["headers"])} if "headers" in message else message)
            await send(message)

        try:
            await self.app(scope, receive, hear)
            self._keep(key, heard)
        finally:
            release()

    def _keep(self, key: Key, heard: list[Message]) -> None:
        length = sum(len(message.get("body", b"")) for message in heard)
        whole = bool(heard) and heard[0]["status"] == 200 and not heard[-1].get("more_body", False)
        if not whole or length > LARGEST_BYTES or self._bytes + length > MOST_BYTES:
            return
        if self._etag and Headers(raw=heard[0]["headers"]).get("etag") == self._etag:
            self._held[key] = heard
            self._bytes += length

    async def _repeat(self, heard: list[Message], asked: Headers, send: Send) -> None:
        known = [tag.strip() for tag in asked.get("if-none-match", "").split(",")]
        if self._etag in known:
            await send({"type": "http.response.start", "status": 304, "headers": [(b"etag", self._etag.encode())]})
            await send({"type": "http.response.body", "body": b""})
            return
        start, *body = heard
        await send({**start, "headers": list(start["headers"])})
        for message in body:
            await send(message)
