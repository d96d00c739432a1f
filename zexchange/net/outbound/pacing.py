"""When a thread that sends also writes to the socket, and when messages wait to travel together.

A single message is sent at once by its own thread. Messages that come faster than a send takes are
left to travel together: the more messages the last send took along, the longer the next one waits
for more. The next message after that time takes the queued ones along. The sender thread sends
them if none comes: it is asked to once.

A send keeps the interpreter's lock (`net/transport/native.py`), so it takes microseconds also while
other threads compute. Nothing has to be learnt about that.
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


class SendPacer:
    """Decides when a thread writes to the socket. Times are in seconds on a monotonic clock.

    Changed under the lock of the data socket, except `quiet_until`; any thread reads it.
    """

    __slots__ = ("direct_at", "quiet_until")

    def __init__(self) -> None:
        self.quiet_until = 0.0
        """Before this time, a thread that has queued a small message is done: another one is sure
        to send it."""
        self.direct_at = 0.0
        """From this time on, a thread that sends writes to the socket itself."""

    def sent(self, ended: float, count: int, frames: int) -> None:
        """Take note of a send of ``count`` messages in so many frames, and of when it ended."""
        gap = min(GAP * sqrt(count), MOST_GAP)
        self.direct_at = ended + max(gap, min(frames * FRAME_GAP, MOST_FRAMES_GAP))
