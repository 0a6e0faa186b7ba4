"""Signed orders, handed on to the relay. Nothing is kept here: the relay answers for what it took on."""

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import httpx
from fastapi import Depends, Request, Response
from fastapi import Path as InPath
from pydantic import BaseModel

from busbar.api import operations
from busbar.api.context import Configured
from busbar.api.gathered import Gathered
from busbar.api.handed import RETRY, handed_on
from busbar.api.messages import (
    BundleAnswer,
    BundleShape,
    BundleStatus,
    Refusal,
    SignedBundles,
    SignedOrders,
    TakenBundle,
    TakenBundles,
)
from busbar.api.problems import Problem

router = operations.router("/energy", "energy")


async def relay_of(settings: Configured) -> httpx.AsyncClient:
    """The relay.

    Raises:
        Problem: None is configured.
    """
    if settings.relay is None:
        raise Problem(503, "No relay", "this server knows no relay: send your own transaction, or find another relay")
    return settings.relay


async def gathered_of(request: Request) -> Gathered:
    """This server's one way for signed orders to the relay.

    Raises:
        Problem: It knows no relay.
    """
    state = request.app.state
    if not hasattr(state, "gathered"):
        state.gathered = Gathered(await relay_of(state.settings))
    gathered: Gathered = state.gathered
    return gathered


Relay = Annotated[httpx.AsyncClient, Depends(relay_of)]
Taking = Annotated[Gathered, Depends(gathered_of)]
BundleInPath = Annotated[str, InPath(pattern="^0x[0-9a-f]{72}$", description="Id of signed orders that were taken on")]
Told = TypeVar("Told")

TOO_MANY = 429


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
    return BundleShape(**told, follow=_follow(told["id"]))


def _follow(key: str) -> str:
    return f"/api/v1/energy/bundles/{key}"


def _written(shape: BaseModel, **headers: str) -> Response:
    """An answer as it is sent: written once, where FastAPI would check and write it again."""
    return Response(shape.model_dump_json(), 202, headers, "application/json")


def _taken(status: BundleStatus) -> BundleShape:
    return BundleShape.model_construct(**status.__dict__, follow=_follow(status.id))


def _problem(refused: Refusal | None) -> Problem:
    if refused is None:
        return Problem(503, "The relay does not answer", "try again later", RETRY)
    headers = RETRY if refused.status == TOO_MANY else {}
    return Problem(refused.status, refused.title, refused.detail, headers, type=refused.type, values=refused.values)


@router.post("/orders", status_code=202, response_model=BundleShape)
async def post_orders(taking: Taking, body: SignedOrders) -> Response:
    """Hands signed orders to the relay, which enters them at its own cost. `follow` says what became of them.

    What could never enter is refused at once, with the contract's error by name. The same orders again are the same.
    """
    answer = await taking.take(body.model_dump_json().encode())
    if answer.taken is None:
        raise _problem(answer.refused)
    taken = _taken(answer.taken)
    return _written(taken, Location=taken.follow)


@router.post("/bundles", status_code=202, response_model=TakenBundles)
async def post_bundles(taking: Taking, body: SignedBundles) -> Response:
    """Hands up to 200 bundles of signed orders to the relay at once, for who trades for many.

    Each is answered for itself, in order: taken on as by `energy/orders`, or refused. A shape that is none refuses all.
    """
    answers = await taking.take_each([bundle.model_dump_json().encode() for bundle in body.bundles])
    return _written(TakenBundles.model_construct(bundles=[_answered(answer) for answer in answers]))


def _answered(answer: BundleAnswer) -> TakenBundle:
    taken = None if answer.taken is None else _taken(answer.taken)
    return TakenBundle.model_construct(taken=taken, refused=answer.refused)


@router.get("/bundles/{bundle_id}")
async def bundle(relay: Relay, bundle_id: BundleInPath) -> BundleShape:
    """What became of signed orders."""
    return await asked(relay, _shape, "GET", f"/bundles/{bundle_id}")
