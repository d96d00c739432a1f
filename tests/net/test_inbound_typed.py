"""Frames that are decoded straight into messages of a type, without sockets."""

import sys
import time
from typing import Any

import pytest

from zexchange import Registry, register, to_call
from zexchange.net.inbound import typed
from zexchange.net.inbound.context import ReceiveContext
from zexchange.net.inbound.peer_stream import PeerReceiver
from zexchange.net.outbound.send_queue import frame_parts
from zexchange.protocol.codec.values import encode
from zexchange.protocol.wire.data import ready_frame, topic
from zexchange.protocol.wire.messages import Ready

from .test_peer_stream import ME, PEER, Control

msgspec = pytest.importorskip("msgspec")


def trade_class() -> Any:
    """The class of a cell of a notebook that is run once more: the same name, another object."""

    class Trade(msgspec.Struct):  # type: ignore[misc]
        sym: str
        price: float
        lots: int = 1

    return Trade


class Bench:
    """A receiver of one peer, and what a task of the exchange ``x`` got."""

    def __init__(self) -> None:
        self.registry, self.got, self.number = Registry(), list[Any](), 1
        self.control = Control()
        context = ReceiveContext(
            ME, self.registry, lambda name: True, self.control, 5.0, time.monotonic
        )
        self.peer_receiver = PeerReceiver(PEER, context)
        self.refused: list[tuple[int | None, str]] = []

        def refused(exchange: Any, origin: str, seq: int | None, reason: str, detail: str) -> bool:
            self.refused.append((seq, detail))
            return True

        self.registry._refused = refused  # type: ignore[method-assign]
        self.registry.get("x").attach(to_call(self.got.append))
        self.peer_receiver.expect(1, ("x",), ())
        self.peer_receiver.take(ready_frame(Ready(ME, 1, PEER, {"x": 0})))

    def declare(self, kind: Any) -> None:
        self.registry.get("x", type=kind)

    def take(self, *msgs: object) -> list[Any]:
        """Have a frame with these values come; return what the task gets."""
        self.got.clear()
        frame, _ = frame_parts(topic("x"), PEER, self.number, list(map(encode, msgs)), 0.0)
        self.number += len(msgs)
        self.peer_receiver.take(frame)
        return list(self.got)


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many messages each frame had that was decoded straight into messages."""
    counts: list[int] = []
    real = typed.Made

    def count(by: Any, messages: list[Any]) -> Any:
        counts.append(len(messages))
        return real(by, messages)

    monkeypatch.setattr(typed, "Made", count)
    monkeypatch.setattr("zexchange.local.arrivals.Made", real)
    return counts


A, B = {"sym": "A", "price": 1}, {"sym": "B", "price": 2.5, "lots": 3, "unknown": (1,)}


def test_frames_become_messages(bench: Bench, made: list[int]) -> None:
    """One message or several: at once, with defaults, and without fields that are unknown."""
    trade = trade_class()
    bench.declare(trade)
    for _ in range(2):  # the second time by the short way
        assert bench.take(A) == [trade("A", 1.0)]
        assert bench.take(A, B, A) == [trade("A", 1.0), trade("B", 2.5, 3), trade("A", 1.0)]
    assert made == [1, 3, 1, 3]
    assert not bench.refused


def test_one_that_does_not_fit_is_refused_alone(bench: Bench, made: list[int]) -> None:
    """The others of its frame arrive, and its place and reason are those of any type."""
    trade = trade_class()
    bench.declare(trade)
    assert bench.take(A, {"sym": 5, "price": 1}, B) == [trade("A", 1.0), trade("B", 2.5, 3)]
    assert bench.refused == [(2, "msg: Expected `str`, got `int` - at `$.sym`")]
    assert not made


def test_a_class_that_is_defined_again_is_the_one_that_arrives(
    bench: Bench, made: list[int]
) -> None:
    """From the next message on, and although the former one was decoded into directly."""
    old, new = trade_class(), trade_class()
    bench.declare(old)
    assert type(bench.take(A)[0]) is old
    bench.declare(new)
    assert type(bench.take(A)[0]) is new
    assert made == [1, 1]
    assert not bench.refused


def test_a_class_defined_again_after_a_frame_was_decoded(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was made of the former class becomes the new one on the way to the tasks."""
    old, new = trade_class(), trade_class()
    bench.declare(old)
    bench.take(A)

    def redefine(by: Any, messages: list[Any]) -> Any:
        bench.declare(new)
        return real(by, messages)

    real = typed.Made
    monkeypatch.setattr(typed, "Made", redefine)
    monkeypatch.setattr("zexchange.local.arrivals.Made", real)
    assert [type(msg) for msg in bench.take(A, B)] == [new, new]
    assert not bench.refused


def test_instances_of_a_registered_class_arrive(bench: Bench, made: list[int]) -> None:
    """From a sender that has no type, as one frame with dicts of others."""
    trade = trade_class()
    register(
        trade, lambda msg: (msg.sym, msg.price), lambda parts: trade(*parts), name="test.Registered"
    )
    bench.declare(trade)
    assert bench.take(trade("C", 3.0), A) == [trade("C", 3.0), trade("A", 1.0)]
    assert not made


def test_under_a_raised_recursion_limit_dicts_are_made_first(bench: Bench, made: list[int]) -> None:
    """Then a field that nobody knows could be so deep that passing over it ends the process."""
    trade = trade_class()
    bench.declare(trade)
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(typed.DEEPEST + 1)
    try:
        assert bench.take(A) == [trade("A", 1.0)]
    finally:
        sys.setrecursionlimit(before)
    assert not made


def test_a_type_that_is_not_direct_arrives(bench: Bench, made: list[int]) -> None:
    """By way of its plain values, as ever."""
    kind = msgspec.defstruct("Pair", [("x", tuple[int, int])])
    bench.declare(kind)
    assert bench.take({"x": (1, 2)}, {"x": (3, 4)}) == [kind((1, 2)), kind((3, 4))]
    assert not made
