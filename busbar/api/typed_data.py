"""What a wallet is to sign, as EIP-712 has it: orders, cancels, withdrawals, permits. Nothing here changes anything."""

from dataclasses import replace
from typing import Any

from busbar import permits
from busbar.api import operations
from busbar.api.accounts import ASSETS, TOKENS
from busbar.api.context import Node
from busbar.api.messages import (
    CancelOrderWish,
    CancelUpToWish,
    DepositWish,
    OrdersWish,
    OrderWish,
    ToSign,
    TypedData,
    WithdrawWish,
)
from busbar.api.node import asks_node
from busbar.api.problems import Problem
from busbar.chain import Account, Chain
from busbar.errands import token_domain
from busbar.orders import Order, OrderId, Side
from busbar.signing import Bundle, CancelOrder, CancelUpTo, Message, Withdraw, digest, typed_data

router = operations.router("/typed-data", "signing")

DEADLINE_S = 3_600
"""How long a withdrawal may be used unless told otherwise."""

SAFE_INTEGER = 2**53 - 1
"""Largest whole number that JavaScript keeps."""


def _to_sign(chain: Chain, message: Message) -> ToSign:
    return _shown(typed_data(message, chain.trading_domain), digest(message, chain.trading_domain))


def _shown(data: dict[str, Any], signed: bytes) -> ToSign:
    fields = {name: _exact(value) for name, value in data["message"].items()}
    return ToSign(typed_data=TypedData(**(data | {"message": fields})), digest="0x" + signed.hex())


def _exact(value: Any) -> Any:
    return str(value) if isinstance(value, int) and value > SAFE_INTEGER else value


def _account(chain: Chain, address: str) -> Account:
    (account,) = chain.accounts([address])
    if account.status == 0:
        raise Problem(404, "No such participant", f"{address} is no participant")
    return account


@router.post("/orders")
@asks_node
def orders(chain: Node, body: OrdersWish) -> ToSign:
    """Orders to sign. Signed, they go to `POST energy/orders`."""
    account = _account(chain, body.account)
    first = body.first_epoch
    if first is None:
        first = chain.calendar.epoch_at(chain.head().timestamp)
    wanted = tuple(_order(wish, first) for wish in body.orders)
    nonce = account.nonce if body.nonce is None else body.nonce
    last = first + 1 if body.last_epoch is None else body.last_epoch
    return _to_sign(chain, Bundle(body.account, account.zone, nonce, first, last, wanted))


def _order(wish: OrderWish, first_epoch: int) -> Order:
    life = 0 if wish.until_epoch is None else wish.until_epoch - first_epoch
    return Order(Side.BID if wish.side == "buy" else Side.ASK, wish.tick, wish.quantity_wh, life)


@router.post("/cancel-order")
@asks_node
def cancel_order(chain: Node, body: CancelOrderWish) -> ToSign:
    """An open order's cancel to sign. Signed, it goes to `DELETE energy/orders/{order_id}`."""
    return _to_sign(chain, cancel_of(chain, body.order_id))


@router.post("/cancel-up-to")
@asks_node
def cancel_up_to(chain: Node, body: CancelUpToWish) -> ToSign:
    """A cancel of messages to sign. Signed, it goes to `POST errands/cancel-up-to`."""
    return _to_sign(chain, CancelUpTo(body.account, body.nonce))


@router.post("/withdraw")
@asks_node
def withdraw(chain: Node, body: WithdrawWish) -> ToSign:
    """A withdrawal to sign. Signed, it goes to `POST errands/withdraw`."""
    account = _account(chain, body.account)
    deadline = chain.head().timestamp + DEADLINE_S if body.deadline is None else body.deadline
    message = Withdraw(
        body.account, ASSETS[body.asset], body.amount_wei, body.to or body.account, account.nonce, deadline
    )
    return _to_sign(chain, message if body.nonce is None else replace(message, nonce=body.nonce))


@router.post("/deposit")
@asks_node
def deposit(chain: Node, body: DepositWish) -> ToSign:
    """The token's permit to sign that brings tokens into the market. Signed, it goes to `POST errands/deposit`."""
    asset = ASSETS[body.asset]
    nonce = chain.view(TOKENS[body.asset], "nonces", body.account) if body.nonce is None else body.nonce
    deadline = chain.head().timestamp + DEADLINE_S if body.deadline is None else body.deadline
    permit = permits.Permit(body.account, asset, chain.addresses["Trading"], body.amount_wei, nonce, deadline)
    domain = token_domain(chain, asset)
    return _shown(permits.typed_data(permit, domain), permits.digest(permit, domain))


def cancel_of(chain: Chain, number: int) -> CancelOrder:
    """The message that takes an open order back.

    Raises:
        Problem: There is no such order, or it is not open.
        errors.OrderNotOpen: No order can have this id.
    """
    place = OrderId.parse(number)
    for entry in chain.orders(place.account):
        if entry.order_id == number and entry.order is not None:
            return CancelOrder(place.account, place.epoch, place.index, entry.order)
    raise Problem(404, "No such order", f"no order {number} is open")
