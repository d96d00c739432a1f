"""`zexchange keygen`, and joining with the keys that it makes."""

import shutil

import pytest

from tests.support import free_ports, tcp

from .conftest import Shell

pytestmark = pytest.mark.sockets


def test_keygen_prints_the_line_to_hand_out(shell: Shell) -> None:
    """The line is data, on stdout and in the file; the secret is in neither."""
    made = shell.run("keygen", str(shell.directory / "keys"))
    assert made.returncode == 0, made.stderr
    public, secret = (
        (shell.directory / "keys" / name).read_bytes() for name in ("node.pub", "node.key")
    )
    assert made.stdout == public
    assert made.stdout.startswith(b"zexchange-public-key ")
    assert secret.split()[1] not in made.stdout + made.stderr
    shutil.rmtree(shell.directory / "keys")


def test_keygen_never_overwrites(shell: Shell) -> None:
    """A second key in the same place is an error of one sentence, with status 1."""
    assert shell.run("keygen", str(shell.directory / "keys")).returncode == 0
    again = shell.run("keygen", str(shell.directory / "keys"))
    assert again.returncode == 1
    assert again.stderr.startswith(b"Error: ")
    assert b"never overwritten" in again.stderr
    shutil.rmtree(shell.directory / "keys")


def test_commands_join_with_keys(shell: Shell) -> None:
    """--keys, or its variable, lets commands meet over TCP; without a key nobody comes in."""
    keys = shell.directory / "k"
    for name in ("north", "south"):
        shell.run("keygen", str(keys / name))
    for name, other in (("north", "south"), ("south", "north")):
        shutil.copy(keys / other / "node.pub", keys / name / "authorized" / f"{other}.pub")
    endpoint = tcp(free_ports()[0])
    tail = shell.start(
        "tail", "lines", "--count", "1", "--listen", endpoint, "--keys", str(keys / "north")
    )
    shell.environment["ZEXCHANGE_DIR"] = str(shell.directory / "other")
    shell.environment["ZEXCHANGE_PEER"] = endpoint
    stranger = shell.run("send", "lines", "--wait", "1", "--timeout", "1", text=b"forged\n")
    assert stranger.returncode == 1
    shell.environment["ZEXCHANGE_KEYS"] = str(keys / "south")
    sent = shell.run("send", "lines", "--wait", "1", text=b"x\n")
    assert sent.returncode == 0, sent.stderr
    assert shell.finish(tail)[:2] == (0, b"x\n")
    shutil.rmtree(keys)


def test_a_directory_without_keys_says_what_to_do(shell: Shell) -> None:
    """A key directory that is none ends with status 1 and one sentence."""
    ended = shell.run("peers", "--keys", str(shell.directory / "nothing"))
    assert ended.returncode == 1
    assert b"zexchange keygen" in ended.stderr
    assert b"Traceback" not in ended.stderr
