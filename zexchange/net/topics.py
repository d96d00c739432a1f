"""What has been subscribed to at our data socket, by whom, and whose connection is too much.

libzmq keeps a node of a tree for every byte of every subscription: 100,000 of random bytes
cost 840 MB. It tells the publisher of each new topic, and of each that nobody has any more,
so what all of them take can be known here. Under the lock of the data socket.
"""

from collections.abc import Callable

from .connections import Connection, connection, cut

TOPICS_BYTES = 4 << 20
"""Bytes of different subscriptions that are kept, each counted with its overhead. In libzmq
they take up to fifty times as much (4.3.5: 44 to 46 bytes a byte that is counted), and
twice that while those of a connection that was cut are not all gone."""
OVERHEAD = 16
OWNERS = 4
"""Connections remembered for one topic."""


def _connection(fd: int) -> Connection:
    """Return what a descriptor stands for now."""
    return connection(fd) or (fd, -1)


class Topics:
    """The different topics that are subscribed to, and the connections that brought them.

    Args:
        cut: called with a connection that is too much.
        most: as `TOPICS_BYTES`.
        find: returns what a descriptor stands for.
    """

    def __init__(
        self,
        cut: Callable[[Connection], None] = cut,
        most: int = TOPICS_BYTES,
        find: Callable[[int], Connection] = _connection,
    ) -> None:
        self._cut = cut
        self._most = most
        self._find = find
        self._topics: dict[int, tuple[int, tuple[Connection, ...]]] = {}
        self._held: dict[Connection, int] = {}
        self._ending: set[Connection] = set()
        self.bytes = 0
        """Of all topics, but for those of connections that are being cut."""
        self._cuts = 0

    def told(self) -> int:
        """Return how many connections were cut since this was asked last."""
        cuts, self._cuts = self._cuts, 0
        return cuts

    def note(self, frame: bytes, fd: int) -> None:
        """Take note of a subscription frame that came by a connection."""
        topic = hash(frame[1:])
        if frame[:1] == b"\1":
            self._subscribed(topic, len(frame) + OVERHEAD, self._find(fd))
        elif frame[:1] == b"\0" and topic in self._topics:
            size, owners = self._topics.pop(topic)
            self._charge(owners[0], -size)

    def _subscribed(self, topic: int, size: int, by: Connection) -> None:
        """Charge a topic to the first that has it and is not being cut.

        A connection that was cut comes back with all that it had before that is gone.
        """
        owners = self._topics.get(topic, (size, ()))[1]
        if by in owners:
            return
        if not owners or owners[0] in self._ending:
            if owners:
                self._charge(owners[0], -size)
            self._topics[topic] = size, (by,)
            self._charge(by, size)
        elif len(owners) < OWNERS:
            self._topics[topic] = size, (*owners, by)

    def _charge(self, to: Connection, size: int) -> None:
        held = self._held.get(to, 0) + size
        if held:
            self._held[to] = held
        else:
            del self._held[to]
        if to not in self._ending:
            self.bytes += size
            if self.bytes > self._most:
                self._end_heaviest()
        elif not held:
            self._ending.discard(to)

    def _end_heaviest(self) -> None:
        by = max(self._held.keys() - self._ending, key=self._held.__getitem__)
        self._ending.add(by)
        self.bytes -= self._held[by]
        self._cuts += 1
        self._cut(by)
        # What others have as well stays, and is theirs.
        for topic, (size, owners) in list(self._topics.items()):
            if owners[0] == by and len(owners) > 1:
                self._topics[topic] = size, owners[1:]
                self._charge(by, -size)
                self._charge(owners[1], size)
