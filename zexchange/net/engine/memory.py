"""Frees the memory of exchanges that are no longer used. Control thread only.

The latest few thousand are always remembered: programs with no more exchanges than that notice
nothing, and their totals stay right. Of the others, those whose exchange is gone are forgotten. The
bridge goes first, and is made again if it is needed; the numbers follow, unless a peer still needs
them.
"""

from ...protocol.delivery.sequence import Numbering
from ...protocol.session.session import Session
from ..outbound.bridges import Bridges

REMEMBERED = 4096
"""Exchanges that are always remembered."""
PIECE = 500
"""Exchanges that are examined before other threads may take the locks."""
PIECES = 4
"""Pieces per tick. At ten ticks a second, at most 20,000 names a second are forgotten."""
MANY = 100_000
"""Exchanges that cannot be forgotten: from this many on a `Rejected` event is emitted."""
IN_VAIN = 1.0
"""Seconds until the next attempt if nothing could be forgotten."""


class Memory:
    """Forgets the unused exchanges of one node."""

    def __init__(self, bridges: Bridges, numbering: Numbering, session: Session) -> None:
        self._bridges = bridges
        self._numbering = numbering
        self._session = session
        self._forget_at = 0.0
        self._told = MANY // 2

    def look(self, now: float) -> None:
        """Forget a bounded part of what is not needed. Called at each tick."""
        bridges = self._bridges
        for _ in range(PIECES):
            over = len(bridges) - REMEMBERED
            if over > 0:
                self._session.readiness.unpublished(bridges.let_go(min(over, PIECE)))
        if now >= self._forget_at and self._forget() == 0:
            self._forget_at = now + IN_VAIN
            self._tell(len(self._numbering.heads))

    def _tell(self, remembered: int) -> None:
        """Emit an event if very many exchanges cannot be forgotten; again whenever they double."""
        if remembered >= 2 * self._told:
            self._told = remembered
            reason = f"over {MANY:,} exchanges cannot be forgotten"
            detail = f"{remembered:,} now, because of peers of earlier versions, or slow, or away"
            self._session.reject("names", reason, detail)

    def _forget(self) -> int:
        """Forget numbers that nobody needs, have peers forget them, and return how many."""
        session, forgotten = self._session, 0
        for _ in range(PIECES):
            over = len(self._numbering.heads) - REMEMBERED
            if over <= 0 or not session.forgetting.keeps_up:
                break
            acked = {node: peer.acked for node, peer in session.members.peers.items()}
            told = self._bridges.forget(min(over, PIECE), acked)
            names = told.pop(b"")
            session.forgetting.forget(names, told)
            session.readiness.unpublished(names)
            forgotten += len(names)
        return forgotten
