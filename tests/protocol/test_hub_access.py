"""Who may do what at a hub that has keys, and what its nodes are told of each other."""

from zexchange.protocol.hub.access import KeyedAccessRules, name_in
from zexchange.protocol.hub.core import HubCore
from zexchange.protocol.hub.members import SendToMember, Warn
from zexchange.protocol.hub.messages import (
    MAX_PATTERNS,
    Accepted,
    Attach,
    HubState,
    Refused,
    read_word,
    word_frame,
)
from zexchange.protocol.security.keys import id_for
from zexchange.protocol.security.permissions import EVERYTHING, Policy, Rights
from zexchange.protocol.wire.data import ready_topic, topic
from zexchange.protocol.wire.envelopes import mark_topic
from zexchange.protocol.wire.messages import Label

OWN, NORTH, SOUTH, OTHER = b"o" * 32, b"n" * 32, b"s" * 32, b"2" * 32
LABEL = Label("host", 1)


def node(key: bytes, number: int = 0) -> bytes:
    return id_for(key, bytes(15) + bytes([number]))


HUB, A, B, TWO = node(OWN), node(NORTH), node(SOUTH), node(OTHER)


class Keyed:
    """A hub with keys, whose permissions a test changes."""

    def __init__(self, **rights: Rights) -> None:
        keys = {"north": NORTH, "south": SOUTH, "two": OTHER}
        self.policy = Policy(OWN, {keys[name]: r for name, r in rights.items()})
        secrets = iter(bytes([n]) * 16 for n in range(100))
        self.gate = KeyedAccessRules(lambda: self.policy)
        ends = "c", "u", "d"
        self.core = HubCore(HUB, "f", ends, lambda: next(secrets), 0.0, self.gate)

    def enter(self, key: bytes, sender: bytes = b"", **more: object) -> object:
        """Have the owner of a key enter; return what it is answered."""
        word = Attach(sender or node(key), "f", LABEL, **more)  # type: ignore[arg-type]
        self.core.enter(word, key, 0.0, key.hex())
        return self.said(key)[-1]

    def said(self, key: bytes) -> list[object]:
        return [e.word for e in self.core.take() if isinstance(e, SendToMember) and e.route == key]

    def complaints(self) -> str:
        return str([e.text for e in self.core.take() if isinstance(e, Warn)])


def test_nobody_enters_under_an_id_of_another_key() -> None:
    """The id goes with the key, a hub needs the right, and a key has to be authorized."""
    hub = Keyed(north=Rights("north"), two=Rights("two", hub=True))
    for key, sender, more, reason in (
        (NORTH, B, {}, "identity"),
        (NORTH, bytes(16), {}, "identity"),
        (SOUTH, B, {}, "key"),
        (NORTH, A, {"hub": True}, "key"),
    ):
        answer = hub.enter(key, sender, **more)
        assert isinstance(answer, Refused)
        assert answer.reason == reason
    assert not hub.core.members
    assert isinstance(hub.enter(NORTH), Accepted)
    assert isinstance(hub.enter(OTHER, hub=True, endpoint="tcp://two:1"), Accepted)


def test_a_data_connection_is_of_the_key_that_entered() -> None:
    """A secret that another has found out does not open the connection of another key."""
    hub = Keyed(north=Rights("north"), south=Rights("south"))
    carried = hub.enter(NORTH)
    assert isinstance(carried, Accepted)
    hub.core.introduced(5, A, carried.secret, SOUTH.hex())
    assert not hub.core.by_connection
    hub.core.introduced(5, A, carried.secret, NORTH.hex())
    assert hub.core.by_connection[5].id == A


def test_who_comes_by_another_connection_is_told_everything() -> None:
    """With the key of its id a node is let in at once, and told again what may have been lost."""
    hub = Keyed(north=Rights("north"), south=Rights("south", ("p",)))
    hub.enter(SOUTH)
    first = hub.enter(NORTH)
    assert isinstance(first, Accepted)
    hub.core.enter(Attach(A, "f", LABEL, roster=first.roster), "other", 0.1, NORTH.hex())
    (again,) = [
        e.word for e in hub.core.take() if isinstance(e, SendToMember) and e.route == "other"
    ]
    assert isinstance(again, Accepted)
    assert (again.base, again.present) == (0, ((B, False),))
    assert again.rights == {B: Rights("", ("p",))}


def test_topics_are_judged_by_key() -> None:
    """Names by the lists, proofs and marks for their owner alone, and nothing for a stranger."""
    gate = Keyed(north=Rights("north", ("up", "up.*"), ("down",))).gate
    user = NORTH.hex()
    for name, publish, have in (("up", True, False), ("up.x", True, False), ("down", False, True)):
        assert gate.may_publish(user, topic(name)) is publish
        assert gate.may_have(user, topic(name)) is have
        assert gate.may_want(user, topic(name)) is have
    assert not gate.may_publish(user, b"\x01\xff\0")
    assert not gate.may_want(user, b"\x01")
    for mine in (ready_topic(A, 3), mark_topic(A)):
        assert gate.may_want(user, mine)
    for others in (ready_topic(B, 3), mark_topic(B), b"\xff", b"\xfe"):
        assert not gate.may_want(user, others)
    for stranger in ("", SOUTH.hex(), "no key"):
        assert not gate.may_publish(stranger, topic("up"))
        assert not gate.may_have(stranger, topic("down"))
    assert name_in(topic("a.b")) == "a.b"


def test_judgements_follow_the_policy() -> None:
    """What is remembered of a topic is judged anew when the permissions change."""
    hub = Keyed(north=Rights("north"))
    assert hub.gate.may_publish(NORTH.hex(), topic("x"))
    assert not hub.policy.hides_interest
    hub.policy = Policy(OWN, {NORTH: Rights("north", ("y",))})
    assert not hub.gate.may_publish(NORTH.hex(), topic("x"))
    assert hub.policy.hides_interest


def test_a_hub_speaks_for_what_both_keys_may_publish() -> None:
    """Of another hub's node: what that hub may carry, and what the node may, if it is known."""
    two = Rights("two", ("a", "b"), hub=True)
    hub = Keyed(two=two, south=Rights("south", ("b", "c")))
    user = OTHER.hex()
    assert [hub.gate.may_vouch(user, B, topic(n)) for n in "abc"] == [False, True, False]
    assert [hub.gate.may_vouch(user, A, topic(n)) for n in "abc"] == [True, True, False]


def test_nodes_are_told_what_concerns_them_of_each_others_rights() -> None:
    """What the other may have of what I publish, and publish of what I may have; no name else."""
    north = Rights("north", ("p", "q"), ("s", "t"))
    south = Rights("south", ("s", "hidden"), ("p", "secret"))
    hub = Keyed(north=north, south=south)
    hub.enter(NORTH)
    answer = hub.enter(SOUTH)
    assert isinstance(answer, Accepted)
    assert answer.rights == {A: Rights("", ("p",), ("s",))}
    hub.enter(SOUTH)
    told = [word for word in hub.said(NORTH) if isinstance(word, Accepted)]
    assert not told
    again = hub.enter(NORTH)
    assert isinstance(again, Accepted)
    assert "hidden" not in str(again)


def test_what_is_told_of_two_long_lists_can_be_read() -> None:
    """What two lists leave of each other may be much more than either: the first of it is told."""
    north = Rights("north", tuple(f"{n}.*" for n in range(40)))
    south = Rights("south", None, tuple(f"*.{n}" for n in range(40)))
    hub = Keyed(north=north, south=south)
    hub.enter(SOUTH)
    answer = hub.enter(NORTH)
    assert isinstance(answer, Accepted)
    assert read_word(word_frame(answer)) == answer
    assert len(answer.rights[B].subscribe or ()) == MAX_PATTERNS


def test_who_may_do_everything_is_not_told_of() -> None:
    """Where nothing is restricted, words are as without keys."""
    hub = Keyed(north=Rights("north"), south=Rights("south"))
    hub.enter(NORTH)
    answer = hub.enter(SOUTH)
    assert isinstance(answer, Accepted)
    assert answer.present == ((A, False),)
    assert answer.rights == {}


def test_rights_of_nodes_elsewhere_are_the_other_hubs_word_within_its_own() -> None:
    """A hub's state says what its nodes may do; its key's permissions bound that here."""
    two = Rights("two", None, ("s", "t"), hub=True)
    hub = Keyed(north=Rights("north"), two=two)
    hub.enter(NORTH)
    hub.enter(OTHER, hub=True)
    hub.core.link(TWO, 0.0)
    hub.core.state(
        HubState(TWO, 1, (HUB,), ((B, False),), rights={B: Rights("", ("p",), ("s", "u"))})
    )
    told = [word for word in hub.said(NORTH) if isinstance(word, Accepted)]
    assert told[-1].present == ((B, False),)
    assert told[-1].rights == {B: Rights("", ("p",), ("s",))}


def test_a_key_that_may_do_something_else_begins_anew() -> None:
    """Its node is let go of, for a reason, and told everything when it comes back."""
    hub = Keyed(north=Rights("north"), south=Rights("south"))
    hub.enter(NORTH)
    first = hub.enter(SOUTH)
    assert isinstance(first, Accepted)
    before = hub.policy
    hub.policy = Policy(OWN, {NORTH: Rights("north"), SOUTH: Rights("south", ("p",))})
    hub.core.judge({key.hex() for key in before.changed(hub.policy)})
    (told,) = [word for word in hub.said(NORTH) if isinstance(word, Accepted)]
    assert told.left == ((B, "permissions"),)
    hub.core.enter(Attach(B, "f", LABEL, roster=first.roster), SOUTH, 0.0, SOUTH.hex())
    again = hub.said(SOUTH)[0]
    assert isinstance(again, Accepted)
    assert (again.base, again.present) == (0, ((A, False),))
    assert again.secret != first.secret
    before, hub.policy = hub.policy, Policy(OWN, {NORTH: Rights("north")})
    hub.core.judge({key.hex() for key in before.changed(hub.policy)})
    told = [word for word in hub.said(NORTH) if isinstance(word, Accepted)][-1]
    assert told.left == ((B, "revoked"),)


def test_a_cause_is_told_once() -> None:
    """What is not taken is counted each time, and complained of the first."""
    hub = Keyed(north=Rights("north"))
    for _ in range(3):
        hub.core.complain("north may not publish on 'x'", "detail")
    assert hub.complaints() == "[\"north may not publish on 'x': detail\"]"
    assert hub.core.rejected == {"north may not publish on 'x'": 3}
    assert hub.gate.rights(OWN.hex()) == EVERYTHING


def test_rights_of_which_nodes_are_not_told_are_complained_of() -> None:
    """Once, by number and limit: what is beyond is refused to a node that may have it."""
    many = tuple(f"n{number}" for number in range(MAX_PATTERNS + 1))
    hub = Keyed(north=Rights("north", many), south=Rights("south", many[:MAX_PATTERNS]))
    for key in (NORTH, SOUTH):
        hub.core.enter(Attach(node(key), "f", LABEL), key, 0.0, key.hex())
    told = "north may publish, or have, 1,001 names and patterns, and nodes are told of the first"
    assert hub.complaints().count("1,001") == 1
    hub.core.enter(Attach(node(NORTH, 1), "f", LABEL), b"again", 0.0, NORTH.hex())
    assert told not in hub.complaints()
    assert any(reason.startswith(told) for reason in hub.core.rejected)
