"""A service's HTTP door: requests that arrive together are taken together, and a server on a thread of its own."""

import asyncio
import gc
import json
import signal
import socket
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar, Generic, TypeVar

import structlog
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from busbar import errors, tools

GROUP = 500
"""Most entries that share one look at the chain and one write to the disk."""

STOP_S = 2
"""Longest wait for answers under way when a server is stopped."""

MOST_CONNECTIONS = 1_000
"""Connections at a time; more are answered 503 at once."""

MOST_OF_ADDRESS = 200
"""Of these from one address; more are answered 429 and closed. Not of this machine's own: a proxy speaks for many."""

TRUSTED = ("127.0.0.1", "::1")
"""Whose word uvicorn takes for who asks."""

LINGER_S = 1
"""How long a refused connection stays, so that the refusal is read."""

HEADERS_S = 10
"""Longest wait for a request's headers."""

Entry = TypeVar("Entry")

log = structlog.get_logger(__name__)


class Groups(Generic[Entry]):
    """Has what arrives meanwhile taken together, on one thread, which alone uses what it is taken with.

    Args:
        take: Takes entries on; gives the key of each, or why it was not taken on.
        size: Most entries to a call of it.
    """

    def __init__(
        self, take: Callable[[Sequence[Entry]], Sequence[str | errors.BusbarError]], size: int = GROUP
    ) -> None:
        self._take = take
        self._size = size
        self._thread = ThreadPoolExecutor(1, "intake")
        self._waiting: list[tuple[Entry, asyncio.Future[str | Exception]]] = []
        self._turning: asyncio.Task[None] | None = None

    async def take(self, entry: Entry) -> str:
        """The entry's key, once it is on the disk.

        Raises:
            BusbarError: It was not taken on.
        """
        (answer,) = await self.take_each([entry])
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def take_each(self, entries: Sequence[Entry]) -> list[str | errors.BusbarError]:
        """The key of each entry, or why it was not taken on.

        Raises:
            Exception: None was: the node does not answer, say.
        """
        loop = asyncio.get_running_loop()
        answered = [loop.create_future() for _ in entries]
        self._waiting += zip(entries, answered, strict=True)
        if self._turning is None or self._turning.done():
            self._turning = asyncio.create_task(self._turn())
        answers = await asyncio.gather(*answered)
        for answer in answers:
            if isinstance(answer, Exception) and not _is_refusal(answer):
                raise answer
        return answers

    async def _turn(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting[: self._size], self._waiting[self._size :]
            answers: Sequence[str | Exception]
            try:
                answers = await self.look(self._take, [entry for entry, _ in group])
            except Exception as problem:  # noqa: BLE001  (told to everybody who waits for it)
                answers = [problem] * len(group)
            for (_, answered), answer in zip(group, answers, strict=True):
                if not answered.done():
                    answered.set_result(answer)

    async def look(self, function: Callable[..., Any], *args: Any) -> Any:
        """Calls a function on the thread that takes entries."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *args)


def _is_refusal(problem: Exception) -> bool:
    """Whether a problem is the entry's own: what passes by itself is the node's or the disk's, and everybody's."""
    return isinstance(problem, errors.BusbarError) and problem.remedy is not errors.Remedy.RETRY


def _too_many() -> bytes:
    detail = f"an address may have {MOST_OF_ADDRESS} connections at a time"
    told = {"type": "about:blank", "title": "Too many connections", "status": 429, "detail": detail}
    body = json.dumps(told).encode()
    head = (
        "HTTP/1.1 429 Too Many Requests",
        "Content-Type: application/problem+json",
        f"Content-Length: {len(body)}",
        f"Retry-After: {HEADERS_S}",
        "Connection: close",
    )
    return "\r\n".join((*head, "", "")).encode() + body


class Impatient(HttpToolsProtocol):
    """A connection that ends when its next request takes too long to begin, or when its answers are not read.

    Uvicorn alone waits for both for ever.

    One of an address that has too many already is refused.
    """

    _of_address: ClassVar[Counter[str]] = Counter()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begins to look."""
        super().connection_made(transport)
        self._seen: Any = None
        self._unread = 0
        self._peer = str((transport.get_extra_info("peername") or ("",))[0])
        self._of_address[self._peer] += 1
        self._refused = self._peer not in TRUSTED and self._of_address[self._peer] > MOST_OF_ADDRESS
        if self._refused:
            # It takes nobody's place.
            self.connections.discard(self)
            transport.write(_too_many())
            self._timer = self.loop.call_later(LINGER_S, transport.close)
        else:
            self._later()

    def data_received(self, data: bytes) -> None:
        """Reads what is asked; of a connection that was refused, nothing."""
        if not self._refused:
            super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends to look."""
        self._timer.cancel()
        self._of_address[self._peer] -= 1
        if not self._of_address[self._peer]:
            del self._of_address[self._peer]
        super().connection_lost(exc)

    def _later(self) -> None:
        self._timer = self.loop.call_later(HEADERS_S, self._look)

    def _look(self) -> None:
        # A cycle is made once all headers of its request are there.
        cycle: Any = self.cycle
        unread, self._unread = self._unread, self.transport.get_write_buffer_size()
        if 0 < unread <= self._unread:
            self.transport.abort()  # nobody takes what is answered, or not as fast as it comes
            return
        if not self._unread and (cycle is None or (cycle is self._seen and cycle.response_complete)):
            self.transport.close()
            return
        self._seen = cycle
        self._later()


class _Server(uvicorn.Server):
    """Tells the application first that it ends, by what `app.state.ending` holds: streams never end by themselves."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for end in getattr(getattr(self.config.app, "state", None), "ending", ()):
            end()
        await super().shutdown(sockets)


def _server(app: FastAPI) -> uvicorn.Server:
    # Whoever does not take an answer is not waited for longer than this.
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        http=Impatient,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_graceful_shutdown=STOP_S,
    )
    return _Server(config)


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as problem:
        raise tools.PortUnusableError(host, port, "requests", problem) from None


def _tell(listening: socket.socket) -> None:
    address, at = listening.getsockname()[:2]
    log.info("listening", host=address, port=at)


def run(app: FastAPI, host: str, port: int) -> None:
    """Answers at a port until SIGINT or SIGTERM.

    Raises:
        PortUnusableError: The port is somebody else's.
    """
    listening = _listen(host, port)
    # The server raises the signal again once it has stopped, so that whoever called it may end by it: nobody need.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    _tell(listening)
    # What is there now stays: to look through it for garbage again and again keeps requests waiting for 0.1 s and more.
    gc.collect()
    gc.freeze()
    _server(app).run([listening])
    log.info("stopped")


def serve(app: FastAPI, host: str, port: int) -> Callable[[], None]:
    """Answers at a port, on a thread of its own, until the function it returns is called.

    Raises:
        PortUnusableError: The port is somebody else's.
    """
    listening = _listen(host, port)
    server = _server(app)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="http", daemon=True)
    thread.start()
    _tell(listening)

    def stop() -> None:
        server.should_exit = True
        thread.join()

    return stop
