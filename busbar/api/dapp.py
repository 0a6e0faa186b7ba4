"""The dapp at the API's own address: its files, what it must know of the market, and a door to the node for wallets.

A wallet needs a node of its own accord: to send transactions, and to follow them. `/rpc` passes on what wallets and
pages ask and nothing that administers a node; the rate limit of the API holds for it too.
"""

import json
from pathlib import Path
from typing import Any

import httpx
from fastapi import APIRouter, FastAPI, Request
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.responses import JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.types import Scope

from busbar import __version__, errors
from busbar.api.context import Configured, Node, Settings
from busbar.api.node import ask
from busbar.api.problems import Problem
from busbar.chain import Chain
from busbar.devnet import CHAIN_ID

RPC_METHODS = frozenset(
    (
        "eth_blockNumber",
        "eth_call",
        "eth_chainId",
        "eth_estimateGas",
        "eth_feeHistory",
        "eth_gasPrice",
        "eth_getBalance",
        "eth_getBlockByHash",
        "eth_getBlockByNumber",
        "eth_getCode",
        "eth_getLogs",
        "eth_getTransactionByHash",
        "eth_getTransactionCount",
        "eth_getTransactionReceipt",
        "eth_maxPriorityFeePerGas",
        "eth_sendRawTransaction",
        "eth_syncing",
        "net_version",
        "web3_clientVersion",
    )
)
"""What `/rpc` passes on."""

MOST_BATCHED = 50
"""Most requests in one call of `/rpc`."""

MOST_BYTES = 262_144
"""Longest body of a call of `/rpc`."""

RPC_TIMEOUT_S = 20

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
async def rpc(request: Request, chain: Node) -> Response:
    """Passes JSON-RPC on to the node, as far as wallets need it."""
    raw = await request.body()
    if len(raw) > MOST_BYTES:
        raise Problem(413, "Too long", f"at most {MOST_BYTES} bytes")
    try:
        body = await request.json()
    except ValueError:
        raise Problem(400, "Not JSON", "the body is no JSON") from None
    calls = body if isinstance(body, list) else [body]
    if not 0 < len(calls) <= MOST_BATCHED:
        raise Problem(422, "Batch", f"1 to {MOST_BATCHED} requests in a batch")
    refused = [call for call in calls if not isinstance(call, dict) or call.get("method") not in RPC_METHODS]
    if refused:
        told = [_refusal(call) for call in refused]
        return JSONResponse(told if isinstance(body, list) else told[0])
    # Written anew: a name that stood twice in what was sent would mean one thing here and perhaps another at the node.
    answer = await ask(_passed_on, chain.node.url, json.dumps(body).encode())
    return Response(answer, media_type="application/json")


def _refusal(call: Any) -> dict[str, Any]:
    known = call if isinstance(call, dict) else {}
    problem = {"code": -32601, "message": f"{known.get('method')} is not passed on"}
    return {"jsonrpc": "2.0", "id": known.get("id"), "error": problem}


def _passed_on(url: str, raw: bytes) -> bytes:
    headers = {"Content-Type": "application/json"}
    try:
        return httpx.post(url, content=raw, headers=headers, timeout=RPC_TIMEOUT_S, trust_env=False).content
    except httpx.HTTPError:
        # The node's address is the operator's business.
        raise Problem(503, "The node does not answer", "try again later", {"Retry-After": "5"}) from None


class _Files(StaticFiles):
    """The built page: everything but its first file is named by its content and kept for good."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        kept = "public, max-age=31536000, immutable" if path.startswith("assets/") else "no-cache"
        response.headers.update({"Cache-Control": kept, **SECURITY})
        return response


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
    files = _Files(directory=require_built(settings.dapp), html=True)
    app.mount("/", GZipMiddleware(files, minimum_size=1_000))
