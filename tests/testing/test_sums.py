"""The figures of `stats()` add up: for every pair of nodes, received and lost is what was sent."""

import random

import pytest

from zexchange import Lost, Node, PeerSlow, Sent
from zexchange.testing import Network

NAMES = "a", "b.c", "b.d"


def check(sender: Node, receiver: Node) -> int:
    """Compare what one has sent to the other with what has come of it; return how much."""
    sent, total = sender.stats().sent_to, 0
    received = receiver.stats().received
    for name in NAMES:
        here = sent.get((name, receiver.id), Sent(0, 0))
        there = received.get((name, sender.id))
        assert here.unacknowledged == 0
        assert here.sent == (there.received + there.lost if there else 0), name
        assert there is None or there.parked == 0
        total += here.sent
    return total


@pytest.mark.parametrize("seed", range(8))
def test_sums_add_up_for_every_pair(seed: int) -> None:
    """Whatever is lost, cut and overrun, and from whatever moment a peer was ready."""
    dice = random.Random(seed)
    with Network(seed) as network:
        nodes = [
            network.node(str(n), replay_bytes=dice.choice([10_000, 32 << 20]), stall=0.3)
            for n in range(3)
        ]
        for _ in range(12):
            for _ in range(dice.randrange(60)):
                dice.choice(nodes).registry.get(dice.choice(NAMES)).send(bytes(500))
            match dice.randrange(5):
                case 0:
                    dice.choice(nodes).registry.get(dice.choice(NAMES)).handler([].append)
                case 1:
                    dice.choice(nodes).registry.match("b.*").attach(Task())
                case 2:
                    network.faults(loss=0.2, delay=(0, 0.02), duplicate=0.1, reorder=0.2)
                case 3:
                    pair = dice.sample(nodes, 2)
                    network.cut(*pair)
                    for n in range(60):
                        pair[0].registry.get(NAMES[n % 3]).send(bytes(500))
                    network.advance(dice.random())
                    network.heal(*pair)
                case 4:
                    network.advance(0.2)
        network.faults()
        network.settle()
        network.advance(1)
        total = sum(check(a, b) for a in nodes for b in nodes if a is not b)
        assert total > 0


class Task:
    def send(self, msg: object) -> None:
        """Take a message and forget it."""


def test_who_is_slow_is_told_and_seen_at_both_ends() -> None:
    """By an event here and there, and by `slow_since` while it lasts."""
    with Network() as network:
        a, b = network.node("a", stall=0.2, replay_bytes=20_000), network.node("b")
        b.registry.get("x").attach(Task())
        here, there = list[object](), list[object]()
        a.events.handler(here.append)
        b.events.handler(there.append)
        network.settle()
        assert [peer.slow_since for peer in a.peers] == [None]
        network.stop(b)
        for _ in range(60):
            a.registry.get("x").send(bytes(1000))
        network.advance(1)
        (peer,) = a.peers
        assert peer.slow_since is not None
        assert a.stats().kept > 0
        network.resume(b)
        network.settle()
        assert [peer.slow_since for peer in a.peers] == [None]
        told = [(e.slow, e.ourselves) for e in here if isinstance(e, PeerSlow)]
        assert told == [(True, False), (False, False)]
        told = [(e.slow, e.ourselves) for e in there if isinstance(e, PeerSlow)]
        assert told == [(True, True), (False, True)]
        assert a.stats().window_used == 0
        assert a.stats().window == 10_000


def test_what_was_sent_to_one_that_has_left_is_remembered() -> None:
    """And one that detaches is owed nothing more, until it attaches again."""
    with Network() as network:
        a, b = network.node("a"), network.node("b")
        exchange, task, me = b.registry.get("x"), Task(), b.id
        for attached in (True, False, True):
            (exchange.attach if attached else exchange.detach)(task)
            network.settle()
            for _ in range(5):
                a.registry.get("x").send("hello")
            network.settle()
        assert a.stats().sent_to["x", me] == Sent(10, 0)
        b.close()
        network.settle()
        assert a.stats().sent_to["x", me] == Sent(10, 0)


@pytest.mark.parametrize("how", ["stopped", "cut"])
def test_sums_go_on_when_a_peer_that_was_given_up_comes_back(how: str) -> None:
    """The same node is counted on where it was, at both ends."""
    with Network() as network:
        a, b = network.node("a"), network.node("b")
        b.registry.get("x").attach(Task())
        network.settle()
        for seconds in (40, 0):
            for _ in range(5):
                a.registry.get("x").send("hello")
            network.settle()
            if how == "stopped":
                network.stop(b)
                network.advance(seconds)
                network.resume(b)
            else:
                network.cut(a, b)
                network.advance(seconds)
                network.heal(a, b)
            network.settle()
        assert a.stats().sent_to["x", b.id] == Sent(10, 0)
        received = b.stats().received["x", a.id]
        assert (received.received, received.lost) == (10, 0)


def away(network: Network, one: Node, other: Node, how: str) -> None:
    """Have a node be out of reach."""
    if how == "refused":
        network.refuse(one)
        network.refuse(other)
    elif how == "stopped":
        network.stop(other)
    else:
        network.cut(one, other)
    network.advance(2)


def back(network: Network, one: Node, other: Node, how: str) -> None:
    """Have it be back after a minute, when both have long given each other up."""
    network.advance(60)
    if how == "stopped":
        network.resume(other)
    elif how == "refused":
        network.accept(one)
        network.accept(other)
    else:
        network.heal(one, other)
    network.settle()
    assert other.id in [peer.id for peer in one.peers]


def listen(node: Node, name: str) -> list[object]:
    got: list[object] = []
    node.registry.get(name).handler(got.append)
    return got


@pytest.mark.parametrize("how", ["stopped", "cut", "refused"])
def test_what_was_sent_while_a_peer_was_away_comes_when_it_is_back(how: str) -> None:
    """Before it was given up, and after: in order, once, and the sums of both ends say the same."""
    with Network() as network:
        a, b, c = (network.node(name) for name in "abc")
        there, here = listen(b, "x"), listen(a, "y")
        network.settle()

        def send(*numbers: int) -> None:
            for n in numbers:
                a.registry.get("x").send(n)
                if how != "stopped":  # a node that is stopped sends nothing
                    b.registry.get("y").send(n)

        send(0, 1)
        network.settle()
        away(network, a, b, how)
        send(2, 3)
        network.advance(60)
        assert [peer.id for peer in a.peers] == [c.id]
        send(4, 5)
        back(network, a, b, how)
        send(6)
        network.settle()
        assert there == list(range(7))
        assert here == (list(range(7)) if how != "stopped" else [])
        assert a.stats().sent_to["x", b.id] == Sent(7, 0)
        received = b.stats().received["x", a.id]
        assert (received.received, received.lost) == (7, 0)


def test_what_is_no_longer_kept_when_a_peer_is_back_is_lost() -> None:
    """To the message, also where both had given each other up."""
    with Network() as network:
        a, b = network.node("a", replay_messages=4), network.node("b")
        got = listen(b, "x")
        network.settle()
        a.registry.get("x").send(0)
        network.settle()
        with b.events.record() as events:
            away(network, a, b, "cut")
            network.advance(60)
            for n in range(1, 11):
                a.registry.get("x").send(n)
                network.settle()
            back(network, a, b, "cut")
        (lost,) = [event for event in events if isinstance(event, Lost)]
        assert lost.first == 2
        assert got == [0, *range(lost.last, 11)]
        assert 3 <= len(got) <= 5
        assert a.stats().sent_to["x", b.id] == Sent(11, 0)
        received = b.stats().received["x", a.id]
        assert (received.received, received.lost) == (len(got), 11 - len(got))


def test_what_was_not_wanted_for_a_while_is_not_owed() -> None:
    """Who detaches and attaches again while a peer is away gets what is sent from then on."""
    with Network() as network:
        a, b, c = (network.node(name) for name in "abc")
        exchange, task = b.registry.get("x"), Task()
        got, _ = listen(b, "y.z"), [listen(c, name) for name in ("x", "y.z")]
        exchange.attach(task)
        network.settle()
        for name in ("x", "y.z"):
            a.registry.get(name).send("before")
        network.settle()
        away(network, a, b, "cut")
        network.advance(60)
        exchange.detach(task)
        for name in ("x", "y.z"):
            a.registry.get(name).send("meanwhile")
        network.settle()
        late = listen(b, "x")
        back(network, a, b, "cut")
        for name in ("x", "y.z"):
            a.registry.get(name).send("after")
        network.settle()
        assert late == ["after"]
        assert got == ["before", "meanwhile", "after"]
        assert b.stats().received["x", a.id].lost == 0


@pytest.mark.parametrize("minutes", [9, 11])
def test_who_is_away_for_ten_minutes_has_a_gap_without_a_beginning(minutes: int) -> None:
    """And before that one that is known to the message."""
    with Network() as network:
        a, b, c = (network.node(name) for name in "abc")
        stream = b.registry.match("**").stream(details=True)
        listen(c, "x"), listen(c, "y")
        network.settle()
        a.registry.get("x").send(0)
        network.settle()
        network.cut(a, b)
        network.advance(40)
        for name in ("x", "x", "y"):
            a.registry.get(name).send(1)
        network.advance(60 * minutes)
        network.heal(a, b)
        network.settle()
        a.registry.get("x").send(2)
        network.settle()
        items = [stream.get(timeout=0) for _ in range(len(stream))]
        received = b.stats().received["x", a.id]
    told = [(i.exchange, i.first, i.last) for i in items if isinstance(i, Lost)]
    came = sorted((i.name, i.seq) for i in items if not isinstance(i, Lost))
    if minutes < 10:
        assert told == []
        assert came == [("x", 1), ("x", 2), ("x", 3), ("x", 4), ("y", 1)]
    else:
        assert sorted(told) == [("x", 0, 3), ("y", 0, 1)]
        assert came == [("x", 1), ("x", 4)]
        assert (received.received, received.lost) == (2, 0)


def test_what_is_sent_is_for_nobody_once_a_peer_will_not_be_back() -> None:
    """It has said goodbye, or was away for over eleven minutes: then nothing crosses any more."""
    with Network() as network:
        a, b, c = (network.node(name) for name in "abc")
        listen(b, "x"), listen(c, "y")
        network.settle()
        c.close()
        network.kill(b)
        network.advance(5)
        for name in ("x", "y"):
            a.registry.get(name).send(1)
        assert a.stats().sent == {"x": 1}
        network.advance(700)
        a.registry.get("x").send(2)
        assert a.stats().sent == {"x": 1}
