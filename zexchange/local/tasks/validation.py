"""Checks of what may be attached, made once at attach, so that `send` need not check again.

Each refusal names what to attach instead. Nothing here keeps or calls a task, except generators,
which need a lock of their own.
"""

import asyncio
import inspect
import queue
import types
import weakref
from collections.abc import Callable, Coroutine, Generator
from typing import Any

from ...errors import NotASubscriber
from ...kinds import is_generator
from ..process import finalizers
from ..process.fork import Lock
from .dispatch import Target


def check_callable(fn: Callable[[Any], object], use: str) -> None:
    """Raise NotASubscriber unless ``fn`` is a plain callable; the error names the ``use``."""
    if not callable(fn):
        raise NotASubscriber(f"{use} needs a callable, not {fn!r}")
    call = getattr(fn, "__call__", None)  # noqa: B004 - for objects whose call is async
    if any(map(inspect.iscoroutinefunction, (fn, call))):
        raise NotASubscriber(f"{fn!r} is async: attach to_async(fn) instead of {use}")


def check_task(task: object) -> Target:
    """Return the bound ``send`` of ``task``.

    Raises:
        NotASubscriber: it has no ``send``, or one that does not take a message at once.
    """
    if isinstance(task, Coroutine):
        raise NotASubscriber(f"{task!r} is a coroutine: attach to_async(function), not its call")
    send = getattr(task, "send", None)
    if send is None or not callable(send):
        raise NotASubscriber(f"{task!r} has no send method: {_advice(task)}")
    if inspect.iscoroutinefunction(send) or inspect.isasyncgenfunction(send):
        raise NotASubscriber(
            f"the send of {task!r} is async: attach to_async(task.send), or read a stream()"
        )
    if isinstance(task, type) and isinstance(
        inspect.getattr_static(task, "send"), types.FunctionType
    ):
        raise NotASubscriber(f"{task!r} is a class: attach an instance of it")
    if is_generator(task):
        _check_primed(task)
    accept: Target = send
    return accept


def _advice(task: object) -> str:
    """Return advice for an error: what to attach instead of an object without ``send``."""
    if inspect.isasyncgen(task):
        return "attach to_async(function) instead of an async generator"
    if inspect.iscoroutinefunction(task):
        return "attach to_async(fn)"
    if isinstance(task, asyncio.Queue):
        return "it belongs to an event loop: attach to_async(q.put), or read a stream()"
    if isinstance(task, queue.Queue | queue.SimpleQueue) or hasattr(task, "put"):
        return "attach to_queue(q)"
    if callable(task):
        return "attach to_call(fn), or use handler(fn)"
    return "attach something with send(msg), or wrap it with to_call(fn)"


def _check_primed(generator: Generator[Any, Any, Any]) -> None:
    """Raise NotASubscriber unless ``generator`` is suspended at a yield and can take a message."""
    if not inspect.isgenerator(generator):
        return  # another class with the methods of a generator has no such state
    state = inspect.getgeneratorstate(generator)
    if state == inspect.GEN_CREATED:
        raise NotASubscriber(f"{generator!r} is not primed: call next() on it, then attach it")
    if state == inspect.GEN_CLOSED:
        raise NotASubscriber(f"{generator!r} has finished: attach a fresh one, primed with next()")


_turns: weakref.WeakKeyDictionary[Any, Lock] = weakref.WeakKeyDictionary()
"""The lock of each generator, for all exchanges that it is attached to."""


class GeneratorTask:
    """Gives a generator its messages one at a time, from whatever threads they come.

    The lock is reentrant: a generator that sends to itself gets Python's own ValueError, where a
    plain lock would deadlock.
    """

    __slots__ = ("_ended", "_generator", "_turn")

    def __init__(self, generator: Generator[Any, Any, Any], ended: Callable[[], None]) -> None:
        self._generator = generator
        self._ended = ended
        self._turn = _turns.setdefault(generator, Lock())

    def __repr__(self) -> str:
        return repr(self._generator)

    def send(self, msg: object) -> object:
        """Hand ``msg`` to the generator; a generator that returns has ended, and is detached."""
        if finalizers.collecting is not None and finalizers.later(self.send, msg, message=True):
            return None
        try:
            with self._turn.lock:
                return self._generator.send(msg)
        except StopIteration:
            self._ended()
            return None
