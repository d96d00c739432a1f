"""Processes that are stopped for a while (SIGSTOP) and go on: they come to no harm.

The stopped process does not know that time has passed; what it missed is in the ring of
its senders, or is reported to the message.
"""

import signal
import time

import pytest

from .laboratory import BULKY, Lab

pytestmark = [pytest.mark.sockets, pytest.mark.leaves_files]
MIB = 1 << 20


@pytest.mark.slow
def test_a_receiver_is_stopped_while_senders_wait(lab: Lab) -> None:
    """SIGSTOP of a receiver, shorter than `stall`."""
    for label in "ab":
        lab.sender(label, 2, stall=60)
    stopped, _ = lab.receiver("stopped"), lab.receiver("well")
    lab.ready()
    total = lab.size(12_000, 150_000)
    for _ in range(3 if lab.full else 1):
        at = lab.senders[0].sent + lab.chance.randint(1, total // 4)
        lab.start(at, at + total)
        lab.at(at)
        stopped.kill(signal.SIGSTOP)
        time.sleep(lab.chance.uniform(0.1, 4.0 if lab.full else 0.4))
        stopped.kill(signal.SIGCONT)
        lab.healed()
        lab.at(at + total)
    lab.settle()


def test_a_receiver_is_stopped_until_it_is_overrun(lab: Lab) -> None:
    """SIGSTOP of a receiver, while more is sent than ring and connections hold."""
    for label in "ab":
        lab.sender(label, 2, stall=1.5, replay_bytes=16 * MIB, sizes=BULKY)
    stopped, _ = lab.receiver("stopped"), lab.receiver("well")
    lab.may_lose = {("stopped", "a"), ("stopped", "b")}
    lab.ready()
    total = lab.size(3_000, 10_000)
    at = lab.chance.randint(1, total // 4)
    lab.start(at, total)
    lab.at(at)
    stopped.kill(signal.SIGSTOP)
    lab.at(total)
    lab.healed(but=stopped)
    stopped.kill(signal.SIGCONT)
    lab.healed()
    assert lab.settle().lost


@pytest.mark.slow
def test_a_sender_is_stopped(lab: Lab) -> None:
    """SIGSTOP of a sender, in the middle of whatever it does."""
    stopped, other = lab.sender("a", 2, stall=60), lab.sender("b", 2, stall=60)
    for label in ("one", "two"):
        lab.receiver(label)
    lab.ready()
    total = lab.size(12_000, 150_000)
    for _ in range(3 if lab.full else 1):
        at = stopped.sent + lab.chance.randint(1, total // 2)
        lab.start(at, at + total)
        lab.at(at)
        stopped.kill(signal.SIGSTOP)
        other.at(at + total)
        time.sleep(lab.chance.uniform(0, 6.0 if lab.full else 0.3))
        stopped.kill(signal.SIGCONT)
        lab.healed()
        stopped.at(at + total)
    lab.settle()
