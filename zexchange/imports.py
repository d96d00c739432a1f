"""What is imported only when it is needed, and never in the middle of a fork.

While a thread imports a module, it holds that module's lock. A child that is forked meanwhile
inherits the lock, but not the thread, and would wait for it at its own import, for ever. So such
an import is made inside `importing`, for which a fork waits.
"""

import os
import threading

IMPORT_TIMEOUT = 30.0
"""Seconds that a fork waits for an import: one that takes longer may itself wait for the fork."""

lock = threading.RLock()
"""Held by a thread that imports inside a function. No other of ours is taken with it held."""
_held_up: list[threading.RLock] = []


def importing() -> threading.RLock:
    """Return what is to be held, by ``with``, for an import inside a function. Any thread."""
    return lock


def _before_fork() -> None:
    if lock.acquire(timeout=IMPORT_TIMEOUT):
        _held_up.append(lock)


def _forked() -> None:
    while _held_up:
        _held_up.pop().release()


def _after_fork() -> None:
    global lock
    lock = threading.RLock()
    _held_up.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_forked, after_in_child=_after_fork)
