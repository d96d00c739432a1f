"""The rendezvous directory: how nodes of one user on one host find each other.

Each node writes a small file with its control endpoint and keeps it locked for as long as it lives.
The kernel releases the lock when the process dies, however it dies. So a file whose lock is free is
stale, and the node that reads it removes it, together with the sockets that it names. A new file is
written and locked under another name and then renamed: no reader can find it unlocked and take it
for stale.

The lock says who lives, and not whether a path exists. Directories and files in ``/tmp`` may be
removed by a cleaner, and those in ``/run/user`` by the end of a login. The node checks regularly.
It writes its file again if that is gone (`mend`), and binds its sockets again, perhaps in another
directory, if those are (`bereft`, `restore`). The last node that leaves removes the directory, so
that a new node may have to make it several times.

libzmq ends the process if it cannot accept a connection for want of a descriptor. While few are
left, a node hides its sockets: it renames each of them and binds a plain socket, which accepts
nothing, at the old path (`hide`). A node that connects there finds that somebody listens, and
waits. When there are enough descriptors again, the libzmq socket gets its path back, and the plain
socket is closed (`show`): that resets the waiting connections, which libzmq then makes again.

After the start the control thread does all of this, but any thread may close the node, hence the
lock.
"""

import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ...errors import Unreachable
from ..transport.endpoints import HIDDEN
from .directories import CURE, place_of, places_of, private_directory, short_place
from .node_files import is_locked, is_socket, listens, opened, read_file

_MAX_FILE_BYTES = 4096
_SUFFIX = ".node"
_DRAFT_SECONDS = 60.0
_STEM = 16
"""Hexadecimal digits of a node's id in the names of its file and sockets."""
_ATTEMPTS = 10
"""Times that a new node makes a directory that leaving nodes remove again."""


class Rendezvous:
    """This node's place in the rendezvous directory of a federation.

    The sockets lie beside the file or, if that path would be too long for a Unix socket, in another
    directory; the file names them.
    """

    def __init__(self, federation: str, node: str) -> None:
        self._federation = federation
        # The end of the id: its beginning may be derived from a key, which is the same for several
        # workers of one program with one key directory. The end is random.
        self._stem = node[-_STEM:]
        self._settle()
        self._lock: int | None = None
        self._withdrawn = False
        self._claimed = False
        self._stand_ins: dict[Path, socket.socket | None] = {}
        # Held by the control thread, which mends, and by the thread that closes the node.
        self._changing = threading.RLock()

    def _settle(self) -> None:
        """Choose the directories of the file and the sockets."""
        self.directory = place_of(self._federation)
        self._sockets = short_place(self.directory, f"{self._stem}.c")
        self._file = self.directory / (self._stem + _SUFFIX)

    @property
    def control(self) -> str:
        """The control endpoint to bind."""
        return f"ipc://{self._sockets / self._stem}.c"

    @property
    def data(self) -> str:
        """The data endpoint to bind."""
        return f"ipc://{self._sockets / self._stem}.d"

    def claim(self) -> None:
        """Make sure that the paths of our sockets are free. Call before they are bound.

        libzmq takes over the Unix socket of a living process without an error: it removes the path
        and binds it again. So we check first whether anything listens there.

        Raises:
            Unreachable: another process listens there.
        """
        for endpoint in (self.control, self.data):
            if listens(endpoint.removeprefix("ipc://")):
                raise Unreachable(f"cannot listen on {endpoint}: another process listens there")
        self._claimed = True

    def publish(self) -> None:
        """Write our file, locked, for other nodes to find. Call once the sockets are bound.

        The file is locked before it gets its final name, so that no node takes it for stale.

        Raises:
            Unreachable: if the file cannot be written.
        """
        with self._changing:
            if self._withdrawn:
                return
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
                raise Unreachable(f"cannot write {self._file}: {error}; {CURE}") from error
            if self._lock is not None:
                os.close(self._lock)
            self._lock = fd

    def prepare(self) -> None:
        """Make the directories, which the last node that left may just have removed.

        Raises:
            Unreachable: as `private_directory`.
        """
        for directory in {self.directory, self._sockets}:
            private_directory(directory)

    def _open_draft(self, draft: Path) -> int:
        """Open a new file, in a directory that others may be removing at this moment."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        for _ in range(_ATTEMPTS - 1):
            with suppress(FileNotFoundError):
                return os.open(draft, flags, 0o600)
            self.prepare()
        return os.open(draft, flags, 0o600)

    def mend(self) -> None:
        """Publish again if our file has vanished.

        Raises:
            Unreachable: if the file cannot be written.
        """
        with self._changing:
            if self._lock is not None and not self._withdrawn and not self._file.exists():
                private_directory(self.directory)
                self.publish()

    def bereft(self) -> bool:
        """Return whether somebody (a cleaner, or the end of a login) has removed our sockets."""
        with self._changing:
            if self._lock is None or self._withdrawn or self._stand_ins:
                return False
            return not all(os.path.lexists(path) for path in self._bound())

    def restore(self) -> None:
        """Choose the directories again. Call before the sockets are bound again.

        They are others if the directory went with the last login of this user.

        Raises:
            Unreachable: if no directory can be used.
        """
        with self._changing:
            file, control = self._file, self.control
            self._settle()
            if self.control != control:
                with suppress(OSError):  # the old file names sockets that are gone
                    file.unlink()

    def hide(self) -> None:
        """Keep other processes from connecting to our sockets; existing connections stay.

        Each libzmq socket gets another name, and a socket that accepts nothing takes its place: a
        process that connects there finds us alive, and waits.
        """
        with self._changing:
            for path in self._bound() if not self._withdrawn else ():
                if path not in self._stand_ins:
                    with suppress(OSError):
                        path.rename(_hidden(path))
                        self._stand_ins[path] = None
                        self._stand_ins[path] = _stand_in(path)

    def show(self) -> None:
        """Let others connect to our sockets again; those that wait reconnect at once."""
        with self._changing:
            while self._stand_ins:
                path, stand_in = self._stand_ins.popitem()
                with suppress(OSError):
                    _hidden(path).rename(path)
                if stand_in is not None:
                    stand_in.close()  # resets the connections to it

    def _bound(self) -> list[Path]:
        """Return the paths of our sockets; none before `claim`."""
        return [self._sockets / f"{self._stem}.{kind}" for kind in "cd"] if self._claimed else []

    def ours(self, path: str) -> bool:
        """Return whether a path is a socket of this user's, and of a node of this federation.

        A path that a peer tells may be made up, or be another user's. It counts only if it lies in
        our directories, or if a living node has written it into its file there.
        """
        bound = Path(path)
        try:
            if bound.parent not in (self.directory, self._sockets):
                directories = self._directories()
                told = (self._read(place / (bound.stem + _SUFFIX)) for place in directories)
                beside = bound.parent in directories
                if not beside and f"ipc://{bound.with_suffix('.c')}" not in told:
                    return False
        except ValueError:  # it is not a valid path
            return False
        return is_socket(bound)

    def _directories(self) -> list[Path]:
        """Return the directories of this federation's nodes, our own first."""
        return list(dict.fromkeys([self.directory, *places_of(self._federation)]))

    def others(self) -> Iterator[str]:
        """Yield the control endpoints of living nodes, and remove what dead ones have left."""
        for directory in self._directories():
            for path in sorted(directory.glob("*" + _SUFFIX)):
                if path.name != self._file.name:
                    endpoint = self._read(path)
                    if endpoint:
                        yield endpoint
            for draft in directory.glob("*.new"):
                with suppress(OSError):
                    # A young draft may not be locked yet, and be renamed soon.
                    if time.time() - draft.stat().st_mtime > _DRAFT_SECONDS:
                        self._read(draft)

    def _read(self, path: Path) -> str | None:
        """Return the endpoint in a file; None if it is invalid, or stale (then it is removed)."""
        with suppress(OSError), opened(path) as fd:
            if os.fstat(fd).st_uid != os.geteuid():
                return None  # another user put it there before the directory was private
            if is_locked(fd):
                return read_file(os.read(fd, _MAX_FILE_BYTES))
            self._sweep(path, fd)
        return None

    def _sweep(self, path: Path, fd: int) -> None:
        """Remove a stale file and its sockets, if the path is still the file that we opened."""
        text = b""
        with suppress(OSError):
            text = os.read(fd, _MAX_FILE_BYTES)
            if os.stat(path, follow_symlinks=False).st_ino != os.fstat(fd).st_ino:
                return
            path.unlink()
        told = read_file(text)
        control = Path(told.removeprefix("ipc://") if told else path.with_suffix(".c"))
        if path.suffix == _SUFFIX and control.stem == path.stem:
            for bound in (control, control.with_suffix(".d")):
                for left in (bound, _hidden(bound)):
                    if is_socket(left):
                        with suppress(OSError):
                            left.unlink()

    def withdraw(self) -> None:
        """Remove our file and sockets, and the directory if it is empty; release the lock."""
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
        """Release our lock, without removing files.

        For a forked child: its copy of the lock would make the parent appear alive after its end.
        Closing the file is enough. Unlocking would be wrong: the lock belongs to the open file,
        which parent and child share.
        """
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        for stand_in in self._stand_ins.values():
            if stand_in is not None:
                stand_in.close()
        self._stand_ins.clear()


def _hidden(path: Path) -> Path:
    """Return the path of a socket while it is hidden."""
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
