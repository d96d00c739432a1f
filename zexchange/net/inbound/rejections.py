"""What was not taken of what arrived, counted on its way to the control thread.

A flood of them is one command there, not one each.
"""

import threading
from collections.abc import Callable

Misfit = tuple[str, str, str, int]
"""Of which origin, why, in the first of them more exactly, and how many."""


class RejectionCounter:
    """What was refused and is still to be told.

    Args:
        tell: called when there is something to be taken, with what takes it.
    """

    def __init__(self, tell: Callable[[Callable[[], list[Misfit]]], None]) -> None:
        self._tell = tell
        self._lock = threading.RLock()
        self._counts: dict[tuple[str, str], tuple[str, int]] = {}

    def add(self, origin: str, reason: str, detail: str) -> None:
        """Count one."""
        with self._lock:
            quiet = not self._counts
            first, n = self._counts.get((origin, reason), (detail, 0))
            self._counts[origin, reason] = first, n + 1
        if quiet:
            self._tell(self.take)

    def take(self) -> list[Misfit]:
        """Return what was counted, and begin anew."""
        with self._lock:
            counts, self._counts = self._counts, {}
        return [(*key, *counted) for key, counted in counts.items()]
