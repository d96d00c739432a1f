"""A member: a task of this process that takes a share of the messages of a group.

A stream is read by the program. Any other task gets a thread of its own while there is work. So its
work holds up neither senders nor the other tasks of this process.
"""

import itertools
import threading
from collections.abc import Callable
from typing import Any

from ...errors import Closed
from ..process import finalizers
from ..process.fork import track
from ..tasks.dispatch import logger
from ..tasks.jobs import JobMailbox
from ..tasks.stream import Delivery

IDLE = 1.0
"""Seconds after which the thread of a task ends that has nothing to do."""

_numbers = itertools.count(1)


class Member:
    """One task of this process in a group.

    Args:
        key: the name or pattern that it is attached to.
        group: the name of the group.
        ahead: how many messages of one sender it may have at a time; 0 leaves that to senders.
        mailbox: of the stream, if it is one; else None.
        form: makes of a delivery what the task is to get.
        call: hands that to the task, if it is no stream.
        text: names the task, for people.
        monotonic: the clock, in seconds.
        start: starts a thread that calls `work`.
        bare: whether ``form`` returns the message itself.
    """

    def __init__(
        self,
        key: str,
        group: str,
        ahead: int,
        mailbox: JobMailbox | None,
        form: Callable[[Delivery], object],
        call: Callable[[Any], object] | None,
        text: str,
        bare: bool,
        monotonic: Callable[[], float],
        start: Callable[["Member"], object],
    ) -> None:
        self.key = key
        self.group = group
        self.ahead = ahead
        self.number = next(_numbers)
        self.errors = 0
        self.form = form
        self.bare = bare
        """Whether the task gets the bare message, and ``form`` need not be called."""
        self._text = text
        self.read = call is None
        """Whether it is a stream, which the program reads."""
        self._call = call or _nothing
        self.mailbox = JobMailbox() if mailbox is None else mailbox
        self.mailbox.monotonic = monotonic
        self.start = start
        self._lock = threading.Lock()
        track(self)._after_fork()

    def _after_fork(self) -> None:
        """Start the thread again when it is needed: the parent's is not in this process."""
        self._lock = threading.Lock()
        self._running = False

    def __repr__(self) -> str:
        return f"<{self._text} in group {self.group!r} of {self.key!r}>"

    def wake(self) -> None:
        """Have the thread of a task that is no stream run; called after a message was put in."""
        if self._running or self.read or not self._begin():
            return
        self.start(self)

    def _begin(self) -> bool:
        """Note that a thread runs; return False if one does already."""
        with self._lock:
            before, self._running = self._running, True
            return not before

    def work(self) -> None:
        """Hand the task one message after the other, until it is detached or idle for long."""
        working = True
        while working:
            try:
                self.mailbox.work(self._call, IDLE, self._failed)
            except TimeoutError:
                working = self._goes_on()
            except Closed:
                working = False

    def work_one(self) -> bool:
        """Hand the task one message; return whether there is more to do. A simulated thread."""
        return self.mailbox.work_one(self._call, self._failed) or self._goes_on()

    def _goes_on(self) -> bool:
        """Return whether the thread is still needed; if not, the next `wake` starts another."""
        with self._lock:
            self._running = bool(len(self.mailbox)) and not self.mailbox.over
            return self._running

    def _failed(self, error: BaseException) -> None:
        """Count and log what the task raised: SystemExit too, which would end the thread."""
        self.errors += 1
        logger.error("%r failed", self, exc_info=error)

    def end(self) -> None:
        """Take no more messages; the present one is worked on to its end."""
        if not finalizers.later(self.mailbox.close):
            self.mailbox.close()


def _nothing(item: object) -> None: ...


def start_thread(member: Member) -> None:
    """Start the thread of a member."""
    name = f"zexchange-{member.group}"
    threading.Thread(target=member.work, name=name, daemon=True).start()
