"""Counts of one node that never shrink, from what it tells, of which some does.

A node forgets exchanges that are no longer used, and peers that have left, with what it has counted
of them. And it counts some things only while somebody looks. So each count grows by as much as the
node's own has grown since the look before, and by nothing where that has become smaller: what came
between the last look and the moment of forgetting is missing then, and nothing is counted twice.

The code is pure: it knows neither nodes nor Prometheus.
"""

from collections.abc import Callable, Mapping

from zexchange.protocol.wire.messages import ExchangeCount

FIGURES = ("waited", "slow_tasks", "rejected")
"""The figures of a node that are counts."""


class NodeTotals:
    """The counts of one node. Not thread-safe."""

    def __init__(self) -> None:
        self.by_label: dict[str, list[int]] = {}
        """By label: messages sent, their bytes, and messages received, lost and conflated. A label
        that no exchange has any longer is dropped."""
        self.figures: dict[str, int] = dict.fromkeys(FIGURES, 0)
        """By name, the counts of the whole node."""
        self._last: Mapping[str, ExchangeCount] = {}

    def take(
        self,
        rows: Mapping[str, ExchangeCount],
        figures: Mapping[str, int],
        label: Callable[[str], str],
    ) -> None:
        """Take a look.

        Args:
            rows: the counts of the node by exchange.
            figures: those of the whole node.
            label: returns the label of an exchange.
        """
        last = self._last
        shown = {"": [0] * 5, **{label(name): [0] * 5 for name in rows}}
        totals = {name: self.by_label.get(name, none) for name, none in shown.items()}
        for name, now in rows.items():
            before = last.get(name)
            if before is not now:  # most exchanges of very many are idle
                total = totals[label(name)]
                for at, grown in enumerate(growth(before, now)):
                    total[at] += grown
        self.by_label = totals
        self._last = rows
        for name, value in self.figures.items():
            self.figures[name] = max(value, figures.get(name, 0))


def growth(before: ExchangeCount | None, now: ExchangeCount) -> list[int]:
    """Return by how much the counts of an exchange have grown between two looks."""
    if before is None:
        return [now.sent, now.size, now.received, now.lost, now.conflated]
    return [
        max(0, now.sent - before.sent),
        # These begin at 0, both of an exchange and when somebody looks after a pause.
        now.size - before.size if now.size >= before.size else now.size,
        max(0, now.received - before.received),
        max(0, now.lost - before.lost),
        max(0, now.conflated - before.conflated),
    ]
