"""Locks and conditions that stay intact when a signal handler raises.

A `threading.Condition` takes its lock in Python code. A signal handler that raises there leaves the
lock taken, and the next thread that wants it waits for ever.
"""

import _thread
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from ...local.process import finalizers
from ...local.tasks import eventloops

T = TypeVar("T")
LOOK_SECONDS = 0.2
"""Seconds for which a mere look waits for a lock; after that it looks without."""
FINALISER_SECONDS = 0.005
"""The same for a finaliser: its thread, and any that waits for it, is blocked meanwhile."""
LOOKS = 100


class Lock(Protocol):
    """A lock that can be waited for with a timeout."""

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take it; return whether that succeeded within the timeout."""
        ...

    def release(self) -> None:
        """Release it."""
        ...


def looking(lock: Lock, look: Callable[[bool], T], seconds: float = LOOK_SECONDS) -> T:
    """Look at a state with its lock, or without it if it cannot be had in time.

    A finaliser may run anywhere: its thread may hold a lock for which the owner of this one waits.
    Then nothing changes meanwhile, and the lock is not needed.

    Args:
        lock: guards the state.
        look: called with whether the lock is held.
        seconds: how long to wait for the lock.
    """
    held, tries = False, 0
    if finalizers.here():
        seconds = min(seconds, FINALISER_SECONDS)
    try:
        # Not `acquire` followed by `try`: a signal handler could raise between the two.
        for held in iter(partial(lock.acquire, True, seconds), None):  # noqa: B007
            break
        while True:
            try:
                return look(held)
            except RuntimeError:  # a dict has changed during iteration
                tries += 1
                if held or tries == LOOKS:
                    raise
    finally:
        if held:
            lock.release()


class _Awaited:
    """A condition that a thread or coroutine waits for, and its latest result."""

    __slots__ = ("found", "predicate", "wake")

    def __init__(
        self, predicate: Callable[[], Any], wake: Callable[[], None] | None = None
    ) -> None:
        self.predicate = predicate
        self.wake = wake
        self.found: Any = None


class SignalSafeCondition(threading.Condition):
    """A condition whose block is entered and left by its lock's own methods, which are C.

    CPython's `with` (3.11 to 3.13) looks both methods up before it takes the lock. So there is no
    Python code between taking the lock and the block, nor between the block and releasing it.
    """

    if TYPE_CHECKING:
        _lock: Lock
    else:
        __enter__ = property(lambda self: self._lock.__enter__)
        __exit__ = property(lambda self: self._lock.__exit__)

    def __init__(self) -> None:
        super().__init__()
        self._awaited: list[_Awaited] = []

    @contextmanager
    def aside(self) -> Generator[None, None, None]:
        """Release the lock in this block. The calling thread holds it."""
        # as `wait` does, no matter how often the thread has taken it
        state = self._release_save()  # type: ignore[attr-defined]
        try:
            yield
        finally:
            self._acquire_restore(state)  # type: ignore[attr-defined]

    def notify_all(self) -> None:
        """Wake all waiting threads, and the coroutines whose conditions have come true.

        Each condition is evaluated here, as the state is now. If it were evaluated only after the
        wake-up, the state could be gone again each time, even though it comes again and again.
        """
        super().notify_all()
        for awaited in self._awaited:
            try:
                awaited.found = awaited.found or awaited.predicate()
                wanted = bool(awaited.found)
            except Exception:
                wanted = True  # the one that waits will run into the error itself
            if wanted and awaited.wake is not None:
                awaited.wake()

    def look(self, look: Callable[[bool], T]) -> T:
        """Look at the state: see `looking`."""
        return looking(self._lock, look)

    def await_state(self, predicate: Callable[[], T], timeout: float) -> T | None:
        """Do as `wait_for`, called without the lock; up to ``timeout`` is spent on taking it.

        A caller with no time left still looks once, as the lock is held for moments only. Returns
        None if the lock could not be had: a finaliser may wait inside another lock.
        """
        until = time.monotonic() + timeout
        held = False
        patience = FINALISER_SECONDS if finalizers.here() else LOOK_SECONDS
        try:
            for_lock = min(max(timeout, patience), threading.TIMEOUT_MAX)
            acquire = partial(self._lock.acquire, True, for_lock)
            for held in iter(acquire, None):  # noqa: B007 - see `looking`
                break
            return self.wait_for(predicate, until - time.monotonic()) if held else None
        finally:
            if held:
                self._lock.release()

    def wait_for(self, predicate: Callable[[], T], timeout: float | None = None) -> T:
        """Wait until ``predicate`` is true, and return its result. Call with the lock held.

        A result that was true at a `notify_all` counts, even if it is no longer so. After
        ``timeout`` seconds the result of a last look is returned.
        """
        found = predicate()
        if found:
            return found
        awaited = _Awaited(predicate)
        until = None if timeout is None else time.monotonic() + timeout
        self._awaited = [*self._awaited, awaited]
        try:
            while not found:
                left = None if until is None else until - time.monotonic()
                if left is not None and left <= 0:
                    break
                self.wait(left and min(left, threading.TIMEOUT_MAX))
                found = awaited.found or predicate()
        finally:
            self._awaited = [a for a in self._awaited if a is not awaited]
        return found

    async def wait_for_here(self, predicate: Callable[[], T], timeout: float) -> T:
        """Do as `wait_for`, in a coroutine and without the lock."""
        home = eventloops.home()
        waiter = home.waiter()
        awaited = _Awaited(predicate, lambda: home.wake(waiter))
        with self:
            found = predicate()
            if found:
                return found
            self._awaited = [*self._awaited, awaited]
        try:
            await (waiter if timeout == math.inf else home.wait(waiter, timeout))
        finally:
            with self:
                self._awaited = [a for a in self._awaited if a is not awaited]
        with self:
            return awaited.found or predicate()


class WakeEvent:
    """An event that wakes all threads waiting at that moment. Each waits with a lock of its own."""

    def __init__(self) -> None:
        self._waiting: deque[_thread.LockType] = deque()

    def listen(self) -> _thread.LockType:
        """Return a waiter for `wait`. It is released by the next `ring`."""
        waiter = _thread.allocate_lock()
        waiter.acquire()
        self._waiting.append(waiter)
        return waiter

    def wait(self, waiter: _thread.LockType, seconds: float) -> None:
        """Wait for a ring since `listen`, for some seconds at most."""
        waiter.acquire(True, seconds)

    def ring(self) -> None:
        """Wake all threads that wait."""
        waiting = self._waiting
        while waiting:
            try:
                waiting.popleft().release()
            except IndexError:  # another thread rings too
                break
