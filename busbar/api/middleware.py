"""What every request goes through: an id, a limit to its rate, a line in the log."""

import asyncio
import re
import time
import uuid
from math import ceil

import structlog
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from busbar import metrics
from busbar.api.problems import answer
from busbar.rates import Rate

log = structlog.get_logger(__name__)

BODY_S = 30
"""Longest wait for a whole body."""

_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class Door:
    """Names each request, limits the rate of each address, and logs what was answered.

    The id is the caller's X-Request-ID if it is plain, otherwise a new one; it is in the answer, in every problem
    document and in the log.

    Args:
        app: What answers.
        rate: Requests allowed from one address, such as `600/minute`; no limit if None.
    """

    def __init__(self, app: ASGIApp, rate: str | None) -> None:
        self.app = app
        self.rate = None if rate is None else Rate(rate)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        offered = request.headers.get("x-request-id", "")
        request.state.request_id = offered if _ID.fullmatch(offered) else uuid.uuid4().hex
        began, status = time.monotonic(), 500

        async def tell(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"].append((b"x-request-id", request.state.request_id.encode("ascii")))
            await send(message)

        caller = request.client.host if request.client else "unknown"
        if self.rate is not None and not self.rate.hit(caller):
            wait_s = ceil(self.rate.wait_s(caller)) or 1
            detail = f"more than {self.rate} from {caller}"
            refused = answer(request, 429, "Too many requests", detail, {"Retry-After": str(wait_s)})
            await refused(scope, receive, tell)
        else:
            await self.app(scope, receive, tell)
        metrics.REQUESTS.labels(status).inc()
        log.info(
            "answered",
            request_id=request.state.request_id,
            method=request.method,
            path=request.url.path,
            status=status,
            milliseconds=int((time.monotonic() - began) * 1000),
        )


class BodyLimit:
    """Refuses a body above a size before it is read as a whole, whatever its headers say, or one that takes too long.

    Args:
        app: What answers.
        most_bytes: Largest body.
        most_held_bytes: Of the bodies of all requests at a time; no limit if None.
    """

    def __init__(self, app: ASGIApp, most_bytes: int, most_held_bytes: int | None = None) -> None:
        self.app = app
        self.most_bytes = most_bytes
        self.most_held_bytes = most_held_bytes
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        told = dict(scope["headers"]).get(b"content-length", b"0")
        too_large = told.isdigit() and int(told) > self.most_bytes
        too_many = False
        body, patience = bytearray(), asyncio.timeout(BODY_S)
        try:
            async with patience:
                while not too_large:
                    message = await receive()
                    if message["type"] != "http.request":
                        return
                    piece = message.get("body", b"")
                    self._held += len(piece)
                    body += piece
                    too_large = len(body) > self.most_bytes
                    too_many = self.most_held_bytes is not None and bool(piece) and self._held > self.most_held_bytes
                    if too_many or not message.get("more_body", False):
                        break
            if too_large:
                detail = f"a body may have {self.most_bytes} bytes"
                refused = answer(Request(scope), 413, "Body too large", detail, {"Connection": "close"})
                await refused(scope, receive, send)
                return
            if too_many:
                again = {"Connection": "close", "Retry-After": "5"}
                refused = answer(Request(scope), 503, "Too many bodies", "try again later", again)
                await refused(scope, receive, send)
                return
            whole = iter([{"type": "http.request", "body": bytes(body), "more_body": False}])

            async def given() -> Message:
                return next(whole, None) or await receive()

            await self.app(scope, given, send)
        except TimeoutError:
            if not patience.expired():
                raise
            refused = answer(Request(scope), 408, "Too slow", f"a body may take {BODY_S} s", {"Connection": "close"})
            await refused(scope, receive, send)
        finally:
            self._held -= len(body)
