"""Which way out is right: at once, together with others, or by the sender thread. No clock."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zexchange.net.pace import (
    GAP,
    HAND_OVER,
    HAND_OVER_MOST,
    HELD_UP,
    MOST_GAP,
    PER_BYTE,
    STRIKES,
    Pace,
)


def held_up(pace: Pace, at: float, times: int = 1) -> float:
    """A direct send that takes too long, so many times in a row; return when the last ends."""
    for _ in range(times):
        pace.sent(at, at + 2 * HELD_UP, 1, 100, True)
        at += 2 * HELD_UP
    return at


def test_a_lone_message_is_followed_by_a_short_gap() -> None:
    """Who comes a moment later is sent at once again."""
    pace = Pace()
    pace.sent(1.0, 1.00001, 1, 100, True)
    assert pace.direct_at == pytest.approx(1.00001 + GAP)


def test_the_more_travel_together_the_longer_is_waited_up_to_a_bound() -> None:
    """A flood makes fewer and larger sends; no message waits longer than the bound."""
    pace = Pace()
    pace.sent(1.0, 1.0, 4, 100, True)
    assert pace.direct_at == pytest.approx(1.0 + 4 * GAP)
    pace.sent(2.0, 2.0, 100_000, 100, True)
    assert pace.direct_at == pytest.approx(2.0 + MOST_GAP)


def test_one_send_that_is_held_up_changes_nothing() -> None:
    """A busy machine does that now and then."""
    pace = Pace()
    held_up(pace, 1.0, STRIKES - 1)
    pace.sent(2.0, 2.0, 1, 100, True)
    held_up(pace, 3.0, STRIKES - 1)
    assert not pace.handed_over


def test_sends_that_are_held_up_hand_over_for_a_while() -> None:
    """Then the next thread tries again, and a good try ends it."""
    pace = Pace()
    at = held_up(pace, 1.0, STRIKES)
    assert pace.handed_over
    assert pace.direct_at == pytest.approx(at + HAND_OVER)
    pace.sent(at, at + 1, 50, 100, False)  # of the sender thread: however long that takes
    assert pace.direct_at == pytest.approx(at + HAND_OVER)
    pace.sent(at + 1, at + 1, 1, 100, True)
    assert not pace.handed_over


def test_tries_become_rarer_while_they_fail() -> None:
    """Of a thousand sends a second in a minute, fewer than one in a thousand is a try."""
    pace, at, tries = Pace(), 0.0, 0
    while at < 60:
        at = held_up(pace, max(at, pace.direct_at if pace.handed_over else 0.0))
        tries += 1
    assert tries < 60
    assert pace.direct_at - at <= HAND_OVER_MOST + 1e-9
    pace.sent(at, at, 1, 100, True)
    at = held_up(pace, at + 1, STRIKES)
    assert pace.direct_at == pytest.approx(at + HAND_OVER)


def test_large_messages_may_take_their_time() -> None:
    """What copying them takes is nobody's holding up."""
    pace = Pace()
    for n in range(10):
        pace.sent(n, n + HELD_UP + PER_BYTE * (8 << 20) * 0.9, 1, 8 << 20, True)
    assert not pace.handed_over


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 0.1), st.integers(1, 2000), st.booleans())))
def test_nothing_waits_for_long(sends: list[tuple[float, float, int, bool]]) -> None:
    """Whatever was sent and however long that took: the next direct send is near."""
    pace, now = Pace(), 0.0
    for idle, took, count, direct in sends:
        began = now + idle
        now = began + took
        pace.sent(began, now, count, 100, direct)
        longest = HAND_OVER_MOST if pace.handed_over else MOST_GAP
        assert pace.direct_at <= now + longest + 1e-9
