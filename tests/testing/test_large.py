"""Large messages in simulated programs: as in earnest, and whatever the wire does."""

import pytest

from zexchange import Registry
from zexchange.testing import Network

np = pytest.importorskip("numpy")

pytest_plugins = ["zexchange.testing.fixtures"]


def collect(registry: Registry, name: str) -> list[object]:
    got: list[object] = []
    registry.get(name).handler(got.append)
    return got


def test_large_messages_on_a_bad_wire(network: Network) -> None:
    """Lost, repeated and overtaken: all frames of a message together, and the original."""
    a, b = network.node("a", stall=60), network.node("b")
    got = collect(b.registry, "x")
    network.settle()
    network.faults(loss=0.2, delay=(0, 0.05), duplicate=0.1, reorder=0.2)
    array = np.zeros(20_000)
    for n in range(60):
        array[:] = n
        a.registry.get("x").send((n, array, bytes([n]) * 100_000) if n % 3 else n)
        network.advance(0.001)
    network.settle()
    assert [msg if isinstance(msg, int) else msg[0] for msg in got] == list(range(60))  # type: ignore[index]
    for n, values, raw in (msg for msg in got if isinstance(msg, tuple)):
        assert (values == n).all()
        assert values.flags.writeable
        assert raw == bytes([n]) * 100_000
    (received,) = b.stats().received.values()
    assert received.recovered > 0
    assert received.lost == 0


def test_a_late_joiner_gets_large_messages(network: Network) -> None:
    """What is kept for late joiners has its frames, too."""
    a = network.node("a", retain={"x": 3})
    for n in range(5):
        a.registry.get("x").send([n, bytes(100_000)])
    b = network.node("b")
    network.settle()
    late: list[object] = []

    class Task:
        def send(self, msg: object) -> None:
            late.append(msg)

    b.registry.get("x").attach(Task(), history=2)
    network.settle()
    assert late == [[3, bytes(100_000)], [4, bytes(100_000)]]


def test_a_stopped_receiver_of_large_messages_is_bounded(network: Network) -> None:
    """What it misses beyond the ring is lost and reported; what is under way is bounded."""
    a = network.node("a", replay_bytes=4 << 20, stall=0.5)
    b = network.node("b")
    got = collect(b.registry, "x")
    network.settle()
    network.stop(b)
    for n in range(40):
        a.registry.get("x").send((n, bytes(1 << 20)))
    assert a.stats().waited > 0
    network.resume(b)
    network.settle()
    (received,) = b.stats().received.values()
    assert received.received == len(got)
    assert received.received + received.lost == 40
    assert got[-1] == (39, bytes(1 << 20))
