"""The relay's door: takes signed bundles over HTTP and says what became of them. Failures are problem documents."""

import asyncio
import json
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import structlog
import uvicorn
from fastapi import FastAPI, Request, Response
from pydantic import Field

from busbar import __version__, errors
from busbar.api import problems, shapes
from busbar.api.messages import BundleStatus, Number, OrderMessage
from busbar.api.middleware import Door
from busbar.outbox import State
from busbar.relay import Intake, RateError, TooManyWaitingError
from busbar.signing import Bundle, SignedBundle, as_taken

GROUP = 500
"""Most bundles that share one look at the chain and one write to the disk."""

STOP_S = 2
"""Longest wait for answers under way when a server is stopped."""

STATES = {State.DONE: "entered", State.REFUSED: "skipped"}
"""What the outbox's words mean here; the others stay."""

log = structlog.get_logger(__name__)


class OrdersMessage(shapes.Request):
    """The message of `Orders` that a wallet signed, field by field."""

    account: str
    zone: Number
    source: Number
    nonce: Number
    firstEpoch: Number  # noqa: N815
    lastEpoch: Number  # noqa: N815
    orders: Annotated[list[OrderMessage], Field(min_length=1, max_length=100)]


class BundleRequest(shapes.Request):
    """Orders under one signature."""

    message: OrdersMessage
    signature: str = Field(
        pattern=r"^0x([0-9a-fA-F]{2})*$",
        description="65 bytes as wallets give it, 64 in compact form, or what the account's contract takes",
    )


class _Groups:
    """Has what arrives meanwhile taken together. Chain and outbox of the intake are used by its one thread alone."""

    def __init__(self, intake: Intake) -> None:
        self.intake = intake
        self.thread = ThreadPoolExecutor(1, "intake")
        self._waiting: list[tuple[SignedBundle, asyncio.Future[Any]]] = []
        self._turning: asyncio.Task[None] | None = None

    async def take(self, signed: SignedBundle) -> str:
        answered = asyncio.get_running_loop().create_future()
        self._waiting.append((signed, answered))
        if self._turning is None or self._turning.done():
            self._turning = asyncio.create_task(self._turn())
        answer = await answered
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    async def _turn(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            group, self._waiting = self._waiting[:GROUP], self._waiting[GROUP:]
            answers: list[Any]
            try:
                answers = list(await loop.run_in_executor(self.thread, self.intake.take, [s for s, _ in group]))
            except Exception as problem:  # noqa: BLE001  (told to everybody who waits for it)
                answers = [problem] * len(group)
            for (_, answered), answer in zip(group, answers, strict=True):
                if not answered.done():
                    answered.set_result(answer)

    async def status(self, key: str) -> BundleStatus | None:
        item = await asyncio.get_running_loop().run_in_executor(self.thread, self.intake.outbox.find, key)
        if item is None:
            return None
        more: dict[str, Any] = json.loads(item.reason) if item.reason else {}
        if item.state is State.REFUSED:
            more = {"reason": more}
        return BundleStatus(id=item.key, state=STATES.get(item.state, item.state.value), **more)


def create_app(intake: Intake) -> FastAPI:
    """The relay's endpoints over an intake, which nobody else may use from then on."""
    app = FastAPI(
        title="Busbar relay", version=__version__, responses=problems.RESPONSES, docs_url=None, redoc_url=None
    )
    groups = _Groups(intake)
    problems.install(app)

    @app.exception_handler(RateError)
    @app.exception_handler(TooManyWaitingError)
    async def _too_many(request: Request, problem: errors.BusbarError) -> Response:
        kind = f"urn:busbar:error:{type(problem).__name__}"
        return problems.answer(request, 429, "Too many bundles", str(problem), {"Retry-After": "10"}, type=kind)

    @app.post("/bundles", status_code=202)
    async def post_bundle(body: BundleRequest, response: Response) -> BundleStatus:
        """Takes a bundle on: once this is answered it is on the disk, and will be entered, skipped or expire."""
        signature = as_taken(bytes.fromhex(body.signature[2:]))
        key = await groups.take(SignedBundle(Bundle.from_fields(body.message.model_dump()), signature))
        response.headers["Location"] = f"/bundles/{key}"
        return await _known(key)

    @app.get("/bundles/{key}")
    async def get_bundle(key: str) -> BundleStatus:
        """What became of a bundle."""
        return await _known(key)

    async def _known(key: str) -> BundleStatus:
        status = await groups.status(key)
        if status is None:
            raise problems.Problem(404, "Unknown bundle", f"no bundle {key} was taken on, or it is long done")
        return status

    app.add_middleware(Door, rate=None)
    return app


def serve(app: FastAPI, host: str, port: int) -> Callable[[], None]:
    """Answers at a port, on a thread of its own, until the function it returns is called.

    Raises:
        OSError: The port is somebody else's.
    """
    listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    # Streams of events never end by themselves: they are not waited for longer than this.
    config = uvicorn.Config(
        app, log_config=None, access_log=False, server_header=False, timeout_graceful_shutdown=STOP_S
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="http", daemon=True)
    thread.start()
    address, at = listening.getsockname()[:2]
    log.info("listening", host=address, port=at)

    def stop() -> None:
        server.should_exit = True
        thread.join()

    return stop
