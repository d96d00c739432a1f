"""The servers that peers need: started on free ports or sockets, and stopped at the end."""

import ctypes
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

PATIENCE = 20.0
PR_SET_PDEATHSIG = 1
"""From <linux/prctl.h>."""


class Servers:
    """Starts each server when it is first asked for; a context manager that stops them.

    Each contestant has its own: two at one server would pay for what is sent to the other.
    """

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._addresses: dict[tuple[str, str], str] = {}
        self._makers: dict[str, Callable[[Path], str]] = {
            "nats-server": self._nats,
            "redis-server": self._redis,
        }

    def address(self, program: str, whose: str) -> str:
        """Return where the server of a contestant is; the empty name is no server."""
        if program and (program, whose) not in self._addresses:
            folder = self._stack.enter_context(TemporaryDirectory(prefix="zxb-"))
            self._addresses[program, whose] = self._makers[program](Path(folder))
        return self._addresses.get((program, whose), "")

    def _nats(self, folder: Path) -> str:
        (port,) = free_ports(1)
        config = folder / "nats.conf"
        # For 8 MiB messages, and what a full-speed sender is ahead of its subscribers.
        config.write_text("max_payload: 64MB\nmax_pending: 1GB\nwrite_deadline: '60s'\n")
        self._run("nats-server", "-c", str(config), "-a", "127.0.0.1", "-p", str(port))
        _until(lambda: _answers(port), "nats-server")
        return f"nats://127.0.0.1:{port}"

    def _redis(self, folder: Path) -> str:
        path = folder / "redis.sock"
        # No limit to what waits for a subscriber, which else is thrown out.
        limit = ("--client-output-buffer-limit", "pubsub 0 0 0")
        quiet = ("--save", "", "--appendonly", "no", "--dir", str(folder))
        self._run("redis-server", "--port", "0", "--unixsocket", str(path), *quiet, *limit)
        _until(path.exists, "redis-server")
        return str(path)

    def _run(self, *command: str) -> None:
        nowhere = subprocess.DEVNULL
        process = subprocess.Popen(
            command, stdout=nowhere, stderr=nowhere, process_group=0, preexec_fn=_ends_with_us
        )
        self._stack.callback(_end, process)

    def __enter__(self) -> "Servers":
        return self

    def __exit__(self, *reason: object) -> None:
        self._stack.close()


def free_ports(count: int) -> tuple[int, ...]:
    """Return ports of loopback that are free just now."""
    with ExitStack() as stack:
        taken = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in taken:
            one.bind(("127.0.0.1", 0))
        return tuple(int(one.getsockname()[1]) for one in taken)


def _ends_with_us() -> None:
    """In the child: be terminated when the benchmark is gone, however it went."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _answers(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def _until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not start within {PATIENCE:g} s")
        time.sleep(0.01)


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
