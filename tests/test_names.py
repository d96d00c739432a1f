"""Names, patterns, and what a prefix filter may let through."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zexchange.errors import InvalidName
from zexchange.names import (
    Patterns,
    check_federation,
    check_key,
    check_name,
    check_pattern,
    check_scope,
    is_pattern,
    matches,
    prefixes,
)

SEGMENT = st.sampled_from(["", "a", "b", "ab", "a*", "**b", "é", "\n"])
NAMES = st.lists(SEGMENT, min_size=1, max_size=4).map(".".join).filter(bool)
HEADS = st.lists(st.one_of(SEGMENT, st.just("*")), max_size=3)
PATTERNS = st.builds(
    lambda head, last: ".".join([*head, last]),
    HEADS,
    st.one_of(SEGMENT, st.sampled_from(["*", "**"])),
).filter(bool)


def covers(pattern, name):
    """The rule itself, segment by segment."""
    if not pattern:
        return not name
    if pattern[0] == "**":
        return True
    return bool(name) and pattern[0] in ("*", name[0]) and covers(pattern[1:], name[1:])


@given(PATTERNS, NAMES)
def test_matching_is_by_levels(pattern, name):
    """`*` is one level, a last `**` zero or more, everything else itself."""
    assert matches(pattern, name) == covers(pattern.split("."), name.split("."))


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("a.*", "a.b", True),
        ("a.*", "a", False),
        ("a.*", "a.b.c", False),
        ("a.**", "a", True),
        ("a.**", "a.b.c", True),
        ("a.**", "ab", False),
        ("**", "anything.at.all", True),
        ("*", "a", True),
        ("*.c", "a.c", True),
        ("a.b", "axb", False),
        ("a", "a\n", False),
    ],
)
def test_what_patterns_cover(pattern, name, expected):
    """The examples that a reader would try first."""
    assert matches(pattern, name) is expected


@given(NAMES)
def test_a_name_is_kept_as_it_is_and_covers_itself(name):
    """Wildcard characters inside a segment are ordinary."""
    assert check_name(name) == check_key(name) == name
    assert not is_pattern(name)
    assert matches(name, name)


@given(PATTERNS, NAMES)
def test_every_covered_name_starts_with_a_prefix(pattern, name):
    """A prefix filter lets through all that the pattern covers."""
    if matches(pattern, name):
        assert (name + "\0").startswith(prefixes(pattern))


@given(PATTERNS)
def test_prefixes_do_not_overlap(pattern):
    """No name comes by two of them, as it would be counted twice."""
    found = prefixes(pattern)
    assert not any(a is not b and a.startswith(b) for a in found for b in found)


@pytest.mark.parametrize("name", ["", "a\0", "é" * 128, "\ud800", 1, None, b"a"])
def test_malformed_text_is_refused_as_name_and_as_pattern(name):
    """Empty, too long, with NUL, not Unicode, not a string."""
    for check in (check_name, check_key, check_pattern, check_scope):
        with pytest.raises(InvalidName):
            check(name)


def test_a_pattern_is_no_name():
    """The refusal points to match; `**` belongs at the end."""
    assert check_pattern("a.*.**") == "a.*.**"
    with pytest.raises(InvalidName, match="match"):
        check_name("a.*")
    for bad in ("**.a", "a.**.**"):
        with pytest.raises(InvalidName, match="last"):
            check_pattern(bad)


@pytest.mark.parametrize(
    ("slip", "instead"),
    [
        ("prices.A*", "prices.*"),
        ("a**", "a.**"),
        ("*.b*.c", "*.*.c"),
        ("a***", "a.**"),
        ("a..b", "a.b"),
        (".a", "a"),
        ("a.", "a"),
        ("a..*", "a.*"),
    ],
)
def test_a_pattern_that_matches_nothing_is_refused(slip, instead):
    """The refusal says what to write, which is taken; peers may ask for it all the same."""
    with pytest.raises(InvalidName) as refused:
        check_pattern(slip)
    assert str(refused.value).endswith(f"write {instead!r}")
    assert check_pattern(instead) == instead
    assert check_key(slip) == slip


def test_levels_that_end_elsewhere_are_told_of():
    """Redis has colons and MQTT has slashes: the text writes the pattern with dots."""
    with pytest.raises(InvalidName, match=r"write 'news\.\*', and names with dots for ':'$"):
        check_pattern("news:*")


@pytest.mark.parametrize("name", ["", 3, "a\0b", "\ud800", "a.*"])
def test_a_federations_name_is_not_called_an_exchanges(name):
    """What is malformed says that it names a federation; a pattern does not lead to `match`."""
    with pytest.raises(InvalidName, match="a federation"):
        check_federation(name)


def test_a_scope_is_any_name_or_a_pattern_without_slips():
    """Names may have empty levels, as others use them."""
    for good in ("a..b", ".a", "a.", "a.*", "**"):
        assert check_scope(good) == good
    for bad in ("a*", "a..*"):
        with pytest.raises(InvalidName, match="write"):
            check_scope(bad)


def test_the_longest_name_fits():
    """255 bytes of UTF-8 are a name."""
    assert check_name("é" * 127 + "x")


@given(st.lists(st.tuples(st.booleans(), PATTERNS)), NAMES)
def test_patterns_are_found_by_the_names_that_they_cover(changes, name):
    """Whatever was set and taken back before: as if each were asked."""
    patterns, model = Patterns(), {}
    for n, (there, pattern) in enumerate(changes, 1):
        if there:
            patterns.set(pattern, n)
            model[pattern] = n
        else:
            patterns.discard(pattern)
            model.pop(pattern, None)
        covering = [value for known, value in model.items() if matches(known, name)]
        assert sorted(patterns.covering(name)) == sorted(covering)
    for pattern in model:
        patterns.discard(pattern)
    assert patterns.empty
