"""The subscriptions at a hub's data socket, by connection, judged by permissions if there are keys.

A hub has to know which connections subscribe to a topic, and when the last of them is gone.
libzmq does not say: without keys it only reports that no connection has a topic left. With keys,
in manual mode, it reports the end of a subscription for each connection, but it does not name a
connection that has closed. So the subscriptions are counted here. On the hub's thread.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import zmq

from ...protocol.hub.core import MAX_TOPICS
from ..security.connections import Connection, alive, connection_of, cut
from ..security.subscription_filter import SubscriptionFilter, user_of

if TYPE_CHECKING:
    Socket = zmq.Socket[bytes]

ENDING = 2.0
"""Seconds for which every tick looks for closed connections after libzmq has reported the end of a
subscription without a connection: it closes the descriptor only after that report."""
LOOK_EVERY = 5.0
"""Seconds between looks for closed connections otherwise, in case nothing was reported."""


class HubSubscriptions:
    """The subscriptions that were accepted at the hub's data socket, by connection.

    Args:
        gate: judges subscriptions by keys; None without keys.
        socket: the XPUB that nodes receive from.
    """

    def __init__(self, gate: SubscriptionFilter | None, socket: "Socket") -> None:
        self._gate = gate
        self._socket = socket
        self._of: dict[Connection, set[bytes]] = {}
        self._by: dict[bytes, set[Connection]] = {}
        self._look_at = self._look_until = 0.0

    def topics(self, by: Connection) -> set[bytes]:
        """Return the topics of a connection, always as the same set while the connection lasts."""
        return self._of.setdefault(by, set())

    def admit(
        self, frame: zmq.Frame, by: Connection | None, now: float
    ) -> Iterator[tuple[bytes, bool]]:
        """Judge a subscription frame; yield topics, each with whether it is wanted from now on.

        A topic that is subscribed to again is yielded again: nodes do so with tokens, and each time
        expect an answer.
        """
        honoured = self._gate is None or self._gate.admit(
            self._socket, frame, user_of(frame), connection_of(frame)
        )
        kind, topic = frame.bytes[:1], frame.bytes[1:]
        if kind == b"\0":
            yield from self._ended(topic, by, now)
        elif honoured and kind == b"\1" and by is not None:
            if topic in self._by or len(self._by) < MAX_TOPICS:
                self.topics(by).add(topic)
                self._by.setdefault(topic, set()).add(by)
            elif self._gate is not None:
                cut(by)  # libzmq has the subscription already, and drops it with the connection
                return
            yield topic, True

    def _ended(
        self, topic: bytes, by: Connection | None, now: float
    ) -> Iterator[tuple[bytes, bool]]:
        if self._gate is None:
            for one in self._by.pop(topic, ()):
                self._of[one].discard(topic)
            yield topic, False
        elif by is None:
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
        """Take note that no subscription is left to read."""
        if self._gate is not None:
            self._gate.drained()

    def tick(self, now: float) -> Iterator[tuple[bytes, bool]]:
        """Drop the subscriptions of closed connections; yield each topic that has none left."""
        if now < self._look_until or now >= self._look_at:
            self._look_at = now + LOOK_EVERY
            for by in [by for by in self._of if not alive(by)]:
                for topic in self._of.pop(by):
                    yield from self._drop(topic, by)
