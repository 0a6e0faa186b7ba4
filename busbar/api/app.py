"""The application: routes under /api/v1, one shape of failure, one door."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from anyio import to_thread
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi.routing import APIRoute

from busbar import __version__
from busbar.api import (
    accounts,
    blocks,
    cancels,
    community,
    dapp,
    energy,
    errands,
    grid,
    metered,
    oracle,
    problems,
    relayed,
    streams,
    typed_data,
)
from busbar.api.answers import Answers
from busbar.api.context import Settings
from busbar.api.middleware import BodyLimit, Door
from busbar.api.rpc import Passage

PREFIX = "/api/v1"

MOST_BYTES = 2_000_000
"""Largest body: 200 bundles of 100 signed orders each."""

MOST_HELD_BYTES = 64_000_000
"""Of the bodies of all requests at a time."""

THREADS = 4
"""That answer at a time. The rest waits. Streams need one when a block comes, and the relay's answers none."""

TURN_S = 0.0005
"""How long a thread may go on while others are ready."""

DESCRIPTION = """
A peer-to-peer energy market over HTTP. Answers come from an index of the chain and say at which block; every change
is signed elsewhere, as a transaction or as a message: no private key ever reaches this server.

* Energy is in Wh (`_wh`) or micro-Wh (`_uwh`), money in money units (`_units`) or wei (`_wei`), prices are ticks or
  half ticks (`price2`) per kWh, times Unix seconds.
* `_uwh`, `_units`, `_wei` and ids of orders are decimal strings, since they outgrow the 53 bits of a JSON number.
* Failures are problem documents (RFC 9457). Lists are pages: hand `next_cursor` back as `cursor`.
* Answers carry an ETag that changes with every block; send it as If-None-Match.
* Addresses in mixed case need their checksum (EIP-55). Parameters that an operation does not know are refused.
"""


def create_app(settings: Settings) -> FastAPI:
    """The API over one market's index."""
    app = FastAPI(
        title="Busbar",
        version=__version__,
        description=DESCRIPTION,
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=_operation_id,
        lifespan=_lifespan,
        responses=problems.RESPONSES,
    )
    app.state.settings = settings
    app.state.watch = streams.Watch(settings)
    app.state.ending = [app.state.watch.end]
    modules = (
        energy,
        relayed,
        accounts,
        blocks,
        metered,
        cancels,
        typed_data,
        errands,
        grid,
        community,
        oracle,
        streams,
    )
    # In the order in which requests are matched: what is asked most comes first.
    for module in modules:
        app.include_router(module.router, prefix=PREFIX)
    dapp.install(app, settings)
    problems.install(app)
    app.add_middleware(Answers, settings=settings)
    app.add_middleware(BodyLimit, most_bytes=MOST_BYTES, most_held_bytes=MOST_HELD_BYTES)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.cors_origins),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "If-None-Match", "X-Request-ID"],
            expose_headers=["ETag", "X-Request-ID", "Retry-After"],
        )
    app.add_middleware(Door, rate=settings.rate)
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _completed(generate())
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # as FastAPI's own documentation has it
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    # Python runs one thread at a time: many that are ready only take turns, and each turn is waited for.
    to_thread.current_default_thread_limiter().total_tokens = THREADS
    sys.setswitchinterval(TURN_S)
    looking = asyncio.create_task(app.state.watch.keep_looking())
    yield
    looking.cancel()
    for client in (app.state.settings.relay, app.state.settings.gateway):
        if client is not None:
            await client.aclose()
    passage: Passage | None = getattr(app.state, "passage", None)
    if passage is not None:
        await passage.close()


def _operation_id(route: APIRoute) -> str:
    path = (
        route.path.removeprefix(PREFIX)
        .replace(":path", "")
        .strip("/")
        .replace("{", "")
        .replace("}", "")
        .replace("/", "_")
    )
    return f"{min(route.methods or ()).lower()}_{path or 'root'}"


def _completed(document: dict[str, Any]) -> dict[str, Any]:
    """The document with the problem's own schema, and 304 wherever an ETag can be sent."""
    schema = problems.ProblemDocument.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas = document["components"]["schemas"]
    schemas.update(schema.pop("$defs", {}))
    schemas["ProblemDocument"] = schema
    for methods in document["paths"].values():
        for operation in methods.values():
            names = {parameter["name"] for parameter in operation.get("parameters", [])}
            if "if-none-match" in names:
                operation["responses"]["304"] = {"description": "The caller has this answer already"}
    return document
