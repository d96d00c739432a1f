"""What several federations bring of one process: each message once, in order, or told as lost."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zexchange.protocol import merging
from zexchange.protocol.merging import LATE, LEFT, SLOW, HandOn, Merger, Settled

PATIENCE = 5.0


@dataclass
class Receiver:
    """A merger, and what has come out of it; time stands still unless it is moved."""

    merger: Merger = field(default_factory=lambda: Merger(PATIENCE))
    now: float = 0.0
    handed: list[int] = field(default_factory=list)
    lost: list[tuple[int, int, str]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for way in "ab":
            self.merger.join(way)

    def bring(self, way: str, first: int, last: int, base: int = 0) -> None:
        """Have a way bring some numbers."""
        item = range(first, last + 1)
        self.asked += self.merger.bring(way, "x", first, last, item, len(item), self.now, base)
        self.look()

    def forget(self, way: str, head: int) -> None:
        """Have a way tell that the exchange was forgotten."""
        self.merger.forgotten(way, "x", head)
        self.look()

    def lose(self, way: str, first: int, last: int) -> None:
        """Have a way lose some numbers."""
        self.asked += self.merger.lose(way, "x", first, last, "gone", self.now)
        self.look()

    def answer(self, way: str, at: int | None) -> None:
        """Have a way say where it stands."""
        self.merger.answer(way, "x", at)
        self.look()

    def leave(self, way: str, final: bool = False) -> None:
        """Have a way end."""
        self.merger.leave(way, final)
        self.look()

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        self.look()

    def look(self) -> None:
        """Do whatever is next."""
        while (step := self.merger.next("x", self.now)) is not None:
            if isinstance(step, HandOn):
                assert set(range(step.first, step.last + 1)) <= set(step.item)
                self.handed += range(step.first, step.last + 1)
            else:
                self.lost.append((step.first, step.last, step.reason))
            self.merger.served("x")


@pytest.fixture
def receiver() -> Receiver:
    """Return a receiver of which two ways have begun with an exchange, at 0."""
    receiver = Receiver()
    receiver.bring("a", 1, 1)
    receiver.bring("b", 1, 1)
    return receiver


def test_whichever_comes_first_is_handed_on(receiver: Receiver) -> None:
    """And what the other one brings of it is dropped; of a frame, perhaps a part."""
    receiver.bring("a", 2, 5)
    receiver.bring("b", 2, 7)
    receiver.bring("a", 6, 9)
    assert receiver.handed == list(range(1, 10))


def test_a_hole_of_one_is_filled_by_the_other(receiver: Receiver) -> None:
    """It is waited for, what comes behind it too, and then it has never been lost."""
    receiver.lose("a", 2, 3)
    receiver.bring("a", 4, 4)
    assert (receiver.handed, receiver.lost) == ([1], [])
    receiver.bring("b", 2, 4)
    assert (receiver.handed, receiver.lost) == ([1, 2, 3, 4], [])
    assert receiver.merger.settled == [Settled("x", "a", "lost", 0, 2)]


def test_what_both_have_lost_is_told_once(receiver: Receiver) -> None:
    """By the one that lost it first; each has counted it."""
    receiver.lose("a", 2, 4)
    receiver.lose("b", 2, 3)
    receiver.bring("b", 4, 5)
    assert receiver.lost == [(2, 3, "gone")]
    assert receiver.handed == [1, 4, 5]
    assert sorted(receiver.merger.settled, key=lambda s: str(s.way)) == [
        Settled("x", "a", "lost", 2, 1),
        Settled("x", "b", "lost", 2, 0),
    ]


def test_who_is_behind_is_waited_for_no_longer_than_recovery(receiver: Receiver) -> None:
    """What it brings of it afterwards has been told as lost, and is not handed on."""
    receiver.lose("a", 2, 3)
    receiver.bring("a", 4, 4)
    receiver.wait(PATIENCE - 0.1)
    assert receiver.lost == []
    receiver.wait(0.2)
    assert (receiver.handed, receiver.lost) == ([1, 4], [(2, 3, "gone")])
    receiver.bring("b", 2, 5)
    assert receiver.handed == [1, 4, 5]


def test_who_leaves_is_not_waited_for(receiver: Receiver) -> None:
    """For it will bring nothing more; whether it comes back or not."""
    receiver.lose("a", 2, 3)
    receiver.leave("b", final=True)
    assert receiver.lost == [(2, 3, "gone")]


def test_the_lowest_start_counts() -> None:
    """One way has promised what was sent before the other one was ready: it is waited for."""
    receiver = Receiver()
    receiver.bring("b", 13, 14)
    assert (receiver.asked, receiver.handed) == (["a"], [])
    receiver.answer("a", 10)
    receiver.bring("a", 11, 13)
    assert (receiver.handed, receiver.lost) == ([11, 12, 13, 14], [])


def test_who_does_not_carry_an_exchange_is_not_waited_for() -> None:
    """It says so, at once."""
    receiver = Receiver()
    receiver.bring("b", 13, 14)
    receiver.answer("a", None)
    assert receiver.handed == [13, 14]


def test_who_does_not_say_where_it_stands_is_waited_for_a_moment() -> None:
    """What it brings later of what was skipped is told as lost: nothing goes in silence."""
    receiver = Receiver()
    receiver.bring("b", 13, 14)
    receiver.wait(merging.OPENING)
    assert receiver.handed == [13, 14]
    receiver.bring("a", 11, 15)
    assert receiver.lost == [(11, 12, LATE)]
    assert receiver.handed == [13, 14, 15]


def test_from_the_first_message_on_nobody_is_waited_for() -> None:
    """Nothing can have come before it."""
    receiver = Receiver()
    receiver.bring("b", 1, 2)
    assert receiver.handed == [1, 2]


def test_from_the_start_of_a_name_that_was_forgotten_on_nobody_is_waited_for() -> None:
    """Its numbers go on behind all that was forgotten."""
    receiver = Receiver()
    receiver.merger.bring("b", "x", 101, 101, [101], 1, 0.0, base=100)
    receiver.look()
    assert receiver.handed == [101]


def test_what_begins_anew_behind_what_was_forgotten_has_no_gap(receiver: Receiver) -> None:
    """Though this was told by none of the ways, and one of them is cut."""
    receiver.bring("a", 101, 103, base=100)
    assert (receiver.handed, receiver.lost) == ([1, 101, 102, 103], [])
    receiver.bring("b", 101, 104, base=100)
    assert (receiver.handed, receiver.lost) == ([1, 101, 102, 103, 104], [])


def test_who_begins_higher_than_others_has_those_waited_for(receiver: Receiver) -> None:
    """A node that was taken in later says how far all had forgotten, and that is not so far."""
    receiver.bring("a", 105, 105, base=100)
    assert (receiver.handed, receiver.lost) == ([1], [])
    receiver.bring("b", 101, 103, base=100)
    assert (receiver.handed, receiver.lost) == ([1, 101, 102, 103], [])
    receiver.wait(PATIENCE + 0.1)
    assert (receiver.handed, receiver.lost) == ([1, 101, 102, 103, 105], [(104, 104, SLOW)])


def test_a_ready_tells_what_was_forgotten(receiver: Receiver) -> None:
    """Where what was sent since is lost on its way: that alone is told."""
    receiver.merger.based("x", 100)
    receiver.lose("a", 101, 102)
    receiver.lose("b", 101, 102)
    assert receiver.lost == [(101, 102, "gone")]


def test_what_both_have_forgotten_is_known_no_more(receiver: Receiver) -> None:
    """What one has forgotten the other may still go on with, for it is waited for."""
    receiver.forget("a", 1)
    assert receiver.merger.knows("x")
    receiver.bring("b", 3, 3)
    assert receiver.handed == [1]
    receiver.bring("a", 2, 2)
    assert receiver.handed == [1, 2, 3]
    receiver.bring("b", 2, 3)
    receiver.forget("b", 3)
    receiver.forget("a", 3)
    assert not receiver.merger.knows("x")


@pytest.mark.parametrize("final", [False, True])
def test_what_is_complete_goes_with_its_last_way(receiver: Receiver, final: bool) -> None:
    """It would be remembered for good, for nobody else tells that it is forgotten."""
    receiver.forget("a", 1)
    receiver.leave("b", final)
    assert not receiver.merger.knows("x")
    assert receiver.merger.quiet(lambda name: 0)


def test_who_handed_on_alone_says_where_it_stands_before_anything_else_is() -> None:
    """However long that takes: it may be handing on at this moment."""
    receiver = Receiver(Merger(PATIENCE))
    receiver.merger.join("a", alone=True)
    receiver.bring("b", 1, 3)
    receiver.wait(10 * PATIENCE)
    assert receiver.handed == []
    receiver.merger.share("a", {"x": (0, 2)})
    receiver.look()
    assert receiver.handed == [3]


def test_what_a_way_had_promised_that_left_is_told(receiver: Receiver) -> None:
    """If the other one began only behind it, and so shows that there was something."""
    receiver.leave("b")
    receiver.bring("a", 2, 2)
    receiver.merger.join("c")
    receiver.bring("c", 6, 6)
    receiver.leave("a")
    assert receiver.lost == [(3, 5, LEFT)]
    assert receiver.handed == [1, 2, 6]


def test_where_nobody_promised_anything_nothing_is_lost(receiver: Receiver) -> None:
    """Both were dropped, and one was wanted anew; or the other one has ended for good."""
    receiver.leave("b", final=True)
    receiver.leave("a", final=True)
    receiver.merger.join("c")
    receiver.bring("c", 6, 6)
    assert (receiver.handed, receiver.lost) == ([1, 6], [])


def test_who_comes_back_says_nothing_of_what_was_handed_on_meanwhile() -> None:
    """One that has handed on alone since knows; also where it has left by now."""
    for left in (False, True):
        receiver = Receiver()
        receiver.merger.join("a", alone=True)
        receiver.bring("b", 3, 9)
        receiver.merger.share(None if left else "a", {"x": (4, 6)})
        receiver.leave("a") if left else receiver.look()
        receiver.wait(merging.OPENING)
        assert receiver.handed == [7, 8, 9]
        assert receiver.lost == [(3, 4, LATE)]


def test_what_nobody_promised_ends_where_somebody_begins() -> None:
    """A third way begins behind a gap, and the second one in the middle of it."""
    receiver = Receiver()
    receiver.merger.join("c")
    receiver.merger.join("a", alone=True)
    receiver.bring("c", 7, 7)
    receiver.merger.share("a", {"x": (0, 1)})
    receiver.answer("b", 4)
    receiver.leave("a", final=True)
    assert receiver.merger.given("x", 4) == 4
    receiver.bring("b", 5, 6)
    assert (receiver.handed, receiver.lost) == ([5, 6, 7], [])


def test_each_part_of_a_gap_has_its_own_reason(receiver: Receiver) -> None:
    """What is waited for in vain, and behind it what a third way has lost."""
    receiver.merger.join("c")
    receiver.leave("a", final=True)
    receiver.bring("c", 3, 3)
    receiver.lose("c", 4, 4)
    receiver.bring("c", 5, 5)
    receiver.wait(PATIENCE)
    receiver.wait(PATIENCE)
    assert receiver.lost == [(2, 2, SLOW), (4, 4, "gone")]
    assert receiver.handed == [1, 3, 5]


def test_what_is_parked_is_bounded(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is behind is waited for no longer, then; and what comes while a task holds is lost."""
    monkeypatch.setattr(merging, "PARKED_MOST", 20)
    receiver.lose("a", 2, 2)
    receiver.bring("a", 3, 12)
    assert receiver.lost == []
    receiver.bring("a", 13, 14)
    assert receiver.lost == [(2, 2, "gone")]
    assert receiver.handed == [1, *range(3, 15)]
    receiver.merger.bring("a", "x", 15, 15, [15], 1, 0.0)
    assert isinstance(receiver.merger.next("x", 0.0), HandOn)
    receiver.merger.bring("a", "x", 16, 46, range(16, 47), 31, 0.0)
    receiver.merger.served("x")
    assert receiver.merger.next("x", 0.0) is None
    receiver.bring("b", 2, 30)
    assert receiver.handed[-15:] == list(range(16, 31))


def test_one_at_a_time(receiver: Receiver) -> None:
    """While a message is handed on nothing else is, and nothing counts as given."""
    merger = receiver.merger
    merger.bring("a", "x", 2, 2, [2], 1, 0.0)
    assert isinstance(merger.next("x", 0.0), HandOn)
    merger.bring("b", "x", 2, 3, [2, 3], 1, 0.0)
    assert merger.next("x", 0.0) is None
    assert merger.given("x", 3) == 1
    merger.served("x")
    assert merger.given("x", 3) == 2
    assert merger.given("y", 7) == 7


def test_what_is_not_wanted_is_forgotten(receiver: Receiver) -> None:
    """With the last way that followed it; parked messages too."""
    receiver.lose("a", 2, 2)
    receiver.bring("a", 3, 4)
    receiver.merger.drop("b", "x")
    receiver.look()
    assert receiver.lost == [(2, 2, "gone")]
    receiver.merger.drop("a", "x")
    assert (receiver.merger.parked_bytes, receiver.merger.waiting) == (0, set())
    assert receiver.merger.handed("x") == 0


def test_a_way_that_is_left_alone_goes_on_by_itself(receiver: Receiver) -> None:
    """Once it is as far as the other one was."""
    receiver.bring("b", 2, 4)
    receiver.leave("b")
    assert not receiver.merger.quiet({"x": 1}.__getitem__)
    assert not receiver.merger.quiet(lambda name: 0)
    receiver.bring("a", 2, 4)
    assert receiver.merger.quiet({"x": 4}.__getitem__)
    receiver.merger.forget()


# ------------------------------------------------------------------- whatever may happen

steps = st.lists(
    st.tuples(
        st.sampled_from(["bring", "bring", "bring", "lose", "answer", "wait", "leave", "final"]),
        st.integers(0, 2),
        st.integers(1, 4),
    ),
    max_size=40,
)


@dataclass
class Sender:
    """What one federation brings of the messages 1, 2, 3, and so on."""

    name: str
    start: int
    at: int = -1
    brought: set[int] = field(default_factory=set)
    missed: set[int] = field(default_factory=set)
    there: bool = True
    said: bool = False

    def __post_init__(self) -> None:
        self.at = self.start


@given(steps, st.lists(st.integers(0, 5), min_size=3, max_size=3), st.booleans())
def test_each_once_in_order_or_lost(
    steps: Iterable[tuple[str, int, int]], starts: list[int], patient: bool
) -> None:
    """Whatever ways bring, lose and say, and in whatever order and time."""
    receiver = Receiver()
    receiver.merger.join("c")
    senders = [Sender(name, start) for name, start in zip("abc", starts, strict=True)]
    for what, which, count in steps:
        sender = senders[which]
        first, last = sender.at + 1, sender.at + count
        if what == "wait":
            receiver.wait(0.01 if patient else count)
        elif not sender.there:
            continue
        elif what == "bring":
            receiver.bring(sender.name, first, last)
            sender.brought |= set(range(first, last + 1))
            sender.at, sender.said = last, True
        elif what == "lose":
            receiver.lose(sender.name, first, last)
            sender.missed |= set(range(first, last + 1))
            sender.at, sender.said = last, True
        elif what == "answer":
            if sender.name in receiver.asked:
                receiver.answer(sender.name, sender.at)
                sender.said = True
        else:
            receiver.leave(sender.name, final=what == "final")
            sender.there = False
        check(receiver)
    if patient:
        top = max(sender.at for sender in senders)
        for sender in senders:
            if sender.there and sender.at < top:
                receiver.bring(sender.name, sender.at + 1, top)
                sender.brought |= set(range(sender.at + 1, top + 1))
        for sender in senders:
            receiver.answer(sender.name, max(sender.at, top))
        assert set().union(*(sender.brought for sender in senders)) == set(receiver.handed)
    for _ in range(3):
        receiver.wait(PATIENCE)
    check(receiver)
    told = {n for first, last, _ in receiver.lost for n in range(first, last + 1)}
    for sender in senders:
        if sender.said:
            assert sender.brought | sender.missed <= told.union(receiver.handed)


def check(receiver: Receiver) -> None:
    """See that nothing came twice, out of order, or after it had been told as lost."""
    assert receiver.handed == sorted(set(receiver.handed))
    lost = [n for first, last, _ in receiver.lost for n in range(first, last + 1)]
    assert len(lost) == len(set(lost))
    assert not set(lost).intersection(receiver.handed)
