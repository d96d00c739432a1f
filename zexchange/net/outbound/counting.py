"""Counts what is sent, while somebody looks; nothing of it is there otherwise.

Messages that leave the node are numbered anyway, and so counted. Their bytes are added up ten times
a second, from the frames that the ring keeps: a sender does nothing for it. (To count each frame as
it is kept took 2 µs a frame with 1000 exchanges, all caches being cold: a twelfth of the messages a
second.) Of very many frames a part is looked at: the messages of the others count as large as the
next ones, or the last ones, on the same exchange. So it is with frames that a small ring has
dropped meanwhile.

On an exchange that no peer listens to, there is no bridge. There a counter is attached in its
place, until a bridge is, or nobody looks any longer.
"""

import weakref
from collections import Counter
from collections.abc import Callable
from typing import Any

from ...history import FRAME_OVERHEAD
from ...local import parking
from ...local.registry import Exchange, Registry
from ...local.tasks.noted import Noted
from .bridge import Bridge
from .bridges import Bridges
from .publisher import Publisher

COUNTED_MOST = 100_000
"""Exchanges without a bridge that are counted."""
SPARE = 2
"""Frames that may be in the ring before they are counted as sent."""
FRAMES_MOST = 500
"""Frames that are looked at, ten times a second and at each look; of more, the newest."""


class SendCounter(parking.Bridge):
    """Counts what is sent on one exchange while no bridge carries it.

    Args:
        exchange: the exchange.
        bridge: returns the node's bridge of an exchange. As soon as that one is wanted, it numbers
            the messages, and so counts them; the counter is detached at the next look.
    """

    federations = 0

    def __init__(self, exchange: Exchange[Any], bridge: Callable[[str], Bridge | None]) -> None:
        self.name = exchange.name
        self.exchange = weakref.ref(exchange)
        self.sent = 0
        self.attached = False
        self._bridge = bridge

    def send(self, msg: object, /) -> None:
        """Count a message."""
        bridge = self._bridge(self.name)
        if bridge is None or not bridge.wanted:
            # One step:
            self.sent += 1

    @property
    def packed(self) -> Callable[[bytes], None]:
        """See `Bridge`."""
        return self.send

    def send_noted(self, noted: Noted, /) -> None:
        """See `Bridge`."""
        self.send(noted.msg)

    def place(self) -> None:
        """Attach the counter, or detach it, as its exchange needs it now."""
        bridge, exchange = self._bridge(self.name), self.exchange()
        needed = bridge is None or not bridge.wanted
        if exchange is not None and needed is not self.attached:
            self.attached = needed
            if needed:
                exchange._attach_bridge(self)
            else:
                exchange._detach_bridge(self)

    def end(self) -> None:
        """Detach the counter for good."""
        exchange = self.exchange()
        if exchange is not None and self.attached:
            self.attached = False
            exchange._detach_bridge(self)


class SendCounts:
    """The messages and bytes that one node sends, by exchange. Control thread only.

    Args:
        registry: has the exchanges.
        outbound: numbers and sends messages.
        bridges: carry messages to it.
        federated: returns whether an exchange takes part in the federation.
    """

    def __init__(
        self,
        registry: Registry,
        outbound: Publisher,
        bridges: Bridges,
        federated: Callable[[str], bool],
    ) -> None:
        self._registry = registry
        self._outbound = outbound
        self._bridges = bridges
        self._federated = federated
        self._counters: dict[str, SendCounter] = {}
        self._bytes = Counter[str]()
        self._upto: dict[str, int] = {}
        """By exchange, up to which place bytes are counted."""
        self._sizes: dict[str, float] = {}
        """By exchange, how many bytes a message had in the last frame that was looked at."""
        self._frames = 0

    def begin(self) -> None:
        """Begin to count bytes, and what is sent to nobody else."""
        self._upto = dict(self._outbound.numbering.heads)
        self._frames = self._outbound.frames
        self.place()

    def end(self) -> None:
        """Count no more than the numbers of messages."""
        self._bytes, self._upto, self._sizes = Counter[str](), {}, {}
        counters, self._counters = self._counters, {}
        for counter in counters.values():
            counter.end()

    def place(self) -> None:
        """Attach counters where no bridge counts, and detach those that are not needed."""
        before, counters = self._counters, dict[str, SendCounter]()
        for exchange in self._registry.exchanges():
            name = exchange.name
            counter = before.get(name)
            if counter is None or counter.exchange() is not exchange:
                if len(counters) >= COUNTED_MOST or not self._federated(name):
                    continue
                counter = SendCounter(exchange, self._bridges.find)
            counter.place()
            counters[name] = counter
        self._counters = counters

    def add_up(self) -> None:
        """Add the bytes of the frames that were sent since the last call."""
        outbound, upto, starts = self._outbound, self._upto, self._outbound.numbering.starts
        frames = outbound.frames
        new, self._frames = frames - self._frames, frames
        for frame in outbound.window.newest(min(new + SPARE, FRAMES_MOST)):
            name, last = frame.name, frame.last
            before = upto.get(name)
            if before is None:
                before = starts.get(name, 0)
            if last > before:
                upto[name] = last
                size, count = frame.size - FRAME_OVERHEAD, last - frame.first + 1
                self._sizes[name] = each = size / count
                if frame.first > before + 1:
                    size = int(each * (last - before))
                self._bytes[name] += size

    def claimed(self, name: str, size: int) -> None:
        """Add the bytes of a message of a conflated exchange, which a peer has claimed."""
        self._bytes[name] += size

    def counts(self) -> tuple[dict[str, int], dict[str, int]]:
        """Return the messages and the bytes sent so far, by exchange."""
        numbering, sizes, upto = self._outbound.numbering, self._sizes, self._upto
        heads, starts = dict(numbering.heads), numbering.starts
        sent = {name: head - starts.get(name, 0) for name, head in heads.items()}
        for name, each in list(sizes.items()):
            head = heads.get(name)
            if head is None:  # forgotten
                del sizes[name], upto[name], self._bytes[name]
            elif head > upto[name]:  # in frames that were not looked at
                self._bytes[name] += int(each * (head - upto[name]))
                upto[name] = head
        for name, counter in self._counters.items():
            if counter.sent:
                sent[name] = sent.get(name, 0) + counter.sent
        return sent, dict(self._bytes)
