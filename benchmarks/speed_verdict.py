"""The verdict on the rates of two commits: ratios, their intervals, and when enough is known.

Pure: `speed.py` measures. A *generation* is what four processes gave before they were
replaced: for each load, by tree, the rates of its slices.
"""

import statistics

from compare.analysis import bootstrap

BAR = 0.95
LEAST = 8
"""Generations before anything is decided: of fewer, an interval says little."""
STEADY = 3
"""Looks in a row that must agree."""
HERE, THERE = "here", "there"


def ratio(taken, load):
    """Return the median rate of this tree over that of the other, of some generations."""
    mine, theirs = (
        statistics.median(rate for generation in taken for rate in generation[load][tree])
        for tree in (HERE, THERE)
    )
    return mine / theirs


def verdict(low, high, bar=BAR):
    """Return what an interval says: ``slower``, ``as fast``, or an empty text."""
    if high < bar:
        return "slower"
    return "as fast" if low >= bar else ""


def agreed(looks):
    """Return whether the last looks all say the same, and something."""
    last = looks[-STEADY:]
    return len(last) == STEADY and bool(last[0]) and len(set(last)) == 1


class Comparison:
    """The results for each load, and which of them are still open."""

    def __init__(self, loads, least=LEAST):
        self.taken = {load: [] for load in loads}
        self._looks = {load: [] for load in loads}
        self._found = {}
        self._least = least

    @property
    def open(self):
        """The loads that nothing is decided of."""
        return [load for load, looks in self._looks.items() if not agreed(looks)]

    def said(self, load):
        """Return the verdict on a load, as far as it is known; empty if it is undecided."""
        return self._looks[load][-1] if self._looks[load] else ""

    def add(self, generation):
        """Take in the rates of one generation, by load and tree, of the loads it has."""
        for load in generation:
            taken = self.taken[load]
            taken.append(generation)
            low, high = bootstrap(taken, lambda some, load=load: ratio(some, load))
            self._found[load] = ratio(taken, load), low, high
            self._looks[load].append(verdict(low, high) if len(taken) >= self._least else "")

    def row(self, load):
        """Return a line: both medians, the ratio, its interval, the verdict."""
        if load not in self._found:
            return f"{load:<24}nothing measured"
        mine, theirs = (
            statistics.median(rate for one in self.taken[load] for rate in one[load][tree])
            for tree in (HERE, THERE)
        )
        figure, low, high = self._found[load]
        return (
            f"{load:<24}{mine:>13,.0f}{theirs:>13,.0f}{figure:>8.3f}"
            f"{low:>9.3f} to {high:.3f}{len(self.taken[load]):>6}"
            f"  {self.said(load) or 'undecided'}"
        )

    def progress(self):
        """Return a few words on what is open."""
        spans = ("{} {:.2f}-{:.2f}".format(load, *self._found[load][1:]) for load in self.open)
        return " | ".join(spans) or "all is decided"
