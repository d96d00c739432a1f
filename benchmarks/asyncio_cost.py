"""The cost of reading a stream in asyncio rather than attaching a task, between two processes.

    python benchmarks/asyncio_cost.py

One process floods another, and asks it and waits for the answer; the other has a plain task, and a
coroutine that reads a stream. Rounds of both alternate. Exit status 1 if the coroutine gets less
than 0.6 of the messages a second, if a median round trip takes more than 1.3 times as long, or if
anything is lost.
"""

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import zexchange

KINDS = "plain", "stream"
MESSAGE = {"sym": "AAPL", "px": 191.25, "size": 100, "side": "buy", "venue": "X"}
PATIENCE = 60.0


class Counter:
    """Counts what comes, and says when the last of a round was there."""

    def __init__(self, goal: int) -> None:
        self.goal = goal
        self.count = 0
        self.came = zexchange.get_exchange("came")

    def send(self, msg: object) -> None:
        self.count += 1
        if self.count == self.goal:
            self.count = 0
            self.came.send(time.monotonic())


def hear(federation: str, goal: int) -> None:
    """Be the process that hears, until its input ends."""
    answer = zexchange.get_exchange("answer").send
    zexchange.get_exchange("flood.plain").attach(Counter(goal))
    zexchange.get_exchange("ask.plain").handler(answer)

    async def read(name: str, call) -> None:
        # Nothing may be lost here: a flood waits for the reader, as it does for a task.
        async with zexchange.get_exchange(name).stream(10_000, "block") as stream:
            async for msg in stream:
                call(msg)

    async def main() -> None:
        if "--uvloop" in sys.argv:
            assert "uvloop" in type(asyncio.get_running_loop()).__module__
        async with zexchange.federate(federation):
            reading = [
                asyncio.ensure_future(read("flood.stream", Counter(goal).send)),
                asyncio.ensure_future(read("ask.stream", answer)),
            ]
            await asyncio.to_thread(sys.stdin.read)
            for task in reading:
                task.cancel()

    if "--uvloop" in sys.argv:
        import uvloop

        uvloop.run(main())
    else:
        asyncio.run(main())


class Asker:
    """Sends, and takes what comes back."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.came = zexchange.get_exchange("came").stream()
        self.answered = threading.Event()
        zexchange.get_exchange("answer").handler(lambda msg: self.answered.set())

    def flood(self, kind: str) -> float:
        """Return the messages a second of a round."""
        send, began = zexchange.get_exchange(f"flood.{kind}").send, time.monotonic()
        for _ in range(self.count):
            send(MESSAGE)
        return self.count / (self.came.get(PATIENCE) - began)

    def ask(self, count: int) -> dict[str, list[float]]:
        """Return the microseconds of round trips to both, in turn."""
        sends = {kind: zexchange.get_exchange(f"ask.{kind}").send for kind in KINDS}
        taken: dict[str, list[float]] = {kind: [] for kind in KINDS}
        for _ in range(count):
            for kind, send in sends.items():
                self.answered.clear()
                began = time.monotonic()
                send(MESSAGE)
                if not self.answered.wait(PATIENCE):
                    raise SystemExit(f"no answer to {kind}")
                taken[kind].append((time.monotonic() - began) * 1e6)
        return taken


def measure(rounds: int, count: int, asks: int, uvloop: bool) -> int:
    os.environ["ZEXCHANGE_DIR"] = tempfile.mkdtemp(prefix="zx-")
    command = [sys.executable, __file__, "--hear", "bench", "--count", str(count)]
    other = subprocess.Popen([*command, *(["--uvloop"] if uvloop else [])], stdin=subprocess.PIPE)
    rates: dict[str, list[float]] = {kind: [] for kind in KINDS}
    trips: dict[str, list[float]] = {kind: [] for kind in KINDS}
    asker = Asker(count)
    with zexchange.federate("bench") as node:
        for name in ("flood.plain", "flood.stream", "ask.plain", "ask.stream"):
            node.wait_subscribers(name, 1, PATIENCE)
        for turn in range(rounds + 1):
            for kind in KINDS if turn % 2 else KINDS[::-1]:
                rate = asker.flood(kind)
                if turn:  # the first warms up
                    rates[kind].append(rate)
            for kind, taken in asker.ask(asks if turn else 10).items():
                trips[kind].append(statistics.median(taken))
        lost = sum(r.lost for r in node.stats().received.values())
        other.stdin.close()
        other.wait(PATIENCE)
    return judge(rates, trips, lost)


def judge(rates: dict[str, list[float]], trips: dict[str, list[float]], lost: int) -> int:
    """Print medians and ratios; return the exit status."""
    middle = statistics.median
    for kind in KINDS:
        rate, taken = middle(rates[kind]), middle(trips[kind])
        print(f"{kind:7} {rate:9,.0f} msg/s   round trip p50 {taken:6.0f} us")
    speed = middle(b / a for a, b in zip(rates["plain"], rates["stream"], strict=True))
    trip = middle(b / a for a, b in zip(trips["plain"], trips["stream"], strict=True))
    print(f"ratio   {speed:9.2f} (at least 0.6)   {trip:6.2f} (at most 1.3)   {lost} lost")
    return int(speed < 0.6 or trip > 1.3 or lost > 0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--count", type=int, default=100_000, help="messages of a flood")
    parser.add_argument("--asks", type=int, default=500, help="round trips of a round")
    parser.add_argument("--uvloop", action="store_true")
    parser.add_argument("--hear", metavar="FEDERATION", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.hear:
        hear(options.hear, options.count)
    else:
        sys.exit(measure(options.rounds, options.count, options.asks, options.uvloop))
