"""The delivery contract under any interleaving of what can go wrong, in simulated federations.

Several nodes, joined by a wire without sockets, send, attach, detach, are cut off, stopped,
killed and started again; after every step each task must have seen, of every origin and
exchange, each number once and in order, as a message or as part of a loss.
"""

import logging
import time
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.support import PROFILE
from tests.testing.model import KEYS, NAMES, Federation, Member
from zexchange.local import registry
from zexchange.net.engine import memory
from zexchange.protocol.delivery import sequence

STEPS = {"again": 300, "slow": 30_000, "nightly": 500_000}.get(PROFILE, 750)
REMEMBERED = memory.REMEMBERED, registry.AWAKE, sequence.IDLE_MOST
RINGS = (300_000, 600_000, 4_000_000)
"""Bytes kept for replay, so few that what cannot be acknowledged is soon gone."""
SIZES = (0, 0, 300, 3_000, 30_000)
index = st.integers(0, 3)


class Contract(RuleBasedStateMachine):
    """What may happen to a federation, one thing after the other."""

    steps = 0

    @initialize(
        seed=st.integers(0, 1 << 32),
        count=st.integers(2, 4),
        rings=st.lists(st.sampled_from(RINGS), min_size=4, max_size=4),
        keys=st.lists(st.sampled_from(KEYS), min_size=4, max_size=4),
        joined=st.sampled_from([True, True, False]),
        forgetful=st.booleans(),
    )
    def begin(
        self,
        seed: int,
        count: int,
        rings: list[int],
        keys: list[str],
        joined: bool,
        forgetful: bool,
    ) -> None:
        if forgetful:  # as where there are thousands of exchanges
            memory.REMEMBERED, registry.AWAKE, sequence.IDLE_MOST = 0, 1, 1
        self.federation = Federation(seed)
        self.network = self.federation.network
        self.rings = rings
        self.started = 0
        for i in range(count):
            self._start(i).attach(keys[i])
        if joined:
            self.network.settle()

    def _start(self, number: int) -> Member:
        self.started += 1
        return self.federation.start(
            f"n{self.started}",
            replay_bytes=self.rings[number % 4],
            stall=0.5,
            recovery_timeout=3.0,
        )

    def _member(self, number: int) -> Member:
        running = self.federation.running()
        return running[number % len(running)]

    def _pair(self, one: int, other: int) -> tuple[str, str] | None:
        members = self.federation.members
        a, b = members[one % len(members)], members[other % len(members)]
        return None if a is b else (a.name, b.name)

    # -------------------------------------------------------------------------- sending

    @rule(
        number=index,
        name=st.sampled_from(NAMES),
        count=st.sampled_from([1, 1, 2, 5, 30]),
        size=st.sampled_from(SIZES),
        slowly=st.booleans(),
    )
    def send(self, number: int, name: str, count: int, size: int, slowly: bool) -> None:
        member = self._member(number)
        for _ in range(count):
            self.federation.send(member, name, size)
            if slowly or size > 1000:
                self.network.advance(0.0005)

    @rule(number=index, names=st.lists(st.sampled_from(NAMES), min_size=1, max_size=6))
    def send_several(self, number: int, names: list[str]) -> None:
        for name in names:
            self.federation.send(self._member(number), name, 10)

    @rule(number=index, name=st.sampled_from(NAMES))
    def overrun(self, number: int, name: str) -> None:
        """More is sent than the smallest rings keep, as fast as it may be sent."""
        for _ in range(25):
            self.federation.send(self._member(number), name, 30_000)
            self.network.advance(0.0004)

    @rule(number=index, name=st.sampled_from(NAMES), other=st.sampled_from(NAMES))
    def overrun_what_is_lost(self, number: int, name: str, other: str) -> None:
        """What is lost on the way must be kept, whatever is sent behind it."""
        self.lose_what_is_sent(number, name, 1)
        self.overrun(number, other)

    @rule(
        number=index,
        name=st.sampled_from(NAMES),
        other=st.sampled_from(NAMES),
        size=st.sampled_from(SIZES),
    )
    def answer(self, number: int, name: str, other: str, size: int) -> None:
        """Send from a task that is given remote messages, where nobody may wait."""
        self._member(number).answer(name, other, 3, size)

    @rule(number=index, timeout=st.sampled_from([0.1, 3.0]))
    def flush(self, number: int, timeout: float) -> None:
        self.federation.flush(self._member(number), timeout)

    # ------------------------------------------------------------------------ attaching

    @rule(number=index, key=st.sampled_from(KEYS))
    def attach(self, number: int, key: str) -> None:
        self._member(number).attach(key)

    @rule(number=index, which=index)
    def detach(self, number: int, which: int) -> None:
        member = self._member(number)
        if member.listeners:
            member.detach(member.listeners[which % len(member.listeners)])

    @rule(number=index, which=index, key=st.sampled_from(KEYS))
    def exchange(self, number: int, which: int, key: str) -> None:
        """Detach, and attach to something else, or to the same, without a pause."""
        member = self._member(number)
        if member.listeners:
            member.detach(member.listeners[which % len(member.listeners)])
        member.attach(key)

    # ----------------------------------------------------------------------------- time

    @rule(seconds=st.sampled_from([0.0001, 0.001, 0.01, 0.1, 0.5]))
    def wait(self, seconds: float) -> None:
        self.network.advance(seconds)

    @rule(seconds=st.sampled_from([1.0, 2.0, 5.0]))
    def wait_long(self, seconds: float) -> None:
        self.network.advance(seconds)

    @precondition(lambda self: self.federation.parted or len(self.federation.running()) < 2)
    @rule()
    def wait_until_others_have_left(self) -> None:
        self.network.advance(35)

    # --------------------------------------------------------------------------- faults

    @rule(one=index, other=index)
    def cut(self, one: int, other: int) -> None:
        pair = self._pair(one, other)
        if pair:
            self.network.cut(*pair)
            self.federation.parted.add(frozenset(pair))

    @precondition(lambda self: self.federation.parted)
    @rule(which=index)
    def heal(self, which: int) -> None:
        parted = sorted(self.federation.parted, key=sorted)
        pair = parted[which % len(parted)]
        self.network.heal(*pair)
        self.federation.parted.discard(pair)

    @rule(number=index)
    def refuse(self, number: int) -> None:
        """What leads to a node ends, and it lives: others take it for gone after 1.5 s."""
        self.federation.refuse(self._member(number).name)

    @rule(number=index, name=st.sampled_from(NAMES), key=st.sampled_from(KEYS))
    def take_for_gone(self, number: int, name: str, key: str) -> None:
        """A node is gone for others; all send, one attaches or detaches, and it is back."""
        gone, federation = self._member(number), self.federation
        federation.refuse(gone.name)
        self.network.advance(2.5)
        for member in federation.running():
            federation.send(member, name, 10)
        some = self._member(number + 1)
        if some.listeners:
            some.detach(some.listeners[0])
        some.attach(key)
        self.network.advance(0.1)
        federation.accept(gone.name)

    @precondition(lambda self: self.federation.refused)
    @rule(which=index)
    def accept(self, which: int) -> None:
        refused = sorted(self.federation.refused)
        self.federation.accept(refused[which % len(refused)])

    @rule(one=index, other=index)
    def flicker(self, one: int, other: int) -> None:
        pair = self._pair(one, other)
        if pair:
            self.network.flicker(*pair)
            self.federation.disturb(*pair)

    @rule(number=index, name=st.sampled_from(NAMES), count=st.sampled_from([1, 5]))
    def lose_what_is_sent(self, number: int, name: str, count: int) -> None:
        """Messages are under way when every connection of their sender is cut."""
        member = self._member(number)
        for _ in range(count):
            self.federation.send(member, name, 10)
        for other in self.federation.members:
            if other is not member:
                self.network.flicker(member.name, other.name)
                self.federation.disturb(member.name, other.name)

    @rule(
        loss=st.sampled_from([0.0, 0.02, 0.2]),
        late=st.sampled_from([0.0, 0.001, 0.05]),
        duplicate=st.sampled_from([0.0, 0.1]),
        reorder=st.sampled_from([0.0, 0.2]),
    )
    def faults(self, loss: float, late: float, duplicate: float, reorder: float) -> None:
        self.federation.faults(loss=loss, delay=(0.0, late), duplicate=duplicate, reorder=reorder)

    @precondition(lambda self: len(self.federation.running()) > 1)
    @rule(number=index)
    def stop(self, number: int) -> None:
        member = self._member(number)
        self.network.stop(member.node)
        member.stopped = True

    @precondition(lambda self: len(self.federation.running()) < len(self.federation.members))
    @rule(which=index)
    def resume(self, which: int) -> None:
        stopped = [member for member in self.federation.members if member.stopped]
        member = stopped[which % len(stopped)]
        self.network.resume(member.node)
        member.stopped = False

    @precondition(lambda self: len(self.federation.running()) > 1)
    @rule(number=index, kill=st.booleans(), again=st.booleans(), key=st.sampled_from(KEYS))
    def restart(self, number: int, kill: bool, again: bool, key: str) -> None:
        member = self._member(number)
        self.federation.remove(member, kill)
        for pair in [pair for pair in self.federation.parted if member.name in pair]:
            self.federation.parted.discard(pair)
        if again:
            self._start(number).attach(key)

    @precondition(lambda self: len(self.federation.members) < 4)
    @rule(number=index, key=st.sampled_from(KEYS))
    def join(self, number: int, key: str) -> None:
        self._start(number).attach(key)

    @rule()
    def calm(self) -> None:
        self.federation.calm()

    # ------------------------------------------------------------------------- checking

    @invariant()
    def nothing_is_wrong(self) -> None:
        if hasattr(self, "federation"):
            Contract.steps += 1
            self.federation.check()

    def teardown(self) -> None:
        try:
            self._end()
        finally:
            memory.REMEMBERED, registry.AWAKE, sequence.IDLE_MOST = REMEMBERED

    def _end(self) -> None:
        if not hasattr(self, "federation"):
            return
        self.federation.calm()
        for member in self.federation.members:
            for name in NAMES:
                self.federation.send(member, name, 10)
        self.federation.calm()
        self.network.close()


@pytest.fixture
def quiet() -> Iterator[None]:
    """Losses that nobody listens to are logged: not a million times."""
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.timeout(600 if STEPS < 5000 else 0)
def test_the_contract_holds(quiet: None, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever happens, each message is received once and in order, or is reported as lost."""
    Contract.steps, started = 0, time.monotonic()
    bounds = settings(
        max_examples=200 if PROFILE == "nightly" else 10,
        stateful_step_count=50,
        report_multiple_bugs=False,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[phase for phase in Phase if phase is not Phase.explain],
    )
    while Contract.steps < STEPS:
        run_state_machine_as_test(Contract, settings=bounds)
    took = time.monotonic() - started
    with capsys.disabled():
        print(f"\n{Contract.steps} steps in {took:.0f} s, {Contract.steps / took:.0f} a second")
