"""How a session tells peers of members of groups, and knows theirs (`session.answering`)."""

from dataclasses import replace

import pytest
from test_peers import START, THEM, THERE, alone, hello, of, pass_time
from test_policies import IDS, NORTH, SOUTH, Talk

from zexchange.protocol.security.permissions import Rights
from zexchange.protocol.session import effects as fx
from zexchange.protocol.session.session import Session
from zexchange.protocol.wire import messages as v
from zexchange.protocol.wire.limits import MAX_MEMBERS

ME = bytes(16)
A = v.GroupMember("a.**", "workers", 1)
B = v.GroupMember("b", "workers", 2, 4)
HERS = v.GroupMember("c", "others", 7)


@pytest.fixture
def joined() -> Session:
    """A session with one peer that knows groups, connected both ways."""
    session = alone()
    session.candidates.add(THERE.control, "static", START)
    welcome = v.Welcome(THEM, hello(features=v.FEATURES, members=(3, (HERS,))))
    session.receive(welcome, None, THERE.control, START)
    prove(session)
    session.take()
    return session


def prove(session: Session) -> None:
    session.readiness.proven(THEM, 1)
    session.readiness.token(THEM, 1, True)
    session.readiness.announced(THEM, 1, {})


def told(session: Session, kind: type = v.Members) -> list[v.Control]:
    """Return the messages of a kind that peers were sent since the last call."""
    sent = [effect.message for effect in session.take() if isinstance(effect, fx.Send)]
    return [message for message in sent if isinstance(message, kind)]


def says(session: Session, message: v.Control) -> None:
    session.receive(message, None, THERE.control, START)


def there(session: Session) -> list[v.GroupMember]:
    return [member for _, member in session.answering.members()]


def test_members_are_told_as_they_come_and_go(joined: Session) -> None:
    """A peer is told each change; what comes and goes at once is none."""
    joined.answering.change_members([(A, True), (B, True)])
    joined.answering.change_members([(HERS, True), (HERS, False)])
    joined.answering.change_members([(A, False)])
    assert told(joined) == [
        v.Members(ME, 1, 0, (A, B), (), THEM),
        v.Members(ME, 2, 1, (), (A,), THEM),
    ]
    assert joined.hello().members == (2, (B,))


def test_a_node_that_knows_no_groups_is_told_nothing() -> None:
    """Neither of members, nor of the number of their list."""
    session = alone()
    session.candidates.add(THERE.control, "static", START)
    session.receive(v.Welcome(THEM, hello()), None, THERE.control, START)
    prove(session)
    session.answering.change_members([(A, True)])
    pings = [e for e in pass_time(session, 1.5, heard=True) if isinstance(e, fx.Send)]
    assert not [e for e in pings if isinstance(e.message, v.Members)]
    assert {e.message.members for e in pings if isinstance(e.message, v.Ping)} == {0}


def test_members_at_peers_are_known(joined: Session) -> None:
    """Those of the hello, and of changes since; they are looked at when they have changed."""
    assert there(joined) == [HERS]
    joined.restless = False
    says(joined, v.Members(THEM, 4, 3, (A,), (HERS,), ME))
    assert joined.restless
    assert there(joined) == [A]


@pytest.mark.parametrize("ours_first", [True, False])
def test_a_member_counts_once_both_are_connected(ours_first: bool) -> None:
    """Until then, a frame for it would go nowhere, or its progress would not come back."""
    session = alone()
    session.candidates.add(THERE.control, "static", START)
    session.receive(v.Welcome(THEM, hello(members=(1, (A,)))), None, THERE.control, START)
    for ours in (ours_first, not ours_first):
        assert there(session) == []
        if ours:
            session.readiness.proven(THEM, 1)
        else:
            session.readiness.token(THEM, 1, True)
            session.readiness.announced(THEM, 1, {})
    assert there(session) == [A]


def test_a_missed_change_is_asked_for(joined: Session) -> None:
    """A change of another state, or a ping with another number, is answered with a resync."""
    says(joined, v.Members(THEM, 6, 5, (A,), (), ME))
    assert told(joined, v.Resync) == [v.Resync(ME)]
    assert there(joined) == [HERS]
    says(joined, v.Ping(THEM, 1, 1, 1, ME, members=6))
    assert told(joined, v.Resync) == [v.Resync(ME)]
    says(joined, v.Members(THEM, 6, 0, (A, B), (), ME))
    says(joined, v.Ping(THEM, 1, 1, 1, ME, members=6))
    assert told(joined, v.Resync) == []
    assert there(joined) == [A, B]


def test_who_has_missed_a_change_is_told_everything(joined: Session) -> None:
    """The whole list is the answer to a resync; a ping has its number."""
    joined.answering.change_members([(A, True)])
    joined.answering.change_members([(B, True)])
    told(joined)
    says(joined, v.Resync(THEM))
    assert told(joined) == [v.Members(ME, 2, 0, (A, B), (), THEM)]
    pings = of(fx.Send, pass_time(joined, 1.2, heard=True))
    assert [e.message.members for e in pings if isinstance(e.message, v.Ping)] == [2]  # type: ignore[attr-defined]


def test_a_hello_that_comes_again_brings_the_list(joined: Session) -> None:
    """A peer says hello to us from time to time, and its list may have changed by then."""
    again = hello(features=v.FEATURES, members=(9, (B,)))
    joined.receive(replace(again), "route", None, START)
    assert there(joined) == [B]
    joined.receive(hello(features=v.FEATURES, members=(8, (A,))), "route", None, START)
    assert there(joined) == [B], "an older hello, which another link has held up"


def test_members_of_a_peer_that_left_are_gone(joined: Session) -> None:
    """They are not sent to any more."""
    says(joined, v.Bye(THEM, {}))
    assert there(joined) == []


def test_a_peer_is_believed_of_so_many(joined: Session) -> None:
    """A peer that tells ever more members has as many here as a node may have."""
    for number in range(3):
        many = tuple(A._replace(number=number * MAX_MEMBERS + n) for n in range(MAX_MEMBERS))
        says(joined, v.Members(THEM, 4 + number, 3 + number, many, (), ME))
    assert len(there(joined)) == MAX_MEMBERS


# -------------------------------------------------------------------------- permissions


SOUTHERN = v.GroupMember("s", "workers", 3)


def keyed(**rights: Rights) -> Talk:
    """Return a session that has members, and the peer *north*, which knows groups."""
    talk = Talk(**rights)
    talk.session.answering.change_members([(A, True), (B, True), (SOUTHERN, True)])
    return talk


def test_a_peer_is_told_of_members_to_which_it_may_send() -> None:
    """Those whose name or pattern has a part on which it may publish; in the hello as well."""
    talk = keyed(north=Rights("north", publish=("a.x", "b")))
    effects = talk.greets()
    hellos = [e.message.hello for e in of(fx.Reply, effects) if isinstance(e.message, v.Welcome)]  # type: ignore[attr-defined]
    assert [h.members for h in hellos] == [(1, (A, B))]


def test_a_change_names_nothing_forbidden() -> None:
    """A change has the part that the peer may know, and its number in any case."""
    talk = Talk(north=Rights("north", publish=("a.x",)))
    talk.greets()
    peer = talk.session.members.peers[IDS[NORTH]]
    peer.hello = replace(peer.hello, features=v.FEATURES)
    talk.session.answering.change_members([(A, True), (SOUTHERN, True)])
    talk.session.answering.change_members([(SOUTHERN, False)])
    sent = [e.message for e in of(fx.Send, talk.session.take())]  # type: ignore[attr-defined]
    assert [(m.number, m.added, m.removed) for m in sent if isinstance(m, v.Members)] == [
        (1, (A,), ()),
        (2, (), ()),
    ]


def test_a_peer_is_a_member_only_where_it_may_subscribe() -> None:
    """A member whose name or pattern has no part that the peer may have does not count."""
    talk = Talk(north=Rights("north", subscribe=("a.x",)), south=Rights("south"))
    talk.greets("a.x")
    talk.says(v.Members(IDS[NORTH], 1, 0, (A, B), (), talk.session.me), NORTH)
    assert list(talk.session.members.peers[IDS[NORTH]].group_members.entries) == [A]
    talk.greets("a.x", key=SOUTH)
    talk.says(v.Members(IDS[SOUTH], 1, 0, (A, B), (), talk.session.me), SOUTH)
    assert list(talk.session.members.peers[IDS[SOUTH]].group_members.entries) == [A, B]
