"""Puts together what `Node.stats` and `Node.peers` say, from where it is counted."""

from typing import TYPE_CHECKING

from .stats import NodeStats, PeerStatus, Received, Sent

if TYPE_CHECKING:
    from ...protocol.session.peers import Peer
    from ..engine.engine import Engine
    from ..outbound.window import SlowPeer


def stats(engine: "Engine") -> NodeStats:
    """Return what a node has done so far. Any thread."""
    inbound, window = engine.inbound, engine.outbound.window
    numbering = engine.outbound.peek()
    heads = numbering.heads
    positions, parked, sent = inbound.positions(), inbound.parked(), window.sent()
    used, most, kept = window.filled()

    def look(held: bool) -> NodeStats:
        acked = {peer.id.hex(): peer.acked for peer in engine.session.members.peers.values()}
        return NodeStats(
            sent=numbering.counts(),
            sent_to={key: _sent(*key, *n, heads, acked) for key, n in sent.items()},
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


def _sent(
    name: str,
    peer: str,
    sent: int,
    missing: int,
    heads: dict[str, int],
    acked: dict[str, dict[str, int]],
) -> Sent:
    behind = heads.get(name, 0) - acked[peer].get(name, 0) if peer in acked else missing
    return Sent(sent, min(sent, max(0, behind)))


def peers(engine: "Engine") -> tuple[PeerStatus, ...]:
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
