"""The counts of peers that will not continue where they were, in case they come back.

If one does, its counts go on. Its positions are no longer known, so for everything that we wanted
all the time it is reported that messages may be missing. Nothing here knows time.
"""

from collections.abc import Collection

from ..interest.interest import NameSet
from .departed import DEPARTED_MOST
from .sequence import ReceiveState, count_together

ENDED_MOST = 256
"""The most peers that have said goodbye and whose counts are still kept."""
UNSURE_MOST = 1_000_000
"""The most names and patterns, of all peers together, that are known to be unsure: messages may be
missing under them."""


class Former:
    """The state of peers that were away for too long, or have left for good; the oldest first.

    One thread owns it. Others may read `there`.
    """

    __slots__ = ("_away", "_ended", "_some")

    def __init__(self) -> None:
        self._away: dict[str, ReceiveState] = {}
        self._ended: dict[str, ReceiveState] = {}
        self._some = set[str]()
        """A superset of the unsure keys of all of them: most keys that end are not in it, so that
        `drop` has nothing to do."""

    @property
    def there(self) -> dict[str, ReceiveState]:
        """The states that are kept, by origin. Any thread."""
        return {**self._ended, **self._away}

    def remember(self, origin: str, positions: ReceiveState, ended: bool = False) -> int:
        """Remember the counts of a peer; ``ended`` if it has said goodbye.

        Returns:
            How many peers with unsure keys were forgotten for that. If they come back, it will not
            be reported that messages may be missing.
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
        """Return the state of a peer that is back, and forget it; None if none is kept."""
        ended, away = self._ended.pop(origin, None), self._away.pop(origin, None)
        return away or ended

    def drop(self, gone: Collection[str], wanted: NameSet) -> None:
        """Note that keys of our interest end, while others are still ``wanted``."""
        known = not self._some.isdisjoint(gone)
        self._some.difference_update(gone)
        for positions in self.there.values():
            if known or positions.unsure_on:
                positions.drop(gone, wanted)


def _unsure(positions: ReceiveState) -> int:
    return len(positions.unsure) + len(positions.unsure_on)
