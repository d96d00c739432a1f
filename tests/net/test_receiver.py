"""The data thread beside a peer that means harm: others have their turn soon, whatever it sends."""

from collections import deque
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest
import zmq

from zexchange import Lost, Registry, to_call
from zexchange.net.engine.environment import NodeEnvironment
from zexchange.net.inbound import receiver as i
from zexchange.net.inbound.context import ReceiveContext, ReceiverEvents
from zexchange.net.inbound.merging import Sources
from zexchange.net.inbound.receiver import Receiver
from zexchange.net.transport.endpoints import HUB_PREFIX
from zexchange.net.transport.sockets import EVENTS, READABLE
from zexchange.protocol.interest.changes import Changes
from zexchange.protocol.security.permissions import EVERYTHING, Rights
from zexchange.protocol.session.effects import OpenReceiver
from zexchange.protocol.wire.data import data_head, ready_frame, topic
from zexchange.protocol.wire.messages import Ready, Recall, Replay

ME, FOE, GOOD = b"m" * 16, b"f" * 16, b"g" * 16
COST = 0.01
"""Seconds that a frame of the hostile peer takes."""


class Socket:
    """What is received of a peer, and what is subscribed to there."""

    def __init__(self, bench: "Bench", fd: int) -> None:
        self._bench, self._fd = bench, fd
        self.unread: deque[bytes] = deque()
        self.endless: Iterator[bytes] | None = None
        self.subscribed: list[bytes] = []
        self.closed = False

    def getsockopt(self, option: int) -> int:
        if option == zmq.FD:
            return self._fd
        if option == EVENTS:
            return READABLE if self.unread or self.endless else 0
        return 0

    def setsockopt(self, option: int, value: object) -> None:
        """See `zmq.Socket`."""

    def connect(self, endpoint: str) -> None:
        """See `zmq.Socket`."""

    def send(self, frame: bytes, flags: int) -> None:
        self.subscribed.append(frame)

    def recv(self, flags: int) -> bytes:
        if self.unread:
            return self.unread.popleft()
        if self.endless is None:
            raise zmq.Again
        self._bench.now += COST
        return next(self.endless)

    def close(self) -> None:
        self.closed = True


class Poller:
    """Watches what are no descriptors."""

    def wait(self, seconds: float) -> list[tuple[int, int]]:
        """See `zexchange.net.transport.polling.Poller`."""
        return []

    def watch(self, fd: int) -> None:
        """See `zexchange.net.transport.polling.Poller`."""

    forget = watch

    def close(self) -> None:
        """See `zexchange.net.transport.polling.Poller`."""


class Control(ReceiverEvents):
    """Takes note of nothing."""

    def __init__(self) -> None:
        self.lost_at: list[Lost] = []

    def proven(self, peer: bytes, epoch: int) -> None:
        """See `ReceiverEvents`."""

    def consumed(self, peer: bytes, positions: dict[str, int]) -> None:
        """See `ReceiverEvents`."""

    def rejected(self, source: str, reason: str) -> None:
        """See `ReceiverEvents`."""

    def forgot(self, peer: bytes, number: int) -> None:
        """See `ReceiverEvents`."""

    def marked(self, hub_source: str, mark: int) -> None:
        """See `ReceiverEvents`."""

    def ask(self, peer: bytes, request: Replay | Recall) -> None:
        """See `ReceiverEvents`."""

    def lost(self, event: Lost) -> None:
        self.lost_at.append(event)


class Bench:
    """A data thread with a hostile peer and a good one, whose turns a test takes."""

    def __init__(self) -> None:
        self.now, self.got, self.control = 100.0, list[object](), Control()
        self.made: list[Socket] = []
        world: Any = NodeEnvironment()
        world.monotonic = world.spent = lambda: self.now
        world.poller = Poller
        registry, changes, sockets = Registry(), Changes(), self
        registry.get("good").handler(self.got.append)
        registry.match("evil.**").attach(to_call(lambda msg: None))
        receive_context = ReceiveContext(
            ME, registry, lambda name: True, self.control, 5.0, world.monotonic
        )
        made: Any = sockets
        self.inbound = Receiver(made, receive_context, lambda: None, world, changes, Sources())
        for key in ("good", "evil.**", "closed"):
            changes.step(key, True)
        changes.make(dropping=False)
        self.inbound.follow()
        for peer in (FOE, GOOD):
            rights = Rights("foe", publish=("evil.**",)) if peer == FOE else EVERYTHING
            self.inbound.tune(OpenReceiver(peer, "tcp://127.0.0.1:1", rights=rights))
        self.foe, self.good = self.made
        epoch = self.inbound._epoch
        self.foe.unread.append(ready_frame(Ready(ME, epoch, FOE, {})))
        self.good.unread.append(ready_frame(Ready(ME, epoch, GOOD, {})))
        self.turn()
        self.now += 1.0

    def sub(self) -> Socket:
        """See `Sockets`."""
        self.made.append(Socket(self, 1000 + len(self.made)))
        return self.made[-1]

    def turn(self) -> float:
        """Take a turn in which both may be read; return the seconds that the next may wait."""
        wait = self.inbound._turn([(self.foe._fd, 1), (self.good._fd, 1)])
        assert wait is not None
        return wait

    def cost_of(self, event: Lost, seconds: float) -> None:
        """Have a loss take some time to tell."""
        self.now += seconds
        self.control.lost_at.append(event)

    def served(self) -> float:
        """Send a message of the good peer; return the seconds until it is there."""
        number = len(self.got) + 1
        self.good.unread.append(data_head(topic("good"), GOOD, number, 1, 1.0) + b"\x2a")
        began = self.now
        while len(self.got) < number:
            self.pass_turn()
        return self.now - began

    def pass_turn(self) -> None:
        """Take a turn, which takes time by itself, and wait for as long as it asks for."""
        pause = self.turn()
        self.now += max(pause, 0.0)

    def names(self, count: int) -> tuple[str, ...]:
        return tuple(f"evil.{n}" for n in range(count))


def endless(frame: bytes) -> Iterator[bytes]:
    while True:
        yield frame


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.inbound.close()


JUNK: dict[str, tuple[Callable[[int], bytes], float]] = {
    "ready": (lambda n: ready_frame(Ready(ME, 1, FOE, {})), 0.6),
    "part": (lambda n: ready_frame(Ready(ME, 1, FOE, {}, parts=2)), 0.6),
    "malformed": (lambda n: b"\x01evil.x\0", 0.2),
    "unreadable": (lambda n: data_head(topic("evil.x"), FOE, n, 1, 1.0) + b"\xc1", 0.2),
    "forbidden": (lambda n: data_head(topic("closed"), FOE, n, 1, 1.0) + b"\xc0", 0.2),
}
"""By kind of frame, how to make one, and the share of the time that a flood of them may take."""


@pytest.mark.parametrize("junk", JUNK)
def test_what_is_no_message_has_its_share_of_the_time_at_most(bench: Bench, junk: str) -> None:
    """Readies and refused frames without end: their sender rests for as long, or for longer."""
    make, share = JUNK[junk]
    frames = count(1)
    bench.foe.endless = map(make, frames)
    began = bench.now
    for _ in range(100):
        assert bench.served() <= 2 * COST + i.BUDGET_SECONDS
        bench.pass_turn()
    assert next(frames) * COST <= (bench.now - began) * share


@pytest.mark.parametrize("junk", ["ready", "part"])
def test_proofs_without_end_have_a_small_share_of_the_time(bench: Bench, junk: str) -> None:
    """One proof is needed for each token: a peer that sends on and on is read less and less."""
    make, _ = JUNK[junk]
    frames = count(1)
    bench.foe.endless = map(make, frames)
    for _ in range(300):
        bench.pass_turn()
    before, began = next(frames), bench.now
    assert before * COST > i.PROOF_SECONDS
    for _ in range(100):
        bench.pass_turn()
    assert (next(frames) - before) * COST <= (bench.now - began) * 0.2


def test_messages_need_no_rest(bench: Bench) -> None:
    """Who floods with messages is read on and on: a task may take as long as it likes."""
    numbers = iter(range(1, 10**6))
    bench.foe.endless = (data_head(topic("evil.x"), FOE, n, 1, 1.0) + b"\xc0" for n in numbers)
    for _ in range(50):
        assert bench.turn() == 0.0
        assert bench.served() <= 2 * COST + i.BUDGET_SECONDS


def test_who_keeps_the_thread_busy_delays_others_by_little(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A peer of which there is always more to read has short turns, after those of others."""
    cost = 0.0001
    monkeypatch.setitem(globals(), "COST", cost)
    numbers = iter(range(1, 10**6))
    bench.foe.endless = (data_head(topic("evil.x"), FOE, n, 1, 1.0) + b"\xc0" for n in numbers)
    bench.turn()
    for _ in range(50):
        bench.turn()
        assert bench.served() <= i.SLICE_SECONDS + 2 * cost
    # Once all was read, its turn may be as long as that of any other.
    bench.foe.endless = None
    bench.turn()
    bench.foe.endless = (data_head(topic("evil.x"), FOE, n, 1, 1.0) + b"\xc0" for n in numbers)
    began = bench.now
    bench.turn()
    assert bench.now - began > i.BUDGET_SECONDS / 2


def test_what_is_sent_again_without_end_delays_others_by_little(bench: Bench) -> None:
    """Commands for the data thread are carried out in order, and frames are read in between."""
    done: list[int] = []

    def command(n: int) -> None:
        bench.now += 0.001
        done.append(n)

    for n in range(1000):
        bench.inbound.do(lambda n=n: command(n))  # type: ignore[misc]
    assert bench.served() <= i.BUDGET_SECONDS + 0.002
    assert len(done) < 100
    while len(done) < 1000:
        assert bench.turn() == 0.0 or len(done) == 1000
    assert done == list(range(1000))


def test_what_was_parked_is_delivered_little_by_little(bench: Bench) -> None:
    """A gap is given up, and hundreds of frames follow: messages of others have their turn."""
    cost, evil = 0.002, list[object]()

    def take(msg: object) -> None:
        bench.now += cost
        evil.append(msg)

    bench.inbound._receive_context.registry.match("evil.**").attach(to_call(take))
    parked = [data_head(topic("evil.x"), FOE, n, 1, 1.0) + b"\xc0" for n in range(2, 502)]
    bench.foe.unread.extend(parked)
    while bench.foe.unread:
        bench.turn()
    while not evil:
        assert bench.served() <= 0.05
        bench.now += 0.1
        bench.inbound.tick()
    while len(evil) < 500:
        assert bench.served() <= 0.05
    bench.turn()
    assert not bench.inbound._receive_context.ahead
    # A peer that leaves has all of it delivered: nothing else of it comes.
    bench.foe.unread.extend(
        data_head(topic("evil.y"), FOE, n, 1, 1.0) + b"\xc0" for n in range(2, 102)
    )
    while bench.foe.unread:
        bench.turn()
    bench.inbound._end(FOE)
    assert len(evil) == 600


def test_a_socket_that_is_replaced_is_not_read_without_end(bench: Bench) -> None:
    """A peer that floods and proves nothing gets a fresh socket soon, and others their turn."""
    numbers = iter(range(1, 10**6))
    bench.foe.endless = (data_head(topic("evil.x"), FOE, n, 1, 1.0) + b"\xc0" for n in numbers)
    began = bench.now
    bench.inbound.tune(OpenReceiver(FOE, "tcp://127.0.0.1:1"))
    assert bench.foe.closed
    assert bench.now - began <= i.DRAIN_SECONDS + i.BUDGET_SECONDS + 2 * COST


def test_sockets_that_are_replaced_over_and_over_take_little_time(bench: Bench) -> None:
    """A peer that floods and moves with each hello does not hold up the others, by the clock."""
    numbers = iter(range(1, 10**6))
    bench.inbound._spent = lambda: 0.0
    began = bench.now
    for _ in range(30):
        foe = bench.made[-1] if len(bench.made) > 2 else bench.foe
        foe.endless = (data_head(topic("evil.x"), FOE, n, 1, 1.0) + b"\xc0" for n in numbers)
        bench.inbound.tune(OpenReceiver(FOE, "tcp://127.0.0.1:1"))
        assert foe.closed
    assert bench.now - began <= i.DRAIN_SECONDS + i.PATIENCE + i.BUDGET_SECONDS + 2 * COST


def test_a_socket_that_has_something_to_read_is_kept_although_nothing_is_proven(
    bench: Bench,
) -> None:
    """What waits there may end with the proof; not for ever, if the other end is no good."""
    again = OpenReceiver(GOOD, "tcp://127.0.0.1:1", unproven=True)
    bench.good.unread += [data_head(topic("good"), GOOD, n, 1, 1.0) + b"\x01" for n in (1, 2)]
    bench.inbound.tune(again)
    assert bench.made == [bench.foe, bench.good]
    bench.turn()
    assert bench.got == [1, 1]
    for _ in range(10):
        bench.good.unread.append(data_head(topic("good"), GOOD, 3, 1, 1.0) + b"\x01")
        bench.inbound.tune(again)
    assert bench.good.closed
    assert len(bench.got) == 3


def test_what_others_send_by_a_hub_keeps_no_peer_there(bench: Bench) -> None:
    """A peer that is to be received directly is, whatever waits on the hub's connection."""
    hub = "tcp://127.0.0.1:9"
    bench.inbound.tune(OpenReceiver(GOOD, HUB_PREFIX + hub))
    bench.made[-1].unread.append(data_head(topic("good"), FOE, 1, 1, 1.0) + b"\x01")
    bench.inbound.tune(OpenReceiver(GOOD, "tcp://127.0.0.1:1", unproven=True))
    assert bench.made[2].closed
    assert len(bench.made) == 4


def test_a_socket_with_nothing_to_read_is_replaced_at_once(bench: Bench) -> None:
    """Its connection may be one that only seems to be there."""
    bench.inbound.tune(OpenReceiver(GOOD, "tcp://127.0.0.1:1", unproven=True))
    assert bench.good.closed


def test_junk_of_a_peer_that_left_is_not_read_without_end(bench: Bench) -> None:
    """What it sent as messages is delivered; what is none soon ends it."""
    bench.foe.endless = endless(b"\x01evil.x\0")
    began = bench.now
    bench.inbound.hush(FOE, {})
    assert bench.foe.closed
    assert bench.now - began <= 2 * (i.DRAIN_SECONDS + i.BUDGET_SECONDS) + 8 * COST


def test_told_names_are_subscribed_to_some_in_a_turn(bench: Bench) -> None:
    """A hundred thousand names of one peer hold up nobody, and none is passed over."""
    names = bench.names(10 * i.NAMES_AT_ONCE)
    bench.foe.subscribed.clear()
    for start in range(0, len(names), 1000):
        bench.inbound.narrow(FOE, names[start : start + 1000])
    turns = 0
    while bench.inbound._told:
        before, turns = len(bench.foe.subscribed), turns + 1
        assert bench.turn() == 0.0 or not bench.inbound._told
        assert len(bench.foe.subscribed) - before <= i.NAMES_AT_ONCE + 1
    assert turns == 10
    *topics, token = bench.foe.subscribed
    assert topics == [b"\1" + topic(name) for name in names]
    assert token[1:2] == b"\xff"
    # Told again, they change nothing.
    bench.foe.subscribed.clear()
    bench.inbound.narrow(FOE, names)
    while bench.inbound._told:
        bench.turn()
    assert bench.foe.subscribed == []


def test_a_fresh_socket_is_subscribed_to_told_names_some_in_a_turn(bench: Bench) -> None:
    """A socket to a peer that told many names is replaced without a stop, and none is missing."""
    names = bench.names(10 * i.NAMES_AT_ONCE)
    bench.inbound.narrow(FOE, names)
    while bench.inbound._told:
        bench.turn()
    bench.inbound.tune(OpenReceiver(FOE, "tcp://127.0.0.1:1"))
    fresh = bench.made[-1]
    assert len(fresh.subscribed) <= 10
    while bench.inbound._told:
        before = len(fresh.subscribed)
        bench.turn()
        assert len(fresh.subscribed) - before <= i.NAMES_AT_ONCE + 1
    assert {b"\1" + topic(name) for name in names} <= set(fresh.subscribed)
    assert fresh.subscribed[-1][1:2] == b"\xff"


def test_giving_up_thousands_of_gaps_holds_up_nobody(bench: Bench) -> None:
    """A gap on each of thousands of exchanges is given up little by little, and all of them are."""
    names = bench.names(3000)
    for name in names:
        bench.foe.unread.append(data_head(topic(name), FOE, 2, 1, 1.0) + b"\xc0")
    while bench.foe.unread:
        bench.turn()
    cost = 0.0001
    bench.control.lost = lambda event: bench.cost_of(event, cost)  # type: ignore[method-assign]
    for _ in range(200):
        bench.now += 0.1
        bench.inbound.tick()
        if bench.inbound._pursuits:
            assert bench.served() <= 0.05
        while bench.inbound._pursuits:
            began = bench.now
            bench.turn()
            assert bench.now - began <= 0.05
        if len(bench.control.lost_at) >= len(names):
            break
    assert {event.exchange for event in bench.control.lost_at} == set(names)


def test_a_ready_does_not_cost_by_what_is_missing(bench: Bench) -> None:
    """Gaps on thousands of exchanges are looked at when it is their turn, not with each ready."""
    heads = dict.fromkeys(bench.names(3000), 2**40)
    bench.foe.unread.append(ready_frame(Ready(ME, bench.inbound._epoch, FOE, heads)))
    while bench.foe.unread:
        bench.pass_turn()
    peer_receiver = bench.inbound._peer_receivers[FOE]
    assert len(peer_receiver.recovery.missing) == len(heads)
    looked: list[str] = []
    due_of = peer_receiver.recovery.due_of

    def counted(name: str, now: float) -> Any:
        looked.append(name)
        return due_of(name, now)

    peer_receiver.recovery = Counted(peer_receiver.recovery, counted)  # type: ignore[assignment]
    bench.now += 1.0
    for n in range(10):
        one = {f"evil.fresh.{n}": 1}
        bench.foe.unread.append(ready_frame(Ready(ME, bench.inbound._epoch, FOE, one)))
        while bench.foe.unread:
            bench.pass_turn()
    assert len(looked) <= 10


class Counted:
    """A recovery whose looks are counted."""

    def __init__(self, recovery: Any, due_of: Any) -> None:
        self._recovery, self.due_of = recovery, due_of

    def __getattr__(self, name: str) -> Any:
        return getattr(self._recovery, name)

    def __bool__(self) -> bool:
        return bool(self._recovery)
