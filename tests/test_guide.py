"""The guide, run: every block of code in `docs/` does what the page says.

Blocks of a page are carried out in order, in a folder and a rendezvous directory of its
own. Python without a title runs in one process a page; ```text title="Prints"``` behind it
is what it printed. A title that is a file's name makes that file. Console blocks are typed
into a shell, and print what they show, ``...`` being anything; one with a title is a
terminal that stays open until the section's end, and what it prints later may be shown in
another block of that title. The ports that a page names are free ones.
"""

import importlib.util
import json
import os
import re
import runpy
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import zexchange
from tests.pages import Block, begins, blocks, same
from tests.support import ROOT, free_ports

DOCS = ROOT / "docs"
PAGES = {str(path.relative_to(DOCS)): blocks(path) for path in sorted(DOCS.rglob("*.md"))}
ELSEWHERE = {"guide/frameworks.md"}
"""Served by several workers, and used by clients, in `tests/contrib/test_frameworks.py`."""
RUN = {
    name: found
    for name, found in PAGES.items()
    if any(not b.not_run for b in found) and name not in ELSEWHERE
}
NEEDS = {name: sorted({need for b in found for need in b.needs}) for name, found in RUN.items()}
DEADLINE = 30.0
GRACE = 2.0
"""Seconds that what runs in a terminal has to end at Ctrl-C; a server with clients takes longer."""
PORTS = ("7400", "7410", "8000", "8040", "6379", "4222", "5556")
COMMANDS = {
    "python": "",
    "zexchange": "-m zexchange.cli",
    "pytest": "-m pytest -p no:cacheprovider",
    "uvicorn": "-m uvicorn",
    "gunicorn": "-m gunicorn",
}
"""What is on the reader's path, and is a module here."""

sockets = pytest.mark.sockets


@dataclass
class Terminal:
    """A shell that runs the commands of one block, and what they are to print."""

    place: str
    title: str
    shown: list[str]
    process: "subprocess.Popen[bytes]"
    screen: Path

    @property
    def printed(self) -> str:
        return self.screen.read_text(encoding="utf-8")

    def finish(self) -> None:
        """Wait for the end, which is to be a good one with nothing else printed."""
        status = self.process.wait(DEADLINE)
        assert same(self.shown, self.printed), self.complaint()
        assert status == 0, self.complaint()

    def catch_up(self) -> None:
        """Wait until what is shown has been printed; the commands may go on."""
        deadline = time.monotonic() + DEADLINE
        running = True
        while not begins(self.shown, self.printed):
            assert running, self.complaint()
            assert time.monotonic() < deadline, self.complaint()
            running = self.process.poll() is None  # looked at before what it printed last
            time.sleep(0.01)
        assert self.process.poll() in (None, 0), self.complaint()

    def complaint(self) -> str:
        shown, status = "\n".join(self.shown), self.process.poll()
        return f"{self.place}, status {status}\nshown:\n{shown}\nprinted:\n{self.printed}"


@dataclass
class Desk:
    """Where a page is carried out: a folder, a shell, a notebook, and terminals."""

    folder: Path
    ports: dict[str, str] = field(default_factory=dict)
    terminals: list[Terminal] = field(default_factory=list)
    printed: str = ""
    section: str = ""

    def __post_init__(self) -> None:
        self.desk = self.folder / "desk"
        self.desk.mkdir()
        path = self.folder / "bin"
        path.mkdir()
        for name, module in COMMANDS.items():
            script = path / name
            script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {module} "$@"\n')
            script.chmod(0o755)
        self.environment = {
            **os.environ,
            "PATH": f"{path}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "COLUMNS": "80",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # a page's tests need none, and each takes time
        }
        self._notebook: subprocess.Popen[str] | None = None

    def carry_out(self, block: Block) -> None:
        """Do what a block says."""
        if block.section != self.section:
            self.section = block.section
            self.leave_terminals()
        if block.file:
            file = self.desk / block.file
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(self.local(block.text), encoding="utf-8")
        elif block.cell:
            self.printed = self.evaluate(block)
        elif block.output:
            shown = self.local(block.text).splitlines()
            assert same(shown, self.printed), f"{block.place} printed:\n{self.printed}"
        elif block.language == "console":
            self.type(block)

    def type(self, block: Block) -> None:
        """Type a block's commands, or see what a terminal that is open has printed since."""
        shown = self.local("\n".join(block.shown)).splitlines()
        if block.terminal and not block.script:
            (terminal,) = (t for t in self.terminals if t.title == block.terminal)
            terminal.shown += shown
            terminal.catch_up()
            return
        terminal = self.open(block, shown)
        if not block.terminal:
            terminal.finish()
            return
        self.terminals.append(terminal)
        if block.wait:
            terminal.catch_up()

    def local(self, text: str) -> str:
        """Put free ports in the place of those that a page names."""
        for port in PORTS:
            if port in text and port not in self.ports:
                self.ports[port] = str(free_ports()[0])
                free_ports()  # a hub takes three
        return re.sub("|".join(PORTS), lambda match: self.ports[match[0]], text)

    def evaluate(self, block: Block) -> str:
        """Run Python where the page's Python runs, and return what it printed."""
        if self._notebook is None:
            self._notebook = self._open_notebook()
        assert self._notebook.stdin is not None
        assert self._notebook.stdout is not None
        order = {"page": str(block.page), "line": block.line, "text": self.local(block.text)}
        print(json.dumps(order), file=self._notebook.stdin, flush=True)
        answer = json.loads(self._notebook.stdout.readline())
        assert not answer["error"], f"{block.place}\n{answer['error']}"
        return str(answer["printed"])

    def _open_notebook(self) -> "subprocess.Popen[str]":
        with (self.folder / "notebook.err").open("wb") as stderr:
            return subprocess.Popen(
                [sys.executable, "-W", "error", str(ROOT / "tests" / "notebook.py")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                cwd=self.desk,
                env=self.environment,
                start_new_session=True,
            )

    def open(self, block: Block, shown: list[str]) -> Terminal:
        """Start a shell on a block's commands."""
        screen = self.folder / f"{len(list(self.folder.glob('*.screen')))}.screen"
        with screen.open("wb") as stdout:
            process = subprocess.Popen(
                ["bash", "-e", "-c", self.local(block.script)],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=subprocess.STDOUT,
                cwd=self.desk,
                env=self.environment,
                start_new_session=True,
                # As in a terminal, whatever the test runner was started with.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )
        return Terminal(block.place, block.terminal, shown, process, screen)

    def leave_terminals(self) -> None:
        """See that the open terminals printed what is shown, and end what runs in them."""
        for terminal in self.terminals:
            terminal.catch_up()
        self.interrupt()

    def interrupt(self) -> None:
        """Press Ctrl-C in every terminal, and do not wait for long."""
        left, self.terminals = [terminal.process for terminal in self.terminals], []
        for number in (signal.SIGINT, signal.SIGKILL):
            for process in left:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, number)
            for process in left:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(GRACE)

    def finish(self) -> None:
        """See the terminals' end, and the notebook's."""
        self.leave_terminals()
        if self._notebook is not None:
            self._notebook.communicate(timeout=DEADLINE)
            complaints = (self.folder / "notebook.err").read_text(encoding="utf-8")
            assert (self._notebook.returncode, complaints) == (0, "")

    def close(self) -> None:
        """End whatever runs."""
        self.interrupt()
        if self._notebook is not None:
            self._notebook.kill()
            self._notebook.communicate()


@pytest.fixture
def desk(rendezvous: Path, tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    desk.close()


def there(need: str) -> bool:
    """Tell whether a module or a command is installed."""
    return shutil.which(need) is not None or importlib.util.find_spec(need) is not None


def go_through(page: str, desk: Desk, needy: bool) -> None:
    """Carry out a page, with or without what not everybody can run."""
    for block in PAGES[page]:
        if not block.not_run and (needy or not block.needs):
            desk.carry_out(block)
    desk.finish()


# ------------------------------------------------------------------------- without sockets


def test_every_block_is_run_or_says_why_not() -> None:
    """A block is Python, a console, a file or what was printed; else it has a reason."""
    for block in (block for found in PAGES.values() for block in found if not block.not_run):
        known = block.cell or block.output or block.figure or block.language == "console"
        assert known or block.file, f"{block.place}: {block.language!r} is not run: say why"


def test_few_blocks_are_not_run() -> None:
    """The guide's own pages have at most one block in ten that is not run."""
    found = [b for name, page in PAGES.items() if not name.isupper() for b in page if not b.figure]
    assert sum(bool(block.not_run) for block in found) * 10 <= len(found)


def test_every_program_is_run() -> None:
    """A file of Python is named by a command or imported by another block of its page."""
    for found in PAGES.values():
        for block in (b for b in found if b.file.endswith(".py") and not b.not_run):
            rest = "\n".join(b.text for b in found if b is not block and not b.not_run)
            stem = Path(block.file).stem
            assert re.search(rf"\b{stem}\b|\bpytest\b", rest), f"{block.place}: never run"


def test_figures_are_what_their_program_draws() -> None:
    """Nobody has changed a figure by hand, or forgotten to draw it anew."""
    draw = runpy.run_path(str(DOCS / "figures" / "draw.py"))
    drawn = {f"{figure.name}.svg": figure.svg() for figure in (make() for make in draw["FIGURES"])}
    there = {path.name: path.read_text(encoding="utf-8") for path in DOCS.rglob("*.svg")}
    assert there == drawn


def test_every_promised_name_is_in_the_reference() -> None:
    """`zexchange.__all__` and the names below `:::` are the same."""
    pages = [path.read_text(encoding="utf-8") for path in (DOCS / "reference").glob("*.md")]
    named = [name for text in pages for name in re.findall(r"^::: zexchange\.(\w+)$", text, re.M)]
    assert sorted(named) == sorted(zexchange.__all__)


def test_what_is_shown_may_leave_things_out() -> None:
    """Three dots stand for anything, and nothing else does."""
    assert same(["a ... z", "b"], "a b c z\nb\n")
    assert same(["a", "...", "z"], "a\nb\nc\nz\n")
    assert same(["a", "...", "z"], "a\nz\n")
    assert same([], "")
    assert not same([], "a\n")
    assert not same(["a ... z"], "a\nz\n")
    assert not same(["a.c"], "abc\n")
    assert not same(["a"], "a\nb\n")
    assert begins(["a"], "a\nb\n")
    assert not begins(["a"], "ab\n")


# ---------------------------------------------------------------------------- with sockets


@sockets
@pytest.mark.leaves_files
@pytest.mark.parametrize("page", [name for name in RUN if any(not b.needs for b in RUN[name])])
def test_a_page_does_what_it_says(page: str, desk: Desk) -> None:
    """Every block of a page runs, in order, and prints what the page shows."""
    go_through(page, desk, needy=False)


@sockets
@pytest.mark.leaves_files
@pytest.mark.parametrize("page", [name for name, needs in NEEDS.items() if needs])
def test_what_is_shown_of_others(page: str, desk: Desk) -> None:
    """Programs of other libraries run as well, where these are installed."""
    if missing := [need for need in NEEDS[page] if not there(need)]:
        pytest.skip(f"not installed: {', '.join(missing)}")
    go_through(page, desk, needy=True)
