"""How far the nodes of a hub have read what it passes on, and for whom it waits.

Marks go along with the data, and come back on control. While a node that reads has much before
it, the hub takes nothing in, and the publishers' own windows fill: what it dropped instead would
be asked for by each receiver apart. Nobody is waited for that has read nothing for a second, and
who has not read for too long is cut. No socket, no clock: time is an argument.
"""

from collections import deque
from dataclasses import dataclass

FRAMES_MOST = 3_000
"""Frames passed on and not read by a node, at which the hub waits for it: fewer than ZeroMQ
holds for each connection before it drops."""
UNREAD_BYTES = 256 << 20
"""Bytes passed on and not read by a node, at which its connection is cut. So a hub holds no
more of what its nodes have not read, all of them together: their queues share what is in them."""
MARK_FRAMES = 1_000
MARK_BYTES = 16 << 20
STALL = 1.0


@dataclass(slots=True)
class Reader:
    """How far one node has read."""

    frames: int
    bytes: int
    advanced_at: float
    slow: bool = False


class Reading:
    """How far all nodes of a hub have read."""

    def __init__(self) -> None:
        self.frames = self.bytes = 0
        self.readers: dict[bytes, Reader] = {}
        self._marks: deque[tuple[int, int]] = deque([(0, 0)], maxlen=10_000)

    def passed(self, size: int) -> bool:
        """Count a frame that was passed on; tell whether a mark is due behind it."""
        self.frames += 1
        self.bytes += size
        frames, passed = self._marks[-1]
        if self.frames - frames < MARK_FRAMES and self.bytes - passed < MARK_BYTES:
            return False
        self._marks.append((self.frames, self.bytes))
        return True

    def connected(self, node: bytes, now: float) -> None:
        """Take note that a node has connected: what comes from now on is before it."""
        self.readers[node] = Reader(self.frames, self.bytes, now)

    def confirmed(self, node: bytes, mark: int, now: float) -> None:
        """Take note that a node has read up to a mark."""
        reader = self.readers.get(node)
        if reader is None or not reader.frames < mark <= self.frames:
            return
        reader.frames, reader.advanced_at = mark, now
        reader.bytes = next((size for frames, size in self._marks if frames >= mark), self.bytes)
        if self.frames - mark <= MARK_FRAMES:
            reader.slow = False

    def waits(self, now: float) -> bool:
        """Tell whether the hub waits for a node that reads, but has much before it."""
        waits = False
        for reader in self.readers.values():
            if self.frames - reader.frames < FRAMES_MOST:
                if self.frames - reader.frames <= MARK_FRAMES:
                    reader.advanced_at = now
            elif now - reader.advanced_at >= STALL:
                reader.slow = True
            waits = waits or (not reader.slow and self.frames - reader.frames >= FRAMES_MOST)
        return waits

    def overdue(self) -> list[bytes]:
        """Return the nodes that have not read for too long."""
        return [n for n, r in self.readers.items() if self.bytes - r.bytes > UNREAD_BYTES]
