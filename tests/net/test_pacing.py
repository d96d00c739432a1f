"""When messages are sent at once, and when they wait to travel together. No clock."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zexchange.net.outbound.pacing import (
    FRAME_GAP,
    GAP,
    MOST_FRAMES_GAP,
    MOST_GAP,
    SendPacer,
)


def test_a_lone_message_is_followed_by_a_short_gap() -> None:
    """A message that comes a moment later is sent at once again."""
    pace = SendPacer()
    pace.sent(1.0, 1, 1)
    assert pace.direct_at == pytest.approx(1.0 + GAP)


def test_the_more_travel_together_the_longer_is_waited_up_to_a_bound() -> None:
    """A flood makes fewer and larger sends; no message waits longer than the bound."""
    pace = SendPacer()
    pace.sent(1.0, 4, 1)
    assert pace.direct_at == pytest.approx(1.0 + 2 * GAP)
    pace.sent(2.0, 100_000, 1)
    assert pace.direct_at == pytest.approx(2.0 + MOST_GAP)


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 2000), st.integers(1, 500))))
def test_nothing_waits_for_long(sends: list[tuple[float, int, int]]) -> None:
    """The next direct send is near, whatever was sent before."""
    pace, now = SendPacer(), 0.0
    for idle, count, frames in sends:
        now += idle
        pace.sent(now, count, frames)
        assert now < pace.direct_at <= now + max(MOST_GAP, MOST_FRAMES_GAP) + 1e-9


@pytest.mark.parametrize(
    ("frames", "gap"), [(1, GAP), (40, 40 * FRAME_GAP), (500, MOST_FRAMES_GAP)]
)
def test_many_exchanges_wait_for_more(frames: int, gap: float) -> None:
    """A frame for each of many exchanges is sent again when it pays, and not much later."""
    pace = SendPacer()
    pace.sent(1.001, 1, frames)
    assert pace.direct_at == pytest.approx(1.001 + gap)
