"""The bars against pyzmq by hand in its plainest form: both measured here, in turns.

    python -m benchmarks.by_hand [--only WORD ...] [--minutes M]

A bar is a ratio of ours to theirs, or a figure of ours alone (`compare/bars.py` has them). By hand
is what a program with one topic writes: `send(topic + pack(msg))` at one end, and at the other
`call(unpack(recv()[n:]))`; batched, a list of 64 is packed into a frame.

All sides of all bars take turns: a *slice* of some tenths of a second of each, in an order that is
drawn, with the sides of a bar after each other. After a few slices all processes are replaced,
since a process can be a few percent faster or slower for its whole life. Such a *generation* is
what the bootstrap draws again and again, and the figure is the ratio of the medians of all slices
of the generations drawn (of an absolute bar, the median). A bar is *reached* if the interval in
which 95 of 100 draws lie is on its good side, *not reached* if it is on the other, and *undecided*
if it reaches across.

It prints Markdown, and takes five minutes. Exit status 1 is a bar that is not reached, 2 something
that cannot be measured.
"""

import argparse
import random
import sys
import time
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.by_hand_verdict import clusters, figure, judge, table
from benchmarks.compare.bars import BY_HAND
from benchmarks.compare.contestants import CONTESTANTS
from benchmarks.compare.group import Group, GroupError
from benchmarks.compare.measures import ALONE, MEASURES
from benchmarks.compare.record import circumstances
from benchmarks.compare.report import number, where
from benchmarks.compare.run import FRESH
from benchmarks.compare.servers import Servers
from benchmarks.compare.values import Size
from benchmarks.compare.workloads import WORKLOADS

MINUTES = 5.0
SIZE = Size(rounds=0, seconds=0.15, pings=120, burn=0.4)
SLICES = 3
"""Of each side in a generation; of those whose processes are good for one slice, one."""
BY_NAME = {workload.name: workload for workload in WORKLOADS}
LIVES = {
    "flood": "flood",
    "ping": "timed",
    "request": "timed",
    "oneway": "timed",
    "burner": "burner",
    "heard": "burner",
}
"""Measures that share processes: a node may send in another way for seconds after a hard one."""


class LostError(Exception):
    """A slice lost something; the text says which."""


class Generation:
    """The processes of one life, and the slices that they gave."""

    def __init__(self, clusters, size, counts):
        self._clusters = clusters
        self._size = size
        self._counts = counts
        self._groups = {}
        self._held = ExitStack()
        self.taken = {side: [] for cluster in clusters for side in cluster}

    def take(self):
        """Return the figures of all slices, by side."""
        with self._held:
            servers = self._held.enter_context(Servers())
            for side in self.taken:
                self._warm(side, servers)
            for turn in range(SLICES):
                for cluster in drawn(self._clusters):
                    self._turn(cluster, servers, again=turn > 0)
        return self.taken

    def _turn(self, cluster, servers, again):
        for side in drawn(cluster):
            workload = BY_NAME[side.workload]
            if workload.measure in ALONE:  # one process measures all sides, in turns of its own
                figures = ALONE[workload.measure](self._group(side, servers), workload)
                for each in cluster:
                    self.taken[each].append(figures[each.contestant][each.figure])
                return
            if not (again and workload.shape in FRESH):
                self.taken[side].append(self._slice(side, servers))

    def _warm(self, side, servers):
        """Take slices that do not count: the first ones tell how many messages one has."""
        workload = BY_NAME[side.workload]
        if workload.measure == "flood":
            for _ in range(1 if workload.name in self._known(side) else 3):
                self._slice(side, servers)
        elif workload.shape not in FRESH and workload.measure not in ALONE:
            self._group(side, servers)

    def _known(self, side):
        return self._counts.setdefault(side.contestant, {})

    def _slice(self, side, servers):
        workload = BY_NAME[side.workload]
        figures = MEASURES[workload.measure](self._group(side, servers), workload)
        if figures.get("lost"):
            raise LostError(f"{side.contestant} lost {figures['lost']:.0f} of {workload.name}")
        return figures[side.figure]

    def _group(self, side, servers):
        workload = BY_NAME[side.workload]
        name = "zexchange" if workload.measure in ALONE else side.contestant
        key = (name, workload.shape, LIVES.get(workload.measure))
        if workload.shape in FRESH and key in self._groups:
            self._groups.pop(key).close()
        if key not in self._groups:
            group = self._groups[key] = Group(name, workload.shape, self._size, servers)
            self._held.callback(group.close)
            group.counts = self._known(side)
        return self._groups[key]


def measured(bars, minutes, size):
    """Yield the figures of one generation after another, until the time is over."""
    together, counts, start = clusters(bars), {}, time.monotonic()
    while time.monotonic() < start + minutes * 60:
        yield Generation(together, size, counts).take()


def drawn(some):
    """Return them in an order that is drawn."""
    return random.sample(some, len(some))


def possible(bar):
    """Return whether all that take part in a bar are installed."""
    names = [bar.ours, *bar.against]
    return not any(name in CONTESTANTS and CONTESTANTS[name].missing() for name in names)


def chosen(words):
    """Return the bars with one of some words in their names or workloads, that are possible."""
    return [
        bar
        for bar in BY_HAND
        if possible(bar) and any(word in bar.name or word in bar.workload for word in words or [""])
    ]


def main(arguments):
    """Measure, print, and return the exit status."""
    bars, msgspec = chosen(arguments.only), bool(find_spec("msgspec"))
    if not bars:
        print("no such bar; there are:", *(bar.name for bar in BY_HAND), sep="\n")
        return 2
    size = SIZE if arguments.seconds is None else tiny(arguments.seconds)
    taken, status = [], 0
    print(where(circumstances(), size).partition("\n\n")[0], flush=True)
    try:
        for generation in measured(bars, arguments.minutes, size):
            taken.append(generation)
            so_far = (f"{bar.name} {number(figure(bar, taken))}" for bar in bars)
            print(f"generation {len(taken)}: {'; '.join(so_far)}", file=sys.stderr, flush=True)
    except (GroupError, LostError) as error:
        print(f"cannot be measured: {error}", file=sys.stderr)
        status = 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
    print(f"\n{table(bars, taken, msgspec)}")
    missed = any(judge(bar, taken, msgspec).said == "not reached" for bar in bars)
    return status or int(missed)


def tiny(seconds):
    """Return a size with slices of as many seconds, for a try."""
    return Size(rounds=0, seconds=seconds, pings=8, burn=seconds)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=MINUTES, help="at most, about")
    parser.add_argument("--seconds", type=float, help="that a slice takes, instead of its own time")
    parser.add_argument("--only", nargs="+", metavar="WORD", help="bars with that in their names")
    sys.exit(main(parser.parse_args()))
