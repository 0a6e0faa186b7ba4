"""Signed orders, handed on to the relay; and cancels. Nothing is kept here: the relay answers for what it took on."""

from typing import Annotated, Any

import httpx
from fastapi import APIRouter, Depends, Query, Response
from fastapi import Path as InPath

from busbar.api.accounts import payloads
from busbar.api.context import AddressFilter, Configured, Node, OrderIdInPath
from busbar.api.handed import RETRY, handed_on
from busbar.api.messages import BundleShape, SignedOrders
from busbar.api.problems import Problem
from busbar.api.shapes import Payloads
from busbar.api.typed_data import cancel_of
from busbar.chain import Call, cancel_order_for_call
from busbar.signing import as_taken

router = APIRouter(prefix="/energy", tags=["energy"])


def relay_of(settings: Configured) -> httpx.Client:
    """The relay.

    Raises:
        Problem: None is configured.
    """
    if settings.relay is None:
        raise Problem(503, "No relay", "this server knows no relay: send your own transaction, or find another relay")
    return settings.relay


Relay = Annotated[httpx.Client, Depends(relay_of)]
BundleInPath = Annotated[str, InPath(pattern="^0x[0-9a-f]{72}$", description="Id of signed orders that were taken on")]
SignatureFilter = Annotated[
    str | None, Query(alias="signature", pattern="^0x([0-9a-fA-F]{2})*$", description="Of `typed-data/cancel-order`")
]


def _asked(relay: httpx.Client, method: str, path: str, body: Any = None) -> BundleShape:
    told = handed_on(relay, "relay", method, path, body)
    try:
        return BundleShape(**told, follow=f"/api/v1/energy/bundles/{told['id']}")
    except (ValueError, TypeError, KeyError):
        raise Problem(503, "The relay does not answer", "try again later", RETRY) from None


@router.post("/orders", status_code=202)
def post_orders(relay: Relay, body: SignedOrders, response: Response) -> BundleShape:
    """Hands signed orders to the relay, which enters them at its own cost. `follow` says what became of them.

    What could never enter is refused at once, with the contract's error by name. The same orders again are the same.
    """
    taken = _asked(relay, "POST", "/bundles", body.model_dump())
    response.headers["Location"] = taken.follow
    return taken


@router.get("/bundles/{bundle_id}")
def bundle(relay: Relay, bundle_id: BundleInPath) -> BundleShape:
    """What became of signed orders."""
    return _asked(relay, "GET", f"/bundles/{bundle_id}")


@router.delete("/orders/{number}")
def cancel(
    chain: Node, number: OrderIdInPath, signature: SignatureFilter = None, sender: AddressFilter = None
) -> Payloads:
    """The transaction to sign that takes an open order back: the account's own, or anybody's with its signed cancel.

    The relay takes no cancels. `sender` brings a signed one, and pays for it; the account itself if left out.
    """
    message = cancel_of(chain, int(number))
    if signature is None:
        return payloads(chain, message.account, Call("Trading", "cancelOrder", (int(number),)))
    given = as_taken(bytes.fromhex(signature[2:]))
    return payloads(chain, sender or message.account, cancel_order_for_call(message, given))
