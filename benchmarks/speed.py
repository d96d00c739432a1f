"""Whether this working tree is slower than another commit: both measured here, in turns.

    tox -e speed -- [COMMIT] [--minutes M] [--only WORD ...]

COMMIT is, if none is named, where this branch left main, or the last tag if it has not. It
is unpacked into a temporary folder, and both are run by the same interpreter, with one
worker (`speed_worker.py`), so that they differ in nothing but the package.

Each has a sender and a receiver, and both take turns: a *slice* of some tenths of a second
of one, then of the other, which of them first is drawn. Every figure is a rate: of a time that is
measured it is how many are in a second, so that more is always better. After a few slices of each
load all four processes are replaced: what a process is given by chance (addresses, hashes) makes it
a few percent faster or slower for its whole life. Such a *generation* is therefore what the
bootstrap draws again and again, and the figure is the ratio of the medians of all slices of
the generations drawn, this tree's to the other's: more than 1 is faster.

A load is *slower* if the upper end of the interval in which 95 of 100 draws lie is below the
bar of 0.95, and *as fast* if the lower end is not. Once an interval says the same `STEADY`
times in a row the load is done with: of many looks one is wrong by chance. Until then it goes
on, for ten minutes at most. Exit status 1 is a load that is slower, 2 a slice that lost
something or a commit that cannot be run. Undecided at the end is no failure: the table has
the interval, and a quieter machine or `--minutes 30` narrows it.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tarfile
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

from speed_loads import LOADS, LostError, measurable
from speed_verdict import HERE, LEAST, THERE, Comparison

ROOT = Path(__file__).resolve().parent.parent
MINUTES = 10.0
SECONDS = 0.12
"""That a slice takes, about."""
SLICES = 2
"""Of each load in a generation; more of the last few that are open, which else only start."""
MOST_SLICES = 8
FEW = 5
"""Loads that are open, up to which those whose slices are longer get more than one."""


# ------------------------------------------------------------------------------ processes


class Process:
    """A worker of one tree."""

    def __init__(self, tree, role, folder):
        self._process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("speed_worker.py"), role, "speed"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            env={**os.environ, "PYTHONPATH": str(tree), "ZEXCHANGE_DIR": folder},
        )

    def tell(self, name, **given):
        """Ask for something whose answer is read later."""
        self._process.stdin.write(json.dumps([name, given]) + "\n")

    def answer(self):
        """Return the next answer."""
        line = self._process.stdout.readline()
        if not line:
            raise LostError(f"a process ended with status {self._process.wait()}")
        return json.loads(line)

    def ask(self, name, **given):
        """Ask, and return the answer."""
        self.tell(name, **given)
        return self.answer()

    def end(self):
        """Let it end by itself."""
        self._process.stdin.close()

    def close(self):
        """See to it that it has ended."""
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


class Pair:
    """A sender and a receiver of one tree."""

    def __init__(self, tree):
        self._folder = tempfile.TemporaryDirectory(prefix="zxb-", dir="/tmp")
        self._tree = Path(tree)
        self.processes = [Process(tree, role, self._folder.name) for role in ("sender", "receiver")]
        self.sender, self.receiver = self.processes

    def met(self):
        """Wait until both are ready; see that they run the tree's own package."""
        for process in self.processes:
            file = process.answer()
            if not Path(file).is_relative_to(self._tree):
                raise LostError(f"measured {file} instead of {self._tree}")

    @contextmanager
    def apart(self, role):
        """Have another process of the tree, for the time of a slice."""
        process = Process(self._tree, role, self._folder.name)
        try:
            process.answer()
            yield process
        finally:
            process.end()
            process.close()

    def end(self):
        """Let both end."""
        for process in self.processes:
            process.end()

    def close(self):
        """See to it that both have ended."""
        for process in self.processes:
            process.close()
        self._folder.cleanup()


# ------------------------------------------------------------------------------------ turns


class Generations:
    """Starts four processes at a time, and takes the slices of the loads that are asked for."""

    def __init__(self, trees, seconds):
        self._trees = trees
        self._seconds = seconds
        self._counts = {}

    def take(self, loads):
        """Return the rates of one generation, by load and tree."""
        pairs = {}
        try:
            for name, tree in self._trees.items():
                pairs[name] = Pair(tree)
            for pair in pairs.values():
                pair.met()
            return self._slices(pairs, loads)
        finally:
            for pair in pairs.values():
                pair.end()
            for pair in pairs.values():
                pair.close()

    def _slices(self, pairs, loads):
        for load in loads:
            for pair in drawn(pairs.values()):
                self._warm(load, pair)
        rates = {load: {name: [] for name in pairs} for load in loads}
        for _ in range(min(max(SLICES, 20 // len(loads)), MOST_SLICES)):
            for load in drawn(loads):
                if LOADS[load].units and len(loads) > FEW and rates[load][HERE]:
                    continue
                for name in drawn(pairs):
                    rates[load][name].append(LOADS[load].rate(pairs[name], self._counts[load]))
        return rates

    def _warm(self, load, pair):
        """Run a load that is not measured; the first time, until a slice's size is known."""
        of_load = LOADS[load]
        if of_load.units:
            self._counts[load] = max(int(of_load.units * min(self._seconds / SECONDS, 1)), 1)
        if load in self._counts:
            if of_load.warmed:
                of_load.rate(pair, max(self._counts[load] // 4, 1))
            return
        count, took = 4, 0.0
        while took < self._seconds / 2:
            count *= 2
            start = time.monotonic()
            of_load.rate(pair, count)
            took = time.monotonic() - start
        self._counts[load] = max(int(count * self._seconds / took), 1)


def drawn(some):
    """Return them in an order that is drawn."""
    return random.sample(list(some), len(some))


# ------------------------------------------------------------------------------- the tree


def git(*arguments):
    """Return what git prints, or an empty text if it fails."""
    run = subprocess.run(["git", "-C", ROOT, *arguments], capture_output=True, text=True)
    return run.stdout.strip() if run.returncode == 0 else ""


def default_commit():
    """Return where this branch left main, or the last tag if it has not; empty if neither is."""
    head = git("rev-parse", "HEAD")
    for main in ("main", "origin/main"):
        base = git("merge-base", "HEAD", main)
        if base and (base != head or git("status", "--porcelain", "zexchange")):
            return base
    return git("describe", "--tags", "--abbrev=0")


def unpack(commit, folder):
    """Put the package of a commit into a folder; return the commit's line in the log."""
    line = git("log", "-1", "--format=%h %s", commit, "--")
    if not line:
        raise LostError(f"there is no commit {commit!r}")
    archive = ["git", "-C", ROOT, "archive", commit, "zexchange"]
    with subprocess.Popen(archive, stdout=subprocess.PIPE) as process:
        with tarfile.open(fileobj=process.stdout, mode="r|") as tar:
            tar.extractall(folder, filter="data")
    return line


# ------------------------------------------------------------------------------------ all


def compare(comparison, generations, minutes):
    """Take generations until all is decided or the time is over; say how it stands."""
    start = time.monotonic()
    while comparison.open and time.monotonic() < start + minutes * 60:
        comparison.add(generations.take(comparison.open))
        passed = time.monotonic() - start
        print(f"{passed:>5.0f} s  {comparison.progress()}", flush=True)


def table(comparison):
    """Print all rows; return the loads that are slower."""
    print(f"\n{'a second':<24}{HERE:>13}{THERE:>13}{'ratio':>8}{'95 of 100':>18}{'gen.':>6}")
    for load in comparison.taken:
        print(comparison.row(load))
    return [load for load in comparison.taken if comparison.said(load) == "slower"]


def main(arguments):
    """Compare, and return the exit status."""
    commit = arguments.commit or default_commit()
    if not commit:
        print("name a commit: this branch has not left main, and there is no tag")
        return 2
    comparison = Comparison([], arguments.least)
    with ExitStack() as held:
        folder = held.enter_context(tempfile.TemporaryDirectory(prefix="zxb-"))
        try:
            print(f"this working tree to {unpack(commit, folder)}", flush=True)
            trees = {HERE: ROOT, THERE: Path(folder).resolve()}
            loads = measurable(arguments.only, trees.values())
            comparison = Comparison(loads, arguments.least)
            compare(comparison, Generations(trees, arguments.seconds), arguments.minutes)
        except LostError as error:
            print(f"nothing to compare: {error}")
            return 2
        except KeyboardInterrupt:
            print("interrupted")
    return 1 if table(comparison) else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("commit", nargs="?", help="the other one; else where this left main")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="at most")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="that a slice takes")
    parser.add_argument("--least", type=int, default=LEAST, help="generations before a verdict")
    parser.add_argument("--only", nargs="+", metavar="WORD", help="loads with that in their names")
    sys.exit(main(parser.parse_args()))
