"""Work for a thread that is started when there is some, and that holds no locks while it works.

Nothing here knows the work.
"""

import _thread
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from functools import partial
from threading import get_ident
from typing import Generic, TypeVar

from .fork import track

T = TypeVar("T")


class Worker(ABC, Generic[T]):
    """Does queued items in order, on one thread at a time.

    `wake` may be called with any lock held.
    """

    daemon = True
    """Whether the thread is ended abruptly at the end of the program."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.waiting: deque[T] = deque()
        track(self)._after_fork()

    def _after_fork(self) -> None:
        """Forget the thread: only the parent has it."""
        self._turn = threading.Lock()  # taken only without waiting
        self._coming = False
        self._doer = 0

    @abstractmethod
    def _do(self, item: T) -> None:
        """Do one item. Must not raise."""

    def wake(self) -> None:
        """Have a thread do the queued items; one that is working looks again when it is done."""
        if not self.waiting or self._coming or self._turn.locked():
            return
        self._coming = True
        try:
            # In two steps: `Thread.start` waits until the new thread runs, and that may first run
            # a finaliser that waits for a lock of the caller.
            _thread.start_new_thread(self._start, ())
        except RuntimeError:  # no more threads: the next `wake` tries again, or `work` does it
            self._coming = False

    def _start(self) -> None:
        try:
            threading.Thread(target=self._run, name=self._name, daemon=self.daemon).start()
        except RuntimeError:
            self._coming = False

    def _run(self) -> None:
        self._coming = False
        self.work()

    def work(self, may: Callable[[], bool] = lambda: True) -> bool:
        """Do queued items as long as ``may``; return False if another thread does them.

        No lock is held.
        """
        if self._doer == get_ident():  # called by an item that is being done
            return True
        free = True
        while self.waiting and free and may():
            free = False
            try:
                # A signal handler may raise between `acquire` and a `try` after it. This loop
                # sets `free` in the same step as it takes the lock.
                for free in iter(partial(self._turn.acquire, False), False):  # noqa: B007
                    self._doer = get_ident()
                    while self.waiting and may():
                        self._do(self.waiting.popleft())
                    break
            finally:
                if free:
                    self._doer = 0
                    self._turn.release()
        return free and not self._turn.locked()
