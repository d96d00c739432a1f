"""What CURVE costs here, against what it costs by hand.

    python benchmarks/curve_cost.py [--rounds N] [--messages N]

One process sends a dict of five keys to another, over TCP on loopback, in five ways in
turn: this project with keys and without, plain pyzmq with CURVE and without. By hand is
PUB to SUB, each message packed by the same MessagePack, a topic in front of it, in two
forms: a frame each, as most programs do it, and 64 in a frame, which is the best that can
be done by hand.

CURVE works on bytes and on frames. What it costs is told by the ratio of the rates with
and without it, of the same form, round by round. The bar is 0.95: our ratio, divided by
that of pyzmq with a frame each. (That with 64 in a frame is printed beside it and decides
nothing: it sends larger frames than most programs can wait for.) A round in which anything
was lost is no round: pyzmq has its high-water marks lifted.

All groups stay up and take turns, a round each, in an order that changes. Exit status 1 is
below the bar, 2 is a round that lost something.
"""

import argparse
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgpack

import zexchange

BAR = 0.95
NAME = "ticks"
PATIENCE = 60.0
BATCH = 64
KINDS = ("ours", "single", "batched")
TITLES = {"ours": "zexchange", "single": "pyzmq, a frame each", "batched": "pyzmq, 64 a frame"}


# ----------------------------------------------------------------- in the other processes


class Counter:
    """The receiver's task: counts, and notes when the last message of a round came."""

    def __init__(self):
        self.count = 0
        self.goal = -1
        self.came = 0.0

    def send(self, msg):
        self.count += 1
        if self.count == self.goal:
            self.came = time.monotonic()


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
        from zexchange.net.keyring import Keyring

        server, client = (Keyring(Path(keys) / role) for role in ("sender", "receiver"))
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
    from zexchange.net import keyring

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


def compare(count, messages, directory):
    """Run the rounds of all groups in turn; return the rates of each, or None after a loss."""
    keys = make_keys(Path(directory))
    groups, taken = {}, []
    try:
        for kind in KINDS:
            for curve in (True, False):
                groups[kind, curve] = Group(kind, keys if curve else "-", free_port())
        order = list(groups)
        for number in range(-1, count):  # the first round is slower, for all
            order = order[1:] + order[:1]
            rates = {which: groups[which].round(messages) for which in order}
            if None in rates.values():
                return None
            if number >= 0:
                taken.append(rates)
    finally:
        for group in groups.values():
            group.close()
    return taken


def main(arguments):
    """Print the table; return the exit status."""
    with tempfile.TemporaryDirectory(prefix="zxb-") as directory:
        taken = compare(arguments.rounds, arguments.messages, directory)
    if taken is None:
        print("a round lost or repeated something: there is nothing to compare")
        return 2
    print(f"{arguments.rounds} rounds of {arguments.messages} messages, medians, k msg/s")
    print(f"{'':<22}{'with':>8}{'without':>9}{'ratio':>8}{'middle half':>16}")
    ratios = {}
    for kind in KINDS:
        each = sorted(rates[kind, True] / rates[kind, False] for rates in taken)
        ratios[kind] = statistics.median(each)
        rate = [statistics.median(r[kind, curve] for r in taken) / 1e3 for curve in (True, False)]
        quarter = len(each) // 4
        spread = f"{each[quarter]:.2f} to {each[-1 - quarter]:.2f}"
        print(f"{TITLES[kind]:<22}{rate[0]:>8.0f}{rate[1]:>9.0f}{ratios[kind]:>8.3f}{spread:>16}")
    fair, best = ratios["ours"] / ratios["single"], ratios["ours"] / ratios["batched"]
    verdict = "ok" if fair >= BAR else "BELOW"
    print(f"our ratio is {fair:.3f} of that by hand, bar {BAR}: {verdict}")
    print(f"({best:.3f} of that with 64 messages in a frame)")
    return 0 if fair >= BAR else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        work(sys.argv[2], sys.argv[3], sys.argv[4], int(sys.argv[5]))
        sys.exit(0)
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--messages", type=int, default=100_000)
    sys.exit(main(parser.parse_args()))
