"""The way by which one member gets the jobs of one sender, at the member.

`zexchange.groups.intake` decides. Here it gets its lock, the mailbox, and the way back.
"""

from collections.abc import Callable, Sequence
from itertools import count, repeat

from ...groups.intake import EVERY, SOON, Intake, Progress
from ...groups.queue import MOST
from ..process.fork import Lock
from ..tasks.jobs import Handed, JobMailbox

REFUSED = object()
"""Stands for a message that cannot be read, or does not fit: it counts as done."""


class Supply:
    """The jobs that one member gets from one sender.

    Args:
        mailbox: of the member.
        tell: tells the sender; called on any thread, with no lock held.
        monotonic: the clock, in seconds.
        most: how many jobs the member may have at a time; 0 if it has not said.
    """

    def __init__(
        self,
        mailbox: JobMailbox,
        tell: Callable[[Progress], None],
        monotonic: Callable[[], float],
        most: int,
    ) -> None:
        self._mailbox = mailbox
        self._tell = tell
        self._monotonic = monotonic
        self._intake = Intake(most or MOST)
        self._told, self._told_at = 0, 0.0
        self._lock = Lock()

    def take(self, stint: int, first: int, items: Sequence[object]) -> None:
        """Take jobs that have arrived; one thread at a time calls this.

        Args:
            stint: the number of the stint, which grows when the sender begins afresh.
            first: the number of the first job.
            items: what the member is to get; `REFUSED` where it gets nothing.
        """
        progress, new = None, items
        with self._lock.lock:
            intake, now = self._intake, self._monotonic()
            known = intake.take(stint, first, len(items))
            if known is None or known == len(items):
                # Something is missing, or has come twice: what we said last may have been lost.
                progress = intake.progress(now, missed=known is None)
            elif known:
                new, first = items[known:], first + known
        if progress is None:
            handed: list[Handed] = list(zip(new, repeat(self), repeat(stint), count(first)))
            if REFUSED in new:
                handed = self._without_refused(handed)
            self._mailbox.put_all(handed)
        if progress is not None:
            self._tell(progress)

    def _without_refused(self, handed: Sequence[Handed]) -> list[Handed]:
        """Take note that refused messages are done; return the others."""
        for item, _, stint, number in handed:
            if item is REFUSED:
                self.finished(stint, number, 0.0)
        return [one for one in handed if one[0] is not REFUSED]

    @property
    def idle(self) -> bool:
        """Whether all jobs are done, and the sender knows that. Any thread."""
        return self._intake.idle

    def rested(self, now: float, seconds: float) -> bool:
        """Return whether all jobs are done, and the sender was told so that long ago."""
        with self._lock.lock:
            return self._intake.rests(now, seconds)

    def wanted(self, stint: int) -> bool:
        """Return whether the jobs of that stint are still this member's."""
        return stint == self._intake.stint

    def finished(self, stint: int, number: int, work: float) -> None:
        """Take note that a job was done. Any thread, with no lock held."""
        with self._lock.lock:
            self._intake.finish(stint, number, work)
            progress = self._intake.due(self._monotonic())
        if progress is not None:
            self._tell(progress)

    def done_to(self, stint: int, number: int, begun: float) -> None:
        """Take note that all jobs up to a number were done. Any thread, with no lock held."""
        intake, now = self._intake, self._monotonic()
        # Not for each job: the sender is told of some at once.
        if number < intake.got and number - self._told < EVERY and now - self._told_at < SOON:
            return
        progress = None
        with self._lock.lock:
            intake.finish_to(stint, number, max(0.0, now - begun))
            progress = intake.due(now)
            if progress is not None:
                self._told, self._told_at = number, now
        if progress is not None:
            self._tell(progress)

    def say(self, ended: bool = False) -> None:
        """Tell the sender how far the member is, or that it does no more. With no lock held."""
        with self._lock.lock:
            progress = self._intake.progress(self._monotonic(), ended)
        if progress.stint:
            self._tell(progress)
