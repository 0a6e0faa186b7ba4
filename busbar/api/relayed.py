"""Signed orders, handed on to the relay. Nothing is kept here: the relay answers for what it took on."""

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import httpx
from fastapi import APIRouter, Depends, Response
from fastapi import Path as InPath

from busbar.api.context import Configured
from busbar.api.handed import RETRY, handed_on
from busbar.api.messages import BundleShape, SignedOrders
from busbar.api.problems import Problem

router = APIRouter(prefix="/energy", tags=["energy"])


async def relay_of(settings: Configured) -> httpx.AsyncClient:
    """The relay.

    Raises:
        Problem: None is configured.
    """
    if settings.relay is None:
        raise Problem(503, "No relay", "this server knows no relay: send your own transaction, or find another relay")
    return settings.relay


Relay = Annotated[httpx.AsyncClient, Depends(relay_of)]
BundleInPath = Annotated[str, InPath(pattern="^0x[0-9a-f]{72}$", description="Id of signed orders that were taken on")]
Told = TypeVar("Told")


async def asked(
    relay: httpx.AsyncClient,
    shape: Callable[[dict[str, Any]], Told],
    method: str,
    path: str,
    body: Any = None,
) -> Told:
    """What the relay answers, shaped.

    Raises:
        Problem: It refuses, or does not answer.
    """
    told = await handed_on(relay, "relay", method, path, body)
    try:
        return shape(told)
    except (ValueError, TypeError, KeyError):
        raise Problem(503, "The relay does not answer", "try again later", RETRY) from None


def _shape(told: dict[str, Any]) -> BundleShape:
    return BundleShape(**told, follow=f"/api/v1/energy/bundles/{told['id']}")


@router.post("/orders", status_code=202)
async def post_orders(relay: Relay, body: SignedOrders, response: Response) -> BundleShape:
    """Hands signed orders to the relay, which enters them at its own cost. `follow` says what became of them.

    What could never enter is refused at once, with the contract's error by name. The same orders again are the same.
    """
    taken = await asked(relay, _shape, "POST", "/bundles", body.model_dump())
    response.headers["Location"] = taken.follow
    return taken


@router.get("/bundles/{bundle_id}")
async def bundle(relay: Relay, bundle_id: BundleInPath) -> BundleShape:
    """What became of signed orders."""
    return await asked(relay, _shape, "GET", f"/bundles/{bundle_id}")
