"""Seconds that count against others: those in which this process looked at the clock in time.

A process that was stopped, or a thread that waited for the processor, has not seen what others did
meanwhile: their answers still lie in its own sockets and queues. By a plain clock, a deadline would
pass before any of these answers is read.
"""

LATE = 0.3
"""Seconds between two looks above which the looking thread itself was late: it should look several
times a second."""


class Elapsed:
    """A clock that stands still while nobody looks at it.

    Looks that are late again and again count a little. Otherwise a machine that is always busy
    would wait for a slow peer without end.
    """

    __slots__ = ("_late", "_looked_at", "seconds")

    def __init__(self) -> None:
        self.seconds = 0.0
        """The seconds that have counted so far. Any thread may read it."""
        self._looked_at: float | None = None
        self._late = False

    def look(self, now: float) -> float:
        """Take note of the time; return the seconds since the last look that do not count."""
        before, self._looked_at = self._looked_at, now
        step = 0.0 if before is None else now - before
        late, was_late = step > LATE, self._late
        self._late, counted = late, step
        if late:
            # The first late look counts nothing: what came meanwhile is read before the next one.
            counted = LATE if was_late else 0.0
        self.seconds += counted
        return step - counted
