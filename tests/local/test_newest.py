"""Which messages are the newest: whoever sent them, in the order of sending, each once."""

from collections import defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import examples
from zexchange.local.history.newest import NOTHING, Latest, PastMessage, newest


def kept(origin: str, *stamps: float, name: str = "x", first: int = 1) -> list[PastMessage]:
    return [PastMessage(name, origin, n, at, f"{origin}{n}") for n, at in enumerate(stamps, first)]


def items(found: list[PastMessage]) -> list[object]:
    return [one.item for one in found]


def test_the_newest_of_several_publishers_in_the_order_of_sending() -> None:
    """Two that keep a value: the last one set is the last one seen."""
    both = [*kept("a", 1.0, 5.0), *kept("b", 2.0, 3.0)]
    assert items(newest(both, 1)) == ["a2"]
    assert items(newest(both, 3)) == ["b1", "b2", "a2"]
    assert items(newest(reversed(both), 9)) == ["a1", "b1", "b2", "a2"]


def test_each_exchange_has_its_own_newest() -> None:
    """And all of them come in one order."""
    both = [*kept("a", 1.0, 5.0), *kept("b", 2.0, 3.0, name="y")]
    assert items(newest(both, 1)) == ["b2", "a2"]


def test_at_the_same_moment_the_id_decides() -> None:
    """So that all receivers see the same one last."""
    assert items(newest([*kept("b", 1.0), *kept("a", 1.0)], 2)) == ["a1", "b1"]


def test_a_clock_that_goes_back_turns_nothing_round() -> None:
    """A publisher's own messages stay in the order of their numbers."""
    both = [*kept("a", 9.0, 2.0), *kept("b", 5.0)]
    assert items(newest(both, 2)) == ["a1", "a2"]
    assert items(newest(both, 3)) == ["b1", "a1", "a2"]


def test_one_that_comes_later_adds_only_what_is_newer() -> None:
    """Than all that was given of others; its own, given before, does not count."""
    latest = Latest()
    for at, origin in ((1.0, "a"), (4.0, "late"), (3.0, "a"), (2.0, "b")):
        latest.note(at, origin)
    late = kept("late", 2.0, 3.0, 3.5, 4.0)
    assert items(newest(late, 9, lambda name, origin: latest.beside(origin))) == [
        *("late2", "late3", "late4")
    ]
    assert latest.beside("a") == (4.0, "late")
    assert latest.beside("c") == (4.0, "late")
    assert Latest().beside("a") == NOTHING


sent = st.lists(
    st.tuples(
        st.sampled_from("abc"), st.sampled_from("xy"), st.sampled_from([0.0, 1.0, 2.0, 3.0, 9.0])
    ),
    max_size=12,
)


def as_kept(messages: list[tuple[str, str, float]]) -> list[PastMessage]:
    numbers: defaultdict[tuple[str, str], int] = defaultdict(int)
    found = []
    for origin, name, at in messages:
        numbers[origin, name] += 1
        number = numbers[origin, name]
        found.append(PastMessage(name, origin, number, at, (origin, name, number)))
    return found


@settings(max_examples=examples(500))
@given(messages=sent, most=st.integers(1, 6), data=st.data())
def test_the_newest_in_whatever_order_they_come(
    messages: list[tuple[str, str, float]], most: int, data: st.DataObject
) -> None:
    """Each once; of a publisher without a hole, in its order, and up to its last or not at all."""
    there = as_kept(messages)
    order = data.draw(st.permutations([*there, *there[:3]]))  # some come twice
    found = newest(order, most)
    assert found == newest(there, most)
    by_name: defaultdict[str, list[PastMessage]] = defaultdict(list)
    for one in found:
        by_name[one.name].append(one)
    for name in "xy":
        here = [one for one in there if one.name == name]
        assert len(by_name[name]) == min(most, len(here))
        for origin in "abc":
            numbers = [one.number for one in by_name[name] if one.origin == origin]
            last = max((one.number for one in here if one.origin == origin), default=0)
            assert numbers == list(range(last - len(numbers) + 1, last + 1))


@settings(max_examples=examples(500))
@given(messages=sent, most=st.integers(1, 4), data=st.data())
def test_the_last_one_is_the_newest_of_all(
    messages: list[tuple[str, str, float]], most: int, data: st.DataObject
) -> None:
    """Publishers come one after the other, in any order: none ends with what is outdated."""
    there = [one for one in as_kept(messages) if one.name == "x"]
    latest, given_so_far = Latest(), list[PastMessage]()
    for origin in data.draw(st.permutations("abc")):
        own = [one for one in there if one.origin == origin]
        more = newest(own, most, lambda name, origin: latest.beside(origin))
        for one in more:
            latest.note(one.sent_at, one.origin)
        given_so_far += more
    assert len(given_so_far) == len({(one.origin, one.number) for one in given_so_far})
    if there:
        (expected,) = newest(there, 1)
        assert given_so_far[-1] == expected


@settings(max_examples=examples(300))
@given(st.lists(st.tuples(st.sampled_from([1.0, 2.0, 3.0]), st.sampled_from("abc"))))
def test_marks_know_as_much_as_all_that_was_given(noted: list[tuple[float, str]]) -> None:
    """Two ranks stand for any number of publishers."""
    latest = Latest()
    for at, origin in noted:
        latest.note(at, origin)
    for origin in "abcd":
        others = [rank for rank in noted if rank[1] != origin]
        assert latest.beside(origin) == max(others, default=NOTHING)
