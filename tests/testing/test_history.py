"""Late joiners on a bad wire: of each publisher an unbroken run of numbers, to the very end.

Of all that is kept they are given the newest, whoever sent it, and what is sent from then on.
"""

import gc
import random
import weakref

import pytest

from zexchange import Node, Registry, to_call
from zexchange.testing import Network

pytest_plugins = ["zexchange.testing.fixtures"]

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
        self.last: dict[tuple[str, str], float] = {}
        """When each has sent there last."""

    def send(self, node: Node, name: str) -> None:
        number = self.sent[name, node.id] = self.sent.get((name, node.id), 0) + 1
        self.last[name, node.id] = node.registry.time()
        node.registry.get(name).send((name, node.id, number))

    def newest(self) -> set[tuple[str, str]]:
        """Return who was the last to send on an exchange, where that can be told.

        Others see a message as sent when it was numbered, which may be a moment later.
        """
        return {
            (name, publisher)
            for (name, publisher), at in self.last.items()
            if all(n != name or p == publisher or at > t + 0.01 for (n, p), t in self.last.items())
        }


def join(dice: random.Random, node: Node) -> Joiner:
    joiner = Joiner(dice.choice([1, 5, KEPT, 100]))
    if dice.random() < 0.5:
        node.registry.match("state.*").attach(joiner, history=joiner.history)
    else:
        for name in NAMES:
            node.registry.get(name).attach(joiner, history=joiner.history)
    return joiner


SEEDS = [*range(20), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(20, 100))]


@pytest.mark.parametrize("seed", SEEDS)
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
            # Whoever was the last to send there is not missing: nothing newer took its place.
            assert publishers.newest() <= set(joiner.got), node
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


# ------------------------------------------------------------- nothing twice, nothing missing


class Task:
    """Lists what it gets."""

    def __init__(self) -> None:
        self.got: list[object] = []

    def send(self, msg: object) -> None:
        self.got.append(msg)


def keeping(*names: str) -> Registry:
    registry = Registry()
    for name in names:
        registry.retain(name, 5)
    return registry


def send(node: Node, name: str, *numbers: int) -> None:
    for n in numbers:
        node.registry.get(name).send(n)


def test_who_closes_and_joins_again_gives_nothing_twice(network: Network) -> None:
    """What a former node of the registry has given to others is not given by the next."""
    registry = keeping("x")
    a, b = network.node("a", registry=registry), network.node("b")
    b.registry.get("x").attach(task := Task(), history=5)
    network.settle()
    send(a, "x", 0, 1, 2)
    network.settle()
    a.close()
    registry.get("x").send(3)
    network.settle()
    network.node("a", registry=registry)
    network.settle()
    assert task.got == [0, 1, 2, 3]


def test_a_joiner_that_was_there_before_its_node(network: Network) -> None:
    """Its history comes before what is live, however the threads of the node are scheduled."""
    a, registry = network.node("a", registry=keeping("x")), Registry()
    registry.get("x").attach(task := Task(), history=5)
    joiners = registry._joiners

    def late() -> object:
        """Let the others run, once, while the thread that federates stands still."""
        registry._joiners = joiners  # type: ignore[method-assign]
        network.advance(1)
        send(a, "x", 0, 1, 2)
        network.advance(1)
        return joiners()

    registry._joiners = late  # type: ignore[method-assign, assignment]
    network.node("b", registry=registry)
    network.settle()
    assert task.got == [0, 1, 2]


def test_who_left_before_its_history_was_fetched_gives_it_when_it_is_back(
    network: Network,
) -> None:
    """And not what it has given live meanwhile."""
    a, b = network.node("a", registry=keeping("x")), network.node("b")
    network.settle()
    send(a, "x", 1)
    network.settle()
    network.cut(a, b)
    b.registry.get("x").attach(task := Task(), history=5)
    network.advance(40)
    network.heal(a, b)
    network.settle()
    send(a, "x", 2)
    network.settle()
    assert task.got == [1, 2]


def test_a_task_that_is_attached_in_two_ways_gets_everything_once(network: Network) -> None:
    """The older one counts: what it has had does not come again with the other's history."""
    a, b = network.node("a", registry=keeping("a.x")), network.node("b")
    task, late = Task(), Task()
    b.registry.match("a.*").attach(task)
    network.settle()
    send(a, "a.x", 0, 1)
    network.settle()
    b.registry.get("a.x").attach(task, history=5)
    send(a, "a.x", 2)
    network.settle()
    b.registry.get("a.x").detach(task)
    send(a, "a.x", 3)
    b.registry.match("a.*").attach(late, history=2)
    b.registry.get("a.x").attach(late)
    network.settle()
    assert task.got == [0, 1, 2, 3]
    assert late.got == [1, 2, 3]


def test_joiners_of_two_federations_on_one_registry(network: Network) -> None:
    """Each gives its own, and one that closes keeps nobody waiting."""
    registry = Registry()
    network.node("one here", "one", registry=registry)
    two = network.node("two here", "two", registry=registry)
    there = network.node("one there", "one", registry=keeping("x"))
    other = network.node("two there", "two", registry=keeping("x"))
    network.settle()
    send(there, "x", 0)
    send(other, "x", 100)
    network.settle()
    registry.get("x").attach(task := Task(), history=3)
    send(there, "x", 1)
    two.close()
    network.settle()
    send(there, "x", 2)
    network.settle()
    assert [n for n in task.got if n in range(100)] == [0, 1, 2]


def test_who_is_detached_is_let_go(network: Network) -> None:
    """Nothing refers to a task that has left, whatever it was owed."""
    network.node("a", registry=keeping("x"))
    exchange = network.node("b").registry.get("x")
    network.settle()
    left = []
    for _ in range(20):
        exchange.attach(task := Task(), history=1)
        network.settle()
        exchange.detach(task)
        left.append(weakref.ref(task))
        del task
        network.settle()
    gc.collect()
    assert [task for task in left if task() is not None] == []


def test_what_waits_for_history_is_not_acknowledged(network: Network) -> None:
    """`flush` means that the tasks have been given the messages: late joiners, too."""
    a, b = network.node("a", registry=keeping("x")), network.node("b")
    b.registry.get("x").attach(Task())
    network.settle()
    b.registry.get("x").attach(late := Task(), history=5)
    network.until(lambda: b.registry._joiners()[0][1]._awaited != set())
    send(a, "x", *range(50))
    a.flush()
    assert late.got == list(range(50))


def test_names_that_are_merely_told_make_no_exchanges(network: Network) -> None:
    """A peer may name any number of exchanges that it keeps nothing of."""
    a, b = network.node("a"), network.node("b")
    b.registry.match("**").attach(Task(), history=1)
    network.settle()
    peer_receiver = b._engine.inbound._peer_receivers[bytes.fromhex(a.id)]  # type: ignore[union-attr]
    peer_receiver.history_fetcher._recalls.add(99, "**", 1, network.now)
    peer_receiver.history_fetcher.owed[99] = b.registry._joiners()[0][1]
    peer_receiver.history_fetcher.recounted(99, {f"n{n}": (1, n % 2) for n in range(1000)})
    assert len(b.registry.exchanges()) == 0
    assert len(peer_receiver.positions.positions) == 0


# ----------------------------------------------------------------- of several publishers


def two_that_keep(network: Network) -> tuple[Node, Node, Node]:
    """Return two publishers that have sent, the second later, and somebody who listens."""
    a, b = (network.node(name, registry=keeping("x")) for name in "ab")
    c = network.node("c")
    network.settle()
    for node, number in ((a, 1), (b, 2), (a, 3), (b, 4)):
        send(node, "x", number)
        network.advance(0.01)
    network.settle()
    return a, b, c


@pytest.mark.parametrize(("history", "expected"), [(1, [4]), (3, [2, 3, 4]), (9, [1, 2, 3, 4])])
def test_the_newest_of_all_in_the_order_of_sending(
    network: Network, history: int, expected: list[object]
) -> None:
    """By an exchange or a pattern, and for who is one of the publishers as for another."""
    a, b, c = two_that_keep(network)
    for node in (a, b, c):
        node.registry.get("x").attach(one := Task(), history=history)
        node.registry.match("*").attach(other := Task(), history=history)
        network.settle()
        assert one.got == other.got == expected


def test_who_does_not_answer_is_waited_for_no_longer_than_that(network: Network) -> None:
    """`recovery_timeout` is five seconds; when it is back it adds what is newer."""
    a, b, c = two_that_keep(network)
    network.stop(b)
    c.registry.get("x").attach(task := Task(), history=9)
    network.advance(3)
    send(a, "x", 5)
    assert task.got == []
    network.until(lambda: task.got != [], 5)
    assert task.got == [1, 3, 5]
    c.registry.get("x").attach(later := Task(), history=9)
    network.resume(b)
    network.settle()
    send(b, "x", 6)
    network.settle()
    assert task.got == [1, 3, 5, 6]
    assert later.got == [1, 2, 3, 4, 5, 6]


def test_what_waits_for_the_history_of_others_is_not_acknowledged(network: Network) -> None:
    """`flush` returns when the joiner has been given it, though its own history was there."""
    a, b, c = two_that_keep(network)
    network.stop(b)
    c.registry.get("x").attach(late := Task(), history=9)
    network.advance(1)
    send(a, "x", *range(10, 20))
    a.flush(20)
    assert late.got == [1, 3, *range(10, 20)]


def test_a_joiner_that_was_there_first_gets_the_newest_of_those_that_are_met(
    network: Network,
) -> None:
    """Not the last of each, in whatever order they answer."""
    two_that_keep(network)
    registry = Registry()
    registry.get("x").attach(task := Task(), history=1)
    network.node("d", registry=registry)
    network.settle()
    assert task.got == [4]


@pytest.mark.parametrize("seed", range(3))
def test_publishers_that_go_on_sending_do_not_hide_each_other_s_history(seed: int) -> None:
    """A task attached before its node joins gets all that two publishers keep, and all after it.

    Live messages that wait for the history are not given yet, so none counts as out of order.
    """
    with Network(seed=seed) as network:
        publishers = [network.node(label, retain={"x": 100}) for label in ("a", "b")]
        network.settle()
        sent, got, registry = list[tuple[int, int]](), list[tuple[int, int]](), Registry()

        def send(number: int) -> None:
            for which, publisher in enumerate(publishers):
                publisher.registry.get("x").send((which, number))
                sent.append((which, number))

        for number in range(20):
            send(number)
            network.advance(0.05)
        registry.get("x").attach(to_call(got.append), history=100)
        network.node("late", registry=registry)
        for number in range(20, 40):
            send(number)
            network.advance(0.02)
        network.settle()
        assert sorted(got) == sorted(sent)
        for which in (0, 1):
            assert [n for w, n in got if w == which] == list(range(40))
