"""Repairs that a forked child makes in this package.

A child inherits every lock in its state at the fork. The thread that held a lock may not exist in
the child, and the lock would never be released. So each owner of a lock registers here and makes
fresh ones in the child. Nothing here knows the owners.
"""

import atexit
import os
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Protocol, TypeVar


class Forkable(Protocol):
    """An object with state that a forked child must not take over unchanged."""

    def _after_fork(self) -> None:
        """Make new locks and forget threads; called in the child, while it has a single thread."""


F = TypeVar("F", bound=Forkable)

_tracked: "weakref.WeakSet[Forkable]" = weakref.WeakSet()


def track(owner: F) -> F:
    """Have ``owner._after_fork()`` called in every forked child, as long as ``owner`` lives."""
    _tracked.add(owner)
    return owner


class Lock:
    """A lock that a forked child replaces, for all that refer to this object."""

    __slots__ = ("__weakref__", "lock")

    def __init__(self) -> None:
        track(self)._after_fork()

    def _after_fork(self) -> None:
        self.lock = threading.RLock()


def _mend() -> None:
    """Repair all owners, in any order: the child still has a single thread."""
    for owner in list(_tracked):
        owner._after_fork()


if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
    os.register_at_fork(after_in_child=_mend)


_at_exit: list[Callable[[], object]] = []
_finalized_in = 0


def at_exit(call: Callable[[], object]) -> None:
    """Have ``call`` called when this process or a forked child ends, the newest first."""
    _at_exit.append(call)
    atexit.register(call)


def end_as_child() -> None:
    """Have a child of `multiprocessing` make the calls of `at_exit`: it ends without `atexit`."""
    global _finalized_in
    util = sys.modules.get("multiprocessing.util")
    if util is not None and _finalized_in != os.getpid():
        _finalized_in = os.getpid()
        for call in _at_exit:
            util.Finalize(None, call, exitpriority=100)
