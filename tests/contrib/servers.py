"""Real servers with several workers, and a Socket.IO client of a few lines for them."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.support import PATIENCE, ROOT, eventually, free_ports


@contextmanager
def served(folder: Path, module: str, *command: str) -> Iterator[int]:
    """Run ``python -m MODULE ... --port`` in a folder, and yield its port once it answers.

    In ``command``, PORT stands for the port.
    """
    port = free_ports()[0]
    words = [word.replace("PORT", str(port)) for word in command]
    screen = folder / f"{module}.txt"
    with screen.open("wb") as printed:
        server = subprocess.Popen(
            [sys.executable, "-m", module, *words],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(folder)])},
            stdout=printed,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        eventually(lambda: answers(port) or server.poll() is not None)
        assert server.poll() is None, screen.read_text()
        yield port
    finally:
        server.terminate()
        try:
            server.wait(10)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)
            server.wait()
    complaints = [line for line in screen.read_text().splitlines() if "Traceback" in line]
    assert not complaints, screen.read_text()


def uvicorn(folder: Path, app: str, workers: int) -> Any:
    """Serve an application by uvicorn."""
    words = (app, "--workers", str(workers), "--port", "PORT", "--log-level", "error")
    return served(folder, "uvicorn", *words)


def answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def spread(connect: Callable[[], Any], place: Callable[[Any], object], workers: int) -> list[Any]:
    """Connect until there is a client on each of so many workers; return one a worker."""
    found: dict[object, Any] = {}
    deadline = time.monotonic() + PATIENCE
    while len(found) < workers:
        assert time.monotonic() < deadline, f"all clients came to {len(found)} workers"
        try:
            client = connect()
        except OSError:
            continue
        if found.setdefault(place(client), client) is not client:
            client.close()
    return list(found.values())


class Client:
    """A Socket.IO client over one WebSocket; it answers every question with its ``name``."""

    def __init__(self, port: int, name: str = "") -> None:
        from websockets.sync.client import connect

        self.name = name
        self.sid = ""
        self.events: list[Any] = []
        self.closed = False
        self._acknowledged: dict[int, Any] = {}
        self._stack = ExitStack()
        url = f"ws://127.0.0.1:{port}/socket.io/?EIO=4&transport=websocket"
        connection = connect(url, open_timeout=PATIENCE, compression=None)
        self._socket = self._stack.enter_context(connection)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self._socket.send("40")
        self.until(lambda: self.sid)

    def _read(self) -> None:
        for frame in self._socket:
            self._take(str(frame))
        self.closed = True

    def _take(self, frame: str) -> None:
        """Do what the protocol says with one frame: Engine.IO's digit, Socket.IO's, a number."""
        kind, rest = frame[:2], frame[2:]
        digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
        if kind == "2":
            self._socket.send("3")
        elif kind == "40":
            self.sid = json.loads(rest)["sid"]
        elif kind == "41":
            self.closed = True
        elif kind == "42":
            self.events.append(json.loads(rest[len(digits) :]))
            if digits:
                self._socket.send(f"43{digits}{json.dumps([self.name])}")
        elif kind == "43":
            self._acknowledged[int(digits)] = json.loads(rest[len(digits) :])

    def emit(self, event: str, *args: object) -> None:
        self._socket.send("42" + json.dumps([event, *args]))

    def call(self, event: str, *args: object) -> Any:
        """Emit, and return what the server's handler returned."""
        number = len(self._acknowledged)
        self._socket.send(f"42{number}" + json.dumps([event, *args]))
        self.until(lambda: number in self._acknowledged)
        answer = self._acknowledged[number]
        return answer[0] if answer else None

    def until(self, condition: Callable[[], object]) -> None:
        """Wait for a condition; fail if it takes too long, or once disconnected."""
        eventually(lambda: condition() or self.closed)
        assert condition(), f"{self.name!r} was disconnected: {self.events}"

    def expect(self, *event: object) -> None:
        """Wait for an event of this name and these arguments."""
        self.until(lambda: list(event) in self.events)

    def close(self) -> None:
        self._stack.close()
        self._reader.join()
