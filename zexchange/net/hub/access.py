"""Who subscribes to what at a hub's data socket, by connection; with keys, what each may have.

libzmq tells that nobody has a topic any more, and not who has it. With keys, in manual mode, it
tells the end of a subscription for each connection, but not of which one, if that has ended. A
hub has to know who reads, and the last: here it is counted. On the hub's thread.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import zmq

from ...protocol.hub.core import MAX_TOPICS
from ..security.connections import Connection, alive, cut
from ..security.subscription_filter import SubscriptionFilter

if TYPE_CHECKING:
    Socket = zmq.Socket[bytes]

ENDING = 2.0
"""Seconds in which connections are looked at whose end libzmq has told: it closes them behind."""
LOOK_EVERY = 5.0
"""Seconds between looks at connections of whose end nothing may have been told."""


class HubSubscriptions:
    """What is honoured at the hub's data socket, by connection.

    Args:
        gate: judges by keys, where there are any.
        socket: the XPUB that nodes receive from.
    """

    def __init__(self, gate: SubscriptionFilter | None, socket: "Socket") -> None:
        self._gate = gate
        self._socket = socket
        self._of: dict[Connection, set[bytes]] = {}
        self._by: dict[bytes, set[Connection]] = {}
        self._look_at = self._look_until = 0.0

    def topics(self, by: Connection) -> set[bytes]:
        """Return what a connection subscribes to: the same set for as long as it is there."""
        return self._of.setdefault(by, set())

    def admit(
        self, frame: zmq.Frame, by: Connection | None, now: float
    ) -> Iterator[tuple[bytes, bool]]:
        """Judge a subscription; yield what is wanted from now on, or no more.

        A topic is yielded again that is subscribed to again: tokens are, and ask for an answer.
        """
        honoured = self._gate is None or self._gate.admit(self._socket, frame)
        kind, topic = frame.bytes[:1], frame.bytes[1:]
        if kind == b"\0":
            yield from self._ended(topic, by, now)
        elif honoured and kind == b"\1" and by is not None:
            if topic in self._by or len(self._by) < MAX_TOPICS:
                self.topics(by).add(topic)
                self._by.setdefault(topic, set()).add(by)
            elif self._gate is not None:
                cut(by)  # libzmq keeps it by now: it goes with the connection
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
        """Nothing is left to read."""
        if self._gate is not None:
            self._gate.drained()

    def tick(self, now: float) -> Iterator[tuple[bytes, bool]]:
        """Let go of what connections wanted that are closed by now."""
        if now < self._look_until or now >= self._look_at:
            self._look_at = now + LOOK_EVERY
            for by in [by for by in self._of if not alive(by)]:
                for topic in self._of.pop(by):
                    yield from self._drop(topic, by)
