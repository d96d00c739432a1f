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
from typing import Any, TypeVar

from tests.support import ROOT, Deadline, eventually, free_ports, patience

L = TypeVar("L", bound="Listener")


@contextmanager
def served(folder: Path, module: str, *command: str, port: int = 0) -> Iterator[int]:
    """Run ``python -m MODULE ... --port`` in a folder, and yield its port once it answers.

    In ``command``, PORT stands for the port: a free one, if none is given.
    """
    port = port or free_ports()[0]
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
            server.wait(patience())
        finally:
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)
            server.wait()
    complaints = [line for line in screen.read_text().splitlines() if "Traceback" in line]
    assert not complaints, screen.read_text()


def uvicorn(folder: Path, program: str, workers: int) -> Any:
    """Serve the ``app`` of a program by uvicorn, with the worker stamped on each WebSocket."""
    (folder / "program.py").write_text(program, encoding="utf-8")
    (folder / "stamped.py").write_text(STAMPED.format(module="program"), encoding="utf-8")
    words = ("stamped:app", "--workers", str(workers), "--port", "PORT", "--log-level", "error")
    return served(folder, "uvicorn", *words)


def answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@contextmanager
def spread(
    connect: Callable[[], L], workers: int, place: Callable[[L], object] = lambda c: c.worker
) -> Iterator[list[L]]:
    """Connect until there is a client on each of so many workers; yield one a worker."""
    found: dict[object, L] = {}
    deadline = Deadline()
    with ExitStack() as stack:
        while len(found) < workers:
            assert not deadline.over, f"all clients came to {len(found)} workers"
            client = connect()
            stack.callback(client.close)
            found.setdefault(place(client), client)
        yield list(found.values())


STAMPED = """
import os
from {module} import app as inner

async def app(scope, receive, send):
    async def stamp(message):
        if message["type"] == "websocket.accept":
            header = (b"x-worker", str(os.getpid()).encode())
            message = {{**message, "headers": [*message.get("headers", ()), header]}}
        await send(message)
    await inner(scope, receive, stamp)
"""
"""An application that says to each WebSocket which worker it has come to."""


class Listener:
    """A WebSocket that collects what comes; ``worker`` is the process it has come to."""

    def __init__(self, port: int, path: str = "/", headers: dict[str, str] | None = None) -> None:
        from websockets.sync.client import connect

        self.got: list[str] = []
        self.closed = False
        self._stack = ExitStack()
        address = f"ws://127.0.0.1:{port}{path}"
        connection = connect(address, compression=None, additional_headers=headers)
        self.socket = self._stack.enter_context(connection)
        assert self.socket.response is not None
        self.worker = self.socket.response.headers.get("x-worker")
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        from websockets.exceptions import ConnectionClosed

        with suppress(ConnectionClosed):
            for frame in self.socket:
                self.take(frame if isinstance(frame, str) else frame.decode())
        self.closed = True

    def take(self, frame: str) -> None:
        """Keep what came."""
        self.got.append(frame)

    def until(self, condition: Callable[[], object]) -> None:
        """Wait for a condition; fail if it takes too long, or once disconnected."""
        deadline = Deadline()
        while not condition():
            assert not self.closed, f"disconnected after {self.got}"
            assert not deadline.over, f"this has come: {self.got}"
            time.sleep(0.002)

    def close(self) -> None:
        self._stack.close()
        self._reader.join()


class Client(Listener):
    """A Socket.IO client; it answers every question with its ``name``."""

    def __init__(self, port: int, name: str = "") -> None:
        self.name = name
        self.sid = ""
        self.events: list[Any] = []
        self._acknowledged: dict[int, Any] = {}
        super().__init__(port, "/socket.io/?EIO=4&transport=websocket")
        self.socket.send("40")
        self.until(lambda: self.sid)

    def take(self, frame: str) -> None:
        """Do what the protocol says: a digit of Engine.IO, one of Socket.IO, a number."""
        kind, rest = frame[:2], frame[2:]
        digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
        if kind == "2":
            self.socket.send("3")
        elif kind == "40":
            self.sid = json.loads(rest)["sid"]
        elif kind == "41":
            self.closed = True
        elif kind == "42":
            self.events.append(json.loads(rest[len(digits) :]))
            if digits:
                self.socket.send(f"43{digits}{json.dumps([self.name])}")
        elif kind == "43":
            self._acknowledged[int(digits)] = json.loads(rest[len(digits) :])

    def emit(self, event: str, *args: object) -> None:
        self.socket.send("42" + json.dumps([event, *args]))

    def call(self, event: str, *args: object) -> Any:
        """Emit, and return what the server's handler returned."""
        number = len(self._acknowledged)
        self.socket.send(f"42{number}" + json.dumps([event, *args]))
        self.until(lambda: number in self._acknowledged)
        answer = self._acknowledged[number]
        return answer[0] if answer else None

    def expect(self, *event: object) -> None:
        """Wait for an event of this name and these arguments."""
        self.until(lambda: list(event) in self.events)
