"""Who may have written a file that decides about keys, as the operating system tells it.

A file counts if it belongs to this user or to root and nobody else may write it; a directory
likewise, since who may write there may put another file in its place. Links are followed:
the file at their end is judged. Nothing here reads what the files say.
"""

import os
import stat
from pathlib import Path

from ...errors import InvalidKeys

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_OTHERS_READ = stat.S_IRGRP | stat.S_IROTH
_ROOT = 0


def check_directory(path: Path) -> None:
    """Refuse a directory in which other users may put files.

    On a read-only mount, as that of a Kubernetes Secret, nobody may, whatever its mode says.

    Raises:
        InvalidKeys: others may write there; the text says how to mend it.
        OSError: it cannot be looked at.
    """
    if _read_only(path):
        return
    found = path.stat()
    _check_owner(path, found)
    if found.st_mode & _OTHERS_WRITE:
        raise InvalidKeys(f"other users may write in {path}: chmod go-w {path}")


def check_file(path: Path, found: os.stat_result, *, secret: bool = False) -> None:
    """Refuse a file that other users may have written, or, where it is a secret, may read.

    A secret of root's may be read by a group: that is how a process which does not run as
    root is given one, by Kubernetes among others.

    Args:
        path: for the text of the error.
        found: what ``stat`` says of the file at the end of its links.
        secret: whether nobody else may read it.

    Raises:
        InvalidKeys: the text says how to mend it.
    """
    _check_owner(path, found)
    if found.st_mode & _OTHERS_WRITE:
        raise InvalidKeys(f"other users may write {path}: chmod go-w {path}")
    if not secret:
        return
    handed_over = found.st_uid == _ROOT and (os.geteuid() != _ROOT or _read_only(path))
    if found.st_mode & (stat.S_IROTH if handed_over else _OTHERS_READ):
        raise InvalidKeys(f"{path} can be read by others than its owner: chmod 600 it")


def _check_owner(path: Path, found: os.stat_result) -> None:
    if found.st_uid not in (os.geteuid(), _ROOT):
        raise InvalidKeys(
            f"{path} belongs to user {found.st_uid}, who may change it: "
            f"it has to be owned by this user ({os.geteuid()}) or root"
        )


def _read_only(path: Path) -> bool:
    """Return whether a path lies on a read-only mount."""
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)
