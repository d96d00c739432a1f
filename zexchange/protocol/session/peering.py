"""How candidates become peers, and how peers leave.

A candidate is sent hellos until it welcomes or refuses us. A node that welcomes us, or that says
hello itself, becomes a peer, and we dial it if there is no link to it yet. Every step may come
twice or not at all. `readiness` tells peers what we want, and proves it.

The class is long because admitting, linking and leaving change the same tables, and lead to one
another.
"""

from dataclasses import replace
from typing import Any

from ..interest.permitted import as_seen_by
from ..rate_limit import TokenBucket
from ..security.channel import OURS, Channel, Kind
from ..timing import KNOCK_EVERY
from ..wire.envelopes import by_hub, endpoint_of, node_at
from ..wire.messages import VERSIONS, Address, Bye, Control, Hello, Refuse, Welcome
from .candidates import Candidates
from .effects import CloseLink, CloseReceiver, Redial, Send
from .events import PeerJoined, PeerLeft
from .peers import (
    GOSSIP_EVERY,
    MAX_ADDRESSES,
    MAX_PEERS,
    PROBE_AFTER,
    UNANSWERED_AFTER,
    Peer,
    State,
)
from .readiness import Readiness, tune
from .state import SessionState

ADMITTED_AT_ONCE, ADMITTED_A_SECOND = 256, 64
"""New peers admitted at once, and per second, because each costs sockets. A node that has to wait
says hello again a second later."""
INTRODUCED = 4, 1
"""New peers that one connection may bring, at once and per second: a node brings only itself."""
MAX_UNREACHED = 1000
"""Nodes remembered of which no address can be reached from here."""
PASSED_ON = "its hub gives it what it may not have here"
"""The reason when our permissions and the hub's disagree about a node. The hub hands messages to
many nodes, and cannot keep them from one of these for us."""


class Peering:
    """Admits peers, links to them, and lets them go."""

    def __init__(self, core: SessionState, candidates: Candidates, readiness: Readiness) -> None:
        self._core = core
        self.candidates = candidates
        self._proving = readiness
        self._members = core.members
        self._admitted = TokenBucket(ADMITTED_AT_ONCE, ADMITTED_A_SECOND)
        self._introduced = TokenBucket(*INTRODUCED)
        self._unreached: set[bytes] = set()
        self._ask_around_at = core.made_at + GOSSIP_EVERY
        self._asked_last = b""

    def probed(self, endpoint: str, listening: bool, now: float) -> None:
        """Take the answer to a `Probe`: whether anything listens at an endpoint."""
        for peer in self._members.peers.values():
            if (peer.link or peer.control) == endpoint:
                if not listening and now - peer.heard_at >= PROBE_AFTER:
                    self.left(peer, "gone", now)
                    return
                break  # this peer is still heard; the endpoint may be a candidate's as well
        candidate = self._members.candidates.get(endpoint)
        if candidate is not None and candidate.state in (State.DIALING, State.DEAD):
            candidate.state = State.DIALING if listening else State.DEAD
            candidate.listens, candidate.obstacle = listening, candidate.obstacle * listening

    def shut_out(self, endpoint: str, now: float) -> None:
        """Take note that an endpoint refused our key: libzmq does not connect there again."""
        candidate, peer = self._members.candidates.get(endpoint), self._members.linked_to(endpoint)
        if peer is not None and peer.link == endpoint:
            peer.shut, peer.ponged_at = True, now - UNANSWERED_AFTER + KNOCK_EVERY
        elif candidate is not None and candidate.state is State.DIALING:
            candidate.hello_at = candidate.redial_at = now + KNOCK_EVERY

    # -------------------------------------------------------------------- being greeted

    def on_hello(self, hello: Hello, route: Any, now: float, channel: Channel = OURS) -> None:
        """Welcome a node, or refuse it and say why."""
        core = self._core
        if self._members.has_ended(hello.sender, channel.kind):
            return
        near = channel.kind is Kind.NEAR
        objection = self.objection(hello)
        if objection:
            core.refuse(route, objection, now)
            if objection.reason != "self":
                core.reject(str(hello.label), objection.reason, objection.text)
            return
        reachable = self._core.way(hello, near, False) is not None
        if reachable and not self._room_for(hello, route, None, now):
            return
        others = [
            p
            for p in self._members.peers.values()
            if p.id != hello.sender and not (p.carried or by_hub(hello.addresses))
        ]
        known = tuple((p.id, p.addresses) for p in others)
        keys = tuple((p.id, p.key) for p in others if p.key)
        self._open_again(hello)
        peer = self._admit(hello, now, near, channel.kind, False)
        if peer is None:
            text = "none of your addresses can be reached from here: listen= or advertise="
            core.refuse(route, Refuse(core.me, "unreachable", text), now)
            # A first hello may be left over from a node that has since closed its sockets.
            if hello.sender in self._unreached:
                core.reject(str(hello.label), "unreachable", str(hello.addresses))
            elif len(self._unreached) < MAX_UNREACHED:
                self._unreached.add(hello.sender)
            return
        ours = as_seen_by(core.hello(), peer.rights)
        core.reply(route, Welcome(core.me, ours, known, keys))
        direct = peer.carried and not by_hub(hello.addresses)
        better = self._core.policy and channel.kind > peer.kind
        if peer.link is None and peer.carried:
            self._link_to(endpoint_of(peer.id), peer, now)
        if peer.link is None or direct or better:
            self.link(peer, now, near)

    def _room_for(self, hello: Hello, route: Any, link: str | None, now: float) -> bool:
        """Return whether there is room for a peer; if this node is full, tell the sender."""
        core, peers = self._core, self._members.peers
        if hello.sender in peers:
            return True
        # The limit per connection comes first: nodes that one sender makes up use only its share.
        if not self._introduced.take(route or link, 1, now):
            core.reject("hello", "more newcomers by one connection than are taken")
            return False
        if not self._admitted.take("", 1, now):
            core.reject("hello", "more newcomers than are taken at a time")
            return False
        if len(peers) >= core.room[0]:
            idle = self._members.unproven(now)
            if idle is None:
                text = f"this node has {len(peers)} peers and takes no more"
                if route is not None:
                    core.refuse(route, Refuse(core.me, "full", text), now)
                core.reject(str(hello.label), "full", f"{text}: raise its limit of open files")
                return False
            self.left(idle, "crowded out", now)
        return True

    def objection(self, hello: Hello) -> Refuse | None:
        """Return why a node cannot be a peer, or None if it can."""
        me, ours = self._core.me, self._core.federation
        if hello.sender == me:
            return Refuse(me, "self", "you have reached yourself")
        if hello.federation != ours:
            text = f"this node is in federation {ours!r}, not {hello.federation!r}"
            return Refuse(me, "federation", text)
        if max(VERSIONS[0], hello.versions[0]) > min(VERSIONS[1], hello.versions[1]):
            text = f"protocol {VERSIONS[0]} to {VERSIONS[1]} is spoken here"
            return Refuse(me, "version", f"{text}, not {hello.versions}")
        return None

    def _admit(
        self, hello: Hello, now: float, near: bool, calls: Kind, linked: bool
    ) -> Peer | None:
        """Make a node a peer, or update what we know of it; None if it cannot be reached."""
        peer = self._members.peers.get(hello.sender)
        if peer is not None:
            if peer.carried or not by_hub(hello.addresses):
                peer.addresses = hello.addresses
            self._proving.on_hello(peer, hello)
            return peer
        address = self._core.way(hello, near, linked)
        if address is None:
            return None
        before = self._members.met_again(hello.sender)
        if before is not None and not before.renewed:
            self._proving.renew(now)
        data = self._core.kind(address)
        rights = self._core.rights_of(hello.sender, hello.key, data, calls)
        peer = Peer(hello, now, data is Kind.NEAR, rights, calls)
        if self._core.vouching and peer.rights.hub and self._core.vouching.exceeds(peer.id):
            self._core.reject(rights.name, PASSED_ON, "say it in the hub's permissions, too")
        if before is not None:
            peer.interest.resume(before.interest)
            peer.acked = before.acked
        else:
            peer.interest.account = self._members.begin_account()
        peer.control, peer.data = address.control, address.data
        self._members.peers[peer.id] = peer
        self._core.do(tune(peer))
        self._core.tell(PeerJoined(peer.id.hex(), peer.label))
        # Before the announcement: an exchange needs its bridge once its messages are promised.
        self._core.wanted({*peer.interest.keys, *(before.wants if before else ())})
        self._proving.admitted(peer)
        self._proving.announce(peer)
        return peer

    def _open_again(self, hello: Hello) -> None:
        """Replace our link to a peer that says hello to us, if the peer may have cut that link.

        A peer that cut our link has refused it for good: libzmq does not connect again.
        """
        peer = self._members.peers.get(hello.sender)
        if peer is None or not peer.link or peer.carried or self._core.policy is None:
            return
        if peer.shut or hello.epoch > peer.interest.epoch:
            self._core.do(Redial(peer.link, peer.key))
            self._core.do(Send(peer.link, self._core.hello()))

    def link(self, peer: Peer, now: float, near: bool = False) -> None:
        """Dial a peer at the address that its own hello has told us."""
        address = self._core.choose(peer.addresses, peer.key, near or peer.near)
        if address is None:
            return
        if peer.dialled != address.control:
            self._undial(peer)
            peer.dialled = address.control
        self._link_to(address.control, peer, now)

    def _link_to(self, endpoint: str, peer: Peer, now: float) -> None:
        """Dial a peer; if a hub leads to it, it is linked at once."""
        self.candidates.add(endpoint, "hello", now, peer.key)
        candidate = self._members.candidates.get(endpoint)
        if candidate is not None and node_at(candidate.endpoint):
            # Its hello came through the hub, so a message of ours reaches it that way.
            candidate.state, candidate.peer = State.LINKED, peer.id
            peer.link, peer.ponged_at = candidate.endpoint, now

    def found_nowhere(self, peer: Peer, now: float) -> bool:
        """Return whether a peer that speaks to us is not where it says, and a hub leads to it.

        It spoke to us before we knew that the hub leads to it. With keys, it may have other rights
        by way of the hub.
        """
        led = self._core.policy is not None and peer.id in self._core.led_to
        unmet = peer.link is None and not peer.carried and peer.unproven_at is not None
        return led and unmet and now - peer.joined_at >= UNANSWERED_AFTER

    def redial(self, peer: Peer, now: float) -> None:
        """Replace a link that is not answered, by one to the same address or to the next one.

        The peer may have told us other addresses since, on its own link: because it has moved, or
        because we cannot reach it at the one that we tried. A fresh link begins with a hello, which
        tells the peer where we are now, in case it is we who have moved.
        """
        link, peer.ponged_at, peer.pinged_at = peer.link, now, None
        assert link is not None
        usable = self._core.usable(peer.addresses, peer.key, peer.near)
        there = [address for address in usable if self._core.kind(address) is peer.kind]
        tried = [n for n, address in enumerate(there) if address.control == link]
        following = there[(tried[0] + 1) % len(there)] if tried else next(iter(there), None)
        # On this host a peer is stopped, and has not moved; and one that refuses our key is there.
        stays = bool(tried) and (link.startswith("ipc:") or peer.shut)
        if following is None or following.control == link or stays:
            self._core.do(Redial(link, peer.key))
            self._core.do(Send(link, self._core.hello()))
            return
        self._core.do(CloseLink(link))
        candidate = self._members.candidates.pop(link)
        peer.link, peer.control, peer.data = None, following.control, following.data
        peer.dialled = following.control
        self._core.do(tune(peer))
        self.candidates.add(following.control, "hello", now, peer.key)
        if candidate.lasting and not candidate.hearsay:
            self.candidates.add(link, candidate.source, now, candidate.key)

    def ask_around(self, now: float) -> None:
        """Say hello to one peer after the other: their welcomes name the nodes that they know.

        Two nodes may have missed each other: because the nodes that introduce others know only one
        of several ways to them, or because the network was partitioned.
        """
        if now < self._ask_around_at:
            return
        self._ask_around_at = now + GOSSIP_EVERY
        linked = sorted(p.id for p in self._members.peers.values() if p.link)
        if linked:
            later = [node for node in linked if node > self._asked_last]
            self._asked_last = (later or linked)[0]
            link = self._members.peers[self._asked_last].link
            assert link is not None
            self._core.do(Send(link, self._core.hello()))

    def _undial(self, peer: Peer) -> None:
        """Stop dialling an endpoint that was dialled only because the peer's hello named it."""
        candidate = self._members.candidates.get(peer.dialled)
        if candidate is not None and candidate.source == "hello":
            self.candidates.drop(peer.dialled)

    # ------------------------------------------------------------------------- answers

    def expected(self, message: Control, link: str, now: float) -> bool:
        """Return whether an answer on a link is to be looked at; a link should lead to one node.

        If the answer comes from another node than before, that one has taken over the endpoint and
        the old one is gone.
        """
        candidate = self._members.candidates.get(link)
        if candidate is None:
            return False
        peer = self._members.linked_to(link)
        if peer is not None and peer.link == link and peer.id != message.sender:
            self.left(peer, "gone", now)
            return link in self._members.candidates
        return True

    def on_welcome(
        self, welcome: Welcome, link: str | None, now: float, channel: Channel = OURS
    ) -> None:
        """Make the node at the other end of a link a peer, and dial the nodes that it knows."""
        candidate = self._members.candidates.get(link) if link else None
        if candidate is None or link is None:
            return
        if self._members.has_ended(welcome.sender, channel.kind):
            return
        near = channel.kind is Kind.NEAR
        objection = self.objection(welcome.hello)
        if objection is None and not self._room_for(welcome.hello, None, link, now):
            return
        calls = self._let_in_anew(welcome.hello, channel.kind, now)
        known = self._members.peers.get(welcome.sender)
        if known is not None and known.shut:
            known.shut = False
            self.tune(known, now)  # the connection to its data was refused as well
        peer = None if objection else self._admit(welcome.hello, now, near, calls, True)
        if peer is None:
            why = objection or Refuse(self._core.me, "unreachable", "it has no address for us")
            self.candidates.refused(candidate, why, now)
            return
        candidate.state, candidate.peer, candidate.reason = State.LINKED, peer.id, ""
        self._members.given.answered(link)
        carried = peer.carried or node_at(peer.link or "")
        if (carried and not node_at(link)) or (self._core.policy and channel.kind > peer.kind):
            self._go_direct(peer, welcome.hello, link, now, near)
        elif peer.link is not None and peer.link != link:
            # A second way to the same node: one link is enough.
            self._core.do(CloseLink(link))
        else:
            peer.link, peer.ponged_at = link, now
        keys = dict(welcome.keys)
        room = True
        for node, addresses in welcome.known[:MAX_PEERS]:
            # Once there is no room, nodes that are new to us are skipped: there may be thousands.
            if node != self._core.me and (room or node in self._members.peers):
                room = self._gossip(node, addresses, keys.get(node, b""), near, now)

    def _gossip(
        self, node: bytes, addresses: tuple[Address, ...], key: bytes, near: bool, now: float
    ) -> bool:
        """Dial a node that a peer told us of; return whether there may be room for another one."""
        peer = self._members.peers.get(node)
        if peer is None:
            # A key that we only heard of gives no rights: it has to be authorized here.
            address = self._core.choose(addresses, key, near)
            if address:
                return self.candidates.add(address.control, "gossip", now, key)
        elif now - peer.heard_at >= PROBE_AFTER:
            # The node may have moved, and so may we: then only others know where it is now.
            fresh = [a for a in addresses if a not in peer.addresses]
            peer.addresses = (*peer.addresses, *fresh)[:MAX_ADDRESSES]
        return True

    def _go_direct(self, peer: Peer, hello: Hello, link: str, now: float, near: bool) -> None:
        """Move to the link on which a peer has answered: it is direct, or proves more."""
        address = self._core.choose(hello.addresses, hello.key, near)
        if address is not None:
            peer.link, peer.ponged_at, peer.addresses = link, now, hello.addresses
            before = peer.data
            peer.control, peer.data = address.control, address.data
            peer.near = self._core.kind(address) is Kind.NEAR
            if before != peer.data:
                self.tune(peer, now)

    def _let_in_anew(self, hello: Hello, kind: Kind, now: float) -> Kind:
        """Let a peer go that we reach by a better kind of connection, if its rights differ there.

        Return by which kind of connection the node speaks to us, as far as we know. A node that
        hubs lead to may have no other way to us, until it has used one.
        """
        led = kind is Kind.KEY and self._core.vouched(hello.sender) is not None
        peer = self._members.peers.get(hello.sender)
        calls = max(Kind.HUB if led else kind, peer.calls if peer else Kind.HUB)
        if self._core.policy and peer is not None and kind > peer.kind:
            rights = self._core.rights_of(peer.id, hello.key, kind, calls)
            if not replace(rights, hub=False).equal(replace(peer.rights, hub=False)):
                peer.dialled = ""  # that link stays
                self.left(peer, "permissions", now)
        return calls

    def judge_carried(self, now: float) -> None:
        """Let the peers go that hubs speak for and whose rights have changed.

        Those that are still permitted come back, and all that they want and send is judged afresh.
        """
        leaving: list[tuple[Peer, str]] = []
        for peer in self._members.peers.values():
            carrier = self._core.vouched(peer.id) if Kind.HUB in (peer.kind, peer.calls) else None
            if carrier is None:
                continue
            rights = self._core.rights_of(peer.id, peer.key, peer.kind, peer.calls)
            if not rights.equal(peer.rights):
                known = carrier.hub or peer.kind is not Kind.HUB
                leaving.append((peer, "permissions" if known else "revoked"))
        if leaving:
            self._proving.renew(now, [peer for peer, _ in leaving])
        for peer, reason in leaving:
            self.left(peer, reason, now, renewed=True)

    def tune(self, peer: Peer, now: float) -> None:
        """Receive a peer by another way than before, which has to be proven."""
        peer.unproven_at = now
        self._core.do(tune(peer))

    def leave(self, heads: dict[str, int]) -> None:
        """Say goodbye to every node that we said hello to.

        A node that took us for a peer may not have answered yet.
        """
        numbering = self._core.numbering
        numbers = numbering.numbers(heads) if numbering else heads
        for candidate in self._members.candidates.values():
            if candidate.state in (State.DIALING, State.LINKED):
                peer = self._members.peers.get(candidate.peer or b"")
                told = heads if peer and peer.forgets else numbers
                self._core.do(Send(candidate.endpoint, Bye(self._core.me, told)))

    def left(
        self,
        peer: Peer,
        reason: str,
        now: float,
        heads: dict[str, int] | None = None,
        renewed: bool = False,
    ) -> None:
        """Forget a peer and all that was dialled for it; ``renewed`` if a new epoch was begun."""
        if peer.carried and not renewed and reason not in ("bye", "gone"):
            # It may come back by the connection that all nodes behind the hub share, where the
            # token of our last epoch still stands. The peer must not answer that one, because we
            # no longer know how far we were with it.
            self._proving.renew(now)
            renewed = True
        del self._members.peers[peer.id]
        self._core.restless = True
        final = reason == "bye"
        if final:
            self._members.ended.leave(peer.id, self._said_by(peer, heads), now)
        else:
            self._members.lapse(peer, now, renewed, reason in ("revoked", "crowded out"))
        self._undial(peer)
        self._core.do(CloseReceiver(peer.id, heads or {}, final, peer.acked))
        self._core.wanted({*peer.interest.keys, *self._members.expire(now)})
        self._core.tell(PeerLeft(peer.id.hex(), peer.label, reason))
        for candidate in [c for c in self._members.candidates.values() if c.peer == peer.id]:
            self._core.do(CloseLink(candidate.endpoint))
            del self._members.candidates[candidate.endpoint]
            hub_leads = not final and peer.id in self._core.led_to
            if hub_leads if node_at(candidate.endpoint) else candidate.lasting:
                source = "gossip" if candidate.hearsay else candidate.source
                self.candidates.add(candidate.endpoint, source, now, candidate.key)

    def _said_by(self, peer: Peer, heads: dict[str, int] | None) -> Kind:
        """Return by which kind of connection a goodbye came: with heads, the peer's own.

        Without heads, a hub has said it.
        """
        if self._core.policy is None:
            return Kind.NEAR
        return peer.calls if heads is not None else peer.kind
