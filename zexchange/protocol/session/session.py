"""The node as one machine: messages and time in, effects out.

The shell calls one method for whatever happened and then carries out what `take`
returns, in that order, on the same thread. The machine never waits, opens nothing and
asks no clock. Joining goes like this, and every step may come twice or not at all:

    candidate -> Dial, Hello -> Welcome -> OpenReceiver (SUB) -> token on their XPUB
              -> Announce (ready, with heads) -> proven

Here messages and time are handed to the part that decides: `peering` (candidates become
peers) or `readiness` (interest, and its proof); what time does to a peer is decided here.
"""

from typing import Any

from ..security.channel import Kind
from ..security.permissions import Policy, restricted
from ..wire.data import LAST_NUMBER
from ..wire.messages import (
    Ack,
    Bye,
    Control,
    Forgot,
    Hello,
    Interest,
    Named,
    Ping,
    Pong,
    Recall,
    Recalled,
    Refuse,
    Replay,
    Replayed,
    Resync,
    Slow,
    Stranger,
    Welcome,
)
from .authority import Authority
from .candidates import Candidates
from .effects import Acknowledged, Effect, Probe, Recount, Recounted, Resend, Resent, Resubscribe
from .events import PeerSilent, PeerSlow
from .forgetting import Forgetting
from .hub_peers import HubPeers
from .peering import Peering
from .peers import (
    CARRIED_PING_EVERY,
    LEFT_AFTER,
    PING_EVERY,
    PROBE_AFTER,
    PROBE_EVERY,
    SILENT_AFTER,
    UNANSWERED_AFTER,
    Peer,
)
from .readiness import Readiness
from .state import SessionState

Addressed = Interest | Ping | Ack | Slow | Named | Forgot
"""The messages that say for which node they are."""


class Session(SessionState):
    """One node's membership of one federation. Not thread-safe: one thread calls it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.candidates = Candidates(self)
        self.readiness = Readiness(self)
        self.peering = Peering(self, self.candidates, self.readiness)
        self.forgetting = Forgetting(self)
        self.behind = HubPeers(self, self.peering, self.readiness)
        self._authority = Authority(self, self.peering)
        self.do(Resubscribe(self.interest.epoch, (), ()))

    def take(self) -> list[Effect]:
        """Return what is to be done now, in order, and forget it."""
        out, self.effects = self.effects, []
        return out

    def change_policy(self, policy: Policy, now: float) -> None:
        """Judge by other keys and permissions from now on.

        Whoever is not authorized any more, or for something else, leaves. If it still may
        come, it comes back by itself, and is judged anew in all that it wants and sends.
        """
        before, self.policy = self.policy, policy
        changed: set[bytes] = before.changed(policy) if before else set()
        self.peering.judge_carried(now)
        for peer in list(self.members.peers.values()):
            if Kind.KEY in (peer.kind, peer.calls) and peer.key in changed:
                left = policy.rights(peer.key) is None
                self.peering.left(peer, "revoked" if left else "permissions", now)
        self.candidates.dial_again(now)

    def calls(self, node: bytes) -> Kind:
        """Return by what a node speaks to us, as far as we know. Any thread."""
        peer = self.members.peers.get(node)
        return Kind.HUB if peer is None else peer.calls

    # ------------------------------------------------------------------------- messages

    def receive(
        self,
        message: Control,
        route: Any,
        link: str | None,
        now: float,
        key: bytes = b"",
        hub: str = "",
    ) -> None:
        """Take a control message.

        Args:
            message: as it was read from its frame.
            route: where a reply goes, if the message came in at our own endpoint.
            link: the endpoint of the link it came in on, if it is an answer to us.
            now: seconds on a monotonic clock.
            key: the public key that the other end of the connection has proven to have; none
                where nobody has keys, and from the same user on this host.
            hub: the endpoint of the hub that it came by, which speaks for its sender.
        """
        channel = self._authority.channel(message, route, key, hub, now)
        if channel is None:
            return
        if self.policy is not None:
            message = self._authority.as_proven(message, channel.kind, key)
        if link is not None and not self.peering.expected(message, link, now):
            return
        if isinstance(message, Addressed) and message.to not in (b"", self.me):
            # Meant for the node that was at our endpoint before us.
            if route is not None:
                self.refuse(route, Stranger(self.me), now)
            return
        if not self._authority.heeds(message, channel, route, link, now):
            return
        peer = self.members.peers.get(message.sender)
        if peer is not None:
            peer.heard(now)
            if route is not None:
                peer.called_at = now
        if isinstance(message, Hello):
            self.peering.on_hello(message, route, now, channel)
        elif isinstance(message, Welcome):
            self.peering.on_welcome(message, link, now, channel)
        elif isinstance(message, Refuse):
            self.candidates.on_refuse(message, link, now)
        elif isinstance(message, Stranger):
            self.candidates.on_stranger(link, now)
        elif peer is not None:
            self._on_peer(peer, message, route, now)
        elif route is not None:
            self.refuse(route, Stranger(self.me), now)

    def _on_peer(self, peer: Peer, message: Control, route: Any, now: float) -> None:
        if isinstance(message, Ping):
            self.reply(route, Pong(self.me))
            self.readiness.on_ping(peer, message, now)
        elif isinstance(message, Pong):
            peer.answered(message, now)
        elif isinstance(message, Interest):
            self.readiness.on_interest(peer, message)
        elif isinstance(message, Resync):
            self.readiness.tell_all(peer)
        elif isinstance(message, Ack):
            positions = self._given(peer, message.positions)
            peer.acknowledged(positions)
            self.do(Acknowledged(peer.id, positions))
        elif isinstance(message, Replay):
            self._on_replay(peer, message, route)
        elif isinstance(message, Replayed):
            m = message
            self.do(Resent(peer.id, m.name, m.first, m.last, m.request))
        elif isinstance(message, Recall):
            # Only under what it has told us of: its messages of that begin with a ready.
            keys = self._recalled(peer, message.key)
            if route is not None and keys:
                self.do(Recount(route, message.request, keys, peer.forgets))
        elif isinstance(message, Recalled):
            self.do(Recounted(peer.id, message.request, message.ranges))
        elif isinstance(message, Forgot):
            self.forgetting.on_forgot(peer, message, now)
        elif isinstance(message, Named):
            self.readiness.on_named(peer, message)
        elif isinstance(message, Slow):
            if message.slow is not peer.finds_us_slow:
                peer.finds_us_slow = message.slow
                self.tell(PeerSlow(peer.id.hex(), peer.label, message.slow, ourselves=True))
        elif isinstance(message, Bye):
            self.peering.on_bye(peer, message.heads, now)

    def _given(self, peer: Peer, positions: dict[str, int]) -> dict[str, int]:
        """Return, of what a peer says to have, what we have sent, as places.

        Names that are made up would be kept, and counted as progress of who makes none.
        """
        numbering = self.numbering
        if numbering is None:
            return positions
        if not peer.forgets:
            positions = numbering.places(positions)
        heads = numbering.heads
        return {name: min(at, heads[name]) for name, at in positions.items() if name in heads}

    def _recalled(self, peer: Peer, key: str) -> tuple[str, ...]:
        """Return what of a key a peer has told us that it wants, and may have."""
        if key in peer.interest.keys:
            return (key,)
        if self.policy is None:
            return ()
        return tuple(restricted([key], tuple(peer.interest.keys)))

    def _on_replay(self, peer: Peer, message: Replay, route: Any) -> None:
        """Judge a request: only what a peer wants is sent to it again."""
        if route is not None and peer.interest.keys.covers(message.name):
            m, numbering = message, self.numbering
            start = numbering.start(m.name) if numbering and not peer.forgets else 0
            # The answer gives the number behind the last, which has to be one as well.
            first, last = (min(n + start, LAST_NUMBER - 1) for n in (m.first, m.last))
            self.do(Resend(route, m.name, first, last, m.request, start))

    def slow(self, node: bytes, slow: bool, now: float) -> None:
        """Take note that a peer acknowledges too slowly, or has caught up; tell it, too."""
        peer = self.members.peers.get(node)
        if peer is not None and peer.slow is not slow:
            peer.slow_at = now if slow else None
            self.tell(PeerSlow(peer.id.hex(), peer.label, slow))
            self.say(peer, Slow(self.me, slow))

    # ---------------------------------------------------------------------------- time

    def tick(self, now: float) -> None:
        """Let time pass: call several times a second."""
        self.members.awake(now)
        self.wanted(self.members.expire(now))
        for candidate in list(self.members.candidates.values()):
            self.candidates.tick(candidate, now)
        for peer in list(self.members.peers.values()):
            self._tick_peer(peer, now)
        self.peering.ask_around(now)

    def _tick_peer(self, peer: Peer, now: float) -> None:
        quiet = now - peer.heard_at
        if quiet >= LEFT_AFTER:
            self.peering.left(peer, "silent", now)
            return
        if self.peering.found_nowhere(peer, now):
            self.peering.left(peer, "permissions", now)  # it comes back by the hub
            return
        if quiet >= SILENT_AFTER and not peer.silent:
            peer.silent = True
            self.tell(PeerSilent(peer.id.hex(), peer.label, quiet))
        if now >= peer.ping_at:
            peer.ping_at = now + (CARRIED_PING_EVERY if peer.carried else PING_EVERY)
            told = self.interest.epoch, peer.interest.announced, peer.ready_epoch
            self.say(peer, Ping(self.me, *told, named=peer.names_said))
        self._tick_link(peer, quiet, now)
        self.readiness.tick(peer, now)
        self.forgetting.tick(peer, now)

    def _tick_link(self, peer: Peer, quiet: float, now: float) -> None:
        if peer.link is None:
            self.peering.link(peer, now)
        if peer.carried:
            return  # its hub tells
        if quiet >= PROBE_AFTER and now >= peer.probe_at:
            peer.probe_at = now + PROBE_EVERY
            self.do(Probe(peer.link or peer.control))
        elif peer.link and now - peer.ponged_at >= UNANSWERED_AFTER:
            self.peering.redial(peer, now)
