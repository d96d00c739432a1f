"""What peers say on their links: how much of it is read, and when."""

from collections import deque
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import zmq

from zexchange.net.peering import links as c
from zexchange.net.peering.hub_links import HubLink, HubTransport
from zexchange.net.peering.links import Controls, Link
from zexchange.net.security.guard import CurveGuard
from zexchange.net.transport.sockets import EVENTS
from zexchange.protocol.wire import messages as v
from zexchange.protocol.wire.control import control_frame
from zexchange.protocol.wire.envelopes import Envelope

PING = control_frame(v.Ping(b"p" * 16, 1, 1))
NAMES = tuple(f"{n:015}" for n in range(8000))
LARGE = control_frame(v.Interest(b"p" * 16, 1, 0, 0, NAMES))


class Router:
    """A socket that is full of frames, each by some route."""

    def __init__(self) -> None:
        self.unread = deque[tuple[bytes, bytes]]()
        self.looks = 0

    def getsockopt(self, option: int) -> int:
        self.looks += option == EVENTS
        return 7

    def recv_multipart(self, flags: int, copy: bool) -> list[zmq.Frame]:
        if not self.unread:
            raise zmq.Again
        return [zmq.Frame(part) for part in self.unread.popleft()]


class Bench:
    """Controls on such a socket, on a clock that goes on with each message that is taken."""

    def __init__(self) -> None:
        self.now, self.cost = 100.0, 0.0005
        self.socket = Router()
        self.received: list[bytes] = []
        self.rejected: list[str] = []
        self.peers = set[bytes]()
        self.members = SimpleNamespace(peers=set[bytes]())
        bench: Any = self
        socket: Any = self.socket
        guard = CurveGuard(None)
        self.controls = Controls(bench, bench, bench, socket, bench, bench, lambda: self.now, guard)

    def receive(self, message: v.Control, route: bytes, *_: object) -> None:
        """See `Session`."""
        self.now += self.cost
        self.received.append(route)
        self.members.peers = {message.sender} if route in self.peers else set()

    def reject(self, source: str, reason: str) -> None:
        """See `Session`."""
        self.rejected.append(reason)

    def watch(self, fd: int, handler: Callable[[], None]) -> None:
        self.handler = handler

    def turn(self) -> float:
        """Take a turn of the control thread; return how long it may wait then."""
        began = self.now
        self.controls.begin(began)
        self.handler()
        while self.controls.settle():
            pass
        self.controls.end()
        return self.controls.patience(1.0)


def test_reading_takes_a_short_time_and_rests_as_long() -> None:
    """A flood has no more than a part of the control thread's time, in short pieces."""
    bench = Bench()
    bench.socket.unread.extend((b"%d" % (n % 100), PING) for n in range(10_000))
    for _ in range(5):
        began, before = bench.now, len(bench.received)
        wait = bench.turn()
        assert before < len(bench.received)
        assert bench.now - began <= c.BUDGET_SECONDS + bench.cost
        assert wait == pytest.approx(bench.now - began)
        # Woken meanwhile by something else, it reads nothing.
        read = len(bench.received)
        assert bench.turn() == pytest.approx(wait)
        assert len(bench.received) == read
        bench.now += wait
    assert not bench.rejected


def test_what_is_read_to_its_end_needs_no_rest() -> None:
    """Where nothing is left there is no pause: the next message is read at once."""
    bench = Bench()
    for _ in range(3):
        bench.socket.unread.append((b"1", PING))
        assert bench.turn() == 1.0
    assert len(bench.received) == 3


def test_large_messages_of_all_strangers_are_bounded_together() -> None:
    """Connections made afresh get no more read than one; whoever says more is cut."""
    bench = Bench()
    bench.cost = 0.0
    for n in range(100):
        bench.socket.unread.append((b"%d" % n, LARGE))
        bench.turn()
    most = c.STRANGE_AT_ONCE // len(LARGE) + 1
    assert len(bench.received) == most
    assert bench.rejected == ["more large control messages than are taken"] * (100 - most)


def test_large_messages_that_are_malformed_count_for_more() -> None:
    """Of a peer, too, few of them are opened; what others say is taken."""
    bench = Bench()
    bench.cost, bench.peers = 0.0, {b"peer", b"other"}
    bench.socket.unread.extend([(b"peer", PING), (b"other", PING)])
    bench.turn()
    malformed = LARGE[:1] + b"\x92" + LARGE[2:]
    for _ in range(100):
        bench.socket.unread.append((b"peer", malformed))
        bench.turn()
    most = c.AT_ONCE // (c.REFUSED * len(malformed)) + 1
    opened = [reason for reason in bench.rejected if "more large" not in reason]
    assert len(opened) == most < 10
    bench.received.clear()
    bench.socket.unread.append((b"other", LARGE))
    bench.turn()
    assert bench.received == [b"other"]


def test_after_large_messages_there_is_no_pause() -> None:
    """What waits may be as large: libzmq would keep all of it while nothing is read."""
    bench = Bench()
    bench.cost = 0.0
    many = c.AT_ONCE // (len(PING) + c.MESSAGE_OVERHEAD) + 10

    def flood() -> float:
        bench.socket.unread.extend((b"1", PING) for _ in range(many))
        wait = bench.turn()
        bench.socket.unread.clear()
        assert bench.rejected[-1] == "more control messages than are taken"
        return wait

    assert flood() == pytest.approx(c.PAUSE)
    bench.now += c.PAUSE
    bench.socket.unread.extend((b"%d" % n, LARGE) for n in range(100))
    bench.turn()
    assert bench.rejected[-1] == "more large control messages than are taken"
    bench.socket.unread.append((b"1", PING))
    assert bench.turn() == 1.0
    assert bench.rejected[-1] == "more control messages than are taken"
    bench.now += c.LARGE_FOR + 0.1
    assert flood() == pytest.approx(c.PAUSE)


def test_large_messages_of_a_peer_are_its_own() -> None:
    """On a connection that a peer has spoken on, what strangers say takes nothing away."""
    bench = Bench()
    bench.cost, bench.peers = 0.0, {b"peer"}
    bench.socket.unread.append((b"peer", PING))
    bench.socket.unread.extend((b"%d" % n, LARGE) for n in range(100))
    bench.turn()
    bench.now += 1.0
    bench.turn()
    bench.received.clear()
    bench.socket.unread.append((b"peer", LARGE))
    bench.turn()
    assert bench.received == [b"peer"]


class Dealer:
    """The socket of a link, to which its peer says something."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.unread = deque[bytes]()

    def getsockopt(self, option: int) -> int:
        return self.fd if option == zmq.FD else 7

    def recv_multipart(self, flags: int, copy: bool) -> list[zmq.Frame]:
        if not self.unread:
            raise zmq.Again
        return [zmq.Frame(self.unread.popleft())]

    def close(self, linger: int) -> None:
        """See `zmq.Socket`."""


def test_a_flood_does_not_keep_the_answers_of_others_waiting() -> None:
    """Of sockets that cannot all be read in a turn, those that were not come first in the next."""
    bench = Bench()
    flood, dealers = bench.handler, [Dealer(11), Dealer(12)]
    links = [Link(f"tcp://127.0.0.1:{d.fd}", d, d.fd, b"", CurveGuard(None)) for d in dealers]  # type: ignore[arg-type]
    for link in links:
        bench.controls._links[link.endpoint] = link
    handlers = [flood, *(partial(bench.controls._note, link) for link in links)]

    def signals() -> None:
        for handler in handlers:
            handler()

    bench.handler = signals
    for n in range(20):
        bench.socket.unread.extend((b"stranger", PING) for _ in range(100))
        dealers[0].unread.extend([PING] * 100)
        dealers[1].unread.append(PING)
        for _ in range(2):
            wait = bench.turn()
            bench.now += wait + 0.001
        assert not dealers[1].unread, n
    assert bench.received.count(b"stranger") > 20


def test_what_is_over_a_limit_keeps_nothing_else_waiting_in_its_turn() -> None:
    """The pause begins after the turn: else each message of a flood would cost others as much."""
    bench = Bench()
    bench.cost = 0.0
    for n in range(20):
        bench.controls._allowance.take(b"%d" % n, 1e9, bench.now)
        bench.socket.unread.append((b"%d" % n, PING))
    bench.socket.unread.append((b"peer", PING))
    assert bench.turn() == pytest.approx(c.PAUSE)
    assert bench.received == [b"peer"]
    assert bench.rejected == ["more control messages than are taken"] * 20


class Closed:
    """A socket that was closed with its link."""

    def send_multipart(self, parts: object, flags: int, copy: bool) -> None:
        raise zmq.ZMQError(zmq.ENOTSOCK)

    def getsockopt(self, option: int) -> int:
        raise zmq.ZMQError(zmq.ENOTSOCK)


def test_a_link_to_a_hub_that_was_closed_is_not_used_again() -> None:
    """Messages that were gathered for it go with it, and the turn goes on for other links."""
    bench = Bench()
    made: Any = bench
    socket: Any = bench.socket
    closed: Any = Closed()
    guard = CurveGuard(None)
    controls = HubTransport(
        made, made, made, socket, made, made, lambda: bench.now, guard, hubs=made
    )
    link = HubLink("tcp://127.0.0.1:1", closed, 9, b"", guard)
    link.parcels.append(Envelope(b"a" * 16, b"b" * 16, 1, b"words"))
    controls._unread[link] = None
    controls.begin(bench.now)
    assert controls.settle()
    assert not controls.settle()
