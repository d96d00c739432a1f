"""A bounded queue: any thread puts items, waiting threads and coroutines take them.

An item that does not fit is dropped by the rule that the user chose, and counted: never silently.
Items come from anywhere and may be anything; `keep` copies buffers, which their sender may fill
again.

The class is one piece because threads and coroutines read the same items under the same lock.
"""

import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar, get_args

from ...errors import Closed, MailboxFull
from ...seconds import seconds
from ..process import finalizers
from ..process.fork import track
from ..process.logs import log
from . import eventloops
from .snapshots import UNCHANGING, settled

T = TypeVar("T")

Overflow = Literal["block", "drop_oldest", "drop_newest", "error"]
"""The rule for one more item in a full mailbox: see `Exchange.stream`."""
IN_A_ROW, A_WHILE = 64, 0.001
"""A coroutine that never has to wait takes so many items between two looks at the clock, and
yields to its loop after so many seconds. Without that it would starve other coroutines in a flood;
if it yielded after each 100 items, the loop and the delivering thread would wait for each other
all the time."""

NO_ROOM = object()
ROOM_AFTER = 0.01
"""Seconds after which a waiting sender looks for room again. It is woken when half of the mailbox
is free: if it were woken for each message taken, it and the reader would pass the GIL to and fro.
"""


def check_overflow(overflow: str) -> None:
    """Raise ValueError unless ``overflow`` is one of the four rules."""
    if overflow not in get_args(Overflow):
        words = ", ".join(map(repr, get_args(Overflow)))
        raise ValueError(f"overflow is one of {words}, not {overflow!r}")


@dataclass(frozen=True, slots=True)
class MailboxStats:
    """The counts of a mailbox since it was made, in messages.

    Attributes:
        received: how many were put into it, dropped ones included.
        dropped: how many were not kept, or were removed, for want of room.
        blocked: how often a sender had to wait for room.
        waiting: how many are in it now.
        conflated: how many a newer one replaced before they were read, of a stream that keeps only
            the newest.
    """

    received: int
    dropped: int
    blocked: int
    waiting: int
    conflated: int = 0


class Mailbox(Generic[T]):
    """A bounded queue, read alike by threads that wait and by event loops."""

    __slots__ = (
        "__weakref__", "_blocked", "_dropped", "_filled", "_finishing", "_home",
        "_left", "_limit", "_lock", "_overflow", "_paused", "_readers", "_received", "_roomy",
        "_unasked", "_waiters", "items", "over", "turns", "writers",
    )  # fmt: skip

    def __init__(self, maxsize: int, overflow: Overflow | None, title: str = "") -> None:
        """Make an empty mailbox; if ``overflow`` is None, a warning in the log tells of drops."""
        self._unasked = "" if overflow else title
        overflow = overflow or "drop_oldest"
        check_overflow(overflow)
        if maxsize < 1:
            raise ValueError(f"maxsize is at least 1, not {maxsize}")
        self._overflow = overflow
        self._limit = maxsize  # -1 once closed, so that put needs only one comparison
        self.items: deque[T] = deque()
        self._received = self._dropped = self._blocked = 0
        self.over = self._finishing = False
        self._left: object = None
        track(self)._after_fork()

    def _after_fork(self) -> None:
        """Make new locks; threads that waited on the old ones are not in this process."""
        self._lock = threading.RLock()  # a signal handler may put while its thread holds it
        self._filled = threading.Condition(self._lock)
        self._roomy = threading.Condition(self._lock)
        self._readers = self.writers = 0
        self._waiters: list[tuple[eventloops.LoopBinding, eventloops.LoopWaiter]] = []
        self._home: eventloops.LoopBinding | None = None  # set while a loop reads, not a thread
        self._paused = 0.0  # when other coroutines of the loop last had a turn
        self.turns = 0  # how many items a coroutine may take before it looks at the clock

    def __len__(self) -> int:
        return len(self.items)

    @property
    def closed(self) -> bool:
        """Whether the mailbox takes no more items."""
        return self._limit < 0

    def put(self, item: T) -> object:
        """Add ``item``, or do what ``overflow`` says; after `close` it is ignored.

        Returns:
            None; or the argument of `orphan`, once nobody will read the item.

        Raises:
            MailboxFull: with ``overflow="error"``, or where waiting would never end.
        """
        if finalizers.collecting is not None and finalizers.later(self.put, item, message=True):
            return None
        with self._lock:
            if len(self.items) >= self._limit:
                gone = self._make_room()  # released outside the lock, when this function returns
                if gone is NO_ROOM:
                    return self._left
            self._received += 1
            self.items.append(item)
            if self._readers or self._waiters:
                self._wake()
            return None

    def keep(self, item: T) -> object:
        """Add ``item`` like `put`, but copy a buffer, which its sender may fill again."""
        if type(item) not in UNCHANGING:
            item = settled(item)
        if finalizers.collecting is not None and finalizers.later(self.put, item, message=True):
            return None
        with self._lock:  # repeated from `put`: a call would add a tenth to the cost
            if len(self.items) >= self._limit:
                gone = self._make_room()
                if gone is NO_ROOM:
                    return self._left
            self._received += 1
            self.items.append(item)
            if self._readers or self._waiters:
                self._wake()
            return None

    def put_all(self, items: Sequence[T]) -> bool:
        """Add all items if it is open and has room for all of them; return whether it had."""
        with self._lock:
            if len(self.items) + len(items) > self._limit:
                return False
            self._received += len(items)
            self.items.extend(items)
            if self._readers or self._waiters:
                self._wake()
            return True

    def preload(self, item: T) -> None:
        """Add ``item`` beyond the bound: for a backlog that the reader asked for."""
        with self._lock:
            if self._limit >= 0:
                self._received += 1
                self.items.append(item)
                self._wake()

    def clear(self) -> None:
        """Forget the items without counting them: in a forked child they are the parent's."""
        self._received -= len(self.items)
        self.items.clear()

    def _make_room(self) -> object:
        """Do what ``overflow`` says in a full mailbox.

        Returns:
            `NO_ROOM` if the new item does not go in; else the item that was dropped for it, or
            None.
        """
        if self._limit < 0:
            return NO_ROOM
        if self._overflow == "block":
            return None if self._wait_for_room() else NO_ROOM
        if self._overflow == "error":
            raise MailboxFull(f"the mailbox holds {len(self.items)} messages and is full")
        if self._overflow == "drop_newest":
            self._refuse()
            return NO_ROOM
        try:
            gone = self.items.popleft()
        except IndexError:
            return None  # a coroutine, which takes no lock, was faster
        self._dropped += 1
        if self._unasked and self._dropped == 1:
            log.warning(
                "%s is full: its reader is slower than its senders; beyond %d messages the oldest"
                " are dropped, and counted in its stats(). overflow='block' has senders wait,"
                " overflow='drop_oldest' says that this is meant",
                self._unasked,
                self._limit,
            )
        return gone

    def _refuse(self) -> None:
        """Count an item that is dropped without having been put in; the lock is held."""
        self._received += 1
        self._dropped += 1

    def _wait_for_room(self) -> bool:
        """Wait until a reader has taken items; return False once the mailbox is closed."""
        home = self._home
        if home is not None and eventloops.running() is home.loop:
            raise MailboxFull(
                "the mailbox is full, and its reader runs on this very event loop: waiting for"
                " room here would never end"
            )
        self._blocked += 1
        self.writers += 1
        try:
            while len(self.items) >= self._limit >= 0:
                if self._home is not None and self._home.closed:
                    self._refuse()  # the reader's loop has ended without a call of `close`
                    return False
                self._roomy.wait(ROOM_AFTER)
        finally:
            self.writers -= 1
        return self._limit >= 0

    def _wake(self) -> None:
        """Wake all readers: each loop by one callback until it waits again, however many puts."""
        if self._readers:
            self._filled.notify()
        waiters, self._waiters = self._waiters, []
        for home, waiter in waiters:
            home.wake(waiter)

    def take(self, timeout: float | None = None) -> T:
        """Remove and return the oldest item, waiting up to ``timeout`` seconds.

        Raises:
            TimeoutError: nothing came in time.
            Closed: the mailbox was closed.
            RuntimeError: the mailbox is empty, and waiting without a timeout would stop an event
                loop.
        """
        self._home, self.turns = None, 0
        deadline = time.monotonic() + seconds(timeout)
        with self._lock:
            while True:
                if self._readable():
                    with suppress(IndexError):  # a coroutine was faster
                        return self._pop()
                    continue
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f"no message within {timeout} s")
                if timeout is None and eventloops.held_up_here():
                    raise RuntimeError(
                        "this would stop the event loop until a message comes: read the stream"
                        " with `async for`, or await `anext(stream)`"
                    )
                self._readers += 1
                try:
                    self._filled.wait(None if left > threading.TIMEOUT_MAX else left)
                finally:
                    self._readers -= 1

    def read_here(self) -> eventloops.LoopBinding:
        """Note that coroutines of the loop on this thread are the readers from now on."""
        home = self._home = eventloops.home()
        return home

    async def take_async(self) -> T:
        """Remove and return the oldest item, suspending the coroutine until there is one.

        The item is taken in the last step, which does not suspend. So a coroutine that is
        cancelled, at whatever moment, leaves the item in the mailbox. A coroutine that never has to
        wait yields to the others on its loop after `A_WHILE` seconds.

        Raises:
            Closed: the mailbox was closed.
        """
        home = self.read_here()
        if self.turns:
            self.turns -= 1
        else:
            self.turns, now = IN_A_ROW, time.monotonic()
            if self.items and now - self._paused > A_WHILE:
                self._paused = now  # before the pause: one that is cancelled counts as well
                await home.pause()
        while True:
            with self._lock:
                if self._readable():
                    try:
                        return self._pop()
                    except IndexError:  # a coroutine of another loop was faster
                        continue
                waiter = home.waiter()
                self._waiters.append((home, waiter))
            self.turns, self._paused = IN_A_ROW, time.monotonic()
            try:
                await waiter
            except BaseException:  # a put wakes all waiters, so no other one misses a wake-up
                with self._lock:
                    self._waiters = [w for w in self._waiters if w[1] is not waiter]
                raise

    def let_write(self) -> None:
        """Wake waiting senders if half is free; called after a `popleft` without the lock."""
        if len(self.items) <= self._limit // 2:
            with self._lock:
                self._roomy.notify_all()

    def _readable(self) -> bool:
        """Return whether there is an item; raise Closed if none will ever come."""
        if self.over or (self._finishing and not self.items):
            raise Closed("the stream was closed")
        return bool(self.items)

    def _pop(self) -> T:
        """Remove the oldest item, and wake waiting senders if half is free; the lock is held."""
        item = self.items.popleft()
        if self.writers and len(self.items) <= self._limit // 2:
            self._roomy.notify_all()
        return item

    def leave(self, in_order: bool) -> None:
        """Take note that a reader leaves its block, perhaps by an exception."""

    def close(self) -> None:
        """End at once: readers get Closed, waiting senders go on, their messages stay unread."""
        self.over = True
        self.finish()
        self._home = None  # else the loop would live as long as the stream

    def orphan(self, left: object) -> None:
        """End at once, as the reader was collected; called by a finaliser, so it takes no lock."""
        self._left = left
        self._limit, self.over = -1, True
        self.items.clear()

    def finish(self) -> None:
        """Take no more items; readers get those that are there, then Closed."""
        if finalizers.later(self.finish):
            return
        with self._lock:
            if self._unasked and self._dropped > 1 and not self._finishing:
                log.warning("%s has dropped %d messages in all", self._unasked, self._dropped)
            self._finishing, self._limit = True, -1
            self._filled.notify_all()
            self._roomy.notify_all()
            self._wake()

    def refuse(self) -> int:
        """Count one message as dropped without taking it; return 1, the number of drops."""
        with self._lock:
            self._refuse()
        return 1

    def abandon(self) -> int:
        """Drop and count the items, which nobody will read; return how many there were."""
        with self._lock:
            unread = list(self.items)
            self.items.clear()
            self._dropped += len(unread)
        return len(unread)  # the items are released only now, outside the lock

    def stats(self) -> MailboxStats:
        """Return the counts so far, all of one moment."""
        with nullcontext() if finalizers.here() else self._lock:
            return MailboxStats(self._received, self._dropped, self._blocked, len(self.items))
