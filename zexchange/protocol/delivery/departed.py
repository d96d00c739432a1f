"""What is remembered of nodes that have left, for some ten minutes: they may live, and come back.

Only a goodbye is final. Whoever else has left goes on where it was if it returns in time; what
is remembered of it beyond that, if anything, is for the caller to say. Time is an argument.
"""

from collections.abc import Hashable, Iterator
from math import inf
from typing import Generic, TypeVar

REMEMBERED = 600.0
"""Seconds for which a node that has left goes on where it was, if it comes back."""
LONGER = 60.0
"""Seconds more for which a sender remembers a receiver. One of them may notice half a minute before
the other that they have parted, and what is sent to nobody has no number: were it the sender that
forgets first, the receiver would go on where it was and find nothing missing."""
DEPARTED_MOST = 4096
"""Nodes remembered, as many as may be peers: of more, the oldest go before their time."""

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Departed(Generic[K, V]):
    """What there was of each node that has left, the one that left first in front.

    One thread owns it. Others may look at `next_at`, and at a copy of `there`.
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
        """Remember something of a node that leaves."""
        self.back(node)
        self.there[node] = what
        self._until[node] = now + REMEMBERED + self._longer
        self._look()

    def back(self, node: K) -> V | None:
        """Return what is remembered of a node that is back, and forget it; None if nothing is."""
        self._until.pop(node, None)
        self._look()
        return self.there.pop(node, None)

    def _look(self) -> None:
        many = len(self._until) > self._most
        self.next_at = -inf if many else next(iter(self._until.values()), inf)

    def expire(self, now: float) -> Iterator[tuple[K, V]]:
        """Forget who has been away for too long; yield what was remembered of it."""
        while self.next_at <= now:
            node = next(iter(self._until))
            what = self.back(node)
            assert what is not None
            yield node, what
