"""A channels backend for Litestar: messages of one worker reach the subscribers of all workers.

The name of a federation is enough for the workers of one host to find each other::

    backend = ExchangeChannelsBackend("chat", history=20)
    channels = ChannelsPlugin(backend, channels=["news"], create_ws_route_handlers=True)
    app = Litestar(plugins=[channels])

Each channel is an exchange of messages in bytes, on which any program of the federation may send.
"""

import asyncio
import logging
import time
from bisect import insort
from collections.abc import AsyncGenerator, Iterable

from litestar.channels.backends.base import ChannelsBackend

from .. import Delivery, InvalidName, Lost, Stream
from ..kinds import is_bytes
from .channels import WAITING, Channels, below
from .membership import JOIN_TIMEOUT, AnyNode, Membership

CHANNELS_MOST = 4096
"""Channels whose history is kept: of more, those that had no message for the longest have none."""
_log = logging.getLogger("zexchange")


class ExchangeChannelsBackend(ChannelsBackend):
    """A backend for Litestar's `ChannelsPlugin`, for any number of processes.

    Args:
        federation: the name of the federation that the processes join.
        history: how many of the last messages of each channel every process keeps. A process that
            starts later gets those that the running processes have published and still keep.
        prefix: the first part of the names of the exchanges; the name of the channel follows.
        node: a node of the program's own, to use instead of ``federation``.
    """

    def __init__(
        self,
        federation: str | None = None,
        *,
        history: int = 0,
        prefix: str = "channels.",
        node: AnyNode | None = None,
    ) -> None:
        self._membership = Membership(federation, node, below(prefix))
        self._prefix = prefix
        self._most = history
        self._past = _Past(history, prefix)
        self._channels: Channels[bytes] | None = None

    @property
    def _open(self) -> Channels[bytes]:
        if self._channels is None:
            raise RuntimeError("the backend is used before on_startup, or after on_shutdown")
        return self._channels

    async def on_startup(self) -> None:
        """Join the federation and fetch the history; called by the plugin.

        Raises:
            ExchangeError: the federation cannot be joined.
        """
        self._channels = Channels(self._membership, self._prefix)
        if not self._most:
            await self._membership.joined()
            return
        registry, every = self._membership.registry, self._prefix + "**"
        registry.retain(every, self._most)
        view = registry.match(every)
        self._past.open(view.stream(WAITING, "block", details=True))
        # In a stream of its own: in the same one, live messages would wait for the history.
        with view.stream(WAITING, "drop_oldest", details=True, history=self._most) as earlier:
            self._membership.attached()
            owed = next(s.catch_up for s in view._subscriptions() if s.task is earlier._feed)
            await self._membership.joined()
            time = asyncio.get_running_loop().time
            until = time() + JOIN_TIMEOUT
            while owed and (owed.open or owed.gathering) and time() < until:
                await asyncio.sleep(0.005)
            self._past.take(earlier)

    async def on_shutdown(self) -> None:
        """Leave the federation; called by the plugin."""
        self._past.close()
        channels, self._channels = self._open, None
        await channels.close()

    async def publish(self, data: bytes, channels: Iterable[str]) -> None:
        """Send ``data`` to the subscribers of channels, in all processes.

        A channel whose name is not valid is logged; an exception would end the task by which the
        plugin publishes.
        """
        for channel in channels:
            try:
                await self._open.publish(channel, data, len(data))
            except InvalidName as error:
                _log.error("not published: %s", error)

    async def subscribe(self, channels: Iterable[str]) -> None:
        """Subscribe to channels: messages published after this returns are received.

        Raises:
            InvalidName: the name of a channel does not make a valid name of an exchange.
        """
        await self._open.subscribe(channels)

    async def unsubscribe(self, channels: Iterable[str]) -> None:
        """Unsubscribe from channels."""
        await self._open.unsubscribe(channels)

    async def stream_events(self) -> AsyncGenerator[tuple[str, bytes], None]:
        """Yield each message with its channel, leaving out messages that are not bytes."""
        async for channel, data in self._open.stream:
            if is_bytes(data):
                yield channel, data

    async def get_history(self, channel: str, limit: int | None = None) -> list[bytes]:
        """Return the last messages of a channel, at most ``limit``, ordered by sending time."""
        return self._past.of(channel, limit)


class _Past:
    """The last messages of every channel, ordered by the clocks of their senders."""

    def __init__(self, most: int, prefix: str) -> None:
        self._most = most
        self._prefix = prefix
        self._kept: dict[str, list[tuple[float, str, int, bytes]]] = {}
        """Sending time, origin, number and message, by channel.

        The channel that got a message last is at the end.
        """
        self._count = 0
        self._live: Stream[Delivery | Lost] | None = None
        self._reader: asyncio.Task[None] | None = None

    def open(self, live: "Stream[Delivery | Lost]") -> None:
        """Start a task that keeps the messages of a stream."""
        self._live = live
        self._reader = asyncio.ensure_future(self._read(live))

    async def _read(self, live: "Stream[Delivery | Lost]") -> None:
        async for item in live:
            self._keep(item)

    def take(self, stream: "Stream[Delivery | Lost]") -> None:
        """Keep the messages that wait in a stream; some of them may be kept already."""
        while len(stream):
            self._keep(stream.get(0))

    def _keep(self, item: Delivery | Lost) -> None:
        if isinstance(item, Lost) or not is_bytes(msg := item.msg):
            return  # messages that are not bytes are not for a channel
        channel = item.name.removeprefix(self._prefix)
        kept = self._kept[channel] = self._kept.pop(channel, [])
        if len(self._kept) > CHANNELS_MOST:
            del self._kept[next(iter(self._kept))]
        self._count += 1
        origin, number = item.origin or "", item.seq or self._count
        if all((there[1], there[2]) != (origin, number) for there in kept):
            # At most our time: a sender whose clock is ahead would otherwise stay the last.
            insort(kept, (min(item.sent_at, time.time()), origin, number, msg))
            del kept[: -self._most]

    def of(self, channel: str, limit: int | None) -> list[bytes]:
        """Return the kept messages of a channel, including those still waiting in the stream."""
        if self._live is not None:
            self.take(self._live)
        past = [kept[-1] for kept in self._kept.get(channel, [])]
        return past[-limit:] if limit else past

    def close(self) -> None:
        """Stop keeping messages."""
        if self._live is not None:
            self._live.close()
