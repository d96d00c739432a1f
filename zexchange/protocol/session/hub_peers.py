"""Peers that hubs lead to: the hub tells what they would otherwise tell themselves.

A peer behind a hub is a peer like any other; only its link and its data take another way. The hub
vouches that it lives, so it is pinged rarely, just to compare epochs. If a direct way is found, it
is preferred, and the way through the hub remains to fall back to.
"""

from collections.abc import Iterable

from ..wire.envelopes import endpoint_of
from .peering import Peering
from .readiness import Readiness
from .state import SessionState


class HubPeers:
    """Takes in what a node's hubs tell about the nodes that they lead to."""

    def __init__(self, core: SessionState, joining: Peering, proving: Readiness) -> None:
        self._core = core
        self._joining = joining
        self._proving = proving
        self._members = core.members

    def appeared(self, node: bytes, now: float) -> None:
        """Say hello to a node that a hub leads to; ping a peer that it leads to again."""
        endpoint = endpoint_of(node)
        self._core.led_to.add(node)
        peer = self._members.peers.get(node)
        if peer is not None and peer.link == endpoint:
            peer.heard(now)
            self._proving.ping(peer, now)
        else:
            self._joining.candidates.add(endpoint, "hub", now)

    def vanished(self, node: bytes, reason: str, now: float) -> None:
        """Let a node go that has left; wait for one that is only out of reach.

        Args:
            node: the id of the node.
            reason: why it has left; empty if the hub only cannot reach it.
            now: seconds on a monotonic clock.
        """
        self._core.led_to.discard(node)
        peer = self._members.peers.get(node)
        if peer is not None and peer.carried:
            if not reason:
                return  # it is silent, and may come back
            self._joining.left(peer, reason, now)
        candidate = self._members.candidates.get(endpoint_of(node))
        if candidate is not None:
            candidate.peer = None
            self._joining.candidates.drop(candidate.endpoint)

    def announce_again(self) -> None:
        """Prove once more to the peers behind hubs that what we send reaches them."""
        for peer in self._members.peers.values():
            if peer.carried:
                self._proving.announce(peer, again=True)

    def alive(self, nodes: Iterable[bytes], now: float) -> None:
        """Note that nodes live, because a hub says so."""
        peers = self._members.peers
        for node in nodes:
            peer = peers.get(node)
            if peer is not None and peer.carried:
                peer.heard(now)

    def moved(self, node: bytes, now: float) -> None:
        """Receive a node's data by another hub."""
        peer = self._members.peers.get(node)
        if peer is not None and peer.carried:
            self._joining.tune(peer, now)
