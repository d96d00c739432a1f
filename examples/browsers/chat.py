"""A chat in browsers, whose pages take part in the federation by zexchange.js.

Run it with: uvicorn --app-dir examples/browsers --port 8000 chat:app

Then open http://127.0.0.1:8000 in some windows. Kill the server and start it again: the pages go on
by themselves, and show what other processes said meanwhile. Any process may take part, such as:

    message='{"id": "1", "who": "sh", "text": "hello"}'
    echo "$message" | zexchange send --federation chat chat.lobby --json
"""

from pathlib import Path

from starlette.applications import Starlette
from starlette.responses import FileResponse
from starlette.routing import Route

import zexchange
from zexchange.contrib.web import Gateway

zexchange.retain("chat.*", 50)  # for pages that come later, or again
gateway = Gateway("chat", subscribe="chat.*", publish="chat.*", token=None)


async def page(request):
    return FileResponse(Path(__file__).with_name("chat.html"))


app = Starlette(routes=[Route("/", page), *gateway.routes], lifespan=gateway.lifespan)
