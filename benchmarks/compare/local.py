"""Sends inside one process: the naive recipe, and the libraries that do such things.

All live in one process and take turns of some milliseconds, so that what disturbs one
disturbs all: the ratios of interest are near one.
"""

import gc
import statistics
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

TURN = 0.002
Send = Callable[[Any], Any]


class Task:
    """The cheapest task there is."""

    def send(self, msg: Any) -> None:
        """Do nothing."""


class Naive:
    """The plain recipe: a set, and a loop."""

    def __init__(self) -> None:
        self._subscribers: set[Task] = set()

    def attach(self, task: Task) -> None:
        """Add a task."""
        self._subscribers.add(task)

    def send(self, msg: Any) -> None:
        """Hand over to each."""
        for subscriber in self._subscribers:
            subscriber.send(msg)


def naive(tasks: list[Task]) -> Send:
    """A set, and a loop."""
    exchange = Naive()
    for task in tasks:
        exchange.attach(task)
    return exchange.send


def ours(tasks: list[Task]) -> Send:
    """A registry of its own: nothing else is attached there."""
    from zexchange import Registry

    exchange: Any = Registry().get("x")
    for task in tasks:
        exchange.attach(task)
    send: Send = exchange.send
    return send


def with_blinker(tasks: list[Task]) -> Send:
    """A signal; its receivers are given the sender, here the message."""
    from blinker import Signal

    signal = Signal()
    for task in tasks:
        signal.connect(task.send)
    send: Send = signal.send
    return send


def with_pyee(tasks: list[Task]) -> Send:
    """An emitter."""
    from pyee import EventEmitter

    emitter = EventEmitter()
    for task in tasks:
        emitter.on("x", task.send)
    return lambda msg: emitter.emit("x", msg)


def with_psygnal(tasks: list[Task]) -> Send:
    """A signal instance that does not look at signatures."""
    from psygnal import SignalInstance

    signal = SignalInstance((object,), check_nargs_on_connect=False)
    for task in tasks:
        signal.connect(task.send, check_nargs=False, unique=False)
    send: Send = signal.emit
    return send


MAKERS: dict[str, tuple[str, Callable[[list[Task]], Send]]] = {
    "zexchange": ("zexchange", ours),
    "naive recipe": ("zexchange", naive),
    "blinker": ("blinker", with_blinker),
    "pyee": ("pyee", with_pyee),
    "psygnal": ("psygnal", with_psygnal),
}
"""By name: the package that is needed, and what makes the sending function."""


def missing() -> dict[str, str]:
    """Return the peers that are not installed, with the command that would change that."""
    return {
        name: f"pip install {package}"
        for name, (package, _) in MAKERS.items()
        if find_spec(package) is None
    }


class Local:
    """Keeps what was made, from round to round."""

    def __init__(self) -> None:
        self._made: dict[tuple[int, bool], dict[str, Send]] = {}
        self._tasks: list[Any] = []

    def measure(self, tasks: int, bridged: bool, seconds: float) -> dict[str, float]:
        """Return the nanoseconds of a send, by name: medians of turns taken in turn."""
        sends = self._made.setdefault((tasks, bridged), {}) or self._make(tasks, bridged)
        turns = max(1, int(seconds / TURN))
        counts = {name: self._in_a_turn(send) for name, send in sends.items()}
        taken: dict[str, list[float]] = {name: [] for name in sends}
        gc.disable()
        try:
            for turn in range(turns):
                for name, send in sorted(sends.items(), reverse=bool(turn % 2)):
                    taken[name].append(timed(send, counts[name]) / counts[name] * 1e9)
        finally:
            gc.enable()
        return {name: statistics.median(times) for name, times in taken.items()}

    def _make(self, tasks: int, bridged: bool) -> dict[str, Send]:
        made = self._made[tasks, bridged]
        absent = missing()
        for name, (_, make) in MAKERS.items():
            if name in absent or (bridged and name not in ("zexchange", "naive recipe")):
                continue
            attached = [Task() for _ in range(tasks)]
            self._tasks.append(attached)  # some of them refer to tasks weakly
            made[name] = _federated(attached) if bridged and name == "zexchange" else make(attached)
        return made

    @staticmethod
    def _in_a_turn(send: Send) -> int:
        timed(send, 100)
        return max(20, int(100 * TURN / timed(send, 100)))


def _federated(tasks: list[Task]) -> Send:
    """An exchange of a federation in which nobody else is."""
    import zexchange

    zexchange.federate("alone")
    exchange: Any = zexchange.get_exchange("x")
    for task in tasks:
        exchange.attach(task)
    send: Send = exchange.send
    return send


def timed(send: Send, count: int) -> float:
    """Return the seconds that as many sends take."""
    start = time.perf_counter()
    for _ in range(count):
        send(1)
    return time.perf_counter() - start
