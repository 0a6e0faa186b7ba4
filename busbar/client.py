"""The API from Python, typed: what integrators use, and what `busbar show` prints.

Answers are the API's own shapes, with every number an exact integer. Keys stay here: a payload is fetched, signed by
the client's signer, and only the signature travels.
"""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

import httpx
from eth_account.messages import encode_defunct
from pydantic import BaseModel, ValidationError

from busbar import errors
from busbar.api.errands import ErrandShape
from busbar.api.messages import BundleShape
from busbar.api.oracle import PanelShape, RequestDetail
from busbar.api.paging import Page
from busbar.api.shapes import (
    Accepted,
    AccountShape,
    BalanceShape,
    BlockShape,
    BookShape,
    EpochDetail,
    EpochShape,
    GridStatus,
    JournalShape,
    MeterShape,
    OracleRequest,
    OrderShape,
    Payloads,
    PersonShape,
    ReadingShape,
    Stats,
    Status,
    TradeShape,
    TransactionShape,
)
from busbar.api.signed import text_to_sign
from busbar.chain import KeySigner
from busbar.statements import Statement

PREFIX = "/api/v1"

WIDE = ("_uwh", "_units", "_wei", "_uthb", "order_id")
"""How the names of numbers end that outgrow 64 bits, alone or in a sum."""

Shape = TypeVar("Shape", bound=BaseModel)


class ApiError(errors.BusbarError):
    """The server refused, or does not answer.

    Attributes:
        status: HTTP status; 0 if there was no answer.
        problem: The problem document, as far as there was one.
    """

    def __init__(self, status: int, problem: dict[str, Any]) -> None:
        self.status = status
        self.problem = problem
        told = str(problem.get("detail", problem.get("title", f"the server answered {status}")))
        # What is away is in the title: the relay, the gateway, the node, the index.
        super().__init__(f"{problem['title']}: {told}" if status == 503 and "title" in problem else told)


class Client:
    """A connection to the API. Use it as a context manager, or close it.

    Args:
        url: Address of the server, without path.
        signer: Signs transactions and requests for one account; nothing can be changed without it.
        timeout_s: Longest wait for an answer.
    """

    def __init__(self, url: str, signer: KeySigner | None = None, timeout_s: float = 30) -> None:
        self.signer = signer
        if not url.startswith(("http://", "https://")):
            raise ApiError(0, {"detail": f"{url!r} is no address of a server: write http://127.0.0.1:8000, say"})
        self._http = httpx.Client(base_url=url, timeout=timeout_s)

    def close(self) -> None:
        """Ends the connection."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ------------------------------------------------------------------ reading

    def status(self) -> Status:
        """What the server serves, and how far it is."""
        return self._get("status", Status)

    def grid(self) -> GridStatus:
        """The market as a whole."""
        return self._get("grid/status", GridStatus)

    def block(self, height: int) -> BlockShape:
        """A block by its number."""
        return self._get(f"blocks/{height}", BlockShape)

    def blocks(self) -> Iterator[BlockShape]:
        """Blocks, newest first."""
        return self._pages("blocks", BlockShape)

    def transaction(self, tx_hash: str) -> TransactionShape:
        """Where a transaction stands."""
        return self._get(f"transactions/{tx_hash}", TransactionShape)

    def book(self, zone: int = 1, epoch: int | None = None) -> BookShape:
        """A zone's book in the open epoch, or another."""
        return self._get("energy/book", BookShape, zone=zone, epoch=epoch)

    def orders(self, **filters: str | int) -> Iterator[OrderShape]:
        """Orders, newest epoch first; filters are those of GET energy/orders."""
        return self._pages("energy/orders", OrderShape, **filters)

    def epochs(self, zone: int = 1) -> Iterator[EpochShape]:
        """Cleared epochs, newest first."""
        return self._pages("energy/epochs", EpochShape, zone=zone)

    def epoch(self, number: int, zone: int = 1) -> EpochDetail:
        """An epoch with its curves."""
        return self._get(f"energy/epochs/{number}", EpochDetail, zone=zone)

    def trades(self, **filters: str | int) -> Iterator[TradeShape]:
        """Fills, newest epoch first; filters are those of GET energy/trades."""
        return self._pages("energy/trades", TradeShape, **filters)

    def stats(self, by: Literal["epoch", "hour", "day", "participant", "zone"] = "day", **filters: int) -> Stats:
        """Trade by epoch, hour, day, participant or zone."""
        return self._get("energy/stats", Stats, by=by, **filters)

    def participants(self) -> Iterator[AccountShape]:
        """Participants in order of registration."""
        return self._pages("participants", AccountShape)

    def meters(self, **filters: str) -> Iterator[MeterShape]:
        """Meters in order of assignment."""
        return self._pages("meters", MeterShape, **filters)

    def readings(self, meter_id: str) -> Iterator[ReadingShape]:
        """A meter's accepted registers, newest first."""
        return self._pages(f"meters/{meter_id}/readings", ReadingShape)

    def requests(self, **filters: str) -> Iterator[OracleRequest]:
        """Requests for data, newest first."""
        return self._pages("oracle/requests", OracleRequest, **filters)

    def request(self, request_id: str) -> RequestDetail:
        """A request for data with the panel's answers."""
        return self._get(f"oracle/requests/{request_id}", RequestDetail)

    def panel(self) -> PanelShape:
        """The oracle's panel, and how its operators have done."""
        return self._get("oracle/panel", PanelShape)

    def account(self, account: str) -> AccountShape:
        """A participant."""
        return self._get(f"accounts/{account}", AccountShape)

    def balance(self, account: str) -> BalanceShape:
        """What an account holds and owes."""
        return self._get(f"accounts/{account}/balance", BalanceShape)

    def history(self, account: str) -> Iterator[JournalShape]:
        """Every change of an account, newest first."""
        return self._pages(f"accounts/{account}/history", JournalShape)

    def statement(self, account: str, month: str) -> Statement:
        """A month's bill."""
        return self._get(f"accounts/{account}/statement", Statement, month=month)

    def save_statement(self, account: str, month: str, path: Path) -> None:
        """Writes a month's bill; the file's ending says how: .json, .csv or .pdf."""
        wanted = {"month": month, "format": path.suffix.lstrip(".")}
        path.write_bytes(self.ask("GET", f"accounts/{account}/statement", params=wanted).content)

    def bundle(self, bundle_id: str) -> BundleShape:
        """What became of signed orders that the relay took on."""
        return self._get(f"energy/bundles/{bundle_id}", BundleShape)

    def errand(self, errand_id: str) -> ErrandShape:
        """What became of another signed message that the relay took on."""
        return self._get(f"errands/status/{errand_id}", ErrandShape)

    # ------------------------------------------------------------------ changing

    def deposit(self, asset: Literal["energy", "money"], amount_wei: int) -> list[TransactionShape]:
        """Brings tokens into the signer's trading account."""
        return self._sign("deposit", {"asset": asset, "amount_wei": str(amount_wei)})

    def withdraw(self, asset: Literal["energy", "money"], amount_wei: int) -> list[TransactionShape]:
        """Takes tokens out into the signer's wallet."""
        return self._sign("withdraw", {"asset": asset, "amount_wei": str(amount_wei)})

    def transfer(self, asset: Literal["energy", "money"], amount_wei: int, to: str) -> list[TransactionShape]:
        """Sends tokens from the signer's wallet to another."""
        return self._sign("transfer", {"asset": asset, "amount_wei": str(amount_wei), "to": to})

    def send(self, raw: bytes) -> Accepted:
        """Passes a signed transaction on."""
        return self.told(Accepted, "POST", "transactions", json={"raw": "0x" + raw.hex()})

    def wait(self, tx_hash: str, timeout_s: float = 60) -> TransactionShape:
        """Where a transaction stands once it is included, or after the time is over."""
        ends = time.monotonic() + timeout_s
        while True:
            stands = self.transaction(tx_hash)
            if stands.status != "pending" or time.monotonic() > ends:
                return stands
            time.sleep(0.2)

    def _sign(self, verb: str, body: dict[str, str]) -> list[TransactionShape]:
        signer = self._signer()
        sent = []
        for payload in self.told(Payloads, "POST", f"accounts/{signer.address}/{verb}", json=body).transactions:
            raw = signer.sign(
                {
                    "chainId": payload.chain_id,
                    "to": payload.to,
                    "data": payload.data,
                    "value": payload.value,
                    "nonce": payload.nonce,
                    "gas": payload.gas,
                    "maxFeePerGas": payload.max_fee_per_gas,
                    "maxPriorityFeePerGas": payload.max_priority_fee_per_gas,
                    "type": payload.type,
                }
            )
            sent.append(self.wait(self.send(raw).tx_hash))
        return sent

    # ------------------------------------------------------------------ people

    def tell(self, account: str, **known: str | None) -> PersonShape:
        """Keeps name, email and location of somebody."""
        return _as(PersonShape, self._signed("POST", "accounts", {"account": account, **known}))

    def person(self, account: str) -> PersonShape:
        """What is known of somebody."""
        return _as(PersonShape, self._signed("GET", f"accounts/{account}/person"))

    def erase(self, account: str) -> None:
        """Erases what is known of somebody."""
        self._signed("DELETE", f"accounts/{account}/person")

    def _signed(self, method: str, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
        signer = self._signer()
        request = self._http.build_request(method, f"{PREFIX}/{path}", json=body)
        expires = int(time.time()) + 60
        text = text_to_sign(method, request.url.raw_path.decode(), self.status().chain_id, expires, request.content)
        signature = signer.account.sign_message(encode_defunct(text=text)).signature
        request.headers["Authorization"] = (
            f"Busbar account={signer.address}, expires={expires}, signature=0x{bytes(signature).hex()}"
        )
        return _checked(self._send(request))

    def _signer(self) -> KeySigner:
        if self.signer is None:
            raise ApiError(0, {"detail": "this client has no signer: name one to change anything"})
        return self.signer

    # ------------------------------------------------------------------ HTTP

    def _get(self, path: str, shape: type[Shape], **params: str | int | None) -> Shape:
        return self.told(shape, "GET", path, params=_named(params))

    def _pages(self, path: str, shape: type[Shape], **params: str | int | None) -> Iterator[Shape]:
        wanted = _named(params)
        page_of = Page[shape]  # type: ignore[valid-type]  # a type made at run time
        while True:
            page = self.told(page_of, "GET", path, params=wanted)
            yield from page.items
            if page.next_cursor is None:
                return
            wanted["cursor"] = page.next_cursor

    def ask(self, method: str, path: str, **what: Any) -> httpx.Response:
        """The answer to any request under `/api/v1`.

        Raises:
            ApiError: The server refused, or does not answer.
        """
        return _checked(self._send(self._http.build_request(method, f"{PREFIX}/{path}", **what)))

    def told(self, shape: type[Shape], method: str, path: str, **what: Any) -> Shape:
        """As `ask`, in a shape.

        Raises:
            ApiError: The server refused, does not answer, or answers something else.
        """
        return _as(shape, self.ask(method, path, **what))

    def _send(self, request: httpx.Request) -> httpx.Response:
        try:
            return self._http.send(request)
        except httpx.HTTPError as problem:
            detail = f"no server answers at {self._http.base_url} ({type(problem).__name__}): start `busbar api`"
            raise ApiError(0, {"detail": detail}) from None


def _named(params: dict[str, str | int | None]) -> dict[str, str | int]:
    return {name: value for name, value in params.items() if value is not None}


def _as(shape: type[Shape], answer: httpx.Response) -> Shape:
    """An answer as its shape.

    Raises:
        ApiError: It is none: something else than this API answers there, or one of another version.
    """
    try:
        return shape.model_validate_json(answer.content)
    except ValidationError:
        what = f"{answer.request.method} {answer.url} answered something that is no {shape.__name__}"
        detail = f"{what}: another server, or another version of Busbar, answers there"
        raise ApiError(answer.status_code, {"detail": detail}) from None


def _checked(answer: httpx.Response) -> httpx.Response:
    if answer.is_success:
        return answer
    try:
        problem = answer.json()
    except ValueError:
        problem = {}
    raise ApiError(answer.status_code, problem if isinstance(problem, dict) else {})


def frame(items: Sequence[BaseModel] | Iterator[BaseModel]) -> Any:
    """A pandas data frame of shapes: a column a field, units in its name, every number exact.

    What can outgrow 64 bits, alone or in a sum, is a column of Python's own integers; a number that may be missing is
    pandas' nullable integer, so that nothing turns into floating point.
    """
    import pandas as pd

    # As objects first: where a number is missing, pandas would make the others floating point before anybody is asked.
    table = pd.DataFrame([dict(_flat(item.model_dump())) for item in items], dtype=object)
    for name in table.columns:
        if not name.endswith(WIDE):
            some_missing = pd.api.types.infer_dtype(table[name]) == "integer" and table[name].isna().any()
            table[name] = table[name].astype("Int64") if some_missing else table[name].infer_objects()
    return table


def _flat(fields: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in fields.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}_")
        else:
            yield prefix + name, value
