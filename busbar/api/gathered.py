"""Signed orders on their way to the relay: what comes within a moment goes in one request, each answered for itself."""

import asyncio
from collections.abc import Sequence

import httpx

from busbar.api.handed import RETRY, bytes_of
from busbar.api.messages import MOST_BUNDLES, BundleAnswer, BundleAnswers
from busbar.api.problems import Problem

GATHER_S = 0.005
"""How long the first waits for others."""

PATH = "/bundles/batch"


class Gathered:
    """Hands bundles on to the relay, many at a time; one request is under way at a time, and the rest gathers.

    Args:
        relay: The relay.
    """

    def __init__(self, relay: httpx.AsyncClient) -> None:
        self.relay = relay
        self._waiting: list[tuple[bytes, asyncio.Future[BundleAnswer | Exception]]] = []
        self._turning: asyncio.Task[None] | None = None

    async def take(self, bundle: bytes) -> BundleAnswer:
        """What the relay says to a bundle.

        Args:
            bundle: A `SignedOrders`, as JSON.

        Raises:
            Problem: It does not answer.
        """
        answered: asyncio.Future[BundleAnswer | Exception] = asyncio.get_running_loop().create_future()
        self._waiting.append((bundle, answered))
        if self._turning is None or self._turning.done():
            self._turning = asyncio.create_task(self._turn())
        answer = await answered
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def take_each(self, bundles: Sequence[bytes]) -> list[BundleAnswer]:
        """What the relay says to each of several bundles, in order.

        Raises:
            Problem: It does not answer; then it is not known which it took on. The same again are the same.
        """
        return await asyncio.gather(*(self.take(bundle) for bundle in bundles))

    async def _turn(self) -> None:
        await asyncio.sleep(GATHER_S)
        while self._waiting:
            group, self._waiting = self._waiting[:MOST_BUNDLES], self._waiting[MOST_BUNDLES:]
            answers: Sequence[BundleAnswer | Exception]
            try:
                answers = await self._ask([bundle for bundle, _ in group])
            except Exception as problem:  # noqa: BLE001  (told to everybody who waits for it)
                answers = [problem] * len(group)
            for (_, answered), answer in zip(group, answers, strict=True):
                if not answered.done():
                    answered.set_result(answer)

    async def _ask(self, bundles: Sequence[bytes]) -> list[BundleAnswer]:
        content = await bytes_of(self.relay, "relay", "POST", PATH, b'{"bundles":[' + b",".join(bundles) + b"]}")
        try:
            answers = BundleAnswers.model_validate_json(content).bundles
        except ValueError:
            answers = []
        if len(answers) != len(bundles):
            raise Problem(503, "The relay does not answer", "try again later", RETRY)
        return answers
