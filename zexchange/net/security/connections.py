"""The accepted connections of each key, so that a revoked key can be cut off.

libzmq asks whether a key is welcome only when a connection is made, and offers no call that closes
one. But it tells the descriptor on which a frame arrived. Shutting that descriptor down ends the
connection, as if the other end had closed it.
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
"""Connections remembered of one key. Beyond that, the oldest is cut off only when it sends."""

OWNERS_MOST = 65_536
"""Keys, or nodes, whose connections are remembered. For one more, those of the first are cut."""

Connection = tuple[int, int]
"""A descriptor and its inode, since the number may be given to another file after closing."""


def connection(fd: int) -> Connection | None:
    """Return the connection of a descriptor; None if it is closed."""
    with suppress(OSError):
        return fd, os.fstat(fd).st_ino
    return None


def source(frame: "zmq.Frame") -> int:
    """Return the descriptor of the connection that a frame came by; -1 if it is not known.

    libzmq does not know it for connections of versions before ZMTP 3.
    """
    try:
        return int(frame.get(SRCFD))
    except zmq.ZMQError:
        return -1


def connection_of(frame: "zmq.Frame") -> Connection | None:
    """Return the connection that a frame came by; None if it is closed or not known."""
    return connection(source(frame))


def property_of(frame: "zmq.Frame", name: str) -> str:
    """Return a property of a frame's connection; an empty string if it is not known."""
    try:
        return str(frame.get(name))
    except zmq.ZMQError:
        return ""


def peer_host(frame: "zmq.Frame") -> str:
    """Return the host that a frame came from; an empty string for Unix sockets."""
    address = property_of(frame, "Peer-Address")
    return as_host(address) if "." in address or ":" in address else ""


def alive(found: Connection) -> bool:
    """Return whether a connection is still open here."""
    return connection(found[0]) == found


@contextmanager
def shared(fd: int) -> Generator[socket.socket, None, None]:
    """Give access to a descriptor of libzmq's by a duplicate, which is closed afterwards.

    Raises:
        OSError: if it is closed, or not a socket: the number may have been given to any file.
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
        OSError: if it is closed, or the number now belongs to something that is no connection.
    """
    with shared(fd) as connected:
        if connected.family == socket.AF_UNIX:
            return None
        host, port, *_ = connected.getpeername()
    return canonical(host), port


def canonical(host: str) -> str:
    """Return an address in the form in which it is compared: no brackets or zone, plain IPv4."""
    ip = ipaddress.ip_address(host.strip("[]").partition("%")[0])
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return str(mapped or ip)


def cut(found: Connection | None) -> None:
    """Shut a connection down, if its descriptor still is that one. A living peer reconnects."""
    if found is None:
        return
    fd, inode = found
    with suppress(OSError), shared(fd) as connected:
        # Checked after the dup: the duplicate cannot become another connection.
        if os.fstat(connected.fileno()).st_ino == inode:
            connected.shutdown(socket.SHUT_RDWR)


class Connections:
    """The connections on which a key, or a node, has sent something, each with a kind.

    Args:
        most: connections remembered of one owner; of owners there are at most `OWNERS_MOST`.
    """

    def __init__(self, most: int = PER_KEY) -> None:
        self._most = most
        self._of: dict[bytes, dict[Connection, int]] = {}

    def note(self, owner: bytes, fd: int, kind: int = 0) -> Connection | None:
        """Note that an owner has sent something; return a connection above the limit, if any."""
        return self.note_one(owner, connection(fd), kind)

    def note_one(self, owner: bytes, found: Connection | None, kind: int = 0) -> Connection | None:
        """Do as `note` for a connection that is known, or None."""
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
        """Cut all connections of an owner whose kind is below ``below``."""
        for found, kind in self._of.pop(owner, {}).items():
            if kind < below:
                cut(found)
            elif alive(found):
                self._of.setdefault(owner, {})[found] = kind
