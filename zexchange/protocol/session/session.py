"""The node as one machine: messages and time in, effects out.

For each thing that happens, the engine calls one method, and then carries out the effects that
`take` returns, in that order, on the same thread. The machine never waits, opens nothing and reads
no clock. Joining goes like this, and every step may come twice or not at all:

    candidate -> Dial, Hello -> Welcome -> OpenReceiver (SUB) -> token on their XPUB
              -> Announce (ready, with heads) -> proven

This module hands messages and time to the part that decides: `peering` (candidates become peers) or
`readiness` (interest, and its proof). Only deadlines of peers are decided here.
"""

from dataclasses import replace
from typing import Any

from ..security.channel import Channel, Kind
from ..security.permissions import Policy, restricted
from ..wire.data import LAST_NUMBER
from ..wire.messages import (
    Ack,
    Bye,
    Control,
    Count,
    Counted,
    Forgot,
    Hello,
    Interest,
    Members,
    Named,
    Ping,
    Pong,
    Recall,
    Recalled,
    Refuse,
    Replay,
    Replayed,
    Responders,
    Resync,
    Slow,
    Stranger,
    Welcome,
)
from .answering import Answering
from .authority import Authority
from .candidates import Candidates
from .effects import Effect, Probe, Recount, Resend, Resubscribe, TellCounts
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
from .state import Addressed, SessionState

Answer = Ack | Replayed | Recalled | Counted
"""Messages of a peer that answer what other parts of the engine sent or asked for."""


class Session(SessionState):
    """One node's membership of one federation. Not thread-safe: one thread calls it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.candidates = Candidates(self)
        self.readiness = Readiness(self)
        self.answering = Answering(self)
        self.peering = Peering(self, self.candidates, self.readiness)
        self.forgetting = Forgetting(self)
        self.behind = HubPeers(self, self.peering, self.readiness)
        self._authority = Authority(self, self.peering)
        self.do(Resubscribe(self.interest.epoch, (), ()))

    def take(self) -> list[Effect]:
        """Return the effects that are to be carried out now, in order, and forget them."""
        out, self.effects = self.effects, []
        return out

    def change_policy(self, policy: Policy, now: float) -> None:
        """Judge by other keys and permissions from now on.

        Peers whose key is no longer authorized, or whose permissions have changed, leave. Those
        that are still authorized come back by themselves, and all that they want and send is judged
        afresh.
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
        """Return by which kind of connection a node speaks to us, as far as we know. Any thread."""
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
    ) -> Answer | None:
        """Take a control message.

        Args:
            message: as it was read from its frame.
            route: where a reply goes, if the message came in at our own endpoint.
            link: the endpoint of the link it came in on, if it is an answer to us.
            now: seconds on a monotonic clock.
            key: the public key that the other end of the connection has proven to have; empty if
                nobody has keys, or if it is the same user on this host.
            hub: the endpoint of the hub that it came by, which speaks for its sender.

        Returns:
            The message, if the engine has to hand it to the part that sent, or asked for, what it
                is about.
        """
        # First take in what tasks here want: a node that joins after they attached is told of it.
        self.readiness.tell_added(now)
        channel = self._authority.channel(message, route, key, hub, now)
        if channel is None:
            return None
        if self.policy is not None:
            message = self._authority.as_proven(message, channel.kind, key)
        if link is not None and not self.peering.expected(message, link, now):
            return None
        if isinstance(message, Addressed) and message.to not in (b"", self.me):
            # Meant for the node that was at our endpoint before us.
            if route is not None:
                self.refuse(route, Stranger(self.me), now)
            return None
        if not self._authority.heeds(message, channel, route, link, now):
            return None
        return self._take(message, channel, route, link, now)

    def _take(
        self, message: Control, channel: Channel, route: Any, link: str | None, now: float
    ) -> Answer | None:
        """Take a message that is believed; return it if the engine has to hand it on."""
        peer = self.members.peers.get(message.sender)
        if peer is not None:
            peer.heard(now)
            if route is not None:
                peer.called_at = now
        match message:
            case Hello():
                if peer is not None:
                    self.answering.on_hello(peer, message)
                self.peering.on_hello(message, route, now, channel)
            case Welcome():
                self.peering.on_welcome(message, link, now, channel)
            case Refuse():
                self.candidates.on_refuse(message, link, now)
            case Stranger():
                self.candidates.on_stranger(link, now)
            case _ if peer is not None:
                return self._on_peer(peer, message, route, now)
            case _ if route is not None:
                self.refuse(route, Stranger(self.me), now)
            case _:
                pass
        return None

    def _on_peer(self, peer: Peer, message: Control, route: Any, now: float) -> Answer | None:
        match message:
            case Ping():
                self.reply(route, Pong(self.me))
                self.readiness.on_ping(peer, message, now)
            case Pong():
                peer.answered(message, now)
            case Ack():
                return replace(message, positions=self._given(peer, message.positions))
            case Replayed() | Recalled() | Counted():
                return message
            case Interest():
                self.readiness.on_interest(peer, message)
            case Resync():
                self.readiness.tell_all(peer)
                self.answering.tell_all(peer)
            case Responders() | Members():
                self.answering.on_change(peer, message)
            case Replay():
                self._on_replay(peer, message, route)
            case Recall():
                self._on_recall(peer, message, route)
            case Count():
                self._on_count(peer, message, route)
            case Forgot():
                self.forgetting.on_forgot(peer, message, now)
            case Named():
                self.readiness.on_named(peer, message)
            case Slow(_, slow) if slow is not peer.finds_us_slow:
                peer.finds_us_slow = slow
                self.tell(PeerSlow(peer.id.hex(), peer.label, slow, ourselves=True))
            case Bye(_, heads):  # for good: no node comes back under an id that has ended
                self.peering.left(peer, "bye", now, heads)
            case _:
                pass
        return None

    def _given(self, peer: Peer, positions: dict[str, int]) -> dict[str, int]:
        """Note how far a peer says it has got, as far as we have sent; return it as places.

        Made-up names would be kept, and would count as progress of a peer that makes none.
        """
        if (numbering := self.numbering) is not None:
            there = positions if peer.forgets else numbering.places(positions)
            heads = numbering.heads
            positions = {name: min(at, heads[name]) for name, at in there.items() if name in heads}
        peer.acknowledged(positions)
        return positions

    def _on_replay(self, peer: Peer, asked: Replay, route: Any) -> None:
        """Judge a request: only messages that a peer wants are sent to it again."""
        if route is not None and peer.interest.keys.covers(asked.name):
            numbering = self.numbering
            start = numbering.start(asked.name) if numbering and not peer.forgets else 0
            # The answer gives the number after the last one, which has to be in range, too.
            first, last = (min(n + start, LAST_NUMBER - 1) for n in (asked.first, asked.last))
            self.do(Resend(route, replace(asked, first=first, last=last), start))

    def _on_recall(self, peer: Peer, asked: Recall, route: Any) -> None:
        """Judge a request: only keys that a peer has told us, and that it may have, are answered.

        For those, messages to it begin with a ready.
        """
        wanted = peer.interest.keys
        keys: tuple[str, ...] = (asked.key,) if asked.key in wanted else ()
        if not keys and self.policy is not None:
            keys = tuple(restricted([asked.key], tuple(wanted)))
        if route is not None and keys:
            self.do(Recount(route, asked.request, keys, peer.forgets))

    def _on_count(self, peer: Peer, asked: Count, route: Any) -> None:
        """Judge a question: a peer is told of exchanges to which it may subscribe."""
        if route is not None:
            keys = tuple(restricted([asked.key], peer.rights.subscribe))
            self.do(TellCounts(route, asked, keys))

    def slow(self, peer: Peer, slow: bool) -> None:
        """Tell the user and the peer that it acknowledges too slowly, or has caught up."""
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
            self.peering.left(peer, "permissions", now)  # it comes back through the hub
            return
        if quiet >= SILENT_AFTER and not peer.silent:
            peer.silent = True
            self.tell(PeerSilent(peer.id.hex(), peer.label, quiet))
        if now >= peer.ping_at:
            peer.ping_at = now + (CARRIED_PING_EVERY if peer.carried else PING_EVERY)
            self.readiness.ping(peer, now)
        self._tick_link(peer, quiet, now)
        self.readiness.tick(peer, now)
        self.forgetting.tick(peer, now)

    def _tick_link(self, peer: Peer, quiet: float, now: float) -> None:
        if peer.link is None:
            self.peering.link(peer, now)
        if peer.carried:
            return  # its hub tells us whether it lives
        if quiet >= PROBE_AFTER and now >= peer.probe_at:
            peer.probe_at = now + PROBE_EVERY
            self.do(Probe(peer.link or peer.control))
        elif peer.link and now - peer.ponged_at >= UNANSWERED_AFTER:
            self.peering.redial(peer, now)
