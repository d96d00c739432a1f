"""Joins of fresh processes: from `federate()` to `wait_peers(1)`, without the interpreter's start.

    python benchmarks/joins.py [--joins N] [--at-once N] [--busy N] [--killed SHARE] [--most S]

A node stays; processes join it, a few at once (3), and leave, some of them killed (a tenth).
The first half of the joins (3,000 in all) has the machine to itself, the second goes on beside
processes that burn CPU (4). Printed are p50, p99, p99.9 and the longest of each half, and for
each join over ``--outlier`` seconds (1) how long its threads waited for a processor, and what
its node and the one that stays did meanwhile, by one clock.

Status 1: p99.9 of a half is over ``--most`` seconds (3). Status 2: a process did not join.
"""

import argparse
import json
import logging
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import zexchange

FEDERATION = "benchmark-joins"
PATIENCE = 60.0
MARGIN = 0.5
"""Seconds before a long join from which on the other end is asked what it did."""
SHOWN = 80
"""Lines of a timeline."""
clock = time.monotonic


# ----------------------------------------------------------------- in the other processes


class Records:
    """The recent log and actions of a node, with times: its log, its messages, its effects."""

    def __init__(self, most):
        self.rows = deque(maxlen=most)
        handler = logging.Handler()
        handler.emit = lambda record: self.add("log", record.getMessage())
        logging.getLogger("zexchange").addHandler(handler)
        logging.getLogger("zexchange").setLevel(logging.DEBUG)
        logging.getLogger("zexchange").propagate = False
        self._trace()

    def add(self, kind, text):
        """Note something."""
        self.rows.append((clock(), kind, str(text)[:160]))

    def _trace(self):
        """Note what the session takes and asks for: no log is as fine as that."""
        from zexchange.net.engine.executor import EffectExecutor
        from zexchange.protocol.session.peering import Peering
        from zexchange.protocol.session.readiness import Readiness
        from zexchange.protocol.session.session import Session

        for owner, name in (
            (Session, "receive"),
            (Peering, "probed"),
            (Readiness, "token"),
            (Readiness, "proven"),
            (EffectExecutor, "_perform"),
        ):
            self._wrap(owner, name)

    def _wrap(self, owner, name):
        function = getattr(owner, name)

        def noted(this, *args, **others):
            self.add(name.strip("_"), args[0] if len(args) == 1 else args[:2])
            return function(this, *args, **others)

        setattr(owner, name, noted)

    def between(self, since, until):
        """Return the rows of a span of time."""
        return [row for row in list(self.rows) if since <= row[0] <= until]


def waited():
    """Return for how many seconds this process' threads have waited for a processor."""
    total = 0
    for path in Path("/proc/self/task").glob("*/schedstat"):
        total += int(path.read_text().split()[1])
    return total / 1e9


def stay():
    """Be the node that stays; answer with what was done in spans of time."""
    records = Records(200_000)
    with zexchange.federate(FEDERATION, label="stays"):
        print("ready", flush=True)
        for line in sys.stdin:
            print(json.dumps(records.between(*map(float, line.split()))), flush=True)


def join(outlier, killed):
    """Join, say how long it took, and leave, or be killed."""
    records = Records(20_000)
    before, begun = waited(), clock()
    try:
        node = zexchange.federate(FEDERATION, label="joins")
        federated = clock()
        node.wait_peers(1, PATIENCE)
        missing = ""
    except zexchange.ExchangeError as error:
        federated, missing = clock(), str(error)
    ended = clock()
    said = {
        "begun": begun,
        "took": ended - begun,
        "federate": federated - begun,
        "waited": waited() - before,
        "missing": missing,
        "id": "" if missing else node.id,
    }
    if missing or said["took"] > outlier:
        said["rows"] = records.between(begun, ended)
    print(json.dumps(said), flush=True)
    if killed:
        os.kill(os.getpid(), signal.SIGKILL)
    if not missing:
        node.close(1.0)


# ----------------------------------------------------------------------- in this process


def start(role, *arguments, directory):
    """Start one of the processes."""
    return subprocess.Popen(
        [sys.executable, __file__, "--work", role, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "ZEXCHANGE_DIR": directory},
    )


def joined(directory, outlier, killed):
    """Have a process join, and return what it said; None if it said nothing."""
    process = start("join", outlier, int(killed), directory=directory)
    said, _ = process.communicate()
    return json.loads(said) if said else None


def half(name, number, arguments, directory):
    """Have so many processes join, and return what they said."""
    said, shown = [], clock()
    chances = [random.random() < arguments.killed for _ in range(number)]
    with ThreadPoolExecutor(arguments.at_once) as pool:
        jobs = [pool.submit(joined, directory, arguments.outlier, chance) for chance in chances]
        for job in jobs:
            said.append(job.result())
            if clock() - shown > 5:
                shown = clock()
                longest = max(one["took"] for one in said if one)
                print(f"  {name}: {len(said)} of {number}, longest {longest:.2f} s", flush=True)
    return said


def quantile(took, share):
    """Return the value that so many are not above."""
    return sorted(took)[min(len(took) - 1, int(share * len(took)))]


def explain(one, stays):
    """Print what happened at both ends in a join that took long."""
    begun = one["begun"]
    stays.stdin.write(f"{begun - MARGIN} {begun + one['took']}\n")
    stays.stdin.flush()
    others = json.loads(stays.stdout.readline())
    rows = [("joins", *row) for row in one["rows"]]
    me = one["id"]
    rows += [("stays", *row) for row in others if not me or me[-8:] in row[2] or row[1] == "log"]
    print(
        f"\n{one['id'][:8]} took {one['took']:.2f} s ({one['federate']:.2f} s in federate), its"
        f" threads waited {one['waited']:.2f} s for a processor {one['missing']}"
    )
    rows.sort(key=lambda row: row[1])
    for who, at, kind, text in rows[:SHOWN]:
        print(f"  {at - begun:8.3f} s  {who}  {kind:<8} {text}")
    if len(rows) > SHOWN:
        print(f"  ... and {len(rows) - SHOWN} more")


def report(name, said, stays, arguments):
    """Print a half's figures; return whether they are good."""
    there = [one for one in said if one]
    took = [one["took"] for one in there]
    for one in there:
        if one["missing"] or one["took"] > arguments.outlier:
            explain(one, stays)
    figures = [statistics.median(took), quantile(took, 0.99), quantile(took, 0.999), max(took)]
    shown = "  ".join(f"{value:7.3f}" for value in figures)
    lost = len(said) - len(there) + sum(bool(one["missing"]) for one in there)
    print(f"{name:<14}{len(said):>6} joins  {shown} s  {lost} did not join", flush=True)
    return figures[2] <= arguments.most, not lost


def main(arguments):
    """Run both halves, and return the exit status."""
    verdicts = []
    with tempfile.TemporaryDirectory(prefix="zxb-") as directory:
        stays = start("stay", directory=directory)
        busy = []
        try:
            if stays.stdout.readline().strip() != "ready":
                raise SystemExit("the node that stays did not come up")
            heads = "    p50      p99    p99.9      max"
            print(f"{'':<26}{heads}", flush=True)
            for name, burners in (("alone", 0), (f"beside {arguments.busy}", arguments.busy)):
                burn = [sys.executable, "-c", "while True: pass"]
                busy = [subprocess.Popen(burn) for _ in range(burners)]
                said = half(name, arguments.joins // 2, arguments, directory)
                for process in busy:
                    process.kill()
                verdicts.append(report(name, said, stays, arguments))
        finally:
            for process in (*busy, stays):
                process.kill()
                process.wait()
    in_time, all_joined = (all(column) for column in zip(*verdicts, strict=True))
    print(f"p99.9 at most {arguments.most:g} s: {'ok' if in_time else 'OVER'}")
    if not all_joined:
        return 2
    return 0 if in_time else 1


if __name__ == "__main__":
    if sys.argv[1:3] == ["--work", "stay"]:
        sys.exit(stay())
    if sys.argv[1:3] == ["--work", "join"]:
        sys.exit(join(float(sys.argv[3]), sys.argv[4] == "1"))
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--joins", type=int, default=3_000)
    parser.add_argument("--at-once", type=int, default=3, help="processes that join at a time")
    parser.add_argument("--busy", type=int, default=4, help="processes that burn CPU, second half")
    parser.add_argument("--killed", type=float, default=0.1, help="share that does not say goodbye")
    parser.add_argument("--outlier", type=float, default=1.0, help="seconds; longer is explained")
    parser.add_argument("--most", type=float, default=3.0, help="seconds that p99.9 may be")
    sys.exit(main(parser.parse_args()))
