"""What counts of the time: the part in which we looked."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zexchange.protocol.elapsed import LATE, Elapsed


def test_looks_in_time_count_in_full() -> None:
    """Where every look comes in time it is a clock like others, from the first look on."""
    elapsed = Elapsed()
    assert [elapsed.look(100 + n / 10) for n in range(11)] == [0.0] * 11
    assert elapsed.seconds == pytest.approx(1.0)


def test_the_time_of_a_stop_does_not_count() -> None:
    """It is forgiven whole, however long it was, and the clock goes on behind it."""
    elapsed = Elapsed()
    elapsed.look(0.0)
    elapsed.look(0.1)
    assert elapsed.look(60.1) == pytest.approx(60.0)
    elapsed.look(60.2)
    assert elapsed.seconds == pytest.approx(0.2)


@given(st.lists(st.floats(LATE * 1.01, 100), min_size=2))
def test_lateness_does_not_stop_it_for_ever(steps: list[float]) -> None:
    """Looks that are all late count for something, all but the first of them."""
    elapsed, now = Elapsed(), 0.0
    elapsed.look(now)
    for step in steps:
        now += step
        elapsed.look(now)
    assert elapsed.seconds == pytest.approx(LATE * (len(steps) - 1))


@given(st.lists(st.floats(0, 10)))
def test_never_more_than_has_passed(steps: list[float]) -> None:
    """What counts and what is forgiven make up the time."""
    elapsed, now, forgiven = Elapsed(), 0.0, 0.0
    elapsed.look(now)
    for step in steps:
        now += step
        forgiven += elapsed.look(now)
    assert elapsed.seconds <= now + 1e-6
    assert elapsed.seconds + forgiven == pytest.approx(now)
