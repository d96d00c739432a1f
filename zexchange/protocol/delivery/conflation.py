"""Exchanges of which only the newest message counts: who offers, who asks, and what is counted.

An origin does not publish the messages of a conflated exchange. It keeps the newest one, and
publishes an *offer*: a frame of some sixty bytes with the number of that message. A receiver whose
data thread has time for it *claims* what it has not had, and the origin answers with the message
that is the newest by then. All messages in between were passed over, and are counted as conflated
at both ends. So nothing but offers is ever queued for a receiver that has stopped, apart from the
answer to a claim that it made just before. To push messages ahead of the claims would save half a
round trip, and would leave a stale message in the sockets of each receiver that stops.

`Offers` is the half of an origin. Another offer is published only after a claim, a new receiver, or
half a second: until then, everybody has an offer to answer.

`Claims` is the half of a receiver, for one peer. An answer that took unusually long was on its way
while this process, or its data thread, stood still: it is dropped, and the newest message is asked
for once more. The answer to that is taken, however long it took.

Nothing here knows sockets. Time is an argument.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ...history import Frame

PASSED_OVER = "conflated"
"""The reason that is given internally for messages that a newer one has replaced."""
ASK_AGAIN, ASK_AGAIN_MOST = 1.0, 8.0
"""Seconds after which an unanswered claim is repeated, and the longest pause that this grows to. An
answer may be large, and its connection slow: a second one would only wait after it."""
LATE = 0.25
"""Seconds after which an answer is late, if that is more than twice the time of the last one."""
ANSWERS_MOST = 16
"""Answers to one peer on one exchange that are remembered until it says how far it is."""
FORMER_MOST = 256
"""Peers that have left and whose counts are still kept."""


@dataclass(slots=True)
class _Taken:
    """The progress of one peer on one exchange.

    Attributes:
        position: up to where it has taken or passed over everything, as far as it has said.
        answers: the messages it was sent since, by number; it may have taken them or not.
        conflated: how many were passed over for it.
    """

    position: int
    answers: list[int] = field(default_factory=list[int])
    conflated: int = 0

    def reach(self, position: int) -> None:
        """Take note of how far the peer is.

        Of several answers it took the last one: others were lost, or dropped because they were
        late. If it takes more of them it tells of each (`Claims.doubtful`).
        """
        if position <= self.position:
            return
        taken = max((answer for answer in self.answers if answer <= position), default=0)
        if taken > self.position:
            self.conflated += taken - self.position - 1
        self.position = position
        self.answers = [answer for answer in self.answers if answer > position]


class Offers:
    """The newest message of each conflated exchange of one origin.

    `put`, `renew` and `forget` are called under the lock of the data socket, everything else by the
    control thread. These need no lock in common: a claim first notes that the exchange may be
    offered again, and then looks for the newest message; `put` does both in the other order.
    """

    def __init__(self) -> None:
        self.newest: dict[str, Frame] = {}
        """By exchange, the frame of its newest message."""
        self._offered: dict[str, None] = {}
        self._taken: dict[bytes, dict[str, _Taken]] = {}
        self._left: dict[bytes, None] = {}

    def put(self, frame: Frame) -> bool:
        """Take the frame of a message that was sent; return whether it is to be offered.

        If the same one comes again, an exception may have come between this and its offer.
        """
        before = self.newest.get(frame.name)
        self.newest[frame.name] = frame
        if frame.name in self._offered and (before is None or before.last < frame.last):
            return False
        self._offered[frame.name] = None
        return True

    def renew(self) -> None:
        """Offer everything again with its next message: there is a receiver that has no offer."""
        self._offered.clear()

    def forget(self, name: str) -> None:
        """Forget an exchange. Nobody lacks anything of it."""
        self.newest.pop(name, None)
        self._offered.pop(name, None)
        for taken in list(self._taken.values()):
            gone = taken.pop(name, None)
            if gone is not None and gone.conflated:
                taken.setdefault("", _Taken(0)).conflated += gone.conflated

    def claim(self, peer: bytes, name: str, first: int) -> Frame | None:
        """Return the newest message of an exchange for a peer that has none from ``first`` on.

        None if there is no such message, or if the exchange is not conflated.
        """
        self._offered.pop(name, None)
        frame = self.newest.get(name)
        if frame is None or frame.last < first:
            return None
        taken = self._taken.setdefault(peer, {}).setdefault(name, _Taken(first - 1))
        taken.reach(first - 1)
        if frame.last not in taken.answers:
            taken.answers = [*taken.answers, frame.last][-ANSWERS_MOST:]
        self._left.pop(peer, None)
        return frame

    def answered(self, peer: bytes, name: str) -> bool:
        """Return whether a peer was sent the newest message of an exchange before."""
        frame, taken = self.newest.get(name), self._taken.get(peer, {}).get(name)
        if frame is None or taken is None:
            return False
        return frame.last <= taken.position or frame.last in taken.answers

    def acknowledged(self, peer: bytes, positions: Mapping[str, int]) -> None:
        """Take note of how far a peer is."""
        there = self._taken.get(peer)
        if there:
            for name in there.keys() & positions.keys():
                there[name].reach(positions[name])

    def leave(self, peer: bytes) -> None:
        """Take note that a peer has left. If it comes back, it continues from here."""
        if peer in self._taken:
            self._left[peer] = None
            if len(self._left) > FORMER_MOST:
                oldest = next(iter(self._left))
                del self._left[oldest], self._taken[oldest]

    def counts(self) -> dict[tuple[str, bytes], int]:
        """Return, by exchange and peer, how many messages were passed over. Any thread."""
        return {
            (name, peer): taken.conflated
            for peer, there in self._taken.copy().items()
            for name, taken in there.copy().items()
            if taken.conflated
        }


@dataclass(slots=True)
class _Claim:
    """One exchange at its receiver.

    Attributes:
        head: the highest number that we know of.
        since: since when we wait for an answer; None if we do not.
        again_at: when the claim is repeated; ``pause``: after how many seconds that is.
        usual: seconds that the last answer took.
        excused: whether the last answer was late and was dropped.
        repeated: whether it was asked for more than once.
    """

    head: int
    since: float | None = None
    again_at: float = 0.0
    pause: float = ASK_AGAIN
    usual: float = 0.0
    excused: bool = False
    repeated: bool = False


class Claims:
    """The conflated exchanges of one peer, and what is asked for. Not thread-safe."""

    __slots__ = ("_claims", "doubtful", "waiting")

    def __init__(self) -> None:
        self._claims: dict[str, _Claim] = {}
        self.doubtful = False
        """Whether the answer that arrived last may be one of several: then the origin is to be told
        at once that it was taken."""
        self.waiting: dict[str, None] = {}
        """The exchanges for which an answer is awaited. Any thread may look whether there are any.
        """

    def __contains__(self, name: str) -> bool:
        """Return whether an exchange is conflated at the peer, as far as we know."""
        return name in self._claims

    def offer(self, name: str, head: int) -> None:
        """Take note of a number that the peer has given on a conflated exchange."""
        claim = self._claims.get(name)
        if claim is None:
            self._claims[name] = _Claim(head)
        else:
            claim.head = max(claim.head, head)

    def due(self, name: str, position: int, now: float) -> bool:
        """Return whether to ask now for what comes after our position."""
        claim = self._claims.get(name)
        if claim is None:
            return False
        if claim.head <= position:
            claim.since = None
            self.waiting.pop(name, None)
            return False
        if claim.since is None:
            claim.since, claim.pause, claim.repeated = now, ASK_AGAIN, False
        elif now < claim.again_at:
            return False
        else:
            claim.pause, claim.repeated = min(2 * claim.pause, ASK_AGAIN_MOST), True
        claim.again_at = now + claim.pause
        self.waiting[name] = None
        return True

    def arrived(self, name: str, last: int, now: float) -> bool:
        """Take note of an answer; return whether to take it. If not, `due` asks again at once."""
        self.offer(name, last)
        claim = self._claims[name]
        since, claim.since = claim.since, None
        self.waiting.pop(name, None)
        self.doubtful = since is None or claim.repeated
        if since is None:
            return True
        took = now - since
        if took > max(LATE, 2 * claim.usual) and not claim.excused:
            claim.excused = True
            return False
        claim.excused, claim.usual = False, took
        return True

    def forget(self, name: str) -> int:
        """Forget an exchange: it is no longer wanted, or not conflated. Return its head, or 0."""
        self.waiting.pop(name, None)
        claim = self._claims.pop(name, None)
        return 0 if claim is None else claim.head

    def keep(self, tracked: Mapping[str, int]) -> None:
        """Forget the exchanges that are not tracked."""
        for name in [name for name in self._claims if name not in tracked]:
            self.forget(name)

    def lacking(self, positions: Mapping[str, int]) -> Iterator[tuple[str, int]]:
        """Yield each exchange of which something was not taken, with its head."""
        for name, claim in list(self._claims.items()):
            if claim.head > positions.get(name, claim.head):
                yield name, claim.head
