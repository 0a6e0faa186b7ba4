"""How an operation is reached: it takes the query's parameters that it knows and no others."""

from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.dependencies.utils import get_flat_params
from fastapi.exceptions import RequestValidationError
from fastapi.params import Query
from fastapi.routing import APIRoute

IF_NONE_MATCH = {
    "name": "if-none-match",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "description": "ETag of an earlier answer",
}
"""What every tagged read heeds (`busbar.api.answers`), as OpenAPI has it."""


class Operation(APIRoute):
    """An operation of the API.

    A misspelt filter would otherwise be as good as none, and the answer about something else than was asked for.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        if getattr(endpoint, "tagged", False):
            options["openapi_extra"] = {"parameters": [IF_NONE_MATCH]}
        super().__init__(path, endpoint, **options)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """What answers a request."""
        handle = super().get_route_handler()
        known = {field.alias for field in get_flat_params(self.dependant) if isinstance(field.field_info, Query)}

        async def handled(request: Request) -> Response:
            if request.scope["query_string"]:
                names = Counter(name for name, _ in request.query_params.multi_items())
                wrong = {name: "this operation has no such parameter" for name in names if name not in known}
                wrong |= {name: "it is given more than once" for name, times in names.items() if times > 1}
                if wrong:
                    kind = {"type": "extra_forbidden", "input": None}
                    raise RequestValidationError(
                        [{**kind, "loc": ("query", name), "msg": words} for name, words in wrong.items()]
                    )
            return await handle(request)

        return handled


def router(prefix: str = "", *tags: str) -> APIRouter:
    """Operations below a path.

    Args:
        prefix: Path below the API's own.
        tags: What the document lists them under.
    """
    return APIRouter(prefix=prefix, tags=list(tags), route_class=Operation)
