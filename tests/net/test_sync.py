"""Bells: whoever listens before a ring hears it."""

import sys
import threading
from types import FrameType
from typing import Any

import pytest

from tests.support import eventually
from zexchange.net.transport.sync import SignalSafeCondition, WakeEvent


class Stop(BaseException):
    """What a signal handler raises."""


def interrupted(condition: threading.Condition, at: int) -> bool:
    """Enter and leave a block, and raise at event number ``at``; tell whether it came to that."""
    seen = 0

    def profile(frame: FrameType, event: str, arg: Any) -> None:
        nonlocal seen
        if frame.f_code.co_name != "interrupted":
            seen += 1
            if seen == at:
                raise Stop

    sys.setprofile(profile)
    try:
        with condition:
            pass
    except Stop:
        return True
    finally:
        sys.setprofile(None)
    return False


def free(condition: threading.Condition) -> bool:
    """Tell whether another thread could take the lock."""
    taken: list[bool] = []
    other = threading.Thread(target=lambda: taken.append(condition.acquire(timeout=0.2)))
    other.start()
    other.join()
    return taken[0]


@pytest.mark.usefixtures("without_collector")
@pytest.mark.parametrize(
    "kind", [SignalSafeCondition, pytest.param(threading.Condition, marks=pytest.mark.xfail)]
)
def test_an_interruption_leaves_no_lock_taken(kind: type[threading.Condition]) -> None:
    """Whenever a signal handler raises on the way in or out; with Python's own it is left so."""
    at, going = 0, True
    while going:
        at += 1
        condition = kind()
        going = interrupted(condition, at)
        assert free(condition)
    assert at > 2


def test_it_is_a_condition_all_the_same() -> None:
    """Who waits is woken by a notice, and sees what was changed before."""
    condition, state = SignalSafeCondition(), []

    def change() -> None:
        with condition:
            state.append(1)
            condition.notify_all()

    thread = threading.Thread(target=change)
    with condition:
        thread.start()
        assert condition.wait_for(lambda: state, 10)
    thread.join()


def test_a_ring_ends_every_wait() -> None:
    """Also where it comes between listening and waiting."""
    bell, heard = WakeEvent(), []

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
    bell.wait(early, 1e6)  # returns at once, or the test does not
    assert len(heard) == 3


def test_who_has_given_up_is_no_trouble() -> None:
    """A wait ends after its time; the ring after that finds nobody, and leaves nothing."""
    bell = WakeEvent()
    bell.wait(bell.listen(), 0.001)
    bell.ring()
    bell.ring()
    assert not bell._waiting


class Soon:
    """A lock that another thread has for a moment: who does not wait at all does not get it."""

    def __init__(self) -> None:
        self.held = False

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        self.held = timeout > 0
        return self.held

    def release(self) -> None:
        self.held = False


def test_a_wait_without_time_looks_once() -> None:
    """A caller that gives no time is told what is so, though the lock is taken just then."""
    condition = SignalSafeCondition()
    lock: Any = Soon()
    condition._lock = lock
    assert condition.await_state(lambda: lock.held, 0.0)
    assert not lock.held
