"""The registry: exchanges by name, views by pattern, and the observers of both.

Exchanges, views and their registry refer to one another, so the three classes that users see are
here. Their behaviour is in modules below, which know only the calls of a registry that they make.

The same name gives the same object, atomically, and looking up an existing name takes no lock. If
there are many exchanges, those without tasks *rest*: they are held weakly, and are collected when
nobody refers to them. Observers hear of new exchanges and of interest. The purpose of observers is
not known here, nor that there is a network.

`Registry` is one class because names, views, interest and observers change together, under one
lock.
"""

import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from itertools import islice
from typing import Any, Protocol, overload

from ..names import Patterns, check_name, check_pattern, is_pattern, matches
from .asking import Asking, Elsewhere
from .exchange import ExchangeBase
from .late_join import CatchUp
from .process import finalizers
from .process.fork import track
from .process.logs import log
from .sharing.member import Member, start_thread
from .sharing.roster import GroupStats, Roster
from .sharing.share import Sender
from .subscribers import SubscriberTable
from .subscription import Subscription
from .tasks import eventloops
from .tasks.bell import Bell
from .tasks.feeds import orphans, tidy
from .tasks.stream import T
from .typed.codecs import Codec
from .typed.declared_type import DeclaredType
from .view import ViewBase

AWAKE = 4096
"""How many exchanges are held strongly in any case. If there are more, the oldest rest."""
LOOKED_AT = 4
"""How many exchanges are examined for each new one: more than one, because exchanges in use would
otherwise keep the others from resting."""


class Exchange(ExchangeBase[T]):
    """A named channel: ``send(msg)`` hands ``msg`` to every attached task.

    Get one from `get_exchange` or a `Registry`. The same name gives the same object. A copy is the
    exchange itself, and a pickled exchange is unpickled as the exchange of that name there. Every
    method may be called by any thread, from inside a task as well.
    """

    __slots__ = ()
    registry: "Registry"


class View(ViewBase):
    """All exchanges that a pattern covers, to receive from; get it from `match`.

    Attributes:
        pattern: the pattern of names; ``*`` is one level, a last ``**`` zero or more.
    """

    __slots__ = ()
    registry: "Registry"


class Answers(Protocol):
    """The peers that answer, in one federation."""

    @property
    def there(self) -> Mapping[str, tuple[Elsewhere, ...]]:
        """Those that can be asked now, by exchange; replaced as a whole."""
        ...

    def holds_up(self) -> bool:
        """Return whether the calling thread must not wait for a peer's answer."""
        ...


class Observer(Protocol):
    """Hears of new exchanges and of interest, on the thread that causes the change.

    The methods are called under the registry's lock, in the order of the changes, so they must only
    queue. `retention_changed`, `message_refused` and `revive` are called outside every lock.
    """

    def exchange_added(self, exchange: Exchange[Any]) -> None:
        """An exchange was made; it is not yet returned to any caller."""

    def check_interest(self, keys: int, patterns: int, size: int) -> None:
        """Check whether peers can be told of so much interest.

        Called before interest grows, and when the observer is added.

        Args:
            keys: how many names and patterns there will be.
            patterns: how many of these are patterns.
            size: how many bytes they have together; patterns count twice.

        Raises:
            LimitReached: it is too much; the interest stays as it was.
        """

    def interest_changed(self, key: str, wanted: bool) -> None:
        """The first task that wants messages of peers was attached to a name or a pattern.

        If it is no longer ``wanted``, the last such task was detached from it.
        """

    def check_responders(self, exchanges: int) -> None:
        """Check whether peers can be told of so many exchanges with responders.

        Raises:
            LimitReached: there are too many.
        """

    def responders_changed(self, name: str, answers: bool) -> None:
        """An exchange has got its first responder; or, if not ``answers``, has lost its last."""

    @property
    def answers(self) -> Answers | None:
        """The peers that answer; None if the node does not run. Read outside every lock."""
        return None

    def check_members(self, members: int) -> None:
        """Check whether peers can be told of so many members of groups.

        Raises:
            LimitReached: there are too many.
        """

    def members_changed(self, member: Member, added: bool) -> None:
        """This process has a member of a group more, or one fewer."""

    def jobs_lost(self, exchange: str, group: str, first: int, last: int) -> None:
        """Messages for a group are lost, because it has no member; called outside every lock."""

    def history_added(self, key: str, catch_up: CatchUp) -> None:
        """A task that asks for history was attached to a name or a pattern, perhaps beside others.

        For each origin that may have some, the observer calls ``catch_up.begin(origin)`` on the
        thread that delivers, and afterwards ``catch_up.noted(observer)``. An observer that knows no
        origin yet calls ``catch_up.alone(observer)`` first; one that will know none calls this and
        ``catch_up.begun(observer)`` at once instead. The observer calls `CatchUp.expire` when
        the joiner has waited for long enough.
        """

    def retention_changed(self, exchange: Exchange[Any]) -> None:
        """An exchange keeps more or fewer messages from now on; called outside every lock."""

    def message_refused(
        self, exchange: Exchange[Any], origin: str, seq: int | None, reason: str, detail: str
    ) -> bool:
        """A message arrived that is not of the type of the exchange.

        Called on the thread that delivers, outside every lock, in place of the message. Its number
        is ``seq``, None if it is of the history that a late joiner is given. Returns whether the
        message came by this observer.
        """
        ...

    def revive(self) -> None:
        """This is a forked child, and the registry is used in it for the first time."""


class Registry:
    """Named exchanges; programs share `default_registry`, tests may have their own.

    Every method may be called by any thread.
    """

    def __init__(self) -> None:
        self.time = time.time
        """The clock for the times of sending: returns seconds since the epoch."""
        self.monotonic = time.monotonic
        """The clock for requests and groups; and below it, how callers of requests wait."""
        self.bell: Callable[[], Bell] = Bell
        self.event: Callable[[], threading.Event] = threading.Event
        """How senders wait for a group that has too many messages unhandled."""
        self.start_member: Callable[[Member], object] = start_thread
        """Starts the thread of a task that is a member of a group."""
        self._requests: Asking | None = None
        self._roster: Roster | None = None
        self._answering: dict[str, None] = {}
        """The exchanges with responders."""
        self._exchanges: dict[str, Exchange[Any]] = {}
        self._known = self._exchanges  # read by `get`; emptied by a fork, to catch the first use
        self._nascent: dict[str, Exchange[Any]] = {}
        self._resting: weakref.WeakValueDictionary[str, Exchange[Any]]
        self._resting = weakref.WeakValueDictionary()
        self._views: dict[str, View] = {}
        self._covering: Patterns[View] = Patterns()
        self._uncovered: set[str] = set()
        self._retained: dict[str, int] = {}
        self._conflated: tuple[str, ...] = ()
        self._catch_up: dict[CatchUp, str] = {}
        self._interest: Counter[str] = Counter()
        self._patterns = 0
        """How many keys of `_interest` are patterns."""
        self._interest_size = 0
        """How many bytes the keys have together; patterns count twice."""
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

        With ``type=``, its messages are of that type from now on, in all of this process.
        `Exchange.send` checks them, and local tasks get the object that was sent. Other processes
        are sent a plain value, a dict of the fields: tasks get it as it is where no type is
        declared, else as an instance of the type. A message that arrives and does not fit reaches
        no task, and causes a `Rejected` event. Missing fields get their default, unknown ones are
        ignored. A class that is defined again, by a notebook's cell or a reloaded module, replaces
        the one of the same name.

        Args:
            name: dots make levels.
            type: a dataclass, or an annotation made of dataclasses; a ``msgspec.Struct`` or a
                pydantic model, with the extras of these names; or any type, with ``codec``.
            codec: makes messages plain, and plain values messages; by default it is chosen by the
                type.

        Raises:
            InvalidName: the name is malformed, or it is a pattern; then the text points to `match`.
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
        """Return a function and arguments that give this exchange or view in another process.

        `pickle` calls it there.

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
        """Return the exchange of that name, None if there is none."""
        self._wake()
        return self._exchanges.get(name) or self._resting.get(name)

    def _has(self, name: str) -> bool:
        """Return whether an exchange of that name exists or is being made; takes no lock."""
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
        """Return a view to a finaliser; another thread soon makes it cover names."""
        view = self._views.get(pattern)
        if view is None:
            self._uncovered.add(pattern)
            view = self._views.setdefault(pattern, View(pattern, self))
            finalizers.later(self.match, pattern)
        return view

    def exchanges(self) -> list[Exchange[Any]]:
        """Return every exchange there is, the resting ones first."""
        with self._lock:
            return [*self._resting.values(), *self._exchanges.values()]

    def _viewers(self, name: str) -> list[Subscription]:
        """Return the subscriptions of the views that cover ``name``, the oldest view first."""
        views = sorted(self._covering.covering(name), key=lambda view: view._serial)
        return [subscription for view in views for subscription in view._subscriptions()]

    def _make(self, name: str) -> Exchange[Any]:
        """Return an exchange that `get` did not find; observers hear of a new one first."""
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
                # A finaliser may have made one meanwhile; observers are told of that one too.
                exchange = self._exchanges.setdefault(name, fresh)
                del self._nascent[name]
                self._let_rest(min(len(self._exchanges) - AWAKE, LOOKED_AT))
            return exchange

    def _begin_exchange(self, name: str) -> Exchange[Any]:
        """Return an exchange to a finaliser; another thread soon tells observers."""
        exchange = self._exchanges.get(name) or self._nascent.get(name) or self._resting.get(name)
        if exchange is None:
            fresh = Exchange(name, self, self.retention(name))
            exchange = self._exchanges.setdefault(name, fresh)
            if exchange is fresh:
                finalizers.later(self._introduce, fresh)
        return exchange

    def _introduce(self, exchange: Exchange[Any]) -> None:
        """Set how much an exchange keeps, and tell observers of that."""
        exchange._resize_ring()
        self._tell(lambda observer: observer.retention_changed(exchange))

    def _let_rest(self, most: int) -> None:
        """Hold the ``most`` oldest exchanges weakly, as far as they are idle; the lock is held.

        A name is found at every step in between, because lookups take no lock.
        """
        for name in list(islice(self._exchanges, max(0, most))):
            exchange = self._exchanges[name]
            if exchange._expendable:
                self._resting[name] = exchange
                del self._exchanges[name]
            else:  # move it to the end
                self._nascent[name] = exchange
                del self._exchanges[name]
                self._exchanges[name] = exchange
                del self._nascent[name]

    def _keep(self, name: str) -> None:
        """Hold an exchange strongly that is no longer idle; called after the change."""
        with self._lock:
            exchange = self._resting.get(name)
            if exchange is not None:
                self._exchanges.setdefault(name, exchange)
                self._resting.pop(name, None)

    # Retention.

    def retain(self, pattern: str, n: int) -> None:
        """Keep the last ``n`` messages sent on each exchange that ``pattern`` covers.

        Late joiners ask for them with ``history=``. Where several patterns cover a name, the
        largest number counts. ``n=0`` withdraws the pattern.
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

    def conflate(self, pattern: str) -> None:
        """Have only the newest message count on each exchange that ``pattern`` covers.

        Senders never wait for another process. Each gets the newest message there is whenever it
        can take one, and what it passes over is counted as ``conflated`` in the `Node.stats` of
        both, and not reported as `Lost`. Tasks of this process get every message as ever.
        """
        check_pattern(pattern)
        if finalizers.later(self.conflate, pattern):
            return
        with self._lock:
            self._conflated = (*(p for p in self._conflated if p != pattern), pattern)
            exchanges = self.exchanges()
        for exchange in exchanges:
            if matches(pattern, exchange.name):
                self._send_otherwise(exchange)

    def _send_otherwise(self, exchange: Exchange[Any]) -> None:
        """Have observers look again at how an exchange is sent, and the exchange at its ways."""
        self._tell(lambda observer: observer.retention_changed(exchange))
        exchange._rerouted()

    def conflated(self, name: str) -> bool:
        """Return whether only the newest message counts on the exchange ``name``."""
        return any(matches(pattern, name) for pattern in self._conflated)

    # Observers.

    def _observe(self, observer: Observer) -> frozenset[str]:
        """Tell ``observer`` of changes from now on; return the interest that exists already.

        Raises:
            LimitReached: there is more interest than it can tell peers.
        """
        with self._lock:
            observer.check_interest(len(self._interest), self._patterns, self._interest_size)
            if self._answering:
                observer.check_responders(len(self._answering))
            if not any(present is observer for present in self._observers):
                self._observers = (*self._observers, observer)
            return frozenset(self._interest)

    def _unobserve(self, observer: Observer) -> None:
        """Undo `_observe`; without effect for an object that does not observe."""
        with self._lock:
            self._observers = tuple([o for o in self._observers if o is not observer])

    def _tell(self, event: Callable[[Observer], object]) -> list[object]:
        """Call each observer, whatever the others raise; return their results."""
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
                self._tell(lambda observer: observer.interest_changed(key, True))

    def _interest_down(self, key: str) -> None:
        """Undo one `_interest_up`."""
        with self._lock:
            self._interest[key] -= 1
            if self._interest[key] <= 0:
                del self._interest[key]
                self._patterns -= is_pattern(key)
                self._interest_size -= _size(key)
                self._tell(lambda observer: observer.interest_changed(key, False))

    # Requests.

    @property
    def _asking(self) -> Asking:
        """The requests that are under way; made at the first one."""
        asking = self._requests
        if asking is None:
            fresh = Asking()
            with self._lock:
                asking = self._requests = self._requests or fresh
        return asking

    def _elsewhere(self, name: str, instead: str | None) -> tuple[Elsewhere, ...]:
        """Return the peers that answer on an exchange, in all federations.

        Raises:
            RuntimeError: the calling thread must not wait for one; unless ``instead`` is None.
        """
        if self._forked or orphans:
            self._wake()
        found: tuple[Elsewhere, ...] = ()
        if instead is not None and eventloops.running() and eventloops.held_up_here():
            raise _would_wait(instead)
        for observer in self._observers:
            answers = observer.answers
            if answers is not None:
                if instead is not None and answers.holds_up():
                    raise _would_wait(instead)
                found += answers.there.get(name, ())
        return found

    def _answers_up(self, name: str) -> None:
        """Note that an exchange has got its first responder.

        Raises:
            LimitReached: there are too many for an observer; nothing is changed.
        """
        with self._lock:
            for observer in self._observers:
                observer.check_responders(len(self._answering) + 1)
            self._answering[name] = None
            self._tell(lambda observer: observer.responders_changed(name, True))

    def _answers_down(self, name: str) -> None:
        """Undo `_answers_up`."""
        with self._lock:
            self._answering.pop(name, None)
            self._tell(lambda observer: observer.responders_changed(name, False))

    def _responders_came(self) -> None:
        """Wake the callers that wait for a responder. Any thread, outside every lock."""
        if self._requests is not None:
            self._requests.came()

    # Groups.

    def _groups(self) -> Roster:
        """Return the groups of this registry; made at the first use."""
        roster = self._roster
        if roster is None:
            fresh = Roster(self)
            with self._lock:
                roster = self._roster = self._roster or fresh
        return roster

    def _member_up(self, member: Member) -> None:
        """Make a task of this process a member of a group.

        Raises:
            LimitReached: there are too many for an observer; nothing is changed.
        """
        roster = self._groups()
        with self._lock:
            for observer in self._observers:
                observer.check_members(len(roster.members()) + 1)
        roster.add(member)

    def _member_down(self, member: Member) -> None:
        """Undo `_member_up`."""
        self._groups().remove(member)

    def _members_changed(self, member: Member, added: bool) -> None:
        with self._lock:
            self._tell(lambda observer: observer.members_changed(member, added))

    def _finish_jobs(self) -> None:
        """Take note that the caller, which leaves a block in good order, has done its jobs."""
        for member in [] if self._roster is None else self._roster.members():
            member.mailbox.finish_here()

    def _group_targets(self, name: str, declared: DeclaredType | None) -> tuple[Sender, ...]:
        """Return the targets by which an exchange sends to its groups."""
        return () if self._roster is None else self._roster.targets(name, declared)

    def _group_stats(self, name: str) -> tuple[GroupStats, ...]:
        return () if self._roster is None else self._roster.stats(name)

    def _reroute(self, key: str) -> None:
        """Have the exchanges that a name or pattern covers work out their targets again."""
        if not is_pattern(key):
            found = self._exchanges.get(key) or self._resting.get(key)
            exchanges = [] if found is None else [found]
        else:
            exchanges = [e for e in self.exchanges() if matches(key, e.name)]
        for exchange in exchanges:
            exchange._rerouted()

    def _may_wait(self) -> bool:
        """Return whether the calling thread may wait for a peer."""
        if eventloops.held_up_here():
            return False
        there = [observer.answers for observer in self._observers]
        return not any(answers is not None and answers.holds_up() for answers in there)

    def _jobs_lost(self, exchange: str, group: str, first: int, last: int) -> None:
        self._tell(lambda observer: observer.jobs_lost(exchange, group, first, last))

    def _refused(
        self, exchange: Any, origin: str, seq: int | None, reason: str, detail: str
    ) -> bool:
        """Tell observers of a message that does not fit; return whether it came by one of them."""
        refused = exchange, origin, seq, reason, detail
        return any(self._tell(lambda observer: observer.message_refused(*refused)))

    def _history_up(self, key: str, catch_up: CatchUp) -> None:
        """Have observers give one more late joiner the history of other nodes."""
        with self._lock:
            if catch_up.cancelled:
                return  # it was detached meanwhile
            self._catch_up[catch_up] = key
            catch_up.asked(self._observers)
            self._tell(lambda observer: observer.history_added(key, catch_up))

    def _history_down(self, catch_up: CatchUp) -> object:
        """Undo `_history_up`, and return the messages that the joiner was still to get."""
        left = catch_up.cancel()
        with self._lock:
            self._catch_up.pop(catch_up, None)
        return left

    def _joiners(self) -> list[tuple[str, CatchUp]]:
        """Return each late joiner's catch-up with its name or pattern."""
        with self._lock:
            return [(key, catch_up) for catch_up, key in self._catch_up.items()]

    # Fork.

    def _after_fork(self) -> None:
        """Make a new lock, and have the first use in this child revive the observers."""
        self._lock = threading.RLock()
        self._nascent = {}
        # A new one: if a thread of the parent was iterating over the old one, that would postpone
        # removals for ever.
        self._resting = weakref.WeakValueDictionary(list(self._resting.items()))
        audiences = [*self.exchanges(), *self._views.values()]
        self._interest = Counter(a._key for a in audiences if a._has_interested_task())
        self._answering = {e.name: None for e in self.exchanges() if e._responders}
        self._patterns = sum(map(is_pattern, self._interest))
        self._interest_size = sum(map(_size, self._interest))
        self._forked = bool(self._observers)
        if self._forked:
            self._known = {}

    def _wake(self) -> None:
        """Do postponed work; called outside every lock at each use that is not on a fast path."""
        if self._forked:
            self._revive()
        if orphans:
            tidy()

    def _revive(self) -> None:
        """Revive the observers, once; they find the registry usable."""
        if finalizers.here():
            return
        with self._lock:
            forked, self._forked = self._forked, False
        if forked:
            self._tell(lambda observer: observer.revive())
        self._known = self._exchanges


def _size(key: str) -> int:
    """Return the bytes of a name, or of a pattern, for which nodes subscribe twice."""
    return len(key.encode()) * (1 + is_pattern(key))


default_registry = Registry()
"""The registry that `get_exchange` and `match` use."""


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


def _would_wait(instead: str) -> RuntimeError:
    return RuntimeError(
        "this would wait for itself: it was called on the node's data thread or in a running event"
        f" loop; call it from another thread, or {instead}"
    )


def conflate(pattern: str) -> None:
    """Have only the newest message count on some exchanges; see `Registry.conflate`."""
    default_registry.conflate(pattern)


def retain(pattern: str, n: int) -> None:
    """Keep the last ``n`` messages of each exchange for late joiners; see `Registry.retain`."""
    default_registry.retain(pattern, n)
