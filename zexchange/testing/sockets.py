"""Simulated sockets: the parts of ZeroMQ's four kinds that a node uses.

They behave like ZeroMQ where the node's code depends on it. A frame raises the descriptor of a
socket that was seen empty, and any call on the socket may lower it again. Beyond a high-water mark
frames are dropped. A socket that connects again subscribes again. A link refuses frames while it
has no connection.

The file is long because each kind has to match the kinds that it connects to.
"""

from collections import Counter, deque
from functools import partial
from typing import Any

from ..net.transport.sockets import (
    EVENTS,
    FD,
    FRAMES_MARK,
    RCVMORE,
    READABLE,
    SNDMORE,
    SRCFD,
    NotNow,
)
from .schedule import Host
from .wire import REDIAL, REDIAL_MOST, Connection, Parts, Wire


class Frame:
    """A received frame, which knows nothing about its connection."""

    def __init__(self, data: bytes) -> None:
        self.bytes = data

    def __len__(self) -> int:
        """Return how many bytes there are."""
        return len(self.bytes)

    @property
    def buffer(self) -> memoryview:
        """Return the content in memory of its own, writable."""
        return memoryview(bytearray(self.bytes))

    def get(self, what: object) -> int | str:
        """Return the property of a frame without a known connection: no descriptor, no address."""
        return -1 if what == SRCFD else ""


class Socket:
    """Base of all kinds: a descriptor, and an inbox that is read without waiting."""

    def __init__(self, wire: Wire, host: Host) -> None:
        self.wire = wire
        self.host = host
        self.inbox: deque[Any] = deque()
        self.closed = False
        self._fd = next(host.fds)
        self._awake = False

    def _put(self, item: Any) -> None:
        self.inbox.append(item)
        if not self._awake:
            self._awake = True
            self._raise()

    def _raise(self) -> None:
        self.host.raised[self._fd] = None

    def _take(self) -> Any:
        if not self.inbox:
            self._awake = False
            self.host.raised.pop(self._fd, None)
            raise NotNow
        return self.inbox.popleft()

    def _called(self) -> None:
        """Perhaps lower the descriptor, as any call on a ZeroMQ socket may."""
        if self.wire.random.random() < 0.5:
            self.host.raised.pop(self._fd, None)

    def getsockopt(self, option: int) -> int:
        """Return the descriptor, or whether there is something to read."""
        if option == FD:
            return self._fd
        assert option == EVENTS
        self.host.raised.pop(self._fd, None)
        self._awake = bool(self.inbox)
        return READABLE if self.inbox else 0


class Dialler(Socket):
    """A socket that connects, and reconnects."""

    def __init__(self, wire: Wire, host: Host) -> None:
        super().__init__(wire, host)
        self.connection: Connection | None = None
        self._endpoint = ""
        self._pause = REDIAL

    def connect(self, endpoint: str) -> None:
        """Connect after a while, and again whenever the connection is lost."""
        self._endpoint = endpoint
        self.wire.at(self.wire.arrival(), self._dial)

    def _dial(self) -> None:
        if self.closed or self.connection or not self.host.alive:
            return
        self.connection = self.wire.connect(self, self._endpoint)
        if self.connection is None:
            self._dial_later()
        else:
            self._pause = REDIAL
            self.connection.bound.connected(self.connection)
            self._raise()
            self.connected()

    def _dial_later(self) -> None:
        pause = self._pause * self.wire.random.uniform(1, 2)
        self._pause = min(2 * self._pause, REDIAL_MOST)
        self.wire.schedule.after(pause, self._dial)

    def connected(self) -> None:
        """Take note that a connection was made."""

    def disconnected(self) -> None:
        """Take note that the connection is gone, and dial again."""
        self.connection = None
        self._dial_later()

    def arrive(self, parts: Parts) -> None:
        """Take a message that has arrived."""
        if not self.closed:
            self._put(parts)

    def close(self, linger: int = 0) -> None:
        """Close; if the socket may linger, what was sent still arrives."""
        self.closed = True
        self.host.raised.pop(self._fd, None)
        if self.connection:
            self.wire.end(self.connection, lose=not linger)


class Sub(Dialler):
    """Receives from one peer what it has subscribed to."""

    def __init__(self, wire: Wire, host: Host) -> None:
        super().__init__(wire, host)
        self._topics: Counter[bytes] = Counter()
        self._rest: deque[bytes] = deque()

    def send(self, frame: bytes, flags: int = 0) -> None:
        """Subscribe or unsubscribe; equal subscriptions are counted."""
        self._called()
        topic = frame[1:]
        if frame[0] == 1:
            self._topics[topic] += 1
            self._tell(b"\x01" + topic)
        elif topic in self._topics:
            self._topics[topic] -= 1
            if not self._topics[topic]:
                del self._topics[topic]
                self._tell(b"\x00" + topic)

    def _tell(self, frame: bytes) -> None:
        if self.connection:
            self.connection.up(frame)

    def connected(self) -> None:
        """Subscribe again to everything, in order."""
        for topic in sorted(self._topics):
            self._tell(b"\x01" + topic)

    def getsockopt(self, option: int) -> int:
        """See `Socket`. `RCVMORE` tells whether the message has more frames."""
        return bool(self._rest) if option == RCVMORE else super().getsockopt(option)

    def recv(self, flags: int = 0, copy: bool = True) -> Any:
        """Return the next frame, even if its topic was unsubscribed meanwhile."""
        if not self._rest:
            self._rest.extend(self._take())
        frame = self._rest.popleft()
        return frame if copy else Frame(frame)


class Dealer(Dialler):
    """A control link."""

    def send(self, frame: bytes, flags: int = 0) -> None:
        """Send, if there is a connection."""
        self._called()
        if self.connection is None:
            raise NotNow
        self.connection.up(frame)

    def recv_multipart(self, flags: int = 0, copy: bool = True) -> list[Frame]:
        """Return the next message."""
        return [Frame(part) for part in self._take()]


class Bound(Socket):
    """A socket that others connect to."""

    def __init__(self, wire: Wire, host: Host) -> None:
        super().__init__(wire, host)
        self.endpoint = ""

    def bind(self, endpoint: str) -> None:
        """Listen at an endpoint."""
        self.endpoint = endpoint
        self.wire.bound[endpoint] = self

    def connected(self, connection: Connection) -> None:
        """Take note that a connection was made."""

    def disconnected(self, connection: Connection) -> None:
        """Take note that a connection is gone."""

    def arrive(self, connection: Connection, frame: bytes) -> None:
        """Take a frame that has arrived on a connection."""
        raise NotImplementedError

    def close(self, linger: int = 0) -> None:
        """Close; if the socket may linger, what was sent still arrives."""
        self.closed = True
        self.host.raised.pop(self._fd, None)
        self.wire.bound.pop(self.endpoint, None)
        for connection in list(self.wire.connections):
            if connection.bound is self:
                self.wire.end(connection, lose=not linger)


class Router(Bound):
    """The socket to which control links connect."""

    def __init__(self, wire: Wire, host: Host) -> None:
        super().__init__(wire, host)
        self._routes: dict[bytes, Connection] = {}

    def connected(self, connection: Connection) -> None:
        """Give the connection a route."""
        self._routes[connection.route] = connection

    def disconnected(self, connection: Connection) -> None:
        """Forget the route."""
        self._routes.pop(connection.route, None)

    def arrive(self, connection: Connection, frame: bytes) -> None:
        """See `Bound`."""
        if not self.closed:
            self._put((connection.route, frame))

    def recv_multipart(self, flags: int = 0, copy: bool = True) -> list[Frame]:
        """Return the next message, with its route in front."""
        return [Frame(part) for part in self._take()]

    def send_multipart(self, parts: list[bytes], flags: int = 0, copy: bool = True) -> None:
        """Send along a route; without effect if the route is gone."""
        self._called()
        connection = self._routes.get(parts[0])
        if connection is not None:
            connection.down(tuple(map(bytes, parts[1:])), data=False)


class XPub(Bound):
    """Publishes; its inbox has the subscriptions."""

    def __init__(self, wire: Wire, host: Host) -> None:
        super().__init__(wire, host)
        self.high_water = 2 * FRAMES_MARK
        self._wanted: dict[Connection, dict[bytes, None]] = {}
        self._parts: list[bytes] = []

    def connected(self, connection: Connection) -> None:
        """Take note of a connection, which has no subscriptions yet."""
        self._wanted[connection] = {}

    def disconnected(self, connection: Connection) -> None:
        """Unsubscribe from topics to which no other connection has subscribed."""
        for topic in self._wanted.pop(connection, {}):
            self._unsubscribed(topic)

    def _unsubscribed(self, topic: bytes) -> None:
        if not any(topic in topics for topics in self._wanted.values()):
            self._subscription(b"\x00" + topic)

    def arrive(self, connection: Connection, frame: bytes) -> None:
        """Take a subscription; it is passed on even if its topic is known already."""
        topics, topic = self._wanted.get(connection), frame[1:]
        if topics is None or self.closed:
            return
        if frame[0] == 1:
            topics[topic] = None
            self._subscription(frame)
        elif topic in topics:
            del topics[topic]
            self._unsubscribed(topic)

    def _subscription(self, frame: bytes) -> None:
        # Any call on the socket may process it, so each one raises the descriptor.
        self.inbox.append(frame)
        self._raise()

    def recv(self, flags: int = 0, copy: bool = True) -> Frame:
        """Return the next subscription."""
        return Frame(self._take())

    def send(self, frame: bytes, flags: int = 0, copy: bool = True) -> None:
        """Send to every connection that has subscribed to it and has room."""
        self._called()
        self._parts.append(bytes(frame))
        if flags & SNDMORE:
            return
        parts, self._parts = tuple(self._parts), []
        for connection, topics in list(self._wanted.items()):
            if not parts[0].startswith(tuple(topics)):
                continue
            if connection.under_way + len(connection.dialler.inbox) < self.high_water:
                connection.down(parts, data=True)
            else:
                self.wire.dropped += 1


class Sockets:
    """Makes the sockets of one node; see `zexchange.net.transport.sockets.Sockets`."""

    def __init__(self, wire: Wire, host: Host) -> None:
        self.xpub, self.sub = partial(XPub, wire, host), partial(Sub, wire, host)
        self.router, self.dealer = partial(Router, wire, host), partial(Dealer, wire, host)

    def destroy(self) -> None:
        """Do nothing: unused sockets are garbage."""

    def term(self) -> None:
        """Do nothing: frames that linger are on their way already."""
