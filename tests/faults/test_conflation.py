"""A viewer of a conflated exchange that is stopped for a while: it is passed over, and told so."""

import signal
import time

import pytest

from .laboratory import Lab
from .ledger import load

pytestmark = [pytest.mark.sockets, pytest.mark.leaves_files]


def test_a_viewer_is_stopped(lab: Lab) -> None:
    """SIGSTOP of a viewer of a conflated exchange; what is not received is counted as conflated."""
    sender = lab.sender("a", 2, conflate=["load"], sizes=(20_000, 60_000), pause=0.0005)
    stopped, _ = lab.receiver("stopped"), lab.receiver("well")
    lab.ready()
    total = lab.size(1_500, 10_000)
    for _ in range(5 if lab.full else 2):
        at = sender.sent + lab.chance.randint(1, total // 2)
        lab.start(at, at + total)
        lab.at(at)
        stopped.kill(signal.SIGSTOP)
        time.sleep(lab.chance.uniform(0.1, 6.0 if lab.full else 0.5))
        stopped.kill(signal.SIGCONT)
        lab.at(at + total)
        lab.healed()
    lab._all_through({sender.id: sender.sent})
    wrong = list[str]()
    for receiver in lab.receivers:
        report = receiver.ask(report=True)
        account, stats = load(report["books"])[sender.id], report["stats"][sender.id]
        # The books know nothing of conflation: what it passed over is missing in them.
        passed = account.silently_lost + (account.start or 0)
        account.silent.clear()
        lab.figures.add(account, sender.sent, stats)
        if stats["conflated"] != passed or account.received + passed != sender.sent:
            wrong.append(f"{receiver.label}: {stats}, of {sender.sent}, passed over {passed}")
        if account.disorder or account.duplicates or account.garbled or account.lost:
            wrong.append(f"{receiver.label}: {account}")
        if stats["received"] != account.received:
            wrong.append(f"{receiver.label}: {stats}, came {account.received}")
    assert not wrong, f"seed {lab.seed}:\n" + "\n".join(wrong)
