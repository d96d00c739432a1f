"""How far the nodes of a hub have read their data, and which nodes the hub waits for.

The hub sends marks along with the data, and nodes return them on their control links. While a
node that reads has much unread, the hub accepts no data, so that the publishers' windows fill:
if it dropped frames instead, each receiver would ask for them separately. The hub does not wait
for a node that has read nothing for a while; it waits for it again once the node has less than
half of the limit unread. A node that is not waited for and has too much unread is cut off. No
socket, no clock: time is an argument.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from ..elapsed import Elapsed

FRAMES_MOST = 3_000
"""Unread frames of a node at which the hub waits for it: fewer than ZeroMQ queues for a connection
before it drops."""
BYTES_MOST = 16 << 20
"""Unread bytes of a node at which the hub waits for it."""
UNREAD_BYTES = 64 << 20
"""Unread bytes at which the connection of a node is cut that is not waited for. Queues of several
connections share the frames in them."""
MARK_FRAMES = 250
MARK_BYTES = 256 << 10
STALL = 2.0
"""Seconds without a mark after which a node counts as slow. 128 KiB a second are fast enough."""
MAX_AUDIENCES = 100_000


@dataclass(slots=True, eq=False)
class Consumer:
    """How much was passed on to one node, and how far it has read."""

    node: bytes
    topics: set[bytes]
    """The topics that it subscribes to. The caller keeps this set up to date."""
    advanced_at: float
    frames: int = 0
    bytes: int = 0
    read_frames: int = 0
    read_bytes: int = 0
    slow: bool = False
    marks: deque[tuple[int, int]] = field(default_factory=lambda: deque([(0, 0)], maxlen=1_000))

    def has_unread(self, frames: int, size: int) -> bool:
        """Return whether at least so many frames, or so many bytes, are unread."""
        return self.frames - self.read_frames >= frames or self.bytes - self.read_bytes >= size


class FlowControl:
    """How far all nodes of a hub have read. Not thread-safe: the hub's thread calls it."""

    def __init__(self) -> None:
        self.frames = self.bytes = 0
        self._elapsed = Elapsed()
        self._readers: dict[bytes, Consumer] = {}
        self._audiences: dict[bytes, tuple[Consumer, ...]] = {}

    def connected(self, node: bytes, topics: set[bytes], now: float) -> None:
        """Take note that a node has connected. It gets the frames that pass from now on.

        Args:
            node: its id.
            topics: the topics that it subscribes to; the caller changes this set later.
            now: seconds on a monotonic clock.
        """
        self._readers[node] = Consumer(node, topics, now)
        self._audiences.clear()

    def gone(self, node: bytes) -> None:
        """Take note that a node is no longer connected."""
        self._readers.pop(node, None)
        self._audiences.clear()

    def subscribed(self) -> None:
        """Take note that the subscriptions of some node have changed."""
        self._audiences.clear()

    def audience(self, topic: bytes) -> tuple[Consumer, ...]:
        """Return the readers of a topic."""
        audience = self._audiences.get(topic)
        if audience is None:
            if len(self._audiences) >= MAX_AUDIENCES:
                self._audiences.clear()
            starts = {topic[:end] for end in range(1, len(topic) + 1)}
            readers = self._readers.values()
            audience = tuple(reader for reader in readers if not starts.isdisjoint(reader.topics))
            self._audiences[topic] = audience
        return audience

    def passed(self, topic: bytes, size: int) -> Iterable[Consumer]:
        """Count a frame that was passed on; return the readers that a mark is to be sent to now."""
        self.frames += 1
        self.bytes += size
        due: list[Consumer] = []
        for reader in self.audience(topic):
            reader.frames += 1
            reader.bytes += size
            frames, passed = reader.marks[-1]
            if reader.frames - frames >= MARK_FRAMES or reader.bytes - passed >= MARK_BYTES:
                reader.marks.append((reader.frames, reader.bytes))
                due.append(reader)
        return due

    def confirmed(self, node: bytes, mark: int, now: float) -> None:
        """Take note that a node has read up to a mark."""
        reader = self._readers.get(node)
        if reader is None:
            return
        while len(reader.marks) > 1 and reader.marks[0][0] < mark:
            reader.marks.popleft()
        frames, size = reader.marks[0]
        if frames == mark and frames > reader.read_frames:
            reader.read_frames, reader.read_bytes, reader.advanced_at = frames, size, now
            if not reader.has_unread(FRAMES_MOST // 2, BYTES_MOST // 2):
                reader.slow = False

    def waits(self, now: float) -> bool:
        """Return whether the hub waits for a node that reads, but has much unread.

        Call several times a second. After a longer pause, the hub itself was stopped, and has yet
        to read the nodes' marks: that time is not counted.
        """
        waits, forgiven = False, self._elapsed.look(now)
        for reader in self._readers.values():
            if forgiven:
                reader.advanced_at = min(reader.advanced_at + forgiven, now)
            if not reader.has_unread(MARK_FRAMES + 1, MARK_BYTES + 1):
                reader.advanced_at = now
            elif not reader.slow and reader.has_unread(FRAMES_MOST, BYTES_MOST):
                reader.slow = now - reader.advanced_at >= STALL
                waits = waits or not reader.slow
        return waits

    def overdue(self, readers: Iterable[Consumer]) -> list[bytes]:
        """Return the nodes that have not read for too long and have too much unread."""
        return [r.node for r in readers if r.slow and r.bytes - r.read_bytes > UNREAD_BYTES]
