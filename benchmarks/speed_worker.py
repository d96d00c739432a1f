"""One of the processes that `speed.py` has of each commit: it does what lines ask for.

    PYTHONPATH=TREE python benchmarks/speed_worker.py sender|receiver|crowd FEDERATION

The package that is measured is the one in TREE, and may be an older one than this file: nothing but
public names that have been there for long may be used here. A request names a method of `Sender`,
`Receiver` or `Crowd` in JSON, an answer is a line of JSON too, and the process ends with its input.
"""

import json
import logging
import statistics
import sys
import time
from contextlib import ExitStack

from compare.pace import beside, burn
from speed_tasks import (
    PAYLOADS,
    Ages,
    Bell,
    Counter,
    Echo,
    Task,
    Tick,
    compute,
    now,
    paced,
)

import zexchange

PATIENCE = 120.0
PARTS = 40
MANY = tuple(f"many.{n}" for n in range(100))
ASKS = hasattr(zexchange.Exchange, "request")
"""Whether the package that is measured has requests."""


class Receiver:
    """Counts a flood, and answers what it is asked."""

    def __init__(self, federation):
        self._counter, self._ages = Counter(), Ages()
        self._held, self._burning = ExitStack(), ExitStack()
        for name in ("flood", *MANY):
            zexchange.get_exchange(name).attach(self._counter)
        if Tick:
            zexchange.get_exchange("structs", type=Tick).attach(self._counter)
        zexchange.get_exchange("stamps").attach(self._ages)
        zexchange.get_exchange("ask").attach(Echo())
        if ASKS:
            zexchange.get_exchange("requests").responder(lambda msg: msg)
        self.node = zexchange.federate(federation, stall=PATIENCE)
        self.node.wait_peers(1, timeout=PATIENCE)
        self.node.wait_ready(timeout=PATIENCE)

    def expect(self, goal):
        """Count from here on."""
        self._counter.count, self._counter.goal = 0, goal

    def came(self):
        """Wait for all that is expected; return how many came, and when the last did."""
        counter, deadline = self._counter, time.monotonic() + PATIENCE
        while counter.count < counter.goal and time.monotonic() < deadline:
            time.sleep(0.001)
        return counter.count, counter.came

    def close(self):
        """Leave."""
        self._burning.close()
        self._held.close()
        self.node.close(1)

    def clock(self, burning):
        """Note ages from here on, beside a thread that computes if asked."""
        self._ages.taken.clear()
        if burning:
            self._burning.enter_context(beside(burn))

    def clocked(self, goal):
        """Wait for all that is expected; return how many came, and the median age in seconds."""
        taken, deadline = self._ages.taken, time.monotonic() + PATIENCE
        while len(taken) < goal and time.monotonic() < deadline:
            time.sleep(0.001)
        self._burning.close()
        return len(taken), statistics.median(taken) if taken else 0.0

    def meet(self, federation):
        """Join a fresh federation, to hear what is sent to it."""
        registry = zexchange.Registry()
        registry.get("stamps").attach(self._ages)
        node = zexchange.federate(federation, registry=registry, stall=PATIENCE)
        self._held.callback(node.close, 1)

    def part(self):
        """Leave it."""
        self._held.close()


class Sender:
    """Sends inside its process, and to the receiver."""

    def __init__(self, federation):
        self._bell = Bell()
        zexchange.get_exchange("answer").attach(self._bell)
        self.node = zexchange.federate(federation, stall=PATIENCE)
        if Tick:
            zexchange.get_exchange("structs", type=Tick)
        for name in ("flood", "ask"):
            self.node.wait_subscribers(name, 1, timeout=PATIENCE)
        self.node.wait_ready(timeout=PATIENCE)
        self._local = {}

    def local(self, tasks, count):
        """Send to some tasks of a registry of its own; return the seconds that a send takes.

        It is the median of parts of a few milliseconds: whatever else runs disturbs some of them.
        """
        if tasks not in self._local:
            self._local[tasks] = zexchange.Registry().get("x")
            for _ in range(tasks):
                self._local[tasks].attach(Task())
        send, part, taken = self._local[tasks].send, max(count // PARTS, 1), []
        for _ in range(PARTS):
            start = time.perf_counter()
            for _ in range(part):
                send(1)
            taken.append((time.perf_counter() - start) / part)
        return statistics.median(taken)

    def flood(self, payload, count, burning, names):
        """Send at full speed to names in turn; return when that began.

        Beside a thread that computes, if asked.
        """
        sends = [zexchange.get_exchange(name).send for name in names]
        send, make, many = sends[0], PAYLOADS[payload], len(sends)
        with beside(burn) if burning else ExitStack():
            start = now()
            if many == 1:
                for n in range(count):
                    send(make(n))
            else:
                for n in range(count):
                    sends[n % many](make(n))
        return start

    def paced(self, rate, count, burning):
        """Send as many at a rate, beside a thread that computes if asked."""
        with beside(burn) if burning else ExitStack():
            paced(zexchange.get_exchange("stamps").send, rate, count)

    def first(self, federation, rate, count):
        """Send at a rate in a fresh federation, beside a thread that computes.

        Return which time in seconds 99 of 100 sends keep.
        """
        registry = zexchange.Registry()
        node = zexchange.federate(federation, registry=registry, stall=PATIENCE)
        try:
            node.wait_subscribers("stamps", 1, timeout=PATIENCE)
            node.wait_ready(timeout=PATIENCE)
            with beside(burn):
                taken = sorted(paced(registry.get("stamps").send, rate, count))
        finally:
            node.close(1)
        return taken[int(0.99 * len(taken))]

    def oneway(self, count):
        """Send, and compute on after each, longer than a thread may wait for its turn."""
        send = zexchange.get_exchange("stamps").send
        for n in range(count):
            send((now(), n))
            compute(0.008)

    def trips(self, count):
        """Ask and wait for the answer, again and again; return the median in seconds."""
        ask, rung, taken = zexchange.get_exchange("ask").send, self._bell.rung, []
        for n in range(count):
            rung.clear()
            start = time.perf_counter()
            ask(n)
            if not rung.wait(PATIENCE):
                raise TimeoutError("no answer")
            taken.append(time.perf_counter() - start)
        return statistics.median(taken)

    def requests(self, count):
        """Make requests, one after the other; return the median in seconds."""
        ask, taken = zexchange.get_exchange("requests").request, []
        for n in range(count):
            start = time.perf_counter()
            ask(n, PATIENCE, PATIENCE)
            taken.append(time.perf_counter() - start)
        return statistics.median(taken)

    def close(self):
        """Leave."""
        self.node.close(1)


class Crowd:
    """Nodes at rest, all in this process, each with exchanges of its own."""

    def __init__(self, federation):
        self._federation = federation
        self._nodes = ExitStack()

    def gather(self, nodes):
        """Join with as many nodes, and wait until each is ready with each."""
        name = f"{self._federation}-at-rest"
        joined = []
        for _ in range(nodes):
            joined.append(zexchange.federate(name, registry=zexchange.Registry(), stall=PATIENCE))
            self._nodes.callback(joined[-1].close, 0.1)
        for node in joined:
            if nodes > 1:
                node.wait_peers(nodes - 1, timeout=PATIENCE)
            node.wait_ready(timeout=PATIENCE)

    def rest(self, seconds):
        """Return the part of a processor that all nodes take while nothing is sent."""
        before = time.process_time()
        time.sleep(seconds)
        return (time.process_time() - before) / seconds

    def close(self):
        """Leave."""
        self._nodes.close()


def main(role, federation):
    """Answer until the input ends."""
    logging.getLogger("zexchange").setLevel(logging.ERROR)
    work = {"sender": Sender, "receiver": Receiver, "crowd": Crowd}[role](federation)
    print(json.dumps(zexchange.__file__), flush=True)
    for line in sys.stdin:
        name, given = json.loads(line)
        print(json.dumps(getattr(work, name)(**given)), flush=True)
    work.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
