"""The exchanges on which nodes answer: ours are told to peers, and theirs are kept.

A peer is told only the exchanges on which it may ask, so those on which it may publish. It counts
as a responder once our messages on the exchange are promised to it, and its replies reach us: that
is, once both directions are proven.
"""

from collections.abc import Iterable

from ..wire.messages import Hello, Responders, Resync
from .peers import Peer
from .state import SessionState


class Answering:
    """Tells peers on which exchanges we answer, and knows on which they do."""

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

    def tell_all(self, peer: Peer) -> None:
        """Tell a peer the whole list, because it has missed a change."""
        core = self._core
        if peer.answers and core.responders.number:
            core.say(peer, core.responders.whole(core.me, peer.rights.may_publish))

    def on_hello(self, peer: Peer, hello: Hello) -> None:
        """Take the list in a hello of a peer that we know already."""
        peer.responders.take(Responders(peer.id, hello.responders[0], 0, hello.responders[1]))
        self._core.restless = True

    def on_responders(self, peer: Peer, message: Responders) -> None:
        """Take a change of a peer's list, or ask for the whole if one was missed."""
        if peer.responders.take(message):
            self._core.restless = True
        else:
            self._core.say(peer, Resync(self._core.me))

    def there(self) -> dict[str, list[Peer]]:
        """Return the peers that can be asked now, by exchange."""
        found: dict[str, list[Peer]] = {}
        for peer in self._core.members.peers.values():
            if peer.ready_epoch and peer.interest.announced:
                for name in peer.responders.names:
                    if peer.interest.in_force(name):
                        found.setdefault(name, []).append(peer)
        return found
