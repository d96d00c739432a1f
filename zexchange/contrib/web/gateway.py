"""The gateway: WebSockets by which browsers take part in a federation, and the module for them.

It decides, before anything else happens, whether what a browser asks for is allowed; each refusal
is told and counted. Every method belongs to one event loop.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from ... import DecodeError
from ..membership import AnyNode, Membership
from . import frames
from .calls import Calls
from .doors import (
    HELLO_MOST,
    MALFORMED,
    REPLACED,
    TOO_LARGE,
    TOO_MANY,
    Entrance,
    Refused,
    file,
    meet,
    receive,
    shortened,
)
from .frames import Ack, Hello, Ping
from .queue import Limits
from .rights import BrowserRights, scopes
from .sessions import Session
from .sources import Feeds

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class GatewayStats:
    """The counts of a gateway since it was made.

    Attributes:
        connections: browsers that are connected now.
        sessions: browsers for which something is kept, with those that may come back.
        waiting: messages that wait for browsers, or for their acknowledgement.
        waiting_bytes: their bytes.
        missed: messages that browsers did not get, and were told about.
        refused: what was refused, by reason.
    """

    connections: int
    sessions: int
    waiting: int
    waiting_bytes: int
    missed: int
    refused: Mapping[str, int]


class Gateway:
    """Lets browsers take part in a federation: what is not allowed here is neither in nor out.

    Put its `routes` and its `lifespan` into an application of Starlette or FastAPI. It belongs to
    one event loop.

    Args:
        federation: the name of the federation to join.
        node: a node of the program's own, to use instead of ``federation``.
        subscribe: names and patterns to which browsers may attach.
        publish: names and patterns of the exchanges on which they may send and request.
        groups: those of ``subscribe`` where they may be members of groups, and so take messages
            from others.
        token: a text that each browser has to bring; None asks for none.
        origins: origins of pages that may connect beside that of the gateway itself, such as
            ``https://example.org``.
        connections: how many browsers may be connected at a time.
        limits: what each of them may use.

    Raises:
        InvalidName: a pattern is malformed.
        TypeError: both ``federation`` and ``node`` are given, or neither.
        ValueError: the token is empty.
    """

    def __init__(
        self,
        federation: str | None = None,
        *,
        token: str | None,
        node: AnyNode | None = None,
        subscribe: str | Iterable[str] = (),
        publish: str | Iterable[str] = (),
        groups: str | Iterable[str] = (),
        origins: Iterable[str] = (),
        connections: int = 1000,
        limits: Limits | None = None,
    ) -> None:
        if token == "":
            raise ValueError("an empty token is none: pass None if none is asked for")
        self._membership = Membership(federation, node)
        self._token = token
        self._entrance = Entrance(origins, connections)
        self._most = connections
        self._limits = limits or Limits()
        self._sessions: dict[str, Session] = {}
        self._expiring: dict[str, asyncio.TimerHandle] = {}
        self._missed = 0
        self._feeds = Feeds(self._membership.registry)
        rights = BrowserRights(scopes(subscribe), scopes(publish), scopes(groups))
        self._calls = Calls(
            self._membership, rights, self._limits, self._feeds, self._entrance.refused
        )

    @property
    def routes(self) -> list[BaseRoute]:
        """The routes ``/ws``, ``/zexchange.js`` and ``/zexchange.d.ts``."""
        return [
            WebSocketRoute("/ws", self._serve),
            Route("/zexchange.js", file(HERE / "zexchange.js", "text/javascript")),
            Route("/zexchange.d.ts", file(HERE / "zexchange.d.ts", "text/plain")),
        ]

    @asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncGenerator[None, None]:
        """Be in the federation while an application runs; to be passed as its ``lifespan``."""
        await self._membership.joined()
        try:
            yield
        finally:
            await self.close()

    async def close(self) -> None:
        """Let go of all browsers, and leave the federation unless the node was given."""
        for session in list(self._sessions.values()):
            if session.hang_up is not None:
                session.hang_up(1001, "the gateway ends")
            self._end(session)
        await asyncio.to_thread(self._membership.leave)

    def stats(self) -> GatewayStats:
        """Return what is connected, waits, was missed and refused."""
        sessions = self._sessions.values()
        return GatewayStats(
            self._entrance.connected,
            len(sessions),
            sum(len(session.queue) for session in sessions),
            sum(session.queue.size for session in sessions),
            self._missed + sum(session.queue.missed for session in sessions),
            dict(self._entrance.refused),
        )

    # Connections.

    async def _serve(self, socket: WebSocket) -> None:
        await self._entrance.admit(socket, self._meet)

    async def _meet(self, socket: WebSocket) -> None:
        """Have a connection say who it is, then serve its session."""
        hello = await meet(socket, _read_hello, self._token)
        session, resumed = self._session(hello)
        if session is None:
            raise Refused(TOO_MANY, "connections", "too many browsers")
        await self._attend(socket, session, resumed)

    def _session(self, hello: Hello) -> tuple[Session | None, bool]:
        """Return the session of a browser, and whether it goes on with the one that it had."""
        session = self._sessions.get(hello.session)
        if session is not None:
            if session.hang_up is not None:
                session.hang_up(REPLACED, "another connection goes on with this session")
            try:
                session.queue.resume(hello.received, hello.handled)
                return session, True
            except ValueError:  # no position that it can have: nobody knows what it has
                self._end(session)
        if len(self._sessions) >= self._most and self._expiring:
            self._end(self._sessions[next(iter(self._expiring))])  # away for the longest time
        if len(self._sessions) >= self._most:
            return None, False
        session = Session(self._limits)
        self._sessions[session.id] = session
        return session, False

    async def _attend(self, socket: WebSocket, session: Session, resumed: bool) -> None:
        """Serve a session by this connection, until one of them ends."""
        timer = self._expiring.pop(session.id, None)
        if timer is not None:
            timer.cancel()
        closing: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()

        def hang_up(code: int, reason: str) -> None:
            if not closing.done():
                closing.set_result((code, reason))

        session.hang_up = hang_up
        limits = self._limits
        told = {
            "message_bytes": limits.message_bytes,
            "window": limits.window,
            "replies": limits.replies,
        }
        greeting = frames.welcome(session.id, resumed, session.taken, told)
        session.went_on()
        parts = {
            asyncio.ensure_future(self._write(socket, session, greeting, hang_up)),
            asyncio.ensure_future(self._read(socket, session, hang_up)),
        }
        try:
            ends: list[asyncio.Future[Any]] = [*parts, closing]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for part in parts:
                part.cancel()
            await asyncio.gather(*parts, return_exceptions=True)
            self._leave(session, hang_up)
        if closing.done():
            with suppress(WebSocketDisconnect, RuntimeError):
                await socket.close(*closing.result())
        for part in parts:
            error = None if part.cancelled() else part.exception()
            if isinstance(error, WebSocketDisconnect):
                if error.code == 1000 and not session.connected:  # it has said goodbye
                    self._end(session)
            elif error is not None and not isinstance(error, RuntimeError | OSError):
                raise error

    def _leave(self, session: Session, hang_up: object) -> None:
        """Keep a session that has lost its connection for a while, unless another one has it."""
        if session.hang_up is not hang_up:
            return
        session.hang_up = None
        if not session.over:
            loop = asyncio.get_running_loop()
            self._expiring[session.id] = loop.call_later(self._limits.keep, self._end, session)

    def _end(self, session: Session) -> None:
        """Forget a session."""
        timer = self._expiring.pop(session.id, None)
        if timer is not None:
            timer.cancel()
        if self._sessions.pop(session.id, None) is not None:
            self._missed += session.queue.missed
        session.end()
        self._feeds.tidy()

    async def _write(
        self, socket: WebSocket, session: Session, greeting: bytes, mine: object
    ) -> None:
        await socket.send_bytes(greeting)
        # Another connection may have taken over the session, and what is taken here is lost to it.
        while session.hang_up is mine:
            frame = session.take()
            if frame is None:
                session.ready.clear()
                await session.ready.wait()
            else:
                await socket.send_bytes(frame)

    async def _read(self, socket: WebSocket, session: Session, mine: object) -> None:
        while True:
            frame = await receive(socket)
            if session.over or session.hang_up is not mine:
                return
            if len(frame) > self._limits.message_bytes:
                text = f"a frame has at most {self._limits.message_bytes} bytes"
                self._cut(session, TOO_LARGE, "size", text)
                return
            try:
                await self._take(session, frame)
            except (DecodeError, ValueError) as error:
                self._cut(session, MALFORMED, "malformed", str(error))
                return
            if session.queue.full:
                text = f"more than {self._limits.replies} replies are not acknowledged"
                self._cut(session, TOO_MANY, "replies", text)

    async def _take(self, session: Session, frame: bytes | str) -> None:
        """Take one frame.

        Raises:
            DecodeError: it is no value.
            ValueError: it breaks a rule of the protocol.
        """
        said = frames.read(frame) if isinstance(frame, bytes) else None
        if said is None:
            raise ValueError("no frame of this protocol")
        if isinstance(said, Ack):
            session.acknowledge(said.position)
        elif isinstance(said, Ping):
            session.pinged()
        elif said.number > session.taken:  # else it was sent once more after a reconnection
            if said.number != session.taken + 1:
                raise ValueError(f"frame {said.number} came after {session.taken}")
            session.taken = said.number
            await self._calls.do(session, said, len(frame))

    def _cut(self, session: Session, code: int, reason: str, text: str) -> None:
        """End the session of a browser that breaks a rule of the protocol."""
        self._entrance.refused[reason] += 1
        hang_up, session.hang_up = session.hang_up, None
        self._end(session)
        if hang_up is not None:
            hang_up(code, shortened(text))


def _read_hello(said: bytes | str) -> Hello | None:
    """Return the hello in a frame; None if it is none."""
    if not isinstance(said, str) or len(said) > HELLO_MOST:
        return None
    return frames.read_hello(said)
