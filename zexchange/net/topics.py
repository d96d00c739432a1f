"""What has been subscribed to at our data socket, by whom, and whose connection is too much.

libzmq keeps a node of a tree for every byte of every subscription: 100,000 of random bytes
cost 840 MB. It tells the publisher of each new topic, and of each that nobody has any more,
so what all of them take can be known here. Under the lock of the data socket.
"""

import os
import socket
from collections.abc import Callable
from contextlib import suppress

TOPICS_BYTES = 8 << 20
"""Bytes of different subscriptions that are kept, each counted with its overhead. In libzmq
they take up to fifty times as much (4.3.5: 44 to 46 bytes a byte that is counted)."""
OVERHEAD = 16


def shut(fd: int, inode: int) -> None:
    """Shut down a connection of libzmq's, if the descriptor still is that connection.

    Whoever lives at its other end comes back.
    """
    with suppress(OSError):
        if os.fstat(fd).st_ino == inode:
            with socket.socket(fileno=os.dup(fd)) as connection:
                connection.shutdown(socket.SHUT_RDWR)


class Topics:
    """The different topics that are subscribed to, and the connections that brought them.

    Args:
        cut: called with the descriptor and inode of a connection that is too much.
    """

    def __init__(self, cut: Callable[[int, int], None] = shut, most: int = TOPICS_BYTES) -> None:
        self._cut = cut
        self._most = most
        self._topics: dict[int, tuple[int, int]] = {}
        self._held: dict[int, int] = {}
        self._inodes: dict[int, int] = {}
        self._ending: set[int] = set()
        self.bytes = 0
        """Of all topics, but for those of connections that are being cut."""
        self.cuts = 0

    def note(self, frame: bytes, fd: int) -> None:
        """Take note of a subscription frame that came by a connection."""
        topic = hash(frame[1:])
        if frame[:1] == b"\1":
            if topic not in self._topics:
                self._add(topic, len(frame) + OVERHEAD, fd)
        elif frame[:1] == b"\0" and topic in self._topics:
            self._remove(*self._topics.pop(topic))

    def _add(self, topic: int, size: int, fd: int) -> None:
        if fd not in self._held:
            self._held[fd] = 0
            with suppress(OSError):
                self._inodes[fd] = os.fstat(fd).st_ino
        self._topics[topic] = size, fd
        self._held[fd] += size
        if fd not in self._ending:
            self.bytes += size
            if self.bytes > self._most:
                self._end_heaviest()

    def _remove(self, size: int, fd: int) -> None:
        self._held[fd] -= size
        if fd not in self._ending:
            self.bytes -= size
        if not self._held[fd]:
            del self._held[fd]
            self._inodes.pop(fd, None)
            self._ending.discard(fd)

    def _end_heaviest(self) -> None:
        fd = max(self._held.keys() - self._ending, key=self._held.__getitem__)
        self._ending.add(fd)
        self.bytes -= self._held[fd]
        self.cuts += 1
        self._cut(fd, self._inodes.get(fd, -1))
