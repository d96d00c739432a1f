"""The clock of a simulated network, and the order in which things happen.

One thread does everything, one thing after the other: turns of nodes' loops, and events at a
moment, such as the arrival of a frame. Time moves only when nothing is left to do now. A call that
waits runs the schedule until its condition holds. A loop that waits inside its turn has no other
turn meanwhile, just as a thread that waits does nothing else.
"""

import heapq
import math
import random
import threading
from collections.abc import Callable
from itertools import count

EPOCH = 1_700_000_000.0
"""Seconds since the Unix epoch at which every simulation begins."""
ENDLESS = 3600.0
"""Simulated seconds after which a wait without a timeout is taken to be endless."""


class Host:
    """One simulated process, in which a node runs. It may be stopped or dead."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.stopped = False
        self.fds = count(1)
        self.raised: dict[int, None] = {}
        """Descriptors of this process that are readable."""
        self.parties: list[Party] = []
        """The loops and senders that run in it."""


class Party:
    """Base of loops and senders: they run in a process, one turn at a time."""

    ident = None

    def __init__(self, schedule: "Schedule", host: Host) -> None:
        self._schedule = schedule
        self.host = host
        host.parties.append(self)
        self.busy = False
        self._over = False

    def start(self) -> None:
        """Have turns from now on."""
        self._schedule.join(self)

    @property
    def current(self) -> bool:
        """Whether the caller runs in a turn of this party, directly or not."""
        return self.busy

    @property
    def number(self) -> int:
        """That of the caller's thread, if the caller runs in a turn of this party; else 0."""
        return threading.get_ident() if self.busy else 0

    def join(self, timeout: float | None = None) -> None:
        """Let things happen until the last turn is over."""
        self._schedule.run(lambda: self._over or not self.host.alive, timeout)

    def wanted_at(self) -> float:
        """Return the time at which a turn is wanted."""
        raise NotImplementedError

    def turn(self) -> None:
        """Do the work of a turn."""
        raise NotImplementedError

    def end(self) -> None:
        """Have no more turns."""
        self._over = True
        self._schedule.leave(self)


class Schedule:
    """All events and turns to come. Not thread-safe: one thread does everything."""

    def __init__(self, seed: int) -> None:
        self.now = 0.0
        self.turns = 0
        self._random = random.Random(f"schedule {seed}")
        self._serial = 0
        self._coming: list[tuple[float, int, Callable[[], None]]] = []
        self._parties: list[Party] = []

    def monotonic(self) -> float:
        """Return the seconds since the simulation began."""
        return self.now

    def time(self) -> float:
        """Return the seconds since the Unix epoch."""
        return EPOCH + self.now

    def chance(self, probability: float) -> bool:
        """Return true with some probability."""
        return self._random.random() < probability

    def join(self, party: Party) -> None:
        """Give turns to a party from now on."""
        self._parties.append(party)

    def leave(self, party: Party) -> None:
        """Give a party no more turns."""
        if party in self._parties:
            self._parties.remove(party)

    def after(self, seconds: float, happens: Callable[[], None]) -> None:
        """Have something happen after some seconds."""
        self._serial += 1
        heapq.heappush(self._coming, (self.now + seconds, self._serial, happens))

    def run(self, condition: Callable[[], bool], seconds: float | None = None) -> bool:
        """Let things happen until a condition holds; return whether it does.

        Args:
            condition: checked between any two things that happen.
            seconds: give up then; None is for a wait that must end.

        Raises:
            RuntimeError: a wait without a timeout did not end.
        """
        until = self.now + (ENDLESS if seconds is None else seconds)
        while not condition():
            following = self._happens()
            if following <= self.now:
                continue
            if following > until:
                if seconds is None:
                    raise RuntimeError(f"waited {ENDLESS:g} simulated seconds for {condition}")
                self.now = max(self.now, until)
                return condition()
            self.now = following
        return True

    def _happens(self) -> float:
        """Do one thing that is due, and return now; if none is, return when the next one is."""
        now, coming = self.now, self._coming
        if coming and coming[0][0] <= now:
            heapq.heappop(coming)[2]()
            return now
        following = coming[0][0] if coming else math.inf
        waiting: list[Party] = []
        for party in self._parties:
            at = math.inf if party.busy or party.host.stopped else party.wanted_at()
            if at <= now:
                waiting.append(party)
            elif at < following:
                following = at
        if not waiting:
            return following
        self.turns += 1
        party = self._random.choice(waiting)
        party.busy = True
        try:
            party.turn()
        finally:
            party.busy = False
        return now
