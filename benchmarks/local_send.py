"""The cost of a send, as a ratio to the plain recipe: a set of subscribers and a loop.

    python benchmarks/local_send.py [COUNT ...] [--rounds N]

Rounds of both are interleaved, so that a slower machine is slower for both; the table
has medians in nanoseconds a send and the median of the ratios round by round. The bars are
1.1 for a local exchange with 0, 1, 10 and 100 tasks, and 1.5 for an exchange of a
federation where nobody remote listens, with 1 task. Exit status 1 is over a bar.
"""

import argparse
import gc
import statistics
import sys
import time

import zexchange
from zexchange.local.registry import Registry

ROUNDS = 301
ROUND_SECONDS = 0.003
COUNTS = (0, 1, 10, 100)
LOCAL_BAR = 1.1
BRIDGED_BAR = 1.5


class Naive:
    """The plain recipe."""

    def __init__(self):
        self._subscribers = set()

    def attach(self, task):
        self._subscribers.add(task)

    def send(self, msg):
        for subscriber in self._subscribers:
            subscriber.send(msg)


class Task:
    """The cheapest task there is, so that the cost of the exchange shows most."""

    def send(self, msg):
        pass


def timed(send, n):
    """Return the seconds that ``n`` sends take."""
    start = time.perf_counter()
    for _ in range(n):
        send(1)
    return time.perf_counter() - start


def sends_a_round(send):
    """Return how many sends fill a round."""
    timed(send, 200)
    return max(20, int(200 * ROUND_SECONDS / timed(send, 200)))


def measure(naive, ours, number):
    """Return both costs in nanoseconds, and their ratio, as medians of interleaved rounds."""
    n = sends_a_round(naive)
    rounds = []
    for i in range(number):
        if i % 2:
            ours_took = timed(ours, n)
            naive_took = timed(naive, n)
        else:
            naive_took = timed(naive, n)
            ours_took = timed(ours, n)
        rounds.append((naive_took / n * 1e9, ours_took / n * 1e9))
    ratio = statistics.median(mine / plain for plain, mine in rounds)
    return *(statistics.median(column) for column in zip(*rounds, strict=True)), ratio


def filled(exchange, count):
    """Return ``exchange`` with ``count`` tasks attached."""
    for _ in range(count):
        exchange.attach(Task())
    return exchange


def row(label, naive, ours, bar, rounds):
    """Measure and print one row; return whether it is under its bar."""
    plain_ns, ours_ns, ratio = measure(naive.send, ours.send, rounds)
    verdict = "ok" if ratio <= bar else "OVER"
    print(f"{label:<44}{plain_ns:>10.0f}{ours_ns:>10.0f}{ratio:>8.2f}{bar:>7.1f}  {verdict}")
    return ratio <= bar


def bridged_row(rounds):
    """Measure a federated exchange with no remote listener, where there is a federation."""
    label = "bridged, nobody remote listens, 1 task"
    if not hasattr(zexchange, "federate"):
        print(f"{label:<44}skipped: this zexchange has no federate")
        return True
    registry = Registry()
    with zexchange.federate("benchmark-local-send", registry=registry):
        return row(label, filled(Naive(), 1), filled(registry.get("x"), 1), BRIDGED_BAR, rounds)


def main(counts, rounds):
    """Print the table; return the exit status."""
    gc.disable()
    print(f"{'':<44}{'naive ns':>10}{'ours ns':>10}{'ratio':>8}{'bar':>7}")
    results = [
        row(
            f"local, {n} tasks",
            filled(Naive(), n),
            filled(Registry().get("x"), n),
            LOCAL_BAR,
            rounds,
        )
        for n in counts
    ]
    results.append(bridged_row(rounds))
    return 0 if all(results) else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("counts", nargs="*", type=int, default=COUNTS, help="of tasks")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of each row")
    arguments = parser.parse_args()
    sys.exit(main(arguments.counts, arguments.rounds))
