"""The accepted connections of each key, so that a key that is revoked can be cut off.

libzmq asks whether a key is welcome only when a connection is made, and closes none for us.
What it tells is the descriptor that a frame came in on: shutting that down ends the
connection, as if its other end had.
"""

import ipaddress
import os
import socket
from collections.abc import Generator
from contextlib import contextmanager, suppress
from math import inf

import zmq

from ..transport.endpoints import as_host
from ..transport.sockets import SRCFD

PER_KEY = 256
"""Connections remembered of one key. Beyond that the oldest is cut off only when it speaks."""

OWNERS_MOST = 65_536
"""Keys, or nodes, of which connections are remembered: those of the first are cut off for more."""

Connection = tuple[int, int]
"""A descriptor and its inode: numbers are given again, and may be another's by now."""


def connection(fd: int) -> Connection | None:
    """Return the connection of a descriptor, None if it is closed."""
    with suppress(OSError):
        return fd, os.fstat(fd).st_ino
    return None


def source(frame: "zmq.Frame") -> int:
    """Return the descriptor of the connection that a frame came by; -1 if it is not known.

    Of what is older than ZMTP 3 libzmq does not know it.
    """
    try:
        return int(frame.get(SRCFD))
    except zmq.ZMQError:
        return -1


def connection_of(frame: "zmq.Frame") -> Connection | None:
    """Return the connection that a frame came by; None if it came by none that is open."""
    return connection(source(frame))


def property_of(frame: "zmq.Frame", name: str) -> str:
    """Return what is known of a frame's connection; nothing if that is not known."""
    try:
        return str(frame.get(name))
    except zmq.ZMQError:
        return ""


def peer_host(frame: "zmq.Frame") -> str:
    """Return the host that a frame came from; nothing for Unix sockets."""
    address = property_of(frame, "Peer-Address")
    return as_host(address) if "." in address or ":" in address else ""


def alive(found: Connection) -> bool:
    """Tell whether a connection is still open here."""
    return connection(found[0]) == found


@contextmanager
def shared(fd: int) -> Generator[socket.socket, None, None]:
    """Look at a descriptor of libzmq's by a socket of our own, which is closed behind that.

    Raises:
        OSError: if it is closed, or no socket: a number is given again, to anything.
    """
    own = os.dup(fd)
    try:
        found = socket.socket(fileno=own)
    except BaseException:
        os.close(own)
        raise
    with found:
        yield found


def address_of(fd: int) -> tuple[str, int] | None:
    """Return the address and port at the other end of a connection; None for a Unix socket.

    Raises:
        OSError: if it is closed, or another's by now that is no connection.
    """
    with shared(fd) as connected:
        if connected.family == socket.AF_UNIX:
            return None
        host, port, *_ = connected.getpeername()
    return canonical(host), port


def canonical(host: str) -> str:
    """Return an address as it is compared: without brackets and zone, IPv4 as itself."""
    ip = ipaddress.ip_address(host.strip("[]").partition("%")[0])
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return str(mapped or ip)


def cut(found: Connection | None) -> None:
    """Shut a connection down, if it is still that one; who lives at its other end comes back."""
    if found is None:
        return
    fd, inode = found
    with suppress(OSError), shared(fd) as connected:
        # Looked at behind the dup: it cannot become another's between the two.
        if os.fstat(connected.fileno()).st_ino == inode:
            connected.shutdown(socket.SHUT_RDWR)


class Connections:
    """By key, or node, the connections on which something has come, each of some kind.

    Args:
        most: connections remembered of one, and not more of `OWNERS_MOST`.
    """

    def __init__(self, most: int = PER_KEY) -> None:
        self._most = most
        self._of: dict[bytes, dict[Connection, int]] = {}

    def note(self, owner: bytes, fd: int, kind: int = 0) -> Connection | None:
        """Take note that something came from an owner; return a connection that is too much."""
        found = connection(fd)
        if found is None:
            return None
        known = self._of.setdefault(owner, {})
        known[found] = kind
        if len(self._of) > OWNERS_MOST:
            self.cut(next(iter(self._of)))
        if len(known) <= self._most:
            return None
        first = next(iter(known))
        del known[first]
        return first

    def cut(self, owner: bytes, below: float = inf) -> None:
        """Cut off every connection of an owner that is of a lesser kind."""
        for found, kind in self._of.pop(owner, {}).items():
            if kind < below:
                cut(found)
            elif alive(found):
                self._of.setdefault(owner, {})[found] = kind
