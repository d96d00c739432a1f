"""Commands as real processes, in a rendezvous directory of their own, so that tests never meet."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import patience

ROOT = Path(__file__).parents[2]
DEADLINE = 60.0


class Shell:
    """Starts commands and ends what is left of them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("ZEXCHANGE_")},
            "ZEXCHANGE_DIR": str(directory),
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        }
        self._started: list[subprocess.Popen[bytes]] = []

    def start(self, *arguments: str, **options: Any) -> "subprocess.Popen[bytes]":
        """Start a command; its streams are pipes unless told otherwise."""
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen(
            [sys.executable, "-m", "zexchange.cli", *arguments],
            env=self.environment,
            # As in a terminal, whatever the test runner was started with.
            preexec_fn=_usual_signals,
            **{**pipes, **options},
        )
        self._started.append(process)
        return process

    def run(self, *arguments: str, text: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
        """Run a command to its end and return what it said."""
        process = self.start(*arguments, stdin=subprocess.PIPE)
        out, err = process.communicate(text, patience(DEADLINE))
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def finish(self, process: "subprocess.Popen[bytes]") -> tuple[int, bytes, bytes]:
        """Wait for a command's end: its exit status, output, and complaints."""
        out, err = process.communicate(timeout=patience(DEADLINE))
        return process.returncode, out, err

    def close(self) -> None:
        """Kill what still runs."""
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()


@pytest.fixture
def shell(rendezvous: Path) -> Iterator[Shell]:
    shell = Shell(rendezvous)
    yield shell
    shell.close()


def _usual_signals() -> None:
    """In a child about to become a command: nothing is ignored that was for the test runner."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
