"""`zexchange peers`: list the nodes of a federation and the exchanges they subscribe to.

The command joins like any other node, waits until no more peers appear, prints them and leaves. It
does not list itself. This module does not know how peers find each other.
"""

import json
import queue
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import click

from zexchange import Node, PeerStatus, to_queue

from ..display.text import printable
from .options import Joining, joins

STILL = 0.3
"""Seconds without events after which all peers that answer are known."""
AT_MOST = 2.0
"""Seconds after which the command no longer waits for peers."""
_HEADINGS = ("HOST", "PID", "LABEL", "INTEREST", "SINCE")


_HELP = """
Print who is in the federation, and what each listens to.

Each line has host, process id, label, exchanges, and since when.
"""


@click.command(help=_HELP)
@click.option("--json", "json_", is_flag=True, help="Print a JSON array of objects.")
@joins
def peers(joining: Joining, json_: bool) -> None:
    """Join, wait for the peers, and print them."""
    with joining.node("peers") as node:
        wait_until_still(node)
        found = sorted(node.peers, key=lambda peer: (peer.host, peer.name, peer.pid))
        if not found and not json_:
            say_nobody(joining, node)
    if json_:
        click.echo(json.dumps([as_object(peer) for peer in found], indent=2))
    elif not found:
        return
    elif sys.stdout.isatty():
        print_table(found)
    else:
        click.echo("\n".join(as_columns([_HEADINGS, *[cells(peer) for peer in found]])))


def say_nobody(joining: Joining, node: Node) -> None:
    """Say on standard error that the command is alone, and which other federations there are."""
    said = "; ".join([f"nobody else is in federation {joining.federation!r}", *node._others()])
    click.echo(f"zexchange: {said}", err=True)


def wait_until_still(node: Node) -> None:
    """Wait until the node reports no event for `STILL` seconds, at most `AT_MOST` seconds."""
    news: queue.Queue[Any] = queue.Queue()
    deadline = time.monotonic() + AT_MOST
    with node.events.subscribe(to_queue(news)):
        while (left := deadline - time.monotonic()) > 0:
            try:
                news.get(timeout=min(left, STILL))
            except queue.Empty:
                return


def as_object(peer: PeerStatus) -> dict[str, object]:
    """Return a peer as the object that ``--json`` prints."""
    return {
        "id": peer.id,
        "host": peer.host,
        "pid": peer.pid,
        "label": peer.name,
        "interest": list(peer.interest),
        "since": _moment(peer).isoformat(),
        "ready": peer.ready,
        "silent": peer.silent,
        "slow": peer.slow_since is not None,
        "control": peer.control,
    }


def cells(peer: PeerStatus) -> tuple[str, ...]:
    """Return a peer as a row of the table."""
    interest = " ".join(peer.interest) or "-"
    state = " (silent)" if peer.silent else " (slow)" if peer.slow_since else ""
    since = f"{_moment(peer):%Y-%m-%d %H:%M:%S}{state}"
    row = peer.host, str(peer.pid), peer.name or "-", interest, since
    return tuple(map(printable, row))


def as_columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows as lines, with columns aligned by spaces."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def print_table(found: Sequence[PeerStatus]) -> None:
    """Print a table to the terminal."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, header_style="dim")
    for heading in _HEADINGS:
        table.add_column(heading.capitalize(), justify="right" if heading == "PID" else "left")
    for peer in found:
        host, pid, label, interest, since = map(Text, cells(peer))
        label.stylize("bold")
        interest.stylize("cyan")
        since.stylize("yellow" if peer.silent or peer.slow_since else "")
        table.add_row(host, pid, label, interest, since)
    Console().print(table)


def _moment(peer: PeerStatus) -> datetime:
    return datetime.fromtimestamp(peer.since).astimezone().replace(microsecond=0)
