"""The verdict of `socketio_workers.py`: the events that clients were due, and those they got.

An event counts for a client if it was begun after the client had read the answer to its
CONNECT, and if its worker lived on for a second after the emit had ended; of that last second,
all up to the last that came. All moments are of one clock. Pure: nothing is run here.
"""

from array import array
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from itertools import pairwise

from socketio_parts import Session

GRACE = 1.0
"""Seconds that a worker must live on after an emit for the event to count."""
HEADINGS = (
    *("between the workers", "delivered", "of", "lost", "twice", "out of order"),
    *("workers killed", "clients disconnected otherwise"),
    *("p50", "p99", "memory of all processes", "processes"),
)


@dataclass
class Outcome:
    """The outcome of the rounds of one backend."""

    expected: int = 0
    delivered: int = 0
    repeated: int = 0
    disordered: int = 0
    kills: int = 0
    broken: int = 0
    processes: str = ""
    memory: list[float] = field(default_factory=list)
    delays: "array[float]" = field(default_factory=lambda: array("f"))

    @property
    def lost(self) -> int:
        """How many did not come."""
        return self.expected - self.delivered

    def quantile(self, share: float) -> float:
        """Return a quantile of the delays, in milliseconds."""
        ordered = sorted(self.delays)
        return ordered[min(int(len(ordered) * share), len(ordered) - 1)] * 1000 if ordered else 0.0


def judge(
    outcome: Outcome,
    session: Session,
    begun: "array[float]",
    ended: "array[float]",
    killed: dict[int, float],
) -> None:
    """Add to an outcome what a session should have been given, and what it was."""
    got = session.got
    first, last = bisect_left(begun, session.since), len(begun) - 1
    if session.until is not None:
        end = min(session.until, killed.get(session.worker, session.until))
        last = max(bisect_right(ended, end - GRACE) - 1, max(got, default=-1))
        outcome.broken += session.worker not in killed
    outcome.expected += max(0, last - first + 1)
    outcome.delivered += len({n for n in got if first <= n <= last})
    outcome.repeated += len(got) - len(set(got))
    outcome.disordered += sum(after < before for before, after in pairwise(got))
    outcome.delays.extend(session.delays)


def row(kind: str, outcome: Outcome) -> list[str]:
    """Return the row of a table."""
    o = outcome
    share = 100 * o.delivered / max(o.expected, 1)
    return [
        kind,
        "100 %" if not o.lost else f"{min(share, 99.9999):.4f} %",
        *(f"{n:,}" for n in (o.expected, o.lost, o.repeated, o.disordered, o.kills, o.broken)),
        *(f"{o.quantile(share):.1f} ms" for share in (0.5, 0.99)),
        f"{max(o.memory):.0f} MiB",
        o.processes,
    ]
