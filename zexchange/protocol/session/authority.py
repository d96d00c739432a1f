"""Whether a message may speak for the node whose id it gives, judged by its connection.

Anybody can write any node's id into a message; only the connection proves something. There are
three kinds of connections (see `Kind`), from the weakest to the strongest:

- ``HUB``: a hub that is authorized to do so vouches for the sender.
- ``KEY``: the other end has proven to have a key, and the id belongs to that key.
- ``NEAR``: a Unix socket that only processes of this user can reach.

Where nobody has keys, all of them count as `NEAR`, and nothing is judged. With keys, a message
passes three checks. `channel` finds its kind and the rights that come with it, or drops it: its key
is not authorized, or belongs to another id, or no hub of ours vouches for the sender. `as_proven`
then removes from a hello or welcome the addresses and the key that this kind of connection cannot
vouch for. We pass on the addresses that we know, and our peers would take a false one for our word.

`heeds` compares the kind with the best one by which this peer has spoken so far (`Peer.calls`). The
same kind counts. By a better kind, the peer speaks by that one from now on. If it has other rights
there, or if somebody has told us another interest in its name before, we let it go, and it joins
afresh. A message by a lesser kind changes nothing, though a ping or hello is answered: a hub could
say anything in the peer's name, and another process with the same key may have fewer rights than
one at a Unix socket. Once the peer has been silent on its own connection for `SILENT_AFTER`
seconds, the lesser kind is believed: the peer has left, and comes back that way.
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
"""The reason of rejecting a message that came by a lesser kind of connection."""
_OTHER_KEY = "that node id is of another key"


class Authority:
    """Decides whether a message counts as said by the node whose id it gives."""

    def __init__(self, core: SessionState, joining: Peering) -> None:
        self._core = core
        self._joining = joining
        self._members = core.members

    def channel(
        self, message: Control, route: Any, key: bytes, hub: str, now: float
    ) -> Channel | None:
        """Return by what a message came; None if nobody there may speak for its sender."""
        core = self._core
        if core.policy is None:
            return OURS
        if hub:
            rights = core.vouched(message.sender, hub)
            # If the hub has not told us of the sender yet, the message is dropped and comes again.
            return Channel(Kind.HUB, rights) if rights is not None and rights.hub else None
        if not key:
            return OURS
        if not self._credible(message, route, key, now):
            return None
        return Channel(Kind.KEY, core.rights_by(message.sender, key, Kind.KEY))

    def as_proven(self, message: Control, kind: Kind, key: bytes) -> Control:
        """Return a message without the claims that its kind of connection does not prove.

        Only a hub may tell addresses of hubs, and only a node met at a Unix socket may tell
        addresses of Unix sockets. We keep these addresses and pass them on, and others would take
        them for our word.
        """
        if isinstance(message, Hello):
            return self._proven(message, kind, key)
        if isinstance(message, Welcome):
            known = tuple((node, _credited(addresses, kind)) for node, addresses in message.known)
            return replace(message, hello=self._proven(message.hello, kind, key), known=known)
        return message

    def _proven(self, hello: Hello, kind: Kind, key: bytes) -> Hello:
        """Return a hello with the key and the addresses that its connection proves."""
        policy = self._core.policy
        if kind is Kind.HUB:
            key = (policy and policy.owner(hello.sender)) or b""
        elif kind is Kind.NEAR:
            key = hello.key
        return replace(hello, key=key, addresses=_credited(hello.addresses, kind))

    def _credible(self, message: Control, route: Any, key: bytes, now: float) -> bool:
        """Return whether a key is authorized and owns the sender's id; if not, reject it."""
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
        """Return whether a message counts that came by a channel; let its peer go if necessary.

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
        """Judge an answer on a link of ours; on the one that leads to the peer, all of them count.

        On another link a refusal counts, and a welcome by a kind that is no worse than the peer's.
        """
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
        """Note that a peer speaks by a better kind of connection from now on."""
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
        """Judge a message by a lesser kind: it counts once the peer is silent on its own."""
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
    """Return whether a hello fits the interest that we were told in this peer's name so far."""
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
