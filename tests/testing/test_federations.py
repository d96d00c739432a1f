"""Several federations of the same processes: each message once, in order, whatever breaks."""

from collections.abc import Iterator

import pytest

from zexchange import Delivery, Lost, Node, Registry
from zexchange.testing import Network


@pytest.fixture
def network() -> Iterator[Network]:
    """Return a network."""
    with Network(7) as network:
        yield network


class Process:
    """One process, in some federations: a registry, and a node in each of them."""

    def __init__(self, network: Network, name: str, *federations: str, **arguments: object) -> None:
        self.network = network
        self.name = name
        self.registry = Registry()
        self.nodes: dict[str, Node] = {}
        self.items: list[Delivery | Lost] = []
        for federation in federations:
            self.join(federation, **arguments)

    def join(self, federation: str, **arguments: object) -> Node:
        """Join one more."""
        node = self.network.node(
            f"{self.name} in {federation}",
            federation,
            registry=self.registry,
            **arguments,  # type: ignore[arg-type]
        )
        self.nodes[federation] = node
        return node

    def listen(self, key: str = "x", history: int = 0) -> None:
        """Take note of what comes."""
        audience = self.registry.match(key) if "*" in key else self.registry.get(key)
        stream = audience.stream(10**6, details=True, history=history)
        self.stream = stream

    @property
    def got(self) -> list[object]:
        """What has come so far; a loss as the numbers that are missing."""
        while len(self.stream):
            self.items.append(self.stream.get(0))  # type: ignore[arg-type]
        return [
            item.msg if isinstance(item, Delivery) else ("lost", item.first, item.last)
            for item in self.items
        ]

    def send(self, *messages: object, name: str = "x") -> None:
        """Send messages."""
        for message in messages:
            self.registry.get(name).send(message)

    def cut(self, other: "Process", *federations: str) -> None:
        """Cut what connects two processes in some federations."""
        for federation in federations:
            self.network.cut(self.nodes[federation], other.nodes[federation])

    def heal(self, other: "Process", *federations: str) -> None:
        """Undo `cut`."""
        for federation in federations:
            self.network.heal(self.nodes[federation], other.nodes[federation])


def two(network: Network, *federations: str) -> tuple[Process, Process]:
    """Return a process that sends, and one that listens, in the same federations."""
    p, q = Process(network, "p", *federations), Process(network, "q", *federations)
    q.listen()
    network.settle()
    return p, q


def test_each_message_comes_once(network: Network) -> None:
    """With its number, and of one sender."""
    p, q = two(network, "f1", "f2", "f3")
    p.send(*range(100))
    network.settle()
    assert q.got == list(range(100))
    assert [item.seq for item in q.items if isinstance(item, Delivery)] == list(range(1, 101))
    assert len({item.origin for item in q.items}) == 1


@pytest.mark.parametrize("broken", ["f1", "f2"])
def test_the_other_federation_goes_on(network: Network, broken: str) -> None:
    """Each is cut in turn, while messages are sent, and heals again: no message is missed."""
    p, q = two(network, "f1", "f2")
    p.send(*range(10))
    p.cut(q, broken)
    p.send(*range(10, 20))
    network.advance(0.1)
    assert q.got == list(range(20))
    for number in range(20, 60):
        p.send(number)
        network.advance(1.0)
    assert q.got == list(range(60))
    p.heal(q, broken)
    network.settle()
    other = "f1" if broken == "f2" else "f2"
    p.cut(q, other)
    p.send(*range(60, 70))
    network.advance(1.0)
    assert q.got == list(range(70))
    p.heal(q, other)
    network.settle()
    assert q.got == list(range(70))


def test_both_break_and_come_back(network: Network) -> None:
    """After a while in which nothing passed; what was sent meanwhile comes by one of them."""
    p, q = two(network, "f1", "f2")
    p.send(*range(10))
    network.settle()
    p.cut(q, "f1", "f2")
    p.send(*range(10, 20))
    network.advance(60.0)
    p.heal(q, "f2", "f1")
    network.settle()
    p.send(*range(20, 30))
    network.settle()
    assert q.got == list(range(30))


def test_a_bad_wire(network: Network) -> None:
    """Frames that are lost, late, doubled and overtaken, in both federations."""
    p, q = two(network, "f1", "f2")
    network.faults(loss=0.2, delay=(0.0, 0.3), duplicate=0.1, reorder=0.1)
    for number in range(300):
        p.send(number)
        network.advance(0.01)
    network.faults()
    network.settle()
    assert q.got == list(range(300))


@pytest.mark.parametrize("first", ["f1", "f2"])
def test_a_federation_that_is_joined_later(network: Network, first: str) -> None:
    """In either process first, while messages are on their way; and is left again."""
    second = "f2" if first == "f1" else "f1"
    p, q = two(network, first)
    p.send(*range(10))
    for one, other in ((p, q), (q, p)):
        one.join(second, join_timeout=0)
        p.send(len(q.got))
        network.advance(0.5)
        del other
    sent = [*range(10), *q.got[10:]]
    for number in range(100, 120):
        p.send(number)
        network.advance(0.05)
    network.settle()
    assert q.got == [*sent, *range(100, 120)]
    p.nodes[first].close()
    p.send(*range(120, 130))
    network.settle()
    q.nodes[first].close()
    p.send(*range(130, 140))
    network.settle()
    assert q.got == [*sent, *range(100, 140)]


def test_three_processes(network: Network) -> None:
    """Of which two share both federations, and the third is in one of them."""
    a = Process(network, "a", "f1", "f2")
    b = Process(network, "b", "f1", "f2")
    c = Process(network, "c", "f2")
    for process in (a, b, c):
        process.listen()
    network.settle()
    for number in range(20):
        a.send(("a", number))
        b.send(("b", number))
        c.send(("c", number))
        network.advance(0.01)
    network.settle()
    everything = {(who, n) for who in "abc" for n in range(20)}
    for process in (a, b, c):
        assert len(process.got) == 60
        assert set(process.got) == everything
        for who in "abc":
            assert [m for m in process.got if m[0] == who] == [  # type: ignore[index]
                (who, n) for n in range(20)
            ]


def test_federations_that_carry_other_exchanges(network: Network) -> None:
    """What one of them does not carry comes by the other, without delay."""
    p, q = Process(network, "p"), Process(network, "q")
    for process in (p, q):
        process.join("f1", exchanges=("a.**", "both"))
        process.join("f2", exchanges=("b.**", "both"))
    q.listen("**")
    network.settle()
    for number in range(5):
        for name in ("a.x", "b.x", "both"):
            p.send((name, number), name=name)
    network.advance(0.1)
    assert sorted(q.got) == sorted(  # type: ignore[type-var]
        (name, n) for name in ("a.x", "b.x", "both") for n in range(5)
    )


def test_only_the_sender_keeps_an_exchange_back(network: Network) -> None:
    """It says what it carries, so that nobody waits for the rest by that way."""
    p, q = Process(network, "p"), Process(network, "q", "f1", "f2")
    p.join("f1", exchanges="a.**")
    p.join("f2")
    q.listen("**")
    network.settle()
    p.send(1, 2, name="b.x")
    network.settle()
    q.listen("b.x")
    network.settle()
    p.send(3, 4, name="b.x")
    network.advance(0.1)
    assert q.got == [3, 4]


def test_a_ready_that_comes_late(network: Network) -> None:
    """What one federation has promised before the other one was ready, comes."""
    p, q = Process(network, "p", "f1", "f2"), Process(network, "q", "f1", "f2")
    network.settle()
    p.send(0)
    network.faults(delay=(0.05, 0.3))
    q.listen()
    p.nodes["f1"].wait_subscribers("x", 1)
    for number in range(1, 40):
        p.send(number)
        network.advance(0.02)
    network.faults()
    network.settle()
    assert q.got[-39:] == list(range(1, 40))
    assert len(set(map(str, q.got))) == len(q.got)


def test_a_subscription_that_comes_again(network: Network) -> None:
    """Dropped and wanted anew: what was sent in between is for nobody, and nothing is lost."""
    p, q = two(network, "f1", "f2")
    p.send(1, 2)
    network.settle()
    assert q.got == [1, 2]
    q.stream.close()
    network.settle()
    p.send(3, 4)
    network.settle()
    q.listen()
    network.settle()
    p.send(5, 6)
    network.settle()
    assert q.got == [1, 2, 5, 6]


@pytest.mark.parametrize("later", [("f1", "f2"), ("f2", "f1"), ("f2",)])
def test_history_comes_once(network: Network, later: tuple[str, ...]) -> None:
    """Whichever federation is joined first, and if the sender joins another one only now."""
    p = Process(network, "p")
    p.registry.retain("x", 10)
    p.send(0, 1)
    p.join("f1")
    p.send(2, 3)
    network.settle()
    p.join("f2")
    network.settle()
    p.send(4, 5)
    q = Process(network, "q", *later)
    q.listen(history=10)
    p.send(6)
    network.settle()
    p.send(7)
    network.settle()
    assert q.got == list(range(8))


def test_history_goes_on_by_the_other_federation(network: Network) -> None:
    """Where the one that was asked for it leaves."""
    p, q = Process(network, "p"), Process(network, "q", "f1", "f2")
    p.registry.retain("x", 10)
    p.send(0, 1, 2)
    p.join("f1")
    p.join("f2")
    network.settle()
    p.cut(q, "f1")
    q.listen(history=10)
    p.send(3)
    network.advance(60.0)
    p.send(4)
    network.settle()
    assert q.got == [0, 1, 2, 3, 4]


def test_what_neither_can_recover_is_lost_once(network: Network) -> None:
    """Both rings have let go of it while both federations were cut."""
    p = Process(network, "p", "f1", "f2", replay_messages=5)
    q = Process(network, "q", "f1", "f2")
    q.listen()
    network.settle()
    p.send(0)
    network.settle()
    p.cut(q, "f1", "f2")
    p.send(*range(1, 30))
    network.advance(60.0)
    p.heal(q, "f1", "f2")
    network.settle()
    p.send(30)
    network.settle()
    got = q.got
    assert got[0] == 0
    losses = [item for item in q.items if isinstance(item, Lost)]
    lost = [n for item in losses for n in range(item.first, item.last + 1)]
    assert len(lost) == len(set(lost))
    assert {*(m for m in got if isinstance(m, int)), *(n - 1 for n in lost)} == set(range(31))
    assert lost


def test_sums_add_up_in_each_federation(network: Network) -> None:
    """What each has sent has come by it, whichever way it was handed on."""
    p, q = two(network, "f1", "f2")
    network.faults(loss=0.1)
    p.send(*range(200))
    network.settle()
    assert q.got == list(range(200))
    for federation in ("f1", "f2"):
        sent = p.nodes[federation].stats().sent_to["x", q.nodes[federation].id].sent
        (received,) = q.nodes[federation].stats().received.values()
        assert received.received + received.lost == sent
        assert received.lost == 0
    for federation in ("f1", "f2"):
        p.nodes[federation].flush()


def test_a_process_that_starts_again(network: Network) -> None:
    """Is another one: its numbers begin anew, and mean something else."""
    p, q = two(network, "f1", "f2")
    p.send(1, 2)
    network.settle()
    for node in p.nodes.values():
        network.kill(node)
    p = Process(network, "p", "f1", "f2")
    network.settle()
    p.send(3, 4)
    network.settle()
    assert q.got == [1, 2, 3, 4]


def test_a_name_that_is_new_has_nothing_before_it(network: Network) -> None:
    """Whatever nodes have given to others that are there no more."""
    p, q = Process(network, "p", "f1", "f2"), Process(network, "q", "f1", "f2")
    q.listen("**")
    network.settle()
    p.send(*range(5))
    p.nodes["f2"].close()
    network.settle()
    p.send("first", name="y")
    network.settle()
    assert q.got == [*range(5), "first"]


def test_who_meets_one_federation_alone_begins_where_that_began(network: Network) -> None:
    """What was sent in another one before is not for it, and nothing of it is missing."""
    p, q, r = (Process(network, name, of) for name, of in (("p", "f1"), ("q", "f1"), ("r", "f2")))
    q.listen()
    r.listen("**")
    network.settle()
    p.send(*range(5))
    network.settle()
    p.join("f2")
    network.settle()
    for number in range(5, 10):
        p.send(number)
        network.advance(0.1)
    network.settle()
    assert r.got == [*range(5, 10)]
    assert [item.seq for item in r.items if isinstance(item, Delivery)] == [*range(6, 11)]
    (where,) = (p.positions for p in r.nodes["f2"]._engine.inbound._peer_receivers.values())  # type: ignore[union-attr]
    assert where.positions == {"x": 10}


def test_a_name_that_nothing_was_sent_on_begins_alike_in_all(network: Network) -> None:
    """One node had it before another one left, so that what is new would begin higher."""
    p, q = Process(network, "p", "f1", "f2"), Process(network, "q", "f1", "f2")
    q.listen("**")
    network.settle()
    p.registry.get("y")
    p.send(*range(8))
    network.settle()
    p.nodes["f2"].close()
    network.settle()
    p.join("f2")
    network.settle()
    p.send(*"abc", name="y")
    network.settle()
    assert q.got == [*range(8), *"abc"]


def test_an_exchange_that_goes_over_to_another_federation(network: Network) -> None:
    """Its numbers go on there, though the one that has given them so far has ended."""
    p, q = Process(network, "p", "f1"), Process(network, "q", "f1", "f2")
    q.listen()
    network.settle()
    p.send(1, 2)
    network.settle()
    p.join("f2")
    q.nodes["f2"].close()
    network.settle()
    p.nodes["f1"].close()
    network.settle()
    q.join("f2")
    network.settle()
    p.send(3)
    network.settle()
    assert q.got == [1, 2, 3]
    assert [item.seq for item in q.items if isinstance(item, Delivery)] == [1, 2, 3]


def test_exchanges_that_are_made_later(network: Network) -> None:
    """Each name is in order, and each message there once, from the first on."""
    p, q = Process(network, "p", "f1", "f2"), Process(network, "q", "f1", "f2")
    q.listen("**")
    network.settle()
    for number in range(50):
        p.send((number, 1), (number, 2), name=f"n.{number}")
    network.settle()
    assert sorted(q.got) == [(n, k) for n in range(50) for k in (1, 2)]  # type: ignore[type-var]
