"""Processes that are killed (SIGKILL) under load, and their successors.

A successor is a new origin: it is owed everything from its first message on, and owes
everything. What the killed one had not told anybody of, nobody can miss.
"""

import time
from typing import Any

import pytest

from tests.support import eventually, free_ports, tcp

from .conftest import Behind
from .laboratory import Lab
from .test_connections import bench

pytestmark = [pytest.mark.sockets, pytest.mark.leaves_files]


@pytest.mark.slow
def test_a_sender_is_killed_and_follows_itself(lab: Lab) -> None:
    """SIGKILL of a sender, and a successor on the same port."""
    ports = [tcp(port) for port in free_ports()]
    over_tcp = lab.chance.random() < 0.5
    dial: dict[str, Any] = {"local": False, "peers": ports[:1]} if over_tcp else {}
    first = lab.sender("a", 2, listen=ports)
    lab.sender("b", 2, listen="tcp://127.0.0.1:0")
    lab.receiver("one", **dial)
    lab.receiver("two")
    lab.ready()
    total = lab.size(12_000, 150_000)
    at = lab.chance.randint(1, total // 2)
    acknowledged = at // 2
    lab.start(acknowledged, at, total)
    lab.at(acknowledged)
    first.ask(flush=60)
    lab.at(at)
    first.die()
    gone = {"event": "PeerLeft", "peer": first.id, "reason": "gone"}
    if lab.chance.random() < 0.5:
        for receiver in lab.receivers:
            receiver.ask(event=gone)
    successor = lab.sender("a2", 2, listen=ports)
    lab.ready()
    successor.to(total)
    for receiver in lab.receivers:
        receiver.ask(event=gone)
    successor.at(total)
    lab.healed()
    lab.senders[1].at(total)
    for receiver in lab.receivers:
        receiver.at_least[first.id] = acknowledged
        lab.may_lose.add((receiver.label, "a"))
    lab.settle()


def test_a_sender_is_killed_during_a_recovery(lab: Lab, behind: Behind) -> None:
    """SIGKILL of a sender while a receiver waits for what a cut has cost it."""
    control, data, back = bench(lab, behind, stall=60)
    killed, other = lab.senders
    begun = lab.chance.randint(2_000, 4_000)
    total = begun + lab.size(8_000, 60_000)
    lab.start(begun, total)
    lab.at(begun)
    for relay in (control, back):
        relay.hold()
    before = data.accepted
    data.cut()
    eventually(lambda: data.accepted > before)
    time.sleep(lab.chance.uniform(0, 1.0))
    killed.die()
    # Nothing listens there any more, for `far` either.
    for relay in (control, data):
        relay.close()
    back.hold(False)
    for receiver in lab.receivers:
        receiver.ask(event={"event": "PeerLeft", "peer": killed.id, "reason": "gone"})
    other.at(total)
    lab.healed()
    lab.may_lose = {("far", "a")}
    lab.settle()


def test_a_receiver_is_killed_and_follows_itself(lab: Lab) -> None:
    """SIGKILL of a receiver, and a successor that finds its way to the same senders."""
    ports = [tcp(port) for port in free_ports()]
    for label in "ab":
        lab.sender(label, 2, listen="tcp://127.0.0.1:0")
    over_tcp = lab.chance.random() < 0.5
    place: dict[str, Any] = {"listen": ports} if over_tcp else {}
    doomed = lab.receiver("doomed", **place)
    lab.receiver("well")
    lab.ready()
    total = lab.size(12_000, 100_000)
    for turn in range(3 if lab.full else 1):
        begun = lab.senders[0].sent
        at = begun + lab.chance.randint(1, total // 2)
        lab.start(at, begun + total)
        lab.at(at)
        doomed.die()
        doomed = lab.receiver(f"successor {turn}", **place)
        doomed.ready()
        for sender in lab.senders:
            doomed.promised[sender.id] = sender.marked() + 1
        lab.at(begun + total)
        lab.start(begun + total + 100)
        lab.at(begun + total + 100)
        lab.healed()
    lab.settle()
