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
        """The number of the first of them; 0 if nobody knows it."""
        ...

    @property
    def last(self) -> int:
        """The number of the last of them."""
        ...


class Arrears:
    """Stands in for one late joiner, where messages arrive, while it is owed history."""

    __slots__ = (
        "__weakref__", "_awaited", "_cancelled", "_first", "_given", "_lock", "_parked",
        "_registry", "_reroute", "_through", "_unsure", "subscription",
    )  # fmt: skip

    def __init__(
        self,
        subscription: Subscription,
        registry: "Registry",
        reroute: Callable[[], None],
    ) -> None:
        self.subscription = subscription
        self._registry = registry
        self._reroute = reroute
        self._unsure: set[object] = {registry}
        self._awaited: set[str] = set()
        self._through: set[str] = set()
        self._parked: dict[str, list[Any]] = {}
        self._first: dict[tuple[str, str], int] = {}
        self._given: dict[tuple[str, str], int] = {}
        self._cancelled = False
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        return f"{self.subscription.task!r}"

    def after_fork(self) -> None:
        """Start anew in a forked child; what the parent was given is not given again."""
        self._lock = threading.RLock()
        self._unsure, self._awaited, self._parked, self._first = set(), set(), {}, {}

    @property
    def most(self) -> int:
        """How many messages of each exchange and origin it asked for."""
        return self.subscription.history

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
            self.subscription.left += (self._parked,)
            self._parked = {}
            self._first.clear()

    def asked(self, observers: Iterable[object]) -> None:
        """These are being told of the joiner; until now all that arrived had to wait."""
        with self._lock:
            self._unsure = set(observers)

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

    def decline(self, observer: object) -> None:
        """An observer knows of nobody; called as soon as it hears of the joiner."""
        with self._lock:
            self._unsure.discard(observer)

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
        return self._first.get((origin, name))

    def forgo(self, origin: str, name: str, last: int) -> None:
        """Drop what waits of an exchange up to a number: the history will reach that far.

        On the thread that delivers what comes of it.
        """
        with self._lock:
            if self._first.get((origin, name), last + 1) > last:
                return
            del self._first[origin, name]
            parked, kept = self._parked.pop(origin, []), list[Any]()
            for item in parked:
                of, number = _place(item)
                if of != name:
                    kept.append(item)
                elif number > last:
                    kept.append(item)
                    self._first.setdefault((origin, name), number)
            if kept:
                self._parked[origin] = kept

    def complete(self, origin: str, history: Sequence[Delivery], through: bool = True) -> None:
        """Hand on the history of an origin, then what has waited for it.

        On the thread that delivers what comes of it. Exchanges that the same task has got
        messages of in another way are left out: it has had them already. If the origin has
        left instead (``through`` is false) and comes again, it may `begin` again.
        """
        subscription = self.subscription
        served = {name: self._serves(name) for name in {item.name for item in history}}
        for item in history:
            if served[item.name] and (item.seq or 0) > self._given.get((origin, item.name), 0):
                self._give(item, subscription.preload)
        while parked := self._take(origin, through):
            for item in parked:
                self._give(item, subscription.accept)
                if not through:
                    name, number = _place(item)
                    self._given[origin, name] = number
        if not self.open:
            self._reroute()

    def _take(self, origin: str, through: bool) -> list[Any]:
        """Return what waits for an origin; if nothing does, it waits no more."""
        with self._lock:
            parked = self._parked.pop(origin, [])
            if not parked:
                self._awaited.discard(origin)
                for key in [key for key in self._first if key[0] == origin]:
                    del self._first[key]
                if through:
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
                name, number = _place(item)
                self._first.setdefault((item.origin, name), number)
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
    """Return the exchange and the number of a delivery, or of the first that a notice is about.

    Of a gap without a beginning, the one behind it: what is live begins there.
    """
    if isinstance(item, Delivery):
        return item.name, item.seq or 0
    return item.exchange, item.first or item.last + 1
