"""The channels of a framework: exchanges below one prefix, read as one stream by its loop.

What comes waits here for the loop, bounded; with more, whoever sends waits. A channel is
subscribed to once it is in force at every peer: what is published after that comes.
"""

import asyncio
from collections.abc import Iterable
from typing import Generic, TypeVar

from .. import Exchange, Registry, Stream, to_call
from .membership import Membership

M = TypeVar("M")

WAITING = 10_000
"""Messages that may wait for the loop."""


def below(prefix: str) -> str:
    """Return the pattern of what a backend uses, whose names all begin with a prefix."""
    level, dot, _ = prefix.rpartition(".")
    return f"{level}.**" if dot else "**"


class Channels(Generic[M]):
    """What one backend hears and says; all its methods are for one event loop.

    Args:
        membership: how it has its node.
        prefix: what the names of its exchanges begin with.
    """

    def __init__(self, membership: Membership, prefix: str) -> None:
        self._membership = membership
        self._prefix = prefix
        self._inbox: Exchange[tuple[str, M]] = Registry().get("inbox")
        self._taps: dict[str, to_call[M]] = {}
        self.stream: Stream[tuple[str, M]] = self._inbox.stream(WAITING, "block")
        """What has come, each with its channel."""

    def exchange(self, channel: str) -> Exchange[M]:
        """Return the exchange of a channel.

        Raises:
            InvalidName: the channel cannot be named so.
        """
        return self._membership.registry.get(self._prefix + channel)

    async def subscribe(self, channels: Iterable[str]) -> None:
        """Have what is published on channels come, from when this returns on."""
        for channel in channels:
            if channel not in self._taps:
                exchange = self.exchange(channel)
                tap = self._taps[channel] = self._tap(channel)
                exchange.attach(tap)
                self._membership.attached()
        await self._membership.joined()

    def _tap(self, channel: str) -> to_call[M]:
        """Return a task that leaves messages here, with the name of their channel."""
        inbox = self._inbox
        return to_call(lambda msg: inbox.send((channel, msg)))

    async def unsubscribe(self, channels: Iterable[str]) -> None:
        """Have nothing more come of channels."""
        for channel in channels:
            tap = self._taps.pop(channel, None)
            if tap is not None:
                self.exchange(channel).detach(tap)

    async def publish(self, channel: str, msg: M, size: int) -> None:
        """Send to everybody who is subscribed, this loop included.

        It waits for the loop to read what waits for it, and for peers now and then.
        """
        while len(self.stream) > WAITING // 2 and not self.stream.closed:
            await asyncio.sleep(0.001)
        self.exchange(channel).send(msg)
        await self._membership.sent(size)

    async def close(self) -> None:
        """Hear nothing any more, and leave the federation."""
        await self.unsubscribe(list(self._taps))
        self.stream.close()
        await asyncio.to_thread(self._membership.leave)
