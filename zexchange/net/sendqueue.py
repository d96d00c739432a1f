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


class Lane(Protocol):
    """What a message is queued under: an exchange's name and topic, and what it keeps."""

    name: str
    topic: bytes
    kept: Retained | None


class Carrier(Protocol):
    """What numbered frames are handed to."""

    def carry(self, frame: Frame) -> None:
        """Keep a frame in the window and send it."""
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
        self.waiting: list[tuple[Lane, Body]] = []
        """What is queued. Any thread appends; only the holder of the socket takes away."""
        self._origin = origin
        self._heads = numbering.heads
        self._carrier = carrier
        self._time = time
        self._frame_bytes = frame_bytes
        self._lanes: dict[Lane, list[Body]] = {}
        self._unsent: tuple[Lane, Frame, float, list[Body]] | None = None
        self._begun = False

    def send(self) -> None:
        """Number and send all that is queued, and before it what was left by an exception."""
        if self._begun:
            self._go_on()
        waiting = self.waiting
        batch = waiting[:]
        if batch:
            self._begun = True
            lanes: dict[Lane, list[Body]] = {}
            for lane, body in batch:
                bodies = lanes.get(lane)
                if bodies is None:
                    lanes[lane] = [body]
                else:
                    bodies.append(body)
            count = len(batch)
            # One step:
            self._lanes = lanes
            del waiting[:count]
            self._send_lanes()
            self._begun = False

    def _go_on(self) -> None:
        if self._unsent is not None:
            lane, frame, sent_at, bodies = self._unsent
            if lane.kept is not None:
                lane.kept.keep(frame.first, sent_at, bodies)
            self._carrier.carry_again(frame)
            self._unsent = None
        self._send_lanes()
        self._begun = False

    def _send_lanes(self) -> None:
        for lane, bodies in self._lanes.items():
            while bodies:
                end = size = 0
                for body in bodies:
                    end += 1
                    size += len(body)
                    if size >= self._frame_bytes or type(body) is Bulk:
                        break
                self._emit(lane, bodies, end)

    def _emit(self, lane: Lane, bodies: list[Body], count: int) -> None:
        """Send the first ``count`` of an exchange's messages as one frame."""
        name, heads, sent = lane.name, self._heads, bodies[:count]
        first, now = heads.get(name, 0) + 1, self._time()
        last = first + count - 1
        if type(sent[-1]) is Bulk:
            frame = make_frame(lane, self._origin, first, sent, now)
        else:  # `make_frame` once more, written out: a call costs a tenth of what is done here
            head = data_head(lane.topic, self._origin, first, count, now)
            frame = Frame(name, first, last, b"".join([head, *sent]))  # type: ignore[list-item]
        unsent = (lane, frame, now, sent)
        # One step:
        heads[name] = last
        self._unsent = unsent
        del bodies[:count]
        if lane.kept is not None:
            lane.kept.keep(first, now, sent)
        self._carrier.carry(frame)
        self._unsent = None
