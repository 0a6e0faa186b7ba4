"""A look at something slow, shared: whoever asks within a moment of another gets what that one saw."""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

Seen = TypeVar("Seen")


class Lately(Generic[Seen]):
    """What a look gave, at most so old.

    Args:
        look: Looks; it must not fail.
        seconds: How long what it gave is good for.
    """

    def __init__(self, look: Callable[[], Seen], seconds: float) -> None:
        self._look = look
        self._seconds = seconds
        self._lock = threading.Lock()
        self._seen: tuple[float, Seen] | None = None

    def __call__(self) -> Seen:
        """What was seen lately."""
        with self._lock:
            if self._seen is None or time.monotonic() - self._seen[0] > self._seconds:
                seen = self._look()
                # Its age counts from here: whoever waited while it took its time need not look again.
                self._seen = (time.monotonic(), seen)
            return self._seen[1]
