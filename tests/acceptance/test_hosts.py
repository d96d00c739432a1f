"""Separate hosts, with the clock: how soon all are ready, and ready again after an outage.

The one place where time is asserted; run alone, on a machine that does nothing else.
"""

import json
import sys
import time

import pytest

from tests.hosts.network import Host, hosts
from tests.hosts.there import There

pytestmark = [pytest.mark.acceptance, pytest.mark.sockets, pytest.mark.leaves_files]
NODE = """
import json, threading, time, zexchange
told = {}  # by origin, when its latest message was sent; all hosts share one clock here
def note(msg):
    told[msg[0]] = msg[1]
exchange = zexchange.get_exchange("x")
exchange.handler(note)
with zexchange.federate("lab", listen="tcp://0.0.0.0:7400", peers=json.loads(sys.argv[1]),
                        insecure=True, local=False, join_timeout=0.1) as node:
    n = int(sys.argv[2])
    def send():
        while True:
            exchange.send((node.id, time.monotonic()))
            time.sleep(0.02)
    for line in sys.stdin:
        if line == "ready\\n":
            node.wait_peers(n, 100)
            node.wait_subscribers("x", n, 100)
            print(time.monotonic(), flush=True)
            threading.Thread(target=send, daemon=True).start()
        else:
            since = float(line)
            others = lambda: [at for who, at in list(told.items()) if who != node.id]
            while len(others()) < n or min(others()) < since:
                time.sleep(0.005)
            node.wait_peers(n, 100)
            print(time.monotonic(), flush=True)
"""


def start(host: Host, n: int, *peers: str) -> There:
    return There(host, NODE, json.dumps(peers), str(n))


def test_five_hosts_are_ready_within_three_seconds() -> None:
    """Five hosts with gossip from one seed are all ready 3 s after the last one's start."""
    for _ in range(5):
        with hosts(5) as everybody:
            nodes = [start(host, 4, everybody[0].endpoint()) for host in everybody]
            started = time.monotonic()
            try:
                for node in nodes:
                    node.say("ready")
                took = max(float(node.line(100)) for node in nodes) - started
            finally:
                for node in nodes:
                    node.finish(failed=True)
        print(f"five hosts ready after {took:.2f} s", file=sys.stderr)
        assert took < 3.0


@pytest.mark.parametrize("outage", [0.5, 2.0, 4.0, 8.0, 14.0, 20.0, 40.0])
def test_back_within_two_seconds(outage: float) -> None:
    """A host that was away is heard by all, and hears all, 2 s after it can be reached.

    Everybody sends all the time: what cannot be delivered is what kernels become slow about.
    """
    with hosts(3) as (one, two, three):
        nodes = [start(host, 2, one.endpoint()) for host in (one, two, three)]
        try:
            for node in nodes:
                node.say("ready")
            for node in nodes:
                node.line()
            two.link("down")
            time.sleep(outage)
            two.link("up")
            back = time.monotonic()
            for node in nodes:
                node.say(str(back))
            took = max(float(node.line(100)) for node in nodes) - back
        finally:
            for node in nodes:
                node.finish(failed=True)
    print(f"away for {outage:g} s, ready after {took:.2f} s", file=sys.stderr)
    assert took < 2.0
