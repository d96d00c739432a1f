"""What one process sends by several federations, made one sequence: each message once, in order.

The nodes of one registry number a message alike (`net/outbound/shared`). A *way* is what one of
them brings: in order, and without holes but for those that it says are lost. Here the ways of one
process become one sequence for each exchange. Whichever brings a number first, it is handed on
from there; what the others bring of it is dropped. What one way has lost is lost only if no
other may still bring it, and is told once.

Where an exchange begins, the ways may begin at different numbers. The lowest counts, so that
nothing is skipped that one of them has promised: so all are asked where they stand, and are
waited for, for a moment. Time is an argument, and nobody here knows what a message is.

One file, though a long one: steps change one `_Stream` in turn, and are understood together.
"""

from bisect import insort
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

OPENING = 1.0
"""Seconds for ways to say where they stand on an exchange that begins."""
PARKED_MOST = 32 << 20
"""Bytes of one process that wait for a slower way before that is waited for no longer."""
GAPS_MOST = 64
"""Gaps remembered of an exchange that were left out, since nobody had promised them."""
LATE = "by another federation later messages had come already"
FULL = "too much was waiting for another federation"
LEFT = "its origin has left"
SLOW = "not recovered in time"


@dataclass(frozen=True, slots=True)
class HandOn:
    """Hand on what ``way`` has brought, from the number ``first`` on."""

    name: str
    way: Any
    first: int
    last: int
    item: Any


@dataclass(frozen=True, slots=True)
class TellLost:
    """Tell that ``first`` to ``last`` will not come.

    ``mark`` is of the moment at which that was passed over without a word: no task that was
    attached later has missed any of it. None if it is told in its place, to all.
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
    """What has become of messages that a way has not brought: so many lost, so many ``filled``.

    ``counted`` is what the way has counted all of them as: ``lost``, ``received`` or nothing.
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
        base: up to here nothing will come by any way that has not.
        ways: up to which number each has brought, or lost, everything.
        starts: where each began, until that is decided for all.
        asked: who has not said yet where it stands; counts until ``until``.
        absent: who does not carry it. Whoever is in none of these may bring something still.
        owed: up to which number each had come that has left and may be back: what follows was
            promised by it.
        taken: the last number that was handed on, or is being so; None before the beginning.
        done: the last number that has been handed on.
        gaps: what was left out, since nobody was known to have promised it.
        late: what some way brings of that, and is to be told as lost.
        forced: up to here nothing is waited for.
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
        """Go on after a number; what is before ``began`` was left out, but for what cannot come."""
        self.taken = self.done = at
        self.gaps = [_Gap(self.base + 1, began, mark)] if began > self.base else []
        self.starts.clear()
        holes, self.holes = self.holes, []
        for part in self.parked:
            self.missed(_Hole(part.first, part.last, part.way, LATE, "received"))
        for hole in holes:
            self.holes += self.missed(hole)

    def missed(self, hole: _Hole) -> Iterator[_Hole]:
        """Have told as lost what was left out, once; return what of it was not."""
        before, self.gaps = self.gaps, []
        for first, last, mark in before:
            start, end = max(first, hole.first), min(last, hole.last)
            if start <= end:
                self.late.append(replace(hole, first=start, last=end, mark=mark))
            left = _without(first, last, [(hole.first, hole.last)])
            self.gaps += [_Gap(start, end, mark) for start, end in left]
        others = _without(hole.first, hole.last, [(gap.first, gap.last) for gap in before])
        return (replace(hole, first=start, last=end) for start, end in others)

    def through(self, number: int) -> bool:
        """Return whether all that has come is handed on, and is not above a number."""
        waits = self.busy or self.parked or self.holes or self.late
        return not waits and self.taken is not None and self.taken <= number

    def known(self) -> int:
        """Return the highest number that is known of."""
        lasts = [part.last for part in self.parked] + [hole.last for hole in self.holes]
        return max([*self.ways.values(), *lasts, self.taken or 0])


class Merger:
    """All exchanges of one process. Not thread-safe.

    Args:
        patience: seconds for which what one way has lost is waited for by the others.
        mark: returns a mark of this moment, higher than those of all tasks that are attached
            now, and lower than those of all that are attached later.
    """

    def __init__(self, patience: float, mark: Callable[[], int]) -> None:
        self.ways: set[Any] = set()
        self.waiting: set[str] = set()
        """The exchanges on which something waits, for a way or for time to pass."""
        self.settled: list[Settled] = []
        """To be taken away by the caller."""
        self.parked_bytes = 0
        self._patience, self._mark = patience, mark
        self.alone: set[Any] = set()
        """Those that hand on by themselves still."""
        self._streams: dict[str, _Stream] = {}

    # ----------------------------------------------------------------------------- ways

    def join(self, way: Any, alone: bool = False) -> None:
        """Take in one more way; ``alone`` if it still hands on by itself, until `share`."""
        self.ways.add(way)
        if alone:
            self.alone.add(way)

    def resume(self, former: Any, way: Any, positions: Mapping[str, int]) -> None:
        """Take note that a way goes on where one was that has left.

        Args:
            former: the one that has left.
            way: the one that goes on, after `join`.
            positions: by exchange, up to where the former has brought, or lost, everything.
        """
        for name, stream in self._streams.items():
            if stream.owed.pop(former, None) is not None and name in positions:
                stream.asked.discard(way)
                stream.ways[way] = positions[name]

    def lapse(self, way: Any) -> None:
        """Take note that a way that has left will not go on where it was."""
        for stream in self._streams.values():
            stream.owed.pop(way, None)

    def share(self, way: Any, handed: Mapping[str, tuple[int, int]], mark: int) -> None:
        """Take note that a way hands on nothing by itself any more.

        Args:
            way: which.
            handed: by exchange, where it began, and up to where it has handed on.
            mark: of a moment before any of that.
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
        """Take note that nothing more comes by a way: for good, or for now."""
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
        """Take note that an exchange is not wanted of a way any more."""
        stream = self._streams.get(name)
        if stream is None:
            return
        stream.absent.add(way)
        self._end(way, name, stream)

    def forgotten(self, way: Any, name: str, head: int) -> None:
        """Take word by a way that its process has forgotten an exchange, up to a number.

        So all that was sent up to there has come by every way that it was for.
        """
        stream = self._streams.get(name)
        if stream is not None:
            stream.base = max(stream.base, head)
            self._end(way, name, stream)

    def based(self, name: str, base: int) -> None:
        """Take word that up to a number nothing will come on an exchange that has not."""
        stream = self._streams.get(name)
        if stream is not None:
            stream.base = max(stream.base, base)
            self.waiting.add(name)

    def _end(self, way: Any, name: str, stream: _Stream) -> None:
        """Have a way bring no more of an exchange for now; forget one that no way brings."""
        stream.asked.discard(way)
        stream.ways.pop(way, None)
        if stream.ways:
            self.waiting.add(name)  # the way may be waited for no longer
        else:
            self._remove(name)

    def _remove(self, name: str) -> None:
        stream = self._streams.pop(name)
        self.parked_bytes -= sum(part.size for part in stream.parked)
        self.waiting.discard(name)

    def answer(self, way: Any, name: str, at: int | None) -> None:
        """Take word of where a way stands on an exchange; None if it does not carry it."""
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
        """Take what a way has brought next.

        Args:
            way: which.
            name: of the exchange.
            first: the number of the first message, right behind what the way brought before.
            last: the number of the last.
            item: the messages.
            size: the bytes that these take.
            now: seconds on a monotonic clock.
            base: up to there nothing will come by any way that has not.

        Returns:
            The ways that are to `answer` where they stand.
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
        """Take word that a way will not bring what comes next; otherwise as `bring`."""
        stream, asked = self._follow(way, name, first, last, now)
        stream.holes += stream.missed(_Hole(first, last, way, reason, "lost"))
        return asked

    def _follow(
        self, way: Any, name: str, first: int, last: int, now: float, base: int = 0
    ) -> tuple[_Stream, list[Any]]:
        """Note how far a way has come on an exchange, which may begin with that."""
        stream, asked = self._streams.get(name), list[Any]()
        if stream is None:
            asked = [other for other in self.ways if other != way]
            stream = self._streams[name] = _Stream(set(asked), now + OPENING, base)
            if first == base + 1 and not self.alone:
                stream.begin(base, base, 0)  # nothing can have come before
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
        """Return what is to be done next on an exchange, and then `served`; None for nothing."""
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
            if following <= stream.base:  # of that nothing is waited for
                last, behind, coming = min(last, stream.base), False, False
            else:
                behind = any(at < following for at in stream.ways.values())
                coming = behind or not self.ways <= stream.ways.keys() | stream.absent
            if coming and self._patient(stream, following, last, now):
                return None
            step = self._skip(name, stream, last, behind)
            if step is not None:
                return step

    def served(self, name: str) -> None:
        """Take note that what `next` returned is done."""
        stream = self._streams.get(name)
        if stream is not None:
            stream.busy = False
            stream.done = stream.taken or 0

    def _begun(self, stream: _Stream, now: float) -> bool:
        """Tell whether it is known where an exchange begins; it does, when all have said so."""
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
        """Drop what has come by another way; say what has become of what is behind us."""
        while stream.parked and stream.parked[0].last <= taken:
            self.parked_bytes -= stream.parked.pop(0).size
        for hole in [hole for hole in stream.holes if hole.last <= taken]:
            stream.holes.remove(hole)
            filled = hole.last - hole.first + 1 - hole.told
            self.settled.append(Settled(name, hole.way, hole.counted, hole.told, filled))

    def _patient(self, stream: _Stream, following: int, last: int, now: float) -> bool:
        """Tell whether what is missing is waited for, for a while longer."""
        if stream.waits is None:
            stream.waits = now + self._patience
        if following > stream.forced and (
            now >= stream.waits or self.parked_bytes > PARKED_MOST // 2
        ):
            stream.forced = last
        return following > stream.forced

    def _skip(self, name: str, stream: _Stream, last: int, forced: bool) -> TellLost | None:
        """Go on behind what will not come; return what of it was promised by some way."""
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
            stream.done = last  # nobody is known to have promised it
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
        """Return up to where a way that is at a number may say that all was handed on; or 0."""
        stream = self._streams.get(name)
        if stream is None:
            return at
        return min(at, stream.done) if stream.taken is not None else 0

    def knows(self, name: str) -> bool:
        """Tell whether anything is known of an exchange."""
        return name in self._streams

    def handed(self, name: str) -> int:
        """Return up to where messages were handed on, or are being so; 0 for unknown."""
        stream = self._streams.get(name)
        return (stream.taken or 0) if stream is not None else 0

    def quiet(self, at: Callable[[str], int]) -> bool:
        """Tell whether one way may hand on by itself, since it is as far as all were.

        ``at`` returns where it stands on an exchange: nowhere near, if it may still come.
        """
        return len(self.ways) == 1 and all(
            stream.through(max(at(name), stream.base)) for name, stream in self._streams.items()
        )

    def forget(self) -> None:
        """Forget all exchanges: who is left hands on by itself."""
        self._streams.clear()
        self.waiting.clear()


def _without(first: int, last: int, ranges: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield the parts of a range that are in none of others, which do not overlap."""
    for start, end in sorted(ranges):
        if first <= end and start <= last:
            if first < start:
                yield first, start - 1
            first = end + 1
    if first <= last:
        yield first, last
