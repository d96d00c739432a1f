"""What becomes of connections before they stand: libzmq's monitors, read by the control thread.

A socket of libzmq retries in silence, or for ever not at all: after a refusal, or a wrong
protocol, it does not connect again. Only its monitor tells. Nothing here decides what
follows.
"""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import zmq
from zmq.utils.monitor import parse_monitor_message

from ..transport.polling import Poller
from ..transport.sockets import Sockets

if TYPE_CHECKING:
    from ..transport.sockets import Socket

STANDS = int(zmq.EVENT_HANDSHAKE_SUCCEEDED)
BROKEN_OFF = int(zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL)
"""The other end closed in the middle of it: it cannot read what we say, for one."""
MALFORMED = int(zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL)
REFUSED = int(zmq.EVENT_HANDSHAKE_FAILED_AUTH)
OTHER_MECHANISM = int(zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH)
NOT_OUR_KEY = int(zmq.PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC)

Told = Callable[[str, int, int], None]
"""Takes the name of what is watched, the event, and its value."""


class SocketMonitors:
    """The monitors of one node."""

    def __init__(self, sockets: Sockets, poller: Poller, told: Told) -> None:
        self._sockets = sockets
        self._poller = poller
        self._told = told
        self._number = 0
        self._watched: dict[str, tuple[Socket, Socket, int]] = {}

    def watch(self, name: str, socket: "Socket", events: int) -> None:
        """Hear of some events of a socket, until `forget`, which has to come before its end."""
        self.forget(name)
        self._number += 1
        address = f"inproc://handshakes-{self._number}"
        socket.monitor(address, events)
        monitor = self._sockets.pair()
        # Without bound: libzmq's own thread would wait for room. Only what failed is told.
        monitor.setsockopt(zmq.RCVHWM, 0)
        monitor.connect(address)
        # Seen empty once, or its descriptor would not tell of the first event.
        monitor.getsockopt(zmq.EVENTS)
        fd = int(monitor.getsockopt(zmq.FD))
        self._watched[name] = socket, monitor, fd
        self._poller.watch(fd, partial(self._read, name))

    def forget(self, name: str) -> None:
        """Hear no more of a socket."""
        found = self._watched.pop(name, None)
        if found is not None:
            socket, monitor, fd = found
            self._poller.forget(fd)
            with suppress(zmq.ZMQError):
                # First: with nobody at its other end, libzmq would wait for one to come.
                socket.disable_monitor()
            monitor.close(linger=0)

    def poll(self) -> None:
        """Read all: a wake-up may have been eaten."""
        for name in list(self._watched):
            self._read(name)

    def _read(self, name: str) -> None:
        found = self._watched.get(name)
        while found is not None and self._watched.get(name) is found:
            try:
                parts = found[1].recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            event = parse_monitor_message(parts)
            self._told(name, int(event["event"]), int(event["value"]))

    def close(self) -> None:
        """Hear no more of anything."""
        for name in list(self._watched):
            self.forget(name)
