"""Merges what one process sends in several federations: each message once, in order.

All nodes of a registry give a message the same number (`net/outbound/shared`). So a receiver that
meets their process in several federations gets each message several times. A *way* is the stream
from one of these nodes: it brings each exchange in order, and without holes except for ranges that
it reports as lost. The merger makes one sequence for each exchange from all ways of a process:

- The way that brings a number first wins. Other ways' messages with that number are dropped.
- Messages after a missing number are parked until another way brings it.
- A message that one way has lost is lost only if no other way may still bring it. The merger waits
  for ways that have not come so far, for ``patience`` seconds, or until too many bytes are parked.
  Then it reports the loss, once.
- Numbers that no way is known to have promised are passed over without a report, and remembered
  (`_Stream.gaps`). If a way brings some of them later, or loses them, they can no longer be handed
  on in order. They are reported as lost then, to the tasks that were there at the time (``mark``).

When an exchange begins, its ways may begin at different numbers. The lowest counts, so that nothing
is skipped that one of them has promised. So all ways are asked where they stand (`Merger.bring`
returns them, `Merger.answer` takes the answer), and waited for up to `OPENING` seconds.

The caller calls `Merger.next` until it returns None, carries out each step, and calls
`Merger.served` after it. `Merger.settled` corrects the counts of ways: it says what has become of
messages that they did not bring. Time is an argument, and messages are opaque.

The file is long because every step changes a `_Stream`: they can only be understood together.
"""

from bisect import insort
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from .conflation import PASSED_OVER

OPENING = 1.0
"""Seconds for ways to say where they stand on an exchange that begins."""
PARKED_MOST = 32 << 20
"""The most bytes of one process that are parked. Beyond half, slow ways are not waited for."""
GAPS_MOST = 64
"""The most gaps of an exchange that are remembered because no way had promised them."""
LATE = "by another federation later messages had come already"
FULL = "too much was waiting for another federation"
LEFT = "its origin has left"
SLOW = "not recovered in time"


@dataclass(frozen=True, slots=True)
class HandOn:
    """Hand on ``item``, which ``way`` has brought, from the number ``first`` on."""

    name: str
    way: Any
    first: int
    last: int
    item: Any


@dataclass(frozen=True, slots=True)
class TellLost:
    """Report that ``first`` to ``last`` will not come.

    ``mark`` is of the moment at which these numbers were passed over without a report: a task that
    was attached later has missed none of them. None if they are reported in their turn, to all.
    """

    name: str
    way: Any
    first: int
    last: int
    reason: str
    mark: int | None = None


Step = HandOn | TellLost


@dataclass(frozen=True, slots=True)
class Settled:
    """The fate of messages that a way did not bring, or brought too late.

    Attributes:
        name: the exchange.
        way: the way.
        counted: how the way has counted all of them: ``lost``, ``received`` or ``""`` for not.
        told: how many were reported as lost.
        filled: how many another way has brought.
    """

    name: str
    way: Any
    counted: str
    told: int
    filled: int


@dataclass(slots=True, order=True)
class _Part:
    first: int
    last: int
    way: Any = field(compare=False)
    item: Any = field(compare=False)
    size: int = field(compare=False)


@dataclass(slots=True)
class _Hole:
    first: int
    last: int
    way: Any
    reason: str
    counted: str
    told: int = 0
    mark: int | None = None


class _Gap(NamedTuple):
    first: int
    last: int
    mark: int


@dataclass(slots=True)
class _Stream:
    """One exchange.

    Attributes:
        base: no message up to this number is still to come in any federation.
        ways: by way, the number up to which it has brought, or lost, everything.
        starts: by way, where it began, until the beginning is decided for all.
        asked: the ways that have not yet said where they stand; they are waited for until
            ``until``.
        absent: the ways that do not carry the exchange. A way that is in none of ``ways``,
            ``asked`` and ``absent`` may still bring messages.
        owed: by way that has left and may come back, the number up to which it had come: it had
            promised what follows.
        taken: the last number that was handed on, or is being handed on; None before the beginning.
        done: the last number that was handed on completely.
        busy: whether a step that `Merger.next` has returned is being carried out.
        waits: until when a missing number is waited for; None if none is.
        gaps: the ranges that were passed over because no way was known to have promised them.
        late: what ways have brought or lost of these gaps since; to be reported as lost.
        forced: up to this number, missing messages are not waited for.
    """

    asked: set[Any]
    until: float
    base: int = 0
    ways: dict[Any, int] = field(default_factory=dict[Any, int])
    starts: dict[Any, int] = field(default_factory=dict[Any, int])
    absent: set[Any] = field(default_factory=set[Any])
    owed: dict[Any, int] = field(default_factory=dict[Any, int])
    taken: int | None = None
    done: int = 0
    forced: int = 0
    busy: bool = False
    waits: float | None = None
    parked: list[_Part] = field(default_factory=list[_Part])
    holes: list[_Hole] = field(default_factory=list[_Hole])
    late: list[_Hole] = field(default_factory=list[_Hole])
    gaps: list[_Gap] = field(default_factory=list[_Gap])

    def begin(self, at: int, began: int, mark: int) -> None:
        """Begin after number ``at``. From the base up to ``began``, all numbers are a gap."""
        self.taken = self.done = at
        self.gaps = [_Gap(self.base + 1, began, mark)] if began > self.base else []
        self.starts.clear()
        holes, self.holes = self.holes, []
        for part in self.parked:
            self.missed(_Hole(part.first, part.last, part.way, LATE, "received"))
        for hole in holes:
            self.holes += self.missed(hole)

    def missed(self, hole: _Hole) -> Iterator[_Hole]:
        """Move the part of a hole that lies in gaps to `late`; return the rest of the hole.

        That part is removed from the gaps, so that it is reported once.
        """
        before, self.gaps = self.gaps, []
        for first, last, mark in before:
            start, end = max(first, hole.first), min(last, hole.last)
            if start <= end:
                self.late.append(replace(hole, first=start, last=end, mark=mark))
            left = _without(first, last, [(hole.first, hole.last)])
            self.gaps += [_Gap(start, end, mark) for start, end in left]
        others = _without(hole.first, hole.last, [(gap.first, gap.last) for gap in before])
        return (replace(hole, first=start, last=end) for start, end in others)

    def passed_over(self, number: int) -> bool:
        """Return whether a newer message has replaced one, which is then not waited for."""
        return any(h.first <= number <= h.last and h.reason == PASSED_OVER for h in self.holes)

    def through(self, number: int) -> bool:
        """Return whether all that has come was handed on, and none of it is above a number."""
        waits = self.busy or self.parked or self.holes or self.late
        return not waits and self.taken is not None and self.taken <= number

    def known(self) -> int:
        """Return the highest number that any way has told of."""
        lasts = [part.last for part in self.parked] + [hole.last for hole in self.holes]
        return max([*self.ways.values(), *lasts, self.taken or 0])


class Merger:
    """All exchanges of one process. Not thread-safe: the caller has a lock.

    Args:
        patience: seconds for which messages that one way has lost are expected of the others.
        mark: returns a mark of this moment, higher than those of all tasks that are attached
            now, and lower than those of all that are attached later.
    """

    def __init__(self, patience: float, mark: Callable[[], int]) -> None:
        self.ways: set[Any] = set()
        self.waiting: set[str] = set()
        """The exchanges on which something waits for a way, or for time to pass."""
        self.settled: list[Settled] = []
        """The caller takes these away."""
        self.parked_bytes = 0
        self._patience, self._mark = patience, mark
        self.alone: set[Any] = set()
        """The ways that still hand on by themselves."""
        self._streams: dict[str, _Stream] = {}

    # ----------------------------------------------------------------------------- ways

    def join(self, way: Any, alone: bool = False) -> None:
        """Add a way; ``alone`` if it still hands on by itself, until `share`."""
        self.ways.add(way)
        if alone:
            self.alone.add(way)

    def resume(self, former: Any, way: Any, positions: Mapping[str, int]) -> None:
        """Take note that a new way continues where a former one was that has left.

        Args:
            former: the way that has left.
            way: the way that continues; `join` was called for it.
            positions: by exchange, up to where the former way has brought, or lost, everything.
        """
        for name, stream in self._streams.items():
            if stream.owed.pop(former, None) is not None and name in positions:
                stream.asked.discard(way)
                stream.ways[way] = positions[name]

    def lapse(self, way: Any) -> None:
        """Take note that a way that has left will not continue where it was."""
        for stream in self._streams.values():
            stream.owed.pop(way, None)

    def share(self, way: Any, handed: Mapping[str, tuple[int, int]], mark: int) -> None:
        """Take note that a way no longer hands on by itself.

        Args:
            way: the way.
            handed: by exchange, where it began, and up to where it has handed on.
            mark: a mark of a moment before any of that.
        """
        self.alone.discard(way)
        for name, (began, at) in handed.items():
            stream = self._streams.setdefault(name, _Stream(set(), 0.0))
            if stream.taken is None:
                stream.begin(at, began, mark)
            stream.asked.discard(way)
            stream.ways[way] = at
            self.waiting.add(name)

    def leave(self, way: Any, final: bool) -> None:
        """Take note that a way has ended: for good, or (not ``final``) perhaps for a while."""
        self.ways.discard(way)
        self.alone.discard(way)
        for name, stream in self._streams.items():
            stream.asked.discard(way)
            stream.absent.discard(way)
            at = stream.ways.pop(way, None)
            if at is not None and not final:
                first, last = max(at, stream.taken or 0) + 1, stream.known()
                if first <= last:
                    stream.holes.append(_Hole(first, last, way, LEFT, ""))
                stream.owed[way] = at
            if stream.parked or stream.holes:
                self.waiting.add(name)
        for name in [n for n, s in self._streams.items() if not s.ways and s.through(s.base)]:
            self._remove(name)

    def drop(self, way: Any, name: str) -> None:
        """Take note that an exchange is no longer wanted from a way."""
        stream = self._streams.get(name)
        if stream is None:
            return
        stream.absent.add(way)
        self._end(way, name, stream)

    def forgotten(self, way: Any, name: str, head: int) -> None:
        """Take note that the process has forgotten an exchange up to a number, as a way reports.

        So everything up to there has arrived by every way on which it was sent.
        """
        stream = self._streams.get(name)
        if stream is not None:
            stream.base = max(stream.base, head)
            self._end(way, name, stream)

    def based(self, name: str, base: int) -> None:
        """Take note that no message up to a number is still to come on an exchange."""
        stream = self._streams.get(name)
        if stream is not None:
            stream.base = max(stream.base, base)
            self.waiting.add(name)

    def _end(self, way: Any, name: str, stream: _Stream) -> None:
        """Stop expecting an exchange of a way; forget the exchange if no way brings it."""
        stream.asked.discard(way)
        stream.ways.pop(way, None)
        if stream.ways:
            self.waiting.add(name)  # something may have waited for this way
        else:
            self._remove(name)

    def _remove(self, name: str) -> None:
        stream = self._streams.pop(name)
        self.parked_bytes -= sum(part.size for part in stream.parked)
        self.waiting.discard(name)

    def answer(self, way: Any, name: str, at: int | None) -> None:
        """Take the answer of a way that was asked where it stands; None if it has no position."""
        stream = self._streams.get(name)
        if stream is None or way not in stream.asked:
            return
        stream.asked.discard(way)
        if at is None:
            stream.absent.add(way)
        else:
            stream.ways[way] = stream.starts[way] = at
        self.waiting.add(name)

    # ------------------------------------------------------------------------- what comes

    def bring(
        self,
        way: Any,
        name: str,
        first: int,
        last: int,
        item: Any,
        size: int,
        now: float,
        base: int = 0,
    ) -> list[Any]:
        """Take the next messages of a way.

        Args:
            way: the way.
            name: the exchange.
            first: the number of the first message, one above the last that the way brought or lost.
            last: the number of the last message.
            item: the messages.
            size: the bytes that they take.
            now: seconds on a monotonic clock.
            base: no message up to this number is still to come in any federation.

        Returns:
            The ways that are to be asked where they stand, and to `answer`.
        """
        stream, asked = self._follow(way, name, first, last, now, base)
        taken = stream.taken
        stream.missed(_Hole(first, last, way, LATE, "received"))
        if taken is None or last > taken:
            held_up = stream.busy or taken is None or first > taken + 1
            if held_up and self.parked_bytes + size > PARKED_MOST:
                stream.holes.append(_Hole(first, last, way, FULL, "received"))
            else:
                insort(stream.parked, _Part(first, last, way, item, size))
                self.parked_bytes += size
        return asked

    def lose(
        self,
        way: Any,
        name: str,
        first: int,
        last: int,
        reason: str,
        now: float,
    ) -> list[Any]:
        """Take note that a way has lost its next messages. Arguments and result as in `bring`."""
        stream, asked = self._follow(way, name, first, last, now)
        stream.holes += stream.missed(_Hole(first, last, way, reason, "lost"))
        return asked

    def _follow(
        self, way: Any, name: str, first: int, last: int, now: float, base: int = 0
    ) -> tuple[_Stream, list[Any]]:
        """Note how far a way has come on an exchange; begin the exchange if it is new."""
        stream, asked = self._streams.get(name), list[Any]()
        if stream is None:
            asked = [other for other in self.ways if other != way]
            stream = self._streams[name] = _Stream(set(asked), now + OPENING, base)
            if first == base + 1 and not self.alone:
                stream.begin(base, base, 0)  # it is the first message that any way can bring
        stream.base = max(stream.base, base)
        if stream.taken is None:
            stream.starts.setdefault(way, first - 1)
        stream.asked.discard(way)
        stream.absent.discard(way)
        stream.ways[way] = last
        self.waiting.add(name)
        return stream, asked

    # ------------------------------------------------------------------------ what leaves

    def next(self, name: str, now: float) -> Step | None:
        """Return the next step on an exchange, or None; call `served` when the step is done."""
        stream = self._streams.get(name)
        if stream is None or stream.busy or not self._begun(stream, now):
            return None
        if stream.late:
            return self._tell_late(name, stream)
        while True:
            assert stream.taken is not None
            self._tidy(name, stream, stream.taken)
            following, part = stream.taken + 1, stream.parked[0] if stream.parked else None
            if part is not None and part.first <= following:
                return self._hand_on(name, stream, part)
            last = part.first - 1 if part else max((h.last for h in stream.holes), default=0)
            if last < following:
                stream.waits = None
                self.waiting.discard(name)
                return None
            if following <= stream.base:  # no way will bring it
                last, behind, coming = min(last, stream.base), False, False
            elif stream.passed_over(following):
                behind, coming = True, False  # a way that is behind is not waited for
            else:
                behind = any(at < following for at in stream.ways.values())
                coming = behind or not self.ways <= stream.ways.keys() | stream.absent
            if coming and self._patient(stream, following, last, now):
                return None
            step = self._skip(name, stream, last, behind)
            if step is not None:
                return step

    def served(self, name: str) -> None:
        """Take note that the step that `next` returned is done."""
        stream = self._streams.get(name)
        if stream is not None:
            stream.busy = False
            stream.done = stream.taken or 0

    def _begun(self, stream: _Stream, now: float) -> bool:
        """Return whether an exchange has begun. It begins when all ways have answered, or late."""
        if stream.asked and now >= stream.until:
            stream.asked &= self.alone
        if stream.taken is None and not stream.asked:
            start = min(stream.starts.values(), default=0)
            stream.begin(start, start, self._mark())
        return stream.taken is not None

    def _tell_late(self, name: str, stream: _Stream) -> TellLost:
        hole = stream.late.pop(0)
        count = hole.last - hole.first + 1
        self.settled.append(Settled(name, hole.way, hole.counted, count, 0))
        stream.busy = True
        return TellLost(name, hole.way, hole.first, hole.last, hole.reason, hole.mark)

    def _hand_on(self, name: str, stream: _Stream, part: _Part) -> HandOn:
        del stream.parked[0]
        self.parked_bytes -= part.size
        first, stream.taken = (stream.taken or 0) + 1, part.last
        stream.waits, stream.busy = None, True
        return HandOn(name, part.way, first, part.last, part.item)

    def _tidy(self, name: str, stream: _Stream, taken: int) -> None:
        """Drop parked messages up to ``taken``; settle the holes up to there."""
        while stream.parked and stream.parked[0].last <= taken:
            self.parked_bytes -= stream.parked.pop(0).size
        for hole in [hole for hole in stream.holes if hole.last <= taken]:
            stream.holes.remove(hole)
            filled = hole.last - hole.first + 1 - hole.told
            self.settled.append(Settled(name, hole.way, hole.counted, hole.told, filled))

    def _patient(self, stream: _Stream, following: int, last: int, now: float) -> bool:
        """Return whether to wait longer for what is missing."""
        if stream.waits is None:
            stream.waits = now + self._patience
        if following > stream.forced and (
            now >= stream.waits or self.parked_bytes > PARKED_MOST // 2
        ):
            stream.forced = last
        return following > stream.forced

    def _skip(self, name: str, stream: _Stream, last: int, forced: bool) -> TellLost | None:
        """Pass over numbers that will not come; return a report if some way had promised them.

        ``forced``: a way may still bring them, but was waited for long enough.
        """
        first = (stream.taken or 0) + 1
        gone = [way for way, at in stream.owed.items() if at < first and first > stream.base]
        if not forced and not gone:
            others = [*stream.ways.values(), *(at for at in stream.owed.values() if at >= first)]
            last = min([last, *(max(at, stream.base) for at in others)])
        lost = [hole for hole in stream.holes if hole.first <= first <= hole.last]
        ahead = [hole.first - 1 for hole in stream.holes if hole.first > first]
        last = min([last, *ahead, *(hole.last for hole in lost)])
        stream.taken, stream.waits = last, None
        for hole in lost:
            hole.told += last - first + 1
        if not lost and not forced and not gone:
            stream.done = last  # no way is known to have promised it
            if last > stream.base:
                stream.gaps = [*stream.gaps, _Gap(first, last, self._mark())][-GAPS_MOST:]
            return None
        stream.busy = True
        if lost:
            return TellLost(name, lost[0].way, first, last, lost[0].reason)
        if forced:
            slowest = min(stream.ways, key=stream.ways.__getitem__)
            return TellLost(name, slowest, first, last, SLOW)
        return TellLost(name, gone[0], first, last, LEFT)

    # --------------------------------------------------------------------- where it stands

    def given(self, name: str, at: int) -> int:
        """Return the number that a way whose position is ``at`` may acknowledge; 0 for none yet.

        Everything up to it was handed on.
        """
        stream = self._streams.get(name)
        if stream is None:
            return at
        return min(at, stream.done) if stream.taken is not None else 0

    def knows(self, name: str) -> bool:
        """Return whether any way has told of an exchange."""
        return name in self._streams

    def handed(self, name: str) -> int:
        """Return the last number that was handed on, or is being handed on; 0 if not known."""
        stream = self._streams.get(name)
        return (stream.taken or 0) if stream is not None else 0

    def quiet(self, at: Callable[[str], int]) -> bool:
        """Return whether the only way that is left may hand on by itself: nothing is above it.

        ``at`` returns its position on an exchange. If it has none, that is 0 if the exchange may
        still come, and else the highest number.
        """
        return len(self.ways) == 1 and all(
            stream.through(max(at(name), stream.base)) for name, stream in self._streams.items()
        )

    def forget(self) -> None:
        """Forget all exchanges: the way that is left hands on by itself."""
        self._streams.clear()
        self.waiting.clear()


def _without(first: int, last: int, ranges: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield the parts of a range that are in none of some other ranges, which do not overlap."""
    for start, end in sorted(ranges):
        if first <= end and start <= last:
            if first < start:
                yield first, start - 1
            first = end + 1
    if first <= last:
        yield first, last
