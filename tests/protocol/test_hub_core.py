"""A hub as a machine: whom it carries, what it tells them, and what it refuses."""

from itertools import count

import pytest

from zexchange.protocol.hub.core import (
    MAX_TOPICS,
    UNREAD_BYTES,
    WHOLE_A_SECOND,
    WHOLE_AT_ONCE,
    HubCore,
)
from zexchange.protocol.hub.members import AccessRules, MemberLeft, SendToMember, Subscribe, Warn
from zexchange.protocol.hub.messages import Accepted, Attach, Refused, word_frame
from zexchange.protocol.timing import REFUSALS
from zexchange.protocol.wire.data import ready_topic, topic
from zexchange.protocol.wire.messages import Label

HUB, A, B = b"h" * 16, b"a" * 16, b"b" * 16
LABEL = Label("host", 1)


def carrying(gate: AccessRules | None = None) -> HubCore:
    secrets = (n.to_bytes(2, "big") * 8 for n in count())
    return HubCore(HUB, "f", ("c", "u", "d"), lambda: next(secrets), 0.0, gate)


def enter(core: HubCore, node: bytes, now: float = 0.0, route: str = "", **more: object) -> object:
    """Have a node enter; return what it is answered."""
    core.enter(Attach(node, "f", LABEL, **more), route or node.decode(), now)  # type: ignore[arg-type]
    route = route or node.decode()
    return [e.word for e in core.take() if isinstance(e, SendToMember) and e.route == route][-1]


def test_nodes_are_told_of_each_other() -> None:
    """Who enters is told who is there, and those who are there are told of it."""
    core = carrying()
    first = enter(core, A)
    assert isinstance(first, Accepted)
    assert (first.base, first.present) == (0, ())
    core.enter(Attach(B, "f", LABEL), "b", 0.0)
    told = {e.route: e.word for e in core.take() if isinstance(e, SendToMember)}
    assert told["b"].present == ((A, False),)  # type: ignore[union-attr]
    assert told[A.decode()].present == ((B, False),)  # type: ignore[union-attr]
    assert told[A.decode()].base == first.roster  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"federation": "g"}, "federation"),
        ({"versions": (7, 9)}, "version"),
        ({"sender": HUB}, "self"),
    ],
)
def test_strangers_are_turned_away(more: dict[str, object], reason: str) -> None:
    """Another federation, no version in common, and the hub itself are refused, with a reason."""
    core = carrying()
    fields: dict[str, object] = {"sender": A, "federation": "f", "label": LABEL, **more}
    core.enter(Attach(**fields), "r", 0.0)  # type: ignore[arg-type]
    (effect,) = [e for e in core.take() if isinstance(e, SendToMember)]
    assert isinstance(effect.word, Refused)
    assert effect.word.reason == reason
    assert not core.members
    assert core.rejected


def test_a_rejection_is_as_short_as_what_is_kept_of_it() -> None:
    """A stranger says how long a federation's name is: of what it says a little is kept."""
    core = carrying()
    for n in range(3):
        core.enter(Attach(A, f"{n}" + "f" * 100_000, LABEL), "r", 0.0)
        core.complain("x" * 100_000)
    assert sum(core.rejected.values()) == 6
    assert sum(map(len, core.rejected)) < 3_000
    assert len([e for e in core.take() if isinstance(e, Warn)]) == 1


def test_an_id_is_its_owners() -> None:
    """Another connection speaks under an id only if it knows what the hub told its owner."""
    core = carrying()
    carried = enter(core, A)
    assert isinstance(carried, Accepted)
    assert isinstance(enter(core, A, 0.5, route="thief"), Refused)
    again = enter(core, A, 0.6, route="again", secret=carried.secret)
    assert isinstance(again, Accepted)
    core.introduced(5, A, b"?" * 16)
    assert not core.by_connection
    core.introduced(5, A, carried.secret)
    assert core.by_connection[5].id == A


def test_who_dies_is_gone_and_who_is_stopped_is_quiet() -> None:
    """Without a data connection a silent node is gone; with one it is quiet, for 30 seconds."""
    core = carrying()
    for node, fd in ((A, 5), (B, 6)):
        carried = enter(core, node)
        assert isinstance(carried, Accepted)
        core.introduced(fd, node, carried.secret)
    core.disconnected(5)
    for tenths in range(17):
        core.tick(tenths / 10)
    assert [e.member.id for e in core.take() if isinstance(e, MemberLeft)] == [A]
    assert core.map.reasons() == {A: "gone"}
    for tenths in range(17, 32):
        core.tick(tenths / 10)
    core.take()
    assert core.map.nodes() == {B: True}
    core.heard(B.decode(), 3.2)
    core.take()
    assert core.map.nodes() == {B: False}


def test_a_hub_that_was_stopped_forgives_everybody() -> None:
    """A hub that did not run does not take its nodes for silent."""
    core = carrying()
    enter(core, A)
    core.tick(0.1)
    core.tick(100.0)
    assert A in core.members


def test_names_are_asked_for_once_and_end_with_the_last() -> None:
    """What nodes subscribe to is asked of all publishers; XPUB tells the first and the last."""
    core = carrying()
    core.want(topic("x"), True)
    core.want(topic("x"), True)
    core.want(topic("x"), False)
    steps = [e for e in core.take() if isinstance(e, Subscribe)]
    assert steps == [Subscribe(topic("x"), True), Subscribe(topic("x"), False)]


def test_junk_subscriptions_are_bounded() -> None:
    """Beyond a number of topics a hub passes none on, and counts them."""
    core = carrying()
    for n in range(MAX_TOPICS + 10):
        core.want(b"\x01%d" % n, True)
    assert len(core.wants) == MAX_TOPICS
    assert core.rejected == {"more topics than a hub takes": 10}


def test_what_a_node_does_not_read_is_not_heaped_up() -> None:
    """Beyond the bytes that may be under way to a node, what is relayed to it is dropped."""
    core = carrying()
    enter(core, A)
    member = core.members[A]
    sent = 0
    while core.room(member, 1 << 20):
        sent += 1 << 20
    assert UNREAD_BYTES - (2 << 20) < sent <= UNREAD_BYTES
    told = [e.word.sent for e in core.take() if isinstance(e, SendToMember)]  # type: ignore[union-attr]
    enter(core, A, 1.0, taken=told[len(told) // 2])
    assert core.room(member, 1 << 20)


def test_who_does_not_read_cannot_say_that_it_has() -> None:
    """How far a node is, it knows from what it was told: making that up frees nothing."""
    core = carrying()
    enter(core, A)
    member = core.members[A]
    while core.room(member, 1 << 20):
        pass
    core.take()
    for made_up in (2**64 - 1, UNREAD_BYTES, 0, member.sent - 1):
        enter(core, A, 1.0, taken=made_up)
        assert not core.room(member, 1 << 20)


def test_asking_for_everything_without_end_is_answered_up_to_a_bound() -> None:
    """Whoever says to know of nobody is told of all, but not over and over, read or not."""
    core = carrying()
    for n in range(200):
        core.enter(Attach(n.to_bytes(16, "big"), "f", LABEL), n, 0.0)
    core.take()
    told, known = 0, Accepted(HUB, "", "", bytes(16), 0, 0)
    for n in range(3000):
        core.enter(Attach(A, "f", LABEL, taken=known.sent), "a", n / 1000)
        for effect in core.take():
            if isinstance(effect, SendToMember) and isinstance(effect.word, Accepted):
                known = effect.word if effect.route == "a" else known
                told += len(word_frame(effect.word)) if effect.route == "a" else 0
    assert WHOLE_AT_ONCE // 2 < told < WHOLE_AT_ONCE + 4 * WHOLE_A_SECOND
    # An honest one is told of everybody all the same.
    fresh = enter(core, B, 10.0)
    assert isinstance(fresh, Accepted)
    assert len(fresh.present) == 201


def test_a_node_that_does_not_read_is_told_no_news() -> None:
    """Nodes that come and go without end are not heaped up for one that reads nothing."""
    core, told = carrying(), 0
    enter(core, A, roster=1)
    member = core.members[A]
    while core.room(member, 1 << 10):
        pass
    core.take()
    for n in range(100):
        core.enter(Attach(n.to_bytes(16, "big"), "f", LABEL), n, 1.0)
        said = [e for e in core.take() if isinstance(e, SendToMember) and e.route == member.route]
        told += sum(len(e.word.present) for e in said if isinstance(e.word, Accepted))
    assert told == 0
    word = enter(core, A, 2.0, taken=member.marks[-1], roster=member.roster)
    assert isinstance(word, Accepted)
    assert len(word.present) == 100


class Strict(AccessRules):
    """Lets A in, and nobody see secrets."""

    def objection(self, enter: Attach, user: str) -> tuple[str, str] | None:
        return None if enter.sender == A else ("key", "this key may not be carried here")

    def may_want(self, user: str, topic: bytes) -> bool:
        return not topic.startswith(b"\x01secret")


def test_a_gate_judges() -> None:
    """Who may be carried, and what may be subscribed to, is asked of the gate."""
    core = carrying(Strict())
    assert isinstance(enter(core, A), Accepted)
    assert isinstance(enter(core, B), Refused)
    core.want(topic("secret"), True)
    core.want(ready_topic(A, 1), True)
    assert list(core.wants) == [ready_topic(A, 1)]


def test_strangers_are_told_why_now_and_then() -> None:
    """What a stranger does not read waits at the hub: of many questions few are answered."""
    core = carrying()

    def answers(now: float) -> int:
        for _ in range(50):
            core.enter(Attach(A, "another", LABEL), "r", now)
        return len([e for e in core.take() if isinstance(e, SendToMember)])

    at_once, a_second = REFUSALS
    assert answers(0.0) == at_once
    assert answers(0.0) == 0
    assert answers(3.0) == 3 * a_second
    assert core.rejected
