"""Recall: history ends where the live messages begin, whatever is dropped or repeated."""

from hypothesis import given
from hypothesis import strategies as st

from zexchange.protocol.delivery.history_requests import HistoryDone, HistoryRequests
from zexchange.protocol.elapsed import Elapsed
from zexchange.protocol.interest.interest import NameSet
from zexchange.protocol.wire.messages import Recall, Replay

ME = b"m" * 16
TIMEOUT = 5.0
IN_FORCE = NameSet(["x", "a.**"])


class Peer:
    """Keeps the last messages of an exchange, and goes on sending while it is asked."""

    def __init__(self, head: int, kept: int) -> None:
        self.head = head
        self.kept = kept

    @property
    def first(self) -> int:
        return max(1, self.head - self.kept + 1)

    def count(self) -> dict[str, tuple[int, int]]:
        return {"x": (self.first, self.head)} if self.head and self.kept else {}

    def fetch(self, step: Replay, most: int) -> tuple[range, int, int]:
        """The numbers that are sent, and the first and last of the answer behind them."""
        first = max(step.first, self.first)
        if first > step.last:
            return range(0), step.last + 1, step.last
        last = min(step.last, first + most - 1)
        return range(first, last + 1), first, last


@given(
    head=st.integers(0, 40),
    kept=st.integers(0, 30),
    most=st.integers(1, 30),
    behind=st.integers(0, 40),
    chunk=st.integers(1, 7),
    data=st.data(),
)
def test_history_leads_up_to_the_live_messages(
    head: int, kept: int, most: int, behind: int, chunk: int, data: st.DataObject
) -> None:
    """It is at most what was asked for, in order, without a hole, and ends right before them."""
    peer, live = Peer(head, kept), max(0, head - behind) + 1
    elapsed, now = Elapsed(), 100.0
    recalls = HistoryRequests(ME, TIMEOUT, elapsed)
    recalls.add(1, "x", most, now)
    through: HistoryDone | None = None
    for _ in range(400):
        now += 0.2
        elapsed.look(now)
        for step in list(recalls.due(now, IN_FORCE)):
            if isinstance(step, HistoryDone):
                through = step
                continue
            if data.draw(st.integers(0, 3)) == 0:
                continue  # the request is lost, or all of the answer
            if isinstance(step, Recall):
                recalls.counted(1, peer.count(), lambda name: live, now)
                continue
            numbers, first, last = peer.fetch(step, chunk)
            for number in numbers:
                if data.draw(st.integers(0, 5)) and recalls.wants("x", number, 1):
                    recalls.take("x", number, [number], 0.5)
            recalls.answered(1, "x", first, last, now)
            peer.head += data.draw(st.integers(0, 3))
        if through is not None:
            break
    assert through is not None
    numbers_got = [k.number for k in through.history]
    assert [k.value for k in through.history] == numbers_got
    if numbers_got:
        assert numbers_got == list(range(numbers_got[0], live if live <= head else head + 1))
    assert len(numbers_got) <= most
    assert not recalls


def finish(recalls: HistoryRequests, now: float = 100.0) -> list[object]:
    return list(recalls.due(now, IN_FORCE))


def test_all_that_is_kept_comes_if_nothing_is_lost() -> None:
    """Several exchanges of a pattern, each up to its own live messages."""
    recalls = HistoryRequests(ME, TIMEOUT, Elapsed())
    recalls.add(7, "a.**", 3, 100.0)
    assert finish(recalls) == [Recall(ME, 7, "a.**")]
    ranges = {"a.b": (2, 9), "a.c": (1, 1), "b": (1, 1), "a.new": (1, 2), "a.none": (4, 4)}
    live = {"a.b": 9, "a.c": 2, "b": 2, "a.new": 1, "a.none": None}
    recalls.counted(7, ranges, live.get, 100.0)
    assert finish(recalls) == [Replay(ME, "a.b", 6, 8, 7)]
    recalls.take("a.b", 5, ["five", "six", "seven", "eight", "nine"], 1.0)
    recalls.answered(7, "a.b", 6, 8, 100.0)
    assert finish(recalls) == [Replay(ME, "a.c", 1, 1, 7)]
    assert recalls.wants("a.c", 1, 1)
    assert not recalls.wants("a.b", 7, 1)
    recalls.take("a.c", 1, ["one"], 2.0)
    recalls.answered(7, "a.c", 1, 1, 100.0)
    (through,) = finish(recalls)
    assert isinstance(through, HistoryDone)
    assert through.complete
    assert [(k.name, k.value) for k in through.history] == [
        ("a.b", "six"),
        ("a.b", "seven"),
        ("a.b", "eight"),
        ("a.c", "one"),
    ]


def test_nothing_is_asked_before_the_key_is_in_force() -> None:
    """What is kept must reach up to where live messages begin, and they begin with a ready."""
    recalls = HistoryRequests(ME, TIMEOUT, Elapsed())
    recalls.add(1, "later", 3, 100.0)
    assert list(recalls.due(200.0, IN_FORCE)) == []
    assert list(recalls.due(200.0, NameSet(["later"]))) == [Recall(ME, 1, "later")]


def test_a_silent_peer_is_given_up() -> None:
    """Asked again a few times, then the joiner is given what there is: nothing."""
    elapsed, asked = Elapsed(), 0
    recalls = HistoryRequests(ME, TIMEOUT, elapsed)
    elapsed.look(99.9)
    recalls.add(1, "x", 3, 100.0)
    for step in range(100):
        elapsed.look(100.0 + step / 10)
        for due in recalls.due(100.0 + step / 10, IN_FORCE):
            if isinstance(due, HistoryDone):
                assert not due.complete
                assert due.history == ()
                assert step == 50
            asked += isinstance(due, Recall)
    assert 4 <= asked <= 8
    assert not recalls


def test_a_hole_drops_what_is_older() -> None:
    """What was evicted in the middle of fetching takes what came before with it."""
    recalls = HistoryRequests(ME, TIMEOUT, Elapsed())
    recalls.add(1, "x", 9, 100.0)
    finish(recalls)
    recalls.counted(1, {"x": (1, 9)}, lambda name: 10, 100.0)
    recalls.take("x", 1, [1, 2], 0.0)
    recalls.answered(1, "x", 1, 2, 100.0)
    recalls.take("x", 5, [5, 6, 7, 8, 9], 0.0)
    recalls.answered(1, "x", 5, 9, 100.0)
    (through,) = finish(recalls)
    assert isinstance(through, HistoryDone)
    assert [k.number for k in through.history] == [5, 6, 7, 8, 9]


def test_what_a_peer_claims_is_bounded_by_what_was_asked() -> None:
    """A range of any size makes no more work than the joiner asked for."""
    recalls = HistoryRequests(ME, TIMEOUT, Elapsed())
    recalls.add(1, "x", 5, 100.0)
    recalls.counted(1, {"x": (1, 1 << 63), "y": (2, 1), "z": (0, 1)}, lambda name: 1 << 63, 100.0)
    (fetch,) = finish(recalls)
    assert isinstance(fetch, Replay)
    assert fetch.last - fetch.first < 5
    recalls.answered(1, "x", 1, 1 << 64, 100.0)
    assert recalls


def test_the_peer_leaves_or_the_joiner_does() -> None:
    """Either way nothing is owed any more."""
    recalls = HistoryRequests(ME, TIMEOUT, Elapsed())
    for request in (1, 2):
        recalls.add(request, "x", 5, 100.0)
    recalls.drop(1)
    assert [(t.request, t.complete) for t in recalls.abandon()] == [(2, False)]
    recalls.counted(2, {"x": (1, 1)}, lambda name: 2, 100.0)
    recalls.answered(2, "x", 1, 1, 100.0)
    assert not recalls


def test_a_frame_that_is_dropped_on_the_way_is_asked_for_again() -> None:
    """The answer behind it says that it was sent: that is no reason to do without."""
    recalls = HistoryRequests(ME, TIMEOUT, Elapsed())
    recalls.add(1, "x", 9, 100.0)
    finish(recalls)
    recalls.counted(1, {"x": (1, 3)}, lambda name: 4, 100.0)
    finish(recalls)
    recalls.take("x", 1, [1], 0.0)
    recalls.take("x", 3, [3], 0.0)
    recalls.answered(1, "x", 1, 3, 100.0)
    assert finish(recalls, 100.3) == [Replay(ME, "x", 1, 3, 1)]
    recalls.take("x", 1, [1, 2, 3], 0.0)
    recalls.answered(1, "x", 1, 3, 100.4)
    (through,) = finish(recalls, 100.4)
    assert isinstance(through, HistoryDone)
    assert [k.number for k in through.history] == [1, 2, 3]
