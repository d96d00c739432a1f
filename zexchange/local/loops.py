"""Event loops as other threads see them: what waits on one, and how that is woken.

asyncio (uvloop is one) and trio differ here and nowhere else; anyio runs on either. A
burst wakes a loop by one callback, whatever waits there. Nothing here knows what is
waited for, and trio is asked only where a program has imported it.
"""

import asyncio
import sys
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Any


class Home(ABC):
    """One running event loop, and what is to be woken on it.

    `wake` may be called by any thread; the rest belongs to the thread of the loop.
    """

    def __init__(self, loop: object, post: Callable[[Callable[[], None]], object]) -> None:
        self.loop = loop
        self._post = post
        self._due: deque[Any] = deque()
        self._posted = False

    def wake(self, waiter: object) -> None:
        """Have a waiter go on; without effect if its loop has ended, or it has gone on."""
        # Appended before the look: a callback that is on its way takes along what it finds.
        self._due.append(waiter)
        if not self._posted:
            self._posted = True
            try:
                self._post(self._run)
            except RuntimeError:  # the loop has ended, and who waited there with it
                self._posted = False
                self._due.clear()

    def _run(self) -> None:
        """Let all go on that are due; on the loop."""
        self._posted = False
        while self._due:
            self.resolve(self._due.popleft())

    @abstractmethod
    def waiter(self) -> Any:
        """Return what to `wait` with: every `wake` from now on ends that wait."""

    @abstractmethod
    def resolve(self, waiter: Any) -> None:
        """Let a waiter go on; on the loop."""

    @abstractmethod
    async def wait(self, waiter: Any, seconds: float | None = None) -> None:
        """Wait until woken, at the longest for some seconds."""

    @abstractmethod
    async def pause(self) -> None:
        """Let whatever else runs on the loop have its turn."""

    @property
    @abstractmethod
    def closed(self) -> bool:
        """Whether nothing will run on the loop any more."""


class _Asyncio(Home):
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop, loop.call_soon_threadsafe)
        self._aio = loop

    def waiter(self) -> "asyncio.Future[None]":
        return self._aio.create_future()

    def resolve(self, waiter: "asyncio.Future[None]") -> None:
        if not waiter.done():
            waiter.set_result(None)

    async def wait(self, waiter: "asyncio.Future[None]", seconds: float | None = None) -> None:
        if seconds is None:
            await waiter
            return
        timer = self._aio.call_later(seconds, self.resolve, waiter)
        try:
            await waiter
        finally:
            timer.cancel()

    async def pause(self) -> None:
        await asyncio.sleep(0)

    @property
    def closed(self) -> bool:
        return self._aio.is_closed()


class _Trio(Home):
    def __init__(self, token: Any) -> None:
        super().__init__(token, token.run_sync_soon)
        self._trio = sys.modules["trio"]

    def waiter(self) -> Any:
        return self._trio.Event()

    def resolve(self, waiter: Any) -> None:
        waiter.set()

    async def wait(self, waiter: Any, seconds: float | None = None) -> None:
        with self._trio.move_on_after(float("inf") if seconds is None else seconds):
            await waiter.wait()

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
    """Return what stands for the event loop that runs on this thread now, None without any."""
    trio = sys.modules.get("trio")
    if trio is not None:
        try:  # first: a guest of asyncio is in both
            trio.lowlevel.current_task()
            return trio.lowlevel.current_trio_token()
        except (RuntimeError, AttributeError):  # no trio here; or another thread imports it yet
            pass
    return asyncio._get_running_loop()


def home() -> Home:
    """Return the event loop that runs on this thread.

    Raises:
        RuntimeError: none does.
    """
    loop = running()
    if loop is None:
        raise RuntimeError("no event loop runs on this thread: this has to be awaited in one")
    known: Home | None = getattr(_cache, "home", None)
    if known is None or known.loop is not loop:
        aio = isinstance(loop, asyncio.AbstractEventLoop)
        known = _cache.home = _Asyncio(loop) if aio else _Trio(loop)
    return known


async def in_thread(call: Callable[[], None]) -> None:
    """Run ``call`` on a thread of its own, which begins at once, and wait for its end.

    Who is cancelled meanwhile waits no more; the call goes on to its end, and the
    interpreter waits for that before it exits.
    """
    here, failed = home(), list[BaseException]()
    waiter = here.waiter()

    def run() -> None:
        try:
            call()
        except BaseException as error:
            failed.append(error)
        here.wake(waiter)

    threading.Thread(target=run, name="zexchange-closing").start()
    await here.wait(waiter)
    if failed:
        raise failed.pop()
