"""The key directory: our own key, the authorized keys, and their permissions.

    DIR/node.key            our secret key, which only this user may read
    DIR/node.pub            the line to hand out; not read
    DIR/authorized/NAME.pub the public key or keys of a peer
    DIR/permissions.toml    what peers may do; without it, everything

Pure functions decide what the files mean (`protocol.security.keys` and
`protocol.security.permissions`). This module reads the files, at first and whenever they have
changed.
"""

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import zmq
from zmq.utils import z85

from ...errors import InvalidKeys
from ...local.process.logs import log
from ...protocol.security.keys import (
    MAX_KEY_FILE_BYTES,
    public_line,
    read_public,
    read_secret,
    secret_line,
)
from ...protocol.security.permissions import (
    MAX_PERMISSIONS_BYTES,
    Policy,
    Rights,
    make_policy,
    read_permissions,
)
from .ownership import check_directory, check_file

SECRET_FILE, PUBLIC_FILE = "node.key", "node.pub"
AUTHORIZED, PERMISSIONS = "authorized", "permissions.toml"
_SUFFIX = ".pub"
MAX_AUTHORIZED = 10_000

Stamp = tuple[str, int, int, int, int, int]
Signature = tuple[Stamp, ...]
T = TypeVar("T")


class KeyDirectory:
    """One key directory, as it was when it was last read."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        _refuse_foreign(directory)
        self.secret = _read_own(directory)
        self.public: bytes = z85.decode(zmq.curve_public(z85.encode(self.secret)))
        self._read_at = self._seen = _signature(directory)
        self._complained = False
        self._authorized: dict[str, tuple[bytes, ...]] = {}
        self._entries: dict[str, Rights] | None = None
        self.policy = make_policy(self.public, {}, {})
        self.policy, trouble = self._read()
        if trouble:
            raise trouble[0]

    def refresh(self) -> Policy | None:
        """Read the files again if they have changed; return the policy if it has changed too.

        They are read only once they have stayed the same from one look to the next: a file that is
        just being written is empty for a moment, and an empty one permits everything. A file that
        cannot be used keeps its previous content. One warning says so, and the file is tried again
        each time.
        """
        signature = _signature(self.directory)
        if signature != self._seen:
            self._seen = signature
            return None
        if signature == self._read_at:
            return None
        policy, trouble = self._read()
        self._read_at = () if trouble else signature
        if trouble and not self._complained:
            log.warning("%s; what was read before stays in force", trouble[0])
        self._complained = bool(trouble)
        before, self.policy = self.policy, policy
        return policy if policy != before else None

    def _read(self) -> tuple[Policy, list[InvalidKeys]]:
        """Return the policy and a list of problems. A bad file keeps its previous content."""
        trouble: list[InvalidKeys] = []
        place = self.directory / AUTHORIZED
        try:
            _refuse_foreign(self.directory)
            paths = _key_files(place)
        except InvalidKeys as error:
            return self.policy, [error]
        authorized: dict[str, tuple[bytes, ...]] = {}
        for path in paths:
            name = path.name.removesuffix(_SUFFIX)
            try:
                authorized[name] = _read(path, MAX_KEY_FILE_BYTES, read_public)
            except FileNotFoundError:  # removed at this moment
                continue
            except InvalidKeys as error:
                trouble.append(error)
                if name in self._authorized:
                    authorized[name] = self._authorized[name]
        entries, none = self._entries, dict[str, Rights]()
        try:
            entries = _read_permissions(self.directory / PERMISSIONS, entries is not None)
        except InvalidKeys as error:
            trouble.append(error)
        try:
            policy = make_policy(self.public, authorized, entries or none)
        except InvalidKeys as error:
            trouble.append(InvalidKeys(f"{place}: {error}"))
            # Keys whose file was removed are revoked nevertheless.
            known = {n: keys for n, keys in self._authorized.items() if n in authorized}
            authorized, policy = known, make_policy(self.public, known, entries or none)
        self._authorized, self._entries = authorized, entries
        return policy, trouble


def make_keys(directory: str | os.PathLike[str]) -> str:
    """Make a key for a node, in a key directory that is made if need be.

    Returns:
        The line to hand out, which is also in ``node.pub``: it goes into the file
        ``authorized/NAME.pub`` of every peer.

    Raises:
        InvalidKeys: if there is a key already, or the directory cannot be written.
    """
    place = Path(directory)
    public, secret = (z85.decode(key) for key in zmq.curve_keypair())
    line = public_line(public)
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        (place / AUTHORIZED).mkdir(mode=0o700, exist_ok=True)
        _write_once(place / SECRET_FILE, secret_line(secret) + "\n")
        (place / PUBLIC_FILE).write_text(line + "\n")
    except FileExistsError:
        raise InvalidKeys(
            f"{place / SECRET_FILE} is there already, and is never overwritten: "
            "make the new key in another directory"
        ) from None
    except OSError as error:
        raise InvalidKeys(f"cannot make a key in {place}: {error}") from error
    return line


def _write_once(path: Path, text: str) -> None:
    """Write a file that nobody else can read: whole or not at all, and never over another."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(fd, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    finally:
        draft.unlink()


def _read_own(directory: Path) -> bytes:
    path = directory / SECRET_FILE
    try:
        return _read(path, MAX_KEY_FILE_BYTES, read_secret, secret=True)
    except FileNotFoundError:
        raise InvalidKeys(f"there is no {path}: make it with zexchange keygen") from None


def _refuse_foreign(directory: Path) -> None:
    """Raise `InvalidKeys` if other users may put files into a directory; it may be missing."""
    try:
        check_directory(directory)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise InvalidKeys(f"cannot read {directory}: {error}") from error


def _key_files(directory: Path) -> list[Path]:
    try:
        check_directory(directory)
        paths = sorted(path for path in directory.iterdir() if _is_key_file(path))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InvalidKeys(f"cannot read {directory}: {error}") from error
    if len(paths) > MAX_AUTHORIZED:
        raise InvalidKeys(f"{directory} has over {MAX_AUTHORIZED} keys")
    return paths


def _is_key_file(path: Path) -> bool:
    return path.name.endswith(_SUFFIX) and not path.name.startswith(".")


def _read_permissions(path: Path, was_there: bool) -> dict[str, Rights] | None:
    """Return the entries; None if there never was a file, which permits everything.

    A file that has gone is an error: an editor may have moved it away for a moment.
    """
    try:
        return _read(path, MAX_PERMISSIONS_BYTES, lambda data: read_permissions(data.decode()))
    except FileNotFoundError:
        if was_there:
            raise InvalidKeys(f"{path} is gone") from None
        return None


def _read(path: Path, most: int, parse: Callable[[bytes], T], *, secret: bool = False) -> T:
    """Parse a regular file; ``parse`` gets at most one byte more than ``most``.

    The file is opened without blocking, as a pipe in its place would block us until somebody
    writes. The opened file is the one that is checked. Every error but `FileNotFoundError` names
    the file.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with os.fdopen(fd, "rb") as file:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                raise InvalidKeys(f"{path} is not a file")
            check_file(path, found, secret=secret)
            return parse(file.read(most + 1))
    except FileNotFoundError:
        raise
    except UnicodeDecodeError:
        raise InvalidKeys(f"{path}: not a text file") from None
    except InvalidKeys as error:
        text = str(error)
        raise InvalidKeys(text if str(path) in text else f"{path}: {text}") from None
    except OSError as error:
        raise InvalidKeys(f"cannot read {path}: {error}") from error


def _signature(directory: Path) -> Signature:
    """Return a value that changes whenever a file changes that `KeyDirectory` has to read again."""
    found = [_stamp(directory / PERMISSIONS)]
    with suppress(OSError), os.scandir(directory / AUTHORIZED) as entries:
        found += sorted(_stamp(Path(e.path)) for e in entries if _is_key_file(Path(e.path)))
    return tuple(found)


def _stamp(path: Path) -> Stamp:
    try:
        found = path.stat()
    except OSError:
        return path.name, 0, 0, 0, 0, 0
    state = found.st_mtime_ns, found.st_size, found.st_ino
    return path.name, *state, found.st_mode, found.st_uid
