"""Counts what is sent, while somebody looks; nothing of it is there otherwise.

Messages that leave the node are numbered anyway, and so counted. Their bytes are added up as their
frames are kept: once for each frame, under the lock of the data socket. On an exchange that no peer
listens to, there is no bridge. There a counter is attached in its place, until a bridge is, or
nobody looks any longer.
"""

import weakref
from collections import Counter
from collections.abc import Callable
from typing import Any

from ...local import parking
from ...local.registry import Exchange, Registry
from ...local.tasks.noted import Noted
from .bridge import Bridge
from .bridges import Bridges
from .publisher import Publisher

COUNTED_MOST = 100_000
"""Exchanges without a bridge that are counted."""


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
    """What one node sends, by exchange. Control thread only.

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
        self._bytes: Counter[str] | None = None

    def begin(self) -> None:
        """Begin to count bytes, and what is sent to nobody else."""
        self._bytes = Counter()
        self._outbound.count(self._bytes)
        self.place()

    def end(self) -> None:
        """Count no more than the numbers of messages."""
        self._outbound.count(None)
        self._bytes = None
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

    def counts(self) -> tuple[dict[str, int], dict[str, int]]:
        """Return the messages and the bytes sent so far, by exchange."""
        numbering = self._outbound.numbering
        heads, size = dict(numbering.heads), dict(self._bytes or ())
        starts = numbering.starts
        sent = {name: head - starts.get(name, 0) for name, head in heads.items()}
        for name, counter in self._counters.items():
            if counter.sent:
                sent[name] = sent.get(name, 0) + counter.sent
        return sent, size
