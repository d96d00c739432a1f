"""A pattern to receive by: covers every exchange whose name matches, later ones too.

A view has subscriptions and no messages: exchanges ask it who is attached when they
work out whom to call, and it tells them when that changes. Nothing is sent to a view.
"""

import itertools
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Literal, overload

from ..lost import Lost
from ..names import matches
from .interfaces import RegistryCalls
from .subscribers import SubscriberTable
from .subscription import Key, Subscription, key_of
from .tasks.mailbox import Overflow
from .tasks.stream import Delivery, Stream
from .tasks.task import Task

_serials = itertools.count()


class ViewBase(SubscriberTable[Any]):
    """All that a view does: `View` adds only of what type its registry is."""

    __slots__ = ("_serial", "pattern")

    def __init__(self, pattern: str, registry: RegistryCalls) -> None:
        super().__init__(pattern, registry)
        self.pattern = pattern
        self._serial = next(_serials)

    def __repr__(self) -> str:
        return f"<View {self.pattern!r}, {len(self._table)} tasks>"

    def _covers(self, exchange: Any) -> bool:
        return exchange.registry is self.registry and matches(self.pattern, exchange.name)

    def attach(self, task: Task[Any], *, names: bool = False, history: int = 0) -> None:
        """Have ``task.send`` called with each message of every exchange that is covered.

        A task that is attached in several ways still gets each message once.

        Args:
            task: anything with a synchronous ``send(msg)``; told apart by identity.
            names: the task gets ``(name, msg)``; counts as another task than without.
            history: up to so many retained messages of each exchange come first, in order; see
                `Exchange.attach`.

        Raises:
            NotASubscriber: the task cannot be given messages; the text names the adapter.
        """
        self._attach(task, history, names)

    @contextmanager
    def subscribe(self, *tasks: Task[Any], names: bool = False) -> Generator[None, None, None]:
        """Attach ``tasks`` inside a ``with`` block; all of them or none.

        Raises:
            NotASubscriber: as `attach`; the tasks before it are detached again.
        """
        with self._held(tasks, lambda task: self.attach(task, names=names)):
            yield

    @overload
    def stream(
        self,
        maxsize: int = 1000,
        overflow: Overflow | None = None,
        details: Literal[False] = False,
        history: int = 0,
        *,
        names: Literal[False] = False,
    ) -> Stream[Any]: ...

    @overload
    def stream(
        self,
        maxsize: int = 1000,
        overflow: Overflow | None = None,
        *,
        details: Literal[True],
        history: int = 0,
        names: Literal[False] = False,
    ) -> Stream[Delivery[Any] | Lost]: ...

    @overload
    def stream(
        self,
        maxsize: int = 1000,
        overflow: Overflow | None = None,
        details: Literal[False] = False,
        history: int = 0,
        *,
        names: Literal[True],
    ) -> Stream[tuple[str, Any]]: ...

    @overload
    def stream(
        self,
        maxsize: int = 1000,
        overflow: Overflow | None = None,
        details: bool = False,
        history: int = 0,
        *,
        names: bool = False,
    ) -> Stream[Any]: ...

    # The last form covers what the base's last two say of a view, which pyright does not see.
    def stream(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        maxsize: int = 1000,
        overflow: Overflow | None = None,
        details: bool = False,
        history: int = 0,
        *,
        names: bool = False,
    ) -> Stream[Any]:
        """Return a stream of what all covered exchanges send; see `Exchange.stream`.

        Args:
            maxsize: so many messages wait at most.
            overflow: what happens with one more, as for `Exchange.stream`.
            details: yield `Delivery`, which has the name, and `Lost` in its place.
            history: up to so many retained messages of each exchange come first.
            names: yield ``(name, msg)``.
        """
        return self._stream(maxsize, overflow, details, history, names)

    def _keys(self, task: object) -> tuple[Key, ...]:
        return key_of(task), key_of(task, names=True)

    def _rerouted(self) -> None:
        """See `SubscriberTable._rerouted`."""
        for exchange in self.registry.exchanges():
            if self._covers(exchange):
                exchange._rerouted()

    def _afterwards(self, subscription: Subscription) -> None:
        # The view's lock is free again: an exchange takes its own first, then this one.
        if self._table.get(subscription.key) is subscription:
            for exchange in self.registry.exchanges():
                if self._covers(exchange):
                    exchange._admit(subscription)
        else:
            self._rerouted()
