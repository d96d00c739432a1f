"""Exchanges that peers are to forget: told in portions, each repeated until it is answered.

A name that was used once must not cost memory for good, at either end. So an origin forgets
exchanges of which nobody needs to know the past, and has its peers forget them, too. This only
saves memory: if such an exchange is used again, the origin numbers it after all places that it has
forgotten, whether or not a receiver was told (see `sequence`). Peers are told on the data path, so
that it comes after all messages of these exchanges, and after each beacon. A beacon that came later
would seem to belong to an exchange that begins, and all messages before it would seem to be
missing. Nothing here knows which exchanges are to be forgotten.
"""

from collections.abc import Mapping

from ..wire.messages import Forgot
from .effects import HaveForgotten
from .peers import Peer
from .state import SessionState

PORTION = 1000
"""Names told at a time; each has 255 bytes at most."""
AGAIN = 1.0
"""Seconds after which a portion that was not answered is told again."""
WAITING_MOST = 10_000
"""Names that may wait for one peer: while as many wait, no more exchanges are forgotten."""


class Forgetting:
    """The portions for each peer: names that wait, and names that were told and not answered."""

    def __init__(self, core: SessionState) -> None:
        self._core = core

    @property
    def keeps_up(self) -> bool:
        """Whether more exchanges may be forgotten: for no peer do too many names wait."""
        peers = self._core.members.peers.values()
        return all(len(peer.to_forget) < WAITING_MOST for peer in peers)

    def forget(self, names: Mapping[str, int], told: Mapping[bytes, Mapping[str, int]]) -> None:
        """Take note that exchanges were forgotten.

        Args:
            names: all of them, and their heads.
            told: by peer, those that it was promised and has received in full.
        """
        for peer in self._core.members.peers.values():
            for name in names:
                peer.acked.pop(name, None)
            if peer.forgets:
                peer.to_forget.update(told.get(peer.id, {}))

    def tick(self, peer: Peer, now: float) -> None:
        """Tell a peer the next portion, or the last one again."""
        if not peer.forgetting and peer.to_forget:
            self._next(peer)
            peer.forget_at = 0.0
        epoch = peer.interest.announced
        if epoch and peer.forgetting and now >= peer.forget_at:
            peer.forget_at = now + AGAIN
            self._core.do(HaveForgotten(peer.id, epoch, peer.forgot, peer.forgetting))

    def _next(self, peer: Peer) -> None:
        waiting = peer.to_forget
        portion = list(waiting)[:PORTION]
        peer.forgetting = {name: waiting.pop(name) for name in portion}
        peer.forgot += 1

    def has_forgotten(self, node: bytes, number: int) -> None:
        """Take note that we have forgotten what a peer told us to, and tell it so."""
        peer = self._core.members.peers.get(node)
        if peer is not None:
            self._core.say(peer, Forgot(self._core.me, number))

    def on_forgot(self, peer: Peer, answer: Forgot, now: float) -> None:
        """Take a peer's answer, and tell it the next portion."""
        if answer.number == peer.forgot:
            peer.forgetting = {}
            self.tick(peer, now)
