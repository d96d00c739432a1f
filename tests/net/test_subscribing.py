"""What a node asks its peers for: one key may go while another one has the same topic."""

import random
from collections.abc import Iterator
from typing import Any

import pytest

from tests.net.conftest import Joiner, collect
from tests.net.test_tcp import behind, cut_once
from tests.relay import Relay
from tests.support import tcp
from zexchange import Registry, to_call
from zexchange.names import is_pattern, matches
from zexchange.net.hub.hub import Hub

pytestmark = pytest.mark.sockets
NAMES = ("a", "a.x", "a.x.c", "a.y", "b", "b.x", "c.x")
KEYS = (
    "a",
    "a.x",
    "a.x.c",
    "b.x",
    "a.*",
    "a.**",
    "*.x",
    "**",
    "*",
    "a.*.c",
    "a.x.*",
    "b.**",
    "*.*",
)


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


class Ear:
    """A task with one key, and what has come under it."""

    def __init__(self, registry: Registry, key: str) -> None:
        self.got: list[object] = []
        self._at: Any = registry.match(key) if is_pattern(key) else registry.get(key)
        self._task = to_call(self.got.append)
        self._at.attach(self._task)

    def close(self) -> None:
        self._at.detach(self._task)


@pytest.mark.parametrize("seed", range(3))
def test_any_keys_get_what_they_cover(way: dict[str, object], join: Joiner, seed: int) -> None:
    """Names and patterns come and go, in whatever order: each gets all that it covers, once."""
    chance = random.Random(seed)
    node, here = join(**way)
    other, there = join(**way)
    node.wait_peers(1)
    ears: dict[str, Ear] = {}
    for turn in range(60):
        for key in chance.sample(KEYS, chance.choice((1, 1, 2, 4))):
            if key in ears and chance.random() < 0.6:
                ears.pop(key).close()
            else:
                if key in ears:
                    ears.pop(key).close()
                ears[key] = Ear(there, key)
        other.wait_ready()
        for ear in ears.values():
            ear.got.clear()
        sent = [(chance.choice(NAMES), turn, n) for n in range(chance.choice((1, 3, 20)))]
        for msg in sent:
            here.get(msg[0]).send(msg)
        node.flush()
        for key, ear in ears.items():
            got: Any = sorted(ear.got, key=lambda msg: msg[2])  # type: ignore[index]
            assert got == [msg for msg in sent if matches(key, msg[0])], (seed, turn, key)


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
    cut_once(relays)
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
