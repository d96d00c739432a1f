"""A hostile process' sockets: links, data sockets and a false node, with a key or without.

What is said by them is in `attacks`. Nothing here ever waits: what does not go out at once is
another time's business, for the core that all this runs on is to be kept busy.
"""

import os
import random
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import zmq

from tests.support import free_ports, tcp
from zexchange.errors import DecodeError
from zexchange.protocol.security.keys import id_for
from zexchange.protocol.wire import messages as v
from zexchange.protocol.wire.control import control_frame, read_control
from zexchange.protocol.wire.data import read_token, ready_frame

ALIVE_EVERY = 0.02
QUEUE = 64
"""Frames that may wait in a socket of ours: the memory of this process is not what is tried."""
Socket = zmq.Socket[bytes]


@dataclass(frozen=True)
class Target:
    """Whom to attack.

    Attributes:
        control, data: its endpoints.
        server: its public key; empty without keys.
        public, secret: our own keys, 32 bytes each; empty without keys.
        good: ids of its good peers.
    """

    control: str
    data: str
    server: bytes = b""
    public: bytes = b""
    secret: bytes = b""
    good: tuple[bytes, ...] = ()


class Foe:
    """Whoever attacks, from its first connection to its last."""

    def __init__(self, target: Target, chance: random.Random, federation: str) -> None:
        self.target, self.chance, self.federation = target, chance, federation
        self.context: zmq.Context[Socket] = zmq.Context()
        self.context.set(zmq.MAX_SOCKETS, 4096)
        self.me = self.new_id()
        self._node: FalseNode | None = None
        self._made = 0

    def new_id(self) -> bytes:
        """Return an id that nobody has, of our key if there is one."""
        fresh = self.chance.randbytes(16)
        return id_for(self.target.public, fresh) if self.target.public else fresh

    def name(self) -> str:
        """Return a name that was never used."""
        self._made += 1
        return f"evil.{self._made}"

    # ------------------------------------------------------------------------ sockets

    def _socket(self, kind: int) -> Socket:
        made = self.context.socket(kind)
        made.setsockopt(zmq.LINGER, 0)
        made.setsockopt(zmq.SNDHWM, QUEUE)
        made.setsockopt(zmq.RCVHWM, QUEUE)
        return made

    def _to(self, kind: int, endpoint: str, anonymous: bool) -> Socket:
        made, target = self._socket(kind), self.target
        if target.server:
            public, secret = target.public, target.secret
            if anonymous or not public:
                public, secret = zmq.curve_keypair()
            made.setsockopt(zmq.CURVE_SERVERKEY, target.server)
            made.setsockopt(zmq.CURVE_PUBLICKEY, public)
            made.setsockopt(zmq.CURVE_SECRETKEY, secret)
        made.connect(endpoint)
        return made

    @contextmanager
    def sockets(
        self, number: int, kind: int, endpoint: str, anonymous: bool = False
    ) -> Iterator[list[Socket]]:
        """Open so many sockets to an endpoint of the target."""
        made = [self._to(kind, endpoint, anonymous) for _ in range(number)]
        try:
            yield made
        finally:
            for each in made:
                each.close(linger=0)

    def links(self, number: int, anonymous: bool = False) -> Any:
        """Open so many control links."""
        return self.sockets(number, zmq.DEALER, self.target.control, anonymous)

    def subscribers(self, number: int) -> Any:
        """Open so many connections to the data socket."""
        return self.sockets(number, zmq.XSUB, self.target.data)

    def plug(self, endpoint: str) -> socket.socket | None:
        """Return a bare TCP connection, being made; None if there is none to be had."""
        made = socket.socket()
        made.setblocking(False)
        # Reset when it is closed: ports that wait for stragglers would be used up in a minute.
        made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with suppress(BlockingIOError):
            try:
                made.connect(("127.0.0.1", int(endpoint.rpartition(":")[2])))
            except OSError as error:
                if not isinstance(error, BlockingIOError):
                    made.close()
                    return None
        return made

    # ----------------------------------------------------------------------- messages

    def hello(self, sender: bytes | None = None, **changed: Any) -> v.Hello:
        """Return a hello, of ourselves or of somebody made up."""
        where = tcp(self.chance.randrange(1, 1024)), tcp(self.chance.randrange(1, 1024))
        told: dict[str, Any] = {
            "federation": self.federation,
            "label": v.Label("foe", 1),
            "addresses": (v.Address(*where),),
            "epoch": 1,
            "interest": ("public.kept",),
        }
        return v.Hello(sender or self.me, **{**told, **changed})

    @property
    def node(self) -> "FalseNode":
        """A node of ours that the target has taken for a peer; made at the first use."""
        if self._node is None:
            self._node = FalseNode(self)
        self._node.live()
        return self._node

    def live(self) -> None:
        """Have our false node seem to live, if there is one."""
        if self._node is not None:
            self._node.live()

    def close(self) -> None:
        self.context.destroy(linger=0)
        self._node = None


def shove(link: Socket, *frames: bytes) -> int:
    """Send what goes out now; return how much that was."""
    try:
        for n, frame in enumerate(frames):  # noqa: B007
            link.send(frame, zmq.NOBLOCK)
    except zmq.Again:
        return n
    return len(frames)


def drain(link: Socket, most: int = 100) -> list[list[bytes]]:
    """Return what has come."""
    came: list[list[bytes]] = []
    with suppress(zmq.Again):
        while len(came) < most:
            came.append(link.recv_multipart(zmq.NOBLOCK))
    return came


class FalseNode:
    """Keeps to the protocol as far as it takes to be a peer."""

    def __init__(self, foe: Foe) -> None:
        self._foe = foe
        self.me = foe.me
        self.address = v.Address(*map(tcp, free_ports()))
        self.link = foe._to(zmq.DEALER, foe.target.control, anonymous=False)
        self.router, self.xpub = self._bound(zmq.ROUTER), self._bound(zmq.XPUB)
        self.router.bind(self.address.control)
        self.xpub.bind(self.address.data)
        self.route = b""
        self.tokens: list[tuple[bytes, int]] = []
        self.epoch = 1
        self._alive_at = self._hello_at = 0.0

    def _bound(self, kind: int) -> Socket:
        made = self._foe._socket(kind)
        if self._foe.target.secret:
            made.setsockopt(zmq.CURVE_SERVER, 1)
            made.setsockopt(zmq.CURVE_SECRETKEY, self._foe.target.secret)
        if kind == zmq.XPUB:
            made.setsockopt(zmq.XPUB_VERBOSE, 1)
        return made

    def hello(self, **changed: Any) -> v.Hello:
        return self._foe.hello(self.me, addresses=(self.address,), epoch=self.epoch, **changed)

    def live(self) -> None:
        """Answer what has to be answered."""
        now = time.monotonic()
        if now < self._alive_at:
            return
        self._alive_at = now + ALIVE_EVERY
        if now >= self._hello_at:
            self._hello_at = now + 1.0
            shove(self.link, control_frame(self.hello()))
            shove(self.link, control_frame(v.Ping(self.me, self.epoch, 1)))
        drain(self.link)
        for route, *frames in drain(self.router):
            self.route = route
            self._answer(route, frames[0])
        for words in drain(self.xpub):
            token = read_token(words[0][1:])
            if token is not None and words[0][:1] == b"\x01":
                self.tokens = [*self.tokens[-3:], token]
                ready = v.Ready(*token, self.me, {})
                with suppress(zmq.Again):
                    self.xpub.send(ready_frame(ready), zmq.NOBLOCK)

    def _answer(self, route: bytes, frame: bytes) -> None:
        with suppress(DecodeError, zmq.ZMQError):
            message = read_control(frame)
            answer: v.Control | None = None
            if isinstance(message, v.Hello):
                answer = v.Welcome(self.me, self.hello())
            elif isinstance(message, v.Ping):
                answer = v.Pong(self.me)
            if answer is not None:
                self.router.send_multipart([route, control_frame(answer)], zmq.NOBLOCK)

    def say(self, *messages: v.Control) -> int:
        """Say something on our link."""
        return shove(self.link, *map(control_frame, messages))

    def answer(self, *frames: bytes) -> int:
        """Say something on the target's link to us."""
        with suppress(zmq.ZMQError):
            for n, frame in enumerate(frames):
                if not self.route:
                    return n
                self.router.send_multipart([self.route, frame], zmq.NOBLOCK)
        return len(frames)

    def publish(self, *frames: bytes | list[bytes]) -> int:
        """Publish something; what a full queue holds up is dropped by libzmq."""
        with suppress(zmq.ZMQError):
            for frame in frames:
                self.xpub.send_multipart(frame if isinstance(frame, list) else [frame])
        return len(frames)


def someone() -> bytes:
    """Return an id of nobody."""
    return os.urandom(16)
