"""The way in: one SUB per peer, read by the data thread, which also runs the tasks.

This thread owns the data sockets and where we stand with each peer. It takes commands
from the control thread through a queue, reads a bounded number of frames from each peer
in turn, so that no flood starves the rest, and hands every message to the exchange. It
decides nothing about membership.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import zmq

from ..errors import DecodeError, InvalidName
from ..history import WINDOW
from ..local.exchange import Exchange
from ..local.registry import Registry
from ..protocol.codec import decode_batch
from ..protocol.events import Lost
from ..protocol.interest import Keys
from ..protocol.recovery import Ask, GiveUp, Recovery
from ..protocol.sequence import Positions
from ..protocol.values import Batch
from ..protocol.wire import READY, read_data, read_ready, ready_topic, topics
from .sockets import Poller, Waker, new_sub

BUDGET = 64
"""Frames read from one peer before the next has its turn."""
ACKNOWLEDGE_BYTES = WINDOW // 4
"""Bytes consumed of one peer after which it is told, without being asked."""
GOODBYE_SECONDS = 1.0
"""Seconds for what a peer sent before its goodbye; its sockets linger as long at most."""
DRAIN_ROUNDS = 1000
"""Budgets granted to what has arrived on a socket before it is closed."""
DEPARTED_MOST = 256
_log = logging.getLogger("zexchange")


class Inlet:
    """What we receive from one peer: its socket, and where we stand."""

    def __init__(self, peer: bytes, socket: "zmq.Socket[bytes]", timeout: float) -> None:
        self.peer = peer
        self.origin = peer.hex()
        self.socket = socket
        self.fd = int(socket.getsockopt(zmq.FD))
        self.positions = Positions()
        self.recovery = Recovery(self.positions, timeout)
        self.tokens: list[int] = []
        self.unacknowledged = 0
        self.touched: set[str] = set()
        self.exchanges: dict[str, Exchange[Any] | None] = {}


class Inbound:
    """The data thread."""

    def __init__(
        self,
        context: "zmq.Context[zmq.Socket[bytes]]",
        me: bytes,
        registry: Registry,
        federated: Callable[[str], bool],
        control: "Reports",
        ended: Callable[[], None],
        timeout: float,
    ) -> None:
        self._context = context
        self._me = me
        self._registry = registry
        self._federated = federated
        self._control = control
        self._ended = ended
        self._timeout = timeout
        self._keys = Keys()
        self._epoch = 0
        self._commands: deque[Callable[[], None]] = deque()
        self._hot: set[Inlet] = set()
        self._leaving: dict[bytes, tuple[float, dict[str, int]]] = {}
        self._by_fd: dict[int, Inlet] = {}
        self._waker = Waker()
        self._poller = Poller()
        self._poller.watch(self._waker.fd)
        self._running = True
        self.inlets: dict[bytes, Inlet] = {}
        self.departed: dict[str, Positions] = {}
        """What had come of peers that have left, for `stats`."""
        self.busy: tuple[float, str] | None = None
        """Since when, and with which exchange, tasks have held the thread."""
        self.thread = threading.Thread(target=self._run, name="zexchange-data", daemon=True)

    # --------------------------------------------------- called by the control thread

    def do(self, command: Callable[[], None]) -> None:
        """Run a command on the data thread, after those given before. Any thread."""
        self._commands.append(command)
        self._waker.wake()

    def stop(self) -> None:
        """Read what has arrived, close the sockets and end the thread. Any thread."""
        self.do(self._stop)

    def close(self) -> None:
        """Let go of the descriptors that are not sockets."""
        self._poller.close()
        self._waker.close()

    # ------------------------------------------------------- commands, on the data thread

    def resubscribe(self, epoch: int, added: tuple[str, ...], removed: tuple[str, ...]) -> None:
        """Change what is asked of every peer, and ask it to prove the new epoch."""
        self._keys.remove(removed)
        self._keys.update(added)
        self._epoch = epoch
        for inlet in self.inlets.values():
            inlet.positions.expect(epoch, added, removed)
            inlet.exchanges.clear()
            for key in removed:
                _each(inlet.socket, zmq.UNSUBSCRIBE, topics(key))
            for key in added:
                _each(inlet.socket, zmq.SUBSCRIBE, topics(key))
            # The token last: the peer sees it after the names.
            self._ask_proof(inlet)
            # Whatever a call on a socket has taken in may have eaten its wake-up.
            self._hot.add(inlet)

    def tune(self, peer: bytes, endpoint: str) -> None:
        """Receive from a peer, or replace the socket to it and keep the positions."""
        if peer in self._leaving:
            self._end(self.inlets[peer])
        socket = new_sub(self._context)
        for key in self._keys:
            _each(socket, zmq.SUBSCRIBE, topics(key))
        inlet = self.inlets.get(peer)
        if inlet is None:
            inlet = self.inlets[peer] = Inlet(peer, socket, self._timeout)
            inlet.positions.expect(self._epoch, tuple(self._keys), ())
        else:
            self._close_socket(inlet)
            inlet.socket, inlet.fd = socket, int(socket.getsockopt(zmq.FD))
            inlet.tokens.clear()
        self._ask_proof(inlet)
        self._by_fd[inlet.fd] = inlet
        self._poller.watch(inlet.fd)
        try:
            socket.connect(endpoint)
        except zmq.ZMQError as error:
            self._control.rejected(peer, f"cannot connect to {endpoint[:200]!r}: {error}")
        # Connecting may have set off the FD before it was watched.
        self._hot.add(inlet)

    def _ask_proof(self, inlet: Inlet) -> None:
        """Subscribe to the token of this epoch; those before go when its answer is there.

        Not sooner: a token that is dropped while its answer is on the way filters the
        answer out, and with it the promise for what follows.
        """
        inlet.socket.setsockopt(zmq.SUBSCRIBE, ready_topic(self._me, self._epoch))
        inlet.tokens.append(self._epoch)

    def hush(self, peer: bytes, heads: dict[str, int]) -> None:
        """Deliver what has arrived from a peer, then receive no more.

        A goodbye overtakes what is still on its way on the data connection: then that has
        a moment to come. What is missing at the end up to ``heads``, or up to what we know
        otherwise, is lost.
        """
        inlet = self.inlets.get(peer)
        if inlet is None:
            return
        now = time.monotonic()
        for _ in range(DRAIN_ROUNDS):
            if not self._read(inlet):
                break
        for name, head in heads.items():
            inlet.recovery.expose(name, head, now)
        self._leaving[peer] = (now + GOODBYE_SECONDS, heads)
        self._end_if_complete(inlet, now)

    def _end_if_complete(self, inlet: Inlet, now: float) -> None:
        """End a peer that has left once all is there that it has sent us, or after a while."""
        until, heads = self._leaving[inlet.peer]
        where, wanted = inlet.positions.positions, self._keys.covers
        if now >= until or all(where.get(n, -1) >= h or not wanted(n) for n, h in heads.items()):
            self._end(inlet)

    def _end(self, inlet: Inlet) -> None:
        """Close a peer's socket, and account for what is missing of it."""
        peer = inlet.peer
        self._leaving.pop(peer, None)
        if peer in self.inlets:
            self._close_socket(inlet)
            for step in inlet.recovery.abandon("its origin has left"):
                self._give_up(inlet, step)
            del self.inlets[peer]
            self.departed[inlet.origin] = inlet.positions
            while len(self.departed) > DEPARTED_MOST:
                del self.departed[next(iter(self.departed))]

    def _close_socket(self, inlet: Inlet) -> None:
        for _ in range(DRAIN_ROUNDS):
            if not self._read(inlet):
                break
        self._hot.discard(inlet)
        del self._by_fd[inlet.fd]
        self._poller.forget(inlet.fd)
        inlet.socket.close()

    def _stop(self) -> None:
        self._running = False
        for peer in list(self.inlets):
            self.hush(peer, {})

    # ------------------------------------------------------------------------- the thread

    def _run(self) -> None:
        while self._running:
            try:
                self._turn()
            except Exception:
                _log.exception("the data thread failed and goes on")
                time.sleep(0.05)
        self.close()
        self._ended()

    def _turn(self) -> None:
        for fd in self._poller.wait(0 if self._hot or self._commands else None):
            inlet = self._by_fd.get(fd)
            if inlet is not None:
                self._hot.add(inlet)
            elif fd == self._waker.fd:
                self._waker.clear()
        while self._commands:
            self._commands.popleft()()
        for inlet in list(self._hot):
            if inlet in self._hot and not self._read(inlet):
                self._hot.discard(inlet)

    def _read(self, inlet: Inlet) -> bool:
        """Take up to `BUDGET` frames from a peer; tell whether there may be more."""
        recv = inlet.socket.recv
        for _ in range(BUDGET):
            try:
                frame = recv(zmq.NOBLOCK)
            except zmq.Again:
                return False
            try:
                self._take(inlet, frame)
            except DecodeError as error:
                self._control.rejected(inlet.peer, str(error))
        return True

    def _take(self, inlet: Inlet, frame: bytes) -> None:
        if frame[:1] == READY:
            self._take_ready(inlet, frame)
            return
        batch = read_data(frame)
        if batch.origin != inlet.peer:
            raise DecodeError(f"a frame of origin {batch.origin.hex()}, which is not this peer")
        position = inlet.positions.where(batch.name)
        if position is None:
            inlet.positions.unwanted += batch.count
        elif batch.count == 0:
            self._take_beacon(inlet, batch)
        elif batch.first > position + 1:
            now = time.monotonic()
            inlet.recovery.park(batch.name, batch.first, batch.first + batch.count - 1, frame, now)
            self._pursue(inlet, now)
        else:
            self._deliver(inlet, batch, frame)
            if inlet.recovery:
                self._advance(inlet, batch.name)

    def _deliver(self, inlet: Inlet, batch: Batch, frame: bytes) -> None:
        """Hand on the messages of a frame whose turn it is."""
        name, count = batch.name, batch.count
        skip, _ = inlet.positions.receive(name, batch.first, count)
        if skip < count:
            try:
                values = decode_batch(memoryview(frame)[batch.body :], count)
            except DecodeError as error:
                inlet.positions.spoiled(name, count - skip)
                self._lost(inlet, name, batch.first + skip, batch.first + count - 1, "undecodable")
                self._control.rejected(inlet.peer, str(error))
                values = []
            exchange = self._exchange(inlet, name)
            if exchange is not None and values:
                self.busy = (time.monotonic(), name)
                exchange.deliver(
                    values[skip:] if skip else values,
                    inlet.origin,
                    batch.first + skip,
                    batch.sent_at,
                )
                self.busy = None
        inlet.touched.add(name)
        inlet.unacknowledged += len(frame)
        if inlet.unacknowledged >= ACKNOWLEDGE_BYTES:
            self._acknowledge(inlet)

    # ------------------------------------------------------------------------- recovery

    def replayed(self, peer: bytes, frame: bytes) -> None:
        """Take a frame that a peer has sent again, over its control link."""
        inlet = self.inlets.get(peer)
        if inlet is None:
            return
        try:
            batch = read_data(frame)
            before = inlet.positions.positions.get(batch.name, 0)
            self._take(inlet, frame)
            now = inlet.positions.positions.get(batch.name, 0)
            if now > before:
                inlet.positions.tallies[batch.name].recovered += min(now - before, batch.count)
        except DecodeError as error:
            self._control.rejected(peer, str(error))

    def resent(self, peer: bytes, name: str, first: int, last: int) -> None:
        """A peer has sent again what it could: what came before ``first`` is gone."""
        inlet = self.inlets.get(peer)
        if inlet is not None:
            inlet.recovery.unavailable(name, first - 1, "no longer kept by its origin")
            inlet.recovery.answered(name, time.monotonic())
            self._pursue(inlet, time.monotonic())

    @property
    def recovering(self) -> bool:
        """Whether `tick` has anything to do. Any thread."""
        return bool(self._leaving) or any(i.recovery for i in list(self.inlets.values()))

    def tick(self) -> None:
        """Ask again, or give up, where something is missing."""
        now = time.monotonic()
        for inlet in list(self.inlets.values()):
            if inlet.recovery:
                self._pursue(inlet, now)
            if inlet.peer in self._leaving:
                self._end_if_complete(inlet, now)

    def _pursue(self, inlet: Inlet, now: float) -> None:
        again = True
        while again:
            again = False
            for step in inlet.recovery.due(now):
                if isinstance(step, Ask):
                    self._control.ask(inlet.peer, step.name, step.first, step.last)
                else:
                    self._give_up(inlet, step)
                    again = True

    def _advance(self, inlet: Inlet, name: str) -> None:
        """Deliver what was parked and is now in turn."""
        while (frame := inlet.recovery.in_turn(name)) is not None:
            self._deliver(inlet, read_data(frame), frame)

    def _give_up(self, inlet: Inlet, step: GiveUp) -> None:
        gap = inlet.positions.give_up(step.name, step.last)
        if gap is not None:
            self._lost(inlet, gap.name, gap.first, gap.last, step.reason)
            inlet.touched.add(gap.name)
        self._advance(inlet, step.name)

    def _lost(self, inlet: Inlet, name: str, first: int, last: int, reason: str) -> None:
        """Report a loss: in its place to detailed streams, and as an event."""
        lost = Lost(name, inlet.origin, first, last, reason)
        exchange = self._exchange(inlet, name)
        if exchange is not None:
            exchange.report(lost)
        self._control.lost(lost)

    def _take_beacon(self, inlet: Inlet, batch: Batch) -> None:
        """A peer tells its head and asks how far we are."""
        now = time.monotonic()
        inlet.recovery.expose(batch.name, batch.first - 1, now)
        inlet.touched.add(batch.name)
        self._acknowledge(inlet)
        if inlet.recovery:
            self._pursue(inlet, now)

    def _take_ready(self, inlet: Inlet, frame: bytes) -> None:
        ready = read_ready(frame)
        if ready.receiver != self._me or ready.origin != inlet.peer:
            raise DecodeError("a ready frame that is not for this node, or not of this peer")
        now = time.monotonic()
        for gap in inlet.positions.ready(ready.epoch, ready.heads, ready.promised):
            inlet.recovery.expose(gap.name, gap.last, now)
        if inlet.recovery:
            self._pursue(inlet, now)
        for epoch in [epoch for epoch in inlet.tokens if epoch < ready.epoch]:
            inlet.tokens.remove(epoch)
            inlet.socket.setsockopt(zmq.UNSUBSCRIBE, ready_topic(self._me, epoch))
        self._control.proven(inlet.peer, ready.epoch)

    def _acknowledge(self, inlet: Inlet) -> None:
        """Tell a peer how far our tasks have been given what it sent."""
        where = inlet.positions.positions
        self._control.consumed(inlet.peer, {n: where[n] for n in inlet.touched if n in where})
        inlet.touched.clear()
        inlet.unacknowledged = 0

    def _exchange(self, inlet: Inlet, name: str) -> Exchange[Any] | None:
        """Return the exchange of a name: made if only a pattern knew of it so far."""
        try:
            return inlet.exchanges[name]
        except KeyError:
            pass
        try:
            exchange = self._registry.get(name) if self._federated(name) else None
        except InvalidName as error:
            raise DecodeError(str(error)) from None
        inlet.exchanges[name] = exchange
        return exchange


class Reports:
    """What the data thread tells the control thread."""

    def proven(self, peer: bytes, epoch: int) -> None:
        """A ready arrived."""
        raise NotImplementedError

    def consumed(self, peer: bytes, positions: dict[str, int]) -> None:
        """Our tasks have been given a peer's messages up to these numbers."""
        raise NotImplementedError

    def ask(self, peer: bytes, name: str, first: int, last: int) -> None:
        """Messages of a peer are missing: it shall send them again."""
        raise NotImplementedError

    def lost(self, event: Lost) -> None:
        """Messages of a peer will not come any more."""
        raise NotImplementedError

    def rejected(self, peer: bytes, reason: str) -> None:
        """A frame was not taken."""
        raise NotImplementedError


def _each(socket: "zmq.Socket[bytes]", option: int, values: tuple[bytes, ...]) -> None:
    for value in values:
        socket.setsockopt(option, value)
