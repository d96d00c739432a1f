"""What the user gave: named until it has answered once, with the reason, whatever happens."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from test_peers import HERE, ME, START, hello

from tests.support import examples
from zexchange.protocol.session.session import Session
from zexchange.protocol.unanswered import LOOKING_UP, Given, Neighbours
from zexchange.protocol.wire import messages as v

ONE, TWO, NAME = "tcp://10.0.0.1:7400", "tcp://10.0.0.2:7400", "tcp://shop.example:7400"


def with_given(*endpoints: str) -> Session:
    """Return a session that was given endpoints, and dials those that are addresses."""
    known = Given(endpoints)
    session = Session(
        ME, "f", v.Label("host", 2), (HERE,), lambda address: True, START, given=known
    )
    for endpoint in endpoints:
        if endpoint != NAME:
            session.candidates.add(endpoint, "static", START)
    session.take()
    return session


def missing(session: Session) -> list[str]:
    """Return what is told of the endpoints that have not answered."""
    return [str(one) for one in session.members.unanswered()]


def why(session: Session) -> str:
    (one,) = session.members.unanswered()
    return one.why


def welcome(session: Session, endpoint: str, sender: bytes, now: float = START) -> None:
    told = hello(sender, addresses=(v.Address(endpoint, endpoint.replace("7400", "7401")),))
    session.receive(v.Welcome(sender, told), None, endpoint, now)


def test_an_address_is_named_with_what_is_known_of_it() -> None:
    """The latest that was found out: by a look, by its own words, by a broken connection."""
    session = with_given(ONE)
    assert missing(session) == [f"the peer {ONE} has not answered: there is no connection to it"]
    session.peering.probed(ONE, False, START)
    assert why(session) == "nothing listens there"
    session.peering.probed(ONE, True, START)
    assert why(session) == "something listens there, and does not answer"
    session.candidates.turned_away(ONE, "it has keys: join with keys, too")
    assert why(session) == "it has keys: join with keys, too"
    session.receive(v.Refuse(b"\1" * 16, "federation", "not 'f'"), None, ONE, START)
    assert why(session) == """it refuses us (federation: "not 'f'")"""


def test_nobody_is_held_up_by_what_cannot_answer() -> None:
    """What is refused, or where nothing listens, is named and not waited for in joining."""
    session = with_given(ONE)
    (one,) = session.members.unanswered()
    assert one.live
    session.peering.probed(ONE, False, START)
    (one,) = session.members.unanswered()
    assert not one.live
    assert list(session.members.pending(1)) == []


def test_who_has_answered_once_is_a_peer_like_any_other() -> None:
    """It leaves, and is dialled again, and is not what was never there."""
    session = with_given(ONE)
    welcome(session, ONE, b"\1" * 16)
    assert missing(session) == []
    session.receive(v.Bye(b"\1" * 16, {}), None, ONE, START)
    assert missing(session) == []
    assert list(session.members.pending(1)) == [f"{ONE} (static) has not answered"]


def test_ones_own_address_has_answered() -> None:
    """As it stands in our list, or under another name that leads back to us."""
    session = with_given(HERE.control, ONE)
    assert [one.endpoint for one in session.members.unanswered()] == [ONE]
    session.receive(v.Refuse(ME, "self", ""), None, ONE, START)
    assert missing(session) == []


def test_a_name_has_answered_when_one_of_its_addresses_has() -> None:
    """Before that it says that it is looked up, that it has no address, or what they do."""
    session = with_given(NAME)
    known = session.members.given
    known.looked_up(NAME, ())
    assert why(session) == LOOKING_UP
    known.looked_up(NAME, (), "cannot resolve the name: unknown")
    assert why(session) == "cannot resolve the name: unknown"
    known.looked_up(NAME, (ONE, TWO))
    for endpoint in (ONE, TWO):
        session.candidates.add(endpoint, "dns", START)
    session.peering.probed(TWO, False, START)
    assert why(session) == "there is no connection to it; nothing listens there"
    welcome(session, TWO, b"\2" * 16)
    assert missing(session) == []
    assert list(session.members.pending(0))  # the other one is a candidate, as it was


def test_a_name_that_stands_for_who_is_known_has_answered() -> None:
    """Its node was met by another's word, before the name was looked up."""
    session = with_given(NAME)
    session.members.given.looked_up(NAME, ())
    session.candidates.add(ONE, "gossip", START)
    welcome(session, ONE, b"\1" * 16)
    session.members.given.looked_up(NAME, (ONE,))
    session.candidates.add(ONE, "dns", START)
    assert missing(session) == []


endpoints = st.sampled_from([ONE, TWO])


class Answering(RuleBasedStateMachine):
    """Endpoints at which nodes come, answer, refuse and go, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.session = with_given(ONE, TWO)
        self.answered: set[str] = set()
        self.now = START
        self.nodes = 0

    @rule(endpoint=endpoints, listening=st.booleans())
    def look(self, endpoint: str, listening: bool) -> None:
        self.session.peering.probed(endpoint, listening, self.now)

    @rule(endpoint=endpoints)
    def answer(self, endpoint: str) -> None:
        self.nodes += 1
        welcome(self.session, endpoint, self.nodes.to_bytes(16, "big"), self.now)
        self.answered.add(endpoint)

    @rule(endpoint=endpoints, reason=st.sampled_from(["federation", "version"]))
    def refuse(self, endpoint: str, reason: str) -> None:
        self.session.receive(v.Refuse(b"\7" * 16, reason, "no"), None, endpoint, self.now)

    @rule(endpoint=endpoints)
    def break_off(self, endpoint: str) -> None:
        self.session.candidates.turned_away(endpoint, "wrong key")
        self.session.peering.shut_out(endpoint, self.now)

    @rule(which=st.integers(1, 5))
    def leave(self, which: int) -> None:
        peer = self.session.members.peers.get(which.to_bytes(16, "big"))
        if peer is not None:
            self.session.receive(v.Bye(peer.id, {}), None, peer.link, self.now)

    @rule(seconds=st.sampled_from([0.1, 1.0, 5.0, 40.0]))
    def wait(self, seconds: float) -> None:
        for _ in range(10):
            self.now += seconds / 10
            self.session.tick(self.now)

    @rule(sender=st.integers(50, 52), endpoint=endpoints)
    def greet(self, sender: int, endpoint: str) -> None:
        """Have a node that is elsewhere say that it is at an endpoint: that is no answer."""
        told = hello(bytes([sender]) * 16, addresses=(v.Address(endpoint, endpoint),))
        self.session.receive(told, b"route", None, self.now)

    @invariant()
    def all_that_never_answered_is_named(self) -> None:
        found = self.session.members.unanswered()
        assert [one.endpoint for one in found] == [e for e in (ONE, TWO) if e not in self.answered]
        assert all(one.why for one in found)
        self.session.take()


TestAnswering: Any = Answering.TestCase
TestAnswering.settings = settings(max_examples=examples(300), deadline=None)


def test_what_is_told_is_finite() -> None:
    """A name that stands for a hundred addresses is named with a few reasons."""
    session = with_given(NAME)
    found = tuple(f"tcp://10.0.1.{n}:7400" for n in range(100))
    session.members.given.looked_up(NAME, found)
    for n, endpoint in enumerate(found):
        session.candidates.add(endpoint, "dns", START)
        session.candidates.turned_away(endpoint, f"reason {n}")
    assert why(session) == "reason 0; reason 1; reason 2"


def test_a_hub_tells_of_the_hubs_that_it_was_given() -> None:
    """Of one that is not there in time, and then of each change, once."""
    neighbours = Neighbours(3.0)
    neighbours.given(ONE, 0.0)
    neighbours.given(TWO, 0.0)
    seen = [
        (now, *neighbours.look(linked, now))
        for now, linked in [
            (0.1, []),
            (1.0, [TWO]),
            (3.0, [TWO]),
            (3.1, [TWO]),
            (4.0, []),
            (4.1, []),
            (5.0, [ONE]),
            (6.0, [ONE, TWO]),
        ]
    ]
    again = "it is dialled again and again"
    assert [one for one in seen if one[1:]] == [
        (3.0, f"the hub {ONE} has not answered: {again}"),
        (4.0, f"the hub {TWO} does not answer any more: {again}"),
        (5.0, f"the hub {ONE} answers again"),
        (6.0, f"the hub {TWO} answers again"),
    ]
