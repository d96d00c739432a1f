"""The rendezvous directory: how nodes of one user on one host find each other.

Each node leaves a small file with its control endpoint and keeps it locked for as
long as it lives; the kernel frees the lock of a dead process, whatever killed it. A
file whose lock is free is stale, and whoever reads it sweeps it, sockets included.
"""

import fcntl
import hashlib
import json
import os
import re
import socket
import stat
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from ..errors import Unreachable
from .endpoints import HIDDEN, IPC_PATH_MAX, ipc_path

_MAX_FILE_BYTES = 4096
_SUFFIX = ".node"
_DRAFT_SECONDS = 60.0
_STEM = 16
"""Hexadecimal digits of a node's id in the names of its file and sockets."""
_ATTEMPTS = 10
"""Times that a newcomer makes a directory which those who leave take away again."""


def base_directory() -> Path:
    """Return where rendezvous directories lie for this user.

    ``$ZEXCHANGE_DIR``, else ``/run/user/UID`` if it is ours (whatever the environment
    says: cron jobs and services lack ``XDG_RUNTIME_DIR``), else a directory of this
    user's under the temp dir.
    """
    if chosen := os.environ.get("ZEXCHANGE_DIR"):
        return Path(chosen)
    runtime = Path(f"/run/user/{os.getuid()}")
    with suppress(OSError):
        if runtime.stat().st_uid == os.getuid() and os.access(runtime, os.W_OK):
            return runtime / "zexchange"
    return _under_temp()


def _under_temp() -> Path:
    return Path(tempfile.gettempdir()) / f"zexchange-{os.getuid()}"


def private_directory(path: Path) -> Path:
    """Make a directory that only this user can enter, and return it.

    Raises:
        Unreachable: if it cannot be made or written, or belongs to somebody else.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.lstat()
    except OSError as error:
        raise Unreachable(
            f"cannot make the rendezvous directory {path}: {error}; {_CURE}"
        ) from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise Unreachable(
            f"the rendezvous directory {path} is not a directory of this user's; {_CURE}"
        )
    if found.st_mode & 0o077:
        with suppress(OSError):
            path.chmod(0o700)
    if not os.access(path, os.W_OK | os.X_OK):
        raise Unreachable(f"the rendezvous directory {path} cannot be written; {_CURE}")
    return path


_CURE = "set ZEXCHANGE_DIR to a directory of yours, or use local=False"


def _folder(federation: str) -> str:
    """Return the folder name of a federation: readable where that is possible."""
    if re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,23}", federation):
        return federation
    return "~" + hashlib.sha256(federation.encode()).hexdigest()[:16]


class Rendezvous:
    """This node's place in the rendezvous directory of a federation.

    The sockets lie beside the file, or, where that path would be too long for a Unix
    socket, in a directory under the temp dir that follows from the same path, so that
    whoever sweeps the file finds them too.
    """

    def __init__(self, federation: str, node: str) -> None:
        base = private_directory(base_directory())
        self.directory = private_directory(base / _folder(federation))
        self._sockets = self.directory
        # The end of the id, which is random also where the beginning belongs to a key: several
        # workers of one program have one key directory.
        self._stem = node[-_STEM:]
        if len(os.fsencode(self.directory / f"{self._stem}.c")) > IPC_PATH_MAX:
            digest = hashlib.sha256(os.fsencode(self.directory.absolute())).hexdigest()[:16]
            self._sockets = private_directory(private_directory(_under_temp()) / digest)
        self._file = self.directory / (self._stem + _SUFFIX)
        self._lock: int | None = None
        self._withdrawn = False
        self._claimed = False
        self._stand_ins: dict[Path, socket.socket | None] = {}
        # Between the control thread, which mends, and whoever closes the node.
        self._changing = threading.RLock()

    @property
    def control(self) -> str:
        """The control endpoint to bind."""
        return f"ipc://{self._sockets / self._stem}.c"

    @property
    def data(self) -> str:
        """The data endpoint to bind."""
        return f"ipc://{self._sockets / self._stem}.d"

    def claim(self) -> None:
        """Take the paths of our sockets: call before they are bound.

        libzmq takes a Unix socket away from a living process without a word: it removes the
        path, and binds it anew. So we ask first whether anything listens there.

        Raises:
            Unreachable: another process listens there, and goes on doing so.
        """
        for endpoint in (self.control, self.data):
            if _listens(endpoint.removeprefix("ipc://")):
                raise Unreachable(f"cannot listen on {endpoint}: another process listens there")
        self._claimed = True

    def publish(self) -> None:
        """Leave our file, locked, for others to find: call once the sockets are bound.

        It is locked before it gets its name, so that nobody can take it for stale.

        Raises:
            Unreachable: if the file cannot be written.
        """
        with self._changing:
            if not self._withdrawn:
                self._publish()

    def prepare(self) -> None:
        """Make the directories, which the last node that left may just have removed.

        Raises:
            Unreachable: as `private_directory`.
        """
        for directory in {self.directory, self._sockets}:
            private_directory(directory)

    def _publish(self) -> None:
        draft = self._file.with_suffix(".new")
        fd: int | None = None
        try:
            fd = self._open_draft(draft)
            fcntl.flock(fd, fcntl.LOCK_EX)
            os.write(fd, json.dumps({"control": self.control, "pid": os.getpid()}).encode())
            os.rename(draft, self._file)
        except OSError as error:
            if fd is not None:
                os.close(fd)
            with suppress(OSError):
                draft.unlink()
            raise Unreachable(f"cannot write {self._file}: {error}; {_CURE}") from error
        if self._lock is not None:
            os.close(self._lock)
        self._lock = fd

    def _open_draft(self, draft: Path) -> int:
        """Open a new file, in a directory that others may be removing at this moment."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        for _ in range(_ATTEMPTS - 1):
            with suppress(FileNotFoundError):
                return os.open(draft, flags, 0o600)
            self.prepare()
        return os.open(draft, flags, 0o600)

    def mend(self) -> None:
        """Publish again if our file has vanished."""
        with self._changing:
            if self._lock is not None and not self._withdrawn and not self._file.exists():
                private_directory(self.directory)
                self._publish()

    def hide(self) -> None:
        """Have nobody connect to our sockets any more; who is connected stays so.

        What libzmq listens at gets another name, and a socket takes its place that accepts
        nothing: who comes finds that we live, and waits for us.
        """
        with self._changing:
            for path in self._bound() if not self._withdrawn else ():
                if path not in self._stand_ins:
                    with suppress(OSError):
                        path.rename(_hidden(path))
                        self._stand_ins[path] = None
                        self._stand_ins[path] = _stand_in(path)

    def show(self) -> None:
        """Have others connect to our sockets again; who waits is sent there at once."""
        with self._changing:
            while self._stand_ins:
                path, stand_in = self._stand_ins.popitem()
                with suppress(OSError):
                    _hidden(path).rename(path)
                if stand_in is not None:
                    stand_in.close()  # resets what has connected to it

    def _bound(self) -> list[Path]:
        """Return the paths of our sockets."""
        return [self._sockets / f"{self._stem}.{kind}" for kind in "cd"] if self._claimed else []

    def ours(self, path: str) -> bool:
        """Return whether there is a socket of this user's at a path, of a node of this federation.

        What others say of Unix sockets may be made up, or be another user's: only what lies in
        our directories counts, or what a living node has written into its file there.
        """
        bound = Path(path)
        try:
            if bound.parent not in (self.directory, self._sockets):
                told = self._read(self.directory / (bound.stem + _SUFFIX))
                if told != f"ipc://{bound.with_suffix('.c')}":
                    return False
            found = os.lstat(bound)
        except (OSError, ValueError):  # it is not there, or no path at all
            return False
        return stat.S_ISSOCK(found.st_mode) and found.st_uid == os.geteuid()

    def others(self) -> Iterator[str]:
        """Yield the control endpoints of the living, and sweep what the dead have left."""
        for path in sorted(self.directory.glob("*" + _SUFFIX)):
            if path != self._file:
                endpoint = self._read(path)
                if endpoint:
                    yield endpoint
        for draft in self.directory.glob("*.new"):
            with suppress(OSError):
                # A young draft may be on its way to its name, and not locked yet.
                if time.time() - draft.stat().st_mtime > _DRAFT_SECONDS:
                    self._read(draft)

    def _read(self, path: Path) -> str | None:
        """Return the endpoint in a file, or None if it is stale (then swept) or nonsense."""
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return None
        try:
            if os.fstat(fd).st_uid != os.geteuid():
                return None  # put there by another user, before the directory was ours alone
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return read_file(os.read(fd, _MAX_FILE_BYTES))
        except OSError:
            return None
        else:
            self._sweep(path, fd)
            return None
        finally:
            os.close(fd)

    def _sweep(self, path: Path, fd: int) -> None:
        """Remove a stale file and its sockets, if it still is the file that we opened."""
        with suppress(OSError):
            if os.stat(path, follow_symlinks=False).st_ino != os.fstat(fd).st_ino:
                return
            path.unlink()
        if path.suffix == _SUFFIX:
            for kind in (".c", ".d"):
                bound = self._sockets / (path.stem + kind)
                for left in (bound, _hidden(bound)):
                    with suppress(OSError):
                        left.unlink()

    def withdraw(self) -> None:
        """Take our file and sockets away, and the directory if it is empty; free the lock."""
        with self._changing:
            self._withdrawn = True
            ours = [self._file] if self._lock is not None else []
            ours += [*self._bound(), *map(_hidden, self._stand_ins)]
            for path in ours:
                with suppress(OSError):
                    path.unlink()
            for directory in {self.directory, self._sockets}:
                with suppress(OSError):
                    directory.rmdir()
            self.release()

    def release(self) -> None:
        """Let go of the inherited lock in a forked child, which else keeps a ghost alive.

        Closing is enough and unlocking would be wrong: the lock belongs to the open
        file that parent and child share.
        """
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        for stand_in in self._stand_ins.values():
            if stand_in is not None:
                stand_in.close()
        self._stand_ins.clear()


def _hidden(path: Path) -> Path:
    """Return the name of a socket while nobody is to find it."""
    return path.with_name(path.name + HIDDEN)


def _stand_in(path: Path) -> socket.socket:
    """Return a socket that listens at a path, and accepts nobody."""
    stand_in = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        stand_in.bind(os.fspath(path))
        stand_in.listen(0)
    except BaseException:
        stand_in.close()
        raise
    return stand_in


def _listens(path: str) -> bool:
    """Return whether a process listens at the path of a Unix socket."""
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except BlockingIOError:
            return True  # it lives, and is too busy to accept
        except OSError:
            return False
        return True


def read_file(text: bytes) -> str | None:
    """Return the endpoint that a node's file names, or None if it is nonsense."""
    try:
        endpoint = json.loads(text)["control"]
        size = len(os.fsencode(endpoint)) - 6
    except (ValueError, KeyError, TypeError, RecursionError):
        # Not text, not JSON, brackets without end, half a surrogate pair.
        return None
    if not isinstance(endpoint, str) or ipc_path(endpoint) is None or "\0" in endpoint:
        return None
    return endpoint if 0 < size <= IPC_PATH_MAX else None
