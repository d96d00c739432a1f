"""The groups whose last member has left, as a machine with time passed in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zexchange.groups.queue import PATIENCE
from zexchange.local.sharing import departed_groups
from zexchange.local.sharing.departed_groups import DepartedGroups
from zexchange.names import matches

KEYS = ["a", "a.b", "a.*", "**", "c"]
GROUPS = ["g", "h"]
steps = st.lists(
    st.tuples(st.sampled_from(KEYS), st.sampled_from(GROUPS), st.booleans(), st.integers(0, 20))
)


@given(steps)
def test_a_group_is_known_from_its_end_on_until_it_comes_back_or_time_is_over(
    taken: list[tuple[str, str, bool, int]],
) -> None:
    """By each exchange that its name or pattern covers; in the end nothing is left."""
    there, model, now = DepartedGroups(), dict[tuple[str, str], float](), 0.0
    for key, group, left, seconds in taken:
        now += seconds
        over = {place for place, since in model.items() if now - since >= PATIENCE}
        assert sorted(there.expire(now)) == sorted(place[0] for place in over)
        model = {place: since for place, since in model.items() if place not in over}
        if left:
            there.left(key, group, lambda name: name != "c", now)
            model[key, group] = now
        else:
            there.came(key, group)
            model.pop((key, group), None)
        assert len(there) == len(model)
        for name in ("a", "a.b", "c"):
            known = dict[str, float]()
            for (place, one), since in model.items():
                if name != "c" and matches(place, name):
                    known[one] = max(since, known.get(one, since))
            assert there.on(name) == known
    there.expire(now + PATIENCE)
    assert (there._order, there._named) == ({}, {})
    assert not list(there._covering.covering("a.b"))


def test_the_oldest_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(departed_groups, "LEFT_MOST", 3)
    there = DepartedGroups()
    for n in range(5):
        there.left(f"x.{n}", "g", lambda name: True, float(n))
    assert [n for n in range(5) if there.on(f"x.{n}")] == [2, 3, 4]
