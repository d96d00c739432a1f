"""Late joining: a task first gets retained messages, then live ones, and each message once.

Each late joiner has a `CatchUp`, which collects its history and parks its live messages. The
history is the newest of all messages that are kept: in this process, and by the nodes that are
ready when the joiner is attached. Which messages these are is known only when all these nodes have
answered. So the catch-up starts by *gathering*. `_waits_for` holds everybody whose answer is
missing: the thread that attaches, the registry's observers, and the origins that these have named
by `begin`. While it is not empty, complete histories are put aside in `_kept`, and messages sent in
this process are parked in order. When it is empty, `_settle` gives the newest of what was gathered,
then the parked messages, and gathering is over.

Live messages of other nodes are parked for a second reason: they must not overtake the history of
their own origin. This begins before it is known which origins have one. So while the catch-up is
`open`, that is while an observer has still to name its origins (`_unsure`) or a history is
incomplete (`_awaited`), the messages of all other nodes are parked. When the history of an origin
was given, its parked messages follow, and later ones are passed on: the origin is in `_through`.

A node that answers too late (`expire`), or is met after the gathering, is awaited for the second
reason only. Its history is given as soon as it is complete, without messages older than those given
of other nodes, because these would come out of order. If a node leaves before its history is
complete (`_left`), its parked messages are given all the same, and `_given` notes their numbers: if
the node comes back, its history is given only from there on.

Which nodes there are, and how their history comes, is not known here: the observers say so.

The class is long because it is one state machine under one lock: each step changes several of these
sets, and leaves them consistent.
"""

import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Protocol

from ..lost import Lost
from .history.newest import NOTHING, Latest, PastMessage, Rank, everything, newest
from .tasks.dispatch import Failures, Target, answered
from .tasks.noted import split
from .tasks.snapshots import settled
from .tasks.stream import Delivery

PARKED_MOST = 10_000
"""How many parked messages there may be when one more is sent in this process. Beyond that, the
joiner waits for no node."""
HERE = ""
"""The origin of messages of this process; a `Delivery` has None instead."""


class Joiner(Protocol):
    """One late joiner: its subscription, as far as it is used here."""

    task: object
    history: int

    def hand_on(self, item: Delivery | Lost, early: bool) -> object:
        """Give the task an item in its form; ``early`` if it comes before all live messages."""
        ...


class JoinedExchange(Protocol):
    """An exchange, as far as late joining uses it."""

    name: str

    def _audience(self) -> Sequence[object]: ...
    def _given_so_far(self) -> Latest: ...
    def _note_given(self, sent_at: float, origin: str) -> None: ...
    def _answer(self, trouble: Failures | None) -> None: ...
    def _log(self, target: Target, error: BaseException) -> None: ...


class JoinedRegistry(Protocol):
    """The registry, as far as late joining uses it: for exchanges, and the time."""

    time: Callable[[], float]

    def find(self, name: str) -> JoinedExchange | None:
        """Return the exchange of that name, None if there is none."""
        ...

    def get(self, name: str) -> JoinedExchange:
        """Return the exchange of that name, made if need be."""
        ...


class CatchUp:
    """Takes messages in place of one late joiner until the joiner has its history."""

    __slots__ = (
        "__weakref__", "_again", "_awaited", "_first", "_given", "_had", "_kept", "_left", "_lock",
        "_parked", "_ready", "_registry", "_reroute", "_settling", "_through", "_unsure",
        "_waits_for", "cancelled", "exchanges", "gathering", "me", "most", "subscription",
    )  # fmt: skip

    def __init__(
        self, subscription: Joiner, registry: JoinedRegistry, reroute: Callable[[], None]
    ) -> None:
        self.subscription = subscription
        self.me = HERE
        """The id of this process as other nodes know it, if any do."""
        self.most = subscription.history
        """How many messages of each exchange the joiner asked for."""
        self.cancelled = False
        """Whether the joiner has left."""
        self.exchanges = weakref.WeakValueDictionary[str, Any]()
        """The exchanges that have begun to give it their history. Weak: a collected one keeps
        nothing."""
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
        """Start afresh in a forked child; history that the parent was given is not given again."""
        self._lock = threading.RLock()
        self._unsure: set[object] = set()
        self._waits_for: set[object] = set()
        self._kept: list[PastMessage] = []
        self._awaited: set[str] = set()
        self._ready: set[str] = set()
        self._left: set[str] = set()
        self._parked: list[Delivery | Lost] = []
        self._first: dict[tuple[str, str], int] = {}
        self._had: dict[str, Latest] = {}
        """By exchange, how new the messages are that the joiner was given, while it is open."""
        self.gathering = False
        """Whether the joiner is still to be given the newest of all messages that are kept."""
        self._settling = self._again = False

    @property
    def open(self) -> bool:
        """Whether history or parked messages of other nodes are still to come, or may be."""
        return not self.cancelled and bool(self._unsure or self._awaited)

    def cancel(self) -> object:
        """Stop, because the joiner has left. Return the messages that it was still to get.

        The caller releases them with no lock held, since messages may have finalisers.
        """
        with self._lock:
            self.cancelled, self.gathering = True, False
            left, self._parked, self._kept = (self._parked, self._kept), [], []
            self._first.clear()
            return left

    # ------------------------------------- called by the thread that attaches the joiner

    def asked(self, observers: Iterable[object]) -> None:
        """Note which observers are being told of the joiner. All arrivals were parked so far."""
        with self._lock:
            self._unsure = set(observers)
            self._waits_for.update(self._unsure)

    def keep(self, name: str, kept: Sequence[tuple[object, float]]) -> None:
        """Take the messages kept of an exchange here. Those sent on it from now on are parked."""
        now = self._registry.time()
        found = [
            # In whole microseconds, as on the wire.
            PastMessage(
                name,
                HERE,
                number,
                int(min(at, now) * 1e6 + 0.5) / 1e6,
                Delivery(name, settled(msg), None, None, at, headers),
            )
            for number, ((msg, headers), at) in enumerate([(split(one), at) for one, at in kept], 1)
        ]
        with self._lock:
            self._kept += found

    def attached(self) -> None:
        """The joiner is attached: give it its history now, unless a node is waited for.

        Called on the thread that attaches the joiner.

        Raises:
            KeyboardInterrupt: or SystemExit, raised by its task, after all messages were handed on.
        """
        with self._lock:
            self._waits_for.discard(self)
        self._settle(early=True)

    # ------------------------------------------- called by the registry's observers

    def noted(self, observer: object) -> None:
        """An observer has named, by `begin`, all origins whose history is to come."""
        with self._lock:
            was_open = self.open
            self._unsure.discard(observer)
            self._waits_for.discard(observer)
            closed = was_open and not self.open
            # Parked messages of an origin that no observer has named: it has left since.
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
        """An observer has named, by `begin`, the origins known so far; it may soon meet others."""
        with self._lock:
            self._unsure.discard(observer)

    def alone(self, observer: object) -> None:
        """An observer knows no origin so far; called at once, when it is told of the joiner."""
        with self._lock:
            self._waits_for.discard(observer)

    def again(self, observer: object) -> None:
        """Gather once more, for origins that an observer is about to meet and then has `noted`."""
        with self._lock:
            _held = self._begin_notes()  # released outside the lock
            if not (self.cancelled or self.gathering):
                self.gathering = self._again = True
            self._waits_for.add(observer)

    def expire(self) -> None:
        """Wait no longer for nodes that have not answered yet."""
        with self._lock:
            self._waits_for &= {self}
        self._settle()

    def begin(self, origin: str, expected: bool = True) -> bool:
        """Await an origin's history, with its messages parked; return False if there is no need.

        There is none if the history is awaited already or was given, or if the joiner has left.
        Called on the thread that delivers the origin's messages. If the origin is ``expected`` to
        answer soon, gathering waits for it.
        """
        with self._lock:
            if self.cancelled or origin in self._through:
                return False
            if origin in self._awaited and origin not in self._left:
                return False
            was_open = self.open
            _held = self._begin_notes()  # released outside the lock
            self._awaited.add(origin)
            self._left.discard(origin)
            self._ready.discard(origin)
            if expected and self.gathering:
                self._waits_for.add(origin)
        if not was_open:
            self._reroute()
        return True

    def awaits(self, origin: str) -> bool:
        """Return whether the history of an origin is awaited."""
        return origin in self._awaited

    def live(self, origin: str, name: str) -> int | None:
        """Return the number of the first parked message of an exchange, None without any."""
        return self._first.get((origin, name))

    def forgo(self, origin: str, name: str, last: int) -> None:
        """Drop parked messages of an exchange up to a number that the history will reach.

        Called on the thread that delivers the origin's messages.
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
        """Take the history of an origin, and hand it on: now, or along with that of others.

        Called on the thread that delivers the origin's messages. Messages that the joiner has had
        already are left out. If the origin has left (``through`` is false), it may `begin` again
        when it comes again.
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
        """Give the newest of all that was gathered, then parked messages, if nobody is waited for.

        Args:
            early: whether parked messages, too, are given as history and not as live messages.
        """
        with self._lock:
            if self._waits_for or self._settling or not self.gathering:
                return
            self._settling = True
            kept, self._kept = self._kept, []
        end = list[BaseException]()
        beyond = self._beside if self._again else everything
        # Our own messages by our id, so that at the same time all nodes order them alike.
        known = [replace(one, origin=one.origin or self.me) for one in kept]
        found = newest(known, self.most, beyond)
        self._give_kept(found, end if early else None)
        self._give_parked(None, early, end if early else None)
        self._reroute()
        if end:
            raise end.pop(0)

    def _begin_notes(self) -> object:
        """Note how new the messages are that the joiner has had; the lock is held.

        Until now its exchanges have counted them. From now on `_note` does, because an exchange
        also counts the messages that are parked here. Returns what the caller is to release.
        """
        if self.open:
            return None
        there = [exchange for ref in self.exchanges.valuerefs() if (exchange := ref()) is not None]
        self._had = {exchange.name: exchange._given_so_far() for exchange in there}
        return there

    def _note(self, name: str, sent_at: float, origin: str) -> None:
        """Note a message that the joiner is given."""
        self._had.setdefault(name, Latest()).note(min(sent_at, self._registry.time()), origin)

    def _note_live(self, item: Delivery | Lost) -> None:
        if isinstance(item, Delivery):
            self._note(item.name, item.sent_at, item.origin or HERE)

    def _beside(self, name: str, origin: str) -> Rank:
        """Return the rank that an origin's messages must exceed, after those given of others."""
        had = self._had.get(name)
        return NOTHING if had is None else had.beside(origin)

    def _give_kept(
        self, found: Sequence[PastMessage], end: list[BaseException] | None = None
    ) -> None:
        named = {self._registry.find(name) for name in {one.name for one in found}}
        served = {e.name: e for e in named if e and self.subscription in e._audience()}
        for one in found:
            if one.name in served:
                served[one.name]._note_given(one.sent_at, one.origin)
                self._note(one.name, one.sent_at, one.origin)
                self._give(one.item, True, end)

    def _give_parked(
        self, origins: set[str] | None, early: bool = False, end: list[BaseException] | None = None
    ) -> None:
        """Hand on parked messages: of ``origins``, or of all origins whose history was given."""
        while parked := self._take(origins):
            for item in parked:
                self._note_live(item)
                self._give(item, early, end)
                if item.origin in self._left:
                    name, number = _place(item)
                    self._given[item.origin, name] = number
        if not self.open:
            self._reroute()

    def _take(self, origins: set[str] | None) -> list[Delivery | Lost]:
        """Return parked messages; if there are none, stop parking messages of these origins."""
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
            if not self.open:
                self._had = {}
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
            elif self.open or self.gathering:
                self._note_live(item)
        if crowded:
            self.expire()
        return None if waits else self.subscription.hand_on(item, early=False)


def _origin(item: Delivery | Lost) -> str:
    """Return the origin of an item."""
    return item.origin or HERE


def _place(item: Delivery | Lost) -> tuple[str, int]:
    """Return the exchange and the number of a delivery, or of the first lost message.

    For a gap without a known beginning it is the number after the gap, where live messages begin.
    """
    if isinstance(item, Delivery):
        return item.name, item.seq or 0
    return item.exchange, item.first or item.last + 1
