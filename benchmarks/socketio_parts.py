"""The processes of `socketio_workers.py`: what each worker serves, who broadcasts, who listens.

The server is python-socketio as its documentation has it, under ``uvicorn --workers``; only
the client manager differs. Clients speak Engine.IO by hand on the `websockets` package: forty
of the framework's own would take more of the processors than all that is measured.
"""

import asyncio
import json
import os
import sys
import time
import uuid
from array import array
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import websockets

EVENT = "tick"
IDLE = 0.05
"""Seconds before a client that found its worker full tries again."""


def manager(backend: str, write_only: bool = False) -> Any:
    """Return the client manager of a backend: a federation's name, or a Redis URL."""
    if backend.startswith("redis:"):
        from socketio import AsyncRedisManager

        return AsyncRedisManager(backend, write_only=write_only)
    from zexchange.contrib.socketio import AsyncExchangeManager

    return AsyncExchangeManager(backend, write_only=write_only)


def application() -> Any:
    """Make what a worker serves. Its session ids begin with its process id."""
    import socketio

    server = socketio.AsyncServer(async_mode="asgi", client_manager=manager(os.environ["BACKEND"]))
    server.eio.generate_id = lambda: f"{os.getpid()}-{uuid.uuid4().hex}"
    return socketio.ASGIApp(server)


# ---------------------------------------------------------------------------- who broadcasts


async def broadcast(backend: str, count: int, rate: float, folder: str) -> None:
    """Emit ``count`` numbered events, ``rate`` a second; note when each began and ended.

    It ends with its input, since what it has sent may have to be sent again.
    """
    emitter = manager(backend, write_only=True)
    begun, ended = array("d"), array("d")
    since = time.monotonic()
    for n in range(count):
        early = since + n / rate - time.monotonic()
        if early > 0:
            await asyncio.sleep(early)
        begun.append(time.monotonic())
        await emitter.emit(EVENT, (n, begun[-1]))
        ended.append(time.monotonic())
    for name, moments in (("begun", begun), ("ended", ended)):
        (Path(folder) / name).write_bytes(moments.tobytes())
    print("done", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    if hasattr(emitter, "close"):
        await emitter.close()


# -------------------------------------------------------------------------------- who listens


@dataclass
class Session:
    """One connection of one client: from the answer to its CONNECT to its end.

    All moments are of the machine's monotonic clock, in seconds; ``at`` is when the last event
    came.
    """

    worker: int
    since: float
    until: float | None = None
    at: float = 0.0
    got: "array[int]" = field(default_factory=lambda: array("I"))
    delays: "array[float]" = field(default_factory=lambda: array("f"))


class Client:
    """A client that is always connected, but for the moments after its worker has died."""

    def __init__(self, url: str, places: dict[int, int], most: int) -> None:
        self.sessions: list[Session] = []
        self._url = url
        self._places = places
        self._most = most

    async def run(self) -> None:
        """Connect, listen until the worker dies, and connect again, until cancelled."""
        while True:
            try:
                async with websockets.connect(self._url, compression=None) as socket:
                    await self._visit(socket)
            except (OSError, websockets.WebSocketException):
                pass  # the worker has died, or is not there yet
            await asyncio.sleep(IDLE)

    async def _visit(self, socket: Any) -> None:
        """Stay with a worker that has a place left."""
        opened = json.loads((await socket.recv())[1:])
        worker = int(opened["sid"].partition("-")[0])
        if self._places.get(worker, 0) >= self._most:
            return
        self._places[worker] = self._places.get(worker, 0) + 1
        try:
            await self._listen(socket, worker)
        finally:
            self._places[worker] -= 1

    async def _listen(self, socket: Any, worker: int) -> None:
        await socket.send("40")
        early = []
        while not (frame := await socket.recv()).startswith("40"):
            early.append(frame)  # a worker may emit to a client that it is about to answer
        session = Session(worker, time.monotonic())
        self.sessions.append(session)
        got, delays, start = session.got.append, session.delays.append, f'42["{EVENT}",'
        try:
            for frame in early:
                if frame.startswith(start):
                    got(json.loads(frame[2:])[1])
                    delays(0.0)
            async for frame in socket:
                if frame.startswith(start):
                    now = session.at = time.monotonic()
                    _, n, begun = json.loads(frame[2:])
                    got(n)
                    delays(now - begun)
                elif frame == "2":
                    await socket.send("3")
        finally:
            session.until = time.monotonic()


if __name__ == "__main__":
    asyncio.run(broadcast(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]))
