"""`zexchange request` and `zexchange respond`, as processes."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

import zexchange
from tests.support import PATIENCE, eventually

from .conftest import DEADLINE, Shell

pytestmark = pytest.mark.sockets
UPPER = (sys.executable, "-c", "import sys; print(sys.stdin.read().upper(), end='')")


@pytest.fixture
def node(shell: Shell) -> Iterator[zexchange.Node]:
    """A node of this process in the federation of the commands."""
    with zexchange.federate("default", registry=zexchange.Registry()) as node:
        yield node


def end(shell: Shell, there: "subprocess.Popen[bytes]") -> None:
    """End a `respond`, which says goodbye, and exits as a shell expects."""
    there.terminate()
    assert shell.finish(there)[0] == 128 + signal.SIGTERM


def answered(node: zexchange.Node, name: str) -> zexchange.Exchange[object]:
    """Wait until somebody answers on an exchange, and return it."""
    exchange = node.registry.get(name)
    eventually(lambda: exchange._responding())
    return exchange


def test_a_program_answers(shell: Shell, node: zexchange.Node) -> None:
    """The question is its input and its output the answer; the asker's status is 0."""
    there = shell.start("respond", "cli.upper", "--", *UPPER)
    exchange = answered(node, "cli.upper")
    asked = shell.run("request", "cli.upper", "hello $HOME; x")
    assert (asked.returncode, asked.stdout) == (0, b"HELLO $HOME; X\n")
    asked = shell.run("request", "cli.upper", "--all", text=b"from stdin")
    assert (asked.returncode, asked.stdout) == (0, b"FROM STDIN\n")
    assert exchange.request("x", PATIENCE) == "X"
    end(shell, there)


def test_a_responder_is_waited_for(shell: Shell, node: zexchange.Node) -> None:
    """As long as ``--wait`` says, if nobody answers yet."""
    asked = shell.start("request", "cli.late", "hello", "--wait", str(DEADLINE))
    eventually(lambda: node.peers)
    there = shell.start("respond", "cli.late", "--", *UPPER)
    status, out, _ = shell.finish(asked)
    assert (status, out) == (0, b"HELLO\n")
    end(shell, there)


def test_a_program_that_fails(shell: Shell, node: zexchange.Node) -> None:
    """Another status than 0 is `RequestFailed` for the asker, and the next question is answered."""
    there = shell.start("respond", "cli.fail", "--", sys.executable, "-c", "raise SystemExit(3)")
    exchange = answered(node, "cli.fail")
    with pytest.raises(zexchange.RequestFailed, match="ended with 3"):
        exchange.request("x", PATIENCE)
    asked = shell.run("request", "cli.fail", "x", "--timeout", str(DEADLINE))
    assert asked.returncode == 1
    assert b"ended with 3" in asked.stderr
    assert b"Traceback" not in asked.stderr
    there.terminate()
    status, _, told = shell.finish(there)
    assert status == 128 + signal.SIGTERM
    assert b"ended with 3" in told
    assert b"Traceback" not in told


def test_a_program_that_takes_too_long(shell: Shell, node: zexchange.Node) -> None:
    """It is ended, and the asker is told so."""
    hang = ("--timeout", "0.1", "--", sys.executable, "-c", "import time; time.sleep(3600)")
    there = shell.start("respond", "cli.hang", *hang)
    exchange = answered(node, "cli.hang")
    with pytest.raises(zexchange.RequestFailed, match=r"took over 0\.1 s"):
        exchange.request("x", PATIENCE)
    end(shell, there)


def test_json(shell: Shell, node: zexchange.Node) -> None:
    """With --json question and answer are values."""
    twice = "import json, sys; print(json.dumps(json.load(sys.stdin) * 2))"
    there = shell.start("respond", "cli.json", "--json", "--", sys.executable, "-c", twice)
    exchange = answered(node, "cli.json")
    assert exchange.request([1], PATIENCE) == [1, 1]
    asked = shell.run("request", "cli.json", "[2]", "--json")
    assert json.loads(asked.stdout) == [2, 2]
    asked = shell.run("request", "cli.json", "{", "--json")
    assert (asked.returncode, b"is no JSON" in asked.stderr) == (1, True)
    end(shell, there)


@pytest.mark.parametrize("options", [(), ("--all",)])
def test_nobody_answers(shell: Shell, options: tuple[str, ...]) -> None:
    """The status is 1, and the text says so."""
    asked = shell.run("request", "cli.nobody", "x", *options)
    assert asked.returncode == 1
    assert b"nobody answers" in asked.stderr


def test_tail_shows_headers(shell: Shell, node: zexchange.Node) -> None:
    """With --headers they stand before the message, or in the JSON object."""
    exchange = node.registry.get("cli.headers")
    tails = [
        shell.start("tail", "cli.headers", "--headers", "--count", "1", *more)
        for more in ((), ("--json",))
    ]
    node.wait_subscribers("cli.headers", 2, DEADLINE)
    exchange.send_with("hi", headers={"a": 1})
    assert shell.finish(tails[0])[1] == b'{"a":1}\thi\n'
    told = json.loads(shell.finish(tails[1])[1])
    assert told == {
        "name": "cli.headers",
        "headers": {"a": 1},
        "redelivered": False,
        "message": "hi",
    }
