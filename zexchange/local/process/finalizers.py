"""What finalisers ask for, done by a thread that holds nothing.

The garbage collector runs finalisers wherever something is made, in the middle of our own locks,
too. One that waited there for another lock could wait for a thread that waits for the first; and
one that changed a table could change it under the hands of its own thread. So what a finaliser
asks for while the collector is at work is done soon after, in the order in which it was asked for,
by a thread of its own. Nothing here knows what is done.
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
"""Messages that may wait for the thread; who sends one more is told."""
EXIT_SECONDS = 1.0
"""Seconds that the end of the process waits for the thread, if that is at work just then."""

collecting: int | None = None
"""The thread on which the collector is at work, None while it is not. There is one at a time.

To be looked at before anything here is called: that costs a nanosecond.
"""


@dataclass(frozen=True, slots=True)
class _Deed:
    """One call that is still to be made."""

    call: Callable[..., object]
    args: tuple[Any, ...]
    message: bool


class _Deeds(Worker[_Deed]):
    """What is to be done, and the thread that does it."""

    def _after_fork(self) -> None:
        """Leave messages to the parent; what else is to be done, is to be done here too."""
        if collecting not in (None, get_ident()):  # that thread is not in this process
            _note("stop", None)
        self.waiting = deque([deed for deed in self.waiting if not deed.message])
        super()._after_fork()

    def add(self, deed: _Deed) -> None:
        """Have one more call made."""
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
    """Tell whether this is a finaliser's code, or may be: the collector works on this thread."""
    return collecting == get_ident()


def later(call: Callable[..., object], *args: object, message: bool = False) -> bool:
    """Have the thread make a call, if this is a finaliser's code; tell whether it is.

    Args:
        call: an error of it is logged.
        args: what it is called with.
        message: it sends one: their number is bounded, and a forked child has none of them.

    Raises:
        TooManyDeferred: as many messages wait already as may.
    """
    if collecting != get_ident():
        return False
    _deeds.add(_Deed(call, args, message))
    return True


def settle(seconds: float = EXIT_SECONDS) -> None:
    """Do what finalisers have asked for, or wait so long for the thread that does.

    No lock of ours is held, and this is no finaliser's code.
    """
    until = time.monotonic() + seconds
    while not _deeds.work() and time.monotonic() < until:
        time.sleep(0.001)


def _note(phase: str, info: object) -> None:
    global collecting
    collecting = get_ident() if phase == "start" else None


if hasattr(gc, "callbacks"):
    gc.callbacks.append(_note)
