"""Names the task that blocks the data thread, since a slow task delays everything that arrives.

The control thread looks from outside, so that delivering a batch costs one assignment more.

Each pong tells peers how long the data thread has been blocked. It also tells them two other things
that may hurt them: our clock, and for how many more peers we have descriptors. Names of exchanges
and lines of code are left out, since a peer may have no permission to know them.
"""

import sys
import traceback

from ...local.process.logs import log
from ...protocol.wire.messages import Pong
from ..inbound.receiver import Receiver
from ..transport.descriptors import A_PEER
from .environment import NodeEnvironment

HOLDERS_MOST = 1000
"""Exchanges and lines of code that are counted separately."""
HELD_AFTER = 1.0
"""Seconds for which a batch may block the data thread before its task is named."""
COUNT_EVERY = 5.0
"""Seconds for which a count of the open descriptors is used again: counting takes 0.1 ms or
more."""


class Watchdog:
    """Watches the data thread of one node."""

    def __init__(self, inbound: Receiver, world: NodeEnvironment) -> None:
        self._inbound = inbound
        self._world = world
        self._room: int | None = None
        self._count_at = 0.0
        self._named: tuple[float, str] | None = None
        self.holders: dict[str, int] = {}
        """How often a task was found blocking the data thread, by exchange and line of code."""

    def look(self, now: float) -> None:
        """Warn, once for each batch, if it has blocked the data thread for too long."""
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
        """Return the innermost function of the data thread, with file and line."""
        ident = self._inbound.thread.ident
        frame = sys._current_frames().get(ident) if ident else None
        if frame is None:
            return "unknown"
        top = traceback.extract_stack(frame, limit=1)[0]
        return f"{top.name} ({top.filename}:{top.lineno})"

    # ------------------------------------------------------------------ what peers are told

    def held(self) -> float:
        """Return the seconds for which a task has blocked the data thread; 0 below `HELD_AFTER`."""
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
        """Return a pong that tells our clock, and the values of `held` and `room`."""
        return Pong(pong.sender, self._world.time(), self.held(), self.room())
