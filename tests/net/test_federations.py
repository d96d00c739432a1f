"""Several federations of the same processes, with real sockets, threads and processes."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.net.conftest import Joiner, collect
from tests.net.keyrings import Keyrings
from tests.net.test_hub import three_ports
from tests.relay import Relay
from tests.support import PATIENCE, eventually, tcp
from zexchange import Node, Registry, federate, get_exchange, to_call
from zexchange.net.hub.hub import Hub

pytestmark = pytest.mark.sockets
COUNT = 400

SENDER = """
import os, sys, zexchange
nodes = [zexchange.federate(name) for name in sys.argv[2:]]
for node in nodes:
    node.wait_subscribers("x", 1, 60)
for number in range(int(sys.argv[1])):
    zexchange.get_exchange("x").send((os.getpid(), number))
for node in nodes:
    node.flush(60)
    node.close(60)
"""


def test_two_processes_that_share_three_federations(join: Joiner) -> None:
    """Each message once, in order, from several senders at once."""
    registry = Registry()
    got = collect(registry, "x")
    nodes = [join(name, registry=registry)[0] for name in ("a", "b", "c")]
    senders = [
        subprocess.Popen([sys.executable, "-c", SENDER, str(COUNT), *names])
        for names in (("a", "b", "c"), ("c", "b"), ("b",))
    ]
    for sender in senders:
        assert sender.wait(2 * PATIENCE) == 0
    eventually(lambda: len(got) >= len(senders) * COUNT)
    for sender in senders:
        numbers = [n for pid, n in got if pid == sender.pid]  # type: ignore[misc]
        assert numbers == list(range(COUNT))
    assert len(got) == len(senders) * COUNT
    assert all(node.stats().rejected == {} for node in nodes)


def test_threads_that_send_at_once(join: Joiner) -> None:
    """Both federations number their messages alike, while one of them is joined and left."""
    here, there = Registry(), Registry()
    got = collect(there, "x")
    first = [join("a", registry=registry)[0] for registry in (here, there)]
    first[0].wait_subscribers("x", 1)
    going = threading.Event()

    def send(sender: int) -> None:
        for number in range(10 * COUNT):
            here.get("x").send((sender, number))
            if number == COUNT:
                going.set()

    threads = [threading.Thread(target=send, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    going.wait(PATIENCE)
    with ExitStack() as stack:
        for registry in (here, there):
            stack.enter_context(federate("b", registry=registry))
        for thread in threads:
            thread.join()
    first[0].flush()
    for sender in range(4):
        assert [n for who, n in got if who == sender] == list(range(10 * COUNT))  # type: ignore[misc]
    assert len(got) == 40 * COUNT


@pytest.fixture
def pair(relays: tuple[Relay, Relay], join: Joiner) -> tuple[list[Node], list[object]]:
    """Two processes in federations *a*, behind relays, and *b*: their nodes, and what comes."""
    control, data = relays
    here, there = Registry(), Registry()
    got = collect(there, "x")
    nodes = [
        join(
            "a",
            registry=here,
            local=False,
            listen=(tcp(control._target), tcp(data._target)),
            advertise=(tcp(control.port), tcp(data.port)),
        )[0]
    ]
    join("a", registry=there, local=False, peers=[tcp(control.port)])
    nodes += [join("b", registry=here)[0]]
    join("b", registry=there)
    for node in nodes:
        node.wait_subscribers("x", 1)
    return nodes, got


def test_a_federation_that_is_cut(
    pair: tuple[list[Node], list[object]], relays: tuple[Relay, Relay]
) -> None:
    """The other one goes on, without a gap and at once; and so when it is there again."""
    nodes, got = pair
    exchange = nodes[0].registry.get("x")
    for number in range(10):
        exchange.send(number)
    for relay in relays:
        relay.close()
    for number in range(10, 1000):
        exchange.send(number)
    nodes[1].flush()
    assert got == list(range(1000))


def test_a_message_is_not_passed_on_to_another_federation(join: Joiner) -> None:
    """Who is in both receives it, and who is in the second alone does not."""
    node, first = join("a")
    both = Registry()
    join("a", registry=both)
    between, _ = join("b", registry=both)
    _, last = join("b")
    got, beyond = collect(both, "x"), collect(last, "x")
    node.wait_subscribers("x", 1)
    between.wait_subscribers("x", 1)
    first.get("x").send("in a")
    node.flush()
    both.get("x").send("in both")  # after what would have been passed on
    between.flush()
    assert got == ["in a", "in both"]
    assert beyond == ["in both"]


def test_a_federation_that_is_left(pair: tuple[list[Node], list[object]]) -> None:
    """In the middle of a flood; the other one has all of it."""
    nodes, got = pair
    exchange = nodes[0].registry.get("x")
    for number in range(1000):
        exchange.send(number)
        if number == 500:
            nodes[1].close()
    nodes[0].flush()
    assert got == list(range(1000))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_is_another_process(rendezvous: Path) -> None:
    """What it sends is its own, though it has the registry and the numbers of its parent."""
    there = Registry()
    got = collect(there, "x")
    with ExitStack() as stack:
        for name in ("a", "b"):
            stack.enter_context(federate(name, registry=there))
        nodes = [stack.enter_context(federate(name)) for name in ("a", "b")]
        for node in nodes:
            node.wait_subscribers("x", 1)
        get_exchange("x").send("parent")
        child = os.fork()
        if not child:
            try:
                for node in nodes:
                    node.wait_subscribers("x", 1, PATIENCE)
                get_exchange("x").send("child")
                for node in nodes:
                    node.flush(PATIENCE)
                    node.close()
            finally:
                os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(child, 0)
        get_exchange("x").send("parent again")
        for node in nodes:
            node.flush()
        assert got == ["parent", "child", "parent again"]


def test_an_earlier_version_gets_what_each_federation_brings(
    join: Joiner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not say which process it is, and is taken for two, as before."""
    from zexchange.net.engine import engine

    here, there = Registry(), Registry()
    got = collect(there, "x")
    nodes = [join(name, registry=here)[0] for name in ("a", "b")]
    said = engine.Session

    def silent(*args: object, **words: object) -> object:
        return said(*args, **{**words, "registry": b""})  # type: ignore[arg-type]

    monkeypatch.setattr(engine, "Session", silent)
    old = Registry()
    senders = [join(name, registry=old)[0] for name in ("a", "b")]
    other = [join(name, registry=there)[0] for name in ("a", "b")]
    for node in senders:
        node.wait_subscribers("x", 1)
    old.get("x").send(1)
    for node in [*senders, *nodes, *other]:
        node.flush()
    assert got == [1, 1]


@pytest.mark.parametrize("ends", ["hub", "mesh"])
def test_a_hub_in_one_of_two_federations(join: Joiner, ends: str) -> None:
    """What comes by the hub and what comes without it is one sequence, whichever of them ends."""
    with ExitStack() as stack:
        hub = Hub("a", three_ports())
        stack.callback(hub.close)
        here, there = Registry(), Registry()
        got = collect(there, "x")
        nodes = [
            join(name, registry=registry, **words)[0]
            for registry in (here, there)
            for name, words in (("a", {"hub": hub.endpoint, "local": False}), ("b", {}))
        ]
        exchange = here.get("x")
        for node in nodes[:2]:
            node.wait_subscribers("x", 1)
        for number in range(COUNT):
            exchange.send(number)
        hub.close() if ends == "hub" else nodes[1].close()
        for number in range(COUNT, 2 * COUNT):
            exchange.send(number)
        nodes[1 if ends == "hub" else 0].flush()
        eventually(lambda: len(got) >= 2 * COUNT)
        if ends == "hub":  # another one in its place
            stack.callback(Hub("a", hub.endpoint).close)
            nodes[0].wait_subscribers("x", 1)
            nodes[1].close()
        exchange.send("last")
        nodes[0].flush()
        eventually(lambda: "last" in got)
        assert got == [*range(2 * COUNT), "last"]


def test_different_permissions_in_one_of_two_federations(join: Joiner, keyrings: Keyrings) -> None:
    """What may be had in both comes once, and what may be had in one comes by that alone."""
    keyrings.friends("north", "south")
    others = {name: keyrings(name).with_name(f"{name} in b") for name in ("north", "south")}
    for name, copy in others.items():  # the same keys
        shutil.copytree(keyrings(name), copy)
    keyrings.permit("north", '[south]\nsubscribe = ["x", "a.*"]')
    (others["north"] / "permissions.toml").write_text('[south]\nsubscribe = ["x", "b.*"]')
    here, there = Registry(), Registry()
    got: list[tuple[str, int]] = []
    there.match("**").attach(to_call(got.append))
    nodes = []
    for name, keys in (("a", keyrings), ("b", others.__getitem__)):
        words = {"local": False, "keys": keys("north"), "listen": "tcp://127.0.0.1:0"}
        nodes.append(join(name, registry=here, **words)[0])
        join(name, registry=there, local=False, keys=keys("south"), peers=nodes[-1].endpoints)
    for node, own in zip(nodes, ("a.x", "b.x"), strict=True):
        node.wait_subscribers("x", 1)
        node.wait_subscribers(own, 1)
    for number in range(COUNT):
        for name in ("x", "a.x", "b.x", "c"):
            here.get(name).send((name, number))
    for node in nodes:
        node.flush()
    eventually(lambda: len(got) >= 3 * COUNT)
    for name in ("x", "a.x", "b.x"):
        assert [n for which, n in got if which == name] == list(range(COUNT))
    assert len(got) == 3 * COUNT
