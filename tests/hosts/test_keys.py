"""Keys between hosts: the commands of docs/SECURITY.md typed as they stand, and a stranger.

The stranger, `east`, has done all that it can: it has a key, and the public lines of the others.
"""

from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.pages import blocks
from tests.support import ROOT

from .terminal import Terminal, terminal

pytestmark = [pytest.mark.slow, pytest.mark.sockets, pytest.mark.leaves_files]
PAGE = blocks(ROOT / "docs" / "SECURITY.md")


def commands(word: str) -> list[str]:
    """Return the lines of the page's first block of commands that has a word in it."""
    block = next(block for block in PAGE if block.language == "sh" and word in block.text)
    return block.text.splitlines()


def strange(desk: Terminal, authorized: Iterable[str]) -> None:
    """Have `east` make itself a key, and authorize the others, who have never heard of it."""
    desk.type("ssh east zexchange keygen keys")
    desk.type(f"scp {' '.join(authorized)} east:keys/authorized/")


def test_three_hosts_in_five_commands(tmp_path: Path) -> None:
    """`north` and `west` print what `south` sends; a stranger nothing, and both sides say why.

    A second command on the same port is answered as the first was.
    """
    *prepare, listen, send = commands("ssh south")
    assert len(prepare) == 3
    with terminal(tmp_path, "north", "south", "west", "east") as desk:
        for line in prepare:
            desk.type(line)
        north = desk.start(listen)
        strange(desk, ("north.pub", "south.pub", "west.pub"))
        more = "--listen tcp://0.0.0.0:7500 --peer tcp://north:7400 --peer tcp://south:7400"
        west = desk.start(desk.on("west", f"zexchange tail '**' --keys keys {more}"))
        east = desk.start(desk.on("east", f"zexchange tail '**' --keys keys {more}"))
        bare = more.replace("7500", "7600")
        plain = desk.start(desk.on("east", f"zexchange tail '**' --insecure {bare}"))
        east.complains("key unknown there")
        plain.complains("encrypted there")
        north.complains("key unknown")
        desk.type(send.replace("--wait 1", "--wait 2"))
        north.prints("hello\n")
        west.prints("hello\n")
        assert (north.out.read_text(), west.out.read_text()) == ("hello\n", "hello\n")
        assert (east.out.read_text(), plain.out.read_text()) == ("", "")
        desk.type(send.replace("hello", "again").replace("--wait 1", "--wait 2"))
        north.prints("again\n")
        assert (east.out.read_text(), plain.out.read_text()) == ("", "")


def test_a_hub_with_keys(tmp_path: Path) -> None:
    """Nodes that know the hub's key alone reach each other by it; a stranger reaches nobody."""
    keygen, carry, serve, *trust, listen = (line.split(" #")[0] for line in commands("[relay]"))
    with terminal(tmp_path, "relay", "north", "south", "east") as desk:
        for host in ("relay", "north", "south"):
            desk.type(desk.on(host, keygen))
            desk.type(f"scp {host}:keys/node.pub {host}.pub")
        desk.type("scp north.pub south.pub relay:")
        desk.type(desk.on("relay", carry))
        hub = desk.start(desk.on("relay", serve))
        strange(desk, ("relay.pub", "north.pub", "south.pub"))
        for host in ("north", "south", "east"):
            desk.type(f"scp relay.pub {host}:")
            for line in trust:
                desk.type(desk.on(host, line))
        north = desk.start(desk.on("north", listen))
        east = desk.start(desk.on("east", listen))
        east.complains("key unknown there")
        hub.complains("key unknown")
        desk.type(
            desk.on("south", "echo hello | " + listen.replace("tail news", "send news --wait 1"))
        )
        north.prints("hello\n")
        assert north.out.read_text() == "hello\n"
        assert east.process.poll() is None
        assert east.out.read_text() == ""
