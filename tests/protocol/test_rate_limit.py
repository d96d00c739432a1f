"""A bucket for each who asks: so much at once, so much a second, and nobody pays for another."""

from hypothesis import given
from hypothesis import strategies as st

from zexchange.protocol.rate_limit import MAX_KNOWN, TokenBucket


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(1, 50)), max_size=60))
def test_no_more_is_allowed_than_flows_in(steps: list[tuple[float, int]]) -> None:
    """Whatever is asked when, it is at most what was there, what came in, and one request."""
    allowance, now, allowed = TokenBucket(100, 10), 0.0, 0
    for pause, amount in steps:
        now += pause
        if allowance.take("a", amount, now):
            allowed += amount
        assert allowed <= 100 + 10 * now + 50


def test_nobody_pays_for_another() -> None:
    """Who has nothing left is refused, others are not, and time mends it."""
    allowance = TokenBucket(100, 10)
    assert allowance.take("a", 150, 0.0)
    assert not allowance.take("a", 1, 4.9)
    assert allowance.take("b", 1, 4.9)
    assert allowance.take("a", 1, 5.1)


def test_those_who_are_known_are_bounded() -> None:
    """Who has asked for nothing for longest is forgotten."""
    allowance = TokenBucket(1, 0)
    for n in range(2 * MAX_KNOWN):
        assert allowance.take(n, 1, 0.0)
        assert not allowance.take(0, 1, 0.0) or n == 0
    assert len(allowance._buckets) == MAX_KNOWN
