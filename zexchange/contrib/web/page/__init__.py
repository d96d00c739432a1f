"""A page that shows what flows in a federation: what `zexchange web` serves.

It is an application of Starlette, or a part of one::

    page = Page("plant", token=TOKEN)
    app = Starlette(routes=[Mount("/flow", routes=page.routes)], lifespan=page.lifespan)

The counts are asked for once for all browsers, and only while one is there. The frames of its
WebSocket are described in docs/internals/browsers.md.
"""

from .page import Page, PageStats

__all__ = ["Page", "PageStats"]
