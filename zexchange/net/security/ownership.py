"""Which users may have written a file that decides about keys, by the operating system's word.

A file is accepted if it belongs to this user or to root and nobody else may write it. The same
holds for a directory, since anybody who may write there could replace a file. Symbolic links are
followed, and the file at their end is checked. Nothing here reads the contents of the files.
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

    A read-only mount, such as that of a Kubernetes Secret, is accepted whatever its mode says.

    Raises:
        InvalidKeys: others may write there; the text says how to fix it.
        OSError: it cannot be examined.
    """
    if _read_only(path):
        return
    found = path.stat()
    _check_owner(path, found)
    if found.st_mode & _OTHERS_WRITE:
        raise InvalidKeys(f"other users may write in {path}: chmod go-w {path}")


def check_file(path: Path, found: os.stat_result, *, secret: bool = False) -> None:
    """Refuse a file that other users may have written or, if it is a secret, may read.

    A secret that belongs to root may be readable for a group: Kubernetes, for example, passes it in
    that way to a process that does not run as root.

    Args:
        path: for the text of the error.
        found: the result of ``stat`` for the file at the end of its links.
        secret: whether nobody else may read it.

    Raises:
        InvalidKeys: the text says how to fix it.
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
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)
