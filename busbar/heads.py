"""Tells a bot of new blocks as they come: a WebSocket subscription that connects again by itself.

It only wakes: what is due is read from the chain afterwards. Nothing is therefore lost while it is away, or in a node
without WebSocket; the bot then finds out when it looks by itself.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Self

import structlog
from web3 import AsyncWeb3, WebSocketProvider
from web3.exceptions import Web3Exception
from websockets.exceptions import WebSocketException

from busbar import metrics

LONGEST_WAIT_S = 30
"""Longest pause between two attempts to subscribe."""

log = structlog.get_logger(__name__)


class NewBlocks:
    """A subscription to a node's new blocks, as a context manager.

    Args:
        url: The node's WebSocket address.
        wake: Called for every new block, and when the subscription stands. It must return at once.
    """

    def __init__(self, url: str, wake: Callable[[], None]) -> None:
        self.url = url
        self.wake = wake
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="new blocks", daemon=True)
        self._task: asyncio.Task[None] | None = None

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._task = self._loop.create_task(self._listen())
        with suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._task)
        self._loop.close()

    async def _listen(self) -> None:
        wait_s = 1
        while True:
            try:
                async with AsyncWeb3(WebSocketProvider(self.url, max_connection_retries=1)) as web3:
                    await web3.eth.subscribe("newHeads")
                    metrics.RECONNECTS.inc()
                    log.info("subscribed to new blocks", url=self.url)
                    self.wake()
                    async for _ in web3.socket.process_subscriptions():
                        wait_s = 1
                        self.wake()
                problem = "it ended"
            except (OSError, Web3Exception, WebSocketException, TimeoutError, ValueError) as caught:
                problem = " ".join(str(caught).split()) or type(caught).__name__
            log.warning("no subscription to new blocks: polling", reason=problem, seconds=wait_s)
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, LONGEST_WAIT_S)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._task is not None and not self._loop.is_closed():
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(10)
