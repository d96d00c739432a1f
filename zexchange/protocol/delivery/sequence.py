"""Numbers of messages: given by the origin, followed by every receiver.

Numbers count per (origin, exchange) from 1. An exchange that its origin has forgotten counts
from 1 again, so what is compared is a *place*: its *start*, which is not below any place
that was ever forgotten, plus the number. All numbers in here are places; they only go up.
A receiver holds one `ReceiveState` per peer: what it was promised (by a ready), where it stands,
and so what is new, a repetition, a gap, or none of its business. Nothing here knows frames
or sockets.

One file, though a long one: the origin's half (`Numbering`, `SentCounter`) and the receiver's
(`ReceiveState`) count the same messages, and have to agree on where they begin.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from ...names import is_name
from ..interest.interest import NameSet, common
from ..security.permissions import Patterns, both, permitted
from ..wire.messages import Promise

IDLE_MOST = 4096
"""Exchanges that are not followed any more, and whose sums are still kept apart."""


class Numbering:
    """The places that a node gives to what it sends, per exchange."""

    __slots__ = ("bases", "floor", "forgotten", "heads", "starts")

    def __init__(self) -> None:
        self.heads: dict[str, int] = {}
        """The last place that was given on each exchange."""
        self.starts: dict[str, int] = {}
        """Where exchanges start, if not at 0."""
        self.bases: dict[str, int] = {}
        """Up to where nothing is under way in any federation of this process, of exchanges that
        start higher here, because others had them first."""
        self.floor = 0
        """The highest place that was forgotten: where an exchange starts that is new."""
        self.forgotten = 0
        """How many messages were sent on the exchanges that were forgotten."""

    def begin(self, name: str, at: int | None = None, base: int | None = None) -> int:
        """Return where an exchange starts, now that it is to be sent on.

        Args:
            name: of the exchange.
            at: where, if it is new here; None for behind all that was forgotten.
            base: see `bases`; None for ``at``.
        """
        at = self.floor if at is None else at
        if at and name not in self.heads and name not in self.starts:
            self.starts[name] = at
            if base is not None and base < at:
                self.bases[name] = base
        return self.starts.get(name, 0)

    def base(self, name: str) -> int:
        """Return up to where nothing of an exchange is under way in any federation."""
        return self.bases.get(name, self.starts.get(name, 0))

    def unused(self, name: str) -> None:
        """Take note that nothing will be sent for now on an exchange."""
        if name not in self.heads:
            self.starts.pop(name, None)
            self.bases.pop(name, None)

    def place(self, name: str) -> int:
        """Return the last place that was given on an exchange, or where it starts."""
        return self.heads.get(name, self.starts.get(name, 0))

    def jump(self, name: str, head: int, start: int | None = None) -> None:
        """Go on behind a place that others of this process have given.

        An exchange that is new here starts there, or at ``start``, from where on it is kept.
        """
        before = self.starts.get(name, 0)
        begins = start if start is not None and start < head else max(head, before)
        if name not in self.heads and begins != before:
            self.bases[name] = min(self.base(name), begins)
            self.starts[name] = begins
        if head > self.heads.get(name, 0):
            self.heads[name] = head

    def copy(self) -> "Numbering":
        """Return what it is now, to be looked at later."""
        copy = Numbering()
        copy.heads, copy.starts = dict(self.heads), dict(self.starts)
        copy.bases = dict(self.bases)
        copy.floor, copy.forgotten = self.floor, self.forgotten
        return copy

    def counts(self) -> dict[str, int]:
        """Return how many messages were numbered, by exchange; under ``""`` of those forgotten."""
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
        """Forget an exchange, and return its head: if it is sent on again, it starts anew."""
        start, head = self.start(name), self.place(name)
        self.forgotten += head - start
        self.floor = max(self.floor, head)  # first: others look at it, and at the heads
        self.heads.pop(name, None)
        self.unused(name)
        return head

    def lacks(self, name: str, head: int, acked: Mapping[str, int]) -> bool:
        """Tell whether what was sent up to a place is not acknowledged.

        What has been forgotten since was.
        """
        return acked.get(name, 0) < head <= self.heads.get(name, 0) and head > self.start(name)

    def start(self, name: str) -> int:
        """Return where an exchange starts that is numbered."""
        return self.starts.get(name, 0)

    def places(self, numbers: Mapping[str, int]) -> dict[str, int]:
        """Return what a node means that knows nothing of starts."""
        return {name: number + self.start(name) for name, number in numbers.items()}

    def numbers(self, places: Mapping[str, int]) -> dict[str, int]:
        """Return places as such a node is told of them."""
        return {name: max(0, at - self.start(name)) for name, at in places.items()}

    def covered(self, keys: NameSet) -> dict[str, int]:
        """Return the heads of every numbered exchange that ``keys`` cover."""
        if keys.patterns:
            heads = self.heads.copy()  # `list` of the items can be interrupted, by the collector
            return {name: head for name, head in heads.items() if keys.covers(name)}
        return {name: self.heads[name] for name in keys.names if name in self.heads}


class SentCounter:
    """How many messages were sent to one peer, by exchange: what it was promised, and no more.

    From each ready that promised an exchange until the peer wanted it no longer. What is sent
    while it is out of reach was for it, too, if it comes back and wants it still.
    """

    def __init__(self) -> None:
        self.keys = NameSet()
        self.lasting = NameSet()
        """What it has ever been promised, if it knows nothing of starts: no exchange that this
        covers may count anew."""
        self.forgotten = 0
        """How many messages were sent to it on exchanges that were forgotten."""
        self._away = NameSet()
        self._from: dict[str, int] = {}
        self._before: dict[str, int] = {}
        self._since: dict[str, int] = {}
        self.unacknowledged: dict[str, int] = {}
        """Of a peer that has left, by exchange, what it has not said to have."""

    def promise(self, keys: NameSet, numbering: Numbering) -> None:
        """Take note of what the peer is promised from now on."""
        before = self.keys
        changed = NameSet((*(before.names ^ keys.names), *(before.patterns ^ keys.patterns)))
        for name, head in numbering.covered(changed).items():
            was, now = before.covers(name), keys.covers(name)
            if now and not was:
                # What began while it was away, under a key of its, was for it from the first on.
                away = self._away.covers(name)
                self._from[name] = self._since.get(name, 0) if away else head
            elif was and not now:
                sent = head - self._begun(name, numbering)
                self._from.pop(name, None)
                self._before[name] = self._before.get(name, 0) + sent
        self.keys, self.unacknowledged = keys, {}
        self.lapse()

    def leave(self, numbering: Numbering, acked: Mapping[str, int]) -> None:
        """Take note that the peer has left: it goes on from here when it is back.

        ``acked`` is how far it had acknowledged what was sent.
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
        """Take note that a peer that has left does not go on from where it was."""
        self._since, self._away = {}, NameSet()

    def minds(self, name: str, head: int) -> bool:
        """Tell whether an exchange, sent on up to ``head``, must be remembered for the peer.

        It is away, and if it comes back, what it has not is for it; or it would take what is
        numbered anew for repetitions. What it had all of when it left it needs no more: it goes on
        where the exchange starts anew.
        """
        if self.lasting.covers(name):
            return True
        lacks = head > self._since.get(name, 0) or name in self.unacknowledged
        return lacks and self._away.covers(name)

    def forget(self, name: str, head: int, start: int) -> None:
        """Count an exchange that is forgotten with all others that are."""
        if self.keys.covers(name):
            self.forgotten += head - max(start, self._from.get(name, 0))
        self.forgotten += self._before.pop(name, 0)
        self._from.pop(name, None)
        self._since.pop(name, None)
        missing = self.unacknowledged.pop(name, 0)
        if missing:
            self.unacknowledged[""] = self.unacknowledged.get("", 0) + missing

    def _begun(self, name: str, numbering: Numbering) -> int:
        """Return up to where what was sent was not for the peer."""
        return max(self._from.get(name, 0), numbering.start(name))

    def counts(self, numbering: Numbering) -> dict[str, int]:
        """Return the sums, given the heads as they are; under ``""`` of what is forgotten."""
        sums = {"": self.forgotten, **self._before}
        for name, head in numbering.heads.items():
            if self.keys.covers(name):
                sums[name] = sums.get(name, 0) + head - self._begun(name, numbering)
        return {name: sent for name, sent in sums.items() if sent}


@dataclass(slots=True)
class ReceiveCounts:
    """What has come of one (origin, exchange), counted in messages."""

    received: int = 0
    duplicates: int = 0
    lost: int = 0
    recovered: int = 0

    def add(self, other: "ReceiveCounts") -> None:
        """Count what another one has counted, too."""
        self.received += other.received
        self.duplicates += other.duplicates
        self.lost += other.lost
        self.recovered += other.recovered


@dataclass(frozen=True, slots=True)
class Gap:
    """Numbers ``first`` to ``last`` of an exchange are missing."""

    name: str
    first: int
    last: int


class ReceiveState:
    """Where a receiver stands with one peer, also while that is away.

    An exchange is *tracked* from the ready that promised it; before that its frames
    are not for us and are dropped, so that counting starts at head+1 exactly. A peer that has
    left goes on here if it comes back: our interest may change meanwhile as it may otherwise.
    """

    def __init__(self) -> None:
        self.admits: Callable[[str], bool] = everything
        """Judges whether the peer may publish on an exchange. Asked before one is tracked."""
        self.publish: Patterns = None
        """On what it may."""
        self.positions: dict[str, int] = {}
        self.tallies: dict[str, ReceiveCounts] = {}
        """What has come; of the exchanges that are not followed any more, the latest."""
        self.forgotten = ReceiveCounts()
        """What has come of all others, together."""
        self.in_force = NameSet()
        self.jumped: dict[str, int] = {}
        """Where an exchange was taken up again, if that is behind where it had been left: what
        was sent in between was for none of our keys."""
        self.ready_epoch = 0
        self.account = 0
        """Which of the peer's accounts of us our positions belong to; 0 if we do not know."""
        self.unwanted = 0
        self._pending: dict[int, set[str]] = {}
        self._left: dict[str, tuple[int, int]] = {}
        self._idle: dict[str, None] = {}
        self.unsure, self.unsure_on = NameSet(), NameSet()
        """What we wanted when we forgot where we stood; and what of that, under keys that have
        ended since, others cover."""
        self._began: Patterns = None
        """On what it might publish before, too, until a ready of epoch ``_anew``."""
        self._anew = 0
        self._ended: list[tuple[int, int, NameSet]] = []
        """What has ended while keys were waited for that cover some of it, which is followed on:
        in which epoch, and in which it had been added, 0 if it was in force."""

    def expect(self, epoch: int, added: Iterable[str], removed: Iterable[str]) -> None:
        """Note a change of our interest: removed keys end now, added ones with a ready.

        Where one that is added, or waited for, covers a name that one covered which ends, the
        name was wanted all the time: it is followed on.
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
        """Note that keys end of which we do not know where we stand, while others are wanted.

        What these cover, too, was wanted all the time.
        """
        ended = NameSet(key for key in gone if key in self.unsure)
        ended.update(self.unsure_on)
        self.unsure.remove(gone)
        self.unsure_on = common(ended, wanted)

    def _waited(self, since: int, new: set[str]) -> NameSet:
        """Return the keys that were added after an epoch, and wait for their ready."""
        waited = NameSet(new)
        waited.update(key for at, keys in self._pending.items() if at > since for key in keys)
        return waited

    def _since(self, name: str) -> int | None:
        """Return since which epoch a name is wanted by keys that wait; 0: since one was in force.

        One may have come while another one still covered the name, which has ended.
        """
        there = [at for at, keys in self._pending.items() if NameSet(keys).covers(name)]
        since = min(there, default=None)
        for at, before, keys in reversed(self._ended):
            if since is not None and before < since <= at and keys.covers(name):
                since = before
        return since

    def _forget(self, gone: NameSet, waited: NameSet, epoch: int) -> None:
        """Drop the positions of what ``gone`` covers, and nothing in force or waited for."""
        covers = self.in_force.covers
        # A name that was used once goes at once, however many others there are.
        some = filter(gone.covers, list(self.positions)) if gone.patterns else gone.names
        for name in some:
            if name in self.positions and not (covers(name) or waited.covers(name)):
                self._leave(name, epoch)

    def _leave(self, name: str, epoch: int) -> None:
        """Follow an exchange no more; count apart what came of the latest of those alone."""
        self._left.pop(name, None)
        self._left[name] = self.positions.pop(name), epoch
        self._idle[name] = None
        while len(self._idle) > IDLE_MOST:
            self._fold(next(iter(self._idle)))

    def _fold(self, name: str) -> None:
        """Count what has come of an exchange with all others that are forgotten."""
        self._idle.pop(name, None)
        self.jumped.pop(name, None)
        tally = self.tallies.pop(name, None)
        if tally is not None:
            self.forgotten.add(tally)

    def forget(self, name: str, head: int) -> bool:
        """Forget an exchange as its origin has, up to a place; tell whether we have."""
        if self.positions.get(name, head) > head:
            return False  # it has started anew
        self.positions.pop(name, None)
        self._left.pop(name, None)
        self._fold(name)
        return True

    def counted(self) -> dict[str, ReceiveCounts]:
        """Return what has come, by exchange; under ``""`` what is forgotten. Any thread."""
        forgotten = {"": self.forgotten} if self.forgotten != ReceiveCounts() else {}
        return {**forgotten, **self.tallies}

    def start(self, name: str, start: int) -> None:
        """Count on from where an exchange starts that its origin had forgotten."""
        if self.positions.get(name, start) < start:
            self.positions[name] = start

    def ready(
        self,
        epoch: int,
        heads: Mapping[str, int],
        promised: Sequence[Promise] = (),
        starts: Mapping[str, int] = MappingProxyType({}),
    ) -> list[Gap]:
        """Take a ready: its epoch is in force; return what its heads show to be missing.

        ``starts`` is where exchanges start, if not at 0: nothing is missing before that.
        A gap whose first number is 0 has no known beginning, and is not asked for: where we
        stood was forgotten, because the peer was away for too long.
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

        Whoever wants one of them from here on is promised it at a later place.
        """
        for name, (_, left_at) in list(self._left.items()):
            if left_at > epoch:
                break
            del self._left[name]

    def permit(self, publish: Patterns, epoch: int) -> None:
        """Judge by something else what the peer may publish on: it has left, and is back.

        On what it might before and still may, it goes on. What it might not begins, as if it
        were wanted anew, with a ready of ``epoch`` at the earliest.
        """
        if publish == self.publish:
            return
        for name in [name for name in self.positions if not permitted(publish, name)]:
            self._leave(name, epoch)
        self._began = both(self._began, self.publish)
        self.publish, self._anew = publish, epoch

    def _track_at_heads(self, heads: Mapping[str, int]) -> None:
        """Begin with what the peer might not publish on before it left."""
        for name, head in heads.items():
            if name not in self.positions and self._takes(name) and not self._begins(name):
                self._track(name, head)
        self._began = None

    def lapse(self) -> None:
        """Forget where we stand with a peer that has been away for too long.

        What waits for its ready may have been promised by one that was lost: nobody knows it now.
        """
        self.unsure.update((*self.in_force, *self._waited(0, set())))
        for name in list(self.positions):
            self._leave(name, 0)
        self.positions, self._left, self.jumped = {}, {}, {}
        self._pending, self.in_force, self._ended = {}, NameSet(), []

    def outlived(self, account: int) -> bool:
        """Note which account a ready belongs to; tell whether our positions are of an earlier one.

        Then the peer had forgotten us, and we have not noticed that we were away: what it sent
        meanwhile has no numbers, or others. ``account`` is 0 if the ready does not say.
        """
        before, self.account = self.account, max(self.account, account)
        return 0 < before < account

    def begin_again(self) -> None:
        """Forget where we stand as `lapse` does, and wait for what we want: the peer is here."""
        wanted, waiting = set(self.in_force), self._pending
        self.lapse()
        self._pending = {0: wanted, **waiting}

    def count_together(self) -> None:
        """Count what has come of all exchanges that are not followed with those forgotten."""
        for name in list(self._idle):
            self._fold(name)

    def count_on(self, former: "ReceiveState") -> None:
        """Count on where those had counted that have lapsed: their peer is back."""
        self.tallies, self.forgotten, self._idle = former.tallies, former.forgotten, former._idle
        self.unwanted = former.unwanted
        self.unsure, self.unsure_on = former.unsure, former.unsure_on

    def give_up(self, name: str, last: int) -> Gap | None:
        """Count as lost what is missing up to a number, and go on behind it."""
        position = self.positions.get(name)
        if position is None or last <= position:
            return None
        self.positions[name] = last
        self.tallies[name].lost += last - position
        return Gap(name, position + 1, last)

    def where(self, name: str, start: int = 0) -> int | None:
        """Return where we stand on an exchange; None if its frames are not for us.

        ``start`` is where it starts. We may stand before that, if it had been forgotten.
        """
        position = self.positions.get(name)
        if position is None and self._begins(name):
            return self._track(name, start)
        return position

    def _takes(self, name: str) -> bool:
        """Tell whether an exchange is for us; what no exchange can be called is not."""
        here = self.in_force.covers(name) or (self._ended and self._since(name) == 0)
        return bool(here) and is_name(name) and self.admits(name)

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
        left, _ = self._left.pop(name, (position, 0))
        self._idle.pop(name, None)
        if position > left:
            self.jumped[name] = position
        position = max(position, left)
        self.positions[name] = position
        self.tallies.setdefault(name, ReceiveCounts())
        return position

    def receive(self, name: str, first: int, count: int) -> int:
        """Take the numbers of a frame whose turn it is; return how many leading values to skip.

        Its exchange is followed (see `where`), and nothing is missing before it.
        """
        skip = min(self.positions[name] + 1 - first, count)
        tally = self.tallies[name]
        tally.duplicates += skip
        tally.received += count - skip
        if skip < count:
            self.positions[name] = first + count - 1
        return skip


def count_together(former: Iterable[ReceiveState]) -> None:
    """Count what has come of peers that have left, the first of them first, by peer alone.

    Of all of them together so many exchanges are counted apart as of one that is here.
    """
    former = list(former)
    apart = sum(len(positions.tallies) for positions in former)
    for positions in former:
        if apart <= IDLE_MOST:
            break
        apart -= len(positions.tallies)
        positions.count_together()


def everything(name: str) -> bool:
    """Judge that an exchange counts, whatever its name."""
    return True


def _start(
    name: str,
    head: int,
    came: Mapping[int, Iterable[str]],
    promised: Sequence[Promise],
    wanted: int | None = None,
) -> int:
    """Return where an exchange that came into force starts: where it was first promised.

    That is the first announcement, lost perhaps, of an epoch in which a key of ours
    covered it already; what was promised to an earlier subscription is not for this one. It may
    be ``wanted`` since an earlier epoch, by keys that have ended.
    """
    if promised:
        since = min(at for at, keys in came.items() if NameSet(keys).covers(name))
        since = since if wanted is None else min(since, wanted)
        for promise in promised:
            if promise.epoch >= since:
                return min(head, promise.heads.get(name, head))
    return head
