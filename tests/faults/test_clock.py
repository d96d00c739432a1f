"""The wall clock jumps, in the process of a sender, of a receiver, or both: nobody minds.

The clock of the machine is left alone: in the programs under test `time.time` is replaced
by one that is off by so much, while `time.monotonic` goes on as ever, as it does when the
system's clock is set.
"""

import time

import pytest

from .laboratory import Lab

pytestmark = [pytest.mark.sockets, pytest.mark.leaves_files]
HOUR, DAY = 3600.0, 86400.0


@pytest.mark.slow
def test_the_clock_jumps(lab: Lab) -> None:
    """The wall clock jumps by an hour or a day, forwards and backwards, several times."""
    for label in "ab":
        lab.sender(label, 2, stall=60)
    one, _ = lab.receiver("one"), lab.receiver("two")
    lab.ready()
    total = lab.size(12_000, 80_000)
    for _ in range(4 if lab.full else 2):
        begun = lab.senders[0].sent
        at = begun + lab.chance.randint(1, total // 2)
        lab.start(at, begun + total)
        lab.at(at)
        for process in lab.chance.sample([*lab.senders, one], lab.chance.randint(1, 3)):
            process.ask(jump=lab.chance.choice([-DAY, -HOUR, HOUR, DAY]))
        time.sleep(lab.chance.uniform(0, 1.5 if lab.full else 0.2))
        lab.healed()
        lab.at(begun + total)
    # Who joins when clocks differ by days finds everybody all the same.
    late = lab.receiver("late")
    late.ready()
    for sender in lab.senders:
        late.promised[sender.id] = sender.marked() + 1
    lab.start(lab.senders[0].sent + 100)
    lab.at(lab.senders[0].sent)
    lab.settle()
    events = [e["event"] for p in (*lab.senders, one) for e in p.ask(report=True)["events"]]
    assert not {"PeerLeft", "PeerSilent", "PeerSlow", "Rejected"} & set(events)
