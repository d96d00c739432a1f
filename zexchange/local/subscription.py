"""One attached task: its identity, and the form in which it gets its messages.

Tasks are told apart by identity and counted. Nothing here knows where a task is attached, and
nothing here calls a task except through the targets that an exchange gets.
"""

import itertools
import time
import types
from collections.abc import Callable
from typing import Any

from ..kinds import is_generator
from ..lost import Lost
from .late_join import CatchUp
from .process import finalizers
from .tasks.dispatch import Target
from .tasks.feeds import Feed
from .tasks.noted import Noted, split
from .tasks.responder import Responder
from .tasks.snapshots import UNCHANGING, Keeper, settled
from .tasks.stream import Delivery, Detailed, Stream
from .tasks.validation import GeneratorTask, check_task

Key = tuple[object, ...]


def mark() -> int:
    """Return a number between the serials of subscriptions made before and after this call."""
    return next(_serials)


_serials = itertools.count()


class Forwarder:
    """Marks exchanges as tasks: they pass on only messages that were sent in this process."""

    __slots__ = ()
    name: str

    def _send_noted(self, item: Noted) -> None:
        """Hand on a message with headers."""
        raise NotImplementedError

    def _audience(self) -> "list[Subscription]":
        """Return the subscriptions that get its messages."""
        raise NotImplementedError


class Subscription:
    """One attached task, and the form of its messages."""

    __slots__ = (
        "accept", "catch_up", "count", "details", "forwarder", "history", "key", "names", "preload",
        "responder", "sent", "serial", "task",
    )  # fmt: skip

    def __init__(
        self, task: object, key: Key, accept: Target, *, names: bool = False, history: int = 0
    ) -> None:
        self.task = task
        self.key = key
        self.calls(accept)
        self.names = names
        self.details = task.details if isinstance(task, Feed) else isinstance(task, Detailed)
        self.forwarder = isinstance(task, Forwarder)
        self.history = history
        self.catch_up: CatchUp | None = None  # set for a late joiner
        self.responder: Responder | None = None  # set if it gets questions, and no messages
        self.count = 1
        self.serial = next(_serials)

    def calls(self, accept: Target) -> None:
        """Have the task called by ``accept``."""
        task: Any = self.task
        self.accept = accept  # for messages of peers, and for those that `item` has shaped
        self.sent: Target = task.keep if isinstance(task, Keeper) else accept
        self.preload: Target = task.preload if isinstance(task, Feed) else accept

    def item(self, name: str, msg: object, sent_at: float) -> object:
        """Return the form in which `accept` gets a message that was sent in this process."""
        msg, headers = split(msg)
        if type(msg) not in UNCHANGING and isinstance(self.task, Keeper):
            msg = settled(msg)
        if self.details:
            return Delivery(name, msg, None, None, sent_at, headers)
        return (name, msg) if self.names else msg

    def target(self, name: str) -> Target:
        """Return the target of messages sent on exchange ``name``: mostly the bare `send`."""
        return Shaped(self, name) if self.details or self.names else self.sent

    def arrival(self, name: str) -> Target:
        """Return the target of messages that arrive on exchange ``name``."""
        return Named(self, name) if self.names else self.accept

    def hand_on(self, item: Delivery | Lost, early: bool) -> object:
        """Give the task an item in its form; ``early`` if it comes before all live messages."""
        target = self.preload if early else self.accept
        if self.details:
            return target(item)
        if not isinstance(item, Delivery):
            return None  # a `Lost`, which only streams with details get
        return target((item.name, item.msg) if self.names else item.msg)


class Shaped:
    """Calls a task that gets messages in another form than the bare message."""

    __slots__ = ("_name", "subscription")

    def __init__(self, subscription: Subscription, name: str) -> None:
        self.subscription = subscription
        self._name = name

    def __call__(self, msg: object) -> object:
        """Hand on ``msg`` in the form that the subscription wants."""
        subscription = self.subscription
        return subscription.accept(subscription.item(self._name, msg, time.time()))


class Named(Shaped):
    """Calls a task with the name and a message that has arrived."""

    __slots__ = ()

    def __call__(self, msg: object) -> object:
        """Hand on ``msg`` with the name."""
        return self.subscription.accept((self._name, msg))


class Late(Shaped):
    """Stands in for one late joiner, for messages sent here, until it was given its history."""

    __slots__ = ()

    def __call__(self, msg: object) -> object:
        """Park a live message, or pass it on if the history was given."""
        (msg, headers), catch_up = split(msg), self.subscription.catch_up
        msg = settled(msg)
        if not headers and finalizers.later(self, msg, message=True):
            return None
        item = Delivery(self._name, msg, None, None, time.time(), headers)
        return None if catch_up is None else catch_up(item)


def key_of(task: object, names: bool = False) -> Key:
    """Return the key that identifies ``task``: by identity, not by equality."""
    return (id(held(task)), names)


def held(task: object) -> object:
    """Return the object that is held for an attached task: for a stream, its feed."""
    return task._feed if isinstance(task, Stream) else task


def key_of_call(fn: object) -> Key:
    """Return the key of a handler; a bound method is a new object each time it is accessed."""
    if isinstance(fn, types.MethodType):
        return (id(fn.__self__), id(fn.__func__))
    if isinstance(fn, types.BuiltinMethodType):
        return (id(fn.__self__), fn.__name__)
    return ("call", id(fn))


def subscription_of(
    task: object, ended: Callable[[Subscription], None], names: bool, history: int
) -> Subscription:
    """Return the subscription of ``task``, not yet in any table.

    Args:
        task: the task to attach.
        ended: called with the subscription when its task turns out to be finished.
        names: whether the task gets ``(name, msg)``.
        history: how many retained messages come first at most.

    Raises:
        NotASubscriber: the task cannot be given messages; the text names the adapter.
    """
    if history < 0:
        raise ValueError(f"history is a number of messages, not {history}")
    task = held(task)
    accept = check_task(task)
    subscription = Subscription(task, key_of(task, names), accept, names=names, history=history)
    if is_generator(task):
        turns = GeneratorTask(task, lambda: ended(subscription))
        subscription.calls(turns.send)
    return subscription
