"""What a request is answered from: settings, one read of the database at one block, the node."""

import contextlib
import functools
import inspect
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import httpx
from anyio import to_thread
from eth_utils.address import to_checksum_address
from fastapi import Depends, Query, Request, Response
from fastapi import Path as InPath
from pydantic import AfterValidator, TypeAdapter, WithJsonSchema
from sqlalchemy import Connection, Engine
from starlette.types import Receive, Scope, Send

from busbar import chain as rpc
from busbar import errors, metrics, tools
from busbar.api.lately import Lately
from busbar.api.problems import Problem
from busbar.api.quick import NotQuickError, Quick
from busbar.chain import Chain
from busbar.history import Head, in_file, place_of, snapshot
from busbar.readings import METER_ID_PATTERN
from busbar.statements import Tariffs
from busbar.tariff import FLAT_MARGINAL_PLAN
from busbar.units import Calendar, Money

HANDED_ON_TIMEOUT_S = 10
"""Longest wait for an answer of the relay or the gateway."""

GLANCE_S = 2
"""Longest wait for the relay to say how it is, and for the node to say where it is."""

BESIDE_S = 0.5
"""How old what is seen of node and relay may be. What is told of them may be older by `busbar.api.answers.PASSES_S`."""

LASTS = "lasts"
"""Name in a request's state: whether its answer is a `Lasting` one."""

PASSES = "passes"
"""Likewise: whether it is a `Passing` one."""

QUICK_LIMIT = 100
"""Longest page that is written on the event loop's own thread, in less time than its query may take."""

MAX_INT64 = 2**63 - 1
MAX_EPOCH = 2**27 - 1


@dataclass(frozen=True)
class Settings:
    """How the API is served.

    Attributes:
        engine: Where the index is.
        chain: The market at a node; None to serve the index alone.
        cors_origins: Origins of pages in browsers that may call; none unless named.
        rate: Requests allowed from one address, such as `600/minute`; no limit if None.
        tariff_file: Tariffs of statements.
        plan: Retail plan of statements.
        stream_seconds: Longest life of a stream of events; clients come back by themselves.
        relay_url: Address of a `busbar relay` that signed orders are handed to; none are taken without.
        gateway_url: Address of the door of a `busbar meters` that signed readings are handed to; likewise.
        dapp: Folder of the built dapp, served at `/`; None for the API alone.
        pace: Seconds of the chain in a second of the wall clock; not 1 only where a market is shown in fast motion.
    """

    engine: Engine
    chain: Chain | None = None
    cors_origins: tuple[str, ...] = ()
    rate: str | None = "1200/minute"
    tariff_file: Path = field(default_factory=lambda: tools.project_root() / "data" / "tariffs" / "thailand.csv")
    plan: str = FLAT_MARGINAL_PLAN
    stream_seconds: float = 3600
    relay_url: str | None = None
    gateway_url: str | None = None
    dapp: Path | None = None
    pace: int = 1

    @cached_property
    def quick(self) -> Quick | None:
        """For what takes a moment; None unless the index is a file."""
        return Quick(self.engine.url) if in_file(self.engine.url) else None

    @cached_property
    def relay(self) -> httpx.AsyncClient | None:
        """The relay, if there is one."""
        return _to(self.relay_url)

    @cached_property
    def gateway(self) -> httpx.AsyncClient | None:
        """The gateway's door, if there is one."""
        return _to(self.gateway_url)

    @cached_property
    def beside(self) -> Lately[tuple[int | None, bytes | None]]:
        """The newest block at the node, None if it does not answer; and how the relay says it is.

        That is None without a relay, and empty if it does not answer.
        """
        # Kept, for making a client takes longer than the relay's answer.
        asking = httpx.Client(trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))
        return Lately(lambda: (self._node_block(), _told(asking, self.relay_url)), BESIDE_S)

    def _node_block(self) -> int | None:
        if self.chain is None:
            return None
        try:
            chain_id, number = rpc.Node(self.chain.node.url, GLANCE_S).batch(
                [("eth_chainId", []), ("eth_blockNumber", [])]
            )
        except errors.BusbarError:
            return None
        if not isinstance(number, str) or chain_id != hex(self.chain.chain_id):
            return None
        metrics.HEIGHT.set(int(number, 16))
        return int(number, 16)

    def tariffs(self) -> Tariffs:
        """Tariffs, loaded as needed."""
        return Tariffs(self.tariff_file, self.plan)


def _to(url: str | None) -> httpx.AsyncClient | None:
    return None if url is None else httpx.AsyncClient(base_url=url, timeout=HANDED_ON_TIMEOUT_S, trust_env=False)


def _told(asking: httpx.Client, relay_url: str | None) -> bytes | None:
    if relay_url is None:
        return None
    try:
        return asking.get(f"{relay_url.rstrip('/')}/status", timeout=GLANCE_S).content
    except httpx.HTTPError:
        return b""


@dataclass(frozen=True, slots=True)
class View:
    """The index at its newest block: what a request sees from beginning to end."""

    connection: Connection
    head: Head
    calendar: Calendar
    money: Money


def etag_of(head: Head) -> str:
    """What answers at a block are known by."""
    return f'W/"{head.hash[2:18]}"'


def is_known(etag: str, asked: str | None) -> bool:
    """Whether a caller has the answer with this ETag, by its `If-None-Match`."""
    # Compared as weak ones (RFC 9110, 13.1.2): proxies take the mark of it away.
    tags = [tag.strip().removeprefix("W/") for tag in (asked or "").split(",")]
    return "*" in tags or etag.removeprefix("W/") in tags


async def settings_of(request: Request) -> Settings:
    """The settings this application was made with."""
    settings: Settings = request.app.state.settings
    return settings


@contextmanager
def view_of(settings: Settings, opened: AbstractContextManager[Connection] | None = None) -> Iterator[View]:
    """The index at its newest block, whatever is written meanwhile.

    Args:
        settings: Where the index is.
        opened: A snapshot of it; one of its own if None.

    Raises:
        Problem: There is no block yet.
    """
    with opened or snapshot(settings.engine) as connection:
        place = place_of(connection)
        if place is None:
            raise Problem(503, "Nothing indexed yet", "start `busbar index`", {"Retry-After": "5"})
        yield View(connection, *place)


class Lasting(Response):
    """An answer that another block changes only if it brings an event or opens an epoch, but for its last field.

    That field is `block`, if there is one: the newest block it was read at.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends it, and says so to whoever keeps answers."""
        scope.setdefault("state", {})[LASTS] = True
        await super().__call__(scope, receive, send)


class Passing(Response):
    """An answer that is good for a moment, as long as no block comes."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends it, and says so to whoever keeps answers."""
        scope.setdefault("state", {})[PASSES] = True
        await super().__call__(scope, receive, send)


def read_events(endpoint: Callable[..., Any]) -> Callable[..., Awaitable[Response]]:
    """As `read`, for an answer that is a function of the events so far and of the open epoch; see `Lasting`."""
    return read(endpoint, Lasting)


def read_now(endpoint: Callable[..., Any]) -> Callable[..., Awaitable[Response]]:
    """As `read`, for an answer in which others than the index have a part: it has no ETag; see `Passing`."""
    return read(endpoint, Passing, tagged=False, quick=False)


def read_slowly(endpoint: Callable[..., Any]) -> Callable[..., Awaitable[Response]]:
    """As `read`, for what takes long, if only after the query: it is made on a thread."""
    return read(endpoint, quick=False)


def read_events_slowly(endpoint: Callable[..., Any]) -> Callable[..., Awaitable[Response]]:
    """As `read_events` and `read_slowly`."""
    return read(endpoint, Lasting, quick=False)


def read(
    endpoint: Callable[..., Any], kind: type[Response] = Response, *, tagged: bool = True, quick: bool = True
) -> Callable[..., Awaitable[Response]]:
    """Answers a read, a function whose first argument is `here: Here`, in one go.

    The index is opened, asked, and the answer written on one thread, for each change of threads costs more than a
    query: on the event loop's own if it takes a moment, see `busbar.api.quick`.
    What is answered is a function of the newest block and of the address asked for, and known by that block's ETag;
    `busbar.api.answers` tells a caller that has it already so.
    """
    signature = inspect.signature(endpoint)
    written = TypeAdapter(signature.return_annotation)

    def answer_of(
        settings: Settings, opened: AbstractContextManager[Connection] | None, arguments: Mapping[str, Any]
    ) -> Response:
        with view_of(settings, opened) as view:
            answer = endpoint(here=view, **arguments)
            if isinstance(answer, Response):
                return answer
            headers = {"Cache-Control": "no-cache"} | ({"ETag": etag_of(view.head)} if tagged else {})
            return kind(written.dump_json(answer, by_alias=True), media_type="application/json", headers=headers)

    @functools.wraps(endpoint)
    async def answered(here: Request, **arguments: Any) -> Response:
        settings: Settings = here.app.state.settings
        if quick and settings.quick is not None and arguments.get("limit", 0) <= QUICK_LIMIT:
            with contextlib.suppress(NotQuickError):
                return answer_of(settings, settings.quick.snapshot(), arguments)
        return await to_thread.run_sync(answer_of, settings, None, arguments)

    later = [
        # Of all that FastAPI hands over the request costs least.
        parameter.replace(annotation=Request) if name == "here" else parameter
        for name, parameter in signature.parameters.items()
    ]
    answered.__signature__ = signature.replace(parameters=later)  # type: ignore[attr-defined]
    answered.tagged = tagged  # type: ignore[attr-defined]
    return answered


async def node_of(settings: Annotated[Settings, Depends(settings_of)]) -> Chain:
    """The market at the node."""
    if settings.chain is None:
        raise Problem(503, "No node", "this server answers from its index alone")
    return settings.chain


_ADDRESS = "^0x[0-9a-fA-F]{40}$"


@functools.lru_cache(10_000)
def _address(text: str) -> str:
    """An address with its checksum. One that is written in mixed case has to have it: a digit may be wrong."""
    if re.match(_ADDRESS, text) is None:
        raise ValueError("no address: write 0x and 40 hex digits")
    told = str(to_checksum_address(text))
    if text != told and text[2:] not in (text[2:].lower(), text[2:].upper()):
        raise ValueError("the checksum of the address is wrong (EIP-55): a digit or its case is not right")
    return told


_HASH = "^0x[0-9a-f]{64}$"

AnyAddress = Annotated[str, AfterValidator(_address)]
Here = View
"""First argument of a function that `read` turns into an endpoint."""
Configured = Annotated[Settings, Depends(settings_of)]
Node = Annotated[Chain, Depends(node_of)]
AddressInPath = Annotated[AnyAddress, InPath(pattern=_ADDRESS, description="An account")]
AddressFilter = Annotated[AnyAddress | None, Query(pattern=_ADDRESS, description="Of this account only")]
HashInPath = Annotated[str, InPath(pattern=_HASH)]
HeightInPath = Annotated[int, InPath(ge=0, le=MAX_INT64)]
EpochInPath = Annotated[int, InPath(ge=0, le=MAX_EPOCH)]
EpochFilter = Annotated[int | None, Query(ge=0, le=MAX_EPOCH)]
ZoneFilter = Annotated[int | None, Query(ge=0, le=255)]
OneZone = Annotated[int, Query(ge=0, le=255, description="A zone")]
MeterInPath = Annotated[str, InPath(pattern=METER_ID_PATTERN, description="A meter's id")]
OrderIdInPath = Annotated[
    str,
    InPath(pattern="^(0|[1-9][0-9]{0,58})$", description="epoch << 168 | index << 160 | account, in decimal"),
]
Limit = Annotated[int, Query(ge=1, le=500, description="Most entries of a page")]
Cursor = Annotated[str | None, Query(max_length=400, description="`next_cursor` of the page before")]
AddressText = Annotated[AnyAddress, WithJsonSchema({"type": "string", "pattern": _ADDRESS})]
