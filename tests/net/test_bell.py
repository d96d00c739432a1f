"""Bells: whoever listens before a ring hears it."""

import threading
import time

from tests.support import eventually
from zexchange.net.bell import Bell


def test_a_ring_ends_every_wait() -> None:
    """Also where it comes between listening and waiting."""
    bell, heard = Bell(), []

    def wait() -> None:
        bell.wait(bell.listen(), 30)
        heard.append(True)

    threads = [threading.Thread(target=wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    eventually(lambda: len(bell._waiting) == 3)
    early = bell.listen()
    bell.ring()
    for thread in threads:
        thread.join(10)
    started = time.monotonic()
    bell.wait(early, 30)
    assert len(heard) == 3
    assert time.monotonic() - started < 20


def test_who_has_given_up_is_no_trouble() -> None:
    """A wait ends after its time; the ring after that finds nobody, and leaves nothing."""
    bell = Bell()
    bell.wait(bell.listen(), 0.001)
    bell.ring()
    bell.ring()
    assert not bell._waiting
