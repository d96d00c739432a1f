"""The sockets that the data thread reads: one for each peer, and one for each hub.

The socket of a hub brings the messages of many peers: each frame is handed to the peer receiver
of its origin. That the frame really comes from that origin, the hub alone has checked. Frames of
peers that are received in another way are dropped here.
"""

from collections.abc import Callable, Iterable

import zmq

from ...history import Body, Bulk
from ...protocol.interest.interest import NameSet
from ...protocol.security.permissions import Patterns, restricted
from ...protocol.wire.data import MAX_ATTACHED, READY, read_ready, ready_topic, topic, topics
from ...protocol.wire.envelopes import MARK, mark_topic, origin_of, read_mark
from ...protocol.wire.jobs import kind_of
from ..transport.sockets import (
    DO_NOT_WAIT,
    EVENTS,
    RCVMORE,
    READABLE,
    plain_receive,
    subscribe,
    unsubscribe,
)
from .context import ReceiveContext
from .peer_stream import PeerReceiver

READIES_MOST = 4096
"""Peers whose proof is remembered although we do not know them yet."""
READY_BYTES = 1 << 20
TOKENS_MOST = 16
SPARED_MOST = 4
"""How often a connection on which nothing was proven is kept because there is more to read."""
REFRESH_EVERY = 1.0


class DataSource:
    """A data connection: its socket, the subscriptions, and the receivers that it feeds.

    Args:
        endpoint: the endpoint that it is connected to.
        socket: the socket, as `Sockets.sub` makes it.
        receive_context: the one of the node.
        publish: on what the peer at the other end may publish; None for everything.
    """

    hub = False
    take: Callable[[bytes, Callable[[bytes], Body] | None], int | None]
    """Takes a frame that was read, as `PeerReceiver.take`."""

    def __init__(
        self,
        endpoint: str,
        socket: "zmq.Socket[bytes]",
        receive_context: ReceiveContext,
        publish: Patterns = None,
    ) -> None:
        self.endpoint = endpoint
        self._receive_context = receive_context
        self._publish = publish
        self.peer_receivers: dict[bytes, PeerReceiver] = {}
        self.peer = b""
        """The peer whose frame is being read."""
        self.told: dict[str, None] = {}
        """Names that peers have told us, since they do not honour the prefixes of our patterns."""
        self.narrow: dict[str, None] = {}
        """Those of them that we subscribe to."""
        self.rest_until = 0.0
        self.greedy = False
        """Whether there was more to read than its turn was long."""
        self._spared = 0
        self.open(socket)

    def open(self, socket: "zmq.Socket[bytes]") -> None:
        """Receive by a fresh socket from now on."""
        self.socket, self.receive = socket, plain_receive(socket)
        self.fd = int(socket.getsockopt(zmq.FD))
        self.tokens: list[int] = []

    def board(self, peer_receiver: PeerReceiver) -> int | None:
        """Feed a peer receiver from here; return the epoch that all have proven by that, if any."""
        self.peer, self.take = peer_receiver.peer, peer_receiver.take
        self.peer_receivers[peer_receiver.peer] = peer_receiver
        return None

    def leave(self, peer: bytes) -> None:
        """Stop feeding a peer receiver."""
        self.peer_receivers.pop(peer, None)

    def begin(self, keys: NameSet, epoch: int) -> None:
        """Subscribe a fresh socket to what we want, and ask for the proof of the epoch."""
        for key in keys:
            subscribe(self.socket, *self._topics(key))
        subscribe(self.socket, *map(topic, self.narrow))
        self.ask_proof(epoch)

    def change(
        self, keys: NameSet, epoch: int, added: tuple[str, ...], removed: tuple[str, ...]
    ) -> None:
        """Change the subscriptions as our interest has changed, and ask for the epoch's proof."""
        for key in removed:
            unsubscribe(self.socket, *self._topics(key))
        for key in added:
            subscribe(self.socket, *self._topics(key))
        gone = [name for name in self.narrow if not keys.covers(name)] if removed else []
        unsubscribe(self.socket, *map(topic, gone))
        for name in gone:
            del self.narrow[name]
        self.widen(keys, filter(NameSet(added).covers, self.told))
        # The token last: the peer sees it after the names.
        self.ask_proof(epoch)

    def widen(self, keys: NameSet, names: Iterable[str]) -> bool:
        """Subscribe to those of some told names that we want; return whether any is new.

        The caller passes some names and not all each time: a peer may tell as many as `MAX_NAMES`,
        one by one.
        """
        new = [name for name in names if name not in self.narrow and keys.covers(name)]
        self.narrow.update(dict.fromkeys(new))
        subscribe(self.socket, *map(topic, new))
        return bool(new)

    def ask_proof(self, epoch: int) -> None:
        """Subscribe to the token of this epoch. Earlier tokens stay until its answer is here.

        If a token were dropped while its answer is on the way, the answer would be filtered out,
        and with it the promise for what follows.
        """
        subscribe(self.socket, ready_topic(self._receive_context.me, epoch))
        self.tokens.append(epoch)

    def spare(self) -> bool:
        """Return whether to go on reading here although nothing was proven in time.

        The proof may come after data that waits to be read: on a busy machine this thread can be
        seconds late. A new socket would lose that data, and would subscribe to each of thousands
        of names again.
        """
        self._spared += 1
        readable = int(self.socket.getsockopt(EVENTS)) & READABLE
        return self._spared <= SPARED_MOST and bool(readable)

    def proven(self, proven: int) -> None:
        """Drop the tokens of all epochs before the proven one."""
        self._spared = 0
        for epoch in [epoch for epoch in self.tokens if epoch < proven]:
            self.tokens.remove(epoch)
            unsubscribe(self.socket, ready_topic(self._receive_context.me, epoch))

    def _topics(self, key: str) -> Iterable[bytes]:
        """Return the topics to subscribe to for a key.

        At a peer that may not publish everything, those of the permitted parts of the key are
        among them: the peer may honour these where it refuses the prefixes of the whole key.
        """
        parts = () if self._publish is None else restricted([key], self._publish)
        return [one for part in {key: None, **dict.fromkeys(parts)} for one in topics(part)]

    def rest(self, frame: bytes) -> Bulk:
        """Return a frame together with its attached parts, which have all arrived with it."""
        buffers: list[memoryview] = []
        while self.socket.getsockopt(RCVMORE):
            part = self.socket.recv(DO_NOT_WAIT, copy=False)
            if len(buffers) <= MAX_ATTACHED:
                buffers.append(part.buffer)
        return Bulk(frame, tuple(buffers))


class HubSource(DataSource):
    """The data connection to a hub, which feeds many peer receivers."""

    hub = True

    def __init__(
        self, endpoint: str, socket: "zmq.Socket[bytes]", receive_context: ReceiveContext
    ) -> None:
        super().__init__(endpoint, socket, receive_context)
        self._refresh_at = 0.0
        self._epochs: dict[bytes, int] = {}
        self._readies: dict[bytes, list[bytes]] = {}
        self._ready_bytes = 0

    def open(self, socket: "zmq.Socket[bytes]") -> None:
        """Receive by a fresh socket from now on; also the marks of the hub."""
        super().open(socket)
        subscribe(socket, mark_topic(self._receive_context.me))

    def ask_proof(self, epoch: int) -> None:
        """Do as `DataSource.ask_proof`, and keep no more than some tokens.

        They would pile up as long as a single peer behind the hub proves nothing.
        """
        super().ask_proof(epoch)
        if len(self.tokens) > TOKENS_MOST:
            self.proven(self.tokens[-TOKENS_MOST])

    def prove_again(self, epoch: int, now: float) -> None:
        """Ask all peers behind the hub again for the proof of an epoch, at most once a second."""
        if now >= self._refresh_at:
            self._refresh_at = now + REFRESH_EVERY
            token = ready_topic(self._receive_context.me, epoch)
            unsubscribe(self.socket, token)
            subscribe(self.socket, token)

    def board(self, peer_receiver: PeerReceiver) -> int | None:
        """Feed a peer receiver from here; return the epoch that all have proven by that, if any."""
        self.peer_receivers[peer_receiver.peer] = peer_receiver
        self._epochs[peer_receiver.peer] = 0
        proven = None
        for frame in self._drop_ready(peer_receiver.peer):
            proven = self.take(frame)
        return proven

    def leave(self, peer: bytes) -> None:
        """Stop feeding a peer receiver."""
        super().leave(peer)
        self._epochs.pop(peer, None)
        self._drop_ready(peer)

    def _drop_ready(self, origin: bytes) -> list[bytes]:
        """Forget the remembered frames of a proof, and return them."""
        frames = self._readies.pop(origin, [])
        self._ready_bytes -= sum(map(len, frames))
        return frames

    def take(self, frame: bytes, rest: Callable[[bytes], Body] | None = None) -> int | None:
        """Hand a frame to the peer receiver of its origin.

        Returns:
            If the frame is a proof, the highest epoch that all peers have proven; else None.

        Raises:
            DecodeError: as `PeerReceiver.take`.
        """
        self.peer = origin = origin_of(frame)
        peer_receiver = self.peer_receivers.get(origin)
        if peer_receiver is None:
            self._take_other(frame, origin)
            if rest is not None:
                rest(frame)
            return None
        proven = peer_receiver.take(frame, rest)
        if proven is None:
            return None
        self._epochs[origin] = max(proven, self._epochs[origin])
        return min(self._epochs.values())

    def _take_other(self, frame: bytes, origin: bytes) -> None:
        """Take a frame of the hub itself, or of a node that has no peer receiver here.

        A proof may come before we have heard of the node that gives it. It is remembered: it tells
        from where on we get everything, so nothing that comes after it is missed for good.
        """
        if frame[:1] == MARK:
            self.peer = b""
            self._receive_context.control.marked(self.endpoint, read_mark(frame))
        elif (
            frame[:1] == READY and origin != self._receive_context.me and len(frame) <= READY_BYTES
        ):
            if kind_of(frame):
                return
            ready = read_ready(frame)
            if ready.number:
                return
            before = [] if ready.part == 1 else self._readies.get(origin, [])
            self._drop_ready(origin)
            self._readies[origin] = [*before, frame]
            self._ready_bytes += sum(map(len, self._readies[origin]))
            while len(self._readies) > READIES_MOST or self._ready_bytes > READY_BYTES:
                self._drop_ready(next(iter(self._readies)))
