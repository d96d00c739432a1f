"""The jobs that a member has: `zexchange.groups.intake`, alone and with the sender's queue."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from zexchange.groups.intake import EVERY, SOON, Intake, Progress
from zexchange.groups.queue import MOST, GroupQueue, Job

MANY = 1 << 40


def test_jobs_are_taken_in_order_and_once() -> None:
    intake = Intake()
    assert intake.take(1, 1, 3) == 0
    assert intake.take(1, 2, 4) == 2, "two of the four are here already"
    assert intake.take(1, 1, 5) == 5
    assert intake.take(1, 7, 1) is None, "number 6 is missing"
    assert intake.got == 5


def test_a_new_lane_begins_afresh_and_an_old_one_is_over() -> None:
    intake = Intake()
    intake.take(1, 1, 3)
    intake.finish(1, 1, 0.0)
    assert intake.take(2, 1, 1) == 0
    assert intake.take(1, 4, 1) is None
    intake.finish(1, 2, 0.0)
    assert (intake.stint, intake.got, intake.done) == (2, 1, 0)


def test_what_is_done_out_of_turn_counts_when_all_before_it_is_done() -> None:
    intake = Intake()
    intake.take(1, 1, 3)
    intake.finish(1, 3, 0.0)
    intake.finish(1, 2, 0.0)
    assert intake.done == 0
    intake.finish(1, 1, 0.0)
    assert intake.done == 3


def test_the_sender_is_told_of_the_last_job_at_once_and_of_others_now_and_then() -> None:
    intake = Intake()
    intake.take(1, 1, 100)
    intake.progress(10.0)
    for number in range(1, EVERY):
        intake.finish(1, number, 0.5)
        assert intake.due(10.0) is None
    intake.finish(1, EVERY, 0.5)
    assert intake.due(10.0) == Progress(1, 100, EVERY, 0.5)
    intake.finish(1, EVERY + 1, 0.5)
    assert intake.due(10.0 + SOON / 2) is None
    assert intake.due(10.0 + SOON) == Progress(1, 100, EVERY + 1, 0.5)
    for number in range(EVERY + 2, 101):
        intake.finish(1, number, 0.25)
    assert intake.due(10.0) == Progress(1, 100, 100, 0.25)
    assert intake.due(20.0) is None


@pytest.mark.parametrize("most", [1, 7, MOST])
def test_a_member_takes_no_more_than_it_may_have(most: int) -> None:
    """A sender that does not keep to the rules is told how far the member is, and no more."""
    intake = Intake(most)
    assert intake.take(1, 1, most + 1) is None
    assert intake.take(1, 1, most) == 0
    assert intake.take(1, most + 1, 1) is None
    intake.finish(1, 1, 0.0)
    assert intake.take(1, most + 1, 1) == 0
    assert intake.got == most + 1
    assert intake.take(2, 1, most) == 0, "what it had of the former stint counts no longer"


def test_a_member_is_idle_when_the_sender_knows_that_all_is_done() -> None:
    intake = Intake()
    assert intake.idle
    intake.take(1, 1, 1)
    assert not intake.idle
    intake.finish(1, 1, 0.0)
    assert not intake.idle
    assert intake.due(0.0) is not None
    assert intake.idle


class Way(RuleBasedStateMachine):
    """A sender and its members, with frames that are lost, doubled and overtaken."""

    def __init__(self) -> None:
        super().__init__()
        self.queue: GroupQueue[int, Job] = GroupQueue(MANY, MANY, 0.0)
        self.now = 0.0
        self.sent = self.stints = 0
        self.intakes: dict[str, Intake] = {}
        self.stint: dict[str, int] = {}
        self.mailbox: dict[str, list[tuple[int, int, Any, bool]]] = {}
        self.frames: list[tuple[str, int, int, list[tuple[Any, bool]]]] = []
        self.reports: list[tuple[str, Progress]] = []
        self.worked: Counter[Any] = Counter()
        self.marked: set[Any] = set()
        self.acknowledged = 0

    def hand(self, stint: int, first: int, jobs: list[Job]) -> None:
        member = next(name for name, own in self.stint.items() if own == stint)
        self.frames.append((member, stint, first, [(job.msg, job.redelivered) for job in jobs]))

    def pump(self) -> None:
        for stint, first, jobs in self.queue.assign(self.now):
            self.hand(stint, first, jobs)

    def begin(self, member: str) -> None:
        self.stints += 1
        self.stint[member] = self.stints
        self.queue.join(self.stints, self.now)

    @rule(member=st.sampled_from("abc"))
    def join(self, member: str) -> None:
        if member not in self.stint:
            self.intakes[member], self.mailbox[member] = Intake(), []
            self.begin(member)
            self.pump()

    @rule(member=st.sampled_from("abc"))
    def die(self, member: str) -> None:
        if member in self.stint:
            self.queue.leave(self.stint.pop(member), self.now)
            del self.intakes[member], self.mailbox[member]
            self.frames = [frame for frame in self.frames if frame[0] != member]
            self.pump()

    @rule(member=st.sampled_from("abc"))
    def forget_and_meet_again(self, member: str) -> None:
        """The sender took the member for gone; it lives, and has what it had."""
        if member in self.stint:
            self.queue.leave(self.stint.pop(member), self.now)
            self.begin(member)
            self.pump()

    @rule(n=st.integers(1, 4))
    def send(self, n: int) -> None:
        for _ in range(n):
            self.sent += 1
            assert not self.queue.put(Job(self.sent))
        self.pump()

    @precondition(lambda self: self.frames)
    @rule(data=st.data(), fate=st.sampled_from(["comes", "comes", "lost", "twice"]))
    def travel(self, data: st.DataObject, fate: str) -> None:
        frame = self.frames.pop(data.draw(st.integers(0, len(self.frames) - 1)))
        if fate != "lost":
            self.arrive(frame)
        if fate == "twice":
            self.arrive(frame)

    def arrive(self, frame: tuple[str, int, int, list[tuple[Any, bool]]]) -> None:
        member, stint, first, jobs = frame
        intake = self.intakes[member]
        known = intake.take(stint, first, len(jobs))
        if known is None or known == len(jobs):
            self.reports.append((member, intake.progress(self.now, missed=known is None)))
        if known is not None:
            for number, (msg, marked) in enumerate(jobs[known:], first + known):
                self.mailbox[member].append((stint, number, msg, marked))

    @precondition(lambda self: any(self.mailbox.values()))
    @rule(data=st.data(), work=st.floats(0, 0.05))
    def work(self, data: st.DataObject, work: float) -> None:
        member = data.draw(st.sampled_from(sorted(m for m, box in self.mailbox.items() if box)))
        stint, number, msg, marked = self.mailbox[member].pop(0)
        if stint != self.intakes[member].stint:
            return  # of a former stint: others do it
        self.now += work
        self.worked[msg] += 1
        if marked:
            self.marked.add(msg)
        self.intakes[member].finish(stint, number, work)
        progress = self.intakes[member].due(self.now)
        if progress is not None:
            self.reports.append((member, progress))

    @precondition(lambda self: self.reports)
    @rule(data=st.data(), lost=st.booleans())
    def report(self, data: st.DataObject, lost: bool) -> None:
        member, progress = self.reports.pop(data.draw(st.integers(0, len(self.reports) - 1)))
        if not lost:
            self.take(member, progress)

    def take(self, member: str, progress: Progress) -> None:
        stint = progress.stint
        if self.stint.get(member) != stint:
            return
        done = self.queue.done(stint, progress.done, progress.work, self.now)
        self.acknowledged += len(done)
        if progress.missed:
            again = self.queue.missed(stint, progress.got, self.now)
            if again is None:
                self.queue.leave(self.stint.pop(member), self.now)
                self.begin(member)
            elif again[1]:
                self.hand(stint, *again)
        self.pump()

    @rule()
    def wait(self) -> None:
        self.now += 1.0
        for stint in self.queue.silent(self.now):
            again = self.queue.missed(stint, self.queue.last(stint) - 1, self.now)
            if again is not None:
                self.hand(stint, *again)

    @invariant()
    def sums_add_up(self) -> None:
        assert self.acknowledged + len(self.queue) + self.queue.under_way == self.sent

    @invariant()
    def only_what_is_marked_is_done_twice(self) -> None:
        assert all(msg in self.marked for msg, times in self.worked.items() if times > 1)

    def teardown(self) -> None:
        self.join("a")
        for _ in range(1000):
            if len(self.worked) == self.sent and not self.queue.under_way:
                break
            self.wait()
            self.pump()
            while self.frames or self.reports:
                if self.reports:
                    self.take(*self.reports.pop(0))
                else:
                    self.arrive(self.frames.pop(0))
            for member in self.mailbox:
                while self.mailbox[member]:
                    stint, number, msg, marked = self.mailbox[member].pop(0)
                    if stint == self.intakes[member].stint:
                        self.worked[msg] += 1
                        if marked:
                            self.marked.add(msg)
                        self.intakes[member].finish(stint, number, 0.0)
                self.take(member, self.intakes[member].progress(self.now))
        assert set(self.worked) == set(range(1, self.sent + 1))
        self.only_what_is_marked_is_done_twice()


TestWay = Way.TestCase
TestWay.settings = settings(max_examples=300, stateful_step_count=50, deadline=None)
