"""Event loops as other threads see them: how a coroutine waits, and how a thread wakes it.

The differences between asyncio (uvloop included) and trio are here and nowhere else; anyio runs on
either. A burst wakes a loop by one callback, however many coroutines wait there. Nothing here knows
the purpose of the waits, and trio is asked only if the program has imported it.
"""

import asyncio
import contextvars
import inspect
import sys
import threading
import weakref
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from types import FrameType
from typing import Any, Literal


class LoopBinding(ABC):
    """One running event loop, and the waiters to be woken on it.

    `wake` may be called by any thread; the other methods belong to the thread of the loop.
    """

    def __init__(self, loop: object, post: Callable[[Callable[[], None]], object]) -> None:
        self.loop = loop
        self._post = post
        self._due: deque[LoopWaiter] = deque()
        self._posted = False

    def wake(self, waiter: "LoopWaiter") -> None:
        """Let a waiter go on; without effect if its loop has ended, or it has gone on already."""
        # Appended before `_posted` is read: a callback that is on its way finds this waiter too.
        self._due.append(waiter)
        if not self._posted:
            self._posted = True
            try:
                self._post(self._run)
            except RuntimeError:  # the loop has ended, and its coroutines with it
                self._posted = False
                self._due.clear()

    def _run(self) -> None:
        """Let all due waiters go on; runs on the loop."""
        self._posted = False
        # Not those that become due meanwhile: two coroutines that answer each other would keep
        # this callback running for ever.
        due, left = self._due, len(self._due)
        try:
            while left:
                left -= 1
                due.popleft().end()
        finally:  # a task may have raised SystemExit
            if left:
                self.wake(self._due.popleft())

    @abstractmethod
    def waiter(self) -> "LoopWaiter":
        """Return an awaitable for one coroutine; any `wake` of it from now on ends the wait."""

    @abstractmethod
    async def wait(self, waiter: "LoopWaiter", seconds: float) -> None:
        """Wait until woken, for ``seconds`` at most."""

    def spawn(self, make: Callable[[], Coroutine[Any, Any, None]]) -> bool:
        """Run a coroutine on the loop; return whether the loop still runs. Any thread.

        Args:
            make: returns the coroutine; called on the loop. It must not raise an Exception.
        """
        try:
            self._post(lambda: self._begin(make))
        except RuntimeError:  # the loop has ended
            return False
        return True

    @abstractmethod
    def _begin(self, make: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Begin to run a coroutine; called on the loop."""

    @abstractmethod
    async def pause(self) -> None:
        """Let the other coroutines and callbacks of the loop have a turn."""

    @property
    @abstractmethod
    def closed(self) -> bool:
        """Whether nothing will run on the loop any longer."""


class _Pause:
    """The awaitable of one asyncio task: it has the parts of a future that a task uses.

    Unlike `asyncio.Future` it resumes the task in the very callback that wakes it, not in the next
    turn of the loop: 43 instead of 62 µs from another thread.
    """

    __slots__ = ("_asyncio_future_blocking", "_context", "_go_on", "_loop", "_message", "_state")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._asyncio_future_blocking = False
        self._loop = loop
        self._go_on: Callable[[_Pause], object] | None = None
        self._context: contextvars.Context | None = None
        self._message: object = None
        self._state: Literal["waiting", "done", "cancelled"] = "waiting"

    def __await__(self) -> Generator["_Pause", None, None]:
        if self._state == "waiting":
            self._asyncio_future_blocking = True
            yield self
        return self.result()

    def end(self) -> None:
        """Resume the task now; called in a callback of the loop."""
        if self._state == "waiting":
            self._state = "done"
            if self._context is not None and self._go_on is not None:
                go_on, self._go_on = self._go_on, None
                self._context.run(go_on, self)
            else:
                self._call()

    def cancel(self, msg: object = None) -> bool:
        """Have `result` raise, and resume the task soon; return False if it is resumed already."""
        if self._state != "waiting":
            return False
        self._state, self._message = "cancelled", msg
        self._loop.call_soon(self._call)
        return True

    def _call(self) -> None:
        go_on, self._go_on = self._go_on, None
        if go_on is not None and self._context is not None:
            self._context.run(go_on, self)
        elif go_on is not None:
            go_on(self)

    def add_done_callback(
        self, fn: "Callable[[_Pause], object]", *, context: contextvars.Context | None = None
    ) -> None:
        """Remember the callback that resumes the task, which calls this right after it awaited."""
        self._go_on, self._context = fn, context
        if self._state != "waiting":
            self._loop.call_soon(self._call)

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def done(self) -> bool:
        """Return whether the wait is over."""
        return self._state != "waiting"

    def result(self) -> None:
        """Return None, or raise CancelledError if the wait was cancelled."""
        if self._state == "cancelled":
            raise asyncio.CancelledError(*([] if self._message is None else [self._message]))


class _Asyncio(LoopBinding):
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop, loop.call_soon_threadsafe)
        self._aio = loop
        self._tasks = set[asyncio.Task[None]]()

    def _begin(self, make: Callable[[], Coroutine[Any, Any, None]]) -> None:
        task = self._aio.create_task(make())
        self._tasks.add(task)  # the loop itself refers to tasks only weakly
        task.add_done_callback(self._tasks.discard)

    def waiter(self) -> _Pause:
        return _Pause(self._aio)

    async def wait(self, waiter: "LoopWaiter", seconds: float) -> None:
        timer = self._aio.call_later(seconds, waiter.end)
        try:
            await waiter
        finally:
            timer.cancel()

    async def pause(self) -> None:
        await asyncio.sleep(0)

    @property
    def closed(self) -> bool:
        return self._aio.is_closed()


class _Moment:
    """The awaitable of one trio task."""

    def __init__(self, event: Any) -> None:
        self._event = event
        self.end: Callable[[], None] = event.set

    def __await__(self) -> Generator[Any, Any, None]:
        waiting: Generator[Any, Any, None] = self._event.wait().__await__()
        return waiting


LoopWaiter = _Pause | _Moment
"""The awaitable of one coroutine. `end`, called on its loop, resumes the coroutine if it still
waits."""


class _Trio(LoopBinding):
    def __init__(self, token: Any) -> None:
        super().__init__(token, token.run_sync_soon)
        self._trio = sys.modules["trio"]

    def _begin(self, make: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._trio.lowlevel.spawn_system_task(make)

    def waiter(self) -> "_Moment":
        return _Moment(self._trio.Event())

    async def wait(self, waiter: "LoopWaiter", seconds: float) -> None:
        with self._trio.move_on_after(seconds):
            await waiter

    async def pause(self) -> None:
        await self._trio.lowlevel.checkpoint()

    @property
    def closed(self) -> bool:
        try:
            self._post(lambda: None)
        except RuntimeError:
            return True
        return False


_cache = threading.local()


def running() -> Any:
    """Return the asyncio loop or trio token that runs on this thread now, None if there is none."""
    trio = sys.modules.get("trio")
    if trio is not None:
        try:  # first: in trio's guest mode, both run on this thread
            trio.lowlevel.current_task()
            return trio.lowlevel.current_trio_token()
        except (RuntimeError, AttributeError):  # not in trio; or another thread still imports it
            pass
    return asyncio._get_running_loop()


def held_up_here() -> bool:
    """Return whether waiting on this thread would hold up unrelated coroutines.

    A cell of a notebook is an exception: the kernel runs plain code of cells inside its own event
    loop, which cannot go on anyway until the cell has ended.
    """
    return running() is not None and not _in_cell()


def _in_cell() -> bool:
    """Return whether a notebook cell runs the caller, and no coroutine or callback between them."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        code, module = frame.f_code, frame.f_globals.get("__name__") or ""
        if module == "__main__" and code.co_name.startswith(_TYPED):
            # The main script of a program has no frame below it; a cell has the kernel's.
            below = frame.f_back
            return below is not None and below.f_globals.get("__name__") != "runpy"
        if code.co_flags & inspect.CO_COROUTINE or module.partition(".")[0] in _LOOPS:
            return False
        frame = frame.f_back
    return False


_TYPED = ("<module>", "<cell line")
"""How the code objects of cells and scripts are named, or begin to be named."""
_LOOPS = ("asyncio", "trio", "uvloop", "anyio")


def home() -> LoopBinding:
    """Return the binding of the event loop that runs on this thread.

    Raises:
        RuntimeError: none does.
    """
    loop = running()
    if loop is None:
        raise RuntimeError("no event loop runs on this thread: this has to be awaited in one")
    # Held weakly: code that waits holds it, and a loop that has ended must not be kept.
    found = getattr(_cache, "home", None)
    known: LoopBinding | None = found and found()
    if known is None or known.loop is not loop:
        known = _Asyncio(loop) if isinstance(loop, asyncio.AbstractEventLoop) else _Trio(loop)
        _cache.home = weakref.ref(known)
    return known


async def in_thread(call: Callable[[], None]) -> None:
    """Run ``call`` on a thread of its own, which starts at once, and wait until it returns.

    A coroutine that is cancelled meanwhile stops waiting. The call still goes on to its end, and
    the interpreter waits for that before it exits.
    """
    here, failed = home(), list[BaseException]()
    waiter = here.waiter()

    def run() -> None:
        try:
            call()
        except BaseException as error:
            failed.append(error)
        here.wake(waiter)

    try:
        threading.Thread(target=run, name="zexchange-closing").start()
    except RuntimeError:  # no more threads: hold up the loop rather than not make the call
        run()
    await waiter
    if failed:
        raise failed.pop()
