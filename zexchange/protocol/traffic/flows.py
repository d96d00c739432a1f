"""The traffic from one node to another, worked out of what all nodes have told.

A sender counts for each exchange, and not for each of its listeners; a listener counts what it was
given on an exchange, and not by sender. So what a listener was given is divided among the senders
of the exchange, in proportion to what they sent. With one sender, the usual case, that is exact.
Of a listener that does not tell, it is taken that it was given everything.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .table import Told


@dataclass(frozen=True, slots=True)
class Flow:
    """The traffic from one node to another.

    Attributes:
        sender: the id of the one.
        listener: the id of the other.
        exchanges: on how many exchanges the one has sent and the other listens.
        lost: messages on them that the listener has reported as lost.
        messages_per_second: given to the listener between the last two looks; 0 after one look.
    """

    sender: str
    listener: str
    exchanges: int
    lost: int
    messages_per_second: float


class _Sum:
    """The traffic between two nodes, as it is added up."""

    __slots__ = ("exchanges", "lost", "rate")

    def __init__(self) -> None:
        self.exchanges = self.lost = 0
        self.rate = 0.0


Sent = dict[str, dict[str, float]]
"""By exchange, what each of its senders has sent in a second."""


def flows_of(
    told: Mapping[bytes, Told], listening: Callable[[str], tuple[str, ...]]
) -> tuple[Flow, ...]:
    """Return what flows between nodes, the largest rate first.

    Args:
        told: what the nodes have told.
        listening: returns the ids of the nodes that listen to an exchange.
    """
    sums: dict[tuple[str, str], _Sum] = {}
    sent = _sent(told)
    _relate(sent, listening, {node.hex() for node in told}, sums)
    for id_, counts in told.items():
        _receive(id_.hex(), counts, sent, sums)
    flows = [Flow(*pair, s.exchanges, s.lost, s.rate) for pair, s in sums.items()]
    return tuple(sorted(flows, key=lambda flow: -flow.messages_per_second))


def _sent(told: Mapping[bytes, Told]) -> Sent:
    found: Sent = {}
    for id_, counts in told.items():
        node, rates = id_.hex(), counts.rates or {}
        for name, row in counts.rows.items():
            if row.sent:
                rate = rates.get(name)
                found.setdefault(name, {})[node] = rate.sent if rate else 0.0
    return found


def _relate(
    sent: Sent,
    listening: Callable[[str], tuple[str, ...]],
    telling: set[str],
    sums: dict[tuple[str, str], _Sum],
) -> None:
    """Add who sends to whom, and what is given to those that do not tell.

    Exchanges of the same sender and listeners are added up first: there may be 10,000 of them.
    """
    alike: dict[tuple[str, tuple[str, ...]], tuple[int, float]] = {}
    for name, senders in sent.items():
        listeners = listening(name)
        for sender, rate in senders.items():
            number, rates = alike.get((sender, listeners), (0, 0.0))
            alike[sender, listeners] = number + 1, rates + rate
    for (sender, listeners), (number, rates) in alike.items():
        for listener in listeners:
            if listener != sender:
                total = sums.setdefault((sender, listener), _Sum())
                total.exchanges += number
                if listener not in telling:
                    total.rate += rates


def _receive(listener: str, counts: Told, sent: Sent, sums: dict[tuple[str, str], _Sum]) -> None:
    """Add what a listener was given, and what it has reported as lost."""
    rates = counts.rates or {}
    for name, row in counts.rows.items():
        rate = rates.get(name)
        given = rate.received if rate else 0.0
        if not given and not row.lost:
            continue
        senders = sent.get(name, {})
        total = sum(a_second for sender, a_second in senders.items() if sender != listener)
        for sender, a_second in senders.items():
            flow = sums.get((sender, listener))
            if flow is not None:
                flow.lost += row.lost
                flow.rate += given * a_second / total if total else 0.0
