"""Reports how handshakes end, by libzmq's monitors. Control thread only.

A libzmq socket retries silently, or gives up silently: after a refusal or a wrong protocol it never
connects again. Only its monitor reports that. Nothing here decides what follows.
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
"""The other end closed during the handshake, for example because it cannot read our frames."""
MALFORMED = int(zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL)
REFUSED = int(zmq.EVENT_HANDSHAKE_FAILED_AUTH)
OTHER_MECHANISM = int(zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH)
NOT_OUR_KEY = int(zmq.PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC)

Told = Callable[[str, int, int], None]
"""Called with the name of the watched socket, the event, and its value."""


class SocketMonitors:
    """The monitors of one node."""

    def __init__(self, sockets: Sockets, poller: Poller, told: Told) -> None:
        self._sockets = sockets
        self._poller = poller
        self._told = told
        self._number = 0
        self._watched: dict[str, tuple[Socket, Socket, int]] = {}

    def watch(self, name: str, socket: "Socket", events: int) -> None:
        """Report some events of a socket until `forget`, which must come before it is closed."""
        self.forget(name)
        self._number += 1
        address = f"inproc://handshakes-{self._number}"
        socket.monitor(address, events)
        monitor = self._sockets.pair()
        # No limit, as libzmq's own thread would wait for room. Only events of handshakes are sent.
        monitor.setsockopt(zmq.RCVHWM, 0)
        monitor.connect(address)
        # Its descriptor signals the first event only if it was seen empty once.
        monitor.getsockopt(zmq.EVENTS)
        fd = int(monitor.getsockopt(zmq.FD))
        self._watched[name] = socket, monitor, fd
        self._poller.watch(fd, partial(self._read, name))

    def forget(self, name: str) -> None:
        """Stop watching a socket."""
        found = self._watched.pop(name, None)
        if found is not None:
            socket, monitor, fd = found
            self._poller.forget(fd)
            with suppress(zmq.ZMQError):
                # First, since without a reader libzmq would wait for one.
                socket.disable_monitor()
            monitor.close(linger=0)

    def poll(self) -> None:
        """Read all monitors: a wake-up may have been consumed."""
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
        """Stop watching all sockets."""
        for name in list(self._watched):
            self.forget(name)
