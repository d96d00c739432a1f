"""Receivers whose tasks are too slow, or stand still, until every queue before them is full."""

import time
from typing import Any

import pytest

from .laboratory import BULKY, Lab
from .processes import Receiver

pytestmark = [pytest.mark.sockets, pytest.mark.leaves_files]
MIB = 1 << 20


def bench(lab: Lab, sizes: tuple[int, int] = (3_000, 12_000), **federate: Any) -> Receiver:
    """Have one of two receivers hold its data thread when told."""
    for label in "ab":
        lab.sender(label, 2, sizes=sizes, **federate)
    held = lab.receiver("held")
    lab.receiver("well")
    lab.ready()
    held.tell(**{"slow task": True})
    held.expecting("slow task")
    return held


@pytest.mark.slow
def test_a_task_stands_still_while_senders_wait(lab: Lab) -> None:
    """A task stands still, for less than `stall`: the queues fill, and senders wait."""
    held = bench(lab, stall=60)
    total = lab.size(3_000, 30_000)
    at = lab.chance.randint(1, total // 3)
    lab.start(at, total)
    lab.at(at)
    held.ask(gate=False)
    time.sleep(lab.chance.uniform(0.3, 6.0 if lab.full else 1.0))
    held.ask(gate=True)
    lab.healed()
    lab.at(total)
    lab.settle()


@pytest.mark.slow
def test_a_task_stands_still_until_it_is_overrun(lab: Lab) -> None:
    """A task stands still until ring and connection hold no more."""
    held = bench(lab, sizes=BULKY, stall=1.5, replay_bytes=16 * MIB)
    lab.may_lose = {("held", "a"), ("held", "b")}
    total = lab.size(4_000, 12_000)
    at = lab.chance.randint(1, total // 4)
    lab.start(at, total)
    lab.at(at)
    held.ask(gate=False)
    lab.at(total)
    held.ask(gate=True)
    lab.healed()
    assert lab.settle().lost


@pytest.mark.slow
def test_a_task_is_slower_than_its_senders(lab: Lab) -> None:
    """A task takes longer for a message than senders do: they go at its pace."""
    held = bench(lab, replay_bytes=8 * MIB)
    held.ask(lag=lab.chance.uniform(0.0001, 0.0005))
    total = lab.size(1_500, 20_000)
    lab.start(total)
    lab.at(total)
    held.ask(lag=0)
    lab.healed()
    lab.settle()


def test_a_ring_is_small(lab: Lab) -> None:
    """A ring is smaller than what queues before a socket: a healthy receiver is waited for."""
    sender = lab.sender("a", 1, stall=60, replay_bytes=MIB)
    lab.receiver("one")
    lab.ready()
    total = lab.size(80_000, 100_000)
    lab.start(total)
    lab.at(total)
    lab.settle()
    assert "PeerSlow" not in {event["event"] for event in sender.ask(report=True)["events"]}
