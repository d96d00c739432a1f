"""The beginning of every WebSocket here: the check of its origin, its first words, its refusal."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, TypeVar

from starlette.responses import FileResponse, Response
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from .rights import is_loopback, origin_fault, same_text

MALFORMED, BAD_TOKEN, BAD_ORIGIN, LATE, REPLACED, TOO_LARGE, TOO_MANY = (
    4400, 4401, 4403, 4408, 4409, 4413, 4429,
)  # fmt: skip
"""Codes with which a WebSocket is closed."""
HELLO_TIMEOUT = 5.0
"""Seconds in which a connection has to say who it is."""
HELLO_MOST = 4096
"""Characters of what it says."""


class Hello(Protocol):
    """The first words of a connection."""

    @property
    def token(self) -> str:
        """The token that it brings; empty if it brings none."""
        ...


H = TypeVar("H", bound=Hello)


class Refused(Exception):
    """A connection is refused or cut off.

    Args:
        code: with which its WebSocket is closed.
        reason: one word, by which it is counted.
        text: what is said to the browser.
    """

    def __init__(self, code: int, reason: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.reason = reason


class Entrance:
    """Lets WebSockets in, up to a number, and counts those that are refused. For one event loop.

    Args:
        origins: origins of pages that may connect beside that of the server.
        most: how many may be connected at a time.
    """

    def __init__(self, origins: Iterable[str], most: int) -> None:
        self._origins = (origins,) if isinstance(origins, str) else tuple(origins)
        self._most = most
        self.connected = 0
        """How many are connected now."""
        self.refused: Counter[str] = Counter()
        """By reason, what was refused since the server was made."""

    async def admit(self, socket: WebSocket, serve: Callable[[WebSocket], Awaitable[None]]) -> None:
        """Serve a WebSocket, or close it with the reason why it is refused.

        Args:
            socket: the WebSocket, which is not accepted yet.
            serve: serves it until it is gone, and raises `Refused` to have it closed.
        """
        try:
            if self.connected >= self._most:
                raise Refused(TOO_MANY, "connections", "too many connections")
            if fault := fault_of(socket, self._origins):
                raise Refused(BAD_ORIGIN, "origin", fault)
            self.connected += 1
            try:
                await serve(socket)
            finally:
                self.connected -= 1
        except Refused as refusal:
            self.refused[refusal.reason] += 1
            await turn_away(socket, refusal.code, str(refusal))
        except WebSocketDisconnect:
            pass


async def meet(socket: WebSocket, read: Callable[[bytes | str], H | None], token: str | None) -> H:
    """Accept a WebSocket, and return its first words.

    Args:
        socket: the WebSocket.
        read: returns the words in a frame; None if they are none.
        token: what they have to bring; None asks for nothing.

    Raises:
        Refused: they do not come in time, are none, or do not bring the token.
        WebSocketDisconnect: the connection has ended.
    """
    await socket.accept()
    try:
        hello = read(await asyncio.wait_for(receive(socket), HELLO_TIMEOUT))
    except TimeoutError:
        raise Refused(LATE, "hello", "no hello came in time") from None
    if hello is None:
        raise Refused(MALFORMED, "malformed", "no hello of this protocol")
    if token is not None and not same_text(hello.token, token):
        raise Refused(BAD_TOKEN, "token", "the token is wrong or missing")
    return hello


def fault_of(socket: WebSocket, listed: tuple[str, ...]) -> str:
    """Return why the page that opens a WebSocket may not connect; empty if it may.

    Args:
        socket: the WebSocket.
        listed: origins that may connect beside that of the server.
    """
    headers, server = socket.headers, socket.scope.get("server")
    local = server is not None and is_loopback(server[0])
    secure = socket.url.scheme == "wss"
    return origin_fault(headers.get("origin"), headers.get("host"), secure, local, listed)


async def turn_away(socket: WebSocket, code: int, text: str) -> None:
    """Close a connection with a reason.

    It is accepted first: a browser does not show its page why a WebSocket was not opened.
    """
    with suppress(WebSocketDisconnect, RuntimeError):
        if socket.client_state is WebSocketState.CONNECTING:
            await socket.accept()
        await socket.close(code, shortened(text))


def shortened(reason: str) -> str:
    """Return a reason within the bytes that a WebSocket has for it when it is closed."""
    return reason.encode("utf-8", "replace")[:120].decode("utf-8", "ignore")


async def receive(socket: WebSocket) -> bytes | str:
    """Return the next frame, binary or text.

    Raises:
        WebSocketDisconnect: the connection has ended.
    """
    message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1006))
    found: bytes | str | None = message.get("bytes")
    return (message.get("text") or "") if found is None else found


def file(path: Path, kind: str, **more: str) -> Any:
    """Return an endpoint that serves a file; ``more`` has further headers."""
    headers = {"cache-control": "no-cache", "x-content-type-options": "nosniff"}
    headers.update({name.replace("_", "-"): value for name, value in more.items()})

    async def serve(request: object) -> Response:
        return FileResponse(path, media_type=kind, headers=headers)

    return serve
