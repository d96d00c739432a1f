"""Counts rejected messages until the control thread takes the counts.

A flood of them costs the control thread one command, and not one for each message.
"""

import threading
from collections.abc import Callable


class RejectionCounter:
    """The rejected messages that the control thread has not heard of yet. Any thread.

    Args:
        post: runs a command on the control thread.
        reject: called there for each kind: with the origin, the reason, the details of the first
            one, and how many there were.
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
        """Count one rejected message; only the first ``detail`` for each reason is kept."""
        with self._lock:
            quiet = not self._counts
            first, n = self._counts.get((origin, reason), (detail, 0))
            self._counts[origin, reason] = first, n + 1
        if quiet:
            self._post(self._tell)

    def _tell(self) -> None:
        """Report what was counted, and start again with nothing."""
        with self._lock:
            counts, self._counts = self._counts, {}
        for key, counted in counts.items():
            self._reject(*key, *counted)
