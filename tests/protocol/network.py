"""Sockets without sockets: connections in memory that behave like ZeroMQ's.

Each direction of a connection is a lane, first in, first out; lanes are delivered in
any order that a test likes. A cut loses what is under way; the dialling side connects
again and subscribes anew in lexicographic order; the bound side may notice much later.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from carried import HubMachine
    from machines import Machine

DEATH = b""
"""What the bound side of a data connection reads when it notices that it was cut."""


@dataclass(eq=False)
class Lane:
    """One direction of a connection: frames on their way to a machine."""

    owner: "Machine"
    take: Callable[[bytes], None]
    kind: str
    queue: deque[bytes] = field(default_factory=deque)

    def deliver(self) -> None:
        """Deliver one frame; of subscriptions, in one turn, what is there when its end is."""
        ended = self.kind == "subscriptions" and DEATH in self.queue
        for _ in range(len(self.queue) if ended else 1):
            self.take(self.queue.popleft())
        self.owner.work()


@dataclass(eq=False)
class Connection:
    """Two lanes between a machine that dialled and one that had bound."""

    network: "Network"
    dialler: "Machine"
    bound: "Machine"
    up: Lane
    down: Lane
    open: bool = True

    def cut(self, arrived: int = 0) -> None:
        """Lose what is under way, both ways; tell the bound side in its own time.

        Of subscriptions, so many have ``arrived`` that are not read yet.
        """
        if not self.open:
            return
        self.open = False
        self.down.queue.clear()
        kept = list(self.up.queue)[:arrived] if self.up.kind == "subscriptions" else []
        self.up.queue.clear()
        self.up.queue.extend(kept)
        self.network.lanes.remove(self.down)
        if self.up.kind == "subscriptions":
            self.up.queue.append(DEATH)
        else:
            self.network.lanes.remove(self.up)


class Network:
    """The clock, what is bound, and every lane there is."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.serial = 0
        self.machines: list[Machine] = []
        self.hubs: list[HubMachine] = []
        self.bound: dict[str, Machine] = {}
        self.lanes: list[Lane] = []
        self.connections: list[Connection] = []
        self.blocked: set[frozenset[Machine]] = set()
        self.refused: set[Machine] = set()
        """Machines at whose endpoints nothing listens, as seen from outside, though they live."""
        self.sent_at: dict[tuple[bytes, str, int], int] = {}

    def living(self) -> "list[Machine]":
        return [machine for machine in self.machines if machine.alive]

    def reaches(self, one: "Machine", other: "Machine") -> bool:
        return frozenset((one, other)) not in self.blocked

    def listening(self, endpoint: str) -> "Machine | None":
        """Return who has bound an endpoint, unless whoever tries is refused there."""
        bound = self.bound.get(endpoint)
        return None if bound in self.refused else bound

    def refuse(self, machine: "Machine") -> None:
        """Cut what leads to a machine, and have everything new refused, as a proxy that is down."""
        self.refused.add(machine)
        for connection in list(self.alive_connections()):
            if connection.bound is machine:
                connection.cut()

    def connect(
        self,
        dialler: "Machine",
        endpoint: str,
        kinds: tuple[str, str],
        up: Callable[["Machine", Connection], Callable[[bytes], None]],
        down: Callable[[bytes], None],
    ) -> Connection | None:
        """Connect to whoever has bound an endpoint, if anybody has and can be reached."""
        bound = self.listening(endpoint)
        if bound is None or not self.reaches(dialler, bound):
            return None
        lanes = Lane(bound, lambda frame: None, kinds[0]), Lane(dialler, down, kinds[1])
        connection = Connection(self, dialler, bound, *lanes)
        connection.up.take = up(bound, connection)
        self.lanes += lanes
        self.connections.append(connection)
        return connection

    def drop(self, lane: Lane) -> None:
        if lane in self.lanes:
            self.lanes.remove(lane)

    def alive_connections(self) -> list[Connection]:
        self.connections = [connection for connection in self.connections if connection.open]
        return self.connections

    def full(self) -> list[Lane]:
        """The lanes that have something to deliver to a machine that runs."""
        return [lane for lane in self.lanes if lane.queue and lane.owner.running]

    def flow(self, most: int = 20_000) -> None:
        """Deliver everything that is under way to machines that run."""
        while lanes := self.full():
            for lane in lanes:
                for _ in range(len(lane.queue)):
                    if lane.queue and lane.owner.running:
                        lane.deliver()
                        most -= 1
            assert most > 0, "machines that never come to rest"

    def pass_time(self, seconds: float, step: float = 0.5, flow: bool = True) -> None:
        """Let time pass for every machine that runs."""
        for _ in range(round(seconds / step)):
            self.now += step
            for machine in (*self.hubs, *self.living()):
                if machine.running:
                    machine.tick()
            if flow:
                self.flow()

    def block(self, one: "Machine", other: "Machine") -> None:
        """Part two machines: neither data nor a refusal gets through."""
        self.blocked.add(frozenset((one, other)))
        for connection in list(self.alive_connections()):
            if {connection.dialler, connection.bound} == {one, other}:
                connection.cut()
