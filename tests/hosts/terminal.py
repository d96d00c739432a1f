"""A terminal from which hosts are reached: commands are typed here as a page shows them.

Hosts have the names that the page gives them, and a home folder each. `ssh` and `scp` are
scripts that enter the network namespace, and copy between the homes.
"""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.support import PATIENCE, ROOT, eventually

from .network import Host, hosts

SSH = """#!/bin/sh
host=$1; shift
cd "$HOMES/$host" && exec "$HOMES/bin/enter-$host" sh -c "$*"
"""
SCP = """#!/bin/sh
place() { case "$1" in *:*) echo "$HOMES/${1%%:*}/${1#*:}" ;; *) echo "$1" ;; esac; }
for last; do :; done
while [ $# -gt 1 ]; do cp "$(place "$1")" "$(place "$last")" || exit 1; shift; done
"""


@dataclass(frozen=True)
class Running:
    """A command that was started, and the files that have what it says."""

    process: "subprocess.Popen[bytes]"
    out: Path
    err: Path

    def prints(self, text: str) -> None:
        """Wait until its output has a text."""
        self._shows(self.out, text)

    def complains(self, text: str) -> None:
        """Wait until it has said a text on standard error."""
        self._shows(self.err, text)

    def _shows(self, file: Path, text: str) -> None:
        try:
            eventually(lambda: text in file.read_text())
        except AssertionError:
            raise AssertionError(
                f"{text!r} is not in\n{self.out.read_text()}\n{self.err.read_text()}"
            ) from None


class Terminal:
    """Types commands; each has what it prints in files."""

    def __init__(self, folder: Path, named: dict[str, Host]) -> None:
        self._folder = folder
        self._running: list[Running] = []
        self._receive_context = folder / "desk"
        for made in ("bin", "said", "desk", *named):
            (folder / made).mkdir()
        self._script("ssh", SSH)
        self._script("scp", SCP)
        python = f'exec {shlex.quote(sys.executable)} -m zexchange.cli "$@"\n'
        self._script("zexchange", "#!/bin/sh\n" + python)
        for name, host in named.items():
            self._script(f"enter-{name}", f'#!/bin/sh\nexec {shlex.join(host.inside)} "$@"\n')
            for other, there in named.items():
                host.name(other, there.address)

    def _script(self, name: str, text: str) -> None:
        path = self._folder / "bin" / name
        path.write_text(text)
        path.chmod(0o755)

    @property
    def _environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("ZEXCHANGE_")}
        path = f"{self._folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
        return {**kept, "PATH": path, "HOMES": str(self._folder), "PYTHONPATH": str(ROOT)}

    def start(self, line: str) -> Running:
        """Type a command and do not wait for its end."""
        number = len(self._running)
        out, err = (self._folder / "said" / f"{number}.{stream}" for stream in ("out", "err"))
        with out.open("wb") as to, err.open("wb") as complaints:
            process = subprocess.Popen(
                ["sh", "-c", line],
                stdin=subprocess.DEVNULL,
                stdout=to,
                stderr=complaints,
                cwd=self._receive_context,
                env=self._environment,
                start_new_session=True,
            )
        running = Running(process, out, err)
        self._running.append(running)
        return running

    def type(self, line: str) -> None:
        """Type a command and see it end well."""
        running = self.start(line)
        status = running.process.wait(PATIENCE)
        assert status == 0, f"{line}: {running.err.read_text()}"

    def on(self, host: str, line: str) -> str:
        """Return what is typed here to have a line typed on a host."""
        return f"ssh {host} {shlex.quote(line)}"

    def close(self) -> None:
        """End whatever still runs."""
        for running in self._running:
            with suppress(ProcessLookupError):
                os.killpg(running.process.pid, signal.SIGKILL)
            running.process.wait(PATIENCE)


@contextmanager
def terminal(folder: Path, *names: str) -> Iterator[Terminal]:
    """Make hosts of some names and a terminal that reaches them all."""
    with hosts(len(names)) as made:
        there = Terminal(folder, dict(zip(names, made, strict=True)))
        try:
            yield there
        finally:
            there.close()
