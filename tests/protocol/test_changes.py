"""Changes of our own interest, made and followed by different threads."""

from hypothesis import given
from hypothesis import strategies as st

from zexchange.protocol.interest.changes import Change, Changes

KEYS = st.sampled_from(["a", "b", "a.*", "**"])
MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("step"), KEYS, st.booleans()),
        st.tuples(st.sampled_from(["drop", "add", "renew", "tell", "follow"])),
    ),
    max_size=40,
)


def taken(changes: list[Change]) -> set[str]:
    """Return what is wanted after some changes."""
    keys: set[str] = set()
    for _, added, removed in changes:
        assert not keys & set(added)
        assert set(removed) <= keys
        keys = (keys - set(removed)) | set(added)
    return keys


@given(MOVES)
def test_both_threads_take_the_same_changes(moves: list[tuple[str, ...]]) -> None:
    """In order, an epoch each; where one may drop, it has all that is wanted by then."""
    changes, wanted = Changes(), set[str]()
    told: list[Change] = []
    followed: list[Change] = []
    for what, *step in moves:
        made = len(changes._to_follow)
        if what == "step":
            (wanted.add if step[1] else wanted.discard)(step[0])
            changes.step(*step)  # type: ignore[arg-type]
        elif what == "drop":
            changes.make(dropping=True)
            followed += changes.to_follow()
            assert taken(followed) == wanted
        elif what == "add":
            changes.make(dropping=False)
            assert not [c for c in list(changes._to_follow)[made:] if c.removed]
            assert wanted <= taken([*followed, *changes._to_follow])
        elif what == "renew":
            changes.renew()
        elif what == "tell":
            told += changes.to_tell()
        else:
            followed += changes.to_follow()
    changes.make(dropping=True)
    told += changes.to_tell()
    followed += changes.to_follow()
    assert changes.settled
    assert followed == [Change(1, (), ()), *told]
    assert [change.epoch for change in followed] == list(range(1, len(followed) + 1))
    assert taken(followed) == wanted


def test_who_comes_right_after_another_has_left_is_in_one_change_with_it() -> None:
    """Whatever the control thread does meanwhile: it drops nothing by itself."""
    changes = Changes()
    changes.step("a.*", True)
    changes.make(dropping=False)
    list(changes.to_follow())
    changes.step("a.*", False)
    changes.make(dropping=False)
    assert not list(changes.to_follow())
    changes.step("a.**", True)
    changes.make(dropping=True)
    assert list(changes.to_follow()) == [Change(3, ("a.**",), ("a.*",))]
    changes.step("a.**", False)
    changes.step("a.**", True)
    changes.make(dropping=True)
    assert not list(changes.to_follow())
