"""Calls that finalisers ask for, made soon afterwards by a thread that holds no locks.

The garbage collector runs finalisers at any allocation, on whatever thread allocates, and so in the
middle of our own critical sections. Two things can go wrong there. A finaliser that waits for a
lock can deadlock: its thread may hold another lock, for which the owner of the first one waits. And
our locks are reentrant, so a finaliser on a thread that holds the lock of a table already would
enter and change the table halfway through another change.

Therefore a finaliser takes none of our locks. `gc.callbacks` note the thread on which the collector
works in `collecting`. A method that would take a lock calls `later` first: on the collector's
thread it queues the call and returns True, and the method returns at once. On any other thread it
returns False, and the method goes on. Fast paths look at `collecting` beforehand, which saves them
that call.

A thread makes the queued calls in the order in which they were asked for, with no lock held. At
most `MOST` messages wait. A forked child makes the other calls too, but leaves the messages to its
parent. At exit, `settle` makes the calls that are left.

Python also runs ``__del__`` when the last reference goes, without the collector. That happens where
one of our own statements drops the reference: such statements let go of messages and tasks only
after the lock is released.
"""

import gc
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from threading import get_ident
from typing import Any

from ...errors import TooManyDeferred
from .fork import end_as_child
from .logs import log
from .worker import Worker

MOST = 10_000
"""How many messages may wait for the thread; the sender of one more gets `TooManyDeferred`."""
EXIT_SECONDS = 1.0
"""Seconds for which the end of the process waits for the thread, if it is making calls."""

collecting: int | None = None
"""The thread on which the collector works, or None. Only one thread collects at a time.

Callers look at this before they call anything here, because that costs only a nanosecond.
"""


@dataclass(frozen=True, slots=True)
class _Deed:
    """One call to make."""

    call: Callable[..., object]
    args: tuple[Any, ...]
    message: bool


class _Deeds(Worker[_Deed]):
    """The queue of calls, and the thread that makes them."""

    def _after_fork(self) -> None:
        """Leave the queued messages to the parent; make all other queued calls in the child too."""
        if collecting not in (None, get_ident()):  # that thread is not in this process
            _note("stop", None)
        self.waiting = deque([deed for deed in self.waiting if not deed.message])
        super()._after_fork()

    def add(self, deed: _Deed) -> None:
        """Queue one more call."""
        if deed.message and len(self.waiting) >= MOST:
            raise TooManyDeferred(f"{MOST} messages of finalisers wait to be sent already")
        self.waiting.append(deed)
        self.wake()

    def _run(self) -> None:
        end_as_child()
        super()._run()

    def _do(self, item: _Deed) -> None:
        if collecting == get_ident():
            # An exception came just where the collector would have told that it had ended. This
            # is no finaliser's code, and left to a thread again it would never be done.
            _note("stop", None)
        try:
            item.call(*item.args)
        except BaseException:  # SystemExit too: there is no caller to raise to
            log.exception("what a finaliser asked for has failed: %r", item.call)


_deeds = _Deeds("zexchange-finaliser")


def here() -> bool:
    """Return whether the collector works on this thread, so that the caller may be a finaliser."""
    return collecting == get_ident()


def later(call: Callable[..., object], *args: object, message: bool = False) -> bool:
    """Queue a call if the caller may be a finaliser; return whether it was queued.

    Args:
        call: the function; if it raises, the error is logged.
        args: its arguments.
        message: whether the call sends a message. Such calls are limited in number, and a forked
            child makes none of them.

    Raises:
        TooManyDeferred: as many messages wait already as may.
    """
    if collecting != get_ident():
        return False
    _deeds.add(_Deed(call, args, message))
    return True


def settle(seconds: float = EXIT_SECONDS) -> None:
    """Make the queued calls, or wait up to ``seconds`` while another thread makes them.

    The caller holds no lock of ours and is no finaliser.
    """
    until = time.monotonic() + seconds
    while not _deeds.work() and time.monotonic() < until:
        time.sleep(0.001)


def _note(phase: str, info: object) -> None:
    global collecting
    collecting = get_ident() if phase == "start" else None


if hasattr(gc, "callbacks"):
    gc.callbacks.append(_note)
