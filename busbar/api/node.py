"""What asks the node, on threads of its own: one that hangs must not keep anybody from the index.

Requests that the index answers take turns on a few threads (`busbar.api.app`). A node that neither answers nor refuses
would hold each of them until its time is out.
"""

import asyncio
import functools
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from busbar.api.problems import Problem

THREADS = 4
"""That ask the node at a time."""

MOST = 500
"""Requests that ask it or wait for that; they hold nothing that others need."""

Answer = TypeVar("Answer")


class _Lane:
    """Threads, and how many requests are on them or wait for one. Counted on the event loop alone."""

    def __init__(self) -> None:
        self.threads = ThreadPoolExecutor(THREADS, "node")
        self.taken = 0

    async def run(self, function: Callable[..., Answer], *args: Any, **arguments: Any) -> Answer:
        if self.taken >= MOST:
            raise Problem(
                503, "The node does not answer", "too many wait for it: try again later", {"Retry-After": "5"}
            )
        self.taken += 1
        try:
            call = functools.partial(function, *args, **arguments)
            return await asyncio.get_running_loop().run_in_executor(self.threads, call)
        finally:
            self.taken -= 1


_LANE = _Lane()


async def ask(function: Callable[..., Answer], *args: Any) -> Answer:
    """Calls what asks the node.

    Raises:
        Problem: Too many wait for the node already.
    """
    return await _LANE.run(function, *args)


def asks_node(endpoint: Callable[..., Answer]) -> Callable[..., Coroutine[Any, Any, Answer]]:
    """Answers a request on the threads that ask the node."""

    @functools.wraps(endpoint)
    async def answered(**arguments: Any) -> Answer:
        return await _LANE.run(endpoint, **arguments)

    return answered
