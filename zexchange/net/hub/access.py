"""The filter at a hub's data socket: what nodes may have, and what each of them subscribes to.

In manual mode libzmq tells the end of a subscription for each connection that ends, and
does not say which; without keys it tells the last one only, of all. A hub has to know the
last: here it is counted by connection. On the hub's thread.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import zmq

from ...protocol.hub.core import MAX_TOPICS
from ..security.connections import Connection, alive, connection_of, cut
from ..security.subscription_filter import SubscriptionFilter

if TYPE_CHECKING:
    Socket = zmq.Socket[bytes]

ENDING = 2.0
"""Seconds in which connections are looked at whose end libzmq has told: it closes them behind."""


class HubSubscriptions:
    """What is honoured at the hub's data socket, by connection.

    Args:
        gate: judges by keys.
        socket: the XPUB that nodes receive from.
    """

    def __init__(self, gate: SubscriptionFilter, socket: "Socket") -> None:
        self._gate = gate
        self._socket = socket
        self._of: dict[Connection, set[bytes]] = {}
        self._by: dict[bytes, set[Connection]] = {}
        self._look_until = 0.0

    def admit(self, frame: zmq.Frame, now: float) -> Iterator[tuple[bytes, bool]]:
        """Judge a subscription; yield what is wanted from now on, or no more.

        A topic is yielded again that is subscribed to again: tokens are, and ask for an answer.
        """
        honoured = self._gate.admit(self._socket, frame)
        data = frame.bytes
        if data[:1] == b"\0":
            yield from self._ended(data[1:], connection_of(frame), now)
        elif honoured:
            found = connection_of(frame)
            if found is not None and len(self._by) >= MAX_TOPICS and data[1:] not in self._by:
                cut(found)  # libzmq keeps it by now: it goes with the connection
            elif found is not None:
                self._of.setdefault(found, set()).add(data[1:])
                self._by.setdefault(data[1:], set()).add(found)
                yield data[1:], True

    def _ended(
        self, topic: bytes, by: Connection | None, now: float
    ) -> Iterator[tuple[bytes, bool]]:
        if by is None:
            self._look_until = now + ENDING
        elif by in self._by.get(topic, ()):
            self._of[by].discard(topic)
            yield from self._drop(topic, by)

    def _drop(self, topic: bytes, by: Connection) -> Iterator[tuple[bytes, bool]]:
        holders = self._by[topic]
        holders.discard(by)
        if not holders:
            del self._by[topic]
            yield topic, False

    def drained(self) -> None:
        """Nothing is left to read."""
        self._gate.drained()

    def tick(self, now: float) -> Iterator[tuple[bytes, bool]]:
        """Let go of what connections wanted that are closed by now."""
        if now < self._look_until:
            for by in [by for by in self._of if not alive(by)]:
                for topic in self._of.pop(by):
                    yield from self._drop(topic, by)
