"""What tests share: waiting on conditions, and real processes that are talked to by lines."""

import fcntl
import importlib.util
import os
import random
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import cycle
from pathlib import Path
from tempfile import gettempdir
from types import TracebackType
from typing import Any

ROOT = Path(__file__).parent.parent
PATIENCE = 30.0
"""Seconds, of a quiet machine, after which a condition that should hold is taken to fail."""
MOST_SLOWNESS = 10.0
CORES = os.cpu_count() or 1


EXAMPLES = {"again": 0.05, "suite": 0.15, "slow": 10.0, "nightly": 50.0}
"""Times as many examples, by profile; *again* is for interpreters beside the suite's own."""
PROFILE = os.environ.get("HYPOTHESIS_PROFILE") or "suite"


def examples(usual: int = 100) -> int:
    """Return how many examples a property is tried with, by ``$HYPOTHESIS_PROFILE``.

    A profile of somebody's own has as many as the suite.
    """
    return max(1, int(usual * EXAMPLES.get(PROFILE, EXAMPLES["suite"])))


def slowness() -> float:
    """Return how many times longer something may take here, now, than on a quiet machine.

    The threads that could run share the cores; how many they are is asked of this moment and
    of the last minute, in which others may have made late what is waited for.
    """
    minute, _, _, running, _ = Path("/proc/loadavg").read_text().split()
    threads = max(float(minute), float(running.partition("/")[0]))
    return min(max(threads / CORES, 1.0), MOST_SLOWNESS)


def patience(seconds: float = PATIENCE) -> float:
    """Return what so many seconds of a quiet machine are here, for a wait that takes a number."""
    return seconds * slowness()


def be_patient() -> Callable[[], None]:
    """Have a node's waits that are given no time have as much as they may take here, now.

    Returns:
        What undoes it.
    """
    from zexchange.net.node.node import AsyncNode, Node

    names = ("wait_peers", "wait_ready", "wait_subscribers", "flush")
    waits = [getattr(owner, name) for owner in (Node, AsyncNode) for name in names]
    before = [wait.__defaults__ for wait in waits]
    for wait in waits:
        wait.__defaults__ = (*wait.__defaults__[:-1], patience(10.0))

    def undo() -> None:
        for wait, defaults in zip(waits, before, strict=True):
            wait.__defaults__ = defaults

    return undo


class Deadline:
    """The end of some seconds, which pass more slowly the busier the machine is.

    It counts looks, each for no more than a second: of the time in which this process, or all
    of them, did not run at all, nothing could have been expected.
    """

    def __init__(self, seconds: float = PATIENCE) -> None:
        self._left = seconds
        self._looked = time.monotonic()

    @property
    def over(self) -> bool:
        """Whether the time is up."""
        passed = time.monotonic() - self._looked
        if passed > 0.1:
            self._left -= min(passed, 1.0) / slowness()
            self._looked += passed
        return self._left <= 0


def eventually(condition: Callable[[], Any], timeout: float = PATIENCE) -> Any:
    """Return the condition's value once it is true; fail if that takes too long.

    Args:
        condition: looked at every few milliseconds.
        timeout: in seconds of a quiet machine, see `Deadline`.
    """
    deadline = Deadline(timeout)
    while not (value := condition()):
        if deadline.over:
            raise AssertionError(f"not within {timeout:g} s: {condition}")
        time.sleep(0.002)
    return value


def free_ports() -> tuple[int, int]:
    """Return two ports in a row that are free, below those that connections are given."""
    for port in _own_ports:
        with socket.socket() as one, socket.socket() as two, suppress(OSError):
            one.bind(("127.0.0.1", port))
            two.bind(("127.0.0.1", port + 1))
            return port, port + 1
    raise AssertionError("more runs at once than there are ports for")


def _ports() -> Iterator[int]:
    """Yield, over and over, ports of a range that no other run of the tests takes from."""
    firsts = list(range(15_000, 32_000, 500))
    random.SystemRandom().shuffle(firsts)
    for first in firsts:
        taken = open(Path(gettempdir()) / f"zexchange-test-ports-{first}", "w")  # noqa: SIM115
        try:
            fcntl.flock(taken, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            taken.close()
            continue
        yield from cycle(range(first, first + 500, 2))  # the lock ends with this process


_own_ports = _ports()


def there(need: str) -> bool:
    """Return whether a module or a command is installed."""
    return shutil.which(need) is not None or importlib.util.find_spec(need) is not None


def tcp(port: int) -> str:
    return f"tcp://127.0.0.1:{port}"


def unmeasured(tree: Path = ROOT) -> dict[str, str]:
    """Return the environment of a process that runs what is in a tree, without coverage.

    To start it costs as much as half of the package does. Measured are the tests themselves and
    the commands and servers that they start; all others run the same code as these.
    """
    kept = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE_PROCESS")}
    return {**kept, "PYTHONPATH": str(tree)}


class Program:
    """A Python program in a process of its own, which prints lines and is sent lines.

    Where ``$ZEXCHANGE_ASKING`` is set, a logging handler asks for everything there, as it does in
    the tests themselves; not if ``asked`` is false. It runs what is in ``tree``.
    """

    def __init__(
        self,
        source: str,
        *args: object,
        dev: bool = False,
        asked: bool = True,
        tree: Path = ROOT,
    ) -> None:
        # Each line in one write: with ``-u``, a child's line may come before the end of ours.
        preamble = (
            "import sys; sys.path.insert(0, 'tests'); from support import *\n"
            "import functools; print = functools.partial(print, flush=True)\n"
        )
        if asked and tree == ROOT and os.environ.get("ZEXCHANGE_ASKING"):
            preamble += "from tests import asking; asking.install()\n"
        if tree == ROOT and "federate(" in source:
            preamble += "be_patient()\n"
        command = [sys.executable, *(["-X", "dev"] if dev else [])]
        self.process = subprocess.Popen(
            [*command, "-c", preamble + source, *map(str, args)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=tree,
            env=unmeasured(tree),
        )
        self._buffer = b""

    @property
    def pid(self) -> int:
        return self.process.pid

    def line(self, timeout: float = PATIENCE) -> str:
        """Return the next line that the program prints; fail if it ends or takes too long."""
        assert self.process.stdout is not None
        fd = self.process.stdout.fileno()
        deadline = Deadline(timeout)
        while b"\n" not in self._buffer:
            if not select.select([fd], [], [], 0.2)[0]:
                assert not deadline.over, f"no line within {timeout:g} s"
                continue
            chunk = os.read(fd, 65536)
            assert chunk, f"the program ended with status {self.process.wait()}"
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.decode()

    def expect(self, line: str, timeout: float = PATIENCE) -> None:
        got = self.line(timeout)
        assert got == line, f"expected {line!r}, got {got!r}"

    def say(self, line: str = "go") -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def kill(self, number: int = signal.SIGKILL) -> None:
        self.process.send_signal(number)

    def end(self, timeout: float = PATIENCE) -> int:
        """Close the program's input and return its exit status."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(patience(timeout))

    def __enter__(self) -> "Program":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, t: TracebackType | None
    ) -> None:
        self.finish(kind is not None)

    def finish(self, failed: bool) -> None:
        """See the process end, by force after a failure, and close its pipes."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        if failed:
            self.process.kill()
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(patience())
        finally:
            self.process.kill()
            self.process.stdout.close()


@contextmanager
def programs(source: str, arguments: list[tuple[object, ...]]) -> Iterator[list[Program]]:
    """Run one source with several arguments at the same moment."""
    started = [Program(source, *args) for args in arguments]
    failed = True
    try:
        yield started
        failed = False
    finally:
        for program in started:
            program.finish(failed)
