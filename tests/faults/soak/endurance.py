"""Half an hour at moderate load: every account adds up, and memory stays where it was.

Each process is in two federations, with registries of their own, or with one, so that both carry
all there is (`together`). Names come and go, and so do streams. The resident memory of those
that live all the time is looked at every five seconds.

What a node keeps grows up to bounds of its own: rings, some thousands of names, ten minutes for
who has left without a goodbye, and all names that were sent to it since. Beside those, what grows
for ever would not be seen for a long time. So rings are small here, and names and minutes few
(`BOUNDS`): all that is full long before memory is looked at first. And what was freed, after a
process was stopped and had megabytes to catch up with, is given back to the system every two
seconds, for the C library keeps it: that is as much as the longest stop came to, and no growth.
"""

import os
import statistics
import time
from typing import Any

from tests.faults.laboratory import progress

from .bench import LASTING, RECEIVERS, SENDERS, Soak
from .plan import Step, draw
from .roles import OTHER

HARMS = {"stop": 5, "kill": 1, "cut": 2}
EVERY = 8.0
"""Seconds from one fault to the next, on average."""
LONG_LIVED = ("s1", "s2", "steady", "churn1")
MOST = 1.10
"""What memory may be at the end, as a share of that after ``FIRST`` seconds."""
FIRST, SHARE = 300.0, 0.6
"""When it is looked at first, unless that is more than a share of the time."""
ABOUT = 30.0
"""Seconds before and after that moment of which the median counts, and twice as many at the end."""
BOUNDS = 500, 60.0
"""Names that are remembered in any case, and seconds for which who is away is."""
RING = 1 << 20
SAMPLE_EVERY = 5.0
CURVE = 60
"""Rows of the curve that is shown."""
PAGE = os.sysconf("SC_PAGE_SIZE")


class Endurance(Soak):
    """A soak that looks at memory."""

    def __init__(self, lab: Any, seconds: float, together: bool) -> None:
        super().__init__(lab, False, seconds)
        self.kind = "endurance together" if together else "endurance"
        self._together = together
        self.samples: list[tuple[float, dict[str, float]]] = []
        self._shown = -1

    def _cast(self) -> None:
        places = self._mesh()
        for label in RECEIVERS:
            self._start(
                "receiver",
                label,
                churn=label != "steady",
                lasting=[*LASTING[label], OTHER],
                federate=places(label),
                second={},
                forgets=True,
                bounds=BOUNDS,
                together=self._together,
            )
        for label in SENDERS:
            self._start(
                "sender",
                label,
                rate=200,
                sizes=(10, 1_000),
                # More names in a minute than a node remembers.
                fresh=1.0,
                bursts=(1, 5, 10),
                federate={"replay_bytes": RING, **places(label)},
                second={"replay_bytes": RING},
                forgets=True,
                bounds=BOUNDS,
                together=self._together,
            )

    def _draw(self, relayed: dict[str, int]) -> list[Step]:
        people = [*SENDERS, *RECEIVERS]
        mortal = [label for label in people if label not in LONG_LIVED]
        return draw(self.chance, self._seconds, mortal, people, relayed, HARMS, EVERY)

    # ------------------------------------------------------------------------- memory

    def _show(self, where: str) -> None:
        super()._show(where)
        now = time.monotonic() - self.timeline.begun
        if not self.samples or now - self.samples[-1][0] >= SAMPLE_EVERY:
            self.samples.append((now, {label: self._resident(label) for label in LONG_LIVED}))
        row = int(now / self._seconds * CURVE)
        if row != self._shown:
            self._shown = row
            memory = "  ".join(f"{label} {mb:6.1f}" for label, mb in self.samples[-1][1].items())
            progress(f"MB after {now:6.0f} s: {memory}")

    def _resident(self, label: str) -> float:
        """Return a process' resident memory, in MB."""
        with open(f"/proc/{self.actors[label].process.pid}/statm") as statm:
            return int(statm.read().split()[1]) * PAGE / 1e6

    def _mean(self, label: str, since: float, until: float) -> float:
        """Return the median of a process' memory between two moments."""
        return statistics.median(mb[label] for at, mb in self.samples if since <= at <= until)

    def _settle(self) -> None:
        end = time.monotonic() - self.timeline.begun
        super()._settle()
        first = min(FIRST, SHARE * self._seconds)
        wrong = []
        for label in LONG_LIVED:
            before = self._mean(label, first - ABOUT, first + ABOUT)
            last = self._mean(label, end - 2 * ABOUT, end)
            most = max(mb[label] for _, mb in self.samples)
            told = f"{label}: {before:.1f} MB after {first:.0f} s, {last:.1f} at the end"
            progress(f"{told} ({last / before:.2f}), at most {most:.1f}")
            if last > before * MOST:
                wrong.append(told)
        assert not wrong, "\n".join(wrong)
