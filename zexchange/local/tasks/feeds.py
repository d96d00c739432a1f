"""The part of a stream that an exchange holds: where to put messages, but not the stream itself.

So a stream can be collected when nobody refers to it. Its finaliser runs anywhere, on a thread that
may hold any locks, and so it only sets marks. The next message detaches the stream, or the next use
of a registry. Nothing here knows what an exchange is, except that a feed can be released there.
"""

import sys
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from ..process import finalizers
from .dispatch import Gone
from .jobs import JobMailbox
from .mailbox import Mailbox
from .snapshots import Keeper

WARNS = sys.flags.dev_mode
"""Whether a stream that was not closed causes a warning: in Python's dev mode."""


class Place(Protocol):
    """An exchange or a view that a feed is attached to."""

    @property
    def _key(self) -> str:
        """Its name or pattern."""
        ...

    def _release(self, feed: "Feed") -> None:
        """Detach a feed, even if it is attached several times."""


class Feed(Keeper, Gone):
    """The task that stands for a stream; every method may be called by any thread."""

    __slots__ = (
        "_mailbox", "_unclosed", "details", "keep", "places", "preload", "send", "send_all",
        "stream",
    )  # fmt: skip

    def __init__(self, stream: object, mailbox: Mailbox[Any], details: bool) -> None:
        self.stream = weakref.ref(stream)
        """Returns the stream, or None if it was collected."""
        self._mailbox = mailbox
        self._unclosed = False
        self.details = details
        self.places: set[weakref.ref[Place]] = set()
        """Where it is attached. Weak: a place that is collected along with the stream needs no
        detaching."""
        self.send: Callable[[Any], object] = mailbox.put
        self.keep: Callable[[Any], object] = mailbox.keep
        self.send_all: Callable[[Sequence[Any]], bool] = mailbox.put_all
        self.preload: Callable[[Any], None] = mailbox.preload

    @property
    def jobs(self) -> JobMailbox | None:
        """The mailbox of a stream that was made for a group, else None."""
        return self._mailbox if isinstance(self._mailbox, JobMailbox) else None

    def __repr__(self) -> str:
        stream = self.stream()
        return "a stream that nobody refers to" if stream is None else repr(stream)

    def orphan(self) -> None:
        """Note that nobody can read any longer; called by a finaliser, so it takes no lock."""
        self._unclosed = not self._mailbox.closed
        self._mailbox.orphan(self)
        orphans.append(self)

    def detach(self) -> None:
        """Detach from every place, and warn once if the stream was not closed; no lock is held."""
        places = [place for ref in list(self.places) if (place := ref()) is not None]
        for place in places:
            place._release(self)
        if places and self._unclosed and WARNS:
            self._unclosed = False
            _Unclosed(" and ".join(sorted(repr(place._key) for place in places)))


class _Unclosed:
    """Warns in its own finaliser: if warnings are errors, the error then stops no other call."""

    def __init__(self, where: str) -> None:
        self._where = where

    def __del__(self) -> None:
        text = f"a stream of {self._where} was not closed, and nobody refers to it any more"
        warnings.warn(text, ResourceWarning, stacklevel=2)


orphans: deque[Feed] = deque()
"""Feeds whose streams were collected, and which may still be attached."""


def tidy() -> None:
    """Detach feeds whose streams were collected; called with no lock held.

    In a finaliser a lock may be held, so this does nothing there.
    """
    if finalizers.collecting is not None and finalizers.here():
        return
    while orphans:
        try:
            feed = orphans.popleft()
        except IndexError:  # another thread was faster
            return
        feed.detach()
