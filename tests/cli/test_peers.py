"""`zexchange peers`, as a process."""

import json
import os
import signal
import socket
from collections.abc import Iterator

import pytest

import zexchange
from tests.support import eventually, free_ports, tcp
from zexchange.cli.peers import as_columns

from .conftest import Shell

pytestmark = pytest.mark.sockets


@pytest.fixture
def node(shell: Shell) -> Iterator[zexchange.Node]:
    """A node of this process, with a label, that listens to two things."""
    registry = zexchange.Registry()
    seen: list[object] = []
    task = zexchange.to_call(seen.append)
    registry.get("prices").attach(task)
    registry.match("orders.**").attach(task)
    with zexchange.federate("lab", registry=registry, label="tester") as node:
        yield node


def test_json_names_everybody_else(shell: Shell, node: zexchange.Node) -> None:
    """With --json it is an array of objects, without the command itself."""
    ended = shell.run("peers", "--federation", "lab", "--json")
    assert ended.returncode == 0, ended.stderr
    (peer,) = json.loads(ended.stdout)
    assert peer["id"] == node.id
    assert (peer["host"], peer["pid"]) == (socket.gethostname(), os.getpid())
    assert (peer["label"], peer["interest"]) == ("tester", ["orders.**", "prices"])
    assert peer["ready"]
    assert "T" in peer["since"]


def test_without_a_terminal_it_is_plain(shell: Shell, node: zexchange.Node) -> None:
    """Without a terminal there are headings and one line a peer, in ASCII."""
    shell.environment["ZEXCHANGE_FEDERATION"] = "lab"
    ended = shell.run("peers")
    headings, peer = ended.stdout.decode("ascii").splitlines()
    assert headings.split() == ["HOST", "PID", "LABEL", "INTEREST", "SINCE"]
    host, pid, *rest = peer.split()
    assert (host, pid) == (socket.gethostname(), str(os.getpid()))
    assert rest[:3] == ["tester", "orders.**", "prices"]


def test_a_terminal_shows_a_table(shell: Shell, node: zexchange.Node) -> None:
    """On a terminal it is a table with a rule under its headings."""
    master, slave = os.openpty()
    shell.environment |= {"TERM": "xterm", "COLUMNS": "120"}
    ended = shell.start("peers", "--federation", "lab", stdout=slave)
    os.close(slave)
    shown = b""
    while b"tester" not in shown:
        shown += os.read(master, 4096)
    os.close(master)
    assert "──".encode() in shown
    ended.communicate()


def test_nobody_is_said(shell: Shell) -> None:
    """With nobody there the output is empty, or an empty array."""
    alone = shell.run("peers", "--federation", "nobody")
    assert (alone.returncode, alone.stdout) == (0, b"")
    assert b"nobody else is in federation 'nobody'" in alone.stderr
    assert json.loads(shell.run("peers", "--federation", "nobody", "--json").stdout) == []


def test_other_federations_are_named_where_nobody_is(shell: Shell) -> None:
    """A slip in the name is the likeliest reason."""
    tail = shell.start("tail", "x", "--federation", "lab")
    eventually(lambda: shell.run("peers", "--federation", "lab").stdout)
    assert b"nodes of other federations: 'lab'" in shell.run("peers", "--federation", "labs").stderr
    tail.send_signal(signal.SIGINT)
    shell.finish(tail)  # it leaves no file behind


def test_columns_are_aligned() -> None:
    """A column is as wide as its widest cell, and no line ends in spaces."""
    assert as_columns([("A", "B"), ("long", ""), ("x", "y")]) == ["A     B", "long", "x     y"]


@pytest.mark.parametrize("option", ["--peer", "--hub"])
def test_an_address_where_nobody_answers_is_named(shell: Shell, option: str) -> None:
    """On standard error, with the reason, beside what was found."""
    where = tcp(free_ports()[0])
    ended = shell.run("peers", "--federation", "lab", option, where)
    kind = "peer" if option == "--peer" else "hub"
    assert f"the {kind} {where} has not answered: nothing listens there".encode() in ended.stderr
    assert b"nobody else is in federation 'lab'" in ended.stderr
