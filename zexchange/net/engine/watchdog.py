"""Names the task that holds the data thread: a slow task stalls everything that arrives.

Looked at from the control thread, so that the path of a message pays one assignment a
batch and no more.
"""

import sys
import traceback

from ...local.process.logs import log
from ..inbound.receiver import Receiver

HOLDERS_MOST = 1000
"""Exchanges and places that are counted apart."""
HELD_AFTER = 1.0
"""Seconds for which a batch may hold the data thread before it is named."""


class Watchdog:
    """Watches one data thread."""

    def __init__(self, inbound: Receiver) -> None:
        self._inbound = inbound
        self._named: tuple[float, str] | None = None
        self.holders: dict[str, int] = {}
        """How often a task was found holding the thread, by exchange and place."""

    def look(self, now: float) -> None:
        """Warn once about a batch that has held the data thread for too long."""
        busy = self._inbound.busy
        if busy is None or busy is self._named or now - busy[0] < HELD_AFTER:
            return
        self._named = busy
        place = f"exchange {busy[1]!r}: {self._place()}"
        if place not in self.holders and len(self.holders) >= HOLDERS_MOST:
            place = "others"
        self.holders[place] = self.holders.get(place, 0) + 1
        log.warning(
            "a task has held the data thread for over %g s, nothing else is delivered "
            "meanwhile; use stream() or to_thread() for slow work. %s",
            HELD_AFTER,
            place,
        )

    def _place(self) -> str:
        """Return where the data thread is, in the words of its innermost frame."""
        ident = self._inbound.thread.ident
        frame = sys._current_frames().get(ident) if ident else None
        if frame is None:
            return "unknown"
        top = traceback.extract_stack(frame, limit=1)[0]
        return f"{top.name} ({top.filename}:{top.lineno})"
