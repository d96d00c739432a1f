"""The node as one machine: messages and time in, effects out.

The shell calls one method for whatever happened and then carries out what `take`
returns, in that order, on the same thread. The machine never waits, opens nothing and
asks no clock. Joining goes like this, and every step may come twice or not at all:

    candidate -> Dial, Hello -> Welcome -> Tune (SUB) -> token on their XPUB
              -> Announce (ready, with heads) -> proven

What may be lost is told again: hellos until welcomed, interest by the epochs that
pings carry, links and data sockets by replacing those that prove nothing.
"""

from collections.abc import Callable, Iterable
from typing import Any

from . import membership as m
from .interest import OwnInterest
from .membership import Candidate, Membership, Peer, State
from .values import (
    VERSIONS,
    Ack,
    Address,
    Announce,
    Bye,
    Control,
    Dial,
    Effect,
    HangUp,
    Hello,
    Hush,
    Interest,
    Label,
    PeerJoined,
    PeerLeft,
    PeerSilent,
    Ping,
    Pong,
    Probe,
    Redial,
    Refuse,
    Rejected,
    Reply,
    Resubscribe,
    Resync,
    Say,
    Stranger,
    Tell,
    Tune,
    Wanted,
    Welcome,
)

MAX_STRANGERS_TOKENS = 4096
"""Tokens remembered for nodes that have not said hello yet."""


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
        interest: Iterable[str] = (),
    ) -> None:
        self.me = me
        self.federation = federation
        self.label = label
        self.addresses = addresses
        self.interest = OwnInterest(interest)
        self.members = Membership(now)
        self._reachable = reachable
        self._tokens: dict[bytes, int] = {}
        self._rejections: dict[tuple[str, str], int] = {}
        self._out: list[Effect] = []
        self._do(Resubscribe(self.interest.epoch, tuple(self.interest.keys), ()))

    # ------------------------------------------------------------ what the shell calls

    def take(self) -> list[Effect]:
        """Return what is to be done now, in order, and forget it."""
        out, self._out = self._out, []
        return out

    def add_candidate(self, endpoint: str, source: str, now: float) -> None:
        """Dial an endpoint, unless it is being dialled, is ours, or leads to a peer."""
        if any(endpoint == address.control for address in self.addresses):
            return
        candidate = self.members.candidates.get(endpoint)
        if candidate is None:
            candidate = Candidate(endpoint, source, now, now, now + m.UNANSWERED_AFTER)
            self.members.candidates[endpoint] = candidate
            self._do(Dial(endpoint))
            self._hello(candidate, now)
        elif source == "static":
            candidate.source = source

    def drop_candidate(self, endpoint: str) -> None:
        """Stop dialling an endpoint that no node was found behind."""
        candidate = self.members.candidates.get(endpoint)
        if candidate and candidate.peer is None:
            del self.members.candidates[endpoint]
            self._do(HangUp(endpoint))

    def receive(self, message: Control, route: Any, link: str | None, now: float) -> None:
        """Take a control message.

        Args:
            message: as the wire module read it.
            route: where a reply goes, if the message came in at our own endpoint.
            link: the endpoint of the link it came in on, if it is an answer to us.
            now: seconds on a monotonic clock.
        """
        if link is not None and not self._expected(message, link, now):
            return
        peer = self.members.peers.get(message.sender)
        if peer is not None:
            self._heard(peer, now)
        if isinstance(message, Hello):
            self._on_hello(message, route, now)
        elif isinstance(message, Welcome):
            self._on_welcome(message, link, now)
        elif isinstance(message, Refuse):
            self._on_refuse(message, link, now)
        elif isinstance(message, Stranger):
            self._on_stranger(link, now)
        elif peer is None:
            if route is not None:
                self._do(Reply(route, Stranger(self.me)))
        else:
            self._on_peer(peer, message, route, now)

    def token(self, node: bytes, epoch: int, subscribed: bool) -> None:
        """Take a node's token that was (un)subscribed at our data endpoint."""
        peer = self.members.peers.get(node)
        if not subscribed:
            if self._tokens.get(node) == epoch:
                del self._tokens[node]
                if peer:
                    peer.interest.announced = peer.interest.confirmed = 0
            return
        if epoch < self._tokens.get(node, 0):
            return  # from a connection that a fresh one has overtaken
        again = peer is not None and peer.interest.announced == epoch
        if node in self._tokens or len(self._tokens) < MAX_STRANGERS_TOKENS or peer:
            self._tokens[node] = epoch
        if peer:
            self._announce(peer, whole=again)

    def announced(self, node: bytes, epoch: int) -> None:
        """Take note that an `Announce` was carried out."""
        peer = self.members.peers.get(node)
        if peer and self._tokens.get(node, 0) >= epoch:
            peer.interest.announced = max(peer.interest.announced, epoch)

    def proven(self, node: bytes, epoch: int) -> None:
        """Take note of a ready frame that arrived from a peer."""
        peer = self.members.peers.get(node)
        if peer:
            peer.proven(epoch, self.interest.epoch)

    def probed(self, endpoint: str, listening: bool, now: float) -> None:
        """Take the answer to a `Probe`."""
        candidate = self.members.candidates.get(endpoint)
        if candidate is None:
            return
        peer = self.members.linked_to(endpoint)
        if peer is None:
            if candidate.state in (State.DIALING, State.DEAD):
                candidate.state = State.DIALING if listening else State.DEAD
        elif not listening and now - peer.heard_at >= m.PROBE_AFTER:
            self._left(peer, "gone", now)

    def change_interest(self, steps: Iterable[tuple[str, bool]], now: float) -> None:
        """Take what local tasks want now, as steps of (name or pattern, wanted)."""
        change = self.interest.change(steps)
        if change is None:
            return
        epoch, (added, removed) = self.interest.epoch, change
        self._do(Resubscribe(epoch, tuple(added), tuple(removed)))
        for peer in self.members.peers.values():
            peer.unproven_at = now
            told = Interest(
                self.me, epoch, epoch - 1, peer.ready_epoch, tuple(added), tuple(removed)
            )
            self._say(peer, told)

    def reject(self, source: str, reason: str, detail: str = "") -> None:
        """Count something that was not taken; tell of the first of its kind."""
        count = self._rejections[source, reason] = self._rejections.get((source, reason), 0) + 1
        if count == 1:
            self._do(Tell(Rejected(source, reason, count, detail)))

    def rejections(self) -> dict[tuple[str, str], int]:
        """Return how often what was not taken, by source and reason."""
        return dict(self._rejections)

    def leave(self, heads: dict[str, int]) -> None:
        """Say goodbye to everybody."""
        for peer in self.members.peers.values():
            self._say(peer, Bye(self.me, heads))

    def tick(self, now: float) -> None:
        """Let time pass: call several times a second."""
        self.members.awake(now)
        for candidate in list(self.members.candidates.values()):
            self._tick_candidate(candidate, now)
        for peer in list(self.members.peers.values()):
            self._tick_peer(peer, now)

    # ------------------------------------------------------------------------- joining

    def _do(self, effect: Effect) -> None:
        self._out.append(effect)

    def _say(self, peer: Peer, message: Control) -> None:
        if peer.link is not None:
            self._do(Say(peer.link, message))

    def _own_hello(self) -> Hello:
        return Hello(
            sender=self.me,
            federation=self.federation,
            label=self.label,
            addresses=self.addresses,
            epoch=self.interest.epoch,
            interest=tuple(self.interest.keys),
        )

    def _hello(self, candidate: Candidate, now: float) -> None:
        candidate.hello_at = now + m.HELLO_EVERY
        self._do(Say(candidate.endpoint, self._own_hello()))
        self._do(Probe(candidate.endpoint))

    def _objection(self, hello: Hello) -> Refuse | None:
        """Return why a node cannot be a peer, or None if it can."""
        if hello.sender == self.me:
            return Refuse(self.me, "self", "you have reached yourself")
        if hello.federation != self.federation:
            text = f"this node is in federation {self.federation!r}, not {hello.federation!r}"
            return Refuse(self.me, "federation", text)
        if max(VERSIONS[0], hello.versions[0]) > min(VERSIONS[1], hello.versions[1]):
            text = f"protocol {VERSIONS[0]} to {VERSIONS[1]} is spoken here"
            return Refuse(self.me, "version", f"{text}, not {hello.versions}")
        return None

    def _on_hello(self, hello: Hello, route: Any, now: float) -> None:
        objection = self._objection(hello)
        if objection:
            self._do(Reply(route, objection))
            if objection.reason != "self":
                self.reject(str(hello.label), objection.reason, objection.text)
            return
        known = tuple(
            (p.id, p.addresses) for p in self.members.peers.values() if p.id != hello.sender
        )
        peer = self._admit(hello, now)
        if peer is None:
            text = "none of your addresses can be reached from here"
            self._do(Reply(route, Refuse(self.me, "unreachable", text)))
            self.reject(str(hello.label), "unreachable", str(hello.addresses))
            return
        self._do(Reply(route, Welcome(self.me, self._own_hello(), known)))
        if peer.link is None:
            self._link(peer, now)

    def _link(self, peer: Peer, now: float) -> None:
        """Dial a peer that we know only from its own hello."""
        address = self._choose(peer.addresses)
        if address is not None:
            self.add_candidate(address.control, "hello", now)

    def _choose(self, addresses: Iterable[Address]) -> Address | None:
        return next((address for address in addresses if self._reachable(address)), None)

    def _admit(self, hello: Hello, now: float) -> Peer | None:
        """Make a node a peer, or renew what we know of it; None if it cannot be reached."""
        peer = self.members.peers.get(hello.sender)
        if peer is not None:
            peer.addresses = hello.addresses
            # Whoever says hello may have lost what it knew of us, and where it stood.
            peer.interest.confirmed = 0
            if hello.epoch > peer.interest.epoch:
                self._wanted(peer.interest.replace(hello.epoch, hello.interest))
                self._announce(peer)
            return peer
        address = self._choose(hello.addresses)
        if address is None:
            return None
        peer = Peer.from_hello(hello, now)
        peer.data = address.data
        self.members.peers[peer.id] = peer
        self._do(Tune(peer.id, peer.data))
        self._do(Tell(PeerJoined(peer.id.hex(), peer.label)))
        self._wanted(set(peer.interest.keys))
        self._announce(peer)
        return peer

    def _wanted(self, keys: set[str]) -> None:
        if keys:
            self._do(Wanted(tuple(keys)))

    def _announce(self, peer: Peer, whole: bool = False) -> None:
        """Answer the peer's token, once its interest of that epoch is known as well."""
        epoch = self._tokens.get(peer.id, 0)
        interest = peer.interest
        if not epoch or interest.epoch < epoch or (epoch == interest.announced and not whole):
            return
        self._do(Announce(peer.id, epoch, None if whole else interest.unproven(epoch)))

    def _on_welcome(self, welcome: Welcome, link: str | None, now: float) -> None:
        candidate = self.members.candidates.get(link) if link else None
        if candidate is None or link is None:
            return
        objection = self._objection(welcome.hello)
        peer = None if objection else self._admit(welcome.hello, now)
        if peer is None:
            self._refused(candidate, objection.reason if objection else "unreachable", now)
            return
        if peer.link is not None and peer.link != link:
            # A second way to the same node: one link is enough.
            candidate.state, candidate.peer = State.LINKED, peer.id
            self._do(HangUp(link))
        else:
            peer.link, peer.ponged_at = link, now
            candidate.state, candidate.peer = State.LINKED, peer.id
        for node, addresses in welcome.known:
            self._gossip(node, addresses, now)

    def _gossip(self, node: bytes, addresses: tuple[Address, ...], now: float) -> None:
        address = self._choose(addresses)
        if address and node != self.me and node not in self.members.peers:
            self.add_candidate(address.control, "gossip", now)

    def _on_refuse(self, refuse: Refuse, link: str | None, now: float) -> None:
        candidate = self.members.candidates.get(link) if link else None
        if candidate is None:
            return
        if refuse.reason == "self":
            candidate.state = State.OURSELVES
            self._do(HangUp(candidate.endpoint))
        else:
            self.reject(candidate.endpoint, f"refused: {refuse.reason}", refuse.text)
            self._refused(candidate, refuse.reason, now)

    def _refused(self, candidate: Candidate, reason: str, now: float) -> None:
        candidate.state, candidate.reason = State.REFUSED, reason
        candidate.hello_at = now + m.REFUSED_RETRY

    # ----------------------------------------------------------------------- as a peer

    def _expected(self, message: Control, link: str, now: float) -> bool:
        """Tell whether an answer on a link comes from the node that the link leads to.

        If it does not, another node has taken over the endpoint: the old one is gone.
        """
        candidate = self.members.candidates.get(link)
        if candidate is None:
            return False
        peer = self.members.linked_to(link)
        if peer is not None and peer.link == link and peer.id != message.sender:
            self._left(peer, "gone", now)
            return link in self.members.candidates
        return True

    def _heard(self, peer: Peer, now: float) -> None:
        peer.heard_at = now
        peer.silent = False

    def _on_stranger(self, link: str | None, now: float) -> None:
        candidate = self.members.candidates.get(link) if link else None
        if candidate is not None:
            candidate.state = State.DIALING
            self._hello(candidate, now)

    def _on_peer(self, peer: Peer, message: Control, route: Any, now: float) -> None:
        if isinstance(message, Ping):
            self._do(Reply(route, Pong(self.me)))
            if message.epoch != peer.interest.epoch:
                self._say(peer, Resync(self.me))
            if message.announced < self.interest.epoch and peer.unproven_at is None:
                peer.unproven_at = now
        elif isinstance(message, Pong):
            peer.ponged_at = now
        elif isinstance(message, Interest):
            self._on_interest(peer, message)
        elif isinstance(message, Resync):
            whole = tuple(self.interest.keys)
            told = Interest(self.me, self.interest.epoch, 0, peer.ready_epoch, whole)
            self._say(peer, told)
        elif isinstance(message, Ack):
            for name, position in message.positions.items():
                peer.acked[name] = max(position, peer.acked.get(name, 0))
        elif isinstance(message, Bye):
            self._left(peer, "bye", now)

    def _on_interest(self, peer: Peer, message: Interest) -> None:
        interest = peer.interest
        if message.base == 0 and message.epoch >= interest.epoch:
            changed = interest.replace(message.epoch, message.added)
        elif message.epoch <= interest.epoch:
            return  # told twice
        elif message.base == interest.epoch:
            changed = interest.change(message.epoch, message.added, message.removed)
        else:
            self._say(peer, Resync(self.me))
            return
        interest.confirmed = min(message.confirmed, interest.announced)
        self._wanted(changed)
        self._announce(peer)

    def _left(self, peer: Peer, reason: str, now: float) -> None:
        """Forget a peer, and what was done for it."""
        del self.members.peers[peer.id]
        self._do(Hush(peer.id))
        self._wanted(set(peer.interest.keys))
        self._do(Tell(PeerLeft(peer.id.hex(), peer.label, reason)))
        for candidate in [c for c in self.members.candidates.values() if c.peer == peer.id]:
            self._do(HangUp(candidate.endpoint))
            del self.members.candidates[candidate.endpoint]
            if candidate.lasting:
                self.add_candidate(candidate.endpoint, candidate.source, now)

    # ---------------------------------------------------------------------------- time

    def _tick_candidate(self, candidate: Candidate, now: float) -> None:
        if candidate.state in (State.LINKED, State.OURSELVES) or now < candidate.hello_at:
            return
        if candidate.hearsay and not candidate.peer and now - candidate.since > m.FORGET_AFTER:
            self.drop_candidate(candidate.endpoint)
            return
        if candidate.state is State.REFUSED:
            candidate.state = State.DIALING
        if candidate.state is State.DEAD:
            candidate.redial_at = now + m.UNANSWERED_AFTER
        elif now >= candidate.redial_at:
            # Something listens and does not answer: libzmq may have given up on it for
            # good (after a wrong protocol or an oversize frame it never reconnects).
            candidate.redial_at = now + m.UNANSWERED_AFTER
            self._do(Redial(candidate.endpoint))
        self._hello(candidate, now)

    def _tick_peer(self, peer: Peer, now: float) -> None:
        quiet = now - peer.heard_at
        if quiet >= m.LEFT_AFTER:
            self._left(peer, "silent", now)
            return
        if quiet >= m.SILENT_AFTER and not peer.silent:
            peer.silent = True
            self._do(Tell(PeerSilent(peer.id.hex(), peer.label, quiet)))
        if now >= peer.ping_at:
            peer.ping_at = now + m.PING_EVERY
            self._say(peer, Ping(self.me, self.interest.epoch, peer.interest.announced))
        if peer.link is None:
            self._link(peer, now)
        elif quiet >= m.PROBE_AFTER and now >= peer.probe_at:
            peer.probe_at = now + 0.5
            self._do(Probe(peer.link))
        elif now - peer.ponged_at >= m.UNANSWERED_AFTER:
            peer.ponged_at = now
            self._do(Redial(peer.link))
        self._tick_proof(peer, now)

    def _tick_proof(self, peer: Peer, now: float) -> None:
        """Replace a data socket on which our interest is not proven in time."""
        if peer.unproven_at is not None and now - peer.unproven_at >= peer.unproven_for:
            peer.unproven_at = now
            peer.unproven_for = min(2 * peer.unproven_for, m.UNPROVEN_MOST)
            self._do(Tune(peer.id, peer.data))
