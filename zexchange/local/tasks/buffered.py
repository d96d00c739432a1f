"""Tasks behind a mailbox: slow ones on a thread of their own, async ones on their loop.

The sender only leaves the message; whoever reads has no caller, so that errors are
logged and counted there. It must not know any exchange.
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
"""Seconds that the end of the program waits for messages which are with threads."""


class _Buffered(Keeper, Generic[M]):
    """What the adapters with a mailbox share: its figures, and the errors behind it."""

    def __init__(self, maxsize: int, overflow: Overflow) -> None:
        self._mailbox: Mailbox[Any] = Mailbox(maxsize, overflow)
        self._errors = 0

    def send(self, msg: M, /) -> None:
        """Leave ``msg`` in the mailbox."""
        raise NotImplementedError

    def keep(self, msg: object) -> None:
        """Leave a message that its sender may change: a copy of a buffer."""
        self.send(settled(msg))

    @property
    def errors(self) -> int:
        """How many messages the task failed on; each was logged."""
        return self._errors

    @property
    def dropped(self) -> int:
        """How many messages the task never got: for want of room, or of a reader."""
        return self._mailbox.stats().dropped

    def stats(self) -> MailboxStats:
        """Return what went through the mailbox."""
        return self._mailbox.stats()

    def _failed(self, error: BaseException) -> None:
        """Log and count an error that has no caller; only the reading side calls this."""
        self._errors += 1
        logger.error("message lost: error in %r", self, exc_info=error)


class _Marker(threading.Event):
    """A place among the messages, which the thread sets when it comes there."""


class to_thread(_Buffered[M]):  # noqa: N801
    """A task that hands messages to ``task.send`` on a daemon thread of its own.

    The thread starts with the first message, in a forked child again. Errors are logged
    and counted (`errors`). `close` lets it finish what is waiting, and so does the end of the
    program, for up to five seconds; a warning says how many messages are left then.

    Args:
        task: anything with a synchronous ``send(msg)``.
        maxsize: so many messages wait at most.
        overflow: what happens with one more; the sender waits unless told otherwise.

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
        """Leave what waits to the parent, whose thread has it too; start anew."""
        self._mailbox.clear()
        self._new_thread()

    def send(self, msg: M, /) -> None:
        """Leave ``msg`` for the thread.

        Raises:
            Closed: after `close`: nobody would read it.
            MailboxFull: there is no room, with ``overflow="error"``.
        """
        if self._thread is None:
            self._start()
        if self._mailbox.closed:
            raise Closed(f"{self!r} is closed and takes no more messages: detach it")
        self._mailbox.put(msg)

    def _start(self) -> None:
        """Start the thread, once."""
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
            except BaseException as error:  # SystemExit too: nobody would read what comes then
                self._failed(error)

    def mark(self) -> threading.Event:
        """Return what is set when the thread has handed on all that it has now."""
        marker = _Marker()
        self._mailbox.preload(marker)
        if self._mailbox.closed:
            marker.set()
        return marker

    def _ended(self) -> None:
        """End with a generator that has ended; what still waits is dropped, and counted."""
        self._mailbox.close()
        self._mailbox.abandon()

    def close(self, timeout: float | None = None) -> None:
        """Take no more messages, and wait until the thread is through with what it has.

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
"""Those that have a thread, which the end of the program would stop where it is."""


def _alive() -> list[to_thread]:
    """Return them: a plain set is listed in one step, while other threads add to it."""
    return [found for known in list(_running) if (found := known()) is not None]


def catch_up() -> None:
    """Wait until the threads have handed on what came up to now, as the program ends."""
    finalizers.settle()
    until = time.monotonic() + FINISHING
    markers = [running.mark() for running in _alive()]
    for marker in markers:
        marker.wait(max(0.0, until - time.monotonic()))


def _finish() -> None:
    """Have all threads hand on what they have and take no more, as the program ends."""
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

    Messages are handed over from any thread, in order, one at a time, by one wake-up a
    burst. Errors are logged and counted (`errors`). When the loop has ended, what comes
    is dropped and counted. For asyncio only: under trio, read a `stream` in a nursery.

    Args:
        fn: an async function.
        maxsize: so many messages wait at most.
        overflow: what happens with one more. With ``"block"`` a sender on another thread
            waits; one on the loop itself, which would wait for itself, gets `MailboxFull`.

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
        """Leave what waits to the parent, whose loop has it too."""
        self._mailbox.clear()

    def send(self, msg: M, /) -> None:
        """Leave ``msg`` for the loop; from any thread.

        Raises:
            MailboxFull: there is no room, and waiting is not wanted or would never end.
        """
        if self._mailbox.closed or self._loop.is_closed():
            if not finalizers.later(self.send, msg, message=True):
                self._lost(self._mailbox.refuse())
        else:
            self._mailbox.put(msg)

    async def _run(self) -> None:
        """Await the function for each message; runs on the loop until that ends."""
        try:
            while True:
                msg = await self._mailbox.take_async()
                try:
                    await self._fn(msg)
                except asyncio.CancelledError as error:
                    task = asyncio.current_task()
                    if task is None or task.cancelling():
                        raise
                    self._failed(error)  # something that the function has awaited was
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
        """Take no more messages; the loop still awaits what is waiting."""
        self._mailbox.finish()

    async def wait_closed(self) -> None:
        """Wait, after `close`, until the function has been awaited for all that came."""
        await asyncio.wait([self._reader])

    def _lost(self, n: int) -> None:
        """Log that messages found no loop, when they are the first to; they are counted."""
        if n and not self._told:
            self._told = True
            logger.warning("%r drops messages: its event loop, or it, has ended", self)
