"""What a sender owes to a group: `zexchange.groups.queue`."""

import heapq
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from zexchange.groups.queue import ASKED, MOST, PATIENCE, GroupQueue, Job

MANY = 1 << 40


def queue_of(*members: str, count_most: int = MANY) -> GroupQueue[str, Job]:
    queue: GroupQueue[str, Job] = GroupQueue(count_most, MANY, 0.0)
    for member in members:
        queue.join(member, 0.0)
    return queue


def put(queue: GroupQueue[str, Job], *msgs: object) -> None:
    for msg in msgs:
        assert not queue.put(Job(msg))


def given(queue: GroupQueue[str, Job], now: float = 0.0) -> dict[str, list[Any]]:
    return {member: [job.msg for job in jobs] for member, _, jobs in queue.assign(now)}


def test_each_job_goes_to_the_member_with_the_fewest_in_turn_among_equals() -> None:
    queue = queue_of("a", "b", "c")
    put(queue, 1, 2)
    assert given(queue) == {"a": [1], "b": [2]}
    put(queue, 3, 4)
    assert given(queue) == {"c": [3], "a": [4]}


def test_no_member_gets_more_than_its_limit() -> None:
    queue = queue_of("a")
    put(queue, *range(5))
    assert given(queue) == {"a": [0, 1]}
    assert (len(queue), queue.under_way) == (3, 2)
    queue.done("a", 1, 0.1, 0.1)
    assert given(queue, 0.1) == {"a": [2, 3]}  # it had to wait for none, so it may have one more


def test_a_fixed_limit_stays() -> None:
    queue = queue_of()
    queue.join("a", 0.0, ahead=5)
    put(queue, *range(20))
    assert given(queue) == {"a": [0, 1, 2, 3, 4]}
    queue.done("a", 5, 0.0, 0.001)
    assert queue.limit("a") == 5


def test_what_a_member_had_goes_to_another_first_and_is_marked() -> None:
    queue = queue_of("a", "b")
    put(queue, 1, 2, 3, 4, 5)
    assert given(queue) == {"a": [1, 2], "b": [3, 4]}
    queue.done("a", 1, 0.0, 0.0)
    queue.leave("a", 0.0)
    queue.done("b", 2, 9.0, 9.0)
    ((_, _, jobs),) = queue.assign(9.0)
    assert [(job.msg, job.redelivered) for job in jobs][:2] == [(2, True), (5, False)]


def test_without_members_jobs_are_kept_for_a_while_then_lost() -> None:
    queue = queue_of("a")
    put(queue, 1)
    queue.assign(0.0)
    queue.leave("a", 5.0)
    put(queue, 2)
    assert queue.expire(5.0 + PATIENCE - 0.1) is None
    lost = queue.expire(5.0 + PATIENCE)
    assert lost is not None
    assert [job.msg for job in lost] == [1, 2]
    assert len(queue) == 0


def test_a_queue_that_no_member_comes_to_ends_as_well() -> None:
    queue = queue_of()
    put(queue, 1)
    assert queue.expire(PATIENCE - 0.1) is None
    lost = queue.expire(PATIENCE)
    assert lost is not None
    assert [job.msg for job in lost] == [1]


def test_what_nobody_takes_is_dropped_from_the_oldest_on() -> None:
    queue = queue_of("a", count_most=2)
    queue.leave("a", 0.0)
    put(queue, 1, 2)
    assert queue.full
    assert [job.msg for job in queue.put(Job(3))] == [1]
    queue = GroupQueue(MANY, 100, 0.0)
    assert queue.put(Job("large", 60)) == []
    assert [job.msg for job in queue.put(Job("larger", 200))] == ["large"]
    assert len(queue) == 1


def test_nothing_is_dropped_while_members_are_busy() -> None:
    queue = queue_of("a", count_most=1)
    put(queue, *range(5))
    assert queue.full
    assert len(queue) == 5


def test_what_a_member_missed_is_sent_again() -> None:
    queue = queue_of()
    queue.join("a", 0.0, ahead=10)
    put(queue, *range(1, 7))
    queue.assign(0.0)
    queue.done("a", 2, 0.0, 0.0)
    again = queue.missed("a", 4, 0.0)
    assert again is not None
    assert (again[0], [job.msg for job in again[1]]) == (5, [5, 6])
    assert queue.missed("a", 4, ASKED / 2) == (5, []), "they were sent just now"
    assert queue.missed("a", 1, 0.0) is None, "it has acknowledged 2, and forgot that"


def test_a_member_that_says_nothing_is_asked_once_a_second() -> None:
    queue = queue_of("a")
    assert queue.silent(100.0) == []
    put(queue, 1)
    queue.assign(100.0)
    assert queue.silent(100.9) == []
    assert queue.silent(101.0) == ["a"]
    assert queue.silent(101.9) == []


def shared(jobs: list[float], speeds: list[float], travel: float = 0.0001) -> list[float]:
    """Return when each of some workers was through with its share of jobs, in virtual seconds."""
    queue = queue_of(*map(str, range(len(speeds))))
    free, through = [0.0] * len(speeds), [0.0] * len(speeds)
    acknowledgements: list[tuple[float, int, int, float]] = []
    for job in jobs:
        queue.put(Job(job))
    now, left = 0.0, len(jobs)
    while left:
        for name, first, assigned in queue.assign(now):
            who = int(name)
            for number, job in enumerate(assigned, first):
                work: float = job.msg * speeds[who]  # type: ignore[operator]
                free[who] = through[who] = max(free[who], now + travel) + work
                heapq.heappush(acknowledgements, (free[who] + travel, who, number, work))
        now, who, number, work = heapq.heappop(acknowledgements)
        left -= len(queue.done(str(who), number, work, now))
    return through


@pytest.mark.parametrize("travel", [0.0001, 0.005])
@pytest.mark.parametrize("speeds", [[1, 1, 1, 1], [1, 1, 10, 10], [1], [1, 100]])
def test_workers_share_by_their_speed(speeds: list[float], travel: float) -> None:
    through = shared([0.010] * 400, speeds, travel)
    ideal = 400 * 0.010 / sum(1 / speed for speed in speeds)
    assert max(through) < 1.15 * ideal + max(speeds) * 0.010


def test_the_limit_follows_the_work() -> None:
    queue = queue_of("a")
    now, work, sizes = 0.0, 1e-6, []
    for _ in range(40):
        while len(queue) < 2 * MOST:
            queue.put(Job(0))
        ((_, first, jobs),) = queue.assign(now)
        now += 0.0001 + work * len(jobs)
        queue.done("a", first + len(jobs) - 1, work, now)
        sizes.append(queue.limit("a"))
    assert sizes[-1] == MOST, sizes
    for _ in range(40):
        number = queue.last("a") - queue.at("a") + 1
        if not queue.at("a"):
            queue.assign(now)
            number = queue.last("a") - queue.at("a") + 1
        now += 0.01
        queue.done("a", number, 0.01, now)
        sizes.append(queue.limit("a"))
    assert sizes[-1] <= 4, sizes


class Sharing(RuleBasedStateMachine):
    """Every interleaving of jobs, joins, leaves, acknowledgements and lost frames."""

    def __init__(self) -> None:
        super().__init__()
        self.queue: GroupQueue[int, Job] = GroupQueue(MANY, MANY, 0.0)
        self.now = 0.0
        self.sent = 0
        self.members: dict[int, list[int]] = {}
        """What each member has got, by number; 0 stands for one that was lost on the way."""
        self.through: dict[int, int] = {}
        self.worked: dict[int, list[bool]] = {}
        self.births = 0

    @rule(n=st.integers(1, 5))
    def send(self, n: int) -> None:
        for _ in range(n):
            self.sent += 1
            assert not self.queue.put(Job(self.sent))

    @rule(ahead=st.sampled_from([0, 0, 1, 3]))
    def join(self, ahead: int) -> None:
        self.births += 1
        self.queue.join(self.births, self.now, ahead)
        self.members[self.births], self.through[self.births] = [], 0

    @rule(data=st.data(), lossy=st.booleans(), pause=st.floats(0, 2))
    def assign(self, data: st.DataObject, lossy: bool, pause: float) -> None:
        self.now += pause
        for member, first, jobs in self.queue.assign(self.now):
            got = self.members[member]
            assert self.queue.at(member) <= max(self.queue.limit(member), 1)
            lost = lossy and data.draw(st.booleans())
            if not lost and first == len(got) + 1:
                got += [job.msg for job in jobs]  # type: ignore[misc]

    @precondition(lambda self: self.members)
    @rule(data=st.data(), work=st.floats(0, 0.1))
    def work(self, data: st.DataObject, work: float) -> None:
        member = data.draw(st.sampled_from(sorted(self.members)))
        got, before = self.members[member], self.through[member]
        number = data.draw(st.integers(before, len(got)))
        for at in range(before, number):
            self.worked.setdefault(got[at], []).append(True)
        self.through[member] = number
        assert len(self.queue.done(member, number, work, self.now)) == number - before

    @precondition(lambda self: self.members)
    @rule(data=st.data())
    def again(self, data: st.DataObject) -> None:
        member = data.draw(st.sampled_from(sorted(self.members)))
        got = self.members[member]
        self.now += ASKED
        told = self.queue.missed(member, len(got), self.now)
        assert told is not None
        first, jobs = told
        assert first == len(got) + 1
        got += [job.msg for job in jobs]  # type: ignore[misc]

    @precondition(lambda self: self.members)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        member = data.draw(st.sampled_from(sorted(self.members)))
        self.queue.leave(member, self.now)
        del self.members[member], self.through[member]

    @invariant()
    def sums_add_up(self) -> None:
        done = len(self.worked)
        assert done + len(self.queue) + self.queue.under_way == self.sent
        assert all(len(times) == 1 for times in self.worked.values())

    def teardown(self) -> None:
        self.join(0)
        for _ in range(1000):
            if len(self.worked) == self.sent:
                break
            self.now += ASKED
            for member in list(self.members):
                for _, _, _ in self.queue.assign(self.now):
                    pass
                got = self.members[member]
                told = self.queue.missed(member, len(got), self.now)
                assert told is not None
                got += [job.msg for job in told[1]]  # type: ignore[misc]
                for at in range(self.through[member], len(got)):
                    self.worked.setdefault(got[at], []).append(True)
                self.through[member] = len(got)
                self.queue.done(member, len(got), 0.0, self.now)
        assert set(self.worked) == set(range(1, self.sent + 1))


TestSharing = Sharing.TestCase
TestSharing.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
