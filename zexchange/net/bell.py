"""What threads wait with, where a signal handler that raises must not leave a lock taken.

A `threading.Condition` takes its lock in Python code: whoever is interrupted there leaves it
taken, and the next to want it waits for ever.
"""

import _thread
import math
import threading
from collections import deque
from collections.abc import Callable

from ..local import loops


class Condition(threading.Condition):
    """A condition whose block is entered and left by its lock's own methods, which are C.

    Both are looked up before the lock is taken (CPython's `with`, 3.11 to 3.13), so there is
    no step of Python's between having it and the block, nor between the block and letting go.
    """

    __enter__ = property(lambda self: self._lock.__enter__)
    __exit__ = property(lambda self: self._lock.__exit__)

    def __init__(self) -> None:
        super().__init__()
        self._coroutines: list[tuple[Callable[[], object], loops.Home, loops.Waiter]] = []

    def notify_all(self) -> None:
        """Wake all that wait: of the coroutines, those whose state has come."""
        super().notify_all()
        for predicate, home, waiter in self._coroutines:
            try:  # here, and not on its loop, which would be woken at each turn for nothing
                wanted = predicate()
            except Exception:
                wanted = True  # it is the coroutine that finds out what is wrong
            if wanted:
                home.wake(waiter)

    async def wait_for_here(self, predicate: Callable[[], object], timeout: float) -> None:
        """Wait in a coroutine, without the lock, for a state or for ``timeout`` seconds."""
        home = loops.home()
        waiter = home.waiter()
        entry = predicate, home, waiter
        with self:
            if predicate():
                return
            self._coroutines = [*self._coroutines, entry]
        try:
            await (waiter if timeout == math.inf else home.wait(waiter, timeout))
        finally:
            with self:
                self._coroutines = [e for e in self._coroutines if e is not entry]


class Bell:
    """Rung by one thread, heard by all that wait then. Each has a lock of its own to wait with."""

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
