"""Closes inherited descriptors in a forked child, and replaces bridges when the program ends.

A forked child must close two things that it has inherited: the lock file, because a dead parent
would look alive, and the connections of libzmq, because a dead parent's port would stay taken.
"""

import os
import socket
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from ...kinds import is_tuple
from ...local.exchange import Bridge
from ...local.process.logs import log
from ..transport.endpoints import ipc_path, parse_tcp

if TYPE_CHECKING:
    from ..engine.engine import Engine

_graveyard: "list[Engine]" = []
"""Engines of the parent. They are kept, so that their sockets are not finalised in the child."""


class TooLate(Bridge):
    """Replaces a bridge when the end of the program has closed its node."""

    federations = 0

    def __init__(self, name: str) -> None:
        self._name = name
        self._told = False

    def send(self, msg: object) -> None:
        """Warn once that messages no longer leave this process."""
        if not self._told:
            self._told = True
            log.warning(
                "exchange %r: what is sent now reaches no other process: the program ends, and"
                " its node is closed. What an atexit handler sends is delivered if that is"
                " registered after `import zexchange`",
                self._name,
            )
            log.flush()


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
    """Return an endpoint as the operating system names it: (path,) or (host, port)."""
    path = ipc_path(endpoint)
    if path is not None:
        return (path,)
    tcp = parse_tcp(endpoint)
    return (tcp.host.strip("[]").replace("localhost", "127.0.0.1"), tcp.port)


def _is_ours(fd: int, near: set[object], far: set[tuple[object, ...]]) -> bool:
    """Return whether a descriptor is a socket at one of our endpoints, or one that we dialled."""
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
