"""A backend for the `broadcaster` package: channels that reach subscribers in all processes.

The name of a federation is enough for the processes of one host to find each other::

    broadcast = Broadcast(backend=ExchangeBackend("chat"))
    app = Starlette(routes=routes, on_startup=[broadcast.connect])

Each channel is an exchange, on which any program of the federation may send.
"""

from typing import Any

from broadcaster import BroadcastBackend, Event

from .channels import Channels, below
from .membership import AnyNode, Membership

UNKNOWN = 16 << 10
"""The size that is assumed for a message that is no str or bytes, in bytes."""


class ExchangeBackend(BroadcastBackend):
    """A backend for `broadcaster.Broadcast`, for any number of processes.

    Args:
        federation: the name of the federation that the processes join.
        prefix: the first part of the names of the exchanges; the name of the channel follows.
        node: a node of the program's own, to use instead of ``federation``.
    """

    def __init__(
        self,
        federation: str | None = None,
        *,
        prefix: str = "broadcast.",
        node: AnyNode | None = None,
    ) -> None:
        self._membership = Membership(federation, node, below(prefix))
        self._prefix = prefix
        self._channels: Channels[Any] | None = None

    @property
    def _open(self) -> Channels[Any]:
        if self._channels is None:
            raise RuntimeError("the backend is used before connect, or after disconnect")
        return self._channels

    async def connect(self) -> None:
        """Join the federation; called by `Broadcast.connect`.

        Raises:
            ExchangeError: the federation cannot be joined.
        """
        self._channels = Channels(self._membership, self._prefix)
        await self._membership.joined()

    async def disconnect(self) -> None:
        """Leave the federation; called by `Broadcast.disconnect`."""
        channels, self._channels = self._open, None
        await channels.close()

    async def subscribe(self, group: str) -> None:
        """Subscribe to a channel: messages published after this returns are received."""
        await self._open.subscribe([group])

    async def unsubscribe(self, group: str) -> None:
        """Unsubscribe from a channel."""
        await self._open.unsubscribe([group])

    async def publish(self, channel: str, message: Any) -> None:
        """Send to the subscribers of a channel, in all processes.

        Raises:
            EncodeError: the message cannot be sent to another process.
        """
        size = len(message) if isinstance(message, str | bytes) else UNKNOWN
        await self._open.publish(channel, message, size)

    async def next_published(self) -> Event:
        """Wait for the next message, and return it with its channel."""
        channel, message = await anext(self._open.stream)
        return Event(channel=channel, message=message)
