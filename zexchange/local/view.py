"""A pattern to receive by: it covers every exchange whose name matches, including later ones.

A view has subscriptions and no messages. An exchange that works out its targets asks the views that
cover it for theirs, and a view tells exchanges when its subscriptions change. Nothing is sent to a
view.
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
    """The behaviour of a view: `View` adds only the type of its registry."""

    __slots__ = ("_serial", "pattern")

    def __init__(self, pattern: str, registry: RegistryCalls) -> None:
        super().__init__(pattern, registry)
        self.pattern = pattern
        self._serial = next(_serials)

    def __repr__(self) -> str:
        return f"<View {self.pattern!r}, {len(self._table)} tasks>"

    def _covers(self, exchange: Any) -> bool:
        return exchange.registry is self.registry and matches(self.pattern, exchange.name)

    def attach(
        self,
        task: Task[Any],
        *,
        names: bool = False,
        history: int = 0,
        group: str | None = None,
        ahead: int = 0,
    ) -> None:
        """Have ``task.send`` called with each message of every exchange that is covered.

        A task that is attached in several ways still gets each message once.

        Args:
            task: anything with a synchronous ``send(msg)``; told apart by identity.
            names: the task gets ``(name, msg)``; it then counts as another task than without.
            history: how many retained messages of each exchange come first at most, in order; see
                `Exchange.attach`.
            group: take a share of the messages of each exchange, as a member of its group of this
                name; see `Exchange.attach`.
            ahead: as for `Exchange.attach`.

        Raises:
            NotASubscriber: the task cannot be given messages; the text names the adapter.
        """
        self._attach(task, history, names, group, ahead)

    @contextmanager
    def subscribe(
        self,
        *tasks: Task[Any],
        names: bool = False,
        group: str | None = None,
        ahead: int = 0,
    ) -> Generator[None, None, None]:
        """Attach ``tasks`` inside a ``with`` block; all of them or none.

        Raises:
            NotASubscriber: as `attach`; the tasks before it are detached again.
        """

        def attach(task: Task[Any]) -> None:
            self.attach(task, names=names, group=group, ahead=ahead)

        with self._held(tasks, attach, group):
            yield

    @overload
    def stream(
        self,
        maxsize: int | None = None,
        overflow: Overflow | None = None,
        details: Literal[False] = False,
        history: int = 0,
        *,
        names: Literal[False] = False,
        latest: bool = False,
        group: str | None = None,
        ahead: int = 0,
    ) -> Stream[Any]: ...

    @overload
    def stream(
        self,
        maxsize: int | None = None,
        overflow: Overflow | None = None,
        *,
        details: Literal[True],
        history: int = 0,
        names: Literal[False] = False,
        latest: bool = False,
        group: str | None = None,
        ahead: int = 0,
    ) -> Stream[Delivery[Any] | Lost]: ...

    @overload
    def stream(
        self,
        maxsize: int | None = None,
        overflow: Overflow | None = None,
        details: Literal[False] = False,
        history: int = 0,
        *,
        names: Literal[True],
        latest: bool = False,
        group: str | None = None,
        ahead: int = 0,
    ) -> Stream[tuple[str, Any]]: ...

    @overload
    def stream(
        self,
        maxsize: int | None = None,
        overflow: Overflow | None = None,
        details: bool = False,
        history: int = 0,
        *,
        names: bool = False,
        latest: bool = False,
        group: str | None = None,
        ahead: int = 0,
    ) -> Stream[Any]: ...

    # The last overload covers the last two of the base class, which pyright does not see.
    def stream(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        maxsize: int | None = None,
        overflow: Overflow | None = None,
        details: bool = False,
        history: int = 0,
        *,
        names: bool = False,
        latest: bool = False,
        group: str | None = None,
        ahead: int = 0,
    ) -> Stream[Any]:
        """Return a stream of the messages of all covered exchanges; see `Exchange.stream`.

        Args:
            maxsize: how many messages may wait; 1000 by default.
            overflow: what happens with one more, as for `Exchange.stream`.
            details: yield `Delivery`, which has the name, and `Lost` in the place of lost messages.
            history: how many retained messages of each exchange come first at most.
            names: yield ``(name, msg)``.
            latest: keep only the newest message of all covered exchanges together.
            group: take a share of the messages of each exchange; see `Exchange.stream`.
            ahead: as for `Exchange.stream`.
        """
        return self._stream(maxsize, overflow, details, history, names, latest, group, ahead)

    def _keys(self, task: object) -> tuple[Key, ...]:
        return key_of(task), key_of(task, names=True)

    def _rerouted(self) -> None:
        for exchange in self.registry.exchanges():
            if self._covers(exchange):
                exchange._rerouted()

    def _afterwards(self, subscription: Subscription) -> None:
        # Without the view's lock: an exchange takes its own lock first, then the view's.
        if self._table.get(subscription.key) is subscription:
            for exchange in self.registry.exchanges():
                if self._covers(exchange):
                    exchange._admit(subscription)
        else:
            self._rerouted()
