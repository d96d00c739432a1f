"""Names that stand for many addresses, and what the local network says; without sockets."""

import threading
from collections.abc import Callable

import pytest

from tests.protocol.test_peers import THEM, hello
from tests.support import eventually
from zexchange.net.peering import mdns as lan
from zexchange.net.peering.discovery import LAN_FIRST, REFRESH, RETRY, Discovery
from zexchange.net.transport import dns as lookups
from zexchange.net.transport.dns import Found, Resolver, look_up, needs_lookup
from zexchange.net.transport.endpoints import Tcp, as_host, parse_tcp
from zexchange.protocol.session import effects as fx
from zexchange.protocol.session.peers import State
from zexchange.protocol.session.session import Session
from zexchange.protocol.wire import messages as v

NAME = "tcp://pods.example:7400"
ONE, TWO, THREE = (f"tcp://10.0.0.{n}:7400" for n in (1, 2, 3))


class Asked(Resolver):
    """Look-ups that the test answers."""

    def __init__(self) -> None:
        self.waiting: list[tuple[str, Found]] = []

    def ask(self, endpoint: str, found: Found) -> None:
        self.waiting.append((endpoint, found))

    def answer(self, *endpoints: str, why: str = "") -> None:
        _, found = self.waiting.pop(0)
        found(list(endpoints), why)


class World:
    """A session, its discovery, and a clock."""

    def __init__(self, *peers: str) -> None:
        self.now = 100.0
        here = v.Address("tcp://10.0.0.9:7400", "tcp://10.0.0.9:7401")
        label = v.Label("host", 1)
        self.session = Session(bytes(16), "f", label, (here,), lambda address: True, self.now)
        self.lookups = Asked()
        self.discovery = Discovery(self.session, self.lookups, peers, lambda: self.now)
        self.discovery.start(self.now)

    def dialled(self) -> set[str]:
        return set(self.session.members.candidates)

    def later(self, seconds: float) -> None:
        self.now += seconds
        self.discovery.tick(self.now)

    def pending(self) -> list[str]:
        return list(self.discovery.pending(self.now))


def test_an_address_is_dialled_at_once() -> None:
    """What needs no look-up is dialled and asked nobody."""
    world = World(ONE)
    assert world.dialled() == {ONE}
    assert world.lookups.waiting == []
    assert world.pending() == []


def test_a_name_is_all_its_addresses() -> None:
    """Every address of a name is dialled; until it has one, joining waits for it."""
    world = World(NAME)
    assert world.pending() == [f"{NAME} is being looked up"]
    world.lookups.answer(ONE, TWO)
    assert world.dialled() == {ONE, TWO}
    assert world.pending() == []


def test_a_name_is_asked_again() -> None:
    """After a while it is asked again: what is new is dialled, what is gone no longer."""
    world = World(NAME)
    world.lookups.answer(ONE, TWO)
    world.later(REFRESH - 0.1)
    assert world.lookups.waiting == []
    world.later(0.2)
    world.lookups.answer(TWO, THREE)
    assert world.dialled() == {TWO, THREE}


def test_a_name_is_asked_once_at_a_time() -> None:
    """A look-up that takes long is not repeated meanwhile."""
    world = World(NAME)
    world.later(10 * REFRESH)
    assert len(world.lookups.waiting) == 1


def test_a_peer_stays_that_is_not_in_the_answer() -> None:
    """Who is a peer is not hung up on because a name server leaves it out."""
    world = World(NAME)
    world.lookups.answer(ONE)
    world.session.receive(v.Welcome(THEM, hello()), None, ONE, world.now)
    world.later(REFRESH)
    world.lookups.answer(TWO)
    assert world.dialled() >= {ONE, TWO}
    assert THEM in world.session.members.peers


def test_a_name_that_fails_is_told_and_asked_soon() -> None:
    """A failure is a rejection with the resolver's words; what was known is dialled on."""
    world = World(NAME)
    world.lookups.answer(ONE)
    world.later(REFRESH)
    world.lookups.answer(why="no name server")
    assert world.dialled() == {ONE}
    assert world.session.rejections == {(NAME, "cannot resolve the name"): 1}
    told = [e.event for e in world.session.take() if isinstance(e, fx.Emit)]
    assert [event.detail for event in told] == ["no name server"]  # type: ignore[union-attr]
    world.later(RETRY)
    assert len(world.lookups.waiting) == 1


def test_our_own_address_is_recognised_once() -> None:
    """Of the addresses of a name one is ours: it is dialled once, and let be."""
    world = World(NAME)
    world.lookups.answer(ONE, TWO)
    world.session.receive(v.Refuse(bytes(16), "self"), None, ONE, world.now)
    world.session.take()
    for _ in range(20):
        world.later(REFRESH)
        world.lookups.answer(ONE, TWO)
        world.session.tick(world.now)
        assert ONE not in [e.endpoint for e in world.session.take() if isinstance(e, fx.Dial)]
    assert world.session.members.candidates[ONE].state is State.OURSELVES


class Lan:
    def start(self, seen: Callable[[str, tuple[str, ...]], None]) -> None:
        self.seen = seen


def test_the_local_network() -> None:
    """What is seen is dialled, also by several addresses; what is gone no longer."""
    world, network = World(), Lan()
    world.discovery.start(world.now, network)  # type: ignore[arg-type]
    assert world.pending() == ["the local network is being asked"]
    network.seen("a", (ONE, TWO))
    network.seen("b", (THREE,))
    assert world.dialled() == {ONE, TWO, THREE}
    network.seen("a", ())
    assert world.dialled() == {THREE}
    world.later(LAN_FIRST)
    assert world.pending() == []


def test_gossip_that_a_name_confirms_is_not_forgotten() -> None:
    """An endpoint that was hearsay stays once a name in `peers=` stands for it."""
    world = World(NAME)
    world.session.candidates.add(ONE, "gossip", world.now)
    world.lookups.answer(ONE)
    assert world.session.members.candidates[ONE].source == "dns"


# ------------------------------------------------------------------------------- look-ups


def run(post: list[Callable[[], None]]) -> None:
    eventually(lambda: post).pop(0)()


def test_a_look_up_does_not_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asking returns at once, however long the resolver takes; both who ask are answered."""
    go, posted, answers = threading.Event(), list[Callable[[], None]](), list[object]()

    def resolve(*_: object, **__: object) -> list[object]:
        assert go.wait(30)
        return [(2, 1, 6, "", ("10.0.0.1", 7400)), (10, 1, 6, "", ("fd00::1", 7400, 0, 0))]

    monkeypatch.setattr("zexchange.net.transport.dns.socket.getaddrinfo", resolve)
    asking = Resolver(posted.append)
    asking.ask(NAME, lambda found, why: answers.append(found))
    asking.literal(NAME, answers.append, turn=3)
    assert answers == posted == []
    go.set()
    run(posted)
    assert answers == [[ONE, "tcp://[fd00::1]:7400"], "tcp://[fd00::1]:7400"]


def test_no_more_look_ups_than_that_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Peers that tell us of many names do not make us start a thread for each."""
    go, posted, answers = threading.Event(), list[Callable[[], None]](), list[str]()
    monkeypatch.setattr(
        "zexchange.net.transport.dns.socket.getaddrinfo", lambda *_, **__: go.wait(30) and []
    )
    monkeypatch.setattr(lookups, "MOST", 3)
    asking = Resolver(posted.append)
    for n in range(5):
        asking.ask(f"tcp://n{n}.example:1", lambda found, why: answers.append(why))
    assert answers == ["over 3 names are being looked up"] * 2
    go.set()
    for _ in range(3):
        run(posted)
    assert answers[2:] == ["it has no address"] * 3


def test_an_address_is_not_looked_up() -> None:
    """An address is handed on as it is, and so is what is no TCP endpoint."""
    got: list[str] = []
    for endpoint in (ONE, "tcp://[fd00::1%eth0]:1", "ipc:///x", "tcp://0.0.0.0:1", "tcp://*:1"):
        assert not needs_lookup(endpoint)
        Resolver(lambda command: None).literal(endpoint, got.append)
    assert len(got) == 5


def test_a_name_that_cannot_be_resolved() -> None:
    """A name that is none gives a reason."""
    found, why = look_up(f"tcp://{'x' * 70}.example:1")
    assert found == []
    assert why


# ------------------------------------------------------------------------------- endpoints


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("fd00::1", "[fd00::1]"),
        ("fe80::1%eth0", "[fe80::1%eth0]"),
    ],
)
def test_an_address_as_a_host(address: str, host: str) -> None:
    """IPv6 gets brackets, and IPv4 in the guise of IPv6 is IPv4."""
    assert as_host(address) == host
    assert parse_tcp(f"tcp://{host}:1").host == host


def test_bare_ipv6_is_refused() -> None:
    """Without brackets nobody knows where the port begins."""
    with pytest.raises(ValueError, match="tcp://HOST:PORT"):
        parse_tcp("tcp://fd00::1:7400")


# ------------------------------------------------------------------------------ the network


def test_what_is_announced_hides_the_federation() -> None:
    """The name of a federation is announced as a digest, and names differ."""
    assert lan.digest("lab") != lan.digest("lap")
    assert b"lab" not in lan.digest("lab")


def test_services_as_endpoints() -> None:
    """Each address of a service is an endpoint; one without a port is none."""
    assert lan.as_endpoints(["10.0.0.1", "fd00::1"], 7400) == (ONE, "tcp://[fd00::1]:7400")
    assert lan.as_endpoints(["10.0.0.1"], None) == ()


def test_bound_to_one_address_is_that_one() -> None:
    """Who listens on one address announces it; who listens on all, those of interfaces."""
    pytest.importorskip("zeroconf")
    assert lan.own_addresses(Tcp("10.0.0.1", 1)) == ["10.0.0.1"]
    assert not [a for a in lan.own_addresses(Tcp("0.0.0.0", 1)) if a.startswith("127.")]


def test_answers_come_where_commands_are_run() -> None:
    """Who asked is answered on the thread that runs what was posted: the control thread."""
    posted: list[Callable[[], None]] = []
    where: list[threading.Thread] = []
    Resolver(posted.append).ask(
        "tcp://localhost:1", lambda found, why: where.append(threading.current_thread())
    )
    run(posted)
    assert where == [threading.current_thread()]
