"""The cost of the delivery contract: a federated send with the window and replay, and without.

    python benchmarks/contract_cost.py [--rounds N] [--messages N]

One process sends a dict of five keys to one other process, then to three, over local
sockets. The product has no switch for its contract, so the processes of the other group
take it out of themselves from here (`unprotect`): no ring, no wait for room, no
acknowledgements, no beacons for want of them. Numbers stay, since they are the wire.

Which figure is fair? A sender without a window runs ahead of its receivers and drops what
they cannot take: its own rate flatters it, and what its receivers count is too little for
the time. So there the high-water marks are lifted, for nothing to be dropped: what a round
sends waits in memory, which costs no more than where it waits otherwise. Then both groups
do the same work, N messages sent once and received by all, and what is compared is N over
the time from the first send until the slowest receiver's task has had the last message. A
round in which anybody received another number than N is no round, and ends the benchmark.
The senders' own rates, and the processor time that all processes of a group took for a
message, are printed beside it and decide nothing; the latter is deaf to a busy machine.

Both groups stay up, and take turns, a round each, in an order that changes: a slower
machine is slower for both. The median of the ratios round by round stands against the bar
of 0.9; how far rounds differ is said by their quartiles. Exit status 1 is below the bar, 2 is
a round that lost something.
"""

import argparse
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time

from speed_tasks import Counter

import zexchange

BAR = 0.9
NAME = "ticks"
PATIENCE = 120.0


# ----------------------------------------------------------------- in the other processes


def unprotect():
    """Take window, acknowledgements and replay out of this process; before it federates."""
    import zmq

    from zexchange.net.inbound import peer_stream as peer_receiver
    from zexchange.net.outbound import window
    from zexchange.net.transport.sockets import Sockets

    window.Window.keep = lambda self, frame: None
    peer_receiver.PeerReceiver._acknowledge = lambda self: None
    plain_xpub, plain_sub = Sockets.xpub, Sockets.sub

    def unbounded(make):
        def made(sockets):
            socket = make(sockets)
            socket.setsockopt(zmq.SNDHWM, 0)
            socket.setsockopt(zmq.RCVHWM, 0)
            return socket

        return made

    Sockets.xpub, Sockets.sub = unbounded(plain_xpub), unbounded(plain_sub)


def receive(node):
    """Say, of each round, when the last of its messages came, and how many did."""
    counter = Counter()
    zexchange.get_exchange(NAME).attach(counter)
    node.wait_ready()
    print("ready", flush=True)
    for line in sys.stdin:
        counter.count, counter.goal, before = 0, int(line), time.process_time()
        print("set", flush=True)
        sys.stdin.readline()  # the sender is through
        deadline = time.monotonic() + PATIENCE
        while counter.count < counter.goal and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(0.05)  # for what there may be too much
        print(counter.came, counter.count, time.process_time() - before, flush=True)


def send(node, receivers):
    """Send, in each round, as many messages as are asked for; say how long that took."""
    send = zexchange.get_exchange(NAME).send
    node.wait_subscribers(NAME, receivers)
    print("ready", flush=True)
    for line in sys.stdin:
        count = int(line)
        start, before = time.monotonic(), time.process_time()
        for n in range(count):
            send({"sym": "AAPL", "px": 191.25, "qty": 100, "side": "B", "seq": n})
        end = time.monotonic()
        print("sent", flush=True)
        sys.stdin.readline()  # all have come
        print(start, end, time.process_time() - before, flush=True)


def work(role, kind, receivers):
    """Be one process of a group until its input ends."""
    logging.getLogger("zexchange").setLevel(logging.ERROR)
    if kind == "without":
        unprotect()
    node = zexchange.federate(f"benchmark-{kind}", label=role)
    if role == "sender":
        send(node, receivers)
    else:
        receive(node)
    node.close(0.01)  # without acknowledgements there is nothing to wait for


# ----------------------------------------------------------------------- in this process


class Group:
    """A sender and its receivers."""

    def __init__(self, kind, receivers, directory):
        environment = {**os.environ, "ZEXCHANGE_DIR": directory}
        roles = ["receiver"] * receivers + ["sender"]
        self._processes = [
            subprocess.Popen(
                [sys.executable, __file__, "--work", role, kind, str(receivers)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                bufsize=1,
                env=environment,
            )
            for role in roles
        ]
        self._receivers, self._sender = self._processes[:-1], self._processes[-1]
        for process in self._processes:
            _expect(process, "ready")

    def round(self, messages):
        """Send and receive; return rates and cost, or None after a loss.

        They are messages a second received, the same sent, processor seconds a message.
        """
        for process in self._receivers:
            process.stdin.write(f"{messages}\n")
            _expect(process, "set")
        self._sender.stdin.write(f"{messages}\n")
        _expect(self._sender, "sent")
        for process in self._receivers:
            process.stdin.write("sent\n")
        lines = [_line(process).split() for process in self._receivers]
        self._sender.stdin.write("come\n")
        start, sent, took = map(float, _line(self._sender).split())
        counts = [int(count) for _, count, _ in lines]
        if counts != [messages] * len(counts):
            print(f"sent {messages}, received {counts}", flush=True)
            return None
        last = max(float(came) for came, _, _ in lines)
        took += sum(float(seconds) for _, _, seconds in lines)
        return messages / (last - start), messages / (sent - start), took / messages

    def close(self):
        """End all processes."""
        for process in self._processes:
            process.stdin.close()
        for process in self._processes:
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


def compare(receivers, rounds, messages, directory):
    """Run the rounds of both groups in turn; return the ratios, or None after a loss."""
    groups = {kind: Group(kind, receivers, directory) for kind in ("with", "without")}
    try:
        for group in groups.values():  # the first round is slower, for both
            if group.round(messages) is None:
                return None
        taken = []
        for number in range(rounds):
            order = ("with", "without") if number % 2 else ("without", "with")
            rates = {kind: groups[kind].round(messages) for kind in order}
            if None in rates.values():
                return None
            taken.append(rates)
            print(_row(f"1 to {receivers}, round {number + 1}", rates), flush=True)
    finally:
        for group in groups.values():
            group.close()
    medians = {
        kind: [statistics.median(rates[kind][i] for rates in taken) for i in (0, 1, 2)]
        for kind in groups
    }
    print(_row(f"1 to {receivers}, median", medians))
    return sorted(rates["with"][0] / rates["without"][0] for rates in taken)


def _row(label, rates):
    (got, sent, took), (plain_got, plain_sent, plain_took) = rates["with"], rates["without"]
    return (
        f"{label:<18}{got / 1e3:>10.0f}{plain_got / 1e3:>10.0f}{got / plain_got:>8.2f}"
        f"{sent / 1e3:>12.0f}{plain_sent / 1e3:>10.0f}"
        f"{took * 1e6:>12.2f}{plain_took * 1e6:>10.2f}"
    )


def main(arguments):
    """Print the table; return the exit status."""
    print(f"{arguments.messages} messages a round, k msg/s", flush=True)
    print(f"{'':<18}{'received':>20}{'ratio':>8}{'sent':>22}{'cpu us':>22}")
    print(
        f"{'':<18}{'with':>10}{'without':>10}{'':>8}" + f"{'with':>12}{'without':>10}" * 2,
        flush=True,
    )
    verdicts = {}
    for receivers in (1, 3):
        with tempfile.TemporaryDirectory(prefix="zxb-") as directory:
            ratios = compare(receivers, arguments.rounds, arguments.messages, directory)
        if ratios is None:
            print("a round lost or repeated something: there is nothing to compare")
            return 2
        verdicts[receivers] = statistics.median(ratios)
        print(
            f"1 to {receivers}: median ratio {verdicts[receivers]:.3f},"
            f" rounds from {ratios[0]:.2f} to {ratios[-1]:.2f},"
            f" the middle half from {ratios[len(ratios) // 4]:.2f}"
            f" to {ratios[-1 - len(ratios) // 4]:.2f}",
            flush=True,
        )
    worst = min(verdicts.values())
    verdict = "ok" if worst >= BAR else "BELOW"
    print(f"with the contract {worst:.3f} of the throughput without, bar {BAR}: {verdict}")
    return 0 if worst >= BAR else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        work(sys.argv[2], sys.argv[3], int(sys.argv[4]))
        sys.exit(0)
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=41)
    parser.add_argument("--messages", type=int, default=300_000)
    sys.exit(main(parser.parse_args()))
