"""A node's hubs: which way it goes to whom, and what it makes of hubs that die and return."""

from zexchange.protocol.hub import client as h
from zexchange.protocol.hub.messages import Accepted, Refused
from zexchange.protocol.timing import UNREAD_BYTES
from zexchange.protocol.wire.messages import Label

ME, A, B = b"m" * 16, b"a" * 16, b"b" * 16
ONE, TWO = "tcp://one:1", "tcp://two:1"


def given(*endpoints: str) -> h.HubSelector:
    return h.HubSelector(ME, "f", Label("host", 1), endpoints, 0.0)


def roster(
    hub: bytes,
    *nodes: bytes,
    base: int = 0,
    number: int = 1,
    left: tuple[tuple[bytes, str], ...] = (),
) -> Accepted:
    present = tuple((node, False) for node in nodes)
    return Accepted(hub * 16, "tcp://h:3", "tcp://h:2", b"s" * 16, base, number, present, left)


def news(hubs: h.HubSelector) -> list[h.Effect]:
    """Return what is to be done about nodes."""
    return [
        e for e in hubs.take() if isinstance(e, h.NodeReachable | h.NodeUnreachable | h.NodeMoved)
    ]


def test_each_node_is_reached_by_one_hub() -> None:
    """Of two hubs that lead to a node, the first is taken, and kept to."""
    hubs = given(ONE, TWO)
    hubs.carried(roster(b"2", A, B), TWO, 0.0)
    assert sorted(e.node for e in news(hubs)) == [A, B]  # type: ignore[union-attr]
    hubs.carried(roster(b"1", A), ONE, 0.0)
    assert news(hubs) == []
    assert hubs.ways == {A: TWO, B: TWO}


def test_a_hub_that_falls_silent_hands_over() -> None:
    """Nodes are reached by another hub where one leads there; others stay known."""
    hubs = given(ONE, TWO)
    hubs.carried(roster(b"1", A, B), ONE, 0.0)
    hubs.carried(roster(b"2", A), TWO, 2.5)
    news(hubs)
    for tenths in range(41):
        hubs.tick(tenths / 10)
    assert news(hubs) == [h.NodeMoved(A)]
    assert hubs.ways == {A: TWO, B: ONE}
    hubs.carried(roster(b"1", A, B), ONE, 5.0)
    assert news(hubs) == []


def test_nobody_is_gone_because_a_hub_has_just_started() -> None:
    """A hub that comes back knows few at first: who is missing may be on the way to it."""
    hubs = given(ONE)
    hubs.carried(roster(b"1", A, B), ONE, 0.0)
    news(hubs)
    hubs.carried(roster(b"3", A), ONE, 1.0)
    assert news(hubs) == [h.NodeUnreachable(B, "")]
    hubs.carried(roster(b"3", B, base=1, number=2), ONE, 1.5)
    assert news(hubs) == [h.NodeReachable(B)]


def vanished(hubs: h.HubSelector, start: float, seconds: float) -> list[tuple[bytes, str, float]]:
    """Let time pass, in which the first hub is heard; return who is given up, and when."""
    found = list[tuple[bytes, str, float]]()
    for tenths in range(round(seconds * 10) + 1):
        now = start + tenths / 10
        hubs.heard(ONE, now)
        hubs.tick(now)
        found += [(e.node, e.reason, now) for e in news(hubs) if isinstance(e, h.NodeUnreachable)]
    return found


def test_who_does_not_come_back_to_a_hub_that_was_started_anew_is_gone() -> None:
    """The one that would have said so is no more; another one has no word of it."""
    hubs = given(ONE)
    hubs.carried(roster(b"1", A, B), ONE, 0.0)
    hubs.carried(roster(b"3", A), ONE, 1.0)
    news(hubs)
    assert vanished(hubs, 1.0, 4.9) == []
    ((node, reason, at),) = vanished(hubs, 6.0, 30.0)
    assert (node, reason, at) == (B, "gone", 6.0)


def test_nobody_is_gone_while_no_hub_could_lead_to_it() -> None:
    """The hub went again, or we were stopped: nodes have their time from then on."""
    hubs = given(ONE)
    hubs.carried(roster(b"1", A), ONE, 0.0)
    hubs.carried(roster(b"3"), ONE, 1.0)
    news(hubs)
    for tenths in range(10, 200):
        hubs.tick(tenths / 10)
    assert news(hubs) == []
    hubs.carried(roster(b"5"), ONE, 20.0)
    assert vanished(hubs, 20.0, 4.5) == []
    assert vanished(hubs, 60.0, 4.5) == []
    assert [node for node, _, _ in vanished(hubs, 64.6, 1.0)] == [A]


def test_who_is_only_out_of_a_hubs_reach_is_not_gone() -> None:
    """A hub that it is linked to does not answer it: that is silence, and may last."""
    hubs = given(ONE)
    hubs.carried(roster(b"1", A), ONE, 0.0)
    hubs.carried(roster(b"1", base=1, number=2, left=((A, ""),)), ONE, 1.0)
    assert news(hubs) == [h.NodeReachable(A), h.NodeUnreachable(A, "")]
    assert vanished(hubs, 1.0, 30.0) == []


def test_who_left_for_a_reason_is_gone() -> None:
    """A hub's word that a node has left is passed on with its reason."""
    hubs = given(ONE)
    hubs.carried(roster(b"1", A), ONE, 0.0)
    news(hubs)
    hubs.carried(roster(b"1", base=1, number=2, left=((A, "gone"),)), ONE, 0.1)
    assert news(hubs) == [h.NodeUnreachable(A, "gone")]


def test_news_with_something_missing_before_is_asked_for_again() -> None:
    """A change to a roster that we do not have changes nothing; the hub is told what we have."""
    hubs = given(ONE)
    hubs.carried(roster(b"1", A, number=4), ONE, 0.0)
    hubs.take()
    hubs.carried(roster(b"1", B, base=6, number=7), ONE, 0.1)
    (knock,) = hubs.take()
    assert isinstance(knock, h.SendAttach)
    assert knock.word.roster == 4
    assert hubs.ways == {A: ONE}


def test_a_hub_is_told_every_second_and_dialled_again_when_it_is_silent() -> None:
    """A node knocks each second; a link without an answer for three is replaced."""
    hubs = given(ONE)
    seen: list[str] = []
    for tenths in range(80):
        hubs.tick(tenths / 10)
        seen += [type(effect).__name__ for effect in hubs.take()]
    assert seen.count("SendAttach") == 8
    assert seen.count("Redial") == 2


def test_who_is_turned_away_waits() -> None:
    """A hub that refuses is asked again after a while only, and its reason is told."""
    hubs = given(ONE)
    hubs.tick(0.0)
    hubs.take()
    hubs.turned_away(Refused(b"1" * 16, "federation", "another"), ONE, 0.0)
    assert h.HubRefused(ONE, "federation", "another") in hubs.take()
    hubs.tick(0.9)
    hubs.tick(1.5)
    assert not [e for e in hubs.take() if isinstance(e, h.SendAttach)]


def test_what_a_hub_does_not_take_is_not_heaped_up() -> None:
    """Beyond the bytes that may be under way, nothing more is said until some has arrived."""
    hubs = given(ONE)
    hub = hubs.hubs[ONE]
    said = 0
    while hubs.room(hub, 1 << 20, 0.0):
        said += 1
    assert said == UNREAD_BYTES >> 20
    word = roster(b"1")
    hubs.carried(
        Accepted(word.sender, word.up, word.down, word.secret, 0, 1, taken=1 << 24), ONE, 0.0
    )
    assert hubs.room(hub, 1 << 20, 0.0)


def test_a_stop_of_our_own_is_forgiven() -> None:
    """A node that was stopped does not take its hub for silent."""
    hubs = given(ONE)
    hubs.carried(roster(b"1", A), ONE, 0.0)
    hubs.tick(0.1)
    hubs.tick(60.0)
    assert hubs.hubs[ONE].live


def told(hubs: h.HubSelector) -> list[h.Effect]:
    """Return what is to be told of hubs that fall silent, and that are back."""
    return [e for e in hubs.take() if isinstance(e, h.HubLost | h.HubReturned)]


def test_a_hub_that_falls_silent_is_told_and_that_it_is_back() -> None:
    """Once each, whether silence or a closed port shows it; not before it has ever answered."""
    hubs = given(ONE)
    hubs.probed(ONE, False)
    hubs.carried(roster(b"1", A), ONE, 0.0)
    assert told(hubs) == []
    for tenths in range(1, 60):
        hubs.tick(tenths / 10)
    hubs.probed(ONE, False)
    assert told(hubs) == [h.HubLost(ONE)]
    hubs.carried(roster(b"1", A), ONE, 6.0)
    assert told(hubs) == [h.HubReturned(ONE)]
    hubs.probed(ONE, False)
    hubs.carried(roster(b"2", A), ONE, 7.0)
    hubs.carried(roster(b"2", A), ONE, 8.0)
    assert told(hubs) == [h.HubLost(ONE), h.HubReturned(ONE)]


def why(hubs: h.HubSelector) -> str:
    (missing,) = hubs.unanswered()
    assert missing.live is (missing.why != "nothing listens there")
    return missing.why


def test_a_hub_that_has_never_answered_is_named_with_a_reason() -> None:
    """Until it has once: what it does after that is another matter."""
    hubs = given(ONE)
    assert why(hubs) == "there is no connection to it"
    hubs.probed(ONE, False)
    assert why(hubs) == "nothing listens there"
    hubs.probed(ONE, True)
    assert why(hubs) == "something listens there, and does not answer"
    hubs.obstructed(ONE, "it has no keys: give it keys, too")
    assert why(hubs) == "it has no keys: give it keys, too"
    hubs.probed(ONE, False)
    hubs.probed(ONE, True)
    hubs.turned_away(Refused(b"1" * 16, "federation", "another one"), ONE, 0.0)
    assert why(hubs) == "it refuses us (federation: 'another one')"
    hubs.carried(roster(b"1"), ONE, 1.0)
    assert hubs.unanswered() == []
    hubs.lost(ONE)
    hubs.disowned(ONE)
    assert hubs.unanswered() == []
