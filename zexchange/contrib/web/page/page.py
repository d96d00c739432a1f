"""The page: its files, and the WebSocket by which browsers get what they show.

A browser says what it shows, and gets that again whenever there is something new. It can ask for
nothing else, and can send nothing into the federation. Every method belongs to one event loop.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket

from ....names import check_scope
from ...membership import AnyNode, Membership
from ..doors import Entrance, file
from .doctor import Doctor
from .looks import Looks
from .samples import Samples
from .viewer import Viewer

STATIC = Path(__file__).parent / "static"
FILES = {
    "page.css": "text/css",
    "page.js": "text/javascript",
    "connection.js": "text/javascript",
    "dom.js": "text/javascript",
    "doctor.js": "text/javascript",
    "exchange.js": "text/javascript",
    "exchanges.js": "text/javascript",
    "layout.js": "text/javascript",
    "map.js": "text/javascript",
}
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""Nothing is loaded from elsewhere, no text becomes a program, and no page frames this one."""


@dataclass(frozen=True, slots=True)
class PageStats:
    """The counts of a page since it was made.

    Attributes:
        connections: browsers that are connected now.
        asking: whether nodes are asked for what they have counted: not without a browser.
        sampled: exchanges whose messages are shown now.
        refused: connections that were refused or cut off, by reason.
    """

    connections: int
    asking: bool
    sampled: int
    refused: Mapping[str, int]


class Page:
    """A page that shows what flows: a map, the exchanges, each one live, and a diagnosis.

    Put its `routes` and its `lifespan` into an application of Starlette or FastAPI. It belongs to
    one event loop.

    Args:
        federation: the name of the federation to join.
        node: a node of the program's own, to use instead of ``federation``.
        token: a text that each browser has to bring; None asks for none.
        allow: the name or pattern of the exchanges that are shown. Names of nodes and the diagnosis
            are shown in any case.
        origins: origins of pages that may connect beside that of the server itself, such as
            ``https://example.org``.
        connections: how many browsers may be connected at a time.
        itself: whether the node by which the page looks is shown, too; by default only one of the
            program's own.

    Raises:
        InvalidName: the pattern is malformed.
        TypeError: both ``federation`` and ``node`` are given, or neither.
        ValueError: the token is empty.
    """

    def __init__(
        self,
        federation: str | None = None,
        *,
        token: str | None,
        node: AnyNode | None = None,
        allow: str = "**",
        origins: Iterable[str] = (),
        connections: int = 50,
        itself: bool | None = None,
    ) -> None:
        if token == "":
            raise ValueError("an empty token is none: pass None if none is asked for")
        self._membership = Membership(federation, node)
        self._token = token
        self._allow = check_scope(allow)
        self._entrance = Entrance(origins, connections)
        self._viewers: set[Viewer] = set()
        hide = node is None if itself is None else not itself
        self._looks = Looks(self._membership, self._allow, hide)
        self._samples = Samples(self._membership.registry)
        self._doctor = Doctor(self._membership)

    @property
    def routes(self) -> list[BaseRoute]:
        """The page at ``/``, its files beside it, and the WebSocket ``/watch``."""
        index = file(STATIC / "index.html", "text/html", **HEADERS)
        files = [
            Route(f"/{name}", file(STATIC / name, kind, **HEADERS)) for name, kind in FILES.items()
        ]
        return [Route("/", index), *files, WebSocketRoute("/watch", self._serve)]

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
        for viewer in list(self._viewers):
            await viewer.close(1001, "the page ends")
        await self._doctor.close()
        await asyncio.to_thread(self._membership.leave)

    def stats(self) -> PageStats:
        """Return what is connected, asked for and refused."""
        entrance = self._entrance
        return PageStats(
            entrance.connected, self._looks.asking, len(self._samples), dict(entrance.refused)
        )

    async def _serve(self, socket: WebSocket) -> None:
        await self._entrance.admit(socket, self._view)

    async def _view(self, socket: WebSocket) -> None:
        viewer = Viewer(socket, self._allow, self._looks, self._samples, self._doctor)
        await viewer.meet(self._token, self._membership.federation)
        self._viewers.add(viewer)
        try:
            await viewer.serve()
        finally:
            self._viewers.discard(viewer)


HEADERS = {
    "content_security_policy": POLICY,
    "referrer_policy": "no-referrer",
    "cross_origin_opener_policy": "same-origin",
    "cross_origin_resource_policy": "same-origin",
    "x_frame_options": "DENY",
}
