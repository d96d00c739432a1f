"""A gateway by which browsers take part in a federation, over WebSockets.

It is a part of an application of Starlette or FastAPI::

    gateway = Gateway("site", subscribe="prices.**", publish="orders.*", token=TOKEN)
    app = Starlette(routes=[Route("/", page), *gateway.routes], lifespan=gateway.lifespan)

A page imports ``zexchange.js`` from it. The frames on the WebSocket are described
in docs/internals/browsers.md.
"""

from .gateway import Gateway, GatewayStats
from .queue import Limits

__all__ = ["Gateway", "GatewayStats", "Limits"]
