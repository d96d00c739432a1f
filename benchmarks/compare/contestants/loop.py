"""An event loop on a thread of its own: where the asyncio clients live."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from .base import Ear

T = TypeVar("T")
PATIENCE = 180.0


class Loop:
    """Runs coroutines on its thread until it is closed."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._going: set[asyncio.Future[Any]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end and return what it returns."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Let a coroutine run beside the others."""
        asyncio.run_coroutine_threadsafe(work, self._loop)

    def through(self, send: Callable[[Any], Awaitable[Any]]) -> Callable[[Any], None]:
        """Make what has to be awaited callable: in the loop it begins, outside it ends."""

        async def whole(msg: Any) -> None:
            await send(msg)

        def called(msg: Any) -> None:
            if threading.current_thread() is self._thread:
                sent = asyncio.ensure_future(send(msg), loop=self._loop)
                self._going.add(sent)
                sent.add_done_callback(self._going.discard)
            else:
                self.run(whole(msg))

        return called

    async def ping(self, send: Callable[[Any], Any], answers: Ear, count: int) -> list[float]:
        """Send, and await the answer, which an ear in this loop hears."""
        arrived: asyncio.Queue[Any] = asyncio.Queue()
        answers.goal, answers.more = 0, arrived.put_nowait
        taken: list[float] = []
        for n in range(count):
            start = time.perf_counter()
            sent = send(n)
            if isinstance(sent, Awaitable):
                await sent
            await asyncio.wait_for(arrived.get(), 10)
            taken.append(time.perf_counter() - start)
        return taken

    def close(self) -> None:
        """End the loop, with whatever runs in it."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
