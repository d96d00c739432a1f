"""`zexchange send`, as a process."""

import json
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.support import free_ports, patience, tcp
from zexchange.cli.group import commands

from .conftest import DEADLINE, Shell

pytestmark = pytest.mark.sockets
LINES = b"plain\n\nGr\xc3\xbc\xc3\x9fe \xf0\x9f\x8e\x89\n\xff\xfe not UTF-8\ncarriage\r\nlast"


def told(shell: Shell, text: bytes, count: int, *options: str, status: int = 0) -> list[object]:
    """Send ``text`` to a tail that prints JSON; return what it printed."""
    tail = shell.start("tail", "lines", "--json", "--count", str(count))
    sent = shell.run("send", "lines", "-", "--wait", "1", *options, text=text)
    assert sent.returncode == status, sent.stderr
    assert sent.stdout == b""
    code, out, _ = shell.finish(tail)
    assert code == 0
    return [json.loads(line) for line in out.splitlines()]


def test_a_line_is_a_message(shell: Shell) -> None:
    """Only a newline ends a line; what is not UTF-8 is bytes; the last needs no newline."""
    received = told(shell, LINES, 6)
    assert received == [
        "plain",
        "",
        "Grüße 🎉",
        {"base64": "//4gbm90IFVURi04"},
        "carriage\r",
        "last",
    ]


def test_json_lines_are_values(shell: Shell) -> None:
    """With --json each line is parsed."""
    assert told(shell, b'{"a": [1, null]}\n1.5\n"x"\n', 3, "--json") == [{"a": [1, None]}, 1.5, "x"]


@pytest.mark.parametrize("bad", [b"{", b"", b"\xff", b"[" * 100_000, b'"\xed\xa0\x80"'])
def test_a_bad_line_is_named(shell: Shell, bad: bytes) -> None:
    """The lines before a bad one are delivered; the error has its number."""
    tail = shell.start("tail", "lines", "--count", "2")
    text = b"1\n2\n" + bad + b"\n4\n"
    sent = shell.run("send", "lines", "-", "--wait", "1", "--json", text=text)
    assert sent.returncode == 1
    assert b"line 3 is no message" in sent.stderr
    assert b"Traceback" not in sent.stderr
    assert shell.finish(tail)[:2] == (0, b"1\n2\n")


def test_a_file_is_sent(shell: Shell, tmp_path: Path) -> None:
    """FILE is read instead of standard input."""
    path = tmp_path / "lines.txt"
    path.write_bytes(LINES)
    tail = shell.start("tail", "lines", "--count", "6")
    assert shell.run("send", "lines", str(path), "--wait", "1").returncode == 0
    assert shell.finish(tail)[1] == LINES + b"\n"


def test_what_is_waited_for_is_said_after_a_while(shell: Shell) -> None:
    """A newcomer who has mistyped a name need not wait for the timeout to hear of it."""
    sent = shell.start("send", "lines", "--wait", "1", stdin=subprocess.PIPE)
    assert sent.stderr
    assert b"still waiting: federation 'default': 0 of 1 nodes receive" in sent.stderr.readline()
    tail = shell.start("tail", "lines", "--count", "1")
    sent.communicate(b"x\n", patience(DEADLINE))
    assert (sent.returncode, shell.finish(tail)[1]) == (0, b"x\n")


def test_waiting_for_nobody_fails(shell: Shell) -> None:
    """With --wait and nobody there it fails after --timeout, and says what is missing."""
    sent = shell.run("send", "lines", "--wait", "2", "--timeout", "0.2", text=b"x\n")
    assert sent.returncode == 1
    assert b"0 of 2 nodes receive 'lines'" in sent.stderr
    assert b"Traceback" not in sent.stderr


@pytest.mark.parametrize("option", ["--peer", "--hub"])
def test_an_address_where_nobody_answers_is_named(shell: Shell, option: str) -> None:
    """All lines were delivered, and yet it ends with 1: somebody was missing, and why is said."""
    where = tcp(free_ports()[0])
    tail = shell.start("tail", "lines", "--count", "1")
    sent = shell.run("send", "lines", option, where, "--wait", "1", "--timeout", "2", text=b"x\n")
    kind = "peer" if option == "--peer" else "hub"
    missing = f"the {kind} {where} has not answered: nothing listens there".encode()
    assert shell.finish(tail)[1] == b"x\n"
    assert sent.returncode == 1
    warned, failed = sent.stderr.splitlines()
    assert warned == b"zexchange: federation 'default': " + missing
    assert failed.startswith(b"Error: ")
    assert missing in failed


def test_what_has_failed_does_not_wait_for_who_is_missing(shell: Shell) -> None:
    """Nobody listened, which no peer that comes later can change."""
    where = tcp(free_ports()[0])
    sent = shell.run("send", "lines", "--peer", where, "--timeout", "3600", text=b"x\n")
    assert sent.returncode == 1
    assert f"{where} has not answered: nothing listens there".encode() in sent.stderr
    assert b"nobody listened to 1 of 1 lines" in sent.stderr


def test_sending_to_nobody_is_said(shell: Shell) -> None:
    """Lines that nobody listened to are counted on standard error, and end it with 1."""
    sent = shell.run("send", "lines", text=b"x\ny\n")
    assert sent.returncode == 1
    assert b"nobody listened to 2 of 2 lines" in sent.stderr


def test_what_is_typed_is_sent_at_once(shell: Shell) -> None:
    """A line is with the listener before the next is written."""
    tail = shell.start("tail", "lines", "--count", "2")
    send = shell.start("send", "lines", "--wait", "1", stdin=subprocess.PIPE)
    assert send.stdin is not None
    assert tail.stdout is not None
    for line in (b"one\n", b"two\n"):
        send.stdin.write(line)
        send.stdin.flush()
        assert tail.stdout.readline() == line
    assert shell.finish(send)[0] == 0
    assert shell.finish(tail)[0] == 0


@pytest.mark.parametrize(
    "arguments",
    [["send"], ["send", "x", "/no/such/file"], ["send", "x", "--wait", "-1"], ["send", "x", "-q"]],
)
def test_wrong_use_is_status_2(arguments: list[str]) -> None:
    """Wrong use ends with status 2 and says how."""
    result = CliRunner().invoke(commands, arguments)
    assert result.exit_code == 2
    assert "Error" in result.output


def test_a_pattern_is_no_name(shell: Shell) -> None:
    """Sending on a pattern is refused, in one line."""
    sent = shell.run("send", "a.*", text=b"x\n")
    assert sent.returncode == 1
    assert sent.stderr.startswith(b"Error: 'a.*' is a pattern")
