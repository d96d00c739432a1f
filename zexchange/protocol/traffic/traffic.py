"""The result of `Node.traffic`: what flows in a federation, by exchange and by node."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from ..wire.messages import Label
from .table import Rate, Told


@dataclass(frozen=True, slots=True)
class ExchangeTraffic:
    """The traffic of one exchange, at all nodes that have told it.

    Attributes:
        name: the exchange.
        senders: the ids of the nodes that have sent on it.
        listeners: the ids of the nodes that have tasks for it.
        messages: sent since those nodes count. A node counts what it sends to others all the time,
            and what it sends to its own tasks only while somebody looks.
        bytes: of the frames that left those nodes, since somebody looks.
        received: given to tasks of other nodes.
        lost: reported as lost by other nodes.
        conflated: passed over by other nodes for a newer message.
        unacknowledged: messages that the slowest receiver has not acknowledged.
        slowest: the id of that receiver; empty if all is acknowledged.
        messages_per_second: sent between the last two looks, by the clocks of the senders; None
            after the first look.
        bytes_per_second: likewise.
        received_per_second: likewise, given to tasks of other nodes.
    """

    name: str
    senders: tuple[str, ...]
    listeners: tuple[str, ...]
    messages: int
    bytes: int
    received: int
    lost: int
    conflated: int
    unacknowledged: int
    slowest: str
    messages_per_second: float | None
    bytes_per_second: float | None
    received_per_second: float | None


@dataclass(frozen=True, slots=True)
class NodeTraffic:
    """The traffic at one node.

    Attributes:
        id: its node id, 32 hexadecimal digits.
        label: its host, process and name.
        since: when it was started, by its own clock, in seconds since the Unix epoch; 0 if unknown.
        tells: whether it tells its traffic: nodes of earlier versions do not.
        answered: whether it has answered this look. If not, its counts are those of the look
            before, or 0.
        exchanges: how many exchanges it has counts of.
        peers: how many other nodes it knows.
        window_used: bytes that it has sent and its peers have not acknowledged.
        window: how many there may be before its senders wait.
        waited: seconds that its senders have waited.
        slow_tasks: how often a task blocked its data thread for over a second.
        slow_peers: the ids of the peers that its senders no longer wait for.
        rejected: messages and nodes that it has rejected.
        messages_per_second: sent between the last two looks on the exchanges of the pattern; None
            after the first look.
        bytes_per_second: likewise.
        received_per_second: likewise, given to its tasks.
    """

    id: str
    label: Label
    since: float
    tells: bool
    answered: bool
    exchanges: int
    peers: int
    window_used: int
    window: int
    waited: float
    slow_tasks: int
    slow_peers: tuple[str, ...]
    rejected: int
    messages_per_second: float | None
    bytes_per_second: float | None
    received_per_second: float | None


@dataclass(frozen=True, slots=True)
class Traffic:
    """The traffic of a federation; see `Node.traffic`.

    Attributes:
        exchanges: the exchanges on which something has flowed, by name.
        nodes: the nodes of the federation, this one included, in the order in which they joined.
    """

    exchanges: tuple[ExchangeTraffic, ...]
    nodes: tuple[NodeTraffic, ...]


@dataclass(frozen=True, slots=True)
class Member:
    """A node of the federation, as the node that asks knows it."""

    id: bytes
    label: Label
    since: float
    tells: bool
    answered: bool


FIGURES = ("exchanges", "peers", "used", "window", "waited", "slow_tasks", "rejected")
"""The figures of a node, by their names on the wire; ``waited`` in microseconds."""


def traffic_of(
    members: Iterable[Member],
    told: Mapping[bytes, Told],
    listening: Callable[[str], tuple[str, ...]],
) -> Traffic:
    """Return the traffic of some nodes.

    Args:
        members: the nodes.
        told: what they have told.
        listening: returns the ids of the nodes that listen to an exchange.
    """
    sums: dict[str, _Sum] = {}
    nodes = [_node(member, told.get(member.id), sums) for member in members]
    rows = [sums[name].made(name, listening(name)) for name in sorted(sums)]
    return Traffic(tuple(rows), tuple(nodes))


class _Sum:
    """The counts of several nodes on one exchange."""

    __slots__ = (
        "bytes", "conflated", "lost", "rates", "received", "senders", "sent", "slowest",
        "unacknowledged",
    )  # fmt: skip

    def __init__(self) -> None:
        self.senders: list[str] = []
        self.sent = self.bytes = self.received = 0
        self.lost = self.conflated = self.unacknowledged = 0
        self.slowest = b""
        self.rates: list[Rate] | None = None

    def made(self, name: str, listeners: tuple[str, ...]) -> ExchangeTraffic:
        """Return them as they are shown."""
        sums: Iterable[float | None] = _NO_RATES
        if self.rates is not None:
            sums = map(sum, zip(*self.rates, strict=True)) if self.rates else _ZERO
        return ExchangeTraffic(
            *(name, tuple(self.senders), listeners, self.sent, self.bytes, self.received),
            *(self.lost, self.conflated, self.unacknowledged, self.slowest.hex()),
            *sums,
        )


_NO_RATES = (None, None, None)
_ZERO = Rate()


def _node(member: Member, told: Told | None, sums: dict[str, _Sum]) -> NodeTraffic:
    """Return what flows at one node, and add its counts to the sums by exchange."""
    node, rates = member.id.hex(), told.rates if told else None
    for name, row in told.rows.items() if told else ():
        total = sums.get(name)
        if total is None:
            total = sums[name] = _Sum()
        if row.sent:
            total.senders.append(node)
            total.sent += row.sent
            total.bytes += row.size
        total.received += row.received
        total.lost += row.lost
        total.conflated += row.conflated
        if row.unacknowledged > total.unacknowledged:
            total.unacknowledged, total.slowest = row.unacknowledged, row.slowest
        if rates is not None:
            if total.rates is None:
                total.rates = []
            rate = rates.get(name)
            if rate is not None:
                total.rates.append(rate)
    figures = [told.node.get(figure, 0) if told else 0 for figure in FIGURES]
    exchanges, peers, used, window, waited, slow_tasks, rejected = figures
    sums_of: Iterable[float | None] = _NO_RATES
    if rates is not None:
        sums_of = map(sum, zip(*rates.values(), strict=True)) if rates else _ZERO
    return NodeTraffic(
        *(node, member.label, member.since, member.tells, member.answered, exchanges, peers),
        *(used, window, waited / 1e6, slow_tasks),
        tuple([peer.hex() for peer in told.slow]) if told else (),
        rejected,
        *sums_of,
    )
