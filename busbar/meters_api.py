"""The gateway's door: takes signed readings over HTTP and says what became of them. Failures are problem documents."""

import json
from collections.abc import Sequence
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import FastAPI, Request, Response
from pydantic import Field

from busbar import __version__, errors
from busbar.api import problems, shapes
from busbar.api.messages import ReadingStatus, SignedReadingMessage
from busbar.api.middleware import BodyLimit, Door
from busbar.door import GROUP, Groups
from busbar.intake import Intake, MeterRateError
from busbar.meters import NOT_NEWER, SKIP_REASONS
from busbar.outbox import Item, KeyConflictError, State
from busbar.readings import Reading, SignedReading

MOST_BYTES = 400_000
"""Largest body: as many readings as are taken together, of P-256 meters with the longest ids."""


class ReadingsRequest(shapes.Request):
    """Readings of several meters, as a concentrator brings them."""

    readings: Annotated[list[SignedReadingMessage], Field(min_length=1, max_length=GROUP)]


class Refusal(shapes.Shape):
    """Why a reading was not taken on."""

    error: str = Field(description="By name, as in the `type` of a problem document")
    detail: str


class Answer(shapes.Shape):
    """What became of one reading of several: its status, or why it was not taken on."""

    taken: ReadingStatus | None = None
    refused: Refusal | None = None


class Answers(shapes.Shape):
    """What became of each reading, in the order in which they came."""

    readings: list[Answer]


def create_app(intake: Intake, address_rate: str | None) -> FastAPI:
    """The gateway's endpoints over an intake, which nobody else may use from then on.

    Args:
        intake: Takes readings on.
        address_rate: Requests answered to one address, such as `600/minute`; no limit if None.
    """
    app = FastAPI(
        title="Busbar gateway", version=__version__, responses=problems.RESPONSES, docs_url=None, redoc_url=None
    )
    groups = Groups(intake.take)
    problems.install(app)

    @app.exception_handler(MeterRateError)
    async def _too_many(request: Request, problem: errors.BusbarError) -> Response:
        kind = f"urn:busbar:error:{type(problem).__name__}"
        return problems.answer(request, 429, "Too many readings", str(problem), {"Retry-After": "10"}, type=kind)

    @app.exception_handler(KeyConflictError)
    async def _conflict(request: Request, problem: errors.BusbarError) -> Response:
        kind = f"urn:busbar:error:{type(problem).__name__}"
        return problems.answer(request, 409, "Another reading stands", str(problem), type=kind)

    @app.post("/readings", status_code=202)
    async def post_reading(body: SignedReadingMessage, response: Response) -> ReadingStatus:
        """Takes a reading on: once this is answered it is on the disk, and will be brought to the chain."""
        key = await groups.take(_signed(body))
        response.headers["Location"] = f"/readings/{quote(key, safe='@')}"
        return (await _found([key]))[key]

    @app.post("/readings/batch", status_code=202)
    async def post_readings(body: ReadingsRequest) -> Answers:
        """Takes on several readings, each for itself: what is wrong with one does not touch the others."""
        given = await groups.take_each([_signed(entry) for entry in body.readings])
        found = await _found([key for key in given if isinstance(key, str)])
        return Answers(readings=[_told(found, answer) for answer in given])

    @app.get("/readings/{reading_id:path}")
    async def get_reading(reading_id: str) -> ReadingStatus:
        """What became of a reading."""
        found = await _found([reading_id])
        if reading_id not in found:
            detail = f"no reading {reading_id} was taken on, or it is long done"
            raise problems.Problem(404, "Unknown reading", detail)
        return found[reading_id]

    async def _found(keys: Sequence[str]) -> dict[str, ReadingStatus]:
        items: dict[str, Item] = await groups.look(intake.outbox.found, keys)
        return {key: status(item) for key, item in items.items()}

    app.add_middleware(BodyLimit, most_bytes=MOST_BYTES)
    app.add_middleware(Door, rate=address_rate)
    return app


def status(item: Item) -> ReadingStatus:
    """What an item of the outbox means to who brought it."""
    if item.state is State.REFUSED:
        return ReadingStatus(id=item.key, state="skipped", reason=item.reason)
    note: dict[str, Any] = json.loads(item.reason) if item.reason else {}
    if note.pop("overtaken", False):
        return ReadingStatus(id=item.key, state="skipped", reason=SKIP_REASONS[NOT_NEWER])
    if item.state is State.ACCEPTED:
        return ReadingStatus(id=item.key, state="waiting")
    if item.state is State.SENT and not note:
        return ReadingStatus(id=item.key, state="submitted")
    return ReadingStatus(id=item.key, state="parked" if "parked" in note else "counted", **note)


def _signed(body: SignedReadingMessage) -> SignedReading:
    r, vs, public_key = (bytes.fromhex((text or "0x")[2:]) for text in (body.r, body.vs, body.publicKey))
    return SignedReading(Reading(body.meterId, body.intervalEnd, body.importWh, body.exportWh), r, vs, public_key)


def _told(found: dict[str, ReadingStatus], answer: str | errors.BusbarError) -> Answer:
    if isinstance(answer, str):
        return Answer(taken=found[answer])
    return Answer(refused=Refusal(error=type(answer).__name__, detail=str(answer)))
