"""Tasks that come and go where two processes share two federations of one registry each.

Whatever is cut, stopped or delayed: each task has each message once, in order, or is told that it
is lost, and is told nothing of what was before its time.
"""

from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.faults.ledger import Account
from tests.support import examples
from zexchange import Lost, Node, Registry, Stream
from zexchange.testing import Network

FEDERATIONS = ("f0", "f1")
NAMES = ("x.a", "x.b")
KEYS = ("x.a", "x.b", "x.*", "x.**", "**")
TIMES = (0.0, 0.001, 0.01, 0.3, 1.0, 4.0, 8.0)
steps = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "send",
                "send",
                "send",
                "attach",
                "attach",
                "detach",
                "detach",
                "wait",
                "wait",
                "wait",
                "cut",
                "heal",
                "heal",
                "flicker",
                "stop",
                "faults",
                "good",
            ]
        ),
        st.integers(0, 1),
        st.integers(0, 6),
    ),
    min_size=20,
    max_size=100,
)


class Task:
    """A stream, and its books."""

    def __init__(self, registry: Registry, key: str) -> None:
        source = registry.match(key) if "*" in key else registry.get(key)
        self.stream: Stream[object] = source.stream(10**6, details=True)
        self.accounts: dict[str, Account] = {}

    def read(self) -> None:
        """Book what has come, and see that it is right."""
        while len(self.stream):
            item = self.stream.get(0)
            name = item.exchange if isinstance(item, Lost) else item.name  # type: ignore[union-attr]
            account = self.accounts.setdefault(name, Account())
            if not isinstance(item, Lost):
                account.come("s", item.seq, item.seq)  # type: ignore[union-attr, arg-type]
            elif account.start is None or item.last > account.start:
                account.miss(item.first, item.last)
            wrong = account.silent, account.duplicates, account.disorder
            assert wrong == ([], 0, 0), (item, account)


class World:
    """A sender and a receiver, in two federations each."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.here, self.there = Registry(), Registry()
        self.pairs: list[tuple[Node, Node]] = []
        for federation in FEDERATIONS:
            one, other = (
                network.node(
                    f"{who} in {federation}", federation, registry=registry, join_timeout=0
                )
                for who, registry in (("s", self.there), ("r", self.here))
            )
            self.pairs.append((one, other))
        self.tasks: list[Task] = []

    def take(self, what: str, one: int, much: int) -> None:
        """Have one thing happen."""
        network, pair = self.network, self.pairs[one]
        if what == "send":
            for _ in range((1, 1, 2, 5, 30, 1, 2)[much]):
                self.there.get(NAMES[one]).send("x")
        elif what == "attach":
            self.tasks.append(Task(self.here, KEYS[much % 5]))
        elif what == "detach" and self.tasks:
            task = self.tasks.pop(much % len(self.tasks))
            task.read()
            task.stream.close()
        elif what == "wait":
            network.advance(TIMES[much])
        elif what in ("cut", "heal", "flicker"):
            getattr(network, what)(*pair)
        elif what == "stop":
            self._stop([nodes[one] for nodes in self.pairs], TIMES[much])
        elif what == "faults":
            delay = (0.0, (0.0, 0.05, 0.5)[much % 3])
            network.faults(loss=0.1 * one, delay=delay, duplicate=0.1, reorder=0.1)
        elif what == "good":
            network.faults()

    def _stop(self, process: list[Node], seconds: float) -> None:
        """Stop a process for a while."""
        for node in process:
            self.network.stop(node)
        self.network.advance(seconds)
        for node in process:
            self.network.resume(node)

    def end(self) -> None:
        """Let all heal."""
        self.network.faults()
        for pair in self.pairs:
            self.network.heal(*pair)
        self.network.settle()


@settings(max_examples=examples(60))
@given(st.integers(0, 1 << 32), steps)
def test_each_task_has_all_in_order_or_is_told(
    seed: int, steps: Iterable[tuple[str, int, int]]
) -> None:
    """From the first message on that it has."""
    with Network(seed) as network:
        world = World(network)
        network.settle()
        for step in steps:
            world.take(*step)
            for task in world.tasks:
                task.read()
        world.end()
        for task in world.tasks:
            task.read()
