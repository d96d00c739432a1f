"""One attached task: under which identity, and in which form it gets its messages.

Tasks are told apart by identity and counted. Nothing here knows where a task is
attached, and nothing here calls it but through what an exchange was given.
"""

import itertools
import time
import weakref
from typing import TYPE_CHECKING, Any, Protocol

from .feeds import Feed
from .outcome import Target
from .snapshots import UNCHANGING, Keeper, settled
from .stream import Delivery

if TYPE_CHECKING:
    from typing_extensions import TypeVar  # as in `stream`

    from .arrears import Arrears

    M = TypeVar("M", contravariant=True, default=Any)
else:
    from typing import TypeVar

    M = TypeVar("M", contravariant=True)

Key = tuple[object, ...]


def mark() -> int:
    """Return a number between the serials of what is attached already, and of what will be."""
    return next(_serials)


class Task(Protocol[M]):
    """Anything with a synchronous ``send(msg)``; what it returns does not matter."""

    def send(self, msg: M, /) -> object:
        """Take one message."""
        ...


_serials = itertools.count()
_NONE: weakref.WeakSet[object] = weakref.WeakSet()


class Forwarder:
    """Marks tasks that pass on only what was sent in this process: exchanges."""

    __slots__ = ()


class Subscription:
    """One attached task, and what its messages look like."""

    __slots__ = (
        "accept", "arrears", "begun", "count", "details", "forwarder", "history", "key", "left",
        "names", "preload", "sent", "serial", "task",
    )  # fmt: skip

    def __init__(
        self, task: object, key: Key, accept: Target, *, names: bool = False, history: int = 0
    ) -> None:
        self.task = task
        self.key = key
        self.calls(accept)
        self.names = names
        self.details = isinstance(task, Feed) and task.details
        self.forwarder = isinstance(task, Forwarder)
        self.history = history
        # Exchanges that have begun to give it their history; one that is gone keeps nothing.
        self.begun: weakref.WeakSet[object] = weakref.WeakSet() if history else _NONE
        self.arrears: Arrears | None = None  # what other nodes owe it
        self.left: tuple[object, ...] = ()  # what it was still to get when it left
        self.count = 1
        self.serial = next(_serials)

    def calls(self, accept: Target) -> None:
        """Have the task called by ``accept``."""
        task: Any = self.task
        self.accept = accept  # takes what has arrived, and what `item` makes of a message
        self.sent: Target = task.keep if isinstance(task, Keeper) else accept
        self.preload: Target = task.preload if isinstance(task, Feed) else accept

    def item(self, name: str, msg: object, sent_at: float) -> object:
        """Return what `accept` gets for a message that was sent in this process."""
        if type(msg) not in UNCHANGING and isinstance(self.task, Keeper):
            msg = settled(msg)
        if self.details:
            return Delivery(name, msg, None, None, sent_at)
        return (name, msg) if self.names else msg

    def target(self, name: str) -> Target:
        """Return what exchange ``name`` calls with what is sent: mostly the bare `send`."""
        return Shaped(self, name) if self.details or self.names else self.sent

    def arrival(self, name: str) -> Target:
        """Return what exchange ``name`` calls with what has arrived."""
        return Named(self, name) if self.names else self.accept


class Shaped:
    """Calls a task that wants more than the bare message."""

    __slots__ = ("_name", "subscription")

    def __init__(self, subscription: Subscription, name: str) -> None:
        self.subscription = subscription
        self._name = name

    def __call__(self, msg: object) -> object:
        """Hand on ``msg`` in the form that the subscription wants."""
        subscription = self.subscription
        return subscription.accept(subscription.item(self._name, msg, time.time()))


class Named(Shaped):
    """Calls a task that wants the name, too, with what has arrived."""

    __slots__ = ()

    def __call__(self, msg: object) -> object:
        """Hand on ``msg`` with the name."""
        return self.subscription.accept((self._name, msg))
