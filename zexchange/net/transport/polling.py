"""How a thread waits for descriptors, and how another one ends its sleep.

Where a library of greenlets (gevent, eventlet) has patched threads and `select`, a node's threads
are greenlets like all others, and have to wait so that others run meanwhile: by gevent's `poll`;
eventlet has a `select` alone. Neither has `epoll`, which would hold up the whole process.
"""

import _thread
import os
import queue
import select
import threading
from collections.abc import Callable
from contextlib import suppress
from types import BuiltinFunctionType

from .threads import Handler, Ready


def new_poll() -> "select.poll | _Selected":
    """Return a `select.poll`, or what stands in for it."""
    return select.poll() if hasattr(select, "poll") else _Selected()


class _Selected:
    """Waits by `select.select`."""

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
    """See that real threads have queues for threads: gevent's know greenlets of one thread alone.

    Raises:
        RuntimeError: they do not, which comes of `patch_all(thread=False)`.
    """
    real = isinstance(_thread.start_new_thread, BuiltinFunctionType)
    if real and queue.SimpleQueue.__module__.startswith("gevent"):
        raise RuntimeError(
            "gevent has patched queues, and not threads: a node needs both or neither; call "
            "monkey.patch_all() without thread=False, or with queue=False and select=False, too"
        )


class Waker:
    """Ends another thread's sleep: a descriptor to put into its poller."""

    def __init__(self) -> None:
        # A pipe to oneself where there is no eventfd (macOS).
        self.fd, self._in = _eventfd() if _EVENTFD else _pipe()
        # Re-entrant: a signal handler may wake while its own thread is waking.
        self._closing = threading.RLock()

    def wake(self) -> None:
        """Make the descriptor readable. Any thread, any time, and after close too."""
        # Under the lock: a number that was closed may by now be somebody else's file.
        with self._closing, suppress(OSError, ValueError):
            if _EVENTFD:
                os.eventfd_write(self._in, 1)
            else:
                os.write(self._in, b"!")

    def clear(self) -> None:
        """Make the descriptor unreadable, before looking at what there is to do."""
        with suppress(BlockingIOError):
            if _EVENTFD:
                os.eventfd_read(self.fd)
            else:
                os.read(self.fd, 4096)

    def close(self) -> None:
        """Close the descriptor; doing so again does nothing."""
        # In a forked child the lock may be held by a thread that is not there any more;
        # elsewhere it is held for a system call at most.
        held = self._closing.acquire(timeout=_FORKED)
        fds, self.fd, self._in = {self.fd, self._in} - {-1}, -1, -1
        for fd in fds:
            os.close(fd)
        if held:
            self._closing.release()


_FORKED = 0.2
"""Seconds after which a lock's owner is taken to have stayed in the parent process."""
_EVENTFD = hasattr(os, "eventfd")
"""Its own calls never wait; eventlet's `os.write` lets other greenlets run first."""


def _eventfd() -> tuple[int, int]:
    fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    return fd, fd


def _pipe() -> tuple[int, int]:
    ends = os.pipe()
    for fd in ends:
        os.set_blocking(fd, False)
    return ends


class Poller:
    """Waits for descriptors: epoll, whose cost does not grow with them; else poll.

    `zmq.Poller` on the sockets costs about 2 µs a socket each time; here it is their
    descriptors that are watched, and the sockets are read until they have nothing.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll() if hasattr(select, "epoll") else None
        self._poll = self._epoll or new_poll()
        # No method of ours around it: between two messages every call counts.
        self.wait: Callable[[float], Ready] = self._epoll.poll if self._epoll else self._wait
        """Waits for some seconds at most, without end if they are negative."""
        self._handlers: dict[int, Handler | None] = {}

    def watch(self, fd: int, handler: Handler | None = None, writing: bool = False) -> None:
        """Wait for a descriptor to become readable, or writable.

        Args:
            fd: the descriptor.
            handler: called by `handle`; None where the owner of the poller looks itself.
            writing: wait until it is writable.
        """
        self._handlers[fd] = handler
        self._poll.register(fd, select.POLLOUT if writing else select.POLLIN)

    def forget(self, fd: int) -> None:
        """Wait for a descriptor no longer."""
        self._poll.unregister(fd)
        del self._handlers[fd]

    def handle(self, ready: Ready) -> None:
        """Call the handler of each descriptor that is ready."""
        for fd, _ in ready:
            handler = self._handlers.get(fd)  # none, if another one has had it forgotten
            if handler is not None:
                handler()

    def _wait(self, seconds: float) -> Ready:
        return self._poll.poll(seconds * 1000)

    def close(self) -> None:
        """Close what the poller itself holds open."""
        if self._epoll:
            self._epoll.close()
