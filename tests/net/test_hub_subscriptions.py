"""Who subscribes to what at a hub: told by connection, and let go of with it."""

import os
import socket
from types import SimpleNamespace
from typing import Any

import zmq

from zexchange.net.hub.forwarding import Forwarding
from zexchange.protocol.hub.core import HubCore
from zexchange.protocol.wire.data import topic
from zexchange.protocol.wire.envelopes import MARK

X, Y = topic("x"), topic("y")


class Frame:
    """A subscription as libzmq hands it over, with the connection that it came by."""

    def __init__(self, data: bytes, fd: int = -1) -> None:
        self.bytes = data
        self._fd = fd

    def get(self, what: object) -> Any:
        """Return the descriptor; nothing else is known."""
        return "" if isinstance(what, str) else self._fd


class Data:
    """The data sockets of a hub: what was subscribed to is read from here."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []

    def recv(self, *_: object, **__: object) -> Frame:
        """Return what comes next."""
        if not self.frames:
            raise zmq.Again
        return self.frames.pop(0)

    def send(self, *_: object, **__: object) -> None:
        """Take what is said to nodes."""


class Carrier:
    """A hub without keys, by its data half."""

    def __init__(self) -> None:
        self.down = Data()
        self.core = HubCore(b"h" * 16, "f", ("c", "u", "d"), lambda: b"s" * 16, 0.0)
        sockets: Any = SimpleNamespace(up=Data(), down=self.down)
        self.forwarding = Forwarding(sockets, self.core, lambda *_: None, None)

    def told(self, now: float, *frames: Frame) -> None:
        """Have frames read at some time."""
        self.down.frames += frames
        self.forwarding.read_down(now)
        self.forwarding.tick(now)

    def readers(self, of: bytes) -> set[bytes]:
        """Return the nodes for which the hub counts what is on a topic."""
        return {reader.node for reader in self.forwarding.reading.audience(of)}


def node(name: bytes, fd: int, *topics: bytes) -> list[Frame]:
    """Return what a node subscribes to when it has connected: names first, then its mark."""
    return [Frame(b"\1" + one, fd) for one in (*topics, MARK + name * 16)]


def test_what_a_closed_connection_wanted_is_not_for_the_next_with_its_descriptor() -> None:
    """When a connection ends, nothing is told of topics that others have as well."""
    hub, (stays, there) = Carrier(), socket.socketpair()
    leaves, other = socket.socketpair()
    with stays, there, other, socket.socket() as new:
        fd = leaves.fileno()
        hub.told(0.0, *node(b"a", stays.fileno(), X), *node(b"b", fd, X, Y))
        assert hub.readers(X) == {b"a" * 16, b"b" * 16}
        leaves.close()
        hub.forwarding.forget(b"b" * 16)
        os.dup2(new.fileno(), fd)
        try:
            hub.told(1.0, *node(b"c", fd, Y))
            assert hub.readers(X) == {b"a" * 16}
            assert hub.readers(Y) == {b"c" * 16}
        finally:
            os.close(fd)
        hub.told(100.0)
        assert set(hub.core.wants) == {X}


def test_an_end_without_keys_is_of_the_last() -> None:
    """Then nobody has the topic any more, whoever had it."""
    hub, (one, other) = Carrier(), socket.socketpair()
    with one, other:
        hub.told(0.0, *node(b"a", one.fileno(), X), *node(b"b", other.fileno(), X))
        hub.told(0.0, Frame(b"\0" + X))
        assert not hub.readers(X)
        assert not hub.core.wants


def test_what_is_no_subscription_ends_nothing() -> None:
    """Anybody may send that, who has subscribed to nothing."""
    hub, (one, other) = Carrier(), socket.socketpair()
    with one, other:
        hub.told(0.0, *node(b"a", one.fileno(), X), Frame(b"\5" + X, other.fileno()))
        assert hub.readers(X) == {b"a" * 16}
        assert set(hub.core.wants) == {X}
