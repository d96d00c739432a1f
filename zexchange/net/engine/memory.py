"""Sees to it that exchanges which are not used any more cost nothing. Control thread only.

The latest few thousand are remembered in any case, so that programs with no more than that,
and their sums, notice nothing. Of the others, those go whose exchange is gone: first the bridge,
which is made again if need be, then the numbers, if no peer needs them to be remembered.
"""

from ...protocol.delivery.sequence import Numbering
from ...protocol.session.session import Session
from ..outbound.bridges import Bridges

REMEMBERED = 4096
"""Exchanges that are remembered in any case."""
PIECE = 500
"""Exchanges that are looked at before others have their turn with the locks."""
PIECES = 4
"""At a tick: so 20,000 names a second, at most, are let go of."""
MANY = 100_000
"""Exchanges that are remembered, because they cannot be forgotten, before that is told."""
IN_VAIN = 1.0
"""Seconds until the next look when nothing could be forgotten."""


class Memory:
    """What one node lets go of."""

    def __init__(self, bridges: Bridges, numbering: Numbering, session: Session) -> None:
        self._bridges = bridges
        self._numbering = numbering
        self._session = session
        self._forget_at = 0.0
        self._told = MANY // 2

    def look(self, now: float) -> None:
        """Let go of what is not needed, a bounded part of it."""
        bridges = self._bridges
        for _ in range(PIECES):
            over = len(bridges) - REMEMBERED
            if over > 0:
                self._session.readiness.unpublished(bridges.let_go(min(over, PIECE)))
        if now >= self._forget_at and self._forget() == 0:
            self._forget_at = now + IN_VAIN
            self._tell(len(self._numbering.heads))

    def _tell(self, remembered: int) -> None:
        """Say that there are very many exchanges which cannot be forgotten, and more and more."""
        if remembered >= 2 * self._told:
            self._told = remembered
            reason = f"over {MANY:,} exchanges cannot be forgotten"
            detail = f"{remembered:,} now, because of peers of earlier versions, or slow, or away"
            self._session.reject("names", reason, detail)

    def _forget(self) -> int:
        """Forget numbers that nobody needs, and have peers forget them; return how many."""
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
