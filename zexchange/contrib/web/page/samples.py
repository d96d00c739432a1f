"""Samples of the messages of an exchange: the newest ones as text, and how large they are.

A sample costs the sender's thread an append to a deque of fixed length; nobody waits for a browser.
It is looked at twice a second. Messages in between are counted, and not looked at.
"""

import time
from collections import Counter, deque
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

from .... import Delivery, EncodeError, Lost, Registry
from ....display.text import excerpt
from ....kinds import is_buffer
from ....local.tasks.stream import Detailed
from ....names import check_pattern
from ....protocol.codec.values import encode

KEPT = 20
"""Messages that are kept of an exchange, the newest ones."""
COST = 0.05
"""The part of the time that may be spent on the messages of an exchange, at most."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A message as it is shown.

    Attributes:
        number: counts the messages of the sample, from 1.
        sent_at: when it was sent, in seconds since the epoch.
        origin: the id of the node that sent it; None for this process.
        size: its bytes as they are encoded; None if it cannot be.
        text: the beginning of its value.
    """

    number: int
    sent_at: float
    origin: str | None
    size: int | None
    text: str


class Sample(Detailed):
    """The newest messages of an exchange; a task, which any thread calls."""

    def __init__(self) -> None:
        self.sizes: Counter[int] = Counter()
        """How many messages that were looked at have up to so many bytes, by powers of two."""
        self.lost = 0
        self._numbers = count(1)
        self._newest: deque[tuple[int, Delivery[Any]]] = deque(maxlen=KEPT)
        self._shown: deque[Shown] = deque(maxlen=KEPT)
        self._again_at = 0.0

    def send(self, item: Delivery[Any] | Lost) -> None:
        """Take a message, or the report of lost ones."""
        if isinstance(item, Lost):
            self.lost += item.last - item.first + 1 if item.first else 1
        else:
            self._newest.append((next(self._numbers), item))

    @property
    def came(self) -> int:
        """How many messages have come."""
        return self._newest[-1][0] if self._newest else 0

    def shown(self, now: float) -> list[Shown]:
        """Return the newest messages that were looked at, the oldest first.

        Those that are new are looked at now, unless that took long the last time.
        """
        if now >= self._again_at:
            began = time.perf_counter()
            last = self._shown[-1].number if self._shown else 0
            for number, delivery in list(self._newest):
                if number > last:
                    self._shown.append(self._look(number, delivery))
            self._again_at = now + (time.perf_counter() - began) / COST
        return list(self._shown)

    def _look(self, number: int, delivery: Delivery[Any]) -> Shown:
        size = size_of(delivery.msg)
        if size is not None:
            self.sizes[max(0, size - 1).bit_length()] += 1
        try:
            text = excerpt(delivery.msg)
        except Exception as error:  # a value of this process, whose own functions failed
            text = f"not shown: {type(error).__name__}"
        return Shown(number, delivery.sent_at, delivery.origin, size, text)


def size_of(msg: object) -> int | None:
    """Return how many bytes a message has; None if it cannot be encoded."""
    if is_buffer(msg):
        return memoryview(msg).nbytes
    size = getattr(msg, "nbytes", None)
    if isinstance(size, int):  # an array
        return size
    try:
        return len(encode(msg))
    except EncodeError:
        return None


class Samples:
    """The samples that browsers show, one for each exchange. For one event loop."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._open: dict[str, tuple[Sample, int]] = {}

    def __len__(self) -> int:
        """Return how many exchanges are sampled."""
        return len(self._open)

    def check(self, name: str) -> None:
        """Check that there can be a sample of an exchange.

        Raises:
            InvalidName: there cannot: a view cannot have this name.
        """
        check_pattern(name)

    @contextmanager
    def of(self, name: str) -> Generator[Sample, None, None]:
        """Have a sample of an exchange inside the ``with`` block; others may share it.

        Raises:
            InvalidName: see `check`.
        """
        # By a view: an exchange is not made because a browser has asked for its name.
        exchange = self._registry.match(name)
        sample, users = self._open.get(name, (None, 0))
        if sample is None:
            sample = Sample()
            exchange.attach(sample)
        self._open[name] = sample, users + 1
        try:
            yield sample
        finally:
            users = self._open[name][1] - 1
            if users:
                self._open[name] = sample, users
            else:
                del self._open[name]
                exchange.detach(sample)
