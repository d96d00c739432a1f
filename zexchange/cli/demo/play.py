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
from typing import IO, Any

from zexchange import Delivery, Lost, Node, PeerJoined, PeerLeft, Stream, to_queue

from .board import Board, Tally, tally
from .display import Display

SCREEN, KILLED = "screen", "sensor-1"
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
        self._parts: dict[str, subprocess.Popen[bytes]] = {}
        """The processes, by label."""
        self._over: set[str] = set()
        """Which were killed, or told to finish."""
        self._news: queue.Queue[Any] = queue.Queue()
        node.events.attach(to_queue(self._news))

    def run(self) -> list[Tally]:
        """Perform, and count.

        Raises:
            DemoError: a process did not do its part.
        """
        say, board = self._display.say, self._board
        self._start("analyst", "analyst")
        self._start("sensor", KILLED, "cpu", "memory")
        self._start("sensor", "sensor-2", "network")
        say("two sensors and an analyst start")
        self._until_flowing("analyst", KILLED, "sensor-2")
        self._watch(ALONE)
        self._start("sensor", "sensor-3", "cpu", "memory")
        say("a third sensor starts, on the exchanges of the first")
        self._until_flowing("sensor-3")
        self._watch(TOGETHER)
        self._over.add(KILLED)
        self._parts[KILLED].kill()
        say(f"{KILLED} is killed without warning (SIGKILL)")
        self._until(lambda: KILLED in map(board.label, board.gone), KILLED)
        self._watch(BEREFT)
        say("the sensors stop, then the analyst; everybody counts")
        self._stop("sensor-2", "sensor-3")
        self._stop("analyst")
        return self._count()

    def close(self) -> None:
        """End every process: the end of its pipe tells it to."""
        for process in self._parts.values():
            try:
                process.communicate(timeout=GRACE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()

    def _start(self, role: str, label: str, *what: str) -> None:
        """Start a process in a part."""
        self._parts[label] = subprocess.Popen(
            [sys.executable, "-m", PARTS, role, self._node.name, label, *what],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            bufsize=0,
            # Away from the terminal's Ctrl-C: it answers to this process, not to keys.
            process_group=0,
        )

    def _watch(self, seconds: float) -> None:
        """Let it flow for a while."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._look()

    def _until_flowing(self, *labels: str) -> None:
        self._until(lambda: all(map(self._board.flows, labels)), *labels)

    def _stop(self, *labels: str) -> None:
        """Have processes finish, and say what they have counted."""
        for label in labels:
            self._over.add(label)
            with suppress(BrokenPipeError):  # it has died, which the count will show
                stdin = self._parts[label].stdin
                assert stdin is not None
                stdin.write(b"stop\n")
        self._until(lambda: all(map(self._ended, labels)), *labels)

    def _ended(self, label: str) -> bool:
        return self._parts[label].poll() is not None

    def _until(self, condition: Callable[[], bool], *labels: str) -> None:
        """Let it flow until a condition holds.

        Raises:
            DemoError: it did not hold in time, or a process has ended unasked.
        """
        end = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() >= end:
                raise DemoError(f"{', '.join(labels)} took more than {PATIENCE:g} s")
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
        for label in self._parts:
            if label not in self._over and self._ended(label):
                raise DemoError(f"{label} has ended, and nobody asked it to")

    def _count(self) -> list[Tally]:
        """Compare what everybody says.

        Raises:
            DemoError: a process said nothing at its end, and was not killed.
        """
        ours = self._node.stats().received
        receivers = {SCREEN: {key: came.received for key, came in ours.items()}}
        sent: dict[str, dict[str, int]] = {}
        for label, process in self._parts.items():
            if process.returncode == 0:
                sent[label], received = json.loads(process.communicate()[0])
                receivers[label] = {(name, origin): n for name, origin, n in received}
            elif label != KILLED:
                raise DemoError(f"{label} ended without its counts")
        senders = {origin: (label, sent.get(label)) for origin, label in self._board.labels.items()}
        return tally(senders, receivers, {key: came.lost for key, came in ours.items()})
