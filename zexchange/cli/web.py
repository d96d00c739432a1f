"""`zexchange web`: serve a page that shows what flows, and a gateway for other pages.

The command joins like any other node, and asks the others what they have counted while a browser
shows the page. It subscribes to an exchange only while its messages are shown.
"""

import secrets
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from urllib.parse import quote

import click

from zexchange import InvalidName, Node
from zexchange.names import check_scope

from .options import Joining, joins_besides
from .serving import cannot_serve, host_and_port, in_url

NEEDED = ("starlette", "uvicorn", "websockets")
"""The packages that the extra ``web`` installs."""
MESSAGE_MOST = 2 << 20
"""Bytes of a message of a browser, before it is looked at: more than a gateway takes."""
_HELP = """
Serve a page that shows what flows in the federation.

It has a map of the nodes and what flows between them, a table of the exchanges, each exchange live
with its latest messages, and the verdict of zexchange doctor. Open the address that is printed: its
end is the token, which no browser sends in an address.

With --listen on another address than 127.0.0.1, other hosts can connect. That needs a --token of
yours and --allow. Nothing is encrypted: let a proxy with TLS stand in front.
"""


def _allowed(context: click.Context, option: click.Parameter, pattern: str | None) -> str | None:
    try:
        return None if pattern is None else check_scope(pattern)
    except InvalidName as error:
        raise click.BadParameter(str(error)) from error


@click.command(help=_HELP)
@click.option(
    "--listen",
    "address",
    metavar="HOST:PORT",
    default="127.0.0.1:8765",
    show_default=True,
    callback=host_and_port,
    help="Where browsers find the page; port 0 takes a free one.",
)
@click.option(
    "--allow",
    metavar="PATTERN",
    callback=_allowed,
    help="The exchanges that are shown; on this host all, unless it is given.",
)
@click.option(
    "--token",
    envvar="ZEXCHANGE_TOKEN",
    show_envvar=True,
    help="What browsers have to bring; on this host a new one each time, unless it is given.",
)
@click.option(
    "--origin",
    "origins",
    metavar="URL",
    multiple=True,
    help="The address of a proxy in front, as https://flow.example; may be repeated.",
)
@joins_besides("--node-listen")
def web(
    joining: Joining,
    address: tuple[str, int],
    allow: str | None,
    token: str | None,
    origins: tuple[str, ...],
) -> None:
    """Join, and serve the page until a signal ends it."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise click.ClickException(
            f"this command needs {', '.join(missing)}: pip install 'zexchange[web]'"
        )
    if token == "":
        raise click.UsageError("an empty token lets everybody in: leave out --token for a new one")
    listening = bound(*address)
    with listening:
        alone = listening.getsockname()[0] in ("127.0.0.1", "::1")
        if not alone and (token is None or allow is None):
            raise click.UsageError(
                f"other hosts can connect to {address[0]}: that needs --token (or"
                " $ZEXCHANGE_TOKEN), and --allow with the exchanges that they may see"
            )
        token = token or secrets.token_urlsafe(24)
        with joining.node("web") as node:
            where = f"{in_url(address[0])}:{listening.getsockname()[1]}"
            url = f"http://{where}/#token={quote(token, safe='')}"
            click.echo(f"zexchange: {url}", err=True)
            if not alone:
                said = "zexchange: neither the token nor what is shown is encrypted on its way"
                click.echo(said, err=True)
            serve(node, listening, token, allow or "**", origins)


def bound(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to an address.

    Raises:
        click.ClickException: it cannot be.
    """
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        found = socket.socket(family, kind, protocol)
        try:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind(place)
            found.listen()  # two may bind, and one may listen
        except BaseException:
            found.close()
            raise
    except (OSError, UnicodeError) as error:
        raise cannot_serve(host, port, error) from error
    return found


def serve(
    node: Node, listening: socket.socket, token: str, allow: str, origins: tuple[str, ...]
) -> None:
    """Serve the page and a gateway that only reads, until a signal ends it."""
    import uvicorn
    from starlette.applications import Starlette

    from zexchange.contrib.web import Gateway
    from zexchange.contrib.web.page import Page

    page = Page(node=node, token=token, allow=allow, origins=origins, itself=False)
    gateway = Gateway(node=node, token=token, subscribe=allow, origins=origins)

    @asynccontextmanager
    async def lifespan(app: object) -> AsyncGenerator[None, None]:
        async with gateway.lifespan(), page.lifespan():
            yield

    app = Starlette(routes=[*gateway.routes, *page.routes], lifespan=lifespan)
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws_max_size=MESSAGE_MOST,
        timeout_graceful_shutdown=1,
        lifespan="on",
    )
    uvicorn.Server(config).run(sockets=[listening])
