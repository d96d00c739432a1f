"""The node as one machine: messages and time in, effects out.

The shell calls one method for whatever happened and then carries out what `take`
returns, in that order, on the same thread. The machine never waits, opens nothing and
asks no clock. Joining goes like this, and every step may come twice or not at all:

    candidate -> Dial, Hello -> Welcome -> OpenReceiver (SUB) -> token on their XPUB
              -> Announce (ready, with heads) -> proven

Here messages and time are handed to the part that decides: `peering` (candidates become
peers) or `readiness` (interest, and its proof); what time does to a peer is decided here.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from ..delivery.sequence import Numbering
from ..hub.rights import DelegatedRights
from ..interest.changes import Changes
from ..security.channel import OURS, Channel, Kind
from ..security.keys import belongs
from ..security.permissions import Policy, restricted
from ..unanswered import Given
from ..wire.data import LAST_NUMBER
from ..wire.envelopes import by_hub
from ..wire.messages import (
    Ack,
    Address,
    Bye,
    Control,
    Forgot,
    Hello,
    Interest,
    Label,
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
from . import peers as m
from .authority import Authority
from .effects import Acknowledged, Effect, Probe, Recount, Recounted, Resend, Resent, Resubscribe
from .events import Event, PeerSilent, PeerSlow
from .forgetting import Forgetting
from .hub_peers import HubPeers
from .peering import Peering
from .peers import Peer
from .readiness import Readiness
from .state import SessionState

Addressed = Interest | Ping | Ack | Slow | Named | Forgot
"""The messages that say for which node they are."""

_OTHER_KEY = "that node id is of another key"


class Session:
    """One node's membership of one federation. Not thread-safe: one thread calls it."""

    def __init__(
        self,
        me: bytes,
        federation: str,
        label: Label,
        addresses: tuple[Address, ...],
        reachable: Callable[[Address], bool],
        now: float,
        started: float = 0.0,
        acknowledge: tuple[int, int] = (0, 0),
        room: tuple[int, int] = (m.MAX_PEERS, m.MAX_GOSSIP),
        numbering: Numbering | None = None,
        policy: Policy | None = None,
        registry: bytes = b"",
        exchanges: tuple[str, ...] = (),
        changes: Changes | None = None,
        given: Given | None = None,
    ) -> None:
        self._core = SessionState(
            *(me, federation, label, addresses, now, started, acknowledge, registry, exchanges),
            *(changes, given),
        )
        self._core.numbering = numbering
        self._core.policy = policy
        self._proving = Readiness(self._core)
        self._joining = Peering(self._core, self._proving, reachable, now, room)
        self._standing = Authority(self._core, self._joining)
        self.forgetting = Forgetting(self._core)
        self.behind = HubPeers(self._core, self._joining, self._proving)
        self.me = me
        self.label = label
        self.addresses = addresses
        self.interest = self._core.interest
        self.members = self._core.members
        self._core.do(Resubscribe(self.interest.epoch, (), ()))

    # ------------------------------------------------------------ what the shell calls

    def take(self) -> list[Effect]:
        """Return what is to be done now, in order, and forget it."""
        out, self._core.effects = self._core.effects, []
        return out

    def add_candidate(self, endpoint: str, source: str, now: float) -> None:
        """Dial an endpoint, unless it is being dialled, is ours, or leads to a peer."""
        self._joining.add_candidate(endpoint, source, now)

    def drop_candidate(self, endpoint: str) -> None:
        """Stop dialling an endpoint that no node was found behind."""
        self._joining.drop_candidate(endpoint)

    def moved(self, addresses: tuple[Address, ...]) -> None:
        """Take note of where we can be reached from here on."""
        self.addresses = self._core.addresses = addresses

    def probed(self, endpoint: str, listening: bool, now: float) -> None:
        """Take the answer to a `Probe`."""
        self._joining.probed(endpoint, listening, now)

    def shut_out(self, endpoint: str, now: float) -> None:
        """Take note that our key was refused at an endpoint: libzmq does not connect again."""
        self._joining.shut_out(endpoint, now)

    def token(self, node: bytes, epoch: int, subscribed: bool) -> None:
        """Take a node's token that was (un)subscribed at our data endpoint."""
        self._proving.token(node, epoch, subscribed)

    def announced(self, node: bytes, epoch: int, heads: dict[str, int]) -> None:
        """Take note that an `Announce` was carried out, and with which heads."""
        self._proving.announced(node, epoch, heads)

    def has_forgotten(self, node: bytes, number: int) -> None:
        """Take note that we have forgotten what a peer told us to, and say so."""
        peer = self.members.peers.get(node)
        if peer is not None:
            self._core.say(peer, Forgot(self.me, number))

    def proven(self, node: bytes, epoch: int) -> None:
        """Take note of a ready frame that arrived from a peer."""
        self._proving.proven(node, epoch)

    def change_interest(self, steps: Iterable[tuple[str, bool]], now: float) -> None:
        """Take what local tasks want now, as steps of (name or pattern, wanted)."""
        self._proving.change_interest(steps, now)

    def tell_changes(self, now: float) -> None:
        """Tell peers of the changes of our interest that were made since."""
        self._proving.tell_changes(now)

    def publishes(self, names: list[str]) -> None:
        """Take note of names that are, or may soon be, sent on, not told before."""
        self._proving.publishes(names)

    def unpublished(self, names: Iterable[str]) -> None:
        """Take note of names that will not be sent on for now: if they are, that is told anew."""
        self._proving.unpublished(names)

    def change_policy(self, policy: Policy, now: float) -> None:
        """Judge by other keys and permissions from now on.

        Whoever is not authorized any more, or for something else, leaves. If it still may
        come, it comes back by itself, and is judged anew in all that it wants and sends.
        """
        core, before = self._core, self._core.policy
        core.policy = policy
        changed: set[bytes] = before.changed(policy) if before else set()
        self._joining.judge_carried(now)
        for peer in list(self.members.peers.values()):
            if Kind.KEY in (peer.kind, peer.calls) and peer.key in changed:
                left = policy.rights(peer.key) is None
                self._joining.left(peer, "revoked" if left else "permissions", now)
        self._joining.dial_again(now)

    def vouch(self, vouching: DelegatedRights) -> None:
        """Judge by it from now on who comes by a hub."""
        self._core.vouching = vouching

    def judge_carried(self, now: float) -> None:
        """Take note that hubs may say something else of what nodes may do."""
        self._joining.judge_carried(now)

    def calls(self, node: bytes) -> Kind:
        """Return by what a node speaks to us, as far as we know. Any thread."""
        peer = self.members.peers.get(node)
        return Kind.HUB if peer is None else peer.calls

    def carry(self, exchanges: tuple[str, ...]) -> None:
        """Take note of the names and patterns that take part here from now on."""
        self._core.exchanges = exchanges

    def reject(self, source: str, reason: str, detail: str = "", count: int = 1) -> None:
        """Count what was not taken; tell of the first of its kind."""
        self._core.reject(source, reason, detail, count)

    def rejections(self) -> dict[tuple[str, str], int]:
        """Return how often what was not taken, by source and reason."""
        return dict(self._core.rejections)

    def turned_away(self, endpoint: str, obstacle: str) -> None:
        """Take note of why a connection to an endpoint has come to nothing."""
        candidate = self.members.candidates.get(endpoint)
        if candidate is not None:
            candidate.obstacle = obstacle

    def tell(self, event: Event) -> None:
        """Tell the user of something that was found out elsewhere."""
        self._core.tell(event)

    def leave(self, heads: dict[str, int]) -> None:
        """Say goodbye to everybody."""
        self._joining.leave(heads)

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
        channel = self._channel(message, route, key, hub, now)
        if channel is None:
            return
        if self._core.policy is not None:
            message = self._as_proven(message, channel.kind, key)
        if link is not None and not self._joining.expected(message, link, now):
            return
        if isinstance(message, Addressed) and message.to not in (b"", self.me):
            # Meant for the node that was at our endpoint before us.
            if route is not None:
                self._core.refuse(route, Stranger(self.me), now)
            return
        if not self._standing.heeds(message, channel, route, link, now):
            return
        peer = self.members.peers.get(message.sender)
        if peer is not None:
            peer.heard(now)
            if route is not None:
                peer.called_at = now
        if isinstance(message, Hello):
            self._joining.on_hello(message, route, now, channel)
        elif isinstance(message, Welcome):
            self._joining.on_welcome(message, link, now, channel)
        elif isinstance(message, Refuse):
            self._joining.on_refuse(message, link, now)
        elif isinstance(message, Stranger):
            self._joining.on_stranger(link, now)
        elif peer is not None:
            self._on_peer(peer, message, route, now)
        elif route is not None:
            self._core.refuse(route, Stranger(self.me), now)

    def _channel(
        self, message: Control, route: Any, key: bytes, hub: str, now: float
    ) -> Channel | None:
        """Return by what a message came; None if its sender may not be spoken for there."""
        core = self._core
        if core.policy is None:
            return OURS
        if hub:
            rights = core.vouched(message.sender, hub)
            # Where it is not told of yet, it says it again.
            return Channel(Kind.HUB, rights) if rights is not None and rights.hub else None
        if not key:
            return OURS
        if not self._credible(message, route, key, now):
            return None
        return Channel(Kind.KEY, core.rights_by(message.sender, key, Kind.KEY))

    def _as_proven(self, message: Control, kind: Kind, key: bytes) -> Control:
        """Return a message as far as its sender may say it by a kind of connection."""
        policy = self._core.policy
        if kind is Kind.HUB and policy is not None:
            return _with_key(message, policy.owner(message.sender) or b"")
        near = kind is Kind.NEAR
        return _by_itself(message if near else _with_key(message, key), near)

    def _credible(self, message: Control, route: Any, key: bytes, now: float) -> bool:
        """Tell whether a message speaks for a node that its key may speak for."""
        core = self._core
        rights = core.policy.rights(key) if core.policy else None
        if rights is None:
            core.reject(key.hex(), "key unknown")
        elif not belongs(message.sender, key):
            who = rights.name or key.hex()
            core.reject(who, "identity", f"says to be {message.sender.hex()}, of another key")
            if route is not None:
                core.refuse(route, Refuse(self.me, "identity", _OTHER_KEY), now)
        return rights is not None and belongs(message.sender, key)

    def _on_peer(self, peer: Peer, message: Control, route: Any, now: float) -> None:
        if isinstance(message, Ping):
            self._core.reply(route, Pong(self.me))
            self._proving.on_ping(peer, message, now)
        elif isinstance(message, Pong):
            peer.answered(message, now)
        elif isinstance(message, Interest):
            self._proving.on_interest(peer, message)
        elif isinstance(message, Resync):
            self._proving.tell_all(peer)
        elif isinstance(message, Ack):
            positions = self._given(peer, message.positions)
            peer.acknowledged(positions)
            self._core.do(Acknowledged(peer.id, positions))
        elif isinstance(message, Replay):
            self._on_replay(peer, message, route)
        elif isinstance(message, Replayed):
            m = message
            self._core.do(Resent(peer.id, m.name, m.first, m.last, m.request))
        elif isinstance(message, Recall):
            # Only under what it has told us of: its messages of that begin with a ready.
            keys = self._recalled(peer, message.key)
            if route is not None and keys:
                self._core.do(Recount(route, message.request, keys, peer.forgets))
        elif isinstance(message, Recalled):
            self._core.do(Recounted(peer.id, message.request, message.ranges))
        elif isinstance(message, Forgot):
            self.forgetting.on_forgot(peer, message, now)
        elif isinstance(message, Named):
            self._proving.on_named(peer, message)
        elif isinstance(message, Slow):
            if message.slow is not peer.finds_us_slow:
                peer.finds_us_slow = message.slow
                self._core.tell(PeerSlow(peer.id.hex(), peer.label, message.slow, ourselves=True))
        elif isinstance(message, Bye):
            self._joining.on_bye(peer, message.heads, now)

    def _given(self, peer: Peer, positions: dict[str, int]) -> dict[str, int]:
        """Return, of what a peer says to have, what we have sent, as places.

        Names that are made up would be kept, and counted as progress of who makes none.
        """
        numbering = self._core.numbering
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
        if self._core.policy is None:
            return ()
        return tuple(restricted([key], tuple(peer.interest.keys)))

    def _on_replay(self, peer: Peer, message: Replay, route: Any) -> None:
        """Judge a request: only what a peer wants is sent to it again."""
        if route is not None and peer.interest.keys.covers(message.name):
            m, numbering = message, self._core.numbering
            start = numbering.start(m.name) if numbering and not peer.forgets else 0
            # The answer gives the number behind the last, which has to be one as well.
            first, last = (min(n + start, LAST_NUMBER - 1) for n in (m.first, m.last))
            self._core.do(Resend(route, m.name, first, last, m.request, start))

    def slow(self, node: bytes, slow: bool, now: float) -> None:
        """Take note that a peer acknowledges too slowly, or has caught up; tell it, too."""
        peer = self.members.peers.get(node)
        if peer is not None and peer.slow is not slow:
            peer.slow_at = now if slow else None
            self._core.tell(PeerSlow(peer.id.hex(), peer.label, slow))
            self._core.say(peer, Slow(self.me, slow))

    # ---------------------------------------------------------------------------- time

    def tick(self, now: float) -> None:
        """Let time pass: call several times a second."""
        self.members.awake(now)
        self._core.wanted(self.members.expire(now))
        for candidate in list(self.members.candidates.values()):
            self._joining.tick(candidate, now)
        for peer in list(self.members.peers.values()):
            self._tick_peer(peer, now)
        self._joining.ask_around(now)

    def _tick_peer(self, peer: Peer, now: float) -> None:
        quiet = now - peer.heard_at
        if quiet >= m.LEFT_AFTER:
            self._joining.left(peer, "silent", now)
            return
        if self._joining.found_nowhere(peer, now):
            self._joining.left(peer, "permissions", now)  # it comes back by the hub
            return
        if quiet >= m.SILENT_AFTER and not peer.silent:
            peer.silent = True
            self._core.tell(PeerSilent(peer.id.hex(), peer.label, quiet))
        if now >= peer.ping_at:
            peer.ping_at = now + (m.CARRIED_PING_EVERY if peer.carried else m.PING_EVERY)
            told = self.interest.epoch, peer.interest.announced, peer.ready_epoch
            self._core.say(peer, Ping(self.me, *told, named=peer.names_said))
        self._tick_link(peer, quiet, now)
        self._proving.tick(peer, now)
        self.forgetting.tick(peer, now)

    def _tick_link(self, peer: Peer, quiet: float, now: float) -> None:
        if peer.link is None:
            self._joining.link(peer, now)
        if peer.carried:
            return  # its hub tells
        if quiet >= m.PROBE_AFTER and now >= peer.probe_at:
            peer.probe_at = now + m.PROBE_EVERY
            self._core.do(Probe(peer.link or peer.control))
        elif peer.link and now - peer.ponged_at >= m.UNANSWERED_AFTER:
            self._joining.redial(peer, now)


def _by_itself(message: Control, near: bool) -> Control:
    """Return a message without the ways of which its sender may not speak.

    Of ways through hubs only hubs may, and of Unix sockets only who was met at one: what is
    kept, and told on, would else be believed of us.
    """
    if isinstance(message, Hello):
        return replace(message, addresses=_credited(message.addresses, near))
    if isinstance(message, Welcome):
        hello = replace(message.hello, addresses=_credited(message.hello.addresses, near))
        known = tuple((node, _credited(addresses, near)) for node, addresses in message.known)
        return replace(message, hello=hello, known=known)
    return message


def _credited(addresses: tuple[Address, ...], near: bool) -> tuple[Address, ...]:
    if near:
        return tuple(a for a in addresses if not by_hub((a,)))
    return tuple(a for a in addresses if a.control[:4] == a.data[:4] == "tcp:")


def _with_key(message: Control, key: bytes) -> Control:
    """Return a message that says of a node's key what its connection proves."""
    if isinstance(message, Hello):
        return replace(message, key=key)
    if isinstance(message, Welcome):
        return replace(message, hello=replace(message.hello, key=key))
    return message
