"""What a node tells its peers of itself in each pong, for whoever looks for what is wrong.

Its clock, whether a task holds it up, and for how many more peers it has descriptors: all
of it is seen here and hurts over there. Names of exchanges and places in programs are not
told: who may not hear of them must not hear of them this way.
"""

from ...protocol.wire.messages import Pong
from ..inbound.receiver import Receiver
from ..transport.descriptors import A_PEER
from .environment import NodeEnvironment
from .watchdog import HELD_AFTER

LOOK_EVERY = 5.0
"""Seconds for which a count of the open descriptors is good: it costs 0.1 ms and more."""


class NodeHealth:
    """How one node is."""

    def __init__(self, inbound: Receiver, world: NodeEnvironment) -> None:
        self._inbound = inbound
        self._world = world
        self._room: int | None = None
        self._look_at = 0.0

    def held(self) -> float:
        """Return for how many seconds a task has held the data thread, if for long; else 0."""
        busy = self._inbound.busy
        seconds = self._world.monotonic() - busy[0] if busy else 0.0
        return seconds if seconds >= HELD_AFTER else 0.0

    def room(self) -> int | None:
        """Return for how many more peers there are descriptors; None if that is not known."""
        now = self._world.monotonic()
        if now >= self._look_at:
            self._look_at, self._room = now + LOOK_EVERY, self._world.descriptors()
        return None if self._room is None else self._room // A_PEER

    def sign(self, pong: Pong) -> Pong:
        """Return a pong that says how we are."""
        return Pong(pong.sender, self._world.time(), self.held(), self.room())
