"""The exchanges on which a node answers: those of this node, and those that a peer has told.

A node numbers the states of its list, from 0 for the empty one that it starts with. A change says
to which state it applies; one of base 0 is the whole list. A peer that is not at that state says
`Resync`, and is told the whole list again. The number goes with each ping as well, so a change that
was lost is noticed.
"""

from collections.abc import Callable, Iterable

from ..wire.limits import MAX_RESPONDERS
from ..wire.messages import Responders


class OwnResponders:
    """The exchanges on which this node answers, as its peers are told."""

    def __init__(self) -> None:
        self.number = 0
        self.names: dict[str, None] = {}

    def change(self, steps: Iterable[tuple[str, bool]]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Take steps of (name, whether it is answered); return the names that came, and went."""
        before = self.names
        names = dict(before)
        for name, answers in steps:
            if answers:
                names[name] = None
            else:
                names.pop(name, None)
        came = tuple(name for name in names if name not in before)
        went = tuple(name for name in before if name not in names)
        if came or went:
            self.names = names
            self.number += 1
        return came, went

    def whole(self, me: bytes, permitted: Callable[[str], bool]) -> Responders:
        """Return a message with the whole list, as far as a peer may know it."""
        return Responders(me, self.number, 0, tuple(filter(permitted, self.names)))

    def changed(
        self,
        me: bytes,
        came: tuple[str, ...],
        went: tuple[str, ...],
        permitted: Callable[[str], bool],
    ) -> Responders:
        """Return a message with the last change, as far as a peer may know it."""
        if self.number == 1:  # the state before is 0, which would stand for the whole list
            return self.whole(me, permitted)
        told = tuple(filter(permitted, came)), tuple(filter(permitted, went))
        return Responders(me, self.number, self.number - 1, *told)


class PeerResponders:
    """The exchanges on which a peer answers, as it has told us."""

    def __init__(self, permitted: Callable[[str], bool]) -> None:
        self.number = 0
        self.names: dict[str, None] = {}
        self._permitted = permitted

    def take(self, message: Responders) -> bool:
        """Take a change, or the whole list; return False if a change before it is missing."""
        if message.base == 0:
            if message.number >= self.number:
                self.number = message.number
                self.names = self._kept((), message.added)
            return True
        if message.number <= self.number:
            return True  # told twice
        if message.base != self.number:
            return False
        self.number = message.number
        left = [name for name in self.names if name not in message.removed]
        self.names = self._kept(left, message.added)
        return True

    def _kept(self, known: Iterable[str], added: Iterable[str]) -> dict[str, None]:
        """Return names that the peer may answer, no more than a node may have."""
        found = [*known, *filter(self._permitted, added)]
        return dict.fromkeys(found[:MAX_RESPONDERS])
