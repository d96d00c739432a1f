"""The state of nodes that have left, kept for some ten minutes because they may live and come back.

Only a goodbye is final. Any other node that has left continues where it was if it returns in time.
The caller decides what is kept after that, if anything. Time is an argument.
"""

from collections.abc import Hashable, Iterator
from math import inf
from typing import Generic, TypeVar

REMEMBERED = 600.0
"""Seconds within which a node that has left continues where it was, if it comes back."""
LONGER = 60.0
"""Additional seconds for which a sender remembers a receiver. One of the two may notice half a
minute before the other that they are disconnected, and messages without a receiver are not
numbered: if the sender forgot first, the receiver would continue where it was and miss nothing."""
DEPARTED_MOST = 4096
"""The most nodes remembered, as many as may be peers. Beyond it the oldest are forgotten early."""

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Departed(Generic[K, V]):
    """The state of each node that has left, in the order in which they left.

    One thread owns it. Others may read `next_at`, and a copy of `there`.

    Args:
        most: the most nodes remembered.
        longer: seconds in addition to `REMEMBERED`.
    """

    __slots__ = ("_longer", "_most", "_until", "next_at", "there")

    def __init__(self, most: int = DEPARTED_MOST, longer: float = 0.0) -> None:
        self.there: dict[K, V] = {}
        self.next_at = inf
        """When `expire` has something to do."""
        self._until: dict[K, float] = {}
        self._most = most
        self._longer = longer

    def leave(self, node: K, what: V, now: float) -> None:
        """Remember the state of a node that leaves."""
        self.back(node)
        self.there[node] = what
        self._until[node] = now + REMEMBERED + self._longer
        self._look()

    def back(self, node: K) -> V | None:
        """Return the state of a node that is back, and forget it; None if none is remembered."""
        self._until.pop(node, None)
        self._look()
        return self.there.pop(node, None)

    def _look(self) -> None:
        many = len(self._until) > self._most
        self.next_at = -inf if many else next(iter(self._until.values()), inf)

    def expire(self, now: float) -> Iterator[tuple[K, V]]:
        """Forget nodes that have been away for too long; yield each with its state."""
        while self.next_at <= now:
            node = next(iter(self._until))
            what = self.back(node)
            assert what is not None
            yield node, what
