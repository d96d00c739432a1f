"""Imports inside functions that are safe when another thread forks.

A thread that imports a module holds that module's lock. A child that is forked meanwhile inherits
the lock but not the thread, so importing the module in the child would wait for ever. Imports
inside functions are therefore made in a ``with importing():`` block, and a fork waits until no
other thread is in one.
"""

import os
import threading

IMPORT_TIMEOUT = 30.0
"""Seconds that a fork waits for an import. One that takes longer may be waiting for the fork."""

lock = threading.RLock()
"""Held by a thread that imports inside a function. It takes no other lock of ours meanwhile."""
_held_up: list[threading.RLock] = []


def importing() -> threading.RLock:
    """Return the lock to hold, by ``with``, around an import inside a function. Any thread."""
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
