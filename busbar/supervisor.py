"""`busbar up`: runs the processes of an installation on one machine, and starts again what ends.

Each process is an ordinary `busbar` command with the same settings. What ends is started again after a pause that
doubles each time, and is short again once a process has lasted. Told to stop, everything is asked to stop and waited
for; what does not is killed. The operating system kills the processes with their supervisor.
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog

LASTING_S = 60
"""A process that ran for so long has recovered: its next restart is quick again."""

TURN_S = 0.1
"""How often the processes are looked at."""

PR_SET_PDEATHSIG = 1

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Child:
    name: str
    command: Sequence[str]
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    pause_s: float = 0.0
    due: float = field(default_factory=time.monotonic)


class Supervisor:
    """Runs commands until it is told to stop.

    Args:
        commands: Command line by name.
        restart_s: Pause before the first restart.
        restart_max_s: Longest pause.
        stop_s: Patience with a process that was asked to stop.
    """

    def __init__(
        self, commands: dict[str, Sequence[str]], *, restart_s: float, restart_max_s: float, stop_s: float
    ) -> None:
        self.restart_s, self.restart_max_s, self.stop_s = restart_s, restart_max_s, stop_s
        self._children = [_Child(name, command) for name, command in commands.items()]
        self._stopping = threading.Event()

    @property
    def pids(self) -> dict[str, int]:
        """Process id by name, of what runs."""
        return {c.name: c.process.pid for c in self._children if c.process is not None}

    def stop(self, *_: object) -> None:
        """Asks the supervisor to stop; `run` then returns."""
        self._stopping.set()

    def run(self) -> None:
        """Runs everything until SIGINT or SIGTERM."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self.stop)
        try:
            while not self._stopping.is_set():
                for child in self._children:
                    self._look_after(child)
                self._stopping.wait(TURN_S)
        finally:
            self._stop_all()

    def _look_after(self, child: _Child) -> None:
        now = time.monotonic()
        if child.process is None:
            if now >= child.due:
                child.process = subprocess.Popen(child.command, preexec_fn=_die_with_parent())  # noqa: PLW1509
                child.started = now
                log.info("started", process=child.name, pid=child.process.pid)
            return
        status = child.process.poll()
        if status is None:
            return
        lasted = now - child.started > LASTING_S
        child.pause_s = self.restart_s if lasted or not child.pause_s else min(child.pause_s * 2, self.restart_max_s)
        child.process, child.due = None, now + child.pause_s
        log.error("ended", process=child.name, status=status, starts_again_in_s=child.pause_s)

    def _stop_all(self) -> None:
        running = [child for child in self._children if child.process is not None and child.process.poll() is None]
        for child in running:
            child.process.terminate()  # type: ignore[union-attr]
        deadline = time.monotonic() + self.stop_s
        for child in running:
            try:
                status = child.process.wait(max(0.0, deadline - time.monotonic()))  # type: ignore[union-attr]
                log.info("stopped", process=child.name, status=status)
            except subprocess.TimeoutExpired:
                log.warning("killed: it did not stop when asked", process=child.name)
                child.process.kill()  # type: ignore[union-attr]
                child.process.wait()  # type: ignore[union-attr]


def _die_with_parent() -> Callable[[], None] | None:
    """On Linux, what a child runs first: the kernel ends it when its supervisor is gone, kill -9 included."""
    if sys.platform != "linux":
        return None
    libc, parent = ctypes.CDLL(None), os.getpid()

    def promise() -> None:
        # The supervisor's own handler would take the signal and do nothing with it until the command has begun.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            # It died before it could be promised anything.
            os._exit(128 + signal.SIGTERM)

    return promise
