"""`zexchange top`: show what flows in a federation.

The command joins like any other node, and asks the others what they have counted. It subscribes to
nothing. It does not show itself.
"""

import json
import sys
import time
from collections.abc import Generator
from dataclasses import asdict

import click

from zexchange import InvalidName, Node, Traffic
from zexchange.names import check_key

from ...display.tables import as_rows, without
from ..options import Joining, joins
from ..peers import as_columns, say_nobody
from .keys import Keys, reading
from .screen import View

MOST = 5.0
"""Most seconds between two looks: nodes stop counting when nobody has asked for ten."""
_HELP = """
Show what flows in the federation, live (on what PATTERN covers).

Per exchange: messages and bytes a second, who sends, how many nodes listen, what was lost
and who is slowest. Per node: its window, how long its senders waited, slow tasks and
peers. Keys: q quits, tab switches between exchanges and nodes, s sorts by the next column,
the arrows select, enter shows one exchange. Without a terminal it prints two tables, once.
"""


@click.command(help=_HELP)
@click.argument("pattern", default="**")
@click.option("--once", is_flag=True, help="Look twice, print two tables, and end.")
@click.option(
    "--json", "json_", is_flag=True, help="Print a JSON object for each look, on a line of its own."
)
@click.option(
    "--every",
    metavar="SECONDS",
    type=click.FloatRange(0.1, MOST),
    default=1.0,
    show_default=True,
    help="How often to look.",
)
@joins
def top(joining: Joining, pattern: str, once: bool, json_: bool, every: float) -> None:
    """Join, look again and again, and show what flows."""
    try:
        check_key(pattern)
    except InvalidName as error:
        raise click.BadParameter(str(error)) from error
    with joining.node("top") as node:
        looks = looking(node, pattern, max(1.0, every))
        if json_ or once or not sys.stdout.isatty():
            next(looks)  # it has no rates
            time.sleep(every)
        if json_:
            for traffic in looks:
                click.echo(json.dumps(asdict(traffic)))
                sys.stdout.flush()
                if once:
                    return
                time.sleep(every)
        if once or not sys.stdout.isatty():
            found = next(looks)
            exchanges, nodes = as_rows(found)
            click.echo("\n".join([*as_columns(exchanges), "", *as_columns(nodes)]))
            if not found.nodes:
                say_nobody(joining, node)
            return
        shown = "" if pattern == "**" else f" {pattern}"
        with reading() as keys:
            watch(looks, View(f"{joining.federation}{shown}", every), keys, every)


def looking(node: Node, pattern: str, patience: float) -> Generator[Traffic, None, None]:
    """Yield what flows, at each look. Nodes have ``patience`` seconds to answer."""
    while True:
        yield without(node.traffic(pattern, patience), node.id)


def watch(looks: Generator[Traffic, None, None], view: View, keys: Keys, every: float) -> None:
    """Show what flows until a key ends it."""
    from rich.console import Console, Group
    from rich.live import Live
    from rich.text import Text

    console = Console(highlight=False)
    with Live(console=console, auto_refresh=False, screen=True) as live:

        def draw() -> None:
            size = console.size
            lines = view.lines(size.width, size.height)
            text = [Text(line, style, no_wrap=True) for line, style in lines]
            live.update(Group(*text), refresh=True)

        draw()
        while True:
            began = time.monotonic()
            view.look(next(looks))
            draw()
            while (left := began + every - time.monotonic()) > 0:
                for key in keys.wait(left):
                    view.key(key)
                if view.ended:
                    return
                draw()
