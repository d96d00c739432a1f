"""Processes in several federations, under any interleaving of what can go wrong between them.

All of them are in one federation from the beginning to the end, in which links are cut, too;
others are joined and left. In the end all heals, and each has had all that was sent: once, in
the order of its sender. Only what was sent before a process had heard anything of an exchange may
be lost, and is told so: where the federation that has promised it was cut just then.
"""

from collections import Counter
from collections.abc import Iterable
from itertools import combinations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import examples
from zexchange import Lost, Node, Registry
from zexchange.local import registry
from zexchange.net.engine import memory
from zexchange.protocol.delivery.merging import LATE
from zexchange.testing import Network

FEDERATIONS = ("f0", "f1", "f2")
NAMES = ("x", "y")
TIMES = (0.0, 0.01, 0.05, 0.3, 1.0, 4.0, 8.0)
CUT_FOR = 20.0
"""Seconds after which all that is cut heals: of who is away for longer, and is alone in wanting an
exchange, it is taken to want it no more."""
index = st.integers(0, 2)
steps = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "send",
                "send",
                "send",
                "send",
                "cut",
                "cut",
                "heal",
                "flicker",
                "join",
                "join",
                "leave",
                "wait",
                "wait",
                "faults",
                "good",
                "other",
                "stop",
            ]
        ),
        index,
        index,
        st.integers(0, 6),
    ),
    max_size=60,
)


class Member:
    """One process: what it has sent, and what came to it."""

    def __init__(self, network: Network, name: str) -> None:
        self.network = network
        self.name = name
        self.registry = Registry()
        self.nodes: dict[str, Node] = {}
        self.sent: dict[str, int] = dict.fromkeys(NAMES, 0)
        self.stream = self.registry.match("**").stream(10**6, details=True)
        self.got: dict[tuple[str, str], list[int]] = {}
        self.lost: set[tuple[str, int]] = set()
        self.missed: list[tuple[str, int]] = []
        self.others: list[object] = []
        self.made = 0
        self.joined = 0
        self.cut_at = float("inf")

    def join(self, federation: str) -> None:
        """Join a federation, or leave it and join it again."""
        self.leave(federation)
        self.joined += 1
        self.nodes[federation] = self.network.node(
            f"{self.name}{self.joined} in {federation}",
            federation,
            registry=self.registry,
            join_timeout=0,
            recovery_timeout=100.0,
        )

    def leave(self, federation: str) -> None:
        """Leave a federation."""
        node = self.nodes.pop(federation, None)
        if node is not None:
            node.close(1.0)

    def send(self, name: str, count: int) -> None:
        """Send some messages, on an exchange of its own that is not in use in between."""
        for _ in range(count):
            self.sent[name] += 1
            self.registry.get(f"{name}.{self.name}").send((self.name, self.sent[name]))
        self.made += 1
        self.registry.get(f"made.{self.made}")  # others are looked at whenever one is made

    def read(self) -> None:
        """Take what has come."""
        while len(self.stream):
            item = self.stream.get(0)
            if isinstance(item, Lost):
                assert item.reason == LATE
                self.lost |= {(item.exchange, n) for n in range(item.first, item.last + 1)}
            elif item.origin:
                who, number = item.msg  # type: ignore[union-attr]
                numbers = self.got.setdefault((who, item.name), [0])  # type: ignore[union-attr]
                assert number > numbers[-1], (self.name, who, item, numbers[-3:])
                begins = len(numbers) == 1 or memory.REMEMBERED == 0
                assert number == numbers[-1] + 1 or begins, (item, numbers[-3:])
                self.missed += [(item.name, n) for n in range(numbers[-1] + 1, number)]  # type: ignore[union-attr]
                numbers.append(number)


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have nodes forget each exchange that is not in use, as soon as they may."""
    monkeypatch.setattr(memory, "REMEMBERED", 0)
    monkeypatch.setattr(memory, "IN_VAIN", 0.0)
    monkeypatch.setattr(registry, "AWAKE", 0)


@settings(max_examples=examples(60))
@given(st.integers(0, 1 << 32), steps)
def test_each_once_in_order(seed: int, steps: Iterable[tuple[str, int, int, int]]) -> None:
    """With rings that keep all of it, and time to ask for it."""
    run(seed, steps)


@pytest.mark.usefixtures("forgetful")
@settings(max_examples=examples(60), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 1 << 32), steps)
def test_each_once_in_order_though_it_is_forgotten(
    seed: int, steps: Iterable[tuple[str, int, int, int]]
) -> None:
    """Whatever is not in use; what is sent on it later begins anew."""
    run(seed, steps)


def run(seed: int, steps: Iterable[tuple[str, int, int, int]]) -> None:
    """Have all steps happen, and see that each process has had all."""
    with Network(seed) as network:
        members = [Member(network, name) for name in "abc"]
        for member in members:
            member.join("f0")
        network.settle()
        for what, one, other, much in steps:
            take(network, members, what, one, other, much)
            for member in members:
                member.read()
        end(network, members)


def take(
    network: Network, members: list[Member], what: str, one: int, other: int, much: int
) -> None:
    """Have one thing happen."""
    member, peer = members[one], members[other]
    federation = FEDERATIONS[much % 3]
    pair = [m.nodes.get(federation) for m in (member, peer)]
    if what == "send":
        member.send(NAMES[other % 2], (1, 2, 5, 30)[much % 4])
    elif what == "wait":
        if network.now + TIMES[much] > min(m.cut_at for m in members) + CUT_FOR:
            heal(network, members)
        network.advance(TIMES[much])
    elif what == "faults":
        network.faults(loss=0.1 * one, delay=(0.0, 0.1 * other), duplicate=0.1, reorder=0.1)
    elif what == "good":
        network.faults()
    elif what == "other":
        task = member.registry.match("x.*" if much % 2 else "**").stream(1000)
        if member.others and one == other:
            member.others.pop().close()  # type: ignore[attr-defined]
        member.others.append(task)
    elif what == "join" and federation != "f0":
        member.join(federation)
    elif what == "leave" and federation != "f0":
        member.leave(federation)
    elif what == "stop" and federation in member.nodes:
        network.stop(member.nodes[federation])
        network.advance(TIMES[much % 5])
        network.resume(member.nodes[federation])
    elif what in ("cut", "heal", "flicker") and member is not peer and all(pair):
        getattr(network, what)(*pair)
        if what == "cut":
            member.cut_at = min(member.cut_at, network.now)


def end(network: Network, members: list[Member]) -> None:
    """Let all heal, and see that all have had all."""
    network.faults()
    heal(network, members)
    network.settle()
    for member in members:
        member.read()
        if memory.REMEMBERED == 0:  # numbers are places, and these have gaps of their own
            lost, missed = (Counter(n for n, _ in x) for x in (member.lost, member.missed))
            assert lost == missed
        else:
            assert member.lost >= set(member.missed)
        for other in members:
            for name in NAMES:
                numbers = member.got.get((other.name, f"{name}.{other.name}"), [0])
                assert other is member or numbers[-1] == other.sent[name], (member.name, name)


def heal(network: Network, members: list[Member]) -> None:
    """Let all heal that is cut."""
    for one, other in combinations(members, 2):
        for federation in FEDERATIONS:
            if federation in one.nodes and federation in other.nodes:
                network.heal(one.nodes[federation], other.nodes[federation])
    for member in members:
        member.cut_at = float("inf")
