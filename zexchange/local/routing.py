"""Whom an exchange calls for a message: its own tasks, those of views, and its bridges.

The answer is a tuple, dropped at each change and made anew by the next message, so
that no lock is held while tasks are called. What is kept for late joiners belongs
here too, because keeping a message and choosing who gets it live must be one step.
"""

import weakref
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from .interfaces import RegistryCalls
from .late_join import HERE
from .newest import NOTHING, Latest, Rank
from .parking import Bridge, Parking
from .process import finalizers
from .retained import RetainedRing
from .subscribers import SubscriberTable
from .subscription import Forwarder, Key, Late, Shaped, Subscription, key_of, key_of_call
from .tasks.dispatch import Failures, Target, serve
from .tasks.feeds import Feed
from .tasks.snapshots import UNCHANGING, settled, snapshot
from .tasks.stream import T
from .typed.declared_type import DeclaredType

R = TypeVar("R")

Routes = tuple[tuple[Target, ...], tuple[Target, ...], tuple[Feed, ...]]
"""Where what arrives goes: tasks that take the bare message, and those for `Delivery`. If all
of them are streams of bare messages, these too, which can be given many at once."""


class Stale:
    """Stands in for the targets of an exchange after a change.

    Not its bound method: an exchange that referred to itself would not go with the last one
    who refers to it, but when the collector comes round.
    """

    __slots__ = ("_of",)

    def __init__(self, of: "Routing[Any]") -> None:
        self._of = weakref.ref(of)

    def __call__(self, msg: object) -> Failures | None:
        """Have the exchange, which is sending, work out its targets, and hand ``msg`` to them."""
        exchange = self._of()
        return None if exchange is None else exchange._refresh(msg)


class Routing(SubscriberTable[T], Forwarder):
    """The part of an exchange that knows who gets its messages."""

    __slots__ = (
        "_bridges", "_declared", "_latest", "_live", "_ring", "_routes", "_stale", "_version",
        "name",
    )  # fmt: skip

    def __init__(self, name: str, registry: RegistryCalls, retained: int = 0) -> None:
        super().__init__(name, registry)
        self.name = name
        # Each with what stands in for it until it is there; another dict at each change.
        self._bridges: dict[Bridge, Parking | None] = {}
        self._ring = RetainedRing(retained) if retained else None
        self._declared: DeclaredType | None = None
        self._latest: Latest | None = None
        """How new what was given is, while there are joiners that may be given older messages."""
        self._version = 0
        self._stale = Stale(self)
        self._changed()

    def _after_fork(self) -> None:
        """Drop what belongs to the parent: its bridges."""
        super()._after_fork()
        if self._ring is not None and self._bridges:
            # The parent keeps it, and gives it to whoever asks, in this process too.
            self._ring = RetainedRing(self._ring.size)
        self._bridges = {}
        self._changed()

    # Who gets it.

    def _changed(self) -> None:
        """Have the next message ask again who gets it; the lock is held."""
        self._version += 1
        self._live: tuple[tuple[Target, ...], tuple[Target, ...]] | None = None
        self._routes: Routes | None = None

    def _audience(self) -> list[Subscription]:
        """Return every subscription that covers this exchange, each task once, by its oldest.

        That it has begun with: what is attached in a second way, with another history, would
        get a part of it twice.
        """
        found = {s.key: s for s in self._subscriptions()}
        for subscription in self.registry._viewers(self.name):
            present = found.setdefault(subscription.key, subscription)
            if subscription.serial < present.serial:
                found[subscription.key] = subscription
        return list(found.values())

    def _refresh(self, msg: object) -> Failures | None:
        """Work out the targets after a change, and hand ``msg`` to them."""
        raise NotImplementedError

    def _postponed(self, msg: Any) -> bool:
        """Have a finaliser's message sent soon by another thread; tell if it is a finaliser's.

        To be asked where a lock would be taken.
        """
        if finalizers.collecting is None or not finalizers.here():
            return False
        return finalizers.later(self.send, snapshot(msg), message=True)

    def send(self, msg: Any) -> None:
        """Hand ``msg`` to every attached task."""
        raise NotImplementedError

    def _unchanged(self, build: Callable[[], R]) -> R:
        """Return what ``build`` makes of a table that did not change meanwhile; the lock is held.

        No other thread changes it, but a signal handler on this one may.
        """
        while True:
            version = self._version
            built = build()
            if version == self._version:
                return built

    def _all_targets(self) -> tuple[Target, ...]:
        """Return what a send calls, bridges first; the lock is held."""
        if self._ring is not None or self._latest is not None:
            return (self._retain,)
        ways, tasks = self._live_targets()
        return tasks if self._declared is None else (self._declared.stand_in(ways, tasks),)

    def _live_targets(self) -> tuple[tuple[Target, ...], tuple[Target, ...]]:
        """Return what gets the message as it travels, and what as it is; the lock is held.

        Without a type that is the same: bridges come first.
        """
        ways, tasks = self._ways(), self._task_targets()
        return ((), (*ways, *tasks)) if self._declared is None else (ways, tasks)

    def _ways(self) -> tuple[Target, ...]:
        """Return what to call for each bridge."""
        return tuple([(parking or bridge).send for bridge, parking in self._bridges.items()])

    def _task_targets(self) -> tuple[Target, ...]:
        """Return what to call for each task; the lock is held."""
        found = self._audience()
        for subscription in found:
            self._begin_history(subscription)
        self._follow_latest(found)
        return distinct([(self._target(s), s) for s in found], self.name)

    def _target(self, subscription: Subscription) -> Target:
        """Return what to call for a task."""
        arrears = subscription.arrears
        if arrears is not None and arrears.gathering:
            return Late(subscription, self.name)
        return subscription.target(self.name)

    def _follow_latest(self, found: Sequence[Subscription]) -> None:
        """Follow how new what is given is, while there are late joiners; the lock is held."""
        if not any(s.history for s in found):
            self._latest = None
        elif self._latest is None:
            self._latest = Latest()

    def _note_given(self, sent_at: float, origin: str) -> None:
        """Take note of a message that is given, sent when it arrived at the latest; any thread."""
        latest = self._latest  # which another thread may drop
        if latest is not None:
            latest.note(min(sent_at, self.registry.time()), origin)

    def _given_beside(self, origin: str) -> Rank:
        """Return how new the newest is that was given of others than an origin."""
        latest = self._latest
        return NOTHING if latest is None else latest.beside(origin)

    def _rebuild_routes(self) -> Routes:
        """Return who gets what arrives, and keep it until something changes."""
        with self._lock:
            self._routes = self._unchanged(self._arrival_routes)
            return self._routes

    def _detailed(self, mark: int) -> tuple[Target, ...]:
        """Return the streams with details that were attached before a mark was made."""
        with self._lock:
            found = self._unchanged(self._audience)
            _, detailed, _ = self._arrival_routes([s for s in found if s.serial < mark])
            return detailed

    def _arrival_routes(self, audience: Sequence[Subscription] | None = None) -> Routes:
        """Return who gets what arrives, of all or of some; the lock is held."""
        found = [s for s in (self._audience() if audience is None else audience) if not s.forwarder]
        if audience is None:
            self._follow_latest(found)
        late = [s.arrears for s in found if s.arrears is not None and s.arrears.open]
        there = [s for s in found if s.arrears not in late]
        plain = tuple(s.arrival(self.name) for s in there if not s.details)
        detailed: tuple[Target, ...] = (*(s.accept for s in there if s.details), *late)
        streams = tuple(s.task for s in there if isinstance(s.task, Feed) and not s.names)
        return plain, detailed, streams if len(streams) == len(plain) and not detailed else ()

    def _rerouted(self) -> None:
        """Have the next message ask again who gets it, and how."""
        with self._lock:
            self._changed()

    # Attaching: what an exchange does in its own way.

    def _keys(self, task: object) -> tuple[Key, ...]:
        return key_of(task), key_of_call(task)

    def _covers(self, exchange: Any) -> bool:
        return exchange is self

    def _admitted(self, subscription: Subscription) -> None:
        self._begin_history(subscription)
        self._changed()
        self.registry._keep(self.name)

    # Retention.

    def _retain(self, msg: object) -> Failures | None:
        """Stand in for all bridges and tasks of an exchange that is retained, or has late joiners.

        Keeping the message and choosing who gets it live is one step: a late joiner
        finds each message either kept or among what it is handed, never both.
        """
        if self._postponed(msg):
            return None
        plain = msg if self._declared is None else self._declared.encode(msg)
        mine = msg
        if self._ring is not None and type(msg) not in UNCHANGING:
            mine = settled(msg)  # which may run a class's code
        now = self.registry.time()
        with self._lock:
            live = self._live
            if live is None:  # first of all: who begins here finds what was kept before
                live = self._live = self._unchanged(self._live_targets)
            if self._ring is not None:
                _gone = self._ring.keep(mine, now)  # let go of outside the lock
            if self._latest is not None:
                self._latest.note(now, HERE)
        ways, tasks = live
        return serve(tasks, msg, serve(ways, plain) if ways else None)

    def _resize_ring(self) -> None:
        """Keep as many messages as the registry says now."""
        with self._lock:
            size = self.registry.retention(self.name)
            ring = self._ring or RetainedRing(size)
            self._ring = ring.resized(size) if size else None
            self._changed()
            self.registry._keep(self.name)

    def _begin_history(self, subscription: Subscription) -> None:
        """Have a new subscription catch up with what is kept now; the lock is held."""
        arrears = subscription.arrears
        if arrears is None or self in arrears.exchanges:
            return
        arrears.exchanges.add(self)
        self._latest = self._latest or Latest()
        others = [s for s in self._audience() if s.key == subscription.key]
        if arrears.gathering and others == [subscription] and self._ring:
            arrears.keep(self.name, self._ring.last(subscription.history))

    def _admit(self, subscription: Subscription) -> None:
        """Have a view's new subscription covered, and what is kept here found for it."""
        with self._lock:
            self._begin_history(subscription)
            self._changed()


def distinct(found: list[tuple[Target, Subscription]], name: str) -> tuple[Target, ...]:
    """Return the targets, each another object, so that a round can tell where it is.

    Two ``to_call(print)`` call the very same object.
    """
    seen: set[int] = set()
    targets: list[Target] = []
    for target, subscription in found:
        again = id(target) in seen
        seen.add(id(target))
        targets.append(Shaped(subscription, name) if again else target)
    return tuple(targets)
