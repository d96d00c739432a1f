"""Every example runs; those of `examples/classic` are the classic recipe's programs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import patience, unmeasured

ROOT = Path(__file__).parent.parent
CLASSIC = sorted((ROOT / "examples" / "classic").glob("*.py"))
APART = ("browsers", "classic", "plot", "web")
"""Folders of programs that have tests of their own."""
FEDERATED = sorted(
    path for path in (ROOT / "examples").glob("*/*.py") if path.parent.name not in APART
)
NEEDS = {"serve": "prometheus_client", "under_trio": "trio"}
IMPORT = "from zexchange import get_exchange\n"


def output(path, *arguments):
    path_entries = [str(ROOT), str(ROOT / "tests" / "local")]
    env = {**unmeasured(), "PYTHONPATH": os.pathsep.join(path_entries)}
    done = subprocess.run(
        [sys.executable, str(path), *arguments],
        capture_output=True,
        text=True,
        timeout=patience(60),
        env=env,
    )
    # A busy machine takes more than the second that `federate` waits for all to have confirmed.
    complaints = [line for line in done.stderr.splitlines() if "has not confirmed" not in line]
    assert (done.returncode, complaints) == (0, [])
    return done.stdout


@pytest.mark.parametrize("path", CLASSIC, ids=lambda path: path.stem)
def test_a_classic_program_runs_with_only_its_import_replaced(path, tmp_path):
    """With the import of the plain recipe instead, each program prints the very same."""
    source = path.read_text(encoding="utf-8")
    assert source.count(IMPORT) == 1
    assert source.count("zexchange") == 1
    assert f"python examples/classic/{path.name}" in source
    plain = tmp_path / path.name
    plain.write_text(source.replace(IMPORT, "from naive import get_exchange\n"), encoding="utf-8")
    printed = output(path)
    assert printed
    assert printed == output(plain)


def test_all_six_classic_programs_are_there():
    """Attach, subscribe, display, actor, generator and connection are all examples."""
    names = {path.stem for path in CLASSIC}
    assert names == {"actor", "attach", "connection", "display", "generator", "subscribe"}


PRINTED = {
    "coroutines": "1 1\n2 4\n3 9\n4 16\n5 25\n",
    "logs": (
        "worker.0 INFO 0 squared is 0 \nworker.1 INFO 1 squared is 1 \n"
        "worker.2 INFO 2 squared is 4 \n"
        "worker.2 ERROR worker 2 failed ZeroDivisionError: division by zero\n"
    ),
    "over_tcp": "sunny\nwindy\nrain\n",
    "patterns": (
        "house.attic.humidity 40\nhouse.attic.temperature 21.5\n"
        "house.kitchen.humidity 40\nhouse.kitchen.temperature 21.5\n"
    ),
    "pool": "ended well: True\n" + "".join(f"{n} {n * n}\n" for n in range(1, 13)),
    "prefork": "ready: [0, 1, 2]\nemptied in every process: True\n",
    "serve": (
        'zexchange_messages_sent_total{exchange="numbers",federation="metrics-example",node="..."}'
        " 11.0\n"
        'zexchange_messages_received_total{exchange="squares",federation="metrics-example",'
        'node="..."} 10.0\n'
    ),
    "trades": (
        "exchange 'trades' takes Trade: msg.px: expected float, not str\n"
        "{'sym': 'AAPL', 'side': 'buy', 'px': 191.25, 'size': 10}\n"
        "AAPL BUY 1912.5\nMSFT SELL 402.5\n"
    ),
    "under_trio": "left 1.5\nright 1.5\nleft 2.5\nright 2.5\n",
    "redundant": "200 of 200 answered, with one of two killed at the 100th\n",
    "workers": "".join(f"{n} {n * n}\n" for n in range(1, 13)),
}


@pytest.mark.sockets
@pytest.mark.leaves_files  # one kills a process
@pytest.mark.parametrize("path", FEDERATED, ids=lambda path: path.stem)
def test_a_program_runs_by_the_command_on_its_top(path, rendezvous):
    """Each ends by itself, prints what its processes told each other, and complains of nothing."""
    pytest.importorskip(NEEDS.get(path.stem, "zexchange"))
    command = f"Run it with: python {path.relative_to(ROOT).as_posix()}"
    assert command in path.read_text(encoding="utf-8")
    assert output(path) == PRINTED[path.stem]


def test_no_program_is_forgotten():
    """Every program has its expected output, and the other way round."""
    assert {path.stem for path in FEDERATED} == set(PRINTED)


@pytest.mark.sockets
def test_the_plot_of_sensors(rendezvous, tmp_path):
    """Without a screen it ends with a picture of everything that three processes measured."""
    pytest.importorskip("matplotlib", reason="needs matplotlib")
    path = ROOT / "examples" / "plot" / "sensors.py"
    assert f"Run it with: python examples/plot/{path.name}" in path.read_text(encoding="utf-8")
    picture = tmp_path / "plot.png"
    printed = output(path, str(picture))
    assert printed == "north: 100 readings, east: 100 readings, south: 100 readings\n"
    assert picture.read_bytes().startswith(b"\x89PNG")
