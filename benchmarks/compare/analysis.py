"""From the results of rounds to medians, spread, ratios and verdicts. Pure.

It knows results and bars, not how either came about.
"""

import random
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from .quantiles import modes
from .values import Bar, Result, Workload

Unit = TypeVar("Unit")
DRAWS = 4000
"""Of a bootstrap."""


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over all rounds: its median, and its first and third quartile."""

    median: float
    low: float
    high: float
    rounds: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of a bar; ``value`` is None if there was nothing to compare with."""

    bar: Bar
    value: float | None
    against: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the bar is met."""
        return None if self.value is None else good(self.bar, self.value, self.bar.limit)

    @property
    def stretched(self) -> bool | None:
        """Whether what would be better still is reached, where that is set."""
        if self.value is None or self.bar.stretch is None:
            return None
        return good(self.bar, self.value, self.bar.stretch)


def good(bar: Bar, value: float, limit: float) -> bool:
    """Return whether a value is on the right side of a limit."""
    return value >= limit if bar.least else value <= limit


def spread(values: Sequence[float]) -> Spread:
    """Return median and quartiles."""
    ordered = sorted(values)
    last = len(ordered) - 1
    low, high = ordered[last // 4], ordered[last - last // 4]
    return Spread(statistics.median(ordered), low, high, len(ordered))


def bootstrap(
    taken: Sequence[Unit], figure: Callable[[Sequence[Unit]], float]
) -> tuple[float, float]:
    """Return between what 95 of 100 values of a figure lie, of units that are drawn again.

    Args:
        taken: what was measured, in units that do not depend on each other.
        figure: what is of interest, of any sequence of units.
    """
    drawn = sorted(figure(random.choices(taken, k=len(taken))) for _ in range(DRAWS))
    return drawn[DRAWS * 25 // 1000], drawn[-1 - DRAWS * 25 // 1000]


class Table:
    """All results of a run, by workload, contestant and figure."""

    def __init__(self, results: Iterable[Result], workloads: Iterable[Workload]) -> None:
        self.workloads = {workload.name: workload for workload in workloads}
        self._values: dict[tuple[str, str, str], list[float]] = defaultdict(list)
        self.problems: dict[tuple[str, str], str] = {}
        for result in results:
            if result.problem:
                self.problems[result.workload, result.contestant] = result.problem
            for figure, value in result.figures.items():
                self._values[result.workload, result.contestant, figure].append(value)

    def spread(self, workload: str, contestant: str, figure: str = "") -> Spread | None:
        """Return a figure over all rounds: the workload's own if none is named."""
        named = figure or (self.workloads[workload].figure if workload in self.workloads else "")
        values = self._values.get((workload, contestant, named))
        return spread(values) if values else None

    def modes(self, workload: str, contestant: str) -> tuple[float, float] | None:
        """Return the two groups that the rounds of a contestant fall into, if they do."""
        named = self.workloads[workload].figure if workload in self.workloads else ""
        return modes(self._values.get((workload, contestant, named), ()))

    def in_two_groups(self) -> list[str]:
        """Return the workloads in which the rounds of any contestant fall into two groups."""
        return [
            name
            for name in self.workloads
            if any(self.modes(name, contestant) for contestant in self.contestants(name))
        ]

    def lost(self, workload: str, contestant: str) -> float:
        """Return which part of what was sent never came, over all rounds."""
        sent = sum(self._values.get((workload, contestant, "sent"), ()))
        return sum(self._values.get((workload, contestant, "lost"), ())) / sent if sent else 0.0

    def contestants(self, workload: str) -> list[str]:
        """Return who has figures or problems, in the order of the workload, then of the results."""
        had = [key[1] for key in self._values if key[0] == workload]
        troubled = [key[1] for key in self.problems if key[0] == workload]
        names = dict.fromkeys([*had, *troubled])
        known = self.workloads[workload].among if workload in self.workloads else ()
        return sorted(names, key=lambda name: known.index(name) if name in known else len(known))

    def figures(self, workload: str) -> list[str]:
        """Return the names of all figures that somebody has, in the order of appearance."""
        return list(dict.fromkeys(key[2] for key in self._values if key[0] == workload))

    def ours(self, workload: str) -> str:
        """Return who of a workload's contestants is of this project."""
        names = [n for n in self.contestants(workload) if n.startswith("zexchange")]
        return min(names, key=len, default="")

    def ratio(self, workload: str, contestant: str, ours: str) -> float | None:
        """Return our median to theirs: more than 1 is more."""
        mine, other = self.spread(workload, ours), self.spread(workload, contestant)
        return mine.median / other.median if mine and other and other.median else None

    def judge(self, bar: Bar) -> Verdict:
        """Return what came of a bar: of several peers, the one that is hardest to beat."""
        if bar.workload not in self.workloads:
            return Verdict(bar, None)
        mine = self.spread(bar.workload, bar.ours, bar.figure)
        if mine is None or not bar.against:
            return Verdict(bar, mine.median if mine else None)
        ratios: dict[str, float] = {}
        for contestant in bar.against:
            theirs = self.spread(bar.other or bar.workload, contestant, bar.figure)
            if theirs and theirs.median:
                ratios[contestant] = mine.median / theirs.median
        if not ratios:
            return Verdict(bar, None)
        worst = (min if bar.least else max)(ratios, key=lambda name: ratios[name])
        return Verdict(bar, ratios[worst], worst)
