"""Sending at a given rate, and burning processor time beside it."""

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any


def paced(
    send: Callable[[Any], None],
    make: Callable[[int], Any],
    rate: float,
    going: Callable[[int], bool],
) -> list[float]:
    """Send as long as ``going(n)``, at a rate; return how long each send took.

    A late sender catches up: the rate holds on average, in bursts if it has to.
    """
    now = time.perf_counter
    taken: list[float] = []
    start, n = now(), 0
    while going(n):
        due = int((now() - start) * rate) + 1
        while n < due and going(n):
            msg = make(n)
            before = now()
            send(msg)
            taken.append(now() - before)
            n += 1
        time.sleep(max(0.0, start + n / rate - now()))
    return taken


@contextmanager
def beside(work: Callable[[threading.Event], None]) -> Generator[None, None, None]:
    """Have another thread work until the block is over."""
    over = threading.Event()
    thread = threading.Thread(target=work, args=(over,))
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def burn(over: threading.Event) -> None:
    """Compute in Python until it is over."""
    x = 0
    while not over.is_set():
        for _ in range(1000):
            x = (x * 31 + 7) % 1_000_003


def compute(seconds: float) -> None:
    """Compute in Python for a while."""
    x, until = 0, time.perf_counter() + seconds
    while time.perf_counter() < until:
        x = (x * 31 + 7) % 1_000_003
