"""The way out: what any thread has queued, and one XPUB that it leaves by.

A message is encoded by its sender's thread and appended to its exchange's lane; whoever then
holds the socket's lock takes all that is queued, numbers it, and sends it as one frame
per exchange and burst. To queue, a user's thread never waits for that lock: if somebody
else is sending, they or the sender thread take its message along. (`catch_up`, after the
local tasks and where much is queued, does wait, for a bounded time.) So a send
from a signal handler or a finaliser, even inside a send, is queued and not deadlocked,
and numbers, frames and heads (`announce`) share one order.

Each frame enters the window (`window`) as it is sent, in `keep`. Who sends, and when, is
decided by the pacer (`pacing`).
"""

import threading
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

import zmq

from ...history import Body, Buffer, Frame, Retained, Ring
from ...local.exchange import Backpressure
from ...protocol.delivery.sequence import Numbering
from ...protocol.interest.interest import NameSet
from ...protocol.session.peers import Peer
from ...protocol.wire.data import data_head, ready_frame, ready_frames, ready_that_fits
from ...protocol.wire.data import topic as make_topic
from ...protocol.wire.messages import Promise, Ready
from ..security.subscription_filter import SubscriptionFilter
from ..transport.sockets import DO_NOT_WAIT, SNDMORE, connect, plain_send
from ..transport.sync import LOOK_SECONDS, looking
from .pacing import GAP, HELD_UP, MOST_GAP, SendPacer
from .send_queue import LANES_ALONG, LANES_AT_ONCE, ExchangeQueue, SendQueue, make_frame
from .subscriptions import AT_ONCE, SubscriptionReader
from .window import REPLAY_BYTES, Window

if TYPE_CHECKING:
    from ..transport.environment import Environment

FRAME_BYTES = 64 << 10
"""A frame is closed once its values have this many bytes; sooner where the ring is small."""
LOOK_EVERY = 0.001
"""Seconds between two looks, behind sends, at what subscribers asked for."""
RETRY = 100e-6
"""Seconds after which the sender thread looks again, where somebody else was sending."""
QUEUED_BYTES = 4 << 20
"""About as many bytes may be queued behind a socket that another thread is sending on."""
LANES_ALONE = 64
"""So many are the most that the sender thread is left alone with, where much is in them."""
LANES_TOGETHER = 128
"""So many exchanges may wait for more to travel together, each in a frame of its own."""
LANES_MOST = 2 * LANES_TOGETHER
"""So many may wait behind a socket that another thread is sending on. Each is a frame, and with
those of the window they have to stay below ZeroMQ's mark, or are dropped and asked for again."""
CATCH_UP_SECONDS = 0.1
BEACON_SECONDS = 0.05
"""Seconds for asking how far peers are: senders and the control thread have other work."""
_ROUNDS = 4


def _nowhere(frame: bytes, flags: int) -> None:
    """Take the place of a socket that is closed."""


class Publisher:
    """The data socket of a node and everything that leaves through it."""

    def __init__(
        self,
        socket: "zmq.Socket[bytes]",
        origin: bytes,
        notify: Callable[[], None],
        ring: Ring,
        may_wait: Callable[[], bool],
        world: "Environment",
        gate: SubscriptionFilter | None = None,
    ) -> None:
        self.monotonic = world.monotonic
        self._socket = socket
        self.put = plain_send(socket)
        self._gate = gate
        self._origin = origin
        self._notify = notify
        self._lock = threading.Lock()
        self._try_lock = partial(self._lock.acquire, False)
        self._holder = 0
        self._numbering = Numbering()
        self._frame_bytes = min(FRAME_BYTES, ring.window // 4)
        self._waiting = SendQueue(origin, self._numbering, self, world.time, self._frame_bytes)
        self.lanes = self._waiting.lanes
        """Where something is queued. Any thread may look, and append."""
        self._queued_most = min(QUEUED_BYTES, ring.window)
        self.window = Window(
            ring,
            self._numbering,
            self._lock,
            lambda: may_wait() and not self.busy_here(),
            self.catch_up,
            self._if_free,
            world,
        )
        self.keep = self.window.keep
        self.demand = SubscriptionReader(socket, self.window, notify, gate, world.monotonic)
        self.pace = SendPacer()
        self._asked = False
        self._look_at = 0.0
        self._time = world.time
        self._lend = world.lend
        self._closed = False
        self._sender = world.sender(self._send_later)

    def start(self) -> None:
        """Start the sender thread."""
        self._sender.start()

    # ------------------------------------------------------------- called by any thread

    def see_to(self, lane: ExchangeQueue, size: int) -> Backpressure | None:
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
            self.lanes.append(lane)
        pace, bodies, window = self.pace, lane.bodies, self.window
        now, lanes = self.monotonic(), len(self.lanes)
        if pace.handed_over:
            # Many lanes are too much for the sender thread alone, if it has to wait for each.
            queued = lanes * len(bodies) * (size + 64)
            much = lanes > LANES_ALONE and queued > self._queued_most // 8
        else:
            much = len(bodies) * (size + 1) >= self._frame_bytes
        if much or now >= pace.direct_at or lanes > LANES_TOGETHER:
            self._drain()
        else:
            # First this, then whether the sender thread is asked: it takes that back first.
            if not window.full:
                pace.quiet_until = min(pace.direct_at, now + MOST_GAP)
            if not self._asked:
                self._ask()
        # Many lanes, too: each takes a send, and whoever is at it needs the interpreter's lock.
        # Looked at anew, for it may just have been sent. What is in all of them is taken to be
        # as much as is in this one.
        lanes = max(len(self.lanes), 1)
        if (
            window.full
            or lanes > LANES_MOST
            or lanes * len(bodies) * (size + 64) > self._queued_most
        ):
            return window.room
        return None

    def send_alone(self, lane: ExchangeQueue, size: int) -> Backpressure | None:
        """See to a message that nothing is queued before: mostly, it is sent at once.

        As `see_to`, `_drain` and `_send_queued` do, written out: to a message that comes when
        nothing else happens, and caches are cold, each call costs a microsecond.
        """
        pace, lanes = self.pace, self.lanes
        # One step:
        lane.listed = True
        lanes.append(lane)
        began, held = self.monotonic(), False
        if began < pace.direct_at or pace.handed_over:
            return self.see_to(lane, size)
        try:
            for held in iter(self._try_lock, False):  # noqa: B007
                self._holder = threading.get_ident()
                waiting = self._waiting
                bytes_before, frames_before = waiting.bytes, waiting.frames
                try:
                    count = waiting.send()
                except BaseException:
                    waiting.send()  # who comes next finds everything in order
                    raise
                ended = self.monotonic()
                if count == 1 and ended - began < HELD_UP:
                    pace.direct_at = ended + GAP
                else:
                    sent_frames, sent = waiting.frames - frames_before, waiting.bytes - bytes_before
                    pace.sent(began, ended, count, sent_frames, sent, True)
                if self.window.acknowledged or began >= self._look_at:
                    self._look_around(began)
                break
        finally:
            if held:
                self._holder = 0
                self._lock.release()
        if not held:
            return self.see_to(lane, size)
        if lanes and not self._asked:
            self._ask()
        return self.window.room if self.window.full else None

    def catch_up(self) -> None:
        """Send what is queued, waiting for the socket; only where `Backpressure.wait` may wait.

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

    def busy_here(self) -> bool:
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
            if not self.lanes:
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
            if not held:
                # Somebody else is at it. If that is a thread which waits for the interpreter's
                # lock, whoever has that may as well queue on, without asking each time.
                if not self.window.full:
                    self.pace.quiet_until = self.monotonic() + RETRY
                break
            if self.pace.handed_over:
                break
        # Or others queue faster than we send.
        if not self._asked:
            self._ask()

    # ------------------------------------------------------- called by the control thread

    def announce(
        self, peer: Peer, epoch: int, keys: NameSet, used: Callable[[str], bool]
    ) -> tuple[dict[str, int], int]:
        """Publish a ready, behind all that was queued before.

        What is sent behind it under the keys of that epoch is held for the peer.

        Args:
            peer: whose token is answered.
            epoch: of the token.
            keys: whose heads it is told.
            used: tells which exchanges are told of first, where it knows no starts.

        Returns:
            The heads, as places, and how many of them it was not told: where it knows no starts,
            and takes a ready of one frame, what that does not hold.
        """
        numbering, interest, receiver = self._numbering, peer.interest, peer.id
        with self._lock:
            if self._gate is not None:
                self._gate.keep_to(receiver)
            self._send_everything()
            self.window.promise_now(receiver, NameSet(interest.held(epoch)), peer.forgets)
            heads = numbering.covered(keys)
            behind = tuple(promise.behind(heads) for promise in interest.promised)
            if peer.forgets:
                # Not over all of `starts`: other threads add to it, of what is not numbered yet.
                starts = {
                    name: numbering.starts[name] for name in heads if name in numbering.starts
                }
                bases = {n: numbering.bases[n] for n in starts if n in numbering.bases}
                told = receiver, epoch, self._origin, heads, behind, starts
                whole, left_out = Ready(*told, bases=bases, account=interest.account), 0
                frames = ready_frames(whole)
            else:
                behind = tuple(Promise(p.epoch, numbering.numbers(p.heads)) for p in behind)
                known = numbering.numbers(dict(sorted(heads.items(), key=lambda h: used(h[0]))))
                whole = Ready(receiver, epoch, self._origin, known, behind)
                frame, left_out = ready_that_fits(whole)
                frames = [frame]
            for frame in frames:
                self.put(frame, DO_NOT_WAIT)
            self.demand.read()
        return heads, left_out

    def have_forgotten(self, peer: bytes, epoch: int, number: int, heads: dict[str, int]) -> None:
        """Tell a peer to forget exchanges: after all that was sent on them, in this order."""
        ready = Ready(peer, epoch, self._origin, {}, forget=heads, number=number)
        with self._lock:
            self.put(ready_frame(ready), DO_NOT_WAIT)
            self.demand.read()

    def beacon(self, topics: Iterable[tuple[str, bytes]]) -> None:
        """Publish the heads of exchanges on their own topics: who has them acknowledges.

        No more are taken once that has been at it for `BEACON_SECONDS`.
        """
        with self._lock:
            self._send_everything()
            self._beacon(topics)
            self.demand.read()

    def _beacon(self, topics: Iterable[tuple[str, bytes]]) -> None:
        """Publish heads; the lock is held."""
        numbering, now = self._numbering, self._time()
        until = self.monotonic() + BEACON_SECONDS
        for name, topic in topics:
            start = numbering.start(name)
            head, base = numbering.heads.get(name, start), numbering.bases.get(name)
            self.put(data_head(topic, self._origin, head + 1, 0, now, 0, start, base), DO_NOT_WAIT)
            # Each lets go of the interpreter's lock, which comes back after 5 ms where somebody
            # computes.
            if self.monotonic() >= until:
                break

    def forget(
        self,
        most: int,
        used: Callable[[str], bool],
        acked: Mapping[bytes, Mapping[str, int]],
        agreed: Callable[[str, int], AbstractContextManager[bool]],
    ) -> dict[bytes, dict[str, int]]:
        """Forget the oldest exchanges, as far as nobody needs them to be remembered.

        Who has not acknowledged one that is idle is asked to. Control thread only, under the
        lock of `Bridges`.

        Args:
            most: how many are looked at.
            used: tells whether one is still needed here.
            acked: by peer, what it has acknowledged.
            agreed: says whether the other nodes of this process have no need of one either, as
                long as it is entered; by its head.

        Returns:
            By peer that was promised them, the exchanges that were forgotten and their heads;
            under no peer (``b""``), all of them.
        """
        forgotten: dict[bytes, dict[str, int]] = {b"": {}}
        unsure, window = list[tuple[str, bytes]](), self.window
        with self._lock:
            if self._waiting.interrupted:
                return forgotten
            window.take_acknowledged()
            heads = self._numbering.heads
            for name in list(islice(heads, most)):
                head = heads.pop(name)
                heads[name] = head  # behind all others: those are looked at before it is again
                if used(name) or not window.free(name, head):
                    continue
                audience = window.audience(name)
                if any(acked.get(peer, {}).get(name, 0) < head for peer in audience):
                    unsure.append((name, make_topic(name)))
                    continue
                with agreed(name, head) as may_go:
                    if may_go:
                        window.forget_exchange(name)
                        for peer in (b"", *audience):
                            forgotten.setdefault(peer, {})[name] = head
            self._beacon(unsure)
        return forgotten

    def inherit(self, lane: ExchangeQueue, kept: Iterable[tuple[Body, float]]) -> None:
        """Number what was sent before anything could cross, and keep it. Any thread."""
        with self._lock:
            for body, sent_at in kept:
                first = self._numbering.heads[lane.name] = self._numbering.place(lane.name) + 1
                if lane.kept is not None:
                    lane.kept.keep(first, sent_at, [body])

    @contextmanager
    def held(self) -> Generator[None, None, None]:
        """Send what is queued, and nothing more inside the ``with`` block."""
        with self._lock:
            self._send_everything()
            yield

    def begin_at(self, name: str, head: int, start: int | None = None) -> None:
        """Number an exchange from ``head`` + 1 on: others of the process have given what is below.

        Inside `held`; or nobody has the exchange yet.
        """
        self._numbering.jump(name, head, start)

    def copy_kept(self, lane: ExchangeQueue) -> Retained | None:
        """Return a copy of what is kept for late joiners, all that is queued included."""
        with self.held():
            return lane.kept.copy() if lane.kept is not None else None

    def kept(self, lanes: Iterable[ExchangeQueue]) -> dict[str, tuple[int, int]]:
        """Return, by exchange, which of the last messages are kept for late joiners."""
        with self._lock:
            found = {lane.name: lane.kept.range() for lane in lanes if lane.kept is not None}
        return {name: ends for name, ends in found.items() if ends is not None}

    def recall(self, lane: ExchangeQueue, first: int, last: int) -> list[Frame]:
        """Return frames of what is kept for late joiners: a bounded part, oldest first."""
        with self._lock:
            runs = lane.kept.runs(first, last, REPLAY_BYTES) if lane.kept is not None else []
        origin, start = self._origin, self._numbering.start(lane.name)
        base = self._numbering.bases.get(lane.name)
        return [make_frame(lane, origin, r.first, r.bodies, r.sent_at, start, base) for r in runs]

    @property
    def frames(self) -> int:
        """How many frames have been sent. Any thread may look."""
        return self._waiting.frames

    @property
    def numbering(self) -> Numbering:
        """The places given to each exchange, as they are now. Any thread may look."""
        return self._numbering

    def heads(self) -> dict[str, int]:
        """Return the head of every exchange, everything queued before the call included."""
        with self._lock:
            self._send_everything()
            return dict(self._numbering.heads)

    def peek(self) -> Numbering:
        """Return what is numbered, for whoever only looks: it waits for no lock for long.

        Any thread.
        """

        def look(held: bool) -> Numbering:
            if held:
                self._send_everything()
            return self._numbering.copy()

        return looking(self._lock, look, 0.0 if self.busy_here() else LOOK_SECONDS)

    def stir(self) -> None:
        """Have the control thread look again. Any thread."""
        self._notify()

    def apart(self, act: Callable[[], object]) -> None:
        """Do something to the socket while nobody sends, and take in what it was told meanwhile."""
        with self._lock:
            act()
        self.poll(wait=True)

    def poll(self, wait: bool = False) -> None:
        """Take in subscriptions: the socket's FD has woken the control thread."""
        if wait:
            with self._lock:
                self.demand.read(AT_ONCE)
                self._look_at = self.monotonic() + LOOK_EVERY
                # Not only those who wait for the lock: it is let go of for a moment only.
                self._send_everything()
        else:
            self._look_at = 0.0
            self._if_free(partial(self.demand.read, AT_ONCE))

    def _if_free(self, act: Callable[[], None]) -> None:
        """Do what is done behind every send, too, if nobody is sending.

        Not waiting for the lock: a thread that gets it has yet to get the interpreter's, and
        meanwhile nobody could send. That was 5 ms for each acknowledgement during a flood.
        """
        if self._try_lock():
            try:
                act()
            finally:
                self._lock.release()
        elif not self._asked:
            self._ask()

    def publish_to(
        self,
        endpoint: str,
        connecting: bool,
        prepare: "Callable[[zmq.Socket[bytes]], bool] | None" = None,
    ) -> None:
        """Connect the socket to a hub, or disconnect it.

        ``prepare`` has the socket expect the hub's key, and tells whether it may be connected.
        """
        with self._lock, suppress(zmq.ZMQError):
            if not connecting:
                self._socket.disconnect(endpoint)
            elif prepare is None or prepare(self._socket):
                connect(self._socket, endpoint)
            self.demand.read()

    def introduce(self, topic: bytes, words: bytes) -> None:
        """Tell a hub whose connection this is."""
        with self._lock:
            self.put(topic + words, DO_NOT_WAIT)
            self.demand.read()

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when `poll` has work."""
        return int(self._socket.getsockopt(zmq.FD))

    def close(self, linger: float) -> None:
        """Send what is queued and close the socket; later messages go nowhere."""
        with self._lock:
            self._send_everything()
            self._closed = self.demand.closed = True
            self.put = _nowhere
            self.window.close()
            self._socket.close(linger=int(linger * 1000))
        self._sender.end()
        if not self._sender.current:
            self._sender.join(timeout=1.0)

    # ------------------------------------------------------------------ under the lock

    def _send_queued(self, direct: bool = False, most: int = LANES_AT_ONCE) -> None:
        """Send what is queued in ``most`` lanes; ``direct`` if by a thread that queued there."""
        self._holder = threading.get_ident()
        waiting = self._waiting
        try:
            self.pace.quiet_until = 0.0  # before it is looked what there is
            size, frames, began = waiting.bytes, waiting.frames, self.monotonic()
            try:
                count = waiting.send(most)
            except BaseException:
                waiting.send()  # who comes next finds everything in order
                raise
            frames, size = waiting.frames - frames, waiting.bytes - size
            self.pace.sent(began, self.monotonic(), count, frames, size, direct)
            if self.window.acknowledged or began >= self._look_at:
                self._look_around(began)
        finally:
            self._holder = 0

    def _look_around(self, now: float) -> None:
        """Take in what peers have acknowledged, and now and then what they ask for."""
        if self.window.acknowledged:
            self.window.take_acknowledged()
        if now >= self._look_at:
            self._look_at = now + LOOK_EVERY
            self.demand.read()

    def _send_everything(self) -> None:
        """Send all that was queued before."""
        for _ in range(len(self.lanes) // LANES_AT_ONCE + 1):
            self._send_queued()

    def mend(self, frame: Frame) -> None:
        """See `FrameSink`."""
        self.window.mend(frame)

    def put_parts(self, data: bytes, buffers: tuple[Buffer, ...]) -> None:
        """See `FrameSink`: dropped at a high-water mark as one, too."""
        if self._closed:
            return
        send, last, copy = self._socket.send, buffers[-1], not self._lend()
        send(data, DO_NOT_WAIT | SNDMORE)
        for buffer in buffers[:-1]:
            send(buffer, DO_NOT_WAIT | SNDMORE, copy=copy)
        send(last, DO_NOT_WAIT, copy=copy)

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
            self._send_queued(False, LANES_AT_ONCE if pace.handed_over else LANES_ALONG)
        finally:
            self._lock.release()
        return RETRY if self.lanes else 0.0
