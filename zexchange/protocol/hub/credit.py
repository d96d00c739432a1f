"""How many bytes were sent on a control link to or from a hub, and how many of them have arrived.

Messages on such a link may be lost with its connection. So each end counts the bytes that it has
sent and tells the other end at times; the other end answers with that count, which says that all
bytes up to there have arrived, or are lost.
"""

from dataclasses import dataclass
from typing import ClassVar

from ..timing import UNREAD_BYTES


@dataclass(slots=True, eq=False, kw_only=True)
class Credit:
    """The counts of one end of a link, in bytes."""

    report_every: ClassVar[int] = 4 << 20
    """Bytes sent after which the other end is told our count at once, and not at the next time."""
    sent: int = 0
    """Bytes that we have sent; up to ``taken`` they have arrived, or are lost."""
    taken: int = 0
    told: int = 0
    """The value of ``sent`` that the other end was told last."""
    its_sent: int = 0
    """The count that the other end has told us of its own bytes."""

    def fits(self, size: int) -> bool:
        """Return whether so many bytes may be sent now. If all has arrived, any number may."""
        return self.sent - self.taken + size <= UNREAD_BYTES or self.sent <= self.taken

    def take(self, size: int) -> bool:
        """Count bytes that are about to be sent, if they fit; return whether they do."""
        # The contrary of `fits`, which would be one more call for each frame between hubs.
        if self.sent - self.taken + size > UNREAD_BYTES and self.sent > self.taken:
            return False
        self.sent += size
        return True

    @property
    def due(self) -> bool:
        """Whether it is time to tell the other end our count, so that it answers."""
        return self.sent - self.told > self.report_every
