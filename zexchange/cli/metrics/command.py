"""`zexchange metrics`: serve the metrics of a whole federation over HTTP.

The command joins like any other node, and asks the others what they have counted. It subscribes to
nothing. It does not show itself.
"""

import time
from importlib.util import find_spec
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import click

from zexchange import InvalidName
from zexchange.names import check_scope

from ..options import Joining, joins_besides
from ..serving import cannot_serve, host_and_port, in_url

if TYPE_CHECKING:
    from .collector import FederationCollector

_HELP = """
Serve what flows in the federation to Prometheus.

It asks all nodes when it is scraped, at most once a second, and every few seconds between two
scrapes, so that they go on counting. 150 seconds after the last scrape it stops asking.

http://127.0.0.1:9464/metrics is for this host alone. With another --listen, everybody who reaches
that address reads the names of exchanges, hosts and processes, and how much flows: there is neither
a password nor encryption. Have it listen where only Prometheus comes, or put a proxy in front.
"""


def _patterns(
    context: click.Context, option: click.Parameter, patterns: tuple[str, ...]
) -> tuple[str, ...]:
    try:
        return tuple(map(check_scope, patterns))
    except InvalidName as error:
        raise click.BadParameter(str(error)) from error


@click.command(help=_HELP)
@click.option(
    "--listen",
    "address",
    metavar="HOST:PORT",
    default="127.0.0.1:9464",
    show_default=True,
    callback=host_and_port,
    help="Where Prometheus finds it; port 0 takes a free one.",
)
@click.option(
    "--exchange",
    "exchanges",
    metavar="PATTERN",
    multiple=True,
    default=("**",),
    show_default=True,
    callback=_patterns,
    help="Exchanges that may have a label; all others are added up. May be repeated.",
)
@click.option(
    "--limit",
    metavar="NUMBER",
    type=click.IntRange(0),
    default=100,
    show_default=True,
    help="How many exchanges have a label at most.",
)
@joins_besides("--node-listen")
def metrics(
    joining: Joining, address: tuple[str, int], exchanges: tuple[str, ...], limit: int
) -> None:
    """Join, and serve metrics until a signal ends it."""
    if find_spec("prometheus_client") is None:
        raise click.ClickException(
            "this command needs prometheus_client: pip install 'zexchange[prometheus]'"
        )
    from .collector import BETWEEN, FederationCollector

    with joining.node("metrics") as node:
        collector = FederationCollector(node, exchanges, limit, time.monotonic)
        server = serve(collector, *address)
        try:
            while True:
                time.sleep(BETWEEN)
                collector.keep_counting()
        finally:
            server.shutdown()
            server.server_close()


def serve(collector: "FederationCollector", host: str, port: int) -> Any:
    """Serve metrics on threads of their own, and say where.

    Raises:
        click.ClickException: that is not possible at this address.
    """
    from prometheus_client import CollectorRegistry, start_http_server

    registry = CollectorRegistry()
    registry.register(collector)
    try:
        server, _ = start_http_server(port, host, registry)
    except (OSError, UnicodeError) as error:
        raise cannot_serve(host, port, error) from error
    address = server.server_address[0]
    click.echo(f"zexchange: serving http://{in_url(host)}:{server.server_port}/metrics", err=True)
    if not ip_address(str(address).partition("%")[0]).is_loopback:
        click.echo(
            "zexchange: other hosts can read it: names of exchanges, hosts and processes, without"
            " a password",
            err=True,
        )
    return server
