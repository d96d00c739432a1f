"""How far the nodes of a hub have read what is for them, and for whom the hub waits.

Marks go along with the data, and come back on control. While a node that reads has much before
it, the hub takes nothing in, and the publishers' own windows fill: what it dropped instead would
be asked for by each receiver apart. Who has read nothing for a while is not waited for, until
it has read half of what that takes; who has too much before it then is cut. No socket, no clock:
time is an argument.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from ..elapsed import Elapsed

FRAMES_MOST = 3_000
"""Frames that a node has not read, at which the hub waits for it: fewer than ZeroMQ holds
for each connection before it drops."""
BYTES_MOST = 16 << 20
"""Bytes that a node has not read, at which the hub waits for it."""
UNREAD_BYTES = 64 << 20
"""Bytes that a node which is not waited for has not read, at which its connection is cut. Queues
share what is in them."""
MARK_FRAMES = 250
MARK_BYTES = 256 << 10
STALL = 2.0
"""Seconds in which who reads at all gets past a mark: 128 KiB a second will do."""
MAX_AUDIENCES = 100_000


@dataclass(slots=True, eq=False)
class Consumer:
    """What was passed on to one node, and how far it has read."""

    node: bytes
    topics: set[bytes]
    """What it subscribes to, kept up by whoever knows."""
    advanced_at: float
    frames: int = 0
    bytes: int = 0
    read_frames: int = 0
    read_bytes: int = 0
    slow: bool = False
    marks: deque[tuple[int, int]] = field(default_factory=lambda: deque([(0, 0)], maxlen=1_000))

    def has_unread(self, frames: int, size: int) -> bool:
        """Tell whether it has not read as many frames or bytes, or more."""
        return self.frames - self.read_frames >= frames or self.bytes - self.read_bytes >= size


class FlowControl:
    """How far all nodes of a hub have read."""

    def __init__(self) -> None:
        self.frames = self.bytes = 0
        self._elapsed = Elapsed()
        self._readers: dict[bytes, Consumer] = {}
        self._audiences: dict[bytes, tuple[Consumer, ...]] = {}

    def connected(self, node: bytes, topics: set[bytes], now: float) -> None:
        """Take note that a node has connected, which subscribes to what is in ``topics``.

        What comes from now on is before it.
        """
        self._readers[node] = Consumer(node, topics, now)
        self._audiences.clear()

    def gone(self, node: bytes) -> None:
        """Take note that a node is not connected any more."""
        self._readers.pop(node, None)
        self._audiences.clear()

    def subscribed(self) -> None:
        """Take note that some node subscribes to something else than before."""
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
        """Count a frame that was passed on; return the readers that a mark is due for behind it."""
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
        """Tell whether the hub waits for a node that reads, but has much before it.

        Call several times a second: if the hub itself was stopped, it has yet to read how far
        they are.
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
        """Return the nodes that have not read for too long, and have too much before them."""
        return [r.node for r in readers if r.slow and r.bytes - r.read_bytes > UNREAD_BYTES]
