"""The relay's door: takes signed bundles over HTTP and says what became of them. Failures are problem documents."""

import json
from typing import Annotated, Any

from fastapi import FastAPI, Request, Response
from pydantic import Field

from busbar import __version__, errors
from busbar.api import problems, shapes
from busbar.api.messages import BundleStatus, Number, OrderMessage
from busbar.api.middleware import Door
from busbar.door import Groups
from busbar.outbox import State
from busbar.relay import Intake, RateError, TooManyWaitingError
from busbar.signing import Bundle, SignedBundle, as_taken

STATES = {State.DONE: "entered", State.REFUSED: "skipped"}
"""What the outbox's words mean here; the others stay."""


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


def create_app(intake: Intake) -> FastAPI:
    """The relay's endpoints over an intake, which nobody else may use from then on."""
    app = FastAPI(
        title="Busbar relay", version=__version__, responses=problems.RESPONSES, docs_url=None, redoc_url=None
    )
    groups = Groups(intake.take)
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
        item = await groups.look(intake.outbox.find, key)
        if item is None:
            raise problems.Problem(404, "Unknown bundle", f"no bundle {key} was taken on, or it is long done")
        more: dict[str, Any] = json.loads(item.reason) if item.reason else {}
        if item.state is State.REFUSED:
            more = {"reason": more}
        return BundleStatus(id=item.key, state=STATES.get(item.state, item.state.value), **more)

    app.add_middleware(Door, rate=None)
    return app
