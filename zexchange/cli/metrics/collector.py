"""The metrics of a whole federation, from the counts that all nodes tell one that looks.

They have the names, labels and units of `contrib.prometheus.NodeCollector` wherever they mean the
same. This module imports `prometheus_client`, which the extra ``prometheus`` installs, so it is
imported only by the command that needs it.
"""

import threading
from collections.abc import Callable, Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from zexchange import Node
from zexchange.contrib.prometheus import COUNTER, EXCHANGE, GAUGE, NODE, Labels
from zexchange.net.engine.traffic import Seen
from zexchange.protocol.traffic.table import Told
from zexchange.protocol.traffic.traffic import Member

from .totals import NodeTotals

LEAST = 1.0
"""Seconds after a look in which another scrape gets the same values."""
BETWEEN = 4.0
"""Seconds between two looks while somebody scrapes: nodes stop counting after ten without one."""
SCRAPED_FOR = 150.0
"""Seconds after a scrape for which nodes are asked on: Prometheus scrapes once a minute or more."""
ANSWER = 2.0
"""Seconds that nodes have to answer."""

FEDERATION = ("federation",)
METRICS: dict[str, tuple[str, tuple[str, ...], str]] = {
    "messages_sent": (COUNTER, EXCHANGE, "Messages sent, to other nodes or to tasks of the node."),
    "sent_bytes": (COUNTER, EXCHANGE, "Bytes of the frames that left the node."),
    "messages_received": (COUNTER, EXCHANGE, "Messages of peers that were given to tasks."),
    "messages_lost": (COUNTER, EXCHANGE, "Messages of peers that were reported as lost."),
    "messages_conflated": (COUNTER, EXCHANGE, "Messages of peers passed over for a newer one."),
    "messages_unacknowledged_max": (
        *(GAUGE, EXCHANGE),
        "Messages that the slowest receiver has not acknowledged.",
    ),
    "rejections": (COUNTER, NODE, "Messages and nodes that were not accepted."),
    "slow_tasks": (COUNTER, NODE, "How often a task held the data thread for over a second."),
    "send_wait_seconds": (COUNTER, NODE, "Seconds that senders waited for room, all together."),
    "send_window_bytes": (GAUGE, NODE, "Bytes that may be on their way before senders wait."),
    "send_window_used_bytes": (GAUGE, NODE, "Bytes on their way to healthy peers."),
    "peers": (GAUGE, NODE, "Other nodes of the federation that the node knows."),
    "peers_slow": (GAUGE, NODE, "Peers that no sender waits for any longer."),
    "exchanges": (GAUGE, NODE, "Exchanges on which something has flowed at the node."),
    "node_answered": (GAUGE, NODE, "Whether the node has answered, 1 or 0."),
    "node_start_time_seconds": (GAUGE, NODE, "When the node was started, since the Unix epoch."),
    "node_info": (GAUGE, (*NODE, "host", "pid", "name"), "Where the node is; always 1."),
    "nodes": (GAUGE, FEDERATION, "Nodes of the federation, without the one that asks."),
    "exchanges_without_label": (GAUGE, FEDERATION, "Exchanges added up under an empty label."),
}  # fmt: skip
"""The metrics by their names, without prefix and the ``_total`` of counters: kind, labels, help."""
SENT = ("messages_sent", "sent_bytes")
RECEIVED = ("messages_received", "messages_lost", "messages_conflated")


class FederationCollector:
    """A collector of `prometheus_client` for all nodes of a federation but the one that looks.

    Args:
        node: asks the others.
        exchanges: names and patterns of the exchanges that may have a label.
        limit: how many exchanges have one at most: those that come first.
        monotonic: the clock.
    """

    def __init__(
        self, node: Node, exchanges: Iterable[str], limit: int, monotonic: Callable[[], float]
    ) -> None:
        self._node = node
        self._labels = Labels(tuple(exchanges), limit)
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._totals: dict[bytes, NodeTotals] = {}
        self._families: list[Metric] = []
        self._scraped_at = self._looked_at = -1e9

    def describe(self) -> list[Metric]:
        """Return the metrics without values; called by a registry that is given the collector."""
        return list(_families().values())

    def collect(self) -> list[Metric]:
        """Return the metrics; called by the registry, on the thread of a scrape."""
        self._scraped_at = self._monotonic()
        # Two scrapes at a time are one look.
        with self._lock:
            if self._monotonic() - self._looked_at >= LEAST:
                self._look()
            return self._families

    def keep_counting(self) -> None:
        """Look again if that is due, so that nodes do not stop counting between two scrapes."""
        if self._monotonic() - self._scraped_at < SCRAPED_FOR:
            with self._lock:
                if self._monotonic() - self._looked_at >= BETWEEN - LEAST:
                    self._look()

    def _look(self) -> None:
        seen = self._node._seen("**", ANSWER)
        self._families = self._made(seen)
        self._looked_at = self._monotonic()

    def _made(self, seen: Seen) -> list[Metric]:
        """Return the metrics of what was seen."""
        families, federation = _families(), self._node.name
        members = [member for member in seen.members if member.id.hex() != self._node.id]
        told = {member.id: seen.told[member.id] for member in members if member.id in seen.told}
        names = dict.fromkeys(name for one in told.values() for name in one.rows)
        self._labels.look(names)
        self._totals = {id: self._totals.get(id) or NodeTotals() for id in told}
        for member in members:
            _add_member(families, federation, member)
            if member.id in told:
                totals = self._totals[member.id]
                totals.take(told[member.id].rows, told[member.id].node, self._labels)
                self._add(families, (federation, member.id.hex()), told[member.id], totals)
        _add(families, "nodes", (federation,), len(members))
        without = sum(not self._labels(name) for name in names)
        _add(families, "exchanges_without_label", (federation,), without)
        return list(families.values())

    def _add(
        self, families: dict[str, Metric], node: tuple[str, str], told: Told, totals: NodeTotals
    ) -> None:
        """Add the values of a node."""
        most = dict.fromkeys(totals.by_label, 0)
        for name, row in told.rows.items():
            place = self._labels(name)
            most[place] = max(most[place], row.unacknowledged)
        for exchange, counts in totals.by_label.items():
            # A node that only listens has no series of what it sends, and the other way round.
            sent, received = counts[: len(SENT)], counts[len(SENT) :]
            if any(sent):
                _add(families, "messages_unacknowledged_max", (*node, exchange), most[exchange])
            for names, values in ((SENT, sent), (RECEIVED, received)):
                for name, value in zip(names, values, strict=True):
                    if any(values):
                        _add(families, name, (*node, exchange), value)
        figures = totals.figures
        of_node: dict[str, float] = {
            "rejections": figures["rejected"],
            "slow_tasks": figures["slow_tasks"],
            "send_wait_seconds": figures["waited"] / 1e6,
            "send_window_bytes": told.node.get("window", 0),
            "send_window_used_bytes": told.node.get("used", 0),
            "peers": told.node.get("peers", 0),
            "peers_slow": len(told.slow),
            "exchanges": told.node.get("exchanges", 0),
        }
        for name, count in of_node.items():
            _add(families, name, node, count)


def _add_member(families: dict[str, Metric], federation: str, member: Member) -> None:
    """Add what is known of a node without its answer."""
    node, label = (federation, member.id.hex()), member.label
    _add(families, "node_info", (*node, label.host, str(label.pid), label.name), 1)
    _add(families, "node_answered", node, int(member.answered))
    if member.since:
        _add(families, "node_start_time_seconds", node, member.since)


def _families() -> dict[str, Metric]:
    """Return every metric by its name, without values."""
    return {
        name: (CounterMetricFamily if kind is COUNTER else GaugeMetricFamily)(
            f"zexchange_{name}", text, labels=labels
        )
        for name, (kind, labels, text) in METRICS.items()
    }


def _add(families: dict[str, Metric], name: str, labels: tuple[str, ...], value: float) -> None:
    family = families[name]
    assert isinstance(family, CounterMetricFamily | GaugeMetricFamily)
    family.add_metric(labels, value)
