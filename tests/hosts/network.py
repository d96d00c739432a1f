"""Separate hosts: network namespaces on one switch, each with what a host has of its own.

Only root on Linux may make them; whoever may not gets a reason to skip. A host has an
address of each family, a name that no other has, a rendezvous directory, and an
``/etc/hosts`` for names that stand for whatever a test likes. All of it is gone at the
end, also after a failure.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest

from tests.faults.places import attempt, run

_serial = count()
SHELL = ("sh", "-c")
CONTROL = 7400
"""The first port that programs of these tests listen on."""


@dataclass(slots=True)
class Host:
    """A network namespace that is connected to the switch by an interface ``eth0``."""

    namespace: str
    number: int
    folder: Path
    net: int = 92
    names: dict[str, list[str]] = field(default_factory=dict)

    @property
    def address(self) -> str:
        return f"10.{self.net}.0.{self.number}"

    @property
    def address6(self) -> str:
        return f"fd00:{self.net}::{self.number}"

    @property
    def inside(self) -> list[str]:
        """What has to stand before a command to run it there."""
        named = f'echo host{self.number} > /proc/sys/kernel/hostname; exec "$@"'
        own = ["env", f"ZEXCHANGE_DIR={self.folder}"]
        return [
            "ip",
            "netns",
            "exec",
            self.namespace,
            "unshare",
            "--uts",
            *SHELL,
            named,
            "sh",
            *own,
        ]

    def endpoint(self, port: int = CONTROL) -> str:
        return f"tcp://{self.address}:{port}"

    def ip(self, *command: str) -> None:
        run("ip", "-n", self.namespace, *command)

    def link(self, state: str) -> None:
        """Take the link ``down`` or ``up``."""
        self.ip("link", "set", "eth0", state)
        if state == "up":
            self._routes()

    def _routes(self) -> None:
        # An interface that goes down loses its routes, and what it has of IPv6.
        self.ip("route", "replace", "224.0.0.0/4", "dev", "eth0")
        self.ip("-6", "address", "replace", f"{self.address6}/64", "dev", "eth0", "nodad")

    def plug(self) -> None:
        """Give the interface its addresses and take it up."""
        self.ip("link", "set", "lo", "up")
        self.ip("address", "add", f"{self.address}/24", "dev", "eth0")
        self.link("up")
        # A rule that drops what comes in has to stand before the one for local addresses.
        self.ip("rule", "add", "pref", "100", "lookup", "local")
        self.ip("rule", "del", "pref", "0")

    def move(self, number: int) -> None:
        """Change the address, as after a new lease."""
        self.ip("address", "del", f"{self.address}/24", "dev", "eth0")
        self.ip("-6", "address", "del", f"{self.address6}/64", "dev", "eth0")
        self.number = number
        self.ip("address", "add", f"{self.address}/24", "dev", "eth0")
        self._routes()

    def shut(self, first: int, last: int | None = None, silently: bool = True) -> None:
        """Let nobody in at some ports: packets are dropped, or refused as no host."""
        verdict = "blackhole" if silently else "unreachable"
        ports = f"{first}-{last or first}"
        match = ["iif", "eth0", "ipproto", "tcp", "dport", ports]
        self.ip("rule", "add", "pref", "10", *match, verdict)

    def no_route(self, other: "Host") -> None:
        """Have no way to another host."""
        self.ip("route", "add", "unreachable", f"{other.address}/32")

    def open(self) -> None:
        """Let everybody in again."""
        with suppress(subprocess.CalledProcessError):
            while True:
                self.ip("rule", "del", "pref", "10")

    def name(self, name: str, *addresses: str) -> None:
        """Have a name stand for addresses here, from now on."""
        self.names[name] = list(addresses)
        lines = [f"{a} {name}" for name, found in self.names.items() for a in found]
        # In place: the file is mounted where programs look for it.
        path = Path("/etc/netns", self.namespace, "hosts")
        path.write_text("127.0.0.1 localhost\n" + "".join(line + "\n" for line in lines))


@contextmanager
def hosts(n: int, net: int = 92) -> Iterator[list[Host]]:
    """Make hosts on one switch, with nothing else between them."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("network namespaces need Linux and root")
    stem = f"zx{os.getpid()}-{next(_serial)}"
    with ExitStack() as undo:
        folder = Path(tempfile.mkdtemp(prefix="zxh-", dir="/tmp"))
        undo.callback(shutil.rmtree, folder, ignore_errors=True)
        _namespace(f"{stem}s", undo)
        attempt("ip", "-n", f"{stem}s", "link", "add", "switch", "type", "bridge")
        run("ip", "-n", f"{stem}s", "link", "set", "switch", "up")
        made = [Host(f"{stem}h{k}", k, folder / str(k), net) for k in range(1, n + 1)]
        for host in made:
            _make(host, f"{stem}s", undo)
        yield made


def _namespace(name: str, undo: ExitStack) -> None:
    attempt("ip", "netns", "add", name)
    undo.callback(_remove, name)


def _remove(name: str) -> None:
    with suppress(FileNotFoundError, subprocess.CalledProcessError):
        run("ip", "netns", "delete", name)
    shutil.rmtree(Path("/etc/netns", name), ignore_errors=True)
    with suppress(OSError):
        Path("/etc/netns").rmdir()


def _make(host: Host, switch: str, undo: ExitStack) -> None:
    host.folder.mkdir()
    _namespace(host.namespace, undo)
    Path("/etc/netns", host.namespace).mkdir(parents=True)
    host.name("zexchange-host", host.address)
    port = f"port{host.number}"
    peer = ["peer", "name", port, "netns", switch]
    attempt("ip", "link", "add", "eth0", "netns", host.namespace, "type", "veth", *peer)
    run("ip", "-n", switch, "link", "set", port, "master", "switch", "up")
    host.plug()
