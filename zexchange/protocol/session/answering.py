"""Where nodes answer, and where they have members of groups: our lists are told, theirs are kept.

A peer is told only the exchanges on which it may ask or send, so those on which it may publish. It
counts as a responder once our messages on the exchange are promised to it, and its replies reach
us: that is, once both directions are proven. Its members count once we are connected both ways: the
messages for them need no interest.
"""

from collections.abc import Callable, Iterable

from ..security.permissions import overlaps
from ..wire.messages import GroupMember, Hello, Members, Responders, Resync
from .peers import Peer
from .state import SessionState


class Answering:
    """Tells peers where we answer and have members, and knows where they do."""

    def __init__(self, core: SessionState) -> None:
        self._core = core

    def change(self, steps: Iterable[tuple[str, bool]]) -> None:
        """Take on which exchanges responders came or went, as steps of (name, answered)."""
        core, own = self._core, self._core.responders
        came, went = own.change(steps)
        if came or went:
            for peer in core.members.peers.values():
                if peer.answers:
                    core.say(peer, own.changed(core.me, came, went, peer.rights.may_publish))

    def change_members(self, steps: Iterable[tuple[GroupMember, bool]]) -> None:
        """Take which members of groups came or went, as steps of (member, whether it is there)."""
        core, own = self._core, self._core.group_members
        came, went = own.change(steps)
        if came or went:
            for peer in core.members.peers.values():
                if peer.shares:
                    core.say(peer, own.changed(core.me, came, went, _may_send_to(peer)))

    def tell_all(self, peer: Peer) -> None:
        """Tell a peer both lists, because it has missed a change of one."""
        core = self._core
        if peer.answers and core.responders.number:
            core.say(peer, core.responders.whole(core.me, peer.rights.may_publish))
        if peer.shares and core.group_members.number:
            core.say(peer, core.group_members.whole(core.me, _may_send_to(peer)))

    def on_hello(self, peer: Peer, hello: Hello) -> None:
        """Take the lists in a hello of a peer that we know already."""
        peer.responders.begin(*hello.responders)
        peer.group_members.begin(*hello.members)
        self._core.restless = True

    def on_change(self, peer: Peer, change: Responders | Members) -> None:
        """Take a change of a peer's list, or ask for the whole if one was missed."""
        if isinstance(change, Responders):
            known = peer.responders.take(change.number, change.base, change.added, change.removed)
        else:
            known = peer.group_members.take(
                change.number, change.base, change.added, change.removed
            )
        if known:
            self._core.restless = True
        else:
            self._core.say(peer, Resync(self._core.me))

    def there(self) -> dict[str, list[Peer]]:
        """Return the peers that can be asked now, by exchange."""
        found: dict[str, list[Peer]] = {}
        for peer in self._core.members.peers.values():
            if peer.ready_epoch and peer.interest.announced:
                for name in peer.responders.entries:
                    if peer.interest.in_force(name):
                        found.setdefault(name, []).append(peer)
        return found

    def members(self) -> list[tuple[Peer, GroupMember]]:
        """Return the members at peers that can be sent to now."""
        peers = self._core.members.peers.values()
        there = [peer for peer in peers if peer.ready_epoch and peer.interest.announced]
        return [(peer, member) for peer in there for member in peer.group_members.entries]


def _may_send_to(peer: Peer) -> Callable[[GroupMember], bool]:
    return lambda member: overlaps(member.key, peer.rights.publish)
