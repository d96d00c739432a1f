"""Wakers: what ends a thread's sleep must never write into somebody else's file."""

import os
import threading

import pytest

from zexchange.net.sockets import Waker


def test_a_waker_is_readable_until_cleared() -> None:
    """Waking twice is one wake-up, and clearing twice does not block."""
    waker = Waker()
    waker.wake()
    waker.wake()
    waker.clear()
    waker.clear()
    waker.close()


def test_waking_after_close_does_nothing() -> None:
    """Threads that come late wake nobody, and closing again closes nothing."""
    waker = Waker()
    waker.close()
    waker.wake()
    waker.close()


def test_a_wake_under_way_holds_up_the_close(monkeypatch: pytest.MonkeyPatch) -> None:
    """A descriptor is not closed, and its number given away, between look and write."""
    waker, write, stolen = Waker(), os.write, []
    closing = threading.Thread(target=waker.close)

    def slow(fd: int, text: bytes) -> int:
        closing.start()
        closing.join(timeout=0.05)
        stolen.append(not closing.is_alive())
        return write(fd, text) if closing.is_alive() else 0

    monkeypatch.setattr(os, "write", slow)
    waker.wake()
    closing.join()
    assert stolen == [False]
