"""Seconds that count against others: those in which we looked at the clock in time.

A process that was stopped, or a thread that waited for the processor, has not seen what others
did meanwhile: their answers lie in our own sockets and queues. A deadline by a plain clock has
passed then before any of it is read.
"""

LATE = 0.3
"""Seconds between two looks, several a second by right, from which on it was we who were late."""


class Elapsed:
    """A clock that stands still while nobody looks at it.

    Looks that are late all the time count for something: else who is slow on a machine that is
    always busy would be waited for without end.
    """

    __slots__ = ("_late", "_looked_at", "seconds")

    def __init__(self) -> None:
        self.seconds = 0.0
        """What has counted so far. Any thread may read it."""
        self._looked_at: float | None = None
        self._late = False

    def look(self, now: float) -> float:
        """Take note of the time; return the seconds since the last look that do not count."""
        before, self._looked_at = self._looked_at, now
        step = 0.0 if before is None else now - before
        late, was_late = step > LATE, self._late
        self._late, counted = late, step
        if late:
            # The first one forgives all: what came meanwhile is read before the next.
            counted = LATE if was_late else 0.0
        self.seconds += counted
        return step - counted
