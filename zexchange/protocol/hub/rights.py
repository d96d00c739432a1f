"""What a node may do that a hub speaks for: the hub's word, bounded by what is known here.

A hub sees to it that each of its nodes has the key that goes with its id, and tells what
they may do. It is believed if its own key is marked ``hub``, and within that key's own
permissions. Where the node's key is authorized here too, its entry counts as well.
"""

from collections.abc import Callable, Iterable

from ..security.permissions import EVERYTHING, NOTHING, Policy, Rights
from ..wire.data import topics
from .client import Hub, HubSelector


class DelegatedRights:
    """What the nodes that a node's hubs lead to may do."""

    def __init__(self, policy: Callable[[], Policy], hubs: HubSelector) -> None:
        self._policy = policy
        self._hubs = hubs

    def rights(self, node: bytes, spoken: str = "") -> Rights | None:
        """Return what a node may do; None if no hub has told of it, or not the one that has spoken.

        Where several hubs lead to it, that is what all of them permit: each may speak for it.
        They are marked ``hub`` where a hub that may do so speaks for it, and are `NOTHING`
        where it may not (any more).
        """
        hub = self._hubs.way(node)
        leading = self._hubs.leading(node)
        if hub is None or (spoken and spoken not in {hub.endpoint, *(h.endpoint for h in leading)}):
            return None
        rights = self._by(node, hub)
        for other in leading:
            if other is not hub and self._policy().is_hub(other.key):
                rights = rights.within(self._by(node, other))
        return rights

    def _by(self, node: bytes, hub: Hub) -> Rights:
        """Return what a node may do that one hub speaks for."""
        policy = self._policy()
        carrier = policy.rights(hub.key)
        if carrier is None or not carrier.hub:
            return NOTHING
        known = policy.rights(policy.owner(node) or b"")
        rights = Rights(carrier.name, carrier.publish, carried(carrier), hub=True)
        if known is not None:
            named = Rights(known.name or carrier.name, known.publish, known.subscribe, hub=True)
            rights = named.within(rights)
        return rights.within(hub.rights.get(node, EVERYTHING))

    def exceeds(self, node: bytes) -> bool:
        """Tell whether a hub passes on to a node what our entry for its key does not permit."""
        policy, hub = self._policy(), self._hubs.way(node)
        known = policy.rights(policy.owner(node) or b"")
        carrier = policy.rights(hub.key) if hub is not None else None
        if hub is None or known is None or carrier is None or known.subscribe is None:
            return False
        passed = Rights("", None, carried(carrier)).within(hub.rights.get(node, EVERYTHING))
        return passed.subscribe != passed.within(known).subscribe


def carried(hub: Rights) -> tuple[str, ...] | None:
    """Return what a hub may have, as far as it can be asked for by prefixes."""
    if hub.subscribe is None:
        return None
    return tuple(p for p in hub.subscribe if all(map(hub.honours, topics(p))))


def restrict_topics(hub: Rights, topic: bytes) -> Iterable[bytes]:
    """Return what a hub is given that subscribes to a topic: of too wide a one, its parts."""
    if hub.honours(topic):
        return (topic,)
    parts = (part for pattern in carried(hub) or () for part in topics(pattern))
    return tuple(part for part in parts if part.startswith(topic))
