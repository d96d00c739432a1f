"""How a thread waits for descriptors, and how another thread wakes it.

A greenlet library (gevent, eventlet) may have patched threads and `select`. Then a node's threads
are greenlets too, and have to wait in a way that lets other greenlets run: by gevent's `poll`, or
by `select` with eventlet, which has nothing else. Neither library has `epoll`; the real one would
block the whole process.
"""

import _thread
import os
import queue
import select
import threading
from collections.abc import Callable
from contextlib import suppress
from types import BuiltinFunctionType

from .native import eventfd_write
from .threads import Handler, Ready


def new_poll() -> "select.poll | _Selected":
    """Return a `select.poll`, or a substitute with the same methods."""
    return select.poll() if hasattr(select, "poll") else _Selected()


class _Selected:
    """The methods of `select.poll`, by means of `select.select`."""

    def __init__(self) -> None:
        self._wanted: dict[int, int] = {}

    def register(self, fd: int, eventmask: int, /) -> None:
        self._wanted[fd] = eventmask

    def unregister(self, fd: int, /) -> None:
        del self._wanted[fd]

    def poll(self, timeout: float, /) -> list[tuple[int, int]]:
        seconds = None if timeout < 0 else timeout / 1000
        readers, writers = self._waiting(select.POLLIN), self._waiting(select.POLLOUT)
        readable, writable, _ = select.select(readers, writers, [], seconds)
        return [(fd, select.POLLIN) for fd in readable] + [(fd, select.POLLOUT) for fd in writable]

    def _waiting(self, event: int) -> list[int]:
        return [fd for fd, wanted in self._wanted.items() if wanted & event]


def check_patched() -> None:
    """Check that real threads have real queues: gevent's queues work in one thread only.

    Raises:
        RuntimeError: they do not, as after `patch_all(thread=False)`.
    """
    real = isinstance(_thread.start_new_thread, BuiltinFunctionType)
    if real and queue.SimpleQueue.__module__.startswith("gevent"):
        raise RuntimeError(
            "gevent has patched queues, and not threads: a node needs both or neither; call "
            "monkey.patch_all() without thread=False, or with queue=False and select=False, too"
        )


class Waker:
    """Wakes a thread that waits in its poller, by a descriptor that the poller watches."""

    def __init__(self) -> None:
        # A pipe where there is no eventfd (macOS).
        self.fd, self._in = _eventfd() if _EVENTFD else _pipe()
        # Re-entrant: a signal handler may call `wake` while its own thread is in `wake`.
        self._closing = threading.RLock()

    def wake(self) -> None:
        """Make the descriptor readable. Any thread, at any time, even after `close`."""
        # Under the lock: after `close` the number may belong to another file.
        with self._closing, suppress(OSError, ValueError):
            if _EVENTFD:
                eventfd_write(self._in, 1)
            else:
                os.write(self._in, b"!")

    def clear(self) -> None:
        """Make the descriptor unreadable. Call it before looking for work."""
        with suppress(BlockingIOError):
            if _EVENTFD:
                os.eventfd_read(self.fd)
            else:
                os.read(self.fd, 4096)

    def close(self) -> None:
        """Close the descriptor; a second call does nothing."""
        # In a forked child the lock may be held by a thread that no longer exists. Otherwise it is
        # held for one system call at most.
        held = self._closing.acquire(timeout=_FORKED)
        fds, self.fd, self._in = {self.fd, self._in} - {-1}, -1, -1
        for fd in fds:
            os.close(fd)
        if held:
            self._closing.release()


_FORKED = 0.2
"""Seconds after which the lock is taken to be held by a thread of the parent process."""
_EVENTFD = hasattr(os, "eventfd")
"""`eventfd_write` and `eventfd_read` never block; eventlet's `os.write` lets other greenlets run
first."""


def _eventfd() -> tuple[int, int]:
    fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    return fd, fd


def _pipe() -> tuple[int, int]:
    ends = os.pipe()
    for fd in ends:
        os.set_blocking(fd, False)
    return ends


class Poller:
    """Waits for descriptors: by epoll, whose cost does not grow with their number; else by poll.

    `zmq.Poller` on the sockets costs about 2 µs a socket each time. Here their descriptors are
    watched, and each socket is read until it has nothing left.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll() if hasattr(select, "epoll") else None
        self._poll = self._epoll or new_poll()
        # No method of ours is wrapped around it: between two messages every call counts.
        self.wait: Callable[[float], Ready] = self._epoll.poll if self._epoll else self._wait
        """Returns the ready descriptors, after this many seconds at most; negative: without
        limit."""
        self._handlers: dict[int, Handler | None] = {}

    def watch(self, fd: int, handler: Handler | None = None, writing: bool = False) -> None:
        """Wait for a descriptor to become readable, or writable.

        Args:
            fd: the descriptor.
            handler: called by `handle`; None if the owner of the poller looks itself.
            writing: whether to wait until it is writable.
        """
        self._handlers[fd] = handler
        self._poll.register(fd, select.POLLOUT if writing else select.POLLIN)

    def forget(self, fd: int) -> None:
        """Stop waiting for a descriptor."""
        self._poll.unregister(fd)
        del self._handlers[fd]

    def handle(self, ready: Ready) -> None:
        """Call the handler of each descriptor that is ready."""
        for fd, _ in ready:
            handler = self._handlers.get(fd)  # none if an earlier handler has forgotten it
            if handler is not None:
                handler()

    def _wait(self, seconds: float) -> Ready:
        return self._poll.poll(seconds * 1000)

    def close(self) -> None:
        """Close the epoll descriptor."""
        if self._epoll:
            self._epoll.close()
