"""Names to exchanges, patterns to views, and who wants to hear of both.

Exchanges, views and their registry lead to each other, so that users see all three classes
here. What an exchange and a view do lies below, and knows of a registry only what it calls.

The same name is the same object, atomically: a lookup of an existing name takes no
lock. Where there are many, those that nothing is attached to *rest*: they are held
weakly, and go when nobody refers to them any more. Observers learn of new exchanges and
of interest; what they do with it, and that there is a network at all, is not known here.
"""

import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import Any, Protocol, overload

from ..names import Patterns, check_name, check_pattern, is_pattern, matches
from .exchange import ExchangeBase
from .late_join import RemoteCatchUp
from .process import finalizers
from .process.fork import track
from .process.logs import log
from .subscribers import SubscriberTable
from .subscription import Subscription
from .tasks.feeds import orphans, tidy
from .tasks.stream import T
from .typed.codecs import Codec
from .view import ViewBase

AWAKE = 4096
"""Exchanges that are held strongly in any case. Of more, the oldest rest."""
LOOKED_AT = 4
"""Exchanges that are looked at for each that is made: more than one, or those that are used
would keep others from resting."""


class Exchange(ExchangeBase[T]):
    """A named channel: ``send(msg)`` hands ``msg`` to every attached task.

    Get one from `get_exchange` or a `Registry`: the same name is the same object, a copy is
    the exchange itself, and what was pickled is the exchange of that name where it is unpickled.
    Every method may be called by any thread, from inside a task as well.
    """

    __slots__ = ()
    registry: "Registry"


class View(ViewBase):
    """All exchanges that a pattern covers, to receive from; get it from `match`.

    Attributes:
        pattern: what names must match; ``*`` is one level, a last ``**`` zero or more.
    """

    __slots__ = ()
    registry: "Registry"


class Observer(Protocol):
    """Hears of new exchanges and of interest, on whatever thread causes it.

    The methods are called under the registry's lock, in the order of the changes: they
    must only queue. `revive` and `retention_changed` are called outside every lock.
    """

    def exchange_added(self, exchange: Exchange[Any]) -> None:
        """A new exchange; nobody has it yet."""
        ...

    def check_interest(self, keys: int, patterns: int, size: int) -> None:
        """So many names and patterns are to be wanted, patterns among them.

        Raises:
            LimitReached: that is more than it can tell of; nothing is changed.
        """
        ...

    def interest_added(self, key: str) -> None:
        """The first task that wants what arrives came to a name or a pattern."""
        ...

    def interest_removed(self, key: str) -> None:
        """The last one left."""
        ...

    def history_added(self, key: str, arrears: RemoteCatchUp) -> None:
        """A task came to a name or a pattern, as one of several perhaps, and asks for history.

        The observer calls ``arrears.begin(origin)`` for each origin that may have some, on
        the thread that delivers, and then ``arrears.noted(observer)``; or at once
        ``arrears.decline(observer)``. If it knows of nobody yet, ``arrears.alone(observer)``.
        What is given to the joiner before that is for it to `RemoteCatchUp.expire`.
        """
        ...

    def retention_changed(self, exchange: Exchange[Any]) -> None:
        """An exchange keeps more, or less, from now on; called outside every lock."""
        ...

    def message_refused(
        self, exchange: Exchange[Any], origin: str, seq: int | None, reason: str, detail: str
    ) -> bool:
        """A message arrived that is not of the exchange's type; tell if it came by this observer.

        On the thread that delivers, outside every lock, in the place of the message, which is
        ``seq``; None if it is of the history that a late joiner is given.
        """
        ...

    def revive(self) -> None:
        """This is a forked child, and the registry is used in it for the first time."""
        ...


class Registry:
    """Named exchanges; programs share `default_registry`, tests may have their own.

    Every method may be called by any thread.
    """

    def __init__(self) -> None:
        self.time = time.time
        """Tells when something is sent, in seconds since the epoch."""
        self._exchanges: dict[str, Exchange[Any]] = {}
        self._known = self._exchanges  # what `get` looks into; emptied to catch its first use
        self._nascent: dict[str, Exchange[Any]] = {}
        self._resting: weakref.WeakValueDictionary[str, Exchange[Any]]
        self._resting = weakref.WeakValueDictionary()
        self._views: dict[str, View] = {}
        self._covering: Patterns[View] = Patterns()
        self._uncovered: set[str] = set()
        self._retained: dict[str, int] = {}
        self._arrears: dict[RemoteCatchUp, str] = {}
        self._interest: Counter[str] = Counter()
        self._patterns = 0
        """How many patterns are among them."""
        self._interest_size = 0
        """How many bytes they have together; patterns count twice."""
        self._observers: tuple[Observer, ...] = ()
        self._forked = False
        self._lock = threading.RLock()
        track(self)

    # Looking up.

    @overload
    def get(self, name: str) -> Exchange[Any]: ...

    @overload
    def get(self, name: str, *, type: type[T], codec: Codec[T] | None = None) -> Exchange[T]: ...

    def get(self, name: str, *, type: Any = None, codec: Codec[Any] | None = None) -> Exchange[Any]:
        """Return the exchange of that name, made at the first call.

        With ``type=`` its messages are of that type from now on, for all of this process.
        `Exchange.send` checks them, and local tasks get the very object. What leaves is
        plain, a dict of fields, which a process without a type gets as it is, and one with
        a type as an instance of that. What arrives and does not fit no task gets: it is a
        `Rejected` event. Missing fields get their default, unknown ones are ignored. A class
        that is defined again, by a notebook's cell or a reloaded module, takes the place of
        the one of its name.

        Args:
            name: dots make levels.
            type: a dataclass, or what such are made of; a ``msgspec.Struct`` or a pydantic
                model, with the extras of these names; or anything, with ``codec``.
            codec: what makes messages plain, and plain values messages; else it is chosen
                by the type.

        Raises:
            InvalidName: it is no name, or a pattern; then the text points to `match`.
            TypeError: there is no codec for the type; the text says why.
            ValueError: the exchange has another type in this process.
        """
        try:
            exchange = self._known[name]
        except (KeyError, TypeError):
            exchange = self._make(check_name(name))
        if type is None and codec is None:
            return exchange
        if not finalizers.later(exchange._declare, type, codec):
            exchange._declare(type, codec)
        return exchange

    def _recall(self, wanted: SubscriberTable[Any]) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """Return what gives the exchange, or view, of that name in another process, for `pickle`.

        Raises:
            TypeError: this is not the default registry, which every process has.
        """
        if self is not default_registry:
            raise TypeError(
                f"{wanted!r} belongs to a Registry of this process and cannot be pickled:"
                " pass its name"
            )
        if isinstance(wanted, Exchange):
            declared = wanted._declared
            return partial(get_exchange, wanted.name, **(declared.declared if declared else {})), ()
        return match, (wanted._key,)

    def find(self, name: str) -> Exchange[Any] | None:
        """Return the exchange of that name if there is one."""
        self._wake()
        return self._exchanges.get(name) or self._resting.get(name)

    def _has(self, name: str) -> bool:
        """Tell whether there is, or is about to be, an exchange of that name; takes no lock."""
        return name in self._nascent or name in self._exchanges or name in self._resting

    def match(self, pattern: str) -> View:
        """Return the view of all exchanges that ``pattern`` covers; same pattern, same object.

        Raises:
            InvalidName: it is malformed, or has ``**`` anywhere but at the end.
        """
        check_pattern(pattern)
        if finalizers.collecting is not None and finalizers.here():
            return self._begin_view(pattern)
        self._wake()
        with self._lock:
            view = self._views.get(pattern)
            if view is None or pattern in self._uncovered:
                view = self._views.setdefault(pattern, View(pattern, self))
                self._covering.set(pattern, view)
                self._uncovered.discard(pattern)
            return view

    def _begin_view(self, pattern: str) -> View:
        """Return a view to a finaliser; what covers which name, another thread says soon."""
        view = self._views.get(pattern)
        if view is None:
            self._uncovered.add(pattern)
            view = self._views.setdefault(pattern, View(pattern, self))
            finalizers.later(self.match, pattern)
        return view

    def exchanges(self) -> list[Exchange[Any]]:
        """Return every exchange there is."""
        with self._lock:
            return [*self._resting.values(), *self._exchanges.values()]

    def _viewers(self, name: str) -> list[Subscription]:
        """Return what is attached to the views that cover ``name``, the oldest view first."""
        views = sorted(self._covering.covering(name), key=lambda view: view._serial)
        return [subscription for view in views for subscription in view._subscriptions()]

    def _make(self, name: str) -> Exchange[Any]:
        """Return the exchange ``name`` by the slow way; observers have it before anybody."""
        if finalizers.collecting is not None and finalizers.here():
            return self._begin_exchange(name)
        self._wake()
        with self._lock:
            exchange = self._exchanges.get(name) or self._nascent.get(name)
            if exchange is None and (exchange := self._resting.get(name)):
                exchange = self._exchanges.setdefault(name, exchange)
                self._resting.pop(name, None)
            elif exchange is None:
                fresh = self._nascent[name] = Exchange(name, self, self.retention(name))
                self._tell(lambda observer: observer.exchange_added(fresh))
                # Unless a finaliser has begun one meanwhile, of which they are told by it.
                exchange = self._exchanges.setdefault(name, fresh)
                del self._nascent[name]
                self._let_rest(min(len(self._exchanges) - AWAKE, LOOKED_AT))
            return exchange

    def _begin_exchange(self, name: str) -> Exchange[Any]:
        """Return an exchange to a finaliser; another thread tells observers soon."""
        exchange = self._exchanges.get(name) or self._nascent.get(name) or self._resting.get(name)
        if exchange is None:
            fresh = Exchange(name, self, self.retention(name))
            exchange = self._exchanges.setdefault(name, fresh)
            if exchange is fresh:
                finalizers.later(self._introduce, fresh)
        return exchange

    def _introduce(self, exchange: Exchange[Any]) -> None:
        """Have an exchange, which somebody may have already, keep as much as it should."""
        exchange._resize_ring()
        self._tell(lambda observer: observer.retention_changed(exchange))

    def _let_rest(self, most: int) -> None:
        """Hold the oldest exchanges weakly, as far as they are idle; the lock is held.

        In each step a name is found: who looks takes no lock.
        """
        for name in list(islice(self._exchanges, max(0, most))):
            exchange = self._exchanges[name]
            if exchange._expendable:
                self._resting[name] = exchange
                del self._exchanges[name]
            else:  # to the end
                self._nascent[name] = exchange
                del self._exchanges[name]
                self._exchanges[name] = exchange
                del self._nascent[name]

    def _keep(self, name: str) -> None:
        """Hold an exchange that is idle no more; called after the change that makes it so."""
        with self._lock:
            exchange = self._resting.get(name)
            if exchange is not None:
                self._exchanges.setdefault(name, exchange)
                self._resting.pop(name, None)

    # Retention.

    def retain(self, pattern: str, n: int) -> None:
        """Keep the last ``n`` messages sent on each exchange that ``pattern`` covers.

        Late joiners ask for them with ``history=``. Where several patterns cover a name,
        the largest number counts. ``n=0`` takes the pattern back.
        """
        check_pattern(pattern)
        if n < 0:
            raise ValueError(f"n is a number of messages, not {n}")
        if finalizers.later(self.retain, pattern, n):
            return
        with self._lock:
            others = {other: most for other, most in self._retained.items() if other != pattern}
            self._retained = {**others, pattern: n} if n else others
            exchanges = self.exchanges()
        for exchange in exchanges:
            if matches(pattern, exchange.name):
                self._introduce(exchange)

    def retention(self, name: str) -> int:
        """Return how many messages the exchange ``name`` keeps."""
        return max((n for p, n in self._retained.items() if matches(p, name)), default=0)

    # Observers.

    def _observe(self, observer: Observer) -> frozenset[str]:
        """Have ``observer`` told from now on; return the interest there is already.

        Raises:
            LimitReached: that is more than it can tell of.
        """
        with self._lock:
            observer.check_interest(len(self._interest), self._patterns, self._interest_size)
            if not any(present is observer for present in self._observers):
                self._observers = (*self._observers, observer)
            return frozenset(self._interest)

    def _unobserve(self, observer: Observer) -> None:
        """Undo `_observe`; without effect if it does not observe."""
        with self._lock:
            self._observers = tuple([o for o in self._observers if o is not observer])

    def _tell(self, event: Callable[[Observer], object]) -> list[object]:
        """Call the observers; one that fails robs neither the others nor the program."""
        answers = list[object]()
        for observer in self._observers:
            try:
                answers.append(event(observer))
            except Exception:
                log.exception("an observer of the registry failed")
        return answers

    def _interest_up(self, key: str) -> None:
        """Count one more exchange or view of that name or pattern with interested tasks.

        Raises:
            LimitReached: there are too many for an observer; nothing is changed.
        """
        with self._lock:
            if key not in self._interest:
                patterns, size = self._patterns + is_pattern(key), self._interest_size + _size(key)
                for observer in self._observers:
                    observer.check_interest(len(self._interest) + 1, patterns, size)
                self._patterns, self._interest_size = patterns, size
            self._interest[key] += 1
            if self._interest[key] == 1:
                self._tell(lambda observer: observer.interest_added(key))

    def _interest_down(self, key: str) -> None:
        """Undo one `_interest_up`."""
        with self._lock:
            self._interest[key] -= 1
            if self._interest[key] <= 0:
                del self._interest[key]
                self._patterns -= is_pattern(key)
                self._interest_size -= _size(key)
                self._tell(lambda observer: observer.interest_removed(key))

    def _refused(
        self, exchange: Any, origin: str, seq: int | None, reason: str, detail: str
    ) -> bool:
        """Tell observers that a message arrived and does not fit; return if it was of one."""
        refused = exchange, origin, seq, reason, detail
        return any(self._tell(lambda observer: observer.message_refused(*refused)))

    def _history_up(self, key: str, arrears: RemoteCatchUp) -> None:
        """Have one more late joiner given the history of other nodes."""
        with self._lock:
            if arrears.cancelled:
                return  # it has left meanwhile
            self._arrears[arrears] = key
            arrears.asked(self._observers)
            self._tell(lambda observer: observer.history_added(key, arrears))

    def _history_down(self, arrears: RemoteCatchUp) -> object:
        """Undo `_history_up`, and return what the joiner was still to get."""
        left = arrears.cancel()
        with self._lock:
            self._arrears.pop(arrears, None)
        return left

    def _joiners(self) -> list[tuple[str, RemoteCatchUp]]:
        """Return, with its name or pattern, what is owed to each who asked for history."""
        with self._lock:
            return [(key, arrears) for arrears, key in self._arrears.items()]

    # Fork.

    def _after_fork(self) -> None:
        """Make the lock anew; have the first use in this child revive the observers."""
        self._lock = threading.RLock()
        self._nascent = {}
        # Made anew: a thread of the parent that was reading it puts off for ever what goes.
        self._resting = weakref.WeakValueDictionary(list(self._resting.items()))
        audiences = [*self.exchanges(), *self._views.values()]
        self._interest = Counter(a._key for a in audiences if a._has_interested_task())
        self._patterns = sum(map(is_pattern, self._interest))
        self._interest_size = sum(map(_size, self._interest))
        self._forked = bool(self._observers)
        if self._forked:
            self._known = {}

    def _wake(self) -> None:
        """Called, outside every lock, at each use that is not on a fast path."""
        if self._forked:
            self._revive()
        if orphans:
            tidy()

    def _revive(self) -> None:
        """Revive the observers, once; what they do in there finds the registry in order."""
        if finalizers.here():
            return
        with self._lock:
            forked, self._forked = self._forked, False
        if forked:
            self._tell(lambda observer: observer.revive())
        self._known = self._exchanges


def _size(key: str) -> int:
    """Return the bytes of a name, or of a pattern, which is subscribed to in two ways."""
    return len(key.encode()) * (1 + is_pattern(key))


default_registry = Registry()
"""The registry behind `get_exchange` and `match`."""


@overload
def get_exchange(name: str) -> Exchange[Any]: ...


@overload
def get_exchange(name: str, *, type: type[T], codec: Codec[T] | None = None) -> Exchange[T]: ...


def get_exchange(name: str, *, type: Any = None, codec: Codec[Any] | None = None) -> Exchange[Any]:
    """Return the exchange of that name, made at the first call; see `Registry.get`."""
    return default_registry.get(name, type=type, codec=codec)


def match(pattern: str) -> View:
    """Return the view of all exchanges that ``pattern`` covers; see `Registry.match`."""
    return default_registry.match(pattern)


def retain(pattern: str, n: int) -> None:
    """Keep the last ``n`` messages of each exchange for late joiners; see `Registry.retain`."""
    default_registry.retain(pattern, n)
