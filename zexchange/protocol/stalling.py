"""Which peers hold senders up for too long without acknowledging anything. Time is an argument."""

from collections.abc import Mapping

from .elapsed import Elapsed


class Stalling:
    """For how long each peer has held senders up, since it has acknowledged anything.

    Args:
        stall: seconds after which it is slow, of those in which we looked at it.
    """

    def __init__(self, stall: float) -> None:
        self._stall = stall
        self._elapsed = Elapsed()
        self._holding: dict[bytes, tuple[float, int]] = {}

    def look(self, progress: Mapping[bytes, int], now: float) -> list[bytes]:
        """Return the peers that are slow: call several times a second.

        Args:
            progress: of each peer that senders wait for now, what changes as it acknowledges.
            now: seconds on a monotonic clock.
        """
        self._elapsed.look(now)
        counted, before = self._elapsed.seconds, self._holding
        self._holding = {
            node: before[node] if before.get(node, (0, None))[1] == done else (counted, done)
            for node, done in progress.items()
        }
        return [n for n, (since, _) in self._holding.items() if counted - since >= self._stall]
