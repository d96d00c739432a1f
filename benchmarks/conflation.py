"""A camera with a processor and two viewers, of which one is stopped for some seconds.

    python benchmarks/conflation.py [--rounds 10] [--hub] [--ordinary]

Each round runs the same program twice: undisturbed, and with one viewer stopped by SIGSTOP. The
camera sends arrays of 640 x 480 x 3 bytes, 30 a second. The script prints the longest `send` and
the largest gap between two frames at the healthy viewer, as medians, and fails if either is more
than 1.5 times as long with the stop as without. It also fails if the stopped viewer's first frame
afterwards was not among the newest two, if frames came out of order, or if at some receiver
received and conflated are not together what was sent. With ``--ordinary`` the exchange is not
conflated, and nothing fails.
"""

import argparse
import itertools
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

RATE, SHAPE = 30, (480, 640, 3)
BEFORE, STOPPED, AFTER = 2.0, 6.0, 2.0
MOST = 1.5
ROLES = "processor", "healthy", "stopped"


def camera(name: str, hub: str, ordinary: bool) -> dict[str, Any]:
    """Send frames until standard input ends; return when each was sent, and what it cost."""
    import numpy as np

    import zexchange

    frames = zexchange.get_exchange("camera.front")
    conflated = () if ordinary else ("camera.**",)
    image, sent, longest = np.zeros(SHAPE, np.uint8), list[float](), 0.0
    with zexchange.federate(name, hub=hub or None, local=not hub, conflate=conflated) as node:
        node.wait_subscribers("camera.front", len(ROLES), 60)
        tell("ready")
        until = time.monotonic() + BEFORE + STOPPED + AFTER
        due = time.monotonic()
        while (now := time.monotonic()) < until:
            if now < due:
                time.sleep(due - now)
            due = max(due + 1 / RATE, time.monotonic() - 1 / RATE)
            image[:] = len(sent) % 256
            began = time.monotonic()
            frames.send((len(sent) + 1, image))
            sent.append(time.monotonic())
            longest = max(longest, sent[-1] - began)
        node.flush(60)
        stats = node.stats()
        tell("sent")
        sys.stdin.readline()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    there = [peer.conflated for peer in stats.sent_to.values()]
    return {"sent": sent, "longest": longest, "memory": memory, "conflated": there}


def receiver(name: str, hub: str, work: bool) -> dict[str, Any]:
    """Take frames until standard input ends; return which came when, and the counts.

    Frames are taken on the thread that receives: what a stream holds when its process is stopped is
    read afterwards. To ``work``, another thread reads a stream.
    """
    import threading

    import numpy  # which the first array would import  # noqa: F401

    import zexchange

    came = list[tuple[float, int]]()
    frames = zexchange.get_exchange("camera.front")
    frames.handler(lambda frame: came.append((time.monotonic(), frame[0])))
    with frames.stream(latest=True) as stream:
        if work:
            threading.Thread(
                target=lambda: [image.mean() for _, image in stream], daemon=True
            ).start()
        with zexchange.federate(name, hub=hub or None, local=not hub) as node:
            tell("ready")
            sys.stdin.readline()
            received = list(node.stats().received.values())
    return {
        "came": came,
        "received": sum(r.received for r in received),
        "conflated": sum(r.conflated for r in received),
        "lost": sum(r.lost for r in received),
    }


def tell(word: str) -> None:
    """Tell the parent something."""
    print(word, flush=True)


class Party:
    """One of the processes."""

    def __init__(self, role: str, arguments: list[str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--role", role, *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def hear(self, word: str) -> None:
        """Wait until it says a word."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        if line != word:
            raise SystemExit(f"{self.process.args}: {line!r} instead of {word!r}")

    def end(self) -> dict[str, Any]:
        """Have it end, and return what it found."""
        out, _ = self.process.communicate("\n", timeout=120)
        found: dict[str, Any] = json.loads(out)
        return found

    def kill(self) -> None:
        """End it, whatever it does."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def run(name: str, stop: bool, hub: str, ordinary: bool) -> dict[str, Any]:
    """Run the program once; return what it cost."""
    arguments = ["--name", name, "--hub-at", hub, *(["--ordinary"] if ordinary else [])]
    with ExitStack() as stack:
        parties = {role: Party(role, arguments) for role in ("camera", *ROLES)}
        for party in parties.values():
            stack.callback(party.kill)
        for role in ROLES:
            parties[role].hear("ready")
        parties["camera"].hear("ready")
        time.sleep(BEFORE)
        resumed = 0.0
        if stop:
            process = parties["stopped"].process
            process.send_signal(signal.SIGSTOP)
            time.sleep(STOPPED)
            resumed = time.monotonic()
            process.send_signal(signal.SIGCONT)
        parties["camera"].hear("sent")
        found = {role: parties[role].end() for role in (*ROLES, "camera")}
    return judged(found, resumed)


def judged(found: dict[str, dict[str, Any]], resumed: float) -> dict[str, Any]:
    """Return what a run cost, and what was wrong with it."""
    sent, wrong = found["camera"]["sent"], list[str]()
    for role in ROLES:
        it = found[role]
        numbers = [number for _, number in it["came"]]
        if numbers != sorted(set(numbers)):
            wrong.append(f"{role}: out of order")
        if it["received"] + it["conflated"] != len(sent) or it["lost"]:
            wrong.append(
                f"{role}: {it['received']} received, {it['conflated']} conflated, {it['lost']}"
                f" lost, of {len(sent)}"
            )
        if len(numbers) != it["received"]:
            wrong.append(f"{role}: {len(numbers)} taken, of {it['received']}")
    stale = 0
    if resumed:
        first = next((n for at, n in found["stopped"]["came"] if at > resumed), 0)
        newest = sum(at < resumed for at in sent)
        stale = max(0, newest - first)
        if stale > 1:
            wrong.append(f"the first frame afterwards was {first}, the newest then {newest}")
    # After the first second: a process that has just begun imports what it needs.
    times = [at for at, _ in found["healthy"]["came"] if at > sent[0] + 1]
    gap = max(b - a for a, b in itertools.pairwise(times))
    return {
        "send": found["camera"]["longest"],
        "gap": gap,
        "memory": found["camera"]["memory"],
        "conflated": sum(found["camera"]["conflated"]),
        "stale": stale,
        "wrong": wrong,
    }


def main() -> None:
    """Run the rounds, and judge them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--hub", action="store_true", help="by a hub instead of a mesh")
    parser.add_argument("--ordinary", action="store_true", help="not conflated, to compare")
    parser.add_argument("--role", help=argparse.SUPPRESS)
    parser.add_argument("--name", default="", help=argparse.SUPPRESS)
    parser.add_argument("--hub-at", default="", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.role:
        if asked.role == "camera":
            found = camera(asked.name, asked.hub_at, asked.ordinary)
        else:
            found = receiver(asked.name, asked.hub_at, asked.role == "processor")
        print(json.dumps(found), flush=True)
        return
    runs: dict[bool, list[dict[str, Any]]] = {False: [], True: []}
    with ExitStack() as stack:
        hub = ""
        if asked.hub:
            from zexchange.net.hub.hub import Hub

            name = f"camera-{os.getpid()}"
            made = Hub(name, "tcp://127.0.0.1:0")
            stack.callback(made.close)
            hub = made.endpoint
        for number in range(asked.rounds):
            for stop in (False, True):
                name = (
                    f"camera-{os.getpid()}"
                    if asked.hub
                    else f"camera-{os.getpid()}-{number}-{stop:d}"
                )
                one = run(name, stop, hub, asked.ordinary)
                runs[stop].append(one)
                print(
                    f"{'stop' if stop else 'free':5}{one['send'] * 1000:9.1f} ms send"
                    f"{one['gap'] * 1000:9.1f} ms gap{one['memory']:7.0f} MiB"
                    f"{one['conflated']:6} conflated  {one['stale']} stale  "
                    f"{'; '.join(one['wrong'])}",
                    flush=True,
                )
    bad = [text for one in (*runs[False], *runs[True]) for text in one["wrong"]]
    for what in ("send", "gap"):
        free, stopped = (
            statistics.median(one[what] for one in runs[stop]) for stop in (False, True)
        )
        print(
            f"longest {what}: {free * 1000:.1f} ms, with a viewer stopped {stopped * 1000:.1f} ms:"
            f" {stopped / free:.2f} times"
        )
        if stopped > MOST * free:
            bad.append(f"{what}: more than {MOST} times")
    if bad and not asked.ordinary:
        raise SystemExit("\n".join(bad))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))
    main()
