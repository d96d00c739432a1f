"""Calling many tasks with one message, and gathering their failures.

A failing task must not keep a message from the others. So failures are gathered here while a round
goes on, and raised or logged after it. The loop over the tasks is the exchange's; this module must
not know how tasks are found.
"""

import inspect
import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import Any

from ...errors import NotASubscriber, TaskFailed

logger = logging.getLogger("zexchange")

Target = Callable[[Any], object]
"""A callable that a round calls with each message: mostly the bound `send` of a task."""


class Backpressure(ABC):
    """Returned by a bridge whose sender has to wait for room."""

    __slots__ = ()

    @abstractmethod
    def wait(self) -> None:
        """Wait for room; called on the sender's thread after all local tasks were served."""


class Gone(ABC):
    """Returned by a task that takes messages for a reader that no longer exists."""

    __slots__ = ()

    @abstractmethod
    def detach(self) -> None:
        """Detach the task wherever it is attached; called with no lock held."""


class Failures:
    """The errors of one round, and the bridges to wait for; made only when needed."""

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
    """Return one object with the contents of both."""
    if trouble is None or more is None:
        return trouble or more
    trouble.errors += more.errors
    trouble.rooms += more.rooms
    return trouble


def answered(trouble: Failures | None, target: Target, result: object) -> Failures | None:
    """Handle the result of a target that is not None; most results are ignored."""
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
    targets: Iterable[Target], msg: object, trouble: Failures | None = None
) -> Failures | None:
    """Call every target with ``msg``; return the failures, or None if there are none."""
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
    """Have sends on this thread not wait for room inside the block, as in an event loop."""
    before = getattr(_here, "hurried", False)
    _here.hurried = True
    try:
        yield
    finally:
        _here.hurried = before


def wait_for_room(trouble: Failures) -> None:
    """Wait for the room that bridges asked for; a wait that fails is one more error."""
    for target, room in () if getattr(_here, "hurried", False) else trouble.rooms:
        try:
            room.wait()
        except Exception as error:
            trouble.errors.append((target, error))
        except BaseException as error:  # Ctrl-C, for instance: skip the other waits
            trouble.errors.append((target, error))
            break
    trouble.rooms.clear()


def noted(error: BaseException, note: str) -> BaseException:
    """Return ``error`` with ``note`` added once, although it may be raised many times."""
    if note not in getattr(error, "__notes__", ()):
        error.add_note(note)
    return error


def raise_all(errors: list[BaseException], ends: list[BaseException], exchange: str) -> None:
    """Raise a single error as itself, several as a group; the first of ``ends`` before all others.

    The lists are emptied first. A traceback holds this frame and the sender's, which would hold the
    error in turn: a reference cycle.
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
    """Return an error that any ``except Exception`` of the sender catches."""
    if isinstance(error, Exception):
        return error
    failure = TaskFailed(f"a task raised {error!r}")
    failure.__cause__ = error
    for note in getattr(error, "__notes__", ()):
        failure.add_note(note)
    return failure
