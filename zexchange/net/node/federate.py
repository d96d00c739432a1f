"""`federate`: the one call that joins a federation, or finds the node that already has."""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ...errors import Unreachable
from ...local.registry import Registry, default_registry
from ...names import check_federation, check_scope
from ..config import NodeConfig, make_plan
from . import lifetime
from .node import Node


def federate(
    name: str,
    *,
    listen: str | Sequence[str] | None = None,
    advertise: str | Sequence[str] | None = None,
    peers: Sequence[str] = (),
    hub: str | Sequence[str] | None = None,
    local: bool = True,
    exchanges: str | Sequence[str] = "**",
    registry: Registry | None = None,
    label: str = "",
    replay_messages: int = 1_000_000,
    replay_bytes: int = 32 * 1024 * 1024,
    stall: float = 1.0,
    recovery_timeout: float = 5.0,
    retain: Mapping[str, int] | None = None,
    join_timeout: float = 1.0,
    keys: str | os.PathLike[str] | None = None,
    insecure: bool = False,
) -> Node:
    """Join a federation: from here on, exchanges of one name are one channel.

    With no more than a name it finds every other process of the same user on this host.
    It returns when every candidate that is alive is ready in both directions, at the
    latest after ``join_timeout``, logging what is pending. An address of ``peers=`` or ``hub=``
    where nothing listens does not hold it up; if nobody has answered there after
    ``join_timeout``, a warning says so, and why. Called again with the same
    name and registry it returns the same node, which closes with the last ``close()``.

    Args:
        name: the federation; its processes share their exchanges.
        listen: also bind TCP: ``tcp://HOST:PORT`` for control and the next port for data,
            or a pair of endpoints; port 0 chooses.
        advertise: what others are told instead of ``listen``, where that differs.
        peers: control endpoints to dial, ``tcp://HOST:PORT``, and to dial again. A host may
            be a name that stands for many addresses, all of which are dialled; it is looked
            up again every few seconds. ``"lan"`` stands for everybody of the federation on
            the local network, by multicast DNS (the extra ``discovery``), and shows this
            node to everybody there.
        hub: one hub or several (``zexchange hub``), ``tcp://HOST:PORT``, that lead to all
            others who are there: three connections instead of two for each of them. Without
            ``listen=`` and with ``local=False``, nobody connects to this node.
        local: whether to use the rendezvous directory and Unix sockets of this host.
        exchanges: pattern or patterns of the names that take part.
        registry: whose exchanges to federate; the default one if None.
        label: a name for this node in logs and tables, of 255 characters at most.
        replay_messages: how many sent messages are kept for peers that have missed some.
        replay_bytes: how many bytes of them; half of it at most is on its way to healthy
            peers before `send` waits.
        stall: seconds without an acknowledgement after which a peer that senders wait for
            is slow, and is waited for no more. Sooner only where senders that may not wait, in
            an event loop or on the data thread, exceed ``replay_bytes`` by half of it, or 8 MiB.
            In this and the next, seconds in which this process did not run do not count.
        recovery_timeout: seconds after which a receiver gives up what it has missed, and at
            most for which a late joiner waits for the history that others keep.
        retain: by name or pattern, how many of the last messages are kept for late joiners
            here and elsewhere, see `Registry.retain`. They are encoded and numbered even
            while nobody remote listens, and go with this process.
        join_timeout: seconds.
        keys: a key directory, as `zexchange keygen` makes it: all that goes over TCP is
            encrypted, and only the peers whose keys are in it are spoken with. It is read
            again as it changes. See docs/SECURITY.md.
        insecure: allow TCP endpoints that other hosts can reach, without keys.

    Raises:
        InvalidKeys: if the key directory cannot be used; the text names the file.
        InvalidName: if the name or a pattern is malformed.
        InsecureEndpoint: for an endpoint that is not loopback, without keys, unless
            ``insecure``.
        LimitReached: if tasks are attached to more names or patterns than a node can have, or
            for a longer ``label``.
        RuntimeError: if a library of greenlets has patched queues, and not threads.
        TooFewDescriptors: if this process may not open as many files as a node takes; nothing
            was opened.
        Unreachable: if an endpoint is taken, or the rendezvous directory cannot be used.
        ValueError: for a malformed endpoint, or if the node exists with other arguments.
    """
    plan = make_plan(name, listen, advertise, peers, local, exchanges, label, insecure, keys, hub)
    bounds: dict[str, Any] = {
        "replay_messages": replay_messages,
        "replay_bytes": replay_bytes,
        "stall": stall,
        "recovery_timeout": recovery_timeout,
    }
    for argument, value in bounds.items():
        if not value > 0:
            raise ValueError(f"{argument} must be over 0, not {value!r}")
    plan = replace(plan, **bounds)
    registry = registry or default_registry
    for pattern, n in (retain or {}).items():
        registry.retain(pattern, n)
    node = _enlisted(plan, registry, join_timeout)
    revive(node)
    return node


def revive(node: Node) -> None:
    """Have a node run, for a user that has just got it; what goes wrong ends that use."""
    try:
        # In a forked child, through the registry, as in `Node._running`: a thread of the node
        # that asked it for an exchange would wait for this one, and this one for that.
        node.registry._wake()
        node._revive()
    except BaseException:
        node.close(0.0)
        raise


def enlist(name: str, join_timeout: float, exchanges: str = "**") -> Node:
    """Return the node that `federate` would, for one user more, and leave it to others to join.

    Its first use does, or `revive`. Waits for nobody. Of a node that nobody has asked for in
    another way, only the ``exchanges`` take part that are named here.
    """
    plan = NodeConfig(check_federation(name), exchanges=(check_scope(exchanges),))
    return _enlisted(plan, default_registry, join_timeout, part=True)


def _enlisted(
    plan: NodeConfig, registry: Registry, join_timeout: float, part: bool = False
) -> Node:
    if sys.platform == "win32":
        raise Unreachable("federate() needs Unix sockets and fork-safe locks: not on Windows")
    # Nothing is started under the lock: who closes or joins something else does not wait for it.
    with lifetime.lock:
        known = lifetime.nodes.get((plan.federation, id(registry)))
        if isinstance(known, Node):
            known._asked_for(plan, part)
            node = known
        else:
            node = Node(plan, registry, join_timeout, part=part)
        lifetime.nodes[plan.federation, id(registry)] = node
    node._widen(plan.exchanges if part else node._plan.exchanges)
    return node
