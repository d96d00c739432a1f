"""Where the time of a message goes, out and in: a table by function, from a sampling profiler.

Two processes; one floods the other with a dict of five keys, and py-spy (which stops nobody
and needs `pip install py-spy`, and on some systems root) looks into both a thousand times a
second. Threads that wait are not counted.

    python benchmarks/where_time_goes.py [--seconds 10]
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import zexchange

MESSAGE = {"id": 12, "name": "sensor", "value": 21.5, "ok": True, "unit": "C"}


class Count:
    """A task that counts."""

    def __init__(self) -> None:
        self.count = 0

    def send(self, msg: object) -> None:
        """Take a message."""
        self.count += 1


def receive() -> None:
    """Count until the input ends; say how many came."""
    task = Count()
    zexchange.get_exchange("x").attach(task)
    with zexchange.federate("profile"):
        print("ready", flush=True)
        sys.stdin.read()
    print(task.count, flush=True)


def flood(until: threading.Event) -> None:
    """Send until told to stop."""
    exchange = zexchange.get_exchange("x")
    while not until.is_set():
        for _ in range(1000):
            exchange.send(dict(MESSAGE))


def samples(pid: int, seconds: float, folder: str) -> "subprocess.Popen[bytes]":
    """Begin to look into a process."""
    return subprocess.Popen(
        ["py-spy", "record", "--pid", str(pid), "--rate", "1000", "--duration", f"{seconds:.0f}",
         "--format", "raw", "--function", "--threads", "--nonblocking",
         "--output", f"{folder}/{pid}"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def table(path: Path, thread: str, messages: float, seconds: float) -> None:
    """Print the share of each function in what one thread did, and its part of a message."""
    shares: Counter[str] = Counter()
    for line in path.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        if thread in frames[0]:
            shares[frames[-1]] += int(count)
    total = sum(shares.values())
    print(f"| {thread} | share | ns a message |\n|---|---:|---:|")
    for name, count in shares.most_common(14):
        print(f"| {name} | {count / total:.0%} | {count / 1000 / messages * 1e9:.0f} |")
    print(f"\nbusy {total / 1000 / seconds:.0%} of the time\n")


def main() -> None:
    """Flood, look, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--receive", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.receive:
        receive()
        return
    if shutil.which("py-spy") is None:
        sys.exit("py-spy is missing: pip install py-spy")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ZEXCHANGE_DIR"] = folder
        other = subprocess.Popen(
            [sys.executable, __file__, "--receive"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert other.stdin is not None
        assert other.stdout is not None
        other.stdout.readline()
        with zexchange.federate("profile") as node:
            node.wait_subscribers("x", 1)
            over = threading.Event()
            sender = threading.Thread(target=flood, args=(over,), name="caller")
            sender.start()
            looking = [samples(pid, options.seconds, folder) for pid in (os.getpid(), other.pid)]
            started, before = time.monotonic(), node.stats().sent
            for one in looking:
                one.wait()
            seconds, after = time.monotonic() - started, node.stats().sent
            over.set()
            sender.join()
        messages = sum(after.values()) - sum(before.values())
        rate = messages / seconds
        print(f"{rate / 1000:.0f} k messages a second while it was looked at\n")
        other.stdin.close()
        other.wait()
        table(Path(folder) / str(os.getpid()), "caller", rate * options.seconds, options.seconds)
        name = "zexchange-data"
        table(Path(folder) / str(other.pid), name, rate * options.seconds, options.seconds)


if __name__ == "__main__":
    main()
