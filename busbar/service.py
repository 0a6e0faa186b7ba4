"""How a bot runs: look and act, wait, again; until it is told to stop.

A node that does not answer is waited for. A node of another chain, a missing deployment or a key that cannot be used
ends the process at once: waiting would not mend it.
"""

import signal
import threading
from collections.abc import Callable, Sequence

import structlog

from busbar.chain import ChainUnreachableError, Outcome

LONGEST_WAIT_S = 30
"""Longest pause while a node does not answer."""

log = structlog.get_logger(__name__)


def run(step: Callable[[], Sequence[Outcome]], *, pause_s: float, once: bool = False) -> None:
    """Runs a bot's step again and again, until SIGINT or SIGTERM; a step under way is finished first.

    Args:
        step: One pass. It must be harmless to repeat.
        pause_s: Pause between passes.
        once: Only one pass.

    Raises:
        ChainUnreachableError: With `once`, if the node does not answer.
    """
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    wait_s = pause_s
    while not stopping.is_set():
        try:
            step()
            wait_s = pause_s
        except ChainUnreachableError as problem:
            if once:
                raise
            log.warning("waiting for the node", reason=str(problem), seconds=wait_s)
            wait_s = min(max(wait_s, 1) * 2, LONGEST_WAIT_S)
        if once:
            return
        stopping.wait(wait_s)
    log.info("stopped")
