"""Taking an open order back, by its id."""

from typing import Annotated, Any

from fastapi import Query, Response
from fastapi.responses import JSONResponse

from busbar.api import operations
from busbar.api.accounts import payloads
from busbar.api.context import AddressFilter, Configured, Node, OrderIdInPath
from busbar.api.errands import CancelOrderMessage, ErrandShape, SignedCancelOrder, hand_on
from busbar.api.node import ask
from busbar.api.relayed import relay_of
from busbar.api.shapes import Payloads
from busbar.api.typed_data import cancel_of
from busbar.chain import Call, cancel_order_for_call
from busbar.errands import Kind
from busbar.signing import as_taken

router = operations.router("/energy", "energy")

SignatureFilter = Annotated[
    str | None,
    Query(pattern="^0x([0-9a-fA-F]{2})+$", max_length=8_194, description="Of `typed-data/cancel-order`"),
]


@router.delete(
    "/orders/{number}",
    response_model=Payloads,
    responses={202: {"model": ErrandShape, "description": "Handed to the relay"}},
)
async def cancel(
    chain: Node,
    settings: Configured,
    number: OrderIdInPath,
    signature: SignatureFilter = None,
    sender: AddressFilter = None,
) -> Any:
    """Takes an open order back. With its account's signature the relay does it: 202, and a status to follow.

    Without a signature the answer is the account's own transaction to sign. With both a signature and a `sender` it is
    the sender's transaction, for who needs no relay.
    """
    message = await ask(cancel_of, chain, int(number))
    if signature is None:
        own = Call("Trading", "cancelOrder", (int(number),))
        return await ask(payloads, chain, message.account, own)
    if sender is not None:
        brought = cancel_order_for_call(message, as_taken(bytes.fromhex(signature[2:])))
        return await ask(payloads, chain, sender, brought)
    body = SignedCancelOrder(message=CancelOrderMessage(**message.fields()), signature=signature)
    headers = Response()
    taken = await hand_on(await relay_of(settings), Kind.CANCEL_ORDER, body, headers)
    return JSONResponse(taken.model_dump(mode="json"), 202, {"Location": headers.headers["Location"]})
