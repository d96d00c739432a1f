"""The endpoints that a node was given and that have never answered.

They are told once: after the time to join, or at the end, if that comes first. Why they have not
is the business of the session and of the hubs. Used with the lock of the engine's state held.
"""

from ...local.process.logs import log
from ...protocol.hub.client import HubSelector
from ...protocol.session.session import Session
from ...protocol.unanswered import Unanswered


class Missing:
    """What one node was given and has not met."""

    def __init__(
        self, federation: str, session: Session, hubs: HubSelector, tell_at: float
    ) -> None:
        self._federation = federation
        self._session = session
        self._hubs = hubs
        self._tell_at = tell_at
        self._told = False

    def all(self) -> list[Unanswered]:
        """Return all of it."""
        return [*self._session.members.unanswered(), *self._hubs.unanswered()]

    def tell(self, now: float) -> None:
        """Log it, once, if the time to join is over."""
        if not self._told and now >= self._tell_at:
            self._told = True
            for missing in self.all():
                log.warning("federation %r: %s", self._federation, missing)
