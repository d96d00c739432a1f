"""What is left to a thread that comes when there is some, and holds nothing when it does it.

Nothing here knows what is done.
"""

import _thread
import threading
from abc import ABC, abstractmethod
from collections import deque
from threading import get_ident
from typing import Generic, TypeVar

from .fork import track

T = TypeVar("T")


class Worker(ABC, Generic[T]):
    """Does what waits, in order, on one thread at a time.

    `wake` may be called with any lock held.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self.waiting: deque[T] = deque()
        track(self)._after_fork()

    def _after_fork(self) -> None:
        """Forget the thread, which is the parent's."""
        self._turn = threading.Lock()  # only ever tried
        self._coming = False
        self._doer = 0

    @abstractmethod
    def _do(self, item: T) -> None:
        """Do what waited; nothing may be raised."""

    def wake(self) -> None:
        """Have a thread do what waits; the one that has the turn looks again after it."""
        if not self.waiting or self._coming or self._turn.locked():
            return
        self._coming = True
        try:
            # In two steps: `Thread.start` waits for the thread, which may run a finaliser first
            # that waits for a lock of the caller's.
            _thread.start_new_thread(self._start, ())
        except RuntimeError:  # no more threads: with the next one, or who waits for it
            self._coming = False

    def _start(self) -> None:
        try:
            threading.Thread(target=self._run, name=self._name, daemon=True).start()
        except RuntimeError:
            self._coming = False

    def _run(self) -> None:
        self._coming = False
        self.work()

    def work(self) -> bool:
        """Do all there is; return False if another thread is at it. No lock is held."""
        if self._doer == get_ident():  # what is done asks for it
            return True
        while self.waiting:
            if not self._turn.acquire(False):
                return False
            self._doer = get_ident()
            try:
                while self.waiting:
                    self._do(self.waiting.popleft())
            finally:
                self._doer = 0
                self._turn.release()
        return not self._turn.locked()
