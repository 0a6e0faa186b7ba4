"""What a request is answered from: settings, one read of the database at one block, the node."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated

import httpx
from eth_utils.address import to_checksum_address
from fastapi import Depends, Header, Query, Request, Response
from fastapi import Path as InPath
from pydantic import AfterValidator, WithJsonSchema
from sqlalchemy import Connection, Engine

from busbar import tools
from busbar.api.problems import NotModified, Problem
from busbar.chain import Chain
from busbar.history import Head, head_of, market_of
from busbar.statements import Tariffs
from busbar.tariff import FLAT_MARGINAL_PLAN
from busbar.units import Calendar, Money

RELAY_TIMEOUT_S = 10
"""Longest wait for an answer of the relay."""

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
    dapp: Path | None = None
    pace: int = 1

    @cached_property
    def market(self) -> tuple[Calendar, Money]:
        """Clock and money of the market in the index."""
        with self.engine.connect() as connection:
            return market_of(connection)

    @cached_property
    def relay(self) -> httpx.Client | None:
        """The relay, if there is one."""
        if self.relay_url is None:
            return None
        return httpx.Client(base_url=self.relay_url, timeout=RELAY_TIMEOUT_S, trust_env=False)

    def tariffs(self) -> Tariffs:
        """Tariffs, loaded as needed."""
        return Tariffs(self.tariff_file, self.plan)


@dataclass(frozen=True, slots=True)
class View:
    """The index at its newest block: what a request sees from beginning to end."""

    connection: Connection
    head: Head
    calendar: Calendar
    money: Money


def settings_of(request: Request) -> Settings:
    """The settings this application was made with."""
    settings: Settings = request.app.state.settings
    return settings


def plain_view_of(settings: Annotated[Settings, Depends(settings_of)]) -> Iterator[View]:
    """The index at its newest block, for answers that the node has a part in."""
    with settings.engine.connect() as connection:
        head = head_of(connection)
        if head is None:
            raise Problem(503, "Nothing indexed yet", "start `busbar index`", {"Retry-After": "5"})
        calendar, money = settings.market
        yield View(connection, head, calendar, money)


def view_of(
    view: Annotated[View, Depends(plain_view_of)],
    response: Response,
    if_none_match: Annotated[str | None, Header(description="ETag of an earlier answer")] = None,
) -> View:
    """The index at its newest block. Answers 304 to a caller that has seen this block's answer."""
    # What is answered is a function of the newest block and of the address asked for.
    etag = f'W/"{view.head.hash[2:18]}"'
    if if_none_match is not None and etag in (tag.strip() for tag in if_none_match.split(",")):
        raise NotModified(etag)
    response.headers["ETag"] = etag
    response.headers["Cache-Control"] = "no-cache"
    return view


def node_of(settings: Annotated[Settings, Depends(settings_of)]) -> Chain:
    """The market at the node."""
    if settings.chain is None:
        raise Problem(503, "No node", "this server answers from its index alone")
    return settings.chain


def _address(text: str) -> str:
    return str(to_checksum_address(text))


_ADDRESS = "^0x[0-9a-fA-F]{40}$"
_HASH = "^0x[0-9a-f]{64}$"

AnyAddress = Annotated[str, AfterValidator(_address)]
Here = Annotated[View, Depends(view_of)]
Now = Annotated[View, Depends(plain_view_of)]
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
MeterInPath = Annotated[str, InPath(pattern="^[!-~]{1,31}$", description="A meter's id")]
OrderIdInPath = Annotated[
    str,
    InPath(pattern="^(0|[1-9][0-9]{0,58})$", description="epoch << 168 | index << 160 | account, in decimal"),
]
Limit = Annotated[int, Query(ge=1, le=500, description="Most entries of a page")]
Cursor = Annotated[str | None, Query(max_length=400, description="`next_cursor` of the page before")]
AddressText = Annotated[AnyAddress, WithJsonSchema({"type": "string", "pattern": _ADDRESS})]
