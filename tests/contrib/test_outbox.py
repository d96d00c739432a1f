"""Sending that never waits: what is held, in which order it goes, and what becomes of the rest."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import PATIENCE, Program, eventually
from zexchange import Node, Registry, federate, get_exchange
from zexchange.contrib import membership
from zexchange.contrib import outbox as module
from zexchange.contrib.membership import Membership
from zexchange.contrib.outbox import Outbox
from zexchange.local.process.logs import log
from zexchange.net.node import lifetime, process

pytestmark = pytest.mark.sockets
Heard = Callable[[], list[Any]]


@pytest.fixture
def heard(rendezvous: Path) -> Iterator[list[Any]]:
    """What somebody else in the federation hears."""
    there = Registry()
    with federate("fed", registry=there), there.get("logs").record() as heard:
        yield heard


@pytest.fixture
def outbox(heard: list[Any]) -> Iterator[Outbox]:
    failed: list[Any] = []
    box = Outbox(Membership("fed", None), get_exchange("logs"), failed.append)
    yield box
    box.close()
    assert failed == []


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Nobody joins before this is set."""
    gate, revive = threading.Event(), Node._revive

    def later(self: Node) -> None:
        assert gate.wait(PATIENCE)
        revive(self)

    monkeypatch.setattr(Node, "_revive", later)
    yield gate
    gate.set()


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    def told() -> list[str]:
        log.flush()
        return [record.getMessage() for record in caplog.records if record.name == "zexchange"]

    return told


def test_what_comes_before_the_node_has_joined_is_held(
    outbox: Outbox, heard: list[Any], gate: threading.Event
) -> None:
    """Nobody waits, and all of it is sent, in order, before what comes after."""
    for n in range(100):
        outbox.send(n, None)
    assert heard == []
    gate.set()
    outbox.send(100, None)
    eventually(lambda: len(heard) == 101)
    assert heard == list(range(101))


def test_who_joins_and_flushes_has_flushed_what_was_held(
    outbox: Outbox, heard: list[Any], gate: threading.Event
) -> None:
    """It is sent before `federate` returns."""
    for n in range(3000):
        outbox.send(n, None)
    gate.set()
    with federate("fed") as node:
        node.flush()
        assert heard == list(range(3000))


def test_too_much_is_dropped_and_told_once(
    outbox: Outbox,
    heard: list[Any],
    gate: threading.Event,
    told: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first are kept, for they say how it began."""
    monkeypatch.setattr(module, "HELD", 10)
    for n in range(15):
        outbox.send(n, None)
    assert outbox.dropped == 5
    assert len([text for text in told() if "are dropped" in text]) == 1
    gate.set()
    eventually(lambda: heard == list(range(10)))


def test_what_cannot_be_joined_is_told_and_tried_again(
    outbox: Outbox,
    heard: list[Any],
    told: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """What is held until then is sent in the end."""
    there = os.environ["ZEXCHANGE_DIR"]
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("ZEXCHANGE_DIR", str(tmp_path / "file"))
    outbox.send(1, None)
    eventually(lambda: any("cannot be joined" in text for text in told()))
    outbox.send(2, None)  # not tried at once again
    assert not outbox._coming
    monkeypatch.setenv("ZEXCHANGE_DIR", there)
    outbox._retry_at = 0.0
    outbox.send(3, None)
    eventually(lambda: heard == [1, 2, 3])


def test_where_there_is_no_room_a_thread_waits(
    outbox: Outbox, heard: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And whoever sends does not; the order stays."""
    full = threading.Event()
    monkeypatch.setattr(Node, "_has_room", property(lambda self: not full.is_set()))
    outbox.send(0, None)
    eventually(lambda: heard == [0])
    full.set()
    me = threading.get_ident()
    monkeypatch.setattr(
        outbox, "_exchange", Elsewhere(outbox._exchange, lambda: threading.get_ident() != me)
    )
    for n in range(1, 50):
        outbox.send(n, None)
    eventually(lambda: heard == list(range(50)))


class Elsewhere:
    """An exchange on which something is sent as a condition wants it."""

    def __init__(self, exchange: Any, condition: Callable[[], bool]) -> None:
        self.exchange = exchange
        self.condition = condition
        self.name = exchange.name

    def send(self, msg: object) -> None:
        assert self.condition()
        self.exchange.send(msg)


def test_who_sends_waits_for_no_room(outbox: Outbox, heard: list[Any]) -> None:
    """Also where room ends in the middle of a send: then it is overdrawn, as in an event loop."""
    outbox.send(0, None)
    eventually(lambda: heard == [0])
    node = outbox._membership.enlist(outbox)
    assert node._engine is not None
    room = node._engine.outbound.window.room
    waited: list[None] = []
    room.wait = lambda: waited.append(None)  # type: ignore[method-assign]
    bridge = node._running().bridges.get("logs")

    class Full:
        """Stands in for a bridge whose sender has to wait."""

        def send(self, msg: object) -> Any:
            bridge.send(msg)
            return room

    full: Any = Full()
    outbox._exchange._attach_bridge(full)
    try:
        outbox.send(1, None)
        assert waited == []
        outbox._exchange.send(2)
        assert waited == [None]
    finally:
        outbox._exchange._detach_bridge(full)


def test_a_task_that_logs_does_not_overtake(outbox: Outbox, heard: list[Any]) -> None:
    """What is sent while something is being sent comes after it, and deadlocks nothing."""

    def again(msg: object) -> None:
        if msg == "first":
            outbox.send("second", None)

    exchange = get_exchange("logs")
    exchange.handler(again)
    try:
        outbox.send("first", None)
        eventually(lambda: heard == ["first", "second"])
    finally:
        exchange.detach(again)


def test_what_cannot_be_sent_is_told_to_its_sender(heard: list[Any]) -> None:
    """With the exception at hand, and what came along; what follows is sent."""
    failed: list[Any] = []
    box = Outbox(
        Membership("fed", None),
        get_exchange("logs"),
        lambda context: failed.append((context, sys.exc_info()[0])),
    )
    box.send(object(), "context")
    box.send("good", None)
    eventually(lambda: heard == ["good"])
    box.close()
    assert [(context, kind.__name__) for context, kind in failed] == [("context", "EncodeError")]


def test_after_a_close_the_next_message_joins_anew(outbox: Outbox, heard: list[Any]) -> None:
    """And a close sends what is held."""
    outbox.send(1, None)
    outbox.close()
    assert heard == [1]
    assert ("fed", id(get_exchange("logs").registry)) not in lifetime.nodes
    outbox.send(2, None)
    eventually(lambda: heard == [1, 2])


def test_a_thread_that_comes_after_a_close_joins_nothing(
    outbox: Outbox, heard: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a node would live on that nobody closes."""
    with monkeypatch.context() as slow:
        slow.setattr(outbox, "_start", lambda: None)
        slow.setattr(module, "JOIN_TIMEOUT", 0.0)
        outbox.send(1, None)
        outbox.close()
    assert outbox.dropped == 1
    outbox._run()
    assert ("fed", id(get_exchange("logs").registry)) not in lifetime.nodes


def test_an_error_that_nobody_expects_costs_no_message(
    outbox: Outbox,
    heard: list[Any],
    told: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is logged, and joining is tried again with a later message."""

    def revive(self: Node) -> None:
        raise OSError("the network is down")

    with monkeypatch.context() as broken:
        broken.setattr(Node, "_revive", revive)
        outbox.send(1, None)
        eventually(lambda: any("are held" in text for text in told()))
        eventually(lambda: not outbox._coming)
    outbox._retry_at = 0.0
    outbox.send(2, None)
    eventually(lambda: heard == [1, 2])


def test_what_is_held_when_it_is_closed_in_vain_is_counted(
    heard: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nothing goes without a word."""
    box = Outbox(Membership("fed", None), get_exchange("logs"), lambda context: None)
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("ZEXCHANGE_DIR", str(tmp_path / "file"))
    box.send(1, None)
    box.close()
    assert box.dropped == 1


LISTENER = """
import zexchange
with zexchange.federate("fed", join_timeout=60) as node:
    with zexchange.get_exchange("logs").stream() as stream:
        print("listening", flush=True)
        for msg in stream:
            print(msg, flush=True)
            if msg == "over":
                break
"""


@pytest.mark.leaves_files
@pytest.mark.parametrize("end", ["goes on", "does not", "dies"])
def test_who_takes_longer_than_the_time_to_join_is_waited_for(
    rendezvous: Path,
    told: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
    end: str,
) -> None:
    """Or else what would reach nobody is counted, and told."""
    monkeypatch.setattr(membership, "JOIN_TIMEOUT", 0.3)
    monkeypatch.setattr(module, "LATE_TIMEOUT", 0.5 if end == "does not" else 4 * PATIENCE)
    with Program(LISTENER) as listener:
        listener.expect("listening")
        listener.kill(signal.SIGSTOP)
        box = Outbox(Membership("fed", None), get_exchange("logs"), lambda context: None)
        box.send(1, None)
        eventually(lambda: ("fed", id(get_exchange("logs").registry)) in lifetime.nodes)
        node = next(iter(lifetime.nodes.values()))
        if end == "does not":
            eventually(lambda: box.dropped == 1)
            eventually(lambda: len([text for text in told() if "are dropped" in text]) == 1)
        else:
            eventually(lambda: node._incomplete)
            box.send(2, None)
            assert (len(box.waiting), box.dropped) == (2, 0)
        listener.kill(signal.SIGKILL if end == "dies" else signal.SIGCONT)
        if end == "goes on":
            listener.expect("1")
            listener.expect("2")
        if end == "dies":
            eventually(lambda: not box.waiting)
            assert box.dropped == 0  # nobody is there
        else:
            node.wait_subscribers("logs", 1, 4 * PATIENCE)
            box.send("over", None)
            listener.expect("over")
        box.close()


@pytest.mark.leaves_files
def test_a_fork_waits_for_a_start(heard: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that is made while a thread starts a node inherits a whole one, and no half."""
    from zexchange.net.engine.engine import Engine

    begun, forking = threading.Event(), threading.Event()
    start = Engine.start

    def slowly(self: Engine, interest: Any) -> None:
        begun.set()
        assert forking.wait(PATIENCE)
        start(self, interest)

    monkeypatch.setattr(Engine, "start", slowly)
    os.register_at_fork(before=forking.set)  # called before the one that waits
    box = Outbox(Membership("fed", None), get_exchange("logs"), lambda context: None)
    box.send("parent", None)
    assert begun.wait(PATIENCE)
    pid = os.fork()
    if not pid:
        try:
            engine = next(iter(lifetime.nodes.values()))._engine
            assert engine is None
            assert process._graveyard  # what the parent had made is known, and let go of
            box.send("child", None)
            with federate("fed") as node:
                node.flush()
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
    eventually(lambda: sorted(heard) == ["child", "parent"])
    box.close()
