"""Groups in the simulated network: whatever happens, each message is handled, and by one member."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import examples
from zexchange import Delivery, Lost, Node, Registry, Stream, to_call
from zexchange.local import memberships
from zexchange.local.sharing import share
from zexchange.local.sharing.share import Share
from zexchange.net.engine.groups import SUPPLIES_KEPT, SWEEP_EVERY
from zexchange.testing import Network

SENDERS, WORKERS = ("a", "b"), ("c", "d")
TIMES = (0.0, 0.0005, 0.01, 0.1, 1.0, 5.0, 40.0)
ACTIONS = [
    *("send", "send", "send", "send", "attach", "attach", "stream", "read", "read", "detach"),
    *("kill", "join", "leave", "stop", "resume", "cut", "heal", "flicker", "refuse", "accept"),
    *("bad", "good", "wait", "wait", "slow"),
]
steps = st.lists(
    st.tuples(st.sampled_from(ACTIONS), st.integers(0, 3), st.integers(0, 3), st.integers(0, 6)),
    max_size=40,
)


@pytest.fixture(scope="module", autouse=True)
def tasks_get_details() -> Iterator[None]:
    """Have a task that is given names get a `Delivery` instead, which only streams do else."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memberships, "_named", memberships._whole)
        yield


class Books:
    """What was promised to the group, what members were given, and what senders say of it."""

    def __init__(self) -> None:
        self.promised = defaultdict[str, set[int]](set)
        self.handled = defaultdict[tuple[str, int], list[bool]](list)
        self.shares: dict[Share, str] = {}
        self.lost = defaultdict[str, int](int)

    def handle(self, item: Delivery[Any]) -> None:
        """Book one message that a member was given."""
        who, number = item.msg
        self.handled[who, number].append(item.redelivered)

    def check(self, *senders: str) -> None:
        """Compare all of it, for senders that have lived from the beginning to the end."""
        twice = {msg: marks for msg, marks in self.handled.items() if len(marks) > 1}
        # A member that was slow may be the last, and had it first.
        assert not [msg for msg, marks in twice.items() if marks.count(False) > 1], twice
        for who in senders:
            mine = [one for one, name in self.shares.items() if name == who]
            sums = [(one.handled, one.lost, one.owed, one.under_way) for one in mine]
            promised = len(self.promised[who])
            assert sum(handled + lost for handled, lost, _, _ in sums) == promised, (who, sums)
            assert sum(lost for _, lost, _, _ in sums) == self.lost[who]
            missing = {n for n in self.promised[who] if (who, n) not in self.handled}
            assert len(missing) <= self.lost[who], (who, missing)
            assert not any(one.owed or one.under_way for one in mine)


class Process:
    """One process: its node, and the members that it has."""

    def __init__(self, network: Network, books: Books, name: str) -> None:
        self.network = network
        self.books = books
        self.name = name
        self.node: Any = None
        self.stopped = False
        self.sent = 0
        self.made = 0
        self.work = 0.0
        self.members: list[Any] = []

    @property
    def name_now(self) -> str:
        """The name of the node that it has now."""
        return f"{self.name}{self.made}"

    def join(self) -> None:
        """Start, as a new process."""
        if self.node is None:
            self.made += 1
            self.members = []
            self.node = self.network.node(self.name_now, join_timeout=0)
            self.registry = self.node.registry
            self.exchange, self.view = self.registry.get("x"), self.registry.match("x")
            self.node.events.handler(self.note)

    def note(self, event: object) -> None:
        if isinstance(event, Lost) and event.reason.startswith("no member"):
            self.books.lost[self.name] += event.last - event.first + 1

    def end(self, how: Callable[[Node], object]) -> None:
        """End, in whatever way."""
        if self.node is not None:
            self.network.resume(self.node)
            node, self.node, self.stopped = self.node, None, False
            how(node)
            self.members = []

    def send(self, count: int) -> None:
        """Send some messages; note whether the group is owed them, which it is once it exists."""
        for _ in range(count):
            self.sent += 1
            self.exchange.send((self.name, self.sent))
            there = [one for one in self.registry._groups().shares("x") if not one.over]
            if there:
                self.books.shares[there[0]] = self.name
                self.books.promised[self.name].add(self.sent)

    def attach(self) -> None:
        """Have one more task work, which tells what it is given in detail."""

        @to_call
        def task(item: Any) -> None:
            self.books.handle(item)
            if self.work:
                self.network.advance(self.work)

        self.view.attach(task, names=True, group="workers")
        self.members.append(task)

    def stream(self) -> None:
        """Have one more stream in the group."""
        self.members.append(self.exchange.stream(group="workers", details=True))

    def read(self, most: int) -> None:
        """Read some messages of each stream; the last of them is under way until more is asked."""
        for stream in self.members:
            if isinstance(stream, Stream):
                reader = cast("Stream[Any]", stream)
                for _ in range(most):
                    try:
                        self.books.handle(reader.get(0))
                    except TimeoutError:
                        break

    def detach(self) -> None:
        """End the oldest member."""
        if self.members:
            member = self.members.pop(0)
            if not isinstance(member, Stream):
                self.view.detach(member)
            else:
                member.close()


def do(network: Network, there: list[Process], step: tuple[str, int, int, int]) -> None:
    """Do one thing."""
    action, one, two, size = step
    process, other = there[one], there[two]
    node, peer = process.node, other.node
    if action == "wait":
        network.advance(TIMES[size])
    elif action == "bad":
        network.faults(loss=0.2, duplicate=0.1, reorder=0.1, delay=(0, 0.02))
    elif action == "good":
        network.faults()
    elif action == "join":
        process.join()
    elif node is None:
        pass
    elif action in ("kill", "leave"):
        if process.name in WORKERS:
            process.end(network.kill if action == "kill" else lambda node: node.close(1.0))
    elif action in ("refuse", "accept"):
        getattr(network, action)(node)
    elif action in ("stop", "resume"):
        process.stopped = action == "stop"
        getattr(network, action)(node)
    elif action in ("cut", "heal", "flicker"):
        if peer is not None and peer is not node:
            getattr(network, action)(node, peer)
    elif process.stopped:
        pass
    elif action == "send":
        process.send((1, 2, 5, 30, 100, 300, 1000)[size])
    elif action == "slow":
        process.work = (0.0, 0.0, 0.0, 0.001, 0.01, 0.1, 1.0)[size]
    elif action == "read":
        process.read((1, 1, 2, 5, 50, 500, 5000)[size])
    else:
        getattr(process, action)()


def at_rest(network: Network, there: list[Process]) -> None:
    """Have all that was cut heal, everybody work, and wait for the end of it."""
    network.faults()
    for process in there:
        process.join()
        network.resume(process.name_now)
        network.accept(process.name_now)
        process.stopped, process.work = False, 0.0
    for one in there:
        for two in there:
            if one is not two:
                network.heal(one.name_now, two.name_now)
    there[-1].attach()
    for process in there:
        process.read(1 << 30)
        while any(isinstance(member, Stream) for member in process.members):
            process.detach()
    network.settle()


def held(process: Process) -> int:
    """Return how many entries the tables of a process have."""
    roster, groups = process.registry._groups(), process.node._engine.groups
    tables: list[Any] = [here._supplies for here in roster._here.values()]
    tables += [roster.shares(), *groups._sent.values()]
    tables += groups._supplies.values()
    return sum(map(len, tables))


@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 1 << 30), steps)
def test_whatever_happens(seed: int, todo: list[tuple[str, int, int, int]]) -> None:
    """Every message is handled or told lost; twice only if it is marked; the sums add up."""
    with Network(seed) as network:
        books = Books()
        there = [Process(network, books, name) for name in (*SENDERS, *WORKERS)]
        for process in there:
            process.join()
        there[0].attach()
        there[2].attach()
        network.settle()
        for step in todo:
            do(network, there, step)
        at_rest(network, there)
        books.check(*SENDERS)


def pair(network: Network) -> tuple[Process, Process]:
    """Return a process that sends, and one that works."""
    books = Books()
    near, far = Process(network, books, "near"), Process(network, books, "far")
    near.join()
    far.join()
    return near, far


def test_nothing_is_held_of_what_is_over() -> None:
    """Names that were used once leave nothing behind, at either end, while members stay."""
    with Network() as network:
        near, far = pair(network)
        got = list[object]()
        for process in (near, far):
            process.registry.match("**").attach(to_call(got.append), group=process.name)
        network.settle()
        for n in range(200):
            near.registry.get(f"once.{n}").send(n)
        network.settle()
        assert sorted(got) == sorted([*range(200), *range(200)])  # type: ignore[type-var]
        assert held(near) > 400
        assert held(far) >= 200
        network.advance(share.IDLE + SUPPLIES_KEPT + 2 * SWEEP_EVERY)
        assert (held(near), held(far)) == (0, 0)
        near.registry.get("once.1").send("again")
        network.settle()
        assert got[400:] == ["again", "again"]


def test_a_member_that_took_its_sender_for_gone_handles_nothing_twice() -> None:
    """A sender that stood still sends again what the member has in hand; the member knows that."""
    with Network() as network:
        near, far = pair(network)
        far.stream()
        network.settle()
        near.send(2)
        network.settle()
        far.read(1)
        network.stop(near.node)
        network.until(lambda: not far.node.peers)
        network.resume(near.node)
        network.settle()
        network.advance(5)
        far.read(10)
        network.settle()
        far.read(10)
        far.detach()
        near.attach()
        network.settle()
        near.books.check("near")
        assert near.books.handled == {("near", 1): [False], ("near", 2): [False]}


def test_a_sender_waits_for_a_group_that_is_far_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """It lets things happen until there is room."""
    monkeypatch.setattr(share, "OWED_MOST", 50)
    with Network() as network:
        near, far = pair(network)
        far.attach()
        far.work = 0.01
        network.settle()
        before = network.now
        near.send(500)
        assert network.now - before > 2
        network.settle()
        near.books.check("near")


def test_a_stopped_process_handles_nothing() -> None:
    """The thread of its member stands still with it; others do what it has, in the end."""
    with Network() as network:
        near, far = pair(network)
        far.attach()
        network.settle()
        network.stop(far.node)
        near.send(3)
        network.advance(10)
        assert not near.books.handled
        network.resume(far.node)
        network.settle()
        assert len(near.books.handled) == 3
        near.books.check("near")


def test_a_registry_that_lived_before_comes_with_its_members() -> None:
    """Its members work in simulated time, also after its node was killed and it has another."""
    registry, got = Registry(), list[object]()
    registry.get("x").handler(got.append, group="workers")
    with Network() as network:
        far = network.node("far", registry=registry)
        near = network.node("near")
        network.settle()
        near.registry.get("x").send(1)
        network.settle()
        network.kill(far)
        network.node("again", registry=registry)
        network.settle()
        near.registry.get("x").send(2)
        registry.get("x").send(3)
        network.settle()
        assert sorted(got) == [1, 2, 3]  # type: ignore[type-var]
