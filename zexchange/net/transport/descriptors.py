"""File descriptors: how many a node needs, how many are left, and what follows from that.

Where a process may open no more, libzmq 4.3.5 ends it: as somebody connects to a Unix socket of
its own (`accept`), in a new context, and as it binds to TCP. So nothing is begun without room
(`require`), and a node hides its Unix sockets in time (`Shortage`). Connections to TCP, in and
out, and new sockets only fail. Nothing here knows ZeroMQ.
"""

import errno
import os
import select
import sys
from collections.abc import Callable
from contextlib import suppress

from ...errors import TooFewDescriptors
from ...protocol.session.peers import MAX_GOSSIP, MAX_PEERS

if sys.platform != "win32":
    import resource

RESERVE = 48
"""With fewer left the Unix sockets are hidden: so many may connect between two looks."""
ROOM = 64
"""With as many again they are shown, and without them no node is begun."""
A_PEER = 6
"""Two sockets of ours, their two connections, and the peer's two to us."""
A_CANDIDATE = 3
"""A socket, its connection, and a look whether anything listens."""
FEWEST_PEERS = 2
CONTEXT = 11
"""Of a node that nobody can dial: libzmq's, its sockets', and what its threads wait with."""
UNIX, TCP, KEYS, LAN, A_HUB = 3, 2, 5, 16, 6
HUB = 16


def limit() -> int | None:
    """Return how many descriptors the process may have; None if there is no end."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def left() -> int | None:
    """Return how many more the process may open; None if that is not known."""
    most = limit()
    if most is None:
        return None
    for listing in ("/proc/self/fd", "/dev/fd"):
        try:
            return max(0, most - len(os.listdir(listing)))
        except OSError as error:
            if error.errno == errno.EMFILE:
                return 0
    return None


def left_at_most(enough: int) -> int | None:
    """Return how many are left, or ``enough`` if it is more; None if that is not known.

    Costs 3 µs as long as the highest numbers are free, and to count them 1 ms for each 1000 that
    are open. A number that is not open is told by `poll` as invalid.
    """
    most = limit()
    if most is None:
        return None
    # There are more than may be polled, perhaps; and greenlets cannot.
    with suppress(OSError, AttributeError):
        looking = select.poll()
        for fd in range(max(0, most - enough), most):
            looking.register(fd, 0)
        free = sum(bool(found & select.POLLNVAL) for _, found in looking.poll(0))
        if free >= enough:
            return enough
    counted = left()
    return None if counted is None else min(counted, enough)


def require(count: int, there: int | None, what: str) -> None:
    """Refuse to begin what there are too few descriptors for.

    Args:
        count: how many it takes at first.
        there: how many are left; None if that is not known.
        what: it is, for the error.

    Raises:
        TooFewDescriptors: there are fewer than that, and `ROOM` for what connects.
    """
    if there is not None and there < count + ROOM:
        raise TooFewDescriptors(
            errno.EMFILE,
            f"{what} needs {count + ROOM} file descriptors, and this process may open only "
            f"{there} more: raise its limit (ulimit -n), or close files",
        )


def shares(there: int | None) -> tuple[int, int]:
    """Return how many peers, and how many endpoints of hearsay, descriptors are there for.

    Args:
        there: how many are left behind what the node itself needs; None if that has no end.
    """
    if there is None:
        return MAX_PEERS, MAX_GOSSIP
    spare = max(0, there - ROOM)
    hearsay = max(1, min(MAX_GOSSIP, spare // 4 // A_CANDIDATE))
    peers = (spare - A_CANDIDATE * hearsay) // A_PEER
    return max(FEWEST_PEERS, min(MAX_PEERS, peers)), hearsay


class Shortage:
    """Whether few descriptors are left: so that a few more or less are no reason to change.

    Args:
        count: returns how many are left, or what it is given if it is more.
    """

    def __init__(self, count: Callable[[int], int | None]) -> None:
        self._count = count
        self.short = False

    def look(self) -> bool:
        """Return whether few are left now: call several times a second."""
        there = self._count(ROOM)
        if there is not None:
            self.short = there < (ROOM if self.short else RESERVE)
        return self.short
