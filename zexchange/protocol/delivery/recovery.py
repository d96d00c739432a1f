"""Recovers the messages that are missing from one peer: parks what follows, asks, or gives up.

A receiver that sees a gap holds back the following frames of that exchange, and of no other, and
asks the origin for the missing range. Frames leave here in order, through `ReceiveState`, which
counts skipped messages as lost. Time is an argument. Timeouts count only seconds in which this
process looked at the clock (`Elapsed`), because the answers may be in our own queues.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush

from ...history import Body
from ..elapsed import Elapsed
from ..wire.messages import Replay
from .sequence import ReceiveState

ASK_AGAIN = 0.25
"""Seconds after which an unanswered request is repeated; then twice that, and so on."""
ASK_AGAIN_MOST = 1.0
NEXT_GAP = 0.5
"""Seconds for a gap that follows directly on one that was given up without an answer."""
TIMEOUTS_MOST = 10
"""How many timeouts more a gap waits for its turn while the origin answers about other gaps."""
PARKED_MOST = 32 << 20
"""The most bytes parked for one peer. Frames that do not fit are dropped, and asked for again: the
origin has them in its ring."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The missing messages up to ``last`` will not come: go on after them."""

    name: str
    last: int
    reason: str


@dataclass(slots=True)
class Retry:
    """When to repeat a request, and when to give it up.

    ``ask_at`` is a time on a monotonic clock; ``until`` counts the seconds of `Elapsed`.
    """

    ask_at: float
    until: float
    pause: float = field(default=ASK_AGAIN, init=False)

    def due(self, now: float) -> bool:
        """Return whether to ask now; if so, the pause before the next time doubles."""
        if now < self.ask_at:
            return False
        self.ask_at = now + self.pause
        self.pause = min(2 * self.pause, ASK_AGAIN_MOST)
        return True

    def progress(self, now: float, until: float) -> None:
        """Ask again at once, and until a later time, because something has come."""
        self.ask_at, self.until, self.pause = now, until, ASK_AGAIN


@dataclass(slots=True)
class _Missing(Retry):
    """One exchange that is being recovered."""

    head: int
    parked: dict[int, tuple[int, Body]] = field(default_factory=dict[int, tuple[int, Body]])
    order: list[int] = field(default_factory=list[int])
    """A heap of the first numbers in `parked`, since many small frames may be parked."""
    gone_to: int = 0
    reached: int = 0
    reason: str = ""

    @property
    def last(self) -> int:
        """The last number that is missing before what is parked."""
        return (self.order[0] if self.order else self.head + 1) - 1


class Recovery:
    """The gaps of one peer, by exchange. Not thread-safe.

    Args:
        me: the id of this node, which sends the requests.
        positions: our state at the peer.
        timeout: seconds without progress after which a gap is given up, counted by ``elapsed``. An
            answer about another gap is progress, too: a busy origin gives them one after another.
        elapsed: the clock of the timeout.
    """

    __slots__ = (
        "_answered_at", "_elapsed", "_me", "_positions", "_timeout", "missing", "parked_bytes",
    )  # fmt: skip

    def __init__(
        self, me: bytes, positions: ReceiveState, timeout: float, elapsed: Elapsed
    ) -> None:
        self._me = me
        self._positions = positions
        self._timeout = timeout
        self._elapsed = elapsed
        self._answered_at = -timeout
        self.missing: dict[str, _Missing] = {}
        self.parked_bytes = 0

    def __bool__(self) -> bool:
        """Return whether anything is missing."""
        return bool(self.missing)

    def parked(self) -> dict[str, int]:
        """Return how many messages are parked, by exchange. Any thread."""
        return {
            name: sum(last - first + 1 for first, (last, _) in missing.parked.copy().items())
            for name, missing in self.missing.copy().items()
        }

    def park(self, name: str, first: int, last: int, frame: Body, now: float) -> None:
        """Hold back a frame with numbers ``first`` to ``last`` that has come before its turn."""
        missing = self._expose(name, last, now)
        if first not in missing.parked and self.parked_bytes + len(frame) <= PARKED_MOST:
            missing.parked[first] = last, frame
            heappush(missing.order, first)
            self.parked_bytes += len(frame)

    def expose(self, name: str, head: int, now: float) -> None:
        """Take note of a head that the peer has told: messages up to it may be missing."""
        if head > self._positions.positions.get(name, head):
            self._expose(name, head, now)

    def _expose(self, name: str, head: int, now: float) -> _Missing:
        missing = self.missing.get(name)
        if missing is None:
            until = self._elapsed.seconds + self._timeout
            missing = self.missing[name] = _Missing(now, until, head)
        missing.head = max(missing.head, head)
        return missing

    def unavailable(self, name: str, last: int, reason: str) -> None:
        """Take note that the origin no longer has messages up to ``last``."""
        missing = self.missing.get(name)
        if missing is not None:
            missing.gone_to, missing.reason = max(missing.gone_to, last), reason

    def answered(self, name: str, now: float) -> None:
        """Take note that the origin has answered a request: ask for the rest at once."""
        missing, elapsed = self.missing.get(name), self._elapsed.seconds
        if missing is None:
            self._answered_at = elapsed
            return
        position = self._positions.positions.get(name, 0)
        if position > missing.reached:
            # Only progress gives more time, and lets the next request follow without a pause.
            missing.reached, self._answered_at = position, elapsed
            missing.progress(now, elapsed + self._timeout)

    def in_turn(self, name: str) -> Body | None:
        """Return the parked frame that is next, or None; forget an exchange without a gap."""
        missing = self.missing.get(name)
        if missing is None:
            return None
        position = self._positions.positions.get(name)
        if position is None:  # no longer wanted
            self._forget(name)
            return None
        if missing.order:
            if missing.order[0] > position + 1:
                return None
            _, frame = missing.parked.pop(heappop(missing.order))
            self.parked_bytes -= len(frame)
            return frame
        if position >= missing.head:
            del self.missing[name]
        return None

    def forget_unwanted(self) -> None:
        """Forget exchanges that are no longer tracked, before they are tracked again.

        Parked and missing messages were for the former task, and not for the next one.
        """
        for name in [n for n in self.missing if n not in self._positions.positions]:
            self._forget(name)

    def _forget(self, name: str) -> None:
        missing = self.missing.pop(name)
        self.parked_bytes -= sum(len(frame) for _, frame in missing.parked.values())

    def due_of(self, name: str, now: float) -> Iterator[Replay | GiveUp]:
        """Yield what to ask for and what to give up now on one exchange.

        A lost connection may leave gaps on many exchanges. So a caller that has news of one of them
        looks at that one only.
        """
        missing = self.missing.get(name)
        if missing is None:
            return
        position = self._positions.positions.get(name)
        if position is None:
            self._forget(name)
            return
        first, last = position + 1, missing.last
        if first > last:
            return
        if missing.gone_to >= first:
            yield GiveUp(name, min(last, missing.gone_to), missing.reason)
        elif self._late(missing):
            # A short time for the next gap: a silent origin costs the whole timeout only once.
            missing.until, missing.ask_at = self._elapsed.seconds + NEXT_GAP, now
            yield GiveUp(name, last, "not recovered in time")
        elif missing.due(now):
            yield Replay(self._me, name, first, last)

    def _late(self, missing: _Missing) -> bool:
        """Return whether a gap has waited for too long."""
        now, until = self._elapsed.seconds, missing.until
        if now < until:
            return False
        others = self._answered_at + self._timeout
        return now >= min(others, until + TIMEOUTS_MOST * self._timeout)

    def abandon(self, reason: str) -> Iterator[GiveUp]:
        """Yield the gaps of all exchanges, one by one, because the origin has left."""
        for name in list(self.missing):
            while (missing := self.missing.get(name)) is not None:
                position = self._positions.positions.get(name)
                last = missing.last
                if position is None or position >= last:
                    self._forget(name)
                else:
                    yield GiveUp(name, last, reason)
