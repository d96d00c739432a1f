"""The data socket of a node, an XPUB: any thread queues messages, and one at a time sends them.

The sender's thread encodes a message and appends it to the lane of its exchange. A thread that
then holds the socket's lock takes everything that is queued, numbers it, and sends it as one frame
for each exchange and burst. To queue, a user's thread never waits for that lock: if another
thread is sending, that one or the sender thread takes the message along. (Only `catch_up` waits,
for a bounded time, after the local tasks and if much is queued.) So a `send` in a signal handler or
a finaliser, even inside another `send`, is queued and cannot deadlock; and numbers, frames and
the heads that `announce` publishes have one order.

Each frame enters the window (`window`) when it is sent, by `keep`. The pacer (`pacing`) decides
which thread sends, and when.
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
from ...protocol.delivery.conflation import Offers
from ...protocol.delivery.sequence import Numbering
from ...protocol.interest.interest import NameSet
from ...protocol.session.peers import Peer
from ...protocol.wire.data import (
    CONFLATED,
    data_head,
    ready_frame,
    ready_frames,
    ready_that_fits,
    ready_topic,
)
from ...protocol.wire.data import topic as make_topic
from ...protocol.wire.messages import Promise, Ready
from ..security.subscription_filter import SubscriptionFilter
from ..transport.sockets import DO_NOT_WAIT, SNDMORE, connect, plain_send
from ..transport.sync import LOOK_SECONDS, looking
from .pacing import GAP, MOST_GAP, SendPacer
from .send_queue import LANES_AT_ONCE, ExchangeQueue, SendQueue, make_frame
from .subscriptions import AT_ONCE, SubscriptionReader
from .window import REPLAY_BYTES, Window

if TYPE_CHECKING:
    from ..transport.environment import Environment

FRAME_BYTES = 64 << 10
"""A frame is closed once its values have this many bytes; sooner where the ring is small."""
LOOK_EVERY = 0.001
"""Seconds between two reads of subscriptions after sends."""
RETRY = 100e-6
"""Seconds after which the sender thread tries again, if another thread was sending."""
QUEUED_BYTES = 4 << 20
"""About how many bytes may be queued while another thread is sending before senders wait."""
LANES_TOGETHER = 128
"""The most exchanges that are left queued to travel together, each in a frame of its own."""
LANES_MOST = 2 * LANES_TOGETHER
"""The most lanes that may be queued while another thread is sending before senders wait. Each is a
frame, and together with those of the window they have to stay below ZeroMQ's high-water mark:
beyond it frames are dropped, and asked for again."""
CATCH_UP_SECONDS = 0.1
"""Seconds that a sender waits for the socket's lock in `Publisher.catch_up`."""
BEACON_SECONDS = 0.05
"""Seconds after which no more beacons are sent: senders and the control thread have other work."""
_ROUNDS = 4


def _nowhere(frame: bytes, flags: int) -> None:
    """Drop a frame: the `put` of a publisher whose socket is closed."""


class Publisher:
    """The data socket of a node, and the messages that are queued for it.

    Args:
        socket: the XPUB.
        origin: the id of the node.
        notify: wakes the control thread.
        ring: keeps the frames that were sent.
        may_wait: returns whether the calling thread may wait for room in the window.
        world: the clocks, and the sender thread.
        gate: judges subscriptions by keys; None without keys.
    """

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
        """The lanes in which messages are queued. Any thread may read it, and append to it."""
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
        self.latest = Offers()
        """The newest messages of conflated exchanges."""
        self.demand = SubscriptionReader(socket, self.window, notify, gate, world.monotonic)
        self._tokens: dict[bytes, bytes] = {}
        """By peer, the token of the epoch that was announced to it last."""
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
        """Have the queued messages sent, now or soon; the last one in the lane has ``size`` bytes.

        To be called after each message that was queued; not needed before `pace.quiet_until` if
        the message is small and the lane is listed.

        Returns:
            The wait that the sender makes after its local tasks, if the window is full, or if too
            much is queued while another thread is sending; else None.
        """
        if not lane.listed:
            # One step:
            lane.listed = True
            self.lanes.append(lane)
        pace, bodies, window = self.pace, lane.bodies, self.window
        now, lanes = self.monotonic(), len(self.lanes)
        much = len(bodies) * (size + 1) >= self._frame_bytes
        if much or now >= pace.direct_at or lanes > LANES_TOGETHER:
            self._drain()
        else:
            # Set `quiet_until` before looking at `_asked`: the sender thread clears `_asked` first,
            # and `quiet_until` after that.
            if not window.full:
                pace.quiet_until = min(pace.direct_at, now + MOST_GAP)
            if not self._asked:
                self._ask()
        # Many lanes are too much, too. Counted again, because they may just have been sent. Each of
        # them is taken to have as much queued as this one.
        lanes = max(len(self.lanes), 1)
        if (
            window.full
            or lanes > LANES_MOST
            or lanes * len(bodies) * (size + 64) > self._queued_most
        ):
            return window.room
        return None

    def send_alone(self, lane: ExchangeQueue, size: int) -> Backpressure | None:
        """Do as `see_to` for a message that is the only one queued: usually send it at once.

        Written out instead of calling `_drain` and `_send_queued`: while nothing else happens, the
        caches are cold, and each call costs a microsecond.
        """
        pace, lanes = self.pace, self.lanes
        # One step:
        lane.listed = True
        lanes.append(lane)
        began, held = self.monotonic(), False
        if began < pace.direct_at:
            return self.see_to(lane, size)
        try:
            for held in iter(self._try_lock, False):  # noqa: B007
                self._holder = threading.get_ident()
                waiting = self._waiting
                frames = waiting.frames
                try:
                    count = waiting.send()
                except BaseException:
                    waiting.send()  # so that the next thread finds everything in order
                    raise
                if count == 1:
                    pace.direct_at = self.monotonic() + GAP
                else:
                    pace.sent(self.monotonic(), count, waiting.frames - frames)
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
        """Wait for the socket's lock, and send everything queued. For senders that may wait.

        Gives up after `CATCH_UP_SECONDS`: a finaliser in the thread that holds the lock may be
        waiting for us.
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
        """Return whether the calling thread is sending already, or is the sender thread.

        It may be sending if this is called in a signal handler or a finaliser.
        """
        return self.busy_at(threading.get_ident())

    def busy_at(self, number: int) -> bool:
        """Return whether a thread is sending already, or is the sender thread."""
        return self._holder == number or self._sender.number == number

    def _ask(self) -> None:
        self._asked = True
        self._sender.ask()

    def _drain(self) -> None:
        """Send everything queued; if another thread holds the lock, ask the sender thread to.

        After the release it looks again for what other threads have queued meanwhile.
        """
        for _ in range(_ROUNDS):
            if not self.lanes:
                return
            held = False
            try:
                # Not `acquire`, then `try`: a signal handler could raise in between. CPython
                # handles no signal between this step and the assignment.
                for held in iter(self._try_lock, False):  # noqa: B007
                    self._send_queued()
                    break
            finally:
                if held:
                    self._lock.release()
            if not held:
                # Another thread is sending, and waits for the interpreter's lock: until then the
                # thread that has that lock may go on queueing, without asking each time.
                if not self.window.full:
                    self.pace.quiet_until = self.monotonic() + RETRY
                break
        # Also if others queue faster than we send.
        if not self._asked:
            self._ask()

    # ------------------------------------------------------- called by the control thread

    def announce(
        self, peer: Peer, epoch: int, keys: NameSet, used: Callable[[str], bool]
    ) -> tuple[dict[str, int], int]:
        """Publish a ready after everything that was queued before.

        The window holds for the peer what is sent after it under the keys of that epoch.

        Args:
            peer: the peer whose token is answered.
            epoch: the epoch of the token.
            keys: the names and patterns whose heads go into the ready.
            used: returns whether an exchange is in use. A peer that knows no starts is told of
                those first.

        Returns:
            The heads, as places, and how many of them the peer was not told. A peer that knows no
            starts takes a ready of one frame only: these are the heads that did not fit.
        """
        numbering, interest, receiver = self._numbering, peer.interest, peer.id
        with self._lock:
            if self._gate is not None:
                self._gate.keep_to(receiver)
            self._send_everything()
            held = NameSet(interest.held(epoch))
            self.window.promise_now(receiver, held, peer.forgets, peer.conflates)
            self.latest.renew()
            heads = numbering.covered(keys)
            behind = tuple(promise.behind(heads) for promise in interest.promised)
            if peer.forgets:
                # Not over all of `starts`: other threads add exchanges that are not numbered yet.
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
            self._tokens[receiver] = ready_topic(receiver, epoch)
            for frame in frames:
                self.put(frame, DO_NOT_WAIT)
            self.demand.read()
        return heads, left_out

    def have_forgotten(self, peer: bytes, epoch: int, number: int, heads: dict[str, int]) -> None:
        """Tell a peer to forget exchanges, after everything that was sent on them.

        Args:
            peer: the id of the peer.
            epoch: the epoch of the peer's interest that the ready carries.
            number: of this message, which the peer confirms.
            heads: the exchanges, and the place up to which each is forgotten.
        """
        ready = Ready(peer, epoch, self._origin, {}, forget=heads, number=number)
        with self._lock:
            self.put(ready_frame(ready), DO_NOT_WAIT)
            self.demand.read()

    def reply(self, peer: bytes, rest: bytes, in_turn: bool = False) -> bool:
        """Publish a reply, which goes past all that is queued. Any thread.

        It goes under the token that was announced to the peer last. Which one that is, the session
        learns only after the ready has left: by then the peer may have asked a question already,
        or may have dropped its token before.

        Args:
            peer: the asker.
            rest: the reply without its token.
            in_turn: whether all that is queued goes first.

        Returns:
            False if nothing was announced to the peer yet.
        """
        with self._lock:
            token = self._tokens.get(peer)
            if token is None:
                return False
            if in_turn and self.lanes:
                self._send_everything()
            self.put(token + rest, DO_NOT_WAIT)
            now = self.monotonic()
            if now >= self._look_at:  # as after each send
                self._look_around(now)
        return True

    def leave(self, peer: bytes) -> None:
        """Take note that a peer has left."""
        self.latest.leave(peer)
        with self._lock:
            self._tokens.pop(peer, None)

    def beacon(self, topics: Iterable[tuple[str, bytes]]) -> None:
        """Publish the heads of exchanges on their topics, so that peers acknowledge what they have.

        Stops after `BEACON_SECONDS`.
        """
        with self._lock:
            self._send_everything()
            self._beacon(topics)
            self.demand.read()

    def _beacon(self, topics: Iterable[tuple[str, bytes]]) -> None:
        """Publish heads. The caller holds the lock."""
        numbering, now = self._numbering, self._time()
        until = self.monotonic() + BEACON_SECONDS
        for name, topic in topics:
            start = numbering.start(name)
            head, base = numbering.heads.get(name, start), numbering.bases.get(name)
            newest = self.latest.newest.get(name)
            flags = CONFLATED if newest is not None and newest.last == head else 0
            beacon = data_head(topic, self._origin, head + 1, 0, now, 0, start, base, flags)
            self.put(beacon, DO_NOT_WAIT)
            if self.monotonic() >= until:
                break

    def forget(
        self,
        most: int,
        used: Callable[[str], bool],
        acked: Mapping[bytes, Mapping[str, int]],
        agreed: Callable[[str, int], AbstractContextManager[bool]],
    ) -> dict[bytes, dict[str, int]]:
        """Forget the oldest exchanges that neither this process nor any peer needs to remember.

        Peers that have not acknowledged an idle exchange are asked to. Control thread only, under
        the lock of `Bridges`.

        Args:
            most: how many exchanges are looked at.
            used: returns whether an exchange is still needed here.
            acked: by peer, up to which place it has acknowledged each exchange.
            agreed: returns, given a name and its head, a context manager that yields whether the
                other nodes of this process do not need the exchange either; that holds inside the
                ``with`` block.

        Returns:
            By peer, the exchanges promised to it that were forgotten, with their heads; under
            ``b""``, all of them.
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
                heads[name] = head  # at the end: all others are looked at before it is again
                if used(name) or not window.free(name, head):
                    continue
                audience = window.audience(name)
                if any(acked.get(peer, {}).get(name, 0) < head for peer in audience):
                    unsure.append((name, make_topic(name)))
                    continue
                with agreed(name, head) as may_go:
                    if may_go:
                        window.forget_exchange(name)
                        self.latest.forget(name)
                        for peer in (b"", *audience):
                            forgotten.setdefault(peer, {})[name] = head
            self._beacon(unsure)
        return forgotten

    def inherit(self, lane: ExchangeQueue, kept: Iterable[tuple[Body, float]]) -> None:
        """Number messages that were sent before the bridge was there, and keep them. Any thread."""
        with self._lock:
            for body, sent_at in kept:
                first = self._numbering.heads[lane.name] = self._numbering.place(lane.name) + 1
                if lane.kept is not None:
                    lane.kept.keep(first, sent_at, [body])

    @contextmanager
    def held(self) -> Generator[None, None, None]:
        """Send everything queued; inside the ``with`` block nothing more is sent."""
        with self._lock:
            self._send_everything()
            yield

    def begin_at(self, name: str, head: int, start: int | None = None) -> None:
        """Number an exchange from ``head`` + 1 on: other nodes of the process have used the rest.

        Called inside `held`, or while no other thread has the exchange yet. ``start`` is where
        the exchange starts, if it is new here: see `Numbering.jump`.
        """
        self._numbering.jump(name, head, start)

    def copy_kept(self, lane: ExchangeQueue) -> Retained | None:
        """Return a copy of what is kept for late joiners, including what was queued."""
        with self.held():
            return lane.kept.copy() if lane.kept is not None else None

    def kept(self, lanes: Iterable[ExchangeQueue]) -> dict[str, tuple[int, int]]:
        """Return, by exchange, the first and last place that is kept for late joiners."""
        with self._lock:
            found = {lane.name: lane.kept.range() for lane in lanes if lane.kept is not None}
        return {name: ends for name, ends in found.items() if ends is not None}

    def recall(self, lane: ExchangeQueue, first: int, last: int) -> list[Frame]:
        """Return frames with messages kept for late joiners: a bounded part, oldest first."""
        with self._lock:
            runs = lane.kept.runs(first, last, REPLAY_BYTES) if lane.kept is not None else []
        origin, start = self._origin, self._numbering.start(lane.name)
        base = self._numbering.bases.get(lane.name)
        return [make_frame(lane, origin, r.first, r.bodies, r.sent_at, start, base) for r in runs]

    @property
    def frames(self) -> int:
        """How many frames have been sent. Any thread."""
        return self._waiting.frames

    @property
    def numbering(self) -> Numbering:
        """The places given to each exchange: the live object, which any thread may read."""
        return self._numbering

    def heads(self) -> dict[str, int]:
        """Return the head of every exchange, with everything queued before the call numbered."""
        with self._lock:
            self._send_everything()
            return dict(self._numbering.heads)

    def peek(self) -> Numbering:
        """Return a copy of the numbering. Any thread; waits at most `LOOK_SECONDS` for the lock."""

        def look(held: bool) -> Numbering:
            if held:
                self._send_everything()
            return self._numbering.copy()

        return looking(self._lock, look, 0.0 if self.busy_here() else LOOK_SECONDS)

    def stir(self) -> None:
        """Wake the control thread. Any thread."""
        self._notify()

    def apart(self, act: Callable[[], object]) -> None:
        """Call ``act``, which uses the socket, while no thread sends; then read subscriptions."""
        with self._lock:
            act()
        self.poll(wait=True)

    def poll(self, wait: bool = False) -> None:
        """Read subscriptions: the socket's descriptor has woken the control thread.

        Args:
            wait: whether to wait for the lock, instead of leaving it to the thread that has it.
        """
        if wait:
            with self._lock:
                self.demand.read(AT_ONCE)
                self._look_at = self.monotonic() + LOOK_EVERY
                # Send for other threads, too: the lock is free only for moments, and they do not
                # wait for it.
                self._send_everything()
        else:
            self._look_at = 0.0
            self._if_free(partial(self.demand.read, AT_ONCE))

    def _if_free(self, act: Callable[[], None]) -> None:
        """Call ``act`` under the lock, if no thread is sending; else the sending thread does it.

        It does not wait for the lock. A thread that gets it after a wait has yet to get the
        interpreter's lock, and meanwhile no other thread could send: during a flood that took 5 ms
        for each acknowledgement.
        """
        if self._try_lock():
            try:
                act()
            finally:
                self._lock.release()
        elif not self._asked:
            self._ask()

    def connect_hub(
        self,
        endpoint: str,
        connecting: bool,
        prepare: "Callable[[zmq.Socket[bytes]], bool] | None" = None,
    ) -> None:
        """Connect the socket to a hub, or disconnect it.

        Args:
            endpoint: where the hub listens for data of nodes.
            connecting: whether to connect.
            prepare: makes the socket expect the hub's key, and returns whether it may connect.
        """
        with self._lock, suppress(zmq.ZMQError):
            if not connecting:
                self._socket.disconnect(endpoint)
            elif prepare is None or prepare(self._socket):
                connect(self._socket, endpoint)
            self.demand.read()

    def introduce(self, topic: bytes, words: bytes) -> None:
        """Tell a hub which node this connection belongs to."""
        with self._lock:
            self.put(topic + words, DO_NOT_WAIT)
            self.demand.read()

    def fileno(self) -> int:
        """Return the file descriptor that becomes readable when there is something to `poll`."""
        return int(self._socket.getsockopt(zmq.FD))

    def close(self, linger: float) -> None:
        """Send everything queued and close the socket; later messages are dropped.

        ``linger`` is for how many seconds ZeroMQ may go on sending.
        """
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

    def _send_queued(self) -> None:
        """Send what is queued, in `LANES_AT_ONCE` lanes at most. The caller holds the lock."""
        self._holder = threading.get_ident()
        waiting = self._waiting
        try:
            self.pace.quiet_until = 0.0  # before `waiting.send` looks at what is queued
            frames, began = waiting.frames, self.monotonic()
            try:
                count = waiting.send()
            except BaseException:
                waiting.send()  # so that the next thread finds everything in order
                raise
            if count:
                self.pace.sent(self.monotonic(), count, waiting.frames - frames)
            if self.window.acknowledged or began >= self._look_at:
                self._look_around(began)
        finally:
            self._holder = 0

    def _look_around(self, now: float) -> None:
        """Take in acknowledgements, and every `LOOK_EVERY` subscriptions."""
        if self.window.acknowledged:
            self.window.take_acknowledged()
        if now >= self._look_at:
            self._look_at = now + LOOK_EVERY
            self.demand.read()

    def _send_everything(self) -> None:
        """Send everything that was queued before the call."""
        for _ in range(len(self.lanes) // LANES_AT_ONCE + 1):
            self._send_queued()

    def offers(self, name: str) -> bool:
        """See `FrameSink`."""
        return not self.window.owes_every(name)

    def offer(self, topic: bytes, frame: Frame) -> None:
        """See `FrameSink`."""
        if self.latest.put(frame):
            self._beacon([(frame.name, topic)])

    def mend(self, frame: Frame) -> None:
        """See `FrameSink`."""
        self.window.mend(frame)

    def put_parts(self, data: bytes, buffers: tuple[Buffer, ...]) -> None:
        """See `FrameSink`. At the high-water mark all parts are dropped together."""
        if self._closed:
            return
        send, last, copy = self._socket.send, buffers[-1], not self._lend()
        send(data, DO_NOT_WAIT | SNDMORE)
        for buffer in buffers[:-1]:
            send(buffer, DO_NOT_WAIT | SNDMORE, copy=copy)
        send(last, DO_NOT_WAIT, copy=copy)

    # -------------------------------------------------------------- the sender thread

    def _send_later(self) -> float:
        """Send what is queued, unless another thread is about to; return when to call again.

        That is in seconds from now; 0 if there is nothing left to do.
        """
        if (left := self.pace.direct_at - self.monotonic()) > 0:
            return left
        if not self._try_lock():
            return RETRY
        try:
            # Cleared first: messages that are queued from here on are taken along, or their
            # threads ask again.
            self._asked = False
            self._send_queued()
        finally:
            self._lock.release()
        return RETRY if self.lanes else 0.0
