"""What a hub speaks for: its word, bounded by its own key's permissions and by what is known."""

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from zexchange.names import matches
from zexchange.protocol.hub.client import (
    HubRefused,
    HubSelector,
    Introduce,
    NodeUnreachable,
    Publish,
    Reconnect,
    RightsChanged,
)
from zexchange.protocol.hub.messages import Accepted, read_word, word_frame
from zexchange.protocol.hub.rights import DelegatedRights, carried, restrict_topics
from zexchange.protocol.security.keys import id_for
from zexchange.protocol.security.permissions import (
    NOTHING,
    Patterns,
    Policy,
    Rights,
    both,
    permitted,
)
from zexchange.protocol.wire.data import DATA, topic, topics
from zexchange.protocol.wire.messages import Label

OWN, HUB, SOUTH = b"o" * 32, b"h" * 32, b"s" * 32
ME, HUB_ID, NODE = id_for(OWN, bytes(16)), id_for(HUB, bytes(16)), id_for(SOUTH, bytes(16))
STRANGER = id_for(b"?" * 32, bytes(16))
ENDPOINT = "tcp://hub:1"
RELAY = Rights("relay", hub=True)

segments = st.sampled_from(["a", "b", "c"])
name = st.lists(segments, min_size=1, max_size=3).map(".".join)
pattern = st.builds(
    lambda head, last: ".".join([*head, last]),
    st.lists(segments | st.just("*"), max_size=2),
    segments | st.sampled_from(["*", "**"]),
)
patterns = st.none() | st.lists(pattern, max_size=3).map(tuple)


def policy(rights: Mapping[bytes, Rights]) -> Policy:
    return Policy(OWN, rights)


def word(secret: bytes = b"s" * 16, base: int = 0, number: int = 1, **more: object) -> Accepted:
    fields: dict[str, object] = {
        "sender": HUB_ID,
        "up": "tcp://hub:3",
        "down": "tcp://hub:2",
        "present": ((NODE, False), (STRANGER, False)),
        **more,
    }
    return Accepted(secret=secret, base=base, roster=number, **fields)  # type: ignore[arg-type]


def hubs(told: Mapping[bytes, Rights] | None = None, key: bytes = HUB) -> HubSelector:
    found = HubSelector(ME, "f", Label("here", 1), (ENDPOINT,), 0.0)
    found.carried(word(rights=dict(told or {})), ENDPOINT, 0.0, key)
    return found


def judged(
    rights: Mapping[bytes, Rights], told: Mapping[bytes, Rights] | None = None
) -> tuple[Rights | None, Rights | None]:
    vouching = DelegatedRights(lambda: policy(rights), hubs(told))
    return vouching.rights(NODE), vouching.rights(STRANGER)


def test_who_is_not_known_may_do_what_its_hub_may() -> None:
    """Of a key that is not authorized here, the hub's word counts, within the hub's own entry."""
    relay = Rights("relay", ("p.**",), ("s", "s.*"), hub=True)
    for rights in judged({HUB: relay}):
        # What prefixes cannot ask for, a hub is not given: nobody behind it can have that.
        assert rights == Rights("relay", ("p.**",), ("s",), hub=True)
    told = {NODE: Rights("", ("p.x", "q"), ("s",))}
    known, other = judged({HUB: relay}, told)
    assert known == Rights("relay", ("p.x",), ("s",), hub=True)
    assert other == Rights("relay", ("p.**",), ("s",), hub=True)


def test_who_is_known_is_judged_by_its_own_entry_too() -> None:
    """The entry for the key of the true origin bounds what the hub says, under its name."""
    south = Rights("south", ("a",), ("b", "c"))
    known, other = judged({HUB: RELAY, SOUTH: south}, {NODE: Rights("", None, ("c", "d"))})
    assert known == Rights("south", ("a",), ("c",), hub=True)
    assert other == Rights("relay", hub=True)


def test_without_the_right_nobody_is_spoken_for() -> None:
    """A hub whose key is not marked, or not known, carries nothing; who was not told of, None."""
    assert judged({HUB: Rights("relay")}) == (NOTHING, NOTHING)
    assert judged({}) == (NOTHING, NOTHING)
    vouching = DelegatedRights(lambda: policy({HUB: RELAY}), hubs())
    assert vouching.rights(b"n" * 16) is None


def test_files_that_disagree_are_found() -> None:
    """Where a hub passes on to a node what our entry for that denies, we know."""
    south = Rights("south", None, ("a", "b"))
    for told, exceeded in (
        ({}, True),
        ({NODE: Rights("", None, ("a",))}, False),
        ({NODE: Rights("", None, ("a", "c"))}, True),
    ):
        vouching = DelegatedRights(lambda: policy({HUB: RELAY, SOUTH: south}), hubs(told))
        assert vouching.exceeds(NODE) is exceeded
        assert not vouching.exceeds(STRANGER)


@given(patterns, patterns, name)
def test_both_is_what_is_permitted_twice(one: object, other: object, name: str) -> None:
    """A name is permitted by both lists exactly if it is by their intersection."""
    allowed = [Rights("", None, some).may_subscribe(name) for some in (one, other)]  # type: ignore[arg-type]
    assert Rights("", None, both(one, other)).may_subscribe(name) is all(allowed)  # type: ignore[arg-type]


@given(patterns, pattern, name)
def test_a_hub_is_given_nothing_that_it_may_not_have(
    permitted: "tuple[str, ...] | None", wanted: str, name: str
) -> None:
    """Whatever a hub subscribes to, what it is given instead covers permitted names alone."""
    relay = Rights("relay", None, permitted, hub=True)
    for prefix in (*topics(wanted), DATA):
        for part in restrict_topics(relay, prefix):
            assert part.startswith(prefix)
            if topic(name).startswith(part):
                assert relay.may_subscribe(name)
    kept = carried(relay)
    if kept is not None and any(matches(pattern, name) for pattern in kept):
        assert any(topic(name).startswith(part) for part in restrict_topics(relay, DATA))


# ------------------------------------------------------------------------ what hubs say


@given(st.dictionaries(st.binary(min_size=16, max_size=16), st.builds(
    Rights, st.just(""), patterns, patterns), max_size=3))  # fmt: skip
def test_rights_travel_in_words(told: dict[bytes, Rights]) -> None:
    """What nodes may do is read as it was written: everything, nothing, and lists."""
    sent = word(rights=told)
    assert read_word(word_frame(sent)) == sent


def test_a_hub_has_an_id_of_its_own_key() -> None:
    """Who answers under the id of another key is no hub for us."""
    found = HubSelector(ME, "f", Label("here", 1), (ENDPOINT,), 0.0)
    found.carried(word(), ENDPOINT, 0.0, SOUTH)
    assert [e.reason for e in found.take() if isinstance(e, HubRefused)] == ["identity"]
    assert not found.hubs[ENDPOINT].id


def test_connections_are_made_anew_when_a_hub_has_let_us_go() -> None:
    """With keys: what was refused once does not come back by itself; with none it does."""
    for key, again in ((HUB, True), (b"", False)):
        found = hubs(key=key)
        first = found.take()
        assert Publish("tcp://hub:3", True, key) in first
        assert not [e for e in first if isinstance(e, Reconnect)]
        found.carried(word(b"t" * 16), ENDPOINT, 1.0, key)
        effects = found.take()
        assert Introduce(HUB_ID, b"t" * 16) in effects
        assert (Reconnect("tcp://hub:2") in effects) is again
        assert [e.connect for e in effects if isinstance(e, Publish)] == [False, True] * again


def test_a_change_of_rights_is_judged() -> None:
    """Told anew or in part, rights replace those before, and only a change is judged."""
    found = hubs({NODE: Rights("", ("a",))})
    found.take()
    steps: tuple[tuple[dict[bytes, Rights], bool], ...] = (
        ({NODE: Rights("", ("a",))}, False),
        ({NODE: Rights("", ("b",))}, True),
        ({}, True),
        ({}, False),
    )
    for number, (told, changed) in enumerate(steps, 2):
        some = word(base=number - 1, number=number, present=((NODE, False),), rights=told)
        found.carried(some, ENDPOINT, 1.0, HUB)
        assert (RightsChanged() in found.take()) is changed
        assert found.hubs[ENDPOINT].rights == told


def test_a_hub_that_is_disowned_leads_nowhere() -> None:
    """Who it led to is gone, and nothing is published to it any more."""
    found = hubs()
    found.take()
    found.disowned(ENDPOINT)
    effects = found.take()
    assert Publish("tcp://hub:3", False) in effects
    assert {e.node for e in effects if isinstance(e, NodeUnreachable)} == {NODE, STRANGER}
    assert not found.ways
    found.carried(word(), ENDPOINT, 2.0, HUB)
    assert found.way(NODE) is found.hubs[ENDPOINT]


SECOND, SECOND_HUB = b"i" * 32, "tcp://second:1"


def two_hubs(first: Rights, second: Rights) -> tuple[HubSelector, DelegatedRights]:
    """Return two hubs that have said nothing yet, and what judges whom they speak for."""
    found = HubSelector(ME, "f", Label("here", 1), (ENDPOINT, SECOND_HUB), 0.0)
    entries = policy({HUB: first, SECOND: second})
    return found, DelegatedRights(lambda: entries, found)


def other_word(**more: object) -> Accepted:
    places = {"up": "tcp://second:3", "down": "tcp://second:2"}
    return word(sender=id_for(SECOND, bytes(16)), **{**places, **more})  # type: ignore[arg-type]


@given(patterns, patterns, name)
def test_of_two_hubs_neither_says_more_than_both_may(
    one: Patterns, other: Patterns, n: str
) -> None:
    """Each may speak for a node that both lead to: what it may do is what either permits."""
    found, vouching = two_hubs(
        Rights("one", one, None, hub=True), Rights("other", other, None, hub=True)
    )
    found.carried(word(), ENDPOINT, 0.0, HUB)
    alone = vouching.rights(NODE)
    assert alone is not None
    assert alone.may_publish(n) == permitted(one, n)
    found.carried(other_word(), SECOND_HUB, 0.0, SECOND)
    both_lead = vouching.rights(NODE)
    assert both_lead is not None
    assert both_lead.may_publish(n) == (permitted(one, n) and permitted(other, n))


def test_a_hub_speaks_only_for_whom_it_leads_to() -> None:
    """Another one's nodes are none of its business, whatever it says in their name."""
    found, vouching = two_hubs(RELAY, Rights("second", hub=True))
    found.carried(word(), ENDPOINT, 0.0, HUB)
    found.carried(other_word(present=()), SECOND_HUB, 0.0, SECOND)
    assert vouching.rights(NODE, ENDPOINT) == RELAY
    assert vouching.rights(NODE, SECOND_HUB) is None
    found.carried(other_word(number=2), SECOND_HUB, 0.0, SECOND)
    assert vouching.rights(NODE, SECOND_HUB) == RELAY


def test_nodes_are_judged_anew_when_another_hub_leads_to_them() -> None:
    """And when that falls silent, and is back."""
    found, _ = two_hubs(RELAY, Rights("second", (), (), hub=True))
    found.carried(word(), ENDPOINT, 0.0, HUB)
    found.take()
    found.carried(other_word(), SECOND_HUB, 0.0, SECOND)
    assert RightsChanged() in found.take()
    found.lost(SECOND_HUB)
    assert RightsChanged() in found.take()
    found.carried(other_word(base=1, number=1, present=()), SECOND_HUB, 0.0, SECOND)
    assert RightsChanged() in found.take()
