"""Tasks with a mailbox: slow ones run on a thread of their own, async ones on their event loop.

The sender only puts the message into the mailbox. The reading side has no caller to raise to, so
its errors are logged and counted. Nothing here may know exchanges.

Both adapters are in one file because they differ only in how a message gets from the mailbox to the
task.
"""

import asyncio
import threading
import time
import weakref
from collections.abc import Awaitable, Callable
from typing import Any, Generic

from ...errors import Closed, NotASubscriber
from ...kinds import is_generator
from ..process import finalizers
from ..process.fork import at_exit, end_as_child, track
from ..process.logs import log
from . import eventloops
from .dispatch import logger, unawaited
from .mailbox import Mailbox, MailboxStats, Overflow
from .snapshots import Keeper, settled
from .task import M, Task
from .validation import GeneratorTask, check_task

FINISHING = 5.0
"""Seconds for which the end of the program waits until the threads have handed on their messages.
"""


class _Buffered(Keeper, Generic[M]):
    """The base of the adapters with a mailbox: its counts, and the errors of the reading side."""

    def __init__(self, maxsize: int, overflow: Overflow) -> None:
        self._mailbox: Mailbox[Any] = Mailbox(maxsize, overflow)
        self._errors = 0

    def send(self, msg: M, /) -> None:
        """Put ``msg`` into the mailbox."""
        raise NotImplementedError

    def keep(self, msg: object) -> None:
        """Put a message that its sender may change into the mailbox: a buffer is copied."""
        self.send(settled(msg))

    @property
    def errors(self) -> int:
        """How many messages the task failed on; each failure was logged."""
        return self._errors

    @property
    def dropped(self) -> int:
        """How many messages never reached the task: there was no room, or no reader any longer."""
        return self._mailbox.stats().dropped

    def stats(self) -> MailboxStats:
        """Return what went through the mailbox."""
        return self._mailbox.stats()

    def _failed(self, error: BaseException) -> None:
        """Log and count an error; only the reading side calls this."""
        self._errors += 1
        logger.error("message lost: error in %r", self, exc_info=error)


class _Marker(threading.Event):
    """A marker among the messages, which the thread sets when it takes it from the mailbox."""


class to_thread(_Buffered[M]):  # noqa: N801
    """A task that hands messages to ``task.send`` on a daemon thread of its own.

    The thread starts with the first message, and again in a forked child. Errors are logged and
    counted (`errors`). `close` lets the thread finish the waiting messages. So does the end of the
    program, for up to five seconds; then a warning says how many messages are left.

    Args:
        task: anything with a synchronous ``send(msg)``.
        maxsize: how many messages may wait.
        overflow: what happens with one more; by default the sender waits.

    Raises:
        NotASubscriber: the task cannot be given messages.
    """

    def __init__(self, task: Task[M], maxsize: int = 1000, overflow: Overflow = "block") -> None:
        self._task = task
        self._call = check_task(task)
        if is_generator(task):
            self._call = GeneratorTask(task, self._ended).send
        super().__init__(maxsize, overflow)
        track(self)._new_thread()

    def __repr__(self) -> str:
        return f"to_thread({self._task!r})"

    def _new_thread(self) -> None:
        """Have the next message start a thread."""
        self._lock = threading.RLock()
        self._thread: threading.Thread | None = None

    def _after_fork(self) -> None:
        """Leave waiting messages to the parent, whose thread has them too; start afresh."""
        self._mailbox.clear()
        self._new_thread()

    def send(self, msg: M, /) -> None:
        """Put ``msg`` into the mailbox of the thread.

        Raises:
            Closed: after `close`, since nobody would read the message.
            MailboxFull: there is no room, with ``overflow="error"``.
        """
        if self._thread is None:
            self._start()
        if self._mailbox.closed:
            raise Closed(f"{self!r} is closed and takes no more messages: detach it")
        self._mailbox.put(msg)

    def _start(self) -> None:
        """Start the thread, unless it runs already."""
        if finalizers.later(self._start):
            return
        with self._lock:
            if self._thread is None and not self._mailbox.closed:
                name = f"zexchange-{type(self._task).__name__}"
                self._thread = threading.Thread(target=self._run, name=name, daemon=True)
                self._thread.start()
                _running.add(weakref.ref(self, _running.discard))
                end_as_child()

    def _run(self) -> None:
        """Hand on messages until closed; runs on the thread."""
        while True:
            try:
                msg = self._mailbox.take()
            except Closed:
                return
            if type(msg) is _Marker:
                msg.set()
                continue
            try:
                result = self._call(msg)
                if asyncio.iscoroutine(result):
                    raise unawaited(result)
            except BaseException as error:  # SystemExit too: later messages need this thread
                self._failed(error)

    def mark(self) -> threading.Event:
        """Return an event that is set when the thread has handed on all messages that wait now."""
        marker = _Marker()
        self._mailbox.preload(marker)
        if self._mailbox.closed:
            marker.set()
        return marker

    def _ended(self) -> None:
        """End along with a generator that has ended; waiting messages are dropped and counted."""
        self._mailbox.close()
        self._mailbox.abandon()

    def close(self, timeout: float | None = None) -> None:
        """Take no more messages, and wait until the thread has handed on the waiting ones.

        Args:
            timeout: seconds to wait at most; None waits without end.
        """
        if finalizers.later(self.close, timeout):
            return
        self._mailbox.finish()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)


_running: "set[weakref.ref[to_thread]]" = set()
"""Adapters that have a thread: without `_finish`, the end of the program would stop these abruptly.
"""


def _alive() -> list[to_thread]:
    """Return the adapters that still exist and have a thread."""
    # A plain set is listed in one step, while other threads may add to it.
    return [found for known in list(_running) if (found := known()) is not None]


def catch_up() -> None:
    """Wait until the threads have handed on all messages so far; called as the program ends."""
    finalizers.settle()
    until = time.monotonic() + FINISHING
    markers = [running.mark() for running in _alive()]
    for marker in markers:
        marker.wait(max(0.0, until - time.monotonic()))


def _finish() -> None:
    """Have all threads take no more messages and hand on those that wait, as the program ends."""
    finalizers.settle()
    until = time.monotonic() + FINISHING
    for running in _alive():
        running.close(max(0.0, until - time.monotonic()))
        left = sum(type(item) is not _Marker for item in tuple(running._mailbox.items))
        if left:
            log.warning("%r: the program ends, %d messages are not handed on", running, left)
            log.flush()


at_exit(_finish)


class to_async(_Buffered[M]):  # noqa: N801
    """A task that awaits ``fn(msg)`` on the event loop that runs where this is made.

    Messages may be sent from any thread. The loop gets them in order, one at a time, and is woken
    once for a burst. Errors are logged and counted (`errors`). When the loop has ended, messages
    are dropped and counted. For asyncio only: under trio, read a `stream` in a nursery.

    Args:
        fn: an async function.
        maxsize: how many messages may wait.
        overflow: what happens with one more. With ``"block"`` a sender on another thread waits; a
            sender on the loop itself, which would wait for itself, gets `MailboxFull`.

    Raises:
        NotASubscriber: ``fn`` is no callable.
        RuntimeError: no event loop runs on this thread, or it is trio's.
    """

    def __init__(
        self,
        fn: Callable[[M], Awaitable[object]],
        maxsize: int = 1000,
        overflow: Overflow = "block",
    ) -> None:
        if not callable(fn):
            raise NotASubscriber(f"to_async needs an async function, not {fn!r}")
        super().__init__(maxsize, overflow)
        self._fn = fn
        self._told = False
        loop = eventloops.running()
        if not isinstance(loop, asyncio.AbstractEventLoop):
            raise RuntimeError(
                "to_async needs a running asyncio loop, which awaits the function"
                + (": under trio, read a stream() in a nursery" if loop else "")
            )
        self._loop = loop
        self._reader = self._loop.create_task(self._run())
        track(self)

    def __repr__(self) -> str:
        return f"to_async({self._fn!r})"

    def _after_fork(self) -> None:
        """Leave waiting messages to the parent, whose loop has them too."""
        self._mailbox.clear()

    def send(self, msg: M, /) -> None:
        """Put ``msg`` into the mailbox of the loop; called on any thread.

        Raises:
            MailboxFull: there is no room, and the sender should not wait, or would wait for ever.
        """
        if self._mailbox.closed or self._loop.is_closed():
            if not finalizers.later(self.send, msg, message=True):
                self._lost(self._mailbox.refuse())
        else:
            self._mailbox.put(msg)

    async def _run(self) -> None:
        """Await the function for each message; runs on the loop until the loop ends."""
        try:
            while True:
                msg = await self._mailbox.take_async()
                try:
                    await self._fn(msg)
                except asyncio.CancelledError as error:
                    task = asyncio.current_task()
                    if task is None or task.cancelling():
                        raise
                    self._failed(error)  # not this coroutine: something it awaited was cancelled
                except (KeyboardInterrupt, SystemExit, GeneratorExit):
                    raise  # these end the loop, or come from its end
                except BaseException as error:
                    self._failed(error)
        except Closed:
            pass
        finally:
            self._mailbox.close()
            self._lost(self._mailbox.abandon())

    def close(self) -> None:
        """Take no more messages; the loop still awaits the function for those that wait."""
        self._mailbox.finish()

    async def wait_closed(self) -> None:
        """Wait, after `close`, until the function has been awaited for all messages."""
        await asyncio.wait([self._reader])

    def _lost(self, n: int) -> None:
        """Log that messages are dropped, the first time only; the mailbox counts them."""
        if n and not self._told:
            self._told = True
            logger.warning("%r drops messages: its event loop, or it, has ended", self)
