"""The verdict on a bar: its figure, the interval around it, and what that says. Pure.

`by_hand.py` measures. A *side* is what one contestant does in one workload, and a *generation* is
what the processes of one life gave: by side, the figures of its slices.
"""

import statistics
from dataclasses import dataclass

from benchmarks.compare.analysis import bootstrap
from benchmarks.compare.bars import WITH_MSGSPEC
from benchmarks.compare.quantiles import modes
from benchmarks.compare.report import number
from benchmarks.compare.workloads import WORKLOADS

LEAST = 6
"""Generations before a bar is judged: of fewer, an interval says little."""
FIGURES = {workload.name: workload.figure for workload in WORKLOADS}


@dataclass(frozen=True)
class Side:
    """One contestant in one workload, and the figure that counts of it."""

    workload: str
    contestant: str
    figure: str


@dataclass(frozen=True)
class Judgement:
    """What came of a bar; without a figure nothing was measured."""

    limit: float
    figure: float | None = None
    low: float = 0.0
    high: float = 0.0
    said: str = "not measured"


def sides(bar):
    """Return ours, and theirs if the bar is a ratio."""
    figure = bar.figure or FIGURES[bar.workload]
    ours = Side(bar.workload, bar.ours, figure)
    return ours, *(Side(bar.other or bar.workload, name, figure) for name in bar.against)


def limit(bar, msgspec):
    """Return the limit of a bar, which may be another with msgspec installed."""
    return WITH_MSGSPEC.get(bar.name, bar.limit) if msgspec else bar.limit


def verdict(low, high, limit, least):
    """Return what an interval says of a limit that is the least, or the most, that is good."""
    worst, best = (low, high) if least else (-high, -low)
    limit = limit if least else -limit
    if worst >= limit:
        return "reached"
    return "undecided" if best >= limit else "not reached"


def median(taken, side):
    """Return the median of all slices of a side, of some generations; None of none."""
    values = [value for generation in taken for value in generation.get(side, ())]
    return statistics.median(values) if values else None


def figure(bar, taken):
    """Return the ratio of the medians, ours to theirs, or our median; None if one is missing."""
    found = [median(taken, side) for side in sides(bar)]
    if None in found:
        return None
    return found[0] / found[1] if len(found) > 1 else found[0]


def judge(bar, taken, msgspec=True):
    """Return what some generations say of a bar."""
    most = limit(bar, msgspec)
    complete = [one for one in taken if all(one.get(side) for side in sides(bar))]
    if not complete:
        return Judgement(most)
    low, high = bootstrap(complete, lambda some: figure(bar, some))
    said = verdict(low, high, most, bar.least) if len(complete) >= LEAST else "undecided"
    return Judgement(most, figure(bar, complete), low, high, said)


def row(bar, taken, msgspec=True):
    """Return a line of the table: the bar, the figure, its interval, both medians, the verdict."""
    found = judge(bar, taken, msgspec)
    sign, unit = ("≥" if bar.least else "≤"), "×" if bar.against else ""
    start = f"| {bar.name} | {sign} {number(found.limit)}{unit} |"
    if found.figure is None:
        return f"{start} – | – | – | {found.said} |"
    medians = " / ".join(number(median(taken, side)) for side in sides(bar))
    said = f"**{found.said}**" if found.said == "not reached" else found.said
    return (
        f"{start} {number(found.figure)}{unit} | {number(found.low)}–{number(found.high)} |"
        f" {medians} | {said} |"
    )


def table(bars, taken, msgspec=True):
    """Return all rows as Markdown, and below them the sides whose slices are in two groups."""
    lines = ["| bar | limit | here | 95 of 100 | ours / by hand | |", "|---|---|---|---|---|---|"]
    lines += [row(bar, taken, msgspec) for bar in bars]
    measured = [side for cluster in clusters(bars) for side in cluster]
    flagged = [text for side in measured if (text := groups(side, taken))]
    return "\n".join([*lines, *(["", *flagged] if flagged else [])])


def clusters(bars):
    """Return the sides of some bars, each once, with those that it is compared with."""
    found = {}
    for bar in bars:
        found.setdefault(bar.other or bar.workload, {}).update(dict.fromkeys(sides(bar)))
    return [list(cluster) for cluster in found.values()]


def groups(side, taken):
    """Return a sentence on a side whose slices fall into two groups; else an empty text."""
    found = modes([value for generation in taken for value in generation.get(side, ())])
    if not found:
        return ""
    low, high = map(number, found)
    return f"In two groups: {side.workload} of {side.contestant}, {low} and {high}."
