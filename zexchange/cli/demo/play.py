"""The plot of the demo: who appears when, who is killed, and the count at the end.

Each act waits for what it is about, not for a clock alone, so that a slow machine sees
the same play, later. It must not know how anything is shown.
"""

import queue
import time
from collections.abc import Callable
from typing import Any, Protocol

from zexchange import Delivery, Lost, Node, PeerJoined, PeerLeft, Stream, to_queue

from .board import Board, Tally, tally
from .cast import Cast, Part, Report

SCREEN = "screen"
ALONE, TOGETHER, BEREFT = 3.0, 1.5, 3.0
"""Seconds of the three acts: two sensors; a third; without the first."""
PATIENCE = 20.0
"""Seconds after which something that should happen has failed to."""
FRAME = 0.1


class DemoError(Exception):
    """A process did not do its part."""


class Watcher(Protocol):
    """What the play is shown on."""

    def say(self, text: str) -> None:
        """Tell the audience what happens."""

    def frame(self) -> None:
        """Show what is known now; called about ten times a second."""


class Play:
    """One performance."""

    def __init__(
        self,
        node: Node,
        stream: Stream[Delivery | Lost],
        board: Board,
        cast: Cast,
        watcher: Watcher,
    ) -> None:
        self._node = node
        self._stream = stream
        self._board = board
        self._cast = cast
        self._watcher = watcher
        self._news: queue.Queue[Any] = queue.Queue()
        node.events.attach(to_queue(self._news))

    def run(self) -> list[Tally]:
        """Perform, and count.

        Raises:
            DemoError: a process did not do its part.
        """
        say, start = self._watcher.say, self._cast.start
        analyst = start("analyst", "analyst")
        first = start("sensor", "sensor-1", "cpu", "memory")
        second = start("sensor", "sensor-2", "network")
        say("two sensors and an analyst start")
        self._until_flowing(analyst, first, second)
        self._watch(ALONE)
        third = start("sensor", "sensor-3", "cpu", "memory")
        say("a third sensor starts, on the exchanges of the first")
        self._until_flowing(third)
        self._watch(TOGETHER)
        first.kill()
        say("sensor-1 is killed without warning (SIGKILL)")
        self._until(lambda: first.label in self._board.missed(), first)
        self._watch(BEREFT)
        say("the sensors stop, then the analyst; everybody counts")
        self._stop([second, third])
        self._stop([analyst])
        return self._count()

    def _watch(self, seconds: float) -> None:
        """Let it flow for a while."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._look()

    def _until_flowing(self, *parts: Part) -> None:
        self._until(lambda: all(self._board.flows(part.label) for part in parts), *parts)

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
        while (left := end - time.monotonic()) > 0:
            try:
                item = self._stream.get(left)
            except TimeoutError:
                break
            if isinstance(item, Delivery) and item.origin:
                self._board.take(item.name, item.origin, item.msg, time.monotonic())
        self._take_news()
        self._watcher.frame()
        for part in self._cast.parts:
            if part.ended and not part.killed and not part.stopped:
                raise DemoError(f"{part.label} has ended, and nobody asked it to")

    def _take_news(self) -> None:
        while not self._news.empty():
            event = self._news.get_nowait()
            if isinstance(event, PeerJoined):
                self._board.labels[event.peer] = event.label.name
            elif isinstance(event, PeerLeft) and event.reason != "bye":
                self._board.gone[event.peer] = event.reason
                self._watcher.say(f"{event.label.name} is reported to have left: {event.reason}")

    def _stop(self, parts: list[Part]) -> None:
        for part in parts:
            part.stop()
        self._until(lambda: all(part.ended for part in parts), *parts)

    def _count(self) -> list[Tally]:
        """Compare what everybody says."""
        reports = {part.label: self._report(part) for part in self._cast.parts}
        senders = {
            origin: (label, report.sent if (report := reports.get(label)) else None)
            for origin, label in self._board.labels.items()
        }
        ours = self._node.stats().received
        receivers = {label: report.received for label, report in reports.items() if report}
        receivers[SCREEN] = {key: came.received for key, came in ours.items()}
        return tally(senders, receivers, {key: came.lost for key, came in ours.items()})

    def _report(self, part: Part) -> Report | None:
        """Return what a part said at its end, None if it was killed.

        Raises:
            DemoError: it was not killed and said nothing.
        """
        report = part.report()
        if report is None and not part.killed:
            raise DemoError(f"{part.label} ended without its counts")
        return report
