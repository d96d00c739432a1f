"""What was sent and is kept: the ring of frames, and the last messages for late joiners.

The ring is the send window, and what a replay is taken from. It holds the very frames
that were sent, bounded by bytes and by messages. A frame that a healthy, interested peer
has not acknowledged is *held* and is not evicted; whoever sends has to wait for room
instead. Nothing here knows sockets, peers' states, or the clock.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

WINDOW = 8 << 20
"""Bytes that may be on their way to healthy peers before senders have to wait."""
FRAME_OVERHEAD = 1024
"""Bytes that a frame is counted for beside its own: what Python keeps about it."""
UNDER_WAY = 32
"""Frames that may be held, however large, before senders have to wait: with one that fills
the window alone, each would have to be acknowledged before the next is sent."""

HELD_MOST = 3_500
"""Frames that may be held, however small, before senders have to wait. One that is held may lie
in a peer's pipe, on a busy machine all of them, and ZeroMQ drops what is over 4,000."""

_ALL = 1 << 64
"""More than any number of a message."""

Buffer = bytes | memoryview


class Bulk:
    """What travels as several ZeroMQ frames: a first one, and large buffers behind it."""

    __slots__ = ("_size", "buffers", "packed")

    def __init__(self, packed: bytes, buffers: tuple[Buffer, ...]) -> None:
        self.packed = packed
        self.buffers = buffers
        self._size = len(packed) + sum(map(len, buffers))

    def __len__(self) -> int:
        """Return how many bytes all frames have."""
        return self._size


Body = bytes | Bulk


class Frame:
    """One sent frame: messages ``first`` to ``last`` of an exchange, and who still waits.

    The last of them may have large parts in ``buffers``, which go as frames of their own.
    """

    __slots__ = ("buffers", "data", "first", "last", "name", "size", "waiting")

    def __init__(
        self,
        name: str,
        first: int,
        last: int,
        data: bytes,
        waiting: Iterable[bytes] = (),
        buffers: tuple[Buffer, ...] = (),
    ) -> None:
        self.name = name
        self.first = first
        self.last = last
        self.data = data
        self.buffers = buffers
        self.size = len(data) + FRAME_OVERHEAD
        if buffers:
            self.size += sum(map(len, buffers))
        self.waiting = set(waiting)


class Ring:
    """Frames in the order sent, the oldest evicted as far as nobody holds it.

    Args:
        most_bytes: what all frames together may take.
        most_messages: likewise, in messages.
        window: how many bytes may be held before senders have to wait; at most half of
            ``most_bytes``. A few frames may be, whatever their size.
    """

    def __init__(self, most_bytes: int, most_messages: int, window: int) -> None:
        self.most_bytes = most_bytes
        self.most_messages = most_messages
        self.window = min(window, most_bytes // 2)
        self.bytes = self.messages = self.held_bytes = self.held_frames = 0
        self._order: deque[Frame] = deque()
        self._frames: dict[str, deque[Frame]] = {}
        self._held: dict[str, deque[Frame]] = {}

    # ----------------------------------------------------------------- the sender's side

    def append(self, frame: Frame) -> bool:
        """Take a frame that is being sent, and evict what that pushes out; tell if it is `full`."""
        name, size = frame.name, frame.size
        self._order.append(frame)
        # Not `setdefault`: a deque that is thrown away again costs more than all the rest.
        (self._frames.get(name) or self._frames.setdefault(name, deque())).append(frame)
        self.bytes += size
        self.messages += frame.last - frame.first + 1
        if frame.waiting:
            (self._held.get(name) or self._held.setdefault(name, deque())).append(frame)
            self.held_bytes += size
            self.held_frames += 1
        if self.bytes > self.most_bytes or self.messages > self.most_messages:
            self.evict()
            return self.full
        frames = self.held_frames
        return frames >= HELD_MOST or (self.held_bytes > self.window and frames >= UNDER_WAY)

    def mend(self, last: Frame) -> None:
        """Make all anew from the frames in their order, but for one, after an interruption.

        Whatever was being done with that frame: it is not there afterwards.
        """
        order, self._order = self._order, deque()
        self._frames.clear()
        self._held.clear()
        self.bytes = self.messages = self.held_bytes = self.held_frames = 0
        for frame in order:
            if frame.first != last.first or frame.name != last.name:
                self.append(frame)

    @property
    def crowded(self) -> bool:
        """Tell whether more is kept than the ring is meant for, because it is held."""
        return self.bytes > self.most_bytes or self.messages > self.most_messages

    @property
    def full(self) -> bool:
        """Tell whether whoever sends has to wait."""
        frames = self.held_frames
        if frames >= HELD_MOST or (self.held_bytes > self.window and frames >= UNDER_WAY):
            return True
        return self.bytes > self.most_bytes or self.messages > self.most_messages

    def evict(self) -> None:
        """Drop the oldest frames while there are too many and nobody holds them."""
        order = self._order
        while self.crowded and order and not order[0].waiting:
            self._drop(order.popleft())

    def _drop(self, frame: Frame) -> None:
        frames = self._frames[frame.name]
        frames.popleft()
        if not frames:
            del self._frames[frame.name]
        self.bytes -= frame.size
        self.messages -= frame.last - frame.first + 1

    def holders(self) -> dict[bytes, str]:
        """Return who holds the oldest frame that is held of any exchange, and one such exchange."""
        return {peer: name for name, held in self._held.items() for peer in held[0].waiting}

    def held(self) -> dict[str, int]:
        """Return, of each exchange of which frames are held, a number up to which they are.

        Acknowledgements are in order: what lies behind a held frame counts as held.
        """
        return {name: held[-1].last for name, held in self._held.items()}

    # --------------------------------------------------------------- the receivers' side

    def acknowledge(self, peer: bytes, name: str, position: int) -> None:
        """Let go, for a peer, of what it has up to a number."""
        held = self._held.get(name)
        if held is None:
            return
        for frame in held:
            if frame.last > position:
                break
            frame.waiting.discard(peer)
        self._tidy(name, held)

    def release(self, peer: bytes, name: str | None = None) -> None:
        """Let go, for a peer, of everything, or of one exchange."""
        for key in [name] if name is not None else list(self._held):
            self.acknowledge(peer, key, _ALL)

    def _tidy(self, name: str, held: deque[Frame]) -> None:
        """Take out of the held what nobody waits for any more."""
        while held and not held[0].waiting:
            self.held_bytes -= held.popleft().size
            self.held_frames -= 1
        if not held:
            del self._held[name]
        self.evict()

    def hold(self, peer: bytes, name: str, position: int) -> None:
        """Have a peer hold again what is kept after a number."""
        frames = self._frames.get(name, ())
        for frame in frames:
            if frame.last > position:
                frame.waiting.add(peer)
        before = self._held.pop(name, ())
        held = deque(frame for frame in frames if frame.waiting or frame in before)
        while held and not held[0].waiting:
            held.popleft()
        self.held_bytes += sum(f.size for f in held) - sum(f.size for f in before)
        self.held_frames += len(held) - len(before)
        if held:
            self._held[name] = held

    def behind(self, name: str, position: int) -> int | None:
        """Return the bytes kept after a number; None if some of them are gone already."""
        frames = self._frames.get(name)
        if frames is None:
            return 0
        if frames[0].first > position + 1:
            return None
        return sum(frame.size for frame in frames if frame.last > position)

    def replay(self, name: str, first: int, last: int, most: int) -> list[Frame]:
        """Return the frames with numbers in a range, oldest first, of about ``most`` bytes."""
        frames, found = self._frames.get(name, ()), list[Frame]()
        # Not from the start: who asks over and over would have senders wait for the lock.
        at = bisect_left(frames, first, key=lambda frame: frame.last)
        while at < len(frames) and frames[at].first <= last and most > 0:
            found.append(frames[at])
            most -= frames[at].size
            at += 1
        return found


@dataclass(frozen=True, slots=True)
class Run:
    """Encoded messages that were sent at one moment: ``first`` and those right after it."""

    first: int
    sent_at: float
    bodies: list[Body]


class Retained:
    """The last messages of one exchange, encoded, for peers that join late.

    Beside the ring, which keeps everything and not for long: one message in a frame of
    many would hold all of that.
    """

    __slots__ = ("_kept", "most")

    def __init__(self, most: int) -> None:
        self.most = most
        """How many messages are kept at most, from the next one on."""
        self._kept: deque[tuple[int, float, Body]] = deque()

    def keep(self, first: int, sent_at: float, bodies: Iterable[Body]) -> None:
        """Take what is being sent, numbered from ``first``; nothing if that is there already."""
        if self._kept and self._kept[-1][0] >= first:
            return
        self._kept.extend([(number, sent_at, body) for number, body in enumerate(bodies, first)])
        while len(self._kept) > self.most:
            self._kept.popleft()

    def cut(self, start: int) -> None:
        """Let go of what has numbers up to one."""
        while self._kept and self._kept[0][0] <= start:
            self._kept.popleft()

    def copy(self) -> "Retained":
        """Return what keeps the same from here on."""
        copied = Retained(self.most)
        copied._kept = self._kept.copy()
        return copied

    def range(self) -> tuple[int, int] | None:
        """Return the first and last number of what is kept; None without any."""
        return (self._kept[0][0], self._kept[-1][0]) if self._kept else None

    def runs(self, first: int, last: int, most: int) -> list[Run]:
        """Return what is kept of a range, oldest first, of about ``most`` bytes."""
        found: list[Run] = []
        for number, sent_at, body in self._kept:
            if number < first:
                continue
            if number > last or most <= 0:
                break
            together = found and found[-1].sent_at == sent_at
            if together and isinstance(found[-1].bodies[-1], bytes):
                found[-1].bodies.append(body)
            else:
                found.append(Run(number, sent_at, [body]))
            most -= len(body) + FRAME_OVERHEAD
        return found
