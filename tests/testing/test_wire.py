"""The simulated wire and its sockets behave as ZeroMQ's do, where the nodes rest on it."""

import pytest

from zexchange.net.transport.sockets import EVENTS, FD, READABLE, NotNow, subscribe, unsubscribe
from zexchange.testing.schedule import Host, Schedule
from zexchange.testing.sockets import Dealer, Router, Sockets, Sub, XPub
from zexchange.testing.wire import Faults, Wire

READY = b"\xff"


class Bench:
    """Two processes, a publisher and a router in one, and what dials them in the other."""

    def __init__(self) -> None:
        self.schedule = Schedule(0)
        self.wire = Wire(self.schedule, 0)
        self.near, self.far = Host("near"), Host("far")
        here, there = Sockets(self.wire, self.near), Sockets(self.wire, self.far)
        self.xpub: XPub = there.xpub()
        self.router: Router = there.router()
        self.sub: Sub = here.sub()
        self.dealer: Dealer = here.dealer()
        self.xpub.bind("data")
        self.router.bind("control")

    def flow(self, seconds: float = 1.0) -> None:
        until = self.schedule.now + seconds
        self.schedule.run(lambda: self.schedule.now >= until, seconds)

    def subscriptions(self) -> list[bytes]:
        return [self.xpub.recv().bytes for _ in range(len(self.xpub.inbox))]

    def received(self) -> list[bytes]:
        got = []
        try:
            while True:
                got.append(self.sub.recv())
        except NotNow:
            return got


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_subscriptions_are_prefixes(bench: Bench) -> None:
    """A subscriber gets the frames that begin with what it has subscribed to."""
    subscribe(bench.sub, b"ab")
    bench.sub.connect("data")
    bench.flow()
    for frame in (b"a", b"ab", b"abc", b"b"):
        bench.xpub.send(frame)
    bench.flow()
    assert bench.received() == [b"ab", b"abc"]


def test_equal_subscriptions_are_counted(bench: Bench) -> None:
    """Two patterns may share a prefix: it takes two to unsubscribe from it."""
    bench.sub.connect("data")
    bench.flow()
    subscribe(bench.sub, b"a", b"a")
    unsubscribe(bench.sub, b"a")
    bench.flow()
    assert bench.subscriptions() == [b"\x01a", b"\x01a"]
    unsubscribe(bench.sub, b"a")
    bench.flow()
    assert bench.subscriptions() == [b"\x00a"]


def test_a_cut_loses_what_is_under_way_and_subscribes_again(bench: Bench) -> None:
    """After a cut the publisher sees the end of the old connection, and all names anew."""
    for topic in (b"b", b"a"):
        subscribe(bench.sub, topic)
    bench.sub.connect("data")
    bench.flow()
    bench.subscriptions()
    bench.xpub.send(b"a lost")
    bench.wire.part("near", "far")
    bench.flow()
    assert sorted(bench.subscriptions()) == [b"\x00a", b"\x00b"]
    bench.wire.rejoin("near", "far")
    bench.flow(3)
    assert bench.subscriptions() == [b"\x01a", b"\x01b"]
    bench.xpub.send(b"a comes")
    bench.flow()
    assert bench.received() == [b"a comes"]


def test_frames_over_the_high_water_mark_are_dropped(bench: Bench) -> None:
    """A subscriber that reads nothing misses what does not fit, and nobody is told."""
    bench.xpub.high_water = 3
    subscribe(bench.sub, b"")
    bench.sub.connect("data")
    bench.flow()
    for n in range(5):
        bench.xpub.send(b"%d" % n)
    bench.flow()
    assert bench.received() == [b"0", b"1", b"2"]
    assert bench.wire.dropped == 2


def test_faults_lose_repeat_and_reorder(bench: Bench) -> None:
    """What is asked for happens, to some frames and not to all."""
    subscribe(bench.sub, b"")
    bench.sub.connect("data")
    bench.flow()
    bench.wire.faults = Faults(0.1, (0.0, 0.001), 0.1, 0.1)
    sent = [b"%03d" % n for n in range(300)]
    for frame in sent:
        bench.xpub.send(frame)
    bench.flow()
    got = bench.received()
    assert 200 < len(set(got)) < 300
    assert len(got) > len(set(got))
    assert got != sorted(got)


def test_a_proof_overtakes_nothing_and_is_not_overtaken(bench: Bench) -> None:
    """What was sent in front of a proof arrives in front of it, and what behind, behind."""
    subscribe(bench.sub, b"")
    bench.sub.connect("data")
    bench.flow()
    bench.wire.faults = Faults(delay=(0.0, 0.05), duplicate=0.5, reorder=0.5)
    for n in range(100):
        bench.xpub.send(b"1" if n < 50 else b"2")
        if n == 49:
            bench.xpub.send(READY)
    bench.flow()
    got = bench.received()
    assert got.index(READY) == got.count(b"1")
    assert b"1" not in got[got.index(READY) :]


def test_a_link_refuses_what_it_cannot_send(bench: Bench) -> None:
    """Without a connection nothing is queued; with one, answers find their way back."""
    with pytest.raises(NotNow):
        bench.dealer.send(b"too soon")
    bench.dealer.connect("control")
    bench.flow()
    bench.dealer.send(b"question")
    bench.flow()
    route, question = bench.router.recv_multipart()
    bench.router.send_multipart([route.bytes, b"answer"])
    bench.flow()
    (answer,) = bench.dealer.recv_multipart()
    assert (question.bytes, answer.bytes) == (b"question", b"answer")


def test_a_wake_up_is_eaten(bench: Bench) -> None:
    """A descriptor is raised once until the socket is seen empty: who looks must read on."""
    subscribe(bench.sub, b"")
    bench.sub.connect("data")
    bench.flow()
    assert bench.sub.getsockopt(EVENTS) == 0
    bench.xpub.send(b"1")
    bench.flow()
    fd = bench.sub.getsockopt(FD)
    assert fd in bench.near.raised
    assert bench.sub.getsockopt(EVENTS) == READABLE
    bench.xpub.send(b"2")
    bench.flow()
    assert fd not in bench.near.raised
    assert bench.received() == [b"1", b"2"]
    bench.xpub.send(b"3")
    bench.flow()
    assert fd in bench.near.raised


def test_a_wait_that_never_ends_is_an_error() -> None:
    """Waiting for what cannot happen fails, and does not hang."""
    with pytest.raises(RuntimeError, match="simulated seconds"):
        Schedule(0).run(lambda: False)
