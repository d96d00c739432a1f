"""Frames of one peer on the data path: order, gaps, recovery, loss (`net.inbound.peer_stream`).

Structure-aware: the bytes are a script of frames, replays, readies and time, well-formed
ones of few names and numbers next to raw ones. Each message is delivered once and in order,
or reported as lost; the parked frames stay within their limit.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from zexchange.errors import DecodeError
from zexchange.names import is_name
from zexchange.net.inbound.context import ReceiveContext, ReceiverEvents
from zexchange.net.inbound.peer_stream import PeerReceiver
from zexchange.protocol.delivery.recovery import PARKED_MOST
from zexchange.protocol.session.events import Lost
from zexchange.protocol.wire.data import data_head, ready_frame, topic
from zexchange.protocol.wire.messages import Promise, Ready, Recall, Replay

from ..bounds import require
from ..seeds import vectors
from .session import Script

MAX_LEN = 40
ME, PEER = bytes(16), b"p" * 16
NAMES = ("x", "x.y", "z", "*")
FIRSTS = (1, 2, 3, 4, 5, 8, 13, 2**63, 2**64 - 1)
TOPICS = tuple(map(topic, NAMES))


def seeds() -> Iterator[bytes]:
    """Yield scripts: a ready, then frames in order, with gaps, twice, lost and recovered."""
    ready = bytes([0, 1, 0, 0])
    yield ready + bytes([2, 0, 0, 1, 2, 0, 1, 1])
    yield ready + bytes([2, 0, 3, 2, 4, 0, 0, 3, 5, 0, 0, 3])
    yield ready + bytes([3, 0, 4, 6, 5, 6, 6, 6])
    yield bytes([7, 0, 1, 2, 0, 0, 1]) + ready + bytes([7, 0, 0]) * 3
    for frame, vector in vectors("data", "ready"):
        origin = bytes.fromhex(vector["means"]["origin"])
        yield ready + bytes([8, len(frame)]) + frame.replace(origin, PEER)


class Control(ReceiverEvents):
    """Takes down what the peer receiver reports."""

    def __init__(self) -> None:
        self.losses: list[Lost] = []

    def proven(self, peer: bytes, epoch: int) -> None:
        """See `ReceiverEvents`."""

    def forgot(self, peer: bytes, number: int) -> None:
        """See `ReceiverEvents`."""

    def marked(self, hub_source: str, mark: int) -> None:
        """See `ReceiverEvents`."""

    def consumed(self, peer: bytes, positions: dict[str, int]) -> None:
        """See `ReceiverEvents`."""
        require(all(0 <= at < 1 << 64 for at in positions.values()), positions)

    def ask(self, peer: bytes, request: Replay | Recall) -> None:
        """See `ReceiverEvents`."""
        require(not isinstance(request, Replay) or request.first <= request.last, request)

    def lost(self, event: Lost) -> None:
        """See `ReceiverEvents`."""
        require(event.first <= event.last, event)
        self.losses.append(event)

    def rejected(self, source: str, reason: str) -> None:
        """See `ReceiverEvents`."""


class Heard:
    """Stands in for an exchange without a type: counts what it is given, in order."""

    _declared = None

    def __init__(self, name: str) -> None:
        require(is_name(name), name)
        self.given = self.last = 0

    def _deliver(self, values: list[Any], origin: str, first: int, sent_at: float) -> None:
        """Take messages."""
        require(first > self.last, "twice, or out of order")
        self.given += len(values)
        self.last = first + len(values) - 1

    def _report(self, lost: Lost, mark: int | None = None) -> None:
        """Take word of a loss, in its place."""
        require(lost.first > self.last, "lost, after it was given")
        self.last = lost.last


class Fed(ReceiveContext):
    """A peer receiver with nothing around it."""

    def __init__(self) -> None:
        self.now = 100.0
        self.losses = Control()
        self.heard: dict[str, Heard] = {}
        super().__init__(ME, None, lambda name: True, self.losses, 5.0, lambda: self.now)  # type: ignore[arg-type]
        self.peer_receiver = PeerReceiver(PEER, self)
        self.epoch = 1
        self.peer_receiver.expect(1, NAMES[:2], ())

    def exchange(self, name: str) -> Any:
        """See `ReceiveContext`."""
        if name not in self.heard:
            self.heard[name] = Heard(name)
        return self.heard[name]

    def frame(self, s: Script) -> bytes:
        """Return a data frame; its messages are zeros."""
        topic_, first = s.of(TOPICS), s.of(FIRSTS)
        count = min(s.take() % 5, (1 << 64) - first)  # type: ignore[operator]
        start = s.take() % 4 and s.of(FIRSTS)
        if first <= start:  # type: ignore[operator]
            start = 0
        head = data_head(topic_, PEER, first, count, 1.0, 0, start)  # type: ignore[arg-type]
        return head + bytes(count)

    def step(self, s: Script) -> None:
        """Take one step of a script."""
        kind, peer_receiver = s.take() % 10, self.peer_receiver
        if kind < 2:
            heads: Any = {s.of(NAMES): s.of(FIRSTS) for _ in range(s.take() % 3)}
            promised = (Promise(s.take() % 3 + 1, {"x": 1}),) if s.take() % 2 else ()
            starts: Any = {s.of(NAMES): s.of(FIRSTS) for _ in range(s.take() % 2)}
            part = s.take() % 2 + 1
            ready = Ready(ME, s.take() % 4, PEER, heads, promised, starts, part, 2 - s.take() % 2)
            if part <= ready.parts:
                peer_receiver.take(ready_frame(ready))
        elif kind == 9:
            forget: Any = {s.of(NAMES): s.of(FIRSTS)}
            peer_receiver.take(ready_frame(Ready(ME, 1, PEER, {}, forget=forget, number=1)))
        elif kind == 2:
            peer_receiver.take(self.frame(s))
        elif kind == 3:
            peer_receiver.take(self.frame(s)[: -1 - s.take() % 40])
        elif kind == 4:
            peer_receiver.replayed(self.frame(s))
        elif kind == 5:
            peer_receiver.resent(s.of(NAMES), s.of(FIRSTS), s.of(FIRSTS), s.take() % 2)  # type: ignore[arg-type]
        elif kind == 6:
            self.now += s.take() / 20
            for _ in peer_receiver.pursuit(self.now):
                pass
        elif kind == 7:
            self.epoch += 1
            added = NAMES[s.take() % 4 :][:1]
            peer_receiver.expect(self.epoch, added, NAMES[: s.take() % 2])
        else:
            peer_receiver.take(s.some(s.take()))


def execute(data: bytes) -> None:
    """Run a script, and compare what was delivered and lost with what is counted."""
    fed, s = Fed(), Script(data)
    while s.left:
        with suppress(DecodeError):
            fed.step(s)
        require(0 <= fed.peer_receiver.recovery.parked_bytes <= PARKED_MOST, "parked")
    fed.peer_receiver.end()
    require(fed.peer_receiver.recovery.parked_bytes == 0, "parked and forgotten")
    lost: Counter[str] = Counter()
    for loss in fed.losses.losses:
        lost[loss.exchange] += loss.last - loss.first + 1
    for name, tally in fed.peer_receiver.positions.tallies.items():
        given = fed.heard[name].given if name in fed.heard else 0
        require((given, lost[name]) == (tally.received, tally.lost), (name, given, lost, tally))
