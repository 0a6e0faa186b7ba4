"""The relay's door: takes what participants sign over HTTP and says what became of it.

Failures are problem documents.
"""

import json
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

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
from busbar.api.messages import (
    MOST_BUNDLES,
    BundleAnswer,
    BundleAnswers,
    BundleStatus,
    Number,
    OrderMessage,
    Refusal,
)
from busbar.api.middleware import BodyLimit, Door
from busbar.api.shapes import RelayStatus
from busbar.door import Groups
from busbar.errands import Kind, SignedMessage, message_of
from busbar.metrics import Pulse
from busbar.outbox import Item, State
from busbar.relay import Brought, Intake, RateError, TooManyWaitingError
from busbar.signing import Bundle, SignedBundle, as_taken

MOST_BYTES = 64_000_000
"""Of a body, and of all at a time: as much as an API holds, for it hands on together what came to it one by one."""

STATES = {State.DONE: "entered", State.REFUSED: "skipped"}
"""What the outbox's words mean here; the others stay."""

TOO_MANY = (RateError, TooManyWaitingError)
TOO_MANY_TITLE = "Too many messages"

Find = Callable[[str], Awaitable[Item]]


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


class BundlesRequest(shapes.Request):
    """Several bundles."""

    bundles: Annotated[list[BundleRequest], Field(min_length=1, max_length=MOST_BUNDLES)]


def _signed(body: BundleRequest) -> SignedBundle:
    """The bundle of a request.

    Raises:
        BusbarError: It cannot be expressed on chain.
    """
    signature = as_taken(bytes.fromhex(body.signature[2:]))
    return SignedBundle(Bundle.from_fields(body.message.model_dump()), signature)


def _signed_or_why(body: BundleRequest) -> SignedBundle | errors.BusbarError:
    try:
        return _signed(body)
    except errors.BusbarError as problem:
        return problem


def _refusal(problem: errors.BusbarError) -> Refusal:
    """A refusal as its problem document would tell it."""
    name = type(problem).__name__
    too_many = isinstance(problem, TOO_MANY)
    return Refusal(
        status=429 if too_many else 422,
        type=f"urn:busbar:error:{name}",
        title=TOO_MANY_TITLE if too_many else name,
        detail=str(problem),
        values={key: str(value) for key, value in getattr(problem, "values", {}).items()},
    )


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
    groups = Groups(intake.take)
    find = _finder(groups, intake)
    problems.install(app)

    @app.exception_handler(RateError)
    @app.exception_handler(TooManyWaitingError)
    async def _too_many(request: Request, problem: errors.BusbarError) -> Response:
        kind = f"urn:busbar:error:{type(problem).__name__}"
        return problems.answer(request, 429, TOO_MANY_TITLE, str(problem), {"Retry-After": "10"}, type=kind)

    @app.post("/bundles", status_code=202)
    async def post_bundle(body: BundleRequest, response: Response) -> BundleStatus:
        """Takes a bundle on: once this is answered it is on the disk, and will be entered, skipped or expire."""
        key = await groups.take(_signed(body))
        response.headers["Location"] = f"/bundles/{key}"
        return _bundle(await find(key))

    @app.post("/bundles/batch", status_code=202, response_model=BundleAnswers)
    async def post_bundles(body: BundlesRequest) -> Response:
        """Takes on several bundles, each for itself: what is wrong with one does not touch the others."""
        given = [_signed_or_why(entry) for entry in body.bundles]
        taken = iter(await groups.take_each([one for one in given if isinstance(one, SignedBundle)]))
        answers = [next(taken) if isinstance(one, SignedBundle) else one for one in given]
        found = await groups.look(intake.outbox.found, [key for key in answers if isinstance(key, str)])
        told = [
            BundleAnswer(taken=_bundle(found[one])) if isinstance(one, str) else BundleAnswer(refused=_refusal(one))
            for one in answers
        ]
        return Response(BundleAnswers(bundles=told).model_dump_json(), 202, media_type="application/json")

    @app.get("/bundles/{key}")
    async def get_bundle(key: str) -> BundleStatus:
        """What became of a bundle."""
        return _bundle(await find(key))

    _take_errands(app, groups, find)

    @app.get("/status")
    async def status() -> RelayStatus:
        """Which market it serves, what waits, and how the last pass went."""
        counts = await groups.look(intake.outbox.counts)
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

    app.add_middleware(BodyLimit, most_bytes=MOST_BYTES, most_held_bytes=MOST_BYTES)
    app.add_middleware(Door, rate=None)
    return app


def _finder(groups: Groups[Brought], intake: Intake) -> Find:
    """How to find what was taken on, on the thread that takes."""

    async def find(key: str) -> Item:
        item: Item | None = await groups.look(intake.outbox.find, key)
        if item is None:
            raise problems.Problem(404, "Unknown message", f"no {key} was taken on, or it is long done")
        return item

    return find


def _take_errands(app: FastAPI, groups: Groups[Brought], find: Find) -> None:
    async def take(kind: Kind, body: Any, response: Response) -> ErrandStatus:
        message = message_of(kind, body.message.model_dump(), getattr(body, "asset", None))
        key = await groups.take(SignedMessage(message, as_taken(bytes.fromhex(body.signature[2:]))))
        response.headers["Location"] = f"/errands/{key}"
        return _errand(await find(key))

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
        return _errand(await find(key))
