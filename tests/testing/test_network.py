"""`Network` as a program's tests use it, and what its users may rely on."""

import errno
import os
import subprocess
import sys

import pytest
import zmq

from tests.support import ROOT
from zexchange import Lost, NotReady, PeerLeft, PeerSilent, PeerSlow, Registry
from zexchange.testing import Network

pytest_plugins = ["zexchange.testing.fixtures"]


def collect(registry: Registry, name: str) -> list[object]:
    got: list[object] = []
    registry.get(name).handler(got.append)
    return got


def test_what_one_sends_another_receives(network: Network) -> None:
    """Nodes of one network find each other; settling delivers everything."""
    a, b = network.node("a"), network.node("b")
    got = collect(b.registry, "x")
    network.settle()
    a.registry.get("x").send("hello")
    assert got == []
    network.settle()
    assert got == ["hello"]
    assert [peer.name for peer in a.peers] == ["b"]


def test_waits_move_the_clock_and_take_no_time(network: Network) -> None:
    """`wait_*` and `flush` let things happen; a wait in vain ends at its timeout."""
    a, b = network.node("a"), network.node("b")
    got = collect(b.registry, "x")
    a.wait_subscribers("x", 1)
    for n in range(1000):
        a.registry.get("x").send(n)
    a.flush()
    assert got == list(range(1000))
    before = network.now
    with pytest.raises(NotReady, match="1 of 2 nodes"):
        a.wait_subscribers("x", 2, timeout=20)
    assert network.now == pytest.approx(before + 20)


def test_a_bad_wire_costs_nothing(network: Network) -> None:
    """Loss, delay, repetition and reordering are mended: once each, and in order."""
    a, b = network.node("a"), network.node("b")
    got = collect(b.registry, "x")
    network.settle()
    network.faults(loss=0.1, delay=(0, 0.05), duplicate=0.05, reorder=0.1)
    for n in range(300):
        a.registry.get("x").send(n)
        network.advance(0.001)
    network.settle()
    assert got == list(range(300))
    (received,) = b.stats().received.values()
    assert received.recovered > 0
    assert received.lost == 0


def test_a_cut_and_what_is_missed_meanwhile(network: Network) -> None:
    """What a peer misses while it is cut off is kept for it, as far as there is room."""
    a, b = network.node("a", replay_bytes=100_000, stall=0.2), network.node("b")
    got, events = collect(b.registry, "x"), list[object]()
    b.events.handler(events.append)
    slow = list[object]()
    a.events.handler(slow.append)
    network.settle()
    network.cut(a, b)
    for n in range(10):
        a.registry.get("x").send((n, bytes(1000)))
    network.heal(a, b)
    network.settle()
    assert len(got) == 10
    network.cut("a", "b")
    for n in range(10, 500):
        a.registry.get("x").send((n, bytes(1000)))
        network.advance(0.001)
    network.heal("a", "b")
    network.settle()
    lost = [event for event in events if isinstance(event, Lost)]
    assert len(got) + sum(event.last - event.first + 1 for event in lost) == 500
    assert lost
    assert [event.slow for event in slow if isinstance(event, PeerSlow)] == [True, False]


def test_a_stopped_node_is_silent_and_comes_back(network: Network) -> None:
    """Others hear that it is silent; it gets what was sent meanwhile when it goes on."""
    a, b = network.node("a"), network.node("b")
    got, events = collect(b.registry, "x"), list[object]()
    a.events.handler(events.append)
    network.settle()
    network.stop(b)
    a.registry.get("x").send(1)
    network.advance(5)
    assert got == []
    assert any(isinstance(event, PeerSilent) for event in events)
    network.resume(b)
    network.settle()
    assert got == [1]


def test_a_flush_waits_for_a_silent_node(network: Network) -> None:
    """Who is silent has not acknowledged: a flush says so, and is through once it goes on."""
    a, b = network.node("a"), network.node("b")
    got = collect(b.registry, "x")
    network.settle()
    network.stop(b)
    network.advance(5)
    a.registry.get("x").send(1)
    with pytest.raises(NotReady, match=r"not acknowledged by b\S* \(silent\)"):
        a.flush(timeout=1)
    network.resume(b)
    a.flush(timeout=10)
    assert got == [1]


def test_a_killed_node_says_no_goodbye(network: Network) -> None:
    """Others find out that it is gone; one of the same name may be started again."""
    a, b = network.node("a"), network.node("b")
    left = list[object]()
    a.events.handler(lambda event: left.append(event) if isinstance(event, PeerLeft) else None)
    network.kill(b)
    network.settle()
    assert [event.reason for event in left] == ["gone"]  # type: ignore[attr-defined]
    again = network.node("b")
    network.settle()
    assert [peer.id for peer in a.peers] == [again.id]
    again.close()
    network.settle()
    assert network.nodes == (a,)


def test_a_sender_waits_for_room(network: Network) -> None:
    """A send that has to wait moves the clock until there is room, or the peer is slow."""
    a = network.node("a", replay_bytes=100_000, stall=2.0)
    b = network.node("b")
    collect(b.registry, "x")
    network.settle()
    network.stop(b)
    for _ in range(100):
        a.registry.get("x").send(bytes(2000))
        network.advance(0.001)
    assert a.stats().waited >= 1.9


def test_nodes_are_found_by_name(network: Network) -> None:
    """Names are taken once, and must be known."""
    network.node("a")
    with pytest.raises(ValueError, match="runs already"):
        network.node("a")
    with pytest.raises(ValueError, match="no node 'b'"):
        network.kill("b")
    with pytest.raises(ValueError, match="from 0 to 1"):
        network.faults(loss=2)


def test_what_cannot_settle_is_said(network: Network) -> None:
    """Settling ends, and says what is not at rest."""
    a, b = network.node("a"), network.node("b")
    collect(b.registry, "x")
    network.settle()
    network.faults(loss=1.0)
    a.registry.get("x").send(1)
    with pytest.raises(NotReady, match=r"a: b@.* has not acknowledged everything"):
        network.settle(timeout=10)


def test_a_fresh_registry(registry: Registry) -> None:
    """The fixture gives one in which nothing was made yet."""
    assert registry.exchanges() == []


@pytest.mark.parametrize("seed", range(6))
def test_a_receiver_that_was_stopped_gives_nothing_up_before_it_has_looked(seed: int) -> None:
    """A stop longer than `recovery_timeout`, in the middle of a recovery, costs no message."""
    with Network(seed=seed) as network:
        a, b = network.node("a"), network.node("b")
        got = collect(b.registry, "x")
        network.settle()
        network.faults(loss=1.0)
        a.registry.get("x").send("lost on its way")
        network.advance(0.01)
        network.faults(delay=(0.02, 0.03))
        a.registry.get("x").send("shows it")
        engine = b._engine
        assert engine is not None
        while not engine.inbound.recovering:
            network.advance(0.001)
        network.stop(b)
        network.advance(20)
        network.resume(b)
        network.settle()
        assert got == ["lost on its way", "shows it"]


def test_a_peer_that_returns_while_no_socket_is_left_is_resumed_later(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a descriptor it is received from once there is one, and from where it was."""
    a, b, c = network.node("a"), network.node("b"), network.node("c")
    got = collect(b.registry, "x")
    collect(c.registry, "x")
    network.settle()
    a.registry.get("x").send("before")
    network.settle()
    network.cut("a", "b")
    network.advance(40)
    assert a.id not in {peer.id for peer in b.peers}
    a.registry.get("x").send("meanwhile")
    engine = b._engine
    assert engine is not None
    sockets, asked = engine.inbound._sockets, list[bool]()

    def none_left() -> None:
        asked.append(True)
        raise zmq.ZMQError(errno.EMFILE)

    with monkeypatch.context() as patch:
        patch.setattr(sockets, "sub", none_left)
        network.heal("a", "b")
        network.until(lambda: len(asked) > 1)
    network.settle()
    assert got == ["before", "meanwhile"]


SCENARIO = """
import logging, zexchange
from zexchange.testing import Network
logging.disable()
with Network(seed=7) as network:
    nodes = [network.node(name) for name in "abcd"]
    got = []
    for node in nodes:
        for pattern in ("p.**", "q.*", "**"):
            task = lambda item, at=node.id: got.append((at, item))
            node.registry.match(pattern).attach(zexchange.to_call(task), names=True)
    network.settle()
    network.faults(loss=0.1, delay=(0, 0.01), duplicate=0.1, reorder=0.1)
    for n in range(60):
        nodes[n % 4].registry.get(f"pq"[n % 2] + f".{n % 5}").send(n)
        network.advance(0.002)
        if n % 20 == 10:
            network.flicker("a", "bcd"[n % 3])
    network.settle()
    print(network.now, hash(str(got)))
"""


def test_the_same_seed_is_the_same_run() -> None:
    """Two processes that do the same from the same seed see the same, to the last message."""
    runs = {
        subprocess.run(
            [sys.executable, "-c", SCENARIO],
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "1"},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for _ in range(2)
    }
    assert len(runs) == 1


def test_a_node_detaches_streams_that_nobody_refers_to():
    """Where nobody uses an exchange any more: others need not send there on and on."""
    with Network() as network:
        here, there = network.node("here"), network.node("there")
        exchange, view = there.registry.get("x"), there.registry.match("a.*")
        exchange.stream()
        view.stream()
        network.settle()
        network.advance(3)
        assert len(exchange._table) == len(view._table) == 0
        network.settle()
        here.registry.get("x").send(1)
        network.settle()
        assert not here.stats().sent.get("x")
