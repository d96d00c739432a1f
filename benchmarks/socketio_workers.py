"""Socket.IO on several uvicorn workers that are killed: does every client get everything?

``python benchmarks/socketio_workers.py`` runs 4 workers and 40 clients, has 100,000 events
broadcast by a process of its own, and kills a worker every few seconds (uvicorn starts
another). Once over a federation and once over Redis, in turns, and prints a table. It needs
the extra ``socketio``, and ``pip install uvicorn websockets redis``; and ``redis-server``.
``--broadcasts 2000`` takes some seconds; ``--only federation`` leaves Redis out.

The verdict is in `socketio_verdict.py`. A worker is killed only while it keeps up: each of its
clients has been given, within the last quarter of a second, an event that took no longer than
that. So a busy machine delays kills, and does not look like a loss.
"""

import argparse
import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from socketio_parts import Client, Session
from socketio_verdict import HEADINGS, Outcome, judge, row

HERE = Path(__file__).parent
PROMPT = 0.25
"""Seconds within which, and not longer ago, events have come where a worker keeps up."""
PATIENCE = 60.0


# --------------------------------------------------------------------------- the processes


def pss(pid: int) -> float:
    """Return a process's proportional memory in MiB; 0 if it has just ended."""
    with suppress(OSError), open(f"/proc/{pid}/smaps_rollup") as lines:
        return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
    return 0.0


def family(pid: int) -> list[int]:
    """Return a process and its children."""
    with suppress(OSError), open(f"/proc/{pid}/task/{pid}/children") as children:
        return [pid, *map(int, children.read().split())]
    return [pid]


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def started(command: list[str], port: int, **environment: str) -> Iterator[int]:
    """Run a server until the end of the block; yield its process id once it answers."""
    process = subprocess.Popen(
        command,
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for(lambda: answers(port), f"{command[0]} answers")
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def wait_for(condition: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > until:
            raise SystemExit(f"not within {PATIENCE:g} s: {what}")
        time.sleep(0.05)


async def wait_async(condition: Callable[[], bool], seconds: float = PATIENCE) -> bool:
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        await asyncio.sleep(0.05)
    return condition()


@contextmanager
def carrier(kind: str) -> Iterator[tuple[str, int]]:
    """Run what a backend needs; yield what names it, and a process id or 0."""
    if kind == "federation":
        yield f"socketio-benchmark-{os.getpid()}", 0
        return
    port = free_port()
    command = ["redis-server", "--port", str(port), "--save", "", "--appendonly", "no"]
    with started(command, port) as pid:
        yield f"redis://127.0.0.1:{port}/0", pid


# ------------------------------------------------------------------------------- one round


class Round:
    """One run of one backend: its clients, and what is done to its workers."""

    def __init__(self, options: argparse.Namespace, port: int) -> None:
        self.options = options
        self.killed: dict[int, float] = {}
        self.whole: list[Session] = []
        places: dict[int, int] = {}
        url = f"ws://127.0.0.1:{port}/socket.io/?EIO=4&transport=websocket"
        most = -(-options.clients // options.workers)
        self.clients = [Client(url, places, most) for _ in range(options.clients)]

    def connected(self) -> list[Session]:
        """Return the sessions that go on."""
        last = [client.sessions[-1] for client in self.clients if client.sessions]
        return [session for session in last if session.until is None]

    def complete(self) -> bool:
        return len(self.connected()) == len(self.clients)

    async def run(self, backend: str, folder: str) -> None:
        """Have everything broadcast while workers die; return when no more comes."""
        tasks = [asyncio.create_task(client.run()) for client in self.clients]
        if not await wait_async(self.complete):
            raise SystemExit(f"{len(self.connected())} of {len(self.clients)} clients connected")
        options = self.options
        arguments = [backend, str(options.broadcasts // options.rounds), str(options.rate), folder]
        script = str(HERE / "socketio_parts.py")
        broadcaster = await asyncio.create_subprocess_exec(
            *(sys.executable, script, *arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert broadcaster.stdin is not None
        assert broadcaster.stdout is not None
        killer = asyncio.create_task(self._kill())
        try:
            if await broadcaster.stdout.readline() != b"done\n":
                raise SystemExit("the broadcaster failed")
            killer.cancel()
            await wait_async(self.complete)
            await self._settle()
            broadcaster.stdin.close()
            await broadcaster.wait()
            self.whole = self.connected()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for session in self.whole:
                session.until = None  # its end was ours, not its worker's

    def _keeps_up(self, worker: int) -> bool:
        """Return whether all clients are connected, and a worker has just served its own."""
        now = time.monotonic()
        sessions = [s for s in self.connected() if s.worker == worker]
        prompt = (s.delays and s.delays[-1] < PROMPT and now - s.at < PROMPT for s in sessions)
        return self.complete() and all(prompt)

    async def _kill(self) -> None:
        """Kill the worker that has lived longest, again and again, while it keeps up."""
        while True:
            await asyncio.sleep(self.options.every)
            if await wait_async(self.complete):
                oldest = min(self.connected(), key=lambda session: session.since).worker
                while not self._keeps_up(oldest):
                    await asyncio.sleep(0.01)
                self.killed[oldest] = time.monotonic()
                os.kill(oldest, signal.SIGKILL)
                await wait_async(lambda: not self.complete())

    async def _settle(self) -> None:
        """Wait until nothing has come for some seconds."""
        count, at = -1, time.monotonic()
        while time.monotonic() - at < 3.0:
            now = sum(len(s.got) for c in self.clients for s in c.sessions)
            if now != count:
                count, at = now, time.monotonic()
            await asyncio.sleep(0.1)


def play(kind: str, options: argparse.Namespace, outcome: Outcome) -> None:
    """Run one round of one backend, and judge it."""
    port = free_port()
    command = [
        *(sys.executable, "-m", "uvicorn", "--factory", "socketio_parts:application"),
        *("--workers", str(options.workers), "--port", str(port), "--log-level", "error"),
    ]
    with carrier(kind) as (backend, server), tempfile.TemporaryDirectory() as folder:
        path = os.pathsep.join([str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")])
        with started(command, port, BACKEND=backend, PYTHONPATH=path) as pid:
            this = Round(options, port)
            asyncio.run(this.run(backend, folder))
            members = [*family(pid), *([server] if server else [])]
            outcome.memory.append(sum(map(pss, members)))
        begun, ended = array("d"), array("d")
        for name, moments in (("begun", begun), ("ended", ended)):
            moments.frombytes((Path(folder) / name).read_bytes())
    outcome.kills += len(this.killed)
    outcome.processes = f"{options.workers} workers" + (" and redis-server" if server else "")
    for client in this.clients:
        for session in client.sessions:
            judge(outcome, session, begun, ended, this.killed)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--clients", type=int, default=40)
    parser.add_argument("--broadcasts", type=int, default=100_000, help="of each backend")
    parser.add_argument("--rate", type=float, default=300.0, help="broadcasts a second")
    parser.add_argument("--every", type=float, default=8.0, help="seconds between two kills")
    parser.add_argument("--rounds", type=int, default=2, help="in which the backends take turns")
    parser.add_argument("--only", choices=("federation", "Redis"))
    parser.add_argument("--json", action="store_true", help="instead of a table")
    options = parser.parse_args()
    kinds = [options.only] if options.only else ["federation", "Redis"]
    if "Redis" in kinds and not shutil.which("redis-server"):
        raise SystemExit("redis-server is not installed: install it, or say --only federation")
    outcomes = {kind: Outcome() for kind in kinds}
    for _ in range(options.rounds):
        for kind in kinds:
            play(kind, options, outcomes[kind])
    if options.json:
        print(
            json.dumps(
                {
                    kind: dict(zip(HEADINGS, row(kind, outcomes[kind]), strict=True))
                    for kind in kinds
                }
            )
        )
    else:
        for line in (HEADINGS, ["---"] * len(HEADINGS), *(row(k, outcomes[k]) for k in kinds)):
            print("|", " | ".join(line), "|")
    ours = outcomes.get("federation", Outcome())
    return int(ours.expected != ours.delivered or ours.repeated + ours.disordered > 0)


if __name__ == "__main__":
    sys.exit(main())
