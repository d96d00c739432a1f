"""Hubs with keys for tests, and raw sockets at them that have a key and keep to no rule."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import zmq

from tests.net.conftest import Joiner
from tests.net.keyrings import Keyrings, everything
from tests.support import eventually
from zexchange import Node, Registry
from zexchange.net.hub.hub import Hub
from zexchange.net.security.key_directory import KeyDirectory
from zexchange.protocol.hub.messages import Accepted, Attach, Word, read_word, word_frame
from zexchange.protocol.security.keys import id_for
from zexchange.protocol.wire.envelopes import introduction_topic, relay_head
from zexchange.protocol.wire.messages import Label

Huber = Callable[..., Hub]


def carried(keyrings: Keyrings, *nodes: str, hub: str = "relay", permissions: str = "") -> None:
    """Have a hub know some nodes, and permit them something, and each of them know the hub."""
    keyrings.authorize(hub, *nodes)
    keyrings.permit(hub, permissions)
    for node in nodes:
        keyrings.authorize(node, hub)
        keyrings.permit(node, f"[{hub}]\nhub = true\n")


def behind(
    hub: Hub, join: Joiner, keyrings: Keyrings, name: str, **arguments: object
) -> tuple[Node, Registry]:
    return join(hub=hub.endpoint, keys=keyrings(name), local=False, **arguments)


class RawMember:
    """Sockets with the key of a name that say to a hub whatever a test wants."""

    def __init__(
        self,
        context: "zmq.Context[zmq.Socket[bytes]]",
        hub: Hub,
        us: KeyDirectory | None,
        server: bytes,
    ) -> None:
        self._context = context
        self._us, self._server = us, server
        self._control, self._up, self._down = hub._sockets.endpoints
        self.hub = hub._me
        self.id = id_for(us.public, bytes(range(16))) if us else bytes(range(16))
        self.secret = bytes(16)
        self.asked: list[bytes] = []
        """What the hub has subscribed to where we publish, as far as that was read."""

    def control(self) -> "zmq.Socket[bytes]":
        return self._connected(zmq.DEALER, self._control)

    def down(self) -> "zmq.Socket[bytes]":
        return self._connected(zmq.XSUB, self._down)

    def up(self) -> "zmq.Socket[bytes]":
        return self._connected(zmq.XPUB, self._up)

    def _connected(self, kind: int, endpoint: str) -> "zmq.Socket[bytes]":
        socket = self._context.socket(kind)
        socket.setsockopt(zmq.LINGER, 0)
        if self._us is not None:
            socket.setsockopt(zmq.CURVE_SERVERKEY, self._server)
            socket.setsockopt(zmq.CURVE_PUBLICKEY, self._us.public)
            socket.setsockopt(zmq.CURVE_SECRETKEY, self._us.secret)
        socket.connect(endpoint)
        return socket

    def enter(self, **other: object) -> Attach:
        fields = {"sender": self.id, "federation": "fed", "label": Label("raw", 1, "raw")}
        return Attach(**{**fields, **other})  # type: ignore[arg-type]

    def entered(self) -> "zmq.Socket[bytes]":
        """Return a control socket on which we have entered."""
        control = self.control()
        say_word(control, self.enter())
        answer = hear_word(control)
        assert isinstance(answer, Accepted)
        self.secret = answer.secret
        return control

    def introduced(self) -> "zmq.Socket[bytes]":
        """Return a publishing socket that we have shown to be ours, once we have entered."""
        up = self.up()
        topic = introduction_topic(self.hub)
        eventually(lambda: b"\1" + topic in self.asked_for(up))
        up.send(topic + self.id + self.secret)
        return up

    def asked_for(self, up: "zmq.Socket[bytes]") -> list[bytes]:
        """Return all that the hub has subscribed to at a publishing socket by now."""
        self.asked += everything(up)
        return self.asked


def passed(hub: Hub) -> list[bytes]:
    """Return a list of the topics of all that nodes and hubs send to a hub from now on."""
    topics: list[bytes] = []
    take, hub_source = hub._forwarding._take, hub._forwarding.take_hub_source

    def noted(frames: list[zmq.Frame]) -> None:
        topics.append(bytes(frames[0].buffer[:40]))
        take(frames)

    def noted_hub_source(root: bytes, hops: int, source: Any, frames: list[zmq.Frame]) -> None:
        topics.append(bytes(frames[0].buffer[:40]))
        hub_source(root, hops, source, frames)

    hub._forwarding._take = noted  # type: ignore[method-assign]
    hub._forwarding.take_hub_source = noted_hub_source  # type: ignore[method-assign]
    return topics


@contextmanager
def raw_member(hub: Hub, directory: Path | None, at: Path) -> Iterator[RawMember]:
    """Be somebody at a hub, with the key in a directory or none, whom nothing binds."""
    context = zmq.Context()
    us = KeyDirectory(directory) if directory else None
    try:
        yield RawMember(context, hub, us, KeyDirectory(at).public)
    finally:
        context.destroy(linger=0)


def say_word(socket: "zmq.Socket[bytes]", word: Word) -> None:
    socket.send(word_frame(word))


def hear_word(socket: "zmq.Socket[bytes]", timeout: float = 30.0) -> Word:
    """Return the next word; what else comes is dropped."""
    while socket.poll(int(timeout * 1000)):
        frame = socket.recv_multipart()[0]
        if frame[:1] == b"\x06":
            return read_word(frame)
    raise AssertionError(f"nothing was said within {timeout:g} s")


class RawHub:
    """Sockets with the key of a hub that say to a node there whatever a test wants."""

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]", us: KeyDirectory) -> None:
        self._context, self._us = context, us
        self.id = id_for(us.public, bytes(range(16)))
        self.control, self.endpoint = self._bound(zmq.ROUTER)
        self.up, self._up = self._bound(zmq.XSUB)
        self.down, self._down = self._bound(zmq.XPUB)
        self.route = b""
        self.said: list[list[bytes]] = []
        """What the node has said to others by us."""

    def _bound(self, kind: int) -> "tuple[zmq.Socket[bytes], str]":
        socket = self._context.socket(kind)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.CURVE_SERVER, 1)
        socket.setsockopt(zmq.CURVE_SECRETKEY, self._us.secret)
        socket.bind("tcp://127.0.0.1:*")
        return socket, bytes(socket.getsockopt(zmq.LAST_ENDPOINT)).rstrip(b"\0").decode()

    def carry(self, *nodes: bytes) -> None:
        """Take in what has come; say to who enters that we lead to some nodes."""
        while self.control.poll(0):
            self.route, *frames = self.control.recv_multipart()
            if frames[0][:1] == b"\x06":
                here = tuple((node, False) for node in nodes)
                places = {"up": self._up, "down": self._down, "secret": bytes(16)}
                word = Accepted(sender=self.id, base=0, roster=1, present=here, **places)  # type: ignore[arg-type]
                self.control.send_multipart([self.route, word_frame(word)])
            else:
                self.said.append(frames)

    def relay(self, sender: bytes, to: bytes, content: bytes) -> None:
        """Say something to the node in the name of another."""
        self.control.send_multipart([self.route, relay_head(sender, to), content])


@contextmanager
def raw_hub(directory: Path) -> Iterator[RawHub]:
    """Be a hub with the key in a directory, whom nothing binds."""
    context = zmq.Context()
    try:
        yield RawHub(context, KeyDirectory(directory))
    finally:
        context.destroy(linger=0)
