"""`zexchange hub`: run a hub, and print its traffic.

On a terminal one line is kept up to date. Elsewhere a line is printed when nodes or hubs come or
go, and at intervals while there is traffic. The work of a hub is in `zexchange.net.hub`.
"""

import json
import os
import socket
import sys
import time
from contextlib import closing
from dataclasses import asdict
from typing import Any

import click

from zexchange.net.hub.hub import Hub, HubStats
from zexchange.protocol.wire.messages import Label

from .flags import as_flags
from .options import federation, insecure, keys, option

PLAIN_EVERY = 10.0


_HELP = """
Carry the nodes that join with federate(hub=ENDPOINT).

Each of them needs three connections only, however many there are.
"""


@click.command(help=_HELP)
@federation
@option(
    "--listen",
    metavar="ENDPOINT",
    required=True,
    help="Where nodes find the hub: tcp://HOST:PORT for control, the next two ports for data.",
)
@option(
    "--advertise",
    metavar="ENDPOINT",
    help="What nodes are told to connect to, where that differs from --listen.",
)
@option(
    "--peer",
    "peers",
    metavar="ENDPOINT",
    multiple=True,
    help="Another hub of the federation; may be repeated.",
)
@keys
@insecure
@click.option(
    "--every",
    metavar="SECONDS",
    type=click.FloatRange(min=0, min_open=True),
    help="How often to print a line.",
)
@click.option("--json", "json_", is_flag=True, help="Print lines of JSON.")
def hub(federation: str, every: float | None, json_: bool, **how: Any) -> None:
    """Run a hub, and print its traffic, until interrupted."""
    label = Label(socket.gethostname(), os.getpid(), "hub")
    try:
        running = Hub(federation, label=label, **how)
    except ValueError as error:
        raise click.ClickException(as_flags(str(error))) from error
    click.echo(f"zexchange: a hub of federation {federation!r} at {running.endpoint}", err=True)
    live = sys.stdout.isatty() and not json_
    with closing(running):
        watch(running, live, json_, every or (1.0 if live else PLAIN_EVERY))


def watch(running: Hub, live: bool, json_: bool, every: float) -> None:
    """Print the traffic of a hub until interrupted.

    Args:
        running: the hub.
        live: whether one line of a terminal is overwritten each time.
        json_: whether to print JSON.
        every: seconds between two lines.
    """
    before, printed_at = running.stats(), time.monotonic()
    shown: tuple[int, ...] = ()
    while True:
        time.sleep(min(0.2, every))
        now, at = running.stats(), time.monotonic()
        here = now.nodes, now.hubs, now.reachable
        if at - printed_at < every and (live or here == shown):
            continue
        if live or json_ or here != shown or now.frames != before.frames:
            text = as_json(now) if json_ else as_line(now, before, at - printed_at)
            click.echo(f"\r{text}\x1b[K" if live else text, nl=not live)
        before, printed_at, shown = now, at, here


def as_line(now: HubStats, before: HubStats, seconds: float) -> str:
    """Return a readable line about the traffic between two snapshots, ``seconds`` apart."""
    frames = (now.frames - before.frames) / seconds
    size = (now.bytes - before.bytes) / seconds
    text = f"{now.nodes} nodes, {now.hubs} hubs, {frames:,.0f} frames/s, {amount(size)}/s"
    if now.reachable != now.nodes:
        text += f", {now.reachable} nodes with those of other hubs"
    if now.dropped or now.cut:
        text += f", {now.dropped} dropped, {now.cut} cut"
    return text + (f", {sum(now.rejected.values())} rejected" if now.rejected else "")


def as_json(now: HubStats) -> str:
    """Return a snapshot, whose counts are those since the start, as a line of JSON."""
    return json.dumps({"time": round(time.time(), 3), **asdict(now)})


def amount(size: float) -> str:
    """Return a number of bytes in readable form."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"
