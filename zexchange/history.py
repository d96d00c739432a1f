"""Sent messages that a node keeps: the ring of frames, and the last messages for late joiners.

The `Ring` is two things at once. It is the send window: it limits how much healthy peers may have
left unacknowledged. It is also the buffer for replays: a peer that misses messages gets frames from
it, exactly as they were sent the first time. Its size is limited in bytes and in messages.

Each frame has a set of peers, ``waiting``, that should get it and have not acknowledged it. As long
as that set is not empty, the frame is *held*. Frames are evicted from the oldest on, and eviction
stops at the first held frame, so a peer can always ask again for a frame that it holds. Instead,
the ring reports that it is `Ring.full`, and senders wait. It is full in two cases:

- the held frames alone exceed the window (in bytes, or in number of frames);
- the ring exceeds its size, and its oldest frame is held.

A frame stops being held when every peer in ``waiting`` has acknowledged it, or when the caller
releases a peer because it is slow or has left. It then stays for replays until it is evicted.

Acknowledgements are cumulative for each exchange. The held frames of an exchange therefore form a
queue: acknowledgements free frames at its front, and all frames after a held one count as held.

`Retained` is independent of the ring. It keeps the last few messages of one exchange for peers that
join later, for as long as the exchange is retained.

This module does not know sockets, the states of peers, or the time.

Both are in one file because they keep the same encoded messages, and count their sizes alike.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

WINDOW = 8 << 20
"""Bytes that healthy peers may leave unacknowledged before senders have to wait."""
FRAME_OVERHEAD = 1024
"""Bytes added to the size of each frame for the Python objects that represent it."""
UNDER_WAY = 32
"""Frames that may be held, however large, before senders have to wait. If a single large frame
could fill the window, each would have to be acknowledged before the next one is sent."""

HELD_MOST = 3_500
"""Frames that may be held, however small, before senders have to wait. On a busy machine all held
frames may still be queued in ZeroMQ for one peer, and ZeroMQ drops frames beyond 4,000."""

_ALL = 1 << 64
"""Greater than any message number."""

Buffer = bytes | memoryview


class Bulk:
    """An encoded message that ends its frame, and takes more than its own bytes.

    Large buffers may follow as ZeroMQ frames of their own. ``notes`` go into the header of the
    frame: what travels beside the message, encoded.
    """

    __slots__ = ("buffers", "notes", "packed", "size")

    def __init__(self, packed: bytes, buffers: tuple[Buffer, ...], notes: bytes = b"") -> None:
        self.packed = packed
        self.buffers = buffers
        self.notes = notes
        self.size = len(packed)
        """The size of all frames together, in bytes; `len` says the same, by a call."""
        if buffers:
            self.size += sum(map(len, buffers))

    def __len__(self) -> int:
        """Return the size of all frames together, in bytes."""
        return self.size


Body = bytes | Bulk


class Frame:
    """A sent frame: messages ``first`` to ``last`` of an exchange, and the peers that hold it.

    Large parts of the last message may be in ``buffers``, which ZeroMQ sends as separate frames.
    The peers in ``waiting`` have not acknowledged the frame yet.
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
    """Sent frames in order. The oldest are evicted first, unless a peer holds them.

    It has no lock: the caller has one.

    Args:
        most_bytes: the size limit of all frames together.
        most_messages: the limit on the number of messages in all frames.
        window: how many bytes may be held before senders have to wait; at most half of
            ``most_bytes``. `UNDER_WAY` frames may be held whatever their size.
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
        """Add a frame that is being sent, and evict old frames; return whether it is `full`."""
        name, size = frame.name, frame.size
        self._order.append(frame)
        # `setdefault` alone would make a deque each time, which costs more than all the rest.
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
        """Rebuild the ring after an exception interrupted `append`, from the frames in order.

        The frame ``last``, which was being added, is left out, however far `append` had got.
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
        """Whether the ring exceeds its size in bytes or messages."""
        return self.bytes > self.most_bytes or self.messages > self.most_messages

    @property
    def full(self) -> bool:
        """Whether senders have to wait."""
        frames = self.held_frames
        if frames >= HELD_MOST or (self.held_bytes > self.window and frames >= UNDER_WAY):
            return True
        return self.bytes > self.most_bytes or self.messages > self.most_messages

    def evict(self) -> None:
        """Drop the oldest frames until the ring is within its size or the oldest one is held."""
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
        """Return every peer that holds the oldest held frame of some exchange, and one of these."""
        return {peer: name for name, held in self._held.items() for peer in held[0].waiting}

    def first_holders(self) -> set[bytes]:
        """Return the peers that hold the oldest frame of all, so that nothing is evicted."""
        return set(self._order[0].waiting) if self._order else set()

    def newest(self, most: int) -> list[Frame]:
        """Return the frames that were added last, at most so many, oldest first.

        Any thread, without the caller's lock. Then a frame may be added meanwhile: CPython makes
        the list in one step; where it does not, nothing is returned once in a while.
        """
        try:
            found = list(islice(reversed(self._order), most))
        except RuntimeError:  # changed during the iteration
            return []
        found.reverse()
        return found

    def oldest_held(self) -> dict[str, tuple[int, bytes]]:
        """Return, by exchange, the first number that is held, and a peer that holds it.

        Any thread, without the caller's lock: exchanges may be of different moments.
        """
        found: dict[str, tuple[int, bytes]] = {}
        for name, held in list(self._held.items()):
            try:
                frame = held[0]
                found[name] = frame.first, next(iter(frame.waiting))
            except (IndexError, StopIteration):  # acknowledged just now
                pass
        return found

    def held(self) -> dict[str, int]:
        """Return the exchanges with held frames, each with the number of its last held message.

        Acknowledgements are cumulative, so all frames after a held one count as held.
        """
        return {name: held[-1].last for name, held in self._held.items()}

    # --------------------------------------------------------------- the receivers' side

    def acknowledge(self, peer: bytes, name: str, position: int) -> None:
        """Note that a peer has acknowledged an exchange up to a number."""
        held = self._held.get(name)
        if held is None:
            return
        for frame in held:
            if frame.last > position:
                break
            frame.waiting.discard(peer)
        self._tidy(name, held)

    def release(self, peer: bytes, name: str | None = None) -> None:
        """End every hold of a peer, or only its holds on one exchange."""
        for key in [name] if name is not None else list(self._held):
            self.acknowledge(peer, key, _ALL)

    def _tidy(self, name: str, held: deque[Frame]) -> None:
        """Remove frames that no peer waits for from the front of the queue of held frames."""
        while held and not held[0].waiting:
            self.held_bytes -= held.popleft().size
            self.held_frames -= 1
        if not held:
            del self._held[name]
        self.evict()

    def hold(self, peer: bytes, name: str, position: int) -> None:
        """Let a peer hold the kept frames of an exchange after a number again."""
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
        """Return the size of the kept frames of an exchange after a number, in bytes.

        Returns:
            0 if no frame of the exchange is kept; None if frames after the number were evicted
            and later ones are kept.
        """
        frames = self._frames.get(name)
        if frames is None:
            return 0
        if frames[0].first > position + 1:
            return None
        return sum(frame.size for frame in frames if frame.last > position)

    def replay(self, name: str, first: int, last: int, most: int) -> list[Frame]:
        """Return frames with numbers in a range, oldest first, of about ``most`` bytes."""
        frames, found = self._frames.get(name, ()), list[Frame]()
        # By bisection: senders wait for the lock meanwhile, and a peer may ask again and again.
        at = bisect_left(frames, first, key=lambda frame: frame.last)
        while at < len(frames) and frames[at].first <= last and most > 0:
            found.append(frames[at])
            most -= frames[at].size
            at += 1
        return found


@dataclass(frozen=True, slots=True)
class Run:
    """Encoded messages that were sent at the same moment, numbered from ``first`` on."""

    first: int
    sent_at: float
    bodies: list[Body]


class Retained:
    """The last messages of one exchange, encoded, for peers that join late.

    The ring could not serve for this: it keeps everything, but not for long. References to its
    frames would not do either, since one message would keep a whole frame of many in memory.
    """

    __slots__ = ("_kept", "most")

    def __init__(self, most: int) -> None:
        self.most = most
        """How many messages are kept at most; a new value applies from the next message on."""
        self._kept: deque[tuple[int, float, Body]] = deque()

    def keep(self, first: int, sent_at: float, bodies: Iterable[Body]) -> None:
        """Add messages that are being sent, numbered from ``first``, unless they are kept."""
        if self._kept and self._kept[-1][0] >= first:
            return
        self._kept.extend([(number, sent_at, body) for number, body in enumerate(bodies, first)])
        while len(self._kept) > self.most:
            self._kept.popleft()

    def cut(self, start: int) -> None:
        """Drop the messages numbered up to and including ``start``."""
        while self._kept and self._kept[0][0] <= start:
            self._kept.popleft()

    def copy(self) -> "Retained":
        """Return an independent copy with the same messages."""
        copied = Retained(self.most)
        copied._kept = self._kept.copy()
        return copied

    def range(self) -> tuple[int, int] | None:
        """Return the numbers of the first and last kept message, or None if there is none."""
        return (self._kept[0][0], self._kept[-1][0]) if self._kept else None

    def runs(self, first: int, last: int, most: int) -> list[Run]:
        """Return the kept messages of a range, oldest first, of about ``most`` bytes."""
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
