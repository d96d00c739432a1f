"""A bell: how one caller, a thread or a coroutine, waits for something that other threads do.

Any thread may ring it. A ring that comes before the wait ends that wait. One caller waits at a
time, and looks again after each wait, because a ring may be left over from before.
"""

import _thread
import threading

from . import eventloops


class Bell:
    """Wakes one caller."""

    __slots__ = ("_here", "_lock", "_rung")

    def __init__(self) -> None:
        self._lock = _thread.allocate_lock()
        self._lock.acquire()
        self._here: tuple[eventloops.LoopBinding, eventloops.LoopWaiter] | None = None
        self._rung = False

    def ring(self) -> None:
        """End the wait that is under way, or the next one."""
        self._rung = True
        try:  # not `suppress`, which is three calls
            self._lock.release()
        except RuntimeError:  # it was rung already
            pass
        here = self._here
        if here is not None:
            here[0].wake(here[1])

    def wait(self, seconds: float) -> None:
        """Wait on this thread for a ring, for some seconds at most."""
        if seconds > threading.TIMEOUT_MAX:
            seconds = threading.TIMEOUT_MAX
        self._lock.acquire(True, seconds)

    async def wait_here(self, seconds: float) -> None:
        """Wait in this coroutine for a ring, for some seconds at most."""
        home = eventloops.home()
        waiter = home.waiter()
        self._here = home, waiter
        try:
            if not self._rung:
                await home.wait(waiter, seconds)
        finally:
            self._here, self._rung = None, False
