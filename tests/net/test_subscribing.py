"""What a node asks its peers for: one key may go while another one has the same topic."""

from collections.abc import Iterator
from operator import gt

import pytest

from tests.net.conftest import Joiner, collect
from tests.net.test_tcp import behind
from tests.relay import Relay
from tests.support import eventually, tcp
from zexchange import to_call
from zexchange.net.hub import Hub

pytestmark = pytest.mark.sockets


@pytest.fixture(params=["mesh", "hub"])
def way(request: pytest.FixtureRequest) -> Iterator[dict[str, object]]:
    """Give the arguments of nodes that know each other, or a hub."""
    if request.param == "mesh":
        yield {}
        return
    hub = Hub("fed", "tcp://127.0.0.1:0")
    yield {"hub": hub.endpoint, "local": False}
    hub.close()


@pytest.mark.parametrize(
    ("kept", "dropped"),
    [
        ("a.*", "a.**"),
        ("a.**", "a.*"),
        ("a.*.c", "a.*"),
        ("a.*.c", "a.**"),
        ("**", "*.x.*"),
    ],
)
def test_patterns_with_the_same_prefix(
    way: dict[str, object], join: Joiner, kept: str, dropped: str
) -> None:
    """Who ceases to want the one still gets all that the other covers, and no hole in it."""
    name = "a.x.c" if kept == "a.*.c" else "a.x"
    node, here = join(**way)
    other, there = join(**way)
    got: list[object] = []
    gone = to_call(lambda msg: None)
    there.match(kept).attach(to_call(got.append))
    node.wait_subscribers(name, 1)
    for _ in range(2):
        with there.match(dropped).subscribe(gone):
            other.wait_ready()
            here.get(name).send("with both")
            node.flush()
        other.wait_ready()
        here.get(name).send("with one")
        node.flush()
    assert got == ["with both", "with one"] * 2


def test_a_name_and_a_pattern_that_covers_it(join: Joiner) -> None:
    """The name has a topic of its own: dropped with it, the pattern's brings the messages."""
    node, here = join()
    other, there = join()
    got: list[object] = []
    there.match("a.**").attach(to_call(got.append))
    with there.get("a").subscribe(task := to_call(got.append)):
        node.wait_subscribers("a", 1)
        here.get("a").send(1)
        node.flush()
    other.wait_ready()
    here.get("a").send(2)
    node.flush()
    assert got == [1, 1, 2]
    assert task not in there.get("a")


def test_what_was_dropped_is_not_asked_for_after_a_cut(
    relays: tuple[Relay, Relay], join: Joiner
) -> None:
    """A connection that is made anew brings what is wanted now, and nothing of what once was."""
    node, here = behind(join, relays)
    _, elsewhere = join(peers=[tcp(relays[0].port)], local=False)
    other, there = join(peers=[tcp(relays[0].port)], local=False)
    got, everything = collect(there, "kept"), collect(elsewhere, "dropped")
    with there.get("dropped").subscribe(to_call(lambda msg: None)):
        node.wait_subscribers("dropped", 2)
    other.wait_ready()
    before = [relay.accepted for relay in relays]
    for relay in relays:
        relay.cut()
    eventually(lambda: all(map(gt, [relay.accepted for relay in relays], before)))
    node.wait_peers(2)
    node.wait_subscribers("kept", 1)
    node.wait_subscribers("dropped", 1)
    other.wait_ready()
    for n in range(10):
        here.get("dropped").send(n)
    here.get("kept").send("last")
    node.flush()
    assert (got, everything) == (["last"], list(range(10)))
    assert other.stats().unwanted == 0
