"""Requests that are handed on to another process of ours, which answers for what it took on. Nothing is kept here."""

import json
from typing import Any

import httpx

from busbar.api.problems import Problem, ProblemDocument

RETRY = {"Retry-After": "10"}


async def handed_on(to: httpx.AsyncClient, who: str, method: str, path: str, body: Any = None) -> dict[str, Any]:
    """What another process answers, as JSON; its refusals are passed on as they are.

    Args:
        to: The process.
        who: What it is called, in a sentence.
        method: GET or POST.
        path: Where, at that process.
        body: What to send, as JSON.

    Raises:
        Problem: It refused, or does not answer.
    """
    content = await bytes_of(to, who, method, path, None if body is None else json.dumps(body).encode())
    try:
        told: dict[str, Any] = json.loads(content)
    except ValueError:
        raise _away(who) from None
    return told


async def bytes_of(to: httpx.AsyncClient, who: str, method: str, path: str, body: bytes | None) -> bytes:
    """As `handed_on`, for JSON that is written already, and an answer that is yet to be read."""
    headers = None if body is None else {"Content-Type": "application/json"}
    try:
        answer = await to.request(method, path, content=body, headers=headers)
        if answer.is_success:
            return answer.content
        refused = ProblemDocument.model_validate_json(answer.content)
    except (httpx.HTTPError, ValueError):
        raise _away(who) from None
    if answer.is_server_error:
        raise Problem(503, f"The {who} cannot answer", "try again later", RETRY)
    kept = {name: answer.headers[name] for name in RETRY if name in answer.headers}
    more = {"type": refused.type, "errors": refused.errors, "values": refused.values}
    raise Problem(answer.status_code, refused.title, refused.detail, kept, **more)


def _away(who: str) -> Problem:
    # Its address is the operator's business, and so is whatever else answers there.
    return Problem(503, f"The {who} does not answer", "try again later", RETRY)
