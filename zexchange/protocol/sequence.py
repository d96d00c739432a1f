"""Numbers of messages: given by the origin, followed by every receiver.

Numbers count per (origin, exchange) from 1. A receiver holds one `Positions` per
peer: what it was promised (by a ready), where it stands, and so what is new, a
repetition, a gap, or none of its business. Nothing here knows frames or sockets.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..names import is_name
from .interest import Keys, common
from .permissions import Patterns, both, permitted
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

    __slots__ = ("_away", "_before", "_from", "_since", "keys", "unacknowledged")

    def __init__(self) -> None:
        self.keys = Keys()
        self._away = Keys()
        self._from: dict[str, int] = {}
        self._before: dict[str, int] = {}
        self._since: dict[str, int] = {}
        self.unacknowledged: dict[str, int] = {}
        """Of a peer that has left, by exchange, what it has not said to have."""

    def promise(self, keys: Keys, numbering: Numbering) -> None:
        """Take note of what the peer is promised from now on."""
        before = self.keys
        changed = Keys((*(before.names ^ keys.names), *(before.patterns ^ keys.patterns)))
        for name, head in numbering.covered(changed).items():
            was, now = before.covers(name), keys.covers(name)
            if now and not was:
                # What began while it was away, under a key of its, was for it from the first on.
                away = self._away.covers(name)
                self._from[name] = self._since.get(name, 0) if away else head
            elif was and not now:
                begun = self._from.pop(name, 0)
                self._before[name] = self._before.get(name, 0) + head - begun
        self.keys, self.unacknowledged = keys, {}
        self.lapse()

    def leave(self, heads: Mapping[str, int], acked: Mapping[str, int]) -> None:
        """Take note that the peer has left: it goes on from here when it is back.

        ``acked`` is how far it had acknowledged what was sent.
        """
        self._since = {name: head for name, head in heads.items() if self.keys.covers(name)}
        self._before = self.counts(heads)
        behind = {name: at - acked.get(name, 0) for name, at in self._since.items()}
        self.unacknowledged = {name: n for name, n in behind.items() if n > 0}
        self._away, self.keys = self.keys, Keys()
        self._from.clear()

    def lapse(self) -> None:
        """Take note that a peer that has left does not go on from where it was."""
        self._since, self._away = {}, Keys()

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
    """Where a receiver stands with one peer, also while that is away.

    An exchange is *tracked* from the ready that promised it; before that its frames
    are not for us and are dropped, so that counting starts at head+1 exactly. A peer that has
    left goes on here if it comes back: our interest may change meanwhile as it may otherwise.
    """

    __slots__ = (
        "_anew",
        "_began",
        "_ended",
        "_left",
        "_pending",
        "_unsure",
        "admits",
        "in_force",
        "jumped",
        "positions",
        "publish",
        "ready_epoch",
        "tallies",
        "unwanted",
    )

    def __init__(self) -> None:
        self.admits: Callable[[str], bool] = _everything
        """Judges whether the peer may publish on an exchange. Asked before one is tracked."""
        self.publish: Patterns = None
        """On what it may."""
        self.positions: dict[str, int] = {}
        self.tallies: dict[str, Tally] = {}
        self.in_force = Keys()
        self.jumped: dict[str, int] = {}
        """Where an exchange was taken up again, if that is behind where it had been left: what
        was sent in between was for none of our keys."""
        self.ready_epoch = 0
        self.unwanted = 0
        self._pending: dict[int, set[str]] = {}
        self._left: dict[str, int] = {}
        self._unsure = Keys()
        self._began: Patterns = None
        """On what it might publish before, too, until a ready of epoch ``_anew``."""
        self._anew = 0
        self._ended: list[tuple[int, Keys]] = []
        """What has ended while other keys were waited for, in which epoch: what those cover of it
        is followed on, and not anew."""

    def expect(self, epoch: int, added: Iterable[str], removed: Iterable[str]) -> None:
        """Note a change of our interest: removed keys end now, added ones with a ready.

        Where one that is added, or waited for, covers a name that one covered which ends, the
        name was wanted all the time: it is followed on.
        """
        gone, new = set(removed), set(added)
        if gone:
            ended = self._ending(gone)
            pending = {at: keys - gone for at, keys in self._pending.items()}
            self._pending = {at: keys for at, keys in pending.items() if keys}
            self.in_force.remove(gone)
            self._unsure.remove(gone)
            waited = Keys(key for keys in self._pending.values() for key in keys)
            waited.update(new - gone)
            followed = common(ended, waited)
            if followed:
                self._ended.append((epoch, followed))
            self._forget(Keys(gone), waited)
        if new:
            self._pending.setdefault(epoch, set()).update(new)

    def _ending(self, gone: set[str]) -> Keys:
        """Return what has been for us of what ends: in force, or followed on until it would be."""
        ended = Keys(key for key in gone if key in self.in_force)
        for at, keys in self._pending.items() if self._ended else ():
            for when, before in self._ended:
                if when >= at:
                    ended.update(common(Keys(keys & gone), before))
        return ended

    def _forget(self, gone: Keys, waited: Keys) -> None:
        """Drop the positions of what ``gone`` covers, and nothing in force or waited for."""
        covers = self.in_force.covers
        # A name that was used once goes at once, however many others there are.
        some = filter(gone.covers, list(self.positions)) if gone.patterns else gone.names
        for name in some:
            if name in self.positions and not (covers(name) or waited.covers(name)):
                self._left[name] = self.positions.pop(name)

    def ready(
        self, epoch: int, heads: Mapping[str, int], promised: Sequence[Promise] = ()
    ) -> list[Gap]:
        """Take a ready: its epoch is in force; return what its heads show to be missing.

        A gap whose first number is 0 has no known beginning, and is not asked for: where we
        stood was forgotten, because the peer was away for too long.
        """
        if self._began is not None and epoch >= self._anew:
            self._track_at_heads(heads)
        for name in heads:
            if name not in self.positions and self._begins(name):
                # Promised before its first message, and none of them has come.
                self._track(name, 0)
        came = {at: self._pending.pop(at) for at in sorted(self._pending) if at <= epoch}
        for keys in came.values():
            self.in_force.update(keys)
        oldest = min(self._pending, default=epoch)
        self._ended = [e for e in self._ended if self._pending and e[0] >= oldest]
        self.ready_epoch = max(self.ready_epoch, epoch)
        exposed = []
        for name, head in heads.items():
            position = self.positions.get(name)
            if position is None and self._begins(name):
                if self._unsure.covers(name):
                    position = self._track(name, head)
                    exposed.append(Gap(name, 0, head))
                else:
                    position = self._track(name, _start(name, head, came, promised))
            if position is not None and head > position:
                exposed.append(Gap(name, position + 1, head))
        return exposed

    def permit(self, publish: Patterns, epoch: int) -> None:
        """Judge by something else what the peer may publish on: it has left, and is back.

        On what it might before and still may, it goes on. What it might not begins, as if it
        were wanted anew, with a ready of ``epoch`` at the earliest.
        """
        if publish == self.publish:
            return
        for name in [name for name in self.positions if not permitted(publish, name)]:
            self._left[name] = self.positions.pop(name)
        self._began = both(self._began, self.publish)
        self.publish, self._anew = publish, epoch

    def _track_at_heads(self, heads: Mapping[str, int]) -> None:
        """Begin with what the peer might not publish on before it left."""
        for name, head in heads.items():
            if name not in self.positions and self._takes(name) and not self._begins(name):
                self._track(name, head)
        self._began = None

    def lapse(self) -> None:
        """Forget where we stand with a peer that has been away for too long."""
        self._unsure.update(self.in_force)
        self.positions, self._left, self.jumped = {}, {}, {}
        self._pending, self.in_force, self._ended = {}, Keys(), []

    def count_on(self, former: "Positions") -> None:
        """Count on where those had counted that have lapsed: their peer is back."""
        self.tallies = former.tallies
        self.unwanted = former.unwanted
        self._unsure = former._unsure

    def give_up(self, name: str, last: int) -> Gap | None:
        """Count as lost what is missing up to a number, and go on behind it."""
        position = self.positions.get(name)
        return None if position is None or last <= position else self._skip(name, position, last)

    def where(self, name: str) -> int | None:
        """Return where we stand on an exchange; None if its frames are not for us."""
        position = self.positions.get(name)
        if position is None and self._begins(name):
            return self._track(name, 0)
        return position

    def _takes(self, name: str) -> bool:
        """Tell whether an exchange is for us; what no exchange can be called is not."""
        here = self.in_force.covers(name) or (self._ended and self._follows(name))
        return bool(here) and is_name(name) and self.admits(name)

    def _follows(self, name: str) -> bool:
        """Tell whether a key that is waited for covers a name since before another one ended."""
        pending = self._pending.items()
        since = [at for at, keys in pending if Keys(keys).covers(name)]
        return bool(since) and any(
            at >= min(since) and keys.covers(name) for at, keys in self._ended
        )

    def _begins(self, name: str) -> bool:
        """Tell whether an exchange is for us from its first message on."""
        return permitted(self._began, name) and self._takes(name)

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
            if not self._begins(name):
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
