"""Client managers for python-socketio: emits of one process reach the clients of all processes.

The name of a federation is enough for the processes of one host to find each other::

    manager = AsyncExchangeManager("chat")
    sio = socketio.AsyncServer(async_mode="asgi", client_manager=manager)
    app = socketio.ASGIApp(sio, on_shutdown=manager.close)

A process accepts clients only after it is connected to all other processes, so a connected client
misses no emit. The messages are the JSON texts that the framework passes to any message queue.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

from socketio import PubSubManager
from socketio.async_pubsub_manager import AsyncPubSubManager

from .. import Exchange, ExchangeError, Registry, Stream
from ..kinds import is_tuple
from .membership import AnyNode, Membership

WAITING = 10_000
"""Messages that may wait for the server's loop or thread. At the limit, senders wait."""
Message = tuple[str, str]
"""The id of the manager that published it, and the JSON text."""


class _Channel:
    """The exchange of all managers of one channel, and the inbox of this manager."""

    def __init__(self, name: str, registry: Registry) -> None:
        self.exchange: Exchange[Message] = registry.get(name)
        self._inbox: Exchange[Message] = Registry().get(name)
        self._stream: Stream[Message] | None = None
        self._me = ""

    def open(self, me: str) -> None:
        """Receive from now on what other managers than ``me`` publish."""
        self._me = me
        if self._stream is None:
            self._stream = self._inbox.stream(WAITING, "block")
            self.exchange.attach(self)

    def send(self, msg: Message) -> None:
        """Put a message into the inbox; called by the exchange, as of any task.

        Messages of this manager are left out here and not by the reader: an event loop that emits
        without a pause would fill the inbox that it has to read itself.
        """
        if not _is_message(msg):  # another program of the federation may send anything
            return
        if msg[0] != self._me:
            self._inbox.send(msg)

    @property
    def stream(self) -> Stream[Message]:
        """The inbox, with the messages received since `open`."""
        assert self._stream is not None, "the manager was not initialized"
        return self._stream

    def close(self) -> None:
        """Stop receiving."""
        stream, self._stream = self._stream, None
        if stream is not None:
            self.exchange.detach(self)
            stream.close()


class _Meeting:
    """The common part of both managers; has to precede the framework's class among the bases."""

    host_id: str
    write_only: bool

    def __init__(
        self,
        federation: str | None = None,
        channel: str = "socketio",
        write_only: bool = False,
        logger: Any = None,
        json: Any = None,
        *,
        node: AnyNode | None = None,
    ) -> None:
        super().__init__(channel, write_only, logger, json)  # type: ignore[call-arg]
        self._membership = Membership(federation, node, channel)
        self._channel = _Channel(channel, self._membership.registry)

    def initialize(self) -> None:
        """Begin to listen; the server calls this when its first client connects."""
        # The framework makes an id together with the manager. Processes that fork from a preloaded
        # application would share it, and each would take messages of the others for its own.
        self.host_id = uuid.uuid4().hex
        if not self.write_only:
            self._channel.open(self.host_id)
            self._membership.attached()
        super().initialize()  # type: ignore[misc]


class AsyncExchangeManager(_Meeting, AsyncPubSubManager):
    """The client manager of a `socketio.AsyncServer` with several processes.

    Args:
        federation: the name of the federation that the processes join.
        channel: the name of the exchange that carries their messages.
        write_only: only emit, for a process without a server.
        logger: the logger to use; that of the server if None.
        json: the module that encodes messages if there is no server; else the server's is used.
        node: a node of the program's own, to use instead of ``federation``, as for servers on
            several hosts: ``federate("chat", listen=..., peers=..., keys=...)``.
    """

    name = "aioexchange"

    async def pre_connect(self, eio_sid: str, namespace: str) -> str | None:
        """Accept a client once this process is connected to all others; None refuses it."""
        try:
            await self._membership.joined()
        except ExchangeError:
            self._get_logger().exception("no client can be let in without the federation")
            return None
        sid: str | None = await super().pre_connect(eio_sid, namespace)
        return sid

    async def _publish(self, data: dict[str, Any]) -> None:
        text = self.json.dumps(data)
        await self._membership.joined()
        self._channel.exchange.send((self.host_id, text))
        await self._membership.sent(len(text))

    async def _listen(self) -> AsyncIterator[str]:
        async for _, text in self._channel.stream:
            yield text

    async def close(self) -> None:
        """Stop receiving and leave the federation; call it when the application ends."""
        listening = getattr(self, "thread", None)
        if listening is not None:
            listening.cancel()
        self._channel.close()
        await asyncio.to_thread(self._membership.leave)


class ExchangeManager(_Meeting, PubSubManager):
    """The client manager of a `socketio.Server`, or of Flask-SocketIO, with several processes.

    It needs real threads, that is ``async_mode="threading"``. The arguments are those of
    `AsyncExchangeManager`.

    Raises:
        ValueError: the server uses greenlets, all of which would block at the first wait.
    """

    name = "exchange"

    def set_server(self, server: Any) -> None:
        """Set the server; called when it is made.

        Raises:
            ValueError: the server uses greenlets.
        """
        mode = server.eio.async_mode
        if mode in ("eventlet", "gevent", "gevent_uwsgi"):
            raise ValueError(f"async_mode={mode!r} has no real threads: use 'threading'")
        super().set_server(server)

    def pre_connect(self, eio_sid: str, namespace: str) -> str | None:
        """Accept a client once this process is connected to all others; None refuses it."""
        try:
            self._membership.join()
        except ExchangeError:
            self._get_logger().exception("no client can be let in without the federation")
            return None
        sid: str | None = super().pre_connect(eio_sid, namespace)
        return sid

    def _publish(self, data: dict[str, Any]) -> None:
        text = self.json.dumps(data)
        self._membership.join()
        self._channel.exchange.send((self.host_id, text))

    def _listen(self) -> Iterator[str]:
        for _, text in self._channel.stream:
            yield text
        raise SystemExit  # ends the thread; if it returned, the framework would log an error

    def close(self) -> None:
        """Stop receiving and leave the federation; call it when the application ends."""
        self._channel.close()
        self._membership.leave()


def _is_message(sent: object) -> bool:
    return is_tuple(sent) and len(sent) == 2 and all(type(x) is str for x in sent)
