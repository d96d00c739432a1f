"""What peers are to forget, told in portions, each again until it is answered.

A name that was used once must not cost memory for good, at either end. So an origin forgets
exchanges that nobody needs to be remembered, and has its peers forget them, too. That is
housekeeping and no more: the origin counts such an exchange on behind all places that it has
forgotten, whether or not a receiver was told (see `sequence`). They are told by the data
path, where it comes after all messages of these exchanges, and after each beacon: one that came
after it would seem to be of an exchange that begins, and all before it to be missing. Which
exchanges those are is not known here.
"""

from collections.abc import Mapping

from ..wire.messages import Forgot
from .effects import HaveForgotten
from .peers import Peer
from .state import SessionState

PORTION = 1000
"""Names told at a time; each has 255 bytes at most."""
AGAIN = 1.0
"""Seconds after which a portion is told again that was not answered."""
WAITING_MOST = 10_000
"""Names that a peer is still to be told: while one waits for as many, none are forgotten."""


class Forgetting:
    """What each peer is still to be told, and what it has been told and has not answered."""

    def __init__(self, core: SessionState) -> None:
        self._core = core

    @property
    def keeps_up(self) -> bool:
        """Whether more may be forgotten: no peer is far behind."""
        peers = self._core.members.peers.values()
        return all(len(peer.to_forget) < WAITING_MOST for peer in peers)

    def forget(self, names: Mapping[str, int], told: Mapping[bytes, Mapping[str, int]]) -> None:
        """Take note that exchanges were forgotten.

        Args:
            names: all of them, and their heads.
            told: those that each peer was promised, and has all of.
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
        """Take note that we have forgotten what a peer told us to, and say so."""
        peer = self._core.members.peers.get(node)
        if peer is not None:
            self._core.say(peer, Forgot(self._core.me, number))

    def on_forgot(self, peer: Peer, answer: Forgot, now: float) -> None:
        """Take an answer, and go on."""
        if answer.number == peer.forgot:
            peer.forgetting = {}
            self.tick(peer, now)
