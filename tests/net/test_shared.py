"""Nodes of one registry: who carries an exchange, with what numbers, and what a send leaves."""

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from tests.net.conftest import Joiner, collect
from zexchange import Registry
from zexchange.errors import EncodeError
from zexchange.local.tasks.dispatch import Backpressure
from zexchange.net.outbound.bridge import Bridge
from zexchange.net.outbound.pacing import SendPacer
from zexchange.net.outbound.shared import Rooms, SharedBridge, share
from zexchange.protocol.delivery.sequence import Numbering


class Out:
    """An outbound that only notes what it is to see to."""

    def __init__(self, head: int = 0) -> None:
        self.pace = SendPacer()
        self.window = SimpleNamespace(room=None)
        self.lanes: list[object] = []
        self.numbering = Numbering()
        self.numbering.jump("x", head)
        self.seen: list[int] = []
        self.room: Any = None
        self.monotonic = lambda: 5.0
        self.lock = threading.Lock()

    def see_to(self, bridge: Bridge, size: int) -> Any:
        """Note how much is queued."""
        self.seen.append(len(bridge.bodies))
        return self.room

    send_alone = see_to

    def held(self) -> threading.Lock:
        """Return what is held while lanes change."""
        return self.lock

    def begin_at(self, name: str, head: int, start: int | None = None) -> None:
        """Number from there on."""
        self.numbering.jump(name, head)


@pytest.fixture
def outs() -> tuple[Out, Out]:
    """Return the outbounds of two nodes, of which one has sent seven messages."""
    return Out(7), Out()


@pytest.fixture
def bridges(outs: tuple[Any, Any]) -> tuple[Bridge, Bridge]:
    """Return a bridge of each, of which the first carries the exchange."""
    first, second = (Bridge("x", out) for out in outs)
    first.wanted = True
    return first, second


def test_both_get_each_message_under_one_number(
    bridges: tuple[Bridge, Bridge], outs: tuple[Out, Out]
) -> None:
    """Encoded once; what was queued before the second one was there is not for that."""
    first, second = bridges
    former = first.send
    former("queued")
    shared = share(first, second, fresh=False)
    shared.send("a")
    former("by a send that has begun before")
    shared.send("b")
    assert len(first.bodies) == 4
    assert all(one is other for one, other in zip(first.bodies[1:], second.bodies, strict=True))
    assert (shared.head, first.handed, second.handed) == (11, 11, 11)
    assert outs[1].numbering.place("x") == 8
    assert (outs[0].seen[-1], outs[1].seen[-1]) == (4, 3)


def test_who_is_let_go_has_what_was_sent_before(bridges: tuple[Bridge, Bridge]) -> None:
    """And nothing of what is sent after."""
    first, second = bridges
    shared = share(first, second, fresh=False)
    shared.bodies.append(b"1")
    shared.let_go(first)
    shared.send("2")
    assert (len(first.bodies), len(second.bodies)) == (1, 2)
    assert shared.federations == 1


def test_who_has_the_lock_moves_what_others_queue(bridges: tuple[Bridge, Bridge]) -> None:
    """A send never waits: from a signal handler, it would wait for itself."""
    first, second = bridges
    shared = share(first, second, fresh=False)
    with shared.moving:
        shared.send("a")
        assert (len(shared.bodies), second.bodies) == (1, [])
        assert shared.unsettled
    shared.see_to(0)
    assert (len(shared.bodies), len(second.bodies)) == (0, 1)


def test_what_an_exception_leaves_is_moved_once(bridges: tuple[Bridge, Bridge]) -> None:
    """Whoever comes next goes on where it was left: between two lanes, say."""
    first, second = bridges
    shared = share(first, second, fresh=False)
    shared._moved, shared.head = [b"1"], 8
    first.bodies, first.handed = [b"1"], 8  # and then Ctrl-C
    shared.send("2")
    assert [len(lane.bodies) for lane in bridges] == [2, 2]
    assert shared.head == 9


def test_settled_lanes_are_listed(bridges: tuple[Bridge, Bridge], outs: tuple[Out, Out]) -> None:
    """So that a flush, which sends all that is listed, sends this as well."""
    shared = share(*bridges, fresh=False)
    shared.bodies.append(b"1")
    shared.settle()
    assert [out.lanes for out in outs] == [[bridges[0]], [bridges[1]]]


def test_an_error_names_the_exchange(bridges: tuple[Bridge, Bridge], outs: tuple[Out, Out]) -> None:
    """And nothing is sent."""
    shared = share(*bridges, fresh=False)
    with pytest.raises(EncodeError, match="exchange 'x'"):
        shared.send(object())
    assert shared.head == 7


def test_a_sender_waits_for_room_in_each(
    bridges: tuple[Bridge, Bridge], outs: tuple[Out, Out]
) -> None:
    """One after the other, where both are full."""
    waited: list[int] = []

    class Full(Backpressure):
        """No room."""

        def __init__(self, number: int) -> None:
            self.number = number

        def wait(self) -> None:
            """Note it."""
            waited.append(self.number)

    shared = share(*bridges, fresh=False)
    assert shared.send("a") is None
    outs[1].room = Full(1)
    assert shared.send("a") is outs[1].room
    outs[0].room = Full(0)
    rooms = shared.send("a")
    assert isinstance(rooms, Rooms)
    rooms.wait()
    assert waited == [0, 1]


# --------------------------------------------------------------------------- with nodes


@pytest.mark.sockets
def test_numbers_go_on_by_whichever_node(join: Joiner) -> None:
    """One that begins with an exchange begins above what the others have given, or had given."""
    registry, there, elsewhere = Registry(), Registry(), Registry()
    first, _ = join("a", registry=registry)
    second, _ = join("b", registry=registry)
    ours, _ = join("a", registry=there)
    got = collect(there, "x")
    first.wait_subscribers("x", 1)
    exchange = registry.get("x")
    for number in range(5):
        exchange.send(number)
    assert exchange.stats().bridges == 1
    theirs, _ = join("b", registry=elsewhere)
    heard = collect(elsewhere, "x")
    second.wait_subscribers("x", 1)
    assert exchange.stats().bridges == 2
    exchange.send(5)
    assert (first.stats().sent, second.stats().sent) == ({"x": 6}, {"x": 1})
    first.flush()
    second.flush()
    assert (got, heard) == ([0, 1, 2, 3, 4, 5], [5])
    first.close()
    assert exchange.stats().bridges == 1
    exchange.send(6)
    second.flush()
    assert heard == [5, 6]
    assert (ours.stats().rejected, theirs.stats().rejected) == ({}, {})


@pytest.mark.sockets
def test_a_registry_without_nodes_begins_anew(join: Joiner) -> None:
    """Its next node is another process to others, and numbers from 1 on."""
    registry, there = Registry(), Registry()
    join("a", registry=there)
    got = there.get("x").stream(details=True)
    for _ in range(2):
        node, _ = join("a", registry=registry)
        node.wait_subscribers("x", 1)
        registry.get("x").send("one")
        node.close()
    first, second = got.get(), got.get()
    assert (first.seq, second.seq) == (1, 1)
    assert first.origin != second.origin


def test_a_shared_bridge_says_what_it_is(bridges: tuple[Bridge, Bridge]) -> None:
    """In a log, for people."""
    shared: SharedBridge = share(*bridges, fresh=True)
    assert repr(shared) == "<SharedBridge 'x', 2 federations>"
