"""A task that comes a moment after another has left: what it gets has no hole that is not told."""

import random

import pytest

from zexchange import Delivery, Lost, Stream
from zexchange.testing import Network

KEYS = ["x", "x.**", "**"]


def read(stream: Stream[object]) -> list[Delivery | Lost]:
    """Return what waits in a stream with details."""
    items: list[Delivery | Lost] = []
    while len(stream):
        item = stream.get(0)
        assert isinstance(item, Delivery | Lost)
        items.append(item)
    return items


def of(item: Delivery | Lost) -> str:
    """Return the exchange of an item."""
    return item.name if isinstance(item, Delivery) else item.exchange


def holes(items: list[Delivery | Lost]) -> list[tuple[int, int]]:
    """Return the numbers that are neither there nor reported as lost."""
    found: list[tuple[int, int]] = []
    last: int | None = None
    for item in items:
        assert isinstance(item, Lost) or item.seq is not None
        first, end = (item.first, item.last) if isinstance(item, Lost) else (item.seq, item.seq)
        assert first is not None
        assert end is not None
        if last is not None and first > last + 1:
            found.append((last + 1, first - 1))
        last = end
    return found


@pytest.mark.parametrize("before", KEYS)
@pytest.mark.parametrize("after", KEYS)
@pytest.mark.parametrize("seed", range(3))
def test_what_comes_to_a_task_right_after_another_has_no_hole(
    before: str, after: str, seed: int
) -> None:
    """Whatever the node's threads are in the middle of when the one leaves and the other comes."""
    chance = random.Random(seed)
    with Network(seed) as network:
        a, b = network.node("a"), network.node("b")
        streams = [b.registry.match(before).stream(details=True)]

        def swap(message: object) -> None:
            streams.pop().close()
            streams.append(b.registry.match(after).stream(details=True))

        b.registry.get("swap").handler(swap)
        network.settle()
        network.faults(delay=(0, 0.05))
        x, signal = a.registry.get("x"), a.registry.get("swap")
        for number in range(200):
            x.send(number)
            if chance.random() < 0.05:
                signal.send(number)
            network.advance(0.005)
        network.faults()
        network.settle()
        x.send("the last")
        network.settle()
        items = [item for item in read(streams[0]) if of(item) == "x"]
        assert isinstance(items[-1], Delivery)
        assert items[-1].msg == "the last"
        assert not holes(items)


def test_who_has_waited_after_a_detach_is_sent_nothing_more() -> None:
    """`wait_ready` counts what was dropped before it: peers know of that when it returns."""
    with Network() as network:
        a, b = network.node("a"), network.node("b")
        for number in range(20):
            stream = b.registry.get("x").stream()
            b.wait_ready()
            stream.close()
            b.wait_ready()
            (peer,) = a.peers
            assert "x" not in peer.interest, number
