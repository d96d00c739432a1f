"""`zexchange tail --group`, as processes: each line is printed by one of them."""

import io
import json
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import zexchange
from tests.support import eventually, patience
from zexchange.cli.tail import copy
from zexchange.display.text import as_text

from .conftest import DEADLINE, Shell

pytestmark = pytest.mark.sockets


@pytest.fixture
def node(shell: Shell) -> Iterator[zexchange.Node]:
    """A node of this process in the federation of the commands."""
    with zexchange.federate("default", registry=zexchange.Registry()) as node:
        yield node


def shared(node: zexchange.Node, name: str, members: int) -> zexchange.Exchange[object]:
    """Return an exchange once its group has so many members."""
    roster = node.registry._groups()
    eventually(lambda: len(roster._index.on(name)) == members)
    return node.registry.get(name)


def test_two_tails_share(shell: Shell, node: zexchange.Node, tmp_path: Path) -> None:
    """Each message is printed by one of them, which acknowledges it; both get some."""
    paths = [tmp_path / str(n) for n in range(2)]
    tails = []
    for path in paths:
        with path.open("wb") as file:
            tails.append(shell.start("tail", "share.*", "--group", "g", stdout=file))
    exchange = shared(node, "share.x", 2)
    for n in range(200):
        exchange.send(n)
    eventually(lambda: exchange.stats().groups[0].under_way == exchange.stats().groups[0].owed == 0)
    printed = [path.read_text().split() for path in paths]
    assert sorted(int(n) for one in printed for n in one) == list(range(200))
    assert all(printed)
    for tail in tails:
        tail.terminate()
        assert tail.wait(patience(DEADLINE)) == 128 + signal.SIGTERM


def test_a_message_counts_once_it_is_printed(shell: Shell, node: zexchange.Node) -> None:
    """Of one that cannot print, another one gets the message, marked; none is missing."""
    reading, writing = os.pipe()
    first = shell.start("tail", "cut", "--group", "g", stdout=writing)
    os.close(writing)
    exchange = shared(node, "cut", 1)
    os.close(reading)
    exchange.send("lost to the first")
    first.wait(patience(DEADLINE))
    second = shell.start("tail", "cut", "--group", "g", "--headers", "--json", "--count", "1")
    code, out, _ = shell.finish(second)
    assert code == 0
    assert json.loads(out) == {
        "name": "cut",
        "headers": {},
        "redelivered": True,
        "message": "lost to the first",
    }


def test_each_message_is_out_before_the_next_is_taken() -> None:
    """Of messages that wait, none counts as handled while it is in a buffer."""
    exchange = zexchange.Registry().get("x")
    output = io.BufferedWriter(Full())

    def print_all() -> None:
        with exchange.stream(group="g", details=True) as stream:
            for n in range(3):
                exchange.send(n)
            copy(stream, output, as_text, 3, lambda: None, at_once=True)

    with pytest.raises(BrokenPipeError):
        print_all()
    with exchange.stream(group="g") as other:
        assert [other.get(0) for _ in range(3)] == [0, 1, 2]
    with suppress(BrokenPipeError):
        output.close()


class Full(io.RawIOBase):
    """An output that nobody reads any longer."""

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        raise BrokenPipeError


def test_a_count_is_kept(shell: Shell, node: zexchange.Node) -> None:
    """One that has printed enough leaves; it has handled what it printed, and no more."""
    tail = shell.start("tail", "some", "other", "--group", "g", "--count", "3")
    exchange = shared(node, "some", 1)
    with node.registry.get("some").stream(group="late") as late:
        for n in range(5):
            exchange.send(n)
        code, out, _ = shell.finish(tail)
        assert (code, out) == (0, b"0\n1\n2\n")
        with exchange.stream(group="g") as rest:
            assert [rest.get(patience(DEADLINE)) for _ in range(2)] == [3, 4]
        assert late.get(0) == 0, "another group gets all"


def test_no_history(shell: Shell) -> None:
    """Asked for both, it says why it cannot have both."""
    refused = shell.run("tail", "x", "--group", "g", "--history", "3")
    assert refused.returncode == 2
    assert b"no history" in refused.stderr
