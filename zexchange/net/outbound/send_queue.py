"""What is on its way to the data socket, and how it survives an exception out of nowhere.

Ctrl-C, or any signal handler that raises, may end a thread's work between any two steps.
So each step here leaves either what was before it or what is after it, and whoever sends
next goes on where it was left. Two statements in a row that neither call nor jump backward
are one step: CPython looks for signals only after calls and at backward jumps (its ceval
loop, 3.11 to 3.13).
"""

from collections.abc import Callable
from typing import Protocol

from ...history import Body, Buffer, Bulk, Frame, Retained
from ...protocol.delivery.sequence import Numbering
from ...protocol.wire.data import (
    HEAD,
    STARTED,
    STARTED_HEAD,
    VERSION,
    data_head,
    pack_head,
    pack_start,
)
from ..transport.sockets import DO_NOT_WAIT

FRAME_COUNT = 1000
"""Messages in a frame at most: its receiver hands them to every task before it looks up."""
LANES_AT_ONCE = 128
"""Lanes that are emptied in one go. Each takes a send, and each send may have to wait for the
interpreter's lock: whoever else wants the socket shall not wait for too many."""
LANES_ALONG = 4
"""Likewise by the sender thread, where it only takes along what busy threads have left: they
send a frame in microseconds, and it in up to the interpreter's switch interval."""


class ExchangeQueue(Protocol):
    """What messages of one exchange are queued in.

    Any thread appends to ``bodies``, and if the lane is not ``listed`` then, marks it so and
    appends it to `SendQueue.lanes`.
    """

    name: str
    topic: bytes
    kept: Retained | None
    bodies: list[Body]
    listed: bool


class FrameSink(Protocol):
    """What numbered frames are handed to."""

    put: Callable[[bytes, int], object]
    """Sends a frame, with ZeroMQ's flags. It never blocks: beyond the high-water mark an XPUB
    drops, and a gap tells."""

    keep: Callable[[Frame], None]
    """Takes note of a frame that has been sent."""

    def put_parts(self, data: bytes, buffers: tuple[Buffer, ...]) -> None:
        """Send a frame and those that belong to it."""
        ...

    def mend(self, frame: Frame) -> None:
        """Put things in order where any of these may have been left anywhere."""
        ...


def frame_parts(
    topic: bytes,
    origin: bytes,
    first: int,
    bodies: list[Body],
    sent_at: float,
    start: int = 0,
    base: int | None = None,
) -> tuple[bytes, tuple[Buffer, ...]]:
    """Return messages of one exchange as a frame, and the buffers of the last of them."""
    body = bodies[-1]
    buffers: tuple[Buffer, ...] = ()
    if isinstance(body, Bulk):
        buffers, bodies = body.buffers, [*bodies[:-1], body.packed]
    head = data_head(topic, origin, first, len(bodies), sent_at, len(buffers), start, base)
    return b"".join([head, *bodies]), buffers  # type: ignore[list-item]


def make_frame(
    lane: ExchangeQueue,
    origin: bytes,
    first: int,
    bodies: list[Body],
    sent_at: float,
    start: int = 0,
    base: int | None = None,
) -> Frame:
    """Return messages of one exchange as a frame; only the last may have buffers."""
    data, buffers = frame_parts(lane.topic, origin, first, bodies, sent_at, start, base)
    return Frame(lane.name, first, first + len(bodies) - 1, data, (), buffers)


class SendQueue:
    """Encoded messages, numbered as they leave.

    A frame is closed once its values have ``frame_bytes`` bytes, and behind a message with
    buffers.
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
        """Where something is queued. Any thread appends; the holder of the socket takes away."""
        self.frames = 0
        """How many have been sent, and how many ``bytes`` in them."""
        self.bytes = 0
        self._origin = origin
        self._heads, self._starts, self._bases = numbering.heads, numbering.starts, numbering.bases
        self._carrier = carrier
        self._time = time
        self._frame_bytes = frame_bytes
        self._taken: list[ExchangeQueue] = []
        self._unsent: tuple[ExchangeQueue, int, list[Body], float] | None = None

    def send(self, most: int = LANES_AT_ONCE) -> int:
        """Number and send what is queued in some lanes, and before it what an exception left.

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
            # First: who queues behind what is seen now lists the lane again.
            lane.listed = False
            name, bodies = lane.name, lane.bodies
            start = starts.get(name, 0) if starts else 0
            left = len(bodies)
            count += left
            while left > 0:
                # A frame, and no call that is not needed before it leaves: each costs a frame
                # 0.1 µs, and a message that comes alone a whole one.
                fitting = self._fitting(bodies, left) if left > 1 else 1
                left -= fitting
                sent, first, now = bodies[:fitting], heads.get(name, start) + 1, self._time()
                last = first + fitting - 1
                if type(sent[-1]) is Bulk or (bases and name in bases):
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
                # It leaves first, and is noted while it is on its way.
                if buffers:
                    carrier.put_parts(data, buffers)
                else:
                    carrier.put(data, DO_NOT_WAIT)
                if lane.kept is not None:
                    lane.kept.keep(first, now, sent)
                frame = Frame(name, first, last, data, (), buffers)
                carrier.keep(frame)
                self.frames += 1
                self.bytes += frame.size
                self._unsent = None
        self._taken = []
        return count

    @property
    def interrupted(self) -> bool:
        """Whether an exception has left something, which whoever sends next goes on with."""
        return bool(self._taken) or self._unsent is not None

    def _fitting(self, bodies: list[Body], count: int) -> int:
        """Return how many of the first ``count`` make up a frame; what is bulky ends it."""
        count = min(count, FRAME_COUNT)
        if sum(map(len, bodies[:count])) < self._frame_bytes:
            return count
        size = 0
        for number, body in enumerate(bodies[:count], 1):
            size += len(body)
            if size >= self._frame_bytes or type(body) is Bulk:
                return number
        return count

    def _send_again(self, lane: ExchangeQueue, first: int, sent: list[Body], now: float) -> None:
        """Send what an exception has left: a receiver that gets it twice drops it by its number."""
        carrier, start = self._carrier, self._starts.get(lane.name, 0)
        base = self._bases.get(lane.name)
        frame = make_frame(lane, self._origin, first, sent, now, start, base)
        if lane.kept is not None:
            lane.kept.keep(first, now, sent)
        carrier.mend(frame)
        if frame.buffers:
            # If it was left between two of its parts this ends it, and tells the receiver
            # to drop it; else it is a message on a topic that nobody subscribes to.
            carrier.put(b"", DO_NOT_WAIT)
            carrier.put_parts(frame.data, frame.buffers)
        else:
            carrier.put(frame.data, DO_NOT_WAIT)
        carrier.keep(frame)
        self._unsent = None
