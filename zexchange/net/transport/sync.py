"""What threads wait with, where a signal handler that raises must not leave a lock taken.

A `threading.Condition` takes its lock in Python code: whoever is interrupted there leaves it
taken, and the next to want it waits for ever.
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
"""Seconds that whoever only looks waits for a lock; then it looks without."""
FINALISER_SECONDS = 0.005
"""The same for a finaliser: what its thread was at, and who waits for that, stands meanwhile."""
LOOKS = 100


class Lock(Protocol):
    """A lock that is waited for up to some seconds."""

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take it; return whether it was to be had."""
        ...

    def release(self) -> None:
        """Give it back."""
        ...


def looking(lock: Lock, look: Callable[[bool], T], seconds: float = LOOK_SECONDS) -> T:
    """Look at something with a lock, or without it where it cannot be had for some seconds.

    A finaliser runs anywhere, inside another lock perhaps, that the thread waits for which has
    this one: then nothing changes, so that the lock is not needed.

    Args:
        lock: that guards it.
        look: told whether the lock is held.
        seconds: that are waited.
    """
    held, tries = False, 0
    if finalizers.here():
        seconds = min(seconds, FINALISER_SECONDS)
    try:
        # Not `acquire`, then `try`: an exception of a signal handler would come in between.
        for held in iter(partial(lock.acquire, True, seconds), None):  # noqa: B007
            break
        while True:
            try:
                return look(held)
            except RuntimeError:  # a dict has changed while it was gone through
                tries += 1
                if held or tries == LOOKS:
                    raise
    finally:
        if held:
            lock.release()


class _Awaited:
    """A state that somebody waits for, and what the last look at it has found."""

    __slots__ = ("found", "predicate", "wake")

    def __init__(
        self, predicate: Callable[[], Any], wake: Callable[[], None] | None = None
    ) -> None:
        self.predicate = predicate
        self.wake = wake
        self.found: Any = None


class SignalSafeCondition(threading.Condition):
    """A condition whose block is entered and left by its lock's own methods, which are C.

    Both are looked up before the lock is taken (CPython's `with`, 3.11 to 3.13), so there is
    no step of Python's between having it and the block, nor between the block and letting go.
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
        """Let others have the lock in this block, whose thread has it."""
        # As `wait` does, however often the thread has taken it.
        state = self._release_save()  # type: ignore[attr-defined]
        try:
            yield
        finally:
            self._acquire_restore(state)  # type: ignore[attr-defined]

    def notify_all(self) -> None:
        """Wake all threads that wait, and the coroutines whose state has come.

        Each state is looked at here, as it is now: whoever looked again only after it was
        woken could find it gone, over and over, though it comes again and again.
        """
        super().notify_all()
        for awaited in self._awaited:
            try:
                awaited.found = awaited.found or awaited.predicate()
                wanted = bool(awaited.found)
            except Exception:
                wanted = True  # whoever waits finds out what is wrong
            if wanted and awaited.wake is not None:
                awaited.wake()

    def look(self, look: Callable[[bool], T]) -> T:
        """Look at the state: see `looking`."""
        return looking(self._lock, look)

    def await_state(self, predicate: Callable[[], T], timeout: float) -> T | None:
        """Do as `wait_for`, but without the lock, which is waited for about as long.

        A caller with no time left still looks once: the lock is held for moments only. None is
        returned where it could not be had: a finaliser may wait inside another lock.
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
        """Wait, with the lock, until ``predicate`` finds something, and return that.

        It counts if it was found when all were notified. After ``timeout`` seconds, what a
        last look finds is returned.
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
