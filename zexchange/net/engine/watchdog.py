"""Names the task that holds the data thread: a slow task stalls everything that arrives.

Looked at from the control thread, so that the path of a message pays one assignment a
batch and no more.

Each pong tells peers of it, and of what else is seen here and hurts over there: the clock, and for
how many more peers there are descriptors. Names of exchanges and places in programs are not told:
who may not hear of them must not hear of them this way.
"""

import sys
import traceback

from ...local.process.logs import log
from ...protocol.wire.messages import Pong
from ..inbound.receiver import Receiver
from ..transport.descriptors import A_PEER
from .environment import NodeEnvironment

HOLDERS_MOST = 1000
"""Exchanges and places that are counted apart."""
HELD_AFTER = 1.0
"""Seconds for which a batch may hold the data thread before it is named."""
COUNT_EVERY = 5.0
"""Seconds for which a count of the open descriptors is good: it costs 0.1 ms and more."""


class Watchdog:
    """Watches one data thread."""

    def __init__(self, inbound: Receiver, world: NodeEnvironment) -> None:
        self._inbound = inbound
        self._world = world
        self._room: int | None = None
        self._count_at = 0.0
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

    # ------------------------------------------------------------------ what peers are told

    def held(self) -> float:
        """Return for how many seconds a task has held the data thread, if for long; else 0."""
        busy = self._inbound.busy
        seconds = self._world.monotonic() - busy[0] if busy else 0.0
        return seconds if seconds >= HELD_AFTER else 0.0

    def room(self) -> int | None:
        """Return for how many more peers there are descriptors; None if that is not known."""
        now = self._world.monotonic()
        if now >= self._count_at:
            self._count_at, self._room = now + COUNT_EVERY, self._world.descriptors()
        return None if self._room is None else self._room // A_PEER

    def sign(self, pong: Pong) -> Pong:
        """Return a pong that says how we are."""
        return Pong(pong.sender, self._world.time(), self.held(), self.room())
