"""When whoever sends also writes to the socket, and when it leaves that to others.

Three ways lead out, and each is right at times. A message that comes alone is sent at once
by its own thread. Messages that come faster than a send costs are left to travel together:
the more the last send took along, the longer the next one waits for more. And while another
thread holds the interpreter's lock, whoever lets go of it in a send gets it back only
after the interpreter's switch interval, 5 ms: then the sender thread has that wait.
"""

from math import sqrt

GAP = 30e-6
"""Seconds after the send of a lone message in which the next ones are left queued: about what
a send costs. After a send of more it is as many times longer as the root of their number: so
messages at any rate wait about as long as saves a good part of the sends."""
MOST_GAP = 400e-6
"""The longest that messages are left to travel together, in seconds."""
FRAME_GAP = 20e-6
"""Or as many seconds for each frame, if that is longer: about twice what one costs. Each exchange
takes a frame of its own, so that where many send, a third of the time goes into sending."""
MOST_FRAMES_GAP = 2e-3
"""The longest that messages wait for more because of that: twice what their send takes then."""
HELD_UP = 3e-3
"""A send that takes so many seconds was held up by another thread: for most of the switch
interval of 5 ms. A busy machine takes a millisecond away now and then."""
PER_FRAME = 50e-6
"""Seconds that each frame of a send may take beside that."""
PER_BYTE = 2e-9
"""Seconds that each byte may take."""
FORGIVEN = 2.0
"""Who is held up twice within so many seconds leaves sending to the sender thread."""
HAND_OVER = 0.25
"""For so many seconds, at first."""
HAND_OVER_MOST = 8.0
"""Who is held up again right after that leaves it to the sender for twice as long, up to this."""


class SendPacer:
    """Which way is right just now; times in seconds on any steady clock."""

    __slots__ = ("_again", "_forgiven_at", "direct_at", "handed_over", "quiet_until")

    def __init__(self) -> None:
        self.quiet_until = 0.0
        """Before this, whoever queues a small message need do nothing more: it is seen to."""
        self.direct_at = 0.0
        """When the next thread that sends may write to the socket itself."""
        self.handed_over = False
        """Whether only the sender thread writes, until `direct_at`."""
        self._again = HAND_OVER
        self._forgiven_at = 0.0

    def sent(
        self, began: float, ended: float, count: int, frames: int, size: int, direct: bool
    ) -> None:
        """Take note of a send.

        Args:
            began: when it began.
            ended: when it ended.
            count: of its messages.
            frames: in which they went.
            size: of these, in bytes.
            direct: whether it was done by a thread that had a message to send.
        """
        if not direct:
            if not self.handed_over:
                self.direct_at = ended + GAP
        elif ended - began > HELD_UP + frames * PER_FRAME + size * PER_BYTE:
            self._held_up(ended)
        else:
            self.handed_over = False
            gap = min(GAP * sqrt(count), MOST_GAP)
            self.direct_at = ended + max(gap, min(frames * FRAME_GAP, MOST_FRAMES_GAP))

    def _held_up(self, ended: float) -> None:
        """Leave sending to the sender thread, if this has happened a short while ago, too."""
        if ended < self._forgiven_at:
            self.handed_over = True
            self.direct_at = ended + self._again
            self._again = min(2 * self._again, HAND_OVER_MOST)
            self._forgiven_at = self.direct_at + FORGIVEN
        else:
            self._again = HAND_OVER
            self._forgiven_at = ended + FORGIVEN
