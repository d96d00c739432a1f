"""The demo's other processes: sensors that read this machine's counters, and an analyst.

The demo starts them as ``python -m zexchange.cli.demo.parts``. A line on standard input tells a
process to stop. The end of standard input means that the demo is gone, and the process ends too. At
a normal end each process prints how many messages it sent and received, for the demo to compare.
"""

import json
import os
import signal
import socket
import sys
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import psutil

from zexchange import Node, get_exchange, match, to_call

from ..options import Joining

PERIOD = 1 / 20
AVERAGED = 20
"""How many values a moving average covers."""
READY_TIMEOUT = 15.0
FLUSH_TIMEOUT = 5.0
LAST_CALL = 1.0
"""Seconds for saying goodbye after the parent process is gone."""


def _traffic() -> float:
    # By interface, and summed here: on a machine without interfaces psutil has no total.
    each = psutil.net_io_counters(pernic=True).values()
    return float(sum(counters.bytes_sent + counters.bytes_recv for counters in each))


def _speeds() -> Iterator[float]:
    """Yield the traffic of all interfaces since the last value, in bytes per second."""
    at, before = time.monotonic(), _traffic()
    while True:
        now, traffic = time.monotonic(), _traffic()
        yield max((traffic - before) / max(now - at, 1e-3), 0.0)
        at, before = now, traffic


METERS: dict[str, tuple[Callable[[], float], str]] = {
    "cpu": (psutil.cpu_percent, "%"),
    "memory": (lambda: float(psutil.virtual_memory().percent), "%"),
    "network": (partial(next, _speeds()), "B/s"),
}
"""The meters that a sensor can read, with their units, by name."""


def sensor(node: Node, stop: threading.Event, what: list[str]) -> None:
    """Wait for screen and analyst to subscribe, then publish readings until told to stop.

    Args:
        node: the node of this process.
        stop: set to end.
        what: names of `METERS`.
    """
    host = level(socket.gethostname())
    lanes = [(get_exchange(f"metrics.{host}.{name}"), *METERS[name]) for name in what]
    for exchange, meter, _ in lanes:
        meter()  # discarded: the first reading has no earlier one to compare with
        node.wait_subscribers(exchange.name, 2, READY_TIMEOUT)
    due = time.monotonic()
    while not stop.wait(max(0.0, due - time.monotonic())):
        for exchange, meter, unit in lanes:
            exchange.send({"value": meter(), "unit": unit})
        due = max(due + PERIOD, time.monotonic())


def analyst(node: Node, stop: threading.Event, what: list[str]) -> None:
    """Publish the moving average of every metric, once for each value received."""
    host = level(socket.gethostname())
    node.wait_subscribers(f"averages.{host}", 1, READY_TIMEOUT)
    windows: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=AVERAGED))

    def average(named: tuple[str, dict[str, Any]]) -> None:
        name, reading = named
        window = windows[name]
        window.append(reading["value"])
        result = {"value": sum(window) / len(window), "unit": reading["unit"]}
        get_exchange(name.replace("metrics", "averages", 1)).send(result)

    with match("metrics.**").subscribe(to_call(average), names=True):
        stop.wait()


ROLES = {"sensor": sensor, "analyst": analyst}


def level(host: str) -> str:
    """Return the name of a host in a form that is one level of an exchange's name."""
    return host.partition(".")[0].replace("*", "_") or "localhost"


def heed_parent(stop: threading.Event) -> None:
    """Set ``stop`` when the parent sends a line; end this process when the parent is gone."""
    if os.read(0, 64):
        stop.set()
        os.read(0, 64)
    # The signal ends any wait of the main thread with SystemExit, so that it says goodbye.
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
    time.sleep(LAST_CALL)
    os._exit(1)


def main(role: str, federation: str, label: str, *what: str) -> None:
    """Run one role of `ROLES` until the parent says stop, then print the counts.

    Args:
        role: a key of `ROLES`.
        federation: the name of the federation to join.
        label: the label of this process's node.
        what: names of `METERS`, for a sensor.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))
    stop = threading.Event()
    threading.Thread(target=heed_parent, args=[stop], daemon=True).start()
    with Joining(federation).node(label) as node:
        ROLES[role](node, stop, list(what))
        node.flush(FLUSH_TIMEOUT)
        stats = node.stats()
        received = [[*key, came.received] for key, came in stats.received.items()]
        print(json.dumps([stats.sent, received]), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
