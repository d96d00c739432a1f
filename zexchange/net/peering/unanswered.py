"""The given endpoints that have never answered.

They are logged once: after the time to join, or when the node closes, if that comes first. The
session and the hubs know why they have not answered. Used with the lock of the engine's state held.
"""

from ...local.process.logs import log
from ...protocol.hub.client import HubSelector
from ...protocol.session.session import Session
from ...protocol.unanswered import Unanswered


class Missing:
    """The given endpoints of one node that have not led to a node or hub."""

    def __init__(
        self, federation: str, session: Session, hubs: HubSelector, tell_at: float
    ) -> None:
        self._federation = federation
        self._session = session
        self._hubs = hubs
        self._tell_at = tell_at
        self._told = False

    def all(self) -> list[Unanswered]:
        """Return all endpoints that have not answered."""
        return [*self._session.members.unanswered(), *self._hubs.unanswered()]

    def tell(self, now: float) -> None:
        """Log them, once, if the time to join is over."""
        if not self._told and now >= self._tell_at:
            self._told = True
            for missing in self.all():
                log.warning("federation %r: %s", self._federation, missing)
