"""Where nodes of one user show themselves: several places, and all of them are looked into."""

import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.net.conftest import Joiner, collect
from tests.net.keyrings import Keyrings
from tests.support import eventually, programs
from zexchange import Node, NotReady, Registry, Unreachable, federate
from zexchange.net.peering import binding as places
from zexchange.net.peering import directories, elsewhere
from zexchange.net.peering.directories import bases, place_of, places_of, short_place
from zexchange.net.peering.rendezvous import Rendezvous
from zexchange.net.transport.endpoints import IPC_PATH_MAX

pytestmark = pytest.mark.sockets
LONG = "runner_workspace_0123456789/build-and-test-job-number-000123/temporary-files/py311"


@pytest.fixture
def host(rendezvous: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A host of this test's own: ``run`` comes with a login, ``tmp`` is always there."""
    monkeypatch.delenv("ZEXCHANGE_DIR")
    short = Path(tempfile.mkdtemp(prefix="zx", dir="/tmp"))

    def of_the_session() -> Iterator[Path]:
        if (short / "run").exists():
            yield short / "run" / "zexchange"

    monkeypatch.setattr(directories, "_of_the_session", of_the_session)
    monkeypatch.setattr(directories, "_under_temp", lambda: iter([short / "tmp"]))
    monkeypatch.setattr(places, "RESCAN", 0.1)
    yield short
    shutil.rmtree(short)


def test_a_chosen_directory_is_the_only_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else there is one that goes with the login, and some for what is temporary."""
    monkeypatch.setenv("ZEXCHANGE_DIR", str(tmp_path))
    assert bases() == (tmp_path,)
    monkeypatch.delenv("ZEXCHANGE_DIR")
    mine = f"zexchange-{os.getuid()}"
    for named, found in ((str(tmp_path), [tmp_path]), ("nowhere", []), (f"{tmp_path}/none", [])):
        monkeypatch.setenv("TMPDIR", named)
        under = [Path("/tmp"), *found, Path("/var/tmp")]
        assert bases()[-len(under) :] == tuple(place / mine for place in under)


def test_without_a_place_to_write_it_is_said_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container whose root is read-only; the directory that we are in is no place."""
    monkeypatch.delenv("ZEXCHANGE_DIR")
    monkeypatch.delenv("TMPDIR", raising=False)
    monkeypatch.setattr(directories, "_SHORTEST", Path("/proc/none"))
    monkeypatch.setattr(directories, "_LASTING", Path("/proc/none"))
    monkeypatch.setattr(directories, "_of_the_session", lambda: iter(()))
    with pytest.raises(Unreachable, match=r"set ZEXCHANGE_DIR .* or use local=False"):
        federate("fed", registry=Registry())


def test_a_place_that_cannot_be_used_is_passed_over(host: Path) -> None:
    """The next one is; where none is left, the first is what the error names."""
    (host / "run").mkdir()
    (host / "run" / "zexchange").touch()
    assert place_of("fed") == host / "tmp" / "fed"
    shutil.rmtree(host / "tmp")
    (host / "tmp").touch()
    with pytest.raises(Unreachable, match="run/zexchange"):
        place_of("fed")


def test_another_users_directory_is_not_looked_into(host: Path) -> None:
    """Nor one into which others may put files, nor a link to one."""
    (host / "run").mkdir()
    run, tmp = host / "run" / "zexchange" / "fed", host / "tmp" / "fed"
    for place in (run, tmp):
        place.mkdir(parents=True)
    assert places_of("fed") == [run, tmp]
    tmp.chmod(0o777)
    assert places_of("fed") == [run]
    tmp.rmdir()
    tmp.symlink_to(run)
    assert places_of("fed") == [run]
    if os.geteuid() == 0:
        os.chown(run.parent, 65534, -1)
        assert places_of("fed") == []


def test_nobody_else_may_enter_the_directory(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it is made here, or was made so that others might."""
    made = place_of("fed")
    monkeypatch.setenv("ZEXCHANGE_DIR", str(host / "open"))
    (host / "open").mkdir()
    (host / "open").chmod(0o755)
    for place in (made, made.parent, place_of("fed"), host / "open"):
        assert place.stat().st_mode & 0o777 == 0o700


def test_where_a_path_is_too_long_the_sockets_lie_in_a_shorter_one(
    host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The temp dir may be as long as the rest: then it is the first that is short enough."""
    long, name = host / LONG, "0123456789abcdef.c"
    monkeypatch.setattr(directories, "_under_temp", lambda: iter([long, host / "tmp"]))
    assert place_of("fed") == long / "fed"
    assert short_place(host / "tmp" / "fed", name) == host / "tmp" / "fed"
    short = short_place(long / "fed", name)
    assert short.parent == host / "tmp"
    assert len(str(short / name)) <= IPC_PATH_MAX
    monkeypatch.setattr(directories, "_under_temp", lambda: iter([long]))
    with pytest.raises(Unreachable, match=r"107 bytes.*set ZEXCHANGE_DIR"):
        short_place(long / "fed", name)


JOB = """
import zexchange
from pathlib import Path
from zexchange.net.peering import directories
directories._of_the_session = lambda: iter(())
directories._SHORTEST = Path(sys.argv[1])
os.environ["TMPDIR"] = sys.argv[2]
del os.environ["ZEXCHANGE_DIR"]
with zexchange.federate("fed") as node:
    node.wait_peers(1, 60)
    print("met", flush=True)
    sys.stdin.read()
"""


def test_jobs_with_temp_dirs_of_their_own_meet(rendezvous: Path) -> None:
    """Of one user: `TMPDIR` names another directory in each."""
    for name in ("tmp", "one", "two"):
        (rendezvous / name).mkdir()
    jobs: list[tuple[object, ...]] = [(rendezvous / "tmp", rendezvous / n) for n in ("one", "two")]
    with programs(JOB, jobs) as started:
        for program in started:
            program.expect("met")
        for program in started:
            assert program.end() == 0
    shutil.rmtree(rendezvous / "tmp")


def test_nodes_without_the_setting_are_named(
    host: Path, rendezvous: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is alone, for `ZEXCHANGE_DIR` is set there, is told where others live."""
    with federate("fed", registry=Registry()) as usual:
        monkeypatch.setenv("ZEXCHANGE_DIR", str(rendezvous))
        with federate("fed", registry=Registry()) as alone:
            said = alone.diagnose().conclusion
            assert f"live in {host / 'tmp'}" in said
            assert "ZEXCHANGE_DIR is set here" in said
        monkeypatch.delenv("ZEXCHANGE_DIR")
        assert not usual.diagnose().picture.elsewhere


def test_nodes_of_other_federations_are_named(rendezvous: Path) -> None:
    """One that is alone is told of them: a slip in the name, perhaps."""
    with federate("fed", registry=Registry()), federate("a name", registry=Registry()):
        with federate("fde", registry=Registry()) as alone:
            text = "on this host there are nodes of other federations: 'fed'"
            assert text.removeprefix("on ") in alone.diagnose().conclusion
            with pytest.raises(NotReady, match=text):
                alone.wait_peers(1, timeout=0)
    assert elsewhere.others("fde") == ()


def test_what_has_died_there_is_swept_by_others(
    host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its sockets, which only its file knows where to find."""
    long = host / LONG
    monkeypatch.setattr(directories, "_under_temp", lambda: iter([long, host / "tmp"]))
    dead = Rendezvous("fed", "1" * 32)
    path = Path(dead.control.removeprefix("ipc://"))
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))
    dead.publish()
    dead.release()
    monkeypatch.setattr(directories, "_under_temp", lambda: iter([host / "tmp", long]))
    assert list(Rendezvous("fed", "2" * 32).others()) == []
    assert not path.exists()
    assert not dead._file.exists()


def meet(node: Node, here: Registry) -> None:
    """See a newcomer and a node become one channel, in both directions."""
    registry = Registry()
    got, back = registry.get("x").stream(), here.get("y").stream()
    with got, back, federate("fed", registry=registry) as newcomer:
        node.wait_subscribers("x", 1)
        newcomer.wait_subscribers("y", 1)
        here.get("x").send("from old")
        registry.get("y").send("from new")
        assert (got.get(10), back.get(10)) == ("from old", "from new")


def test_a_service_that_began_before_its_user_logged_in_is_found(host: Path) -> None:
    """And finds: each looks into both directories."""
    here = Registry()
    with federate("fed", registry=here) as service:
        (host / "run").mkdir()
        meet(service, here)
        assert "run" in str(service.diagnose().picture.rendezvous)


@pytest.mark.parametrize("what", ["sockets", "directory", "login"])
def test_sockets_that_are_removed_are_made_again(
    host: Path, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    """By the node that they belong to, which says so; those who have met it go on."""
    (host / "run").mkdir()
    here, there = Registry(), Registry()
    with federate("fed", registry=here) as node, federate("fed", registry=there):
        got = collect(there, "z")
        node.wait_subscribers("z", 1)
        removed = list((host / "run").rglob("*.[cd]"))
        assert len(removed) == 4
        if what == "sockets":
            for path in removed:
                path.unlink()
        else:
            shutil.rmtree(host / "run" / ("zexchange" if what == "directory" else "."))
        place = host / ("tmp" if what == "login" else "run/zexchange") / "fed"
        eventually(lambda: len(list(place.glob("*.[cd]"))) == 4)
        eventually(lambda: len(list(place.glob("*.node"))) == 2)
        eventually(lambda: caplog.text.count("were removed, and were made again") == 2)
        meet(node, here)
        here.get("z").send("as before")
        node.flush()
        assert got == ["as before"]
        assert len(node.peers) == 1
    assert not list(host.rglob("*.[cd]"))


def test_keys_change_nothing_about_that(
    host: Path, join: Joiner, keyrings: Keyrings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is bound again is for processes of this user, which need no key; TCP asks for it."""
    keyrings.friends("north", "friend")
    node, here = join(keys=keyrings("north"), listen="tcp://127.0.0.1:0")
    for path in host.rglob("*.[cd]"):
        path.unlink()
    eventually(lambda: len(list(host.rglob("*.[cd]"))) == 2)
    meet(node, here)
    assert not node.stats().rejected
    stranger, _ = join(keys=keyrings("south"), peers=node.endpoints[-1:], local=False)
    eventually(lambda: node.stats().rejected)
    assert not stranger.peers
    friend, _ = join(keys=keyrings("friend"), peers=node.endpoints[-1:], local=False)
    friend.wait_peers(1)


def test_a_place_that_cannot_be_made_again_is_told(
    host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By an event, and by `diagnose` as long as it lasts."""
    here, refuse = Registry(), [True]
    restore: Callable[[Rendezvous], None] = Rendezvous.restore

    def refused(self: Rendezvous) -> None:
        if refuse:
            raise Unreachable("the file system is read-only")
        restore(self)

    monkeypatch.setattr(Rendezvous, "restore", refused)
    with federate("fed", registry=here) as node:
        for path in host.rglob("*.[cd]"):
            path.unlink()
        eventually(lambda: ("rendezvous", "the file system is read-only") in node.stats().rejected)
        found = node.diagnose()
        assert "its sockets, or its file beside them, were removed" in found.conclusion
        refuse.clear()
        eventually(lambda: len(list(host.rglob("*.[cd]"))) == 2)
        eventually(lambda: not node.diagnose().picture.unplaced)
        meet(node, here)
