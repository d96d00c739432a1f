"""`zexchange web` as a process: where it listens, who may connect, and how it ends."""

import json
import re
import signal
import subprocess

import pytest
from websockets.sync.client import connect

from tests.support import free_ports, patience

from .conftest import Shell


def served(shell: Shell, *options: str) -> "tuple[subprocess.Popen[bytes], str, str]":
    """Start the command; return it, its address, and the token in it."""
    process = shell.start("web", "--listen", "127.0.0.1:0", *options)
    assert process.stderr is not None
    line = process.stderr.readline().decode()
    found = re.fullmatch(r"zexchange: (http://127\.0\.0\.1:\d+/)#token=(\S+)\n", line)
    assert found, line
    return process, found[1], found[2]


@pytest.mark.sockets
def test_it_serves_the_page_to_those_with_the_token(shell: Shell) -> None:
    """Its address has a token, a new one each time; a signal ends it."""
    process, address, token = served(shell)
    assert len(token) >= 32
    watch = address.replace("http", "ws") + "watch"
    with connect(watch, proxy=None) as socket:
        socket.send(json.dumps({"zexchange": 1, "token": token}))
        assert json.loads(socket.recv(patience()))["welcome"] == "default"
    with connect(address.replace("http", "ws") + "ws", proxy=None) as socket:
        hello = {"zexchange": 1, "token": token, "session": "", "received": 0, "handled": 0}
        socket.send(json.dumps(hello))
        assert b"welcome" in socket.recv(patience())  # the gateway
    process.send_signal(signal.SIGTERM)
    status, _, err = shell.finish(process)
    assert status == 128 + signal.SIGTERM
    assert b"Traceback" not in err


@pytest.mark.sockets
def test_other_hosts_need_a_token_and_a_pattern(shell: Shell) -> None:
    """It does not listen for them otherwise, and says what to do."""
    for options in ([], ["--token", "x"], ["--allow", "**"]):
        done = shell.run("web", "--listen", "0.0.0.0:0", *options)
        assert done.returncode == 2
        assert b"--token" in done.stderr
        assert b"--allow" in done.stderr
    assert shell.run("web", "--token", "").returncode == 2
    assert b"InvalidName" not in (done := shell.run("web", "--allow", "a*")).stderr
    assert done.returncode == 2
    assert shell.run("web", "--listen", "nowhere").returncode == 2


@pytest.mark.sockets
def test_a_taken_port_is_told(shell: Shell) -> None:
    """With what to do about it."""
    port = free_ports()[0]
    first = shell.start("web", "--listen", f"127.0.0.1:{port}")
    assert first.stderr is not None
    assert first.stderr.readline()
    done = shell.run("web", "--listen", f"127.0.0.1:{port}")
    assert done.returncode == 1
    assert b"in use; choose another address with --listen" in done.stderr
    first.send_signal(signal.SIGTERM)
    assert shell.finish(first)[0] == 128 + signal.SIGTERM
