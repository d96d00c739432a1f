"""The README, run: every block of code and every command in it does what it says.

A block of Python whose first line is a comment with a file's name is a program; one
without is a program too, of no name. Lines with ``$`` in console blocks are commands.
"""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support import ROOT, eventually, free_ports, patience, unmeasured

README = (ROOT / "README.md").read_text(encoding="utf-8")
DEADLINE = 60.0
sockets = pytest.mark.sockets


def blocks(language: str) -> list[str]:
    """Every block of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.M | re.S)


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

    def program(self, source: str, port: int | None = None) -> "subprocess.Popen[str]":
        if port is not None:
            source = source.replace("7400", str(port))
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
    """The commands of the console blocks that use a subcommand of zexchange."""
    lines = [line[2:] for line in CONSOLE.splitlines() if line.startswith("$ ")]
    return [line for line in lines if f"zexchange {word}" in line]


def pasted(word: str) -> list[str]:
    """What the README shows below a command."""
    after = CONSOLE.split(f"$ zexchange {word}", 1)[1].split("\n", 1)[1]
    return after.split("\n$ ", 1)[0].split("\n")


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


def test_names_it_mentions_exist() -> None:
    """Attributes that the table of causes sends its reader to are there."""
    import zexchange

    for name in re.findall(r"`node\.(\w+)", README):
        assert hasattr(zexchange.Node, name) or name == "events", name
        assert hasattr(zexchange.AsyncNode, name) or name == "events", name
    for name in re.findall(r"`(Peer\w+|Rejected|NotReady|EncodeError|to_\w+)`", README):
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
def test_over_tcp(desk: Desk) -> None:
    """The two programs that know an address meet, whichever is first."""
    port, _ = free_ports()
    south = desk.program(NAMED["south.py"], port)
    north = desk.program(NAMED["north.py"], port)
    assert desk.finish(north) == "sunny\n"
    desk.finish(south, early=True)


def wait_until_listening(port: int) -> None:
    """Return when a program has a port."""

    def listening() -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return True
        return False

    eventually(listening)


@sockets
def test_a_hub(desk: Desk) -> None:
    """Two programs that know the hub alone hear each other, and the hub says what it carries."""
    port, _ = free_ports()
    hub = desk.shell(commands("hub")[0].replace("7400", str(port)))
    wait_until_listening(port)  # else the two say, after a second, that it has not answered
    reader, writer = (desk.program(NAMED[name], port) for name in ("reader.py", "writer.py"))
    assert desk.finish(reader) == "by the hub\n"
    assert desk.finish(writer) == ""
    assert hub.stdout is not None
    printed, shown = (
        re.sub(r"[\d.,]+", "N", line) for line in (hub.stdout.readline(), pasted("hub")[0])
    )
    # On a busy machine it is the line behind the spokes' departure, and says what was dropped then.
    assert printed.replace("kB", "B").startswith(shown)
    desk.interrupt(hub)


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
    """`peers` prints the table that the README shows, but for what differs by machine."""
    tail = desk.shell(commands("tail")[0])
    for command in commands("send")[:1]:
        desk.finish(desk.shell(command))
    heading, row, *_ = desk.finish(desk.shell(commands("peers")[0])).splitlines()
    shown_heading, shown_row, *_ = pasted("peers")
    assert heading.split() == shown_heading.split()
    assert row.split()[2:4] == shown_row.split()[2:4] == ["tail", "prices.**"]
    desk.interrupt(tail)


@sockets
@pytest.mark.leaves_files
def test_demo(desk: Desk) -> None:
    """`demo` ends with the table that the README shows, with this machine's figures."""
    printed = desk.finish(desk.shell(commands("demo")[0])).splitlines()
    shown = [line for line in pasted("demo") if line]
    rows = [line for line in printed if line and line[0] != " "]
    assert sorted(map(shape, rows)) == sorted(map(shape, shown))


def shape(line: str) -> str:
    """What of a line of the demo's table is the same everywhere."""
    words = re.sub(r"(metrics|averages)\.\S+\.(\w+)", r"\1.HOST.\2", line).split()
    return " ".join("N" if re.fullmatch(r"[\d,?]+", word) else word for word in words)


@sockets
def test_the_benchmark_that_the_claim_names(desk: Desk) -> None:
    """It runs and prints a row for each number of tasks; what it measures is not judged here."""
    script = str(ROOT / "benchmarks" / "local_send.py")
    run = desk.start(sys.executable, script, "0", "1", "--rounds", "11")
    out, err = run.communicate(timeout=patience(DEADLINE))
    assert (run.returncode in (0, 1), err) == (True, "")
    assert len(out.splitlines()) == 4
