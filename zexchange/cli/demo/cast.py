"""The demo's processes as its conductor sees them: started, stopped, killed, never left over.

Each holds the far end of a pipe that ends with this process, however it ends. What they
do is their own business: it must not know exchanges.
"""

import json
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Any

PART = "zexchange.cli.demo.parts"
GRACE = 2.0
"""Seconds in which a process may end by itself once its pipe is closed."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a process said at its end.

    Attributes:
        origin: its node id.
        sent: by exchange, how many messages left it.
        received: by (exchange, origin), how many came.
    """

    origin: str
    sent: dict[str, int]
    received: dict[tuple[str, str], int]


class Part:
    """One process of the demo."""

    def __init__(self, label: str, process: "subprocess.Popen[bytes]") -> None:
        self.label = label
        self.killed = self.stopped = False
        self._process = process

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether it has ended, in whichever way."""
        return self._process.poll() is not None

    def stop(self) -> None:
        """Ask it to finish and to report."""
        self.stopped = True
        self._tell(b"stop\n")

    def kill(self) -> None:
        """Kill it without warning."""
        self.killed = True
        self._process.kill()
        self._process.wait()

    def report(self) -> Report | None:
        """Return what it said once it has ended, or None if it ended any other way."""
        if self._process.wait() != 0 or self._process.stdout is None:
            return None
        said: dict[str, Any] = json.loads(self._process.stdout.read())
        received = {(name, origin): count for name, origin, count in said["received"]}
        return Report(said["origin"], said["sent"], received)

    def close(self) -> None:
        """See to it that it has ended."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(GRACE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _tell(self, word: bytes) -> None:
        try:
            if self._process.stdin is not None:
                self._process.stdin.write(word)
        except BrokenPipeError:
            pass  # it has died, which its report will show


@dataclass(slots=True)
class Cast:
    """All processes of one demo."""

    federation: str
    errors: IO[bytes]
    parts: list[Part] = field(default_factory=list[Part])

    def start(self, role: str, label: str, *what: str) -> Part:
        """Start a process in a part; what it complains of goes to ``errors``."""
        process = subprocess.Popen(
            [sys.executable, "-m", PART, role, self.federation, label, *what],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            bufsize=0,
            # Away from the terminal's Ctrl-C: it answers to this process, not to keys.
            process_group=0,
        )
        part = Part(label, process)
        self.parts.append(part)
        return part


@contextmanager
def cast(federation: str, errors: IO[bytes]) -> Generator[Cast, None, None]:
    """Have processes inside a ``with`` block; at its end there are none."""
    company = Cast(federation, errors)
    try:
        yield company
    finally:
        for part in company.parts:
            part.close()
