"""The plot of the demo: who appears when, who is killed, and the count at the end.

Each act waits for what it is about, not for a clock alone, so that a slow machine sees
the same play, later. Each process holds the far end of a pipe that ends with this one, however
it ends. It must not know how anything is shown.
"""

import json
import queue
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any

from zexchange import Delivery, Lost, Node, PeerJoined, PeerLeft, Stream, to_queue

from .board import Board, Tally, tally
from .display import Display

SCREEN = "screen"
PARTS = "zexchange.cli.demo.parts"
ALONE, TOGETHER, BEREFT = 3.0, 1.5, 3.0
"""Seconds of the three acts: two sensors; a third; without the first."""
PATIENCE = 20.0
"""Seconds after which something that should happen has failed to."""
GRACE = 2.0
"""Seconds in which a process may end by itself once its pipe is closed."""
FRAME = 0.1


class DemoError(Exception):
    """A process did not do its part."""


@dataclass(slots=True)
class Part:
    """One process of the demo."""

    label: str
    process: "subprocess.Popen[bytes]"
    stdin: IO[bytes]
    stdout: IO[bytes]
    over: bool = False
    """Whether it was killed, or asked to finish."""

    def stop(self) -> None:
        """Ask it to finish and to report."""
        self.over = True
        with suppress(BrokenPipeError):  # it has died, which its report will show
            self.stdin.write(b"stop\n")

    def kill(self) -> None:
        """Kill it without warning."""
        self.over = True
        self.process.kill()
        self.process.wait()

    @property
    def ended(self) -> bool:
        """Whether it has ended, in whichever way."""
        return self.process.poll() is not None

    def close(self) -> None:
        """See to it that it has ended."""
        self.stdin.close()
        self.stdout.close()
        try:
            self.process.wait(GRACE)
        except subprocess.TimeoutExpired:
            self.kill()


class Play:
    """One performance; `close` sees to it that no process is left of it.

    Args:
        node: one that is in the federation.
        stream: all that flows there.
        board: to note on what comes.
        display: to show it on.
        errors: where what the processes complain of goes.
    """

    def __init__(
        self,
        node: Node,
        stream: Stream[Delivery | Lost],
        board: Board,
        display: Display,
        errors: IO[bytes],
    ) -> None:
        self._node = node
        self._stream = stream
        self._board = board
        self._display = display
        self._errors = errors
        self._parts: list[Part] = []
        self._news: queue.Queue[Any] = queue.Queue()
        node.events.attach(to_queue(self._news))

    def run(self) -> list[Tally]:
        """Perform, and count.

        Raises:
            DemoError: a process did not do its part.
        """
        say, board = self._display.say, self._board
        analyst = self._start("analyst", "analyst")
        first = self._start("sensor", "sensor-1", "cpu", "memory")
        second = self._start("sensor", "sensor-2", "network")
        say("two sensors and an analyst start")
        self._until_flowing(analyst, first, second)
        self._watch(ALONE)
        third = self._start("sensor", "sensor-3", "cpu", "memory")
        say("a third sensor starts, on the exchanges of the first")
        self._until_flowing(third)
        self._watch(TOGETHER)
        first.kill()
        say("sensor-1 is killed without warning (SIGKILL)")
        self._until(lambda: first.label in map(board.label, board.gone), first)
        self._watch(BEREFT)
        say("the sensors stop, then the analyst; everybody counts")
        self._stop(second, third)
        self._stop(analyst)
        return self._count(killed=first)

    def close(self) -> None:
        """End every process."""
        for part in self._parts:
            part.close()

    def _start(self, role: str, label: str, *what: str) -> Part:
        """Start a process in a part."""
        process = subprocess.Popen(
            [sys.executable, "-m", PARTS, role, self._node.name, label, *what],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            bufsize=0,
            # Away from the terminal's Ctrl-C: it answers to this process, not to keys.
            process_group=0,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        part = Part(label, process, process.stdin, process.stdout)
        self._parts.append(part)
        return part

    def _watch(self, seconds: float) -> None:
        """Let it flow for a while."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._look()

    def _until_flowing(self, *parts: Part) -> None:
        self._until(lambda: all(self._board.flows(part.label) for part in parts), *parts)

    def _stop(self, *parts: Part) -> None:
        for part in parts:
            part.stop()
        self._until(lambda: all(part.ended for part in parts), *parts)

    def _until(self, condition: Callable[[], bool], *parts: Part) -> None:
        """Let it flow until a condition holds.

        Raises:
            DemoError: it did not hold in time, or a part has ended unasked.
        """
        end = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() >= end:
                names = ", ".join(part.label for part in parts)
                raise DemoError(f"{names} took more than {PATIENCE:g} s")
            self._look()

    def _look(self) -> None:
        """Take in what comes until the next frame is due, and show it."""
        end = time.monotonic() + FRAME
        with suppress(TimeoutError):
            while (left := end - time.monotonic()) > 0:
                item = self._stream.get(left)
                if isinstance(item, Delivery) and item.origin:
                    self._board.take(item.name, item.origin, item.msg, time.monotonic())
        while not self._news.empty():
            event = self._news.get_nowait()
            if isinstance(event, PeerJoined):
                self._board.labels[event.peer] = event.label.name
            elif isinstance(event, PeerLeft) and event.reason != "bye":
                self._board.gone.add(event.peer)
                self._display.say(f"{event.label.name} is reported to have left: {event.reason}")
        self._display.frame()
        for part in self._parts:
            if part.ended and not part.over:
                raise DemoError(f"{part.label} has ended, and nobody asked it to")

    def _count(self, killed: Part) -> list[Tally]:
        """Compare what everybody says.

        Raises:
            DemoError: a process said nothing at its end, and was not killed.
        """
        ours = self._node.stats().received
        receivers = {SCREEN: {key: came.received for key, came in ours.items()}}
        sent: dict[str, dict[str, int]] = {}
        for part in self._parts:
            if part.process.returncode == 0:
                said: dict[str, Any] = json.loads(part.stdout.read())
                sent[part.label] = said["sent"]
                receivers[part.label] = {
                    (n, origin): count for n, origin, count in said["received"]
                }
            elif part is not killed:
                raise DemoError(f"{part.label} ended without its counts")
        senders = {origin: (label, sent.get(label)) for origin, label in self._board.labels.items()}
        return tally(senders, receivers, {key: came.lost for key, came in ours.items()})
