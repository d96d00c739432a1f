"""How much has been said on a control link with a hub at one end, and how much of it has arrived.

What is sent on such a link may be lost with its connection. So each end counts what it has sent,
and says at times up to which of its bytes the other one has taken them, or will never do so.
"""

from dataclasses import dataclass
from typing import ClassVar

from ..timing import UNREAD_BYTES


@dataclass(slots=True, eq=False, kw_only=True)
class Credit:
    """What one end of a link knows of it, in bytes."""

    report_every: ClassVar[int] = 4 << 20
    """Bytes sent after which the other end is asked how far it is, before it would say so."""
    sent: int = 0
    """Bytes that we have sent; up to ``taken`` they have arrived, or are lost."""
    taken: int = 0
    told: int = 0
    """What of ``sent`` the other end was told last."""
    its_sent: int = 0
    """What the other end says that it has sent."""

    def fits(self, size: int) -> bool:
        """Return whether so much may be sent now: anything, once all has arrived."""
        return self.sent - self.taken + size <= UNREAD_BYTES or self.sent <= self.taken

    def take(self, size: int) -> bool:
        """Count what is about to be sent; return whether it may be."""
        if self.sent - self.taken + size > UNREAD_BYTES and self.sent > self.taken:
            return False
        self.sent += size
        return True

    @property
    def due(self) -> bool:
        """Whether it is time to ask how far the other end is."""
        return self.sent - self.told > self.report_every
