"""Numbers of messages: given by the origin, followed by every receiver.

Numbers count per (origin, exchange) from 1. A receiver holds one `Positions` per
peer: what it was promised (by a ready), where it stands, and so what is new, a
repetition, a gap, or none of its business. Nothing here knows frames or sockets.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..names import is_name
from .interest import Keys
from .values import Promise


class Numbering:
    """The numbers that a node gives to what it sends, per exchange."""

    __slots__ = ("heads",)

    def __init__(self) -> None:
        self.heads: dict[str, int] = {}

    def take(self, name: str, count: int) -> int:
        """Give ``count`` numbers to an exchange and return the first of them."""
        head = self.heads.get(name, 0)
        self.heads[name] = head + count
        return head + 1

    def covered(self, keys: Keys) -> dict[str, int]:
        """Return the heads of every numbered exchange that ``keys`` cover."""
        if keys.patterns:
            return {name: head for name, head in list(self.heads.items()) if keys.covers(name)}
        return {name: self.heads[name] for name in keys.names if name in self.heads}


class Account:
    """How many messages were sent to one peer, by exchange: what it was promised, and no more.

    From each ready that promised an exchange until the peer wanted it no longer. What is sent
    while it is out of reach was for it, too, if it comes back and wants it still.
    """

    __slots__ = ("_before", "_from", "_since", "keys")

    def __init__(self) -> None:
        self.keys = Keys()
        self._from: dict[str, int] = {}
        self._before: dict[str, int] = {}
        self._since: dict[str, int] = {}

    def promise(self, keys: Keys, numbering: Numbering) -> None:
        """Take note of what the peer is promised from now on."""
        before = self.keys
        changed = Keys((*(before.names ^ keys.names), *(before.patterns ^ keys.patterns)))
        for name, head in numbering.covered(changed).items():
            was, now = before.covers(name), keys.covers(name)
            if now and not was:
                self._from[name] = self._since.get(name, head)
            elif was and not now:
                begun = self._from.pop(name, 0)
                self._before[name] = self._before.get(name, 0) + head - begun
        self.keys = keys
        self._since.clear()

    def leave(self, heads: Mapping[str, int], resume: bool) -> None:
        """Take note that the peer has left; with ``resume``, it goes on from here if it is back."""
        self._since = {n: h for n, h in heads.items() if resume and self.keys.covers(n)}
        self._before = self.counts(heads)
        self.keys = Keys()
        self._from.clear()

    def counts(self, heads: Mapping[str, int]) -> dict[str, int]:
        """Return the sums, given the heads as they are now."""
        sums = dict(self._before)
        for name, head in heads.items():
            if self.keys.covers(name):
                sums[name] = sums.get(name, 0) + head - self._from.get(name, 0)
        return {name: sent for name, sent in sums.items() if sent}


@dataclass(slots=True)
class Tally:
    """What has come of one (origin, exchange), counted in messages."""

    received: int = 0
    duplicates: int = 0
    lost: int = 0
    recovered: int = 0


@dataclass(frozen=True, slots=True)
class Gap:
    """Numbers ``first`` to ``last`` of an exchange are missing."""

    name: str
    first: int
    last: int


class Positions:
    """Where a receiver stands with one peer.

    An exchange is *tracked* from the ready that promised it; before that its frames
    are not for us and are dropped, so that counting starts at head+1 exactly.
    """

    __slots__ = (
        "_before",
        "_left",
        "_pending",
        "admits",
        "in_force",
        "jumped",
        "positions",
        "ready_epoch",
        "resumes",
        "tallies",
        "unwanted",
    )

    def __init__(self) -> None:
        self.admits: Callable[[str], bool] = _everything
        """Judges whether the peer may publish on an exchange. Asked before one is tracked."""
        self.positions: dict[str, int] = {}
        self.tallies: dict[str, Tally] = {}
        self.in_force = Keys()
        self.jumped: dict[str, int] = {}
        """Where an exchange was taken up again, if that is behind where it had been left: what
        was sent in between was for none of our keys."""
        self.ready_epoch = 0
        self.unwanted = 0
        self.resumes = False
        """Whether its origin, which has left, may come back with the numbers it had."""
        self._pending: dict[int, set[str]] = {}
        self._left: dict[str, int] = {}
        self._before: dict[str, int] = {}

    def expect(self, epoch: int, added: Iterable[str], removed: Iterable[str]) -> None:
        """Note a change of our interest: removed keys end now, added ones with a ready."""
        gone = set(removed)
        if gone:
            for keys in self._pending.values():
                keys -= gone
            self.in_force.remove(gone)
            self._forget()
            self._before = _without(self._before, gone)
        self._pending.setdefault(epoch, set()).update(added)

    def _forget(self) -> None:
        """Drop the positions that nothing in force covers any more."""
        covers = self.in_force.covers
        for name in [name for name in self.positions if not covers(name)]:
            self._left[name] = self.positions.pop(name)

    def ready(
        self, epoch: int, heads: Mapping[str, int], promised: Sequence[Promise] = ()
    ) -> list[Gap]:
        """Take a ready: its epoch is in force; return what its heads show to be missing."""
        for name in heads:
            if name not in self.positions and self._takes(name):
                # Promised before its first message, and none of them has come.
                self._track(name, 0)
        came = {at: self._pending.pop(at) for at in sorted(self._pending) if at <= epoch}
        for keys in came.values():
            self.in_force.update(keys)
        self.ready_epoch = max(self.ready_epoch, epoch)
        exposed = []
        for name, head in heads.items():
            position = self.positions.get(name)
            if position is None and self._takes(name):
                start = _start(name, head, came, promised)
                position = self._track(name, min(start, self._before.get(name, start)))
            if position is not None and head > position:
                exposed.append(Gap(name, position + 1, head))
        self._before.clear()  # what is wanted from here on begins anew
        return exposed

    def count_on(self, former: "Positions") -> None:
        """Count on where the positions with the same peer ended that had left, and is back."""
        self.tallies = former.tallies
        self.unwanted = former.unwanted
        if former.resumes:
            self._before = dict(former.positions)

    def dropped(self, keys: Iterable[str]) -> None:
        """Note that keys have gone while the peer was away: what they cover is not resumed."""
        if self.resumes:
            self.positions = _without(self.positions, keys)

    def give_up(self, name: str, last: int) -> Gap | None:
        """Count as lost what is missing up to a number, and go on behind it."""
        position = self.positions.get(name)
        return None if position is None or last <= position else self._skip(name, position, last)

    def where(self, name: str) -> int | None:
        """Return where we stand on an exchange; None if its frames are not for us."""
        position = self.positions.get(name)
        if position is None and self._takes(name):
            return self._track(name, 0)
        return position

    def _takes(self, name: str) -> bool:
        """Tell whether an exchange is for us; what no exchange can be called is not."""
        return self.in_force.covers(name) and is_name(name) and self.admits(name)

    def spoiled(self, name: str, count: int) -> None:
        """Count as lost what was received and turned out to be undecodable."""
        tally = self.tallies[name]
        tally.received -= count
        tally.lost += count

    def _track(self, name: str, position: int) -> int:
        # Not below where we were: what a key was promised while another one still covered
        # the name may have come already.
        left = self._left.pop(name, position)
        if position > left:
            self.jumped[name] = position
        position = max(position, left)
        self.positions[name] = position
        self.tallies.setdefault(name, Tally())
        return position

    def _skip(self, name: str, position: int, last: int) -> Gap:
        """Count what is missing up to ``last`` as lost."""
        self.positions[name] = last
        self.tallies[name].lost += last - position
        return Gap(name, position + 1, last)

    def receive(self, name: str, first: int, count: int) -> tuple[int, Gap | None]:
        """Take the numbers of a frame.

        Returns:
            How many of its leading values to skip (all ``count`` of them if nothing is
            for us), and the gap in front of it, if there is one.
        """
        position = self.positions.get(name)
        if position is None:
            if not self._takes(name):
                self.unwanted += count
                return count, None
            position = self._track(name, 0)
        gap = self._skip(name, position, first - 1) if first > position + 1 else None
        skip = min(position + 1 - first, count) if first <= position else 0
        tally = self.tallies[name]
        tally.duplicates += skip
        tally.received += count - skip
        if skip < count:
            self.positions[name] = first + count - 1
        return skip, gap


def _everything(name: str) -> bool:
    return True


def _without(positions: dict[str, int], keys: Iterable[str]) -> dict[str, int]:
    """Return positions without what keys cover."""
    gone = Keys(keys)
    return {name: at for name, at in positions.items() if not gone.covers(name)}


def _start(
    name: str, head: int, came: Mapping[int, Iterable[str]], promised: Sequence[Promise]
) -> int:
    """Return where an exchange that came into force starts: where it was first promised.

    That is the first announcement, lost perhaps, of an epoch in which a key of ours
    covered it already; what was promised to an earlier subscription is not for this one.
    """
    if promised:
        since = min(at for at, keys in came.items() if Keys(keys).covers(name))
        for promise in promised:
            if promise.epoch >= since:
                return min(head, promise.heads.get(name, head))
    return head
