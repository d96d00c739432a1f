"""`zexchange top`: its screens, and the command as a process, in a terminal and without one."""

import fcntl
import json
import os
import re
import select
import signal
import struct
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

import zexchange
from tests.support import ROOT, Deadline, patience
from zexchange import ExchangeTraffic, Label, NodeTraffic, Traffic
from zexchange.cli.top.keys import keys_in
from zexchange.cli.top.screen import Screen, View
from zexchange.display.tables import amount, as_rows, plain

from .conftest import Shell

ONE, TWO = "1" * 32, "2" * 32


def exchange(name: str, rate: float | None = 5.0, **other: object) -> ExchangeTraffic:
    fields: dict[str, object] = {
        "senders": (ONE,), "listeners": (TWO,), "messages": 50, "bytes": 500, "received": 49,
        "lost": 0, "conflated": 0, "unacknowledged": 1, "slowest": TWO, "bytes_per_second": 50.0,
        "received_per_second": 4.0,
    }  # fmt: skip
    return ExchangeTraffic(name=name, messages_per_second=rate, **{**fields, **other})  # type: ignore[arg-type]


def node(id_: str, name: str, answered: bool = True) -> NodeTraffic:
    rates = 5.0, 50.0, 0.0
    label = Label("host", 7, name)
    return NodeTraffic(id_, label, 1e9, True, answered, 3, 1, 10, 100, 0.5, 0, (), 0, *rates)


def traffic(*exchanges: ExchangeTraffic) -> Traffic:
    return Traffic(exchanges, (node(ONE, "feed"), node(TWO, "screen")))


def text(view: View, width: int = 120, height: int = 12) -> list[str]:
    lines = view.lines(width, height)
    assert len(lines) == height
    assert all(len(line) <= width for line, _ in lines)
    return [line for line, _ in lines]


# ---------------------------------------------------------------------------- the screens


def test_exchanges_come_by_their_rates() -> None:
    """The busiest comes first; ``s`` sorts by the next column."""
    view = View("lab", 1.0)
    view.look(traffic(exchange("a", 1.0), exchange("b", 9.0), exchange("c", None)))
    assert [line.split()[0] for line in text(view)[3:6]] == ["b", "a", "c"]
    view.key("S")
    assert [line.split()[0] for line in text(view)[3:6]] == ["a", "b", "c"]
    assert "10.0 msg/s" not in text(view)[0]
    assert "2 nodes  3 exchanges  10 msg/s" in text(view)[0]


def test_keys_lead_to_three_screens_and_out() -> None:
    """Tab and letters to the nodes, enter to one exchange, escape back, q out."""
    view = View("lab", 1.0)
    view.look(traffic(exchange("a", 2.0), exchange("b", 1.0)))
    view.key("tab")
    assert "feed" in "".join(text(view))
    view.key("e")
    for key in "j", "k", "down":
        view.key(key)
    view.key("enter")
    assert view.screen is Screen.EXCHANGE
    shown = "\n".join(text(view, height=20))
    assert "b" in shown
    assert re.search(r"senders +feed", shown)
    assert re.search(r"listeners +screen", shown)
    view.key("escape")
    assert view.screen is Screen.EXCHANGES
    assert not view.ended
    view.key("q")
    assert view.ended


def test_one_exchange_has_its_last_minute() -> None:
    """A bar for each look, as long as the terminal is wide, at most."""
    view = View("lab", 1.0)
    for n in range(100):
        view.look(traffic(exchange("a", float(n % 8))))
    view.key("enter")
    bars = next(line for line in text(view, 200, 20) if "█" in line)
    assert len(bars) == 60
    assert len(next(line for line in text(view, 30, 20) if "█" in line)) <= 30
    view.look(traffic())
    assert any("no longer" in line or "any longer" in line for line in text(view, 200, 20))


def test_the_selected_row_stays_on_the_screen() -> None:
    """Whatever keys are pressed, and however small the terminal is."""
    view = View("lab", 1.0)
    view.look(traffic(*[exchange(f"x.{n:03}") for n in range(100)]))
    for key in ["down"] * 30 + ["page down", "page up", "home"] + ["page down"] * 9 + ["up"]:
        view.key(key)
        lines = view.lines(80, 10)
        assert any("grey23" in style for _, style in lines), key
    for width, height in ((1, 1), (5, 2), (20, 3), (300, 200)):
        text(view, width, height)


def test_a_narrow_terminal_keeps_the_first_columns() -> None:
    """The name and the rate stay; a long name is cut."""
    view = View("lab", 1.0)
    view.look(traffic(exchange("a.very.long.name.of.an.exchange")))
    heading, row = text(view, 40)[2:4]
    assert heading.split() == ["EXCHANGE", "MSG/S"] or "BYTES/S" in heading
    assert "…" in row
    assert "UNACKED" in text(view, 120)[2]


def test_names_cannot_move_the_cursor() -> None:
    """Text of others is shown escaped."""
    view = View("lab", 1.0)
    view.look(Traffic((exchange("a\x1b[2J"),), (node(ONE, "\x1b[H"),)))
    for key in ("e", "enter", "n"):
        view.key(key)
        assert "\x1b" not in "".join(text(view, 200, 20))


def test_a_node_that_does_not_answer_is_marked() -> None:
    """The first line says how many."""
    view = View("lab", 1.0)
    view.look(Traffic((), (node(ONE, "feed"), node(TWO, "screen", answered=False))))
    assert "2 nodes, 1 without an answer" in text(view)[0]
    earlier = replace(node("3" * 32, "old", answered=False), tells=False)
    found = Traffic((), (node(ONE, "feed"), node(TWO, "screen", answered=False), earlier))
    rows = {row[0]: row for row in as_rows(found)[1]}
    state = rows["NODE"].index("STATE")
    assert [rows[name][state] for name in ("feed", "screen", "old")] == [
        "ok", "no answer", "does not tell",
    ]  # fmt: skip


def test_the_guide_has_the_columns_of_the_tables() -> None:
    """Each column that it explains is there, under the same name."""
    page = (ROOT / "docs" / "guide" / "seeing.md").read_text(encoding="utf-8")
    explained = re.findall(r"`([A-Z][A-Z/]+)`", "".join(re.findall(r"^\| `[A-Z].*?\|", page, re.M)))
    shown = {name for rows in as_rows(traffic()) for name in rows[0]}
    assert len(explained) > 10
    assert set(explained) <= shown


def test_numbers_are_short() -> None:
    """Three digits and a unit on a terminal; elsewhere as they are."""
    values = (None, 0, 0.25, 9.99, 12.4, 999.4, 999.6, 12_345, 1.5e6, 9.99e9)
    assert [amount(v) for v in values] == [
        "-", "0", "0.2", "10.0", "12", "999", "1.0k", "12.3k", "1.5M", "10.0G",
    ]  # fmt: skip
    assert [plain(v) for v in (None, 0, 0.25, 12_345.4)] == ["-", "0", "0.2", "12345"]


def test_keys_come_as_sequences() -> None:
    """Arrows and others, and what is not known is left out."""
    assert keys_in(b"q\x1b[A\x1b[5~\x1b[15~\r\t\x1b") == [
        "q", "up", "page up", "enter", "tab", "escape",
    ]  # fmt: skip


# ---------------------------------------------------------------------------- as a process


@contextmanager
def flowing(shell: Shell) -> Iterator[zexchange.Node]:
    """Two nodes of this process, between which messages flow."""
    here, there, over = zexchange.Registry(), zexchange.Registry(), threading.Event()

    def feed() -> None:
        while not over.wait(0.002):
            here.get("prices.aapl").send({"price": 191.25})
            here.get("orders").send(1)

    there.match("prices.*").attach(zexchange.to_call(lambda msg: None))
    with (
        zexchange.federate("lab", registry=here, label="feed") as node,
        zexchange.federate("lab", registry=there, label="screen"),
    ):
        node.wait_subscribers("prices.aapl")
        thread = threading.Thread(target=feed)
        thread.start()
        yield node
        over.set()
        thread.join()


@pytest.mark.sockets
def test_once_prints_two_tables(shell: Shell) -> None:
    """Exchanges and nodes, in plain text, with rates; the command shows itself nowhere."""
    with flowing(shell) as node:
        ended = shell.run("top", "--federation", "lab", "--once", "--every", "0.3")
        assert ended.returncode == 0, ended.stderr
        exchanges, nodes = (
            part.splitlines() for part in ended.stdout.decode("ascii").split("\n\n")
        )
        assert exchanges[0].split()[:3] == ["EXCHANGE", "MSG/S", "BYTES/S"]
        rows = {line.split()[0]: line.split() for line in exchanges[1:]}
        assert set(rows) == {"prices.aapl", "orders"}
        assert float(rows["prices.aapl"][1]) > 0
        assert rows["prices.aapl"][3:5] == ["1", "1"]
        assert rows["orders"][3:5] == ["1", "0"]
        assert sorted(line.split()[0] for line in nodes[1:]) == ["feed", "screen"]
        assert not any(peer.interest for peer in node.peers if peer.name == "top")


@pytest.mark.sockets
def test_without_a_terminal_it_ends_by_itself(shell: Shell) -> None:
    """Two tables without --once, too; and with nobody there it says so, on standard error."""
    with flowing(shell):
        ended = shell.run("top", "--federation", "lab", "--every", "0.1")
        assert ended.returncode == 0
        assert len(ended.stdout.split(b"\n\n")) == 2
        assert b"nobody" not in ended.stderr
        alone = shell.run("top", "--federation", "labs", "--once", "--every", "0.1")
        assert alone.returncode == 0
        assert b"nobody else is in federation 'labs'" in alone.stderr
        assert b"'lab'" in alone.stderr


@pytest.mark.sockets
@pytest.mark.parametrize("seconds", ["0.05", "6"])
def test_looks_that_are_too_close_or_too_far_apart_are_refused(shell: Shell, seconds: str) -> None:
    """The limits are named."""
    ended = shell.run("top", "--every", seconds)
    assert ended.returncode == 2
    assert b"0.1<=x<=5" in ended.stderr


@pytest.mark.sockets
def test_json_is_a_line_for_each_look(shell: Shell) -> None:
    """With a pattern there is only what it covers; Ctrl-C ends it."""
    with flowing(shell):
        options = "--federation", "lab", "--json", "--every", "0.2"
        ended = shell.run("top", "prices.*", "--once", *options)
        (line,) = ended.stdout.splitlines()
        told = json.loads(line)
        assert [e["name"] for e in told["exchanges"]] == ["prices.aapl"]
        assert {n["label"]["name"] for n in told["nodes"]} == {"feed", "screen"}

        running = shell.start("top", "--federation", "lab", "--json", "--every", "0.1")
        assert running.stdout is not None
        for _ in range(3):
            assert json.loads(running.stdout.readline())["exchanges"]
        running.send_signal(signal.SIGINT)
        assert shell.finish(running)[0] == 130


@pytest.mark.sockets
def test_a_malformed_pattern_is_wrong_usage(shell: Shell) -> None:
    """It is said before anything is joined."""
    ended = shell.run("top", "a.**.b")
    assert ended.returncode == 2
    assert b"**" in ended.stderr


class Terminal:
    """A terminal of its own, in which the command runs."""

    def __init__(self, shell: Shell, width: int, height: int, *arguments: str) -> None:
        self.master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
        self.before = termios.tcgetattr(slave)
        self._slave = slave
        shell.environment |= {"TERM": "xterm-256color"}
        ends = {"stdin": slave, "stdout": slave}
        self.process = shell.start("top", "--federation", "lab", *arguments, **ends)
        self.shown = ""

    def until(self, pattern: str) -> None:
        """Wait until what is printed from here on matches; escape sequences are left out."""
        deadline, self.shown, raw = Deadline(30.0), "", b""
        while not re.search(pattern, self.shown, re.S):
            assert not deadline.over, self.shown
            if select.select([self.master], [], [], 0.1)[0]:
                raw += os.read(self.master, 1 << 16)
                self.shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", raw.decode(errors="replace"))

    def type(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def close(self) -> None:
        os.close(self.master)
        os.close(self._slave)


@pytest.mark.sockets
def test_in_a_terminal(shell: Shell) -> None:
    """It shows the exchanges, then the nodes, one exchange, and leaves the terminal as it was."""
    with flowing(shell):
        terminal = Terminal(shell, 100, 16, "--every", "0.1")
        terminal.until(r"prices\.aapl +\d+")
        terminal.type("n")
        terminal.until(r"NODE.*feed")
        terminal.type("e")
        terminal.until(r"EXCHANGE.*prices")
        terminal.type("\r")
        terminal.until(r"msg/s, .* at most.*listeners")
        terminal.type("\x1b")
        terminal.until(r"EXCHANGE.*prices")
        terminal.type("q")
        assert terminal.process.wait(patience(30)) == 0
        assert termios.tcgetattr(terminal._slave) == terminal.before
        terminal.close()


@pytest.mark.sockets
def test_ctrl_c_leaves_the_terminal_as_it_was(shell: Shell) -> None:
    """Also when a signal ends it."""
    with flowing(shell):
        terminal = Terminal(shell, 60, 10, "--every", "0.1")
        terminal.until(r"prices")
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.process.wait(patience(30)) == 130
        assert termios.tcgetattr(terminal._slave) == terminal.before
        terminal.close()
