"""`zexchange hub`: it carries nodes, prints what it carries, and ends quietly."""

import json
import os
import signal
from pathlib import Path

import pytest

from tests.cli.conftest import Shell

pytestmark = pytest.mark.sockets


def start(shell: Shell, *arguments: str) -> tuple[object, str]:
    """Start a hub at a free port; return it and its endpoint."""
    hub = shell.start("hub", "--listen", "tcp://127.0.0.1:0", "--every", "0.2", *arguments)
    assert hub.stderr is not None
    line = hub.stderr.readline().decode()
    assert line.startswith("zexchange: a hub of federation 'default' at tcp://127.0.0.1:")
    return hub, line.split()[-1]


def test_commands_meet_at_a_hub(shell: Shell) -> None:
    """What `send --hub` sends comes to `tail --hub`, and the hub says whom it carries."""
    hub, endpoint = start(shell)
    tail = shell.start("tail", "x", "--count", "2", "--hub", endpoint)
    assert hub.stdout is not None  # type: ignore[attr-defined]
    while not hub.stdout.readline().startswith(b"1 nodes, 0 hubs"):  # type: ignore[attr-defined]
        assert hub.poll() is None  # type: ignore[attr-defined]
    sent = shell.run("send", "x", "--wait", "1", "--hub", endpoint, text=b"one\ntwo\n")
    assert sent.returncode == 0, sent.stderr
    status, out, _ = shell.finish(tail)
    assert (status, out) == (0, b"one\ntwo\n")
    hub.send_signal(signal.SIGINT)  # type: ignore[attr-defined]
    status, _, err = shell.finish(hub)  # type: ignore[arg-type]
    assert (status, err) == (130, b"")


def test_lines_for_scripts(shell: Shell) -> None:
    """``--json`` prints what passed so far as lines of JSON."""
    hub, _ = start(shell, "--json")
    line = json.loads(hub.stdout.readline())  # type: ignore[attr-defined]
    assert (line["nodes"], line["frames"], line["rejected"]) == (0, 0, {})
    hub.terminate()  # type: ignore[attr-defined]
    assert shell.finish(hub)[0] == 143  # type: ignore[arg-type]


def test_a_hub_that_cannot_listen_says_why(shell: Shell) -> None:
    """A taken port is one line of complaint, and so is an endpoint that others could reach."""
    _, endpoint = start(shell)
    taken = shell.run("hub", "--listen", endpoint)
    assert taken.returncode == 1
    assert taken.stderr.startswith(b"Error: cannot listen on " + endpoint.encode())
    open_ = shell.run("hub", "--listen", "tcp://0.0.0.0:0")
    assert open_.returncode == 1
    assert b"insecure" in open_.stderr


def test_nobody_reads_what_it_prints(shell: Shell) -> None:
    """A hub whose output is closed ends as a command of a shell does."""
    read, write = os.pipe()
    hub = shell.start(
        "hub", "--listen", "tcp://127.0.0.1:0", "--every", "0.1", "--json", stdout=write
    )
    os.close(write)
    os.close(read)
    assert shell.finish(hub)[0] == 141


def keys(shell: Shell, home: Path, *names: str) -> list[str]:
    """Make key directories, each of which authorizes the others, and return their paths."""
    places = [home / name for name in names]
    for place in places:
        made = shell.run("keygen", str(place))
        assert made.returncode == 0, made.stderr
    for place in places:
        for other in places:
            line = (other / "node.pub").read_text()
            (place / "authorized" / f"{other.name}.pub").write_text(line)
    return [str(place) for place in places]


def test_commands_meet_at_a_hub_with_keys(shell: Shell, tmp_path: Path) -> None:
    """With keys everywhere messages cross, and the doctor finds nothing wrong."""
    relay, north, south = keys(shell, tmp_path, "relay", "north", "south")
    for place in (north, south):
        Path(place, "permissions.toml").write_text("[relay]\nhub = true\n")
    _, endpoint = start(shell, "--keys", relay)
    tail = shell.start("tail", "x", "--count", "2", "--hub", endpoint, "--keys", north)
    there = ("--hub", endpoint, "--keys", south)
    sent = shell.run("send", "x", "--wait", "1", *there, text=b"one\ntwo\n")
    assert sent.returncode == 0, sent.stderr
    status, out, _ = shell.finish(tail)
    assert (status, out) == (0, b"one\ntwo\n")


def test_the_doctor_says_why_a_hub_is_refused(shell: Shell, tmp_path: Path) -> None:
    """A hub that is not marked, a key that it does not know, no keys: as soon as that is known."""
    relay, north, _ = keys(shell, tmp_path, "relay", "north", "other")
    (stranger,) = keys(shell, tmp_path, "stranger")
    _, endpoint = start(shell, "--keys", relay)
    for arguments, words in (
        (("--keys", north), "may not carry others here: write hub = true"),
        (("--keys", stranger), "has none of the keys that are authorized here"),
        ((), "has keys and we have none"),
    ):
        said = shell.run("doctor", "--hub", endpoint, "--patience", "3600", *arguments).stdout
        assert said.splitlines()[-1].startswith(f"Likeliest cause: The hub at {endpoint}".encode())
        assert words.encode() in said.splitlines()[-1]
    line = (tmp_path / "relay" / "node.pub").read_text()
    (tmp_path / "stranger" / "authorized" / "relay.pub").write_text(line)
    Path(stranger, "permissions.toml").write_text("[relay]\nhub = true\n")
    said = shell.run("doctor", "--hub", endpoint, "--patience", "3600", "--keys", stranger).stdout
    assert b"does not know our key" in said.splitlines()[-1]
