"""Nodes behind hubs, in real processes: what a mesh promises holds there, too."""

import signal
import time
from collections.abc import Callable, Iterator
from textwrap import dedent

import pytest

import zexchange
from tests.net.conftest import Joiner, collect
from tests.support import PATIENCE, Program, eventually, programs, tcp
from zexchange.net.hub.hub import Hub

pytestmark = pytest.mark.sockets

HUB = """
from zexchange.net.hub.hub import Hub
import time
hub = Hub("fed", sys.argv[1], peers=sys.argv[2:])
print(hub.endpoint)
sys.stdin.read()
hub.close()
"""

NODE = """
import logging
import zexchange
registry = zexchange.Registry()
where = sys.argv[2].split(",")
node = zexchange.federate("fed", hub=where, local=False, registry=registry, label=sys.argv[1])
got, lost = {}, []
def take(msg):
    who, number, *_ = msg
    got.setdefault(who, []).append(number)
if "deaf" not in sys.argv:
    registry.get("x").handler(take)
node.events.handler(lambda e: lost.append(e) if isinstance(e, zexchange.Lost) else None)
print("here")
for line in sys.stdin:
    what, *words = line.split()
    if what == "peers":
        node.wait_peers(int(words[0]), 60); print("peers")
    elif what == "subscribers":
        node.wait_subscribers("x", int(words[0]), 60); print("subscribers")
    elif what == "send":
        for n in range(*map(int, words[:2])):
            registry.get("x").send((sys.argv[1], n, "-" * int(words[2]) if words[2:] else ""))
        print("sent")
    elif what == "flush":
        node.flush(60); print("flushed")
    elif what == "until":
        eventually(lambda: got.get(words[0], [-1])[-1] == int(words[1]), 60); print("there")
    elif what == "whole":
        whole = all(n == sorted(set(n)) for n in got.values())
        stats = [r for (name, _), r in node.stats().received.items()]
        print(whole, sum(map(len, got.values())), len(lost), sum(r.duplicates for r in stats))
    elif what == "stats":
        print(node.stats().received)
node.close()
"""


@pytest.fixture
def hub() -> Iterator[Callable[..., Hub]]:
    """Make hubs in this process, which end with the test; name it before `join`."""
    hubs = []

    def make(listen: str = tcp(0), peers: tuple[str, ...] = ()) -> Hub:
        hubs.append(Hub("fed", listen, peers=peers))
        return hubs[-1]

    yield make
    for made in hubs:
        made.close()


def three_ports() -> str:
    """Return an endpoint whose port and the next two are free."""
    from tests.support import free_ports

    while True:
        first, second = free_ports()[0], free_ports()[0]
        if second == first + 2:
            return tcp(first)


def ask(program: Program, line: str) -> str:
    program.say(line)
    return program.line(90)


def behind(
    hub: Hub, join: Joiner, **arguments: object
) -> tuple[zexchange.Node, zexchange.Registry]:
    return join(hub=hub.endpoint, local=False, **arguments)


# ------------------------------------------------------------------------------ one hub


def test_two_nodes_and_a_hub(hub: Callable[..., Hub], join: Joiner) -> None:
    """Nodes that know only a hub are each other's peers: both ways, acknowledged and flushed."""
    here = hub()
    node, mine = behind(here, join)
    other, theirs = behind(here, join)
    got, back = collect(theirs, "x"), collect(mine, "x")
    node.wait_subscribers("x", 1)
    other.wait_subscribers("x", 1)
    for n in range(1000):
        mine.get("x").send(n)
    theirs.get("x").send("back")
    node.flush()
    other.flush()
    assert [n for n in got if n != "back"] == list(range(1000))
    assert [n for n in back if n == "back"] == ["back"]
    assert [peer.id for peer in node.peers] == [other.id]
    assert node.endpoints == ()


def test_a_node_that_joins_is_ready_at_once(hub: Callable[..., Hub], join: Joiner) -> None:
    """`federate` returns when everybody behind the hub is ready in both directions."""
    here = hub()
    nodes = [behind(here, join)[0] for _ in range(4)]
    assert [peer.ready for peer in nodes[-1].peers] == [True] * 3


def test_history_comes_through_a_hub(hub: Callable[..., Hub], join: Joiner) -> None:
    """A late joiner is given the last messages that a node behind the hub keeps, then the live."""
    here = hub()
    node, mine = behind(here, join, retain={"x": 3})
    for n in range(10):
        mine.get("x").send(n)
    _, theirs = behind(here, join)
    got: list[object] = []
    theirs.get("x").attach(zexchange.to_call(got.append), history=3)
    eventually(lambda: got == [7, 8, 9])
    mine.get("x").send(10)
    eventually(lambda: got == [7, 8, 9, 10])
    assert [peer.ready for peer in node.peers] == [True]


def test_large_messages_pass_a_hub(hub: Callable[..., Hub], join: Joiner) -> None:
    """8 MiB arrive whole, and once, through a hub."""
    here = hub()
    node, mine = behind(here, join)
    _, theirs = behind(here, join)
    got = collect(theirs, "x")
    node.wait_subscribers("x", 1)
    body = bytes(range(256)) * (32 << 10)
    for n in range(8):
        mine.get("x").send((n, body))
    node.flush()
    assert [(n, len(b), b == body) for n, b in got] == [(n, 8 << 20, True) for n in range(8)]  # type: ignore[misc]


def test_interest_changes_behind_a_hub(hub: Callable[..., Hub], join: Joiner) -> None:
    """What is attached later is received from then on, and what is detached ends, patterns too."""
    here = hub()
    node, mine = behind(here, join)
    other, theirs = behind(here, join)
    got: list[object] = []
    task = zexchange.to_call(got.append)
    theirs.match("a.*").attach(task)
    other.wait_ready()
    mine.get("a.b").send(1)
    node.flush()
    theirs.match("a.*").detach(task)
    other.wait_ready()
    mine.get("a.b").send(2)
    theirs.get("a.b").attach(task)
    other.wait_ready()
    mine.get("a.b").send(3)
    node.flush()
    assert got == [1, 3]


def test_who_leaves_has_left_and_who_dies_is_gone(hub: Callable[..., Hub], join: Joiner) -> None:
    """A goodbye reaches everybody; a killed process is gone by the hub's word."""
    here = hub()
    node, _ = behind(here, join)
    left: list[str] = []
    node.events.handler(
        lambda e: left.append(e.reason) if isinstance(e, zexchange.PeerLeft) else None
    )
    for reason in ("bye", "gone"):
        with Program(NODE, "other", here.endpoint) as other:
            other.expect("here")
            node.wait_peers(1)
            if reason == "gone":
                other.kill()
            else:
                other.end()
        eventually(lambda reason=reason: left and left[-1] == reason)
        eventually(lambda: not node.peers)
    assert left == ["bye", "gone"]


@pytest.mark.parametrize("count", [8, pytest.param(20, marks=pytest.mark.slow)])
def test_many_nodes_are_all_ready(count: int) -> None:
    """Processes that start at once are all ready, and hear each other once."""
    with Program(HUB, tcp(0)) as hub:
        where = hub.line()
        with programs(NODE, [(f"n{n}", where) for n in range(count)]) as nodes:
            for what in (f"peers {count - 1}", f"subscribers {count - 1}", "send 0 50", "flush"):
                for node in nodes:
                    node.expect("here") if what[0] == "p" else None
                    node.say(what)
                for node in nodes:
                    node.line(90)
            for node in nodes:
                # Its own task has its own messages, too.
                assert ask(node, "whole") == f"True {count * 50} 0 0"


def test_a_slow_node_hurts_nobody_else() -> None:
    """A stopped node holds the others for the second that it takes to find it slow; not longer."""
    with Program(HUB, tcp(0)) as hub:
        where = hub.line()
        with programs(NODE, [(n, where) for n in ("a", "b", "c")]) as (a, b, c):
            for node in (a, b, c):
                node.expect("here")
                assert ask(node, "subscribers 2") == "subscribers"
            c.kill(signal.SIGSTOP)
            assert ask(a, "send 0 400 250000") == "sent"
            assert ask(a, "send 400 401") == "sent"
            assert ask(b, "until a 400") == "there"
            assert ask(b, "whole") == "True 401 0 0"
            c.kill(signal.SIGCONT)
            assert ask(c, "until a 400") == "there"
            whole, count, losses, _ = ask(c, "whole").split()
            assert whole == "True"
            assert int(count) == 401 or int(losses)


def test_a_node_that_reads_slowly_is_waited_for(hub: Callable[..., Hub], join: Joiner) -> None:
    """Ten windows are more than a hub holds for a node: it takes in no more, and cuts nobody."""
    here, got = hub(), list[int]()
    node, registry = join(hub=here.endpoint, local=False)

    def slowly(msg: bytes) -> None:
        got.append(len(msg))
        time.sleep(0.002)

    registry.get("x").handler(slowly)
    senders = [join(hub=here.endpoint, local=False) for _ in range(10)]
    for sender, _ in senders:
        sender.wait_subscribers("x", 1, PATIENCE)
    for _, exchanges in senders:
        for _ in range(110):
            exchanges.get("x").send(bytes(64 << 10))
    eventually(lambda: len(got) == 1100)
    recovered = sum(received.recovered for received in node.stats().received.values())
    assert (here.stats().cut, here.stats().dropped, recovered) == (0, 0, 0)


def test_a_hub_that_dies_costs_nothing() -> None:
    """A hub is killed under traffic and comes back: every message arrives, once and in order."""
    where = three_ports()
    with Program(HUB, where) as hub:
        hub.line()
        with programs(NODE, [("a", where), ("b", where, "deaf")]) as (a, b):
            a.expect("here")
            b.expect("here")
            assert ask(b, "subscribers 1") == "subscribers"
            assert ask(b, "send 0 1000") == "sent"
            hub.kill()
            hub.process.wait()
            assert ask(b, "send 1000 3000") == "sent"
            with Program(HUB, where) as again:
                again.line()
                assert ask(b, "send 3000 4000") == "sent"
                assert ask(a, "until b 3999") == "there"
                assert ask(b, "flush") == "flushed"
                assert ask(a, "whole").startswith("True 4000 0")
    assert hub.process.returncode == -signal.SIGKILL


# --------------------------------------------------------------------------- several hubs


def linked(hubs: list[Hub], each: int) -> None:
    """Wait until hubs are linked to so many others each, and know each other's nodes."""
    eventually(lambda: all(hub.stats().hubs == each for hub in hubs))


def test_two_hubs_are_one_federation(hub: Callable[..., Hub], join: Joiner) -> None:
    """Nodes of two hubs that know each other are peers: data, acknowledgements and history."""
    first = hub()
    second = hub(peers=(first.endpoint,))
    node, mine = behind(first, join, retain={"x": 2})
    other, theirs = behind(second, join)
    for n in range(5):
        mine.get("x").send(n)
    got: list[object] = []
    theirs.get("x").attach(zexchange.to_call(got.append), history=2)
    eventually(lambda: got == [3, 4])
    node.wait_subscribers("x", 1)
    for n in range(5, 500):
        mine.get("x").send(n)
    node.flush()
    assert got == list(range(3, 500))
    back = collect(mine, "y")
    other.wait_subscribers("y", 1)
    theirs.get("y").send("back")
    other.flush()
    assert back == ["back"]


def test_a_node_on_two_hubs_gets_everything_once(hub: Callable[..., Hub], join: Joiner) -> None:
    """Of two hubs that know each other a node receives by one, and goes on when that dies."""
    first = hub()
    second = hub(peers=(first.endpoint,))
    linked([first, second], 1)
    both = (first.endpoint, second.endpoint)
    node, mine = join(hub=both, local=False)
    other, theirs = join(hub=both, local=False)
    got = collect(theirs, "x")
    node.wait_subscribers("x", 1)
    for n in range(300):
        mine.get("x").send(n)
    node.flush()
    (asked,) = [hub_ for hub_ in (first, second) if b"\x01x\0" in hub_._core.wants]
    asked.close()
    for n in range(300, 600):
        mine.get("x").send(n)
    node.flush(20)
    assert got == list(range(600))
    (received,) = other.stats().received.values()
    assert received.duplicates == received.lost == 0


def test_hubs_that_do_not_know_each_other(hub: Callable[..., Hub], join: Joiner) -> None:
    """A node on two separate hubs reaches those of either, and who is on both once."""
    first, second = hub(), hub()
    _, here = join(hub=(first.endpoint, second.endpoint), local=False)
    too, there = join(hub=(second.endpoint, first.endpoint), local=False)
    one, ones = behind(first, join)
    two, twos = behind(second, join)
    got, also = collect(here, "x"), collect(there, "x")
    for node in (one, two):
        node.wait_subscribers("x", 2)
    too.wait_subscribers("x", 1)
    ones.get("x").send("one")
    twos.get("x").send("two")
    there.get("x").send("too")
    for node in (one, two, too):
        node.flush()
    assert sorted(got) == sorted(also) == ["one", "too", "two"]  # type: ignore[type-var]


def test_three_hubs_in_a_ring_pass_everything_once(hub: Callable[..., Hub], join: Joiner) -> None:
    """In a ring each message comes to each node once, and then nothing is on its way any more."""
    first = hub()
    second = hub(peers=(first.endpoint,))
    third = hub(peers=(first.endpoint, second.endpoint))
    hubs = [first, second, third]
    linked(hubs, 2)
    nodes = [behind(hub, join) for hub in hubs for _ in range(2)]
    got = [collect(registry, "x") for _, registry in nodes]
    for node, _ in nodes:
        node.wait_subscribers("x", 5)
    for n in range(100):
        for k, (_, registry) in enumerate(nodes):
            registry.get("x").send((k, n))
    for node, _ in nodes:
        node.flush()
    for list_ in got:
        for k in range(6):
            assert [n for who, n in list_ if who == k] == list(range(100))  # type: ignore[misc]
    for node, _ in nodes:
        assert not any(r.duplicates for (n, o), r in node.stats().received.items() if o != node.id)
    for node, _ in nodes:
        node.close()
    eventually(lambda: not any(hub.stats().reachable for hub in hubs))
    assert not any(hub._forwarding.dropped for hub in hubs)


def test_a_link_between_hubs_that_is_cut_costs_nothing(
    join: Joiner, hub: Callable[..., Hub]
) -> None:
    """A hub between others dies and returns under traffic: what was missed is sent again."""
    middle = three_ports()
    with Program(HUB, middle) as between:
        between.line()
        left, right = hub(peers=(middle,)), hub(peers=(middle,))
        linked([left, right], 1)
        node, mine = behind(left, join)
        _, theirs = behind(right, join)
        got = collect(theirs, "x")
        node.wait_subscribers("x", 1)
        for n in range(500):
            mine.get("x").send(n)
        between.kill()
        between.process.wait()
        for n in range(500, 1000):
            mine.get("x").send(n)
        with Program(HUB, middle) as again:
            again.line()
            for n in range(1000, 1500):
                mine.get("x").send(n)
            eventually(lambda: len(got) == 1500)
            node.flush(20)
            assert got == list(range(1500))
            node.close()


# --------------------------------------------------------------------- hub and mesh at once


def test_a_direct_way_is_preferred(hub: Callable[..., Hub], join: Joiner) -> None:
    """Nodes that also find each other on this host go there, and get everything once."""
    here = hub()
    node, mine = join(hub=here.endpoint)
    other, theirs = join(hub=here.endpoint)
    got = collect(theirs, "x")
    node.wait_subscribers("x", 1)
    eventually(lambda: all((n.peers[0].control or "").startswith("ipc:") for n in (node, other)))
    frames = here.stats().frames
    for n in range(100):
        mine.get("x").send(n)
        node.flush()  # a frame for each
    assert got == list(range(100))
    assert len(node.peers) == len(other.peers) == 1
    (received,) = other.stats().received.values()
    assert received.duplicates == received.lost == 0
    # The hub still passes on the odd announcement of what is subscribed.
    assert here.stats().frames < frames + 100


def test_a_node_cannot_speak_as_another(hub: Callable[..., Hub], join: Joiner) -> None:
    """A frame under another origin, and a message under another name, go no further."""
    from tests.net.conftest import publish
    from zexchange.protocol.wire.control import control_frame
    from zexchange.protocol.wire.data import data_head, topic
    from zexchange.protocol.wire.envelopes import Envelope, bundle
    from zexchange.protocol.wire.messages import Bye

    here = hub()
    node, _ = behind(here, join)
    evil, _ = behind(here, join)
    third, theirs = behind(here, join)
    got = collect(theirs, "x")
    evil.wait_subscribers("x", 1)
    me = bytes.fromhex(node.id)
    publish(evil, lambda _: [[data_head(topic("x"), me, 1, 1, 0.0) + b"\x01"]])
    eventually(lambda: here.stats().rejected)
    engine = evil._engine
    assert engine is not None
    ways = engine._controls
    parcel = Envelope(me, bytes.fromhex(third.id), 8, control_frame(Bye(me, {})))
    link = next(iter(ways._links.values()))
    engine.post(lambda: link.post([bundle([parcel])]))  # type: ignore[attr-defined]
    eventually(lambda: len(here.stats().rejected) == 2)
    assert not got
    assert len(third.peers) == 2


def test_a_forked_child_is_carried_too() -> None:
    """A child that was forked behind a hub gets a node of its own there; its parent goes on."""
    source = """
    import os, zexchange
    registry = zexchange.Registry()
    got = []
    registry.get("x").handler(got.append)
    with zexchange.federate("fed", hub=sys.argv[1], local=False, registry=registry) as node:
        child = os.fork()
        if not child:
            node.wait_subscribers("x", 1, 30)
            registry.get("x").send("child")
            node.flush(30)
            node.close()
            os._exit(0)
        eventually(lambda: got == ["child"])
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    with Program(HUB, tcp(0)) as hub, Program(dedent(source), hub.line()) as parent:
        parent.expect("0")
