"""The README, run: every block of code and every command in it does what it says.

A block of Python whose first line is a comment with a file's name is a program; one
without is a program too, of no name. Lines with ``$`` in console blocks are commands.
Two tables of the guide whose figures differ each time are compared here as well.
"""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from operator import gt, lt
from pathlib import Path

import pytest

from tests.support import ROOT, free_ports, patience, unmeasured

README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = (ROOT / "docs" / "reference" / "commands.md").read_text(encoding="utf-8")
TROUBLE = (ROOT / "docs" / "guide" / "troubleshooting.md").read_text(encoding="utf-8")
DEADLINE = 60.0
sockets = pytest.mark.sockets


def blocks(language: str, page: str = README) -> list[str]:
    """Every block of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.M | re.S)


def file_name(block: str) -> str | None:
    found = re.match(r"# (\w+\.py)\n", block)
    return found.group(1) if found else None


NAMED = {name: block for block in blocks("python") if (name := file_name(block))}
NAMELESS = [block for block in blocks("python") if not file_name(block)]
SETUP = [line.strip() for line in blocks("sh")]
CONSOLE = "".join(blocks("console"))


class Desk:
    """Starts programs and commands in one folder and one rendezvous directory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: list[subprocess.Popen[str]] = []
        # The commands of the README are on the user's path; here they are a module.
        command = f'zexchange() {{ {shlex.quote(sys.executable)} -m zexchange.cli "$@"; }}; '
        self._preamble = command
        self._environment = {**unmeasured(), "PYTHONUNBUFFERED": "1"}

    def start(self, *command: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            cwd=self._folder,
            env=self._environment,
            start_new_session=True,
            # As in a terminal, whatever the test runner was started with.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        self._started.append(process)
        return process

    def program(self, source: str) -> "subprocess.Popen[str]":
        return self.start(sys.executable, "-c", source)

    def shell(self, line: str) -> "subprocess.Popen[str]":
        return self.start("bash", "-c", self._preamble + line)

    def finish(self, process: "subprocess.Popen[str]", early: bool = False) -> str:
        """Wait for a good end and return what was printed.

        One that was ``early`` may say that nobody has answered yet, on a busy machine.
        """
        out, err = process.communicate(timeout=patience(DEADLINE))
        said = [line for line in err.splitlines() if not (early and "has not answered" in line)]
        assert (process.returncode, said) == (0, [])
        return out

    def interrupt(self, process: "subprocess.Popen[str]") -> None:
        """Press Ctrl-C and wait for the end."""
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=patience(DEADLINE))

    def close(self) -> None:
        for process in self._started:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            for pipe in (process.stdout, process.stderr):
                assert pipe is not None
                pipe.close()


@pytest.fixture
def desk(rendezvous: Path, tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    desk.close()


def commands(word: str) -> list[str]:
    """The commands of the README's console blocks that use a subcommand of zexchange."""
    lines = [line[2:] for line in CONSOLE.splitlines() if line.startswith("$ ")]
    return [line for line in lines if f"zexchange {word}" in line]


def pasted(word: str, console: str = CONSOLE) -> list[str]:
    """What a page shows below a command."""
    after = console.split(f"$ zexchange {word}", 1)[1].split("\n", 1)[1]
    return after.split("\n$ ", 1)[0].split("\n")


def shown_of(word: str) -> list[str]:
    """What the reference shows of a command whose figures differ each time."""
    (block,) = (b for b in blocks("console", COMMANDS) if b.startswith(f"$ zexchange {word}\n"))
    return pasted(word, block)


# ------------------------------------------------------------------------- without sockets


def test_ci_runs_the_test_command() -> None:
    """`.ci/run` calls exactly the README's test command."""
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert script[-1] == SETUP[1]
    assert [line for line in script if line and not line.startswith("#")] == [
        "set -euo pipefail",
        SETUP[1],
    ]


def test_set_up_is_two_lines_that_need_python_alone() -> None:
    """Both commands make the same virtual environment and install into it, on one line."""
    begin = "python3 -m venv .venv && .venv/bin/pip install --quiet "
    assert len(SETUP) == 2
    assert [line.removeprefix(begin) for line in SETUP] == [
        "'.[cli]' && .venv/bin/zexchange demo",
        "tox && .venv/bin/tox",
    ]


def test_the_first_example_has_ten_lines() -> None:
    """The example on top stays one that is read at a glance."""
    code = NAMED["listen.py"] + NAMED["publish.py"]
    lines = [line for line in code.splitlines() if line and not line.startswith("#")]
    assert len(lines) <= 10


def test_links_lead_somewhere() -> None:
    """Every link to a file of the project has its file."""
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert links
    assert not [link for link in links if not (ROOT / link).exists()]
    mentioned = re.findall(r"`((?:examples|benchmarks|docs)/[\w/.]+)`", README)
    assert not [path for path in mentioned if not (ROOT / path).exists()]


def test_it_is_short() -> None:
    """A stranger reads it in some minutes, in any editor; the rest is in the guide."""
    lines = README.splitlines()
    assert len(lines) <= 130
    assert max(map(len, lines)) <= 100


def test_speeds_are_those_of_the_results() -> None:
    """The README's figures for small dicts are in the results' table, and no others."""
    results = (ROOT / "benchmarks" / "results" / "README.md").read_text(encoding="utf-8")
    table = results.partition("(`dict`)")[2].partition("\n## ")[0]
    measured = dict(re.findall(r"^\| (\S.*?) \| ([\d.]+[kM]) \|", table, re.M))
    said, tail, _ = README.partition("Small dicts a second")[2].partition("a third lost")
    shown = [value + unit for value, unit in re.findall(r"\b([\d.]+) ([kM])\b", said)]
    assert sorted(shown) == sorted(measured.values())
    assert f"zexchange {measured['zexchange'][:-1]} M;" in said
    assert tail
    (lost,) = re.findall(r"^\| pynng .* \| \**([\d.]+)%\** \|$", table, re.M)
    assert 30 <= float(lost) <= 37


def rates(workload: str) -> dict[str, float]:
    """Return the results' figure of each contestant in a workload."""
    results = (ROOT / "benchmarks" / "results" / "README.md").read_text(encoding="utf-8")
    table = results.partition(f"(`{workload}`)")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (\S.*?) \| ([\d.]+)([kM]?) \|", table, re.M)
    return {name: float(n) * {"": 1, "k": 1e3, "M": 1e6}[unit] for name, n, unit in rows}


def faster(workload: str, figure: Callable[[float, float], bool]) -> set[str]:
    """Return the libraries any of whose ways is better than zexchange in a workload."""
    found = rates(workload)
    ours = found.pop("zexchange")
    assert found
    return {name.partition(" ")[0] for name, theirs in found.items() if figure(theirs, ours)}


def test_the_comparison_says_who_is_faster() -> None:
    """The page has the same libraries ahead as the committed results."""
    page = (ROOT / "docs" / "guide" / "comparison.md").read_text(encoding="utf-8")
    said = " ".join(page.partition("\n## Speed\n")[2].split())
    assert "delivers more small dicts than the others" in said
    assert faster("dict", gt) == set()
    assert "for texts of 1 KiB pyzmq is faster if you put 64 in a frame" in said
    assert faster("text", gt) == {"pyzmq"}
    assert rates("text")["pyzmq one frame"] < rates("text")["zexchange"]
    assert "Zenoh and pyzmq deliver more blobs of 64 KiB and of 1 MiB." in said
    assert faster("64k", gt) == faster("1m", gt) == {"zenoh", "pyzmq"}
    assert "pyzmq and nng answer sooner in a round trip." in said
    assert faster("round-trip", lt) == {"pyzmq", "pynng"}
    assert "first message on each of many names is slower than with any of the others" in said
    assert faster("names", gt) == {name.partition(" ")[0] for name in rates("names")} - {
        "zexchange"
    }
    assert rates("names")["zexchange"] < rates("dict")["zexchange"]  # operations.md


@pytest.mark.parametrize("page", [README, TROUBLE], ids=["readme", "troubleshooting"])
def test_names_it_mentions_exist(page: str) -> None:
    """Attributes that the table of causes sends its reader to are there."""
    import zexchange

    for name in re.findall(r"`node\.(\w+)", page):
        assert hasattr(zexchange.Node, name) or name == "events", name
        assert hasattr(zexchange.AsyncNode, name) or name == "events", name
    for name in re.findall(r"`(Peer\w+|Rejected|NotReady|EncodeError|to_\w+)`", page):
        assert hasattr(zexchange, name), name
    fields = set(zexchange.NodeStats.__dataclass_fields__)
    assert {"sent", "received", "rejected", "slow_tasks"} <= fields
    assert {"interest", "ready", "silent"} <= set(zexchange.PeerStatus.__dataclass_fields__)


# ---------------------------------------------------------------------------- with sockets


@sockets
def test_the_first_example(desk: Desk) -> None:
    """Each listener prints what the publisher sends, in processes of their own."""
    listeners = [desk.program(NAMED["listen.py"]) for _ in range(2)]
    waiting = NAMED["publish.py"].replace('"prices", 1', '"prices", 2')
    assert desk.finish(desk.program(waiting)) == ""
    for listener in listeners:
        assert listener.stdout is not None
        assert listener.stdout.readline() == "AAPL 191.25\n"
        desk.interrupt(listener)


@sockets
def test_across_hosts(desk: Desk, tmp_path: Path) -> None:
    """The program for another host reaches the first listener by addresses and keys alone."""
    for name in ("keys", "north"):
        desk.finish(desk.shell(f"zexchange keygen {name} 2>&1"))
    shutil.copy(tmp_path / "north" / "node.pub", tmp_path / "keys" / "authorized" / "north.pub")
    shutil.copy(tmp_path / "keys" / "node.pub", tmp_path / "north" / "authorized" / "abroad.pub")
    here, there = (f"127.0.0.1:{free_ports()[0]}" for _ in range(2))
    joins = f'"trading", listen="tcp://{there}", keys="north", local=False'
    listener = desk.program(NAMED["listen.py"].replace('"trading"', joins))
    source = NAMED["abroad.py"].replace("0.0.0.0:7400", here).replace("north.example:7400", there)
    assert (here in source, there in source) == (True, True)
    source = source.replace('keys="keys"', 'keys="keys", local=False')
    assert desk.finish(desk.program(source), early=True) == ""
    assert listener.stdout is not None
    assert listener.stdout.readline() == "AAPL 191.25\n"
    desk.interrupt(listener)


@sockets
@pytest.mark.parametrize("number", range(len(NAMELESS)))
def test_blocks_without_a_name(desk: Desk, number: int) -> None:
    """Every other block runs as it is, and prints something."""
    assert desk.finish(desk.program(NAMELESS[number]))


@sockets
def test_tail_and_send(desk: Desk) -> None:
    """`tail` prints what the README shows when the lines are sent that it shows."""
    tail = desk.shell(commands("tail")[0])
    for command in commands("send"):
        assert desk.finish(desk.shell(command)) == ""
    shown = [line for line in pasted("tail") if line]
    assert desk.finish(tail).splitlines() == shown


@sockets
def test_peers(desk: Desk) -> None:
    """`peers` prints the table that the reference shows, but for what differs by machine."""
    tail = desk.shell("zexchange tail 'prices.**'")
    desk.finish(desk.shell("echo 'sold out' | zexchange send prices.AAPL --wait 1"))
    heading, row, *_ = desk.finish(desk.shell("zexchange peers")).splitlines()
    shown_heading, shown_row, *_ = shown_of("peers")
    assert heading.split() == shown_heading.split()
    assert row.split()[2:4] == shown_row.split()[2:4] == ["tail", "prices.**"]
    desk.interrupt(tail)


@sockets
@pytest.mark.leaves_files
def test_demo(desk: Desk) -> None:
    """`demo` ends with the table that the reference shows, with this machine's figures."""
    printed = desk.finish(desk.shell("zexchange demo")).splitlines()
    shown = [line for line in shown_of("demo") if line]
    rows = [line for line in printed if line and line[0] != " "]
    assert sorted(map(shape, rows)) == sorted(map(shape, shown))


def shape(line: str) -> str:
    """What of a line of the demo's table is the same everywhere."""
    words = re.sub(r"(metrics|averages)\.\S+\.(\w+)", r"\1.HOST.\2", line).split()
    return " ".join("N" if re.fullmatch(r"[\d,?]+", word) else word for word in words)


@sockets
def test_the_benchmark_that_the_guide_names(desk: Desk) -> None:
    """concepts.md names it. It prints a row for each number of tasks; no figure is judged."""
    script = str(ROOT / "benchmarks" / "local_send.py")
    run = desk.start(sys.executable, script, "0", "1", "--rounds", "11")
    out, err = run.communicate(timeout=patience(DEADLINE))
    assert (run.returncode in (0, 1), err) == (True, "")
    assert len(out.splitlines()) == 4
