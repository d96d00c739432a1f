"""Who cannot be dialled: our key is refused, or nothing answers; and how soon we try again."""

import pytest
from test_peers import START, alone, hello, of, pass_time

from zexchange.protocol.security.keys import id_for
from zexchange.protocol.security.permissions import Policy, Rights
from zexchange.protocol.session import effects as fx
from zexchange.protocol.session import peers as m
from zexchange.protocol.session.session import Session
from zexchange.protocol.timing import KNOCK_EVERY
from zexchange.protocol.wire import messages as v

OURS, THEIRS = b"o" * 32, b"t" * 32
ME, THEM = id_for(OURS, bytes(16)), id_for(THEIRS, bytes(16))
HERE = v.Address("tcp://127.0.0.1:1", "tcp://127.0.0.1:2")
THERE = v.Address("tcp://127.0.0.1:3", "tcp://127.0.0.1:4")
SOON = KNOCK_EVERY + 0.11


def with_keys() -> Session:
    policy = Policy(OURS, {THEIRS: Rights("them")})
    label = v.Label("host", 2)
    session = Session(ME, "f", label, (HERE,), lambda address: True, START, policy=policy)
    session.candidates.add(THERE.control, "static", START)
    session.take()
    return session


@pytest.fixture
def joined() -> Session:
    """A session with keys that has one peer, linked and proven."""
    session = with_keys()
    welcome(session, START)
    session.readiness.proven(THEM, 1)
    session.take()
    return session


def welcome(session: Session, now: float) -> None:
    message = v.Welcome(THEM, hello(THEM, addresses=(THERE,)))
    session.receive(message, None, THERE.control, now, THEIRS)


def greet(session: Session, now: float) -> None:
    session.receive(hello(THEM, addresses=(THERE,)), b"route", None, now, THEIRS)


def test_who_was_refused_is_dialled_again_soon() -> None:
    """Where our key is refused it may be authorized any time: libzmq does not try again."""
    session = with_keys()
    session.peering.shut_out(THERE.control, START)
    effects = pass_time(session, SOON)
    redialled = next(n for n, effect in enumerate(effects) if isinstance(effect, fx.Redial))
    assert of(v.Hello, [e.message for e in effects[redialled:] if isinstance(e, fx.Send)])  # type: ignore[arg-type]


def test_nobody_is_dialled_all_the_time() -> None:
    """Each refusal is followed by one attempt; who just does not answer has three seconds."""
    session = with_keys()
    session.peering.shut_out(THERE.control, START)
    assert len(of(fx.Redial, pass_time(session, m.UNANSWERED_AFTER))) == 1
    assert not of(fx.Redial, pass_time(with_keys(), m.UNANSWERED_AFTER - 0.2))


def test_a_link_that_was_refused_is_replaced_soon(joined: Session) -> None:
    """A peer that has revoked our key, and authorizes it again, does not wait for our pings."""
    joined.peering.shut_out(THERE.control, START)
    assert of(fx.Redial, pass_time(joined, SOON)) == [fx.Redial(THERE.control, THEIRS)]


def test_who_refuses_us_is_not_looked_for_elsewhere(joined: Session) -> None:
    """A peer that refuses our key is there: other addresses of it would be no better."""
    away = v.Address("tcp://10.0.0.1:3", "tcp://10.0.0.1:4")
    joined.members.peers[THEM].addresses = (THERE, away)
    joined.peering.shut_out(THERE.control, START)
    assert of(fx.Redial, pass_time(joined, SOON)) == [fx.Redial(THERE.control, THEIRS)]
    assert joined.members.peers[THEM].link == THERE.control


def test_who_greets_us_may_be_dialled_again(joined: Session) -> None:
    """A hello of who refused us before says that the key is authorized: at once we dial, too."""
    joined.peering.shut_out(THERE.control, START)
    greet(joined, START + 0.1)
    effects = joined.take()
    assert fx.Redial(THERE.control, THEIRS) in effects
    greet(joined, START + 0.2)
    welcome(joined, START + 0.3)
    joined.take()
    greet(joined, START + 0.4)
    assert not of(fx.Redial, joined.take())


def test_the_data_of_who_refused_us_is_connected_again(joined: Session) -> None:
    """The connection to its data was refused with the link, and for good: it is replaced, once."""
    joined.peering.shut_out(THERE.control, START)
    assert not of(fx.OpenReceiver, pass_time(joined, 0.3))
    for now in (START + 0.4, START + 0.5):
        welcome(joined, now)
        tuned = [effect for effect in joined.take() if isinstance(effect, fx.OpenReceiver)]
        assert [effect.endpoint for effect in tuned] == [THERE.data] * (now == START + 0.4)


def test_where_nobody_is_dialled_a_refusal_changes_nothing(joined: Session) -> None:
    """What a monitor tells late, of an endpoint that was hung up, is nobody's business."""
    joined.peering.shut_out("tcp://127.0.0.1:9", START)
    assert not of(fx.Redial, pass_time(joined, SOON))


def test_a_peer_that_is_only_heard_is_not_ready_and_says_why() -> None:
    """It reaches us and we do not reach it: what waits for it is told where nothing answers."""
    session = alone()
    session.receive(hello(b"\1" * 16, addresses=(THERE,)), b"route", None, START)
    session.readiness.token(b"\1" * 16, 1, True)
    session.readiness.announced(b"\1" * 16, 1, {})
    session.peering.probed(THERE.control, False, START)
    *_, why = session.members.pending(session.interest.epoch)
    assert "is heard, and does not answer at tcp://127.0.0.1:3" in why


def test_who_comes_in_the_place_of_one_that_left_is_dialled(joined: Session) -> None:
    """An endpoint at which nobody listened for a while is dialled anew, also that of a peer."""
    joined.receive(v.Bye(THEM, {}), b"route", None, START, THEIRS)
    joined.peering.probed(THERE.control, False, START + 0.1)
    pass_time(joined, 0.5)
    next_one = id_for(THEIRS, b"\1" * 16)
    joined.receive(hello(next_one, addresses=(THERE,)), b"new", None, START + 0.6, THEIRS)
    joined.take()
    assert joined.members.peers[next_one].link is None
    joined.peering.probed(THERE.control, True, START + 0.7)
    effects: list[fx.Effect] = []
    for tenths in range(7, 50):
        joined.receive(v.Ping(next_one, 1, 1, 0), b"new", None, START + tenths / 10, THEIRS)
        joined.tick(START + tenths / 10)
        effects += joined.take()
    assert [e.endpoint for e in effects if isinstance(e, fx.Redial)][:1] == [THERE.control]
