"""What is left to wait for descriptors with where a library of greenlets has patched `select`.

Where gevent or eventlet has patched threads as well, a node's threads are greenlets like all
others, and have to wait so that others run meanwhile: by gevent's `poll`; eventlet has a `select`
alone. Neither has `epoll`, which would hold up the whole process.
"""

import _thread
import queue
import select
from types import BuiltinFunctionType


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
