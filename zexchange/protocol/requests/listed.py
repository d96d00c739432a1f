"""Lists that a node tells its peers, and keeps of theirs: where it answers, and its group members.

A node numbers the states of each list, from 0 for the empty one that it starts with. A change says
to which state it applies; one of base 0 is the whole list. A peer that is not at that state says
`Resync`, and is told the whole list again. The number goes with each ping as well, so a change that
was lost is noticed.
"""

from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

from ..wire.messages import Members, Responders

E = TypeVar("E", bound=Hashable)
"""An entry of a list: the name of an exchange, or a `GroupMember`."""
Change = type[Responders] | type[Members]


class OwnList(Generic[E]):
    """A list of this node, as its peers are told.

    Args:
        change: the message that tells it.
    """

    def __init__(self, change: Change) -> None:
        self.number = 0
        self.entries: dict[E, None] = {}
        self._change = change

    def change(self, steps: Iterable[tuple[E, bool]]) -> tuple[tuple[E, ...], tuple[E, ...]]:
        """Take steps of (entry, whether it is there); return the entries that came, and went."""
        before = self.entries
        entries = dict(before)
        for entry, there in steps:
            if there:
                entries[entry] = None
            else:
                entries.pop(entry, None)
        came = tuple([entry for entry in entries if entry not in before])
        went = tuple([entry for entry in before if entry not in entries])
        if came or went:
            self.entries = entries
            self.number += 1
        return came, went

    def whole(self, me: bytes, permitted: Callable[[E], bool]) -> Responders | Members:
        """Return a message with the whole list, as far as a peer may know it."""
        told = tuple(filter(permitted, self.entries))
        return self._change(me, self.number, 0, told)  # type: ignore[arg-type]

    def changed(
        self,
        me: bytes,
        came: tuple[E, ...],
        went: tuple[E, ...],
        permitted: Callable[[E], bool],
    ) -> Responders | Members:
        """Return a message with the last change, as far as a peer may know it."""
        if self.number == 1:  # the state before is 0, which would stand for the whole list
            return self.whole(me, permitted)
        told = tuple(filter(permitted, came)), tuple(filter(permitted, went))
        return self._change(me, self.number, self.number - 1, *told)  # type: ignore[arg-type]


class PeerList(Generic[E]):
    """A list of a peer, as it has told us.

    Args:
        permitted: returns whether an entry of the peer counts.
        most: how many entries are kept.
    """

    def __init__(self, permitted: Callable[[E], bool], most: int) -> None:
        self.number = 0
        self.entries: dict[E, None] = {}
        self._permitted = permitted
        self._most = most

    def begin(self, number: int, entries: Iterable[E]) -> None:
        """Take the whole list."""
        if number >= self.number:
            self.number = number
            self.entries = self._kept((), entries)

    def take(self, number: int, base: int, added: Iterable[E], removed: Iterable[E]) -> bool:
        """Take a change, or the whole list; return False if a change before it is missing."""
        if base == 0:
            self.begin(number, added)
            return True
        if number <= self.number:
            return True  # told twice
        if base != self.number:
            return False
        self.number = number
        gone = set(removed)
        left = [entry for entry in self.entries if entry not in gone]
        self.entries = self._kept(left, added)
        return True

    def _kept(self, known: Iterable[E], added: Iterable[E]) -> dict[E, None]:
        """Return the entries that count, no more than a node may have."""
        found = [*known, *filter(self._permitted, added)]
        return dict.fromkeys(found[: self._most])
