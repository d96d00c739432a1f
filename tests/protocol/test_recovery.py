"""Recovery: whatever is lost, delayed or repeated, all comes in order or is given up exactly."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import examples
from zexchange.protocol.delivery.recovery import PARKED_MOST, GiveUp, Recovery
from zexchange.protocol.delivery.sequence import ReceiveState
from zexchange.protocol.elapsed import Elapsed
from zexchange.protocol.wire.messages import Replay

TIMEOUT = 5.0


def following(*names: str, elapsed: Elapsed | None = None) -> tuple[ReceiveState, Recovery]:
    positions = ReceiveState()
    positions.expect(1, names, ())
    positions.ready(1, {})
    for name in names:
        positions.where(name)
    return positions, Recovery(bytes(16), positions, TIMEOUT, elapsed or Elapsed())


class Receiver:
    """Drives a recovery as the data thread does, with frames as (first, last) in text."""

    def __init__(self) -> None:
        self.elapsed = Elapsed()
        self.positions, self.recovery = following("x", elapsed=self.elapsed)
        self.got: list[int] = []
        self.lost: list[int] = []
        self.asked: list[tuple[int, int]] = []

    def take(self, first: int, last: int, now: float) -> None:
        position = self.positions.where("x")
        assert position is not None
        if first > position + 1:
            self.recovery.park("x", first, last, b"%d %d" % (first, last), now)
        else:
            self._deliver(first, last)
            self._advance()

    def _deliver(self, first: int, last: int) -> None:
        skip = self.positions.receive("x", first, last - first + 1)
        self.got.extend(range(first + skip, last + 1))

    def _advance(self) -> None:
        while (frame := self.recovery.in_turn("x")) is not None:
            self._deliver(*map(int, frame.split()))

    def pursue(self, now: float) -> None:
        self.elapsed.look(now)
        for step in self.recovery.due_of("x", now):
            self.do(step)

    def do(self, step: Replay | GiveUp) -> None:
        if isinstance(step, Replay):
            self.asked.append((step.first, step.last))
            return
        gap = self.positions.give_up(step.name, step.last)
        assert gap is not None
        self.lost.extend(range(gap.first, gap.last + 1))
        self._advance()


@st.composite
def traffic(draw: st.DrawFn) -> tuple[list[tuple[int, int]], list[int], set[int]]:
    """Frames of numbers, the order in which they first come (some never), and those kept."""
    sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=15))
    frames, first = [], 1
    for size in sizes:
        frames.append((first, first + size - 1))
        first += size
    arriving = draw(st.lists(st.sampled_from(range(len(frames))), max_size=40))
    kept = draw(st.sets(st.sampled_from(range(len(frames)))))
    return frames, arriving, kept


@settings(max_examples=examples(500))
@given(traffic())
def test_all_comes_in_order_or_is_given_up(
    case: tuple[list[tuple[int, int]], list[int], set[int]],
) -> None:
    """Received and lost are all numbers, each once, in order; what is kept is not lost."""
    frames, arriving, kept = case
    receiver, now, head = Receiver(), 0.0, frames[-1][1]
    for index in arriving:
        receiver.take(*frames[index], now)
        receiver.pursue(now)
        now += 0.01
    receiver.recovery.expose("x", head, now)
    while receiver.recovery and now < 100:
        receiver.pursue(now)
        asked, receiver.asked = receiver.asked, []
        for first, last in asked:
            for index, frame in enumerate(frames):
                if index in kept and frame[0] <= last and frame[1] >= first:
                    receiver.take(*frame, now)
            receiver.recovery.answered("x", now)
        now += 0.1
    assert receiver.got == sorted(set(receiver.got))
    assert sorted(receiver.got + receiver.lost) == list(range(1, head + 1))
    kept_numbers = {n for i in kept for n in range(frames[i][0], frames[i][1] + 1)}
    assert not kept_numbers & set(receiver.lost)
    assert not receiver.recovery
    assert receiver.recovery.parked_bytes == 0


def test_a_gap_is_asked_for_at_once_and_again_with_pauses() -> None:
    """The first request goes out with the frame that shows the gap; repetitions grow rarer."""
    receiver = Receiver()
    receiver.take(5, 6, 10.0)
    times = []
    now = 10.0
    while not receiver.lost:
        receiver.pursue(now)
        if receiver.asked:
            assert receiver.asked == [(1, 4)]
            receiver.asked.clear()
            times.append(round(now - 10, 2))
        now += 0.05
    assert times[:4] == [0.0, 0.25, 0.75, 1.75]
    assert round(now - 10) == TIMEOUT
    assert receiver.lost == [1, 2, 3, 4]
    assert receiver.got == [5, 6]


def test_time_in_which_nobody_looked_gives_nothing_up() -> None:
    """A receiver that was itself stopped takes first what has come, and asks once more."""
    receiver = Receiver()
    receiver.take(5, 6, 10.0)
    receiver.pursue(10.0)
    receiver.pursue(10.1)
    receiver.pursue(70.0)  # looked at before the answer, which lies in our own queue
    assert receiver.lost == []
    assert receiver.asked == [(1, 4), (1, 4)]
    receiver.take(1, 4, 70.0)
    assert receiver.got == [1, 2, 3, 4, 5, 6]


def test_frames_that_come_do_not_make_time_pass() -> None:
    """While nobody has told the time, who asks for us may be the one that is late."""
    receiver = Receiver()
    receiver.take(5, 6, 10.0)
    for n in range(100):
        receiver.take(7 + n, 7 + n, 10.0 + n / 10)
        for step in receiver.recovery.due_of("x", 10.0 + n / 10):
            receiver.do(step)
    assert receiver.lost == []


def test_gaps_wait_for_their_turn_while_the_origin_answers_about_others() -> None:
    """Each answer gives all others its timeout; one that is never answered ends nevertheless."""
    elapsed, names = Elapsed(), [f"x.{n}" for n in range(100)]
    positions, recovery = following(*names, elapsed=elapsed)
    for name in names:
        recovery.expose(name, 1, 0.0)
    for name in names[1:]:  # a second for each: 99 seconds, and the timeout is 5
        elapsed.seconds += 1.0
        if elapsed.seconds < 50:
            assert not [s for n in names for s in recovery.due_of(n, 0.0) if isinstance(s, GiveUp)]
        positions.receive(name, 1, 1)
        assert recovery.in_turn(name) is None
        recovery.answered(name, 0.0)
    assert [*recovery.due_of(names[0], 0.0)] == [GiveUp(names[0], 1, "not recovered in time")]


def test_what_the_origin_no_longer_has_is_given_up_at_once() -> None:
    """An answer that starts behind what was asked for makes exactly that range lost."""
    receiver = Receiver()
    receiver.take(10, 10, 0.0)
    receiver.recovery.unavailable("x", 4, "gone")
    receiver.pursue(0.0)
    assert receiver.lost == [1, 2, 3, 4]
    receiver.pursue(0.0)
    assert receiver.asked == [(5, 9)]


def test_an_answer_asks_for_the_rest() -> None:
    """After the end of an answer, what is still missing is asked for without a pause."""
    receiver = Receiver()
    receiver.take(10, 10, 0.0)
    receiver.pursue(0.0)
    receiver.take(1, 5, 0.01)
    receiver.recovery.answered("x", 0.01)
    receiver.pursue(0.01)
    assert receiver.asked == [(1, 9), (6, 9)]


def test_parked_frames_are_bounded() -> None:
    """What does not fit is not kept, and is asked for when its turn comes."""
    elapsed = Elapsed()
    positions, recovery = following("x", elapsed=elapsed)
    recovery.park("x", 2, 2, bytes(PARKED_MOST), 0.0)
    recovery.park("x", 3, 3, bytes(10), 0.0)
    assert recovery.parked_bytes == PARKED_MOST
    positions.receive("x", 1, 1)
    assert recovery.in_turn("x") == bytes(PARKED_MOST)
    positions.receive("x", 2, 1)
    assert recovery.in_turn("x") is None
    elapsed.seconds += TIMEOUT
    assert [*recovery.due_of("x", 100.0)] == [GiveUp("x", 3, "not recovered in time")]


def test_frames_are_taken_out_at_the_same_cost_however_many_are_parked() -> None:
    """In whatever order they were parked; numbers are compared some times for each of them."""

    class Number(int):
        compared = 0

        def __lt__(self, other: int) -> bool:
            Number.compared += 1
            return int(self) < int(other)

    def compared(count: int) -> float:
        positions, recovery = following("x")
        for n in range(count, 1, -1):
            recovery.park("x", Number(n), n, b"frame", 0.0)
        Number.compared = 0
        positions.receive("x", 1, 1)
        for n in range(2, count + 1):
            assert [*recovery.due_of("x", 0.0)] == []
            assert recovery.in_turn("x") == b"frame"
            positions.receive("x", n, 1)
        assert recovery.in_turn("x") is None
        assert not recovery
        return Number.compared / count

    assert compared(4000) <= 2 * compared(400)


def test_an_exchange_that_is_not_wanted_any_more_is_forgotten() -> None:
    """Unsubscribing ends a recovery, and what was parked for it is let go."""
    positions, recovery = following("x", "y")
    recovery.park("x", 5, 5, b"frame", 0.0)
    positions.expect(2, (), ["x"])
    assert list(recovery.due_of("x", 1.0)) == []
    assert not recovery
    assert recovery.parked_bytes == 0


def test_an_origin_that_leaves_leaves_exact_losses() -> None:
    """What is missing when the origin has left is lost; what was parked is delivered."""
    receiver = Receiver()
    receiver.take(3, 4, 0.0)
    receiver.take(7, 7, 0.0)
    receiver.recovery.expose("x", 9, 0.0)
    for step in receiver.recovery.abandon("left"):
        receiver.do(step)
    assert receiver.lost == [1, 2, 5, 6, 8, 9]
    assert receiver.got == [3, 4, 7]
    assert not receiver.recovery


def test_what_is_wanted_anew_does_not_inherit_a_recovery() -> None:
    """Unsubscribing and subscribing again, without a look in between, begins from nothing."""
    positions, recovery = following("x")
    recovery.park("x", 5, 5, b"frame", 0.0)
    positions.expect(2, ["x"], ["x"])
    recovery.forget_unwanted()
    positions.ready(2, {"x": 5})
    assert not recovery
    assert recovery.parked_bytes == 0
