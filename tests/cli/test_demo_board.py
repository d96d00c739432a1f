"""What the demo knows, and its verdict."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from zexchange.cli.demo.board import WIDTH, Board, Tally, quantity, sparkline, tally

METRIC, AVERAGE = "metrics.h.cpu", "averages.h.cpu"
counts = st.integers(0, 1000)


@given(st.lists(st.floats(-1e12, 1e12), max_size=60), st.none() | st.floats(0.1, 1e6))
def test_a_sparkline_has_a_bar_for_each_value(values: list[float], top: float | None) -> None:
    """There is one bar a value, and a higher value has no lower bar."""
    bars = sparkline(values, top)
    assert len(bars) == len(values)
    pairs = sorted(zip(values, bars, strict=True))
    assert all(a <= b for (_, a), (_, b) in itertools.pairwise(pairs))


@given(st.floats(0, 1e15))
def test_a_speed_is_short(value: float) -> None:
    """A speed is written with a prefix, below a thousand of it while there is one."""
    number, unit = quantity(value, "B/s").split(" ")
    assert unit in ("B/s", "kB/s", "MB/s", "GB/s")
    assert float(number) <= 1000 or unit == "GB/s"


@given(counts, counts, counts)
def test_whole_means_that_every_listener_got_what_was_sent(sent: int, a: int, s: int) -> None:
    """A line is whole exactly when all who listen got as many as were sent."""
    key = (METRIC, "o")
    got = {"analyst": {key: a}, "screen": {key: s}, "sensor-2": {}}
    (line,) = tally({"o": ("sensor-1", {METRIC: sent})}, got, {})
    assert line.whole is (sent == a == s)


def test_what_was_sent_and_never_came_is_a_line() -> None:
    """An exchange of which nobody received anything is in the table, and not whole."""
    (line,) = tally({"o": ("analyst", {AVERAGE: 3})}, {"screen": {}}, {})
    assert line == Tally(AVERAGE, "analyst", 3, {"screen": 0}, 0)
    assert not line.whole


def test_a_reported_loss_is_not_whole() -> None:
    """Counts that agree do not outweigh a loss."""
    key = (AVERAGE, "o")
    (line,) = tally({"o": ("analyst", {AVERAGE: 3})}, {"screen": {key: 3}}, {key: 1})
    assert not line.whole


def test_the_killed_are_not_judged() -> None:
    """Of a sender that was killed nobody knows what it sent: its line has no count."""
    key = (METRIC, "o")
    (line,) = tally({"o": ("sensor-1", None)}, {"analyst": {key: 3}, "screen": {key: 4}}, {})
    assert line.sent is None
    assert line.whole


@given(st.lists(st.floats(0.001, 0.1), min_size=3, max_size=80))
def test_a_row_forgets(pauses: list[float]) -> None:
    """A row keeps the last values, and its rate falls to nothing when nothing comes."""
    board, now = Board(), 100.0
    for pause in pauses:
        now += pause
        board.take(METRIC, "o", {"value": now, "unit": "%"}, now)
    (row,) = board.sorted()
    assert len(row.values) == min(len(pauses), WIDTH)
    assert row.rate(now) > 0
    assert row.rate(now + 10) == 0


def test_rows_are_told_apart_by_origin() -> None:
    """One exchange from two senders is two rows, the metrics before the averages."""
    board = Board()
    board.labels.update(a="sensor-2", b="sensor-1", c="analyst")
    for name, origin in ((AVERAGE, "c"), (METRIC, "a"), (METRIC, "b")):
        board.take(name, origin, {"value": 1, "unit": "%"}, 1.0)
    labels = [board.label(row.origin) for row in board.sorted()]
    assert labels == ["sensor-1", "sensor-2", "analyst"]
    assert board.flows("sensor-1")
    assert not board.flows("sensor-3")
