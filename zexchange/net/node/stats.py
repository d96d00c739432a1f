"""Frozen snapshots of a node and its peers, for `Node.peers` and `Node.stats`."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...protocol.session.peers import Peer
    from ..engine.engine import Engine
    from ..outbound.window import SlowPeer


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """One peer, as seen from here.

    Attributes:
        id: its node id, 32 hexadecimal digits; the origin of its messages.
        host: its host name, as it told us.
        pid: its process id there.
        name: its label, or an empty string.
        interest: the names and patterns that its tasks are attached to.
        since: when it was started, by its own clock, in seconds since the Unix epoch; if it
            does not say, when we met it.
        slow_since: since when it has been a slow peer, which no sender waits for, in seconds
            since the Unix epoch; None if it is not slow.
        ready: whether messages that are sent on either side arrive at the other.
        silent: whether nothing has been heard from it for 3 seconds.
        control: the endpoint of our control link to it, or None while there is none.
    """

    id: str
    host: str
    pid: int
    name: str
    interest: tuple[str, ...]
    since: float
    ready: bool
    silent: bool
    control: str | None
    slow_since: float | None = None


@dataclass(frozen=True, slots=True)
class Received:
    """The messages from one origin on one exchange, counted.

    When nothing is on its way, ``received + conflated + lost`` is what the origin has sent to this
    node. It is less if tasks were detached while messages were on their way.

    Attributes:
        received: given to the tasks, perhaps by another federation that the sender is in as well.
        duplicates: dropped, because they had come already.
        lost: reported in `Lost` events.
        recovered: of those received, how many had been missed and were sent again.
        parked: waiting for earlier messages, which have been asked for again.
        conflated: passed over for a newer one, see `Registry.conflate`.
    """

    received: int
    duplicates: int
    lost: int
    recovered: int = 0
    parked: int = 0
    conflated: int = 0


@dataclass(frozen=True, slots=True)
class Sent:
    """The messages sent on one exchange to one peer, counted.

    Attributes:
        sent: from the moment the peer was ready for the exchange until it no longer wanted it.
        unacknowledged: of those, how many the tasks of the peer may not have been given yet; if
            it has left, how many they may never have been given.
        conflated: how many the peer passed over for a newer one, as far as it has said.
    """

    sent: int
    unacknowledged: int
    conflated: int = 0


@dataclass(frozen=True, slots=True)
class NodeStats:
    """The counts of a node since it was started.

    When there are many exchanges, those that are no longer used are forgotten. They are counted
    together then, under ``""`` instead of their names.

    Attributes:
        sent: by exchange, the number of messages that left this node, or that left this process
            by other federations of the same registry only.
        sent_to: by (exchange, peer), the messages for that peer; some peers that have left are
            included. A peer that detached while messages were on their way received fewer.
        received: by (exchange, origin), the messages from peers; some that have left are included.
        frames: data frames sent; many messages share one.
        unwanted: messages that arrived for names to which no task is attached here.
        rejected: by (source, reason), how often something that arrived was rejected.
        slow_tasks: by exchange and place, how often a task held the data thread.
        waited: seconds that senders have waited for room, all threads together.
        window_used: bytes on their way to healthy peers; when over ``window``, senders wait.
        window: how many bytes may be on their way to healthy peers.
        kept: bytes of sent messages that could be sent again.
    """

    sent: dict[str, int]
    received: dict[tuple[str, str], Received]
    frames: int
    unwanted: int
    rejected: dict[tuple[str, str], int]
    slow_tasks: dict[str, int]
    waited: float = 0.0
    sent_to: dict[tuple[str, str], Sent] = field(default_factory=dict[tuple[str, str], Sent])
    window_used: int = 0
    window: int = 0
    kept: int = 0


def stats_of(engine: "Engine") -> NodeStats:
    """Return the counts of a node. Any thread."""
    inbound, window = engine.inbound, engine.outbound.window
    numbering = engine.outbound.peek()
    heads = numbering.heads
    positions, parked, sent = inbound.positions(), inbound.parked(), window.sent()
    used, most, kept = window.filled()
    conflated = engine.outbound.latest.counts()

    def look(held: bool) -> NodeStats:
        acked = {peer.id.hex(): peer.acked for peer in engine.session.members.peers.values()}
        sent_to: dict[tuple[str, str], Sent] = {}
        for (name, peer), (count, missing) in sent.items():
            # For a peer that has left: how many it had not acknowledged then.
            behind = heads.get(name, 0) - acked[peer].get(name, 0) if peer in acked else missing
            passed = conflated.get((name, bytes.fromhex(peer)), 0)
            sent_to[name, peer] = Sent(count, min(count, max(0, behind)), passed)
        return NodeStats(
            sent=numbering.counts(),
            sent_to=sent_to,
            received={
                (name, origin): Received(
                    *(t.received, t.duplicates, t.lost, t.recovered),
                    parked.get((name, origin), 0),
                    t.conflated,
                )
                for origin, where in positions.items()
                for name, t in where.counted().items()
            },
            waited=window.room.waited,
            window_used=used,
            window=most,
            kept=kept,
            frames=engine.outbound.frames,
            unwanted=sum(where.unwanted for where in positions.values()),
            rejected=dict(engine.session.rejections),
            slow_tasks=dict(engine.watch.holders),
        )

    return engine.changed.look(look)


def peers_of(engine: "Engine") -> tuple[PeerStatus, ...]:
    """Return the peers that a node knows now. Any thread."""
    world = engine.world

    def look(held: bool) -> tuple[PeerStatus, ...]:
        ours, offset = engine.session.interest.epoch, world.time() - world.monotonic()
        slow = engine.outbound.window.slow_peers()
        return tuple(
            _status(peer, ours, offset, slow.get(peer.id))
            for peer in list(engine.session.members.peers.values())
        )

    return engine.changed.look(look)


def _status(peer: "Peer", ours: int, offset: float, slow: "SlowPeer | None") -> PeerStatus:
    return PeerStatus(
        id=peer.id.hex(),
        host=peer.label.host,
        pid=peer.label.pid,
        name=peer.label.name,
        interest=tuple(sorted(peer.interest.keys)),
        since=peer.hello.started or peer.joined_at + offset,
        ready=peer.ready(ours),
        silent=peer.silent,
        control=peer.link,
        slow_since=None if slow is None else slow.since + offset,
    )
