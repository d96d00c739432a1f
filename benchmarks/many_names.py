"""Names without end: a service that answers each request on a name of its own.

    python benchmarks/many_names.py [--names N] [--alive N] [--every N]

A client attaches to `reply.<uuid>`, sends a request that names it, and detaches when the
answer is there; a thousand such names are alive at a time (``--alive``), N in all (a million).
Every so many names (50,000) the resident memory of both processes is printed. Before the first
and after the last, three processes in turn attach to `**`, join, and say how long it took until
everything that both send from then on is theirs.

Status 1: memory is not flat from 200,000 names on (from the middle, if there are fewer), or a
late `**` is ready later at the end than at the beginning. Status 2: an answer did not come.
"""

import argparse
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import deque

import zexchange

FEDERATION = "benchmark-names"
BATCH = 250
"""Names that are attached, waited for, and asked about in one go."""
PATIENCE = 60.0
FLAT_FROM = 200_000
REPLAY_BYTES = 4 << 20
GROWTH_MB = 6.0
"""Resident memory that an allocator may take without a table that grows."""
LATER = 1.0
"""Seconds by which a late `**` may be ready later at the end."""
PAGE = os.sysconf("SC_PAGE_SIZE")


# ----------------------------------------------------------------- in the other processes


def serve(node):
    """Answer each request on the name that it brings, until the input ends."""

    @zexchange.get_exchange("requests").handler
    def answer(request):
        number, name = request
        zexchange.get_exchange(name).send(number)

    node.wait_ready()
    print("ready", flush=True)
    sys.stdin.read()


class Client:
    """Asks, and counts what is answered."""

    def __init__(self, node, alive):
        self.node, self.alive = node, alive
        self.requests = zexchange.get_exchange("requests")
        self.asked, self.answered = 0, 0
        self.batches = deque()

    def ask(self):
        """Attach a batch of fresh names, and ask for an answer on each."""
        while sum(len(batch) for batch, _ in self.batches) > self.alive - BATCH:
            self.retire()
        left, over = set(range(self.asked, self.asked + BATCH)), threading.Event()

        def take(number):
            left.discard(number)
            self.answered += 1
            if not left:
                over.set()

        names = [f"reply.{uuid.uuid4()}" for _ in left]
        task = zexchange.to_call(take)
        for name in names:
            zexchange.get_exchange(name).attach(task)
        self.node.wait_ready(PATIENCE)
        for number, name in enumerate(names, self.asked):
            self.requests.send((number, name))
        self.asked += BATCH
        self.batches.append((names, (task, over)))

    def retire(self):
        """Wait for the answers of the oldest batch, and detach its names."""
        names, (task, over) = self.batches.popleft()
        if not over.wait(PATIENCE):
            print(json.dumps({"missing": self.asked - self.answered}), flush=True)
            raise SystemExit(2)
        for name in names:
            zexchange.get_exchange(name).detach(task)


def ask(node, alive):
    """Ask for as many answers as a line says, again and again, until the input ends."""
    client = Client(node, alive)
    node.wait_subscribers("requests")
    print("ready", flush=True)
    for line in sys.stdin:
        while client.asked < int(line):
            client.ask()
        print(json.dumps({"asked": client.asked, "answered": client.answered}), flush=True)


def join_late():
    """Attach to everything, join, and print how many seconds it took to be in force."""
    zexchange.match("**").attach(zexchange.to_call(lambda msg: None))
    begun = time.monotonic()
    node = zexchange.federate(FEDERATION, label="late")
    try:
        node.wait_peers(2, PATIENCE)
        node.wait_ready(PATIENCE)
        print(time.monotonic() - begun, flush=True)
    except zexchange.NotReady as error:
        print(error, file=sys.stderr)
        print("never", flush=True)
    node.close(1.0)


def work(role, alive):
    """Be one of the processes."""
    logging.getLogger("zexchange").setLevel(logging.ERROR)
    if role == "late":
        join_late()
        return
    # The frames kept for replay fill their room first, whatever the names; 32 MiB take long.
    with zexchange.federate(FEDERATION, label=role, replay_bytes=REPLAY_BYTES) as node:
        serve(node) if role == "service" else ask(node, alive)


# ----------------------------------------------------------------------- in this process


class Worker:
    """One of the processes, and its memory so far."""

    def __init__(self, role, alive, directory):
        self.role, self.samples = role, []
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--work", role, str(alive)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "ZEXCHANGE_DIR": directory},
        )

    def line(self):
        """Return what it prints next."""
        return self.process.stdout.readline().strip()

    def tell(self, line):
        """Write a line to its input."""
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def sample(self, names):
        """Note the resident memory, in MB."""
        with open(f"/proc/{self.process.pid}/statm") as statm:
            self.samples.append((names, int(statm.read().split()[1]) * PAGE / 1e6))
        return self.samples[-1][1]

    def growth(self, since):
        """Return by how many MB the last tenth of the samples is above the first after a number."""
        after = [mb for names, mb in self.samples if names >= since]
        some = max(1, len(after) // 10)
        return statistics.median(after[-some:]) - statistics.median(after[:some])


def late(directory):
    """Return how long a late `**` takes, in seconds: the median of three."""
    took = []
    for _ in range(3):
        worker = Worker("late", 0, directory)
        said = worker.line()
        worker.process.communicate()
        took.append(float("inf") if said in ("never", "") else float(said))
    return statistics.median(took)


def run(client, service, names, every):
    """Have the client ask, and sample both; return whether every answer came."""
    step, begun = max(BATCH, every // 5), time.monotonic()
    for number in range(step, names + step, step):
        client.tell(number)
        said = client.line()
        if "answered" not in said:
            print(f"an answer is missing: {said or 'the client has ended'}")
            return False
        memory = [worker.sample(number) for worker in (client, service)]
        if number % every < step:
            rate = number / (time.monotonic() - begun)
            shown = "  ".join(f"{mb:7.1f}" for mb in memory)
            print(f"{number:>10,} names  {shown} MB  {rate:,.0f} names/s", flush=True)
    return True


def main(arguments):
    """Run, say how it went, and return the exit status."""
    with tempfile.TemporaryDirectory(prefix="zxb-") as directory:
        workers = []
        try:
            for role in ("service", "client"):
                workers.append(Worker(role, arguments.alive, directory))
                if workers[-1].line() != "ready":
                    raise SystemExit(f"the {role} did not come up")
            service, client = workers
            before = late(directory)
            print(f"{'':>10}        client  service   a late ** takes {before:.2f} s", flush=True)
            if not run(client, service, arguments.names, arguments.every):
                return 2
            after = late(directory)
        finally:
            for worker in workers:
                worker.process.kill()
                worker.process.communicate()
    since = min(FLAT_FROM, arguments.names // 2)
    growth = {worker.role: worker.growth(since) for worker in workers}
    flat = all(mb <= GROWTH_MB for mb in growth.values())
    soon = after <= before + LATER
    grown = ", ".join(f"{role} {mb:+.1f} MB" for role, mb in growth.items())
    print(f"from {since:,} names on: {grown}, at most {GROWTH_MB:g}: {'ok' if flat else 'GROWS'}")
    print(f"a late ** takes {before:.2f} s, then {after:.2f} s: {'ok' if soon else 'LATER'}")
    return 0 if flat and soon else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        work(sys.argv[2], int(sys.argv[3]))
        sys.exit(0)
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--names", type=int, default=1_000_000)
    parser.add_argument("--alive", type=int, default=1_000, help="names at a time")
    parser.add_argument("--every", type=int, default=50_000, help="names from a line to the next")
    sys.exit(main(parser.parse_args()))
