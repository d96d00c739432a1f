"""What is on its way to the data socket, and how it survives an exception out of nowhere.

Ctrl-C, or any signal handler that raises, may end a thread's work between any two steps.
So each step here leaves either what was before it or what is after it, and whoever sends
next goes on where it was left. Two statements in a row that neither call nor jump backward
are one step: CPython looks for signals only after calls and at backward jumps (its ceval
loop, 3.11 to 3.13).
"""

from collections.abc import Callable
from typing import Protocol

from ..history import Body, Buffer, Bulk, Frame, Retained
from ..protocol.sequence import Numbering
from ..protocol.wire import data_head

FRAME_COUNT = 1000
"""Messages in a frame at most: its receiver hands them to every task before it looks up."""
LANES_AT_ONCE = 64
"""Lanes that are emptied in one go. Each takes a send, and each send may have to wait for the
interpreter's lock: whoever else wants the socket shall not wait for too many."""


class Lane(Protocol):
    """What messages of one exchange are queued in.

    Any thread appends to ``bodies``, and if the lane is not ``listed`` then, marks it so and
    appends it to `SendQueue.lanes`.
    """

    name: str
    topic: bytes
    kept: Retained | None
    bodies: list[Body]
    listed: bool


class Carrier(Protocol):
    """What numbered frames are handed to."""

    def carry(self, frame: Frame) -> None:
        """Send a frame, and keep it in the window."""
        ...

    def carry_again(self, frame: Frame) -> None:
        """Do so after a `carry` that may have been left anywhere."""
        ...


def make_frame(lane: Lane, origin: bytes, first: int, bodies: list[Body], sent_at: float) -> Frame:
    """Return messages of one exchange as a frame; only the last may have buffers."""
    body = bodies[-1]
    buffers: tuple[Buffer, ...] = ()
    if isinstance(body, Bulk):
        buffers, bodies = body.buffers, [*bodies[:-1], body.packed]
    head = data_head(lane.topic, origin, first, len(bodies), sent_at, len(buffers))
    data = b"".join([head, *bodies])  # type: ignore[list-item]
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
        carrier: Carrier,
        time: Callable[[], float],
        frame_bytes: int,
    ) -> None:
        self.lanes: list[Lane] = []
        """Where something is queued. Any thread appends; the holder of the socket takes away."""
        self._origin = origin
        self._heads = numbering.heads
        self._carrier = carrier
        self._time = time
        self._frame_bytes = frame_bytes
        self._taken: list[Lane] = []
        self._unsent: tuple[Lane, Frame, float, list[Body]] | None = None

    def send(self) -> int:
        """Number and send what is queued in some lanes, and before it what an exception left.

        Returns:
            How many messages that were.
        """
        if self._taken:
            self._go_on()
        lanes = self.lanes
        taken = lanes[:LANES_AT_ONCE]
        count = len(taken)
        # One step:
        self._taken = taken
        del lanes[:count]
        return self._send_taken()

    def _go_on(self) -> None:
        if self._unsent is not None:
            lane, frame, sent_at, bodies = self._unsent
            if lane.kept is not None:
                lane.kept.keep(frame.first, sent_at, bodies)
            self._carrier.carry_again(frame)
            self._unsent = None
        self._send_taken()

    def _send_taken(self) -> int:
        count = 0
        for lane in self._taken:
            # First: who queues behind what is seen now lists the lane again.
            lane.listed = False
            bodies = lane.bodies
            left = len(bodies)
            count += left
            while left > 0:
                fitting = self._fitting(bodies, left) if left > 1 else 1
                left -= fitting
                self._emit(lane, bodies, fitting)
        self._taken = []
        return count

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

    def _emit(self, lane: Lane, bodies: list[Body], count: int) -> None:
        """Send the first ``count`` of an exchange's messages as one frame."""
        name, heads, sent = lane.name, self._heads, bodies[:count]
        first, now = heads.get(name, 0) + 1, self._time()
        last = first + count - 1
        frame = make_frame(lane, self._origin, first, sent, now)
        unsent = (lane, frame, now, sent)
        # One step:
        heads[name] = last
        self._unsent = unsent
        del bodies[:count]
        if lane.kept is not None:
            lane.kept.keep(first, now, sent)
        self._carrier.carry(frame)
        self._unsent = None
