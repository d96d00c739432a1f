"""The sockets of a hub: three that are bound, and a link to each other hub.

On three ports in a row: control (ROUTER), *down* (XPUB), which nodes receive from, and *up*
(XSUB), which they publish to. A hub dials only other hubs.
"""

from collections.abc import Callable, Sequence

import zmq

from ...errors import Unreachable
from ...protocol.wire.data import MAX_DATA_BYTES
from ..transport.endpoints import Tcp, parse_tcp
from ..transport.sockets import JUDGED_MARK, Sockets

UP_MARK = 4_000
"""The receive high-water mark of *up*, in frames of one node. Together with the high-water mark at
the node, it is more than the node's window."""
ROUTER_MARK = 2_000


class HubSockets(Sockets):
    """The bound sockets of a hub; also makes the sockets of its links."""

    def __init__(self, listen: str, advertise: str | None) -> None:
        super().__init__()
        self._listen, self._advertise = parse_tcp(listen), advertise
        self.control = self.router()
        self.control.setsockopt(zmq.MAXMSGSIZE, MAX_DATA_BYTES)
        self.control.setsockopt(zmq.SNDHWM, ROUTER_MARK)
        self.control.setsockopt(zmq.RCVHWM, ROUTER_MARK)
        self.down, self.up = self.xpub(), self.xsub()
        self.up.setsockopt(zmq.RCVHWM, UP_MARK)
        self.ended = self.up.get_monitor_socket(zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED)
        """A socket monitor that reports connections to ``up``, by their descriptors."""
        self.endpoints = "", "", ""

    def bind(self, lock: Callable[["zmq.Socket[bytes]"], None]) -> None:
        """Call ``lock`` for control, up and down, then bind each; sets `endpoints`.

        Raises:
            Unreachable: if an endpoint is taken.
        """
        listen, found = self._listen, list[str]()
        told = parse_tcp(self._advertise) if self._advertise else None
        for socket, offset in ((self.control, 0), (self.up, 2), (self.down, 1)):
            endpoint = Tcp(listen.host, listen.port + offset if listen.port else 0)
            lock(socket)
            try:
                socket.bind(str(endpoint))
            except zmq.ZMQError as error:
                raise Unreachable(
                    f"cannot listen on {endpoint}: {error.strerror}; a hub takes three ports,"
                    f" {listen.port} and the next two"
                ) from error
            last = bytes(socket.getsockopt(zmq.LAST_ENDPOINT)).rstrip(b"\0").decode()
            bound = parse_tcp(last)
            if told is not None:
                bound = Tcp(told.host, told.port + offset if told.port else bound.port)
            found.append(str(bound))
        control, up, down = found
        self.endpoints = control, up, down

    def dealer(self) -> "zmq.Socket[bytes]":
        """Return a socket for a link to another hub."""
        socket = super().dealer()
        socket.setsockopt(zmq.SNDHWM, ROUTER_MARK)
        return socket

    def judge(self) -> None:
        """Switch *down* to manual mode, in which the hub decides about each subscription."""
        self.down.setsockopt(zmq.XPUB_MANUAL, 1)
        self.down.setsockopt(zmq.RCVHWM, JUDGED_MARK)

    @property
    def fds(self) -> Sequence[int]:
        """The descriptors of the bound sockets."""
        return [int(s.getsockopt(zmq.FD)) for s in (self.control, self.up, self.down, self.ended)]

    def close(self, linger: float) -> None:
        """Close every socket; frames that were sent still go out within ``linger`` seconds."""
        self.up.disable_monitor()
        for socket in (self.control, self.down):
            socket.setsockopt(zmq.LINGER, int(linger * 1000))
        self._context.destroy(linger=None)
