"""When simulated nodes are at rest, and how they end without a goodbye.

This is the only module here that looks into a node, where its public methods show too little.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from ..local.registry import Registry
from ..net.node.node import Node
from .schedule import Host
from .threads import Worker
from .wire import Wire

if TYPE_CHECKING:
    from ..net.engine.engine import Engine


def unsettled(hosts: Mapping[Node, Host], wire: Wire) -> list[str]:
    """Return texts on what is not at rest, among running nodes that reach each other."""
    running = {
        engine.me: (engine, host)
        for node, host in hosts.items()
        if not host.stopped and (engine := node._engine) is not None
    }
    # These include stopped nodes, and nodes that are cut off.
    living = {node._engine.me for node in hosts if node._engine is not None}
    missing: list[str] = []
    for engine, host in running.values():
        federation = engine.plan.federation
        near = {
            node
            for node, (other, there) in running.items()
            if other is not engine
            and other.plan.federation == federation
            and wire.reaches(host, there)
        }
        missing += [f"{host.name}: {text}" for text in _unsettled(engine, near, living)]
        for node in near:
            roster = running[node][0].registry._roster
            members = [] if roster is None else roster.members()
            if any((node, member.number) not in engine.groups._there for member in members):
                missing.append(f"{host.name}: has not met all members at {running[node][1].name}")
    missing += _unshared(hosts, wire)
    return missing


def _unshared(hosts: Mapping[Node, Host], wire: Wire) -> Iterator[str]:
    """Yield which members have messages that they are about to handle, or are about to get."""
    # Streams are read by the program. A task that waits for this has its message in hand.
    workers = [party for host in hosts.values() for party in host.parties]
    busy = {party.member for party in workers if isinstance(party, Worker) and party.busy}
    tasks: dict[tuple[bytes, int], Host] = {}
    for node, host in hosts.items():
        roster, engine = node.registry._roster, node._engine
        if roster is not None and engine is not None and not host.stopped:
            for member in roster.members():
                if not member.read and member not in busy:
                    tasks[engine.me, member.number] = host
    for node, host in hosts.items():
        roster, engine = node.registry._roster, node._engine
        if roster is None or engine is None or host.stopped:
            continue
        for share in roster.shares():
            if share._retired:
                yield f"{host.name}: {share} waits for what members that left have to say"
            for stint, receiver in share._receivers.items():
                there = tasks.get((getattr(receiver, "node", engine.me), receiver.number))
                reached = there is not None and wire.reaches(host, there)
                if reached and (share.owed or share._queue.at(stint)):
                    yield f"{host.name}: {share} has messages for member {receiver.number}"


def vanish(node: Node) -> None:
    """End a node as the end of its process would. Its registry can still be used."""
    engine, node._engine, node._closed = node._engine, None, True
    node.registry._unobserve(node._observer)
    if engine is not None:
        engine.closed = True
        engine.outbound.window.close()
        engine.bridges.close()


def begin_groups(registry: Registry) -> None:
    """Forget what a registry owes to groups, and what its members have, as a forked child does."""
    roster = registry._roster
    if roster is None:
        return
    shares, members = roster.shares(), roster.members()
    for member in members:
        member._after_fork()
        member.mailbox._after_fork()
        member.mailbox.monotonic, member.start = registry.monotonic, registry.start_member
    roster._after_fork()
    for share in shares:
        share.over = True
        registry._reroute(share.name)
    for member in members:
        registry._reroute(member.key)


def _unsettled(engine: "Engine", near: set[bytes], living: set[bytes]) -> Iterator[str]:
    peers, ours = engine.session.members.peers, engine.session.interest.epoch
    heads = engine.outbound.heads()
    inbound = engine.inbound
    if engine._inbox or not engine.changes.settled or engine._acks or engine.outbound.lanes:
        yield "has something to say"
    if inbound._commands or inbound._hot or inbound.recovering:
        yield "has something to hand on"
    slow, monitor = engine.outbound.window.slow_peers(), engine.slow_peer_monitor
    for node in near - set(peers):
        yield f"does not know {node.hex()[:8]} yet"
    for peer in peers.values():
        if peer.id not in living:
            yield f"has not noticed that {peer.label} is gone"
        elif peer.id in near:
            if not peer.ready(ours):
                yield f"is not ready with {peer.label}"
            elif peer.id in slow or monitor.lags(peer, heads):
                # A peer that was sent nothing has not said how far it is: ask it.
                monitor.beacon(heads)
                yield f"{peer.label} has not acknowledged everything"
