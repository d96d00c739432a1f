"""Metrics of nodes for Prometheus, read from `Node.stats` and `Node.peers` when they are scraped.

Between two scrapes it does nothing, and costs nothing::

    REGISTRY.register(NodeCollector(node))
    start_http_server(9464)

Prometheus takes a counter that shrinks for one that began again at 0. A node forgets exchanges that
are no longer used, and nodes that have left, with their counts. So the collector adds up by how
much each count has grown since the last scrape, and never returns less than before.
"""

import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from operator import add, sub

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from .. import ExchangeError, Node, NodeStats, PeerStatus
from ..local.process.fork import Lock
from ..names import check_scope, matches
from .membership import AnyNode

Key = tuple[str, str]
"""An exchange, and the node that has sent."""
Counts = tuple[int, ...]
NODE = ("federation", "node")
EXCHANGE = (*NODE, "exchange")


class NodeCollector:
    """A collector of `prometheus_client` for the nodes of this process.

    A registry takes one: a second one would export the same names, and is refused. It keeps no node
    alive. A node that is closed is exported no longer, and a scrape at that moment is no error.

    All metrics have the labels ``federation`` and ``node`` (its id). Those by exchange also have
    ``exchange``. An exchange keeps its label until the node forgets it. All that have none are
    added up under ``exchange=""``.

    Args:
        nodes: the nodes to export.
        exchanges: names and patterns of the exchanges that may have a label.
        limit: how many exchanges of a node have one at most: those that come first.

    Raises:
        InvalidName: one of ``exchanges`` is malformed.
    """

    def __init__(
        self, *nodes: AnyNode, exchanges: Iterable[str] = ("**",), limit: int = 100
    ) -> None:
        given = (exchanges,) if isinstance(exchanges, str) else exchanges
        self._exchanges = tuple(map(check_scope, given))
        self._limit = limit
        self._nodes: list[_Exported] = []
        self._lock = Lock()
        for node in nodes:
            self.add(node)

    def add(self, node: AnyNode) -> None:
        """Export one more node from now on; a second call has no effect. Any thread."""
        with self._lock.lock:
            if all(known.node() is not node.node for known in self._nodes):
                known = _Exported(weakref.ref(node.node), self._exchanges, self._limit)
                self._nodes.append(known)

    def describe(self) -> list[Metric]:
        """Return the metrics without values; called by a registry that is given the collector."""
        return list(_families().values())

    def collect(self) -> list[Metric]:
        """Return the metrics; called by the registry, on the thread of a scrape."""
        families = _families()
        for known in list(self._nodes):
            seen = known.look()
            with self._lock.lock:
                if seen is not None:
                    known.export(families, seen)
                elif known.node() is None and known in self._nodes:
                    self._nodes.remove(known)
        return list(families.values())


def _families() -> dict[str, Metric]:
    """Return every metric by its name, without values."""
    return {
        name: (CounterMetricFamily if kind is COUNTER else GaugeMetricFamily)(
            f"zexchange_{name}", text, labels=labels
        )
        for name, (kind, labels, text) in METRICS.items()
    }


COUNTER, GAUGE = "counter", "gauge"
METRICS: dict[str, tuple[str, tuple[str, ...], str]] = {
    "messages_sent": (COUNTER, EXCHANGE, "Messages that left the node."),
    "messages_received": (COUNTER, EXCHANGE, "Messages of peers that were given to tasks."),
    "messages_duplicate": (COUNTER, EXCHANGE, "Messages that had come already, and were dropped."),
    "messages_lost": (COUNTER, EXCHANGE, "Messages of peers that were reported as lost."),
    "messages_recovered": (COUNTER, EXCHANGE, "Messages received that had to be sent again."),
    "messages_conflated": (COUNTER, EXCHANGE, "Messages of peers passed over for a newer one."),
    "messages_parked": (GAUGE, EXCHANGE, "Messages that wait for earlier ones of their sender."),
    "messages_unacknowledged": (
        *(GAUGE, EXCHANGE),
        "Messages not acknowledged, once for each peer that is to get them.",
    ),
    "messages_unwanted": (COUNTER, NODE, "Messages that came for names without a task."),
    "frames_sent": (COUNTER, NODE, "Data frames sent; many messages share one."),
    "rejections": (COUNTER, NODE, "Messages and nodes that were not accepted."),
    "slow_tasks": (COUNTER, NODE, "How often a task held the data thread for over a second."),
    "send_wait_seconds": (COUNTER, NODE, "Seconds that senders waited for room, all together."),
    "send_window_bytes": (GAUGE, NODE, "Bytes that may be on their way before senders wait."),
    "send_window_used_bytes": (GAUGE, NODE, "Bytes on their way to healthy peers."),
    "kept_bytes": (GAUGE, NODE, "Bytes of sent messages that can be sent again."),
    "peers": (GAUGE, NODE, "Other nodes of the federation that the node knows."),
    "peers_ready": (GAUGE, NODE, "Peers with which messages arrive in both directions."),
    "peers_silent": (GAUGE, NODE, "Peers of which nothing was heard for 3 seconds."),
    "peers_slow": (GAUGE, NODE, "Peers that no sender waits for any longer."),
}
"""The metrics by their names, without prefix and the ``_total`` of counters: kind, labels, help."""
BY_FATE = tuple(
    f"messages_{fate}" for fate in ("received", "duplicate", "lost", "recovered", "conflated")
)


@dataclass
class _Seen:
    """A node as a scrape has seen it.

    Attributes:
        federation: the name of its federation.
        me: its id.
        stats: its counts.
        peers: its peers.
        scrape: how many scrapes had been counted before it looked.
    """

    federation: str
    me: str
    stats: NodeStats
    peers: tuple[PeerStatus, ...]
    scrape: int


@dataclass(eq=False)
class _Exported:
    """One node, and what was exported of it. All but `look` needs the lock of the collector."""

    node: "weakref.ref[Node]"
    exchanges: tuple[str, ...]
    limit: int
    me: str = ""
    scrape: int = 0

    def look(self) -> _Seen | None:
        """Return what the node counts now, None if it is closed; called with no lock held."""
        node, scrape = self.node(), self.scrape
        try:
            if node is not None:
                return _Seen(node.name, node.id, node.stats(), node.peers, scrape)
        except ExchangeError:  # it is closed; or a forked child cannot join, and may do so later
            pass
        return None

    def export(self, families: Mapping[str, Metric], seen: _Seen) -> None:
        """Add the values of the node to metrics."""
        if seen.me != self.me:  # it counts from 0 in a forked child
            self.me = seen.me
            self._labels = Labels(self.exchanges, self.limit)
            self._sent, self._received, self._unwanted = Totals(), Totals(), Totals()
            self._count(seen.stats)
        elif seen.scrape == self.scrape:  # else another scrape has counted since this one looked
            self._count(seen.stats)
        labels = (seen.federation, seen.me)
        for name, value in self._of_node(seen.stats, seen.peers).items():
            _add(families[name], labels, value)
        for name, values in self._by_exchange(seen.stats, seen.peers).items():
            for exchange, value in values.items():
                _add(families[name], (*labels, exchange), value)

    def _count(self, stats: NodeStats) -> None:
        """Add up what has grown since the last scrape."""
        self.scrape += 1
        self._labels.look([*stats.sent, *(name for name, _ in stats.received)])
        self._sent.take({(name, ""): (n,) for name, n in stats.sent.items()}, self._labels)
        told = {
            key: (r.received, r.duplicates, r.lost, r.recovered, r.conflated)
            for key, r in stats.received.items()
        }
        self._received.take(told, self._labels)
        self._unwanted.take({("", ""): (stats.unwanted,)}, self._labels)

    def _of_node(self, stats: NodeStats, peers: tuple[PeerStatus, ...]) -> dict[str, float]:
        return {
            "messages_unwanted": self._unwanted.by_label[""][0],
            "frames_sent": stats.frames,
            "rejections": sum(stats.rejected.values()),
            "slow_tasks": sum(stats.slow_tasks.values()),
            "send_wait_seconds": stats.waited,
            "send_window_bytes": stats.window,
            "send_window_used_bytes": stats.window_used,
            "kept_bytes": stats.kept,
            "peers": len(peers),
            "peers_ready": sum(peer.ready for peer in peers),
            "peers_silent": sum(peer.silent for peer in peers),
            "peers_slow": sum(peer.slow_since is not None for peer in peers),
        }

    def _by_exchange(
        self, stats: NodeStats, peers: tuple[PeerStatus, ...]
    ) -> dict[str, dict[str, int]]:
        """Return the metrics by exchange: by the name of each, the values by label."""
        label, here = self._labels, {peer.id for peer in peers}
        unacknowledged, parked = dict[str, int](), dict[str, int]()
        for (name, peer), sent in stats.sent_to.items():
            if peer in here:
                place = label(name)
                unacknowledged[place] = unacknowledged.get(place, 0) + sent.unacknowledged
        for (name, _), received in stats.received.items():
            parked[label(name)] = parked.get(label(name), 0) + received.parked
        return {
            "messages_sent": {where: n for where, (n,) in self._sent.by_label.items()},
            **{
                name: {where: counts[at] for where, counts in self._received.by_label.items()}
                for at, name in enumerate(BY_FATE)
            },
            "messages_unacknowledged": unacknowledged,
            "messages_parked": parked,
        }


def _add(family: Metric, labels: tuple[str, ...], value: float) -> None:
    assert isinstance(family, CounterMetricFamily | GaugeMetricFamily)
    family.add_metric(labels, value)


class Labels:
    """Which exchanges have a label of their own: the first that come, up to a limit.

    One that has none gets none later, when there is room: what was counted of it would be missing
    from the others then.
    """

    def __init__(self, exchanges: tuple[str, ...], limit: int) -> None:
        self._exchanges = exchanges
        self._limit = limit
        self._shown: dict[str, bool] = {}

    def look(self, names: Iterable[str]) -> None:
        """Take note of the exchanges there are now; a name that is gone makes room."""
        now = dict.fromkeys(names)
        self._shown = {name: shown for name, shown in self._shown.items() if name in now}
        room = self._limit - sum(self._shown.values())
        for name in now:
            if name not in self._shown:
                shown = room > 0 and any(matches(pattern, name) for pattern in self._exchanges)
                self._shown[name] = shown
                room -= shown

    def __call__(self, name: str) -> str:
        """Return the label of an exchange."""
        return name if self._shown.get(name) else ""


@dataclass
class Totals:
    """Counts by label that never shrink, from those of a node, of which some do."""

    by_label: dict[str, Counts] = field(default_factory=dict[str, Counts])
    """The counts; those of a label are dropped when no exchange has it any longer."""
    _last: dict[Key, Counts] = field(default_factory=dict[Key, Counts])

    def take(self, now: Mapping[Key, Counts], label: Callable[[str], str]) -> None:
        """Add by how much the counts of a node have grown.

        Args:
            now: by exchange and origin. Those of a forgotten exchange are under ``""`` from then
                on, and were counted before; those of a forgotten origin are missing.
            label: returns the label of an exchange.
        """
        origins = {origin for _, origin in now}
        moved: dict[str, Counts] = {}
        for (name, origin), before in list(self._last.items()):
            if name and origin in origins and _less(now.get((name, origin)), before):
                moved[origin] = _sum(moved.get(origin), before)
                del self._last[name, origin]
        totals = {place: self.by_label.get(place) for place in ("", *(label(n) for n, _ in now))}
        for (name, origin), counts in now.items():
            known = self._last.get((name, origin))
            if not name and origin in moved:
                known = _sum(known, moved[origin])
            grown = counts if known is None else tuple(max(0, n) for n in map(sub, counts, known))
            totals[label(name)] = _sum(totals[label(name)], grown)
        self.by_label = {name: counts for name, counts in totals.items() if counts is not None}
        self._last = dict(now)


def _less(now: Counts | None, before: Counts) -> bool:
    return now is None or any(n < b for n, b in zip(now, before, strict=True))


def _sum(one: Counts | None, other: Counts) -> Counts:
    return other if one is None else tuple(map(add, one, other))
