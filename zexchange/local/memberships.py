"""The tasks of one exchange or view that are members of groups, and how often each is attached."""

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from ..errors import NotASubscriber
from ..names import check_text
from .process.fork import Lock
from .sharing.member import Member
from .sharing.share import LIMIT_MOST
from .subscription import Forwarder, Key, Subscription
from .tasks.feeds import Feed
from .tasks.jobs import JobMailbox
from .tasks.stream import Delivery


class Entry:
    """One task in one group."""

    __slots__ = ("count", "group", "member", "subscription")

    def __init__(self, subscription: Subscription, group: str, member: Member) -> None:
        self.subscription = subscription
        self.group = group
        self.member = member
        self.count = 1


class MemberCalls(Protocol):
    """The registry, as far as memberships use it."""

    @property
    def monotonic(self) -> Callable[[], float]:
        """The clock, in seconds."""
        ...

    @property
    def start_member(self) -> Callable[[Member], object]:
        """Starts the thread of a member."""
        ...

    def _member_up(self, member: Member) -> None: ...
    def _member_down(self, member: Member) -> None: ...


def check_group(group: object, ahead: int) -> None:
    """Check the arguments that make a task a member of a group; ``group`` is None for others.

    Raises:
        InvalidName: ``group`` is not the name of a group.
        TypeError: ``ahead`` without ``group``.
        ValueError: ``ahead`` is out of range.
    """
    if group is None:
        if ahead:
            raise TypeError("ahead says how much a member of a group has at a time: give group=")
        return
    if not 0 <= ahead <= LIMIT_MOST:
        raise ValueError(f"ahead is a number of messages up to {LIMIT_MOST}, not {ahead}")
    check_text(group, "a group")


class Memberships:
    """The members of groups on one exchange or view."""

    def __init__(self, key: str, registry: MemberCalls) -> None:
        self._key = key
        self._registry = registry
        self._lock = Lock()
        self.entries: dict[tuple[str, Key], Entry] = {}

    def add(self, subscription: Subscription, group: str, ahead: int) -> None:
        """Make a task a member of a group, or count it once more.

        Raises:
            NotASubscriber: it is an exchange.
            LimitReached: this process has as many members as it can tell its peers of.
        """
        if isinstance(subscription.task, Forwarder):
            raise NotASubscriber(
                f"exchange {subscription.task.name!r} cannot be a member of group {group!r}:"
                " attach a function that sends on it"
            )
        with self._lock.lock:
            present = self.entries.get((group, subscription.key))
            if present is not None:
                present.count += 1
                return
            member = _member(self._key, group, ahead, subscription, self._registry)
            self.entries[group, subscription.key] = Entry(subscription, group, member)
        try:
            self._registry._member_up(member)
        except BaseException:
            with self._lock.lock:
                self.entries.pop((group, subscription.key), None)
            raise

    def find(self, keys: Iterable[Key], group: str | None) -> Entry | None:
        """Return the latest entry of a task, in one group or in any."""
        wanted = set(keys)
        with self._lock.lock:
            found = [
                entry
                for (named, key), entry in self.entries.items()
                if key in wanted and (group is None or named == group)
            ]
        return max(found, key=lambda entry: entry.subscription.serial, default=None)

    def remove(self, entry: Entry, all_of_it: bool = False) -> None:
        """Count an entry down, and end its membership when the count is zero."""
        with self._lock.lock:
            entry.count -= 1
            if entry.count > 0 and not all_of_it:
                return
            gone = self.entries.pop((entry.group, entry.subscription.key), None)
        if gone is not None:
            self._registry._member_down(gone.member)

    def release(self, feed: Feed) -> None:
        """End the memberships of a stream that was collected."""
        with self._lock.lock:
            found = [entry for entry in self.entries.values() if entry.subscription.task is feed]
        for entry in found:
            self.remove(entry, all_of_it=True)


def _member(
    key: str, group: str, ahead: int, subscription: Subscription, registry: MemberCalls
) -> Member:
    task: Any = subscription.task
    bare = _named if subscription.names else _bare
    form: Callable[[Delivery], object] = _whole if subscription.details else bare
    mailbox = task.jobs if isinstance(task, Feed) else None
    call = None if isinstance(mailbox, JobMailbox) else subscription.accept
    clock, start = registry.monotonic, registry.start_member
    return Member(key, group, ahead, mailbox, form, call, repr(task), form is _bare, clock, start)


def _whole(item: Delivery) -> object:
    return item


def _named(item: Delivery) -> object:
    return item.name, item.msg


def _bare(item: Delivery) -> object:
    return item.msg
