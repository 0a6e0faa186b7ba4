"""Signed readings, handed on to the gateway. Nothing is kept here: the gateway answers for what it took on."""

from typing import Annotated
from urllib.parse import quote

import httpx
from fastapi import Depends, Response
from fastapi import Path as InPath

from busbar.api import operations
from busbar.api.context import Configured
from busbar.api.handed import RETRY, handed_on
from busbar.api.messages import SignedReadingMessage, TakenReading
from busbar.api.problems import Problem

router = operations.router("/readings", "readings")


async def gateway_of(settings: Configured) -> httpx.AsyncClient:
    """The gateway.

    Raises:
        Problem: None is configured.
    """
    if settings.gateway is None:
        raise Problem(503, "No gateway", "this server knows no gateway: bring readings to the gateway itself")
    return settings.gateway


Gateway = Annotated[httpx.AsyncClient, Depends(gateway_of)]
ReadingInPath = Annotated[
    str,
    InPath(
        pattern="^[!-~]{1,31}@(0|[1-9][0-9]{0,9})$",
        description="Id of a reading that was taken on: the meter's id, @, and the end of the interval",
    ),
]


async def _asked(gateway: httpx.AsyncClient, method: str, path: str, body: object = None) -> TakenReading:
    told = await handed_on(gateway, "gateway", method, path, body)
    try:
        return TakenReading(**told, follow=f"/api/v1/readings/{_in_path(told['id'])}")
    except (ValueError, TypeError, KeyError):
        raise Problem(503, "The gateway does not answer", "try again later", RETRY) from None


def _in_path(reading_id: str) -> str:
    return quote(reading_id, safe="@")


@router.post("", status_code=202)
async def post_reading(gateway: Gateway, body: SignedReadingMessage, response: Response) -> TakenReading:
    """Hands a meter's signed reading to the gateway, which brings it to the chain. `follow` says what became of it.

    What could never count is refused at once, by name. The same reading again is the same.
    """
    taken = await _asked(gateway, "POST", "/readings", body.model_dump(exclude_none=True))
    response.headers["Location"] = taken.follow
    return taken


@router.get("/{reading_id:path}")
async def reading(gateway: Gateway, reading_id: ReadingInPath) -> TakenReading:
    """What became of a reading."""
    return await _asked(gateway, "GET", f"/readings/{_in_path(reading_id)}")
