"""What a late joiner is owed by other nodes, and what waits until it has that.

A joiner that asked for history gets nothing live of a node until that node's history is
through; then it is like the others. Who those nodes are, and how their history comes, is
not known here: whoever observes the registry says so.
"""

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from .outcome import Target
from .stream import Delivery
from .subscriptions import Subscription

if TYPE_CHECKING:
    from .registry import Registry


class Notice(Protocol):
    """Something that takes the place of messages: of which origin and exchange, and the first."""

    @property
    def origin(self) -> str:
        """Whose messages."""
        ...

    @property
    def exchange(self) -> str:
        """The name of the exchange."""
        ...

    @property
    def first(self) -> int:
        """The number of the first of them."""
        ...


class Arrears:
    """Stands in for one late joiner, where messages arrive, while it is owed history."""

    __slots__ = (
        "_awaited", "_cancelled", "_lock", "_parked", "_registry", "_reroute", "_through",
        "_unsure", "most", "subscription",
    )  # fmt: skip

    def __init__(
        self,
        subscription: Subscription,
        registry: "Registry",
        observers: Iterable[object],
        reroute: Callable[[], None],
    ) -> None:
        self.subscription = subscription
        self.most = subscription.history
        """How many messages of each exchange and origin it asked for."""
        self._registry = registry
        self._reroute = reroute
        self._unsure = set(observers)
        self._awaited: set[str] = set()
        self._through: set[str] = set()
        self._parked: dict[str, list[Any]] = {}
        self._cancelled = False
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        return f"{self.subscription.task!r}"

    def after_fork(self) -> None:
        """Start anew in a forked child; what the parent was given is not given again."""
        self._lock = threading.RLock()
        self._unsure, self._awaited, self._parked = set(), set(), {}

    @property
    def open(self) -> bool:
        """Whether anything is owed, or may be."""
        return not self._cancelled and bool(self._unsure or self._awaited)

    @property
    def cancelled(self) -> bool:
        """Whether the joiner has left."""
        return self._cancelled

    def cancel(self) -> None:
        """Owe nothing any more: the joiner has left."""
        with self._lock:
            self._cancelled = True
            self._parked.clear()

    # ----------------------------------------------- for who observes the registry

    def noted(self, observer: object) -> None:
        """An observer has said, by `begin`, of whom history is to come."""
        with self._lock:
            was_open = self.open
            self._unsure.discard(observer)
            closed = was_open and not self.open
            # Of an origin that has left since, whoever observes it knows no more.
            left = [] if self._unsure else [o for o in self._parked if o not in self._awaited]
        for origin in left:
            self.complete(origin, [])
        if closed:
            self._reroute()

    def begin(self, origin: str) -> bool:
        """Have what comes of an origin wait; False if it does, or has been through before.

        On the thread that delivers what comes of it.
        """
        with self._lock:
            if self._cancelled or origin in self._through or origin in self._awaited:
                return False
            was_open = self.open
            self._awaited.add(origin)
        if not was_open:
            self._reroute()
        return True

    def live(self, origin: str, name: str) -> int | None:
        """Return the number of the first message of an exchange that waits, None without any."""
        with self._lock:
            for item in self._parked.get(origin, ()):
                where, number = _place(item)
                if where == name:
                    return number
            return None

    @property
    def parked(self) -> int:
        """How many messages wait."""
        return sum(map(len, list(self._parked.values())))

    def complete(self, origin: str, history: Sequence[Delivery]) -> None:
        """Hand on the history of an origin, then what has waited for it.

        On the thread that delivers what comes of it. Exchanges at which the same task is
        attached in another way too are left out: it has had their messages already.
        """
        subscription = self.subscription
        served = {name: self._serves(name) for name in {item.name for item in history}}
        for item in history:
            if served[item.name]:
                self._give(item, subscription.preload)
        while parked := self._take(origin):
            for item in parked:
                self._give(item, subscription.accept)
        if not self.open:
            self._reroute()

    def _take(self, origin: str) -> list[Any]:
        """Return what waits for an origin; if nothing does, it waits no more."""
        with self._lock:
            parked = self._parked.pop(origin, [])
            if not parked:
                self._awaited.discard(origin)
                self._through.add(origin)
            return parked

    def _serves(self, name: str) -> bool:
        exchange = self._registry.find(name)
        return exchange is not None and self.subscription in exchange.audience()

    def _give(self, item: Any, target: Target) -> None:
        if not self._cancelled:
            name = _place(item)[0]
            try:
                result = self._hand_on(item, target)
                if result is not None:
                    self._registry.get(name).judge(self, result)
            except BaseException as error:
                self._registry.get(name).log(self, error)

    # --------------------------------------------------------------------- arrivals

    def __call__(self, item: Any) -> object:
        """Take a `Delivery` or a `Notice` that arrived: park it, or pass it on."""
        with self._lock:
            if self._cancelled:
                return None
            if (self._unsure or self._awaited) and item.origin not in self._through:
                self._parked.setdefault(item.origin, []).append(item)
                return None
        return self._hand_on(item, self.subscription.accept)

    def _hand_on(self, item: Any, target: Target) -> object:
        subscription = self.subscription
        if subscription.details:
            return target(item)
        if not isinstance(item, Delivery):
            return None  # a notice, which only streams with details are given
        return target((item.name, item.msg) if subscription.names else item.msg)


def _place(item: Any) -> tuple[str, int]:
    """Return the exchange and the number of a delivery, or of the first that a notice is about."""
    if isinstance(item, Delivery):
        return item.name, item.seq or 0
    return item.exchange, item.first
