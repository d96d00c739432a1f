"""Groups whose members and senders are killed, stopped and cut off under load."""

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.relay import Relay
from tests.support import tcp
from zexchange.net.hub.hub import Hub

from .conftest import Behind
from .laboratory import Lab, progress
from .sharing import LONG_PAUSE, PAUSE, Bench

pytestmark = [pytest.mark.sockets, pytest.mark.leaves_files]
WORKERS = 3


@pytest.fixture
def bench(request: pytest.FixtureRequest, lab: Lab, tmp_path: Path) -> Iterator[Bench]:
    """A bench of a mesh, or of nodes behind a hub."""
    with ExitStack() as stack:
        where: dict[str, Any] = {}
        if request.param == "hub":
            hub = Hub("faults", tcp(0))
            stack.callback(hub.close)
            where = {"hub": hub.endpoint, "local": False}
        pause = PAUSE if lab.full else LONG_PAUSE
        made = Bench(tmp_path / "done", lab.seed, where, pause)
        stack.callback(made.end)
        yield made


def trouble(lab: Lab, bench: Bench, relays: list[Relay]) -> None:
    """Do some harm to one process, at whatever moment this is, and undo it."""
    kinds = ["kill", "kill", "stop", "sender"] + ["cut"] * bool(relays)
    kind = lab.chance.choice(kinds)
    if kind == "kill":
        bench.die(lab.chance.choice(bench.workers))
        bench.worker().ready()
    elif kind == "stop":
        worker = lab.chance.choice(bench.workers)
        worker.kill(signal.SIGSTOP)
        time.sleep(lab.chance.uniform(0.1, 4.0 if lab.full else 0.4))
        worker.kill(signal.SIGCONT)
    elif kind == "cut":
        for relay in lab.chance.sample(relays, lab.chance.randint(1, len(relays))):
            relay.cut()
    else:
        bench.die(bench.sharers[-1])
        successor = bench.sharer(WORKERS)
        successor.ready()
        successor.ask(go=True)


def under_trouble(lab: Lab, bench: Bench, relays: list[Relay]) -> None:
    """Have members and senders of a group suffer, and see that everything is done in the end."""
    for process in [*bench.workers, *bench.sharers]:
        process.ready()
    for sharer in bench.sharers:
        sharer.ask(go=True)
    for turn in range(20 if lab.full else 4):
        progress(f"trouble {turn + 1}")
        time.sleep(lab.chance.uniform(0.05, 0.5))
        trouble(lab, bench, relays)
        lab.figures.slowest = max(lab.figures.slowest, bench.flushed())
    bench.settle(lab.figures)


@pytest.mark.parametrize("bench", ["mesh"], indirect=True)
@pytest.mark.slow
def test_a_group_in_a_mesh(lab: Lab, bench: Bench, behind: Behind) -> None:
    """Groups: workers and senders killed, stopped, reset; what is done twice is marked."""
    relays, listen = behind()
    bench.sharer(WORKERS, **listen)
    bench.sharer(WORKERS)
    dial = [f"tcp://127.0.0.1:{relays[0].port}"]
    back, answers = behind()
    bench.worker(local=False, peers=dial, **answers)
    for _ in range(WORKERS - 1):
        bench.worker()
    under_trouble(lab, bench, [*relays, *back])


@pytest.mark.parametrize("bench", ["hub"], indirect=True)
@pytest.mark.slow
def test_a_group_behind_a_hub(lab: Lab, bench: Bench) -> None:
    """Groups behind a hub: workers and senders killed and stopped; as above."""
    for _ in range(2):
        bench.sharer(WORKERS)
    for _ in range(WORKERS):
        bench.worker()
    under_trouble(lab, bench, [])
