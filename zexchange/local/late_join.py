"""What a late joiner is owed, here and by other nodes, and what waits until it has that.

A joiner that asked for history first gets the newest of all that is kept: here, and by the nodes
that are there when it comes. Until all of them have said what they keep, it is *gathered*, and
what is sent live waits, in the order in which it comes. A node that comes later, or takes too
long, is waited for by its own messages alone, and adds what is newer than what was given. Which
nodes those are, and how their history comes, is not known here: the observers of the registry
say so.
"""

import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Protocol

from ..lost import Lost
from .newest import NOTHING, PastMessage, Rank, everything, newest
from .tasks.dispatch import Failures, Target, answered
from .tasks.snapshots import settled
from .tasks.stream import Delivery

PARKED_MOST = 10_000
"""Messages that wait when one more is sent in this process: then no node is waited for."""
HERE = ""
"""Stands for this process where others are known by their origin; a `Delivery` has None."""


class Joiner(Protocol):
    """One late joiner, as it is attached."""

    task: object
    history: int

    def hand_on(self, item: Delivery | Lost, early: bool) -> object:
        """Give the task what it gets of an item; ``early`` if before all that is live."""
        ...


class JoinedExchange(Protocol):
    """An exchange, to what a late joiner is owed."""

    name: str

    def _audience(self) -> Sequence[object]: ...
    def _given_beside(self, origin: str) -> Rank: ...
    def _note_given(self, sent_at: float, origin: str) -> None: ...
    def _answer(self, trouble: Failures | None) -> None: ...
    def _log(self, target: Target, error: BaseException) -> None: ...


class JoinedRegistry(Protocol):
    """Where what a late joiner is owed finds exchanges, and the time."""

    time: Callable[[], float]

    def find(self, name: str) -> JoinedExchange | None:
        """Return the exchange of that name if there is one."""
        ...

    def get(self, name: str) -> JoinedExchange:
        """Return the exchange of that name, made if need be."""
        ...


class RemoteCatchUp:
    """Stands in for one late joiner, where messages arrive, while it is owed history."""

    __slots__ = (
        "__weakref__", "_again", "_awaited", "_first", "_given", "_kept", "_left", "_lock",
        "_parked", "_ready", "_registry", "_reroute", "_settling", "_through", "_unsure",
        "_waits_for", "cancelled", "exchanges", "gathering", "me", "most", "subscription",
    )  # fmt: skip

    def __init__(
        self, subscription: Joiner, registry: JoinedRegistry, reroute: Callable[[], None]
    ) -> None:
        self.subscription = subscription
        self.me = HERE
        """As whom other nodes know this process, if any do."""
        self.most = subscription.history
        """How many messages of each exchange it asked for."""
        self.cancelled = False
        """Whether the joiner has left."""
        self.exchanges = weakref.WeakSet[object]()
        """Exchanges that have begun to give it their history; one that is gone keeps nothing."""
        self._registry = registry
        self._reroute = reroute
        self._through: set[str] = set()
        self._given: dict[tuple[str, str], int] = {}
        self._after_fork()
        self._unsure.add(registry)
        self._waits_for.add(self)
        self.gathering = True

    def __repr__(self) -> str:
        return f"{self.subscription.task!r}"

    def _after_fork(self) -> None:
        """Start anew in a forked child; what the parent was given is not given again."""
        self._lock = threading.RLock()
        self._unsure: set[object] = set()
        self._waits_for: set[object] = set()
        self._kept: list[PastMessage] = []
        self._awaited: set[str] = set()
        self._ready: set[str] = set()
        self._left: set[str] = set()
        self._parked: list[Delivery | Lost] = []
        self._first: dict[tuple[str, str], int] = {}
        self.gathering = False
        """Whether it is to be given the newest of all that is kept."""
        self._settling = self._again = False

    @property
    def open(self) -> bool:
        """Whether other nodes owe it anything, or may."""
        return not self.cancelled and bool(self._unsure or self._awaited)

    def cancel(self) -> object:
        """Owe nothing any more: the joiner has left. Return what it was still to get.

        It is the caller's to let go of, with no lock held: messages may have finalisers.
        """
        with self._lock:
            self.cancelled, self.gathering = True, False
            left, self._parked, self._kept = (self._parked, self._kept), [], []
            self._first.clear()
            return left

    # --------------------------------------------- for the thread that attaches the joiner

    def asked(self, observers: Iterable[object]) -> None:
        """These are being told of the joiner; until now all that arrived had to wait."""
        with self._lock:
            self._unsure = set(observers)
            self._waits_for.update(self._unsure)

    def keep(self, name: str, kept: Sequence[tuple[object, float]]) -> None:
        """Take what is kept here of an exchange; from now on what is sent on it waits."""
        now = self._registry.time()
        found = [
            # In whole microseconds, as others see it.
            PastMessage(
                name,
                HERE,
                number,
                int(min(at, now) * 1e6 + 0.5) / 1e6,
                Delivery(name, settled(msg), None, None, at),
            )
            for number, (msg, at) in enumerate(kept, 1)
        ]
        with self._lock:
            self._kept += found

    def attached(self) -> None:
        """The joiner is attached; if nobody else is waited for, give it its history.

        On the joiner's thread.

        Raises:
            KeyboardInterrupt: or SystemExit, of its task, after all was handed on.
        """
        with self._lock:
            self._waits_for.discard(self)
        self._settle(early=True)

    # ----------------------------------------------- for who observes the registry

    def noted(self, observer: object) -> None:
        """An observer has said, by `begin`, of whom history is to come, and knows of no others."""
        with self._lock:
            was_open = self.open
            self._unsure.discard(observer)
            self._waits_for.discard(observer)
            closed = was_open and not self.open
            # Of an origin that has left since, whoever observes it knows no more.
            left: set[str] = (
                set() if self._unsure else {*map(_origin, self._parked)} - self._awaited - {HERE}
            )
            if self.gathering:
                self._ready |= left
                left = set()
        for origin in left:
            self.complete(origin, [])
        self._settle()
        if closed:
            self._reroute()

    def begun(self, observer: object) -> None:
        """An observer has said of whom history is to come, and may still meet others at once."""
        with self._lock:
            self._unsure.discard(observer)

    def alone(self, observer: object) -> None:
        """An observer knows of nobody so far; called as soon as it hears of the joiner."""
        with self._lock:
            self._waits_for.discard(observer)

    def decline(self, observer: object) -> None:
        """An observer knows of nobody, nor will; called as soon as it hears of the joiner."""
        with self._lock:
            self._unsure.discard(observer)
            self._waits_for.discard(observer)

    def again(self, observer: object) -> None:
        """Gather what the nodes keep that an observer meets at once, until it has `noted` them."""
        with self._lock:
            if not (self.cancelled or self.gathering):
                self.gathering = self._again = True
            self._waits_for.add(observer)

    def expire(self) -> None:
        """Wait no longer for nodes that have not said yet what they keep."""
        with self._lock:
            self._waits_for &= {self}
        self._settle()

    def begin(self, origin: str, expected: bool = True) -> bool:
        """Have what comes of an origin wait; False if it does, or has been through before.

        On the thread that delivers what comes of it. All else waits for what is ``expected``.
        """
        with self._lock:
            if self.cancelled or origin in self._through:
                return False
            if origin in self._awaited and origin not in self._left:
                return False
            was_open = self.open
            self._awaited.add(origin)
            self._left.discard(origin)
            self._ready.discard(origin)
            if expected and self.gathering:
                self._waits_for.add(origin)
        if not was_open:
            self._reroute()
        return True

    def awaits(self, origin: str) -> bool:
        """Return whether what comes of an origin waits."""
        return origin in self._awaited

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
            kept = list[Delivery | Lost]()
            for item in self._parked:
                if _origin(item) == origin and (place := _place(item))[0] == name:
                    if place[1] <= last:
                        continue
                    self._first.setdefault((origin, name), place[1])
                kept.append(item)
            self._parked = kept

    def complete(self, origin: str, history: Sequence[Delivery], through: bool = True) -> None:
        """Take the history of an origin, and hand it on, now or with that of others.

        On the thread that delivers what comes of it. Exchanges that the same task has got
        messages of in another way are left out: it has had them already. If the origin has
        left instead (``through`` is false) and comes again, it may `begin` again.
        """
        now = self._registry.time()
        kept = [
            PastMessage(d.name, origin, d.seq or 0, min(d.sent_at, now), d)
            for d in history
            if (d.seq or 0) > self._given.get((origin, d.name), 0)
        ]
        with self._lock:
            if not through:
                self._left.add(origin)
            self._waits_for.discard(origin)
            together = self.gathering and not self._settling
            if together:
                self._ready.add(origin)
                self._kept += kept
        if together:
            self._settle()
        else:
            self._give_kept(newest(kept, self.most, self._beside))
            self._give_parked({origin})

    # ------------------------------------------------------------------- handing on

    def _settle(self, early: bool = False) -> None:
        """Give the newest of all that was gathered, then what waits, if nobody is waited for.

        Args:
            early: whether the task takes what waits as it does what was kept, not as what arrives.
        """
        with self._lock:
            if self._waits_for or self._settling or not self.gathering:
                return
            self._settling = True
            kept, self._kept = self._kept, []
        end = list[BaseException]()
        beyond = self._beside if self._again else everything
        # Ours as other nodes know them, which may keep some sent at the same moment.
        known = [replace(one, origin=one.origin or self.me) for one in kept]
        found = newest(known, self.most, beyond)
        self._give_kept(found, end if early else None)
        self._give_parked(None, early, end if early else None)
        self._reroute()
        if end:
            raise end.pop(0)

    def _beside(self, name: str, origin: str) -> Rank:
        """Return how new a message of an origin has to be, after what was given of others."""
        exchange = self._registry.find(name)
        return NOTHING if exchange is None else exchange._given_beside(origin)

    def _give_kept(
        self, found: Sequence[PastMessage], end: list[BaseException] | None = None
    ) -> None:
        named = {self._registry.find(name) for name in {one.name for one in found}}
        served = {e.name: e for e in named if e and self.subscription in e._audience()}
        for one in found:
            if one.name in served:
                served[one.name]._note_given(one.sent_at, one.origin)
                self._give(one.item, True, end)

    def _give_parked(
        self, origins: set[str] | None, early: bool = False, end: list[BaseException] | None = None
    ) -> None:
        """Hand on what waits, of some origins or of all that wait for nothing more."""
        while parked := self._take(origins):
            for item in parked:
                self._give(item, early, end)
                if item.origin in self._left:
                    name, number = _place(item)
                    self._given[item.origin, name] = number
        if not self.open:
            self._reroute()

    def _take(self, origins: set[str] | None) -> list[Delivery | Lost]:
        """Return what waits; if nothing does, it waits no more."""
        with self._lock:
            of = self._ready | {HERE} if origins is None else origins
            taken = [item for item in self._parked if _origin(item) in of]
            if taken:
                self._parked = [item for item in self._parked if _origin(item) not in of]
                return taken
            self._awaited -= of
            self._through |= of - self._left - {HERE}
            self._ready -= of
            self._left -= of
            for key in [key for key in self._first if key[0] in of]:
                del self._first[key]
            if origins is None:
                self.gathering = self._settling = self._again = False
            return []

    def _give(self, item: Delivery | Lost, early: bool, end: list[BaseException] | None) -> None:
        if self.cancelled:
            return
        exchange = self._registry.get(_place(item)[0])
        try:
            result = self.subscription.hand_on(item, early)
            if result is not None:
                exchange._answer(answered(None, self, result))
        except BaseException as error:
            if end is not None and isinstance(error, KeyboardInterrupt | SystemExit):
                end.append(error)
            else:
                exchange._log(self, error)

    # --------------------------------------------------------------------- arrivals

    def __call__(self, item: Any) -> object:
        """Take a `Delivery` or a `Lost`, sent here or arrived: park it, or pass it on."""
        origin, crowded = _origin(item), False
        with self._lock:
            if self.cancelled:
                return None
            if origin == HERE:
                waits = self.gathering and not self._again
                crowded = waits and len(self._parked) >= PARKED_MOST
            else:
                waits = self.open and origin not in self._through
            if waits:
                self._parked.append(item)
                name, number = _place(item)
                self._first.setdefault((origin, name), number)
        if crowded:
            self.expire()
        return None if waits else self.subscription.hand_on(item, early=False)


def _origin(item: Delivery | Lost) -> str:
    """Return whose messages these are."""
    return item.origin or HERE


def _place(item: Delivery | Lost) -> tuple[str, int]:
    """Return the exchange and the number of a delivery, or of the first that is lost.

    Of a gap without a beginning, the one behind it: what is live begins there.
    """
    if isinstance(item, Delivery):
        return item.name, item.seq or 0
    return item.exchange, item.first or item.last + 1
