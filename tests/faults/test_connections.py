"""TCP connections that are cut, held, slowed down, or shut in one direction, under load.

One sender is behind relays for one of two receivers; the other receiver, and a second
sender, are on the same host and notice nothing.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from tests.relay import Relay

from .conftest import Behind
from .laboratory import BULKY, Lab

pytestmark = [pytest.mark.sockets, pytest.mark.leaves_files]
MIB = 1 << 20
Harm = Callable[[], None]


def bench(lab: Lab, behind: Behind, **federate: Any) -> list[Relay]:
    """Have sender ``a`` reach receiver ``far`` through relays: control, data, way back.

    Sender ``b`` reaches it directly, and receiver ``near`` has nothing between.
    """
    relays, listen = behind()
    back, answers = behind()
    lab.sender("a", 2, **listen, **federate)
    lab.sender("b", 2, listen="tcp://127.0.0.1:0")
    lab.receiver("near")
    dial = [f"tcp://127.0.0.1:{relays[0].port}"]
    lab.receiver("far", local=False, peers=dial, **answers)
    lab.ready()
    bent = [*relays, back[0]]
    assert all(relay.connections for relay in bent)
    return bent


def under_load(lab: Lab, total: int) -> None:
    """Have both senders send so much more, and return somewhere in the midst of it."""
    begun = lab.senders[0].sent
    at = begun + lab.chance.randint(1, total // 2)
    lab.start(at, begun + total)
    lab.at(at)


def some(lab: Lab, relays: list[Relay]) -> list[Relay]:
    """Return one or more of the relays."""
    return lab.chance.sample(relays, lab.chance.randint(1, len(relays)))


@pytest.mark.slow
def test_connections_are_cut(lab: Lab, behind: Behind) -> None:
    """TCP connections for control, data or both are reset, several times."""
    relays = bench(lab, behind, stall=60)
    for _ in range(4 if lab.full else 2):
        total = lab.size(12_000, 60_000)
        under_load(lab, total)
        for _ in range(lab.chance.randint(1, 3)):
            for relay in some(lab, relays):
                relay.cut()
            time.sleep(lab.chance.uniform(0, 0.2))
        lab.healed()
        lab.at(lab.senders[0].sent)
    lab.settle()


@pytest.mark.slow
def test_connections_are_cut_and_refused(lab: Lab, behind: Behind) -> None:
    """Connections are reset, and new ones refused for a while, until the ring is overrun."""
    relays = bench(lab, behind, stall=1.5, replay_bytes=8 * MIB, sizes=(2_000, 8_000))
    lab.may_lose = {("far", "a")}
    under_load(lab, lab.size(12_000, 60_000))
    relays[1].refuse()
    if lab.chance.random() < 0.3:
        relays[2].refuse()
    lab.at(lab.senders[0].sent)
    time.sleep(lab.chance.uniform(0, 4 if lab.full else 0.5))
    for relay in relays:
        relay.refuse(False)
    lab.healed()
    assert lab.settle().lost


@pytest.mark.slow
def test_connections_are_held(lab: Lab, behind: Behind) -> None:
    """Connections stay open and nothing passes for a while; senders wait."""
    relays = bench(lab, behind, stall=60, recovery_timeout=30)
    for _ in range(3 if lab.full else 1):
        under_load(lab, lab.size(12_000, 60_000))
        held = some(lab, relays)
        for relay in held:
            relay.hold()
        time.sleep(lab.chance.uniform(0.1, 6.0 if lab.full else 0.8))
        for relay in held:
            relay.hold(False)
        lab.healed()
        lab.at(lab.senders[0].sent)
    lab.settle()


@pytest.mark.slow
def test_connections_are_held_until_overrun(lab: Lab, behind: Behind) -> None:
    """Connections stay open and nothing passes, until the sender has given the peer up."""
    relays = bench(lab, behind, stall=1.5, replay_bytes=16 * MIB, sizes=BULKY)
    lab.may_lose = {("far", "a")}
    under_load(lab, lab.size(6_000, 15_000))
    held = [relays[1], *some(lab, [relays[0], relays[2]])[: lab.chance.randint(0, 2)]]
    for relay in held:
        relay.hold()
    lab.at(lab.senders[0].sent)
    for relay in held:
        relay.hold(False)
    lab.healed()
    assert lab.settle().lost


@pytest.mark.slow
def test_connections_are_throttled(lab: Lab, behind: Behind) -> None:
    """Connections pass few bytes a second for a while."""
    relays = bench(lab, behind, stall=60, recovery_timeout=60)
    under_load(lab, lab.size(12_000, 100_000))
    slowed = some(lab, relays)
    for relay in slowed:
        relay.throttle(lab.chance.randint(10_000, 2_000_000))
    time.sleep(lab.chance.uniform(0.3, 6.0 if lab.full else 1.0))
    for relay in slowed:
        relay.throttle(None)
    lab.healed()
    lab.at(lab.senders[0].sent)
    lab.settle()


@pytest.mark.slow
def test_connections_are_half_closed(lab: Lab, behind: Behind) -> None:
    """Connections are shut in one direction alone, several times."""
    relays = bench(lab, behind, stall=60)
    for _ in range(4 if lab.full else 2):
        under_load(lab, lab.size(12_000, 60_000))
        for relay in some(lab, relays):
            relay.half_close(lab.chance.random() < 0.5)
        lab.healed()
        lab.at(lab.senders[0].sent)
    lab.settle()


def test_connections_suffer_everything(lab: Lab, behind: Behind) -> None:
    """All of these on several connections at a time, one on top of the other."""
    relays = bench(lab, behind, stall=60, recovery_timeout=60)
    for _ in range(6 if lab.full else 2):
        under_load(lab, lab.size(8_000, 40_000))
        # Data is cut while control hardly answers: what is asked for twice comes twice.
        relays[1].cut()
        for relay in some(lab, [relays[0], relays[2]]):
            slower: list[Harm] = [relay.hold, partial(relay.throttle, 20_000)]
            lab.chance.choice(slower)()
        time.sleep(lab.chance.uniform(0.3, 1.0))
        for _ in range(lab.chance.randint(0, 3)):
            relay = lab.chance.choice(relays)
            harms: list[Harm] = [relay.cut, relay.refuse, partial(relay.half_close, False)]
            lab.chance.choice(harms)()
            time.sleep(lab.chance.uniform(0, 0.1))
        for relay in relays:
            relay.hold(False)
            relay.refuse(False)
            relay.throttle(None)
        lab.healed()
        lab.at(lab.senders[0].sent)
    lab.settle()
