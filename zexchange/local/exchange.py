"""An exchange: hands each message to every attached task, on the sender's thread.

What is sent goes out by `rounds`, what arrives by `Exchange._deliver`: no lock is held while tasks
are called. Whom to call is worked out by the first message after a change. What lies beyond
this process is a bridge. This module knows of it only that it comes first and is never counted.
"""

import builtins
import sys
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count, repeat
from typing import TYPE_CHECKING, Any, TypeVar, overload

from ..lost import Lost
from .late_join import RemoteCatchUp
from .parking import Bridge, Parking, stand_in
from .process import finalizers
from .retained import Kept
from .rounds import OVER, Rounds, is_round
from .routing import Routes, Stale
from .subscription import Shaped, Subscription, key_of_call
from .tasks.dispatch import (
    Backpressure,
    Failures,
    Target,
    answered,
    logger,
    noted,
    raise_all,
    serve,
    wait_for_room,
)
from .tasks.feeds import Feed
from .tasks.stream import Delivery, T
from .tasks.validation import check_callable
from .typed.codecs import Codec, codec_for
from .typed.declared_type import DeclaredType

if TYPE_CHECKING:
    from typing_extensions import deprecated

    from .registry import Registry

__all__ = ["Backpressure", "Bridge", "Exchange", "ExchangeStats"]

DETAIL_MOST = 300
"""Characters that are said of what does not fit."""
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class ExchangeStats:
    """The state of an exchange.

    Attributes:
        tasks: how many are attached to it, those of views not counted.
        bridges: how many federations carry it.
        retained: how many messages it keeps at most for late joiners.
        errors: how many calls of tasks failed since it was made.
    """

    tasks: int
    bridges: int
    retained: int
    errors: int


class Exchange(Rounds[T]):
    """A named channel: ``send(msg)`` hands ``msg`` to every attached task.

    Get one from `get_exchange` or a `Registry`: the same name is the same object, a copy is
    the exchange itself, and what was pickled is the exchange of that name where it is unpickled.
    Every method may be called by any thread, from inside a task as well.
    """

    __slots__ = ("_errors",)

    def __init__(self, name: str, registry: "Registry", retained: int = 0) -> None:
        self._errors = 0
        super().__init__(name, registry, retained)

    def __repr__(self) -> str:
        return f"<Exchange {self.name!r}, {len(self._table)} tasks>"

    @property
    def type(self) -> builtins.type[T] | None:
        """The type of its messages, None if none was said; see `get_exchange`."""
        return None if self._declared is None else self._declared.kind

    def _declare(self, kind: Any, codec: Codec[Any] | None) -> None:
        """Give it its type, if it has none, or one that was defined again since.

        Raises:
            TypeError: there is no codec for the type.
            ValueError: the exchange has another one, or another codec.
        """
        if kind is None:
            raise TypeError("a codec needs to know of which type= it is")
        while True:
            known = self._declared
            if known is not None:
                declared = known.again(kind, codec)
            else:
                declared = DeclaredType(self.name, kind, codec or codec_for(kind))
            if declared is known:
                return
            with self._lock:
                if self._declared is known:  # else another thread has given it one meanwhile
                    self._declared = declared
                    self._changed()
                    self.registry._keep(self.name)
                    return

    @property
    def _expendable(self) -> bool:
        """Whether nothing would be missed if it went: no task, no kept message, no type."""
        return not self._table and self._ring is None and self._declared is None

    # Sending.

    def _settle(self, trouble: Failures) -> None:
        """Wait for room, then raise what went wrong; a bridge's error last."""
        wait_for_room(trouble)
        carried = self._ways()
        trouble.errors.sort(key=lambda entry: entry[0] in carried)
        # In code of our own it is the message that does not fit, or a signal handler.
        others = [found for found in trouble.errors if not self._is_ours(found[0])]
        for target, error in others:
            noted(error, self._note(target))
        errors = [error for _, error in trouble.errors]
        ends = [error for target, error in trouble.errors if self._ends(target, error, carried)]
        trouble.errors.clear()
        if errors:
            self._count_errors(len(others))
            raise_all(errors, ends, self.name)

    def _is_ours(self, target: Target) -> bool:
        """Return whether a target is code of our own, which stands in for others."""
        owner = getattr(target, "__self__", None)
        return isinstance(target, Stale) or owner is self or isinstance(owner, DeclaredType)

    def _ends(self, target: Target, error: BaseException, carried: tuple[Target, ...]) -> bool:
        """Tell whether an error is to reach the sender as itself, though it is no Exception.

        In code of our own, a signal handler of the program has raised it.
        """
        if isinstance(error, Exception | KeyboardInterrupt | SystemExit):
            return not isinstance(error, Exception)
        return self._is_ours(target) or target in carried

    def _note(self, target: Target) -> str:
        """Return the line that says whose call failed."""
        if target in self._ways():
            return f"raised when exchange {self.name!r} handed the message to other nodes"
        if isinstance(target, Shaped | RemoteCatchUp):
            task = target.subscription.task
        else:
            found = (s.task for s in self._audience() if target in (s.accept, s.sent))
            task = next(found, getattr(target, "__self__", target))
        return f"raised by task {task!r} of exchange {self.name!r}"

    def _deliver(
        self,
        values: Sequence[Any],
        origin: str,
        first: int,
        sent_at: float,
    ) -> None:
        """Hand on a batch that arrived from a peer: to every task but bridges and exchanges.

        There is no caller to raise to: a task's error is logged and counted.

        Args:
            values: the messages, numbered ``first``, ``first + 1``, ...
            origin: the node that sent them.
            first: the number of the first.
            sent_at: when they were sent, in seconds since the epoch.
        """
        given, declared = 0, self._declared
        if declared is not None:
            values = self._made(declared, values, origin, first, sent_at)
            if not values:
                return
        if self._latest is not None:
            self._note_given(sent_at, origin)
        while given < len(values):
            # Looked up again after each change: a task may attach or detach in the middle of a
            # batch, or say of what type the rest of it is to be.
            routes = self._routes
            if routes is None:
                routes = self._rebuild_routes()
                self._note_given(sent_at, origin)
                if declared is None and self._declared is not None:  # since a moment ago
                    self._deliver(values[given:], origin, first + given, sent_at)
                    return
            plain, detailed, streams = routes
            rest = values[given:] if given else values
            if streams:
                self._fill(streams, rest)
                return
            if len(plain) + len(detailed) > 1:
                given += self._hand_on_in_turn(routes, rest, origin, first + given, sent_at)
            elif plain:
                given += self._hand_on(routes, plain[0], rest)
            elif detailed:
                name, by, at = repeat(self.name), repeat(origin), repeat(sent_at)
                told = map(Delivery, name, rest, by, count(first + given), at)
                given += self._hand_on(routes, detailed[0], told)
            else:
                return

    def _fill(self, streams: tuple[Feed, ...], values: Sequence[Any]) -> None:
        """Hand a batch to streams: they run no code of anybody's, which is a tenth of the cost.

        Where it does not fit, message by message: who reads two in step would wait for the
        one, while we wait for room in the other.
        """
        full = [stream for stream in streams if not stream.send_all(values)]
        for value in values if full else ():
            for stream in full:
                self._tell((stream.send,), value)

    def _hand_on(self, routes: Routes, target: Target, items: Iterable[Any]) -> int:
        """Hand a batch to the only task, up to a change; return how many it was given."""
        given = 0
        for given, item in enumerate(items, 1):  # noqa: B007 - what it is after the loop counts
            try:
                result = target(item)
                if result is not None:
                    self._answer(answered(None, target, result))
            except BaseException as error:
                self._log(target, error)
            if self._routes is not routes:
                break
        return given

    @is_round
    def _hand_on_in_turn(
        self, routes: Routes, values: Sequence[Any], origin: str, first: int, sent_at: float
    ) -> int:
        """Hand a batch to several tasks, as `_hand_on`; what they send here waits its turn."""
        frame, seq = sys._getframe(), first - 1
        self._begin()
        targets, detailed, _ = routes
        try:
            for seq, value in enumerate(values, first):
                for target in targets:
                    try:
                        result = target(value)
                        if result is not None:
                            self._answer(answered(None, target, result))
                    except BaseException as error:
                        # SystemExit too: it would end the node's data thread, without a word.
                        self._log(target, error)
                if detailed:
                    self._tell(detailed, Delivery(self.name, value, origin, seq, sent_at))
                self._answer(self._drain(frame, None))
                if self._routes is not routes:
                    break
        finally:
            trouble, targets = self._end(frame, None), OVER
        self._answer(trouble)
        return seq + 1 - first

    def _answer(self, trouble: Failures | None) -> None:
        """Settle what came of messages that have no caller to raise to: log and count errors."""
        if trouble is not None:
            wait_for_room(trouble)
            for target, error in trouble.errors:
                self._log(target, error)

    def _rebuilt(self, history: list[Delivery]) -> list[Delivery]:
        """Return what a peer had kept as tasks here get it, without what does not fit."""
        declared = self._declared
        if declared is None:
            return history
        made: list[Delivery] = []
        for item in history:
            try:
                msg = declared.codec.decode(item.msg)
            except BaseException as error:
                self._refuse(declared, item.origin or "", None, error)
            else:
                made.append(Delivery(item.name, msg, item.origin, item.seq, item.sent_at))
        return made

    def _made(
        self, declared: DeclaredType, values: Sequence[Any], origin: str, first: int, sent_at: float
    ) -> Sequence[Any]:
        """Return what arrived as messages of the type; where some do not fit, deliver the others.

        They are delivered one by one then, and none are returned.
        """
        decode = declared.codec.decode
        try:
            return [decode(value) for value in values]
        except BaseException as error:  # of a codec: it is not to end the node's data thread
            if len(values) == 1:
                self._refuse(declared, origin, first, error)
                return ()
        for seq, value in enumerate(values, first):
            self._deliver((value,), origin, seq, sent_at)
        return ()

    def _refuse(
        self, declared: DeclaredType, origin: str, seq: int | None, error: BaseException
    ) -> None:
        """Report a message that arrived and does not fit; of history, streams need not hear."""
        # Cut off: what is said may have come in the message, which may be large.
        reason, detail = declared.takes, str(error)[:DETAIL_MOST]
        if not self.registry._refused(self, origin, seq, reason, detail):
            logger.warning("message %s of %s not taken: %s: %s", seq, origin, reason, detail)

    def _report(self, notice: Lost, mark: int | None = None) -> None:
        """Put ``notice`` into every stream with details, in its place in the order.

        With a ``mark``, into those alone that were attached before it was made.
        """
        if mark is None:
            _, detailed, _ = self._routes or self._rebuild_routes()
        else:
            detailed = self._detailed(mark)
        self._tell(detailed, notice)

    def _tell(self, targets: tuple[Target, ...], item: object) -> None:
        """Hand ``item`` to some of those that get what arrives."""
        self._answer(serve(targets, item))

    def _log(self, target: Target, error: BaseException) -> None:
        """Log and count an error that has no caller."""
        self._count_errors(1)
        logger.error("message lost: error %s", self._note(target), exc_info=error)

    def _count_errors(self, n: int) -> None:
        if not finalizers.later(self._count_errors, n):
            with self._lock:
                self._errors += n

    if TYPE_CHECKING:

        @overload
        @deprecated("an async function is attached by attach(to_async(fn))")
        def handler(
            self, fn: Callable[[T], Coroutine[Any, Any, R]]
        ) -> Callable[[T], Coroutine[Any, Any, R]]: ...

        @overload
        def handler(self, fn: Callable[[T], R]) -> Callable[[T], R]: ...

    def handler(self, fn: Callable[[T], Any]) -> Callable[[T], Any]:
        """Have ``fn`` called with each message; use it as a decorator, undo with ``detach(fn)``.

        Raises:
            NotASubscriber: ``fn`` is no callable, or async; the text names the adapter.
        """
        check_callable(fn, "handler")
        if finalizers.collecting is None or not finalizers.later(self._handle, fn):
            self._handle(fn)
        return fn

    def _handle(self, fn: Callable[[T], object]) -> None:
        self.registry._wake()
        self._add(Subscription(fn, key_of_call(fn), fn))

    # Bridges.

    def _attach_bridge(self, bridge: Bridge) -> None:
        """Have ``bridge`` get each message before every task; once, however often called."""
        finish = self._begin_bridge(bridge)
        if finish is not None:
            finish()

    def _begin_bridge(self, bridge: Bridge) -> Callable[[], None] | None:
        """Do as `_attach_bridge`, but for what may call anything: that is returned, if need be.

        It encodes what was kept, and is to be called with no lock held. A second thread may do
        it, too: when either returns, the bridge is there.
        """
        with self._lock:
            if any(present is bridge for present in self._bridges):
                return None
            parking = stand_in(self._bridges, bridge)
            if parking is None:
                kept = self._uncarried()
                parking = Parking(bridge, kept, self._lock) if kept and bridge.inherits else None
                self._bridges = (*self._bridges, parking or bridge)
                self._changed()
        return None if parking is None else partial(self._end_parking, parking)

    def _finish_bridge(self, bridge: Bridge) -> None:
        """Have a bridge whose attaching another thread has begun be there."""
        parking = stand_in(self._bridges, bridge)
        if parking is not None:
            self._end_parking(parking)

    def _end_parking(self, parking: Parking) -> None:
        bridge = parking.bridge
        try:
            prepared = self._prepare(bridge, parking.kept)
        except BaseException:
            self._detach_bridge(bridge)
            raise
        with self._lock:
            if any(present is parking for present in self._bridges):
                # Each message was kept before, or parked, or is handed to the bridge.
                bridge.inherit(parking.end(prepared))
                self._bridges = tuple([bridge if b is parking else b for b in self._bridges])
                self._changed()

    def _prepare(self, bridge: Bridge, kept: Sequence[Kept]) -> list[Any]:
        """Have a bridge encode what is kept."""
        if self._declared is not None:
            kept = [(self._declared.kept_as(msg), sent_at) for msg, sent_at in kept]
        return bridge.prepare(kept)

    def _uncarried(self) -> list[Kept]:
        """Return what is kept and is still to be given to other nodes; the lock is held."""
        return self._ring.not_carried() if self._ring is not None else []

    def _replace_bridges(self, gone: Sequence[Bridge], bridge: Bridge) -> None:
        """Have ``bridge`` get each message that others got so far, in one step."""
        with self._lock:
            left = [b for b in self._bridges if not any(b is former for former in gone)]
            self._bridges = (*left, bridge)
            self._changed()

    def _detach_bridge(self, bridge: Bridge) -> None:
        """Undo `_attach_bridge`; without effect if it is not attached."""
        with self._lock:
            parking, there = stand_in(self._bridges, bridge), self._bridges
            self._bridges = tuple([b for b in there if b is not bridge and b is not parking])
            # Not by one that has not got it yet: then the next one does.
            if self._ring is not None and any(b is bridge for b in there):
                self._ring.carried()
            self._changed()

    # The rest.

    def stats(self) -> ExchangeStats:
        """Return the state of the exchange as a frozen value."""
        ring = self._ring  # without the lock: a finaliser may ask, wherever it runs
        bridges = sum(getattr(bridge, "federations", 1) for bridge in self._bridges)
        return ExchangeStats(len(self._table), bridges, ring.size if ring else 0, self._errors)
