"""What a forked child has to mend in this package.

A child inherits every lock as it was, held perhaps by a thread that the child
does not have: so whatever owns a lock registers here and gets fresh ones. Nothing
here knows what is mended.
"""

import atexit
import os
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Protocol, TypeVar


class Forkable(Protocol):
    """Something with state that must not be carried over a fork as it is."""

    def _after_fork(self) -> None:
        """Make locks anew and forget threads; runs in the child, alone."""
        ...


F = TypeVar("F", bound=Forkable)

_tracked: "weakref.WeakSet[Forkable]" = weakref.WeakSet()


def track(owner: F) -> F:
    """Have ``owner._after_fork()`` called in every forked child, as long as it lives."""
    _tracked.add(owner)
    return owner


class Lock:
    """A lock that is made anew in a forked child, for all who refer to this."""

    __slots__ = ("__weakref__", "lock")

    def __init__(self) -> None:
        track(self)._after_fork()

    def _after_fork(self) -> None:
        """Make the lock."""
        self.lock = threading.RLock()


def _mend() -> None:
    """Mend all; the child has one thread yet, so that no order is needed."""
    for owner in list(_tracked):
        owner._after_fork()


if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
    os.register_at_fork(after_in_child=_mend)


_at_exit: list[Callable[[], object]] = []
_finalized_in = 0


def at_exit(call: Callable[[], object]) -> None:
    """Have ``call`` called when this process ends, or a child, before all that came earlier."""
    _at_exit.append(call)
    atexit.register(call)


def end_as_child() -> None:
    """See to it in a forked child of `multiprocessing`, which ends without `atexit`."""
    global _finalized_in
    util = sys.modules.get("multiprocessing.util")
    if util is not None and _finalized_in != os.getpid():
        _finalized_in = os.getpid()
        for call in _at_exit:
            util.Finalize(None, call, exitpriority=100)
