"""Whether a peer speaks for itself: judged by the connection that its message came by.

A peer may be heard by several kinds of connections, under one id. It counts by the best one that
it has used. What comes by a lesser one is not taken: a hub could say anything in its name, and
another process that has its key might do less than it may at a Unix socket. By a better one it
comes into its own, and is let go of and met again if it may do something else there.
"""

from dataclasses import replace
from typing import Any

from ..interest.permitted import PermittedInterest, as_seen_by
from ..security.channel import OURS, Channel, Kind
from ..security.keys import belongs
from ..wire.envelopes import by_hub
from ..wire.messages import Address, Control, Hello, Ping, Pong, Refuse, Stranger, Welcome
from .effects import CloseLink
from .peering import Peering
from .peers import SILENT_AFTER, Peer, State
from .state import SessionState

ELSEWHERE = "it speaks by a better way than this"
"""The reason of what is not taken."""
_OTHER_KEY = "that node id is of another key"


class Authority:
    """Judges what comes under a peer's id."""

    def __init__(self, core: SessionState, joining: Peering) -> None:
        self._core = core
        self._joining = joining
        self._members = core.members

    def channel(
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

    def as_proven(self, message: Control, kind: Kind, key: bytes) -> Control:
        """Return a message as far as its sender may say it by a kind of connection.

        Without the ways of which it may not speak: of those through hubs only hubs may, and of Unix
        sockets only who was met at one. What is kept, and told on, would else be believed of us.
        """
        if isinstance(message, Hello):
            return self._proven(message, kind, key)
        if isinstance(message, Welcome):
            known = tuple((node, _credited(addresses, kind)) for node, addresses in message.known)
            return replace(message, hello=self._proven(message.hello, kind, key), known=known)
        return message

    def _proven(self, hello: Hello, kind: Kind, key: bytes) -> Hello:
        """Return a hello that says of a node's key what its connection proves."""
        policy = self._core.policy
        if kind is Kind.HUB:
            key = (policy and policy.owner(hello.sender)) or b""
        elif kind is Kind.NEAR:
            key = hello.key
        return replace(hello, key=key, addresses=_credited(hello.addresses, kind))

    def _credible(self, message: Control, route: Any, key: bytes, now: float) -> bool:
        """Return whether a message speaks for a node that its key may speak for."""
        core = self._core
        rights = core.policy.rights(key) if core.policy else None
        if rights is None:
            core.reject(key.hex(), "key unknown")
        elif not belongs(message.sender, key):
            who = rights.name or key.hex()
            core.reject(who, "identity", f"says to be {message.sender.hex()}, of another key")
            if route is not None:
                core.refuse(route, Refuse(core.me, "identity", _OTHER_KEY), now)
        return rights is not None and belongs(message.sender, key)

    def heeds(
        self, message: Control, channel: Channel, route: Any, link: str | None, now: float
    ) -> bool:
        """Return whether a message counts that came by a channel; let its peer go if it has to.

        Args:
            message: under the id of its sender, which may be a peer.
            channel: by what it came.
            route: where a reply goes, if the message came in at our own endpoint.
            link: the link that it came in on, if it is an answer to us.
            now: seconds on a monotonic clock.
        """
        peer = self._members.peers.get(message.sender)
        if peer is None or self._core.policy is None:
            return True
        if link is not None:
            return self._answers(peer, message, channel, link)
        if channel.kind > peer.calls:
            self._promote(peer, message, channel, now)
        elif channel.kind < peer.calls:
            return self._falls_back(peer, message, channel, route, now)
        return True

    def _answers(self, peer: Peer, message: Control, channel: Channel, link: str) -> bool:
        """Judge what comes on a link of ours: only that to the peer itself speaks for it."""
        if peer.link == link or isinstance(message, Refuse | Stranger):
            return True
        if not isinstance(message, Welcome):
            return False
        if channel.kind >= peer.kind:
            return True
        candidate = self._members.candidates.get(link)
        if candidate is not None:  # a second way to the same node: one link is enough
            candidate.state, candidate.peer, candidate.reason = State.LINKED, peer.id, ""
            self._members.given.answered(link)
            self._core.do(CloseLink(link))
        return False

    def _promote(self, peer: Peer, message: Control, channel: Channel, now: float) -> None:
        """Take a peer at its own word from now on."""
        core = self._core
        rights = core.rights_of(peer.id, peer.key, peer.kind, channel.kind)
        told = PermittedInterest(rights.subscribe)
        spoiled = isinstance(message, Hello) and not _follows(message, peer, told)
        peer.calls = channel.kind
        if spoiled or not rights.equal(peer.rights):
            self._joining.left(peer, "permissions", now)

    def _falls_back(
        self, peer: Peer, message: Control, channel: Channel, route: Any, now: float
    ) -> bool:
        """Judge what comes by a lesser way: it counts once the peer is silent by its own."""
        if now - max(peer.called_at, peer.joined_at) >= SILENT_AFTER:
            self._joining.left(peer, "silent", now)
            return True
        core = self._core
        if isinstance(message, Ping):
            core.reply(route, Pong(core.me))
        elif not isinstance(message, Hello):
            if not peer.rights.within(channel.rights).equal(peer.rights):
                core.reject(channel.rights.name, ELSEWHERE, str(peer.label))
        elif objection := self._joining.objection(message):
            core.refuse(route, objection, now)
        else:
            core.reply(route, Welcome(core.me, as_seen_by(core.hello(), channel.rights)))
        return False


def _follows(hello: Hello, peer: Peer, told: PermittedInterest) -> bool:
    """Return whether a hello may be the next word of who told us of a peer's interest so far."""
    known = peer.interest
    if hello.epoch == known.epoch:
        return set(told.replace(hello.interest)) == set(known.keys)
    return hello.epoch > known.epoch


def _credited(addresses: tuple[Address, ...], kind: Kind) -> tuple[Address, ...]:
    if kind is Kind.HUB:
        return addresses
    if kind is Kind.NEAR:
        return tuple(a for a in addresses if not by_hub((a,)))
    return tuple(a for a in addresses if a.control[:4] == a.data[:4] == "tcp:")
