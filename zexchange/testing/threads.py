"""Simulated threads, and the objects by which they wait."""

import math
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

from ..local.sharing.member import Member
from ..local.tasks import bell as local_bell
from ..net.transport import polling
from ..net.transport.sockets import READABLE
from ..net.transport.threads import Handler, Ready, Turn
from .schedule import ENDLESS, Host, Party, Schedule

T = TypeVar("T")


class Poller:
    """Tells which descriptors are readable. It never waits itself; the schedule does."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._handlers: dict[int, Handler | None] = {}

    def watch(self, fd: int, handler: Handler | None = None, writing: bool = False) -> None:
        """Watch a descriptor."""
        self._handlers[fd] = handler

    def forget(self, fd: int) -> None:
        """Stop watching a descriptor."""
        del self._handlers[fd]

    handle: Any = polling.Poller.handle

    def wait(self, seconds: float) -> Ready:
        """Return the descriptors that are readable now."""
        raised = self._host.raised
        return [(fd, READABLE) for fd in self._handlers if fd in raised] if raised else []

    def close(self) -> None:
        """Stop watching all descriptors."""
        self._handlers.clear()


class Waker:
    """Makes another loop have a turn."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.fd = next(host.fds)

    def wake(self) -> None:
        """Make the descriptor readable."""
        self._host.raised[self.fd] = None

    def clear(self) -> None:
        """Make the descriptor unreadable."""
        self._host.raised.pop(self.fd, None)

    close = clear


class Condition(nullcontext[bool]):
    """A state that is waited for by letting things happen. It locks nothing."""

    def __init__(self, schedule: Schedule) -> None:
        super().__init__(True)
        self._schedule = schedule

    def look(self, look: Callable[[bool], T]) -> T:
        """Look at the state."""
        return look(True)

    def aside(self) -> AbstractContextManager[None]:
        """Return a context manager that does nothing."""
        return nullcontext()

    def notify_all(self) -> None:
        """Do nothing: waits check their condition after each thing that happens."""

    def await_state(self, predicate: Callable[[], T], timeout: float) -> T:
        """Let things happen until a condition holds, and return its last result."""
        found: list[T] = []

        def look() -> bool:
            found[:] = [predicate()]
            return bool(found[0])

        self._schedule.run(look, timeout)
        return found[0]

    async def wait_for_here(self, predicate: Callable[[], T], timeout: float) -> T:
        """Do as `await_state`, in a coroutine: no real time passes here."""
        return self.await_state(predicate, timeout)


class Bell:
    """An event that is waited for by letting things happen."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._rings = 0

    def listen(self) -> int:
        """Return a waiter for `wait`."""
        return self._rings

    def wait(self, rings: int, seconds: float) -> None:
        """Let things happen until `ring` is called."""
        self._schedule.run(lambda: self._rings > rings, seconds)

    def ring(self) -> None:
        """End every wait."""
        self._rings += 1


class CallerBell(local_bell.Bell):
    """Wakes the caller of a request, which lets things happen meanwhile."""

    __slots__ = ("_schedule",)

    def __init__(self, schedule: Schedule) -> None:
        super().__init__()
        self._schedule = schedule

    def wait(self, seconds: float) -> None:
        """Let things happen until it is rung."""
        self._schedule.run(lambda: self._rung, min(seconds, ENDLESS))
        self._rung = False

    async def wait_here(self, seconds: float) -> None:
        """Do as `wait`: no real time passes here."""
        self.wait(seconds)


class CallerEvent(threading.Event):
    """An event whose wait lets things happen."""

    def __init__(self, schedule: Schedule) -> None:
        super().__init__()
        self._schedule = schedule

    def wait(self, timeout: float | None = None) -> bool:
        """Let things happen until it is set."""
        return self._schedule.run(self.is_set, timeout)


class Worker(Party):
    """Stands in for the thread of a task that is a member of a group; a message is a turn."""

    def __init__(self, schedule: Schedule, host: Host, member: Member) -> None:
        super().__init__(schedule, host)
        self.member = member
        self.start()

    def wanted_at(self) -> float:
        """Return 0: it has something to do until it ends."""
        return 0.0

    def turn(self) -> None:
        """Hand the task one message."""
        if not self.member.work_one():
            self.end()

    def end(self) -> None:
        """Have no more turns; the member starts another one when it needs it."""
        super().end()
        if self in self.host.parties:
            self.host.parties.remove(self)


class Loop(Party):
    """Stands in for `net.transport.threads.Loop`. Errors in a turn reach the waiting caller."""

    def __init__(
        self,
        schedule: Schedule,
        host: Host,
        name: str,
        wait: Callable[[float], Ready],
        turn: Turn,
        last: Callable[[], None],
    ) -> None:
        super().__init__(schedule, host)
        self._wait = wait
        self._patience: float | None = 0.0
        self._turn = turn
        self._last = last
        self._since = schedule.now

    def wanted_at(self) -> float:
        """Return 0 if a descriptor is readable, else the time at which the wait ends."""
        if self.host.raised and self._wait(0):
            return 0.0
        patience = self._patience or 0.0
        return math.inf if patience < 0 else self._since + patience if patience else 0.0

    def turn(self) -> None:
        """Have a turn and, after the last one, call ``last``."""
        # Leave some out at random, as if they had become readable only after the wait.
        seen = [ready for ready in self._wait(0) if self._schedule.chance(0.9)]
        try:
            self._patience = self._turn(seen)
        finally:
            self._since = self._schedule.now
        if self._patience is None:
            self.end()
            self._last()


class Sender(Party):
    """Stands in for `zexchange.net.transport.threads.Sender`."""

    def __init__(self, schedule: Schedule, host: Host, send: Callable[[], float]) -> None:
        super().__init__(schedule, host)
        self._send = send
        self._asked_at = math.inf

    def ask(self) -> None:
        """Have queued messages sent soon."""
        self._asked_at = min(self._asked_at, self._schedule.now)

    def wanted_at(self) -> float:
        """Return the time at which a turn was asked for."""
        return self._asked_at

    def turn(self) -> None:
        """Send queued messages; ask for another turn if there is a delay."""
        self._asked_at = math.inf
        seconds = self._send()
        if seconds:
            self._asked_at = self._schedule.now + seconds
