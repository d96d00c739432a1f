"""What peers have to acknowledge: who waits looks often, and at each exchange a few times."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from zexchange.protocol.delivery.goal import Goal

PEER, OTHER = b"p", b"o"


@given(st.integers(1, 8), st.lists(st.tuples(st.booleans(), st.integers(0, 7)), max_size=30))
def test_a_look_finds_whatever_is_missing(count: int, steps: list[tuple[bool, int]]) -> None:
    """Of each peer, also where something is missing again: it has left, and is back."""
    goal = Goal({f"{n}": n for n in range(count)})
    missing: dict[bytes, set[str]] = {PEER: set(goal.heads), OTHER: set()}
    for adds, n in steps:
        name = f"{n % count}"
        missing[PEER] ^= {name}
        (missing[OTHER].add if adds else missing[OTHER].discard)(name)
        for peer, lacking in missing.items():
            assert goal.missed(peer, lacking.__contains__) is bool(lacking)


def test_looks_cost_no_more_than_some_for_each_exchange() -> None:
    """However many looks there are, and in whatever order peers acknowledge."""
    count = 2000
    names = [f"{n:04}" for n in range(count)]
    for order in (names, names[::-1], Random(5).sample(names, count)):
        goal, missing, looked = Goal(dict.fromkeys(names, 1)), set(names), 0

        def lacks(name: str) -> bool:
            nonlocal looked
            looked += 1
            return name in missing  # noqa: B023

        for name in order:
            assert goal.missed(PEER, lacks)
            missing.remove(name)
        assert not goal.missed(PEER, lacks)
        assert looked <= 4 * count
