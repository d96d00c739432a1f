"""The mailbox of a stream that keeps only the newest message.

A newer message takes the place of one that nobody has read, which is counted as conflated and not
as dropped: its reader has asked for that. A sender never waits. A `Lost` is not put in: it would
take the place of a message, and what is missing would have been passed over all the same.
"""

from collections.abc import Sequence
from typing import TypeVar

from ...lost import Lost
from .mailbox import NO_ROOM, Mailbox, MailboxStats

T = TypeVar("T")


class LatestMailbox(Mailbox[T]):
    """A mailbox with room for one message, in which the newest one lies."""

    __slots__ = ("_conflated",)

    def __init__(self) -> None:
        super().__init__(1, "drop_oldest")
        self._conflated = 0

    def put(self, item: T) -> object:
        """Put ``item`` in the place of what was not read."""
        return None if type(item) is Lost else super().put(item)

    def put_all(self, items: Sequence[T]) -> bool:
        """Put the last item in the place of what was not read; return whether it is open."""
        with self._lock:
            if self.closed:
                return False
            unread = self._clear()
            self._conflated += len(items) - 1
            self._received += len(items)
            self.items.append(items[-1])
            if self._readers or self._waiters:
                self._wake()
        del unread  # released outside the lock
        return True

    def preload(self, item: T) -> None:
        """Put an earlier message in, as `put` does."""
        self.put(item)

    def _make_room(self) -> object:
        """Return the message that makes room, or `NO_ROOM` once it is closed."""
        return NO_ROOM if self.closed else self._clear()

    def _clear(self) -> object:
        """Take out what was not read, count and return it. The caller holds the lock."""
        try:
            unread = self.items.popleft()
        except IndexError:  # a coroutine, which takes no lock, was faster
            return None
        self._conflated += 1
        return unread

    def stats(self) -> MailboxStats:
        """Return the counts so far. Conflated messages are not among the dropped ones."""
        counts = super().stats()
        return MailboxStats(
            counts.received, counts.dropped, counts.blocked, counts.waiting, self._conflated
        )
