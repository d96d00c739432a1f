"""`federate`: the one call that joins a federation, or finds the node that already has."""

import sys
from collections.abc import Sequence

from ..errors import Unreachable
from ..local.registry import Registry, default_registry
from . import lifetime
from .node import Node
from .plan import make_plan


def federate(
    name: str,
    *,
    listen: str | Sequence[str] | None = None,
    advertise: str | Sequence[str] | None = None,
    peers: Sequence[str] = (),
    local: bool = True,
    exchanges: str | Sequence[str] = "**",
    registry: Registry | None = None,
    label: str = "",
    join_timeout: float = 1.0,
    insecure: bool = False,
) -> Node:
    """Join a federation: from here on, exchanges of one name are one channel.

    With no more than a name it finds every other process of the same user on this host.
    It returns when every candidate that is alive is ready in both directions, at the
    latest after ``join_timeout``, logging what is pending. Called again with the same
    name and registry it returns the same node, which closes with the last ``close()``.

    Args:
        name: the federation; its processes share their exchanges.
        listen: also bind TCP: ``tcp://HOST:PORT`` for control and the next port for data,
            or a pair of endpoints; port 0 chooses.
        advertise: what others are told instead of ``listen``, where that differs.
        peers: control endpoints to dial, ``tcp://HOST:PORT``, and to dial again.
        local: whether to use the rendezvous directory and Unix sockets of this host.
        exchanges: pattern or patterns of the names that take part.
        registry: whose exchanges to federate; the default one if None.
        label: a name for this node in logs and tables.
        join_timeout: seconds.
        insecure: allow TCP endpoints that other hosts can reach, without keys.

    Raises:
        InvalidName: if the name or a pattern is malformed.
        InsecureEndpoint: for an endpoint that is not loopback, unless ``insecure``.
        Unreachable: if an endpoint is taken, or the rendezvous directory cannot be used.
        ValueError: for a malformed endpoint, or if the node exists with other arguments.
    """
    if sys.platform == "win32":
        raise Unreachable("federate() needs Unix sockets and fork-safe locks: not on Windows")
    plan = make_plan(name, listen, advertise, peers, local, exchanges, label, insecure)
    registry = registry or default_registry
    with lifetime.lock:
        known = lifetime.nodes.get((name, id(registry)))
        if known is not None:
            known._plan.check_same(plan)
            known._users += 1
        node = known or Node(plan, registry, join_timeout)
        lifetime.nodes[name, id(registry)] = node
    # Outside the lock: who closes or joins something else does not wait for this.
    try:
        node.revive()
    except BaseException:
        node.close(0.0)
        raise
    return node
