"""The cost of CURVE here, against its cost by hand.

    python benchmarks/curve_cost.py [--cycles N] [--seconds S] [--batched]

One process sends a dict of five keys to another, over TCP on loopback, in four ways in
turn: this project with keys and without, plain pyzmq with CURVE and without. By hand is
PUB to SUB, each message packed by the same MessagePack, a topic in front of it, a frame
each, as most programs do it. (``--batched`` adds 64 in a frame, which is the best that can
be done by hand and decides nothing: it sends larger frames than most programs can wait for.)

CURVE works on bytes and on frames. Its cost is the ratio of the rates with and without it, of the
same form. The bar is 0.95: our ratio, divided by that of pyzmq. All groups stay up and take turns,
a short *slice* each, in an order that is drawn for each *cycle*: a machine that is slow for a
while is slow for all of them. A ratio is one of medians over all cycles; how far to trust it is
told by drawing as many cycles again and again out of those that were measured (bootstrap): 95 of
100 such draws lie in the interval that is printed. A slice in which anything was lost ends it all:
pyzmq has its high-water marks lifted.

Exit status 1 is below the bar, 2 is a slice that lost something.
"""

import argparse
import logging
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgpack
from compare.analysis import bootstrap
from speed_tasks import Counter

import zexchange

BAR = 0.95
NAME = "ticks"
PATIENCE = 60.0
BATCH = 64
KINDS = ("ours", "single")
WARM_UP = 20_000
TITLES = {"ours": "zexchange", "single": "pyzmq, a frame each", "batched": "pyzmq, 64 a frame"}


# ----------------------------------------------------------------- in the other processes


def message(n):
    return {"sym": "AAPL", "px": 191.25, "qty": 100, "side": "B", "seq": n}


def our_node(role, keys, port):
    """Return a node on loopback TCP alone, with keys or without."""
    directory = Path(keys) / role if keys != "-" else None
    where = f"tcp://127.0.0.1:{port}"
    if role == "sender":
        return zexchange.federate("curve", listen=where, local=False, keys=directory)
    return zexchange.federate("curve", peers=[where], local=False, keys=directory)


def receive_ours(keys, port):
    counter = Counter()
    zexchange.get_exchange(NAME).attach(counter)
    node = our_node("receiver", keys, port)
    node.wait_peers(1, timeout=PATIENCE)
    rounds(counter, lambda: time.sleep(0.002))
    node.close(0.1)


def send_ours(keys, port):
    node = our_node("sender", keys, port)
    node.wait_subscribers(NAME, 1, timeout=PATIENCE)
    send = zexchange.get_exchange(NAME).send

    def all_of(count):
        for n in range(count):
            send(message(n))

    sending(all_of)
    node.close(0.1)


def by_hand(kind, keys, port):
    """Return a socket of pyzmq, with CURVE or without, at both ends the same key pair."""
    import zmq

    context = zmq.Context()
    socket = context.socket(kind)
    socket.setsockopt(zmq.SNDHWM, 0)
    socket.setsockopt(zmq.RCVHWM, 0)
    if keys != "-":
        from zexchange.net.security.key_directory import KeyDirectory

        server, client = (KeyDirectory(Path(keys) / role) for role in ("sender", "receiver"))
        if kind == zmq.PUB:
            socket.setsockopt(zmq.CURVE_SERVER, 1)
            socket.setsockopt(zmq.CURVE_SECRETKEY, server.secret)
        else:
            socket.setsockopt(zmq.CURVE_SERVERKEY, server.public)
            socket.setsockopt(zmq.CURVE_PUBLICKEY, client.public)
            socket.setsockopt(zmq.CURVE_SECRETKEY, client.secret)
    if kind == zmq.PUB:
        socket.bind(f"tcp://127.0.0.1:{port}")
    else:
        socket.setsockopt(zmq.SUBSCRIBE, NAME.encode() + b"\0")
        socket.connect(f"tcp://127.0.0.1:{port}")
    return socket


def receive_by_hand(form, keys, port):
    import threading

    import zmq

    counter, socket = Counter(), by_hand(zmq.SUB, keys, port)
    skip, connected = len(NAME) + 1, threading.Event()

    def read():
        while True:
            frame = socket.recv()
            body = frame[skip:]
            if not body:
                connected.set()
            elif form == "single":
                counter.send(msgpack.unpackb(body))
            else:
                unpacker = msgpack.Unpacker()
                unpacker.feed(body)
                for msg in unpacker:
                    counter.send(msg)

    threading.Thread(target=read, daemon=True).start()
    connected.wait(PATIENCE)
    rounds(counter, lambda: time.sleep(0.002))
    os._exit(0)  # the thread has the socket


def send_by_hand(form, keys, port):
    import zmq

    socket = by_hand(zmq.PUB, keys, port)
    head, pack = NAME.encode() + b"\0", msgpack.packb
    print("probing", flush=True)
    import select

    while not select.select([sys.stdin], [], [], 0.02)[0]:
        socket.send(head)
    sys.stdin.readline()

    def all_of(count):
        if form == "single":
            for n in range(count):
                socket.send(head + pack(message(n)))
            return
        for start in range(0, count, BATCH):
            parts = [pack(message(n)) for n in range(start, min(start + BATCH, count))]
            socket.send(head + b"".join(parts))

    sending(all_of)
    socket.close(linger=0)


def rounds(counter, rest):
    """Say, of each round, when the last of its messages came, and how many did."""
    print("ready", flush=True)
    for line in sys.stdin:
        counter.count, counter.goal = 0, int(line)
        print("set", flush=True)
        sys.stdin.readline()  # the sender is through
        deadline = time.monotonic() + PATIENCE
        while counter.count < counter.goal and time.monotonic() < deadline:
            rest()
        print(counter.came, counter.count, flush=True)


def sending(all_of):
    """Send, in each round, as many messages as are asked for; say when that began."""
    print("ready", flush=True)
    for line in sys.stdin:
        start = time.monotonic()
        all_of(int(line))
        print(start, flush=True)


def work(role, kind, keys, port):
    """Be one process of a group until its input ends."""
    logging.getLogger("zexchange").setLevel(logging.ERROR)
    if kind == "ours":
        (send_ours if role == "sender" else receive_ours)(keys, port)
    else:
        (send_by_hand if role == "sender" else receive_by_hand)(kind, keys, port)


# ----------------------------------------------------------------------- in this process


class Group:
    """A sender and its receiver."""

    def __init__(self, kind, keys, port):
        self._sender, self._receiver = (
            subprocess.Popen(
                [sys.executable, __file__, "--work", role, kind, keys, str(port)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                bufsize=1,
            )
            for role in ("sender", "receiver")
        )
        if kind != "ours":
            _expect(self._sender, "probing")
        _expect(self._receiver, "ready")
        if kind != "ours":
            self._sender.stdin.write("connected\n")
        _expect(self._sender, "ready")

    def round(self, messages):
        """Send and receive; return messages a second, or None after a loss."""
        self._receiver.stdin.write(f"{messages}\n")
        _expect(self._receiver, "set")
        self._sender.stdin.write(f"{messages}\n")
        start = float(_line(self._sender))
        self._receiver.stdin.write("sent\n")
        came, count = _line(self._receiver).split()
        if int(count) != messages:
            print(f"sent {messages}, received {count}", flush=True)
            return None
        return messages / (float(came) - start)

    def close(self):
        """End both processes."""
        for process in (self._receiver, self._sender):
            process.stdin.close()
        for process in (self._receiver, self._sender):
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()


def _line(process):
    line = process.stdout.readline()
    if not line:
        raise SystemExit(f"a process ended with status {process.wait()}")
    return line


def _expect(process, word):
    line = _line(process).strip()
    if line != word:
        raise SystemExit(f"expected {word!r}, got {line!r}")


def make_keys(directory):
    """Make two key directories that know each other; return where they are."""
    from zexchange.net.security import key_directory as keyring

    lines = {role: keyring.make_keys(directory / role) for role in ("sender", "receiver")}
    for role, other in (("sender", "receiver"), ("receiver", "sender")):
        (directory / role / "authorized" / f"{other}.pub").write_text(lines[other] + "\n")
    return str(directory)


def free_port():
    """Return a port that is free, and the next one too."""
    import socket

    while True:
        with socket.socket() as one, socket.socket() as two:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
            try:
                two.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return port


def compare(kinds, cycles, seconds, directory):
    """Take the slices of all groups in turn; return the rates of each cycle, or None."""
    keys = make_keys(Path(directory))
    groups, taken = {}, []
    try:
        for kind in kinds:
            for curve in (True, False):
                groups[kind, curve] = Group(kind, keys if curve else "-", free_port())
        counts = calibrated(groups, seconds)
        if counts is None:
            return None
        order = list(groups)
        for _ in range(cycles):
            random.shuffle(order)
            rates = {which: groups[which].round(counts[which]) for which in order}
            if None in rates.values():
                return None
            taken.append(rates)
    finally:
        for group in groups.values():
            group.close()
    return taken


def calibrated(groups, seconds):
    """Return how many messages of each group make a slice of some seconds; None after a loss."""
    counts = {}
    for which, group in groups.items():
        rate = [group.round(WARM_UP) for _ in range(4)][-1]  # the first ones are slower
        if rate is None:
            return None
        counts[which] = max(BATCH, int(rate * seconds))
    return counts


def ratio(taken, kind):
    """Return the rate with CURVE over that without: medians over some cycles."""
    on, off = (statistics.median(rates[kind, curve] for rates in taken) for curve in (True, False))
    return on / off


def main(arguments):
    """Print the table; return the exit status."""
    kinds = (*KINDS, "batched") if arguments.batched else KINDS
    with tempfile.TemporaryDirectory(prefix="zxb-") as directory:
        taken = compare(kinds, arguments.cycles, arguments.seconds, directory)
    if taken is None:
        print("a slice lost or repeated something: there is nothing to compare")
        return 2
    print(f"{len(taken)} cycles of slices of {arguments.seconds:g} s, medians, k msg/s")
    print(f"{'':<22}{'with':>8}{'without':>9}{'ratio':>8}{'95 of 100':>16}")
    for kind in kinds:
        on, off = (
            statistics.median(r[kind, curve] for r in taken) / 1e3 for curve in (True, False)
        )
        low, high = bootstrap(taken, lambda some, kind=kind: ratio(some, kind))
        spread = f"{low:.3f} to {high:.3f}"
        print(f"{TITLES[kind]:<22}{on:>8.0f}{off:>9.0f}{ratio(taken, kind):>8.3f}{spread:>16}")
    reached = tell(taken, "single", f", bar {BAR}")
    if arguments.batched:
        tell(taken, "batched", " with 64 messages in a frame")
    return 0 if reached else 1


def tell(taken, hand, which):
    """Print our ratio over one by hand; return whether it reaches the bar."""

    def figure(some):
        return ratio(some, "ours") / ratio(some, hand)

    low, high = bootstrap(taken, figure)
    print(f"our ratio is {figure(taken):.3f} ({low:.3f} to {high:.3f}) of that by hand{which}")
    return figure(taken) >= BAR


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        work(sys.argv[2], sys.argv[3], sys.argv[4], int(sys.argv[5]))
        sys.exit(0)
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cycles", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=0.1, help="that a slice takes")
    parser.add_argument("--batched", action="store_true", help="64 in a frame by hand as well")
    sys.exit(main(parser.parse_args()))
