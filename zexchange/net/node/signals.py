"""Waits until the process is told to end, by SIGTERM or SIGINT.

Python runs a signal handler on the main thread, at any point of its code, even inside the wait
here. So the handler only writes into a pipe or wakes a loop, and takes no lock.
"""

import os
import select
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType

from ...local.tasks import eventloops

ENDING = (signal.SIGTERM, signal.SIGINT)
LOOK_SECONDS = 0.5
"""Seconds between two looks at whether the wait is over without a signal."""


@contextmanager
def _told_by_signals(tell: Callable[[], object]) -> Generator[None, None, None]:
    """Within this block, have the signals call ``tell`` and do nothing else.

    Raises:
        RuntimeError: this is not the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("run() waits for signals, which only the main thread can do")

    def told(number: int, frame: FrameType | None) -> None:
        tell()

    before = {number: signal.signal(number, told) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def wait_for_end(over: Callable[[], bool]) -> None:
    """Wait for a signal, or until ``over`` returns true, on the main thread.

    Raises:
        RuntimeError: this is another thread.
    """
    reader, writer = os.pipe()
    try:
        os.set_blocking(writer, False)
        with _told_by_signals(lambda: os.write(writer, b"!")):
            while not over() and not select.select([reader], [], [], LOOK_SECONDS)[0]:
                pass
    finally:
        os.close(reader)
        os.close(writer)


async def wait_for_end_here(over: Callable[[], bool]) -> None:
    """Wait in a coroutine, as `wait_for_end` does on a thread."""
    home, told = eventloops.home(), list[bool]()

    def tell() -> None:
        told.append(True)
        home.wake(waiter)

    waiter = home.waiter()
    with _told_by_signals(tell):
        while not over() and not told:
            await home.wait(waiter, LOOK_SECONDS)
            waiter = home.waiter()
