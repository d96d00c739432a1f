"""The wire between simulated nodes: connections, and what happens to frames on their way.

A connection carries frames in both directions, each in order. A cut loses the frames on their way;
the dialling side dials again, and the bound side may notice later. In addition, a test may have the
wire lose, repeat, delay and reorder frames of data connections. A frame that proves readiness is
not overtaken and overtakes nothing: ZeroMQ guarantees that, and the protocol depends on it.
"""

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from ..protocol.wire.data import READY
from .schedule import Host, Schedule

LATENCY = 0.0001
"""Least seconds that a frame takes."""
NOTICED = 0.2
"""Most seconds until the bound side notices that a connection was cut."""
REDIAL, REDIAL_MOST = 0.05, 1.0
"""Seconds between two attempts to connect: at first, and at most."""


Parts = tuple[bytes, ...]
"""A ZeroMQ message: its frames, which arrive together or not at all."""


@dataclass(slots=True)
class Faults:
    """How bad the wire is: probabilities from 0 to 1, and a range of seconds."""

    loss: float = 0.0
    delay: tuple[float, float] = (0.0, 0.0)
    duplicate: float = 0.0
    reorder: float = 0.0


class Dialler(Protocol):
    """The end of a connection that dials."""

    host: Host
    inbox: deque[Any]

    def arrive(self, parts: Parts) -> None:
        """Take a message."""
        ...

    def disconnected(self) -> None:
        """Take note that the connection is gone."""
        ...


class Bound(Protocol):
    """The end of a connection that others dial."""

    host: Host

    def arrive(self, connection: "Connection", frame: bytes) -> None:
        """Take a frame."""
        ...

    def connected(self, connection: "Connection") -> None:
        """Take note of a connection."""
        ...

    def disconnected(self, connection: "Connection") -> None:
        """Take note that a connection is gone."""
        ...


class Connection:
    """One connection, from a dialling socket to a bound one."""

    def __init__(self, wire: "Wire", dialler: Dialler, bound: Bound, route: bytes) -> None:
        self.dialler = dialler
        self.bound = bound
        self.route = route
        self.lost = False
        self.under_way = 0
        """Frames on their way to the dialler."""
        self._wire = wire
        self._up_at = self._down_at = self._down_last = 0.0

    def up(self, frame: bytes) -> None:
        """Send a frame to the bound side."""
        self._up_at = max(self._up_at, self._wire.arrival())

        def arrives() -> None:
            if not self.lost:
                self.bound.arrive(self, frame)

        self._wire.at(self._up_at, arrives)

    def down(self, parts: Parts, data: bool) -> None:
        """Send a message to the dialling side. Faults apply to data connections only."""
        wire = self._wire
        if not data:
            self._deliver(self._in_turn(wire.arrival()), parts)
            return
        faults, chance = wire.faults, wire.random.random
        if faults.loss and chance() < faults.loss:
            wire.dropped += 1
            return
        if parts[0][:1] == READY:
            # After all that was sent before, and before all that is sent later.
            self._down_at = max(self._down_last, wire.arrival())
            self._deliver(self._in_turn(self._down_at), parts)
            return
        if faults.duplicate and chance() < faults.duplicate:
            self._deliver(self._out_of_turn(), parts)
        if faults.reorder and chance() < faults.reorder:
            self._deliver(self._out_of_turn(), parts)
        else:
            self._deliver(self._in_turn(wire.arrival()), parts)

    def _in_turn(self, at: float) -> float:
        self._down_at = max(self._down_at, at)
        self._down_last = max(self._down_last, self._down_at)
        return self._down_at

    def _out_of_turn(self) -> float:
        """Return the arrival time of a frame that others may overtake."""
        at = max(self._down_at, self._wire.arrival()) + self._wire.random.uniform(0, 0.01)
        self._down_last = max(self._down_last, at)
        return at

    def _deliver(self, at: float, parts: Parts) -> None:
        self.under_way += 1

        def arrives() -> None:
            self.under_way -= 1
            if not self.lost:
                self.dialler.arrive(parts)

        self._wire.at(at, arrives)


class Wire:
    """All endpoints and connections, and which processes reach each other."""

    def __init__(self, schedule: Schedule, seed: int) -> None:
        self.schedule = schedule
        self.random = random.Random(f"wire {seed}")
        self.faults = Faults()
        self.bound: dict[str, Bound] = {}
        self.connections: dict[Connection, None] = {}
        self.dropped = 0
        """Frames that the wire has lost, not counting those of cut connections."""
        self._parted: set[frozenset[str]] = set()
        self._refused: set[str] = set()
        self._routes = 0

    def arrival(self) -> float:
        """Return when a frame that is sent now arrives, unless something else delays it."""
        low, high = self.faults.delay
        late = self.random.uniform(low, high) if high else 0.0
        return self.schedule.now + LATENCY + late

    def at(self, moment: float, happens: Callable[[], None]) -> None:
        """Have something happen at a moment."""
        self.schedule.after(moment - self.schedule.now, happens)

    def reaches(self, one: Host, other: Host) -> bool:
        """Return whether two processes reach each other, because no cut separates them."""
        return frozenset((one.name, other.name)) not in self._parted

    def connect(self, dialler: Dialler, endpoint: str) -> Connection | None:
        """Connect to an endpoint, if somebody listens there; else return None."""
        bound = self.listening(endpoint)
        if bound is None or bound.host.stopped or not self.reaches(dialler.host, bound.host):
            return None
        self._routes += 1
        connection = Connection(self, dialler, bound, self._routes.to_bytes(5, "big"))
        self.connections[connection] = None
        return connection

    def end(self, connection: Connection, lose: bool) -> None:
        """End a connection; frames on their way are lost, or still arrive."""
        if self.connections.pop(connection, self) is self:
            return
        connection.lost = lose
        connection.dialler.disconnected()
        noticed = self.random.uniform(0, NOTICED) if lose else 0.0
        noticed = max(noticed, connection._up_at - self.schedule.now)
        self.schedule.after(noticed, lambda: connection.bound.disconnected(connection))

    def part(self, one: str, other: str) -> None:
        """Cut every connection between two processes, and allow no new ones."""
        self._parted.add(frozenset((one, other)))
        self.cut(one, other)

    def listening(self, endpoint: str) -> Bound | None:
        """Return what is bound at an endpoint, unless connections there are refused."""
        bound = self.bound.get(endpoint)
        return None if bound is not None and bound.host.name in self._refused else bound

    def refuse(self, name: str) -> None:
        """Cut the connections that others made to a process, and refuse new ones."""
        self._refused.add(name)
        for connection in list(self.connections):
            if connection.bound.host.name == name:
                self.end(connection, lose=True)

    def accept(self, name: str) -> None:
        """Undo `refuse`."""
        self._refused.discard(name)

    def rejoin(self, one: str, other: str) -> None:
        """Undo `part`."""
        self._parted.discard(frozenset((one, other)))

    def cut(self, one: str, other: str) -> None:
        """Cut every connection between two processes; they may connect again."""
        for connection in list(self.connections):
            if {connection.dialler.host.name, connection.bound.host.name} == {one, other}:
                self.end(connection, lose=True)

    def kill(self, host: Host) -> None:
        """End every connection of a dead process, and remove its bound sockets."""
        self.bound = {e: socket for e, socket in self.bound.items() if socket.host is not host}
        for connection in list(self.connections):
            if host in (connection.dialler.host, connection.bound.host):
                # Some of the frames that it sent may still arrive.
                self.end(connection, lose=self.random.random() < 0.5)
