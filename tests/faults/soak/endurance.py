"""Half an hour at moderate load: every account adds up, and memory stays where it was.

Each process is in two federations, with registries of their own (nodes that share one forget
nothing); names come and go, and so do streams. The resident memory of those that live all the
time is looked at every five seconds.
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
"""What memory may be at the end, as a share of that after a sixth of the time."""
SAMPLE_EVERY = 5.0
CURVE = 60
"""Rows of the curve that is shown."""
PAGE = os.sysconf("SC_PAGE_SIZE")


class Endurance(Soak):
    """A soak that looks at memory."""

    def __init__(self, lab: Any, seconds: float) -> None:
        super().__init__(lab, False, seconds)
        self.kind = "endurance"
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
            )
        for label in SENDERS:
            self._start(
                "sender",
                label,
                rate=200,
                sizes=(10, 1_000),
                # More names in five minutes than a node remembers.
                fresh=1.0,
                bursts=(1, 5, 10),
                federate={"replay_bytes": 4 << 20, **places(label)},
                second={"replay_bytes": 4 << 20},
                forgets=True,
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
        super()._settle()
        sixth = self._seconds / 6
        wrong = []
        for label in LONG_LIVED:
            first = self._mean(label, sixth * 0.9, sixth * 1.1)
            last = self._mean(label, self._seconds - sixth / 2, float("inf"))
            most = max(mb[label] for _, mb in self.samples)
            told = f"{label}: {first:.1f} MB after {sixth:.0f} s, {last:.1f} at the end"
            progress(f"{told} ({last / first:.2f}), at most {most:.1f}")
            if last > first * MOST:
                wrong.append(told)
        assert not wrong, "\n".join(wrong)
