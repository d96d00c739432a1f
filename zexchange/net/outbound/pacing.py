"""When a thread that sends also writes to the socket, and when it leaves that to another one.

There are three ways, and each is the best at times. A single message is sent at once by its own
thread. Messages that come faster than a send takes are left to travel together: the more messages
the last send took along, the longer the next one waits for more. And while some thread computes,
a thread that releases the interpreter's lock in a send gets it back only after the interpreter's
switch interval, 5 ms: then only the sender thread writes, so that no user's thread has that wait.
"""

from math import sqrt

GAP = 30e-6
"""Seconds after the send of a single message for which the next ones are left queued: about as long
as a send takes. After a send of n messages it is the square root of n times as long: so at any rate
messages wait about as long as saves a good part of the sends."""
MOST_GAP = 400e-6
"""The longest that messages are left queued because of `GAP`, in seconds."""
FRAME_GAP = 20e-6
"""Seconds for each frame of the last send, which count instead of `GAP` if that is longer: about
twice as long as a frame takes. Each exchange takes a frame of its own, so that a third of the time
goes into sending if many exchanges are sent on."""
MOST_FRAMES_GAP = 2e-3
"""The longest that messages are left queued because of `FRAME_GAP`, in seconds: twice as long as
their send takes then."""
HELD_UP = 3e-3
"""Seconds. A send that takes longer was held up by another thread, for most of the switch interval
of 5 ms. A busy machine takes a millisecond away now and then."""
PER_FRAME = 50e-6
"""Seconds that each frame of a send may take in addition to `HELD_UP`."""
PER_BYTE = 2e-9
"""Seconds that each byte of a send may take in addition."""
FORGIVEN = 2.0
"""Seconds. If a send is held up twice within this time, sending is left to the sender thread."""
HAND_OVER = 0.25
"""Seconds for which sending is left to the sender thread the first time."""
HAND_OVER_MOST = 8.0
"""The most seconds for which it is left to the sender thread: each time that a send is held up soon
after that, the time doubles up to this."""


class SendPacer:
    """Decides which thread writes to the socket. Times are in seconds on a monotonic clock.

    Changed under the lock of the data socket, except `quiet_until`; any thread reads it.
    """

    __slots__ = ("_again", "_forgiven_at", "direct_at", "handed_over", "quiet_until")

    def __init__(self) -> None:
        self.quiet_until = 0.0
        """Before this time, a thread that has queued a small message is done: another one is sure
        to send it."""
        self.direct_at = 0.0
        """From this time on, a thread that sends may write to the socket itself."""
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
            count: the number of its messages.
            frames: the number of its frames.
            size: the bytes in these frames.
            direct: whether a thread made it that had a message to send, and not the sender thread.
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
        """Leave sending to the sender thread, if a send was held up a short while ago, too."""
        if ended < self._forgiven_at:
            self.handed_over = True
            self.direct_at = ended + self._again
            self._again = min(2 * self._again, HAND_OVER_MOST)
            self._forgiven_at = self.direct_at + FORGIVEN
        else:
            self._again = HAND_OVER
            self._forgiven_at = ended + FORGIVEN
