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
from ..local.exchange import Exchange
from ..local.registry import Registry
from ..protocol.codec import decode_batch
from ..protocol.interest import Keys
from ..protocol.sequence import Positions
from ..protocol.wire import READY, read_data, read_ready, ready_topic, topics
from .sockets import Poller, Waker, new_sub

BUDGET = 64
"""Frames read from one peer before the next has its turn."""
DRAIN_ROUNDS = 1000
"""Budgets granted to what has arrived on a socket before it is closed."""
DEPARTED_MOST = 256
_log = logging.getLogger("zexchange")


class Inlet:
    """What we receive from one peer: its socket, and where we stand."""

    def __init__(self, peer: bytes, socket: "zmq.Socket[bytes]") -> None:
        self.peer = peer
        self.origin = peer.hex()
        self.socket = socket
        self.fd = int(socket.getsockopt(zmq.FD))
        self.positions = Positions()
        self.tokens: list[int] = []
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
    ) -> None:
        self._context = context
        self._me = me
        self._registry = registry
        self._federated = federated
        self._control = control
        self._ended = ended
        self._keys = Keys()
        self._epoch = 0
        self._commands: deque[Callable[[], None]] = deque()
        self._hot: set[Inlet] = set()
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
        socket = new_sub(self._context)
        for key in self._keys:
            _each(socket, zmq.SUBSCRIBE, topics(key))
        inlet = self.inlets.get(peer)
        if inlet is None:
            inlet = self.inlets[peer] = Inlet(peer, socket)
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

    def hush(self, peer: bytes) -> None:
        """Deliver what has arrived from a peer, then receive no more."""
        inlet = self.inlets.get(peer)
        if inlet is not None:
            self._close_socket(inlet)
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
            self.hush(peer)

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
        skip, _gap = inlet.positions.receive(batch.name, batch.first, batch.count)
        if batch.count == 0:
            self._acknowledge(inlet, batch.name)
            return
        if skip == batch.count:
            return
        values = decode_batch(memoryview(frame)[batch.body :], batch.count)
        exchange = self._exchange(inlet, batch.name)
        if exchange is not None:
            self.busy = (time.monotonic(), batch.name)
            exchange.deliver(
                values[skip:] if skip else values, inlet.origin, batch.first + skip, batch.sent_at
            )
            self.busy = None

    def _take_ready(self, inlet: Inlet, frame: bytes) -> None:
        ready = read_ready(frame)
        if ready.receiver != self._me or ready.origin != inlet.peer:
            raise DecodeError("a ready frame that is not for this node, or not of this peer")
        inlet.positions.ready(ready.epoch, ready.heads, ready.promised)
        for epoch in [epoch for epoch in inlet.tokens if epoch < ready.epoch]:
            inlet.tokens.remove(epoch)
            inlet.socket.setsockopt(zmq.UNSUBSCRIBE, ready_topic(self._me, epoch))
        self._control.proven(inlet.peer, ready.epoch)

    def _acknowledge(self, inlet: Inlet, name: str) -> None:
        """Answer a beacon: our tasks have been given everything up to here."""
        position = inlet.positions.positions.get(name)
        if position is not None:
            self._control.consumed(inlet.peer, name, position)

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

    def consumed(self, peer: bytes, name: str, position: int) -> None:
        """Our tasks have been given a peer's messages up to a position."""
        raise NotImplementedError

    def rejected(self, peer: bytes, reason: str) -> None:
        """A frame was not taken."""
        raise NotImplementedError


def _each(socket: "zmq.Socket[bytes]", option: int, values: tuple[bytes, ...]) -> None:
    for value in values:
        socket.setsockopt(option, value)
