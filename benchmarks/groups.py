"""Work that a group shares: how near to the ideal, and how many small jobs beside a plain flood.

    python benchmarks/groups.py [--rounds 5] [--jobs 100000]

Each round measures, in turn: 400 jobs of 10 ms for four workers; the same with two workers that
take ten times as long; and small jobs to four workers beside as many plain messages to four
listeners. Printed are medians with the least and the most: the time to the ideal (bars 1.1 and
1.15), the shares of equal workers to their mean, and the rate of jobs to that of messages (bar
0.5). `time.sleep` lasts longer than it is asked to, so the ideal is made of what workers measured.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import Any

import zexchange

MESSAGE = {"id": 17, "name": "job", "px": 191.25, "ok": True, "n": 3}
EQUAL, UNEQUAL = [0.01] * 4, [0.01, 0.01, 0.1, 0.1]


def work(federation: str, name: str, seconds: float) -> dict[str, Any]:
    """Take messages until standard input ends; return how many, and how long each took."""
    count, spent = 0, 0.0
    exchange = zexchange.get_exchange(name)

    def task(msg: object) -> None:
        nonlocal count, spent
        if seconds:
            began = time.perf_counter()
            time.sleep(seconds)
            spent += time.perf_counter() - began
        count += 1

    if name == "jobs":
        exchange.handler(task, group="workers")
    else:
        exchange.handler(task)
    with zexchange.federate(federation):
        sys.stdin.read()
    return {"count": count, "each": spent / max(1, count)}


def run(name: str, jobs: int, works: list[float]) -> tuple[float, list[dict[str, Any]]]:
    """Send jobs or plain messages to as many processes; return the seconds, and what each did."""
    federation = f"benchmark-groups-{os.getpid()}-{time.monotonic_ns()}"
    exchange = zexchange.get_exchange(name)
    with ExitStack() as stack:
        node = stack.enter_context(zexchange.federate(federation))
        command = [sys.executable, __file__, "--work", federation, name]
        workers = [
            stack.enter_context(
                subprocess.Popen(
                    [*command, str(seconds)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
                )
            )
            for seconds in works
        ]
        node.wait_subscribers(name, len(works), 60)
        time.sleep(0.3)
        began = time.perf_counter()
        for _ in range(jobs):
            exchange.send(MESSAGE)
        node.flush(120)
        took = time.perf_counter() - began
        done = [json.loads(worker.communicate()[0]) for worker in workers]
    return took, done


def shared(works: list[float]) -> tuple[float, float]:
    """Return the time to the ideal, and the largest distance of a share from the mean."""
    took, done = run("jobs", 400, works)
    assert sum(one["count"] for one in done) == 400, done
    ideal = 400 / sum(1 / one["each"] for one in done)
    mean = 400 / len(done)
    return took / ideal, max(abs(one["count"] - mean) / mean for one in done)


def main() -> int:
    """Measure, print, and return 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--work", nargs=3)
    given = parser.parse_args()
    if given.work:
        federation, name, seconds = given.work
        print(json.dumps(work(federation, name, float(seconds))))
        return 0
    found: dict[str, list[float]] = {"equal": [], "shares": [], "unequal": [], "small": []}
    for at in range(given.rounds):
        time_to_ideal, distance = shared(EQUAL)
        found["equal"].append(time_to_ideal)
        found["shares"].append(distance)
        found["unequal"].append(shared(UNEQUAL)[0])
        jobs, plain = (run(name, given.jobs, [0.0] * 4)[0] for name in ("jobs", "plain"))
        found["small"].append(plain / jobs)
        last = {key: round(values[-1], 2) for key, values in found.items()}
        print(
            f"round {at + 1} of {given.rounds}: {last}, {given.jobs / jobs:,.0f} jobs/s", flush=True
        )
    bars = {"equal": 1.1, "shares": 0.1, "unequal": 1.15, "small": 0.5}
    missed = False
    for key, values in found.items():
        median = statistics.median(values)
        met = median >= bars[key] if key == "small" else median <= bars[key]
        missed |= not met
        print(
            f"{key}: {median:.2f} ({min(values):.2f} to {max(values):.2f}), bar {bars[key]}:"
            f" {'reached' if met else 'missed'}"
        )
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
