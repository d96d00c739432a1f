"""What the data thread reads: a socket for each peer, and one for each hub.

By that of a hub the messages of many peers come: each frame is handed to the peer receiver of
its origin. That the hub takes a frame from nobody but its origin is the hub's word. What comes of
peers that are received by another way is dropped here.
"""

from collections.abc import Callable, Iterable

import zmq

from ...history import Body, Bulk
from ...protocol.security.permissions import Patterns, restricted
from ...protocol.wire.data import MAX_ATTACHED, READY, read_ready, topics
from ...protocol.wire.envelopes import MARK, mark_topic, origin_of, read_mark
from ..transport.sockets import DO_NOT_WAIT, RCVMORE, subscribe
from .context import ReceiveContext
from .peer_stream import PeerReceiver

READIES_MOST = 4096
"""Peers whose proof is remembered that have come before we know of them."""
READY_BYTES = 1 << 20
TOKENS_MOST = 16
REFRESH_EVERY = 1.0


class DataSource:
    """A data connection: its socket, what that is subscribed to, and whom it feeds.

    Args:
        endpoint: what it is connected to.
        socket: the SUB.
        publish: what the peer at its other end may publish.
    """

    hub = False
    take: Callable[[bytes, Callable[[bytes], Body] | None], int | None]
    """Takes a frame that was read, as `PeerReceiver.take`."""

    def __init__(
        self, endpoint: str, socket: "zmq.Socket[bytes]", publish: Patterns = None
    ) -> None:
        self.endpoint = endpoint
        self._publish = publish
        self.peer_receivers: dict[bytes, PeerReceiver] = {}
        self.peer = b""
        """Whose frame is being read."""
        self.told: dict[str, None] = {}
        """Names that peers have told, because our prefixes are not honoured."""
        self.narrow: dict[str, None] = {}
        """Those of them that are subscribed to."""
        self.rest_until = 0.0
        self.open(socket)

    def open(self, socket: "zmq.Socket[bytes]") -> None:
        """Receive by a fresh socket."""
        self.socket = socket
        self.fd = int(socket.getsockopt(zmq.FD))
        self.tokens: list[int] = []

    def board(self, peer_receiver: PeerReceiver) -> int | None:
        """Feed a peer receiver from here; return the epoch that this proves for all, if any."""
        self.peer, self.take = peer_receiver.peer, peer_receiver.take
        self.peer_receivers[peer_receiver.peer] = peer_receiver
        return None

    def leave(self, peer: bytes) -> None:
        """Feed a peer receiver no longer."""
        self.peer_receivers.pop(peer, None)

    def topics(self, key: str) -> Iterable[bytes]:
        """Return what to subscribe to for a key.

        A peer that may not publish everything is told a part of the key alone, and may honour
        that where it refuses the prefixes of the whole.
        """
        parts = () if self._publish is None else restricted([key], self._publish)
        return [topic for part in {key: None, **dict.fromkeys(parts)} for topic in topics(part)]

    def rest(self, frame: bytes) -> Bulk:
        """Return a frame with those behind it that belong to it, which have all arrived."""
        buffers: list[memoryview] = []
        while self.socket.getsockopt(RCVMORE):
            part = self.socket.recv(DO_NOT_WAIT, copy=False)
            if len(buffers) <= MAX_ATTACHED:
                buffers.append(part.buffer)
        return Bulk(frame, tuple(buffers))


class HubSource(DataSource):
    """The connection to a hub, which feeds many peer receivers."""

    hub = True

    def __init__(
        self, endpoint: str, socket: "zmq.Socket[bytes]", receive_context: ReceiveContext
    ) -> None:
        self._receive_context = receive_context
        self.refresh_at = 0.0
        self._epochs: dict[bytes, int] = {}
        self._readies: dict[bytes, list[bytes]] = {}
        self._ready_bytes = 0
        super().__init__(endpoint, socket)

    def open(self, socket: "zmq.Socket[bytes]") -> None:
        """Receive by a fresh socket."""
        super().open(socket)
        subscribe(socket, mark_topic(self._receive_context.me))

    def board(self, peer_receiver: PeerReceiver) -> int | None:
        """Feed a peer receiver from here; return the epoch that this proves for all, if any."""
        self.peer_receivers[peer_receiver.peer] = peer_receiver
        self._epochs[peer_receiver.peer] = 0
        proven = None
        for frame in self._drop_ready(peer_receiver.peer):
            proven = self.take(frame)
        return proven

    def leave(self, peer: bytes) -> None:
        """Feed a peer receiver no longer."""
        super().leave(peer)
        self._epochs.pop(peer, None)
        self._drop_ready(peer)

    def _drop_ready(self, origin: bytes) -> list[bytes]:
        """Return the frames of a proof that is remembered, and forget them."""
        frames = self._readies.pop(origin, [])
        self._ready_bytes -= sum(map(len, frames))
        return frames

    def take(self, frame: bytes, rest: Callable[[bytes], Body] | None = None) -> int | None:
        """Hand a frame to the peer receiver of its origin; return the epoch that all have proven.

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
        """Take a frame of nobody who is received from here.

        A proof may come before we have heard of who gives it; with what it says, nothing that
        came behind it is missed for good.
        """
        if frame[:1] == MARK:
            self.peer = b""
            self._receive_context.control.marked(self.endpoint, read_mark(frame))
        elif (
            frame[:1] == READY and origin != self._receive_context.me and len(frame) <= READY_BYTES
        ):
            ready = read_ready(frame)
            if ready.number:
                return
            before = [] if ready.part == 1 else self._readies.get(origin, [])
            self._drop_ready(origin)
            self._readies[origin] = [*before, frame]
            self._ready_bytes += sum(map(len, self._readies[origin]))
            while len(self._readies) > READIES_MOST or self._ready_bytes > READY_BYTES:
                self._drop_ready(next(iter(self._readies)))
