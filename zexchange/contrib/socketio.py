"""Client managers for python-socketio: what one process emits reaches the clients of all.

With no more than the name of a federation, the processes of one host find each other::

    manager = AsyncExchangeManager("chat")
    sio = socketio.AsyncServer(async_mode="asgi", client_manager=manager)
    app = socketio.ASGIApp(sio, on_shutdown=manager.close)

Clients are let in only when their process hears all others: who is connected misses no
emit. What passes is the JSON that the framework would give to any other queue.
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
"""Messages that may wait for the server's loop or thread. With more, whoever sends waits."""
Message = tuple[str, str]
"""Who published it, and the JSON."""


class _Channel:
    """The exchange that managers of one channel talk on, as one of them sees it."""

    def __init__(self, name: str, registry: Registry) -> None:
        self.exchange: Exchange[Message] = registry.get(name)
        self._inbox: Exchange[Message] = Registry().get(name)
        self._stream: Stream[Message] | None = None
        self._me = ""

    def open(self, me: str) -> None:
        """Hear what others than ``me`` publish, from here on."""
        self._me = me
        if self._stream is None:
            self._stream = self._inbox.stream(WAITING, "block")
            self.exchange.attach(self)

    def send(self, msg: Message) -> None:
        """Keep what came for the reader; this is a task of the exchange.

        One's own is left out here, not by the reader: a loop that emits without a pause
        would fill the mailbox that it reads itself. So is what no manager has sent.
        """
        if not _is_message(msg):  # but sent by any other program of the federation
            return
        if msg[0] != self._me:
            self._inbox.send(msg)

    @property
    def stream(self) -> Stream[Message]:
        """What has come since it was opened."""
        assert self._stream is not None, "the manager was not initialized"
        return self._stream

    def close(self) -> None:
        """Hear nothing any more."""
        stream, self._stream = self._stream, None
        if stream is not None:
            self.exchange.detach(self)
            stream.close()


class _Meeting:
    """What both managers do alike; to stand before a base of the framework's."""

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
        """Begin to listen; the server calls this at its first client."""
        # A fresh one. The framework gives it one when it is made: processes that fork from a
        # preloaded application would share that, and each take the others' messages for its own.
        self.host_id = uuid.uuid4().hex
        if not self.write_only:
            self._channel.open(self.host_id)
            self._membership.attached()
        super().initialize()  # type: ignore[misc]


class AsyncExchangeManager(_Meeting, AsyncPubSubManager):
    """The client manager of a `socketio.AsyncServer` with several processes.

    Args:
        federation: the name of the federation that the processes meet in.
        channel: the name of the exchange that carries their messages.
        write_only: emit only, as from a process without a server.
        logger: where to log; the server's logger if None.
        json: a module to encode with where there is no server; else the server's is used.
        node: a node of the program's own instead of ``federation``, for servers on several
            hosts: ``federate("chat", listen=..., peers=..., keys=...)``.
    """

    name = "aioexchange"

    async def pre_connect(self, eio_sid: str, namespace: str) -> str | None:
        """Let a client in, once its process hears all others; None refuses it."""
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
        """Hear nothing any more and leave the federation; for the end of the application."""
        listening = getattr(self, "thread", None)
        if listening is not None:
            listening.cancel()
        self._channel.close()
        await asyncio.to_thread(self._membership.leave)


class ExchangeManager(_Meeting, PubSubManager):
    """The client manager of a `socketio.Server`, or of Flask-SocketIO, with several processes.

    It needs real threads: ``async_mode="threading"``. For the arguments see
    `AsyncExchangeManager`.

    Raises:
        ValueError: the server runs on greenlets, which would stop at the first wait.
    """

    name = "exchange"

    def set_server(self, server: Any) -> None:
        """Take a server; called when that is made."""
        mode = server.eio.async_mode
        if mode in ("eventlet", "gevent", "gevent_uwsgi"):
            raise ValueError(f"async_mode={mode!r} has no real threads: use 'threading'")
        super().set_server(server)

    def pre_connect(self, eio_sid: str, namespace: str) -> str | None:
        """Let a client in, once its process hears all others; None refuses it."""
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
        raise SystemExit  # closed: the thread ends, where returning would be logged as an error

    def close(self) -> None:
        """Hear nothing any more and leave the federation; for the end of the application."""
        self._channel.close()
        self._membership.leave()


def _is_message(sent: object) -> bool:
    return is_tuple(sent) and len(sent) == 2 and all(type(x) is str for x in sent)
