"""The figures of `stats()` add up: for every pair of nodes, received and lost is what was sent."""

import random

import pytest

from zexchange import Node, PeerSlow, Sent
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
