"""The last messages of an exchange, and how a late joiner catches up with them.

What is sent meanwhile is parked behind the history, so that nothing is missing,
nothing comes twice, and all of it comes in order. Everything here is guarded by the
lock of the exchange; no task is called under it.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from . import finalisers
from .outcome import Target
from .snapshots import settled
from .subscriptions import Subscription

if TYPE_CHECKING:
    from .routing import Routing

Kept = tuple[object, float]
"""A message, and when it was sent in seconds since the epoch."""
_NOTHING = object()


class Ring:
    """The last ``size`` messages that were sent in this process."""

    __slots__ = ("_carried", "_kept", "size", "total")

    def __init__(self, size: int, kept: Iterable[Kept] = ()) -> None:
        self.size = size
        """How many messages it keeps at most."""
        self._kept: deque[Kept] = deque(deque(kept, size))
        self.total = len(self._kept)
        """How many messages it has kept so far."""
        self._carried = 0

    def resized(self, size: int) -> "Ring":
        """Return a ring of another size with what fits of this one."""
        ring = Ring(size, self._kept)
        ring._carried = max(0, ring.total - self.total + self._carried)
        return ring

    def keep(self, msg: object) -> Kept | None:
        """Add a message; return the oldest, which goes when there are too many.

        It is the caller's to let go of, outside the lock: a message may have a finaliser.
        """
        kept = self._kept
        kept.append((msg, time.time()))
        self.total += 1
        return kept.popleft() if self.total > self.size else None

    def carried(self) -> None:
        """Note that all of it has been given to other nodes, by a node that has gone since."""
        self._carried = self.total

    def not_carried(self) -> list[Kept]:
        """Return what is kept and was not given to other nodes by a former node."""
        return self.last(min(self.total - self._carried, len(self._kept)))

    def last(self, n: int) -> list[Kept]:
        """Return up to the last ``n`` messages, oldest first."""
        return list(self._kept)[-n:] if n else []


class CatchUp:
    """Stands in for a late joiner until its history is through."""

    __slots__ = ("_cancelled", "_exchange", "_items", "_through", "subscription")

    def __init__(
        self, exchange: "Routing[Any]", subscription: Subscription, kept: list[Kept]
    ) -> None:
        self._exchange = exchange
        self.subscription = subscription
        self._items = deque(subscription.item(exchange.name, *entry) for entry in kept)
        self._through = self._cancelled = False

    def __call__(self, msg: object) -> object:
        """Take a live message: park it, or pass it on once the history is through."""
        if finalisers.later(self, settled(msg), message=True):
            return None
        item = self.subscription.item(self._exchange.name, settled(msg), time.time())
        with self._exchange.lock:
            if self._cancelled:
                return None
            if not self._through:
                self._items.append(item)
                return None
        return self.subscription.accept(item)

    def cancel(self) -> None:
        """Hand on no more: the task was detached. The lock is held."""
        self._cancelled = True

    def run(self, on_error: Callable[[Target, BaseException], None]) -> None:
        """Hand on all that is parked, on the joiner's thread, until nothing is.

        A mailbox takes it beyond its bound: the joiner would wait for itself otherwise.

        Raises:
            KeyboardInterrupt: or SystemExit, after all was handed on.
        """
        preload, end = self.subscription.preload, list[BaseException]()
        while (item := self._next()) is not _NOTHING:
            try:
                preload(item)
            except (KeyboardInterrupt, SystemExit) as error:
                end.append(error)
            except BaseException as error:
                on_error(self, error)
        if end:
            raise end.pop(0)

    def _next(self) -> object:
        """Return the next that is parked; without any the history is through."""
        with self._exchange.lock:
            if self._items and not self._cancelled:
                return self._items.popleft()
            self._through = True
            return _NOTHING
