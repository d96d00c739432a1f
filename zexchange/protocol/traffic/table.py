"""The traffic of other nodes, as one node learns it: their counts, and rates between two looks.

A look at a node is a question for what has changed since the last look, and its answer in parts.
It counts when the last part is there. A rate is the difference of two counts of one node, divided
by the time between them on the clock of that node, so that it does not matter how long an answer
takes. The parts of an answer may be of different moments.

A question that is not answered is asked again, under the same number. Answers to any other number
are dropped: they come late, or twice, or were never asked for.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from ..wire.messages import Count, Counted, ExchangeCount

AGAIN_AFTER = 0.5
"""Seconds after which a question that was not answered is asked again."""
EXCHANGES_MOST = 100_000
"""Exchanges of one node that are counted here."""
PARTS_MOST = 1000
"""Parts of one answer: after so many the look is given up."""


class Rate(NamedTuple):
    """Messages and bytes a second, between two looks."""

    sent: float = 0.0
    bytes: float = 0.0
    received: float = 0.0


class Moments:
    """At which moment the counts of each exchange were taken: the parts of an answer."""

    __slots__ = ("_at", "_ends")

    def __init__(self) -> None:
        self._ends: list[str] = []
        self._at: list[float] = []

    def add(self, at: float, end: str) -> None:
        """Add the part that ends with a name; an empty one if it is the last part."""
        self._at.append(at)
        if end:
            self._ends.append(end)

    def of(self, name: str) -> float:
        """Return the moment of an exchange."""
        ends = self._ends
        return self._at[bisect_left(ends, name) if ends else 0]

    @property
    def first(self) -> float:
        """The moment of the first part."""
        return self._at[0]

    @property
    def last(self) -> float:
        """The moment of the last part."""
        return self._at[-1]


@dataclass(frozen=True, slots=True)
class Told:
    """The counts that one node has told, as of the last look at it. It never changes.

    Attributes:
        began: the number of its counting.
        look: the number of the look, from which the next one goes on.
        moments: when the counts were taken, on the clock of the node.
        rows: the counts by exchange.
        rates: of those that changed between the last two looks; None if there was one look only.
        node: figures of the node.
        slow: the ids of its slow peers.
    """

    began: int
    look: int
    moments: Moments
    rows: Mapping[str, ExchangeCount]
    rates: Mapping[str, Rate] | None
    node: Mapping[str, int]
    slow: tuple[bytes, ...]


@dataclass(slots=True)
class _Look:
    """A look that is under way at one node."""

    question: Count
    asked_at: float
    told: int = 0
    """The number of the look that the first part belongs to."""
    rows: dict[str, ExchangeCount] = field(default_factory=dict[str, ExchangeCount])
    moments: Moments = field(default_factory=Moments)
    parts: int = 0
    left: int = PARTS_MOST
    """How many more parts are asked for."""


class TrafficTable:
    """The traffic of all nodes on what one pattern covers. Not thread-safe.

    Args:
        me: the id of the node that asks.
        key: a name or pattern.
        numbers: gives each question a number that no other question of the node has.
    """

    def __init__(self, me: bytes, key: str, numbers: Iterator[int]) -> None:
        self.key = key
        self._me = me
        self._numbers = numbers
        self._looks: dict[bytes, _Look] = {}
        self.told: dict[bytes, Told] = {}
        """The counts of each node; replaced at each change."""

    def look(self, node: bytes, now: float) -> Count | None:
        """Begin a look at a node, and return the question; None if one is under way."""
        if node in self._looks:
            return None
        before = self.told.get(node)
        since = (before.began, before.look) if before else (0, 0)
        question = Count(self._me, next(self._numbers), self.key, *since)
        self._looks[node] = _Look(question, now)
        return question

    def looking(self, node: bytes) -> bool:
        """Return whether a look at a node is under way."""
        return node in self._looks

    def nodes(self) -> set[bytes]:
        """Return the nodes that are looked at, or have told something."""
        return {*self._looks, *self.told}

    def due(self, now: float) -> Iterator[tuple[bytes, Count]]:
        """Yield the nodes that have not answered for a while, with the questions to repeat."""
        for node, look in self._looks.items():
            if now - look.asked_at >= AGAIN_AFTER:
                look.asked_at = now
                yield node, look.question

    def leave(self, node: bytes) -> None:
        """Forget a node that has left."""
        self._looks.pop(node, None)
        if node in self.told:
            self.told = {other: told for other, told in self.told.items() if other != node}

    def take(self, node: bytes, answer: Counted, now: float) -> Count | None:
        """Take an answer; return the question for the next part, if there is one."""
        look = self._looks.get(node)
        if look is None or answer.request != look.question.request:
            return None
        question = look.question
        if look.parts and answer.began != question.began:
            return self._restart(node, look, answer, now)  # it began again between two parts
        if not look.parts:
            look.told = answer.look
        more = answer.more if answer.more > question.after else ""
        look.parts += 1
        look.left -= 1
        look.rows.update({row.name: row for row in answer.exchanges})
        look.moments.add(answer.at, more)
        if more and look.left > 0:
            since = question.look if question.began == answer.began else 0
            request = next(self._numbers)
            look.question = Count(self._me, request, self.key, answer.began, since, more)
            look.asked_at = now
            return look.question
        del self._looks[node]
        if not more:
            self.told = {**self.told, node: self._made(self.told.get(node), look, answer)}
        return None

    def _restart(self, node: bytes, look: _Look, answer: Counted, now: float) -> Count | None:
        """Ask for everything from the first name on; give up if that comes again and again."""
        left = look.left - PARTS_MOST // 4
        del self._looks[node]
        if left <= 0:
            return None
        question = Count(self._me, next(self._numbers), self.key, answer.began)
        self._looks[node] = _Look(question, now, left=left)
        return question

    @staticmethod
    def _made(before: Told | None, look: _Look, answer: Counted) -> Told:
        """Return what a node has told by a look, after what it had told before."""
        moments, same = look.moments, before is not None and before.began == answer.began
        rows: dict[str, ExchangeCount] = {}
        rates: dict[str, Rate] | None = None
        if before is not None and same:
            rows, rates = dict(before.rows), {}
            if moments.first <= before.moments.last:
                # Some parts may be of the same moment as before: nothing is known of them but that.
                rates = {
                    name: rate
                    for name, rate in (before.rates or {}).items()
                    if moments.of(name) <= before.moments.of(name)
                }
                if before.rates is None and moments.last <= before.moments.first:
                    rates = None
        for name, row in look.rows.items():
            if before is not None and rates is not None:
                seconds = moments.of(name) - before.moments.of(name)
                if seconds > 0:
                    rates[name] = rate_of(before.rows.get(name), row, seconds)
            if row.nothing:
                rows.pop(name, None)
            elif name in rows or len(rows) < EXCHANGES_MOST:
                rows[name] = row
        return Told(answer.began, look.told, moments, rows, rates, answer.node, answer.slow)


def rate_of(before: ExchangeCount | None, now: ExchangeCount, seconds: float) -> Rate:
    """Return what flowed in a second between two counts of one node.

    A count that has become smaller has begun at 0 again.
    """
    if before is None:
        return Rate(now.sent / seconds, now.size / seconds, now.received / seconds)
    sent = now.sent - before.sent if now.sent >= before.sent else now.sent
    size = now.size - before.size if now.size >= before.size else now.size
    received = now.received - before.received
    if received < 0:
        received = now.received
    return Rate(sent / seconds, size / seconds, received / seconds)
