"""Who holds the senders up, for how long, and what is held for whom. Control thread only.

A peer that acknowledges nothing for ``stall`` seconds while senders wait for it is slow:
it holds nobody any more, until it has caught up into the ring. Seconds in which this thread did
not run are not held against it.
"""

from collections.abc import Callable, Iterable, Mapping

from ...protocol.delivery.stalls import Stalling, Turns
from ...protocol.session.peers import Peer
from ...protocol.session.session import Session
from ...protocol.wire.data import topic
from ..outbound.publisher import Publisher
from .answers import Answers

BEACONS_MOST = 500
"""Exchanges asked about at a time. They lie in the same pipe as what is sent, and may fill it."""
BEACON_EVERY = 0.5
"""Seconds between two beacons while something is not acknowledged: it shows a lost tail.
While senders wait, there is one at every look for each peer: it tells all that it has then."""


class SlowPeerMonitor:
    """The clock of one node's window."""

    def __init__(
        self, session: Session, outbound: Publisher, answers: Answers, stall: float
    ) -> None:
        self._session = session
        self._outbound = outbound
        self._answers = answers
        self._stalling = Stalling(stall)
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
            names = set(outbound.window.holders().values())
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
        for node in [node for node in slow if node in peers]:
            if not slow[node].told:
                slow[node].told = True
                self._session.slow(peers[node], True)
            # Who has dropped what it lacked has nothing to acknowledge, and is slow no more.
            if not self.lags(peers[node], heads):
                self._answers.acknowledged(node, {})

    def _unacknowledged(self) -> set[str]:
        """Return the exchanges of which a peer, healthy or slow, has not all."""
        names = self._outbound.window.unacknowledged()
        slow = self._outbound.window.slow_peers()
        return names | self._lacking(self._outbound.heads(), slow) if slow else names

    def _lacking(self, goal: Mapping[str, int], nodes: Iterable[bytes]) -> set[str]:
        """Return the exchanges of which some peers lack something of ``goal``."""
        peers = self._session.members.peers
        there = [peers[node] for node in nodes if node in peers]
        return {name for peer in there for name in filter(self.lacks(peer, goal), goal)}

    def beacon(self, goal: Mapping[str, int]) -> None:
        """Ask peers that lag behind ``goal`` how far they are.

        By some of the exchanges, and by others the next time: by one a peer tells all that it has.
        """
        names = self._lacking(goal, self._session.members.peers)
        self._outbound.beacon((n, topic(n)) for n in self._turns.take(names, BEACONS_MOST))

    def lacks(self, peer: Peer, goal: Mapping[str, int]) -> Callable[[str], bool]:
        """Return what tells whether a peer is promised an exchange and has not acknowledged it.

        Up to where ``goal`` says. What it was promised counts while its connection is cut, too.
        """
        acked, promised = peer.acked, self._outbound.window.promised(peer.id)
        lacks = self._outbound.numbering.lacks
        return lambda name: lacks(name, goal[name], acked) and promised.covers(name)

    def lags(self, peer: Peer, goal: Mapping[str, int]) -> bool:
        """Return whether a peer lacks something of ``goal``."""
        return any(map(self.lacks(peer, goal), goal))

    def keep_promises(self) -> None:
        """Have held for each peer what it is promised now, and no more."""
        for node, peer in self._session.members.peers.items():
            interest = peer.interest
            state = (interest.epoch, interest.announced)
            # A peer whose connection is cut (nothing is announced to it) is held for.
            if interest.announced and peer.held_for != state:
                peer.held_for = state
                held = interest.held(interest.announced)
                self._outbound.window.promise(node, held, peer.forgets)
