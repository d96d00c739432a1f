"""The rendezvous directory by itself: who comes, who goes, and what lies about."""

import json
import os
import socket
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from zexchange import Registry, federate
from zexchange.errors import Unreachable
from zexchange.net.peering import binding as places
from zexchange.net.peering import rendezvous as rv
from zexchange.net.peering.node_files import read_file
from zexchange.net.peering.rendezvous import Rendezvous

pytestmark = pytest.mark.sockets


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A rendezvous directory of this test's own."""
    monkeypatch.setenv("ZEXCHANGE_DIR", str(tmp_path))
    return tmp_path


def test_the_last_one_takes_the_directory_along(base: Path) -> None:
    """The directory of a federation is there while somebody is in it, and no longer."""
    one, two = Rendezvous("fed", "1" * 32), Rendezvous("fed", "2" * 32)
    one.publish()
    two.publish()
    one.withdraw()
    assert (base / "fed").is_dir()
    two.withdraw()
    assert not (base / "fed").exists()


def test_a_newcomer_makes_the_directory_that_was_just_removed(base: Path) -> None:
    """Whoever publishes where another has just cleared away is found all the same."""
    one, two = Rendezvous("fed", "1" * 32), Rendezvous("fed", "2" * 32)
    one.withdraw()
    two.publish()
    assert list(Rendezvous("fed", "3" * 32).others()) == [two.control]
    two.withdraw()


def test_a_node_binds_where_the_directory_was_just_removed(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory that vanishes before the sockets are bound in it is made again."""
    bind, vanished = places._bind, []

    def late(socket: object, endpoint: str) -> str:
        if not vanished:
            (base / "fed").rmdir()
            vanished.append(endpoint)
        return bind(socket, endpoint)  # type: ignore[arg-type]

    monkeypatch.setattr(places, "_bind", late)
    with federate("fed", registry=Registry()) as node:
        assert node.endpoints[0] == vanished[0]


def test_mending_does_not_bring_back_who_leaves(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that is closed while its control thread mends leaves no locked file behind."""
    here = Rendezvous("fed", "1" * 32)
    here.publish()
    here._file.unlink()
    make = rv.private_directory
    leaving = threading.Thread(target=here.withdraw)

    def interrupted(path: Path) -> Path:
        leaving.start()
        leaving.join(timeout=0.2)  # withdraws now, unless it has to wait for us
        return make(path)

    monkeypatch.setattr(rv, "private_directory", interrupted)
    here.mend()
    leaving.join()
    assert here._lock is None
    assert not here._file.exists()


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 4000,
        json.dumps({"control": "ipc:///tmp/\ud800"}).encode(),
        json.dumps({"control": "ipc:///tmp/\0x"}).encode(),
        json.dumps({"control": 7}).encode(),
        b"\xff\xfe",
        b"",
    ],
)
def test_nonsense_is_nobody(base: Path, text: bytes) -> None:
    """Whatever a file says, it names an endpoint or nobody, and raises nothing."""
    assert read_file(text) is None


def test_a_failed_start_leaves_no_descriptor(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that cannot show itself has closed everything that it had opened."""

    def refuse(self: Rendezvous) -> None:
        raise OSError("no")

    def fail() -> int:
        with pytest.raises(OSError, match="no"):
            federate("fed", registry=Registry())
        return len(os.listdir("/proc/self/fd"))

    monkeypatch.setattr(Rendezvous, "publish", refuse)
    fail()
    assert fail() == fail()


def test_hidden_sockets_live_and_nobody_finds_them(base: Path) -> None:
    """Who is connected stays so; who comes then waits, and is sent there when they are shown."""
    place = Rendezvous("fed", "1" * 32)
    place.claim()
    path = place.control.removeprefix("ipc://")
    with socket.socket(socket.AF_UNIX) as bound, ExitStack() as leaving:

        def connected() -> socket.socket:
            client = leaving.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            client.connect(path)
            return client

        bound.bind(path)
        bound.listen()
        before = connected()
        there, _ = bound.accept()
        leaving.enter_context(there)
        bound.setblocking(False)
        place.hide()
        place.hide()
        waiting = connected()
        with pytest.raises(BlockingIOError):
            bound.accept()
        there.send(b"!")
        assert before.recv(1) == b"!"
        place.show()
        place.show()
        with pytest.raises(ConnectionResetError):
            waiting.recv(1)
        connected()
        leaving.enter_context(bound.accept()[0])
        place.hide()
        place.withdraw()
    assert not (base / "fed").exists()


def test_a_node_that_died_hidden_is_swept(base: Path) -> None:
    """What it had hidden goes with the rest."""
    dead = Rendezvous("fed", "1" * 32)
    dead.claim()
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(dead.control.removeprefix("ipc://"))
        dead.publish()
        dead.hide()
        dead.release()
    living = Rendezvous("fed", "2" * 32)
    assert list(living.others()) == []
    living.withdraw()
    assert not (base / "fed").exists()


def test_a_living_socket_is_not_taken_away(base: Path) -> None:
    """Two nodes that would have the same sockets: the second is refused, the first goes on."""
    one, two = Rendezvous("fed", "1" * 32), Rendezvous("fed", "1" * 32)
    one.claim()
    path = one.control.removeprefix("ipc://")
    with socket.socket(socket.AF_UNIX) as living:
        living.bind(path)
        living.listen()
        one.publish()
        with pytest.raises(Unreachable, match="another process listens there"):
            two.claim()
        two.withdraw()
        assert Path(path).exists()
        assert list(Rendezvous("fed", "2" * 32).others()) == [one.control]
    one.claim()  # what the dead have left is nobody's
    one.withdraw()
    assert not Path(path).exists()


def test_nodes_of_one_key_have_sockets_of_their_own(base: Path) -> None:
    """The first ten bytes of an id belong to a key that several nodes may share."""
    made = {Rendezvous("fed", "ab" * 10 + end).control for end in ("1" * 12, "2" * 12)}
    assert len(made) == 2


def listening(path: Path) -> socket.socket:
    path.parent.mkdir(parents=True, exist_ok=True)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    bound.bind(str(path))
    return bound


def test_only_a_socket_of_our_own_directory_is_ours(base: Path) -> None:
    """Others may speak of any path: what counts is a socket of this user's, at the right place."""
    node = Rendezvous("fed", "1" * 32)
    away = Path(f"{base}x")
    with ExitStack() as stack:
        for path in (node.directory / "other.c", away / "other.c"):
            stack.enter_context(listening(path))
        (node.directory / "file.c").touch()
        (node.directory / "link.c").symlink_to(away / "other.c")
        assert node.ours(str(node.directory / "other.c"))
        for no in ("file.c", "link.c", "none.c", "../fed/../../x", "nul\0.c", "", "/", "x" * 300):
            assert not node.ours(str(node.directory / no) if no.strip("/") else no)
        assert not node.ours(str(away / "other.c"))
        assert not node.ours(f"{node.directory}/../{away.name}/other.c")
        if os.geteuid() == 0:
            os.chown(node.directory / "other.c", 65534, -1)
            assert not node.ours(str(node.directory / "other.c"))


def test_a_socket_that_a_living_node_has_written_down_is_ours(base: Path) -> None:
    """It may lie elsewhere, if the path here is too long for it: the file here says where."""
    node, other = Rendezvous("fed", "1" * 32), Rendezvous("fed", "2" * 32)
    other._sockets = Path(f"{base}y")
    with listening(other._sockets / f"{other._stem}.c"), listening(other._sockets / "made.up.c"):
        control = str(other._sockets / f"{other._stem}.c")
        assert not node.ours(control)
        other.publish()
        assert node.ours(control)
        assert not node.ours(str(other._sockets / "made.up.c"))
        other.withdraw()
