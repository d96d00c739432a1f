"""The counts of the exchanges of a node, as of its last look, and how they are told in parts.

Looks are numbered. For each exchange it is known at which look its counts changed last, so that a
node that asks again gets only what has changed since its own last look. Nothing is kept for each
node that asks. Exchanges are told in the order of their names, which is how an answer is cut into
parts.

An exchange that the node has forgotten stays as a row without counts, so that those who ask forget
it, too. Of very many such rows all are dropped, and counting begins again under another number.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable
from itertools import islice

from ..wire.limits import MAX_COUNTED
from ..wire.messages import ExchangeCount

PART_BYTES = 48 << 10
"""About how many bytes a part has: control messages of over 64 KiB are limited more."""
ROW_BYTES = 40
"""Bytes of a row without its name, at most in nearly all cases."""
GONE_MOST = 10_000
"""Forgotten exchanges that are remembered, to be told."""


class Counts:
    """The counts of one node. Not thread-safe."""

    def __init__(self) -> None:
        self.began = 0
        """The number of this counting."""
        self.look = 0
        """The number of the last look; 0 before the first."""
        self.at = 0.0
        """When that was."""
        self._rows: dict[str, ExchangeCount] = {}
        self._changed: dict[str, int] = {}
        self._names: list[str] = []
        self._gone = 0

    def begin(self) -> None:
        """Begin to count: all that was told before is void."""
        began = self.began + 1
        self.__init__()  # type: ignore[misc]
        self.began = began

    def __len__(self) -> int:
        """Return how many exchanges have counts, or had some."""
        return len(self._rows)

    @property
    def flowing(self) -> int:
        """How many exchanges have counts."""
        return len(self._rows) - self._gone

    def take(self, rows: Iterable[ExchangeCount], at: float) -> None:
        """Take a look: the counts of all exchanges at one moment."""
        before, changed = self._rows, self._changed
        self.look += 1
        self.at, look = at, self.look
        found: dict[str, ExchangeCount] = {}
        for row in rows:
            name = row[0]
            if not row[1] and row.nothing:
                continue
            if before.get(name) != row:
                changed[name] = look
            found[name] = row
        missing = before.keys() - found.keys()
        self._gone = len(missing)
        for name in missing:
            if not before[name].nothing:
                changed[name] = look
            found[name] = ExchangeCount(name)
        if found.keys() != before.keys():
            self._names = sorted(found)
        self._rows = found
        if self._gone > GONE_MOST:
            there = [row for row in found.values() if not row.nothing]
            self.begin()
            self.take(there, at)

    def part(
        self, covers: Callable[[str], bool], began: int, look: int, after: str
    ) -> tuple[tuple[ExchangeCount, ...], str]:
        """Return the exchanges that changed since a look, and the name with which the part ends.

        Args:
            covers: returns whether the counts of an exchange are asked for.
            began: the number of the counting that the look belongs to.
            look: the look; 0 for all exchanges.
            after: the name with which the part before ended; empty for the first part.

        Returns:
            The rows by name, and the last name of the part; that is empty if it is the last part.
        """
        since = look if began == self.began else 0
        rows, changed = self._rows, self._changed
        found: list[ExchangeCount] = []
        size = 0
        for name in islice(self._names, bisect_right(self._names, after), None):
            row = rows[name]
            if changed[name] <= since or (row.nothing and not since) or not covers(name):
                continue
            if len(found) >= MAX_COUNTED or size >= PART_BYTES:
                return tuple(found), found[-1].name
            found.append(row)
            size += len(name.encode()) + ROW_BYTES
        return tuple(found), ""
