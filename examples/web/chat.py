"""A chat with several worker processes: every message in every browser, whichever worker it is on.

Run it with: uvicorn --app-dir examples/web --workers 4 chat:app

Then open http://127.0.0.1:8000 in some windows. It needs ``pip install uvicorn starlette
websockets``, and nothing between the workers: they find each other by the federation's name.
"""

import asyncio
import json
import os
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.responses import FileResponse
from starlette.routing import Route, WebSocketRoute

import zexchange

said = zexchange.get_exchange("chat.said")
zexchange.retain("chat.said", 20)  # for browsers that come later, on any worker


@asynccontextmanager
async def lifespan(app):
    async with zexchange.federate("chat-example"):
        yield


async def page(request):
    return FileResponse(Path(__file__).parent / "chat.html")


async def chat(socket):
    """Serve one browser: what it says goes to everybody, and what anybody says goes to it."""
    await socket.accept()
    await socket.send_text(json.dumps({"worker": os.getpid()}))
    async with said.stream(history=20) as messages, asyncio.TaskGroup() as group:
        sender = group.create_task(pass_on(messages, socket))
        async for text in socket.iter_text():
            said.send({**json.loads(text), "worker": os.getpid()})
        sender.cancel()


async def pass_on(messages, socket):
    async for message in messages:
        await socket.send_text(json.dumps(message))


app = Starlette(routes=[Route("/", page), WebSocketRoute("/chat", chat)], lifespan=lifespan)
