"""What may happen to any nodes that are machines, one thing after the other; and what must hold.

While it runs, each machine checks what it is given; when faults have ceased and time has
passed, all must see the same federation and account for every message.
"""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule
from machines import Machine, Promise, agreed
from network import Network
from strategies import KEYS, NAMES

from tests.support import PROFILE

SETTLED_AFTER = 120.0
index = st.integers(0, 3)
some_names = st.lists(st.sampled_from(NAMES), max_size=4)


REPEATABLE = PROFILE in ("suite", "again")
"""Whether the same examples are tried each time: what decides about a change asks whether that
broke anything, and the long runs look for what nobody has found yet."""
LONG = [5.0, 5.0, 5.0, 35.0, 35.0, 35.0, 640.0, 700.0]
"""Seconds that may pass at once: also more than receivers remember, and more than senders do."""
STOPPED = [0.5, 0.5, 2.5, 2.5, 5.0, 5.0, 40.0, 40.0, 40.0, 700.0]
"""Seconds for which a node may be stopped: also more than others remember it."""


class Interleaved(RuleBasedStateMachine):
    """What users do, time, and nodes that stop: the same in a mesh and behind a hub."""

    network: Network

    def machine(self, number: int) -> Machine:
        """Return one that lives."""
        living = self.network.living()
        return living[number % len(living)]

    @rule(number=index, names=some_names)
    def send(self, number: int, names: list[str]) -> None:
        for name in names:
            self.machine(number).send(name)

    @rule(number=index, keys=st.sets(st.sampled_from(KEYS), min_size=1, max_size=3))
    def attach(self, number: int, keys: set[str]) -> None:
        self.machine(number).attach(*sorted(keys))

    @rule(number=index, which=st.integers(0, 20), again=st.booleans())
    def detach(self, number: int, which: int, again: bool) -> None:
        machine = self.machine(number)
        if machine.attached:
            key = sorted(machine.attached)[which % len(machine.attached)]
            machine.change([(key, False), (key, True)] if again else [(key, False)])

    @rule(at=st.integers(0, 50), count=st.integers(1, 5))
    def deliver(self, at: int, count: int) -> None:
        for _ in range(count):
            lanes = self.network.full()
            if lanes:
                lanes[at % len(lanes)].deliver()

    @rule()
    def flow(self) -> None:
        self.network.flow()

    @rule(seconds=st.sampled_from([0.5, 1.0, 3.0]), flow=st.booleans())
    def pass_time(self, seconds: float, flow: bool) -> None:
        self.network.pass_time(seconds, flow=flow)

    @rule(seconds=st.sampled_from(LONG))
    def pass_much_time(self, seconds: float) -> None:
        self.network.pass_time(seconds, step=1.0 if seconds > 60 else 0.5)

    @rule(number=index, seconds=st.sampled_from(STOPPED), names=some_names)
    def stop_and_go_on(self, number: int, seconds: float, names: list[str]) -> None:
        machine = self.machine(number)
        machine.running = False
        self.network.pass_time(seconds, step=1.0 if seconds > 60 else 0.5)
        for other in self.network.living():
            for name in names if other is not machine else ():
                other.send(name)
        machine.running = True

    def heal_all(self) -> None:
        """Have all faults cease, in the end."""
        self.network.blocked.clear()
        self.network.refused.clear()

    def teardown(self) -> None:
        network = getattr(self, "network", None)
        if network is None:
            return
        self.heal_all()
        finish(network, *NAMES)


def finish(network: Network, *names: str) -> None:
    """When faults have ceased: send once more, and see that every message is accounted for."""
    settle(network)
    for machine in network.living():
        for name in names:
            machine.send(name)
    network.flow()
    for machine in network.living():
        machine.beacon()
    network.flow()
    check_accounts(network)


def settle(network: Network) -> None:
    """Let time pass without faults until all agree, and see that it stays so."""
    network.flow()
    limit = network.now + SETTLED_AFTER
    while agreed(network) and network.now < limit:
        network.pass_time(1.0)
    assert not (missing := agreed(network)), missing
    network.pass_time(3.0)
    assert not (missing := agreed(network)), missing


def check_accounts(network: Network) -> None:
    """Every message is received once and in order, or counted as lost once."""
    for machine in network.machines:
        for peer_receiver in machine.history:
            for name in NAMES:
                numbers = [n for got, n in peer_receiver.received if got == name]
                assert numbers == sorted(set(numbers))
            assert not peer_receiver.lost & peer_receiver.arrived
    for machine in network.living():
        for promise in machine.promises:
            if promise.receiver.alive and not promise.excused:
                check_kept(promise)
        for peer in machine.session.members.peers.values():
            for name, head in machine.numbering.heads.items():
                if peer.interest.in_force(name):
                    assert peer.acked[name] == head
        for other in network.living():
            check_sums(machine, other)


def check_sums(sender: Machine, receiver: Machine) -> None:
    """What was sent to a node is what has come of it, or is lost; unless it dropped something.

    Where it was told that nobody knows what is missing, no more than that; unless it did not notice
    that it was away, and had what was sent to others meanwhile.
    """
    account, peer_receiver = (
        sender.accounts.get(receiver.id),
        receiver.peer_receivers.get(sender.id),
    )
    if account is None or peer_receiver is None or receiver.dropped:
        return
    came = {name: t.received + t.lost for name, t in peer_receiver.positions.tallies.items()}
    sent = account.counts(sender.numbering)
    assert {n: c for n, c in came.items() if c and n not in peer_receiver.unsure} == {
        n: c for n, c in sent.items() if n not in peer_receiver.unsure
    }
    assert peer_receiver.outlived or all(
        came.get(n, 0) <= sent.get(n, 0) for n in peer_receiver.unsure
    )


def check_kept(promise: Promise) -> None:
    peer_receiver, message = promise.peer_receiver, promise.message
    received = peer_receiver.received.count(message)
    name, number = message
    if any(name == unsure and number in numbers for unsure, numbers in peer_receiver.doubts):
        # Nobody knows, and that is told: it was sent while one was away for too long. What had
        # come, or was told as lost, before that was forgotten is held to account all the same.
        assert received + (message in peer_receiver.lost) <= 1
        return
    if promise.connection is not None and promise.connection is peer_receiver.connection:
        assert received == 1, f"{message} was under way on a connection that was never cut"
    else:
        assert received + (message in peer_receiver.lost) == 1, f"{message} is unaccounted for"
