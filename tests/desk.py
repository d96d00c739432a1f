"""Where a page of the guide is carried out: a folder, a shell, terminals and a notebook.

It does what a reader would do with each block, and compares what is printed with what the
page shows. What a block is, `tests.pages` knows.
"""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.pages import Block, begins, same
from tests.support import ROOT, Deadline, free_ports, patience, unmeasured

DEADLINE = 30.0
GRACE = 2.0
"""Seconds that what runs in a terminal has to end at Ctrl-C; a server with clients takes longer."""
SAID_SO = re.compile(r"a stream of '\w+' (is full: |has dropped ).*\n")
"""What a page may have in the log without showing it."""
PORTS = ("7400", "7410", "8000", "8040", "6379", "4222", "5556", "9464")
SERVER = re.compile(r"\w+-server --port (\d+)")
COMMANDS = {
    "python": "",
    "zexchange": "-m zexchange.cli",
    "pytest": "-m pytest -p no:cacheprovider",
    "uvicorn": "-m uvicorn",
    "gunicorn": "-m gunicorn",
}
"""What is on the reader's path, and is a module here."""


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
        status = self.process.wait(patience(DEADLINE))
        assert same(self.shown, self.printed), self.complaint()
        assert status == 0, self.complaint()

    def catch_up(self) -> None:
        """Wait until what is shown has been printed; the commands may go on."""
        deadline = Deadline(DEADLINE)
        running = True
        while not begins(self.shown, self.printed):
            assert running, self.complaint()
            assert not deadline.over, self.complaint()
            running = self.process.poll() is None  # looked at before what it printed last
            time.sleep(0.01)
        assert self.process.poll() in (None, 0), self.complaint()

    def wait_for_port(self, port: int) -> None:
        """Wait until a port is listened to, by a server that prints nothing when it is up."""
        deadline = Deadline(DEADLINE)
        while True:
            with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
                return
            assert self.process.poll() is None, self.complaint()
            assert not deadline.over, self.complaint()
            time.sleep(0.01)

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
            **unmeasured(),
            "PATH": f"{path}:{Path(sys.executable).parent}:{os.environ['PATH']}",
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
        if server := SERVER.search(self.local(block.script)):
            terminal.wait_for_port(int(server[1]))

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
                [sys.executable, "-P", "-W", "error", str(ROOT / "tests" / "notebook.py")],
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
            self._notebook.communicate(timeout=patience(DEADLINE))
            complaints = (self.folder / "notebook.err").read_text(encoding="utf-8")
            assert self._notebook.returncode == 0, complaints
            assert not SAID_SO.sub("", complaints), complaints

    def close(self) -> None:
        """End whatever runs."""
        self.interrupt()
        if self._notebook is not None:
            # What it has started, too: it holds the other end of what is read here.
            with suppress(ProcessLookupError):
                os.killpg(self._notebook.pid, signal.SIGKILL)
            self._notebook.communicate(timeout=patience(DEADLINE))
