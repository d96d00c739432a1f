"""Late joiners on a bad wire: of each publisher an unbroken run of numbers, to the very end."""

import random

import pytest

from zexchange import Node
from zexchange.testing import Network

NAMES = "state.a", "state.b"
KEPT = 12


class Joiner:
    """Lists what it gets, by exchange and publisher."""

    def __init__(self, history: int) -> None:
        self.history = history
        self.got: dict[tuple[str, str], list[int]] = {}

    def send(self, msg: tuple[str, str, int]) -> None:
        name, publisher, n = msg
        self.got.setdefault((name, publisher), []).append(n)


class Publishers:
    """Nodes that number what they send."""

    def __init__(self, nodes: list[Node]) -> None:
        self.nodes = nodes
        self.sent: dict[tuple[str, str], int] = {}

    def send(self, node: Node, name: str) -> None:
        number = self.sent[name, node.id] = self.sent.get((name, node.id), 0) + 1
        node.registry.get(name).send((name, node.id, number))


def join(dice: random.Random, node: Node) -> Joiner:
    joiner = Joiner(dice.choice([1, 5, KEPT, 100]))
    if dice.random() < 0.5:
        node.registry.match("state.*").attach(joiner, history=joiner.history)
    else:
        for name in NAMES:
            node.registry.get(name).attach(joiner, history=joiner.history)
    return joiner


@pytest.mark.parametrize("seed", range(40))
def test_no_seam_whatever_the_wire_does(seed: int) -> None:
    """History and live messages meet, through loss, repetition, cuts and late publishers."""
    dice = random.Random(seed)
    with Network(seed) as network:
        nodes = [network.node(str(n), retain={"state.*": KEPT}) for n in range(2)]
        publishers, joiners = Publishers(nodes), dict[Joiner, Node]()
        network.faults(loss=0.1, delay=(0, 0.03), duplicate=0.1, reorder=0.2)
        for step in range(25):
            for _ in range(dice.randrange(12)):
                publishers.send(dice.choice(nodes), dice.choice(NAMES))
            match dice.randrange(5):
                case 0 | 1:
                    node = dice.choice(nodes)
                    joiners[join(dice, node)] = node
                case 2 if step == 12:
                    nodes.append(network.node("late", retain={"state.*": KEPT}))
                case 3:
                    pair = dice.sample(nodes, 2)
                    network.cut(*pair)
                    network.advance(dice.random() / 2)
                    network.heal(*pair)
                case _:
                    network.advance(dice.random() / 10)
        network.faults()
        network.settle()
        network.advance(2)
        for joiner, node in joiners.items():
            for (name, publisher), numbers in joiner.got.items():
                end = publishers.sent[name, publisher]
                assert numbers == list(range(numbers[0], end + 1))
            # Whoever has sent anything by then was kept, and so nobody is missing.
            assert set(joiner.got) == set(publishers.sent), node
        assert all(tally.lost == 0 for node in nodes for tally in node.stats().received.values())


def test_exactly_as_many_as_asked_for() -> None:
    """Where nothing is sent meanwhile."""
    with Network() as network:
        a, b = network.node("a", retain={"x": 10}), network.node("b")
        for n in range(30):
            a.registry.get("x").send(n)
        network.settle()
        for most, expected in ((3, [27, 28, 29]), (50, list(range(20, 30)))):
            got: list[object] = []
            with b.registry.get("x").stream(history=most) as stream:
                network.settle()
                got += [stream.get(0) for _ in range(len(stream))]
            assert got == expected
