"""Full size: many processes at once, first messages, thousands of exchanges, churn."""

import json
import sys
from operator import gt

import pytest

from tests.net.conftest import collect
from tests.net.test_processes import ALL_TO_ALL
from tests.relay import Relay
from tests.support import Program, eventually, programs, tcp
from zexchange import Registry, federate

pytestmark = [pytest.mark.sockets, pytest.mark.acceptance, pytest.mark.timeout(1800)]


@pytest.mark.parametrize("run", range(20))
def test_twenty_processes_at_the_same_moment(run: int) -> None:
    """All find each other, and each receives one message of each other."""
    with programs(ALL_TO_ALL, [(20, "fed")] * 20) as started:
        for program in started:
            program.expect("[1]", timeout=60)


RESTARTED = """
import json, zexchange
got = {}
exchange = zexchange.get_exchange("all")
exchange.handler(lambda msg: got.update({msg: got.get(msg, 0) + 1}))
node = zexchange.federate("fed")
print("up", flush=True)
living = set(json.loads(sys.stdin.readline()))
others = living - {os.getpid()}
eventually(lambda: others <= {peer.pid for peer in node.peers if peer.ready}, 60)
exchange.send(os.getpid())
eventually(lambda: living <= set(got), 60)
node.flush()
print(len(living), {got[pid] for pid in living}, flush=True)
sys.stdin.read()
node.close()
"""


@pytest.mark.leaves_files
@pytest.mark.parametrize("run", range(20))
def test_twenty_processes_of_which_five_are_killed_and_restarted(run: int) -> None:
    """Five are killed as soon as they are up, and their successors are found like all others."""
    started = [Program(RESTARTED) for _ in range(20)]
    try:
        for doomed in started[:5]:
            doomed.expect("up", timeout=60)
            doomed.kill()
            doomed.process.wait()
        successors = [Program(RESTARTED) for _ in range(5)]
        for doomed in started[:5]:
            doomed.finish(failed=True)
        started[:5] = successors
        for program in started:
            program.expect("up", timeout=60)
        for program in started:
            program.say(json.dumps([program.pid for program in started]))
        for program in started:
            program.expect("20 {1}", timeout=90)
    finally:
        for program in started:
            program.finish(failed=sys.exc_info()[0] is not None)


def attach(registry: Registry, names: list[str], got: list[str]) -> None:
    for name in names:
        registry.get(name).handler(got.append)


@pytest.mark.parametrize("way", ["federate", "wait_ready", "wait_subscribers"])
def test_first_messages_on_a_thousand_exchanges(way: str) -> None:
    """The first message after each of the three promises arrives, 100 times over."""
    for repetition in range(100):
        here, there = Registry(), Registry()
        names = [f"x{repetition}.{n}" for n in range(1000)]
        got: list[str] = []

        with federate("fed", registry=here) as node:
            if way == "federate":
                attach(there, names, got)
            with federate("fed", registry=there) as other:
                if way != "federate":
                    attach(there, names, got)
                if way == "wait_ready":
                    other.wait_ready()
                if way == "wait_subscribers":
                    for name in names:
                        node.wait_subscribers(name)
                for name in names:
                    here.get(name).send(name)
                node.flush(60)
        assert sorted(got) == sorted(names), f"repetition {repetition}: {len(got)} arrived"


def test_eight_thousand_exchanges_before_and_after_a_reconnect(relays: list[Relay]) -> None:
    """All of 8000 exchanges receive, and again after both connections were cut; five times."""
    here, there = Registry(), Registry()
    got = {f"x{n}": collect(there, f"x{n}") for n in range(8000)}
    listen, advertise = ([tcp(r._target) for r in relays], [tcp(r.port) for r in relays])
    with (
        federate("fed", registry=here, listen=listen, advertise=advertise, local=False) as node,
        federate("fed", registry=there, peers=[advertise[0]], local=False) as other,
    ):
        for turn in range(5):
            node.wait_peers(1, 60)
            node.wait_subscribers("x7999", 1, 60)
            for name in got:
                here.get(name).send(turn)
            node.flush(60)
            assert all(messages == list(range(turn + 1)) for messages in got.values())
            before = [relay.accepted for relay in relays]
            for relay in relays:
                relay.cut()
            eventually(lambda before=before: all(map(gt, [r.accepted for r in relays], before)))
            node.wait_peers(1, 60)
            other.wait_ready(60)


CHURN = """
import json, random, threading, zexchange
seconds, names = float(sys.argv[1]), [f"c{n}" for n in range(4)]
seen, wrong, sent = {}, [], {}

class Steady:
    def __init__(self, name):
        self.name = name
    def send(self, msg):
        key = (*msg[:2], self.name)
        if msg[2] != seen.get(key, 0):
            wrong.append((key, msg[2], seen.get(key, 0)))
        seen[key] = msg[2] + 1

for name in names:
    zexchange.get_exchange(name).attach(Steady(name))
node = zexchange.federate("fed")
node.wait_peers(2)
node.wait_ready()
for name in names:
    node.wait_subscribers(name, 2)
print("ready", flush=True)
sys.stdin.readline()
end = time.monotonic() + seconds

def work(thread):
    dice, mine = random.Random(thread), [0] * 4
    passing = zexchange.to_call(lambda msg: None)
    while time.monotonic() < end:
        for _ in range(100):
            n = dice.randrange(4)
            zexchange.get_exchange(names[n]).send((os.getpid(), thread, mine[n]))
            mine[n] += 1
            if dice.random() < 0.05:
                with zexchange.get_exchange(dice.choice(names)).subscribe(passing):
                    with zexchange.match("**").subscribe(passing):
                        pass
            if dice.random() < 0.02:
                other = zexchange.get_exchange(f"other{dice.randrange(50)}")
                other.attach(passing)
                other.send(0)
                other.detach(passing)
        node.flush(60)
    for n in range(4):
        sent[thread, names[n]] = mine[n]

threads = [threading.Thread(target=work, args=(t,)) for t in range(8)]
[t.start() for t in threads]
[t.join() for t in threads]
node.flush(60)
print("sent", json.dumps([[os.getpid(), *key, n] for key, n in sent.items()]), flush=True)
sys.stdin.readline()
lost = sum(r.lost for r in node.stats().received.values())
rows = json.dumps([[*key, n] for key, n in seen.items()])
print("seen", rows, len(wrong), wrong[:3], lost, flush=True)
sys.stdin.read()
node.close()
"""


@pytest.mark.parametrize("seconds", [30])
def test_eight_threads_in_three_processes_send_attach_and_detach(seconds: int) -> None:
    """Order per origin, thread and exchange holds; steady subscribers get all, once."""
    check_churn(seconds)


def check_churn(seconds: float) -> int:
    with programs(CHURN, [(seconds,)] * 3) as started:
        for program in started:
            program.expect("ready")
        for program in started:
            program.say()
        sent = sorted(
            row for p in started for row in json.loads(p.line(seconds + 90).partition(" ")[2])
        )
        for program in started:
            program.say()
        for program in started:
            line = program.line(60)
            rows, _, rest = line.partition("]] ")
            assert rest == "0 [] 0", rest
            assert sorted(json.loads(rows[5:] + "]]")) == [row for row in sent if row[3]]
    return sum(row[3] for row in sent)
