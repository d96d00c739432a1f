"""Places that only root can make: network namespaces with a cable, and a tiny disk.

Whoever may not make them gets a reason to skip. All of them are gone at the end.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

_serial = count()


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=30)


def attempt(*command: str) -> None:
    """Run a command that has to work, or skip the test with what it says."""
    try:
        run(*command)
    except FileNotFoundError:
        pytest.skip(f"needs {command[0]}")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"not allowed: {' '.join(command)}: {error.stderr.decode().strip()}")


@dataclass(frozen=True, slots=True)
class Island:
    """One end of a cable: a network namespace of its own."""

    namespace: str
    address: str

    @property
    def inside(self) -> list[str]:
        """What has to stand before a command to run it there."""
        return ["ip", "netns", "exec", self.namespace]

    def link(self, state: str) -> None:
        """Take the link ``down`` or ``up`` at this end."""
        run("ip", "-n", self.namespace, "link", "set", "cable", state)


@contextmanager
def islands() -> Iterator[tuple[Island, Island]]:
    """Make two namespaces that are joined by a cable, with nothing else between them."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("network namespaces need Linux and root")
    name = f"zx{os.getpid()}-{next(_serial)}"
    ends = Island(f"{name}a", "10.91.0.1"), Island(f"{name}b", "10.91.0.2")
    try:
        for end in ends:
            attempt("ip", "netns", "add", end.namespace)
        peer = ["peer", "name", "cable", "netns", ends[1].namespace]
        attempt("ip", "link", "add", "cable", "netns", ends[0].namespace, "type", "veth", *peer)
        for end in ends:
            run("ip", "-n", end.namespace, "address", "add", f"{end.address}/24", "dev", "cable")
            run("ip", "-n", end.namespace, "link", "set", "lo", "up")
            end.link("up")
        yield ends
    finally:
        for end in ends:
            with suppress(FileNotFoundError, subprocess.CalledProcessError):
                run("ip", "netns", "delete", end.namespace)


@dataclass(frozen=True, slots=True)
class Disk:
    """A file system of a few pages, mounted at ``path``."""

    path: Path

    def fill(self, with_bytes: bool = True, with_files: bool = True) -> None:
        """Leave no byte free, or no file, or neither."""
        (self.path / "filled").mkdir(exist_ok=True)
        if with_bytes:
            with suppress(OSError), (self.path / "filled" / "bytes").open("ab", 0) as file:
                while file.write(b"x" * 512):
                    pass
        if with_files:
            with suppress(OSError):
                for number in range(100_000):
                    (self.path / "filled" / str(number)).touch()

    def empty(self) -> None:
        """Make room again."""
        for path in (self.path / "filled").iterdir():
            path.unlink()


@contextmanager
def disk(path: Path, size: int, files: int) -> Iterator[Disk]:
    """Mount a tiny file system at a folder."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("mounting needs Linux and root")
    options = f"size={size},nr_inodes={files},mode=700"
    attempt("mount", "-t", "tmpfs", "-o", options, "zxchange-faults", str(path))
    try:
        yield Disk(path)
    finally:
        run("umount", "-l", str(path))
