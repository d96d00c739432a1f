"""A share: the messages of this process to one group on one exchange.

Any thread sends, members report from threads of their own, and a send may happen in a signal
handler inside any of these. So nobody waits here. Each event is appended to a list. The thread that
then gets the lock tells the queue all events, hands out what can be, and looks again after it has
released the lock. Handing out calls no code of the program: a member of this process has a mailbox,
and one elsewhere is sent a frame.
"""

import threading
from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from itertools import count
from typing import Any, Protocol

from ...errors import MailboxFull
from ...groups.intake import Progress
from ...groups.queue import MOST, GroupQueue, Job
from ..process import finalizers
from ..process.fork import track
from ..process.logs import log
from ..tasks.dispatch import Backpressure
from ..tasks.noted import NO_HEADERS
from ..tasks.snapshots import settled
from ..typed.declared_type import DeclaredType

OWED_MOST = 100_000
"""Messages that may wait for members of a group before senders wait."""
OWED_BYTES = 64 << 20
"""Bytes of messages, once encoded, that may wait for members of a group before senders wait."""
LIMIT_MOST = MOST
"""The most messages that ``ahead=`` may let a member have at a time."""
TOGETHER = 32
"""Messages for each member that are sent together while all members have work."""
GRACE = 0.5
"""Seconds for which the report of a member elsewhere is waited for that has left. It comes by
another connection than the news of that."""
ROOM_AFTER = 0.05
"""Seconds after which a sender that waits for room looks again in any case."""

IDLE = 60.0
"""Seconds after which a group is forgotten that was sent nothing, and has done everything."""

_stints = count(1)


class Parcel(Job):
    """One message for a group, at its sender.

    Attributes:
        declared: the type of its exchange, if that has one.
        headers: its headers.
        sent_at: when it was sent, in seconds since the epoch.
        number: which of the messages of this sender to this group it is.
        body: the encoded message, None until a member elsewhere may get it.
    """

    __slots__ = ("body", "declared", "headers", "number", "sent_at")

    def __init__(
        self,
        msg: object,
        headers: Mapping[str, Any],
        sent_at: float,
        declared: DeclaredType | None,
        number: int,
    ) -> None:
        self.msg = msg
        self.size = 0
        self.redelivered = False
        self.declared = declared
        self.headers = headers
        self.sent_at = sent_at
        self.number = number
        self.body: Any = None


class Receiver(Protocol):
    """A member as its senders see it, here or elsewhere.

    Attributes:
        key: the name or pattern that the member is attached to.
        group: the name of its group.
        ahead: how many jobs it may have at a time; 0 if senders decide.
    """

    key: str
    group: str
    ahead: int

    @property
    def number(self) -> int:
        """The number of the member in its process."""
        ...

    @property
    def identity(self) -> Hashable:
        """Identifies the member, by whatever federation it is met."""
        ...

    @property
    def encodes(self) -> Callable[[Parcel], int] | None:
        """Encodes a parcel, and returns its size in bytes; None for a member of this process."""
        ...

    @property
    def admits(self) -> Callable[[str], bool]:
        """Returns whether the member may get messages of an exchange; outlives the member."""
        ...

    def hand(self, share: "Share", stint: int, first: int, jobs: Sequence[Parcel]) -> None:
        """Hand jobs to the member. Any thread; a lock is held, so this calls no foreign code."""


class Share:
    """The messages of this process to one group on one exchange.

    Args:
        name: of the exchange.
        group: the name of the group.
        monotonic: the clock, in seconds.
        event: makes an event by which senders wait.
        may_wait: returns whether the calling thread may wait for members.
        lost: called with the numbers of the first and the last of some jobs that are lost.
        alone_since: since when there has been no member, by that clock.
    """

    def __init__(
        self,
        name: str,
        group: str,
        monotonic: Callable[[], float],
        event: Callable[[], threading.Event],
        may_wait: Callable[[], bool],
        lost: Callable[["Share", int, int], None],
        alone_since: float,
    ) -> None:
        self.name = name
        self.group = group
        self._monotonic = monotonic
        self._event = event
        self._may_wait = may_wait
        self._lost = lost
        self.room = _Room(self)
        track(self)._begin(alone_since)

    def _after_fork(self) -> None:
        """Leave all jobs to the parent, which has them as well."""
        self._begin(self._monotonic())

    def _begin(self, alone_since: float) -> None:
        """Begin with nothing."""
        self._queue: GroupQueue[int, Parcel] = GroupQueue(OWED_MOST, OWED_BYTES, alone_since)
        self._events = deque[Callable[[float], None]]()
        self._gone = deque[Parcel]()
        self._done = list[Parcel]()
        """Messages that were handled, to be released with no lock held."""
        self._bare = deque[Parcel]()
        """Messages that were sent before it was known that they have to be encoded."""
        self._receivers: dict[int, Receiver] = {}
        self._retired: dict[int, float] = {}
        """The stints of members that have left, and may still report, and since when."""
        self._lock = threading.Lock()
        self._try_lock = partial(self._lock.acquire, False)
        self.numbers = count(1)
        self._roomy = self._event()
        self._arrived = deque[Parcel]()
        """The messages that were sent and are not in the queue yet."""
        self._hungry, self._crowded = True, False
        """Whether a member has nothing to do; and whether senders are to wait."""
        self._together = TOGETHER
        self._encode: Callable[[Parcel], int] | None = None
        self._sent_at = self._monotonic()
        self.over = False
        """Whether it is no more: the group has ended, or nothing was sent to it for long."""
        self.lost = self.redelivered = self.handled = 0

    def __repr__(self) -> str:
        return f"<group {self.group!r} of exchange {self.name!r}>"

    # ------------------------------------------------------------------ senders, any thread

    def send(self, parcel: Parcel) -> Backpressure | None:
        """Owe a message to the group, and hand it on if a member has room for it.

        Raises:
            EncodeError: a member is in another process, and the message cannot be sent there.
            MailboxFull: too much is owed, and this thread must not wait.
        """
        if self._encode is not None:
            parcel.size = self._encode(parcel)
        if self._crowded and not self._may_wait():
            raise MailboxFull(
                f"group {self.group!r} of exchange {self.name!r} is {self.owed} messages behind,"
                " and this thread must not wait for it"
            )
        arrived = self._arrived
        arrived.append(parcel)
        # Only then: the thread that sets `_hungry` looks at what has arrived after that. A member
        # that has work gets more when it reports, together with all that has come until then: a
        # frame costs as much as ten messages in it.
        if self._hungry or len(arrived) >= self._together:
            self.pump()
        return self.room if self._crowded else None

    def _take_arrived(self, now: float) -> None:
        """Owe what was sent. The caller holds the lock."""
        arrived, new = self._arrived, list[Parcel]()
        for _ in range(len(arrived)):
            new.append(arrived.popleft())
        if self._encode is not None and None in [parcel.body for parcel in new]:
            self._bare += [parcel for parcel in new if parcel.body is None]
            new = [parcel for parcel in new if parcel.body is not None]
        if new:
            self._sent_at = now
            self._gone += self._queue.put(*new)

    # ---------------------------------------------------------------- members, any thread

    def join(self, receiver: Receiver) -> None:
        """Hand messages to a member from now on."""
        encode = receiver.encodes
        if encode is not None and self._encode is None:
            self.pump()
            self._encode = encode
            # What is under way here may come back, and then go there.
            for job in self._queue.all:
                self._try_to_encode(encode, job)
            self._events.append(self._measure)
        self._events.append(partial(self._join, receiver))

    def _try_to_encode(self, encode: Callable[[Parcel], int], job: Parcel) -> None:
        try:
            encode(job)
        except Exception as error:
            log.warning("%r: a message cannot go to another process: %s", self, error)

    def _measure(self, now: float) -> None:
        """Give up what is owed and cannot go to another process, now that a member may be there."""
        self._gone += self._queue.measure(_encoded_size)

    def _encode_late(self, encode: Callable[[Parcel], int]) -> None:
        """Encode what was sent just when the first member elsewhere came; with no lock held."""
        while self._bare:
            try:
                job = self._bare.popleft()
            except IndexError:  # another thread was faster
                break
            self._try_to_encode(encode, job)
            size = _encoded_size(job)
            if size is None:
                self._gone.append(job)
            else:
                job.size = size
                self._arrived.append(job)

    def _join(self, receiver: Receiver, now: float) -> None:
        there = [r for stint, r in self._receivers.items() if stint not in self._retired]
        if all(present.identity != receiver.identity for present in there):
            stint = next(_stints)
            self._receivers[stint] = receiver
            self._queue.join(stint, now, receiver.ahead)

    def leave(self, receiver: Receiver) -> None:
        """Hand nothing more to a member, and soon what it has not done to others."""
        self._events.append(partial(self._leave, receiver))

    def _leave(self, receiver: Receiver, now: float) -> None:
        for stint, present in list(self._receivers.items()):
            if present is receiver:
                if self._queue.retire(stint) and receiver.encodes is not None:
                    self._retired.setdefault(stint, now)
                else:
                    self._end_stint(stint, now)

    def _end_stint(self, stint: int, now: float) -> None:
        self.redelivered += self._queue.at(stint)
        receiver = self._receivers.pop(stint, None)
        self._retired.pop(stint, None)
        self._queue.leave(stint, now)
        if self._encode is not None and receiver is not None and receiver.encodes is None:
            self._measure(now)

    def told(self, progress: Progress) -> None:
        """Take what a member says of its jobs."""
        self._events.append(partial(self._told, progress))
        self.pump()

    def _told(self, progress: Progress, now: float) -> None:
        stint, queue = progress.stint, self._queue
        receiver = self._receivers.get(stint)
        if receiver is None:
            return  # it has left, and others do its jobs
        done = queue.done(stint, progress.done, progress.work, now)
        self.handled += len(done)
        self._done += done
        if progress.ended:
            self._end_stint(stint, now)
        elif progress.missed:
            self._send_again(stint, receiver, progress.got, now)
        else:
            queue.heard(stint, now)

    def _send_again(self, stint: int, receiver: Receiver, got: int, now: float) -> None:
        again = self._queue.missed(stint, got, now)
        if again is None:  # it has forgotten what it told us: begin afresh
            self._end_stint(stint, now)
            self._join(receiver, now)
        elif again[1]:
            receiver.hand(self, stint, *again)

    # ---------------------------------------------------------------------------- time

    def tick(self) -> None:
        """Send again what is not confirmed, and give up what nobody takes. Any thread."""
        if self._rests:
            return
        self._events.append(self._tick)
        self.pump()

    @property
    def _rests(self) -> bool:
        """Whether there is nothing to look at: it has members, and all that was sent is handled."""
        queue = self._queue
        busy = self._arrived or self._events or self._retired or len(queue) or queue.under_way
        lately = self._monotonic() - self._sent_at < IDLE
        return not busy and lately and bool(self._receivers)

    def _tick(self, now: float) -> None:
        queue = self._queue
        for stint in [stint for stint in queue.silent(now) if stint not in self._retired]:
            # Only its newest job: if it misses others before, it says so.
            receiver, last = self._receivers[stint], queue.last(stint)
            again = queue.missed(stint, last - 1, now)
            if again is not None:
                receiver.hand(self, stint, *again)
        for stint, since in list(self._retired.items()):
            if now - since >= GRACE:
                self._end_stint(stint, now)
        left = queue.expire(now)
        if left is not None:
            self.over = True
            self._gone += left
        elif now - self._sent_at >= IDLE and not (len(queue) or queue.under_way or self._arrived):
            self.over = True

    # ------------------------------------------------------------------------ the queue

    def pump(self) -> None:
        """Tell the queue what has happened, and hand out what can be. Any thread."""
        try_lock = self._try_lock
        done = list[Parcel]()
        while self._events or self._arrived:
            held = False
            try:
                # Not `acquire`, then `try`: a signal handler could raise in between.
                for held in iter(try_lock, False):  # noqa: B007
                    self._settle()
                    done, self._done = self._done, []
                    break
            finally:
                if held:
                    self._lock.release()
            done.clear()  # this releases the messages, which may run code of the program
            if not held:
                return  # the thread that has the lock looks again
            if not self._hungry and not self._events and len(self._arrived) < self._together:
                break
        if self._encode is not None and self._bare:
            self._encode_late(self._encode)
            self.pump()
        if self._gone:
            self._report()

    def _settle(self) -> None:
        """Tell the queue all events, then hand out. The caller holds the lock."""
        now, events, queue = self._monotonic(), self._events, self._queue
        self._take_arrived(now)
        while events:
            events.popleft()(now)
        for stint, first, jobs in queue.assign(now):
            self._receivers[stint].hand(self, stint, first, jobs)
        self._hungry = queue.hungry or not self._receivers
        self._together = TOGETHER * max(1, min(len(self._receivers), TOGETHER))
        self._crowded = queue.full and bool(self._receivers)
        if not self._crowded:
            self._roomy.set()

    def _report(self) -> None:
        """Count and tell which messages are lost; called with no lock held."""
        numbers = list[int]()
        while self._gone:
            try:
                job = self._gone.popleft()
            except IndexError:  # another thread was faster
                break
            numbers.append(job.number)
        if not numbers:
            return
        if not self.lost:
            log.warning("%r: messages that no member took are lost, and counted", self)
        self.lost += len(numbers)
        for first, last in _runs(sorted(numbers)):
            self._lost(self, first, last)

    # ------------------------------------------------------------------------- looking

    @property
    def travels(self) -> bool:
        """Whether members in other processes have had a part in it."""
        return self._encode is not None

    def flushed(self) -> Callable[[], bool]:
        """Return a function that returns whether all that was sent before this call is handled."""
        goals = list[int]()

        def note(now: float) -> None:
            goals.append(self.handled + self.lost + self._queue.under_way + len(self._queue))

        self._events.append(note)
        self.pump()
        return lambda: self.over or (bool(goals) and self.handled + self.lost >= goals[0])

    @property
    def members(self) -> int:
        """How many members there are."""
        return len(self._receivers) - len(self._retired)

    def has(self, stint: int) -> bool:
        """Return whether a stint is in use."""
        return stint in self._receivers and not self.over

    @property
    def owed(self) -> int:
        """How many messages no member has yet."""
        return len(self._queue) + len(self._arrived)

    @property
    def under_way(self) -> int:
        """How many messages members have, and have not done."""
        return self._queue.under_way

    @property
    def full(self) -> bool:
        """Whether senders wait."""
        return self._crowded

    def wait_for_room(self) -> None:
        """Wait until less is owed. Any thread that may wait."""
        while self.full and self._may_wait():
            self._roomy.clear()
            if self.full:
                self._roomy.wait(ROOM_AFTER)


class _Room(Backpressure):
    """The wait of a sender to a group that is owed much."""

    __slots__ = ("_share",)

    def __init__(self, share: Share) -> None:
        self._share = share

    def wait(self) -> None:
        """Wait until less is owed to the group."""
        self._share.wait_for_room()


class Shares(Protocol):
    """The roster, as its senders use it."""

    due_at: float

    def tick(self) -> None:
        """Let time pass."""

    def share(self, name: str, group: str) -> Share:
        """Return what is sent to a group on an exchange."""
        ...


class Sender:
    """The target by which an exchange sends to a group."""

    __slots__ = ("_declared", "_roster", "_share", "_time")

    def __init__(
        self,
        share: Share,
        time: Callable[[], float],
        declared: DeclaredType | None,
        roster: Shares,
    ) -> None:
        self._share = share
        self._time = time
        self._declared = declared
        self._roster = roster

    def __call__(self, msg: object, headers: Mapping[str, Any] | None = None) -> object:
        """Send one message to the group."""
        msg = settled(msg)
        if finalizers.collecting is not None and finalizers.later(self, msg, message=True):
            return None
        share, now = self._share, self._time()
        if now >= self._roster.due_at:
            self._roster.tick()
        if share.over:  # it was idle for long
            share = self._share = self._roster.share(share.name, share.group)
        number = next(share.numbers)
        return share.send(Parcel(msg, headers or NO_HEADERS, now, self._declared, number))


def _encoded_size(job: Parcel) -> int | None:
    return None if job.body is None else len(job.body)


def _runs(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Return the first and last of each run of consecutive numbers."""
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number - 1:
            runs[-1] = runs[-1][0], number
        else:
            runs.append((number, number))
    return runs
