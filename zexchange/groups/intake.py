"""The jobs that one member has from one sender, at the member.

The sender numbers them from 1; see `queue`. The way from a sender to a member may lose frames, and
it may bring a frame twice. So the member takes jobs in order, and leaves what comes after a hole.
Its reports to the sender are small, and each replaces all before it: up to which job it has
them all, and up to which it has done them all. If that is lost on the way, the next one does.

The numbers belong to a *stint*. A sender that takes the member for gone, and meets it again, begins
another one, which has a higher number itself, with job 1. The member leaves to others
whatever it still has of the former stint.
"""

from typing import NamedTuple

from .queue import MOST

EVERY = 32
"""Jobs that are done before the sender is told, if the member still has others."""
SOON = 0.002
"""Seconds after which the sender is told, even of fewer."""


class Progress(NamedTuple):
    """The report of a member to a sender: how far it is with a stint.

    Attributes:
        stint: the stint it is about.
        got: up to this number it has all jobs.
        done: up to this number it has done all jobs.
        work: seconds that it worked on the last one.
        ended: whether it does no more, and leaves the others.
        missed: whether jobs after ``got`` have not come, but later ones have.
    """

    stint: int
    got: int
    done: int
    work: float
    ended: bool = False
    missed: bool = False


class Intake:
    """The jobs that one member has from one sender.

    Args:
        most: how many it may have at a time; a sender that keeps to the rules sends no more.
    """

    __slots__ = ("_apart", "_most", "_told", "_told_at", "_work", "done", "got", "stint")

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self.stint = 0
        self._begin(0)

    def _begin(self, stint: int) -> None:
        self.stint = stint
        self.got = self.done = self._told = 0
        self._told_at = self._work = 0.0
        self._apart = set[int]()
        """Jobs that were done before an earlier one, as several threads work."""

    def take(self, stint: int, first: int, count: int) -> int | None:
        """Take jobs that have arrived.

        Returns:
            How many of the first ones are here already; None if all are to be left: one before
            them is missing, they are of a former stint, or they are more than may be here.
        """
        if stint < self.stint:
            return None
        if stint > self.stint:
            self._begin(stint)
        if first > self.got + 1 or first + count - 1 > self.done + self._most:
            return None
        known = min(self.got + 1 - first, count)
        self.got = max(self.got, first + count - 1)
        return known

    @property
    def idle(self) -> bool:
        """Whether it has done all that it got, and the sender was told."""
        return self._told == self.got

    def finish(self, stint: int, number: int, work: float) -> None:
        """Take note that a job was done, in so many seconds."""
        if stint != self.stint:
            return
        self._work = work
        self._apart.add(number)
        while self.done + 1 in self._apart:
            self.done += 1
            self._apart.remove(self.done)

    def finish_to(self, stint: int, number: int, work: float) -> None:
        """Take note that all jobs up to a number were done, the last one in so many seconds."""
        if stint != self.stint or number <= self.done:
            return
        self._work = work
        self.done = number
        if self._apart:
            self._apart = {apart for apart in self._apart if apart > number}
            while self.done + 1 in self._apart:
                self.done += 1
                self._apart.remove(self.done)

    def rests(self, now: float, seconds: float) -> bool:
        """Return whether all jobs are done, and nothing was said to the sender for so long."""
        return self.done == self.got and now - self._told_at >= seconds

    def due(self, now: float) -> Progress | None:
        """Return what to tell the sender of what was done, if it is time."""
        new = self.done - self._told
        if new and (self.done == self.got or new >= EVERY or now - self._told_at >= SOON):
            return self.progress(now)
        return None

    def progress(self, now: float, ended: bool = False, missed: bool = False) -> Progress:
        """Return what to tell the sender, in any case."""
        self._told, self._told_at = self.done, now
        return Progress(self.stint, self.got, self.done, self._work, ended, missed)
