"""The history of late joiners: ask a peer what it keeps, fetch it, and know when all has come.

A recall is sent once the joiner's key is in force at the peer. So history and live messages meet
without a gap: history ends where the live messages begin. Time is an argument; nothing here knows
the joiner, or the content of a message. Timeouts are counted as in `recovery`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any

from ...names import matches
from ..elapsed import Elapsed
from ..interest.interest import NameSet
from ..wire.messages import Recall, Replay
from .recovery import Retry


@dataclass(frozen=True, slots=True)
class HistoryItem:
    """One message of the history."""

    name: str
    number: int
    value: Any
    sent_at: float


@dataclass(frozen=True, slots=True)
class HistoryDone:
    """A recall has ended; ``history`` has what has come, by exchange and in order."""

    request: int
    history: tuple[HistoryItem, ...]
    complete: bool


@dataclass(slots=True)
class _Recall(Retry):
    key: str
    most: int
    todo: dict[str, tuple[int, int]] | None = None
    ends: dict[str, int] = field(default_factory=dict[str, int])
    found: dict[str, dict[int, HistoryItem]] = field(
        default_factory=dict[str, dict[int, HistoryItem]]
    )

    def history(self) -> Iterator[HistoryItem]:
        """Yield what has come; of each exchange only the run without a hole up to its end."""
        for name, end in self.ends.items():
            found, first = self.found.get(name, {}), end + 1
            while first - 1 in found:
                first -= 1
            yield from (found[number] for number in range(first, end + 1))


class HistoryRequests:
    """The recalls of this node's late joiners at one peer. Not thread-safe.

    Args:
        me: the id of this node.
        timeout: seconds without progress after which a recall is given up, counted by ``elapsed``.
        elapsed: the clock of the timeout.
    """

    __slots__ = ("_elapsed", "_me", "_recalls", "_timeout")

    def __init__(self, me: bytes, timeout: float, elapsed: Elapsed) -> None:
        self._me = me
        self._timeout = timeout
        self._elapsed = elapsed
        self._recalls: dict[int, _Recall] = {}

    def __bool__(self) -> bool:
        """Return whether any recall has not ended."""
        return bool(self._recalls)

    def __contains__(self, request: int) -> bool:
        """Return whether a recall has not ended."""
        return request in self._recalls

    def add(self, request: int, key: str, most: int, now: float) -> None:
        """Begin a recall of the last ``most`` messages of every exchange that ``key`` covers."""
        self._recalls[request] = _Recall(now, inf, key, most)

    def key(self, request: int) -> str:
        """Return the name or pattern of a recall."""
        return self._recalls[request].key

    def drop(self, request: int) -> None:
        """Forget a recall: the joiner has left."""
        self._recalls.pop(request, None)

    def give_up(self, request: int) -> HistoryDone:
        """End a recall with what has come."""
        return self._end(request, self._recalls[request], False)

    def counted(
        self,
        request: int,
        ranges: Mapping[str, tuple[int, int]],
        live: Callable[[str], int | None],
        now: float,
    ) -> None:
        """Take the peer's answer, which says what it keeps.

        Args:
            request: the recall that it answers.
            ranges: by exchange, the first and the last number that is kept.
            live: returns the number from which the joiner gets an exchange live; None if it does
                not get that exchange.
            now: seconds on a monotonic clock.
        """
        recall = self._recalls.get(request)
        if recall is None or recall.todo is not None:
            return
        recall.todo = {}
        for name, (first, last) in ranges.items():
            wanted = 0 < first <= last and matches(recall.key, name)
            begin = live(name) if wanted else None
            if begin is not None:
                end = min(last, begin - 1)
                start = max(first, end - recall.most + 1, 1)
                if start <= end:
                    recall.todo[name], recall.ends[name] = (start, end), end
        recall.progress(now, self._elapsed.seconds + self._timeout)

    def wants(self, name: str, first: int, count: int) -> bool:
        """Return whether any recall waits for one of ``count`` messages from ``first`` on."""
        return any(
            start <= first + count - 1 and first <= end
            for start, end in (
                r.todo[name] for r in self._recalls.values() if r.todo and name in r.todo
            )
        )

    def take(self, name: str, first: int, values: Sequence[Any], sent_at: float) -> None:
        """Take fetched messages, numbered from ``first`` on."""
        for recall in self._recalls.values():
            if recall.todo and name in recall.todo:
                start, end = recall.todo[name]
                found = recall.found.setdefault(name, {})
                for number, value in enumerate(values, first):
                    if start <= number <= end:
                        found[number] = HistoryItem(name, number, value, sent_at)

    def answered(self, request: int, name: str, first: int, last: int, now: float) -> None:
        """Take note that the peer has sent what it has from ``first`` to ``last``.

        It no longer keeps messages before ``first``.
        """
        recall = self._recalls.get(request)
        if recall is None or not recall.todo or name not in recall.todo:
            return
        start, end = recall.todo[name]
        upto = min(last, end)
        found = recall.found.get(name, {})
        if upto < start or not all(n in found for n in range(max(first, start), upto + 1)):
            return  # an old answer, or a frame was dropped on the way: `due` asks again
        if upto == end:
            del recall.todo[name]
        else:
            recall.todo[name] = (upto + 1, end)
        recall.progress(now, self._elapsed.seconds + self._timeout)

    def due(self, now: float, in_force: NameSet) -> Iterator[Recall | Replay | HistoryDone]:
        """Yield the requests to send now, and the recalls that have ended."""
        for request, recall in list(self._recalls.items()):
            if recall.todo is None and recall.key not in in_force:
                continue  # nothing comes live yet: there would be a gap after the history
            if recall.until == inf:
                recall.until = self._elapsed.seconds + self._timeout
            if recall.todo == {}:
                yield self._end(request, recall, True)
            elif self._elapsed.seconds >= recall.until:
                yield self._end(request, recall, False)
            elif recall.due(now):
                if recall.todo is None:
                    yield Recall(self._me, request, recall.key)
                else:
                    name, (first, last) = next(iter(recall.todo.items()))
                    yield Replay(self._me, name, first, last, request)

    def _end(self, request: int, recall: _Recall, complete: bool) -> HistoryDone:
        del self._recalls[request]
        return HistoryDone(request, tuple(recall.history()), complete)

    def abandon(self) -> Iterator[HistoryDone]:
        """End every recall, and yield what has come: the peer has left."""
        for request, recall in list(self._recalls.items()):
            yield self._end(request, recall, False)
