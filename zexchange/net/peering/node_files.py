"""The files and sockets that nodes of this user keep in a rendezvous directory.

The file of a living node is locked. A file may contain anything.
"""

import fcntl
import json
import os
import socket
import stat
from collections.abc import Generator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from ..transport.endpoints import IPC_PATH_MAX, ipc_path


def lives(path: Path) -> bool:
    """Return whether the node that left a file is alive."""
    with suppress(OSError), opened(path) as fd:
        return is_locked(fd)
    return False


@contextmanager
def opened(path: Path) -> Generator[int, None, None]:
    """Open a file that a node may have left.

    Raises:
        OSError: it is not there, or is a symbolic link.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        yield fd
    finally:
        os.close(fd)


def is_locked(fd: int) -> bool:
    """Return whether the node that left a file holds its lock; if not, we hold it now."""
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def read_file(text: bytes) -> str | None:
    """Return the endpoint that a node's file names; None if there is no valid one."""
    try:
        endpoint = json.loads(text)["control"]
        size = len(os.fsencode(endpoint)) - 6
    except (ValueError, KeyError, TypeError, RecursionError):
        # no text, no JSON, unbalanced brackets, half a surrogate pair
        return None
    if not isinstance(endpoint, str) or ipc_path(endpoint) is None or "\0" in endpoint:
        return None
    return endpoint if 0 < size <= IPC_PATH_MAX else None


def is_socket(path: Path) -> bool:
    """Return whether a path is a Unix socket of this user's."""
    try:
        found = os.lstat(path)
    except (OSError, ValueError):  # it is not there, or not a valid path
        return False
    return stat.S_ISSOCK(found.st_mode) and found.st_uid == os.geteuid()


def listens(path: str) -> bool:
    """Return whether a process listens at the path of a Unix socket."""
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except BlockingIOError:
            return True  # it is alive, and too busy to accept
        except OSError:
            return False
        return True
