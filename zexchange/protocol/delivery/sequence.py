"""Numbers of messages: given by the origin, tracked by every receiver.

An origin numbers the messages of each exchange from 1. It may forget an idle exchange, and then
numbers from 1 again. To tell old and new numbers apart, all code compares *places*: the *start* of
the exchange plus the number. A start is not below any place that was ever forgotten, so places
only go up. All numbers in this file are places.

A receiver has a `ReceiveState` for each peer. By a *ready*, the peer promises that everything it
sends from now on arrives, on the exchanges that our keys of some epoch cover, and it gives their
heads. From then on these exchanges are *tracked*: a position says up to which place everything
was received or given up. So a frame is the next one, a duplicate, or shows a gap. Frames of
exchanges that are not tracked are not for us.

Where tracking begins is the subtle part: at the place that was promised first. A ready may be lost
with its connection, and the next one has later heads; if tracking began at those, messages sent
between the two would be lost without a report. So a ready repeats the heads of announcements that
we have not confirmed, and we take the first that is not older than the key (`_start`). And a name
may be wanted without a break, under one key after another: then its position is kept, or the
epoch of the former key counts (`_since`). If a peer was away for too long, nobody knows where we
stood: what we wanted is *unsure*, and the next ready reports a gap with an unknown beginning.

Nothing here knows frames or sockets. The file is long because the origin's half (`Numbering`,
`SentCounter`) and the receiver's (`ReceiveState`) have to agree on where counting begins.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from ...names import is_name
from ..interest.interest import NameSet, common
from ..security.permissions import Patterns, both, permitted
from ..wire.messages import Promise

IDLE_MOST = 4096
"""The most exchanges that are no longer tracked and whose counts are still kept separately."""


class Numbering:
    """The places that a node gives to what it sends, per exchange."""

    __slots__ = ("bases", "floor", "forgotten", "heads", "starts")

    def __init__(self) -> None:
        self.heads: dict[str, int] = {}
        """The last place that was given on each exchange."""
        self.starts: dict[str, int] = {}
        """Where exchanges start, if not at 0."""
        self.bases: dict[str, int] = {}
        """By exchange, the place up to which no message is on its way in any federation of this
        process. Only of exchanges that start higher here, because other nodes had them first."""
        self.floor = 0
        """The highest place that was forgotten. New exchanges start there."""
        self.forgotten = 0
        """How many messages were sent on exchanges that were forgotten."""

    def begin(self, name: str, at: int | None = None, base: int | None = None) -> int:
        """Begin an exchange, and return where it starts.

        Args:
            name: the exchange.
            at: where it starts if it is new here; None for `floor`.
            base: see `bases`; None for ``at``.
        """
        at = self.floor if at is None else at
        if at and name not in self.heads and name not in self.starts:
            self.starts[name] = at
            if base is not None and base < at:
                self.bases[name] = base
        return self.starts.get(name, 0)

    def base(self, name: str) -> int:
        """Return the place up to which no message is on its way in any federation."""
        return self.bases.get(name, self.starts.get(name, 0))

    def unused(self, name: str) -> None:
        """Forget where an exchange starts if nothing was sent on it."""
        if name not in self.heads:
            self.starts.pop(name, None)
            self.bases.pop(name, None)

    def place(self, name: str) -> int:
        """Return the last place that was given on an exchange, or where it starts."""
        return self.heads.get(name, self.starts.get(name, 0))

    def jump(self, name: str, head: int, start: int | None = None) -> None:
        """Continue after a place that other nodes of this process have given.

        An exchange that is new here starts there, or at ``start`` if messages after it are kept.
        """
        before = self.starts.get(name, 0)
        begins = start if start is not None and start < head else max(head, before)
        if name not in self.heads and begins != before:
            self.bases[name] = min(self.base(name), begins)
            self.starts[name] = begins
        if head > self.heads.get(name, 0):
            self.heads[name] = head

    def copy(self) -> "Numbering":
        """Return a copy."""
        copy = Numbering()
        copy.heads, copy.starts = dict(self.heads), dict(self.starts)
        copy.bases = dict(self.bases)
        copy.floor, copy.forgotten = self.floor, self.forgotten
        return copy

    def counts(self) -> dict[str, int]:
        """Return how many messages were numbered, by exchange; under ``""`` on forgotten ones."""
        forgotten = {"": self.forgotten} if self.forgotten else {}
        return {**forgotten, **self.numbers(self.heads)}

    def take(self, name: str, count: int) -> int:
        """Give ``count`` places to an exchange and return the first of them."""
        head = self.heads.get(name)
        if head is None:
            head = self.begin(name)
        self.heads[name] = head + count
        return head + 1

    def forget(self, name: str) -> int:
        """Forget an exchange, and return its head. If it is sent on again, numbers begin at 1."""
        start, head = self.start(name), self.place(name)
        self.forgotten += head - start
        self.floor = max(self.floor, head)  # before the head goes: other threads read both
        self.heads.pop(name, None)
        self.unused(name)
        return head

    def lacks(self, name: str, head: int, acked: Mapping[str, int]) -> bool:
        """Return whether messages up to a place are not acknowledged.

        If the exchange was forgotten since, they are.
        """
        return acked.get(name, 0) < head <= self.heads.get(name, 0) and head > self.start(name)

    def start(self, name: str) -> int:
        """Return where an exchange starts."""
        return self.starts.get(name, 0)

    def places(self, numbers: Mapping[str, int]) -> dict[str, int]:
        """Return the places for numbers from a node that knows no starts."""
        return {name: number + self.start(name) for name, number in numbers.items()}

    def numbers(self, places: Mapping[str, int]) -> dict[str, int]:
        """Return the numbers for places, to be told to a node that knows no starts."""
        return {name: max(0, at - self.start(name)) for name, at in places.items()}

    def covered(self, keys: NameSet) -> dict[str, int]:
        """Return the heads of every numbered exchange that ``keys`` cover."""
        if keys.patterns:
            heads = self.heads.copy()  # `list` of the items can be interrupted, by the collector
            return {name: head for name, head in heads.items() if keys.covers(name)}
        return {name: self.heads[name] for name in keys.names if name in self.heads}


class SentCounter:
    """How many messages were sent to one peer, by exchange: those that it was promised.

    They count from the ready that promised the exchange until the peer no longer wants it. Messages
    that were sent while it was away count, too, if it comes back and still wants them.
    """

    def __init__(self) -> None:
        self.keys = NameSet()
        self.lasting = NameSet()
        """Everything that it was ever promised, if it knows no starts: no exchange that this covers
        may be numbered from 1 again."""
        self.forgotten = 0
        """How many messages were sent to it on exchanges that were forgotten since."""
        self._away = NameSet()
        self._from: dict[str, int] = {}
        self._before: dict[str, int] = {}
        self._since: dict[str, int] = {}
        self.unacknowledged: dict[str, int] = {}
        """Of a peer that has left: by exchange, how many messages it has not acknowledged."""

    def promise(self, keys: NameSet, numbering: Numbering) -> None:
        """Take note of the keys that the peer is promised from now on."""
        before = self.keys
        changed = NameSet((*(before.names ^ keys.names), *(before.patterns ^ keys.patterns)))
        for name, head in numbering.covered(changed).items():
            was, now = before.covers(name), keys.covers(name)
            if now and not was:
                # If the exchange began while the peer was away and wanted it, all of it counts.
                away = self._away.covers(name)
                self._from[name] = self._since.get(name, 0) if away else head
            elif was and not now:
                sent = head - self._begun(name, numbering)
                self._from.pop(name, None)
                self._before[name] = self._before.get(name, 0) + sent
        self.keys, self.unacknowledged = keys, {}
        self.lapse()

    def leave(self, numbering: Numbering, acked: Mapping[str, int]) -> None:
        """Take note that the peer has left. If it comes back, it continues from here.

        ``acked`` is up to which place it had acknowledged each exchange.
        """
        heads = numbering.heads
        self._since = {name: head for name, head in heads.items() if self.keys.covers(name)}
        self._before = self.counts(numbering)
        self._before.pop("", None)
        behind = {
            name: at - max(acked.get(name, 0), numbering.start(name))
            for name, at in self._since.items()
        }
        self.unacknowledged = {name: n for name, n in behind.items() if n > 0}
        self._away, self.keys = self.keys, NameSet()
        self._from.clear()

    def lapse(self) -> None:
        """Take note that a peer that has left will not continue where it was."""
        self._since, self._away = {}, NameSet()

    def minds(self, name: str, head: int) -> bool:
        """Return whether an exchange, sent on up to ``head``, must be remembered for the peer.

        It must if the peer is away and lacks messages, which are for it if it comes back. It must,
        too, if the peer knows no starts and would take new messages for duplicates. An exchange of
        which it had everything when it left is not needed: it continues at the next start.
        """
        if self.lasting.covers(name):
            return True
        lacks = head > self._since.get(name, 0) or name in self.unacknowledged
        return lacks and self._away.covers(name)

    def forget(self, name: str, head: int, start: int) -> None:
        """Add the count of an exchange that is forgotten to that of all such."""
        if self.keys.covers(name):
            self.forgotten += head - max(start, self._from.get(name, 0))
        self.forgotten += self._before.pop(name, 0)
        self._from.pop(name, None)
        self._since.pop(name, None)
        missing = self.unacknowledged.pop(name, 0)
        if missing:
            self.unacknowledged[""] = self.unacknowledged.get("", 0) + missing

    def _begun(self, name: str, numbering: Numbering) -> int:
        """Return the place after which messages were for the peer."""
        return max(self._from.get(name, 0), numbering.start(name))

    def counts(self, numbering: Numbering) -> dict[str, int]:
        """Return the counts by exchange, given the current heads; under ``""`` forgotten ones."""
        sums = {"": self.forgotten, **self._before}
        for name, head in numbering.heads.items():
            if self.keys.covers(name):
                sums[name] = sums.get(name, 0) + head - self._begun(name, numbering)
        return {name: sent for name, sent in sums.items() if sent}


@dataclass(slots=True)
class ReceiveCounts:
    """The messages of one origin on one exchange that have come, counted by their fate."""

    received: int = 0
    duplicates: int = 0
    lost: int = 0
    recovered: int = 0
    conflated: int = 0

    def add(self, other: "ReceiveCounts") -> None:
        """Add the counts of another one."""
        self.received += other.received
        self.duplicates += other.duplicates
        self.lost += other.lost
        self.recovered += other.recovered
        self.conflated += other.conflated


@dataclass(frozen=True, slots=True)
class Gap:
    """Numbers ``first`` to ``last`` of an exchange are missing."""

    name: str
    first: int
    last: int


class ReceiveState:
    """The positions of a receiver at one peer, kept while the peer is away.

    An exchange is *tracked* from the ready that promised it. Frames before that are not for us and
    are dropped, so that counting starts at exactly head + 1. If a peer that has left comes back,
    it continues here; our interest may change meanwhile as at other times. Not thread-safe.
    """

    def __init__(self) -> None:
        self.admits: Callable[[str], bool] = everything
        """Returns whether the peer may publish on an exchange. Called before one is tracked."""
        self.publish: Patterns = None
        """The names and patterns on which it may publish."""
        self.positions: dict[str, int] = {}
        self.tallies: dict[str, ReceiveCounts] = {}
        """The counts of tracked exchanges, and of the latest that are no longer tracked."""
        self.forgotten = ReceiveCounts()
        """The counts of all other exchanges together."""
        self.in_force = NameSet()
        self.jumped: dict[str, int] = {}
        """By exchange that is tracked again, its new position, if that is after the one at which it
        was left: the messages in between were for none of our keys."""
        self.ready_epoch = 0
        self.account = 0
        """The peer's account of us to which our positions belong (see `Ready`); 0 if not known."""
        self.unwanted = 0
        self._pending: dict[int, set[str]] = {}
        self._left: dict[str, tuple[int, int]] = {}
        self._idle: dict[str, None] = {}
        self.unsure, self.unsure_on = NameSet(), NameSet()
        """The keys that we wanted when we forgot our positions. And what such keys covered that
        have ended since, as far as other keys cover it."""
        self._began: Patterns = None
        """The names and patterns on which the peer might publish before, too. None again after a
        ready of epoch ``_anew``."""
        self._anew = 0
        self._ended: list[tuple[int, int, NameSet]] = []
        """Keys that ended while other keys that cover some of the same names waited for a ready:
        the epoch in which they ended, the epoch in which they were added (0 if they were in force),
        and what both cover, which stays tracked."""

    def expect(self, epoch: int, added: Iterable[str], removed: Iterable[str]) -> None:
        """Note a change of our interest: removed keys end now, added keys begin with a ready.

        If a key that ends covers a name that is also covered by an added key, or by one that waits
        for its ready, the name is wanted without a break, and stays tracked.
        """
        gone, new = set(removed), set(added)
        if gone:
            ended = [(at, keys & gone) for at, keys in self._pending.items() if keys & gone]
            ended.append((0, {key for key in gone if key in self.in_force}))
            pending = {at: keys - gone for at, keys in self._pending.items()}
            self._pending = {at: keys for at, keys in pending.items() if keys}
            self.in_force.remove(gone)
            for since, keys in ended:
                followed = common(NameSet(keys), self._waited(since, new - gone))
                if followed:
                    self._ended.append((epoch, since, followed))
            waited = self._waited(0, new - gone)
            self.drop(gone, waited)
            self._forget(NameSet(gone), waited, epoch)
        if new:
            self._pending.setdefault(epoch, set()).update(new)

    def drop(self, gone: Iterable[str], wanted: NameSet) -> None:
        """Note that unsure keys end while others are wanted.

        Names that those cover, too, are wanted without a break, and stay unsure.
        """
        ended = NameSet(key for key in gone if key in self.unsure)
        ended.update(self.unsure_on)
        self.unsure.remove(gone)
        self.unsure_on = common(ended, wanted)

    def _waited(self, since: int, new: set[str]) -> NameSet:
        """Return ``new`` and the keys that were added after an epoch and wait for their ready."""
        waited = NameSet(new)
        waited.update(key for at, keys in self._pending.items() if at > since for key in keys)
        return waited

    def _since(self, name: str) -> int | None:
        """Return the epoch since which keys that wait want a name, or None if none does.

        Such a key may have been added while another one covered the name that has ended since: then
        that one's epoch counts, and 0 if it was in force.
        """
        there = [at for at, keys in self._pending.items() if NameSet(keys).covers(name)]
        since = min(there, default=None)
        for at, before, keys in reversed(self._ended):
            if since is not None and before < since <= at and keys.covers(name):
                since = before
        return since

    def _forget(self, gone: NameSet, waited: NameSet, epoch: int) -> None:
        """Drop the positions of names that ``gone`` covers, and no key in force or waited for."""
        covers = self.in_force.covers
        # Without patterns, only these names are looked at, however many others there are.
        some = filter(gone.covers, list(self.positions)) if gone.patterns else gone.names
        for name in some:
            if name in self.positions and not (covers(name) or waited.covers(name)):
                self._leave(name, epoch)

    def _leave(self, name: str, epoch: int) -> None:
        """Stop tracking an exchange. Only the latest `IDLE_MOST` of such keep separate counts."""
        self._left.pop(name, None)
        self._left[name] = self.positions.pop(name), epoch
        self._idle[name] = None
        while len(self._idle) > IDLE_MOST:
            self._fold(next(iter(self._idle)))

    def _fold(self, name: str) -> None:
        """Add the counts of an exchange to those of all others that are forgotten."""
        self._idle.pop(name, None)
        self.jumped.pop(name, None)
        tally = self.tallies.pop(name, None)
        if tally is not None:
            self.forgotten.add(tally)

    def forget(self, name: str, head: int) -> bool:
        """Forget an exchange that its origin has forgotten up to a place; return whether we did."""
        if self.positions.get(name, head) > head:
            return False  # it has started again
        self.positions.pop(name, None)
        self._left.pop(name, None)
        self._fold(name)
        return True

    def counted(self) -> dict[str, ReceiveCounts]:
        """Return the counts by exchange; under ``""`` those of forgotten ones. Any thread."""
        forgotten = {"": self.forgotten} if self.forgotten != ReceiveCounts() else {}
        return {**forgotten, **self.tallies}

    def start(self, name: str, start: int) -> None:
        """Move the position to where an exchange starts, if its origin had forgotten it."""
        if self.positions.get(name, start) < start:
            self.positions[name] = start

    def ready(
        self,
        epoch: int,
        heads: Mapping[str, int],
        promised: Sequence[Promise] = (),
        starts: Mapping[str, int] = MappingProxyType({}),
    ) -> list[Gap]:
        """Take a ready: its epoch is in force. Return the gaps that its heads show.

        A gap whose first number is 0 has no known beginning, and is not asked for: the peer was
        away for too long, and our position was forgotten.

        Args:
            epoch: the epoch of our interest that is proven.
            heads: by exchange, the last place that was given.
            promised: the heads of earlier announcements that we have not confirmed.
            starts: where exchanges start, if not at 0: nothing is missing before that.
        """
        if self._began is not None and epoch >= self._anew:
            self._track_at_heads(heads)
        for name in heads:
            if name not in self.positions and self._begins(name):
                # Promised before its first message, and none of them has come.
                self._track(name, starts.get(name, 0))
            elif name in starts:
                self.start(name, starts[name])
        news = [name for name in heads if self._ended and name not in self.positions]
        wanted = {name: self._since(name) for name in news}
        came = {at: self._pending.pop(at) for at in sorted(self._pending) if at <= epoch}
        for keys in came.values():
            self.in_force.update(keys)
        if not self._pending:
            self._ended = []
        self.ready_epoch = max(self.ready_epoch, epoch)
        exposed: list[Gap] = []
        for name, head in heads.items():
            position = self.positions.get(name)
            if position is None and self._begins(name):
                if self.unsure.covers(name) or self.unsure_on.covers(name):
                    position = self._track(name, head)
                    exposed.append(Gap(name, 0, head))
                else:
                    start = _start(name, head, came, promised, wanted.get(name))
                    position = self._track(name, max(start, starts.get(name, 0)))
            if position is not None and head > position:
                exposed.append(Gap(name, position + 1, head))
        self._forget_left(epoch)
        return exposed

    def _forget_left(self, epoch: int) -> None:
        """Forget where exchanges were left before an epoch that is in force now.

        A key that is added from now on is promised them at a later place.
        """
        for name, (_, left_at) in list(self._left.items()):
            if left_at > epoch:
                break
            del self._left[name]

    def permit(self, publish: Patterns, epoch: int) -> None:
        """Take the new permissions of a peer that has left and is back.

        Exchanges on which it might publish before, and still may, continue. Others on which it may
        publish now begin with a ready of ``epoch`` at the earliest, as if they were newly wanted.
        """
        if publish == self.publish:
            return
        for name in [name for name in self.positions if not permitted(publish, name)]:
            self._leave(name, epoch)
        self._began = both(self._began, self.publish)
        self.publish, self._anew = publish, epoch

    def _track_at_heads(self, heads: Mapping[str, int]) -> None:
        """Begin to track exchanges on which the peer might not publish before it left."""
        for name, head in heads.items():
            if name not in self.positions and self._takes(name) and not self._begins(name):
                self._track(name, head)
        self._began = None

    def lapse(self) -> None:
        """Forget the positions at a peer that has been away for too long.

        Keys that wait for their ready become unsure, too: they may have been promised by a ready
        that was lost.
        """
        self.unsure.update((*self.in_force, *self._waited(0, set())))
        for name in list(self.positions):
            self._leave(name, 0)
        self.positions, self._left, self.jumped = {}, {}, {}
        self._pending, self.in_force, self._ended = {}, NameSet(), []

    def outlived(self, account: int) -> bool:
        """Note the account of a ready; return whether our positions belong to an earlier one.

        If so, the peer had forgotten us while we did not notice that we were disconnected: messages
        that it sent meanwhile have no numbers, or others. ``account`` is 0 if it is not told.
        """
        before, self.account = self.account, max(self.account, account)
        return 0 < before < account

    def begin_again(self) -> None:
        """Forget the positions as `lapse` does, at a peer that is here: all keys await a ready."""
        wanted, waiting = set(self.in_force), self._pending
        self.lapse()
        self._pending = {0: wanted, **waiting}

    def count_together(self) -> None:
        """Add the counts of all exchanges that are not tracked to those forgotten."""
        for name in list(self._idle):
            self._fold(name)

    def count_on(self, former: "ReceiveState") -> None:
        """Continue the counts of a former state, which has lapsed: its peer is back."""
        self.tallies, self.forgotten, self._idle = former.tallies, former.forgotten, former._idle
        self.unwanted = former.unwanted
        self.unsure, self.unsure_on = former.unsure, former.unsure_on

    def give_up(self, name: str, last: int) -> Gap | None:
        """Count missing messages up to a number as lost, and go on after it; return the gap."""
        position = self.positions.get(name)
        if position is None or last <= position:
            return None
        self.positions[name] = last
        self.tallies[name].lost += last - position
        return Gap(name, position + 1, last)

    def pass_over(self, name: str, last: int) -> Gap | None:
        """Count messages up to a number as conflated, and go on after it; return the gap."""
        position = self.positions.get(name)
        if position is None or last <= position:
            return None
        self.positions[name] = last
        self.tallies[name].conflated += last - position
        return Gap(name, position + 1, last)

    def where(self, name: str, start: int = 0) -> int | None:
        """Return our position on an exchange; None if its frames are not for us.

        ``start`` is where it starts. Our position may be below that, if it had been forgotten.
        """
        position = self.positions.get(name)
        if position is None and self._begins(name):
            return self._track(name, start)
        return position

    def _takes(self, name: str) -> bool:
        """Return whether an exchange is for us. One with an invalid name never is."""
        here = self.in_force.covers(name) or (self._ended and self._since(name) == 0)
        return bool(here) and is_name(name) and self.admits(name)

    def _begins(self, name: str) -> bool:
        """Return whether an exchange is for us from its first message on."""
        return permitted(self._began, name) and self._takes(name)

    def spoiled(self, name: str, count: int) -> None:
        """Count messages as lost that were received and could not be decoded."""
        tally = self.tallies[name]
        tally.received -= count
        tally.lost += count

    def _track(self, name: str, position: int) -> int:
        # Not below the former position: a key may have been promised messages that had come
        # already, under another key that covered the name.
        left, _ = self._left.pop(name, (position, 0))
        self._idle.pop(name, None)
        if position > left:
            self.jumped[name] = position
        position = max(position, left)
        self.positions[name] = position
        self.tallies.setdefault(name, ReceiveCounts())
        return position

    def receive(self, name: str, first: int, count: int) -> int:
        """Take the numbers of the next frame; return how many of its first messages to skip.

        Its exchange is tracked (see `where`), and nothing is missing before it.
        """
        skip = min(self.positions[name] + 1 - first, count)
        tally = self.tallies[name]
        tally.duplicates += skip
        tally.received += count - skip
        if skip < count:
            self.positions[name] = first + count - 1
        return skip


def count_together(former: Iterable[ReceiveState]) -> None:
    """Reduce the counts of peers that have left to one for each peer, the oldest first.

    All of them together may keep as many counts by exchange (`IDLE_MOST`) as one peer that is here.
    """
    former = list(former)
    apart = sum(len(positions.tallies) for positions in former)
    for positions in former:
        if apart <= IDLE_MOST:
            break
        apart -= len(positions.tallies)
        positions.count_together()


def everything(name: str) -> bool:
    """Return that an exchange counts, regardless of its name."""
    return True


def _start(
    name: str,
    head: int,
    came: Mapping[int, Iterable[str]],
    promised: Sequence[Promise],
    wanted: int | None = None,
) -> int:
    """Return where tracking of an exchange begins that has come into force.

    That is its place in the first announcement, which may have been lost, of an epoch in which a
    key of ours covered it. Earlier promises were for an earlier subscription.

    Args:
        name: the exchange.
        head: its head in the ready.
        came: by epoch, the keys that have come into force.
        promised: the heads of earlier announcements.
        wanted: the epoch since which it is wanted, if keys that have ended covered it; else None.
    """
    if promised:
        since = min(at for at, keys in came.items() if NameSet(keys).covers(name))
        since = since if wanted is None else min(since, wanted)
        for promise in promised:
            if promise.epoch >= since:
                return min(head, promise.heads.get(name, head))
    return head
