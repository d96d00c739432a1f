r"""The gate at the data socket: which subscriptions are honoured, where there are keys.

With ``XPUB_MANUAL`` libzmq hands every subscription to us and filters by those that we
repeat to it. What is refused here is never sent: it does not leave this node. Called under
the lock of the data socket, by whichever thread reads it.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import zmq

from ..protocol.permissions import Policy
from ..protocol.wire import read_token
from .connections import Connection, Connections, alive, connection, cut

if TYPE_CHECKING:
    Socket = zmq.Socket[bytes]

MAX_TOKENS = 65_536
"""Tokens of which is known on which connection they came last."""


def user_of(frame: zmq.Frame) -> bytes | None:
    """Return the key that a frame came with.

    Empty for a Unix socket; None for what has no connection (any more). Every TCP endpoint
    has CURVE here, and so every frame from there a key, which its sender cannot choose: what
    a peer says of itself comes behind what was proven (libzmq, `mechanism_ready`).
    """
    user = _property(frame, "User-Id")
    if user:
        try:
            return bytes.fromhex(user)
        except ValueError:
            return None
    return b"" if _property(frame, "Socket-Type") else None


def _property(frame: zmq.Frame, name: str) -> str:
    try:
        return str(frame.get(name))
    except zmq.ZMQError:
        return ""


class Gate:
    """Judges the subscriptions at one XPUB."""

    def __init__(
        self, policy: Callable[[], Policy], refused: Callable[[bytes, str, str], None]
    ) -> None:
        self._policy = policy
        self._refused = refused
        self._tokens: dict[bytes, Connection] = {}
        self._skewed = False
        self.connections = Connections()

    def admit(self, socket: "Socket", frame: zmq.Frame) -> bool:
        """Honour a subscription or not; tell whether the control thread is to know of it."""
        data = frame.bytes
        user = user_of(frame)
        if not data or data[0] > 1:
            return self._not_a_subscription(user, frame)
        topic = data[1:]
        if data[0] == 0:
            return self._end(socket, topic, user)
        if self._skewed:
            # It comes again by another connection, with all that is subscribed to.
            self._cut(frame)
            return False
        if user is None or (user and not self._policy().may_hear(user, topic)):
            return False
        socket.setsockopt(zmq.SUBSCRIBE, topic)
        self._note(user, frame, topic)
        return True

    def _not_a_subscription(self, user: bytes | None, frame: zmq.Frame) -> bool:
        """Cut off who sends messages where only subscriptions belong.

        libzmq 4.3.5 gives such a message the connection of the next subscription (xpub.cpp
        does not queue a pipe for it, and takes one from the queue): until there is nothing
        left to read, what is subscribed to would be given to another connection.
        """
        self._skewed = True
        self._cut(frame)
        self._refused(user or b"", "message instead of a subscription", "")
        return False

    def drained(self) -> None:
        """Nothing is left to read: from here on, subscriptions have their own connections."""
        self._skewed = False

    def _end(self, socket: "Socket", topic: bytes, user: bytes | None) -> bool:
        """Take the end of a subscription: what a peer says, or of a connection that is gone."""
        if user is not None and not self._skewed:
            socket.setsockopt(zmq.UNSUBSCRIBE, topic)
        last = self._tokens.get(topic)
        if user is None and last is not None and alive(last):
            # An old connection has ended, and a newer one is subscribed to the same.
            return False
        self._tokens.pop(topic, None)
        return True

    def _note(self, user: bytes, frame: zmq.Frame, topic: bytes) -> None:
        fd = int(frame.get(zmq.SRCFD))
        if user:
            self.connections.note(user, fd)
        found = connection(fd)
        if found is not None and read_token(topic) is not None:
            self._tokens.pop(topic, None)
            self._tokens[topic] = found
            if len(self._tokens) > MAX_TOKENS:
                del self._tokens[next(iter(self._tokens))]

    def _cut(self, frame: zmq.Frame) -> None:
        try:
            found = connection(int(frame.get(zmq.SRCFD)))
        except zmq.ZMQError:
            return
        if found is not None:
            cut(found)
