"""A responder: a function that answers questions, on the asker's thread or on an event loop.

A plain function is called where a task would be: on the thread of an asker in this process, or on
the data thread. An async function runs on the event loop on which it was declared, any number at a
time up to a bound. Each question gets exactly one outcome, even if the function fails or is
cancelled.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from ...errors import LimitReached, NotASubscriber, RequestFailed
from ...questions import Outcome, new_outcome
from . import eventloops
from .dispatch import logger, unawaited
from .noted import NO_HEADERS, Header, WithHeaders
from .snapshots import UNCHANGING

TEXT_MOST = 1000
"""Characters of an exception that the asker is told."""
Done = Callable[[Outcome], object]


def failed(error: BaseException) -> Outcome:
    """Return the outcome of a question whose responder has raised."""
    if isinstance(error, RequestFailed):  # of a request that it made itself, or raised on purpose
        return Outcome("failed", error=error.error, text=error.reason[:TEXT_MOST], cause=error)
    name = type(error).__name__
    return Outcome("failed", error=name, text=str(error)[:TEXT_MOST], cause=error)


def _loop_of(fn: object) -> eventloops.LoopBinding:
    """Return the event loop that runs on this thread."""
    if eventloops.running() is None:
        raise RuntimeError(
            f"{fn!r} is async, and no event loop runs on this thread: declare it as a responder in"
            " a coroutine of the loop that is to run it"
        )
    return eventloops.home()


class Responder:
    """A function that answers the questions of one exchange.

    Args:
        fn: takes a message, and returns or raises the answer; plain or async. One that is
            `WithHeaders` takes the headers as well.
        most: how many questions an async function works on at a time.

    Raises:
        NotASubscriber: ``fn`` is no callable.
        RuntimeError: it is async, and no event loop runs on this thread.
    """

    __slots__ = ("_fn", "_home", "_most", "_running", "_with_headers", "is_async")

    def __init__(self, fn: Callable[[Any], Any], most: int = 1000) -> None:
        if not callable(fn):
            raise NotASubscriber(f"responder needs a callable, not {fn!r}")
        if most < 1:
            raise ValueError(f"most is at least 1, not {most}")
        call = getattr(fn, "__call__", None)  # noqa: B004 - for objects whose call is async
        self.is_async = any(map(inspect.iscoroutinefunction, (fn, call)))
        self._fn: Callable[..., Any] = fn
        self._with_headers = isinstance(fn, WithHeaders)
        self._most = most
        self._home = _loop_of(fn) if self.is_async else None
        self._running = 0
        """How many questions an async function works on. Only its loop changes it."""

    def __repr__(self) -> str:
        return f"responder({self._fn!r})"

    def ask(self, msg: object, done: Done, headers: Mapping[str, Header] = NO_HEADERS) -> None:
        """Have a question answered; ``done`` is called with the outcome, once, on any thread.

        Raises:
            BaseException: what a plain function raised that is no Exception; ``done`` was called.
        """
        home = self._home
        if home is None:
            outcome = self.answer(msg, headers)
            done(outcome)
            if outcome.cause is not None and not isinstance(outcome.cause, Exception):
                raise outcome.cause
        elif not home.spawn(lambda: self._answer_here(msg, done, headers)):
            done(Outcome("lost", text="its event loop has ended"))

    def answer(self, msg: object, headers: Mapping[str, Header] = NO_HEADERS) -> Outcome:
        """Return what a plain function answers, or has raised, of whatever kind."""
        try:
            value = self._fn(msg, headers) if self._with_headers else self._fn(msg)
            if type(value) not in UNCHANGING and inspect.isawaitable(value):
                raise unawaited(value)
        except BaseException as error:
            return failed(error)
        return new_outcome(("value", value, "", "", None))

    async def _answer_here(self, msg: object, done: Done, headers: Mapping[str, Header]) -> None:
        """Await the function; runs on the loop."""
        if self._running >= self._most:
            error = LimitReached(f"{self!r} works on {self._most} questions already")
            done(failed(error))
            return
        self._running += 1
        outcome = Outcome("lost", text="it was cancelled, or its event loop has ended")
        try:
            coming = self._fn(msg, headers) if self._with_headers else self._fn(msg)
            outcome = Outcome("value", await coming)
        except Exception as error:
            outcome = failed(error)
        finally:
            self._running -= 1
            done(outcome)

    def log(self, outcome: Outcome, exchange: str) -> None:
        """Log what the function raised, for an asker in another process."""
        cause = outcome.cause
        if isinstance(cause, RequestFailed):  # its text says what was wrong
            logger.error("%r of exchange %r: %s", self, exchange, cause)
        elif cause is not None:
            logger.error("%r of exchange %r failed", self, exchange, exc_info=cause)
