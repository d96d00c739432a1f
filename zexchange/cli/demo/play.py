"""The course of the demo: which process starts when, which is killed, and the final count.

Each step waits until its effect is seen, and not only for a time, so a slow machine shows the same
steps later. Standard input of each process is a pipe from this process. It is closed however this
process ends, and then the other processes end as well. This module does not know how anything is
shown.
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
"""Seconds of the three phases: two sensors; with a third; without the first."""
PATIENCE = 20.0
"""Seconds to wait for an expected event before the demo has failed."""
GRACE = 2.0
"""Seconds that a process has to end by itself after its pipe is closed."""
FRAME = 0.1
"""Seconds between two frames of the display."""


class DemoError(Exception):
    """A process did not do its part."""


class Play:
    """One run of the demo; `close` ends all of its processes.

    Args:
        node: a node of the federation.
        stream: gives all messages of the federation.
        board: collects the messages.
        display: shows the board.
        errors: a file for the standard error of the processes.
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
        """The labels of the processes that were killed, or told to stop."""
        self._news: queue.Queue[Any] = queue.Queue()
        node.events.attach(to_queue(self._news))

    def run(self) -> list[Tally]:
        """Run the demo to its end, and return the final count.

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
        """End every process by closing its pipe; kill it after `GRACE` seconds."""
        for process in self._parts.values():
            try:
                process.communicate(timeout=GRACE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()

    def _start(self, role: str, label: str, *what: str) -> None:
        """Start a process in a role of `parts`."""
        self._parts[label] = subprocess.Popen(
            [sys.executable, "-m", PARTS, role, self._node.name, label, *what],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            bufsize=0,
            # In a process group of its own, which Ctrl-C in the terminal does not reach.
            process_group=0,
        )

    def _watch(self, seconds: float) -> None:
        """Receive and show messages for some seconds."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._look()

    def _until_flowing(self, *labels: str) -> None:
        self._until(lambda: all(map(self._board.flows, labels)), *labels)

    def _stop(self, *labels: str) -> None:
        """Tell processes to stop and print their counts, and wait until they have ended."""
        for label in labels:
            self._over.add(label)
            with suppress(BrokenPipeError):  # the process has died, which the count will show
                stdin = self._parts[label].stdin
                assert stdin is not None
                stdin.write(b"stop\n")
        self._until(lambda: all(map(self._ended, labels)), *labels)

    def _ended(self, label: str) -> bool:
        return self._parts[label].poll() is not None

    def _until(self, condition: Callable[[], bool], *labels: str) -> None:
        """Receive and show messages until a condition holds.

        Raises:
            DemoError: it did not hold in time, or a process has ended without being told to.
        """
        end = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() >= end:
                raise DemoError(f"{', '.join(labels)} took more than {PATIENCE:g} s")
            self._look()

    def _look(self) -> None:
        """Receive messages and events until the next frame is due, and show it.

        Raises:
            DemoError: a process has ended without being told to.
        """
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
        """Compare the counts of all processes.

        Raises:
            DemoError: a process that was not killed has printed no counts.
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
