"""How much one sender may bring in a time.

`limits` reads the notation. Its own window in memory is not used: a thread of it goes through every sender it has ever
seen a hundred times a second, which with 10,000 participants takes most of a core.
"""

import time
from collections import OrderedDict, deque
from collections.abc import Callable

from limits import parse


class Rate:
    """Admits so many of each sender in any span of time. Of one thread alone; what a hit costs does not grow.

    Args:
        text: Such as `120/minute`.
        clock: Seconds that never go back.

    Raises:
        ValueError: The text is no rate.
    """

    def __init__(self, text: str, clock: Callable[[], float] = time.monotonic) -> None:
        limit = parse(text)
        self.text = text
        self.most = limit.amount
        self.span_s = limit.get_expiry()
        self._clock = clock
        # Who came last is last, so that those to forget are the first.
        self._seen: OrderedDict[str, deque[float]] = OrderedDict()

    def __str__(self) -> str:
        return self.text

    def __len__(self) -> int:
        """How many senders are remembered."""
        return len(self._seen)

    def hit(self, sender: str) -> bool:
        """Whether one more is admitted now; if so it counts."""
        now = self._clock()
        while self._seen and next(iter(self._seen.values()))[-1] <= now - self.span_s:
            self._seen.popitem(last=False)
        times = self._seen.get(sender) or deque()
        while times and times[0] <= now - self.span_s:
            times.popleft()
        if len(times) >= self.most:
            return False
        times.append(now)
        self._seen[sender] = times
        self._seen.move_to_end(sender)
        return True

    def wait_s(self, sender: str) -> float:
        """Seconds until one more of a sender is admitted."""
        times = self._seen.get(sender)
        return 0.0 if times is None or len(times) < self.most else max(0.0, times[0] + self.span_s - self._clock())
