"""Who may publish and subscribe to what, against what names and patterns match."""

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from zexchange import InvalidKeys
from zexchange.names import matches
from zexchange.protocol.security.keys import id_for
from zexchange.protocol.security.permissions import (
    EVERYTHING,
    Policy,
    Rights,
    covers_prefix,
    intersection,
    make_policy,
    permitted,
    read_permissions,
    restricted,
    wants_by_name,
)
from zexchange.protocol.wire.data import READY, ready_topic, topic, topics

levels = st.sampled_from(["a", "b", "", "*", "x*"])
words = st.sampled_from(["a", "b", "", "x*"])
names = st.lists(words, min_size=1, max_size=4).map(".".join).filter(bool)
patterns = st.builds(
    lambda head, tail: ".".join([*head, *tail]),
    st.lists(levels, max_size=4),
    st.sampled_from([[], ["**"]]),
).filter(bool)
rules = st.none() | st.lists(patterns, max_size=3).map(tuple)
A, B, C = (bytes([n]) * 32 for n in (1, 2, 3))


@given(patterns, patterns, names)
@example("a.**", "a", "a")
@example("**", "*", "a")
@example("a.*.c", "a.**", "a.x.c")
@example("*.**", "a", "a")
def test_an_intersection_covers_what_both_cover(one: str, other: str, name: str) -> None:
    """A name is covered by the intersection of two patterns exactly if both cover it."""
    both = intersection(one, other)
    assert (both is not None and matches(both, name)) is (
        matches(one, name) and matches(other, name)
    )


def test_an_intersection_can_be_told() -> None:
    """What would be longer than any name covers none: its reader would refuse all it came with."""
    one, other = "x" * 200 + ".*", "*." + "y" * 200
    assert intersection(one, other) is None
    assert list(restricted([one], (other, "*.y"))) == ["x" * 200 + ".y"]
    assert intersection(one, "*." + "y" * 54) == "x" * 200 + "." + "y" * 54


@given(patterns, names, st.integers(0, 12), st.text("ab.", max_size=6))
def test_what_a_covered_prefix_begins_is_permitted(
    pattern: str, name: str, length: int, rest: str
) -> None:
    """If a pattern is said to cover a prefix, it covers every name that starts with it."""
    prefix = name[:length]
    assume(prefix + rest)
    if covers_prefix(pattern, prefix):
        assert matches(pattern, prefix + rest)


@given(rules, patterns | names, names)
def test_nothing_forbidden_passes_what_is_honoured(
    rule: tuple[str, ...] | None, key: str, name: str
) -> None:
    """No subscription that is honoured lets a name through that is not permitted."""
    rights = Rights("peer", subscribe=rule)
    for subscribed in topics(key):
        if rights.honours(subscribed) and topic(name).startswith(subscribed):
            assert rights.may_subscribe(name)


@given(rules, st.binary(max_size=12).map(lambda tail: b"\x01" + tail), names)
def test_no_bytes_subscribe_to_what_is_forbidden(
    rule: tuple[str, ...] | None, subscribed: bytes, name: str
) -> None:
    """That holds for whatever bytes a peer makes up, too."""
    rights = Rights("peer", subscribe=rule)
    if rights.honours(subscribed) and topic(name).startswith(subscribed):
        assert rights.may_subscribe(name)


@given(rules, st.lists(patterns | names, max_size=4), names)
def test_what_is_left_of_an_interest_is_what_is_permitted(
    rule: tuple[str, ...] | None, keys: list[str], name: str
) -> None:
    """The restricted keys cover what the keys cover and the rule permits."""
    covered = any(matches(key, name) for key in keys)
    left = restricted(keys, rule)
    assert any(matches(key, name) for key in left) is (covered and permitted(rule, name))


@given(rules, patterns, names)
def test_a_permitted_name_is_had_by_prefix_or_by_name(
    rule: tuple[str, ...] | None, key: str, name: str
) -> None:
    """What is wanted and permitted is honoured by prefix, or it is known to need its name."""
    rights = Rights("peer", subscribe=rule)
    if matches(key, name) and rights.may_subscribe(name) and not wants_by_name(key, rights):
        assert any(rights.honours(t) and topic(name).startswith(t) for t in topics(key))
    if rights.may_subscribe(name):
        assert rights.honours(topic(name))


@pytest.mark.parametrize("subscribed", [b"", b"\x01a", b"\xff", b"\x02x", b"a", b"\x01\xff"])
def test_only_whole_data_topics_are_honoured(subscribed: bytes) -> None:
    """The empty subscription, foreign kinds and halves of names are not honoured."""
    assert not Rights("peer", subscribe=("a",)).honours(subscribed)
    assert not Rights("peer", subscribe=("a.**",)).honours(subscribed)


def test_tokens_are_for_their_own_node() -> None:
    """A token is honoured for the owner of the key that its node id goes with, whole and alone."""
    policy = Policy(A, {B: Rights("b"), C: Rights("c", subscribe=())})
    mine, others = id_for(B, bytes(16)), id_for(C, bytes(16))
    assert policy.may_hear(B, ready_topic(mine, 1))
    assert policy.may_hear(C, ready_topic(others, 1))
    assert not policy.may_hear(B, ready_topic(others, 1))
    for part in (READY, ready_topic(mine, 1)[:-1], ready_topic(mine, 1) + b"x", READY + mine, b""):
        assert not policy.may_hear(B, part)
    assert not policy.may_hear(bytes(32), ready_topic(mine, 1))


def test_what_an_entry_leaves_out_the_default_says() -> None:
    """Absent in both means all; a name without an entry has the default's."""
    entries = read_permissions(
        """
        [default]
        publish = []
        [north]
        subscribe = ["a.**"]
        [hub]
        hub = true
        publish = ["**"]
        """
    )
    policy = make_policy(A, {"north": (B,), "hub": (C,), "south": (bytes(32),)}, entries)
    assert policy.rights(B) == Rights("north", (), ("a.**",))
    assert policy.rights(C) == Rights("hub", ("**",), None, True)
    assert policy.rights(bytes(32)) == Rights("south", ())
    assert policy.rights(A) == EVERYTHING
    assert policy.rights(b"x" * 32) is None


@pytest.mark.parametrize(
    "text",
    [
        "publish = []",
        "[north]\npubish = []",
        "[north]\npublish = 'a'",
        "[north]\npublish = [1]",
        "[north]\npublish = ['a.**.b']",
        "[north]\npublish = ['']",
        "[north]\nhub = 1",
        "[default]\nhub = true",
        "north = 1",
        "[[north]]",
        "nonsense",
        "[north]\n[north]",
        "a = " + "[" * 5000,
    ],
)
def test_what_no_permissions_file_has_is_refused(text: str) -> None:
    """A word that is misspelt does not come to permit everything."""
    with pytest.raises(InvalidKeys):
        read_permissions(text)


@given(st.text(max_size=200))
def test_whatever_is_in_the_file_the_error_is_ours(text: str) -> None:
    """Any text is permissions, or `InvalidKeys`."""
    try:
        read_permissions(text)
    except InvalidKeys:
        pass


def test_one_key_has_one_name() -> None:
    """The same key under two names, or under the name of the default, is an error."""
    with pytest.raises(InvalidKeys, match=r"same key as north\.pub"):
        make_policy(A, {"north": (B,), "south": (B,)}, {})
    with pytest.raises(InvalidKeys, match="default"):
        make_policy(A, {"default": (B,)}, {})


def test_who_is_to_be_cut_off() -> None:
    """Changed are the keys that are gone, or may something else; others stay as they are."""
    before = Policy(A, {B: Rights("b"), C: Rights("c")})
    assert before.changed(Policy(A, {B: Rights("b", publish=()), C: Rights("c")})) == {B}
    assert before.changed(Policy(A, {C: Rights("c")})) == {B}
    assert before.changed(Policy(A, {B: Rights("b"), C: Rights("c"), bytes(32): EVERYTHING})) == (
        set()
    )
