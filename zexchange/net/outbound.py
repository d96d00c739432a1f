"""The way out: what any thread has queued, and one XPUB that it leaves by.

A message is encoded by its sender's thread and appended to its exchange's lane; whoever then
holds the socket's lock takes all that is queued, numbers it, and sends it as one frame
per exchange and burst. To queue, a user's thread never waits for that lock: if somebody
else is sending, they or the sender thread take its message along. (`catch_up`, after the
local tasks and where much is queued, does wait, for a bounded time.) So a send
from a signal handler or a finaliser, even inside a send, is queued and not deadlocked,
and numbers, frames and heads (`announce`) share one order.

Each frame enters the window (`window`) as it is sent, in `carry`. Who sends, and when, is
decided by the pace (`pace`).
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import zmq

from ..history import Body, Frame, Ring
from ..local.exchange import Room
from ..protocol.interest import Keys
from ..protocol.relay import MARK
from ..protocol.sequence import Numbering
from ..protocol.values import Promise, Ready
from ..protocol.wire import data_head, read_token, ready_frame
from .pace import MOST_GAP, Pace
from .sendqueue import LANES_AT_ONCE, Lane, SendQueue, make_frame
from .sockets import DO_NOT_WAIT, EVENTS, READABLE, SNDMORE
from .window import REPLAY_BYTES, Window

if TYPE_CHECKING:
    from .world import World

FRAME_BYTES = 64 << 10
"""A frame is closed once its values have this many bytes; sooner where the ring is small."""
LOOK_EVERY = 0.001
"""Seconds between two looks, behind sends, at what subscribers asked for."""
RETRY = 100e-6
"""Seconds after which the sender thread looks again, where somebody else was sending."""
QUEUED_BYTES = 4 << 20
"""About as many bytes may be queued behind a socket that another thread is sending on."""
LANES_MOST = 4 * LANES_AT_ONCE
"""So many exchanges may wait behind that socket."""
CATCH_UP_SECONDS = 0.1
INTRODUCE = b"\x01" + MARK
"""What a hub subscribes to first begins so: whose the connection is."""
_ROUNDS = 4


class Outbound:
    """The data socket of a node and everything that leaves through it."""

    def __init__(
        self,
        socket: "zmq.Socket[bytes]",
        origin: bytes,
        notify: Callable[[], None],
        ring: Ring,
        may_wait: Callable[[], bool],
        world: "World",
    ) -> None:
        self.monotonic = world.monotonic
        self._socket = socket
        self._origin = origin
        self._notify = notify
        self._lock = threading.Lock()
        self._try_lock = partial(self._lock.acquire, False)
        self._holder = 0
        self._numbering = Numbering()
        self._frame_bytes = min(FRAME_BYTES, ring.window // 4)
        self._waiting = SendQueue(origin, self._numbering, self, world.time, self._frame_bytes)
        self._lanes = self._waiting.lanes
        self._queued_most = min(QUEUED_BYTES, ring.window)
        self.window = Window(
            ring,
            self._numbering,
            self._lock,
            lambda: may_wait() and not self._busy_here(),
            self.catch_up,
            world,
        )
        self.pace = Pace()
        self._asked = False
        self._look_at = 0.0
        self._time = world.time
        self._lend = world.lend
        self._closed = False
        self.subscriptions: deque[bytes] = deque()
        """Subscription frames that came in on the socket, for the control thread."""
        self.frames = 0
        self.bytes = 0
        self._sender = world.sender(self._send_later)

    def start(self) -> None:
        """Start the sender thread."""
        self._sender.start()

    # ------------------------------------------------------------- called by any thread

    def see_to(self, lane: Lane, size: int) -> Room | None:
        """Have what is queued sent, now or soon; the last in the lane has ``size`` bytes.

        To be called whenever something was queued, but not before `pace.quiet_until` if
        it is small and the lane is listed.

        Returns:
            What the sender has to wait for, if it has: for less to be on its way, or less
            to be queued behind a socket that is busy.
        """
        if not lane.listed:
            # One step:
            lane.listed = True
            self._lanes.append(lane)
        pace, bodies, window = self.pace, lane.bodies, self.window
        now = self.monotonic()
        if (
            now >= pace.direct_at
            or len(self._lanes) > LANES_AT_ONCE
            or (len(bodies) * (size + 1) >= self._frame_bytes and not pace.handed_over)
        ):
            self._drain()
        else:
            # First this, then whether the sender thread is asked: it takes that back first.
            if not window.full:
                pace.quiet_until = min(pace.direct_at, now + MOST_GAP)
            if not self._asked:
                self._ask()
        # Many lanes, too: each takes a send, and whoever is at it needs the interpreter's lock.
        if (
            window.full
            or len(self._lanes) > LANES_MOST
            or len(bodies) * (size + 64) > self._queued_most
        ):
            return window.room
        return None

    def catch_up(self) -> None:
        """Send what is queued, waiting for the socket; only where `Room.wait` may wait.

        Bounded: what runs while another thread holds it, a finaliser, may wait for us.
        """
        held = False
        try:
            for held in iter(partial(self._lock.acquire, True, CATCH_UP_SECONDS), False):  # noqa: B007
                self._send_everything()
                break
        finally:
            if held:
                self._lock.release()

    def _busy_here(self) -> bool:
        """Tell whether this thread is sending for all: in a signal handler or a finaliser."""
        return self._holder == threading.get_ident() or self._sender.current

    def _ask(self) -> None:
        self._asked = True
        self._sender.ask()

    def _drain(self) -> None:
        """Send what is queued, unless somebody holds the socket: then the sender thread will.

        Looked at again after the release, for what others queued while we held it.
        """
        for _ in range(_ROUNDS):
            if not self._lanes:
                return
            held = False
            try:
                # Not `acquire`, then `try`: an exception of a signal handler would come in
                # between. No signal is looked for between this step and the assignment.
                for held in iter(self._try_lock, False):  # noqa: B007
                    self._send_queued(True)
                    break
            finally:
                if held:
                    self._lock.release()
            if not held or self.pace.handed_over:
                break
        # Somebody else is at it, or others queue faster than we send.
        if not self._asked:
            self._ask()

    # ------------------------------------------------------- called by the control thread

    def announce(
        self,
        receiver: bytes,
        epoch: int,
        keys: Keys,
        held: Iterable[str],
        promised: Iterable[Promise] = (),
    ) -> dict[str, int]:
        """Publish a ready, behind all that was queued before; return the heads in it.

        What is sent behind it under the ``held`` keys is held for the receiver.
        """
        with self._lock:
            self._send_everything()
            self.window.promise_now(receiver, Keys(held))
            heads = self._numbering.covered(keys)
            behind = tuple(promise.behind(heads) for promise in promised)
            self._send(ready_frame(Ready(receiver, epoch, self._origin, heads, behind)))
            self._read_subscriptions()
        return heads

    def beacon(self, topics: Iterable[tuple[str, bytes]]) -> None:
        """Publish the heads of exchanges on their own topics: who has them acknowledges."""
        with self._lock:
            self._send_everything()
            for name, topic in topics:
                head = self._numbering.heads.get(name, 0)
                self._send(data_head(topic, self._origin, head + 1, 0, self._time()))
            self._read_subscriptions()

    def inherit(self, lane: Lane, kept: Iterable[tuple[Body, float]]) -> None:
        """Number what was sent before anything could cross, and keep it. Any thread."""
        with self._lock:
            for body, sent_at in kept:
                first = self._numbering.take(lane.name, 1)
                if lane.kept is not None:
                    lane.kept.keep(first, sent_at, [body])

    def kept(self, lanes: Iterable[Lane]) -> dict[str, tuple[int, int]]:
        """Return, by exchange, which of the last messages are kept for late joiners."""
        with self._lock:
            found = {lane.name: lane.kept.range() for lane in lanes if lane.kept is not None}
        return {name: ends for name, ends in found.items() if ends is not None}

    def recall(self, lane: Lane, first: int, last: int) -> list[Frame]:
        """Return frames of what is kept for late joiners: a bounded part, oldest first."""
        with self._lock:
            runs = lane.kept.runs(first, last, REPLAY_BYTES) if lane.kept is not None else []
        return [make_frame(lane, self._origin, r.first, r.bodies, r.sent_at) for r in runs]

    def heads(self) -> dict[str, int]:
        """Return the head of every exchange, everything queued before the call included."""
        with self._lock:
            self._send_everything()
            return dict(self._numbering.heads)

    def poll(self) -> None:
        """Take in subscriptions: the socket's FD has woken the control thread."""
        with self._lock:
            self._read_subscriptions()

    def publish_to(self, endpoint: str, connect: bool) -> None:
        """Connect the socket to a hub, or disconnect it."""
        with self._lock, suppress(zmq.ZMQError):
            (self._socket.connect if connect else self._socket.disconnect)(endpoint)
            self._read_subscriptions()

    def introduce(self, topic: bytes, words: bytes) -> None:
        """Tell a hub whose connection this is."""
        with self._lock:
            self._send(topic + words)
            self._read_subscriptions()

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when `poll` has work."""
        return int(self._socket.getsockopt(zmq.FD))

    def close(self, linger: float) -> None:
        """Send what is queued and close the socket; later messages go nowhere."""
        with self._lock:
            self._send_everything()
            self._closed = True
            self.window.close()
            self._socket.close(linger=int(linger * 1000))
        self._sender.end()
        if not self._sender.current:
            self._sender.join(timeout=1.0)

    # ------------------------------------------------------------------ under the lock

    def _send_queued(self, direct: bool = False) -> None:
        """Send what is queued; ``direct`` if this thread queued some of it itself."""
        self._holder = threading.get_ident()
        waiting = self._waiting
        try:
            self.pace.quiet_until = 0.0  # before it is looked what there is
            size, frames, began = self.bytes, self.frames, self.monotonic()
            try:
                count = waiting.send()
            except BaseException:
                waiting.send()  # who comes next finds everything in order
                raise
            self.pace.sent(
                began, self.monotonic(), count, self.frames - frames, self.bytes - size, direct
            )
            if began >= self._look_at:
                self._look_at = began + LOOK_EVERY
                self._read_subscriptions()
        finally:
            self._holder = 0

    def _send_everything(self) -> None:
        """Send all that was queued before."""
        for _ in range(len(self._lanes) // LANES_AT_ONCE + 1):
            self._send_queued()

    def carry(self, frame: Frame) -> None:
        """See `Carrier`."""
        # It leaves first, and is noted while it is on its way. An XPUB never blocks: over its
        # high-water mark it drops, and a gap tells.
        if frame.buffers:
            self._send_bulk(frame)
        else:
            self._send(frame.data)
        self.window.keep(frame)
        self.frames += 1
        self.bytes += frame.size

    def carry_again(self, frame: Frame) -> None:
        """See `Carrier`: a receiver that gets it twice drops it by its number."""
        self.window.mend(frame)
        if frame.buffers and not self._closed:
            # If it was left between two of its parts this ends it, and tells the receiver
            # to drop it; else it is a message on a topic that nobody subscribes to.
            self._socket.send(b"", DO_NOT_WAIT)
        self.carry(frame)

    def _send(self, frame: bytes) -> None:
        if not self._closed:
            self._socket.send(frame, DO_NOT_WAIT)

    def _send_bulk(self, frame: Frame) -> None:
        if self._closed:
            return
        self._lend()
        # Dropped at a high-water mark as one, too.
        send, last = self._socket.send, frame.buffers[-1]
        send(frame.data, DO_NOT_WAIT | SNDMORE)
        for buffer in frame.buffers[:-1]:
            send(buffer, DO_NOT_WAIT | SNDMORE, copy=False)
        send(last, DO_NOT_WAIT, copy=False)

    def _read_subscriptions(self) -> None:
        """Take in what subscribers asked for.

        Also behind sends, whose own look at the socket's state may have eaten the wake-up of
        the control thread. What that eats behind the last of many, the next `poll` finds.
        """
        if self._closed:
            return
        socket, seen = self._socket, False
        while int(socket.getsockopt(EVENTS)) & READABLE:
            with suppress(zmq.Again):
                frame = socket.recv(zmq.NOBLOCK, copy=False)
                self.subscriptions.append(frame.bytes)
                token = read_token(frame.bytes[1:])
                if token is not None and frame.bytes[0] == 1:
                    self.window.connected(token[0], int(frame.get(zmq.SRCFD)))
                elif frame.bytes[:2] == INTRODUCE:
                    self.window.shared(int(frame.get(zmq.SRCFD)))
                seen = True
        if seen:
            self._notify()

    # -------------------------------------------------------------- the sender thread

    def _send_later(self) -> float:
        """Send what is queued, unless others are about to; return when to look again."""
        pace = self.pace
        if not pace.handed_over and (left := pace.direct_at - self.monotonic()) > 0:
            return left
        if not self._try_lock():
            return RETRY
        try:
            # First: what is queued from here on is taken along, or asked for again.
            self._asked = False
            self._send_queued()
        finally:
            self._lock.release()
        return RETRY if self._lanes else 0.0
