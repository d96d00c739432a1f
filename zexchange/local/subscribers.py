"""The table of tasks that are attached to an exchange or a view, and how often each is.

A task that was attached twice is removed by the second detach. The table tells the registry when
the first interested task is attached and when the last one is detached. It hands out no messages.

The file is long because of documentation, and of overloads for type checkers: the methods are short
and all change the same table.
"""

import threading
import weakref
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from typing import Any, Generic, Literal, Self, overload

from ..errors import NotAttached
from ..lost import Lost
from .cycles import chains, refuse_circle
from .interfaces import RegistryCalls
from .late_join import CatchUp
from .memberships import Memberships, check_group
from .process import finalizers
from .process.fork import track
from .subscription import Forwarder, Key, Subscription, subscription_of
from .tasks.feeds import Feed, tidy
from .tasks.mailbox import Overflow
from .tasks.snapshots import Keeper, settled
from .tasks.stream import Delivery, Stream, T
from .tasks.task import Task


class Recorder(Keeper):
    """A task that appends each message to a list."""

    __slots__ = ("keep", "send")

    def __init__(self, messages: list[Any]) -> None:
        self.send = messages.append
        self.keep = lambda msg: messages.append(settled(msg))


class SubscriberTable(Generic[T]):
    """The base of exchanges and views: attaching, detaching, and counting both.

    Every method may be called by any thread, from inside a task as well.
    """

    __slots__ = ("__weakref__", "_interested", "_key", "_lock", "_members", "_table", "registry")

    def __init__(self, key: str, registry: RegistryCalls) -> None:
        self._key = key
        self.registry = registry
        self._table: dict[Key, Subscription] = {}
        self._interested = 0
        self._members: Memberships | None = None
        """The tasks that are members of groups: these are not in the table."""
        self._lock = threading.RLock()
        track(self)

    def _after_fork(self) -> None:
        """Make a new lock, and count afresh: a thread of the parent may have been counting."""
        self._lock = threading.RLock()
        self._interested = sum(not s.forwarder for s in self._table.values())
        for subscription in self._table.values():
            if subscription.catch_up is not None:
                subscription.catch_up._after_fork()

    def _has_interested_task(self) -> bool:
        """Return whether a task is attached that also wants messages of peers."""
        return any(not s.forwarder for s in self._table.values())

    @property
    def subscribers(self) -> tuple[object, ...]:
        """The tasks as they were attached, each once, oldest first; without bridges."""
        tidy()
        tasks = [s.task for s in [*self._table.values(), *self._grouped()]]
        shown = [task.stream() if isinstance(task, Feed) else task for task in tasks]
        return tuple([task for task in shown if task is not None])

    def _grouped(self) -> list[Subscription]:
        """Return the subscriptions that are members of groups."""
        members = self._members
        return [] if members is None else [e.subscription for e in list(members.entries.values())]

    def _subscriptions(self) -> list[Subscription]:
        """Return all that is attached, also streams whose readers no longer exist."""
        return list(self._table.values())

    def __len__(self) -> int:
        tidy()
        return len(self._table) + (len(self._members.entries) if self._members else 0)

    def __bool__(self) -> bool:
        return True

    def __contains__(self, task: object) -> bool:
        keys = self._keys(task)
        if any(key in self._table for key in keys):
            return True
        return self._members is not None and self._members.find(keys, None) is not None

    # A copy is the same object: another object of that name would reach no task.

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.registry._recall(self)

    # Where exchanges and views differ.

    def _keys(self, task: object) -> tuple[Key, ...]:
        """Return the keys under which ``task`` may be attached, likeliest first."""
        raise NotImplementedError

    def _covers(self, exchange: Any) -> bool:
        """Return whether tasks attached here get the messages of an exchange."""
        raise NotImplementedError

    def _rerouted(self) -> None:
        """Have the next message work out its targets again; called outside the exchanges' locks."""
        raise NotImplementedError

    def _admitted(self, subscription: Subscription) -> None:
        """Called under the lock after a subscription was added."""

    def _changed(self) -> None:
        """Called under the lock after a subscription was removed."""

    def _afterwards(self, subscription: Subscription) -> None:
        """Called outside the lock after a subscription was added or removed."""

    # The table.

    def _add(self, subscription: Subscription) -> None:
        """Put a subscription into the table, or count it once more.

        Raises:
            NotASubscriber: its task is an exchange, and messages would go round in a circle.
        """
        if isinstance(subscription.task, Forwarder):
            with chains.lock:
                refuse_circle(subscription.task, self._key, self._covers)
                self._put(subscription)
        else:
            self._put(subscription)

    def _put(self, subscription: Subscription) -> None:
        with self._lock:
            present = self._table.get(subscription.key)
            if present is not None:
                present.count += 1
                return
            catch_up: CatchUp | None = None
            if subscription.history:  # before it is in the table, where arriving messages find it
                catch_up = CatchUp(subscription, self.registry, self._rerouted)
                subscription.catch_up = catch_up
            if not subscription.forwarder:
                # First: the data thread has to know of the interest before the task gets messages.
                if not self._interested:
                    self.registry._interest_up(self._key)
                self._interested += 1
            self._table[subscription.key] = subscription
            if isinstance(subscription.task, Feed):
                subscription.task.places.add(weakref.ref(self))
            self._admitted(subscription)
        if catch_up is not None:
            # History is asked for only after arriving messages are parked: one that arrives in
            # between would be neither in the history nor live.
            self._rerouted()
            if subscription.forwarder:
                catch_up.asked(())
            else:
                self.registry._history_up(self._key, catch_up)
        self._afterwards(subscription)
        if catch_up is not None:
            catch_up.attached()

    def _remove(self, task: object, group: str | None = None) -> None:
        """Count ``task`` down, and remove it when the count is zero.

        Raises:
            NotAttached: it is not in the table.
        """
        keys = self._keys(task)
        entry = self._members.find(keys, group) if self._members is not None else None
        with self._lock:
            found = [self._table[key] for key in keys if key in self._table and group is None]
            subscription = max(found, key=lambda one: one.serial, default=None)
            if subscription is not None and (
                entry is None or entry.subscription.serial < subscription.serial
            ):
                entry = None
                subscription.count -= 1
                if subscription.count:
                    return
                _gone = self._drop(subscription)  # released outside the lock
            elif entry is None:
                where = f"{self._key!r}" if group is None else f"{self._key!r} in group {group!r}"
                raise NotAttached(f"{task!r} is not attached to {where}")
        if entry is not None and self._members is not None:
            self._members.remove(entry)
        elif subscription is not None:
            self._afterwards(subscription)

    def _discard(self, subscription: Subscription) -> None:
        """Remove a subscription whatever its count, because its task has ended."""
        with self._lock:
            if self._table.get(subscription.key) is not subscription:
                return
            _gone = self._drop(subscription)  # released outside the lock
        self._afterwards(subscription)

    def _release(self, feed: Feed) -> None:
        """Remove the feed of a stream that was collected."""
        for key in self._keys(feed):
            subscription = self._table.get(key)
            if subscription is not None:
                self._discard(subscription)
        if self._members is not None:
            self._members.release(feed)

    def _drop(self, subscription: Subscription) -> object:
        """Remove a subscription, and return the messages it was still to get; the lock is held."""
        del self._table[subscription.key]
        task = subscription.task
        if isinstance(task, Feed) and not any(key in self._table for key in self._keys(task)):
            task.places.discard(weakref.ref(self))
        if not subscription.forwarder:
            self._interested -= 1
            if not self._interested:
                self.registry._interest_down(self._key)
        left = subscription.catch_up and self.registry._history_down(subscription.catch_up)
        self._changed()
        return left

    # Public methods.

    def attach(
        self, task: Task[T], *, history: int = 0, group: str | None = None, ahead: int = 0
    ) -> None:
        """Have ``task.send`` called with each message from now on, on the sender's thread.

        The task is held until it has been detached as often as it was attached. It still gets each
        message once.

        Args:
            task: anything with a synchronous ``send(msg)``; told apart by identity.
            history: how many retained messages come first at most (see `retain`): the newest of the
                exchange, of all publishers, in the order of sending. The processes that are ready
                now are asked. A process that comes later adds messages newer than those already
                given.
            group: each message goes to one member only of a group of this name, here or in another
                process. The task is called on a thread of its own. A message counts as handled when
                ``send`` has returned: with `to_queue`, `to_thread` and `to_async` that is when it
                waits in their queue. Of a member that leaves or dies, the messages that it has not
                handled go to another one.
            ahead: how many messages of one sender the member may have at a time; 0 leaves that to
                the sender, which adapts it to about 5 ms of work, and two messages at least.

        Raises:
            NotASubscriber: the task cannot be given messages; the text names the adapter.
            TypeError: ``history`` together with ``group``, or ``ahead`` without it.
            InvalidName: ``group`` is malformed.
            ValueError: ``ahead`` is out of range.
            LimitReached: this process is in a federation, and is attached to as many names or
                patterns as it can be (see docs/LIMITS.md). Tasks attached before go on.
        """
        self._attach(task, history, False, group, ahead)

    def _attach(
        self,
        task: Task[T],
        history: int,
        names: bool = False,
        group: str | None = None,
        ahead: int = 0,
    ) -> None:
        check_group(group, ahead)
        if group is not None and history:
            raise TypeError("a member of a group gets no history: others have had it")
        if finalizers.later(self._attach, task, history, names, group, ahead):
            return
        self.registry._wake()
        subscription = subscription_of(task, self._discard, names, history)
        if group is None:
            self._add(subscription)
        else:
            self._join_group(subscription, group, ahead)

    def _join_group(self, subscription: Subscription, group: str, ahead: int) -> None:
        """Make a task a member of a group."""
        with self._lock:
            if self._members is None:
                self._members = Memberships(self._key, self.registry)
        if isinstance(subscription.task, Feed):
            subscription.task.places.add(weakref.ref(self))
        self._members.add(subscription, group, ahead)

    def detach(self, task: object, *, group: str | None = None) -> None:
        """Undo one `attach` (or `handler`, or `responder`) of ``task``: the latest.

        Args:
            task: the task.
            group: undo the latest in this group only.

        Raises:
            NotAttached: it is not attached.
        """
        if finalizers.collecting is not None and finalizers.later(self._detach, task, group):
            return
        self._detach(task, group)

    def _detach(self, task: object, group: str | None) -> None:
        self.registry._wake()
        self._remove(task, group)

    @contextmanager
    def subscribe(
        self, *tasks: Task[T], group: str | None = None, ahead: int = 0
    ) -> Generator[None, None, None]:
        """Attach ``tasks`` inside a ``with`` block; all of them or none.

        Args:
            tasks: the tasks.
            group: as for `attach`.
            ahead: as for `attach`.

        Raises:
            NotASubscriber: as `attach`; the tasks before it are detached again.
        """
        with self._held(tasks, lambda task: self.attach(task, group=group, ahead=ahead), group):
            yield

    @contextmanager
    def _held(
        self,
        tasks: tuple[Task[T], ...],
        attach: Callable[[Task[T]], None],
        group: str | None = None,
    ) -> Generator[None, None, None]:
        """Attach ``tasks`` by ``attach``, and detach at the end those that were attached."""
        attached: list[Task[T]] = []
        try:
            for task in tasks:
                attach(task)
                attached.append(task)
            yield
        finally:
            for task in reversed(attached):
                self._leave(task, group)

    def _leave(self, task: object, group: str | None = None) -> None:
        """Detach at the end of a block; no error if the block has detached the task itself."""
        if finalizers.later(self._leave, task, group):
            return
        try:
            self.detach(task, group=group)
        except NotAttached:
            pass

    @overload
    def stream(
        self,
        maxsize: int | None = None,
        overflow: Overflow | None = None,
        details: Literal[False] = False,
        history: int = 0,
        *,
        latest: bool = False,
        group: str | None = None,
        ahead: int = 0,
    ) -> Stream[T]: ...

    @overload
    def stream(
        self,
        maxsize: int | None = None,
        overflow: Overflow | None = None,
        *,
        details: Literal[True],
        history: int = 0,
        latest: bool = False,
        group: str | None = None,
        ahead: int = 0,
    ) -> Stream[Delivery[T] | Lost]: ...

    @overload
    def stream(
        self,
        maxsize: int | None = None,
        overflow: Overflow | None = None,
        details: bool = False,
        history: int = 0,
        *,
        latest: bool = False,
        group: str | None = None,
        ahead: int = 0,
    ) -> Stream[Any]: ...

    def stream(
        self,
        maxsize: int | None = None,
        overflow: Overflow | None = None,
        details: bool = False,
        history: int = 0,
        *,
        latest: bool = False,
        group: str | None = None,
        ahead: int = 0,
    ) -> Stream[Any]:
        """Return a stream of the messages from now on, to read from other threads or asyncio.

        Args:
            maxsize: how many messages may wait; 1000 by default.
            overflow: what happens with one more. ``"block"``: the sender waits. ``"drop_oldest"``
                and ``"drop_newest"``: one message is dropped and counted. ``"error"``: the sender
                gets `MailboxFull`. None is ``"drop_oldest"``, with a warning in the log when the
                first message is dropped.
            details: yield `Delivery` instead of the bare message, and `Lost` in the place of lost
                messages.
            history: how many retained messages come first at most, beyond ``maxsize`` if need be;
                see `attach`.
            latest: keep only the newest message. Senders never wait, and ``stats().conflated``
                counts the messages that a newer one replaced. `Lost` is not yielded.
            group: take a share of the messages, as a member of this group; see `attach`. A message
                counts as handled when its reader asks for the next one, or leaves the ``with``
                block without an exception. Each thread or coroutine that works is to have a stream
                of its own.
            ahead: as for `attach`; it bounds the stream, instead of ``maxsize``.

        Raises:
            TypeError: ``latest`` together with ``maxsize`` or ``overflow``; or ``group`` together
                with one of these, or with ``history``.
        """
        return self._stream(maxsize, overflow, details, history, False, latest, group, ahead)

    def _stream(
        self,
        maxsize: int | None,
        overflow: Overflow | None,
        details: bool,
        history: int,
        names: bool,
        latest: bool,
        group: str | None,
        ahead: int,
    ) -> Stream[Any]:
        if group is not None and not (maxsize is None and overflow is None and not latest):
            raise TypeError(
                "a stream of a group is bounded by ahead=: it takes no maxsize, overflow or latest"
            )
        if latest and not (maxsize is None and overflow is None):
            raise TypeError("latest=True keeps one message: it takes no maxsize and no overflow")
        wake, size = self.registry._wake, 1000 if maxsize is None else maxsize
        leave, shares = partial(self._leave, group=group), group is not None
        stream: Stream[Any] = Stream(
            self._key, size, overflow, details, wake, leave, latest, shares
        )
        self._attach(stream, history, names, group, ahead)
        return stream

    @contextmanager
    def record(self) -> Generator[list[T], None, None]:
        """Yield a list to which each message inside the ``with`` block is appended."""
        messages: list[T] = []
        with self.subscribe(Recorder(messages)):
            yield messages
