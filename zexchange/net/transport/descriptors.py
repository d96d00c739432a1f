"""File descriptors: how many a node needs, how many are left, and what happens when few are.

If a process may open no more, libzmq 4.3.5 ends it in three cases: when somebody connects to one of
its Unix sockets (`accept`), when it makes a new context, and when it binds to TCP. Therefore no
node is started without enough descriptors (`require`), and a node hides its Unix sockets in time
(`Shortage`). TCP connections, in and out, and new sockets only fail. Nothing here knows ZeroMQ.
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
"""With fewer left the Unix sockets are hidden. This many may connect between two looks."""
ROOM = 64
"""With this many left they are shown again. A node is started only with this many to spare."""
A_PEER = 6
"""Our two sockets for a peer, their two connections, and the peer's two to us."""
A_CANDIDATE = 3
"""A socket, its connection, and a probe whether anything listens."""
FEWEST_PEERS = 2
CONTEXT = 11
"""For a node that nobody can dial: libzmq's own, its sockets', and those its threads wait with."""
UNIX, TCP, KEYS, LAN, A_HUB = 3, 2, 5, 16, 6
HUB = 16


def limit() -> int | None:
    """Return how many descriptors the process may have; None if there is no limit."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def left() -> int | None:
    """Return how many more descriptors the process may open; None if that is not known."""
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
    """Return how many are left, but at most ``enough``; None if that is not known.

    `poll` reports numbers that are not open as invalid. So this takes 3 µs while the highest
    numbers are free; otherwise they are counted, which takes 1 ms for each 1000 that are open.
    """
    most = limit()
    if most is None:
        return None
    # OSError: perhaps more than may be polled; AttributeError: patched by a greenlet library.
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
    """Refuse to start something for which there are too few descriptors.

    Args:
        count: how many it takes at first.
        there: how many are left; None if that is not known.
        what: names it in the error.

    Raises:
        TooFewDescriptors: fewer than ``count`` and `ROOM`, for connections, are left.
    """
    if there is not None and there < count + ROOM:
        raise TooFewDescriptors(
            errno.EMFILE,
            f"{what} needs {count + ROOM} file descriptors, and this process may open only "
            f"{there} more: raise its limit (ulimit -n), or close files",
        )


def shares(there: int | None) -> tuple[int, int]:
    """Return for how many peers, and for how many endpoints told by peers, there are descriptors.

    Args:
        there: how many are left besides those that the node itself needs; None if there is no
            limit.
    """
    if there is None:
        return MAX_PEERS, MAX_GOSSIP
    spare = max(0, there - ROOM)
    hearsay = max(1, min(MAX_GOSSIP, spare // 4 // A_CANDIDATE))
    peers = (spare - A_CANDIDATE * hearsay) // A_PEER
    return max(FEWEST_PEERS, min(MAX_PEERS, peers)), hearsay


class Shortage:
    """Whether few descriptors are left. Two thresholds keep it from changing to and fro.

    Args:
        count: returns how many are left, but at most its argument.
    """

    def __init__(self, count: Callable[[int], int | None]) -> None:
        self._count = count
        self.short = False

    def look(self) -> bool:
        """Return whether few are left now. Call it several times a second."""
        there = self._count(ROOM)
        if there is not None:
            self.short = there < (ROOM if self.short else RESERVE)
        return self.short
