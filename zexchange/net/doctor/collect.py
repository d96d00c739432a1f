"""Collects the facts about a running node, for `Node.diagnose`, and judges none of them.

First it waits a moment for peers to answer and to call. Then it reads the session in one piece.
Then it tries by hand, all at the same time, the endpoints that have led to no peer.
"""

from dataclasses import replace

from ...protocol.codec.batches import decoder_name
from ...protocol.hub.client import Hub
from ...protocol.interest.interest import NameSet
from ...protocol.session.peers import UNANSWERED_AFTER, Candidate, Peer, State
from ...protocol.wire.envelopes import SCHEME
from ..engine.engine import Engine
from ..engine.waits import NodeWaits, others
from ..peering.elsewhere import elsewhere
from ..transport import native
from .reach import reach_all
from .snapshot import Endpoint, Lookup, PeerView, Picture

PATIENCE = 1.5
"""Seconds within which every peer that can has answered a ping and has sent one: each side sends
one a second."""
RECENT = UNANSWERED_AFTER + 0.5


def examine(engine: Engine, exchange: str, timeout: float) -> Picture:
    """Return the facts about a node and its peers. It blocks for some seconds.

    Args:
        engine: the node's running parts.
        exchange: the name that is in question, or an empty string.
        timeout: seconds that a connection by hand may take.
    """
    waiter = NodeWaits(engine, PATIENCE)
    waiter.wait(waiter.until(lambda: _answered(engine)))
    picture = engine.changed.look(lambda held: _look(engine, exchange))
    tried = reach_all(_doubtful(picture), timeout)
    return replace(
        picture,
        endpoints=tuple(replace(e, reach=tried.get(e.endpoint)) for e in picture.endpoints),
        peers=tuple(replace(p, data_reach=tried.get(_suspect(p))) for p in picture.peers),
    )


def _answered(engine: Engine) -> bool:
    """Return whether every peer is ready, has answered a ping, and has sent one."""
    ours = engine.session.interest.epoch
    peers = engine.session.members.peers.values()
    return all(p.ready(ours) and p.pong_at and p.called_at for p in peers)


# ------------------------------------------------------------------------- what is tried


def _doubtful(picture: Picture) -> list[str]:
    """Return the endpoints that a try by hand may explain."""
    dialled = [e.endpoint for e in picture.endpoints if e.state == "dialing"]
    suspect = [*dialled, *filter(None, map(_suspect, picture.peers))]
    return [endpoint for endpoint in suspect if not endpoint.startswith(SCHEME)]


def _suspect(peer: PeerView) -> str:
    """Return the endpoint of a peer that seems to be shut; empty if none does."""
    if not peer.answers:
        return peer.control
    return "" if peer.heard else peer.data


# ---------------------------------------------------------------------- what is read off


def _look(engine: Engine, exchange: str) -> Picture:
    session, plan, watch = engine.session, engine.plan, engine.watch
    discovery = engine.discovery
    busy = engine.inbound.busy
    rendezvous = engine.places.looked_into
    local = engine.registry.get(exchange) if exchange else None
    return Picture(
        federation=plan.federation,
        host=session.label.host,
        id=session.me.hex(),
        listens=engine.places.bound,
        advertises=tuple((a.control, a.data) for a in session.addresses),
        rendezvous=" and ".join(map(str, rendezvous)),
        elsewhere=elsewhere(plan.federation) if plan.local else (),
        others=() if session.members.peers else tuple(others(engine)),
        lan=plan.lan,
        around=tuple(e for found in discovery.around.values() for e in found),
        lookups=tuple(Lookup(e, n.found, n.why) for e, n in discovery.names.items()),
        endpoints=(
            *map(_hub_endpoint, engine.hubs.hubs.values()),
            *(_endpoint(engine, c) for c in session.members.candidates.values()),
        ),
        peers=tuple(_peer(engine, p, exchange) for p in session.members.peers.values()),
        held=engine.watch.held(),
        holder=f"exchange {busy[1]!r}" if busy else "",
        holders=dict(watch.holders),
        room=engine.watch.room(),
        hidden=engine.places.hidden,
        unplaced=engine.places.trouble,
        rejected=dict(session.rejections),
        decoder=decoder_name(),
        lock_kept=native.KEPT,
        exchange=exchange,
        tasks=0 if local is None else len(local),
        federated=not exchange or engine.scope(exchange),
        groups=engine.groups.of(exchange),
    )


def _hub_endpoint(hub: Hub) -> Endpoint:
    reason, text = hub.objection
    state = "hub" if hub.live else "refused" if reason else "dialing"
    return Endpoint(hub.endpoint, "hub", state, reason=reason, text=text)


def _endpoint(engine: Engine, c: Candidate) -> Endpoint:
    peer = engine.session.members.linked_to(c.endpoint)
    state = "refused" if c.reason else "dialing"
    if c.state is State.OURSELVES:
        state = "ourselves"
    elif peer is not None and c.state is State.LINKED:
        state = "peer"
    label = str(peer.label) if peer else ""
    return Endpoint(c.endpoint, c.source, state, label, c.reason, c.text)


def _peer(engine: Engine, peer: Peer, exchange: str) -> PeerView:
    now, wall = engine.world.monotonic(), engine.world.time()
    ours = engine.session.interest.epoch
    pong, interest = peer.pong, peer.interest
    where = engine.inbound.positions().get(peer.id.hex())
    lives = peer.carried and not peer.silent  # its hub says so; the peer is seldom pinged
    clock = None
    if pong is not None and pong.time:
        # Its time was half a round trip old when it came.
        clock = pong.time + peer.round_trip / 2 - (wall - (now - peer.pong_at))
    covering = [key for key in interest.keys if exchange and NameSet([key]).covers(exchange)]
    return PeerView(
        label=str(peer.label),
        host=peer.label.host,
        id=peer.id.hex(),
        answers=peer.link is not None
        and (lives or now - max(peer.pong_at, peer.joined_at) < RECENT),
        calls=lives or (bool(peer.called_at) and now - peer.called_at < RECENT),
        heard=peer.ready_epoch >= ours,
        hears=interest.announced >= interest.epoch,
        control=peer.link or peer.control,
        data=peer.data,
        silent=peer.silent,
        slow=peer.id in engine.outbound.window.slow_peers(),
        finds_us_slow=peer.finds_us_slow,
        clock=clock,
        held=pong.held if pong else 0.0,
        room=pong.room if pong else None,
        interest=tuple(sorted(interest.keys)),
        listens=bool(covering),
        key=min(covering, default=""),
        sent=_sent(engine, peer, exchange),
        conflated=sum(
            count
            for (name, node), count in engine.outbound.latest.counts().items()
            if node == peer.id and exchange in ("", name)
        ),
        we_conflated=sum(
            counts.conflated
            for name, counts in (where.counted() if where else {}).items()
            if exchange in ("", name)
        ),
        groups=tuple(sorted(engine.groups.groups(exchange, peer.id))),
    )


def _sent(engine: Engine, peer: Peer, exchange: str) -> int | None:
    """Return the last number of a peer on an exchange, as we know it; None if we don't listen."""
    if not exchange or not NameSet(engine.session.interest.keys).covers(exchange):
        return None
    where = engine.inbound.positions().get(peer.id.hex())
    return where.positions.get(exchange, 0) if where else None
