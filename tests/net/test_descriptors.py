"""File descriptors: what a node needs of them, and how a program gets by with few, or none."""

import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.net.conftest import Joiner, collect
from tests.support import PATIENCE, Program, eventually, tcp
from zexchange.net.transport import descriptors as d
from zexchange.protocol.session.peers import MAX_GOSSIP, MAX_PEERS

# ------------------------------------------------------------------------------ the numbers


class Counter:
    """How many are left, as a test says."""

    def __init__(self) -> None:
        self.left: int | None = 1000

    def __call__(self, enough: int) -> int | None:
        return None if self.left is None else min(self.left, enough)


def test_a_few_more_or_less_are_no_reason_to_change() -> None:
    """It is short below the reserve, and until there is room; what is not known changes nothing."""
    counter = Counter()
    shortage = d.Shortage(counter)
    said = []
    for left in (1000, d.RESERVE, d.RESERVE - 1, d.ROOM - 1, None, d.ROOM, d.RESERVE, None, 0):
        counter.left = left
        said.append(shortage.look())
    assert said == [False, False, True, True, True, False, False, False, True]


@given(st.none() | st.integers(-100, 100_000))
def test_peers_and_hearsay_fit_into_what_is_left(there: int | None) -> None:
    """With all of them there the reserve is still there; with little room there are a few."""
    peers, hearsay = d.shares(there)
    assert d.FEWEST_PEERS <= peers <= MAX_PEERS
    assert 1 <= hearsay <= MAX_GOSSIP
    if there is None:
        assert (peers, hearsay) == (MAX_PEERS, MAX_GOSSIP)
    elif peers > d.FEWEST_PEERS:
        assert there - d.A_PEER * peers - d.A_CANDIDATE * hearsay >= d.ROOM


@pytest.fixture
def limit() -> Iterator[int]:
    """A limit for this process, under which a number of descriptors are open."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = max(map(int, os.listdir("/proc/self/fd"))) + 200
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, before[1]))
    yield most
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_what_is_left_is_counted(limit: int) -> None:
    """Exactly where it is little, wherever the free numbers are; else as many as are enough."""
    opened = []
    try:
        left = d.left()
        assert left is not None
        assert d.left_at_most(100) == 100
        assert d.left_at_most(5000) == left
        top = os.dup(0)
        os.dup2(top, limit - 1)
        opened += [top, limit - 1]
        assert d.left_at_most(100) == 100
        opened += [os.dup(0) for _ in range(left - 12)]
        assert d.left_at_most(100) == d.left() == 10
        opened += [os.dup(0) for _ in range(10)]
        assert d.left_at_most(100) == d.left() == 0
    finally:
        for fd in opened:
            os.close(fd)


# ------------------------------------------------------------------------ to begin with few

COUNT = """
import os
from zexchange import federate
from zexchange.net.hub.hub import Hub
count = lambda: len(os.listdir("/proc/self/fd"))
before = count()
if sys.argv[1] == "hub":
    Hub("fed", tcp(0), **eval(sys.argv[2]))
else:
    node = federate("fed", **eval(sys.argv[2]))
    # A socket that was just closed, as one is that dialled in vain, is there for a moment.
    eventually(lambda: count() - before <= node._plan.descriptors())
    print(node._plan.descriptors(), end=" ")
print(count() - before, flush=True)
"""
NOBODY = tcp(9)


@pytest.mark.sockets
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"local": False},
        {"listen": tcp(0)},
        {"local": False, "hub": NOBODY},
        {"hub": [NOBODY, tcp(10)]},
        {"listen": tcp(0), "peers": [NOBODY, tcp(10), tcp(11)]},
        {"keys": True, "listen": tcp(0)},
        {"keys": True, "listen": tcp(0), "hub": NOBODY},
    ],
)
def test_a_node_takes_no_more_than_is_asked_for(
    rendezvous: Path, keyrings: Path, arguments: dict[str, object]
) -> None:
    """What is said to be needed is what is opened, to a few."""
    if "keys" in arguments:
        arguments = {**arguments, "keys": str(keyrings("node"))}  # type: ignore[operator]
    with Program(COUNT, "node", {"join_timeout": 0.01, **arguments}) as program:
        needed, taken = map(int, program.line().split())
        assert taken <= needed <= taken + 12


@pytest.mark.sockets
@pytest.mark.parametrize("peers", [(), (NOBODY, tcp(10))])
def test_a_hub_takes_no_more_than_is_asked_for(peers: tuple[str, ...]) -> None:
    """Likewise."""
    with Program(COUNT, "hub", {"peers": peers}) as program:
        taken = int(program.line())
        assert taken <= d.HUB + d.A_HUB * len(peers) <= taken + 12


REFUSED = """
import errno, resource
import zexchange
from zexchange.net.hub.hub import Hub
from zexchange.net.transport.descriptors import ROOM
listed = lambda: sorted(os.listdir("/proc/self/fd"))
most = len(listed()) + ROOM + int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
before = listed()
make = {"node": lambda: zexchange.federate("fed"), "hub": lambda: Hub("fed", tcp(0))}[sys.argv[1]]
try:
    make()
except zexchange.TooFewDescriptors as error:
    assert error.errno == errno.EMFILE and isinstance(error, OSError), error
    print(before == listed(), os.listdir(os.environ["ZEXCHANGE_DIR"]), str(error), flush=True)
"""


@pytest.mark.sockets
@pytest.mark.parametrize("kind", ["node", "hub"])
@pytest.mark.parametrize("room", [-d.ROOM, 0, 10])
def test_with_too_few_nothing_is_opened(rendezvous: Path, kind: str, room: int) -> None:
    """The error says how many it takes and what to do; nothing is left behind."""
    with Program(REFUSED, kind, room) as program:
        said = program.line()
    assert said.startswith("True [] ")
    assert "ulimit -n" in said
    assert f"only {d.ROOM + room} more" in said or room < 0


# --------------------------------------------------------------------- when they become few

PROGRAM = """
import resource
import zexchange
from zexchange.net.transport.descriptors import RESERVE, left
resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
got, files = [], []
zexchange.get_exchange("in").handler(got.append)
with zexchange.federate("fed", **eval(sys.argv[1])) as node:
    def few():
        return any(source == "descriptors" for source, _ in node.stats().rejected)
    print(node.id, flush=True)
    for line in map(str.strip, sys.stdin):
        if line == "fill":
            while left() >= RESERVE:
                files.append(open(os.devnull))
            eventually(lambda: node._engine.places.hidden)
            assert few()
            try:
                while True:
                    files.append(open(os.devnull))
            except OSError as error:
                print(error.errno, flush=True)
        elif line == "diagnose":
            print(node.diagnose().conclusion, flush=True)
        elif line == "free":
            while files:
                files.pop().close()
            print("free", flush=True)
        elif line == "send":
            zexchange.get_exchange("out").send("hello")
            eventually(lambda: got)
            print(got.pop(), flush=True)
"""
JOINER = """
import zexchange
got = []
zexchange.get_exchange("out").handler(got.append)
with zexchange.federate("fed", join_timeout=0.01) as node:
    print("there", flush=True)
    node.wait_peers(int(sys.argv[1]), 60)
    print("joined", flush=True)
    sys.stdin.read()
"""


@pytest.mark.sockets
@pytest.mark.leaves_files
@pytest.mark.parametrize("keyed", [False, True])
def test_a_program_at_its_limit_lives_while_others_join(
    join: Joiner, keyrings: Path, keyed: bool
) -> None:
    """Its peers go on as before; who comes meanwhile becomes a peer when there is room again."""
    arguments = {"keys": str(keyrings("node")), "listen": tcp(0)} if keyed else {}  # type: ignore[operator]
    node, here = join()
    got = collect(here, "out")
    with Program(PROGRAM, arguments) as program:
        ident = program.line()
        node.wait_subscribers("in", 1)
        program.say("fill")
        program.expect("24")
        with Program(JOINER, 2) as one, Program(JOINER, 2) as two:
            one.expect("there")
            two.expect("there")
            # Both know of it, and have dialled it, for they know each other.
            node.wait_peers(3)
            for _ in range(3):
                program.say("send")
                here.get("in").send("to you")
                program.expect("to you")
            eventually(lambda: got == ["hello"] * 3)
            assert [peer.id for peer in node.peers].count(ident) == 1
            program.say("free")
            program.expect("free")
            one.expect("joined", 60)
            two.expect("joined", 60)


HUB = """
import resource
from zexchange.net.hub.hub import Hub
resource.setrlimit(resource.RLIMIT_NOFILE, (150, 150))
hub, files = Hub("fed", tcp(0)), []
print(hub.endpoint, flush=True)
for line in map(str.strip, sys.stdin):
    if line == "fill":
        try:
            while True:
                files.append(open(os.devnull))
        except OSError as error:
            print(error.errno, flush=True)
    else:
        while files:
            files.pop().close()
        print("free", flush=True)
hub.close()
"""


@pytest.mark.sockets
@pytest.mark.leaves_files
def test_a_hub_at_its_limit_lives_while_others_join(join: Joiner) -> None:
    """It carries on whom it carries; who comes meanwhile is carried when there is room again."""
    with Program(HUB) as hub:
        way = {"hub": hub.line(), "local": False, "join_timeout": 0.01}
        node, here = join(**way)
        _, there = join(**way)
        got = collect(there, "x")
        node.wait_subscribers("x", 1)
        hub.say("fill")
        hub.expect("24")
        late, _ = join(**way)
        here.get("x").send("hello")
        node.flush()
        assert got == ["hello"]
        assert not late.peers
        hub.say("free")
        hub.expect("free")
        late.wait_peers(2, 60)


@pytest.mark.sockets
def test_a_doctor_says_that_descriptors_are_few(join: Joiner) -> None:
    """In the program itself, and beside it."""
    with Program(PROGRAM, {}) as program:
        program.line()
        node, _ = join(join_timeout=0.01)
        node.wait_peers(1)
        program.say("fill")
        program.expect("24")
        other, _ = join(join_timeout=0.01)
        other.wait_peers(1)  # not the program
        found = other.diagnose()
        assert any("few file descriptors left" in finding.text for finding in found.findings)
        program.say("diagnose")
        said = program.line(PATIENCE)
        assert "so few file descriptors left" in said
        program.say("free")
        program.expect("free")
        other.wait_peers(2)
