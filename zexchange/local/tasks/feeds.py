"""What exchanges hold of a stream: where to put its messages, and not the stream itself.

So a stream that nobody refers to any more goes. Its finaliser runs anywhere, with whatever
locks held, and only sets marks; it is detached by the next message, or by the next use of a
registry. Nothing here knows what an exchange is, beyond that a feed can be released there.
"""

import sys
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from ..process import finalizers
from .dispatch import Gone
from .mailbox import Mailbox
from .snapshots import Keeper

WARNS = sys.flags.dev_mode
"""Whether a stream that was not closed is told of: in Python's dev mode."""


class Place(Protocol):
    """An exchange or a view that a feed is attached to."""

    @property
    def _key(self) -> str:
        """Its name or pattern."""
        ...

    def _release(self, feed: "Feed") -> None:
        """Detach a feed, however often it is attached."""
        ...


class Feed(Keeper, Gone):
    """The task that stands for a stream; every method may be called by any thread."""

    __slots__ = (
        "_mailbox", "_stream", "_unclosed", "details", "keep", "places", "preload", "send",
        "send_all",
    )  # fmt: skip

    def __init__(self, stream: object, mailbox: Mailbox[Any], details: bool) -> None:
        self._stream = weakref.ref(stream)
        self._mailbox = mailbox
        self._unclosed = False
        self.details = details
        self.places: set[weakref.ref[Place]] = set()
        """Where it is attached; what goes together with its stream has nothing to detach."""
        self.send: Callable[[Any], object] = mailbox.put
        self.keep: Callable[[Any], object] = mailbox.keep
        self.send_all: Callable[[Sequence[Any]], bool] = mailbox.put_all
        self.preload: Callable[[Any], None] = mailbox.preload

    def __repr__(self) -> str:
        stream = self._stream()
        return "a stream that nobody refers to" if stream is None else repr(stream)

    def stream(self) -> object:
        """Return the stream, None if nobody refers to it any more."""
        return self._stream()

    def orphan(self) -> None:
        """Note that nobody can read any more; called by a finaliser, so it takes no lock."""
        self._unclosed = not self._mailbox.closed
        self._mailbox.orphan(self)
        orphans.append(self)

    def detach(self) -> None:
        """Detach it everywhere, and warn once if it should have been closed; no lock is held."""
        places = [place for ref in list(self.places) if (place := ref()) is not None]
        for place in places:
            place._release(self)
        if places and self._unclosed and WARNS:
            self._unclosed = False
            _Unclosed(" and ".join(sorted(repr(place._key) for place in places)))


class _Unclosed:
    """Warns when it goes, at once: so that the warning as an error stops nobody else's call."""

    def __init__(self, where: str) -> None:
        self._where = where

    def __del__(self) -> None:
        text = f"a stream of {self._where} was not closed, and nobody refers to it any more"
        warnings.warn(text, ResourceWarning, stacklevel=2)


orphans: deque[Feed] = deque()
"""Feeds of streams that are no more, and that may be attached yet."""


def tidy() -> None:
    """Detach what stands for streams that are no more; called with no lock held.

    In a finaliser there may be one.
    """
    if finalizers.collecting is not None and finalizers.here():
        return
    while orphans:
        try:
            feed = orphans.popleft()
        except IndexError:  # another thread was faster
            return
        feed.detach()
