"""`zexchange doctor`, as a process on one host; between hosts see `tests/hosts`."""

import json
import os

import pytest

import zexchange
from tests.support import eventually, free_ports
from zexchange.display.diagnosis import facts
from zexchange.net.transport import native
from zexchange.protocol.codec.batches import decoder_name

from .conftest import Shell

pytestmark = pytest.mark.sockets


def test_it_is_well(shell: Shell) -> None:
    """With a peer that listens, the status is 0, and the exchange's listener is shown."""
    registry = zexchange.Registry()
    registry.match("prices.*").attach(zexchange.to_call(lambda msg: None))
    with zexchange.federate("lab", registry=registry, label="tester"):
        ended = shell.run("doctor", "--federation", "lab", "prices.AAPL")
    said = ended.stdout.decode("ascii")
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert "tester@" in said
    assert f"decodes by   {decoder_name()}\n" in said
    assert "prices.*" in said
    assert said.splitlines()[-1].startswith("Nothing is wrong: 1 peer is ready both ways")


def test_members_of_a_group_are_shown(shell: Shell) -> None:
    """A process that only takes a share is well, and the group is in the table and in a note."""
    registry = zexchange.Registry()
    with registry.match("jobs.*").stream(group="workers"):
        with zexchange.federate("lab", registry=registry, label="tester"):
            ended = shell.run("doctor", "--federation", "lab", "jobs.a")
    said = ended.stdout.decode("ascii")
    assert (ended.returncode, ended.stderr) == (0, b""), said
    assert "group workers" in said
    assert "Group 'workers' of 'jobs.a' has 1 member.\n" in said


def test_nobody_listens(shell: Shell) -> None:
    """Asked for a name in the wrong case, it says what is listened to, and the status is 1."""
    registry = zexchange.Registry()
    registry.get("prices").attach(zexchange.to_call(lambda msg: None))
    with zexchange.federate("lab", registry=registry):
        ended = shell.run("doctor", "--federation", "lab", "Prices", "--json")
    found = json.loads(ended.stdout)
    assert (ended.returncode, found["healthy"]) == (1, False)
    assert "Listened to is 'prices'" in found["conclusion"]


def test_alone_on_a_terminal(shell: Shell) -> None:
    """On a terminal it is coloured, and still ends with the cause."""
    port, _ = free_ports()
    master, slave = os.openpty()
    shell.environment |= {"TERM": "xterm", "COLUMNS": "200"}
    there = f"tcp://127.0.0.1:{port}"
    ended = shell.start("doctor", "--peer", there, "--patience", "0.2", stdout=slave)
    os.close(slave)
    shown = b""
    while b"not loopback" not in shown:
        shown += os.read(master, 4096)
    os.close(master)
    assert b"\x1b[" in shown
    assert f"Likeliest cause: Nothing listens at {there}".encode() in shown
    ended.communicate()
    assert ended.returncode == 1


def test_what_cannot_join_says_why(shell: Shell) -> None:
    """An endpoint that needs consent is an error, as for every command."""
    ended = shell.run("doctor", "--peer", "tcp://192.0.2.1:7400")
    assert ended.returncode == 1
    assert b"insecure=True" in ended.stderr


@pytest.mark.parametrize("kept", [True, False])
def test_a_send_that_lets_go_of_the_lock_is_named(
    rendezvous: object, monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    """Only where pyzmq's library cannot be reached."""
    monkeypatch.setattr(native, "KEPT", kept)
    with zexchange.federate("lab", registry=zexchange.Registry()) as node:
        named = [name for name, _ in facts(node.diagnose("x"))]
    assert ("sends by" in named) is not kept


def test_a_node_examines_itself(rendezvous: object) -> None:
    """`Node.diagnose` says the same inside a program."""
    first, second = zexchange.Registry(), zexchange.Registry()
    second.get("x").attach(zexchange.to_call(lambda msg: None))
    with zexchange.federate("lab", registry=first) as node:
        with zexchange.federate("lab", registry=second):
            node.wait_subscribers("x", 1)
            eventually(lambda: node.diagnose("x").healthy)
        eventually(lambda: not node.peers)  # its goodbye is still on the way
        found = node.diagnose("x")
    assert not found.healthy
    assert "Nobody else is in federation 'lab'" in str(found)
