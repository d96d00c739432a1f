"""All groups of a registry: their members, and the messages for them.

A group is that of one exchange: members that were attached to a pattern belong to the group of each
exchange that the pattern covers. An exchange that is sent on asks for its groups, and is told when
they change.
"""

import itertools
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ...groups.intake import Progress
from ...names import Patterns, is_pattern, matches
from ..process.fork import Lock, track
from ..tasks.stream import Delivery
from ..typed.declared_type import DeclaredType
from .departed_groups import DepartedGroups
from .member import Member
from .share import Parcel, Receiver, Sender, Share
from .supply import Supply


@dataclass(frozen=True, slots=True)
class GroupStats:
    """A group on one exchange, as this process sends to it.

    Attributes:
        group: its name.
        members: how many there are, here and in other processes.
        under_way: how many messages they have and have not handled.
        owed: how many messages wait for a member that has room.
        redelivered: how many went to another member because theirs left.
        lost: how many were given up because there was no member.
    """

    group: str
    members: int
    under_way: int
    owed: int
    redelivered: int
    lost: int


class GroupHost(Protocol):
    """The registry, as its groups use it."""

    monotonic: Callable[[], float]
    time: Callable[[], float]
    event: Callable[[], threading.Event]

    def _reroute(self, key: str) -> None:
        """Have the exchanges that a name or pattern covers work out their targets again."""

    def _may_wait(self) -> bool:
        """Return whether the calling thread may wait for a peer."""
        ...

    def _jobs_lost(self, exchange: str, group: str, first: int, last: int) -> None:
        """Take note that messages for a group are lost."""

    def _members_changed(self, member: Member, added: bool) -> None:
        """Take note that this process has a member more or fewer."""


DUE_AFTER = 5.0
"""Seconds after which a sender lets time pass, if no node has."""


def everything(name: str) -> bool:
    """Return True: there are no permissions inside a process."""
    return True


class LocalMember:
    """A member of this process, as senders of this process see it."""

    encodes = None
    admits = staticmethod(everything)

    def __init__(self, member: Member, monotonic: Callable[[], float]) -> None:
        self.member = self.identity = member
        self.key, self.group, self.ahead = member.key, member.group, member.ahead
        self.number = member.number
        self._monotonic = monotonic
        self._supplies: dict[Share, Supply] = {}

    def hand(self, share: Share, stint: int, first: int, jobs: Sequence[Parcel]) -> None:
        """Put jobs into the mailbox of the member."""
        supply = self._supplies.get(share)
        if supply is None:
            # In one step: other threads hand this member what is sent on other exchanges.
            supply = Supply(self.member.mailbox, _Back(share), self._monotonic, self.ahead)
            self._supplies[share] = supply
        member: Member = self.member
        if member.bare:
            items = [job.msg for job in jobs]
        else:
            items = [member.form(_delivery(share.name, job)) for job in jobs]
        supply.take(stint, first, items)
        self.member.wake()

    def forget(self, shares: Iterable[Share]) -> None:
        """Forget the stints of shares that are no more."""
        for share in shares:
            self._supplies.pop(share, None)

    def end(self) -> None:
        """Tell all senders that the member does no more."""
        while self._supplies:
            try:
                _, supply = self._supplies.popitem()
            except KeyError:  # another thread forgot the last one
                break
            supply.say(ended=True)


class _Back:
    """Tells a share of this process what a member has done."""

    __slots__ = ("_share",)

    def __init__(self, share: Share) -> None:
        self._share = share

    def __call__(self, progress: Progress) -> None:
        self._share.told(progress)


def _delivery(name: str, job: Parcel) -> Delivery:
    headers, marked = job.headers, job.redelivered
    return Delivery(name, job.msg, None, None, job.sent_at, headers, redelivered=marked)


class _Index:
    """Receivers by the name or pattern that they are attached to."""

    def __init__(self) -> None:
        self._named: dict[str, tuple[Receiver, ...]] = {}
        self._covering: Patterns[tuple[Receiver, ...]] = Patterns()

    def add(self, receiver: Receiver) -> None:
        key = receiver.key
        self._named[key] = (*self._named.get(key, ()), receiver)
        if is_pattern(key):
            self._covering.set(key, self._named[key])

    def remove(self, receiver: Receiver) -> None:
        key = receiver.key
        left = tuple([other for other in self._named.get(key, ()) if other is not receiver])
        if left:
            self._named[key] = left
        else:
            self._named.pop(key, None)
        if is_pattern(key):
            if left:
                self._covering.set(key, left)
            else:
                self._covering.discard(key)

    def has(self, key: str, group: str) -> bool:
        """Return whether a group has members at a name or pattern."""
        return any(receiver.group == group for receiver in self._named.get(key, ()))

    def on(self, name: str) -> list[Receiver]:
        """Return the receivers of an exchange."""
        found = itertools.chain(self._named.get(name, ()), *self._covering.covering(name))
        once = {receiver.identity: receiver for receiver in found if receiver.admits(name)}
        return list(once.values())

    def all(self) -> list[Receiver]:
        return list(itertools.chain(*self._named.values()))


class Roster:
    """All groups of a registry.

    Any thread may call it; `targets` is called with the lock of an exchange held, and takes only
    the lock of this object, under which nothing is called.
    """

    def __init__(self, host: GroupHost) -> None:
        self._host = host
        self._lock = Lock()
        self._index = _Index()
        self._here: dict[Member, LocalMember] = {}
        self._shares: dict[str, dict[str, Share]] = {}
        """By exchange and group."""
        self._departed = DepartedGroups()
        self._turn = itertools.count()
        self.due_at = 0.0
        """When a sender is to let time pass, in seconds since the epoch: a process may have no node
        that does."""
        track(self)

    def _after_fork(self) -> None:
        """Keep the members of this process, and forget all others, and all that is owed."""
        here, self._here, self._index = list(self._here), {}, _Index()
        self._shares, self._departed = {}, DepartedGroups()
        for member in here:
            self._here[member] = LocalMember(member, self._host.monotonic)
            self._index.add(self._here[member])

    # ------------------------------------------------------------ members of this process

    def add(self, member: Member) -> None:
        """Add a member of this process."""
        receiver = LocalMember(member, self._host.monotonic)
        with self._lock.lock:
            self._here[member] = receiver
        self._host._members_changed(member, True)
        self.came([receiver])

    def remove(self, member: Member) -> None:
        """Remove a member of this process: others do what it has not done."""
        with self._lock.lock:
            receiver = self._here.pop(member, None)
        if receiver is not None:
            member.end()
            receiver.end()
            self._host._members_changed(member, False)
            self.went([receiver])

    def members(self) -> list[Member]:
        """Return the members of this process."""
        with self._lock.lock:
            return list(self._here)

    # --------------------------------------------------------------------------- receivers

    def came(self, receivers: Iterable[Receiver]) -> None:
        """Hand messages to some members from now on."""
        for receiver in receivers:
            with self._lock.lock:
                self._index.add(receiver)
                self._departed.came(receiver.key, receiver.group)
                shares = self._shares_of(receiver)
            for share in shares:
                share.join(receiver)
                share.pump()
            self._host._reroute(receiver.key)

    def went(self, receivers: Iterable[Receiver]) -> None:
        """Hand what some members have not done to others, and nothing more to them."""
        for receiver in receivers:
            with self._lock.lock:
                self._index.remove(receiver)
                if not self._index.has(receiver.key, receiver.group):
                    now = self._host.monotonic()
                    self._departed.left(receiver.key, receiver.group, receiver.admits, now)
                shares = self._shares_of(receiver)
                others = [(share, self._other(receiver, share.name)) for share in shares]
            for share, other in others:
                share.leave(receiver)
                if other is not None:
                    share.join(other)
                share.pump()
            self._host._reroute(receiver.key)

    def _other(self, receiver: Receiver, name: str) -> Receiver | None:
        """Return the same member in another federation, if it is met there."""
        there = self._index.on(name)
        return next((one for one in there if one.identity == receiver.identity), None)

    def _shares_of(self, receiver: Receiver) -> list[Share]:
        key, group = receiver.key, receiver.group
        names = list(self._shares) if is_pattern(key) else [key]
        found = [(name, self._shares.get(name, {}).get(group)) for name in names]
        return [
            share
            for name, share in found
            if share is not None and matches(key, name) and receiver.admits(name)
        ]

    # ------------------------------------------------------------------------------ sending

    def targets(self, name: str, declared: DeclaredType | None) -> tuple[Sender, ...]:
        """Return the targets by which an exchange of that type sends to its groups."""
        with self._lock.lock:
            found = self._index.on(name)
            groups = dict.fromkeys(receiver.group for receiver in found)
            groups |= dict.fromkeys(self._shares.get(name, ()))
            groups |= dict.fromkeys(self._departed.on(name))
            shares = [self._share(name, group, found) for group in groups]
        return tuple([Sender(s, self._host.time, declared, self) for s in shares])

    def share(self, name: str, group: str) -> Share:
        """Return what is sent to a group on an exchange, made if need be."""
        with self._lock.lock:
            return self._share(name, group, self._index.on(name))

    def _share(self, name: str, group: str, there: Iterable[Receiver]) -> Share:
        """Return what is sent to a group, of which these receivers may be members."""
        share = self._shares.get(name, {}).get(group)
        if share is None or share.over:
            host = self._host
            left = self._departed.on(name)
            share = Share(
                *(name, group, host.monotonic, host.event, host._may_wait, self._lost),
                left.get(group, host.monotonic()),
            )
            self._shares.setdefault(name, {})[group] = share
            members = [receiver for receiver in there if receiver.group == group]
            # Each exchange begins with another member: many are sent on once only.
            first = next(self._turn) % max(1, len(members))
            for receiver in members[first:] + members[:first]:
                share.join(receiver)
        return share

    def shares(self, name: str | None = None) -> list[Share]:
        """Return what is sent to groups, on all exchanges or on one."""
        with self._lock.lock:
            if name is not None:
                return list(self._shares.get(name, {}).values())
            return [share for groups in self._shares.values() for share in groups.values()]

    def stats(self, name: str) -> tuple[GroupStats, ...]:
        """Return the groups of an exchange as frozen values."""
        return tuple(
            [
                GroupStats(s.group, s.members, s.under_way, s.owed, s.redelivered, s.lost)
                for s in self.shares(name)
            ]
        )

    def groups(self, name: str) -> tuple[GroupStats, ...]:
        """Return the groups of an exchange, those that nothing was sent to as well."""
        known = self.stats(name)
        with self._lock.lock:
            idle = Counter([receiver.group for receiver in self._index.on(name)])
        for group in known:
            idle.pop(group.group, None)
        return (*known, *[GroupStats(group, n, 0, 0, 0, 0) for group, n in idle.items()])

    def tick(self) -> None:
        """Let time pass: once a second is often enough. Any thread, with no lock held."""
        self.due_at = self._host.time() + DUE_AFTER
        with self._lock.lock:
            gone = self._departed.expire(self._host.monotonic())
        for key in gone:
            self._host._reroute(key)
        over = list[Share]()
        for share in self.shares():
            share.tick()
            if share.over:
                over.append(share)
                with self._lock.lock:
                    groups = self._shares.get(share.name, {})
                    if groups.get(share.group) is share:
                        del groups[share.group]
                    if not groups:
                        self._shares.pop(share.name, None)
                self._host._reroute(share.name)
        if over:
            for receiver in list(self._here.values()):
                receiver.forget(over)

    def _lost(self, share: Share, first: int, last: int) -> None:
        self._host._jobs_lost(share.name, share.group, first, last)
