"""The data connection to one hub, by which the messages of many peers come.

To the data thread it is read like the connection to a peer; each frame is handed to the
peer receiver of its origin. That the hub takes a frame from nobody but its origin is the hub's
word. What comes of peers that are received by another way is dropped here.
"""

from collections.abc import Callable

import zmq

from ...history import Body, Bulk
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


class HubSource:
    """A socket that feeds many peer receivers; it is read like a `PeerSource`."""

    def __init__(
        self, endpoint: str, socket: "zmq.Socket[bytes]", receive_context: ReceiveContext
    ) -> None:
        self.endpoint = endpoint
        self._receive_context = receive_context
        self.told: dict[str, None] = {}
        """Names that peers have told, because the hub does not honour our prefixes."""
        self.narrow: dict[str, None] = {}
        """Those of them that are subscribed to."""
        self.reopen(socket)
        self.peer_receivers: dict[bytes, PeerReceiver] = {}
        self.peer = b""
        """Whose frame is being read."""
        self.refresh_at = self.rest_until = 0.0
        self._epochs: dict[bytes, int] = {}
        self._readies: dict[bytes, list[bytes]] = {}
        self._ready_bytes = 0

    def reopen(self, socket: "zmq.Socket[bytes]") -> None:
        """Receive by a fresh socket."""
        self.socket = socket
        self.fd = int(socket.getsockopt(zmq.FD))
        self.tokens: list[int] = []
        subscribe(socket, mark_topic(self._receive_context.me))

    @property
    def peer_receiver(self) -> "HubSource":
        """What takes the frames: the hub source."""
        return self

    def topics(self, key: str) -> tuple[bytes, ...]:
        """Return what to subscribe to for a key."""
        return topics(key)

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
        self.peer_receivers.pop(peer, None)
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

    def rest(self, frame: bytes) -> Bulk:
        """Return a frame with those behind it that belong to it."""
        buffers: list[memoryview] = []
        while self.socket.getsockopt(RCVMORE):
            part = self.socket.recv(DO_NOT_WAIT, copy=False)
            if len(buffers) <= MAX_ATTACHED:
                buffers.append(part.buffer)
        return Bulk(frame, tuple(buffers))


class Passenger:
    """A peer whose messages come by a hub source: what the data thread keeps of it."""

    def __init__(self, peer_receiver: PeerReceiver, hub_source: HubSource) -> None:
        self.peer_receiver = peer_receiver
        self.hub_source = hub_source
