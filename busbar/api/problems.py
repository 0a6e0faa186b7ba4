"""Failures as RFC 9457 problem documents: one shape for every error, whoever raises it."""

from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError
from starlette.exceptions import HTTPException

from busbar import errors
from busbar.chain import ChainUnreachableError
from busbar.statements import StatementError

log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"

NO_TABLE = "42P01"
"""PostgreSQL's code for a table that is not there: the index is being made again."""


class FieldProblem(BaseModel):
    """What is wrong with one part of a request."""

    location: str = Field(description="Where: query, path, body or header, and the field, joined by dots")
    detail: str


class ProblemDocument(BaseModel):
    """A failure, by RFC 9457."""

    type: str = Field(description="about:blank, or urn:busbar:error: and a contract's error or one of ours by name")
    title: str
    status: int
    detail: str
    instance: str = Field(description="urn:busbar:request: and the request's id, as in X-Request-ID")
    errors: list[FieldProblem] = Field(default=[], description="For status 422: every part that is wrong")
    values: dict[str, str] = Field(default={}, description="A contract error's values by name")


class Problem(Exception):
    """A failure with the status it is to be answered with.

    Attributes:
        status: HTTP status.
        title: The kind of failure, the same for all of it.
        detail: This one, in a sentence.
        headers: Headers of the answer.
        more: Other members of the document.
    """

    def __init__(
        self, status: int, title: str, detail: str, headers: dict[str, str] | None = None, **more: Any
    ) -> None:
        self.status = status
        self.title = title
        self.detail = detail
        self.headers = headers or {}
        self.more = more
        super().__init__(detail)


RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"description": text, "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}}}
    for status, text in (("4XX", "The request cannot be answered"), ("503", "Index or node are not available"))
}
"""What every operation may answer besides success."""


def answer(
    request: Request, status: int, title: str, detail: str, headers: dict[str, str] | None = None, **more: Any
) -> JSONResponse:
    """A problem document as a response."""
    request_id = getattr(request.state, "request_id", "")
    document = ProblemDocument(
        type=more.pop("type", "about:blank"),
        title=title,
        status=status,
        detail=detail,
        instance=f"urn:busbar:request:{request_id}",
        **more,
    )
    return JSONResponse(document.model_dump(mode="json"), status, headers, MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Answers every failure with a problem document."""

    @app.exception_handler(Problem)
    async def _problem(request: Request, problem: Problem) -> Response:
        return answer(request, problem.status, problem.title, problem.detail, problem.headers, **problem.more)

    @app.exception_handler(HTTPException)
    async def _http(request: Request, problem: HTTPException) -> Response:
        headers = dict(problem.headers or {})
        return answer(request, problem.status_code, str(problem.detail), _sentence(request, problem), headers)

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, problem: RequestValidationError) -> Response:
        found = [
            FieldProblem(
                location=".".join(str(part) for part in entry["loc"]),
                detail=str(entry["msg"]).removeprefix("Value error, "),
            )
            for entry in problem.errors()
        ]
        detail = "; ".join(f"{entry.location}: {entry.detail}" for entry in found)
        return answer(request, 422, "Invalid request", detail, errors=found)

    @app.exception_handler(errors.BusbarError)
    async def _ours(request: Request, problem: errors.BusbarError) -> Response:
        if isinstance(problem, ChainUnreachableError):
            # The node's address is the operator's business.
            return answer(request, 503, "The node does not answer", "try again later", {"Retry-After": "5"})
        status = 404 if isinstance(problem, StatementError) else 422
        kind = f"urn:busbar:error:{type(problem).__name__}"
        values = {name: str(value) for name, value in getattr(problem, "values", {}).items()}
        return answer(request, status, type(problem).__name__, str(problem), type=kind, values=values)

    @app.exception_handler(OperationalError)
    async def _database(request: Request, problem: DBAPIError) -> Response:
        log.error("the database does not answer", reason=str(problem.orig).splitlines()[0])
        return answer(request, 503, "The index does not answer", "try again later", {"Retry-After": "5"})

    @app.exception_handler(ProgrammingError)
    async def _remade(request: Request, problem: ProgrammingError) -> Response:
        if getattr(problem.orig, "sqlstate", None) != NO_TABLE:
            raise problem
        return await _database(request, problem)

    @app.exception_handler(Exception)
    async def _unforeseen(request: Request, _: Exception) -> Response:
        return answer(request, 500, "Internal error", "the log knows more, by the request's id")


def _sentence(request: Request, problem: HTTPException) -> str:
    if problem.status_code == 404:
        return f"nothing is at {request.url.path}"
    return f"{request.method} {request.url.path}: {problem.detail}"
