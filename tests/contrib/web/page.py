"""The page in a process of its own, and a browser's side of it in Python."""

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Origin

from tests.contrib.servers import served
from tests.support import Deadline, patience

TOKEN = "a token of the tests"
PROGRAM = """
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route
from zexchange.contrib.web.page import Page

page = Page("pages", {how})

async def stats(request):
    found = page.stats()
    return JSONResponse({{name: getattr(found, name) for name in found.__slots__}})

routes = [Route("/stats", stats), Mount("/flow", routes=page.routes)]
app = Starlette(routes=routes, lifespan=page.lifespan)
"""
EXCHANGES = {"view": "exchanges", "sort": 1, "turned": False, "filter": "", "first": 0}


@contextmanager
def serving(folder: Path, how: str = f"token={TOKEN!r}") -> Iterator[int]:
    """Serve an application that has the page as a part, by uvicorn."""
    (folder / "paged.py").write_text(PROGRAM.format(how=how), encoding="utf-8")
    rest = "--log-level", "error", "--timeout-graceful-shutdown", "1"
    with served(folder, "uvicorn", "paged:app", *rest, "--port", "PORT") as port:
        yield port


class Viewing:
    """A browser with the page, without the browser."""

    def __init__(
        self, port: int, token: str = TOKEN, hello: str | None = None, origin: str = "",
        host: str = "", path: str = "/flow/watch",
    ) -> None:  # fmt: skip
        here = f"127.0.0.1:{port}"
        self.socket = connect(
            f"ws://{host or here}{path}",
            sock=socket.create_connection(("127.0.0.1", port)),
            origin=Origin(origin or f"http://{here}"),
            proxy=None,
        ).__enter__()
        self.number = 0
        said = json.dumps({"zexchange": 1, "token": token})
        with suppress(ConnectionClosed):  # it was turned away before
            self.socket.send(said if hello is None else hello)

    def read(self) -> dict[str, Any]:
        return json.loads(self.socket.recv(patience()))

    def ask(self, view: str, **more: Any) -> None:
        self.number += 1
        asked = EXCHANGES if view == "exchanges" else {"view": view}
        self.socket.send(json.dumps({"number": self.number, **asked, **more}))

    def until(self, part: str, so: Callable[[Any], Any] = bool) -> Any:
        """Return the part of the first picture of which something is true."""
        deadline, said = Deadline(), {}
        while not deadline.over:
            said = self.read()
            if said.get("number") == self.number and part in said and so(said[part]):
                return said[part]
        raise AssertionError(f"not in time; at last {said}")

    def __enter__(self) -> "Viewing":
        return self

    def __exit__(self, *reason: object) -> None:
        self.socket.close()
