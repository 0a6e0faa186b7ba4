"""A participant's verbs by signature, from Python: through the API to its relay, and followed. No gas, no node.

The server says what is to be signed, for it knows nonce and epoch; what it says is held against what was wished before
anything is signed. The key stays here.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar

from busbar import errors, permits
from busbar.api.errands import ErrandShape
from busbar.api.messages import BundleShape, ToSign
from busbar.client import ApiError, Client
from busbar.errands import Kind, message_of
from busbar.orders import Order, OrderId, Side, order_id
from busbar.permits import Permit, TokenDomain
from busbar.signing import Bundle, CancelOrder, CancelUpTo, TradingDomain, Withdraw, sign
from busbar.units import Asset

AssetName = Literal["energy", "money"]
Followed = TypeVar("Followed", BundleShape, ErrandShape)

ASSETS: dict[AssetName, Asset] = {"energy": Asset.ENERGY, "money": Asset.MONEY}
_TOKENS = {Asset.ENERGY: "GridToken", Asset.MONEY: "BahtToken"}
_WORDS = {Side.BID: "buy", Side.ASK: "sell"}

PAUSE_S = 0.3
"""Between two looks at what became of a message."""


class OtherMessageError(errors.BusbarError):
    """The server gave something else to sign than was wished, or for another market: nothing was signed."""


class NotDoneError(errors.BusbarError):
    """The relay's message did not take effect. The text says why, or that it has not ended in time.

    Attributes:
        status: What the relay told last.
    """

    def __init__(self, told: str, status: BundleShape | ErrandShape) -> None:
        self.status = status
        super().__init__(told)


class Relayed:
    """Verbs of one account, brought by the relay behind an API.

    Args:
        client: The API, with the account's signer.
        contracts: Addresses of the market's contracts, known from elsewhere; what the server says, if not given.
        timeout_s: Longest wait for the end of a message.
    """

    def __init__(self, client: Client, contracts: Mapping[str, str] | None = None, timeout_s: float = 120) -> None:
        if client.signer is None:
            raise ApiError(0, {"detail": "this client has no signer: name one to change anything"})
        self.client = client
        self.timeout_s = timeout_s
        self._signer = client.signer
        served = client.status()
        self._chain_id = served.chain_id
        self._contracts = dict(contracts or {entry.name: entry.address for entry in served.contracts})
        self._domain = TradingDomain(self._chain_id, self._contracts["Trading"])

    @property
    def address(self) -> str:
        """Whose verbs these are."""
        return self._signer.address

    # ------------------------------------------------------------------ orders

    def order(self, side: Literal["buy", "sell"], tick: int, quantity_wh: int, epochs: int = 0) -> int:
        """Enters one order, at a limit in ticks per kWh, that stands so many epochs beyond the open one; gives its id.

        Raises:
            NotDoneError: It was skipped, or expired.
            ApiError: It was refused.
        """
        return self.enter([Order(Side.BID if side == "buy" else Side.ASK, tick, quantity_wh, epochs)])[0]

    def enter(self, orders: Sequence[Order]) -> list[int]:
        """Enters orders under one signature, all or none, in the open epoch or the one after; gives their ids.

        Lives are counted from the open epoch.

        Raises:
            NotDoneError: They were skipped, or expired.
            ApiError: They were refused.
        """
        wanted: list[dict[str, Any]] = [
            {"side": _WORDS[o.side], "tick": o.tick, "quantity_wh": o.quantity_wh} for o in orders
        ]
        wish: dict[str, Any] = {"account": self.address, "orders": wanted}
        if any(o.life for o in orders):
            wish["first_epoch"] = first = self.client.status().epoch
            for order, one in zip(orders, wanted, strict=True):
                one["until_epoch"] = first + order.life
        told = self._asked("orders", **wish)
        bundle = Bundle.from_fields(told)
        self._must_be(bundle.orders == tuple(orders) and bundle.account == self.address)
        body = {"message": bundle.fields(), "signature": self._sign(bundle)}
        taken = self.client.told(BundleShape, "POST", "energy/orders", json=body)
        ended = self._followed(taken, lambda: self.client.bundle(taken.id))
        if ended.epoch is None or ended.first_index is None:
            raise NotDoneError("the relay told no place of the orders", ended)
        return [order_id(self.address, ended.epoch, ended.first_index + place) for place in range(len(orders))]

    def cancel(self, number: int) -> ErrandShape:
        """Takes an open order back, by its id.

        Raises:
            NotDoneError: It was refused, or its epoch ended.
            ApiError: It is not open.
        """
        told = self._asked("cancel-order", order_id=str(number))
        place = OrderId.parse(number)
        message = message_of(Kind.CANCEL_ORDER, told)
        same = isinstance(message, CancelOrder) and (message.epoch, message.index) == (place.epoch, place.index)
        self._must_be(same and message.account == self.address)
        return self._brought(Kind.CANCEL_ORDER, {"message": told, "signature": self._sign(message)})

    def cancel_up_to(self, nonce: int) -> ErrandShape:
        """Makes every message with this nonce or a lower one worthless.

        Raises:
            NotDoneError: It was refused.
        """
        message = CancelUpTo(self.address, nonce)
        return self._brought(Kind.CANCEL_UP_TO, {"message": message.fields(), "signature": self._sign(message)})

    # ------------------------------------------------------------------ tokens

    def withdraw(self, asset: AssetName, amount_wei: int, to: str | None = None) -> ErrandShape:
        """Takes free balance out, to the account's wallet or as a payment to somebody else's.

        Raises:
            NotDoneError: It was refused, or its deadline passed.
        """
        to = to or self.address
        told = self._asked("withdraw", account=self.address, asset=asset, amount_wei=str(amount_wei), to=to)
        message = message_of(Kind.WITHDRAW, told | {"amountWei": int(told["amountWei"])})
        wished = (self.address, ASSETS[asset], amount_wei, to.lower())
        same = isinstance(message, Withdraw) and (message.account, message.asset, message.amount_wei) == wished[:3]
        self._must_be(same and told["to"].lower() == wished[3])
        return self._brought(Kind.WITHDRAW, {"message": told, "signature": self._sign(message)})

    def deposit(self, asset: AssetName, amount_wei: int) -> ErrandShape:
        """Brings tokens from the account's wallet into the market, by the token's permit.

        Raises:
            NotDoneError: It was refused, or its deadline passed.
        """
        answer = self._to_sign("deposit", account=self.address, asset=asset, amount_wei=str(amount_wei))
        told, where = answer.typed_data.message, answer.typed_data.domain
        permit = Permit.from_fields(ASSETS[asset], told | {name: int(told[name]) for name in ("value", "nonce")})
        token = self._contracts[_TOKENS[permit.asset]]
        domain = TokenDomain(str(where["name"]), str(where["version"]), self._chain_id, token)
        wished = (self.address, self._contracts["Trading"], amount_wei)
        self._must_be((permit.account, permit.spender, permit.amount_wei) == wished)
        self._must_be((where["chainId"], where["verifyingContract"]) == (self._chain_id, token))
        signature = "0x" + permits.sign(permit, domain, bytes(self._signer.account.key)).hex()
        return self._brought(Kind.DEPOSIT, {"asset": asset, "message": told, "signature": signature})

    def transfer(self, asset: AssetName, amount_wei: int, to: str) -> list[ErrandShape]:
        """Sends tokens from the account's wallet to another: into the market by a permit, and out to the receiver.

        Tokens know permits and no signed transfer. If the second fails, the tokens are in the trading account.

        Raises:
            NotDoneError: One of the two was refused, or its deadline passed.
        """
        return [self.deposit(asset, amount_wei), self.withdraw(asset, amount_wei, to)]

    # ------------------------------------------------------------------ signing and following

    def _to_sign(self, kind: str, **wish: Any) -> ToSign:
        return self.client.told(ToSign, "POST", f"typed-data/{kind}", json=wish)

    def _asked(self, kind: str, **wish: Any) -> dict[str, Any]:
        """The message that the server gives to sign, if it is for this market."""
        data = self._to_sign(kind, **wish).typed_data
        here = (self._domain.chain_id, self._domain.verifying_contract)
        self._must_be((data.domain["chainId"], data.domain["verifyingContract"]) == here)
        return data.message

    def _sign(self, message: Any) -> str:
        return "0x" + sign(message, self._domain, bytes(self._signer.account.key)).hex()

    @staticmethod
    def _must_be(so: bool) -> None:
        if not so:
            raise OtherMessageError("the server gave something else to sign than was wished: nothing was signed")

    def _brought(self, kind: Kind, body: dict[str, Any]) -> ErrandShape:
        taken = self.client.told(ErrandShape, "POST", f"errands/{kind}", json=body)
        return self._followed(taken, lambda: self.client.errand(taken.id))

    def _followed(self, status: Followed, look: Callable[[], Followed]) -> Followed:
        """The status once it has ended well."""
        ends = time.monotonic() + self.timeout_s
        while status.state in ("accepted", "sent"):
            if time.monotonic() > ends:
                told = f"still {status.state} after {self.timeout_s:.0f} s, and may yet be done: see {status.follow}"
                raise NotDoneError(told, status)
            time.sleep(PAUSE_S)
            status = look()
        if status.state in ("entered", "done"):
            return status
        why = f": {status.reason.detail}" if status.reason is not None else ""
        raise NotDoneError(f"{status.state}{why or ': its time was over before a block took it'}", status)
