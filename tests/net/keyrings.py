"""Key directories for tests, and raw sockets that have a key and keep to no rule."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import zmq

from tests.support import eventually
from zexchange import Node
from zexchange.net.security.key_directory import KeyDirectory, make_keys
from zexchange.protocol.security.keys import id_for, public_line
from zexchange.protocol.wire.control import control_frame, read_control
from zexchange.protocol.wire.messages import Address, Control, Hello, Label

PROBE = b"\x01probe\0"


class Keyrings:
    """A key directory a name, below one path."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self, name: str) -> Path:
        """Return the key directory of a name, made if need be."""
        if not (self._path / name).exists():
            make_keys(self._path / name)
        return self._path / name

    def line(self, name: str) -> str:
        return (self(name) / "node.pub").read_text()

    def public(self, name: str) -> bytes:
        return KeyDirectory(self(name)).public

    def authorize(self, at: str, *names: str) -> None:
        """Have ``at`` know the keys of some names."""
        for name in names:
            shutil.copy(self(name) / "node.pub", self(at) / "authorized" / f"{name}.pub")

    def friends(self, *names: str) -> None:
        """Have some names know each other."""
        for at in names:
            self.authorize(at, *(name for name in names if name != at))

    def revoke(self, at: str, name: str) -> None:
        (self(at) / "authorized" / f"{name}.pub").unlink()

    def permit(self, at: str, text: str) -> None:
        """Write a permissions file, whole in one step."""
        draft = self(at) / "draft"
        draft.write_text(text)
        draft.replace(self(at) / "permissions.toml")


def strangers(count: int) -> Iterator[str]:
    """Yield lines with keys that nobody has."""
    for n in range(count):
        yield public_line(bytes([n + 1]) * 32) + "\n"


class Raw:
    """Sockets with the key of a name that say to a node whatever a test wants."""

    def __init__(
        self, context: "zmq.Context[zmq.Socket[bytes]]", node: Node, us: KeyDirectory
    ) -> None:
        engine = node._engine
        assert engine is not None
        assert engine._guard is not None
        assert engine._guard._keyring is not None
        self._context = context
        self._server = engine._guard._keyring.public
        self.us = us
        self.id = id_for(us.public, bytes(range(16)))
        self.node = engine.me
        self._address = next(a for a in engine.session.addresses if a.control.startswith("tcp"))

    def control(self) -> "zmq.Socket[bytes]":
        return self._connected(zmq.DEALER, self._address.control)

    def data(self) -> "zmq.Socket[bytes]":
        return self._connected(zmq.XSUB, self._address.data)

    def _connected(self, kind: int, endpoint: str) -> "zmq.Socket[bytes]":
        socket = self._context.socket(kind)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.CURVE_SERVERKEY, self._server)
        socket.setsockopt(zmq.CURVE_PUBLICKEY, self.us.public)
        socket.setsockopt(zmq.CURVE_SECRETKEY, self.us.secret)
        socket.connect(endpoint)
        return socket

    def hello(self, *interest: str, me: bytes | None = None, epoch: int = 1) -> Hello:
        where = (Address("tcp://127.0.0.1:1", "tcp://127.0.0.1:2"),)
        label = Label("raw", 1, "raw")
        return Hello(me or self.id, "fed", label, where, epoch, interest)


def admitted(node: Node, *keys: bytes) -> bool:
    """Tell whether a node knows keys by now: who is refused once does not come again."""
    policy = node._engine._guard.policy  # type: ignore[union-attr]
    return all(policy.rights(key) for key in keys)  # type: ignore[union-attr]


@contextmanager
def raw(node: Node, directory: Path) -> Iterator[Raw]:
    """Be somebody with the key in a directory, whom nothing binds to the protocol."""
    context, keyring = zmq.Context(), KeyDirectory(directory)
    eventually(lambda: admitted(node, keyring.public))
    try:
        yield Raw(context, node, keyring)
    finally:
        context.destroy(linger=0)


def say(socket: "zmq.Socket[bytes]", message: Control) -> None:
    socket.send(control_frame(message))


def hear(socket: "zmq.Socket[bytes]", timeout: float = 30.0) -> Control:
    """Return the next control message; what else comes is dropped."""
    while socket.poll(int(timeout * 1000)):
        frame = socket.recv_multipart()[0]
        if frame[:1] == b"\x02":
            return read_control(frame)
    raise AssertionError(f"nothing was said within {timeout:g} s")


def everything(socket: "zmq.Socket[bytes]") -> list[bytes]:
    """Return what has come, without waiting."""
    frames = []
    while socket.poll(0):
        frames.append(socket.recv())
    return frames
