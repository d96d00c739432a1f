"""Who holds the senders up, for how long, and what is held for whom. Control thread only.

A peer that acknowledges nothing for ``stall`` seconds while senders wait for it is slow:
it holds nobody any more, until it has caught up into the ring. Seconds in which this thread did
not run are not held against it.
"""

from collections.abc import Iterable

from ...protocol.delivery.stalls import Stalling, Turns
from ...protocol.session.session import Session
from ...protocol.wire.data import topic
from ..outbound.publisher import Publisher
from .answers import Answers
from .executor import BEACONS_MOST, EffectExecutor

BEACON_EVERY = 0.5
"""Seconds between two beacons while something is not acknowledged: it shows a lost tail.
While senders wait, there is one at every look for each peer: it tells all that it has then."""


class SlowPeerMonitor:
    """The clock of one node's window."""

    def __init__(
        self,
        session: Session,
        outbound: Publisher,
        effects: EffectExecutor,
        answers: Answers,
        stall: float,
    ) -> None:
        self._session = session
        self._outbound = outbound
        self._effects = effects
        self._answers = answers
        self._stalling = Stalling(stall)
        self._kept: dict[bytes, tuple[int, int]] = {}
        self._beacon_at = 0.0
        self._turns = Turns()

    def look(self, now: float) -> None:
        """Let time pass: find the slow, and ask who has not acknowledged."""
        self._find_slow(now)
        self._outbound.window.expire(now)
        outbound = self._outbound
        if now >= self._beacon_at:
            self._beacon_at = now + BEACON_EVERY
            names: Iterable[str] = self._turns.take(self._unacknowledged(), BEACONS_MOST)
        elif outbound.window.full:
            names = outbound.window.foremost()
        else:
            return
        outbound.beacon((n, topic(n)) for n in names)

    def _find_slow(self, now: float) -> None:
        outbound, peers = self._outbound, self._session.members.peers
        # Whatever a peer has acknowledged since is progress.
        progress = {
            node: peers[node].progress if node in peers else 0 for node in outbound.window.holders()
        }
        for node in self._stalling.look(progress, now):
            outbound.window.slow(node)
        slow = outbound.window.slow_peers()
        heads = outbound.heads() if slow else {}
        for node in slow.keys() & peers.keys():
            if not slow[node].told:
                slow[node].told = True
                self._session.slow(peers[node], True)
            # Who has dropped what it lacked has nothing to acknowledge, and is slow no more.
            if not self._effects.lags(peers[node], heads):
                self._answers.acknowledged(node, {})

    def _unacknowledged(self) -> set[str]:
        """Return the exchanges of which a peer, healthy or slow, has not all."""
        names = self._outbound.window.unacknowledged()
        peers = self._session.members.peers
        lagging = [peers[node] for node in self._outbound.window.slow_peers() if node in peers]
        if lagging:
            heads = self._outbound.heads()
            for peer in lagging:
                acked, in_force = peer.acked, peer.interest.in_force
                names.update(n for n, h in heads.items() if acked.get(n, 0) < h and in_force(n))
        return names

    def keep_promises(self) -> None:
        """Have held for each peer what it is promised now, and no more."""
        for node, peer in self._session.members.peers.items():
            interest = peer.interest
            state = (interest.epoch, interest.announced)
            # A peer whose connection is cut (nothing is announced to it) is held for.
            if interest.announced and self._kept.get(node) != state:
                self._kept[node] = state
                held = interest.held(interest.announced)
                self._outbound.window.promise(node, held, peer.forgets)
        for node in set(self._kept) - set(self._session.members.peers):
            del self._kept[node]
