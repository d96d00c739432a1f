"""What a node says of itself and its peers: frozen snapshots for `Node.peers` and `Node.stats`."""

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
        since: when it was started, by its own clock, in seconds since the Unix epoch; when
            we first heard of it, if it does not say.
        slow_since: since when it acknowledges too slowly to be waited for, in seconds since
            the Unix epoch; None if it does not.
        ready: whether both directions are in force: what is sent on either side arrives.
        silent: whether nothing was heard from it for some seconds.
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
    """What has come of one origin on one exchange, in messages.

    At rest, ``received + lost`` is what the origin has sent to this node; less, where tasks
    were detached while something was on its way.

    Attributes:
        received: given to the tasks; by another federation, perhaps, in which its sender is, too.
        duplicates: dropped, because they had come already.
        lost: reported in `Lost` events.
        recovered: of those received, how many had been missed and were sent again.
        parked: waiting for others before them that are asked for again.
    """

    received: int
    duplicates: int
    lost: int
    recovered: int = 0
    parked: int = 0


@dataclass(frozen=True, slots=True)
class Sent:
    """What was sent on one exchange to one peer, in messages.

    Attributes:
        sent: from the moment it was ready for it until it was attached no longer.
        unacknowledged: of those, how many its tasks may not have been given yet, or may never
            have been, if it has left.
    """

    sent: int
    unacknowledged: int


@dataclass(frozen=True, slots=True)
class NodeStats:
    """What a node has done so far.

    Exchanges that are forgotten, because they are not used any more and there are many, are
    counted together, under ``""`` in the place of their names.

    Attributes:
        sent: by exchange, the number of messages that left this node, or went by other federations
            of the same registry alone.
        sent_to: by (exchange, peer), what was for that peer, some that have left included.
            A peer has received less, where it detached while something was on its way.
        received: by (exchange, origin), what came from peers, those that have left included.
        frames: data frames sent; many messages share one.
        unwanted: messages that arrived for names nothing here is attached to.
        rejected: by (source, reason), how often something that arrived was not taken.
        slow_tasks: by exchange and place, how often a task held the data thread.
        waited: seconds that senders have waited for room, all threads together.
        window_used: bytes on their way to healthy peers; over ``window``, senders wait.
        window: see there.
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
    """Return what a node has done so far. Any thread."""
    inbound, window = engine.inbound, engine.outbound.window
    numbering = engine.outbound.peek()
    heads = numbering.heads
    positions, parked, sent = inbound.positions(), inbound.parked(), window.sent()
    used, most, kept = window.filled()

    def look(held: bool) -> NodeStats:
        acked = {peer.id.hex(): peer.acked for peer in engine.session.members.peers.values()}
        sent_to: dict[tuple[str, str], Sent] = {}
        for (name, peer), (count, missing) in sent.items():
            # Of a peer that has left, what it had not acknowledged then.
            behind = heads.get(name, 0) - acked[peer].get(name, 0) if peer in acked else missing
            sent_to[name, peer] = Sent(count, min(count, max(0, behind)))
        return NodeStats(
            sent=numbering.counts(),
            sent_to=sent_to,
            received={
                (name, origin): Received(
                    t.received, t.duplicates, t.lost, t.recovered, parked.get((name, origin), 0)
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
