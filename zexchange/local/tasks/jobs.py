"""The mailbox of a member of a group: jobs wait there, and are done when the reader asks for more.

Each job knows the stint that it came by, which is told when it is done. A reader has done its job
when it asks for the next one, or leaves in good order. Several threads may read one mailbox; each
has its own job in hand. Coroutines that read one mailbox are told apart on asyncio only.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from .mailbox import Mailbox

ENDLESS = 1 << 62
"""The bound of this mailbox: it is the senders who bound what a member has."""


Failed = Callable[[BaseException], object]


class Supply(Protocol):
    """The way that jobs of one sender come by, at the member."""

    def wanted(self, stint: int) -> bool:
        """Return whether jobs of that stint are still this member's; any thread, without a lock."""
        ...

    def finished(self, stint: int, number: int, work: float) -> None:
        """Take note that a job was done, in so many seconds; called with no lock held."""

    def done_to(self, stint: int, number: int, begun: float) -> None:
        """Take note that all jobs up to a number were done, the last one since ``begun``."""


Handed = tuple[object, Supply, int, int]
"""A job in a mailbox: what the reader gets, the way that it came by, and its stint and number."""


class JobMailbox(Mailbox[Any]):
    """A mailbox whose items are `Handed`, and whose readers get what is in them."""

    __slots__ = ("_in_hand", "monotonic")

    def __init__(self) -> None:
        self.monotonic = time.monotonic
        """The clock, in seconds."""
        self._in_hand: dict[object, tuple[Handed, float]] = {}
        """By reader, the job that it works on, and since when."""
        super().__init__(ENDLESS, "block")

    def _after_fork(self) -> None:
        """Leave the jobs to the parent, which has them as well."""
        super()._after_fork()
        self._in_hand.clear()
        self.items.clear()

    @property
    def turns(self) -> int:
        """Always 0: a coroutine takes no item without asking for it here."""
        return 0

    @turns.setter
    def turns(self, turns: int) -> None: ...

    def take(self, timeout: float | None = None) -> Any:
        """Do as any mailbox, after the job that this reader has in hand is done."""
        self.finish_here()
        return super().take(timeout)

    async def take_async(self) -> Any:
        """Do as any mailbox, after the job that this reader has in hand is done."""
        self.finish_here()
        return await super().take_async()

    def _pop(self) -> Any:
        """Remove the oldest job that is still this member's, and return what is in it."""
        while True:
            handed: Handed = super()._pop()
            item, way, stint, _ = handed
            if way.wanted(stint):
                self._in_hand[_reader()] = handed, self.monotonic()
                return item

    def work(self, call: Callable[[Any], object], idle: float, failed: Failed) -> None:
        """Call a function with each job, as the only reader; return when there is none for long.

        The jobs that wait are taken together, which makes a small one cost a quarter.

        Args:
            call: the function.
            idle: seconds without jobs after which this returns.
            failed: called with what the function raises.

        Raises:
            Closed: the mailbox was closed.
            TimeoutError: there was no job for so long.
        """
        while True:
            for handed in self._take_all(idle):
                if self.over:
                    break
                self._do(handed, call, failed)

    def work_one(self, call: Callable[[Any], object], failed: Failed) -> bool:
        """Call a function with the oldest job, if there is one; return whether there was."""
        if self.over or not self.items:
            return False
        self._do(self.items.popleft(), call, failed)
        return True

    def _do(self, handed: Handed, call: Callable[[Any], object], failed: Failed) -> None:
        """Call a function with a job that is still this member's."""
        item, way, stint, number = handed
        if way.wanted(stint):
            begun = self.monotonic()
            try:
                call(item)
            except BaseException as error:
                failed(error)
            way.done_to(stint, number, begun)

    def _take_all(self, timeout: float) -> list[Handed]:
        """Wait for jobs, and take all that wait."""
        with self._lock:
            if not self._readable():
                self._readers += 1
                try:
                    self._filled.wait(timeout)
                finally:
                    self._readers -= 1
                if not self._readable():
                    raise TimeoutError
            found = list(self.items)
            self.items.clear()
            return found

    def finish_here(self) -> None:
        """Take note that the calling reader has done its job; and those that are no more, too."""
        if not self._in_hand:
            return
        me = _reader()
        for reader in list(self._in_hand):
            if reader is me or _has_ended(reader):
                found = self._in_hand.pop(reader, None)
                if found is not None:
                    (_, way, stint, number), begun = found
                    way.finished(stint, number, self.monotonic() - begun)

    def leave(self, in_order: bool) -> None:
        """Take note that this reader is done with its job; after an exception, that it is not."""
        if in_order:
            self.finish_here()
        else:
            self._in_hand.pop(_reader(), None)

    def close(self) -> None:
        """Do as any mailbox; a reader that closes it has done its job."""
        self.finish_here()
        super().close()


def _reader() -> object:
    """Return what stands for the thread or the coroutine that calls this."""
    if asyncio._get_running_loop() is not None:
        task = asyncio.current_task()
        if task is not None:
            return task
    return threading.current_thread()


def _has_ended(reader: object) -> bool:
    if isinstance(reader, threading.Thread):
        return not reader.is_alive()
    return isinstance(reader, asyncio.Task) and reader.done()
