"""Finds peers that block senders for too long without acknowledging. Time is an argument."""

from bisect import bisect
from collections.abc import Collection, Iterator, Mapping

from ..elapsed import Elapsed


class Stalling:
    """For how long each peer has blocked senders since it last acknowledged anything.

    Args:
        stall: seconds after which it is slow, counted as in `Elapsed`.
    """

    def __init__(self, stall: float) -> None:
        self._stall = stall
        self._elapsed = Elapsed()
        self._holding: dict[bytes, tuple[float, int]] = {}

    def look(self, progress: Mapping[bytes, int], now: float) -> list[bytes]:
        """Return the peers that are slow: call several times a second.

        Args:
            progress: by peer that senders wait for now, a value that changes when it acknowledges.
            now: seconds on a monotonic clock.
        """
        self._elapsed.look(now)
        counted, before = self._elapsed.seconds, self._holding
        self._holding = {
            node: before[node] if before.get(node, (0, None))[1] == done else (counted, done)
            for node, done in progress.items()
        }
        return [n for n, (since, _) in self._holding.items() if counted - since >= self._stall]


class Turns:
    """Gives out some of many names at a time, so that each has its turn."""

    def __init__(self) -> None:
        self._last = ""

    def take(self, names: Collection[str], most: int) -> Iterator[str]:
        """Return at most so many names, beginning after the last that was taken."""
        ordered = sorted(names)
        at = bisect(ordered, self._last) if len(ordered) > most else 0
        return self._taken([*ordered[at:], *ordered[:at]][:most])

    def _taken(self, names: list[str]) -> Iterator[str]:
        for name in names:
            self._last = name
            yield name
