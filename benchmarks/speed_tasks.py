"""What the processes of `speed.py` attach and send, and how they keep a rate or compute.

The package that is measured may be an older one than this file: see `speed_worker.py`.
"""

import threading
import time

from compare import pace

import zexchange

try:
    import msgspec
except ImportError:
    Tick = None
else:
    FIELDS = {"sym": str, "px": float, "qty": int, "side": str, "seq": int}
    Tick = msgspec.defstruct("Tick", list(FIELDS.items()))

PAYLOADS = {
    "struct": lambda n: Tick("AAPL", 191.25, 100, "B", n),
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


class Ages:
    """A task that notes how old each message is: one of the time at which it was sent."""

    def __init__(self):
        self.taken = []

    def send(self, msg):
        """Note it."""
        self.taken.append(now() - msg[0])


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


def now():
    """Return the time by the clock that both processes share."""
    return time.monotonic()


def paced(send, rate, count):
    """Send the time as many times, at a rate; return how long each send took."""
    return pace.paced(send, lambda n: (now(), n), rate, lambda n: n < count)


def compute(seconds):
    """Compute in Python for a while."""
    x, until = 0, now() + seconds
    while now() < until:
        x = (x * 31 + 7) % 1_000_003
