"""The data socket beside a thread that computes: nobody holds its lock for long at a time."""

from collections import deque
from itertools import islice
from types import SimpleNamespace
from typing import Any

import pytest
import zmq

from zexchange.history import WINDOW, Ring
from zexchange.net.engine.environment import NodeEnvironment
from zexchange.net.outbound import subscriptions as s
from zexchange.net.outbound.publisher import BEACON_SECONDS, Publisher
from zexchange.net.outbound.subscriptions import SECONDS
from zexchange.net.security.subscription_filter import SubscriptionFilter
from zexchange.net.transport.sockets import EVENTS, READABLE
from zexchange.protocol.delivery.stalls import Turns
from zexchange.protocol.security.keys import id_for
from zexchange.protocol.security.permissions import Policy, Rights
from zexchange.protocol.wire.data import ready_topic, topic
from zexchange.protocol.wire.envelopes import mark_topic

SWITCH = 0.005
"""Seconds until the interpreter's lock comes back, which every call on a socket lets go of."""
ME, PEER = b"m" * 16, b"p" * 16


class Held:
    """A data socket whose every call takes as long as the lock takes to come back."""

    def __init__(self) -> None:
        self.now = 0.0
        self.unread: deque[bytes] = deque()
        self.sent: list[bytes] = []

    def getsockopt(self, option: int) -> int:
        assert option == EVENTS
        return READABLE if self.unread else 0

    def recv(self, flags: int, copy: bool) -> Any:
        assert flags == zmq.NOBLOCK
        self.now += SWITCH
        if not self.unread:
            raise zmq.Again
        return zmq.Frame(self.unread.popleft())

    def send(self, frame: bytes, flags: int) -> None:
        self.now += SWITCH
        self.sent.append(frame)

    def outbound(self) -> Publisher:
        world = NodeEnvironment()
        world.monotonic = lambda: self.now
        socket: Any = self
        return Publisher(
            socket, ME, lambda: None, Ring(4 << 20, 1000, WINDOW), lambda: False, world
        )


def test_subscriptions_are_read_for_a_short_time_and_then_on() -> None:
    """A peer that connects again subscribes to thousands of names: none is passed over."""
    socket = Held()
    outbound, token = socket.outbound(), ready_topic(PEER, 7)
    socket.unread.extend(b"\0" + topic(f"x{n}") for n in range(3000))
    socket.unread.append(b"\0" + token)
    looks = 0
    while not looks or outbound.demand.unread:
        began, looks = socket.now, looks + 1
        outbound.poll(wait=True)
        assert socket.now - began < SECONDS + SWITCH
    assert list(outbound.demand.subscriptions) == [b"\0" + token]
    assert looks <= 3002


def test_asking_how_far_peers_are_takes_a_short_time() -> None:
    """Those that are not asked for want of time are asked about next."""
    socket, turns = Held(), Turns()
    outbound, names = socket.outbound(), [f"x{n:03}" for n in range(100)]
    looks = 0
    while len(socket.sent) < len(names):
        began, looks = socket.now, looks + 1
        outbound.beacon((name, topic(name)) for name in turns.take(names, 50))
        assert socket.now - began <= BEACON_SECONDS + SWITCH
    assert looks <= 100 * SWITCH / BEACON_SECONDS
    found = [frame[: frame.index(0) + 1] for frame in islice(socket.sent, len(names))]
    assert found == [topic(name) for name in names]


def test_who_asks_for_no_topic_of_ours_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Topics are data, tokens and marks; a connection is looked up once in a call."""
    socket, cuts, looks = Held(), list[Any](), list[int]()
    outbound = socket.outbound()

    def find(fd: int) -> tuple[int, int]:
        looks.append(fd)
        return fd, 7

    monkeypatch.setattr(s, "SECONDS", 1.0)
    monkeypatch.setattr(s, "source", lambda frame: 5)
    monkeypatch.setattr(s, "connection", find)
    monkeypatch.setattr(outbound.demand.topics, "_cut", cuts.append)
    good = [topic("x"), b"\1", ready_topic(PEER, 7), mark_topic(PEER)]
    socket.unread.extend(b"\1" + one for one in good)
    outbound.poll(wait=True)
    assert (cuts, looks) == ([], [5])
    for bad in (b"", b"\0", b"\2", b"x" * 20):
        outbound = socket.outbound()
        monkeypatch.setattr(outbound.demand.topics, "_cut", cuts.append)
        socket.unread.append(b"\1" + bad)
        outbound.poll(wait=True)
        assert cuts.pop() == (5, 7)


def test_nobody_ends_what_is_announced_to_another() -> None:
    """A key that unsubscribes from the token of another's node changes nothing: it never had it."""
    mine, other = b"k" * 32, b"o" * 32
    policy = Policy(b"s" * 32, {mine: Rights("me", subscribe=("a.**",)), other: Rights("other")})
    gate = SubscriptionFilter(lambda: policy, lambda key, reason, detail: None)
    socket: Any = SimpleNamespace(setsockopt=lambda option, topic: None)

    def said(kind: bytes, topic: bytes, key: bytes) -> bool:
        return gate.admit(socket, zmq.Frame(kind + topic), key, None)

    token = ready_topic(id_for(mine, b"n" * 16), 3)
    assert said(b"\1", token, mine)
    assert not said(b"\1", token, other)
    assert not said(b"\0", token, other)
    assert said(b"\0", token, mine)
