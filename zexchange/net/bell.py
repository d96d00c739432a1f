"""A bell: wakes the threads that wait for it, and nothing that is left taken can stop it.

A `threading.Condition` has a lock of its own, and takes it in Python code: a signal handler
that raises there leaves it taken, and whoever wants to notify next waits for ever. Here each
that waits has a lock of its own, and shares none.
"""

import _thread
from collections import deque


class Bell:
    """Rung by one thread, heard by all that wait then."""

    def __init__(self) -> None:
        self._waiting: deque[_thread.LockType] = deque()

    def listen(self) -> _thread.LockType:
        """Return what to `wait` with: every ring from now on ends that wait."""
        waiter = _thread.allocate_lock()
        waiter.acquire()
        self._waiting.append(waiter)
        return waiter

    def wait(self, waiter: _thread.LockType, seconds: float) -> None:
        """Wait for a ring since `listen`, at the longest for some seconds."""
        waiter.acquire(True, seconds)

    def ring(self) -> None:
        """Wake all that wait."""
        waiting = self._waiting
        while waiting:
            try:
                waiting.popleft().release()
            except IndexError:  # another thread rings, too
                break
