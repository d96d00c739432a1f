"""Rounds: a message handed to every task of an exchange, one after the other, on one thread.

A task may send on the exchange that it is called by. If that went out at once, the tasks after
it would get the answer before the question, and other processes the question first. So it
waits until the round that the task is called in is over; only where two or more are attached,
only for the thread of that round, and at no cost for a round in which nothing of it happens.
"""

import sys
from collections import deque
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any, TypeVar

from ..errors import TooManyDeferred
from .interfaces import RegistryCalls
from .process import finalizers
from .process.fork import track
from .routing import Routing
from .tasks.dispatch import Failures, Target, answered, failed, joined, noted, serve
from .tasks.snapshots import snapshot
from .tasks.stream import T

DEFERRED_MOST = 1000
"""Messages that wait for the end of one round, those included that are sent meanwhile."""
QUICK = sys.implementation.name == "cpython" and getattr(sys, "_is_gil_enabled", lambda: True)()
"""Whether a thread keeps its turn from the look at a mark until that is set: see `Rounds.send`."""
OVER: Any = None
"""The ``targets`` of a round that is over, whose frame may still be on the stack."""
F = TypeVar("F", bound=Callable[..., Any])
_codes: list[CodeType] = []


def is_round(function: F) -> F:
    """Note that a call of ``function`` is a round of ``self`` as long as it has ``targets``."""
    _codes.append(function.__code__)
    return function


class _Deferred:
    """What one round has to hand on before it is over."""

    __slots__ = ("count", "messages")

    def __init__(self) -> None:
        self.count = 0
        self.messages: deque[Any] = deque()


class _Waiting:
    """What is deferred, by the round, which is known by its frame on the stack."""

    def __init__(self) -> None:
        self.by_frame: dict[FrameType, _Deferred] = {}
        track(self)

    def _after_fork(self) -> None:
        """Leave to the parent what belongs to threads that are not in this process."""
        here = set(_stack(1))
        self.by_frame = {frame: held for frame, held in self.by_frame.items() if frame in here}


_waiting = _Waiting()


def _stack(above: int) -> list[FrameType]:
    """Return the frames of this thread, the innermost first, without so many of them."""
    frames: list[FrameType] = []
    frame: FrameType | None = sys._getframe(above)
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return frames


class Rounds(Routing[T]):
    """The part of an exchange that hands on what is sent.

    What is called is in two places, so that the cheap cases stay cheap: ``_only`` alone, where
    there is one target or none; else all ``_targets``, while ``_idle``. A round of several
    takes ``_idle`` away until it is over, and whoever sends meanwhile comes by ``_only``, which
    stands in for them and looks closer. Who is in a round is not written down anywhere: the
    stack knows it.
    """

    __slots__ = ("_active", "_idle", "_many", "_only", "_targets")

    def __init__(self, name: str, registry: RegistryCalls, retained: int = 0) -> None:
        self._idle = self._many = False
        self._active: int | None = None
        """How many rounds are under way, once that has to be known; None if one or none."""
        super().__init__(name, registry, retained)

    def _after_fork(self) -> None:
        """Forget the rounds of threads that are not in this process."""
        busy = not self._idle and (self._many or self._active is not None)
        self._idle = self._many = False
        self._active = (busy and len([f for f in _stack(1) if self._is_mine(f)])) or None
        super()._after_fork()

    def send(self, msg: T) -> None:
        """Hand ``msg`` to every attached task, on this thread, and return when all had it.

        A task that sends on its own exchange gets no answer from the tasks there: they get that
        message when all have had the first one, unless it is the only task.

        Raises:
            Exception: what a task raised, after all were served: a lone error as itself,
                several as an ExceptionGroup, exchange and task in the notes. Errors with what
                was deferred are raised here, too. `TaskFailed` stands for what is no Exception.
            KeyboardInterrupt: or SystemExit, as itself, after all were served.
            WrongType: it is not of the exchange's type, if that has one; nobody gets it.
            TooManyDeferred: inside a task: too many messages wait for the end of its round. Inside
                a finaliser: too many wait that are to be handed on with no lock held.
        """
        # Left at the first trouble, so that a send without any pays for no book-keeping. No
        # other thread has a turn between the look at a mark and its change, as neither calls
        # anything (where that is not so, nothing is ever idle). With the number of the thread
        # written down, or a stand-in that is called for all, a send to ten took 1.3-1.5 of the
        # plain recipe; `match` keeps the answer off the locals, which saves 1 ns a task.
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
        """End a round of several after ``target``, with trouble or with what was deferred."""
        served = next(i for i, present in enumerate(targets, 1) if present is target)
        trouble = joined(trouble, serve(targets[served:], msg))
        return self._end(sys._getframe(1), trouble)

    def _settle(self, trouble: Failures) -> None:
        """Wait for room, then raise what went wrong."""
        raise NotImplementedError

    # What stands in for all targets.

    @is_round
    def _beside(self, msg: object) -> Failures | None:
        """Hand on ``msg`` while other rounds are under way: after that of this thread."""
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
        except BaseException as error:  # of a signal handler: this round is to end all the same
            trouble = failed(None, self._beside, error)
        return self._end(sys._getframe(), trouble)

    def _at_once(self, msg: object) -> Failures | None:
        """Hand on ``msg`` to one task, and bridges: its order is that of the calls."""
        if self._postponed(msg):
            return None
        return serve(self._current(), msg)

    # Rounds.

    def _is_mine(self, frame: FrameType) -> bool:
        """Tell whether a frame is that of a round of this exchange."""
        if not any(frame.f_code is code for code in _codes):
            return False
        names = frame.f_locals
        return names.get("self") is self and names.get("targets") is not None

    def _inside(self) -> FrameType | None:
        """Return the round that this thread is in, None if it is in none."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and not self._is_mine(frame):
            frame = frame.f_back
        return frame

    def _begin(self) -> None:
        """Begin a round of this thread beside others, or one of what arrived."""
        with self._lock:  # and no call in here, after which a signal handler may send
            if self._idle:
                self._idle, self._active = False, 1
            elif self._active is not None:
                self._active += 1
            else:  # a quick one has counted nothing
                self._active = 2 if self._many and QUICK else 1

    def _defer(self, frame: FrameType, msg: object) -> None:
        """Have a round hand on ``msg`` at its end."""
        if self._declared is not None:
            self._declared.encode(msg)  # it is the sender who is told that it does not fit
        deferred = _waiting.by_frame.setdefault(frame, _Deferred())
        if deferred.count >= DEFERRED_MOST:
            raise TooManyDeferred(
                f"tasks of exchange {self.name!r} have sent {DEFERRED_MOST} messages on it while"
                " one was handed on, and these wait for that: do they answer one another?"
            )
        deferred.count += 1
        deferred.messages.append(snapshot(msg))
        with self._lock:
            if self._active is None:
                self._active = 1  # so that the quick round sees to it

    def _end(self, frame: FrameType, trouble: Failures | None) -> Failures | None:
        """Hand on what a round has deferred, and count it no more; return all that went wrong."""
        while True:
            trouble = self._drain(frame, trouble)
            if not finalizers.later(self._over):
                self._over()
            if frame not in _waiting.by_frame:
                return trouble
            self._begin()  # for what a signal handler has sent just now

    def _over(self) -> None:
        """Count one round less."""
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
        """Hand on what a round has deferred, in order, and what is deferred by that."""
        while (deferred := _waiting.by_frame.get(frame)) is not None:
            while deferred.messages:
                msg = deferred.messages.popleft()
                more = serve(self._current(), msg)
                for _, error in more.errors if more is not None else ():
                    noted(error, "by a message that a task had sent, and that was deferred")
                trouble = joined(trouble, more)
            del _waiting.by_frame[frame]
        return trouble

    # Whom to call.

    def _changed(self) -> None:
        """Have the next message ask again who gets it; the lock is held."""
        if self._idle:
            self._idle = False
        elif self._many and QUICK and self._active is None:
            self._active = 1  # a quick round is under way, and shall see to what follows
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
        if QUICK and self._only is not self._stale:  # nothing is called between the two
            return self._targets
        self.registry._wake()
        with self._lock:
            # Again: another thread may have worked it out meanwhile and be in a quick round,
            # which is idle no more and has counted nothing.
            if self._only is self._stale:
                targets, only, many, idle = self._unchanged(self._state)
                self._targets, self._only, self._many, self._idle = targets, only, many, idle
            # Before the lock is let go of: a change after that would leave none.
            return self._targets

    def _state(self) -> tuple[tuple[Target, ...], Target | None, bool, bool]:
        """Return what a send calls, and how; the lock is held."""
        targets, tasks = self._all_targets(), len(self._audience())
        many = tasks > 1 or len(targets) > 1
        if tasks > 1 or self._active is not None:
            return targets, self._beside, many, many and QUICK and self._active is None
        if many:
            return targets, self._at_once, many, QUICK
        return targets, targets[0] if targets else None, False, False
