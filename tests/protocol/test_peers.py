"""Every deadline of membership, moved to and past by a clock in the test's hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zexchange.protocol.session import effects as fx
from zexchange.protocol.session import events as ev
from zexchange.protocol.session import peers as m
from zexchange.protocol.session.peers import Candidate, Peer, PeerTable, State
from zexchange.protocol.session.session import Session
from zexchange.protocol.wire import messages as v
from zexchange.protocol.wire.envelopes import endpoint_of

ME, THEM = bytes(16), b"\1" * 16
HERE = v.Address("tcp://127.0.0.1:1", "tcp://127.0.0.1:2")
THERE = v.Address("tcp://127.0.0.1:3", "tcp://127.0.0.1:4")
LABEL = v.Label("host", 1, "them")
START = 100.0


def hello(sender: bytes = THEM, **more: object) -> v.Hello:
    known: dict[str, object] = {"federation": "f", "label": LABEL, "addresses": (THERE,)}
    known |= {"epoch": 1, "interest": ()}
    return v.Hello(sender, **{**known, **more})  # type: ignore[arg-type]


def alone(reachable: bool = True) -> Session:
    session = Session(ME, "f", v.Label("host", 2), (HERE,), lambda address: reachable, START)
    session.take()
    return session


@pytest.fixture
def joined() -> Session:
    """A session with one peer, linked and proven, that was heard at `START`."""
    session = alone()
    session.candidates.add(THERE.control, "static", START)
    session.receive(v.Welcome(THEM, hello()), None, THERE.control, START)
    session.readiness.proven(THEM, 1)
    session.readiness.token(THEM, 1, True)
    session.readiness.announced(THEM, 1, {})
    session.take()
    return session


def pass_time(session: Session, seconds: float, heard: bool = False) -> list[fx.Effect]:
    """Tick every 0.1 s and return the effects."""
    effects: list[fx.Effect] = []
    start = session.members._ticked_at
    for step in range(1, round(seconds * 10) + 1):
        now = start + step / 10
        if heard:
            session.receive(v.Pong(THEM), None, THERE.control, now)
        session.tick(now)
        effects += session.take()
    return effects


def events(effects: list[fx.Effect]) -> list[ev.Event]:
    return [effect.event for effect in effects if isinstance(effect, fx.Emit)]


def of(kind: type, effects: list[fx.Effect]) -> list[fx.Effect]:
    return [effect for effect in effects if isinstance(effect, kind)]


# ------------------------------------------------------------------------- silence


def test_silent_at_three_seconds(joined: Session) -> None:
    """A peer that is not heard is silent at 3 s, told once, and still a peer."""
    assert events(pass_time(joined, 2.8)) == []
    (event,) = events(pass_time(joined, 20.0))
    assert isinstance(event, ev.PeerSilent)
    assert event.seconds == pytest.approx(m.SILENT_AFTER, abs=0.11)
    assert THEM in joined.members.peers


def test_left_at_thirty_seconds(joined: Session) -> None:
    """Silence alone ends in `PeerLeft` at 30 s; what was received from it stops, too."""
    pass_time(joined, 29.8)
    assert THEM in joined.members.peers
    effects = pass_time(joined, 0.4)
    assert events(effects) == [ev.PeerLeft(THEM.hex(), LABEL, "silent")]
    assert fx.CloseReceiver(THEM, {}, final=False) in effects
    assert fx.CloseLink(THERE.control) in effects
    assert THEM not in joined.members.peers


def test_heard_again(joined: Session) -> None:
    """A silent peer that is heard is silent no more, and is told of again the next time."""
    pass_time(joined, 5.0)
    joined.receive(v.Pong(THEM), None, THERE.control, START + 5.0)
    assert not joined.members.peers[THEM].silent
    assert len(events(pass_time(joined, 5.0))) == 1


def test_gone_when_refused(joined: Session) -> None:
    """Not heard for 1.5 s, and nothing listens any more: gone, well before 3 s."""
    effects = pass_time(joined, 1.6)
    assert fx.Probe(THERE.control) in effects
    joined.peering.probed(THERE.control, False, START + 1.6)
    assert events(joined.take()) == [ev.PeerLeft(THEM.hex(), LABEL, "gone")]


def test_a_refusal_does_not_count_against_one_just_heard(joined: Session) -> None:
    """A peer that spoke less than 1.5 s ago is not gone because a probe was refused."""
    joined.peering.probed(THERE.control, False, START + 1.4)
    assert events(joined.take()) == []


def test_listening_and_silent_is_not_gone(joined: Session) -> None:
    """A process that is stopped still listens: it stays a peer until 30 s."""
    pass_time(joined, 10.0)
    joined.peering.probed(THERE.control, True, START + 10.0)
    assert THEM in joined.members.peers


def test_bye_is_at_once(joined: Session) -> None:
    """A goodbye ends membership at once."""
    joined.receive(v.Bye(THEM, {}), "route", None, START + 0.1)
    assert events(joined.take()) == [ev.PeerLeft(THEM.hex(), LABEL, "bye")]


def test_pings_every_second(joined: Session) -> None:
    """A peer is pinged every second, with our epoch and what is announced to it."""
    said = [e for e in pass_time(joined, 5.0, heard=True) if isinstance(e, fx.Send)]
    pings = [effect for effect in said if isinstance(effect.message, v.Ping)]
    assert pings == [fx.Send(THERE.control, v.Ping(ME, 1, 1, 1, THEM))] * 5


# ---------------------------------------------------------------------- a late tick


@pytest.mark.parametrize("late", [1.5, 10.0, 40.0, 3600.0])
def test_a_late_tick_forgives(joined: Session, late: float) -> None:
    """Whoever was stopped wakes up without believing that everyone has died."""
    pass_time(joined, 1.0)
    now = START + 1.0 + late
    joined.tick(now)
    effects = joined.take() + pass_time(joined, 1.8)
    assert events(effects) == []
    assert isinstance(events(pass_time(joined, 0.4))[0], ev.PeerSilent)


def test_a_late_tick_does_not_look_into_the_future(joined: Session) -> None:
    """What was heard between waking up and the late tick was heard then, not later."""
    joined.receive(v.Pong(THEM), None, THERE.control, START + 40.0)
    joined.tick(START + 40.1)
    assert len(events(pass_time(joined, 3.1))) == 1


def test_a_tick_that_is_a_little_late_forgives_nothing(joined: Session) -> None:
    """Up to a second late is ordinary: deadlines stay."""
    for step in range(1, 4):
        joined.tick(START + 0.99 * step)
    joined.tick(START + 3.0)
    assert len(events(joined.take())) == 1


@given(st.floats(0, 1e4), st.floats(0, 1e4))
def test_delays_never_pass_now(seconds: float, past: float) -> None:
    """However long we were stopped, nothing was heard later than now."""
    now = past + seconds
    peer = Peer(hello(), past)
    peer.delay(seconds, now)
    assert peer.heard_at <= now
    assert peer.ponged_at <= now
    assert peer.unproven_at is not None
    assert peer.unproven_at <= now


# ----------------------------------------------------------------------- candidates


def dialling(source: str = "static") -> Session:
    session = alone()
    session.candidates.add(THERE.control, source, START)
    return session


def test_dialled_once_and_greeted_every_second() -> None:
    """A candidate is dialled once, said hello to every second, and probed more often."""
    session = dialling()
    first = session.take()
    assert of(fx.Dial, first) == [fx.Dial(THERE.control)]
    session.candidates.add(THERE.control, "gossip", START)
    assert session.take() == []
    effects = first + pass_time(session, 2.5)
    assert len(of(fx.Send, effects)) == 3
    assert len(of(fx.Probe, effects)) > 6


def test_who_ends_before_it_answers_is_not_waited_for() -> None:
    """A candidate that was alive when it was dialled is looked at again before the next hello."""
    session = dialling()
    session.take()
    effects = pass_time(session, 0.5)
    assert of(fx.Probe, effects)
    assert not of(fx.Send, effects)


def test_nobody_waits_for_the_dead() -> None:
    """A candidate at which nothing listens is dialled on, and not pending."""
    session = dialling()
    assert len(list(session.members.pending(1))) == 1
    session.peering.probed(THERE.control, False, START + 0.1)
    assert list(session.members.pending(1)) == []
    assert of(fx.Send, pass_time(session, 2.0))
    session.peering.probed(THERE.control, True, START + 2.0)
    assert len(list(session.members.pending(1))) == 1


def test_a_link_without_answer_is_replaced() -> None:
    """Where something listens and does not answer for 3 s, a fresh link is tried."""
    session = dialling()
    session.take()
    assert of(fx.Redial, pass_time(session, 2.8)) == []
    assert of(fx.Redial, pass_time(session, 1.3)) == [fx.Redial(THERE.control)]


def test_a_link_to_a_peer_without_answer_is_replaced(joined: Session) -> None:
    """A peer that speaks to us and does not answer on our link gets a fresh link."""
    effects: list[fx.Effect] = []
    for step in range(1, 40):
        joined.receive(v.Ping(THEM, 1, 1), "route", None, START + step / 10)
        joined.tick(START + step / 10)
        effects += joined.take()
    assert of(fx.Redial, effects) == [fx.Redial(THERE.control)]


@pytest.mark.parametrize("source", ["gossip", "hello"])
def test_hearsay_is_forgotten(source: str) -> None:
    """An endpoint that only others told us of is given up after ten minutes."""
    session = dialling(source)
    pass_time(session, m.FORGET_AFTER - 1)
    assert session.members.candidates
    assert fx.CloseLink(THERE.control) in pass_time(session, 3.0)
    assert not session.members.candidates


def test_what_the_user_named_is_never_forgotten() -> None:
    """An endpoint of ``peers=`` is dialled for ever, also when gossip named it first."""
    session = dialling("gossip")
    session.candidates.add(THERE.control, "static", START)
    pass_time(session, m.FORGET_AFTER + 5)
    assert session.members.candidates


def test_refused_is_asked_again_after_ten_seconds() -> None:
    """Who refuses us is reported, and asked again ten seconds later."""
    session = dialling()
    session.take()
    session.receive(v.Refuse(THEM, "federation", "not here"), None, THERE.control, START)
    (event,) = events(session.take())
    assert isinstance(event, ev.Rejected)
    assert "federation" in event.reason
    assert of(fx.Send, pass_time(session, 9.8)) == []
    assert len(of(fx.Send, pass_time(session, 0.4))) == 1


def test_ourselves() -> None:
    """An endpoint that turns out to be our own is hung up and left alone."""
    session = dialling()
    session.take()
    session.receive(v.Refuse(ME, "self", ""), None, THERE.control, START)
    assert session.take() == [fx.CloseLink(THERE.control)]
    assert pass_time(session, 20.0) == []
    assert events(pass_time(session, 20.0)) == []


@pytest.mark.parametrize(
    ("endpoint", "source", "again"),
    [
        ("ipc:///run/x", "rendezvous", False),
        ("ipc:///run/x", "static", True),
        ("tcp://h:1", "gossip", True),
        ("tcp://h:1", "static", True),
    ],
)
def test_who_is_dialled_again(endpoint: str, source: str, again: bool) -> None:
    """A Unix socket dies with its node; a TCP port may come back."""
    assert Candidate(endpoint, source, 0, 0, 0, 0).lasting is again


# ---------------------------------------------------------------------------- proof


def test_an_unproven_data_socket_is_replaced_ever_more_slowly(joined: Session) -> None:
    """Without proof the data socket is replaced after 2 s, then 4 s, 8 s, ... up to 30 s."""
    joined.readiness.change_interest([("a", True)], START)
    joined.take()
    at = []
    for step in range(1, 900):
        now = START + step / 10
        joined.receive(v.Pong(THEM), None, THERE.control, now)
        joined.tick(now)
        if of(fx.OpenReceiver, joined.take()):
            at.append(now - START)
    assert at == pytest.approx([2, 6, 14, 30, 60], abs=0.5)


def test_many_names_have_a_data_socket_replaced_later(joined: Session) -> None:
    """Its peer takes in each of them, and drops each of the socket before: 1 ms more for each."""

    def replaced(before: int, count: int) -> float:
        joined.readiness.change_interest([(f"x{n}", True) for n in range(before, count)], START)
        joined.take()
        for step in range(1, 400):
            joined.receive(v.Pong(THEM), None, THERE.control, START + step / 10)
            joined.tick(START + step / 10)
            if of(fx.OpenReceiver, joined.take()):
                return step / 10
        return 0.0

    assert replaced(0, 3000) == pytest.approx(5, abs=0.2)
    joined.readiness.proven(THEM, 2)
    assert replaced(3000, 200_000) == pytest.approx(30, abs=0.2)


def test_proof_ends_the_wait(joined: Session) -> None:
    """Once the newest epoch is proven, the socket is left alone; an older one is not enough."""
    joined.readiness.change_interest([("a", True)], START)
    joined.readiness.proven(THEM, 1)
    assert of(fx.OpenReceiver, pass_time(joined, 2.5, heard=True))
    joined.readiness.proven(THEM, 2)
    assert not of(fx.OpenReceiver, pass_time(joined, 40.0, heard=True))


def test_a_peer_that_lost_our_token_is_noticed(joined: Session) -> None:
    """A ping that says "nothing announced to you" starts the clock on the data socket."""
    assert not of(fx.OpenReceiver, pass_time(joined, 5.0, heard=True))
    joined.receive(v.Ping(THEM, 1, 0), "route", None, START + 5.0)
    assert of(fx.OpenReceiver, pass_time(joined, 2.5, heard=True)) == [
        fx.OpenReceiver(THEM, THERE.data, unproven=True)
    ]


def test_a_ping_that_is_older_than_the_proof_costs_no_socket(joined: Session) -> None:
    """On a busy node a proof is read before a ping that was said earlier; the next is newer."""
    joined.readiness.change_interest([("a", True)], START)
    joined.readiness.proven(THEM, 2)
    joined.receive(v.Ping(THEM, 1, 1), "route", None, START + 0.1)
    joined.receive(v.Ping(THEM, 1, 2), "route", None, START + 1.1)
    assert not of(fx.OpenReceiver, pass_time(joined, 5.0, heard=True))


def test_members_start_empty() -> None:
    """A new table knows nobody, and nothing is pending."""
    members = PeerTable(0.0)
    assert list(members.pending(1)) == []
    assert members.linked_to("tcp://h:1") is None
    assert State.DIALING not in {c.state for c in members.candidates.values()}


# ------------------------------------------------------------------------- moved and missed

MOVED = v.Address("tcp://127.0.0.1:5", "tcp://127.0.0.1:6")


def test_an_unanswered_link_is_replaced_and_begins_with_a_hello(joined: Session) -> None:
    """After 3 s without a pong the link is replaced; the hello says where we are by now."""
    effects = pass_time(joined, 3.1)
    at = effects.index(fx.Redial(THERE.control))
    said = effects[at + 1]
    assert isinstance(said, fx.Send)
    assert isinstance(said.message, v.Hello)


def test_a_peer_that_has_moved_is_dialled_where_it_is(joined: Session) -> None:
    """Its hello, on its own link, gave another address: a link that is dead goes there."""
    pass_time(joined, 1.0)
    joined.receive(hello(addresses=(MOVED,)), "route", None, START + 1.0)
    assert fx.Dial(MOVED.control) not in joined.take()
    effects = pass_time(joined, 3.0)
    assert fx.CloseLink(THERE.control) in effects
    assert fx.Dial(MOVED.control) in effects
    assert fx.OpenReceiver(THEM, MOVED.data) in effects
    joined.receive(v.Welcome(THEM, hello(addresses=(MOVED,))), None, MOVED.control, START + 4.1)
    assert joined.members.peers[THEM].link == MOVED.control
    # It was named by the user: whoever may come there is dialled on.
    assert joined.members.candidates[THERE.control].source == "static"


def test_an_answered_link_stays_where_it_is(joined: Session) -> None:
    """Another address in a hello moves nobody whose link is answered."""
    joined.receive(hello(addresses=(MOVED,)), "route", None, START)
    assert not of(fx.Dial, pass_time(joined, 20.0, heard=True))
    assert joined.members.peers[THEM].link == THERE.control


def test_several_addresses_take_turns(joined: Session) -> None:
    """Of several addresses the next is tried each time that a link is not answered."""
    joined.receive(hello(addresses=(THERE, MOVED)), "route", None, START)
    first = pass_time(joined, 3.1)
    assert fx.Dial(MOVED.control) in first


def test_others_tell_where_a_lost_peer_is(joined: Session) -> None:
    """When both have moved, only a third node knows where each is by now."""
    third = b"\3" * 16
    there = v.Address("tcp://127.0.0.1:8", "tcp://127.0.0.1:9")
    joined.candidates.add(there.control, "static", START)
    pass_time(joined, 2.0)
    known = ((THEM, (MOVED,)),)
    welcome = v.Welcome(third, hello(third, addresses=(there,)), known)
    joined.receive(welcome, None, there.control, START + 2.0)
    assert fx.Dial(MOVED.control) in pass_time(joined, 2.0)


def test_the_word_of_others_does_not_move_who_is_heard(joined: Session) -> None:
    """What a third node says of a peer that is heard changes nothing."""
    third = b"\3" * 16
    there = v.Address("tcp://127.0.0.1:8", "tcp://127.0.0.1:9")
    joined.candidates.add(there.control, "static", START)
    welcome = v.Welcome(third, hello(third, addresses=(there,)), ((THEM, (MOVED,)),))
    joined.receive(welcome, None, there.control, START)
    assert joined.members.peers[THEM].addresses == (THERE,)


def test_peers_are_asked_in_turn_whom_they_know() -> None:
    """Every few seconds one peer is greeted again, each as often as the others."""
    session, greeted = alone(), list[str]()
    peers = [bytes([n]) * 16 for n in (1, 2, 3)]
    for n, peer in enumerate(peers):
        there = v.Address(f"tcp://127.0.0.1:{10 + n}", f"tcp://127.0.0.1:{20 + n}")
        session.candidates.add(there.control, "static", START)
        welcome = v.Welcome(peer, hello(peer, addresses=(there,)))
        session.receive(welcome, None, there.control, START)
    session.take()
    for step in range(1, int(6 * m.GOSSIP_EVERY * 10) + 2):
        now = START + step / 10
        for peer in peers:
            link = session.members.peers[peer].link
            session.receive(v.Pong(peer), None, link, now)
        session.tick(now)
        says = of(fx.Send, session.take())
        greeted += [e.endpoint for e in says if isinstance(e.message, v.Hello)]  # type: ignore[attr-defined]
    assert sorted(greeted) == sorted(f"tcp://127.0.0.1:{10 + n}" for n in (0, 1, 2) for _ in "ab")


def test_a_pong_tells_how_a_peer_is(joined: Session) -> None:
    """The clock, a held thread and room are kept, with when they came and how long it took."""
    pass_time(joined, 1.0)
    pong = v.Pong(THEM, 1_700_000_000.0, 3.0, 12)
    joined.receive(pong, None, THERE.control, START + 1.25)
    peer = joined.members.peers[THEM]
    assert (peer.pong, peer.pong_at) == (pong, START + 1.25)
    assert peer.round_trip == pytest.approx(0.25)


def test_a_round_trip_is_that_of_the_oldest_ping_without_an_answer(joined: Session) -> None:
    """However rarely a peer is pinged; two pings and one late pong are not a quick answer."""
    peer = joined.members.peers[THEM]
    pass_time(joined, 2.5)
    joined.receive(v.Pong(THEM), None, THERE.control, START + 2.5)
    assert peer.round_trip == pytest.approx(1.5, abs=0.1)
    joined.receive(v.Pong(THEM), None, THERE.control, START + 2.6)
    assert peer.round_trip == pytest.approx(1.5, abs=0.1)
    peer.ping_at, peer.control = START + 2.6, endpoint_of(THEM)  # as behind a hub
    joined.tick(START + 2.6)
    joined.receive(v.Pong(THEM), None, THERE.control, START + 2.8)
    assert peer.round_trip == pytest.approx(0.2)


def test_who_calls_us_is_noted(joined: Session) -> None:
    """A peer that is heard on its own link has called; one that only answers has not."""
    joined.receive(v.Pong(THEM), None, THERE.control, START + 1.0)
    assert joined.members.peers[THEM].called_at == 0.0
    joined.receive(v.Ping(THEM, 1, 1, 1, ME), "route", None, START + 2.0)
    assert joined.members.peers[THEM].called_at == START + 2.0


def test_after_two_failures_data_is_sought_beside_the_link(joined: Session) -> None:
    """Where nothing is proven twice, the data address beside that of the link is tried."""
    peer = joined.members.peers[THEM]
    peer.addresses = (MOVED, THERE)
    peer.data = MOVED.data
    joined.readiness.change_interest([("x", True)], START)
    tuned = of(fx.OpenReceiver, pass_time(joined, 7.0, heard=True))
    assert [effect.endpoint for effect in tuned] == [MOVED.data, THERE.data]  # type: ignore[attr-defined]


def test_a_unix_socket_is_not_left_for_tcp() -> None:
    """Who does not answer at a Unix socket that exists is stopped: its TCP port is no better."""
    here = v.Address("ipc:///tmp/x.c", "ipc:///tmp/x.d")
    session = alone()
    session.candidates.add(here.control, "rendezvous", START)
    both = hello(addresses=(here, THERE))
    session.receive(v.Welcome(THEM, both), None, here.control, START)
    session.take()
    effects = pass_time(session, 3.1)
    assert fx.Redial(here.control) in effects
    assert not of(fx.Dial, effects)


def test_the_local_network_does_not_crowd_us() -> None:
    """Whatever is announced on the network, no more is dialled than there is room for."""
    session = Session(ME, "f", v.Label("host", 2), (HERE,), lambda a: True, START, room=(9, 3))
    for port in range(10):
        session.candidates.add(f"tcp://10.0.0.1:{port}", "lan", START)
    assert len(session.members.candidates) == 3
    assert ("lan", "more endpoints than are dialled at a time") in session.rejections
