"""The tables of what flows: their columns, and how rates are written.

The code is pure: what flows comes in as a `Traffic`, and cells of text go out. It knows no
terminal. Each column says how much it matters, so that a narrow terminal keeps the first ones.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Generic, TypeVar

from zexchange import ExchangeTraffic, Label, NodeTraffic, Traffic

from .text import printable

R = TypeVar("R", ExchangeTraffic, NodeTraffic)
UNITS = "kMGT"


def amount(value: float | None) -> str:
    """Return a number as it is shown on a terminal: three digits, and a unit."""
    if value is None:
        return "-"
    if value < 10 and value != int(value):
        return f"{value:.1f}"
    shown, unit = value, ""
    for larger in UNITS:
        if shown < 999.5:
            break
        shown, unit = shown / 1000, larger
    digits = 1 if unit and shown < 99.95 else 0
    return f"{shown:.{digits}f}{unit}"


def plain(value: float | None) -> str:
    """Return a number as it is printed elsewhere: as it is, and rates below ten with a decimal."""
    if value is None:
        return "-"
    return f"{value:.1f}" if value < 10 and value != int(value) else f"{value:.0f}"


Number = Callable[[float | None], str]


class Names:
    """The names of nodes: their labels, and host and process where these are the same."""

    def __init__(self, nodes: Sequence[NodeTraffic]) -> None:
        labels = [node.label.name for node in nodes]
        self._names = {node.id: _short(node.label, labels) for node in nodes}

    def __call__(self, node: str) -> str:
        """Return the name of a node, or the start of its id if it has left."""
        return self._names.get(node) or node[:8]


def _short(label: Label, labels: Sequence[str]) -> str:
    alone = label.name and labels.count(label.name) == 1
    return printable(label.name if alone else str(label))


@dataclass(frozen=True, slots=True)
class Column(Generic[R]):
    """A column of a table.

    Attributes:
        title: its heading.
        cell: returns what is shown of a row, given how numbers are written.
        key: returns by what rows are sorted, the largest first; by text, the first one first.
        width: characters that it takes at most.
        left: whether it begins at the left.
    """

    title: str
    cell: Callable[[R, Number, Names], str]
    key: Callable[[R], float | str]
    width: int = 8
    left: bool = False


EXCHANGES: tuple[Column[ExchangeTraffic], ...] = (
    Column("EXCHANGE", lambda e, n, names: printable(e.name), lambda e: e.name, 20, True),
    Column("MSG/S", lambda e, n, names: n(e.messages_per_second), lambda e: _rate(e)),
    Column(
        "BYTES/S", lambda e, n, names: n(e.bytes_per_second), lambda e: e.bytes_per_second or 0.0
    ),
    Column("SENDERS", lambda e, n, names: str(len(e.senders)), lambda e: float(len(e.senders))),
    Column(
        "LISTENERS", lambda e, n, names: str(len(e.listeners)), lambda e: len(e.listeners), width=9
    ),
    Column("LOST", lambda e, n, names: n(e.lost), lambda e: float(e.lost)),
    Column("UNACKED", lambda e, n, names: n(e.unacknowledged), lambda e: float(e.unacknowledged)),
    Column(
        "SLOWEST",
        lambda e, n, names: names(e.slowest) if e.slowest else "-",
        lambda e: e.slowest,
        width=14,
        left=True,
    ),
    Column(
        "GIVEN/S",
        lambda e, n, names: n(e.received_per_second),
        lambda e: e.received_per_second or 0.0,
    ),
    Column("SKIPPED", lambda e, n, names: n(e.conflated), lambda e: float(e.conflated)),
    Column("MESSAGES", lambda e, n, names: n(e.messages), lambda e: float(e.messages)),
)
NODES: tuple[Column[NodeTraffic], ...] = (
    Column("NODE", lambda e, n, names: names(e.id), lambda e: str(e.label), 20, True),
    Column("MSG/S", lambda e, n, names: n(e.messages_per_second), lambda e: _rate(e)),
    Column(
        "BYTES/S", lambda e, n, names: n(e.bytes_per_second), lambda e: e.bytes_per_second or 0.0
    ),
    Column(
        "GIVEN/S",
        lambda e, n, names: n(e.received_per_second),
        lambda e: e.received_per_second or 0.0,
    ),
    Column("WINDOW", lambda e, n, names: _window(e), lambda e: e.window_used / (e.window or 1)),
    Column("WAITED", lambda e, n, names: f"{e.waited:.1f}s", lambda e: e.waited),
    Column("REJECTED", lambda e, n, names: n(e.rejected), lambda e: float(e.rejected)),
    Column("SLOW", lambda e, n, names: _slow(e), lambda e: e.slow_tasks + len(e.slow_peers)),
    Column("PEERS", lambda e, n, names: str(e.peers), lambda e: float(e.peers)),
    Column("STATE", lambda e, n, names: _state(e), lambda e: _state(e), 13, True),
    Column("SINCE", lambda e, n, names: _since(e), lambda e: -e.since, 8, True),
    Column("PROCESS", lambda e, n, names: printable(_place(e)), lambda e: _place(e), 24, True),
)


def _rate(row: ExchangeTraffic | NodeTraffic) -> float:
    return row.messages_per_second or 0.0


def _place(node: NodeTraffic) -> str:
    return f"{node.label.host}:{node.label.pid}"


def _window(node: NodeTraffic) -> str:
    return f"{100 * node.window_used // node.window}%" if node.window else "-"


def _slow(node: NodeTraffic) -> str:
    """Return how many slow tasks were found, and how many slow peers there are."""
    return f"{node.slow_tasks}/{len(node.slow_peers)}"


def _state(node: NodeTraffic) -> str:
    if not node.tells:
        return "does not tell"
    return "ok" if node.answered else "no answer"


def _since(node: NodeTraffic) -> str:
    return f"{datetime.fromtimestamp(node.since):%H:%M:%S}" if node.since else "-"


def fitting(columns: Sequence[Column[R]], width: int) -> list[Column[R]]:
    """Return the columns that fit next to each other into a width, at least the first two.

    The first one gets the rest of the width.
    """
    found, used = list[Column[R]](columns[:2]), sum(c.width + 2 for c in columns[:2])
    for column in columns[2:]:
        if used + column.width + 2 > width:
            break
        found.append(column)
        used += column.width + 2
    found[0] = replace(found[0], width=max(1, found[0].width + width - used))
    return found


def ordered(rows: Sequence[R], column: Column[R]) -> list[R]:
    """Return rows by a column: numbers from the largest on, text from the first on."""
    found = list(rows)
    number = bool(found) and not isinstance(column.key(found[0]), str)
    return sorted(found, key=column.key, reverse=number)


def cut(text: str, width: int) -> str:
    """Return text within a width; of what is too long, the end is left out."""
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"


def without(traffic: Traffic, node: str) -> Traffic:
    """Return the traffic without one node, which only looks."""
    return replace(traffic, nodes=tuple(one for one in traffic.nodes if one.id != node))


def as_rows(traffic: Traffic) -> tuple[list[tuple[str, ...]], list[tuple[str, ...]]]:
    """Return the exchanges and the nodes as rows of text, each after its headings."""
    names = Names(traffic.nodes)
    exchanges = ordered(traffic.exchanges, EXCHANGES[1])
    return (
        [tuple(c.title for c in EXCHANGES), *[_cells(e, EXCHANGES, names) for e in exchanges]],
        [tuple(c.title for c in NODES), *[_cells(n, NODES, names) for n in traffic.nodes]],
    )


def _cells(row: R, columns: Sequence[Column[R]], names: Names) -> tuple[str, ...]:
    return tuple([column.cell(row, plain, names) for column in columns])
