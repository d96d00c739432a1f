"""The way out: a queue that any thread may append to, and one XPUB that drains it.

A message is encoded by its sender's thread and appended to one queue; whoever then
holds the socket's lock takes all that is queued, numbers it, and sends it as one frame
per exchange and burst. A user's thread never waits for that lock: it appends, and if
somebody else is sending, they or the sender thread take its message along. So a send
from a signal handler or a finaliser, even inside a send, is queued and not deadlocked,
and numbers, frames and heads (`announce`) share one order.

The window is here: `_emit` enters each frame into the ring, held for the peers that are
promised it; acknowledgements let go of it; and while too much is held, `full` tells the
bridges to have their senders wait for `room`, after the local tasks.
"""

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Protocol

import zmq

from ..history import Frame, Ring
from ..local.exchange import Room
from ..protocol.interest import Keys
from ..protocol.sequence import Numbering
from ..protocol.values import Ready
from ..protocol.wire import data_head, ready_frame

BATCH_BYTES = 64 << 10
"""A frame is closed once its values have this many bytes."""
BATCH_COUNT = 256
"""As many queued messages are sent at once by the thread that queued the last."""
PAUSE = 0.0003
"""Seconds after a send within which further messages are left to travel together."""
REPLAY_BYTES = 256 << 10
"""About as many bytes are sent again for one request; the rest is asked for again."""
_ROUNDS = 4
_log = logging.getLogger("zexchange")
_monotonic = time.monotonic


class Lane(Protocol):
    """What a message is queued under: an exchange's name and topic."""

    name: str
    topic: bytes


class SendRoom(Room):
    """What a sender waits for, after the local tasks, while too much is on its way."""

    def __init__(self, outbound: "Outbound", may_wait: Callable[[], bool]) -> None:
        self._outbound = outbound
        self._may_wait = may_wait
        self._changed = threading.Condition()

    def wait(self) -> None:
        """Wait until there is room; at once where waiting would be for oneself."""
        outbound = self._outbound
        if not outbound.full or not self._may_wait():
            return
        started = _monotonic()
        with self._changed:
            # Looked at from time to time: a notice may come between look and wait.
            while outbound.holds_up():
                self._changed.wait(0.05)
        outbound.waited += _monotonic() - started

    def open(self) -> None:
        """Let all go on that wait. Never held for long: nobody works under it."""
        with self._changed:
            self._changed.notify_all()


class Outbound:
    """The data socket of a node and everything that leaves through it."""

    def __init__(
        self,
        socket: "zmq.Socket[bytes]",
        origin: bytes,
        notify: Callable[[], None],
        ring: Ring,
        may_wait: Callable[[], bool],
    ) -> None:
        self._socket = socket
        self._origin = origin
        self._notify = notify
        self._queue: deque[tuple[Lane, bytes]] = deque()
        self._lock = threading.Lock()
        self._numbering = Numbering()
        self._ring = ring
        self._promised: dict[bytes, Keys] = {}
        self._slow: set[bytes] = set()
        self._audiences: dict[str, tuple[bytes, ...]] = {}
        self.full = False
        """Whether whoever sends has to wait for `room`."""
        self.room = SendRoom(self, may_wait)
        self.waited = 0.0
        self._direct_at = 0.0
        self._asked = False
        self._wake: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self.closed = False
        self.subscriptions: deque[bytes] = deque()
        """Subscription frames that came in on the socket, for the control thread."""
        self.frames = 0
        self._thread = threading.Thread(target=self._run, name="zexchange-sender", daemon=True)

    def start(self) -> None:
        """Start the sender thread."""
        self._thread.start()

    # ------------------------------------------------------------- called by any thread

    def submit(self, lane: Lane, body: bytes) -> None:
        """Queue one encoded message, and send what is queued if the lane is idle."""
        waiting = self._queue
        waiting.append((lane, body))
        if (
            _monotonic() >= self._direct_at
            or len(waiting) >= BATCH_COUNT
            or len(body) >= BATCH_BYTES
        ):
            self._drain()
        elif not self._asked:
            self._ask()

    def _ask(self) -> None:
        self._asked = True
        self._wake.put(True)

    def _drain(self) -> None:
        """Send what is queued, unless somebody holds the socket: then the sender thread will.

        Looked at again after the release, for what others queued while we held it.
        """
        for _ in range(_ROUNDS):
            if not self._queue:
                return
            if not self._lock.acquire(blocking=False):
                break
            try:
                self._send_queued()
            finally:
                self._lock.release()
        # Somebody else is at it, or others queue faster than we send.
        if not self._asked:
            self._ask()

    def holds_up(self) -> bool:
        """Tell whether a sender has to wait."""
        return self.full and not self.closed

    # -------------------------------------------- the window, called by the control thread

    def promise(self, peer: bytes, keys: Iterable[str]) -> None:
        """Hold for a peer, from now on, what is sent under these keys, and nothing else."""
        with self._lock:
            self._promise(peer, Keys(keys))

    def _promise(self, peer: bytes, keys: Keys) -> None:
        self._promised[peer] = keys
        self._audiences.clear()
        for name in self._ring.held():
            if not keys.covers(name):
                self._ring.release(peer, name)
        self._judge()

    def forget(self, peer: bytes) -> None:
        """Hold nothing for a peer any more: it has left."""
        with self._lock:
            self._promised.pop(peer, None)
            self._slow.discard(peer)
            self._audiences.clear()
            self._ring.release(peer)
            self._judge()

    def acknowledge(self, peer: bytes, acked: dict[str, int], positions: dict[str, int]) -> bool:
        """Let go of what a peer has; tell whether a slow one has caught up with that."""
        with self._lock:
            for name, position in positions.items():
                self._ring.acknowledge(peer, name, position)
            caught_up = peer in self._slow and self._has_caught_up(peer, acked)
            if caught_up:
                self._slow.discard(peer)
                self._audiences.clear()
            self._judge()
            return caught_up

    def _has_caught_up(self, peer: bytes, acked: dict[str, int]) -> bool:
        """Tell whether all that a slow peer lacks is kept, and little; then hold it again."""
        keys, lacking = self._promised.get(peer, Keys()), 0
        for name in self._numbering.covered(keys):
            behind = self._ring.behind(name, acked.get(name, 0))
            if behind is None:
                return False
            lacking += behind
        if lacking > self._ring.window // 2:
            return False
        for name in self._numbering.covered(keys):
            self._ring.hold(peer, name, acked.get(name, 0))
        return True

    def slow(self, peer: bytes) -> None:
        """Have a peer hold nobody any more."""
        with self._lock:
            self._make_slow(peer)

    def _make_slow(self, peer: bytes) -> None:
        self._slow.add(peer)
        self._audiences.clear()
        self._ring.release(peer)
        self._judge()

    def _judge(self) -> None:
        """Decide whether senders have to wait; wake them where they need not any more."""
        full, self.full = self.full, self._ring.full
        if full and not self.full:
            self.room.open()

    def slow_peers(self) -> set[bytes]:
        """Return the peers that hold nobody."""
        return set(self._slow)

    def holders(self) -> set[bytes]:
        """Return the peers that senders wait for."""
        with self._lock:
            return self._ring.holders() if self.full else set()

    def unacknowledged(self) -> dict[str, int]:
        """Return the head of each exchange of which something is held."""
        with self._lock:
            return self._ring.held()

    def replay(self, name: str, first: int, last: int) -> list[Frame]:
        """Return frames that hold what is asked for again: a bounded part, oldest first."""
        with self._lock:
            return self._ring.replay(name, first, last, REPLAY_BYTES)

    # ------------------------------------------------------- called by the control thread

    def announce(self, receiver: bytes, epoch: int, keys: Keys, promised: Iterable[str]) -> None:
        """Publish a ready: behind all that was queued before, with the heads it leads to.

        What is sent behind it under the ``promised`` keys is held for the receiver.
        """
        with self._lock:
            self._send_queued()
            self._promise(receiver, Keys(promised))
            heads = self._numbering.covered(keys)
            self._send(ready_frame(Ready(receiver, epoch, self._origin, heads)))
            self._read_subscriptions()

    def beacon(self, topics: Iterable[tuple[str, bytes]]) -> None:
        """Publish the heads of exchanges on their own topics: who has them acknowledges."""
        with self._lock:
            self._send_queued()
            for name, topic in topics:
                head = self._numbering.heads.get(name, 0)
                self._send(data_head(topic, self._origin, head + 1, 0, time.time()))
            self._read_subscriptions()

    def heads(self) -> dict[str, int]:
        """Return the head of every exchange, everything queued before the call included."""
        with self._lock:
            self._send_queued()
            return dict(self._numbering.heads)

    def poll(self) -> None:
        """Take in subscriptions: the socket's FD has woken the control thread."""
        with self._lock:
            self._read_subscriptions()

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when `poll` has work."""
        return int(self._socket.getsockopt(zmq.FD))

    def close(self, linger: float) -> None:
        """Send what is queued and close the socket; later messages go nowhere."""
        with self._lock:
            self._send_queued()
            self.closed = True
            self.room.open()
            self._socket.close(linger=int(linger * 1000))
        self._wake.put(False)
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=1.0)

    # ------------------------------------------------------------------ under the lock

    def _send_queued(self) -> None:
        waiting = self._queue
        lanes: dict[Lane, list[bytes]] = {}
        for _ in range(len(waiting)):
            lane, body = waiting.popleft()
            bodies = lanes.get(lane)
            if bodies is None:
                lanes[lane] = [body]
            else:
                bodies.append(body)
        for lane, bodies in lanes.items():
            self._send_lane(lane, bodies)
        self._direct_at = _monotonic() + PAUSE
        self._read_subscriptions()

    def _send_lane(self, lane: Lane, bodies: list[bytes]) -> None:
        """Send one exchange's messages, in frames of about `BATCH_BYTES`."""
        start = size = 0
        for end, body in enumerate(bodies, 1):
            size += len(body)
            if size >= BATCH_BYTES:
                self._emit(lane, bodies[start:end])
                start, size = end, 0
        if start < len(bodies):
            self._emit(lane, bodies[start:])

    def _emit(self, lane: Lane, bodies: list[bytes]) -> None:
        name, count = lane.name, len(bodies)
        first = self._numbering.take(name, count)
        head = data_head(lane.topic, self._origin, first, count, time.time())
        frame = head + bodies[0] if count == 1 else b"".join([head, *bodies])
        audience = self._audiences.get(name)
        if audience is None:
            audience = self._audience(name)
        ring = self._ring
        ring.append(Frame(name, first, first + count - 1, frame, audience))
        while ring.bytes > ring.most_bytes + ring.window:
            # Senders that may not wait have overdrawn all there is: the peers that hold
            # the oldest frame are too slow for that.
            for peer in ring.holders():
                self._make_slow(peer)
        self.full = ring.full
        self._send(frame)

    def _audience(self, name: str) -> tuple[bytes, ...]:
        """Return the peers that a frame is held for: promised it, and not too slow."""
        audience = self._audiences[name] = tuple(
            peer
            for peer, keys in self._promised.items()
            if peer not in self._slow and keys.covers(name)
        )
        return audience

    def _send(self, frame: bytes) -> None:
        if self.closed:
            return
        self.frames += 1
        # An XPUB never blocks: over its high-water mark it drops, and a gap tells.
        self._socket.send(frame, zmq.NOBLOCK)

    def _read_subscriptions(self) -> None:
        """Take in what subscribers asked for.

        Also after each send, whose own look at the socket's state may have eaten the
        wake-up of the control thread.
        """
        if self.closed:
            return
        socket, seen = self._socket, False
        while int(socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            with suppress(zmq.Again):
                self.subscriptions.append(socket.recv(zmq.NOBLOCK))
                seen = True
        if seen:
            self._notify()

    # -------------------------------------------------------------- the sender thread

    def _run(self) -> None:
        while self._wake.get():
            time.sleep(PAUSE)
            self._asked = False
            try:
                with self._lock:
                    self._send_queued()
            except Exception:
                _log.exception("the sender thread failed and goes on")
