"""Tasks made of things that need no thread of their own: callables, queues, a display.

Each adapter is a task with a plain ``send``, and the adapter itself is what gets detached. An
adapter that cannot keep a message drops it by the rule that the user chose, and counts it. Nothing
here may know exchanges.
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
    """An object with ``put``, such as a `queue.Queue`."""

    def put(self, item: M, /) -> object:
        """Take one message, waiting for room."""
        ...


class to_queue(Keeper, Generic[M]):  # noqa: N801
    """A task that puts each message into a queue, on the sender's thread.

    Args:
        q: a `queue.Queue`, `queue.SimpleQueue` or a queue of `multiprocessing`.
        overflow: what happens when the queue is full; as for `Exchange.stream`.

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
        # A queue without put_nowait is unbounded.
        bounded = overflow != "block" and hasattr(q, "put_nowait")
        object.__setattr__(self, "send", self._offer if bounded else self._put)
        self._lock = Lock()

    def keep(self, msg: object) -> None:
        """Put a message that its sender may change: a buffer is copied."""
        self.send(settled(msg))  # pyright: ignore[reportCallIssue] - a slot, and no method

    def __repr__(self) -> str:
        return f"to_queue({self._q!r})"

    @property
    def dropped(self) -> int:
        """How many messages were dropped because the queue was full."""
        return self._dropped

    def _put(self, msg: object) -> None:
        self._q.put(msg)

    def _offer(self, msg: object) -> None:
        try:
            self._q.put_nowait(msg)
        except queue.Full:
            self._overflowed(msg)

    def _overflowed(self, msg: object) -> None:
        """Apply ``overflow`` to a message that the queue had no room for."""
        if self._overflow == "error":
            raise MailboxFull(f"{self._q!r} is full") from None
        if self._overflow == "drop_oldest" and self._drop_oldest():
            try:
                self._q.put_nowait(msg)
                return
            except queue.Full:
                pass  # another sender was faster: then this message is dropped
        self._count_dropped()

    def _drop_oldest(self) -> bool:
        """Take one message out; return False if none is there, as while a feeder thread has it."""
        try:
            self._q.get_nowait()
        except queue.Empty:
            return False
        done = getattr(self._q, "task_done", None)
        if done is not None:
            done()  # nobody will process the message, and join() must not wait for it
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
        """Print ``msg``, as whole lines even when several threads send."""
        if finalizers.later(self.send, msg, message=True):
            return
        with self._lock.lock:
            self.count = number = self.count + 1
        # In one piece; and outside the lock, because the message's `__repr__` is foreign code.
        print(f"msg[{number}]: {msg!r}\n", end="", file=self._file or sys.stdout)
