"""What several federations bring of one process: each message once, in order, or told as lost."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import examples
from zexchange.protocol.delivery import merging
from zexchange.protocol.delivery.conflation import PASSED_OVER
from zexchange.protocol.delivery.merging import LATE, LEFT, SLOW, HandOn, Merger, Settled, TellLost

PATIENCE = 5.0


@dataclass
class Receiver:
    """A merger, and what has come out of it; time stands still unless it is moved."""

    merger: Merger = field(default_factory=lambda: Merger(PATIENCE, lambda: 0))
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
    receiver = Receiver(Merger(PATIENCE, lambda: 0))
    receiver.merger.join("a", alone=True)
    receiver.bring("b", 1, 3)
    receiver.wait(10 * PATIENCE)
    assert receiver.handed == []
    receiver.merger.share("a", {"x": (0, 2)}, 0)
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
        receiver.merger.share("a", {"x": (4, 6)}, 0)
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
    receiver.merger.share("a", {"x": (0, 1)}, 0)
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


# ------------------------------------------------------------------ tasks that come and go


def test_what_is_told_late_is_marked_with_the_moment_at_which_it_was_passed_over() -> None:
    """So that it is told to no task that came after that, and has had what followed."""
    merger = Merger(PATIENCE, iter(range(7, 99)).__next__)
    merger.join("a")
    merger.join("b")
    merger.bring("b", "x", 13, 14, [13, 14], 2, 0.0)
    assert isinstance(merger.next("x", merging.OPENING), HandOn)
    merger.served("x")
    merger.bring("a", "x", 11, 15, [11, 12, 13, 14, 15], 5, 2.0)
    assert merger.next("x", 2.0) == TellLost("x", "a", 11, 12, LATE, 7)


def test_what_was_promised_by_one_that_may_be_back_is_told_where_another_begins_behind_it(
    receiver: Receiver,
) -> None:
    """It is away, nobody else has promised that, and so it will never come in its place."""
    receiver.leave("a", final=True)
    receiver.bring("b", 2, 3)
    receiver.leave("b")
    receiver.merger.join("c")
    receiver.bring("c", 6, 6)
    assert (receiver.handed, receiver.lost) == ([1, 2, 3, 6], [(4, 5, LEFT)])


def test_one_that_is_back_goes_on_where_it_was_and_is_waited_for(receiver: Receiver) -> None:
    """It need not be asked: what comes after what it had is promised by it still."""
    receiver.leave("a", final=True)
    receiver.leave("b")
    receiver.merger.join("c")
    receiver.merger.join("d")
    receiver.merger.resume("b", "d", {"x": 1})
    receiver.bring("c", 3, 3)
    assert (receiver.handed, receiver.lost) == ([1], [])
    receiver.bring("d", 2, 2)
    assert (receiver.handed, receiver.lost) == ([1, 2, 3], [])


def test_one_that_has_been_away_for_too_long_promises_nothing(receiver: Receiver) -> None:
    """Nor one that is back and does not follow the exchange any more."""
    receiver.leave("a")
    receiver.leave("b")
    receiver.merger.lapse("a")
    receiver.merger.join("c")
    receiver.merger.resume("b", "c", {})
    receiver.bring("c", 3, 3)
    assert (receiver.handed, receiver.lost) == ([1, 3], [])


class Task:
    """One that is attached to the exchange, and what it was given."""

    def __init__(self, serial: int) -> None:
        self.serial = serial
        self.began: int | None = None
        self.at = 0

    def come(self, first: int, last: int) -> None:
        """Take messages, or in their place that they are lost."""
        if self.began is None:
            self.began = self.at = first - 1
        assert first == self.at + 1, "a hole without a word, or something again"
        self.at = last

    def late(self, first: int, last: int) -> None:
        """Take word of what was before all that came."""
        assert self.began is not None
        assert last <= self.began, "it was there, or was told"
        assert first <= last


class Way:
    """One federation: what it has promised, and up to where that has come or is lost."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.at: int | None = None
        self.life = 0
        self.away = False

    @property
    def key(self) -> str:
        """Return what the merger knows it by: another one each time that it is back."""
        return f"{self.name}{self.life}"


class Process:
    """A process met by two ways, one exchange of it, and tasks that come and go."""

    def __init__(self) -> None:
        self.serials = 0
        self.merger = Merger(PATIENCE, self.serial)
        self.now, self.head = 0.0, 0
        self.tasks: list[Task] = []
        self.asked: list[str] = []
        self.ways = [Way("a"), Way("b")]
        for way in self.ways:
            self.merger.join(way.key)

    def serial(self) -> int:
        """Return a number that is higher than those before."""
        self.serials += 1
        return self.serials

    def act(self, what: str, way: Way, count: int) -> None:
        """Have one thing happen."""
        if what == "send":
            self.head += count
        elif what == "attach":
            self.tasks.append(Task(self.serial()))
        elif what == "detach" and self.tasks:
            del self.tasks[count % len(self.tasks)]
        elif what == "follow" and not self.tasks:
            self._drop(way)
        elif what == "wait":
            self.now += (0.1, 1.0, PATIENCE, 20.0)[count % 4]
        elif what in ("leave", "return"):
            self._come_or_go(way, what == "leave")
        elif not way.away:
            self._speak(what, way, count)
        self.look()

    def _drop(self, way: Way) -> None:
        """Have a way follow that nobody wants the exchange any more."""
        if way.at is not None and not way.away:
            self.merger.drop(way.key, "x")
        way.at = None

    def _come_or_go(self, way: Way, leaves: bool) -> None:
        """Have a way be cut for long, or come back and go on where it was."""
        if leaves and not way.away:
            self.merger.leave(way.key, False)
        elif way.away and not leaves:
            former, way.life = way.key, way.life + 1
            self.merger.join(way.key)
            self.merger.resume(former, way.key, {} if way.at is None else {"x": way.at})
        way.away = leaves

    def _speak(self, what: str, way: Way, count: int) -> None:
        """Have a way promise, bring or lose something, or say where it stands."""
        if what == "ready" and way.at is None and self.tasks:
            way.at = self.head
        if what == "answer" and way.key in self.asked and (way.at is not None or not self.tasks):
            self.merger.answer(way.key, "x", way.at)
        if what in ("bring", "lose") and way.at is not None and way.at < self.head:
            first, way.at = way.at + 1, min(way.at + count, self.head)
            item = range(first, way.at + 1)
            if what == "bring":
                asked = self.merger.bring(way.key, "x", first, way.at, item, len(item), self.now)
            else:
                asked = self.merger.lose(way.key, "x", first, way.at, "gone", self.now)
            self.asked += asked

    def look(self) -> None:
        """Do whatever is next, and see that each task is given what it should be."""
        while (step := self.merger.next("x", self.now)) is not None:
            if isinstance(step, HandOn):
                assert set(range(step.first, step.last + 1)) <= set(step.item)
            for task in self.tasks:
                if isinstance(step, HandOn) or step.mark is None:
                    task.come(step.first, step.last)
                elif task.serial < step.mark:
                    task.late(step.first, step.last)
            self.merger.served("x")


acts = st.sampled_from(
    [
        "send",
        "send",
        "attach",
        "detach",
        "follow",
        "follow",
        "wait",
        "ready",
        "ready",
        "answer",
        "bring",
        "bring",
        "bring",
        "bring",
        "lose",
        "leave",
        "return",
    ]
)


def test_a_task_that_came_later_is_not_told_of_what_was_before_it() -> None:
    """It would take that for the beginning, and what comes next to it for a hole."""
    process = Process()
    a, b = process.ways
    for what, way, count in [
        ("attach", a, 1),
        ("send", a, 2),
        ("ready", b, 1),
        ("send", a, 3),
        ("ready", a, 1),
        ("send", a, 2),
        ("bring", a, 1),
        ("wait", a, 1),
        ("attach", a, 1),
        ("bring", b, 3),
        ("bring", a, 1),
    ]:
        process.act(what, way, count)
    assert [(task.began, task.at) for task in process.tasks] == [(5, 7), (6, 7)]


@settings(max_examples=examples(300))
@given(st.lists(st.tuples(acts, st.integers(0, 1), st.integers(1, 6)), min_size=30, max_size=80))
def test_no_task_misses_anything_without_a_word_whenever_it_comes(
    happens: Iterable[tuple[str, int, int]],
) -> None:
    """Each federation by itself follows what tasks want, promises, is cut, and comes back."""
    process = Process()
    for what, which, count in happens:
        process.act(what, process.ways[which], count)


@pytest.mark.parametrize("ahead", ["a", "b"])
def test_messages_that_a_newer_one_has_replaced_are_not_waited_for(ahead: str) -> None:
    """Another federation passes them over as well, or is too late with them."""
    r = Receiver()
    for way in "ab":
        r.bring(way, 1, 5)
    r.merger.lose(ahead, "x", 6, 8, PASSED_OVER, r.now)
    r.bring(ahead, 9, 9)
    assert r.handed == [*range(1, 6), 9]
    assert r.lost == [(6, 8, PASSED_OVER)]
    r.bring("b" if ahead == "a" else "a", 6, 6)
    assert r.handed == [*range(1, 6), 9]
