"""Who is attached to an exchange or a view, and how often.

What was attached twice is gone after the second detach. The table keeps interest in
step: it tells the registry when the first interested task comes and when the last one
goes. It hands out no messages.
"""

import threading
import weakref
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Generic, Literal, Self, overload

from ..errors import NotAttached
from ..lost import Lost
from .cycles import chains, refuse_circle
from .interfaces import RegistryCalls
from .late_join import RemoteCatchUp
from .process import finalizers
from .process.fork import track
from .subscription import Forwarder, Key, Subscription, subscription_of
from .tasks.feeds import Feed, tidy
from .tasks.mailbox import Overflow
from .tasks.snapshots import Keeper, settled
from .tasks.stream import Delivery, Stream, T
from .tasks.task import Task


class Recorder(Keeper):
    """A task that lists what it gets."""

    __slots__ = ("keep", "send")

    def __init__(self, messages: list[Any]) -> None:
        self.send = messages.append
        self.keep = lambda msg: messages.append(settled(msg))


class SubscriberTable(Generic[T]):
    """What exchanges and views share: attaching, detaching, and counting both.

    Every method may be called by any thread, from inside a task as well.
    """

    __slots__ = ("__weakref__", "_interested", "_key", "_lock", "_table", "registry")

    def __init__(self, key: str, registry: RegistryCalls) -> None:
        self._key = key
        self.registry = registry
        self._table: dict[Key, Subscription] = {}
        self._interested = 0
        self._lock = threading.RLock()
        track(self)

    def _after_fork(self) -> None:
        """Make the lock anew and count again what another thread may have half done."""
        self._lock = threading.RLock()
        self._interested = sum(not s.forwarder for s in self._table.values())
        for subscription in self._table.values():
            if subscription.arrears is not None:
                subscription.arrears._after_fork()

    def _has_interested_task(self) -> bool:
        """Tell whether a task is attached that also wants what arrives from peers."""
        return any(not s.forwarder for s in self._table.values())

    @property
    def subscribers(self) -> tuple[object, ...]:
        """The tasks as they were attached, each once, oldest first; no bridges."""
        tidy()
        tasks = [s.task for s in list(self._table.values())]
        shown = [task.stream() if isinstance(task, Feed) else task for task in tasks]
        return tuple([task for task in shown if task is not None])

    @property
    def _occupied(self) -> bool:
        """Whether anything is attached, though it may be a stream that nobody reads any more."""
        return bool(self._table)

    def _subscriptions(self) -> list[Subscription]:
        """Return what is attached now, oldest first."""
        return list(self._table.values())

    def __len__(self) -> int:
        tidy()
        return len(self._table)

    def __bool__(self) -> bool:
        return True

    def __contains__(self, task: object) -> bool:
        return any(key in self._table for key in self._keys(task))

    # It is its name: of a copy that is another object, messages would reach nobody.

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.registry._recall(self)

    # What an exchange and a view do differently.

    def _keys(self, task: object) -> tuple[Key, ...]:
        """Return the keys under which ``task`` may be attached, likeliest first."""
        raise NotImplementedError

    def _covers(self, exchange: Any) -> bool:
        """Return whether what is sent on an exchange comes by here."""
        raise NotImplementedError

    def _rerouted(self) -> None:
        """Have the next message ask again who gets it, and how; called outside their locks."""
        raise NotImplementedError

    def _admitted(self, subscription: Subscription) -> None:
        """Called under the lock after a subscription came into the table."""

    def _changed(self) -> None:
        """Called under the lock after a subscription left the table."""

    def _afterwards(self, subscription: Subscription) -> None:
        """Called outside the lock after one of the two."""

    # The table.

    def _add(self, subscription: Subscription) -> None:
        """Put a subscription into the table, or count it once more.

        Raises:
            NotASubscriber: it is of an exchange, and would close a circle.
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
            arrears: RemoteCatchUp | None = None
            if subscription.history:  # before it is in the table, from which what arrives finds it
                arrears = RemoteCatchUp(subscription, self.registry, self._rerouted)
                subscription.arrears = arrears
            if not subscription.forwarder:
                # First: the data thread knows of the interest before the task is given anything.
                if not self._interested:
                    self.registry._interest_up(self._key)
                self._interested += 1
            self._table[subscription.key] = subscription
            if isinstance(subscription.task, Feed):
                subscription.task.places.add(weakref.ref(self))
            self._admitted(subscription)
        if arrears is not None:
            # Asked for only when what arrives waits: else it would be neither kept nor live.
            self._rerouted()
            if subscription.forwarder:
                arrears.asked(())
            else:
                self.registry._history_up(self._key, arrears)
        self._afterwards(subscription)
        if arrears is not None:
            arrears.attached()

    def _remove(self, task: object) -> None:
        """Count ``task`` down, and take it out with the last count.

        Raises:
            NotAttached: if it is not in the table.
        """
        with self._lock:
            key = next((key for key in self._keys(task) if key in self._table), None)
            if key is None:
                raise NotAttached(f"{task!r} is not attached to {self._key!r}")
            subscription = self._table[key]
            subscription.count -= 1
            if subscription.count:
                return
            _gone = self._drop(subscription)  # let go of outside the lock
        self._afterwards(subscription)

    def _discard(self, subscription: Subscription) -> None:
        """Take a subscription out whatever its count: its task has ended."""
        with self._lock:
            if self._table.get(subscription.key) is not subscription:
                return
            _gone = self._drop(subscription)  # let go of outside the lock
        self._afterwards(subscription)

    def _release(self, feed: Feed) -> None:
        """Take out what stands for a stream that nobody refers to any more."""
        for key in self._keys(feed):
            subscription = self._table.get(key)
            if subscription is not None:
                self._discard(subscription)

    def _drop(self, subscription: Subscription) -> object:
        """Take a subscription out, and return what it was still to get; the lock is held."""
        del self._table[subscription.key]
        task = subscription.task
        if isinstance(task, Feed) and not any(key in self._table for key in self._keys(task)):
            task.places.discard(weakref.ref(self))
        if not subscription.forwarder:
            self._interested -= 1
            if not self._interested:
                self.registry._interest_down(self._key)
        left = subscription.arrears and self.registry._history_down(subscription.arrears)
        self._changed()
        return left

    # The public verbs.

    def attach(self, task: Task[T], *, history: int = 0) -> None:
        """Have ``task.send`` called with each message from now on, on the sender's thread.

        The task is held until it is detached, as often as it was attached; it still gets
        each message once.

        Args:
            task: anything with a synchronous ``send(msg)``; told apart by identity.
            history: up to so many retained messages come first (see `retain`): the newest of the
                exchange, of all publishers, in the order of sending. Asked are the processes
                that are ready now; one that comes later adds what is newer than what was given.

        Raises:
            NotASubscriber: the task cannot be given messages; the text names the adapter.
            LimitReached: this process is in a federation, and is attached to as many names or
                patterns as it can be (see docs/LIMITS.md). What was attached goes on.
        """
        self._attach(task, history)

    def _attach(self, task: Task[T], history: int, names: bool = False) -> None:
        if finalizers.later(self._attach, task, history, names):
            return
        self.registry._wake()
        self._add(subscription_of(task, self._discard, names, history))

    def detach(self, task: object) -> None:
        """Undo one `attach` (or `handler`) of ``task``.

        Raises:
            NotAttached: if it is not attached.
        """
        if finalizers.collecting is not None and finalizers.later(self.detach, task):
            return
        self.registry._wake()
        self._remove(task)

    @contextmanager
    def subscribe(self, *tasks: Task[T]) -> Generator[None, None, None]:
        """Attach ``tasks`` inside a ``with`` block; all of them or none.

        Raises:
            NotASubscriber: as `attach`; the tasks before it are detached again.
        """
        with self._held(tasks, self.attach):
            yield

    @contextmanager
    def _held(
        self, tasks: tuple[Task[T], ...], attach: Callable[[Task[T]], None]
    ) -> Generator[None, None, None]:
        """Attach ``tasks`` by ``attach`` and detach what was attached."""
        attached: list[Task[T]] = []
        try:
            for task in tasks:
                attach(task)
                attached.append(task)
            yield
        finally:
            for task in reversed(attached):
                self._leave(task)

    def _leave(self, task: object) -> None:
        """Detach at the end of a block; that the block did it already is no error."""
        if finalizers.later(self._leave, task):
            return
        try:
            self.detach(task)
        except NotAttached:
            pass

    @overload
    def stream(
        self,
        maxsize: int = 1000,
        overflow: Overflow | None = None,
        details: Literal[False] = False,
        history: int = 0,
    ) -> Stream[T]: ...

    @overload
    def stream(
        self,
        maxsize: int = 1000,
        overflow: Overflow | None = None,
        *,
        details: Literal[True],
        history: int = 0,
    ) -> Stream[Delivery[T] | Lost]: ...

    @overload
    def stream(
        self,
        maxsize: int = 1000,
        overflow: Overflow | None = None,
        details: bool = False,
        history: int = 0,
    ) -> Stream[Any]: ...

    def stream(
        self,
        maxsize: int = 1000,
        overflow: Overflow | None = None,
        details: bool = False,
        history: int = 0,
    ) -> Stream[Any]:
        """Return a stream of the messages from now on, to read from other threads or asyncio.

        Args:
            maxsize: so many messages wait at most.
            overflow: with that many waiting, ``"block"`` has the sender wait,
                ``"drop_oldest"`` and ``"drop_newest"`` drop one and count it, ``"error"``
                raises `MailboxFull` to the sender. None is ``"drop_oldest"``, and a warning
                in the log with the first message that is dropped.
            details: yield `Delivery` instead of the bare message, and `Lost` in its place.
            history: up to so many retained messages come first, beyond ``maxsize`` if need be;
                see `attach`.
        """
        return self._stream(maxsize, overflow, details, history, False)

    def _stream(
        self, maxsize: int, overflow: Overflow | None, details: bool, history: int, names: bool
    ) -> Stream[Any]:
        wake = self.registry._wake
        stream: Stream[Any] = Stream(self._key, maxsize, overflow, details, wake, self._leave)
        self._attach(stream, history, names)
        return stream

    @contextmanager
    def record(self) -> Generator[list[T], None, None]:
        """Yield a list that each message inside the ``with`` block is appended to."""
        messages: list[T] = []
        with self.subscribe(Recorder(messages)):
            yield messages
