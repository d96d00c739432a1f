"""Which way out is right: at once, together with others, or by the sender thread. No clock."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zexchange.net.outbound.pacing import (
    FORGIVEN,
    FRAME_GAP,
    GAP,
    HAND_OVER,
    HAND_OVER_MOST,
    HELD_UP,
    MOST_FRAMES_GAP,
    MOST_GAP,
    PER_BYTE,
    PER_FRAME,
    SendPacer,
)


def held_up(pace: SendPacer, at: float) -> float:
    """A direct send that takes too long; return when it ends."""
    pace.sent(at, at + 2 * HELD_UP, 1, 1, 100, True)
    return at + 2 * HELD_UP


def quick(pace: SendPacer, at: float, count: int = 1) -> None:
    """A direct send that takes no time."""
    pace.sent(at, at, count, 1, 100, True)


def test_a_lone_message_is_followed_by_a_short_gap() -> None:
    """Who comes a moment later is sent at once again."""
    pace = SendPacer()
    quick(pace, 1.0)
    assert pace.direct_at == pytest.approx(1.0 + GAP)


def test_the_more_travel_together_the_longer_is_waited_up_to_a_bound() -> None:
    """A flood makes fewer and larger sends; no message waits longer than the bound."""
    pace = SendPacer()
    quick(pace, 1.0, 4)
    assert pace.direct_at == pytest.approx(1.0 + 2 * GAP)
    quick(pace, 2.0, 100_000)
    assert pace.direct_at == pytest.approx(2.0 + MOST_GAP)


def test_being_held_up_now_and_then_changes_nothing() -> None:
    """A busy machine does that."""
    pace = SendPacer()
    for n in range(20):
        at = held_up(pace, n * (FORGIVEN + 1))
        quick(pace, at)
        assert not pace.handed_over


def test_being_held_up_twice_hands_over_for_a_while() -> None:
    """Good sends in between or not; then the next thread tries again, and a good try ends it."""
    pace = SendPacer()
    quick(pace, held_up(pace, 1.0))
    assert not pace.handed_over
    at = held_up(pace, 1.5)
    assert pace.handed_over
    assert pace.direct_at == pytest.approx(at + HAND_OVER)
    pace.sent(at, at + 0.1, 50, 1, 100, False)  # of the sender thread: however long that takes
    assert pace.direct_at == pytest.approx(at + HAND_OVER)
    quick(pace, pace.direct_at)
    assert not pace.handed_over


@pytest.mark.parametrize("good", [0, 30])
def test_tries_become_rarer_while_they_fail(good: int) -> None:
    """In a minute fewer than sixty sends are held up, also where most of the tries are good."""
    pace, at, bad = SendPacer(), 0.0, 0
    while at < 60:
        at = max(at, pace.direct_at)
        for _ in range(good):
            quick(pace, at)
            at += 0.001
        at = held_up(pace, at)
        bad += 1
    assert bad < 60
    assert pace.direct_at - at <= HAND_OVER_MOST + 1e-9


def test_what_is_over_is_forgiven() -> None:
    """After some seconds without trouble it begins anew, with a short time."""
    pace, at = SendPacer(), 0.0
    for _ in range(6):
        at = held_up(pace, max(at, pace.direct_at))
    quick(pace, pace.direct_at)
    quick(pace, pace.direct_at + FORGIVEN)
    at = held_up(pace, held_up(pace, pace.direct_at + FORGIVEN))
    assert pace.direct_at == pytest.approx(at + HAND_OVER)


@pytest.mark.parametrize(("frames", "size"), [(1, 8 << 20), (400, 40_000)])
def test_much_may_take_its_time(frames: int, size: int) -> None:
    """What copying large messages takes, or a frame for each of many exchanges, is no trouble."""
    pace = SendPacer()
    for n in range(10):
        took = HELD_UP + 0.9 * (frames * PER_FRAME + size * PER_BYTE)
        pace.sent(n, n + took, frames, frames, size, True)
    assert not pace.handed_over


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 0.1), st.integers(0, 2000), st.booleans())))
def test_nothing_waits_for_long(sends: list[tuple[float, float, int, bool]]) -> None:
    """Whatever was sent and however long that took: the next direct send is near."""
    pace, now = SendPacer(), 0.0
    for idle, took, count, direct in sends:
        began = now + idle
        now = began + took
        pace.sent(began, now, count, 1, 100, direct)
        longest = HAND_OVER_MOST if pace.handed_over else MOST_GAP
        assert pace.direct_at <= now + longest + 1e-9


@pytest.mark.parametrize(
    ("frames", "gap"), [(1, GAP), (40, 40 * FRAME_GAP), (500, MOST_FRAMES_GAP)]
)
def test_many_exchanges_wait_for_more(frames: int, gap: float) -> None:
    """A frame for each of many exchanges is sent again when it pays, and not much later."""
    pace = SendPacer()
    pace.sent(1.0, 1.001, 1, frames, 100, True)
    assert pace.direct_at == pytest.approx(1.001 + gap)
