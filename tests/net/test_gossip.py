"""What one node says of others opens nothing: tried by a real node with a hostile neighbour."""

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.net.conftest import Joiner, collect
from tests.net.keyrings import Keyrings, hear, raw, say
from tests.support import eventually
from zexchange import Node, Registry
from zexchange.protocol.wire.messages import Ping, Pong, Recall, Recalled, Replay, Replayed

pytestmark = pytest.mark.sockets
HERE = "tcp://127.0.0.1:0"
GUEST = '[south]\npublish = ["public.**"]\nsubscribe = ["public.**"]'
"""What the hostile one may do."""


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A directory for sockets that everybody can enter, and that is no rendezvous of ours."""
    with TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        yield Path(directory)


class Three:
    """Two nodes of ours on this host, and one that knows one of them over TCP alone."""

    def __init__(
        self,
        join: Joiner,
        keyrings: Keyrings,
        monkeypatch: pytest.MonkeyPatch,
        elsewhere: Path,
        owner: int | None = None,
    ) -> None:
        keyrings.friends("north", "east", "south")
        for ours in ("north", "east"):
            keyrings.permit(ours, GUEST)
        self.north, self.in_north = join(keys=keyrings("north"), listen=HERE)
        with monkeypatch.context() as patch:
            patch.setenv("ZEXCHANGE_DIR", str(elsewhere))
            self.south, self.in_south = join(
                keys=keyrings("south"), listen=HERE, peers=[control(self.north)]
            )
        if owner is not None:
            give_away(elsewhere, owner)
        self.north.wait_peers(1)
        self.east, self.in_east = join(keys=keyrings("east"), listen=HERE)
        self.east.wait_peers(2)  # the one by the rendezvous directory, and the other by its word


def control(node: Node) -> str:
    return next(e for e in node.endpoints if e.startswith("tcp"))


def give_away(directory: Path, owner: int) -> None:
    """Have another user own everything below a directory."""
    for path in directory.rglob("*"):
        os.chown(path, owner, -1)


def dialled(node: Node) -> list[str]:
    """Return the Unix sockets that a node has for peers."""
    engine = node._engine
    assert engine is not None
    peers = engine.session.members.peers.values()
    return [e for p in peers for e in (p.control, p.data) if e.startswith("ipc:")]


@pytest.fixture(params=["of ours", "of another user"])
def three(
    request: pytest.FixtureRequest,
    join: Joiner,
    keyrings: Keyrings,
    monkeypatch: pytest.MonkeyPatch,
    elsewhere: Path,
) -> Three:
    owner = None
    if request.param == "of another user":
        if os.geteuid() != 0:
            pytest.skip("gives files to another user: needs root")
        owner = 65534
    return Three(join, keyrings, monkeypatch, elsewhere, owner)


def test_a_socket_that_a_stranger_names_is_not_dialled(three: Three, elsewhere: Path) -> None:
    """An address on this host counts only from who was met there, and in our own directory."""
    assert dialled(three.east)  # the way to our own neighbour
    assert not [e for e in dialled(three.east) if str(elsewhere) in e]
    assert not [e for e in dialled(three.north) if str(elsewhere) in e]


def test_nothing_forbidden_is_taken_of_whom_others_told_of(three: Three) -> None:
    """A message on a forbidden exchange reaches no task of a node that gossip led there."""
    got = {name: collect(three.in_east, name) for name in ("secret", "public.x")}
    collect(three.in_north, "public.x")
    three.south.wait_subscribers("public.x", 2)
    for n in range(10):
        three.in_south.get("secret").send(n)
        three.in_south.get("public.x").send(n)
    three.south.flush()
    assert got == {"secret": [], "public.x": list(range(10))}


def test_nothing_forbidden_is_handed_to_whom_others_told_of(
    three: Three, keyrings: Keyrings
) -> None:
    """Neither live nor as history: rights are those of the connection that asks."""
    three.in_east.retain("**", 10)
    keep(three.in_east)
    live = collect(three.in_south, "secret"), collect(three.in_south, "public.x")
    three.south.wait_ready()
    three.east.wait_subscribers("public.x", 1)
    keep(three.in_east)
    three.east.flush()
    eventually(lambda: live[1])
    with raw(three.east, keyrings("south")) as south:
        link, me = south.control(), bytes.fromhex(three.south.id)
        for name in ("secret", "public.x"):
            say(link, Recall(me, 7, name))
            say(link, Replay(me, name, 1, 10, 7))
            say(link, Replay(me, name, 1, 10))
        say(link, Ping(me, 1, 0))
        told = []
        while not isinstance(answer := hear(link), Pong):
            told.append(answer)
    assert live == ([], ["live"])
    assert [a.ranges for a in told if isinstance(a, Recalled)] == [{"public.x": (1, 2)}]
    assert {a.name for a in told if isinstance(a, Replayed)} == {"public.x"}


def keep(registry: Registry) -> None:
    for name in ("secret", "public.x"):
        registry.get(name).send("live")
