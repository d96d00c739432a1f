"""What is remembered of peers that do not go on where they were, should they come back.

What had come of them is counted on then, and where they stood nobody knows: of what we wanted all
the time it is told that something may be missing. Nothing here knows time.
"""

from collections.abc import Collection

from ..interest.interest import NameSet
from .departed import DEPARTED_MOST
from .sequence import ReceiveState, count_together

ENDED_MOST = 256
"""Peers that have said goodbye, and of which is still known what came."""
UNSURE_MOST = 1_000_000
"""Names and patterns, of all peers together, of which it is known that something may be missing."""


class Former:
    """The positions of peers that were away for too long, or have left for good; oldest first.

    One thread owns it. Others may ask what is `there`.
    """

    __slots__ = ("_away", "_ended", "_some")

    def __init__(self) -> None:
        self._away: dict[str, ReceiveState] = {}
        self._ended: dict[str, ReceiveState] = {}
        self._some = set[str]()
        """At least what is unsure of any of them: most keys that end are not, and cost nothing."""

    @property
    def there(self) -> dict[str, ReceiveState]:
        """What is remembered, by origin. Any thread."""
        return {**self._ended, **self._away}

    def remember(self, origin: str, positions: ReceiveState, ended: bool = False) -> int:
        """Remember what came of a peer; ``ended`` if it has said goodbye.

        Returns:
            How many peers were forgotten for that, of which nothing will be told if they come back.
        """
        positions.lapse()
        self.back(origin)
        if ended:
            self._ended[origin] = positions
            if len(self._ended) > ENDED_MOST:
                del self._ended[next(iter(self._ended))]
        else:
            self._away[origin] = positions
        self._some.update(positions.unsure)
        forgotten = self._forget_oldest()
        count_together(self.there.values())
        return forgotten

    def _forget_oldest(self) -> int:
        unsure = {origin: _unsure(positions) for origin, positions in self._away.items()}
        many, forgotten = sum(unsure.values()), 0
        for origin, keys in unsure.items():
            if len(self._away) <= DEPARTED_MOST and many <= UNSURE_MOST:
                break
            del self._away[origin]
            many -= keys
            forgotten += keys > 0
        return forgotten

    def back(self, origin: str) -> ReceiveState | None:
        """Return what is remembered of a peer that is back, and forget it; None if nothing is."""
        ended, away = self._ended.pop(origin, None), self._away.pop(origin, None)
        return away or ended

    def drop(self, gone: Collection[str], wanted: NameSet) -> None:
        """Note that keys of ours end, while others are wanted."""
        known = not self._some.isdisjoint(gone)
        self._some.difference_update(gone)
        for positions in self.there.values():
            if known or positions.unsure_on:
                positions.drop(gone, wanted)


def _unsure(positions: ReceiveState) -> int:
    return len(positions.unsure) + len(positions.unsure_on)
