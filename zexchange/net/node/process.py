"""What happens to nodes when the process forks or ends.

A forked child must let go of what it inherited: the lock file, or a dead parent would
look alive; libzmq's connections, or a dead parent's port would stay taken. It makes
running parts of its own at first use. A process that ends without `close` says goodbye
with a short linger.
"""

import os
import socket
import stat
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ...kinds import is_tuple
from ...local.exchange import Bridge, Exchange
from ...local.process.fork import at_exit
from ...local.process.logs import log
from ...local.tasks.buffered import catch_up
from ..transport.endpoints import ipc_path, parse_tcp

if TYPE_CHECKING:
    from ..engine.engine import Engine
    from .node import Node

START_TIMEOUT = 5.0
"""Seconds that a fork waits for nodes which are being started."""
EXIT_TIMEOUT = 1.0
"""Seconds in which a process that ends without `close` tries to deliver what it sent."""

nodes: "dict[tuple[str, int], Node]" = {}
"""The nodes of this process, by federation and registry. Guarded by `lock`."""
lock = threading.RLock()
_held_up: "list[Node]" = []
_graveyard: "list[Engine]" = []
"""Engines of the parent: kept, since finalising their sockets in the child is not ours."""


class _TooLate(Bridge):
    """Takes the place of a bridge when its node was closed by the end of the program."""

    federations = 0

    def __init__(self, name: str) -> None:
        self._name = name
        self._told = False

    def send(self, msg: object) -> None:
        """Say, once, that what is sent does not leave this process any more."""
        if not self._told:
            self._told = True
            log.warning(
                "exchange %r: what is sent now reaches no other process: the program ends, and"
                " its node is closed. What an atexit handler sends is delivered if that is"
                " registered after `import zexchange`",
                self._name,
            )
            log.flush()


def _close_all() -> None:
    catch_up()  # what a thread is still to be given it may send on
    carried: list[Exchange[Any]] = []
    for node in list(nodes.values()):
        for backlog in list(node._backlogs):
            backlog.finish(node._join_timeout)
        carried += node._bridged()
        node._users = 1
        node.close(EXIT_TIMEOUT)
    for exchange in carried:
        exchange._attach_bridge(_TooLate(exchange.name))


# Not when a node is made, but when this is imported: what handlers send that the program has
# registered since is delivered, for the last registered is the first to be called.
at_exit(_close_all)


def leave_parent_behind(engine: "Engine") -> None:
    """In a forked child, close what the parent's engine had open, without using it."""
    _graveyard.append(engine)
    engine.disown()
    bound, dialled = engine.endpoints()
    near = {_name(endpoint)[-1] for endpoint in bound}
    far: set[tuple[object, ...]] = set()
    for endpoint in dialled:
        with suppress(ValueError):  # what a peer told us need not be an endpoint
            far.add(_name(endpoint))
    for fd in _open_descriptors():
        with suppress(OSError):
            if _is_ours(fd, near, far):
                os.close(fd)


def _open_descriptors() -> list[int]:
    for listing in ("/proc/self/fd", "/dev/fd"):
        with suppress(OSError):
            return [int(fd) for fd in os.listdir(listing)]
    return []


def _name(endpoint: str) -> tuple[object, ...]:
    """Return what the operating system calls an endpoint: (path,) or (host, port)."""
    path = ipc_path(endpoint)
    if path is not None:
        return (path,)
    tcp = parse_tcp(endpoint)
    return (tcp.host.strip("[]").replace("localhost", "127.0.0.1"), tcp.port)


def _is_ours(fd: int, near: set[object], far: set[tuple[object, ...]]) -> bool:
    """Tell whether a descriptor is a socket at one of our endpoints, or dialled one."""
    if not stat.S_ISSOCK(os.fstat(fd).st_mode):
        return False
    with socket.socket(fileno=os.dup(fd)) as probe:
        if _parts(probe.getsockname())[-1] in near:
            return True
        with suppress(OSError):
            return _parts(probe.getpeername()) in far
        return False


def _parts(name: object) -> tuple[object, ...]:
    return name[:2] if is_tuple(name) else (name,)


def _before_fork() -> None:
    """Let no child be made in the middle of a start: it would inherit sockets that nobody knows.

    A start takes some milliseconds, on any thread: an adapter's, in a server that forks workers.
    """
    for node in list(nodes.values()):
        if node._starting.acquire(timeout=START_TIMEOUT):
            _held_up.append(node)


def _forked() -> None:
    while _held_up:
        _held_up.pop()._starting.release()


def _after_fork() -> None:
    global lock
    lock = threading.RLock()
    _held_up.clear()
    for node in list(nodes.values()):
        node._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_forked, after_in_child=_after_fork)
