"""The channels of a framework: exchanges with a common prefix, read as one stream.

Received messages wait here for the event loop, up to a limit; at the limit, senders wait. A
subscription has begun when it is in force at every peer: messages published after that are
received.
"""

import asyncio
from collections.abc import Iterable
from typing import Generic, TypeVar

from .. import Exchange, Registry, Stream, to_call
from .membership import Membership

M = TypeVar("M")

WAITING = 10_000
"""Messages that may wait for the event loop."""


def below(prefix: str) -> str:
    """Return a pattern that covers all names that begin with a prefix."""
    level, dot, _ = prefix.rpartition(".")
    return f"{level}.**" if dot else "**"


class Channels(Generic[M]):
    """The subscriptions of one backend, and its publishing. All methods are for one event loop.

    Args:
        membership: gives the node.
        prefix: the first part of the names of its exchanges.
    """

    def __init__(self, membership: Membership, prefix: str) -> None:
        self._membership = membership
        self._prefix = prefix
        self._inbox: Exchange[tuple[str, M]] = Registry().get("inbox")
        self._taps: dict[str, to_call[M]] = {}
        self.stream: Stream[tuple[str, M]] = self._inbox.stream(WAITING, "block")
        """The received messages, as pairs of channel and message."""

    def exchange(self, channel: str) -> Exchange[M]:
        """Return the exchange of a channel.

        Raises:
            InvalidName: the name of the channel does not make a valid name of an exchange.
        """
        return self._membership.registry.get(self._prefix + channel)

    async def subscribe(self, channels: Iterable[str]) -> None:
        """Subscribe to channels: messages published after this returns are received.

        Raises:
            ExchangeError: the federation cannot be joined.
            InvalidName: as `exchange` raises it.
        """
        for channel in channels:
            if channel not in self._taps:
                exchange = self.exchange(channel)
                tap = self._taps[channel] = self._tap(channel)
                exchange.attach(tap)
                self._membership.attached()
        await self._membership.joined()

    def _tap(self, channel: str) -> to_call[M]:
        """Return a task that puts messages into the inbox, with the name of their channel."""
        inbox = self._inbox
        return to_call(lambda msg: inbox.send((channel, msg)))

    async def unsubscribe(self, channels: Iterable[str]) -> None:
        """Unsubscribe from channels; those without a subscription are ignored."""
        for channel in channels:
            tap = self._taps.pop(channel, None)
            if tap is not None:
                self.exchange(channel).detach(tap)

    async def publish(self, channel: str, msg: M, size: int) -> None:
        """Send to all subscribers of a channel, those in this process included.

        It waits while more than half of the inbox is filled, and now and then for peers.

        Args:
            channel: its name, without the prefix.
            msg: the message.
            size: about how many bytes the message has.
        """
        # A full inbox would block this event loop, which is the one that reads it.
        while len(self.stream) > WAITING // 2 and not self.stream.closed:
            await asyncio.sleep(0.001)
        self.exchange(channel).send(msg)
        await self._membership.sent(size)

    async def close(self) -> None:
        """End all subscriptions, and leave the federation."""
        await self.unsubscribe(list(self._taps))
        self.stream.close()
        await asyncio.to_thread(self._membership.leave)
