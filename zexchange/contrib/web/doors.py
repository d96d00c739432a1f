"""The beginning of every WebSocket here: the check of its origin, its first words, its refusal."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from starlette.responses import FileResponse, Response
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from .rights import is_loopback, origin_fault

MALFORMED, BAD_TOKEN, BAD_ORIGIN, LATE, REPLACED, TOO_LARGE, TOO_MANY = (
    4400, 4401, 4403, 4408, 4409, 4413, 4429,
)  # fmt: skip
"""Codes with which a WebSocket is closed."""
HELLO_TIMEOUT = 5.0
"""Seconds in which a connection has to say who it is."""
HELLO_MOST = 4096
"""Characters of what it says."""


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
