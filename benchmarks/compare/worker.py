"""One process of a group: it does what lines on its input ask, and answers each with one.

    python -m benchmarks.compare.worker SEAT

The process ends with its input. A request names a method of `Work`, with its arguments; the answer
is its result, or the error.
"""

import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from zexchange.kinds import is_list
from zexchange.protocol.codec.values import decode, encode

from .contestants import CONTESTANTS
from .contestants.base import Ear, Seat
from .local import Local
from .pace import beside, burn, compute, paced
from .payloads import maker, plain
from .quantiles import in_microseconds

PAGE = os.sysconf("SC_PAGE_SIZE")


class Work:
    """The requests that a process answers; `measures.py` sends them."""

    def __init__(self, contestant: str, seat: dict[str, Any]) -> None:
        folder = Path(seat.pop("folder"))
        known: dict[str, Any] = {**seat, "folder": folder}
        self.seat = Seat(**known)
        self.end: Any = CONTESTANTS[contestant](self.seat)
        self.ears: dict[str, Ear] = {}
        self.heard: dict[str, int] = {}
        self.durations: list[float] = []
        self.came = 0.0
        self.responding = False
        self.local = Local()
        self.burning = ExitStack()

    def hear(self, topics: list[str], below: list[str]) -> None:
        """Begin to hear topics; those of one first level share an ear."""
        for topic in (*topics, *below):
            self.ears.setdefault(family(topic), Ear())
        self.end.hear(
            {topic: self.ears[family(topic)] for topic in topics},
            {level: self.ears[level] for level in below},
        )
        self.listen()

    # ------------------------------------------------------------------------- getting ready

    def listen(self) -> None:
        """Note from whom and on which topic a probe comes."""
        self.heard.clear()
        for ear in self.ears.values():
            ear.goal, ear.more = 0, self._note

    def _note(self, msg: Any) -> None:
        msg = self.end.said(msg)
        if is_list(msg) and len(msg) == 4 and msg[0] == "probe":
            self.heard[f"{msg[1]} {msg[2]}"] = msg[3]

    def probe(self, topics: list[str], number: int) -> None:
        """Send a probe on each topic."""
        for topic in topics:
            self.end.probe(topic, ["probe", topic, self.seat.index, number])
        self.end.flush()

    def probes(self) -> dict[str, int]:
        """Return the last probe that came, by topic and sender."""
        return dict(self.heard)

    # ---------------------------------------------------------------------------- throughput

    def expect(self, topic: str, goal: int) -> None:
        """Count from here on, and note when the last has come."""
        self.came, ear = 0.0, self.ears[topic]
        ear.more = self._last
        ear.count, ear.goal = 0, goal

    def _last(self, msg: Any) -> None:
        if not self.came:
            self.came = time.monotonic()

    def flood(self, topics: list[str], payload: str, count: int) -> float:
        """Send at full speed; return when that began."""
        began: float = self.end.flood(topics, maker(payload), count)
        return began

    def first(self, start: str, count: int) -> list[float]:
        """Send on as many names; return when that began, and the memory that was taken."""
        topics, before = [f"{start}.{n}" for n in range(count)], self.memory()
        return [self.end.first(topics, maker("dict")), self.memory() - before]

    def counted(self, topic: str, goal: int) -> list[float]:
        """Wait for what is on its way; return how many came, and when the last did."""
        ear, before, changed = self.ears[topic], -1, time.monotonic()
        while ear.count < goal and time.monotonic() < changed + self.end.quiet:
            if ear.count != before:
                before, changed = ear.count, time.monotonic()
            time.sleep(0.002)
        return [ear.count, self.came or changed]

    # ------------------------------------------------------------------------------- latency

    def echo(self) -> None:
        """Answer what is asked."""
        ear = self.ears["ask"]
        ear.goal, ear.more = 0, self.end.sender("answer")

    def ping(self, count: int, rate: float) -> dict[str, float]:
        """Ask and wait, while others flow at a rate if one is given."""
        if not rate:
            return in_microseconds(self.end.ping(self.ears["answer"], count))
        send, flowed = self.end.sender("bulk"), 0

        def flow(over: threading.Event) -> None:
            nonlocal flowed
            sent = paced(send, maker("dict"), rate, lambda n: not over.is_set())
            flowed = len(sent)

        start = time.monotonic()
        with beside(flow):
            figures = in_microseconds(self.end.ping(self.ears["answer"], count))
        return {**figures, "flow": flowed / (time.monotonic() - start)}

    def respond(self) -> None:
        """Answer requests, from the first call on."""
        if not self.responding:
            self.responding = True
            self.end.respond()

    def request(self, count: int) -> dict[str, float]:
        """Make requests."""
        return in_microseconds(self.end.request(count))

    def clock(self, topic: str) -> None:
        """Note how old each message is when it comes."""
        self.durations, ear = [], self.ears[topic]
        note, now = self.durations.append, time.monotonic
        ear.goal = 0
        ear.more = lambda msg: note(now() - msg[0])

    def clocked(self, goal: int) -> dict[str, float]:
        """Wait for what is on its way; return how old the messages were."""
        before, changed = -1, time.monotonic()
        while len(self.durations) < goal and time.monotonic() < changed + self.end.quiet:
            if len(self.durations) != before:
                before, changed = len(self.durations), time.monotonic()
            time.sleep(0.002)
        return {**in_microseconds(self.durations), "count": len(self.durations)}

    def oneway(self, count: int) -> None:
        """Send, and compute on after each, longer than a thread may wait for its turn."""
        send, make = self.end.sender("x"), maker("stamp")
        for n in range(count):
            send(make(n))
            compute(0.008)

    def paced(
        self, payload: str, rate: float, count: int, burning: bool, most: float
    ) -> dict[str, float]:
        """Send at a rate, beside a thread that computes if asked; return the sends' times.

        A sender that cannot hold the rate sends less, for no longer than ``most`` seconds, but at
        least one.
        """
        send, start = self.end.sender("x"), time.monotonic()

        def going(n: int) -> bool:
            return n < count and (n == 0 or time.monotonic() < start + most)

        pace = partial(paced, send, maker(payload), rate, going)
        if burning:
            with beside(burn):
                taken = pace()
        else:
            taken = pace()
        took = time.monotonic() - start
        return {**in_microseconds(taken), "rate": len(taken) / took, "sent": len(taken)}

    def kindle(self) -> None:
        """Have another thread of this process compute, until `quench`."""
        self.burning.enter_context(beside(burn))

    def quench(self) -> None:
        """End that thread."""
        self.burning.close()

    # -------------------------------------------------------------------------------- others

    def codec(self, seconds: float) -> dict[str, dict[str, float]]:
        """Pack, and unpack, one call a message: of msgpack, and of ours."""
        return {
            "msgpack": _both_ways(*plain("x"), seconds / 2),
            "our codec": _both_ways(encode, decode, seconds / 2),
        }

    def send_local(self, tasks: int, bridged: bool, seconds: float) -> dict[str, float]:
        """Measure sends inside this process, of all in turn."""
        return self.local.measure(tasks, bridged, seconds)

    def join(self, others: int) -> float:
        """Join, and return when all others are ready."""
        node = self.end.join()
        node.wait_peers(others, 60)
        node.wait_ready(60)
        return time.monotonic()

    def leave(self) -> None:
        """Leave, to join again."""
        self.end.leave()

    def peers(self, count: int) -> None:
        """Wait until there are as many peers."""
        self.end.nodes[0].wait_peers(count, 60)
        self.end.nodes[0].wait_ready(60)

    def memory(self) -> float:
        """Return the resident memory in bytes."""
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * PAGE

    def cpu(self) -> float:
        """Return the processor time that all threads of this process have taken, in seconds."""
        return time.process_time()

    def exchanges(self, count: int) -> float:
        """Make as many exchanges with a task each; return the memory they took."""
        before, ear = self.memory(), Ear()
        self.kept = [self.end.exchange(f"memory.{n}", ear) for n in range(count)]
        return self.memory() - before


def _both_ways(pack: Any, unpack: Any, seconds: float) -> dict[str, float]:
    make = maker("dict")
    body = pack(make(1))
    packed = _a_second(lambda n: pack(make(n)), seconds / 2)
    unpacked = _a_second(lambda n: unpack(body), seconds / 2)
    return {"pack": packed, "unpack": unpacked, "rate": min(packed, unpacked)}


def _a_second(work: Callable[[int], Any], seconds: float) -> float:
    start, n = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        for _ in range(100):
            work(n)
            n += 1
    return n / (time.perf_counter() - start)


def family(topic: str) -> str:
    """Return the first level of a topic's name."""
    return topic.partition(".")[0]


def main(arguments: list[str]) -> None:
    """Answer until the input ends."""
    logging.getLogger("zexchange").setLevel(logging.ERROR)
    work = Work(**json.loads(arguments[0]))
    print("null", flush=True)
    for line in sys.stdin:
        name, given = json.loads(line)
        try:
            answer = {"answer": getattr(work, name)(**given)}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)
    work.quench()
    work.end.close()


if __name__ == "__main__":
    main(sys.argv[1:])
