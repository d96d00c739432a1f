"""What the state machine has found, each as the shortest story that shows it."""

import pytest

from zexchange import PeerSlow
from zexchange.testing import Network

pytest_plugins = ["zexchange.testing.fixtures"]


def slowness(events: list[object]) -> list[bool]:
    return [event.slow for event in events if isinstance(event, PeerSlow)]


def test_a_slow_peer_that_drops_what_it_lacks_is_healed(network: Network) -> None:
    """Who wants nothing any more of what it has missed has nothing to catch up with."""
    a, b = network.node("a", replay_bytes=300_000, stall=0.5), network.node("b")
    events: list[object] = []
    a.events.handler(events.append)
    x = b.registry.get("x")
    x.handler(events.append)
    b.registry.get("y").handler(events.append)
    network.settle()
    network.cut(a, b)
    for _ in range(30):
        a.registry.get("x").send(bytes(30_000))
        network.advance(0.001)
    assert slowness(events) == [True]
    x.detach(events.append)
    network.heal(a, b)
    network.settle()
    assert slowness(events) == [True, False]


@pytest.mark.parametrize(("size", "told"), [(50_000, []), (200_000, [True, False])])
def test_who_is_slow_for_a_moment_is_told(network: Network, size: int, told: list[bool]) -> None:
    """Answers on the data thread, which cannot wait, beyond all there is room for."""
    a, b = network.node("a", replay_bytes=300_000, stall=0.5), network.node("b")
    events: list[object] = []
    a.events.handler(events.append)
    b.registry.get("x").handler(lambda message: None)
    a.registry.get("go").handler(
        lambda message: [a.registry.get("x").send(bytes(size)) for _ in range(4)]
    )
    network.settle()
    b.registry.get("go").send("now")
    network.settle()
    a.flush()
    network.settle()
    assert slowness(events) == told
