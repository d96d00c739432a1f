"""Tasks out of other things: callables, queues, async functions, slow tasks on a thread.

Each adapter is a task with a plain ``send`` and is itself what gets detached. What an
adapter cannot keep it drops as told, and counts. It must not know any exchange.
"""

import asyncio
import queue
import sys
import threading
from collections.abc import Awaitable, Callable, Generator
from typing import Any, TextIO

from ..errors import Closed, MailboxFull, NotASubscriber
from .checks import Turns, check_callable, check_task
from .forking import track
from .mailbox import Mailbox, MailboxStats, Overflow, check_overflow
from .outcome import logger, unawaited
from .subscriptions import Task


class to_call:  # noqa: N801 - used as a verb, like the built-in classes
    """A task that calls ``fn(msg)``, on the sender's thread.

    Raises:
        NotASubscriber: ``fn`` is no callable, or async.
    """

    __slots__ = ("send",)

    def __init__(self, fn: Callable[[Any], object]) -> None:
        check_callable(fn, "to_call")
        self.send = fn  # the function itself: one call a message, not two

    def __repr__(self) -> str:
        return f"to_call({self.send!r})"


class to_queue:  # noqa: N801
    """A task that puts each message into a queue, on the sender's thread.

    Args:
        q: a `queue.Queue`, `queue.SimpleQueue` or a queue of `multiprocessing`.
        overflow: what happens when it is full; as for `Exchange.stream`.

    Raises:
        NotASubscriber: ``q`` has no ``put``, or belongs to an event loop.
    """

    __slots__ = ("__weakref__", "_dropped", "_lock", "_overflow", "_q", "send")

    def __init__(self, q: Any, overflow: Overflow = "block") -> None:
        check_overflow(overflow)
        if isinstance(q, asyncio.Queue):
            raise NotASubscriber(
                "an asyncio.Queue is not safe to fill from other threads: attach"
                " to_async(q.put), or read a stream()"
            )
        if not callable(getattr(q, "put", None)):
            raise NotASubscriber(f"to_queue needs something with put, not {q!r}")
        self._q = q
        self._dropped = 0
        self._overflow = overflow
        # A queue without put_nowait has no bound to run against.
        bounded = overflow != "block" and hasattr(q, "put_nowait")
        self.send: Callable[[Any], object] = self._offer if bounded else self._put
        track(self).after_fork()

    def after_fork(self) -> None:
        """Make the lock anew."""
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        return f"to_queue({self._q!r})"

    @property
    def dropped(self) -> int:
        """How many messages were dropped because the queue was full."""
        return self._dropped

    def _put(self, msg: object) -> None:
        """Wait for room."""
        self._q.put(msg)

    def _offer(self, msg: object) -> None:
        """Put without waiting."""
        try:
            self._q.put_nowait(msg)
        except queue.Full:
            self._overflowed(msg)

    def _overflowed(self, msg: object) -> None:
        """Do what ``overflow`` says in a full queue."""
        if self._overflow == "error":
            raise MailboxFull(f"{self._q!r} is full") from None
        with self._lock:
            if self._overflow == "drop_oldest" and self._drop_oldest():
                try:
                    self._q.put_nowait(msg)
                    return
                except queue.Full:
                    pass  # another sender was faster: then it is this one that is dropped
            self._dropped += 1

    def _drop_oldest(self) -> bool:
        """Take one message out; False where it cannot be had, as in a feeder's buffer."""
        try:
            self._q.get_nowait()
        except queue.Empty:
            return False
        done = getattr(self._q, "task_done", None)
        if done is not None:
            done()  # nobody will process it, and join() must not wait for it
        self._dropped += 1
        return True


class _Buffered:
    """What the adapters with a mailbox share: its figures, and the errors behind it."""

    def __init__(self, maxsize: int, overflow: Overflow) -> None:
        self._mailbox: Mailbox[Any] = Mailbox(maxsize, overflow)
        self._errors = 0
        self._ended_with = 0  # messages that nobody will read

    @property
    def errors(self) -> int:
        """How many messages the task failed on; each was logged."""
        return self._errors

    @property
    def dropped(self) -> int:
        """How many messages the task never got: for want of room, or of a reader."""
        return self._mailbox.stats().dropped + self._ended_with

    def stats(self) -> MailboxStats:
        """Return what went through the mailbox."""
        return self._mailbox.stats()

    def _failed(self, error: Exception) -> None:
        """Log and count an error that has no caller; only the reading side calls this."""
        self._errors += 1
        logger.error("message lost: error in %r", self, exc_info=error)


class to_thread(_Buffered):  # noqa: N801
    """A task that hands messages to ``task.send`` on a daemon thread of its own.

    The thread starts with the first message, in a forked child again. Errors are logged
    and counted (`errors`). `close` lets it finish what is waiting.

    Args:
        task: anything with a synchronous ``send(msg)``.
        maxsize: so many messages wait at most.
        overflow: what happens with one more; the sender waits unless told otherwise.

    Raises:
        NotASubscriber: the task cannot be given messages.
    """

    def __init__(self, task: Task[Any], maxsize: int = 1000, overflow: Overflow = "block") -> None:
        self._task = task
        self._call = check_task(task)
        if isinstance(task, Generator):
            self._call = Turns(task, self._mailbox_finish).send
        super().__init__(maxsize, overflow)
        track(self)._new_thread()

    def __repr__(self) -> str:
        return f"to_thread({self._task!r})"

    def _new_thread(self) -> None:
        """Have the next message start a thread."""
        self._lock = threading.RLock()
        self._thread: threading.Thread | None = None

    def after_fork(self) -> None:
        """Leave what waits to the parent, whose thread has it too; start anew."""
        self._mailbox.clear()
        self._new_thread()

    def send(self, msg: object) -> None:
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
        with self._lock:
            if self._thread is None and not self._mailbox.closed:
                name = f"zexchange-{type(self._task).__name__}"
                self._thread = threading.Thread(target=self._run, name=name, daemon=True)
                self._thread.start()

    def _run(self) -> None:
        """Hand on messages until closed; runs on the thread."""
        while True:
            try:
                msg = self._mailbox.take()
            except Closed:
                return
            try:
                result = self._call(msg)
                if asyncio.iscoroutine(result):
                    raise unawaited(result)
            except Exception as error:
                self._failed(error)

    def _mailbox_finish(self) -> None:
        """End with a task that has ended."""
        self._mailbox.close()

    def close(self, timeout: float | None = None) -> None:
        """Take no more messages, and wait until the thread is through with what it has.

        Args:
            timeout: seconds to wait at most; None waits without end.
        """
        self._mailbox.finish()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)


class to_async(_Buffered):  # noqa: N801
    """A task that awaits ``fn(msg)`` on the event loop that runs where this is made.

    Messages are handed over from any thread, in order, one at a time, by one wake-up a
    burst. Errors are logged and counted (`errors`). When the loop has ended, what comes
    is dropped and counted.

    Args:
        fn: an async function.
        maxsize: so many messages wait at most.
        overflow: what happens with one more. With ``"block"`` a sender on another thread
            waits; one on the loop itself, which would wait for itself, gets `MailboxFull`.

    Raises:
        NotASubscriber: ``fn`` is no callable.
        RuntimeError: no event loop runs on this thread.
    """

    def __init__(
        self,
        fn: Callable[[Any], Awaitable[object]],
        maxsize: int = 1000,
        overflow: Overflow = "block",
    ) -> None:
        if not callable(fn):
            raise NotASubscriber(f"to_async needs an async function, not {fn!r}")
        super().__init__(maxsize, overflow)
        self._fn = fn
        self._loop = asyncio.get_running_loop()
        self._reader = self._loop.create_task(self._run())
        track(self)

    def __repr__(self) -> str:
        return f"to_async({self._fn!r})"

    def after_fork(self) -> None:
        """Leave what waits to the parent, whose loop has it too."""
        self._mailbox.clear()

    def send(self, msg: object) -> None:
        """Leave ``msg`` for the loop; from any thread.

        Raises:
            MailboxFull: there is no room, and waiting is not wanted or would never end.
        """
        if self._mailbox.closed or self._loop.is_closed():
            self._lost(1)
        else:
            self._mailbox.put(msg)

    async def _run(self) -> None:
        """Await the function for each message; runs on the loop until that ends."""
        try:
            while True:
                msg = await self._mailbox.take_async()
                try:
                    await self._fn(msg)
                except Exception as error:
                    self._failed(error)
        except Closed:
            pass
        finally:
            self._mailbox.close()
            self._lost(len(self._mailbox))

    def close(self) -> None:
        """Take no more messages; the loop still awaits what is waiting."""
        self._mailbox.finish()

    def _lost(self, n: int) -> None:
        """Count messages that no loop will see; the log has the first time only."""
        if n and not self._ended_with:
            logger.warning("%r drops messages: its event loop, or it, has ended", self)
        self._ended_with += n


class DisplayMessages:
    """A task that counts the messages and prints each with its number.

    Args:
        file: where to print; None is `sys.stdout` as it is at each message.
    """

    def __init__(self, file: TextIO | None = None) -> None:
        self.count = 0
        self._file = file
        track(self).after_fork()

    def after_fork(self) -> None:
        """Make the lock anew."""
        self._lock = threading.RLock()

    def send(self, msg: object) -> None:
        """Print ``msg``, whole lines also when several threads send."""
        with self._lock:
            self.count += 1
            print(f"msg[{self.count}]: {msg!r}", file=self._file or sys.stdout)
