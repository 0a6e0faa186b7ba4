"""How a bot runs: look and act, wait for the next block or a while, again; until it is told to stop.

What passes by itself is waited for, longer each time. What an operator must see to is told as an error, and tried
again likewise. A node of another chain, a missing deployment or a key that cannot be used ends the process at once:
waiting would not mend it.
"""

import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext

import structlog

from busbar import errors, metrics
from busbar.chain import Outcome
from busbar.heads import NewBlocks

LONGEST_WAIT_S = 30
"""Longest pause after a pass that failed."""

log = structlog.get_logger(__name__)


def run(
    step: Callable[[], Sequence[Outcome]],
    *,
    pause_s: float,
    once: bool = False,
    ws_url: str | None = None,
    pulse: metrics.Pulse | None = None,
) -> None:
    """Runs a bot's step again and again, until SIGINT or SIGTERM; a step under way is finished first.

    Args:
        step: One pass. It must be harmless to repeat.
        pause_s: Longest pause between passes.
        once: Only one pass.
        ws_url: Where to subscribe to new blocks, each of which ends the pause; without it the pause is all there is.
        pulse: Told how each pass went.

    Raises:
        BusbarError: Waiting would not mend it; or anything, with `once`.
    """
    stopping, woken = threading.Event(), threading.Event()

    def stop(*_: object) -> None:
        stopping.set()
        woken.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    pulse = pulse or metrics.Pulse()
    wait_s = pause_s
    with NewBlocks(ws_url, woken.set) if ws_url and not once else nullcontext():
        while not stopping.is_set():
            woken.clear()
            problem = _pass(step, pulse)
            if problem is None:
                wait_s = pause_s
            elif once or problem.remedy is errors.Remedy.STOP:
                raise problem
            else:
                tell = log.error if problem.remedy is errors.Remedy.ALERT else log.warning
                tell("waiting to try again", reason=str(problem), seconds=wait_s)
                wait_s = min(max(wait_s, 1) * 2, LONGEST_WAIT_S)
            if once:
                return
            # A new block does not mend what has failed.
            (woken if problem is None else stopping).wait(wait_s)
    log.info("stopped")


def _pass(step: Callable[[], Sequence[Outcome]], pulse: metrics.Pulse) -> errors.BusbarError | None:
    """One pass, and what it failed with."""
    started = time.monotonic()
    try:
        step()
    except errors.BusbarError as problem:
        metrics.failed(problem)
        pulse.beat(str(problem))
        return problem
    metrics.STEPS.inc()
    metrics.STEP_SECONDS.set(time.monotonic() - started)
    pulse.beat(None)
    return None
