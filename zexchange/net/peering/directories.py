"""The directories of this host in which the nodes of one user find each other.

`/run/user/UID` comes with a user's first login and goes with the last one, so not every node can
use it. There are several such directories: a node uses the first that it can, and looks for others
in all of them.
"""

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ...errors import Unreachable
from ..transport.endpoints import IPC_PATH_MAX

CURE = "set ZEXCHANGE_DIR to a directory of yours, or use local=False"
_SHORTEST, _LASTING = Path("/tmp"), Path("/var/tmp")


def bases() -> tuple[Path, ...]:
    """Return the base directories of this user's nodes. A new node takes the first usable one.

    If ``$ZEXCHANGE_DIR`` is set, it is the only one. Otherwise they are ``/run/user/UID``, if that
    belongs to this user, and directories of this user under ``/tmp``, ``$TMPDIR`` and ``/var/tmp``.
    ``XDG_RUNTIME_DIR`` is not used, since cron jobs and services lack it.
    """
    chosen = os.environ.get("ZEXCHANGE_DIR")
    return (Path(chosen),) if chosen else _usual()


def _usual() -> tuple[Path, ...]:
    return (*_of_the_session(), *_under_temp())


def unseen(federation: str) -> list[Path]:
    """Return the directories of a federation that are ignored because ``$ZEXCHANGE_DIR`` is set.

    Nodes that run without that variable are in those.
    """
    looked = bases()
    return [base / folder(federation) for base in _usual() if base not in looked and is_ours(base)]


def _of_the_session() -> Iterator[Path]:
    runtime = Path(f"/run/user/{os.getuid()}")
    with suppress(OSError):
        if runtime.stat().st_uid == os.getuid() and os.access(runtime, os.W_OK):
            yield runtime / "zexchange"


def _under_temp() -> Iterator[Path]:
    # $TMPDIR does not come first, because it differs between a shell, a service and each job of one
    # user. `tempfile` is not used, since it falls back to the current directory.
    named = Path(os.environ.get("TMPDIR", ""))
    more = [named] if named.is_absolute() and named.is_dir() else []
    for place in dict.fromkeys((_SHORTEST, *more, _LASTING)):
        yield place / f"zexchange-{os.getuid()}"


def place_of(federation: str) -> Path:
    """Make the directory in which a node of a federation publishes itself, and return it.

    Raises:
        Unreachable: no directory can be used; the text says what to do.
    """
    refused: Unreachable | None = None
    for base in bases():
        try:
            return private_directory(private_directory(base) / folder(federation))
        except Unreachable as error:
            refused = refused or error
    raise refused or Unreachable(f"no rendezvous directory; {CURE}")


def places_of(federation: str) -> list[Path]:
    """Return the directories of this user's in which other nodes of a federation may be."""
    found = [(base, base / folder(federation)) for base in bases()]
    return [inner for base, inner in found if is_ours(base) and is_ours(inner)]


def short_place(directory: Path, name: str) -> Path:
    """Return the directory for a node's sockets: ``directory``, or one with a shorter path.

    Args:
        directory: of the federation.
        name: the longest name of a socket.

    Raises:
        Unreachable: no directory has a path that is short enough.
    """
    digest = hashlib.sha256(os.fsencode(directory.absolute())).hexdigest()[:16]
    if _fits(directory / name):
        return directory
    for base in (*_under_temp(), *_of_the_session()):
        if _fits(base / digest / name):
            with suppress(Unreachable):
                return private_directory(private_directory(base) / digest)
    raise Unreachable(
        f"the rendezvous directory {directory} is too long for a Unix socket, whose path has at"
        f" most {IPC_PATH_MAX} bytes, and there is no shorter one: {CURE} that is shorter"
    )


def _fits(path: Path) -> bool:
    return len(os.fsencode(path)) <= IPC_PATH_MAX


def folder(federation: str) -> str:
    """Return the folder name of a federation: its own name if that is safe, else a digest."""
    if re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,23}", federation):
        return federation
    return "~" + hashlib.sha256(federation.encode()).hexdigest()[:16]


def private_directory(path: Path) -> Path:
    """Make a directory that only this user can enter, and return it.

    Raises:
        Unreachable: if it cannot be made or written, or belongs to another user.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.lstat()
    except OSError as error:
        raise Unreachable(
            f"cannot make the rendezvous directory {path}: {error}; {CURE}"
        ) from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise Unreachable(
            f"the rendezvous directory {path} is not a directory of this user's; {CURE}"
        )
    if found.st_mode & 0o077:
        with suppress(OSError):
            path.chmod(0o700)
    if not os.access(path, os.W_OK | os.X_OK):
        raise Unreachable(f"the rendezvous directory {path} cannot be written; {CURE}")
    return path


def is_ours(path: Path) -> bool:
    """Return whether a path is a directory of this user's that nobody else may write to."""
    try:
        found = path.lstat()
    except OSError:
        return False
    return (
        stat.S_ISDIR(found.st_mode)
        and found.st_uid == os.getuid()
        and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    )
