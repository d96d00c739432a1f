"""A backend for the `broadcaster` package: channels that reach the subscribers of all processes.

With no more than the name of a federation, the processes of one host find each other::

    broadcast = Broadcast(backend=ExchangeBackend("chat"))
    app = Starlette(routes=routes, on_startup=[broadcast.connect])

A channel is an exchange: any program of the federation may send there.
"""

from typing import Any

from broadcaster import BroadcastBackend, Event

from .channels import Channels, below
from .membership import AnyNode, Membership

UNKNOWN = 16 << 10
"""Bytes that a message is taken to have where only encoding it would tell."""


class ExchangeBackend(BroadcastBackend):
    """A backend for `broadcaster.Broadcast`, for any number of processes.

    Args:
        federation: the name of the federation that the processes meet in.
        prefix: what the names of the exchanges begin with; a channel's name follows.
        node: a node of the program's own instead of ``federation``.
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
        """Join; `Broadcast.connect` calls this."""
        self._channels = Channels(self._membership, self._prefix)
        await self._membership.joined()

    async def disconnect(self) -> None:
        """Leave; `Broadcast.disconnect` calls this."""
        channels, self._channels = self._open, None
        await channels.close()

    async def subscribe(self, group: str) -> None:
        """Have what is published on a channel come, from when this returns on."""
        await self._open.subscribe([group])

    async def unsubscribe(self, group: str) -> None:
        """Have nothing more come of a channel."""
        await self._open.unsubscribe([group])

    async def publish(self, channel: str, message: Any) -> None:
        """Send to the subscribers of a channel, in all processes.

        Raises:
            EncodeError: the message cannot cross to another process.
        """
        size = len(message) if isinstance(message, str | bytes) else UNKNOWN
        await self._open.publish(channel, message, size)

    async def next_published(self) -> Event:
        """Return what comes next, with its channel."""
        channel, message = await anext(self._open.stream)
        return Event(channel=channel, message=message)
