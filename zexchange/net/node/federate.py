"""`federate`: the one call that joins a federation, or returns the node that has joined already."""

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
    conflate: Sequence[str] = (),
    join_timeout: float = 1.0,
    keys: str | os.PathLike[str] | None = None,
    insecure: bool = False,
) -> Node:
    """Join a federation: from here on, exchanges of one name are one channel.

    With no more than a name it finds every other process of the same user on this host.
    It returns when every candidate that is alive is ready in both directions, after
    ``join_timeout`` at the latest, and then logs which are not. An address of ``peers=`` or
    ``hub=`` where nothing listens does not hold it up. If no node has answered there after
    ``join_timeout``, a warning says so, and why. Called again with the same name and registry, it
    returns the same node, which closes with the last ``close()``.

    Args:
        name: the federation; its processes share their exchanges.
        listen: also bind TCP: ``tcp://HOST:PORT`` for control and the next port for data,
            or a pair of endpoints; port 0 chooses.
        advertise: the endpoint or pair that others are told to dial, where that is not ``listen``.
        peers: control endpoints to dial, ``tcp://HOST:PORT``, and to dial again. A host may
            be a name that stands for many addresses, all of which are dialled; it is looked
            up again every few seconds. ``"lan"`` stands for every node of the federation on
            the local network, found by multicast DNS (the extra ``discovery``), and shows this
            node to everybody there.
        hub: one hub or several (``zexchange hub``), ``tcp://HOST:PORT``. A hub leads to all
            nodes that it carries: three connections in all, instead of two for each node.
            Without ``listen=`` and with ``local=False``, no other node connects to this one.
        local: whether to use the rendezvous directory and Unix sockets of this host.
        exchanges: pattern or patterns of the names that take part.
        registry: the registry whose exchanges to federate; the default one if None.
        label: a name for this node in logs and tables, of 255 characters at most.
        replay_messages: how many sent messages are kept for peers that have missed some.
        replay_bytes: how many bytes of them; half of it at most is on its way to healthy
            peers before `send` waits.
        stall: seconds without an acknowledgement after which a peer that senders wait for
            counts as slow, and no longer blocks them. It counts as slow earlier only if senders
            that may not wait, in an event loop or on the data thread, exceed ``replay_bytes`` by
            half of it, or by 8 MiB if that is less. Seconds in which this process did not run do
            not count, here and for ``recovery_timeout``.
        recovery_timeout: seconds after which a receiver gives up what it has missed, and for
            which a late joiner waits at most for the history that others keep.
        retain: by name or pattern, how many of the last messages are kept for late joiners
            here and elsewhere, see `Registry.retain`. They are encoded and numbered even
            while no other node listens, and are gone when this process ends.
        conflate: names and patterns of exchanges of which only the newest message counts, see
            `Registry.conflate`.
        join_timeout: seconds.
        keys: a key directory, as `zexchange keygen` makes it: everything that goes over TCP is
            encrypted, and only peers whose keys are in the directory can connect. It is read
            again when it changes. See docs/SECURITY.md.
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
    for pattern in (conflate,) if isinstance(conflate, str) else conflate:
        registry.conflate(pattern)
    node = _enlisted(plan, registry, join_timeout)
    revive(node)
    return node


def revive(node: Node) -> None:
    """Start a node for a user that has just got it, and join; an error ends that user's use."""
    try:
        # In a forked child, through the registry, as in `Node._running`: a thread of the node
        # that asked it for an exchange would wait for this one, and this one for that.
        node.registry._wake()
        node._revive()
    except BaseException:
        node.close(0.0)
        raise


def enlist(name: str, join_timeout: float, exchanges: str = "**") -> Node:
    """Return the node that `federate` would return, with one more user, but do not join yet.

    The node joins at its first use, or by `revive`; this call does not wait. If the node has no
    users but those of this function, only the ``exchanges`` that these name take part.
    """
    plan = NodeConfig(check_federation(name), exchanges=(check_scope(exchanges),))
    return _enlisted(plan, default_registry, join_timeout, part=True)


def _enlisted(
    plan: NodeConfig, registry: Registry, join_timeout: float, part: bool = False
) -> Node:
    if sys.platform == "win32":
        raise Unreachable("federate() needs Unix sockets and fork-safe locks: not on Windows")
    # No node is started under the lock, so closing or joining another one does not wait for it.
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
