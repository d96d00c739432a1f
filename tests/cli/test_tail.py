"""`zexchange tail`, as a process."""

import io
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import zexchange
from tests.net.test_hub import three_ports
from tests.support import free_ports, patience, tcp
from zexchange.cli.tail import Losses, copy
from zexchange.display.text import as_text
from zexchange.net.hub.hub import Hub

from .conftest import DEADLINE, Shell

pytestmark = pytest.mark.sockets
COUNT = 20_000


@pytest.fixture
def node(shell: Shell) -> Iterator[zexchange.Node]:
    """A node of this process in the federation of the commands."""
    with zexchange.federate("default", registry=zexchange.Registry()) as node:
        yield node


def exchange(node: zexchange.Node, name: str) -> zexchange.Exchange[object]:
    return node._registry.get(name)


def tail_into(shell: Shell, path: Path, count: int) -> "subprocess.Popen[bytes]":
    """Start a tail that writes to a file: a pipe that nobody reads would hold the sender."""
    with path.open("wb") as file:
        return shell.start("tail", "lines", "--count", str(count), stdout=file)


def test_three_tails_get_every_line(shell: Shell, tmp_path: Path) -> None:
    """Every tail prints exactly what was sent, byte for byte."""
    text = b"".join(b"%d caf\xc3\xa9 %c\n" % (n, 0xFF if n % 7 else 0x20) for n in range(COUNT))
    paths = [tmp_path / str(n) for n in range(3)]
    tails = [tail_into(shell, path, COUNT) for path in paths]
    sent = shell.run("send", "lines", "--wait", "3", text=text)
    assert (sent.returncode, sent.stdout) == (0, b""), sent.stderr
    assert [tail.wait(patience(DEADLINE)) for tail in tails] == [0, 0, 0]
    for path in paths:
        assert path.read_bytes() == text


def test_one_that_leaves_early_harms_nobody(shell: Shell, tmp_path: Path) -> None:
    """A tail that has enough leaves; the others get all, and the sender ends well."""
    text = b"".join(b"%d\n" % n for n in range(COUNT))
    early = tail_into(shell, tmp_path / "early", 10)
    late = tail_into(shell, tmp_path / "late", COUNT)
    assert shell.run("send", "lines", "--wait", "2", text=text).returncode == 0
    assert (early.wait(patience(DEADLINE)), late.wait(patience(DEADLINE))) == (0, 0)
    assert (tmp_path / "early").read_bytes() == text[:20]
    assert (tmp_path / "late").read_bytes() == text


def test_names_and_patterns_overlap(shell: Shell, node: zexchange.Node) -> None:
    """What several names cover is printed once, with its name; values as JSON."""
    tail = shell.start("tail", "a.x", "a.*", "b", "--names", "--count", "3")
    node.wait_subscribers("a.x", 1, patience(DEADLINE))
    exchange(node, "a.x").send("text")
    exchange(node, "b").send({"k": (1, None)})
    exchange(node, "c").send("nobody asked")
    exchange(node, "a.y").send(b"\xff")
    code, out, _ = shell.finish(tail)
    assert code == 0
    assert sorted(out.splitlines()) == [b"a.x\ttext", b"a.y\t\xff", b'b\t{"k":[1,null]}']


def test_json_with_names_is_an_object(shell: Shell, node: zexchange.Node) -> None:
    """With both options each line is an object."""
    tail = shell.start("tail", "**", "--names", "--json", "--count", "2")
    node.wait_subscribers("a", 1, patience(DEADLINE))
    for message in ("x", {"k": {1}}):
        exchange(node, "a").send(message)
    lines = shell.finish(tail)[1].splitlines()
    assert [json.loads(line) for line in lines] == [
        {"name": "a", "message": "x"},
        {"name": "a", "message": {"k": [1]}},
    ]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_quietly(
    shell: Shell, node: zexchange.Node, number: int, status: int
) -> None:
    """What came is printed, nothing is complained of, and the status is the usual one."""
    tail = shell.start("tail", "a")
    node.wait_subscribers("a", 1, patience(DEADLINE))
    exchange(node, "a").send("x")
    node.flush()
    assert tail.stdout is not None
    assert tail.stdout.readline() == b"x\n"
    tail.send_signal(number)
    assert shell.finish(tail) == (status, b"", b"")


def test_nobody_reading_ends_it_quietly(shell: Shell, node: zexchange.Node) -> None:
    """When the reader of its output has gone it ends, without a further message."""
    reading, writing = os.pipe()
    tail = shell.start("tail", "a", stdout=writing)
    os.close(writing)
    node.wait_subscribers("a", 1, patience(DEADLINE))
    exchange(node, "a").send("x")
    assert os.read(reading, 10) == b"x\n"
    os.close(reading)
    _, err = tail.communicate(timeout=patience(DEADLINE))
    assert (tail.returncode, err) == (141, b"")


def test_a_flood_into_a_closed_pipe_ends_quietly(shell: Shell) -> None:
    """A pipe that closes in a flood ends the tail; its sender may say that it had gone."""
    tail = shell.start("tail", "lines")
    head = subprocess.Popen(["head", "-n", "3"], stdin=tail.stdout, stdout=subprocess.PIPE)
    assert tail.stdout is not None
    tail.stdout.close()
    text = b"".join(b"%d\n" % n for n in range(COUNT))
    sent = shell.run("send", "lines", "--wait", "1", text=text)
    assert sent.returncode == (1 if sent.stderr else 0)
    assert not sent.stderr or b"nobody listened to" in sent.stderr
    assert head.communicate(timeout=patience(DEADLINE))[0] == b"0\n1\n2\n"
    assert tail.stderr is not None
    assert tail.stderr.read() == b""
    assert tail.wait(patience(DEADLINE)) == 141


class Losing:
    """Stands in for a node of which a peer's messages were lost."""

    def __init__(self, *lost: int) -> None:
        self._lost = iter(lost)
        self.peers = ()

    def stats(self) -> zexchange.NodeStats:
        came = zexchange.Received(received=10, duplicates=0, lost=next(self._lost))
        return zexchange.NodeStats({}, {("a", "0123456789"): came}, 0, 0, {}, {})


def test_losses_are_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Each new loss is said on standard error with its count, and an old one not again."""
    losses = Losses(Losing(0, 3, 3, 5))  # type: ignore[arg-type]
    for _ in range(4):
        losses.tell()
    out, err = capsys.readouterr()
    assert out == ""
    first, second = err.splitlines()
    assert "3 messages lost so far of 'a' from node 01234567" in first
    assert "(10 received)" in first
    assert "5 messages lost" in second


def test_a_notice_among_messages_is_not_printed() -> None:
    """What is not a message is not counted and not printed."""
    registry = zexchange.Registry()
    source = registry.get("a")
    with source.stream(details=True) as stream:
        source.send("x")
        source._report(zexchange.Lost("a", "o", 1, 2, "gone"))
        source.send("y")
        output = Output()
        copy(stream, output, as_text, 2, lambda: None)
        assert output.getvalue() == b"x\ny\n"


class Output(io.BytesIO):
    def fileno(self) -> int:
        return 1


def test_history_comes_first(shell: Shell, node: zexchange.Node) -> None:
    """What a sender has kept is printed before what it sends from then on."""
    node._registry.retain("**", 2)
    for n in range(4):
        exchange(node, "state.a").send(f"old {n}")
    exchange(node, "other").send("kept")
    options = "--history", "2", "--count", "4"
    tail = shell.start("tail", "state.*", "other", *options, stdout=subprocess.PIPE)
    assert tail.stdout is not None
    first = sorted(tail.stdout.readline() for _ in range(3))
    assert first == [b"kept\n", b"old 2\n", b"old 3\n"]
    exchange(node, "state.a").send("new")
    assert tail.stdout.read() == b"new\n"
    assert tail.wait(patience(DEADLINE)) == 0


def said_until(tail: "subprocess.Popen[bytes]", text: str) -> str:
    """Return the line that a command says on standard error and that has a text in it."""
    assert tail.stderr is not None
    for line in tail.stderr:
        if text in line.decode():
            return line.decode().strip()
    raise AssertionError(f"it ended without a word of {text!r}")


@pytest.mark.parametrize("option", ["--peer", "--hub"])
def test_an_address_where_nobody_answers_is_named(shell: Shell, option: str) -> None:
    """On standard error, with the reason, while it waits for messages."""
    where = tcp(free_ports()[0])
    tail = shell.start("tail", "lines", option, where)
    kind = "peer" if option == "--peer" else "hub"
    assert said_until(tail, where) == (
        f"zexchange: federation 'default': the {kind} {where} has not answered: "
        "nothing listens there"
    )
    tail.terminate()
    shell.finish(tail)


def test_a_hub_that_dies_is_told_and_that_it_is_back(shell: Shell) -> None:
    """What is printed has a hole in it perhaps, and its reader knows when."""
    where = three_ports()
    hub = Hub("default", where)
    tail = shell.start("tail", "lines", "--hub", where)
    with zexchange.federate(
        "default", registry=zexchange.Registry(), hub=where, local=False
    ) as node:
        node.wait_subscribers("lines", 1, patience(DEADLINE))
    hub.close()
    assert said_until(tail, where).endswith(f"the hub {where} does not answer any more")
    hub = Hub("default", where)
    try:
        assert said_until(tail, where).endswith(f"the hub {where} answers again")
    finally:
        hub.close()
    tail.terminate()
    shell.finish(tail)
