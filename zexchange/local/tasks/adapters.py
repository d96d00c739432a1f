"""Tasks out of other things that need no thread of their own: callables, queues, a display.

Each adapter is a task with a plain ``send`` and is itself what gets detached. What an
adapter cannot keep it drops as told, and counts. It must not know any exchange.
"""

import asyncio
import queue
import sys
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Generic, Protocol, TextIO, overload

from ...errors import MailboxFull, NotASubscriber
from ..process import finalizers
from ..process.fork import Lock
from .mailbox import Overflow, check_overflow
from .snapshots import Keeper, settled
from .task import M
from .validation import check_callable

if TYPE_CHECKING:
    from typing_extensions import deprecated


class to_call(Generic[M]):  # noqa: N801 - used as a verb, like the built-in classes
    """A task that calls ``fn(msg)``, on the sender's thread.

    Raises:
        NotASubscriber: ``fn`` is no callable, or async.
    """

    __slots__ = ("send",)

    if TYPE_CHECKING:

        def send(self, msg: M, /) -> object:
            """Take one message; see `Task`."""

    if TYPE_CHECKING:

        @overload
        @deprecated("an async function is attached by to_async")
        def __init__(self, fn: Callable[[M], Coroutine[Any, Any, object]]) -> None: ...

        @overload
        def __init__(self, fn: Callable[[M], object]) -> None: ...

    def __init__(self, fn: Callable[[M], object]) -> None:
        check_callable(fn, "to_call")
        object.__setattr__(self, "send", fn)  # the function itself: one call a message, not two

    def __repr__(self) -> str:
        return f"to_call({self.send!r})"


class Puts(Protocol[M]):
    """What has ``put``, as a `queue.Queue`."""

    def put(self, item: M, /) -> object:
        """Take one message, and wait for room."""
        ...


class to_queue(Keeper, Generic[M]):  # noqa: N801
    """A task that puts each message into a queue, on the sender's thread.

    Args:
        q: a `queue.Queue`, `queue.SimpleQueue` or a queue of `multiprocessing`.
        overflow: what happens when it is full; as for `Exchange.stream`.

    Raises:
        NotASubscriber: ``q`` has no ``put``, or belongs to an event loop.
    """

    __slots__ = ("__weakref__", "_dropped", "_lock", "_overflow", "_q", "send")

    if TYPE_CHECKING:

        def send(self, msg: M, /) -> object:
            """Take one message; see `Task`."""

    if TYPE_CHECKING:

        @overload
        @deprecated("an asyncio.Queue is attached by to_async(q.put)")
        def __init__(self, q: asyncio.Queue[M], overflow: Overflow = "block") -> None: ...

        @overload
        def __init__(self, q: Puts[M], overflow: Overflow = "block") -> None: ...

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
        object.__setattr__(self, "send", self._offer if bounded else self._put)
        self._lock = Lock()

    def keep(self, msg: object) -> None:
        """Put a message that its sender may change: a copy of a buffer."""
        self.send(settled(msg))  # pyright: ignore[reportCallIssue] - a slot, and no method

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
        if self._overflow == "drop_oldest" and self._drop_oldest():
            try:
                self._q.put_nowait(msg)
                return
            except queue.Full:
                pass  # another sender was faster: then it is this one that is dropped
        self._count_dropped()

    def _drop_oldest(self) -> bool:
        """Take one message out; False where it cannot be had, as in a feeder's buffer."""
        try:
            self._q.get_nowait()
        except queue.Empty:
            return False
        done = getattr(self._q, "task_done", None)
        if done is not None:
            done()  # nobody will process it, and join() must not wait for it
        self._count_dropped()
        return True

    def _count_dropped(self) -> None:
        if finalizers.later(self._count_dropped):
            return
        with self._lock.lock:
            self._dropped += 1


class DisplayMessages:
    """A task that counts the messages and prints each with its number.

    Args:
        file: where to print; None is `sys.stdout` as it is at each message.
    """

    def __init__(self, file: TextIO | None = None) -> None:
        self.count = 0
        self._file = file
        self._lock = Lock()

    def send(self, msg: object) -> None:
        """Print ``msg``, whole lines also when several threads send."""
        if finalizers.later(self.send, msg, message=True):
            return
        with self._lock.lock:
            self.count = number = self.count + 1
        # In one piece, and outside the lock: the message says itself what it looks like.
        print(f"msg[{number}]: {msg!r}\n", end="", file=self._file or sys.stdout)
