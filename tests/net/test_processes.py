"""Nodes in processes of their own: finding each other, dying, forking, ending without close."""

import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support import ROOT, Program, eventually, free_ports, patience, programs, tcp
from zexchange import PeerLeft, Registry, federate
from zexchange.protocol.delivery import departed
from zexchange.protocol.session import peers as membership
from zexchange.protocol.session import session

pytestmark = pytest.mark.sockets

ALL_TO_ALL = """
import zexchange
count, got = int(sys.argv[1]), {}
exchange = zexchange.get_exchange("all")
exchange.handler(lambda pid: got.update({pid: got.get(pid, 0) + 1}))
node = zexchange.federate(sys.argv[2])
node.wait_peers(count - 1, 30)
node.wait_subscribers("all", count - 1, 30)
exchange.send(os.getpid())
eventually(lambda: len(got) == count)
node.flush()
print(sorted(set(got.values())), flush=True)
sys.stdin.read()
node.close()
"""

MEMBER = """
import zexchange
node = zexchange.federate("fed")
zexchange.get_exchange("x").handler(lambda msg: print(msg, flush=True))
node.wait_ready()
print("ready", flush=True)
for line in sys.stdin:
    zexchange.get_exchange("y").send(line.strip())
node.close()
"""


def test_processes_started_together_all_find_each_other() -> None:
    """Eight processes that start at the same moment each get one message of each other."""
    with programs(ALL_TO_ALL, [(8, "fed")] * 8) as started:
        for program in started:
            program.expect("[1]")


@pytest.mark.leaves_files
def test_a_killed_process_has_left_soon_and_hinders_nobody(rendezvous: Path) -> None:
    """A killed peer is gone within seconds; what it leaves is swept by those who come."""
    registry = Registry()
    with federate("fed", registry=registry) as node, Program(MEMBER) as doomed:
        events: list[object] = []
        node.events.handler(events.append)
        doomed.expect("ready")
        doomed.kill()
        doomed.process.wait()
        started = time.monotonic()
        eventually(lambda: not node.peers)
        assert time.monotonic() - started < patience(20)
        left = eventually(lambda: [e for e in events if isinstance(e, PeerLeft)])
        assert left[0].reason == "gone"
        with Program(MEMBER) as other:
            other.expect("ready")
            node.wait_peers(1)
            registry.get("x").send("hello")
            other.expect("hello")
            files = [f for f in rendezvous.rglob("*") if not f.is_dir()]
            assert len(files) == 6, files  # two nodes: a file and two sockets each
            other.end()


@pytest.mark.leaves_files
def test_a_stopped_process_is_silent_and_comes_back(rendezvous: Path) -> None:
    """SIGSTOP for some seconds: silent, not gone; afterwards all it missed arrives in order."""
    registry = Registry()
    with federate("fed", registry=registry) as node, Program(MEMBER) as member:
        member.expect("ready")
        node.wait_subscribers("x", 1)
        member.kill(signal.SIGSTOP)
        eventually(lambda: node.peers[0].silent)
        for n in range(100):
            registry.get("x").send(n)
        member.kill(signal.SIGCONT)
        for n in range(100):
            member.expect(str(n))
        eventually(lambda: not node.peers[0].silent)
        assert len(node.peers) == 1
        member.end()


@pytest.mark.leaves_files
def test_joining_names_a_process_that_was_found_and_does_not_answer(
    rendezvous: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """After `join_timeout` a warning names it, and joining goes on without it."""
    with Program(MEMBER) as member:
        member.expect("ready")
        member.kill(signal.SIGSTOP)
        with federate("fed", registry=Registry(), join_timeout=0.2) as node:
            assert not [peer for peer in node.peers if peer.ready]
            eventually(lambda: f"'fed': ipc://{rendezvous}/fed/" in caplog.text)
        member.kill(signal.SIGCONT)
        member.end()


@pytest.mark.leaves_files
def test_the_others_are_told_of_a_stop_and_the_stopped_one_is_not(rendezvous: Path) -> None:
    """An event says when it is silent; none says that it is back, to it or to the others."""
    registry = Registry()
    source = MEMBER.replace(
        "node.wait_ready()",
        "node.events.handler(lambda event: print(type(event).__name__, flush=True))\n"
        "node.wait_ready()",
    )
    with federate("fed", registry=registry) as node, Program(source) as member:
        member.expect("ready")
        node.wait_subscribers("x", 1)
        events: list[object] = []
        node.events.handler(events.append)
        member.kill(signal.SIGSTOP)
        eventually(lambda: node.peers[0].silent)
        registry.get("x").send("meanwhile")
        member.kill(signal.SIGCONT)
        eventually(lambda: not node.peers[0].silent)
        node.flush()
        registry.get("x").send("afterwards")
        member.expect("meanwhile")
        member.expect("afterwards")
        assert [type(event).__name__ for event in events] == ["PeerSilent"]
        member.end()


STOPPED = """
import zexchange
node = zexchange.federate("fed")
node.events.handler(
    lambda event: isinstance(event, zexchange.Lost) and print(event.first, event.last, flush=True)
)
zexchange.get_exchange("x").handler(lambda msg: print(msg, flush=True))
node.wait_ready()
print("ready", flush=True)
sys.stdin.read()
node.close()
"""


@pytest.mark.leaves_files
def test_a_process_that_is_stopped_until_it_is_forgotten_is_told_so(
    rendezvous: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of it has moved: not its clock, nor a connection. Here that takes two seconds."""
    monkeypatch.setattr(session, "LEFT_AFTER", 2.0)
    monkeypatch.setattr(membership, "LONGER", 0.0)
    registry = Registry()
    with federate("fed", registry=registry) as node, Program(STOPPED) as member:
        member.expect("ready")
        node.wait_subscribers("x", 1)
        registry.get("x").send("before")
        member.expect("before")
        with monkeypatch.context() as soon:
            soon.setattr(departed, "REMEMBERED", 0.0)
            member.kill(signal.SIGSTOP)
            eventually(lambda: not node.peers)
        eventually(lambda: not node._engine.bridges._bridges["x"].wanted)
        registry.get("x").send("missed")
        member.kill(signal.SIGCONT)
        member.expect("0 1")
        node.wait_subscribers("x", 1)
        registry.get("x").send("after")
        member.expect("after")
        member.end()


def test_a_process_that_ends_without_close_delivers_what_it_sent(rendezvous: Path) -> None:
    """Leaving the interpreter without `close` neither hangs nor drops what was sent."""
    source = """
import zexchange
node = zexchange.federate("fed")
node.wait_subscribers("x", 1)
for n in range(1000):
    zexchange.get_exchange("x").send(n)
"""
    registry = Registry()
    got: list[int] = []
    registry.get("x").handler(got.append)
    with federate("fed", registry=registry) as node:
        started = time.monotonic()
        with Program(source) as program:
            assert program.end() == 0
        assert time.monotonic() - started < patience(20)
        eventually(lambda: len(got) == 1000)
        eventually(lambda: not node.peers)
    assert got == list(range(1000))


def test_an_exception_at_the_top_ends_the_process(rendezvous: Path) -> None:
    """An uncaught error in the main thread ends the program; the node does not hold it."""
    with Program("import zexchange; zexchange.federate('fed'); sys.exit(3)") as program:
        assert program.end() == 3


FORKING = """
import zexchange
from collections import Counter
children, got, me, parent = int(sys.argv[1]), Counter(), "parent", os.getpid()
tell = lambda *words: os.write(1, (" ".join(map(str, words)) + "\\n").encode())
exchange = zexchange.get_exchange("work")
exchange.handler(lambda msg: got.update([msg]))
node = zexchange.federate("fed", listen=sys.argv[2] or None)
for n in range(children):
    if os.fork() == 0:
        me = f"child{n}"
        break
exchange.send("hello from " + me) if sys.argv[3] else None
node.wait_subscribers("work", children, 30)
for n in range(100):
    exchange.send((me, n))
numbered = lambda: sum(count for msg, count in got.copy().items() if isinstance(msg, tuple))
eventually(lambda: numbered() >= 100 * (children + 1))
node.flush()
tell(me, numbered(), set(got.values()))
if me == "parent":
    sys.stdin.readline()
    node.close()
else:
    eventually(lambda: all(peer.pid != parent for peer in node.peers))
    tell(me, "alone")
    node.close()
    os._exit(0)
"""


@pytest.mark.parametrize("first_use", ["send", ""])
@pytest.mark.parametrize("listen", ["tcp", ""])
def test_forked_children_get_nodes_of_their_own(
    rendezvous: Path, listen: str, first_use: str
) -> None:
    """A pre-forking parent and its children all receive all; the parent leaves no ghost."""
    endpoint = tcp(free_ports()[0]) if listen else ""
    with Program(FORKING, 4, endpoint, first_use) as program:
        lines = sorted(program.line() for _ in range(5))
        names = ["child0", "child1", "child2", "child3", "parent"]
        assert lines == [f"{name} 500 {{1}}" for name in names]
        program.say()
        program.process.wait(30)
        if listen:
            eventually(lambda: _can_bind(endpoint))
        assert sorted(program.line() for _ in range(4)) == [f"{n} alone" for n in names[:4]]
    eventually(lambda: not [f for f in rendezvous.rglob("*") if not f.is_dir()])


def _can_bind(endpoint: str) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", int(endpoint.rpartition(":")[2])))
        except OSError:
            return False
        return True


@pytest.mark.leaves_files
def test_forked_children_that_federate_again_are_ready_at_once(rendezvous: Path) -> None:
    """`federate` in a child is a first use like any other: what is sent behind it arrives."""
    source = """
import zexchange
exchange = zexchange.get_exchange("x")
with exchange.stream() as arrived, zexchange.federate("fed"):
    for child in "abc":
        if os.fork() == 0:
            node = zexchange.federate("fed")
            exchange.send(child)
            node.flush()
            sys.stdin.read()
            os._exit(0)
    print(sorted(arrived.get(PATIENCE) for _ in range(3)), flush=True)
    sys.stdin.read()
"""
    with Program(source) as program:
        program.expect("['a', 'b', 'c']")


def test_multiprocessing_children_share_the_channel(rendezvous: Path) -> None:
    """A forked `multiprocessing` child sends without being told anything of federations."""
    source = """
import multiprocessing, zexchange
exchange = zexchange.get_exchange("x")
def work(n):
    exchange.send(n)
if __name__ == "__main__":
    got = []
    exchange.handler(got.append)
    with zexchange.federate("fed"):
        context = multiprocessing.get_context("fork")
        workers = [context.Process(target=work, args=(n,)) for n in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(30)
        eventually(lambda: len(got) == 4)
        print(sorted(got), [worker.exitcode for worker in workers], flush=True)
"""
    with Program(source) as program:
        program.expect("[0, 1, 2, 3] [0, 0, 0, 0]")
        assert program.end() == 0


@pytest.mark.leaves_files
def test_a_child_that_never_uses_it_keeps_nothing_open(rendezvous: Path) -> None:
    """A forked child that outlives its parent without using exchanges leaves no ghost peer."""
    source = """
import zexchange
node = zexchange.federate("fed", listen=sys.argv[1])
if (child := os.fork()) == 0:
    os.close(1)
    time.sleep(60)
    os._exit(0)
print(child, flush=True)
sys.stdin.readline()
os._exit(0)  # without close: as if killed
"""
    endpoint = tcp(free_ports()[0])
    registry = Registry()
    with federate("fed", registry=registry) as node, Program(source, endpoint) as program:
        child = int(program.line())
        node.wait_peers(1)
        program.say()
        program.process.wait(30)
        eventually(lambda: not node.peers)
        eventually(lambda: _can_bind(endpoint))
        os.kill(child, signal.SIGKILL)


def test_dev_mode_shows_on_one_machine_what_cannot_travel(rendezvous: Path) -> None:
    """In dev mode a federated exchange encodes even when nobody remote listens."""
    source = """
import zexchange
with zexchange.federate("fed"):
    try:
        zexchange.get_exchange("x").send(object())
    except zexchange.EncodeError as error:
        print("refused", flush=True)
"""
    with Program(source, dev=True) as program:
        program.expect("refused")
        assert program.end() == 0


def test_nothing_is_imported_before_it_is_needed() -> None:
    """`import zexchange` loads no ZeroMQ: a purely local program does not pay for it."""
    check = "import zexchange, sys; sys.exit('zmq' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize("way", ["foreign", "file", "unwritable"])
def test_a_bad_rendezvous_directory_is_a_clear_error(
    rendezvous: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """A directory that is foreign, not one, or not writable is named, with what to do."""
    path = rendezvous / "place"
    if way == "file":
        path.write_text("in the way")
    else:
        path.mkdir(mode=0o700)
    if way == "foreign":
        if os.getuid() != 0:
            pytest.skip("only root can give a directory away")
        os.chown(path, 12345, 12345)
    if way == "unwritable":
        # Root may write anywhere: a read-only file system is what stops it.
        monkeypatch.setattr(os, "access", lambda *a, **k: False)
    monkeypatch.setenv("ZEXCHANGE_DIR", str(path))
    with pytest.raises(Exception, match="ZEXCHANGE_DIR") as raised:
        federate("fed", registry=Registry())
    assert isinstance(raised.value, OSError)
    if way == "file":
        path.unlink()


def test_long_paths_of_the_rendezvous_directory_work(
    rendezvous: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path too long for a Unix socket: the sockets lie elsewhere, and are found and swept."""
    long = rendezvous / ("deep" * 20) / ("er" * 20)
    monkeypatch.setenv("ZEXCHANGE_DIR", str(long))
    one, two = Registry(), Registry()
    got: list[object] = []
    two.get("x").handler(got.append)
    with federate("fed", registry=one) as node, federate("fed", registry=two):
        one.get("x").send(1)
        node.flush()
    assert got == [1]


@pytest.fixture
def locked() -> Iterator[ExitStack]:
    """Files that are held open and locked until the test ends."""
    with ExitStack() as stack:
        yield stack


def test_nonsense_in_the_rendezvous_directory_is_ignored(
    rendezvous: Path, locked: ExitStack
) -> None:
    """Files of garbage, directories, links and lying endpoints hinder nobody."""
    place = rendezvous / "fed"
    place.mkdir(mode=0o700)
    lies = [
        b"",
        b"\xff\0garbage",
        b"[]",
        b"{}",
        b'{"control": 7}',
        b'{"control": "tcp://1.2.3.4:5"}',
    ]
    lies += [b'{"control": "ipc:///nowhere/at/all"}', b'{"control": "ipc://' + b"x" * 300 + b'"}']
    for n, text in enumerate(lies):
        path = place / f"lie{n}.node"
        path.write_bytes(text)
        fcntl.flock(locked.enter_context(path.open("rb")), fcntl.LOCK_EX)
    (place / "stale.node").write_text("not locked")
    (place / "folder.node").mkdir()
    (place / "link.node").symlink_to("/etc/passwd")
    one, two = Registry(), Registry()
    got: list[object] = []
    two.get("x").handler(got.append)
    with federate("fed", registry=one) as node, federate("fed", registry=two):
        node.wait_peers(1)
        one.get("x").send(1)
        node.flush()
        assert got == [1]
        assert not (place / "stale.node").exists()
    locked.close()
    for path in place.iterdir():
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()


def test_a_vanished_file_is_mended(rendezvous: Path) -> None:
    """A node whose file was deleted by somebody puts it back, and newcomers find it."""
    with federate("fed", registry=Registry()) as node:
        (path,) = (rendezvous / "fed").glob("*.node")
        path.unlink()
        eventually(path.exists)
        with federate("fed", registry=Registry()) as other:
            other.wait_peers(1)
            node.wait_peers(1)
