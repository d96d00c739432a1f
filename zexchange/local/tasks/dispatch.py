"""What comes of handing one message to many tasks.

One failing task never robs the others: what goes wrong is gathered here while the
round goes on, and settled after it. The loop itself is the exchange's; this module
must not know how tasks are found.
"""

import inspect
import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from ...errors import NotASubscriber, TaskFailed

logger = logging.getLogger("zexchange")

Target = Callable[[Any], object]
"""What a round calls with each message: mostly the bound `send` of a task."""


class Backpressure(ABC):
    """Returned by a bridge whose sender has to wait for room."""

    __slots__ = ()

    @abstractmethod
    def wait(self) -> None:
        """Wait for room; called on the sender's thread after all local tasks were served."""


class Gone(ABC):
    """Returned by what takes messages for a reader that is no more: nobody can read them."""

    __slots__ = ()

    @abstractmethod
    def detach(self) -> None:
        """Detach it wherever it is attached; called with no lock held."""


class Failures:
    """What went wrong, or has to be waited for, in one round; made only when needed."""

    __slots__ = ("errors", "rooms")

    def __init__(self) -> None:
        self.errors: list[tuple[Target, BaseException]] = []
        self.rooms: list[tuple[Target, Backpressure]] = []


def failed(trouble: Failures | None, target: Target, error: BaseException) -> Failures:
    """Add an error that ``target`` raised."""
    trouble = trouble or Failures()
    trouble.errors.append((target, error))
    return trouble


def joined(trouble: Failures | None, more: Failures | None) -> Failures | None:
    """Return both together."""
    if trouble is None or more is None:
        return trouble or more
    trouble.errors += more.errors
    trouble.rooms += more.rooms
    return trouble


def answered(trouble: Failures | None, target: Target, result: object) -> Failures | None:
    """Judge what a target returned that is not None; most of it means nothing."""
    if isinstance(result, Failures):
        return joined(trouble, result)
    if isinstance(result, Backpressure):
        trouble = trouble or Failures()
        trouble.rooms.append((target, result))
    elif isinstance(result, Gone):
        result.detach()
    elif inspect.isawaitable(result):
        return failed(trouble, target, unawaited(result))
    return trouble


def unawaited(result: Any) -> NotASubscriber:
    """Close an awaitable that nobody will await, and return the error to raise for it."""
    close = getattr(result, "close", None)
    if close is not None:
        close()
    return NotASubscriber(
        f"send returned {type(result).__name__}, which nobody awaits: the message would"
        " vanish; attach to_async(...) of the coroutine function instead"
    )


def serve(
    targets: tuple[Target, ...], msg: object, trouble: Failures | None = None
) -> Failures | None:
    """Call every target with ``msg``; return what went wrong, None when nothing did."""
    for target in targets:
        try:
            result = target(msg)
            if result is not None:
                trouble = answered(trouble, target, result)
        except BaseException as error:
            trouble = failed(trouble, target, error)
    return trouble


_here = threading.local()


@contextmanager
def without_waiting() -> Generator[None, None, None]:
    """In this block sends on this thread wait for no room, as in an event loop."""
    before = getattr(_here, "hurried", False)
    _here.hurried = True
    try:
        yield
    finally:
        _here.hurried = before


def wait_for_room(trouble: Failures) -> None:
    """Wait for what the bridges asked to wait for; a wait that fails is one more error."""
    for target, room in () if getattr(_here, "hurried", False) else trouble.rooms:
        try:
            room.wait()
        except Exception as error:
            trouble.errors.append((target, error))
        except BaseException as error:  # Ctrl-C, for instance: nothing more is waited for
            trouble.errors.append((target, error))
            break
    trouble.rooms.clear()


def noted(error: BaseException, note: str) -> BaseException:
    """Return ``error`` with ``note``, once: an error object may be raised many times."""
    if note not in getattr(error, "__notes__", ()):
        error.add_note(note)
    return error


def raise_all(errors: list[BaseException], ends: list[BaseException], exchange: str) -> None:
    """Raise a lone error as itself, several as a group; the first of ``ends`` before all others.

    The lists are emptied first, so that a traceback, which holds this frame and the
    sender's, does not hold the error in a circle.
    """
    end = ends[0] if ends else None
    ends.clear()
    others = [_as_exception(error) for error in errors if error is not end]
    errors.clear()
    cause: Exception | None = None
    if len(others) > 1:
        cause = ExceptionGroup(f"{len(others)} tasks of exchange {exchange!r} failed", others)
    elif others:
        (cause,) = others
    others.clear()
    try:
        if end is not None and cause is not None:
            raise end from cause
        raise end or cause  # type: ignore[misc]
    finally:
        del end, cause


def _as_exception(error: BaseException) -> Exception:
    """Return an error that ends nothing but what the sender lets it end."""
    if isinstance(error, Exception):
        return error
    failure = TaskFailed(f"a task raised {error!r}")
    failure.__cause__ = error
    for note in getattr(error, "__notes__", ()):
        failure.add_note(note)
    return failure
