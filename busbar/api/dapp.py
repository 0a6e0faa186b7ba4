"""The dapp at the API's own address: its files, what it must know of the market, and a door to the node for wallets.

A wallet needs a node of its own accord: to send transactions, and to follow them. `/rpc` passes on what wallets and
pages ask, within bounds (`busbar.api.rpc`); the rate limit of the API holds for it too.
"""

import json
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.responses import JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.routing import Match, Mount
from starlette.types import Scope

from busbar import __version__, errors
from busbar.api.context import Configured, Node, Settings
from busbar.api.problems import Problem
from busbar.api.rpc import MOST_BYTES, Passage, parsed
from busbar.chain import Chain
from busbar.devnet import CHAIN_ID

SECURITY = {
    # Mantine puts its colours into style elements; wallets' icons are data addresses.
    "Content-Security-Policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: https:; "
    "connect-src 'self' http: https: ws: wss:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

router = APIRouter()


def description(chain: Chain, *, api: str | None, rpc_url: str, relay: bool, pace: int = 1) -> dict[str, Any]:
    """What the dapp must know of a market, as `deployment.json`.

    Args:
        chain: The market.
        api: Address of the API as the page sees it; None for a page that works with the chain alone.
        rpc_url: Address of a node as wallets see it; a path is one at the page's own address.
        relay: Whether signed orders can be handed to the API; otherwise they are sent as transactions.
        pace: Seconds of the chain in a second of the wall clock.
    """
    money = chain.money
    return {
        "version": __version__,
        "chainId": chain.chain_id,
        "chainName": "Busbar devnet" if chain.chain_id == CHAIN_ID else f"Busbar {chain.chain_id}",
        "rpcUrl": rpc_url,
        "api": api,
        "relay": relay,
        "contracts": dict(chain.addresses),
        "genesis": chain.calendar.genesis,
        "epochSeconds": chain.calendar.epoch_seconds,
        "tickWei": str(money.tick_wei),
        "moneyUnitWei": str(money.unit_wei),
        "pace": pace,
        "zone": 1,
    }


@router.get("/deployment.json", include_in_schema=False)
def deployment(chain: Node, settings: Configured) -> JSONResponse:
    """What the dapp must know of this market."""
    told = description(chain, api="/api/v1", rpc_url="/rpc", relay=settings.relay_url is not None, pace=settings.pace)
    return JSONResponse(told, headers={"Cache-Control": "no-cache"})


@router.post("/rpc", include_in_schema=False)
async def rpc(request: Request, _: Node) -> Response:
    """Passes JSON-RPC on to the node, as far as wallets need it."""
    # Any page may send other types from a visitor's browser, unasked; for this one the browser asks first.
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Problem(415, "Not JSON", "the Content-Type must be application/json")
    raw = await request.body()
    if len(raw) > MOST_BYTES:
        raise Problem(413, "Too long", f"at most {MOST_BYTES} bytes")
    passage: Passage = request.app.state.passage
    answer = await passage.answer(parsed(raw))
    # In ASCII, as half of a surrogate pair has no other form.
    return Response(json.dumps(answer), media_type="application/json")


class _Files(StaticFiles):
    """The built page: everything but its first file is named by its content and kept for good."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        kept = "public, max-age=31536000, immutable" if path.startswith("assets/") else "no-cache"
        response.headers.update({"Cache-Control": kept, **SECURITY})
        return response


class _Page(Mount):
    """The page's files at every address but the API's, which says itself what it does not answer."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        return (Match.NONE, {}) if scope["path"].startswith("/api/") else super().matches(scope)


class DappMissing(errors.BusbarError):
    """The dapp is not built."""


def require_built(folder: Path) -> Path:
    """A folder, if the built dapp is in it.

    Raises:
        DappMissing: It is not.
    """
    if not (folder / "index.html").is_file():
        raise DappMissing(f"{folder} holds no built dapp: `make dapp-build` makes it")
    return folder


def install(app: FastAPI, settings: Settings) -> None:
    """Serves the dapp, if the settings name its folder."""
    if settings.dapp is None:
        return
    app.include_router(router)
    if settings.chain is not None:
        app.state.passage = Passage(settings.chain.node.url)
    files = _Files(directory=require_built(settings.dapp), html=True)
    app.router.routes.append(_Page("/", GZipMiddleware(files, minimum_size=1_000)))
