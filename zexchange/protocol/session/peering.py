"""How candidates become peers, and how peers end.

A candidate is greeted until it welcomes or refuses us; whoever is welcomed, or says
hello itself, is a peer, and is dialled if there is no link to it yet. Every step may
come twice or not at all. What peers want, and its proof, is the business of `readiness`.
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
"""New peers taken: each costs sockets. Whoever has to wait says hello again in a second."""
INTRODUCED = 4, 1
"""New peers that one connection may bring, at once and a second: a node brings itself."""
MAX_UNREACHED = 1000
"""Nodes remembered of which no address can be reached from here."""
PASSED_ON = "its hub gives it what it may not have here"
"""The reason where two files disagree: what many may have, a hub cannot keep from one for us."""


class Peering:
    """Admits, links and lets go."""

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
        """Take the answer to a `Probe`."""
        for peer in self._members.peers.values():
            if (peer.link or peer.control) == endpoint:
                if not listening and now - peer.heard_at >= PROBE_AFTER:
                    self.left(peer, "gone", now)
                    return
                break  # who is heard may be dialled there still, in place of one who has left
        candidate = self._members.candidates.get(endpoint)
        if candidate is not None and candidate.state in (State.DIALING, State.DEAD):
            candidate.state = State.DIALING if listening else State.DEAD
            candidate.listens, candidate.obstacle = listening, candidate.obstacle * listening

    def shut_out(self, endpoint: str, now: float) -> None:
        """Take note that our key was refused at an endpoint: libzmq does not connect again."""
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
            text = "none of your addresses can be reached from here"
            core.refuse(route, Refuse(core.me, "unreachable", text), now)
            # The first hello may be the last of one who has left since, sockets and all.
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
        """Return whether there is room for a peer; if not for long, tell it so."""
        core, peers = self._core, self._members.peers
        if hello.sender in peers:
            return True
        # First by whom it comes: one that makes nodes up takes no place of others'.
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
        """Make a node a peer, or renew what we know of it; None if it cannot be reached."""
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
        # Before the announcement: what is promised must find its bridge in place.
        self._core.wanted({*peer.interest.keys, *(before.wants if before else ())})
        self._proving.admitted(peer)
        self._proving.announce(peer)
        return peer

    def _open_again(self, hello: Hello) -> None:
        """Replace our link to a peer that greets us: it has cut us off before, perhaps.

        Then our link has been refused for good.
        """
        peer = self._members.peers.get(hello.sender)
        if peer is None or not peer.link or peer.carried or self._core.policy is None:
            return
        if peer.shut or hello.epoch > peer.interest.epoch:
            self._core.do(Redial(peer.link, peer.key))
            self._core.do(Send(peer.link, self._core.hello()))

    def link(self, peer: Peer, now: float, near: bool = False) -> None:
        """Dial a peer that we know only from its own hello."""
        address = self._core.choose(peer.addresses, peer.key, near or peer.near)
        if address is None:
            return
        if peer.dialled != address.control:
            self._undial(peer)
            peer.dialled = address.control
        self._link_to(address.control, peer, now)

    def _link_to(self, endpoint: str, peer: Peer, now: float) -> None:
        """Dial a peer; by a hub that leads to it there is nothing to wait for."""
        self.candidates.add(endpoint, "hello", now, peer.key)
        candidate = self._members.candidates.get(endpoint)
        if candidate is not None and node_at(candidate.endpoint):
            # The way that its hello came by leads back.
            candidate.state, candidate.peer = State.LINKED, peer.id
            peer.link, peer.ponged_at = candidate.endpoint, now

    def found_nowhere(self, peer: Peer, now: float) -> bool:
        """Return whether a peer that calls us is not where it says, and a hub leads to it.

        It called before we knew of the hub's way. With keys it may do something else by that.
        """
        led = self._core.policy is not None and peer.id in self._core.led_to
        unmet = peer.link is None and not peer.carried and peer.unproven_at is not None
        return led and unmet and now - peer.joined_at >= UNANSWERED_AFTER

    def redial(self, peer: Peer, now: float) -> None:
        """Replace a link that is not answered: to the same address, or to the next one.

        The peer may have told us of other addresses since, on its own link: it has moved,
        or cannot be reached where we have tried. A fresh link begins with a hello, which
        tells the peer where we are now, should it be we who have moved.
        """
        link, peer.ponged_at, peer.pinged_at = peer.link, now, None
        assert link is not None
        usable = self._core.usable(peer.addresses, peer.key, peer.near)
        there = [address for address in usable if self._core.kind(address) is peer.kind]
        tried = [n for n, address in enumerate(there) if address.control == link]
        following = there[(tried[0] + 1) % len(there)] if tried else next(iter(there), None)
        # Stopped, and not away, if it is on this host; and who refuses our key is there.
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
        """Say hello to one peer after the other: the answers tell whom they know by now.

        Two nodes may have missed each other, where those who introduce others know only
        one of several ways to them, or while the network was parted.
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
        """Let go of what was dialled only because the peer said so."""
        candidate = self._members.candidates.get(peer.dialled)
        if candidate is not None and candidate.source == "hello":
            self.candidates.drop(peer.dialled)

    # ------------------------------------------------------------------------- answers

    def expected(self, message: Control, link: str, now: float) -> bool:
        """Tell whether an answer on a link comes from the node that the link leads to.

        If it does not, another node has taken over the endpoint: the old one is gone.
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
        """Make the node at the other end of a link a peer, and dial whom it knows."""
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
            # Once there is none, who is new to us is not looked at: the rest may be thousands.
            if node != self._core.me and (room or node in self._members.peers):
                room = self._gossip(node, addresses, keys.get(node, b""), near, now)

    def _gossip(
        self, node: bytes, addresses: tuple[Address, ...], key: bytes, near: bool, now: float
    ) -> bool:
        """Dial a node that a peer spoke of; return whether there may be room for another one."""
        peer = self._members.peers.get(node)
        if peer is None:
            # A key that is hearsay opens nothing: it has to be authorized here.
            address = self._core.choose(addresses, key, near)
            if address:
                return self.candidates.add(address.control, "gossip", now, key)
        elif now - peer.heard_at >= PROBE_AFTER:
            # It may have moved, and we as well: then only others know where it is now.
            fresh = [a for a in addresses if a not in peer.addresses]
            peer.addresses = (*peer.addresses, *fresh)[:MAX_ADDRESSES]
        return True

    def _go_direct(self, peer: Peer, hello: Hello, link: str, now: float, near: bool) -> None:
        """Leave the way through hubs to a peer that answers directly."""
        address = self._core.choose(hello.addresses, hello.key, near)
        if address is not None:
            peer.link, peer.ponged_at, peer.addresses = link, now, hello.addresses
            before = peer.data
            peer.control, peer.data = address.control, address.data
            peer.near = self._core.kind(address) is Kind.NEAR
            if before != peer.data:
                self.tune(peer, now)

    def _let_in_anew(self, hello: Hello, kind: Kind, now: float) -> Kind:
        """Let a peer go that we reach by a better kind of connection, if it may do other things.

        Return by what it speaks to us, as far as we know: one that hubs lead to may have no other
        way to us, until it has used one.
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
        """Let the peers go that hubs speak for and that may do something else now.

        They come back, where they may, and are judged anew in all that they want and send.
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
        """Say goodbye wherever we said hello: who took us for a peer may not have answered yet."""
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
        """Forget a peer, and what was done for it; ``renewed`` if a new epoch was begun."""
        if peer.carried and not renewed and reason not in ("bye", "gone"):
            # It may come back by the connection that all behind the hub share, where the token
            # of our last epoch still is. It must not answer that: we have forgotten where we stood.
            self._proving.renew(now)
            renewed = True
        del self._members.peers[peer.id]
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
        """Return who says that a peer has left: itself, with its heads, or its hub."""
        if self._core.policy is None:
            return Kind.NEAR
        return peer.calls if heads is not None else peer.kind
