"""The processes that carry out workloads for one contestant, as their conductor sees them.

A group stays up for all workloads of its shape and from round to round. Each process hears
of its conductor's end by the end of its input, however that comes about.
"""

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO, Any

from .contestants import CONTESTANTS
from .servers import Servers, free_ports
from .values import Shape, Size

PATIENCE = 180.0
MEETING = 30.0
"""Seconds in which processes find each other, or do not at all."""
MANY = tuple(f"many.{n}" for n in range(100))


@dataclass(frozen=True, slots=True)
class Member:
    """The messages that a process hears: from whom, which topics, and below which first levels."""

    hears: tuple[int, ...] = ()
    topics: tuple[str, ...] = ()
    below: tuple[str, ...] = ()
    starts: bool = True


def members(shape: Shape, size: Size) -> list[Member]:
    """Return who there is in a group of a shape."""
    others = tuple(range(1, size.fan + 1))
    asks = Member((1,), ("answer",))
    hears = ("x", "ask", "bulk", "large", "array", "structs")
    return {
        "alone": [Member(starts=False)],
        "pair": [asks, Member((0,), (*hears, *MANY))],
        "fresh": [Member(), Member((0,), ("x",))],
        "fan-out": [Member(), *(Member((0,), ("x",)) for _ in others)],
        "fan-in": [Member(others, ("x",)), *(Member() for _ in others)],
        "names": [Member(), Member((0,), (), ("n",))],
        "crowd": [asks, Member((0,), ("x", "ask"))],
        "join": [Member(starts=False)] * size.nodes,
        "wide": [Member(), *(Member((0,), ("x",)) for _ in range(size.crowd))],
        "memory": [Member(starts=False)] * (min(size.crowd, 16) + 1),
    }[shape]


class GroupError(Exception):
    """A process did not do its part; the text says what it said."""


class Process:
    """One process of a group."""

    def __init__(self, contestant: str, seat: dict[str, Any], errors: IO[bytes]) -> None:
        self._errors = errors
        self._buffer = b""
        config = json.dumps({"contestant": contestant, "seat": seat})
        # The same package as here, wherever it lies, and whatever lies where this is run.
        path = os.pathsep.join(filter(None, (os.path.abspath(p) for p in sys.path)))
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "benchmarks.compare.worker", config],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            process_group=0,
            env={**os.environ, "PYTHONPATH": path},
        )

    def tell(self, name: str, **arguments: Any) -> None:
        """Ask for something whose answer is read later."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps([name, arguments]).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise GroupError(self._said()) from None

    def answer(self) -> Any:
        """Return the next answer.

        Raises:
            GroupError: it is an error, the process has ended, or it takes too long.
        """
        answer = json.loads(self._line()) or {"answer": None}
        if "error" in answer:
            raise GroupError(answer["error"])
        return answer["answer"]

    def ask(self, name: str, **arguments: Any) -> Any:
        """Ask, and return the answer."""
        self.tell(name, **arguments)
        return self.answer()

    def _line(self) -> bytes:
        assert self._process.stdout is not None
        fd = self._process.stdout.fileno()
        deadline = time.monotonic() + PATIENCE
        while b"\n" not in self._buffer:
            ready = select.select([fd], [], [], max(0.0, deadline - time.monotonic()))[0]
            chunk = os.read(fd, 65536) if ready else b""
            if not chunk:
                raise GroupError(self._said() if ready else f"no answer within {PATIENCE:g} s")
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _said(self) -> str:
        status = self._process.wait(10)
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").split("\n")
        return f"a process ended with status {status}: {' | '.join(filter(None, lines[-4:]))}"

    def end(self) -> None:
        """Let it end by itself."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            try:
                self._process.stdin.close()
            except BrokenPipeError:
                pass

    def close(self) -> None:
        """See to it that it has ended."""
        self.end()
        try:
            self._process.wait(3)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


class Group:
    """A contestant's processes in one shape."""

    def __init__(self, contestant: str, shape: Shape, size: Size, servers: Servers) -> None:
        self.contestant = contestant
        self.shape = shape
        self.size = size
        self.counts: dict[str, int] = {}
        self.rounds = 0
        kind = CONTESTANTS[contestant]
        self.members = members(shape, size)
        if kind.crowded:  # one of its peers is there already
            self.members += [Member()] * (size.crowd - 1)
        self._probes = 0
        self._held = ExitStack()
        errors: IO[bytes] = TemporaryFile()  # noqa: SIM115 - held as long as this is
        self._errors = self._held.enter_context(errors)
        seat = {
            "folder": self._held.enter_context(TemporaryDirectory(prefix="zxb-")),
            "ports": free_ports(len(self.members)) if contestant.startswith("zenoh") else (),
            "server": servers.address(kind.server, contestant),
        }
        self.processes: list[Process] = []
        try:
            self._start(seat)
        except BaseException:
            self.close()
            raise

    def _start(self, seat: dict[str, Any]) -> None:
        for index, member in enumerate(self.members):
            own = {**seat, "index": index, "hears": member.hears}
            self.processes.append(Process(self.contestant, own, self._errors))
        for process in self.processes:
            process.answer()
        wanted = CONTESTANTS[self.contestant].topics
        for member, process in zip(self.members, self.processes, strict=True):
            topics = [t for t in member.topics if wanted is None or t in wanted]
            if member.starts:
                process.tell("hear", topics=topics, below=member.below)
        for member, process in zip(self.members, self.processes, strict=True):
            if member.starts:
                process.answer()

    def hearers(self, topic: str) -> list[int]:
        """Return who hears a topic."""
        level = topic.partition(".")[0]
        return [
            n
            for n, member in enumerate(self.members)
            if topic in member.topics or level in member.below
        ]

    def senders(self, topic: str) -> list[int]:
        """Return whom they hear it from."""
        return sorted({index for n in self.hearers(topic) for index in self.members[n].hears})

    def ask_all(self, indices: Sequence[int], name: str, **arguments: Any) -> list[Any]:
        """Ask several for the same at the same time."""
        for index in indices:
            self.processes[index].tell(name, **arguments)
        return [self.processes[index].answer() for index in indices]

    def meet(self, topics: Sequence[str]) -> None:
        """Send probes until every hearer has had the last one of every sender and topic.

        Then everybody is connected, and nothing else is on its way.

        Raises:
            GroupError: that takes too long.
        """
        hearers, senders = self.hearers(topics[0]), self.senders(topics[0])
        expected = {f"{topic} {sender}" for topic in topics for sender in senders}
        self.ask_all(hearers, "listen")
        deadline = time.monotonic() + MEETING
        while time.monotonic() < deadline:
            self._probes += 1
            every = dict.fromkeys(expected, self._probes)
            self.ask_all(senders, "probe", topics=topics, number=self._probes)
            patient = time.monotonic() + 0.3
            while time.monotonic() < patient:
                if all(heard == every for heard in self.ask_all(hearers, "probes")):
                    return
                time.sleep(0.005)
        raise GroupError("its processes do not hear each other")

    def close(self) -> None:
        """End all processes."""
        for process in self.processes:
            process.end()
        for process in self.processes:
            process.close()
        self._held.close()
