"""The messages that a sender owes to a group, of which each goes to exactly one member.

One `GroupQueue` belongs to one exchange, one group and one sender. It decides which member gets a
message, how much each has at a time, and what happens when a member leaves. It knows no threads, no
sockets and no clocks: the time is an argument. The caller carries out what it returns.

A message for a group is a *job*. It goes through these states:

    owed ---assign---> under way at one member ---done---> forgotten
     ^                          |
     +--------leave-------------+    and is marked as redelivered

A member that is about to leave may have reported what it did by another way than the one by which
its leaving is heard. So it can be *retired* first: it gets nothing more, and may still report.

**The choice of a member.** Of the members with room, the one with the fewest under way; in turn
among equals.

**How much is under way.** A member with a queue before it wastes the time of others that are idle;
one without a queue is idle while its next job travels. So each has a limit, which follows how long
its jobs wait. A job is under way for as long as it travels, waits and is worked on. The member says
how long it worked on the last one. The rest is travel and waiting, and the least rest that was ever
seen is travel. Where jobs wait for less than `TARGET`, and the limit is used up, the limit grows by
what was done; so it doubles with each round trip. Where a job waits for longer, the limit becomes
as many of the jobs before it as would have taken `TARGET`. It stays between `LEAST` and `MOST`.

**Numbers.** The jobs of one member are numbered from 1, in the order in which they were assigned.
The member acknowledges up to a number. It may say as well that it never got jobs after a number;
these are then sent to it again.

**Nobody there.** A queue without members stays for `PATIENCE` seconds; after that the group is no
more.
"""

from collections import deque
from collections.abc import Callable, Hashable
from itertools import islice
from typing import Generic, TypeVar

M = TypeVar("M", bound=Hashable)
J = TypeVar("J", bound="Job")

LEAST = 2
"""Jobs that a member may have at a time, however slow it is: one to work on, one that travels."""
MOST = 1024
"""Jobs that a member may have at a time, however quick it is."""
TARGET = 0.005
"""Seconds that a job may wait at a member for those before it."""
PATIENCE = 30.0
"""Seconds for which the jobs of a group without members are kept."""
ASKED = 0.05
"""Seconds in which a member is sent the same jobs again once only: each frame after a hole asks."""
AGAIN = 1.0
"""Seconds after which jobs that a member does not confirm are sent to it again."""


class Job:
    """One message for a group.

    Attributes:
        msg: the message, in whatever form the caller hands it on.
        size: its size in bytes, for the bound on what is owed.
        redelivered: whether another member may have worked on it already.
    """

    __slots__ = ("msg", "redelivered", "size")

    def __init__(self, msg: object, size: int = 0) -> None:
        self.msg = msg
        self.size = size
        self.redelivered = False


class _Member(Generic[J]):
    """The jobs that are under way to one member.

    Attributes:
        ahead: the fixed limit, 0 if it adapts.
        limit: how many jobs it may have at a time.
        first: the number of the oldest job under way.
        jobs: those under way, in order.
        sent: for each time that jobs were sent: the numbers of the first and the last one, how many
            were under way before them, and when.
        travel: the shortest time in seconds that a job was under way beyond the work on it.
        heard_at: when it last confirmed anything, or was last sent jobs again.
        asked: up to which number it had jobs when it was last sent others again, and when.
    """

    __slots__ = ("ahead", "asked", "first", "heard_at", "jobs", "limit", "sent", "travel")

    def __init__(self, ahead: int, now: float) -> None:
        self.ahead = ahead
        self.limit = ahead or LEAST
        self.first = 1
        self.jobs = deque[J]()
        self.sent = deque[tuple[int, int, int, float]]()
        self.travel = float("inf")
        self.heard_at = now
        self.asked: tuple[int, float] = -1, 0.0

    @property
    def last(self) -> int:
        """The number of the newest job, 0 before the first."""
        return self.first + len(self.jobs) - 1

    def adapt(self, done: int, full: bool, rest: float, before: int) -> None:
        """Set the limit after some jobs were done.

        Args:
            done: how many.
            full: whether the limit was used up before.
            rest: seconds that the last of them was under way beyond the work on it.
            before: how many had to be done before that one, from when it was sent.
        """
        self.travel = min(self.travel, rest)
        if self.ahead:
            return
        waited = rest - self.travel
        if waited > TARGET:
            self.limit = max(LEAST, min(self.limit, int(before * TARGET / waited)))
        elif full:
            self.limit = min(MOST, self.limit + done)


class GroupQueue(Generic[M, J]):
    """The jobs of one group at one sender.

    Args:
        count_most: how many jobs may be owed.
        bytes_most: how many bytes they may have together.
        alone_since: since when there has been no member.
    """

    def __init__(self, count_most: int, bytes_most: int, alone_since: float) -> None:
        self._count_most = count_most
        self._bytes_most = bytes_most
        self._owed = deque[J]()
        self._owed_bytes = 0
        self._members: dict[M, _Member[J]] = {}
        self._ring = list[M]()
        """The members in turn: the one that is next comes first."""
        self._alone_since: float | None = alone_since

    def __len__(self) -> int:
        """Return how many jobs are owed, without those under way."""
        return len(self._owed)

    @property
    def under_way(self) -> int:
        """How many jobs are under way."""
        return sum([len(member.jobs) for member in self._members.values()])

    def at(self, member: M) -> int:
        """Return how many jobs are under way at a member."""
        known = self._members.get(member)
        return 0 if known is None else len(known.jobs)

    def limit(self, member: M) -> int:
        """Return how many jobs a member may have at a time."""
        return self._members[member].limit

    @property
    def full(self) -> bool:
        """Whether as much is owed as may be."""
        return len(self._owed) >= self._count_most or self._owed_bytes >= self._bytes_most

    @property
    def all(self) -> tuple[J, ...]:
        """The jobs that are owed or under way."""
        under_way = [job for member in list(self._members.values()) for job in tuple(member.jobs)]
        return (*under_way, *self._owed)

    # What happens.

    def put(self, *jobs: J) -> list[J]:
        """Owe more jobs; return the oldest ones that had to go for them.

        Only a group without members drops any: a sender is to wait while the others are busy.
        """
        self._owed.extend(jobs)
        self._owed_bytes += sum([job.size for job in jobs])
        gone = list[J]()
        while not self._members and len(self._owed) > 1 and self._over():
            gone.append(self._take())
        return gone

    def measure(self, size: Callable[[J], int | None]) -> list[J]:
        """Look at the size of each job that is owed; forget and return those that have none."""
        gone, owed = list[J](), deque[J]()
        self._owed_bytes = 0
        for job in self._owed:
            found = size(job)
            if found is None:
                gone.append(job)
            else:
                owed.append(job)
                job.size = found
                self._owed_bytes += found
        self._owed = owed
        return gone

    def join(self, member: M, now: float, ahead: int = 0) -> None:
        """Give jobs to a member from now on; no more than ``ahead`` at a time, if given."""
        if member not in self._members:
            self._members[member] = _Member[J](ahead, now)
            self._ring.append(member)
            self._alone_since = None

    def retire(self, member: M) -> bool:
        """Give no more jobs to a member; return whether it has any under way."""
        known = self._members.get(member)
        if known is None:
            return False
        known.ahead, known.limit = 1, 0  # fixed
        return bool(known.jobs)

    def leave(self, member: M, now: float) -> None:
        """Owe the jobs of a member to others, before all newer ones."""
        left = self._members.pop(member, None)
        if left is None:
            return
        self._ring.remove(member)
        for job in reversed(left.jobs):
            job.redelivered = True
            self._owed.appendleft(job)
            self._owed_bytes += job.size
        if not self._members:
            self._alone_since = now

    def assign(self, now: float) -> list[tuple[M, int, list[J]]]:
        """Assign what can be; return each member, the number of its first new job, and the jobs."""
        if not self._owed or not self._members:
            return []
        assigned: list[tuple[M, int, list[J]]] = []
        for at, count in self._shares(len(self._owed)):
            one = self._ring[at]
            member, jobs = self._members[one], [self._owed.popleft() for _ in range(count)]
            self._owed_bytes -= sum([job.size for job in jobs])
            if not member.jobs:
                member.heard_at = now
            first, before = member.last + 1, len(member.jobs)
            member.jobs.extend(jobs)
            member.sent.append((first, member.last, before, now))
            assigned.append((one, first, jobs))
        if assigned:
            turn = self._ring.index(assigned[-1][0]) + 1
            self._ring = self._ring[turn:] + self._ring[:turn]
        return assigned

    def done(self, member: M, number: int, work: float, now: float) -> list[J]:
        """Take note that a member has done its jobs up to a number.

        Args:
            member: the member.
            number: of the last job that it did.
            work: seconds that it worked on that one.
            now: the time.

        Returns:
            The jobs that were under way and are done now.
        """
        known = self._members.get(member)
        if known is None or not known.first <= number <= known.last:
            return []
        full, done = len(known.jobs) >= known.limit, number - known.first + 1
        while known.sent[0][1] < number:
            known.sent.popleft()
        first, _, before, sent_at = known.sent[0]
        before += number - first
        jobs = [known.jobs.popleft() for _ in range(done)]
        known.first += done
        known.heard_at = now
        known.adapt(done, full, max(0.0, now - sent_at - work), before)
        return jobs

    def heard(self, member: M, now: float) -> None:
        """Take note that a member has all jobs that it was sent, and works."""
        if member in self._members:
            self._members[member].heard_at = now

    def missed(self, member: M, number: int, now: float) -> tuple[int, list[J]] | None:
        """Return the jobs to send again to a member that has got those up to a number.

        Returns:
            The number of the first one, and the jobs: none if they were sent just now. None if the
            member asks for jobs that it has acknowledged. It has forgotten what it had, so it has
            to leave, and join again.
        """
        known = self._members.get(member)
        if known is None:
            return number + 1, []
        if number < known.first - 1:
            return None
        known.heard_at = now
        if known.asked[0] == number and now - known.asked[1] < ASKED:
            return number + 1, []
        known.asked = number, now
        jobs = islice(known.jobs, number + 1 - known.first, None)
        return number + 1, list(jobs)

    def silent(self, now: float) -> list[M]:
        """Return the members that have jobs, and have not been heard of for `AGAIN` seconds."""
        late = [m for m, k in self._members.items() if k.jobs and now - k.heard_at >= AGAIN]
        for member in late:
            self._members[member].heard_at = now
        return late

    def last(self, member: M) -> int:
        """Return the number of the newest job at a member."""
        known = self._members.get(member)
        return 0 if known is None else known.last

    def expire(self, now: float) -> list[J] | None:
        """Return the jobs that are lost because nobody came; None while the group has a chance.

        After that the group is no more.
        """
        if self._members or self._alone_since is None or now - self._alone_since < PATIENCE:
            return None
        return self.end()

    def end(self) -> list[J]:
        """Return all jobs that are owed or under way, and forget them."""
        left = [job for known in self._members.values() for job in known.jobs]
        left += self._owed
        self._members.clear()
        self._ring.clear()
        self._owed.clear()
        self._owed_bytes = 0
        return left

    def _shares(self, jobs: int) -> list[tuple[int, int]]:
        """Return how many of some jobs each member gets, by its place in the ring.

        Those with the fewest are filled up first, all to one level.
        """
        busy = [len(self._members[one].jobs) for one in self._ring]
        most = [self._members[one].limit for one in self._ring]
        level: list[int] = list(busy)
        open_: list[int] = [at for at in range(len(busy)) if busy[at] < most[at]]
        while jobs and open_:
            low = min([level[at] for at in open_])
            lowest = [at for at in open_ if level[at] == low]
            lowest.sort(key=lambda at: level[at] > busy[at])  # it had its turn just now
            above = [level[at] for at in open_ if level[at] > low]
            ceiling = min([*above, *[most[at] for at in lowest]])
            each, rest = divmod(min(jobs, (ceiling - low) * len(lowest)), len(lowest))
            for place, at in enumerate(lowest):
                level[at] += each + (place < rest)
            jobs -= each * len(lowest) + rest
            open_ = [at for at in open_ if level[at] < most[at]]
        return [(at, level[at] - busy[at]) for at in range(len(busy)) if level[at] > busy[at]]

    @property
    def hungry(self) -> bool:
        """Whether some member has nothing to do."""
        return any(m.limit and not m.jobs for m in self._members.values())

    def _over(self) -> bool:
        return len(self._owed) > self._count_most or self._owed_bytes > self._bytes_most

    def _take(self) -> J:
        job = self._owed.popleft()
        self._owed_bytes -= job.size
        return job
