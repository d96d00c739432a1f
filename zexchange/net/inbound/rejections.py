"""Counts rejected messages until the control thread takes the counts.

A flood of them costs the control thread one command, and not one for each message.
"""

import threading
from collections.abc import Callable

Misfit = tuple[str, str, str, int]
"""The origin, the reason, the details of the first one, and how many there were."""


class RejectionCounter:
    """The rejected messages that the control thread has not heard of yet. Any thread.

    Args:
        tell: called with `take` when there is something to take again.
    """

    def __init__(self, tell: Callable[[Callable[[], list[Misfit]]], None]) -> None:
        self._tell = tell
        self._lock = threading.RLock()
        self._counts: dict[tuple[str, str], tuple[str, int]] = {}

    def add(self, origin: str, reason: str, detail: str) -> None:
        """Count one rejected message; only the first ``detail`` for each reason is kept."""
        with self._lock:
            quiet = not self._counts
            first, n = self._counts.get((origin, reason), (detail, 0))
            self._counts[origin, reason] = first, n + 1
        if quiet:
            self._tell(self.take)

    def take(self) -> list[Misfit]:
        """Return what was counted, and start again with nothing."""
        with self._lock:
            counts, self._counts = self._counts, {}
        return [(*key, *counted) for key, counted in counts.items()]
