"""A chat and notices with several worker processes: FastAPI, WebSockets and server-sent events.

Run it with: uvicorn --app-dir examples/web --workers 4 --timeout-graceful-shutdown 3 chat:app

Then open http://127.0.0.1:8000 in some windows. docs/guide/fastapi.md says what it needs.
"""

import asyncio
import os
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Annotated
from uuid import uuid4

from fastapi import Body, Depends, FastAPI, HTTPException, Request, WebSocket, WebSocketDisconnect
from fastapi.requests import HTTPConnection
from fastapi.responses import FileResponse, RedirectResponse
from sse_starlette import EventSourceResponse, JSONServerSentEvent
from starlette.middleware.sessions import SessionMiddleware

import zexchange

ROOMS = {"ada": {"lobby", "office"}, "bob": {"lobby"}}  # who may read and write where
EDITORS = {"ada"}  # who may publish notices; every user may read them

notices = zexchange.get_exchange("site.notices")
zexchange.retain("site.**", 50)  # the last of each exchange, for browsers that come later or again


@asynccontextmanager
async def lifespan(app):
    async with zexchange.federate("site"):  # every worker joins
        yield


app = FastAPI(lifespan=lifespan)
# A signed cookie: every worker can read it, and pages of other sites cannot have it sent.
SECRET = os.environ.get("SECRET", "only for trying this out")
app.add_middleware(SessionMiddleware, secret_key=SECRET, same_site="strict")


def user(connection: HTTPConnection) -> str:
    """Return the user of a request or a WebSocket; refuse strangers."""
    if (name := connection.session.get("name")) not in ROOMS:
        raise HTTPException(401)
    return name


User = Annotated[str, Depends(user)]


def signed(name, text):
    return {"id": uuid4().hex, "who": name, "text": text[:1000], "worker": os.getpid()}


def mailbox(exchange):
    """Return a stream for one browser, which first gets what it may have missed."""
    return exchange.stream(maxsize=100, overflow="drop_oldest", history=50)


async def told(stream):
    """Yield messages, and how many were dropped because the browser reads too slowly."""
    missed = 0
    async for message in stream:
        if stream.dropped > missed:
            yield {"missed": stream.dropped - missed}
            missed = stream.dropped
        yield message


@app.get("/")
async def page():
    return FileResponse(Path(__file__).with_name("chat.html"))


@app.get("/as/{name}")  # instead of a form that asks for a password
async def log_in(name: str, request: Request):
    request.session["name"] = name
    return RedirectResponse("/")


@app.post("/notices", status_code=204)
async def publish(text: Annotated[str, Body(embed=True)], name: User):
    if name not in EDITORS:
        raise HTTPException(403)
    notices.send(signed(name, text))  # to the browsers of this worker, and of all others


@app.get("/notices")
async def subscribe(name: User):
    async def events():
        async with mailbox(notices) as stream:
            async for message in told(stream):
                yield JSONServerSentEvent(message)

    return EventSourceResponse(events())  # it ends when the browser goes, or the worker


@app.websocket("/rooms/{room}")
async def talk(socket: WebSocket, room: str, name: User):
    if room not in ROOMS[name]:  # before any exchange of that name is made
        raise HTTPException(403)
    exchange = zexchange.get_exchange(f"site.rooms.{room}")
    async with mailbox(exchange) as stream, asyncio.TaskGroup() as tasks:
        await socket.accept()
        await socket.send_json({"you": name, "worker": os.getpid()})
        showing = tasks.create_task(show(stream, socket))
        async for text in socket.iter_text():
            exchange.send(signed(name, text))
        showing.cancel()


async def show(stream, socket):
    with suppress(WebSocketDisconnect):  # `talk` learns of it, too
        async for message in told(stream):
            await socket.send_json(message)
