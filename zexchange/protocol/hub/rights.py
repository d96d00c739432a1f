"""The rights of nodes behind a hub: as the hub tells them, bounded by our own permissions.

A hub makes sure that each of its nodes has the key that goes with its id, and tells us the nodes'
rights. We trust it if its own key is marked ``hub``, and within that key's permissions. If the
node's key is authorized here, too, its entry restricts the rights further.
"""

from collections.abc import Callable, Iterable

from ..security.permissions import EVERYTHING, NOTHING, Policy, Rights
from ..wire.data import topics
from .client import Hub, HubSelector


class DelegatedRights:
    """The rights of the nodes to which our hubs lead. Control thread.

    Args:
        policy: returns the policy that is in force.
        hubs: our hubs.
    """

    def __init__(self, policy: Callable[[], Policy], hubs: HubSelector) -> None:
        self._policy = policy
        self._hubs = hubs

    def rights(self, node: bytes, spoken: str = "") -> Rights | None:
        """Return the rights of a node; None if it is not known through a hub.

        If several hubs lead to it, these are the rights that all of them permit, because each of
        them may vouch for it. They are marked ``hub``. If the hub through which it is reached may
        not (or no longer) vouch for others, they are `NOTHING`.

        Args:
            node: the id of the node.
            spoken: the endpoint of the hub that passed on a message of the node. The result is None
                if that hub does not lead to it.
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
        """Return the rights of a node as one hub vouches for them."""
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
        """Return whether the hub lets a node receive more than our own permissions allow."""
        policy, hub = self._policy(), self._hubs.way(node)
        known = policy.rights(policy.owner(node) or b"")
        carrier = policy.rights(hub.key) if hub is not None else None
        if hub is None or known is None or carrier is None or known.subscribe is None:
            return False
        passed = Rights("", None, carried(carrier)).within(hub.rights.get(node, EVERYTHING))
        return passed.subscribe != passed.within(known).subscribe


def carried(hub: Rights) -> tuple[str, ...] | None:
    """Return the patterns that a hub may receive, as far as it can subscribe to them by prefix."""
    if hub.subscribe is None:
        return None
    return tuple(p for p in hub.subscribe if all(map(hub.honours, topics(p))))


def restrict_topics(hub: Rights, topic: bytes) -> Iterable[bytes]:
    """Return the topics that a hub gets for a subscription: the parts of it that are permitted."""
    if hub.honours(topic):
        return (topic,)
    parts = (part for pattern in carried(hub) or () for part in topics(pattern))
    return tuple(part for part in parts if part.startswith(topic))
