"""The relay's door: takes what participants sign over HTTP and says what became of it.

Failures are problem documents.
"""

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
from busbar.api.errands import (
    ErrandStatus,
    SignedCancelOrder,
    SignedCancelUpTo,
    SignedDeposit,
    SignedWithdrawal,
)
from busbar.api.messages import BundleStatus, Number, OrderMessage
from busbar.api.middleware import Door
from busbar.api.shapes import RelayStatus
from busbar.errands import Kind, SignedMessage, message_of
from busbar.metrics import Pulse
from busbar.outbox import Item, State
from busbar.relay import Brought, Intake, RateError, TooManyWaitingError
from busbar.signing import Bundle, SignedBundle, as_taken

GROUP = 500
"""Most bundles that share one look at the chain and one write to the disk."""

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
        self._waiting: list[tuple[Brought, asyncio.Future[Any]]] = []
        self._turning: asyncio.Task[None] | None = None

    async def take(self, signed: Brought) -> str:
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

    async def find(self, key: str) -> Item:
        item: Item | None = await self._look(self.intake.outbox.find, key)
        if item is None:
            raise problems.Problem(404, "Unknown message", f"no {key} was taken on, or it is long done")
        return item

    async def counts(self) -> dict[State, int]:
        counts: dict[State, int] = await self._look(self.intake.outbox.counts)
        return counts

    async def _look(self, look: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self.thread, look, *args)


def _told(item: Item) -> dict[str, Any]:
    """What the outbox knows of an item, by the names of a status."""
    more: dict[str, Any] = json.loads(item.reason) if item.reason else {}
    if item.state is State.REFUSED:
        more = {"reason": more}
    return {"id": item.key, "state": item.state.value} | more


def _bundle(item: Item) -> BundleStatus:
    if "errand" in json.loads(item.body):
        raise problems.Problem(404, "Unknown message", f"{item.key} is no bundle")
    return BundleStatus(**_told(item) | {"state": STATES.get(item.state, item.state.value)})


def _errand(item: Item) -> ErrandStatus:
    errand = json.loads(item.body).get("errand")
    if errand is None:
        raise problems.Problem(404, "Unknown message", f"{item.key} is a bundle")
    return ErrandStatus(**_told(item), errand=errand)


def create_app(intake: Intake, payer: str = "", pulse: Pulse | None = None) -> FastAPI:
    """The relay's endpoints over an intake, which nobody else may use from then on.

    Args:
        intake: Takes on what comes.
        payer: Account that pays for gas, for the status.
        pulse: Whether what was taken on is brought, for the status.
    """
    app = FastAPI(
        title="Busbar relay", version=__version__, responses=problems.RESPONSES, docs_url=None, redoc_url=None
    )
    groups = _Groups(intake)
    problems.install(app)

    @app.exception_handler(RateError)
    @app.exception_handler(TooManyWaitingError)
    async def _too_many(request: Request, problem: errors.BusbarError) -> Response:
        kind = f"urn:busbar:error:{type(problem).__name__}"
        return problems.answer(request, 429, "Too many messages", str(problem), {"Retry-After": "10"}, type=kind)

    @app.post("/bundles", status_code=202)
    async def post_bundle(body: BundleRequest, response: Response) -> BundleStatus:
        """Takes a bundle on: once this is answered it is on the disk, and will be entered, skipped or expire."""
        signature = as_taken(bytes.fromhex(body.signature[2:]))
        key = await groups.take(SignedBundle(Bundle.from_fields(body.message.model_dump()), signature))
        response.headers["Location"] = f"/bundles/{key}"
        return _bundle(await groups.find(key))

    @app.get("/bundles/{key}")
    async def get_bundle(key: str) -> BundleStatus:
        """What became of a bundle."""
        return _bundle(await groups.find(key))

    _take_errands(app, groups)

    @app.get("/status")
    async def status() -> RelayStatus:
        """Which market it serves, what waits, and how the last pass went."""
        counts = await groups.counts()
        chain = intake.chain
        return RelayStatus(
            version=__version__,
            chain_id=chain.chain_id,
            trading=chain.addresses["Trading"],
            payer=payer,
            waiting=counts[State.ACCEPTED],
            sent=counts[State.SENT],
            done=counts[State.DONE],
            refused=counts[State.REFUSED],
            expired=counts[State.EXPIRED],
            turned_s=0 if pulse is None else int(pulse.stuck_s),
            problem=None if pulse is None else pulse.problem,
        )

    app.add_middleware(Door, rate=None)
    return app


def _take_errands(app: FastAPI, groups: _Groups) -> None:
    async def take(kind: Kind, body: Any, response: Response) -> ErrandStatus:
        message = message_of(kind, body.message.model_dump(), getattr(body, "asset", None))
        key = await groups.take(SignedMessage(message, as_taken(bytes.fromhex(body.signature[2:]))))
        response.headers["Location"] = f"/errands/{key}"
        return _errand(await groups.find(key))

    @app.post("/errands/cancel-order", status_code=202)
    async def post_cancel_order(body: SignedCancelOrder, response: Response) -> ErrandStatus:
        """Takes the cancel of an order on."""
        return await take(Kind.CANCEL_ORDER, body, response)

    @app.post("/errands/cancel-up-to", status_code=202)
    async def post_cancel_up_to(body: SignedCancelUpTo, response: Response) -> ErrandStatus:
        """Takes a cancel of messages on."""
        return await take(Kind.CANCEL_UP_TO, body, response)

    @app.post("/errands/withdraw", status_code=202)
    async def post_withdrawal(body: SignedWithdrawal, response: Response) -> ErrandStatus:
        """Takes a withdrawal on."""
        return await take(Kind.WITHDRAW, body, response)

    @app.post("/errands/deposit", status_code=202)
    async def post_deposit(body: SignedDeposit, response: Response) -> ErrandStatus:
        """Takes a permit on, to deposit by it."""
        return await take(Kind.DEPOSIT, body, response)

    @app.get("/errands/{key}")
    async def get_errand(key: str) -> ErrandStatus:
        """What became of an errand."""
        return _errand(await groups.find(key))


def serve(app: FastAPI, host: str, port: int) -> Callable[[], None]:
    """Answers at a port, on a thread of its own, until the function it returns is called.

    Raises:
        OSError: The port is somebody else's.
    """
    listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, server_header=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="http", daemon=True)
    thread.start()
    address, at = listening.getsockname()[:2]
    log.info("listening", host=address, port=at)

    def stop() -> None:
        server.should_exit = True
        thread.join()

    return stop
