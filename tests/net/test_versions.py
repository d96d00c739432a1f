"""Nodes of this tree and of an older one in one federation: wire version 1 holds for both."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import zexchange
from tests.support import ROOT, Program, eventually, tcp

pytestmark = [pytest.mark.slow, pytest.mark.sockets, pytest.mark.leaves_files]
OLD = "89c28cf"
"""The last commit whose nodes know of no name that is forgotten, and of no second federation."""

HUB = """
try:
    from zexchange.net.hub.hub import Hub
except ImportError:  # of the earlier version
    from zexchange.net.hub import Hub
hub = Hub("fed", tcp(0))
print(hub.endpoint, flush=True)
sys.stdin.read()
hub.close()
"""
SEED = """
import zexchange
with zexchange.federate("fed", listen=tcp(0), local=False) as node:
    print(next(iter(node.endpoints)), flush=True)
    sys.stdin.read()
"""
PARTY = """
import zexchange
me, others, arguments = sys.argv[1], int(sys.argv[2]), eval(sys.argv[3])
assert zexchange.__file__.startswith(sys.argv[4]), zexchange.__file__
got, lost = {}, []
def take(message):
    _, (who, number) = message
    got.setdefault(who, []).append(number)
zexchange.match("all.**").attach(zexchange.to_call(take), names=True)
node = zexchange.federate("fed", **arguments)
node.events.handler(lambda e: isinstance(e, zexchange.Lost) and lost.append(e))
node.wait_peers(others, 60)
node.wait_subscribers("all.x", 3, 60)
node.wait_ready(60)
print("ready", flush=True)
sent = 0
for line in sys.stdin:
    command, number = line.split()
    if command == "send":
        for _ in range(int(number)):
            sent += 1
            zexchange.get_exchange("all.x").send((me, sent))
    elif command == "names":
        for n in range(int(number)):
            sent += 1
            zexchange.get_exchange(f"all.once.{me}.{sent}").send((me, sent))
    elif command == "flush":
        node.flush(float(number))
    elif command == "silent":
        eventually(lambda: sum(peer.silent for peer in node.peers) == int(number), 60)
    elif command == "got":
        eventually(lambda: sum(map(len, got.values())) >= int(number), 60)
        in_order = all(numbers == sorted(set(numbers)) for numbers in got.values())
        print(sum(map(len, got.values())), in_order, len(lost), flush=True)
        continue
    elif command == "peers":
        eventually(lambda: len(node.peers) == int(number), 60)
    print("done", flush=True)
node.close()
"""


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Where each version is."""
    old = tmp_path_factory.mktemp("old")
    archive = ["git", "-C", str(ROOT), "archive", OLD, "zexchange", "tests/support.py"]
    packed = subprocess.run(archive, capture_output=True)
    if packed.returncode:
        pytest.skip(f"no history with {OLD} here")
    subprocess.run(["tar", "-x", "-C", str(old)], input=packed.stdout, check=True)
    return {"old": old, "new": ROOT}


@pytest.fixture(params=["mesh", "static", "old", "new"])
def arguments(
    request: pytest.FixtureRequest, trees: dict[str, Path]
) -> Iterator[dict[str, object]]:
    """How nodes join: on one host, by an old node as a static peer, behind a hub of each."""
    if request.param == "mesh":
        yield {}
        return
    seed = request.param == "static"
    with Program(SEED if seed else HUB, tree=trees["old" if seed else request.param]) as first:
        if seed:
            yield {"listen": tcp(0), "peers": [first.line()], "local": False}
        else:
            yield {"hub": first.line(), "local": False}


def tell(parties: list[Program], *commands: str) -> None:
    """Have all do something at the same time, and then the next thing."""
    for command in commands:
        for party in parties:
            party.say(command)
        for party in parties:
            party.expect("done", 90)


def test_two_versions_are_one_federation(
    trees: dict[str, Path], arguments: dict[str, object]
) -> None:
    """Two nodes of each: all comes to all, in order and once, also to one that stood still.

    And on names that are used once, which nodes of this tree forget among themselves.
    """
    seeds = 1 if "peers" in arguments else 0
    with ExitStack() as stack:
        parties = [
            stack.enter_context(Program(PARTY, name, 3 + seeds, arguments, tree, tree=tree))
            for name, tree in [
                (f"{version}{n}", trees[version]) for n in (1, 2) for version in trees
            ]
        ]
        for party in parties:
            party.expect("ready", 90)
        tell(parties, "send 2000", "names 500", "flush 60")
        for stopped in parties[:2]:
            stopped.kill(signal.SIGSTOP)
            going = [party for party in parties if party is not stopped]
            tell(going, "silent 1", "send 1000")
            stopped.kill(signal.SIGCONT)
            tell(going, "flush 60", "silent 0")
        total = 4 * 2500 + 2 * 3 * 1000
        for party in parties:
            party.say(f"got {total}")
            party.expect(f"{total} True 0", 90)
        for left in (2, 1):
            assert parties.pop().end() == 0
            tell(parties[:1], f"peers {left + seeds}")


LISTENING = """
import zexchange
assert zexchange.__file__.startswith(sys.argv[2]), zexchange.__file__
got = []
zexchange.get_exchange("x").handler(got.append)
node = zexchange.federate("fed", **eval(sys.argv[1]))
node.wait_ready(60)
print("ready", flush=True)
for line in sys.stdin:
    eventually(lambda: len(got) >= int(line), 60)
    print(got, flush=True)
node.close()
"""


def test_headers_and_questions_beside_an_old_node(
    trees: dict[str, Path], arguments: dict[str, object]
) -> None:
    """An old node gets the messages without headers, sees questions, and is asked nothing."""
    registry = zexchange.Registry()
    exchange = registry.get("x")
    with (
        Program(LISTENING, arguments, trees["old"], tree=trees["old"]) as old,
        zexchange.federate("fed", registry=registry, **arguments) as node,  # type: ignore[arg-type]
    ):
        old.expect("ready", 90)
        node.wait_subscribers("x", 1, 60)
        with pytest.raises(zexchange.NoResponders):
            exchange.request("nobody")
        exchange.send("plain")
        exchange.send_with("headers", headers={"a": 1})
        with zexchange.federate("fed", registry=(there := zexchange.Registry()), **arguments):  # type: ignore[arg-type]
            there.get("x").responder(lambda msg: f"{msg}!")
            assert exchange.request("question", 60, 60) == "question!"
        node.flush(60)
        old.say("3")
        old.expect("['plain', 'headers', 'question']", 90)
        assert old.end() == 0


def test_groups_beside_an_old_node(trees: dict[str, Path], arguments: dict[str, object]) -> None:
    """An old node gets every message as any subscriber does, and takes no part in the groups."""
    registry, there = zexchange.Registry(), zexchange.Registry()
    exchange, done = registry.get("x"), list[int]()
    mine = list[int]()
    with (
        Program(LISTENING, arguments, trees["old"], tree=trees["old"]) as old,
        zexchange.federate("fed", registry=registry, **arguments) as node,  # type: ignore[arg-type]
        zexchange.federate("fed", registry=there, **arguments),  # type: ignore[arg-type]
    ):
        old.expect("ready", 90)
        node.wait_subscribers("x", 1, 60)
        there.get("x").handler(done.append, group="workers")
        exchange.handler(mine.append, group="workers")
        eventually(lambda: len(registry._groups()._index.on("x")) == 2, 60)
        for number in range(200):
            exchange.send(number)
        node.flush(60)
        old.say("200")
        old.expect(str(list(range(200))), 90)
        assert sorted(done + mine) == list(range(200))
        assert done
        assert mine
        assert old.end() == 0


ASKING_OLD = """
import zexchange
assert zexchange.__file__.startswith(sys.argv[2]), zexchange.__file__
node = zexchange.federate("fed", **eval(sys.argv[1]))
node.wait_subscribers("x", int(sys.argv[3]), 60)
print("ready", flush=True)
sys.stdin.readline()
for number in range(100):
    zexchange.get_exchange("x").send(number)
node.flush(60)
print("done", flush=True)
sys.stdin.read()
node.close()
"""


def test_an_old_node_sends_to_no_group(
    trees: dict[str, Path], arguments: dict[str, object]
) -> None:
    """What an old node sends reaches plain subscribers; it knows no members, and owes them none."""
    there, got, done = zexchange.Registry(), list[int](), list[int]()
    there.get("x").handler(got.append)
    there.get("x").handler(done.append, group="workers")
    with (
        zexchange.federate("fed", registry=there, **arguments),  # type: ignore[arg-type]
        Program(ASKING_OLD, arguments, trees["old"], 1, tree=trees["old"]) as old,
    ):
        old.expect("ready", 90)
        old.say("go")
        old.expect("done", 90)
        eventually(lambda: got == list(range(100)), 60)
        assert done == []
