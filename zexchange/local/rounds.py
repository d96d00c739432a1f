"""Rounds: a message handed to every task of an exchange, one after the other, on one thread.

A task may send on the exchange that is calling it. If that message went out at once, the tasks not
yet called would get the answer before the question, while other processes, whose bridge comes
first, get the question first. So the answer is deferred until the round in which its sender was
called is over. This concerns only exchanges with two or more tasks, and only sends of the thread
that the round runs on. Sends of other threads begin rounds of their own at once.

To be cheap, a round without deferred messages writes nothing down but one attribute, and
`Rounds.send` has two paths:

- While `_idle` is set, no round is under way. A send clears it, calls all `_targets` (such a round
  is a *quick* one), and sets it again.
- Else a send calls `_only`: the single target, if there is only one, or one of three stand-ins.
  `_stale` works out the targets after a change, `_at_once` serves a single task and bridges, which
  need no deferral, and `_beside` serves two or more tasks.

`_beside` is thus called while another round is under way. It searches the stack of its thread for
the frame of a round of this exchange (`_inside`). If it finds one, it queues the message for that
frame (`_defer`). If it finds none, the other round is another thread's, and it begins one of its
own. In both cases it counts the rounds in `_active`. A quick round that finds `_active` set at its
end hands on what was deferred for its frame (`_end`). The last counted round to end makes the
exchange idle again. A batch that arrives for several tasks is a counted round too.

Between the test of `_idle` and its change nothing is called, so with CPython's GIL no other thread
runs in between. Where there is no GIL, `_idle` is never set and each send takes the second path. A
frame may stay on the stack after its round is over; then its ``targets`` are `OVER`.

The class is one piece because each of these paths reads and sets the same five attributes.
"""

import sys
from collections import deque
from collections.abc import Callable, Mapping
from types import CodeType, FrameType
from typing import Any, TypeVar

from ..errors import TooManyDeferred
from .interfaces import RegistryCalls
from .process import finalizers
from .process.fork import track
from .routing import Routing
from .tasks.dispatch import Failures, Target, answered, failed, joined, noted, serve
from .tasks.noted import Header, Noted, checked, split
from .tasks.snapshots import snapshot
from .tasks.stream import T

DEFERRED_MOST = 1000
"""How many messages one round may defer, including those that are sent as these are handed on."""
QUICK = sys.implementation.name == "cpython" and getattr(sys, "_is_gil_enabled", lambda: True)()
"""Whether a thread can test an attribute and set it without another thread running in between."""
OVER: Any = None
"""The ``targets`` of a round that is over, whose frame may still be on the stack."""
F = TypeVar("F", bound=Callable[..., Any])
_codes: list[CodeType] = []


def is_round(function: F) -> F:
    """Declare that a frame of ``function`` is a round of its ``self`` while it has ``targets``."""
    _codes.append(function.__code__)
    return function


class _Deferred:
    """The messages that one round has to hand on before it is over."""

    __slots__ = ("count", "messages")

    def __init__(self) -> None:
        self.count = 0
        self.messages: deque[Any] = deque()


class _Waiting:
    """The deferred messages of each round, by the round's frame."""

    def __init__(self) -> None:
        self.by_frame: dict[FrameType, _Deferred] = {}
        track(self)

    def _after_fork(self) -> None:
        """Forget the rounds of threads that are not in this process."""
        here = set(_stack(1))
        self.by_frame = {frame: held for frame, held in self.by_frame.items() if frame in here}


_waiting = _Waiting()


def _stack(above: int) -> list[FrameType]:
    """Return the frames of this thread, innermost first, without the innermost ``above``."""
    frames: list[FrameType] = []
    frame: FrameType | None = sys._getframe(above)
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return frames


class Rounds(Routing[T]):
    """The part of an exchange that hands on messages that are sent: see above for its states."""

    __slots__ = ("_active", "_idle", "_many", "_only", "_targets")

    def __init__(self, name: str, registry: RegistryCalls, retained: int = 0) -> None:
        self._idle = self._many = False
        self._active: int | None = None
        """How many rounds are under way; None if there are none, or a single quick one."""
        super().__init__(name, registry, retained)

    def _after_fork(self) -> None:
        """Forget the rounds of threads that are not in this process."""
        busy = not self._idle and (self._many or self._active is not None)
        self._idle = self._many = False
        self._active = (busy and len([f for f in _stack(1) if self._is_mine(f)])) or None
        super()._after_fork()

    def send(self, msg: T) -> None:
        """Hand ``msg`` to every attached task, on this thread, and return when all had it.

        A task that sends on its own exchange gets no answer from the tasks there before its call
        ends: they get that message when all had the first one, unless it is the only task.

        Raises:
            Exception: the error of a task, raised after all tasks were called: a single error as
                itself, several as an ExceptionGroup, with exchange and task in the notes. Errors
                with deferred messages are raised here too. `TaskFailed` stands for an error that is
                no Exception.
            KeyboardInterrupt: or SystemExit, as itself, after all tasks were called.
            WrongType: ``msg`` is not of the exchange's type, if it has one; no task gets it.
            TooManyDeferred: inside a task: too many messages wait for the end of its round. Inside
                a finaliser: too many messages of finalisers wait.
        """
        # The loop ends at the first failure, so that a send without any does no book-keeping.
        # If a round noted its thread's number, or all targets were called by one stand-in, a send
        # to ten tasks took 1.3-1.5 times as long as the plain recipe. `match` keeps the result
        # out of the local variables, which saves 1 ns a task.
        if self._idle:
            self._idle = False
            targets = self._targets
            try:
                for target in targets:
                    match target(msg):
                        case None:
                            pass
                        case result:
                            trouble = answered(None, target, result)
                            break
                else:
                    if self._active is None:
                        self._idle = True
                        return
                    trouble = None
            except BaseException as error:
                # The first target is taken before anything can fail.
                trouble = failed(None, target, error)  # pyright: ignore[reportPossiblyUnboundVariable]
            trouble, targets = self._carry_on(targets, target, msg, trouble), OVER  # pyright: ignore[reportPossiblyUnboundVariable]
            if trouble is not None:
                self._settle(trouble)
            return
        only = self._only
        if only is None:
            return
        try:
            result = only(msg)
            if result is None:
                return
            trouble = answered(None, only, result)
        except BaseException as error:
            trouble = failed(None, only, error)
        if trouble is not None:
            self._settle(trouble)

    is_round(send)

    def _carry_on(
        self, targets: tuple[Target, ...], target: Target, msg: T, trouble: Failures | None
    ) -> Failures | None:
        """Complete a quick round after ``target``: call the rest, and hand on deferred messages."""
        served = next(i for i, present in enumerate(targets, 1) if present is target)
        trouble = joined(trouble, serve(targets[served:], msg))
        return self._end(sys._getframe(1), trouble)

    def send_with(self, msg: T, headers: Mapping[str, Header]) -> None:
        """Do as `send` does, with headers that travel beside the message.

        It is a method of its own, because a second argument of `send` would make each message pay
        for it: a sixth of a send to one task.

        Args:
            msg: the message.
            headers: up to eight values (str, bytes, int or float) by name, of 128 bytes together,
                for `Delivery.headers`. Tasks that get the bare message do not see them.

        Raises:
            TypeError: a header has another type.
            ValueError: there are too many headers, or they are too large.
            Exception: as for `send`.
        """
        item = Noted(msg, checked(headers))
        self.registry._wake()
        self._send_noted(item)

    def _send_noted(self, item: Noted) -> None:
        """Hand on a message with headers, or a question, as `send` does with others."""
        if finalizers.collecting is not None and finalizers.here():
            finalizers.later(self._send_noted, item.snapshot(), message=True)
            return
        plan = self._plan
        if plan is not None and len(plan[1]) < 2:
            try:
                trouble = self._hand_noted(item)
            except BaseException as error:  # of the message's type, or raised by a signal handler
                trouble = failed(None, self._with_notes, error)
        else:
            trouble = self._with_notes(item)
        if trouble is not None:
            self._settle(trouble)

    @is_round
    def _with_notes(self, item: Noted) -> Failures | None:
        """Hand on a `Noted`: in a round of its own, deferred, or at once to a single task."""
        plan = self._plan
        alone = (len(self._audience()) if plan is None else len(plan[1])) < 2 and not self._groups()
        frame = None if alone else self._inside()
        if frame is not None:
            self._defer(frame, item)
            return None
        if not alone:
            self._begin()
        targets: tuple[Target, ...] | None = None if alone else ()
        try:
            trouble = self._hand_noted(item)
        except BaseException as error:  # of the message's type, or raised by a signal handler
            trouble = failed(None, self._with_notes, error)
        if targets is not None:
            trouble, targets = self._end(sys._getframe(), trouble), OVER
        return trouble

    def _settle(self, trouble: Failures) -> None:
        """Wait for room, then raise the errors of a round."""
        raise NotImplementedError

    # Stand-ins for all targets.

    @is_round
    def _beside(self, msg: object) -> Failures | None:
        """Hand on ``msg`` while other rounds are under way: deferred, if one is this thread's."""
        if self._postponed(msg):
            return None
        frame = self._inside()
        if frame is not None:
            self._defer(frame, msg)
            return None
        self._begin()
        try:
            targets = self._current()
            trouble = serve(targets, msg)
        except BaseException as error:  # raised by a signal handler: the round must still end
            trouble = failed(None, self._beside, error)
        return self._end(sys._getframe(), trouble)

    def _at_once(self, msg: object) -> Failures | None:
        """Hand on ``msg`` to bridges and a single task, without deferral."""
        if self._postponed(msg):
            return None
        return serve(self._current(), msg)

    # Rounds.

    def _is_mine(self, frame: FrameType) -> bool:
        """Return whether a frame is that of a round of this exchange."""
        if not any(frame.f_code is code for code in _codes):
            return False
        names = frame.f_locals
        return names.get("self") is self and names.get("targets") is not None

    def _inside(self) -> FrameType | None:
        """Return the frame of the round that this thread is in, or None."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and not self._is_mine(frame):
            frame = frame.f_back
        return frame

    def _begin(self) -> None:
        """Count a round of this thread beside others, or one of arriving messages."""
        with self._lock:  # without calls inside, after which a signal handler could send
            if self._idle:
                self._idle, self._active = False, 1
            elif self._active is not None:
                self._active += 1
            else:  # a quick round may be under way, which is not counted
                self._active = 2 if self._many and QUICK else 1

    def _defer(self, frame: FrameType, msg: object) -> None:
        """Queue ``msg`` for the end of the round with this frame."""
        if self._declared is not None:
            self._declared.encode(split(msg)[0])  # raises to the sender if it does not fit
        deferred = _waiting.by_frame.setdefault(frame, _Deferred())
        if deferred.count >= DEFERRED_MOST:
            raise TooManyDeferred(
                f"tasks of exchange {self.name!r} have sent {DEFERRED_MOST} messages on it while"
                " one was handed on, and these wait for that: do they answer one another?"
            )
        deferred.count += 1
        deferred.messages.append(msg.snapshot() if type(msg) is Noted else snapshot(msg))
        with self._lock:
            if self._active is None:
                self._active = 1  # so that the quick round hands on the message at its end

    def _end(self, frame: FrameType, trouble: Failures | None) -> Failures | None:
        """Hand on deferred messages, and count the round no longer; return all failures."""
        while True:
            trouble = self._drain(frame, trouble)
            if not finalizers.later(self._over):
                self._over()
            if frame not in _waiting.by_frame:
                return trouble
            self._begin()  # a signal handler has just sent a message, which was deferred

    def _over(self) -> None:
        """Count one round fewer; after the last one, make the exchange idle again."""
        with self._lock:
            if self._active is not None and self._active > 1:
                self._active -= 1
            else:
                self._active = None
                if self._many:
                    self._idle = QUICK
                else:
                    self._changed()

    def _drain(self, frame: FrameType, trouble: Failures | None) -> Failures | None:
        """Hand on the messages that a round has deferred, in order, and those deferred by these."""
        while (deferred := _waiting.by_frame.get(frame)) is not None:
            while deferred.messages:
                msg = deferred.messages.popleft()
                more = self._hand_on_deferred(msg)
                for _, error in more.errors if more is not None else ():
                    noted(error, "by a message that a task had sent, and that was deferred")
                trouble = joined(trouble, more)
            del _waiting.by_frame[frame]
        return trouble

    def _hand_on_deferred(self, msg: object) -> Failures | None:
        if isinstance(msg, Noted):
            return self._hand_noted(msg)
        return serve(self._current(), msg)

    # Working out targets.

    def _changed(self) -> None:
        """Have the next message work out the targets again; the lock is held."""
        if self._idle:
            self._idle = False
        elif self._many and QUICK and self._active is None:
            self._active = 1  # a quick round is under way, and has to run `_end`
        self._many = False
        self._targets: tuple[Target, ...] = ()
        self._only: Target | None = self._stale
        super()._changed()

    def _refresh(self, msg: object) -> Failures | None:
        """Work out the targets after a change, and hand ``msg`` to them."""
        if self._postponed(msg):
            return None
        self._current()
        only = self._only
        return None if only is None else serve((only,), msg)

    def _current(self) -> tuple[Target, ...]:
        """Return the targets, worked out again after a change."""
        if QUICK and self._only is not self._stale:  # no other thread runs before the next line
            return self._targets
        self.registry._wake()
        with self._lock:
            # Checked again with the lock: another thread may have worked out the targets, and may
            # be in a quick round. Setting `_idle` now would hide that round.
            if self._only is self._stale:
                targets, only, many, idle = self._unchanged(self._state)
                self._targets, self._only, self._many, self._idle = targets, only, many, idle
            # Read before the lock is released: a change after that would empty them.
            return self._targets

    def _state(self) -> tuple[tuple[Target, ...], Target | None, bool, bool]:
        """Return `_targets`, `_only`, `_many`, `_idle` for the present tasks; the lock is held."""
        targets, tasks = self._all_targets(), len(self._audience()) + len(self._groups())
        many = tasks > 1 or len(targets) > 1
        if tasks > 1 or self._active is not None:
            return targets, self._beside, many, many and QUICK and self._active is None
        if many:
            return targets, self._at_once, many, QUICK
        return targets, targets[0] if targets else None, False, False
