"""The abilities of every contestant: hear topics, send on one, and the work between them.

One object of a contestant is one process's end. Its process uses it, and measures, in the same way
for all. A contestant whose client is asyncio's has its own way to send many (`flood`, `first`) and
to wait for an answer (`ping`), inside its loop.
"""

import queue
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import Any, ClassVar, get_args

from ..values import Measure

Send = Callable[[Any], None]
OURS = frozenset({"memory", "join", "codec", "local"})
"""What is measured of ourselves alone."""
ASKING = frozenset({"request"})
"""What only those can do that have requests of their own."""
REQUESTS = "requests"
"""What is asked on."""


@dataclass(frozen=True, slots=True)
class Seat:
    """Where a process sits.

    Attributes:
        index: its number in its group.
        hears: the numbers of those that it hears.
        folder: a folder of the group's own, for sockets.
        ports: a free port for each number.
        server: where the peer's server is, if it has one.
    """

    index: int
    hears: tuple[int, ...]
    folder: Path
    ports: tuple[int, ...]
    server: str


class Ear:
    """A task: it counts, and past its goal hands every message to its listener.

    The same for every contestant, and as cheap as a task that does anything.
    """

    __slots__ = ("count", "goal", "more")

    def __init__(self) -> None:
        self.count = 0
        self.goal = 0
        self.more: Send = _ignore

    def send(self, msg: Any) -> None:
        """Take a message."""
        self.count += 1
        if self.count >= self.goal:
            self.more(msg)


def _ignore(msg: Any) -> None:
    pass


class Contestant:
    """One process's end of one contestant."""

    name: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ()
    remedy: ClassVar[str] = ""
    server: ClassVar[str] = ""
    crowded: ClassVar[bool] = False
    quiet: ClassVar[float] = 0.5
    """Seconds without a message after which what is missing is lost."""
    topics: ClassVar[frozenset[str] | None] = None
    measures: ClassVar[frozenset[str]] = frozenset(get_args(Measure)) - OURS - ASKING

    def __init__(self, seat: Seat) -> None:
        self.seat = seat

    @classmethod
    def missing(cls) -> bool:
        """Whether something that it needs is not installed."""
        programs = [cls.server] if cls.server else []
        return not all(map(find_spec, cls.needs)) or not all(map(which, programs))

    def hear(self, ears: dict[str, Ear], below: dict[str, Ear]) -> None:
        """Have what is sent on topics given to ears, from now on, and be able to send.

        Args:
            ears: by topic.
            below: by the first level of the topics' names.
        """
        raise NotImplementedError

    def sender(self, topic: str) -> Send:
        """Return what sends on a topic. Each is used by one thread at a time."""
        raise NotImplementedError

    def probe(self, topic: str, said: list[Any]) -> None:
        """Send what the benchmark says to itself: a list whose first item is "probe"."""
        self.sender(topic)(said)

    def said(self, msg: Any) -> Any:
        """Return what a message says, if it is of `probe`."""
        return msg

    def flush(self) -> None:
        """Let go of what waits to be sent together with more."""

    def flood(self, topics: Sequence[str], make: Callable[[int], Any], count: int) -> float:
        """Send ``count`` messages on topics in turn; return when the first was."""
        sends = [self.sender(topic) for topic in topics]
        start = time.monotonic()
        if len(sends) == 1:
            send = sends[0]
            for n in range(count):
                send(make(n))
        else:
            for n in range(count):
                sends[n % len(sends)](make(n))
        self.flush()
        return start

    def first(self, topics: Sequence[str], make: Callable[[int], Any]) -> float:
        """Send the first message on each of many topics; return when that began."""
        start, sender = time.monotonic(), self.sender
        for n, topic in enumerate(topics):
            sender(topic)(make(n))
        self.flush()
        return start

    def ping(self, answers: Ear, count: int) -> list[float]:
        """Send, and wait for the answer, on a thread that is not the receiving one."""
        send, arrived = self.sender("ask"), queue.SimpleQueue[Any]()
        answers.goal, answers.more = 0, arrived.put
        taken: list[float] = []
        for n in range(count):
            start = time.perf_counter()
            send(n)
            self.flush()
            arrived.get(timeout=10)
            taken.append(time.perf_counter() - start)
        return taken

    def respond(self) -> None:
        """Answer each request with the question."""
        raise NotImplementedError

    def request(self, count: int) -> list[float]:
        """Make requests, one after the other."""
        raise NotImplementedError

    def close(self) -> None:
        """End everything."""
