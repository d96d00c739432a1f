"""Many nodes on one machine: how long they take to join, what each costs, what passes.

``python benchmarks/many_nodes.py`` starts 64 processes that are one federation and prints
a table for docs/PERFORMANCE.md. A *shape* is how they are connected: see `SHAPES`, to which
others can be added. Everything is on loopback, and all join at the same moment, once their
interpreters have started. Memory is proportional (PSS: what processes share is divided among
them), processor time is of all nodes together.
"""

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from math import inf
from typing import Any

Arguments = dict[str, Any]
MESSAGE = {"sym": "AAPL", "px": 191.25, "size": 100, "side": "buy", "t": 1_700_000_000.25}
PATIENCE = 170.0
DELIVERIES_MOST = 20_000_000


def by_tcp(n: int, port: int) -> Arguments:
    """Each listens on loopback and knows the first one; gossip does the rest."""
    seed, anywhere = f"tcp://127.0.0.1:{port}", "tcp://127.0.0.1:0"
    if n == 0:
        return {"listen": seed, "local": False}
    return {"listen": anywhere, "peers": [seed], "local": False}


def by_directory(n: int, port: int) -> Arguments:
    """Each finds the others in the rendezvous directory, over Unix sockets."""
    return {}


def by_hub(n: int, port: int) -> Arguments:
    """Each knows a hub, which is a process of its own."""
    return {"hub": f"tcp://127.0.0.1:{port}", "local": False}


SHAPES: dict[str, Callable[[int, int], Arguments]] = {
    "hub": by_hub,
    "mesh, TCP, gossip from one seed": by_tcp,
    "mesh, Unix sockets": by_directory,
}


# ------------------------------------------------------------------------------- one node


def work(number: int, nodes: int, arguments: Arguments) -> None:
    """Be a node: say when everybody is ready, then do what the input says."""
    import zexchange
    import zexchange.net.engine.engine

    say(up=time.monotonic())
    sys.stdin.readline()
    got = 0

    def count(msg: object) -> None:
        nonlocal got
        got += 1

    exchange = zexchange.get_exchange("load")
    exchange.handler(count)
    pair = zexchange.get_exchange("pair")
    if number == 1:
        pair.handler(count)
    with zexchange.federate("many", label=str(number), join_timeout=0.1, **arguments) as node:
        node.wait_peers(nodes - 1, PATIENCE)
        node.wait_subscribers("load", nodes - 1, PATIENCE)
        say(ready=time.monotonic())
        for line in sys.stdin:
            command = json.loads(line)
            if "send" in command:
                say(sent=send(node, exchange, command["send"], command.get("most", inf)))
            elif "pair" in command:
                node.wait_subscribers("pair", 1, PATIENCE)
                say(sent=send(node, pair, command["pair"]))
            else:
                lost = sum(r.lost for r in node.stats().received.values())
                say(got=got, lost=lost, peers=len(node.peers))


def send(node: Any, exchange: Any, seconds: float, most: float = inf) -> tuple[int, float]:
    """Send for a while; return how many, and the seconds until all of it was acknowledged."""
    from zexchange import NotReady

    since, n = time.monotonic(), 0
    while n < most and time.monotonic() - since < seconds:
        for _ in range(50):
            exchange.send(MESSAGE)
        n += 50
    try:
        node.flush(PATIENCE)
    except NotReady as error:
        print(error, file=sys.stderr)  # and what is lost is counted at the end
    return n, time.monotonic() - since


def say(**answer: object) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


# ------------------------------------------------------------------------------- all of them


class Worker:
    """A node's process, from outside."""

    def __init__(self, number: int, nodes: int, arguments: Arguments) -> None:
        options = json.dumps([number, nodes, arguments])
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--worker", options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, **command: object) -> dict[str, Any]:
        self.tell(**command)
        return self.answer()

    def tell(self, **command: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def memory(self) -> float:
        return pss(self.process.pid)

    def seconds(self) -> float:
        """Return the processor time so far."""
        with open(f"/proc/{self.process.pid}/stat") as text:
            parts = text.read().rpartition(")")[2].split()
        return (int(parts[11]) + int(parts[12])) / os.sysconf("SC_CLK_TCK")

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


def pss(pid: int) -> float:
    """Return a process's proportional memory in MiB."""
    with open(f"/proc/{pid}/smaps_rollup") as lines:
        sizes = [int(line.split()[1]) for line in lines if line.startswith("Pss:")]
    return sum(sizes) / 1024


def most_memory(pid: int) -> float:
    """Return the most memory in MiB that a process has had resident."""
    with open(f"/proc/{pid}/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def free_port(row: int = 3) -> int:
    """Return the first of some ports in a row that are free: a hub takes three, a node two."""
    while True:
        with ExitStack() as taken:
            sockets = [taken.enter_context(socket.socket()) for _ in range(row)]
            sockets[0].bind(("127.0.0.1", 0))
            port: int = sockets[0].getsockname()[1]
            with suppress(OSError, OverflowError):
                for n, one in enumerate(sockets[1:], 1):
                    one.bind(("127.0.0.1", port + n))
                return port


@contextmanager
def carrier(shape: str, port: int) -> Iterator[int]:
    """Run a hub where the shape has one; yield its process id, or 0."""
    if SHAPES[shape] is not by_hub:
        yield 0
        return
    endpoint = f"tcp://127.0.0.1:{port}"
    command = [sys.executable, "-m", "zexchange.cli", "hub", "--federation", "many"]
    with subprocess.Popen(
        [*command, "--listen", endpoint], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        assert process.stderr is not None
        process.stderr.readline()
        try:
            yield process.pid
        finally:
            process.send_signal(signal.SIGINT)


def measure(shape: str, nodes: int, seconds: float) -> list[str]:
    """Run one shape; return a row of the table."""
    port = free_port()
    with carrier(shape, port) as hub:
        return measure_with(shape, nodes, seconds, hub, port)


def measure_with(shape: str, nodes: int, seconds: float, hub: int, port: int) -> list[str]:
    workers: list[Worker] = []
    try:
        begun = time.monotonic()
        workers += [Worker(n, nodes, SHAPES[shape](n, port)) for n in range(nodes)]
        up = max(w.answer()["up"] for w in workers)
        since = time.monotonic()
        for worker in workers:
            worker.tell(join=True)
        ready = max(w.answer()["ready"] for w in workers)
        memory = statistics.median(w.memory() for w in workers)
        descriptors = max(w.descriptors() for w in workers)
        rest = at_rest(workers)
        sent, took = workers[0].ask(send=seconds)["sent"]
        settle(workers)
        one, one_took = workers[0].ask(pair=seconds)["sent"]
        settle(workers)
        hub_rest = pss(hub) if hub else 0.0
        everybody = all_send(workers, seconds)
        hub_most = most_memory(hub) if hub else 0.0
        ends = [w.ask(report=True) for w in workers]
    finally:
        end(workers)
    lost = sum(e["lost"] for e in ends)
    return [
        shape,
        str(nodes),
        f"{up - begun:.1f} s",
        f"{ready - since:.1f} s",
        f"{memory:.0f} MiB",
        str(descriptors),
        f"{rest:.0%}",
        f"{sent / took:,.0f}",
        f"{sent / took * (nodes - 1):,.0f}",
        f"{one / one_took:,.0f}",
        f"{everybody:,.0f}",
        f"{hub_rest:.0f}, {hub_most:.0f} at most" if hub else "-",
        str(lost),
    ]


HEADINGS = (
    "shape",
    "nodes",
    "interpreters started",
    "then all at once: all ready",
    "memory a node",
    "descriptors a node",
    "processor at rest, all nodes",
    "one sends: msg/s to each",
    "deliveries/s",
    "one to one: msg/s",
    "all send: deliveries/s",
    "memory of the hub, MiB",
    "lost",
)


def at_rest(workers: list[Worker], seconds: float = 5.0) -> float:
    """Return how much of one processor all nodes take while nothing is sent."""
    before, since = sum(w.seconds() for w in workers), time.monotonic()
    time.sleep(seconds)
    return (sum(w.seconds() for w in workers) - before) / (time.monotonic() - since)


def all_send(workers: list[Worker], seconds: float) -> float:
    """Have everybody send at once; return messages delivered a second, all together.

    Wait until nothing more comes, so that messages still on their way count, and nothing else. No
    more than what two processors deliver in a minute.
    """
    before, since = settle(workers)[0], time.monotonic()
    most = DELIVERIES_MOST / len(workers) ** 2
    for worker in workers:
        worker.tell(send=seconds, most=most)
    for worker in workers:
        worker.answer()
    after, at = settle(workers)
    return (after - before) / (at - since)


def settle(workers: list[Worker], most: float = 60.0) -> tuple[int, float]:
    """Wait until nothing more comes; return the number of messages, and when the last came."""
    got, at = -1, time.monotonic()
    until = at + most
    while time.monotonic() < until:
        now = sum(w.ask(report=True)["got"] for w in workers)
        if now == got and time.monotonic() - at > 1.0:
            break
        if now != got:
            got, at = now, time.monotonic()
        time.sleep(0.1)
    return got, at


def end(workers: list[Worker]) -> None:
    """See them leave; by force who does not."""
    for worker in workers:
        assert worker.process.stdin is not None
        worker.process.stdin.close()
    for worker in workers:
        killer = threading.Timer(30.0, worker.process.kill)
        killer.start()
        worker.process.wait()
        killer.cancel()
        assert worker.process.stdout is not None
        worker.process.stdout.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--nodes", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=3.0, help="that are sent for")
    parser.add_argument("--shape", action="append", choices=SHAPES, help="default: all")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(*json.loads(options.worker))
        return
    rows = [measure(s, options.nodes, options.seconds) for s in options.shape or SHAPES]
    for row in (HEADINGS, ["---"] * len(HEADINGS), *rows):
        print("|", " | ".join(row), "|", flush=True)


if __name__ == "__main__":
    main()
