"""The queue of one browser: bounded, with acknowledgements, and a count of all that is missed.

Each item has a position, from 1, in the order of coming. An item *waits*, is *under way* once it
was handed to a connection, and is forgotten when the browser acknowledges its position. At most
``window`` items are under way. If more wait than there is room for, the oldest messages are
dropped, and in their place the browser gets one item that says how many of which exchange. An item
under way is never dropped: nobody knows yet whether the browser has it.

A new connection says up to which position the browser has got everything. Items under way after it
wait again, so a reconnection loses and repeats nothing. Replies are *owed*: they are never dropped,
and a browser that takes none of them is cut off by `full`.

The rule of this module: it knows no socket, no clock and no encoding but that of its items.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

OVERHEAD = 100
"""Bytes that an item counts for beyond its content."""
NAMES_MOST = 100
"""Exchanges that a notice of missed messages names; the others are counted together."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one browser at the gateway.

    Attributes:
        subscriptions: names and patterns that it is attached to at a time.
        message_bytes: bytes of one frame of it.
        requests: requests that it has under way at a time.
        window: messages that are under way to it without an acknowledgement.
        waiting: messages that wait for it.
        waiting_bytes: bytes of those that wait or are under way.
        replies: replies to it that wait or are under way; beyond that it is cut off.
        keep: seconds for which all this is kept for a browser without a connection.
    """

    subscriptions: int = 100
    message_bytes: int = 1 << 20
    requests: int = 32
    window: int = 256
    waiting: int = 1000
    waiting_bytes: int = 8 << 20
    replies: int = 1024
    keep: float = 60.0


@dataclass(slots=True)
class Missed:
    """How many messages were dropped, by exchange; None if it is unknown how many."""

    counts: dict[str, int | None] = field(default_factory=dict[str, int | None])
    others: int | None = 0

    def add(self, name: str, number: int | None = 1) -> None:
        """Count dropped messages of an exchange."""
        if name in self.counts or len(self.counts) < NAMES_MOST:
            self.counts[name] = _sum(self.counts.get(name, 0), number)
        else:
            self.others = _sum(self.others, number)

    def merge(self, later: "Missed") -> None:
        """Count what another one has counted as well."""
        for name, number in later.counts.items():
            self.add(name, number)
        self.others = _sum(self.others, later.others)


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other


Notice = Callable[[int, Mapping[str, int | None], int | None], bytes]
"""Returns the frame that tells of missed messages: of its position, their numbers, and others'."""


@dataclass(slots=True)
class _Item:
    """One frame for the browser, or a notice in the place of dropped ones.

    ``name`` is the exchange of a message that may be dropped; empty for what is owed.
    """

    position: int
    frame: bytes | Missed
    name: str

    @property
    def size(self) -> int:
        frame = self.frame
        return OVERHEAD + (len(frame) if isinstance(frame, bytes) else 0)


class ClientQueue:
    """The queue of one browser; one thread uses it at a time.

    Args:
        limits: how much may wait.
        notice: makes the frame that tells of missed messages.
    """

    def __init__(self, limits: Limits, notice: Notice) -> None:
        self._limits = limits
        self._notice = notice
        self._waiting: deque[_Item] = deque()
        self._under_way: deque[_Item] = deque()
        self._bytes = self._messages = self._owed = 0
        self.given = 0
        """The position of the newest item."""
        self.acknowledged = 0
        """The position up to which the browser has everything."""
        self.missed = 0
        """How many messages were dropped in all."""

    def __len__(self) -> int:
        return len(self._waiting) + len(self._under_way)

    @property
    def size(self) -> int:
        """Bytes of everything that waits or is under way."""
        return self._bytes

    @property
    def full(self) -> bool:
        """Whether the browser leaves more replies than it may."""
        return self._owed > self._limits.replies

    def add(self, frame: Callable[[int], bytes], name: str = "") -> int:
        """Let a frame wait, given a function that makes it of its position; return that.

        Args:
            frame: makes the frame.
            name: the exchange of a message that may be dropped; empty for what is owed.
        """
        self.given += 1
        self._note(_Item(self.given, frame(self.given), name))
        while self._messages > self._limits.waiting or self._bytes > self._limits.waiting_bytes:
            if not self._drop():
                break
        return self.given

    def miss(self, name: str, number: int | None) -> None:
        """Say at this place that messages were lost before they came here; None is unknown."""
        self.given += 1
        missed = Missed()
        missed.add(name, number)
        self.missed += number or 0
        last = self._waiting[-1] if self._waiting else None
        if last is not None and isinstance(last.frame, Missed):
            last.frame.merge(missed)
            last.position = self.given
        else:
            self._note(_Item(self.given, missed, ""))

    def _note(self, item: _Item) -> None:
        self._waiting.append(item)
        self._count(item, 1)

    def _count(self, item: _Item, by: int) -> None:
        self._bytes += by * item.size
        if item.name:
            self._messages += by
        elif isinstance(item.frame, bytes):
            self._owed += by

    def _drop(self) -> bool:
        """Drop the oldest waiting message into the notice before it; return whether one was."""
        before: list[_Item] = []
        while self._waiting and not self._waiting[0].name:
            before.append(self._waiting.popleft())
        found = self._waiting.popleft() if self._waiting else None
        if found is not None:
            self._count(found, -1)
            self.missed += 1
            notice = before.pop() if before and isinstance(before[-1].frame, Missed) else None
            if notice is None:
                notice = _Item(found.position, Missed(), "")
                self._count(notice, 1)
            assert isinstance(notice.frame, Missed)
            notice.frame.add(found.name)
            notice.position = found.position
            before.append(notice)
            later = self._waiting[0] if self._waiting else None
            if later is not None and isinstance(later.frame, Missed):
                self._waiting.popleft()
                self._count(later, -1)
                notice.frame.merge(later.frame)
                notice.position = later.position
        self._waiting.extendleft(reversed(before))
        return found is not None

    def take(self) -> bytes | None:
        """Return the next frame for the connection; None while none may go."""
        if not self._waiting or len(self._under_way) >= self._limits.window:
            return None
        item = self._waiting.popleft()
        self._messages -= bool(item.name)
        if isinstance(item.frame, Missed):
            missed = item.frame
            # Counts no more from here on: what is dropped later gets a notice of its own.
            self._count(item, -1)
            item.frame = self._notice(item.position, missed.counts, missed.others)
            self._count(item, 1)
        self._under_way.append(item)
        return item.frame

    def acknowledge(self, position: int) -> None:
        """Forget what the browser has handled.

        Raises:
            ValueError: the position is none that was handed to it.
        """
        newest = self._under_way[-1].position if self._under_way else self.acknowledged
        if position > newest:
            raise ValueError(f"position {position} was not sent")
        while self._under_way and self._under_way[0].position <= position:
            item = self._under_way.popleft()
            self._bytes -= item.size
            self._owed -= not item.name
        self.acknowledged = max(self.acknowledged, position)

    def resume(self, received: int, handled: int) -> None:
        """Begin with a new connection.

        Args:
            received: the position up to which the browser has got everything.
            handled: that up to which it has handled everything.

        Raises:
            ValueError: a position is none that was handed to it.
        """
        self.acknowledge(handled)
        newest = self._under_way[-1].position if self._under_way else self.acknowledged
        if not self.acknowledged <= received <= newest:
            raise ValueError(f"position {received} was not sent, or was acknowledged")
        while self._under_way and self._under_way[-1].position > received:
            item = self._under_way.pop()
            self._messages += bool(item.name)
            self._waiting.appendleft(item)
