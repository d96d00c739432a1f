"""The targets of an exchange: its own tasks, those of views, and its bridges.

The targets are a tuple, so that no lock is held while tasks are called. A change drops the tuple,
and the next message makes it again. Messages kept for late joiners belong here too, because keeping
a message and choosing its live receivers must be one step.
"""

import weakref
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from .asking import Asked
from .history.newest import Latest
from .history.retained import RetainedRing
from .interfaces import RegistryCalls
from .late_join import HERE
from .parking import Bridge, Parking
from .process import finalizers
from .sharing.share import Sender
from .subscribers import SubscriberTable
from .subscription import Forwarder, Key, Late, Shaped, Subscription, key_of, key_of_call
from .tasks.dispatch import Failures, Target, answered, failed, serve
from .tasks.feeds import Feed
from .tasks.noted import NO_HEADERS, Noted
from .tasks.responder import Responder
from .tasks.snapshots import UNCHANGING, settled, snapshot
from .tasks.stream import T
from .typed.declared_type import DeclaredType

R = TypeVar("R")

Routes = tuple[tuple[Target, ...], tuple[Target, ...], tuple[Feed, ...]]
"""The targets of arriving messages: tasks that take the bare message, and those that take a
`Delivery`. The third part is the same tasks as the first, if all are streams of bare messages and
there are no others: these can be given many messages at once."""


Plan = tuple[list[Bridge | Parking], list[tuple[Target, Subscription]]]
"""The targets of a message with headers: bridges, and tasks with their targets."""


class Stale:
    """Stands in for the targets of an exchange after a change.

    It is not a bound method of the exchange: that would be a reference cycle, and the exchange
    would live until the collector finds it, instead of going with the last reference to it.
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
        "_bridges", "_declared", "_latest", "_live", "_plan", "_responders", "_ring", "_routes",
        "_stale", "_turn", "_version", "name",
    )  # fmt: skip

    def __init__(self, name: str, registry: RegistryCalls, retained: int = 0) -> None:
        super().__init__(name, registry)
        self.name = name
        # By bridge, the stand-in while it is being attached. A change makes a new dict.
        self._bridges: dict[Bridge, Parking | None] = {}
        self._ring = RetainedRing(retained) if retained else None
        self._declared: DeclaredType | None = None
        self._responders: tuple[Responder, ...] = ()
        self._turn: Asked | None = None
        """The responder that was asked last, here or elsewhere."""
        self._latest: Latest | None = None
        """The newest messages given so far, while there are late joiners that may be given older
        ones."""
        self._version = 0
        self._stale = Stale(self)
        self._changed()

    def _after_fork(self) -> None:
        """Drop the bridges, which belong to the parent."""
        super()._after_fork()
        if self._ring is not None and self._bridges:
            # The parent keeps the messages, and gives them to late joiners of this process too.
            self._ring = RetainedRing(self._ring.size)
        self._bridges = {}
        self._changed()

    # Targets.

    def _changed(self) -> None:
        """Have the next message work out the targets again; the lock is held."""
        self._version += 1
        self._live: tuple[tuple[Target, ...], tuple[Target, ...]] | None = None
        self._plan: Plan | None = None
        self._routes: Routes | None = None

    def _audience(self) -> list[Subscription]:
        """Return every subscription that covers this exchange, each task once, by its oldest one.

        The oldest is the one that the task began with. If a later one with another history took its
        place, the task would get a part of its messages twice.
        """
        found = {s.key: s for s in self._subscriptions() if s.responder is None}
        for subscription in self.registry._viewers(self.name):
            present = found.setdefault(subscription.key, subscription)
            if subscription.serial < present.serial:
                found[subscription.key] = subscription
        return list(found.values())

    def _refresh(self, msg: object) -> Failures | None:
        """Work out the targets after a change, and hand ``msg`` to them."""
        raise NotImplementedError

    def _postponed(self, msg: Any) -> bool:
        """If the caller is a finaliser, have another thread send ``msg`` soon, and return True.

        To be called before a lock is taken.
        """
        if finalizers.collecting is None or not finalizers.here():
            return False
        return finalizers.later(self.send, snapshot(msg), message=True)

    def send(self, msg: Any) -> None:
        """Hand ``msg`` to every attached task."""
        raise NotImplementedError

    def _unchanged(self, build: Callable[[], R]) -> R:
        """Return the result of ``build`` for a table that did not change meanwhile.

        The lock is held. No other thread can change the table then, but a signal handler on this
        thread can.
        """
        while True:
            version = self._version
            built = build()
            if version == self._version:
                return built

    def _all_targets(self) -> tuple[Target, ...]:
        """Return the targets of a send, bridges first; the lock is held."""
        if self._ring is not None or self._latest is not None:
            return (self._retain,)
        ways, tasks = self._live_targets()
        if self._declared is None:
            return tasks
        return (self._declared.stand_in(ways, tasks, self._packed_ways()),)

    def _live_targets(self) -> tuple[tuple[Target, ...], tuple[Target, ...]]:
        """Return the targets of the plain value, and those of the message itself; the lock is held.

        Without a declared type the two are the same object, and all targets are in the second part.
        """
        ways, tasks = self._ways(), self._task_targets()
        return ((), (*ways, *tasks)) if self._declared is None else (ways, tasks)

    def _ways(self) -> tuple[Target, ...]:
        """Return a target for each bridge."""
        return tuple([(parking or bridge).send for bridge, parking in self._bridges.items()])

    def _packed_ways(self) -> tuple[Target, ...]:
        """Return a target for each bridge that is to be given bytes; none if one cannot."""
        packed = [None if parking else bridge.packed for bridge, parking in self._bridges.items()]
        return tuple([way for way in packed if way is not None]) if all(packed) else ()

    def _task_targets(self) -> tuple[Target, ...]:
        """Return a target for each task; the lock is held."""
        found = self._audience()
        for subscription in found:
            self._begin_history(subscription)
        self._follow_latest(found)
        tasks = distinct([(self._target(s), s) for s in found], self.name)
        return (*tasks, *self._groups())

    def _groups(self) -> tuple[Sender, ...]:
        """Return a target for each group that has members on this exchange."""
        return self.registry._group_targets(self.name, self._declared)

    def _target(self, subscription: Subscription) -> Target:
        """Return the target for one task."""
        catch_up = subscription.catch_up
        if catch_up is not None and catch_up.gathering:
            return Late(subscription, self.name)
        return subscription.target(self.name)

    def _follow_latest(self, found: Sequence[Subscription]) -> None:
        """Keep `_latest` only while there are late joiners; the lock is held."""
        if not any(s.history for s in found):
            self._latest = None
        elif self._latest is None:
            self._latest = Latest()

    def _note_given(self, sent_at: float, origin: str) -> None:
        """Note the time of a message that is given, no later than now; called on any thread."""
        latest = self._latest  # read once: another thread may set it to None
        if latest is not None:
            latest.note(min(sent_at, self.registry.time()), origin)

    def _given_so_far(self) -> Latest:
        """Return how new the messages are that were given so far."""
        return (self._latest or Latest()).copy()

    def _rebuild_routes(self) -> Routes:
        """Work out the targets of arriving messages, and keep them until something changes."""
        with self._lock:
            self._routes = self._unchanged(self._arrival_routes)
            return self._routes

    def _detailed(self, mark: int) -> tuple[Target, ...]:
        """Return the streams with details that were attached before a ``mark`` was made."""
        with self._lock:
            found = self._unchanged(self._audience)
            _, detailed, _ = self._arrival_routes([s for s in found if s.serial < mark])
            return detailed

    def _arrival_routes(self, audience: Sequence[Subscription] | None = None) -> Routes:
        """Return the targets of arriving messages among ``audience``, or all; the lock is held."""
        found = [s for s in (self._audience() if audience is None else audience) if not s.forwarder]
        if audience is None:
            self._follow_latest(found)
        late = [s.catch_up for s in found if s.catch_up is not None and s.catch_up.open]
        there = [s for s in found if s.catch_up not in late]
        plain = tuple(s.arrival(self.name) for s in there if not s.details)
        detailed: tuple[Target, ...] = (*(s.accept for s in there if s.details), *late)
        streams = tuple(s.task for s in there if isinstance(s.task, Feed) and not s.names)
        return plain, detailed, streams if len(streams) == len(plain) and not detailed else ()

    def _rerouted(self) -> None:
        """Have the next message work out its targets again, by their current state."""
        with self._lock:
            self._changed()

    # Attaching: where an exchange differs from a view.

    def _keys(self, task: object) -> tuple[Key, ...]:
        call = key_of_call(task)
        return key_of(task), call, ("responder", *call)

    def _covers(self, exchange: Any) -> bool:
        return exchange is self

    def _admitted(self, subscription: Subscription) -> None:
        if subscription.responder is not None:
            if not self._responders:
                self.registry._answers_up(self.name)
            self._responders = (*self._responders, subscription.responder)
        self._begin_history(subscription)
        self._changed()
        self.registry._keep(self.name)

    def _drop(self, subscription: Subscription) -> object:
        gone = super()._drop(subscription)
        if subscription.responder is not None:
            others = [one for one in self._responders if one is not subscription.responder]
            self._responders = tuple(others)
            if not others:
                self.registry._answers_down(self.name)
        return gone

    # Messages with headers, and questions.

    def _hand_noted(self, noted: Noted) -> Failures | None:
        """Hand on a message with headers, or a question, to all bridges and tasks.

        Keeping it and choosing its receivers is one step, as in `_retain`.

        Raises:
            WrongType: it is not of the exchange's type.
        """
        declared = self._declared
        plain = noted if declared is None else noted.with_msg(declared.encode(noted.msg))
        plan = self._plan
        if plan is None or self._ring is not None or self._latest is not None:
            mine = noted.kept()  # outside the lock: this may run code of the message's class
            now = self.registry.time()
            with self._lock:
                plan = self._plan = self._unchanged(self._noted_targets)
                if self._ring is not None:
                    _gone = self._ring.keep(mine, now)  # released outside the lock
                if self._latest is not None:
                    self._latest.note(now, HERE)
        ways, tasks = plan
        trouble: Failures | None = None
        for way in ways:  # `_handed`, written out: see `requests`
            try:
                result = way.send_noted(plain)
                if result is not None:
                    trouble = answered(trouble, way.send, result)
            except BaseException as error:
                trouble = failed(trouble, way.send, error)
        for target, subscription in tasks:
            task = subscription.task
            if isinstance(target, Shaped):
                trouble = _handed(target, noted, target, trouble)
            elif isinstance(task, Forwarder) and noted.headers is not NO_HEADERS:
                there = Noted(noted.msg, noted.headers)
                trouble = _handed(task._send_noted, there, target, trouble)
            else:
                trouble = _handed(target, noted.msg, target, trouble)
        for group in self._groups():
            trouble = _handed(partial(group, headers=noted.headers), noted.msg, group, trouble)
        return trouble

    def _noted_targets(self) -> Plan:
        """Return the bridges, and each task with its target; the lock is held."""
        found = self._audience()
        for subscription in found:
            self._begin_history(subscription)
        self._follow_latest(found)
        ways = [parking or bridge for bridge, parking in self._bridges.items()]
        return ways, [(self._target(subscription), subscription) for subscription in found]

    # Retention.

    def _retain(self, msg: object) -> Failures | None:
        """Stand in for all bridges and tasks of an exchange with kept messages or late joiners.

        Keeping the message and choosing its live receivers is one step. So a late joiner finds each
        message either among the kept ones or among the live ones, never in both.
        """
        if self._postponed(msg):
            return None
        plain = msg if self._declared is None else self._declared.encode(msg)
        mine = msg
        if self._ring is not None and type(msg) not in UNCHANGING:
            mine = settled(msg)  # outside the lock: this may run code of the message's class
        now = self.registry.time()
        with self._lock:
            live = self._live
            if live is None:  # before `msg` is kept: a late joiner that begins here gets it live
                live = self._live = self._unchanged(self._live_targets)
            if self._ring is not None:
                _gone = self._ring.keep(mine, now)  # released outside the lock
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
        """Have a new subscription catch up with the messages kept here; the lock is held."""
        catch_up = subscription.catch_up
        if catch_up is None or catch_up.exchanges.get(self.name) is self:
            return
        catch_up.exchanges[self.name] = self
        self._latest = self._latest or Latest()
        others = [s for s in self._audience() if s.key == subscription.key]
        if catch_up.gathering and others == [subscription] and self._ring:
            catch_up.keep(self.name, self._ring.last(subscription.history))

    def _admit(self, subscription: Subscription) -> None:
        """Add a view's new subscription to the targets, and find its history here."""
        with self._lock:
            self._begin_history(subscription)
            self._changed()


def _handed(
    call: Target, item: object, target: Target, trouble: Failures | None
) -> Failures | None:
    """Call one target; return the failures so far, in which it stands as ``target``."""
    try:
        result = call(item)
        return trouble if result is None else answered(trouble, target, result)
    except BaseException as error:
        return failed(trouble, target, error)


def distinct(found: list[tuple[Target, Subscription]], name: str) -> tuple[Target, ...]:
    """Return the targets, each a different object: a round finds its place by identity.

    Two ``to_call(print)`` would call the very same object.
    """
    seen: set[int] = set()
    targets: list[Target] = []
    for target, subscription in found:
        again = id(target) in seen
        seen.add(id(target))
        targets.append(Shaped(subscription, name) if again else target)
    return tuple(targets)
