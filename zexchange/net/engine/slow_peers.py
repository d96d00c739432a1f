"""Which peers block senders, for how long, and what is kept for each peer. Control thread only.

A peer that acknowledges nothing for ``stall`` seconds while senders wait for it is slow. A slow
peer no longer blocks senders, until it has caught up so far that the ring has all it lacks. Seconds
in which this thread did not run do not count against the peer.
"""

from collections.abc import Callable, Iterable, Mapping

from ...protocol.delivery.stalls import Stalling, Turns
from ...protocol.session.peers import Peer
from ...protocol.session.session import Session
from ...protocol.wire.data import topic
from ..outbound.publisher import Publisher
from .answers import Answers

BEACONS_MOST = 500
"""Most exchanges in one beacon. They share the pipe with messages, and could fill it."""
BEACON_EVERY = 0.5
"""Seconds between two beacons while something is not acknowledged: they reveal a lost tail.

While senders wait, each look sends one for each peer that they wait for, and the peer answers with
all that it has.
"""


class SlowPeerMonitor:
    """Finds the slow peers of one node, and asks for acknowledgements."""

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
        """Let time pass: find slow peers, and send beacons to peers that have not acknowledged."""
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
        # Any acknowledgement since the last look counts as progress.
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
            # A peer that has dropped all that it lacked has nothing to acknowledge: it is no longer
            # slow.
            if not self.lags(peers[node], heads):
                self._answers.acknowledged(node, {})

    def _unacknowledged(self) -> set[str]:
        """Return the exchanges of which some peer, healthy or slow, lacks something."""
        names = self._outbound.window.unacknowledged()
        slow = self._outbound.window.slow_peers()
        if slow:
            names |= self._lacking(self._outbound.heads(), slow)
        newest = self._outbound.latest.newest
        if newest:  # nothing is held of these; the offer may have been lost
            heads = {name: frame.last for name, frame in newest.copy().items()}
            names |= self._lacking(heads, self._session.members.peers)
        return names

    def _lacking(self, goal: Mapping[str, int], nodes: Iterable[bytes]) -> set[str]:
        """Return the exchanges of which some of these peers lack something of ``goal``."""
        peers = self._session.members.peers
        there = [peers[node] for node in nodes if node in peers]
        return {name for peer in there for name in filter(self.lacks(peer, goal), goal)}

    def beacon(self, goal: Mapping[str, int]) -> None:
        """Ask peers that lag behind ``goal`` how far they are.

        Each call asks about some of the exchanges, and the next one about others. A peer that is
        asked about one exchange answers for all.
        """
        names = self._lacking(goal, self._session.members.peers)
        self._outbound.beacon((n, topic(n)) for n in self._turns.take(names, BEACONS_MOST))

    def lacks(self, peer: Peer, goal: Mapping[str, int]) -> Callable[[str], bool]:
        """Return a function that tells if a peer lacks a part of an exchange up to ``goal``.

        A peer lacks what it was promised and has not acknowledged. The promise counts even while
        its connection is cut.
        """
        acked, promised = peer.acked, self._outbound.window.promised(peer.id)
        lacks = self._outbound.numbering.lacks
        return lambda name: lacks(name, goal[name], acked) and promised.covers(name)

    def lags(self, peer: Peer, goal: Mapping[str, int]) -> bool:
        """Return whether a peer lacks something of ``goal``."""
        return any(map(self.lacks(peer, goal), goal))

    def keep_promises(self) -> None:
        """Have the window keep for each peer what it is promised now, and no more."""
        for node, peer in self._session.members.peers.items():
            interest = peer.interest
            state = (interest.epoch, interest.announced)
            # Nothing is announced to a peer whose connection is cut: what was promised to it is
            # kept.
            if interest.announced and peer.held_for != state:
                peer.held_for = state
                held = interest.held(interest.announced)
                self._outbound.window.promise(node, held, peer.forgets, peer.conflates)
