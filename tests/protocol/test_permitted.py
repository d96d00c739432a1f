"""What permissions leave of an interest that changes step by step."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.strategies import KEYS
from zexchange.names import matches
from zexchange.protocol.interest.permitted import PermittedInterest, as_seen_by
from zexchange.protocol.security.permissions import Rights, permitted
from zexchange.protocol.wire.messages import Bye, Hello, Label

NAMES = ("a", "a.x", "a.y", "a.x.z", "a.y.z", "b")
rules = st.none() | st.lists(st.sampled_from(KEYS), max_size=3).map(tuple)
some_keys = st.lists(st.sampled_from(KEYS), max_size=4, unique=True).map(tuple)
changes = st.lists(st.tuples(some_keys, some_keys), max_size=6)


@given(rules, some_keys, changes)
def test_steps_lead_to_what_the_whole_would(
    rule: tuple[str, ...] | None,
    whole: tuple[str, ...],
    steps: list[tuple[tuple[str, ...], tuple[str, ...]]],
) -> None:
    """After any changes, the part covers what the interest covers and the rule permits."""
    granted, asked = PermittedInterest(rule), set(whole)
    part = set(granted.replace(whole))
    for added, removed in steps:
        gone = [key for key in removed if key in asked]
        new = [key for key in added if key not in asked or key in gone]
        came, went = granted.change(new, gone)
        asked = (asked - set(gone)) | set(new)
        assert set(went) <= part
        part = (part - set(went)) | set(came)
    for name in NAMES:
        covered = any(matches(key, name) for key in asked)
        assert any(matches(key, name) for key in part) is (covered and permitted(rule, name))


def test_a_part_goes_with_the_last_key_that_leaves_it() -> None:
    """Two keys that leave the same part: it is not dropped, nor begun anew, with one of them."""
    granted = PermittedInterest(("a.x",))
    assert granted.replace(["a.*"]) == ("a.x",)
    assert granted.change(["a.**"], []) == ((), ())
    assert granted.change([], ["a.*"]) == ((), ())
    assert granted.change(["a.**"], ["a.**"]) == (("a.x",), ("a.x",))
    assert granted.change(["b"], ["a.**"]) == ((), ("a.x",))
    assert granted.refused() == ["b"]


def test_what_is_said_to_everybody_names_nothing_forbidden() -> None:
    """A hello has what its reader may publish, a goodbye the heads that it may have."""
    hello = Hello(bytes(16), "fed", Label("h", 1), (), 1, ("a.**", "b", "secret"))
    assert as_seen_by(hello, Rights("x", publish=("a.x", "b"))).interest == ("a.x", "b")
    assert as_seen_by(hello, Rights("x", publish=None, subscribe=())) == hello
    part = replace(hello, exchanges=("a.**", "secret", "b"))
    seen = as_seen_by(part, Rights("x", publish=("a.x",), subscribe=("b", "c")))
    assert seen.exchanges == ("a.x", "b")
    assert as_seen_by(part, Rights("x", publish=("a.x",))).exchanges == part.exchanges
    bye = Bye(bytes(16), {"a": 1, "secret": 2})
    assert as_seen_by(bye, Rights("x", subscribe=("a",))).heads == {"a": 1}
    assert as_seen_by(bye, Rights("x", publish=())) == bye
