"""Two to four nodes as machines, under any interleaving of what can go wrong."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule
from interleaved import REPEATABLE, Interleaved
from machines import Machine
from network import Network
from strategies import KEYS, NAMES

from tests.support import examples

SHAPES = {
    "rendezvous": lambda i: (f"ipc://n{i}", ()),
    "all static": lambda i: (f"tcp://n{i}", tuple(f"tcp://n{j}" for j in range(i))),
    "chain": lambda i: (f"tcp://n{i}", (f"tcp://n{i - 1}",) if i else ()),
    "star": lambda i: (f"tcp://n{i}", ("tcp://n0",)),
    "alias": lambda i: (f"tcp://n{i}", ("tcp://n0", "tcp://also-n0")),
}


class Federation(Interleaved):
    """What may happen to a federation, one thing after the other."""

    @initialize(
        shape=st.sampled_from(sorted(SHAPES)),
        count=st.integers(2, 4),
        keys=st.lists(st.sets(st.sampled_from(KEYS), min_size=1), min_size=4, max_size=4),
        joined=st.sampled_from([True, True, False]),
    )
    def begin(self, shape: str, count: int, keys: list[set[str]], joined: bool) -> None:
        self.network = Network()
        self.shape = shape
        for i in range(count):
            self.start(i)
            self.network.machines[-1].attach(*sorted(keys[i]))
        if joined:
            self.network.pass_time(3.0)

    def start(self, index: int) -> None:
        machine = Machine(self.network, *SHAPES[self.shape](index))
        if self.shape == "alias" and index == 0:
            self.network.bound["tcp://also-n0"] = machine

    def pair(self, one: int, other: int) -> tuple[Machine, Machine] | None:
        a, b = self.machine(one), self.machine(other)
        return None if a is b else (a, b)

    @rule(at=st.integers(0, 50), arrived=st.integers(0, 3))
    def cut(self, at: int, arrived: int) -> None:
        connections = self.network.alive_connections()
        if connections:
            connections[at % len(connections)].cut(arrived)

    @rule(index=st.integers(0, 3), name=st.sampled_from(NAMES))
    def lose_what_is_sent(self, index: int, name: str) -> None:
        """A message is under way when connections to its receivers are cut."""
        self.machine(index).send(name)
        for lane in [lane for lane in self.network.full() if lane.kind == "data"]:
            for connection in list(self.network.alive_connections()):
                if connection.down is lane:
                    connection.cut()

    @rule(index=st.integers(0, 3), keys=st.sets(st.sampled_from(KEYS), min_size=1, max_size=2))
    def lose_a_promise(self, index: int, keys: set[str]) -> None:
        """New keys are promised; what says so is lost together with what is sent then."""
        machine, network = self.machine(index), self.network
        machine.detach(*sorted(keys))
        machine.attach(*sorted(keys))
        while lanes := [lane for lane in network.full() if lane.kind != "data"]:
            lanes[0].deliver()
        for other in network.living():
            for name in NAMES if other is not machine else ():
                other.send(name)
        for connection in list(network.alive_connections()):
            if connection.dialler is machine and connection.down.kind == "data":
                connection.cut()

    @rule(index=st.integers(0, 3), data=st.data())
    def want_again_unheard(self, index: int, data: st.DataObject) -> None:
        """A key is dropped and wanted again, and both times nobody hears of it."""
        machine = self.machine(index)
        if machine.attached:
            key = data.draw(st.sampled_from(sorted(machine.attached)))
            machine.detach(key)
            machine.attach(key)
            for connection in self.network.alive_connections():
                if connection.dialler is machine and connection.up.kind == "control":
                    connection.up.queue.clear()

    @rule(at=st.integers(0, 50))
    def lose_control(self, at: int) -> None:
        lanes = [lane for lane in self.network.full() if lane.kind in ("control", "answers")]
        if lanes:
            lanes[at % len(lanes)].queue.popleft()

    @rule(at=st.integers(0, 50))
    def repeat(self, at: int) -> None:
        lanes = [lane for lane in self.network.full() if lane.kind != "subscriptions"]
        if lanes:
            queue = lanes[at % len(lanes)].queue
            queue.append(queue[0])

    @rule(
        index=st.integers(0, 3),
        seconds=st.sampled_from([1.0, 3.0, 35.0]),
        sent=st.lists(st.sampled_from(NAMES), max_size=3),
        dropped=st.none() | st.integers(0, 20),
    )
    def refuse(self, index: int, seconds: float, sent: list[str], dropped: int | None) -> None:
        """A machine lives, and nothing listens where it is said to be: its proxy starts again."""
        machine, network = self.machine(index), self.network
        network.refuse(machine)
        network.pass_time(seconds)
        for other in network.living():
            for name in sent:
                other.send(name)
            if dropped is not None and other.attached:
                keys = sorted(other.attached)
                other.detach(keys[dropped % len(keys)])
        network.refused.discard(machine)

    @precondition(lambda self: len(self.network.living()) > 1)
    @rule(index=st.integers(1, 3), goodbye=st.booleans())
    def end(self, index: int, goodbye: bool) -> None:
        machine = self.machine(index)
        if machine.endpoint != "tcp://n0":  # the seed of the others
            (machine.leave if goodbye else machine.kill)()

    @rule(index=st.integers(0, 3))
    def restart(self, index: int) -> None:
        """A new node comes in the place of an old one: on TCP at the same endpoint."""
        old = self.machine(index)
        old.kill()
        here = [i for i in range(4) if SHAPES[self.shape](i)[0] == old.endpoint]
        self.start(here[0] if here and self.shape != "rendezvous" else len(self.network.machines))

    @rule(one=st.integers(0, 3), other=st.integers(0, 3))
    def block(self, one: int, other: int) -> None:
        if pair := self.pair(one, other):
            self.network.block(*pair)

    @rule()
    def heal(self) -> None:
        self.network.blocked.clear()

    def mend_chain(self) -> None:
        """Whoever knows of another only through a third that died cannot find it."""
        if self.shape == "chain":
            here = {machine.endpoint for machine in self.network.machines}
            for i in range(len(here)):
                if SHAPES["chain"](i)[0] not in self.network.bound:
                    self.start(i)

    def heal_all(self) -> None:
        super().heal_all()
        self.mend_chain()


TestFederation = Federation.TestCase
TestFederation.settings = settings(
    max_examples=examples(150), stateful_step_count=30, deadline=None, derandomize=REPEATABLE
)
