"""When whoever sends also writes to the socket, and when it leaves that to others.

Three ways lead out, and each is right at times. A message that comes alone is sent at once
by its own thread. Messages that come faster than a send costs are left to travel together:
the more the last send took along, the longer the next one waits for more. And while another
thread holds the interpreter's lock, whoever lets go of it in a send gets it back only
after the interpreter's switch interval, 5 ms: then the sender thread has that wait.
"""

GAP = 25e-6
"""Seconds that a send costs, about. Who comes so soon after one leaves its message queued."""
MOST_GAP = 400e-6
"""The longest that messages are left to travel together, in seconds."""
HELD_UP = 1e-3
"""A send that takes so many seconds was held up by another thread, or by the machine."""
PER_BYTE = 2e-9
"""Seconds that a byte may take beside that."""
STRIKES = 2
"""So many sends in a row have to be held up before others are spared it."""
HAND_OVER = 0.25
"""Seconds for which a thread that was held up leaves sending to the sender thread."""
HAND_OVER_MOST = 8.0
"""Where the next try is held up again, that doubles, up to this."""


class Pace:
    """Which way is right just now; times in seconds on any steady clock."""

    __slots__ = ("_again", "_strikes", "direct_at", "handed_over", "quiet_until")

    def __init__(self) -> None:
        self.quiet_until = 0.0
        """Before this, whoever queues a small message need do nothing more: it is seen to."""
        self.direct_at = 0.0
        """When the next thread that sends may write to the socket itself."""
        self.handed_over = False
        """Whether only the sender thread writes, until `direct_at`."""
        self._again = HAND_OVER
        self._strikes = 0

    def sent(self, began: float, ended: float, count: int, size: int, direct: bool) -> None:
        """Take note of a send of ``count`` messages with ``size`` bytes.

        Args:
            began: when it began.
            ended: when it ended.
            count: of messages.
            size: of all of them, in bytes.
            direct: whether it was done by a thread that had a message to send.
        """
        if not direct:
            if not self.handed_over:
                self.direct_at = ended + GAP
        elif ended - began > HELD_UP + size * PER_BYTE:
            self._strikes += 1
            if self._strikes >= STRIKES:
                self.handed_over = True
                self.direct_at = ended + self._again
                self._again = min(2 * self._again, HAND_OVER_MOST)
        else:
            self.handed_over = False
            self._again = HAND_OVER
            self._strikes = 0
            self.direct_at = ended + min(GAP * count, MOST_GAP)
