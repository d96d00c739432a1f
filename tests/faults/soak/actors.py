"""The processes of a soak, as its bench sees them: what they tell is read as it comes.

A process that is stopped tells nothing, and nobody waits for it meanwhile.
"""

import json
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.faults.roles import LONG
from tests.support import ROOT, unmeasured

Teller = Callable[[float, str, dict[str, Any]], None]


class Actor:
    """One process, and what it has told.

    Attributes:
        options: that it was started with; a successor has the same, but for the seed.
        sums: what its books come to, as it told last.
        ended: it was killed.
    """

    def __init__(self, role: str, options: dict[str, Any], folder: Path, tell: Teller) -> None:
        self.role, self.options, self._folder, self._tell = role, options, folder, tell
        self.label: str = options["label"]
        self.name = f"{self.label}.{options['life']}"
        self.sums: dict[str, int] = {}
        self.id, self.ended = "", False
        self._answers: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self._ready = threading.Event()
        told = {**options, "log": str(folder / f"{self.name}.log")}
        with (folder / f"{self.name}.stderr").open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-u", "-m", "tests.faults.soak.roles", role, json.dumps(told)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=ROOT,
                env=unmeasured(),
            )
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.endswith(b"\n"):
                self._take(json.loads(line))

    def _take(self, told: dict[str, Any]) -> None:
        at = told.pop("at")
        if "sums" in told:
            self.sums = told["sums"]
        elif "answer" in told:
            self._answers.put((told["answer"], told["value"]))
        elif "ready" in told:
            self.id = told["ready"]
            self._ready.set()
            self._tell(at, self.name, {"id": self.id})
        else:
            self._tell(at, self.name, told)

    def ready(self) -> None:
        """Wait until it has joined."""
        assert self._ready.wait(LONG), f"{self.name} does not come up: {self.errors()}"

    def tell(self, what: str, value: Any = None) -> None:
        """Tell it something that it answers."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({what: value}).encode() + b"\n")
        self.process.stdin.flush()

    def answer(self, what: str) -> Any:
        """Return what it answers to what it was told."""
        try:
            answered, value = self._answers.get(timeout=2 * LONG)
        except queue.Empty:
            raise AssertionError(f"{self.name} does not answer {what}: {self.errors()}") from None
        assert answered == what, (answered, what)
        return value

    def errors(self) -> str:
        """Return what it has written to stderr."""
        return (self._folder / f"{self.name}.stderr").read_text(errors="replace")[-2000:]

    def die(self) -> None:
        """Kill it, and see it gone."""
        self.process.kill()
        self.process.wait()
        self._listener.join(LONG)
        self.ended = True

    def follow(self, seed: int) -> "Actor":
        """Start its successor, at the same ports."""
        life = self.options["life"] + 1
        options = {**self.options, "life": life, "seed": seed}
        return Actor(self.role, options, self._folder, self._tell)

    def stop(self, stopped: bool) -> None:
        """Stop it, or have it go on."""
        self.process.send_signal(signal.SIGSTOP if stopped else signal.SIGCONT)

    def close(self, by_force: bool) -> int:
        """See it end, and return its exit status."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        if by_force:
            self.process.kill()
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass
        try:
            status = self.process.wait(LONG)
        finally:
            self.process.kill()
            self.process.wait()
            self._listener.join(5)
            self.process.stdout.close()
        return status


class Timeline:
    """What has happened, in the order of time, for whoever has to find out why."""

    def __init__(self) -> None:
        self.begun = time.monotonic()
        self._rows: list[tuple[float, str, dict[str, Any]]] = []
        self._lock = threading.Lock()

    def tell(self, at: float, who: str, what: dict[str, Any]) -> None:
        """Note something. Any thread."""
        with self._lock:
            self._rows.append((at, who, what))

    def note(self, text: str) -> None:
        """Note what the bench does."""
        self.tell(time.monotonic(), "bench", {"does": text})

    def rows(self) -> list[tuple[float, str, dict[str, Any]]]:
        """Return everything, by time."""
        with self._lock:
            return sorted(self._rows, key=lambda row: row[0])

    def lines(self) -> list[str]:
        """Return everything as text, with seconds from the start."""
        return [
            f"{at - self.begun:8.3f}  {who:<10} " + " ".join(f"{k}={v}" for k, v in what.items())
            for at, who, what in self.rows()
        ]
