"""What was not taken of what arrived, counted on its way to the control thread.

A flood of them is one command there, not one each.
"""

import threading
from collections.abc import Callable


class RejectionCounter:
    """What was refused and is still to be told.

    Args:
        post: runs a command on the control thread.
        reject: tells of which origin something was refused, why, in the first of them more
            exactly, and how many there were.
    """

    def __init__(
        self,
        post: Callable[[Callable[[], None]], None],
        reject: Callable[[str, str, str, int], None],
    ) -> None:
        self._post, self._reject = post, reject
        self._lock = threading.RLock()
        self._counts: dict[tuple[str, str], tuple[str, int]] = {}

    def add(self, origin: str, reason: str, detail: str = "") -> None:
        """Count one. Any thread."""
        with self._lock:
            quiet = not self._counts
            first, n = self._counts.get((origin, reason), (detail, 0))
            self._counts[origin, reason] = first, n + 1
        if quiet:
            self._post(self._tell)

    def _tell(self) -> None:
        """Tell what was counted, and begin anew."""
        with self._lock:
            counts, self._counts = self._counts, {}
        for key, counted in counts.items():
            self._reject(*key, *counted)
