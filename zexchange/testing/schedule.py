"""The clock of a simulated network, and whose turn it is.

One thread does everything, one thing after the other: turns of nodes' loops, and what
happens at a moment (a frame arrives). Time moves only when nothing is left to do now.
Whoever waits runs the schedule until what it waits for has happened; who is in the
middle of a turn has no other turn meanwhile, as a thread that waits has none.
"""

import heapq
import math
import random
from collections.abc import Callable
from itertools import count

EPOCH = 1_700_000_000.0
"""Seconds since the Unix epoch at which every simulation begins."""
ENDLESS = 3600.0
"""Simulated seconds after which a wait without a timeout is taken to be for ever."""


class Host:
    """One simulated process: what a node runs in. It may be stopped, and it may be dead."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.stopped = False
        self.fds = count(1)
        self.raised: dict[int, None] = {}
        """Descriptors of this process that are readable."""
        self.parties: list[Party] = []
        """What runs in it."""


class Party:
    """What loops and senders share: they run in a process, one turn at a time."""

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
        """Whether this is what called, directly or not."""
        return self.busy

    def join(self, timeout: float | None = None) -> None:
        """Let things happen until the last turn is over."""
        self._schedule.run(lambda: self._over or not self.host.alive, timeout)

    def wanted_at(self) -> float:
        """Return when a turn is wanted."""
        raise NotImplementedError

    def turn(self) -> None:
        """Do what is to be done in a turn."""
        raise NotImplementedError

    def end(self) -> None:
        """Have no more turns."""
        self._over = True
        self._schedule.leave(self)


class Schedule:
    """What happens when. Not thread-safe: one thread does everything."""

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
        """Tell whether something happens that is left to chance."""
        return self._random.random() < probability

    def join(self, party: Party) -> None:
        """Give turns to something from now on."""
        self._parties.append(party)

    def leave(self, party: Party) -> None:
        """Give it no more turns."""
        if party in self._parties:
            self._parties.remove(party)

    def after(self, seconds: float, happens: Callable[[], None]) -> None:
        """Have something happen in a while."""
        self._serial += 1
        heapq.heappush(self._coming, (self.now + seconds, self._serial, happens))

    def run(self, condition: Callable[[], bool], seconds: float | None = None) -> bool:
        """Let things happen until a condition holds; return whether it does.

        Args:
            condition: looked at between any two things that happen.
            seconds: give up then; None stands for a wait that must end.

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
        """Do one of the things that are to be done now; return when the next is to be done.

        That is now if there was any.
        """
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
