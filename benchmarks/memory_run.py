"""Memory of a sender at full speed, two healthy receivers, and one that is stopped mostly.

    python benchmarks/memory_run.py [--minutes M] [--payload MIB] [--every N] [--bound MB]

The sender sends small dicts as fast as it can, and after each N of them (20,000) bytes of
so many MiB (8). One receiver is stopped (SIGSTOP) for 20 seconds out of 30. The resident
memory of all four is read once a second, and a line a second says how it stands.

Status 1: a process was, when looked at, above the bound that docs/internals/window.md names for
payloads of 8 MiB and a stopped receiver (280 MB), or what it never goes below is growing: the
least of the last quarter is more than 10 MB above the least of the second (from 4 minutes on).
Status 2: what a receiver got and reported as lost is not what was sent. The column "peak" is
the kernel's own, moments between two looks included; it decides nothing.
"""

import argparse
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time

import zexchange

NAME = "load"
BOUND_MB = 280
GROWTH_MB = 10
STOPPED, RUNNING = 20.0, 10.0
PATIENCE = 60.0
ROLES = ("sender", "healthy-1", "healthy-2", "stopped")
PAGE = os.sysconf("SC_PAGE_SIZE")


# ----------------------------------------------------------------- in the other processes


def say(node, event, count):
    """Print what this process has done so far, as a line of JSON."""
    received = node.stats().received.values()
    state = {
        "event": event,
        "count": count,
        "lost": sum(r.lost for r in received),
        "duplicates": sum(r.duplicates for r in received),
        "recovered": sum(r.recovered for r in received),
    }
    print(json.dumps(state), flush=True)


def send(node, payload, every):
    """Send until the input ends, then see that everybody healthy has it."""
    exchange, over, sent = zexchange.get_exchange(NAME), threading.Event(), 0
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    node.wait_subscribers(NAME, 3)
    said = 0.0
    while not over.is_set():
        for _ in range(every):
            exchange.send({"sym": "AAPL", "px": 191.25, "qty": 100, "side": "B", "seq": sent})
            sent += 1
            if sent % 1000 == 0 and time.monotonic() - said > 0.5:
                said = time.monotonic()
                say(node, "sent", sent)
                if over.is_set():
                    break
        if payload:
            exchange.send(bytes(payload))
            sent += 1
    node.flush(PATIENCE)
    say(node, "done", sent)
    time.sleep(PATIENCE)  # killed when all have what they get: until then others may ask


def receive(node):
    """Count what comes until the input ends."""
    counts, over = [0], threading.Event()

    @zexchange.get_exchange(NAME).handler
    def task(msg):
        counts[0] += 1

    node.wait_ready()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    say(node, "ready", 0)
    while not over.wait(0.5):
        say(node, "received", counts[0])
    node.close(1.0)


def work(role, payload, every):
    """Be one of the processes."""
    logging.getLogger("zexchange").setLevel(logging.ERROR)
    node = zexchange.federate("benchmark-memory", label=role)
    node.events.handler(lambda event: None)
    if role == "sender":
        send(node, payload, every)
    else:
        receive(node)


# ----------------------------------------------------------------------- in this process


class Worker:
    """One of the processes: what it said last, and its memory so far."""

    def __init__(self, role, arguments, directory):
        self.role = role
        self.samples = []
        self.most = 0.0
        self.state = {"event": "", "count": 0, "lost": 0, "duplicates": 0, "recovered": 0}
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--work", role, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "ZEXCHANGE_DIR": directory},
        )
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        for line in self.process.stdout:
            self.state = json.loads(line)

    def sample(self):
        """Read the resident memory, in MB."""
        with open(f"/proc/{self.process.pid}/statm") as statm:
            self.samples.append(int(statm.read().split()[1]) * PAGE / 1e6)
        return self.samples[-1]

    def wait(self, condition):
        """Wait until the worker has said something."""
        deadline = time.monotonic() + PATIENCE
        while not condition(self.state):
            if self.process.poll() is not None or time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    def accounts_for(self, sent):
        """Wait until what came and what is lost is what was sent."""
        return self.wait(lambda state: state["count"] + state["lost"] >= sent) and (
            self.state["count"] + self.state["lost"] == sent
        )

    def growth(self):
        """Return by how much the least of the last quarter is above that of the second."""
        quarter = len(self.samples) // 4
        return min(self.samples[-quarter:]) - min(self.samples[quarter : 2 * quarter])

    def peak(self):
        """Return the most that the kernel ever saw, between the samples too, in MB."""
        with open(f"/proc/{self.process.pid}/status") as status:
            lines = dict(line.split(":", 1) for line in status)
        return int(lines["VmHWM"].split()[0]) * 1024 / 1e6

    def row(self, bound):
        """Return the row of the table, and whether memory is as documented."""
        samples, after = self.samples, min(60, len(self.samples) - 1)
        growth = self.growth() if len(samples) >= 240 else 0.0
        good = max(samples) <= bound and growth <= GROWTH_MB
        figures = (samples[0], samples[after], max(samples), samples[-1], growth, self.most)
        return f"{self.role:<12}" + "".join(f"{mb:>12.0f}" for mb in figures), good


def run(workers, minutes):
    """Let them work, stop and continue the last, and sample all once a second."""
    stopped = workers[-1].process
    started = time.monotonic()
    before = [0] * len(workers)
    halted = False
    while (elapsed := time.monotonic() - started) < minutes * 60:
        should = elapsed % (RUNNING + STOPPED) >= RUNNING
        if should != halted:
            stopped.send_signal(signal.SIGSTOP if should else signal.SIGCONT)
            halted = should
        memory = " ".join(f"{worker.sample():4.0f}" for worker in workers)
        counts = [worker.state["count"] for worker in workers]
        rates = " ".join(
            f"{(now - then) / 1e3:4.0f}" for now, then in zip(counts, before, strict=True)
        )
        before = counts
        lost = " ".join(str(worker.state["lost"]) for worker in workers[1:])
        mark = "stopped" if halted else ""
        print(f"{elapsed:5.0f} s  {memory} MB  {rates} k/s  lost {lost} {mark}", flush=True)
        time.sleep(max(0.0, started + len(workers[0].samples) - time.monotonic()))
        if any(worker.process.poll() is not None for worker in workers):
            raise SystemExit("a process has ended")
    stopped.send_signal(signal.SIGCONT)


def main(arguments):
    """Run, print the table, and return the exit status."""
    given = (arguments.payload << 20, arguments.every)
    with tempfile.TemporaryDirectory(prefix="zxb-") as directory:
        receivers = [Worker(role, given, directory) for role in ROLES[1:]]
        workers = receivers
        try:
            if not all(worker.wait(lambda state: state["event"]) for worker in receivers):
                raise SystemExit("a receiver did not come up")
            workers = [Worker(ROLES[0], given, directory), *receivers]
            workers[0].wait(lambda state: state["event"])
            print(f"{'':>7}  {', '.join(ROLES)}", flush=True)
            run(workers, arguments.minutes)
            workers[0].process.stdin.close()
            workers[0].wait(lambda state: state["event"] == "done")
            sent = workers[0].state["count"]
            for worker in workers:
                worker.most = worker.peak()
            adds_up = [worker.accounts_for(sent) for worker in receivers]
        finally:
            for worker in workers:
                worker.process.kill()
                worker.process.wait()
    return report(workers, sent, adds_up, arguments.bound)


def report(workers, sent, adds_up, bound):
    """Print the table, and return the exit status."""
    heads = ("at start", "after 60 s", "most", "at the end", "growth", "peak")
    print(f"\n{'resident MB':<12}" + "".join(f"{head:>12}" for head in heads))
    rows = [worker.row(bound) for worker in workers]
    for row, good in rows:
        print(f"{row}  {'ok' if good else 'OVER'}")
    print(f"\n{'':<12}{'received':>12}{'lost':>12}{'duplicates':>12}{'recovered':>12}")
    for worker, good in zip(workers[1:], adds_up, strict=True):
        state = worker.state
        figures = (state[key] for key in ("count", "lost", "duplicates", "recovered"))
        verdict = "adds up" if good else "DOES NOT ADD UP"
        print(f"{worker.role:<12}" + "".join(f"{n:>12}" for n in figures) + f"  {verdict}")
    bounded = all(good for _, good in rows)
    verdict = "ok" if bounded else "OVER"
    print(f"sent {sent}; bound {bound} MB, growth at most {GROWTH_MB} MB: {verdict}")
    if not bounded:
        return 1
    return 0 if all(adds_up) else 2


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        work(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
        sys.exit(0)
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--payload", type=int, default=8, help="MiB; 0 for none")
    parser.add_argument("--every", type=int, default=20_000, help="small ones before a payload")
    parser.add_argument("--bound", type=float, default=BOUND_MB, help="MB a process")
    sys.exit(main(parser.parse_args()))
