"""The filter at the data socket: which subscriptions are accepted, if there are keys.

With ``XPUB_MANUAL`` libzmq hands every subscription to us, and delivers by those that we set in
return. So a message that a key may not receive does not even leave this node. Called under the lock
of the data socket, by the thread that reads it.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import zmq

from ...protocol.hub.rights import restrict_topics
from ...protocol.interest.permitted import PermittedParts
from ...protocol.security.channel import Kind
from ...protocol.security.keys import belongs
from ...protocol.security.permissions import Policy, owner_in
from ...protocol.wire.data import DATA, READY, read_token
from .connections import (
    Connection,
    Connections,
    address_of,
    alive,
    connection_of,
    cut,
    property_of,
    source,
)

if TYPE_CHECKING:
    Socket = zmq.Socket[bytes]

MAX_TOKENS = 65_536
"""Tokens for which the connection that last subscribed to them is remembered."""
READERS_OF_ONE = 64
"""Connections that may subscribe to the tokens of one node."""


def user_of(frame: zmq.Frame) -> bytes | None:
    """Return the key that a frame came with.

    It is empty for a Unix socket, and None if the frame has no connection, or no longer has one.
    With keys every TCP endpoint has CURVE, so that every frame from there has a key. The sender
    cannot choose it: libzmq puts the properties that a peer claims after the proven ones
    (`mechanism_ready`).
    """
    user = property_of(frame, "User-Id")
    if user:
        try:
            return bytes.fromhex(user)
        except ValueError:
            return None
    return b"" if property_of(frame, "Socket-Type") else None


class SubscriptionFilter:
    """Judges the subscriptions at one XPUB."""

    def __init__(
        self, policy: Callable[[], Policy], refused: Callable[[bytes, str, str], None]
    ) -> None:
        self._policy = policy
        self._refused = refused
        self._tokens: dict[bytes, Connection] = {}
        self._to_hubs: dict[Connection, PermittedParts[bytes]] = {}
        """By connection, what is given to hubs that may not have all that they subscribe to.

        Several of a hub's topics may be restricted to the same part. libzmq does not count equal
        subscriptions, so they are counted here.
        """
        self._readers = Connections(READERS_OF_ONE)
        """By node, connections that may read what is announced to it, of a lesser kind than its
        own."""
        self._skewed = False
        self.hubs: dict[tuple[str, int], bytes] | None = None
        """The key of the hub at each address that the socket dials; None if it never dials any."""
        self.connections = Connections()
        self.room: Callable[[bytes], bool] = lambda key: True
        """Returns whether a key may bring subscriptions now. If not, its connections are turned
        away until it may."""
        self.calls: Callable[[bytes], Kind] = lambda node: Kind.HUB
        """Returns the best kind of connection by which a node speaks to us, as far as we know."""

    def narrow(self, key: bytes) -> bool:
        """Return whether the owner of a key may not subscribe to everything."""
        rights = self._policy().rights(key)
        return rights is None or (rights.subscribe is not None and not rights.hub)

    def admit(
        self, socket: "Socket", frame: zmq.Frame, user: bytes | None, by: Connection | None
    ) -> bool:
        """Judge a subscription; return whether the control thread has to know of it.

        Args:
            socket: the XPUB.
            frame: the whole frame.
            user: the key that it came with, as `user_of` returns it.
            by: the connection that it came by; None if it is closed or not known.
        """
        data = frame.bytes
        hub = self._hub(frame) if user == b"" and self.hubs is not None else b""
        if hub is None:
            user = None
        if not data or data[0] > 1:
            return self._not_a_subscription(hub or user, by)
        topic = data[1:]
        if data[0] == 0:
            return self._end_hub(socket, topic, frame) if hub else self._end(socket, topic, user)
        if self._skewed:
            # The peer connects again, and subscribes to everything again.
            cut(by)
            return False
        if hub:
            return self._admit_hub(socket, topic, hub, frame)
        if user is None:
            return False
        if user and not (
            self._policy().may_hear(user, topic) and self._for_itself(topic, Kind.KEY)
        ):
            # Noted, so that this connection is cut too when the permissions of the key change: the
            # topic may be permitted then, but the peer does not ask again on the same connection.
            self.connections.note_one(user, by)
            return False
        socket.setsockopt(zmq.SUBSCRIBE, topic)
        self._note(user, by, topic)
        if user:
            self._lend(topic, Kind.KEY, user, by)
        return True

    def _hub(self, frame: zmq.Frame) -> bytes | None:
        """Return the key of the hub that a frame came from; empty for a Unix socket.

        A connection that this socket has dialled has no User-Id: we have checked the other end's
        key, and nobody ours. The result is None if its address is not one that was dialled.
        """
        try:
            address = address_of(source(frame))
        except OSError:
            return None if property_of(frame, "Socket-Type") else b""
        return b"" if address is None else (self.hubs or {}).get(address)

    def _admit_hub(self, socket: "Socket", topic: bytes, key: bytes, frame: zmq.Frame) -> bool:
        """Accept the subscription of a hub, as far as the hub may have the topic."""
        found = self._for_hub(key, topic)
        for part in found:
            socket.setsockopt(zmq.SUBSCRIBE, part)
        if found:
            honoured = self._honoured_at(frame)
            honoured.remove(topic)  # peers subscribe to tokens repeatedly
            honoured.add(topic, found)
            self._lend(topic, Kind.HUB, key, connection_of(frame))
        elif topic[:1] == DATA:
            self._refused(key, "may not subscribe", repr(topic))
        return bool(found)

    def _end_hub(self, socket: "Socket", topic: bytes, frame: zmq.Frame) -> bool:
        """End the subscription of a hub."""
        ended = self._honoured_at(frame).remove(topic)
        if not self._skewed:
            for part in ended:
                socket.setsockopt(zmq.UNSUBSCRIBE, part)
        return True

    def keep_to(self, node: bytes) -> None:
        """Cut connections that could read a node's announcements, of a lesser kind than its own.

        They connect again, and are then refused the tokens of that node.
        """
        self._readers.cut(node, self.calls(node))

    def _lend(self, topic: bytes, kind: Kind, key: bytes, by: Connection | None) -> None:
        """Note a reader of what is announced to a node, if it may not receive everything itself."""
        rights = self._policy().rights(key)
        if topic[:1] == READY and rights is not None and rights.subscribe is not None:
            node = owner_in(topic)
            if node:
                cut(self._readers.note_one(node, by, kind))

    def _for_itself(self, topic: bytes, kind: Kind) -> bool:
        """Return whether this kind of connection may ask for what is announced to a topic's node.

        If the node speaks to us by a better kind, it is told more than others may know.
        """
        node = owner_in(topic)
        return not node or kind >= self.calls(node)

    def _honoured_at(self, frame: zmq.Frame) -> PermittedParts[bytes]:
        """Return the parts that a hub is given on the connection that a frame came by."""
        found = connection_of(frame)
        if found is None:
            return PermittedParts()
        if found not in self._to_hubs:
            for ended in [known for known in self._to_hubs if not alive(known)]:
                del self._to_hubs[ended]
            self._to_hubs[found] = PermittedParts()
        return self._to_hubs[found]

    def _for_hub(self, key: bytes, topic: bytes) -> tuple[bytes, ...]:
        """Return the parts of a topic that a hub is given.

        Those are tokens of any node, marks of its own, and names as far as its permissions allow.
        """
        rights = self._policy().rights(key)
        if rights is None or not rights.hub:
            return ()
        node = owner_in(topic)
        if node:
            its = topic[:1] == READY or belongs(node, key)
            return (topic,) if its and self._for_itself(topic, Kind.HUB) else ()
        return tuple(restrict_topics(rights, topic))

    def _not_a_subscription(self, user: bytes | None, by: Connection | None) -> bool:
        """Cut a connection that sends a message where only subscriptions belong.

        libzmq 4.3.5 assigns the connection of the next subscription to such a message (xpub.cpp
        does not queue a pipe for it, and takes one from the queue). Until everything is read, each
        subscription would be credited to a wrong connection.
        """
        self._skewed = True
        cut(by)
        self._refused(user or b"", "message instead of a subscription", "")
        return False

    def drained(self) -> None:
        """Take note that nothing is left to read: the next subscription has its own connection."""
        self._skewed = False

    def _end(self, socket: "Socket", topic: bytes, user: bytes | None) -> bool:
        """Take the end of a subscription, by a peer's request or because its connection is gone."""
        if user is not None and not self._skewed:
            socket.setsockopt(zmq.UNSUBSCRIBE, topic)
        if user and not self._policy().may_hear(user, topic):
            return False  # it never had it, and somebody else may
        last = self._tokens.get(topic)
        if user is None and last is not None and alive(last):
            # An old connection has ended, and a newer one has subscribed to the same topic.
            return False
        self._tokens.pop(topic, None)
        return True

    def _note(self, user: bytes, by: Connection | None, topic: bytes) -> None:
        if user:
            self.connections.note_one(user, by)
        if by is not None and read_token(topic) is not None:
            self._tokens.pop(topic, None)
            self._tokens[topic] = by
            if len(self._tokens) > MAX_TOKENS:
                del self._tokens[next(iter(self._tokens))]
