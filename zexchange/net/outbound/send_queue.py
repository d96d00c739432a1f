"""The messages on their way to the data socket, and how they survive an exception at any point.

Ctrl-C, or any signal handler that raises, may end a thread's work between any two steps. So each
step here leaves the state either as it was before or as it is after it, and the next thread that
sends goes on from there. Statements in a row that neither call nor jump backward are one step:
CPython handles signals only after calls and at backward jumps (its ceval loop, 3.11 to 3.13).
"""

from collections.abc import Callable
from typing import Protocol

from ...history import Body, Buffer, Bulk, Frame, Retained
from ...protocol.delivery.sequence import Numbering
from ...protocol.wire.data import (
    CONFLATED,
    HEAD,
    NOTED,
    STARTED,
    STARTED_HEAD,
    VERSION,
    data_head,
    pack_head,
    pack_start,
)
from ..transport.sockets import DO_NOT_WAIT

FRAME_COUNT = 1000
"""The most messages in a frame: its receiver hands all of them to every task before it reads on."""
SIZES = [bytes((size,)) for size in range(256)]
"""Each number of one byte as that byte."""
LANES_AT_ONCE = 128
"""The most lanes that are emptied under one hold of the lock. Each takes a send, and other threads
that want the socket wait for all of them."""


class ExchangeQueue(Protocol):
    """The lane of one exchange: a queue of its messages.

    Any thread appends to ``bodies``, and if the lane is not ``listed`` then, marks it so and
    appends it to `SendQueue.lanes`.
    """

    name: str
    topic: bytes
    kept: Retained | None
    conflated: bool
    """Whether only its newest message counts. Then all its bodies are `Bulk`."""
    bodies: list[Body]
    listed: bool
    noted: bool
    """Whether a message with notes was ever queued: such a one may be small, and ends a frame."""


class FrameSink(Protocol):
    """Takes the numbered frames of a `SendQueue`."""

    put: Callable[[bytes, int], object]
    """Sends a frame, with ZeroMQ's flags. It never blocks: beyond the high-water mark an XPUB
    drops frames, which receivers notice as a gap."""

    keep: Callable[[Frame], None]
    """Takes note of a frame that has been sent."""

    def put_parts(self, data: bytes, buffers: tuple[Buffer, ...]) -> None:
        """Send a frame and the buffers of its last message."""
        ...

    def offers(self, name: str) -> bool:
        """Return whether all peers that want a conflated exchange know offers."""
        ...

    def offer(self, topic: bytes, frame: Frame) -> None:
        """Keep the newest message of a conflated exchange, and offer it to peers."""
        ...

    def mend(self, frame: Frame) -> None:
        """Restore a valid state after an exception in any of these calls, which then come again."""
        ...


def frame_parts(
    topic: bytes,
    origin: bytes,
    first: int,
    bodies: list[Body],
    sent_at: float,
    start: int = 0,
    base: int | None = None,
    flags: int = 0,
) -> tuple[bytes, tuple[Buffer, ...]]:
    """Return messages of one exchange as a frame, and the buffers of the last of them."""
    body = bodies[-1]
    buffers, notes = tuple[Buffer, ...](), b""
    if isinstance(body, Bulk):
        buffers, notes = body.buffers, body.notes
        if len(bodies) == 1:
            if notes and not (buffers or start or flags):  # `data_head`, written out
                size, moment = len(notes), int(sent_at * 1e6 + 0.5)
                head = pack_head(HEAD + 1 + size, VERSION, origin, first, 1, NOTED, moment)
                return b"".join((topic, head, SIZES[size], notes, body.packed)), ()
            bodies = [body.packed]
        else:
            bodies = [one.packed if isinstance(one, Bulk) else one for one in bodies]
    attached = len(buffers)
    head = data_head(
        topic, origin, first, len(bodies), sent_at, attached, start, base, flags, notes
    )
    return b"".join([head, *bodies]), buffers  # type: ignore[list-item]


def make_frame(
    lane: ExchangeQueue,
    origin: bytes,
    first: int,
    bodies: list[Body],
    sent_at: float,
    start: int = 0,
    base: int | None = None,
    flags: int = 0,
) -> Frame:
    """Return messages of one exchange as a frame; only the last may have buffers."""
    data, buffers = frame_parts(lane.topic, origin, first, bodies, sent_at, start, base, flags)
    return Frame(lane.name, first, first + len(bodies) - 1, data, (), buffers)


class SendQueue:
    """Encoded messages, which are numbered as they are sent.

    Any thread adds to the lanes; everything else is done under the lock of the data socket.

    Args:
        origin: the id of the node.
        numbering: the places given so far.
        carrier: takes the frames.
        time: returns seconds since 1970.
        frame_bytes: a frame is closed once its messages have so many bytes, and after each message
            with buffers.
    """

    def __init__(
        self,
        origin: bytes,
        numbering: Numbering,
        carrier: FrameSink,
        time: Callable[[], float],
        frame_bytes: int,
    ) -> None:
        self.lanes: list[ExchangeQueue] = []
        """The lanes with messages. Any thread appends; the holder of the lock takes away."""
        self.frames = 0
        """How many frames have been sent."""
        self._origin = origin
        self._heads, self._starts, self._bases = numbering.heads, numbering.starts, numbering.bases
        self._carrier = carrier
        self._time = time
        self._frame_bytes = frame_bytes
        self._taken: list[ExchangeQueue] = []
        self._unsent: tuple[ExchangeQueue, int, list[Body], float] | None = None

    def send(self, most: int = LANES_AT_ONCE) -> int:
        """Number and send what is queued in some lanes, after what an exception has left.

        Args:
            most: how many lanes.

        Returns:
            How many messages that were.
        """
        if self._unsent is not None:
            self._send_again(*self._unsent)
        lanes, heads, carrier = self.lanes, self._heads, self._carrier
        starts, bases = self._starts, self._bases
        new = lanes[:most]
        count = len(new)
        taken = self._taken + new if self._taken else new
        # One step:
        self._taken = taken
        del lanes[:count]
        count = 0
        for lane in taken:
            # Before `bodies` is read: a thread that queues a message later lists the lane again.
            lane.listed = False
            name, bodies = lane.name, lane.bodies
            start = starts.get(name, 0) if starts else 0
            left = len(bodies)
            count += left
            while left > 0:
                # Before a frame is sent, only calls that are needed: each costs 0.1 µs a frame,
                # and 1 µs for a message that is sent alone.
                fitting = self._fitting(bodies, left, lane.noted) if left > 1 else 1
                left -= fitting
                sent, first, now = bodies[:fitting], heads.get(name, start) + 1, self._time()
                last = first + fitting - 1
                if type(sent[-1]) is Bulk or (bases and name in bases):
                    if lane.conflated and carrier.offers(name):
                        count += self._offer(lane, first, now) - fitting - left
                        break
                    data, buffers = frame_parts(
                        lane.topic, self._origin, first, sent, now, start, bases.get(name)
                    )
                else:
                    moment, buffers = int(now * 1e6 + 0.5), ()
                    if start:
                        size, number, flags = STARTED_HEAD, first - start, STARTED
                        head = pack_head(
                            size, VERSION, self._origin, number, fitting, flags, moment
                        ) + pack_start(start)
                    else:
                        head = pack_head(HEAD, VERSION, self._origin, first, fitting, 0, moment)
                    data = b"".join((lane.topic, head, *sent))  # type: ignore[arg-type]
                unsent = (lane, first, sent, now)
                # One step:
                heads[name] = last
                self._unsent = unsent
                del bodies[:fitting]
                # It is sent first, and kept while it is on its way.
                if buffers:
                    carrier.put_parts(data, buffers)
                else:
                    carrier.put(data, DO_NOT_WAIT)
                if lane.kept is not None:
                    lane.kept.keep(first, now, sent)
                frame = Frame(name, first, last, data, (), buffers)
                carrier.keep(frame)
                self.frames += 1
                self._unsent = None
        self._taken = []
        return count

    def _offer(self, lane: ExchangeQueue, first: int, now: float) -> int:
        """Number all messages of a lane of which only the last counts; return how many."""
        sent = lane.bodies[:]
        count = len(sent)
        unsent = (lane, first, sent, now)
        # One step:
        self._heads[lane.name] = first + count - 1
        self._unsent = unsent
        del lane.bodies[:count]
        self._offer_newest(lane, first, sent, now)
        return count

    def _offer_newest(self, lane: ExchangeQueue, first: int, sent: list[Body], now: float) -> None:
        """Offer the last of some messages that have numbers."""
        start, base = self._starts.get(lane.name, 0), self._bases.get(lane.name)
        last = first + len(sent) - 1
        frame = make_frame(lane, self._origin, last, sent[-1:], now, start, base, CONFLATED)
        if lane.kept is not None:
            lane.kept.keep(first, now, sent)
        self._carrier.offer(lane.topic, frame)
        self.frames += 1
        self._unsent = None

    @property
    def interrupted(self) -> bool:
        """Whether an exception has left messages, with which the next `send` begins."""
        return bool(self._taken) or self._unsent is not None

    def _fitting(self, bodies: list[Body], count: int, noted: bool) -> int:
        """Return how many of the first ``count`` messages make a frame; a `Bulk` ends it."""
        count = min(count, FRAME_COUNT)
        if not noted and sum(map(len, bodies[:count])) < self._frame_bytes:
            return count
        size = 0
        for number, body in enumerate(bodies[:count], 1):
            size += len(body)
            if size >= self._frame_bytes or type(body) is Bulk:
                return number
        return count

    def _send_again(self, lane: ExchangeQueue, first: int, sent: list[Body], now: float) -> None:
        """Send a frame that an exception has left. If it was sent before, receivers drop it."""
        if lane.conflated and self._carrier.offers(lane.name):
            self._offer_newest(lane, first, sent, now)
            return
        carrier, start = self._carrier, self._starts.get(lane.name, 0)
        base = self._bases.get(lane.name)
        frame = make_frame(lane, self._origin, first, sent, now, start, base)
        if lane.kept is not None:
            lane.kept.keep(first, now, sent)
        carrier.mend(frame)
        if frame.buffers:
            # If only some of its parts were sent, the empty part ends that message, and the
            # receiver drops it. Else it is a message on a topic that nobody subscribes to.
            carrier.put(b"", DO_NOT_WAIT)
            carrier.put_parts(frame.data, frame.buffers)
        else:
            carrier.put(frame.data, DO_NOT_WAIT)
        carrier.keep(frame)
        self._unsent = None
