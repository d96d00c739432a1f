"""An exchange: hands each message to every attached task, on the sender's thread.

Messages sent here go out by `rounds`, those of peers by `arrivals`. No lock is held while tasks are
called. The first message after a change works out which tasks to call. Other processes are reached
by bridges; this module knows of a bridge only that it is called before the tasks, and never counted
as one.
"""

import builtins
from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, overload

from ..errors import ExchangeError
from ..questions import Outcome
from .arrivals import Arrivals
from .asking import Asked
from .memberships import check_group
from .parking import Bridge, Parking
from .process import finalizers
from .requests import AsyncExchange, Reply, Request, ask, ask_all
from .routing import Stale
from .sharing.roster import GroupStats
from .subscription import Subscription, key_of_call
from .tasks.dispatch import Backpressure, Failures, Target, noted, raise_all, wait_for_room
from .tasks.noted import Header, Noted, split
from .tasks.responder import Done, Responder, failed
from .tasks.stream import T
from .tasks.validation import check_callable
from .typed.codecs import Codec, codec_for
from .typed.declared_type import DeclaredType

if TYPE_CHECKING:
    from typing_extensions import deprecated

__all__ = ["Backpressure", "Bridge", "ExchangeBase", "ExchangeStats"]

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class ExchangeStats:
    """The state of an exchange.

    Attributes:
        tasks: how many are attached to it, without those of views.
        bridges: how many federations carry it.
        retained: how many messages it keeps at most for late joiners.
        errors: how many calls of tasks failed since it was made.
        groups: the groups that get its messages, as this process sends to them.
    """

    tasks: int
    bridges: int
    retained: int
    errors: int
    groups: tuple[GroupStats, ...] = ()


class ExchangeBase(Arrivals[T]):
    """The behaviour of an exchange: `Exchange` adds only the type of its registry."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<Exchange {self.name!r}, {len(self)} tasks>"

    @property
    def type(self) -> builtins.type[T] | None:
        """The type of its messages, None if none was declared; see `get_exchange`."""
        return None if self._declared is None else self._declared.kind

    def _declare(self, kind: Any, codec: Codec[Any] | None) -> None:
        """Declare the type of its messages; a later call may only replace a class defined again.

        Raises:
            TypeError: there is no codec for the type.
            ValueError: the exchange has another type, or another codec.
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
                if self._declared is known:  # else another thread was faster: look again
                    self._declared = declared
                    self._changed()
                    self.registry._keep(self.name)
                    return

    @property
    def _expendable(self) -> bool:
        """Whether it could be collected without loss: it has no task, no kept message, no type."""
        idle = not self._table and self._ring is None and self._declared is None
        return idle and not (self._members and self._members.entries)

    # Sending.

    def _settle(self, trouble: Failures) -> None:
        """Wait for room, then raise the errors of a round; a bridge's error comes last."""
        wait_for_room(trouble)
        carried = self._ways()
        trouble.errors.sort(key=lambda entry: entry[0] in carried)
        # An error in our own code is due to the message or to a signal handler, not to a task.
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
        """Return whether a target is code of this package that stands in for others."""
        owner = getattr(target, "__self__", None)
        return isinstance(target, Stale) or owner is self or isinstance(owner, DeclaredType)

    def _ends(self, target: Target, error: BaseException, carried: tuple[Target, ...]) -> bool:
        """Return whether the sender gets an error as itself although it is no Exception.

        Such an error in our own code was raised by a signal handler of the program.
        """
        if isinstance(error, Exception | KeyboardInterrupt | SystemExit):
            return not isinstance(error, Exception)
        return self._is_ours(target) or target in carried

    if TYPE_CHECKING:

        @overload
        @deprecated("an async function is attached by attach(to_async(fn))")
        def handler(
            self, fn: Callable[[T], Coroutine[Any, Any, R]]
        ) -> Callable[[T], Coroutine[Any, Any, R]]: ...

        @overload
        def handler(
            self, fn: Callable[[T], R], *, group: str | None = None, ahead: int = 0
        ) -> Callable[[T], R]: ...

        @overload
        def handler(
            self, *, group: str | None = None, ahead: int = 0
        ) -> Callable[[Callable[[T], R]], Callable[[T], R]]: ...

    def handler(
        self, fn: Callable[[T], Any] | None = None, *, group: str | None = None, ahead: int = 0
    ) -> Any:
        """Have ``fn`` called with each message; undo with ``detach(fn)``.

        Use it as a decorator, with or without arguments.

        Args:
            fn: the function.
            group: as for `attach`.
            ahead: as for `attach`.

        Raises:
            NotASubscriber: ``fn`` is no callable, or async; the text names the adapter.
            Exception: about ``group`` and ``ahead``, as for `attach`.
        """
        if fn is None:
            return partial(self.handler, group=group, ahead=ahead)
        check_callable(fn, "handler")
        check_group(group, ahead)
        if finalizers.collecting is None or not finalizers.later(self._handle, fn, group, ahead):
            self._handle(fn, group, ahead)
        return fn

    def _handle(self, fn: Callable[[T], object], group: str | None, ahead: int) -> None:
        self.registry._wake()
        subscription = Subscription(fn, key_of_call(fn), fn)
        if group is None:
            self._add(subscription)
        else:
            self._join_group(subscription, group, ahead)

    # Requests.

    @overload
    def responder(self, fn: Callable[[T], R]) -> Callable[[T], R]: ...

    @overload
    def responder(self, *, most: int = 1000) -> Callable[[Callable[[T], R]], Callable[[T], R]]: ...

    def responder(self, fn: Callable[[T], Any] | None = None, *, most: int = 1000) -> Any:
        """Have ``fn(msg)`` answer the requests made on this exchange, here and at peers.

        Use it as a decorator, with or without arguments; undo it with ``detach(fn)``. ``fn`` gets
        questions only, no other messages. A plain function is called where a task would be: on the
        asker's thread, or on the data thread. An async one runs on the event loop on which it was
        declared.

        Args:
            fn: returns the answer, or raises what the asker gets as `RequestFailed`.
            most: how many questions an async function works on at a time. The asker of one more
                gets `RequestFailed`, of a `LimitReached`.

        Raises:
            NotASubscriber: ``fn`` is no callable.
            RuntimeError: it is async, and no event loop runs on this thread.
            LimitReached: this process is in a federation, and has responders on as many exchanges
                as it can (see docs/LIMITS.md).
        """
        if fn is None:
            return partial(self._declare_responder, most=most)
        return self._declare_responder(fn, most)

    def _declare_responder(self, fn: Callable[[T], R], most: int) -> Callable[[T], R]:
        responder = Responder(fn, most)
        if finalizers.collecting is None or not finalizers.later(self._respond, fn, responder):
            self._respond(fn, responder)
        return fn

    def _respond(self, fn: Callable[[T], object], responder: Responder) -> None:
        self.registry._wake()
        subscription = Subscription(fn, ("responder", *key_of_call(fn)), fn)
        subscription.responder = responder
        self._add(subscription)
        self.registry._responders_came()

    def request(
        self,
        msg: T,
        timeout: float | None = 2.0,
        wait: float | None = None,
        *,
        headers: Mapping[str, Header] | None = None,
    ) -> Any:
        """Ask one responder, and return its answer.

        The one with the fewest requests under way is asked, in turn among equals; those of this
        process take part. Plain subscribers see the question as a message.

        Args:
            msg: the question.
            timeout: seconds to wait for the answer; None waits without end. A plain function of
                this process is called on this thread, and not cut short.
            wait: seconds to wait before that for a responder to come, if there is none.
            headers: as in `send_with`.

        Raises:
            NoResponders: nobody answers on this exchange, here or at a peer that is ready.
            ExchangeError: the exchange is conflated, so that the question could be passed over.
            ResponderLost: the responder has left or died; it may have done the work.
            RequestFailed: the responder has raised an exception.
            RequestTimeout: no answer came in time.
            RuntimeError: on the data thread and in a running event loop.
            Exception: as for `send`: the question was sent, but its answer is not waited for.
        """
        return ask(self, msg, timeout, wait, headers)

    def request_all(
        self,
        msg: T,
        timeout: float | None = 1.0,
        *,
        headers: Mapping[str, Header] | None = None,
    ) -> Generator[Reply, None, None]:
        """Ask every responder, and yield a `Reply` for each answer, as they come.

        It ends when all that were there have answered or left.

        Args:
            msg: the question, which is sent at once.
            timeout: seconds to wait for all answers; None waits without end.
            headers: as in `send_with`.

        Raises:
            RequestFailed: after the other answers: a responder has raised. If several have, it is
                an ExceptionGroup of these.
            RequestTimeout: some have not answered in time.
            RuntimeError: at once, on the data thread and in a running event loop.
        """
        return ask_all(self, Request(self, msg, headers, timeout))

    @property
    def aio(self) -> AsyncExchange:
        """The requests of this exchange, for coroutines."""
        return AsyncExchange(self)

    def _responding(self, instead: str | None = None) -> tuple[Asked, ...]:
        """Return the responders that may be asked now.

        Args:
            instead: what a caller should use that waits on this thread, if it must not; None for
                one that does not.

        Raises:
            RuntimeError: the caller must not wait here.
            ExchangeError: the exchange is conflated: a question could be passed over.
        """
        registry = self.registry
        if registry._conflated and registry.conflated(self.name):
            raise ExchangeError(
                f"exchange {self.name!r} is conflated, so a question on it could be passed over:"
                " ask on another exchange"
            )
        here: tuple[Asked, ...] = self._responders
        return here + registry._elsewhere(self.name, instead)

    def _choose(self, there: tuple[Asked, ...]) -> Asked:
        """Return the responder to ask, and note that it has had its turn."""
        if len(there) == 1:
            return there[0]
        chosen = self._turn = self.registry._asking.choose(there, self._turn)
        return chosen

    def _answer_question(self, msg: object, later: Callable[[], Done | None]) -> Outcome | None:
        """Have a question from another process answered.

        Args:
            msg: the question; a `Noted` if it has headers.
            later: called if a coroutine has to answer it: returns what is called with the outcome,
                or None if no more questions are taken.

        Returns:
            The outcome; None if that comes later.
        """
        there, declared = self._responders, self._declared
        msg, headers = split(msg)
        if not there:
            return Outcome("lost", text="it was detached")
        if declared is not None:
            try:
                msg = declared.codec.decode(msg)
            except Exception as error:
                return failed(error)
        chosen = there[0]
        if len(there) > 1:
            one = self._choose(there)
            assert isinstance(one, Responder)
            chosen = one
        if not chosen.is_async:
            outcome = chosen.answer(msg, headers)
            if outcome.cause is not None:
                chosen.log(outcome, self.name)
            return outcome
        done = later()
        if done is None:
            return None
        told = done

        def ended(outcome: Outcome) -> None:
            chosen.log(outcome, self.name)
            told(outcome)

        chosen.ask(msg, ended, headers)
        return None

    # Bridges.

    def _attach_bridge(self, bridge: Bridge) -> None:
        """Have ``bridge`` get each message before every task. A second call has no effect."""
        finish = self._begin_bridge(bridge)
        if finish is not None:
            finish()

    def _begin_bridge(self, bridge: Bridge) -> Callable[[], None] | None:
        """Attach a bridge, but return the part that may call foreign code, if there is one.

        That part encodes the messages kept so far. Call it with no lock held; two threads may both
        call it. When it has returned on either of them, the bridge is attached.
        """
        with self._lock:
            if bridge in self._bridges:
                parking = self._bridges[bridge]
            else:
                kept = self._ring.not_carried() if self._ring is not None else []
                parking = Parking(bridge, kept, self._lock) if kept and bridge.inherits else None
                self._bridges = {**self._bridges, bridge: parking}
                self._changed()
        return None if parking is None else partial(self._end_parking, parking)

    def _finish_bridge(self, bridge: Bridge) -> None:
        """Complete the attaching of a bridge that another thread has begun."""
        parking = self._bridges.get(bridge)
        if parking is not None:
            self._end_parking(parking)

    def _end_parking(self, parking: Parking) -> None:
        bridge, kept, declared = parking.bridge, parking.kept, self._declared
        try:
            if declared is not None:
                kept = [(_kept_as(declared, msg), sent_at) for msg, sent_at in kept]
            prepared = bridge.prepare(kept)
        except BaseException:
            self._detach_bridge(bridge)
            raise
        with self._lock:
            if self._bridges.get(bridge) is parking:
                # So each message was kept before, or parked, or will be handed to the bridge.
                bridge.inherit(parking.end(prepared))
                self._bridges = {**self._bridges, bridge: None}
                self._changed()

    def _replace_bridges(self, gone: Sequence[Bridge], bridge: Bridge) -> None:
        """Have ``bridge`` get each message instead of the bridges in ``gone``, in one step."""
        with self._lock:
            left = {b: parking for b, parking in self._bridges.items() if b not in gone}
            self._bridges = {**left, bridge: None}
            self._changed()

    def _detach_bridge(self, bridge: Bridge) -> None:
        """Undo `_attach_bridge`; without effect if the bridge is not attached."""
        with self._lock:
            left = dict(self._bridges)
            # None for a bridge that is fully attached. One that still has a parking did not get
            # the kept messages, so the next bridge does.
            if left.pop(bridge, self) is None and self._ring is not None:
                self._ring.carried()
            self._bridges = left
            self._changed()

    # Statistics.

    def stats(self) -> ExchangeStats:
        """Return the state of the exchange as a frozen value."""
        ring = self._ring  # without the lock: a finaliser may call this
        bridges = sum(getattr(bridge, "federations", 1) for bridge in self._bridges)
        groups = self.registry._group_stats(self.name)
        kept = ring.size if ring else 0
        return ExchangeStats(len(self), bridges, kept, self._errors, groups)


def _kept_as(declared: DeclaredType, kept: object) -> object:
    """Return a retained message as a plain value, with its headers if it has any."""
    if isinstance(kept, Noted):
        return kept.with_msg(declared.kept_as(kept.msg))
    return declared.kept_as(kept)
