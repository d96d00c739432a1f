"""Where the messages for browsers come from: streams, each read by one coroutine.

All browsers that are attached to a name or pattern share one stream, and each message is encoded
once. A browser that asks for history has a stream of its own, and so has a member of a group, which
gets its next message after the browser has acknowledged the one before.

A stream never makes senders wait. Where the event loop is too slow for it, the oldest messages are
dropped, and the browsers are told how many.
"""

import asyncio
from typing import Any

from ... import Delivery, EncodeError, Lost, Registry, Stream
from ...local.process.logs import log
from ...names import is_pattern
from .frames import message, message_tail
from .sessions import Session

WAITING = 10_000
"""Messages that may wait for the event loop, in each stream."""


def opened(registry: Registry, key: str, history: int, group: str | None) -> Stream[Any]:
    """Return a stream of a name or pattern, with details."""
    place = registry.match(key) if is_pattern(key) else registry.get(key)
    if group is not None:
        return place.stream(details=True, group=group)
    return place.stream(WAITING, "drop_oldest", details=True, history=history)


class Feed:
    """A stream, and the subscriptions that get its messages.

    Args:
        stream: the stream, which this closes.
        key: its name or pattern.
        group: whether it is a member of a group, with a single subscription.
    """

    def __init__(self, stream: Stream[Any], key: str, group: bool = False) -> None:
        self._stream = stream
        self._key = key
        self._group = group
        self._listeners: set[tuple[Session, int]] = set()
        self._dropped = 0
        self.reading = asyncio.ensure_future(self._read())
        # Also of one that was cancelled before it began.
        self.reading.add_done_callback(lambda _: stream.close())

    def add(self, session: Session, id: int) -> None:
        """Give a subscription the messages that come from now on."""
        self._listeners.add((session, id))

    def drop(self, session: Session, id: int) -> None:
        """Give a subscription no more; without any the stream is closed."""
        self._listeners.discard((session, id))
        if not self._listeners:
            # Cancelled and not only closed: a job that the browser has in hand is not done.
            self.reading.cancel()

    @property
    def idle(self) -> bool:
        """Whether nobody gets anything from it."""
        return not self._listeners

    async def _read(self) -> None:
        async with self._stream as stream:
            async for item in stream:
                try:
                    await self._pass_on(item)
                except Exception:  # it must not end for the browsers in silence
                    log.exception("a message of %r for browsers failed", self._key)
                    self._miss(self._key, 1)

    async def _pass_on(self, item: Delivery[Any] | Lost) -> None:
        if not self._group and (gone := self._stream.dropped - self._dropped):
            self._dropped += gone
            self._miss(self._key, gone)
        if isinstance(item, Lost):
            self._miss(item.exchange, item.last - item.first + 1 if item.first else None)
            return
        try:
            tail = message_tail(item.name, item.sent_at, item.msg, item.headers)
        except EncodeError as error:
            log.warning("a message of %r cannot be sent to browsers: %s", item.name, error)
            self._miss(item.name, 1)
            return
        for session, id in list(self._listeners):
            if self._group:
                await _hand_over(session, id, tail)
            else:
                session.message(id, item.name, tail)

    def _miss(self, name: str, number: int | None) -> None:
        for session, _ in self._listeners:
            session.miss(name, number)


async def _hand_over(session: Session, id: int, tail: bytes) -> None:
    """Give a browser a job, and return when it has acknowledged it. It is not dropped."""
    await session.handled(session.give(lambda position: message(position, id, tail)))


class Feeds:
    """The shared feeds by key, and those of single subscriptions."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._shared: dict[str, Feed] = {}

    def attach(self, session: Session, id: int, key: str, history: int, group: str) -> None:
        """Attach a subscription of a session, under its id.

        Raises:
            ExchangeError: as `Exchange.attach`.
        """
        if history or group:
            feed = Feed(opened(self._registry, key, history, group or None), key, bool(group))
        else:
            found = self._shared.get(key)
            feed = found or Feed(opened(self._registry, key, 0, None), key)
            self._shared[key] = feed
        feed.add(session, id)
        session.subscriptions[id] = feed

    def detach(self, session: Session, id: int) -> bool:
        """End a subscription; return whether there was one."""
        feed = session.subscriptions.pop(id, None)
        if feed is None:
            return False
        feed.drop(session, id)
        self.tidy()
        return True

    def tidy(self) -> None:
        """Forget shared feeds without subscriptions."""
        self._shared = {key: feed for key, feed in self._shared.items() if not feed.idle}
