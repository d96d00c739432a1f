"""The last messages of an exchange, which a late joiner gets first: see `late_join`.

The lock of the exchange guards them; no task is called under it.
"""

from collections import deque
from collections.abc import Iterable

Kept = tuple[object, float]
"""A message, and when it was sent, in seconds since the epoch."""


class RetainedRing:
    """The last ``size`` messages that were sent in this process."""

    __slots__ = ("_carried", "_kept", "size", "total")

    def __init__(self, size: int, kept: Iterable[Kept] = ()) -> None:
        self.size = size
        """How many messages it keeps at most."""
        self._kept: deque[Kept] = deque(deque(kept, size))
        self.total = len(self._kept)
        """How many messages were put into it so far."""
        self._carried = 0

    def resized(self, size: int) -> "RetainedRing":
        """Return a ring of another size, with as many of the newest messages as fit."""
        ring = RetainedRing(size, self._kept)
        ring._carried = max(0, ring.total - self.total + self._carried)
        return ring

    def keep(self, msg: object, now: float) -> Kept | None:
        """Add a message that is sent; return the oldest one if it has to go.

        The caller releases it outside the lock, since a message may have a finaliser.
        """
        kept = self._kept
        kept.append((msg, now))
        self.total += 1
        return kept.popleft() if self.total > self.size else None

    def carried(self) -> None:
        """Note that all messages were given to other nodes, by a node that is gone since."""
        self._carried = self.total

    def not_carried(self) -> list[Kept]:
        """Return the messages that no former node has given to other nodes."""
        return self.last(min(self.total - self._carried, len(self._kept)))

    def last(self, n: int) -> list[Kept]:
        """Return up to the last ``n`` messages, oldest first."""
        return list(self._kept)[-n:] if n else []
