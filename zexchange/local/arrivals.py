"""Arrivals: messages of peers, handed to every task of an exchange except bridges and exchanges.

There is no caller to raise to, so errors are logged and counted.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import count, repeat
from typing import Any

from ..lost import Lost
from .interfaces import RegistryCalls
from .late_join import CatchUp
from .process import finalizers
from .rounds import OVER, Rounds, is_round
from .routing import Routes
from .subscription import Shaped
from .tasks.dispatch import Failures, Target, answered, logger, serve, wait_for_room
from .tasks.feeds import Feed
from .tasks.noted import NO_HEADERS, Header
from .tasks.stream import Delivery, T
from .typed.declared_type import DeclaredType
from .typed.structs import Made

DETAIL_MOST = 300
"""How many characters an error shows of a message that does not fit."""


class Arrivals(Rounds[T]):
    """The part of an exchange that hands on arriving messages."""

    __slots__ = ("_errors",)

    def __init__(self, name: str, registry: RegistryCalls, retained: int = 0) -> None:
        self._errors = 0
        super().__init__(name, registry, retained)

    def _note(self, target: Target) -> str:
        """Return a note for an error: which task, or bridge, raised it."""
        packed = () if self._declared is None else self._packed_ways()
        if target in (*self._ways(), *packed):
            return f"raised when exchange {self.name!r} handed the message to other nodes"
        if isinstance(target, Shaped | CatchUp):
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
        headers: Mapping[str, Header] = NO_HEADERS,
    ) -> None:
        """Hand on a batch of messages from a peer, to every task except bridges and exchanges.

        Called on the thread that delivers. The error of a task is logged and counted.

        Args:
            values: the messages, numbered ``first``, ``first + 1``, ...
            origin: the id of the node that sent them.
            first: the number of the first one.
            sent_at: when they were sent, in seconds since the epoch.
            headers: those of each of them.
        """
        given, declared = 0, self._declared
        if declared is not None:
            values = self._made(declared, values, origin, first, sent_at, headers)
            if not values:
                return
        if self._latest is not None:
            self._note_given(sent_at, origin)
        while given < len(values):
            # Looked up again after each change: in the middle of a batch a task may attach or
            # detach tasks, or declare a type for the rest of the batch.
            routes = self._routes
            if routes is None:
                routes = self._rebuild_routes()
                self._note_given(sent_at, origin)
                if declared is None and self._declared is not None:  # declared just now
                    self._deliver(values[given:], origin, first + given, sent_at, headers)
                    return
            plain, detailed, streams = routes
            rest = values[given:] if given else values
            if streams:
                self._fill(streams, rest)
                return
            if len(plain) + len(detailed) > 1:
                where = origin, first + given, sent_at, headers
                given += self._hand_on_in_turn(routes, rest, *where)
            elif plain:
                given += self._hand_on(routes, plain[0], rest)
            elif detailed:
                name, by, at = repeat(self.name), repeat(origin), repeat(sent_at)
                told = map(Delivery, name, rest, by, count(first + given), at, repeat(headers))
                given += self._hand_on(routes, detailed[0], told)
            else:
                return

    def _fill(self, streams: tuple[Feed, ...], values: Sequence[Any]) -> None:
        """Hand a batch to streams at once: no foreign code runs, and it takes a tenth of the time.

        A stream without room for all gets the messages one by one. Full streams get each message in
        turn: a program that reads two streams in step would wait for one of them while we wait for
        room in the other.
        """
        full = [stream for stream in streams if not stream.send_all(values)]
        for value in values if full else ():
            for stream in full:
                self._tell((stream.send,), value)

    def _hand_on(self, routes: Routes, target: Target, items: Iterable[Any]) -> int:
        """Hand a batch to the only task, until a change; return how many messages it was given."""
        given = 0
        for given, item in enumerate(items, 1):  # noqa: B007 - its last value is returned
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
        self,
        routes: Routes,
        values: Sequence[Any],
        origin: str,
        first: int,
        sent_at: float,
        headers: Mapping[str, Header],
    ) -> int:
        """Hand a batch to several tasks, as `_hand_on`; messages that they send are deferred."""
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
                        # SystemExit too: it would end the node's data thread silently.
                        self._log(target, error)
                if detailed:
                    told = Delivery(self.name, value, origin, seq, sent_at, headers)
                    self._tell(detailed, told)
                self._answer(self._drain(frame, None))
                if self._routes is not routes:
                    break
        finally:
            trouble, targets = self._end(frame, None), OVER
        self._answer(trouble)
        return seq + 1 - first

    def _answer(self, trouble: Failures | None) -> None:
        """Wait for room, then log and count failures, since there is no caller to raise to."""
        if trouble is not None:
            wait_for_room(trouble)
            for target, error in trouble.errors:
                self._log(target, error)

    def _rebuilt(self, history: list[Delivery]) -> list[Delivery]:
        """Return a peer's history as messages of the declared type, without misfits."""
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
                made.append(replace(item, msg=msg))
        return made

    def _made(
        self,
        declared: DeclaredType,
        values: Sequence[Any],
        origin: str,
        first: int,
        sent_at: float,
        headers: Mapping[str, Header],
    ) -> Sequence[Any]:
        """Return arrived values as messages of the type.

        If one does not fit, deliver the others one by one, and return none.
        """
        decode = declared.codec.decode
        try:
            if type(values) is Made:
                if values.by is declared:
                    return values
                values = [values.by.codec.encode(made) for made in values]  # declared again
            return [decode(value) for value in values]
        except BaseException as error:  # raised by a codec: it must not end the data thread
            if len(values) == 1:
                self._refuse(declared, origin, first, error)
                return ()
        for seq, value in enumerate(values, first):
            self._deliver((value,), origin, seq, sent_at, headers)
        return ()

    def _refuse(
        self, declared: DeclaredType, origin: str, seq: int | None, error: BaseException
    ) -> None:
        """Report a message that arrived and does not fit; ``seq`` is None for history."""
        # Cut off: the text may quote the message, which may be large.
        reason, detail = declared.takes, str(error)[:DETAIL_MOST]
        if not self.registry._refused(self, origin, seq, reason, detail):
            logger.warning("message %s of %s not taken: %s: %s", seq, origin, reason, detail)

    def _report(self, notice: Lost, mark: int | None = None) -> None:
        """Put ``notice`` into every stream with details, in its place among the messages.

        With a ``mark``, only into streams that were attached before the mark was made.
        """
        if mark is None:
            _, detailed, _ = self._routes or self._rebuild_routes()
        else:
            detailed = self._detailed(mark)
        self._tell(detailed, notice)

    def _tell(self, targets: tuple[Target, ...], item: object) -> None:
        """Hand ``item`` to some of the targets of arriving messages."""
        self._answer(serve(targets, item))

    def _log(self, target: Target, error: BaseException) -> None:
        self._count_errors(1)
        logger.error("message lost: error %s", self._note(target), exc_info=error)

    def _count_errors(self, n: int) -> None:
        if not finalizers.later(self._count_errors, n):
            with self._lock:
                self._errors += n
