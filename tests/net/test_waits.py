"""Waits: what was found counts, however short it held, and in vain they last to their deadline."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

import pytest

from tests.support import PATIENCE, eventually
from zexchange import Closed, NotReady
from zexchange.net.engine.engine import Engine
from zexchange.net.engine.waits import NodeWaits, Wait
from zexchange.net.transport.sync import SignalSafeCondition
from zexchange.protocol.unanswered import Unanswered

R = TypeVar("R")


class Peer:
    """A peer that is ready at some looks and not at others."""

    id, label = b"peer", "flapping"
    silent = False

    def __init__(self, looks: Iterator[bool]) -> None:
        self.looks = looks
        self.looked = 0

    def ready(self, ours: int) -> bool:
        self.looked += 1
        return next(self.looks, False)


class Stub:
    """As much of an engine as a wait needs: one peer, no threads, and a clock that is set."""

    def __init__(self, *looks: bool) -> None:
        self.now = 0.0
        self.changed = SignalSafeCondition()
        self.closed = self.finished = False
        self.peer = Peer(iter(looks))
        self.world = self.session = self.members = self.interest = self.plan = self
        self.discovery = self.missing = self.groups = self
        self.epoch = 0
        self.federation = "fed"
        self.given: list[Unanswered] = []
        self.peers = {b"peer": self.peer}

    def shares(self) -> list[object]:
        return []

    def monotonic(self) -> float:
        return self.now

    def pending(self, *_: object) -> list[str]:
        return []

    def all(self) -> list[Unanswered]:
        return self.given

    def waiter(self, timeout: float = PATIENCE) -> NodeWaits:
        return NodeWaits(cast(Engine, self), timeout)

    def notify(self) -> None:
        """Do as the control thread at the end of a turn."""
        with self.changed:
            self.changed.notify_all()


ABSENT = Unanswered("peer", "tcp://10.0.0.1:7400", "nothing listens there", False)
SLOW = Unanswered("hub", "tcp://10.0.0.2:7400", "there is no connection to it", True)


def outcome(steps: Wait[R]) -> R:
    """Go through a wait as far as it goes at once."""
    try:
        look, _ = steps.send(None)
        while True:
            look, _ = steps.send(look())
    except StopIteration as end:
        result: R = end.value
        return result


def test_joining_waits_for_what_may_still_answer() -> None:
    """What was given, and nobody is at, holds nobody up; what may come does, to the end."""
    stub = Stub()
    stub.given = [ABSENT]
    assert outcome(stub.waiter(0.0).joined()) == ([], [])
    stub.given = [ABSENT, SLOW]
    look, _ = stub.waiter(30.0).joined().send(None)
    assert not look()
    assert outcome(stub.waiter(0.0).joined()) == ([SLOW.endpoint], [])


def test_a_wait_that_fails_names_all_that_was_given_and_why() -> None:
    """Each address that has never answered, however many others there are to name."""
    stub = Stub()
    stub.given = [ABSENT, SLOW]
    with pytest.raises(NotReady) as failed:
        outcome(stub.waiter(0.0).peers(1))
    assert f"{ABSENT}; {SLOW}" in str(failed.value)


def on_a_thread(waiter: NodeWaits) -> None:
    waiter.wait(waiter.peers(1))


def in_a_coroutine(waiter: NodeWaits) -> None:
    asyncio.run(waiter.wait_here(waiter.peers(1)))


both = pytest.mark.parametrize("wait", [on_a_thread, in_a_coroutine])
Way = Callable[[NodeWaits], None]


@both
def test_what_was_found_at_once_counts(wait: Way) -> None:
    """Though it is gone again by the next look."""
    stub = Stub(True, False)
    wait(stub.waiter())
    assert stub.peer.looked == 1


@both
def test_what_was_found_when_all_were_told_counts(wait: Way) -> None:
    """Though it is gone by the time that whoever waits has the lock, or its loop a turn."""
    stub = Stub(False, True, False)
    waiting = threading.Thread(target=wait, args=[stub.waiter()])
    waiting.start()
    eventually(lambda: stub.changed._awaited)
    stub.notify()
    waiting.join(PATIENCE)
    assert not waiting.is_alive()
    assert stub.peer.looked == 2


@both
def test_who_is_told_too_early_waits_on(wait: Way) -> None:
    """What is told again and again, with nothing ready, ends no wait."""
    stub = Stub(*[False] * 20, True)
    waiting = threading.Thread(target=wait, args=[stub.waiter()])
    waiting.start()
    eventually(lambda: stub.changed._awaited)
    while stub.peer.looked < 20:
        assert waiting.is_alive()
        stub.notify()
    while waiting.is_alive():
        stub.notify()


def test_a_wait_that_ends_too_early_is_begun_again() -> None:
    """As long as there is time: only the clock ends a wait in vain."""
    stub = Stub()
    waiter = stub.waiter(30.0)
    steps = waiter.peers(1)
    for now in (0.0, 10.0, 29.9):
        stub.now = now
        look, most = steps.send(None)
        assert most == pytest.approx(30.0 - now)
        assert not look()
    stub.now = 30.0
    _, most = steps.send(None)
    assert most == 0.0
    with pytest.raises(NotReady, match=r"0 of 1 peers are ready after 30 s"):
        steps.send(None)


@both
def test_a_closed_node_ends_it(wait: Way) -> None:
    """A wait that can only be in vain is told so."""
    stub = Stub()
    failed: list[BaseException] = []

    def run() -> None:
        try:
            wait(stub.waiter())
        except Closed as error:
            failed.append(error)

    waiting = threading.Thread(target=run)
    waiting.start()
    eventually(lambda: stub.changed._awaited)
    stub.closed = True
    stub.notify()
    waiting.join(PATIENCE)
    assert failed


@both
def test_a_look_that_fails_is_told_to_whoever_waits(wait: Way) -> None:
    """And not to the thread that notifies."""
    stub = Stub(False)
    failed: list[BaseException] = []

    def run() -> None:
        try:
            wait(stub.waiter())
        except ZeroDivisionError as error:
            failed.append(error)

    def fail(ours: int) -> Any:
        raise ZeroDivisionError

    waiting = threading.Thread(target=run)
    waiting.start()
    eventually(lambda: stub.changed._awaited)
    stub.peer.ready = fail  # type: ignore[method-assign]
    stub.notify()
    waiting.join(PATIENCE)
    assert failed


def test_a_flush_counts_what_was_acknowledged_at_a_look() -> None:
    """A peer that lacks something again a moment later has had what was asked for."""
    stub: Any = Stub()
    lags = iter([True, True, False, True])
    stub.slow_peer_monitor = stub.outbound = stub.window = stub
    stub.slow_peers = dict
    stub.heads, stub.lacks = lambda: {"x": 5}, lambda peer, goal: lambda name: next(lags)
    stub.post, stub.beacon = lambda command: command(), lambda goal: None
    steps, found, ended = stub.waiter(30.0).flushed(), None, False
    while not ended:
        try:
            look, most = steps.send(found)
        except StopIteration:
            ended = True
        else:
            stub.now += min(most, 0.25)
            found = look()
    assert next(lags)


def test_a_flush_asks_again_only_once_it_was_asked_before() -> None:
    """A control thread that has no time is not given more to do with every look."""
    stub: Any = Stub()
    posted, asked = list[Callable[[], None]](), list[int]()
    stub.slow_peer_monitor = stub.outbound = stub.window = stub
    stub.slow_peers = dict
    stub.heads, stub.lacks = lambda: {"x": 5}, lambda peer, goal: lambda name: True
    stub.post, stub.beacon = posted.append, lambda goal: asked.append(goal["x"])
    steps, found = stub.waiter(30.0).flushed(), None
    for n in range(60):
        look, most = steps.send(found)
        if n in (0, 30):
            posted.pop()()
        stub.now += min(most, 0.25)
        found = look()
        assert len(posted) <= 1
    assert asked == [5]
