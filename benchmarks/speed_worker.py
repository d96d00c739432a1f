"""One of the two processes that `speed.py` has of each commit: it does what lines ask for.

    PYTHONPATH=TREE python benchmarks/speed_worker.py sender|receiver FEDERATION

The package that is measured is the one in TREE, and may be an older one than this file: nothing but
public names that have been there for long may be used here. A request names a method of `Sender` or
`Receiver` in JSON, an answer is a line of JSON too, and the process ends with its input.
"""

import json
import logging
import statistics
import sys
import threading
import time

import zexchange

PATIENCE = 120.0
PARTS = 40
PAYLOADS = {
    "dict": lambda n: {"sym": "AAPL", "px": 191.25, "qty": 100, "side": "B", "seq": n},
    "1 KiB": lambda n, text="x" * 1024: text,
    "64 KiB": lambda n, body=bytes(64 << 10): body,
    "1 MiB": lambda n, body=bytes(1 << 20): body,
}


class Task:
    """The cheapest task there is."""

    def send(self, msg):
        """Do nothing."""


class Counter:
    """The receiver's task: counts, and notes when the last message of a slice came."""

    def __init__(self):
        self.count = 0
        self.goal = -1
        self.came = 0.0

    def send(self, msg):
        """Count."""
        self.count += 1
        if self.count == self.goal:
            self.came = time.monotonic()


class Echo:
    """The task of a process that answers."""

    def __init__(self):
        self.send = zexchange.get_exchange("answer").send


class Bell:
    """The task of a process that waits for an answer."""

    def __init__(self):
        self.rung = threading.Event()

    def send(self, msg):
        """Wake the thread that waits."""
        self.rung.set()


class Receiver:
    """Counts a flood, and answers what it is asked."""

    def __init__(self, federation):
        self._counter = Counter()
        zexchange.get_exchange("flood").attach(self._counter)
        zexchange.get_exchange("ask").attach(Echo())
        self.node = zexchange.federate(federation, stall=PATIENCE)
        self.node.wait_peers(1, timeout=PATIENCE)
        self.node.wait_ready(timeout=PATIENCE)

    def expect(self, goal):
        """Count from here on."""
        self._counter.count, self._counter.goal = 0, goal

    def came(self):
        """Wait for all that is expected; return how many came, and when the last did."""
        counter, deadline = self._counter, time.monotonic() + PATIENCE
        while counter.count < counter.goal and time.monotonic() < deadline:
            time.sleep(0.001)
        return counter.count, counter.came


class Sender:
    """Sends inside its process, and to the receiver."""

    def __init__(self, federation):
        self._bell = Bell()
        zexchange.get_exchange("answer").attach(self._bell)
        self.node = zexchange.federate(federation, stall=PATIENCE)
        for name in ("flood", "ask"):
            self.node.wait_subscribers(name, 1, timeout=PATIENCE)
        self.node.wait_ready(timeout=PATIENCE)
        self._local = {}

    def local(self, tasks, count):
        """Send to some tasks of a registry of its own; return the seconds that a send takes.

        It is the median of parts of a few milliseconds: whatever else runs disturbs some of them.
        """
        if tasks not in self._local:
            self._local[tasks] = zexchange.Registry().get("x")
            for _ in range(tasks):
                self._local[tasks].attach(Task())
        send, part, taken = self._local[tasks].send, max(count // PARTS, 1), []
        for _ in range(PARTS):
            start = time.perf_counter()
            for _ in range(part):
                send(1)
            taken.append((time.perf_counter() - start) / part)
        return statistics.median(taken)

    def flood(self, payload, count, burning):
        """Send at full speed, beside a thread that computes if asked; return when that began."""
        over = threading.Event()
        burner = threading.Thread(target=burn, args=(over,))
        if burning:
            burner.start()
        send, make, start = zexchange.get_exchange("flood").send, PAYLOADS[payload], now()
        for n in range(count):
            send(make(n))
        over.set()
        if burning:
            burner.join()
        return start

    def trips(self, count):
        """Ask and wait for the answer, again and again; return the median in seconds."""
        ask, rung, taken = zexchange.get_exchange("ask").send, self._bell.rung, []
        for n in range(count):
            rung.clear()
            start = time.perf_counter()
            ask(n)
            if not rung.wait(PATIENCE):
                raise TimeoutError("no answer")
            taken.append(time.perf_counter() - start)
        return statistics.median(taken)


def now():
    """Return the time by the clock that both processes share."""
    return time.monotonic()


def burn(over):
    """Compute in Python until it is over."""
    x = 0
    while not over.is_set():
        for _ in range(1000):
            x = (x * 31 + 7) % 1_000_003


def main(role, federation):
    """Answer until the input ends."""
    logging.getLogger("zexchange").setLevel(logging.ERROR)
    work = {"sender": Sender, "receiver": Receiver}[role](federation)
    print(json.dumps(zexchange.__file__), flush=True)
    for line in sys.stdin:
        name, given = json.loads(line)
        print(json.dumps(getattr(work, name)(**given)), flush=True)
    work.node.close(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
