"""`zexchange doctor`: find out why messages do not arrive.

The command joins with the options of the program in question, calls `Node.diagnose`, and shows the
result. It only shows: all knowledge about problems and their causes is in `Node.diagnose`.
"""

import json
import logging
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from typing import Any

import click

from zexchange import Diagnosis, Node, Unreachable, match, to_call

from ..display.diagnosis import WILD, Row, candidates, facts, findings, peers
from ..display.text import printable
from .options import Joining, joins
from .peers import as_columns

_HELP = """
Find out why messages (of EXCHANGE) do not arrive.

Give it the options of the program that is in trouble: it joins as that would, looks at
who is there, who is not and why, and ends with the likeliest cause. The exit status is
0 if nothing is wrong. For what only shows inside a program, such as a task that holds it
up, call node.diagnose() there.
"""


@click.command(help=_HELP)
@click.argument("name", metavar="[EXCHANGE]", default="")
@click.option("--json", "json_", is_flag=True, help="Print everything as a JSON object.")
@click.option(
    "--patience",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    default=3.0,
    show_default=True,
    help="How long to wait for everybody to answer.",
)
@joins
@click.pass_context
def doctor(
    context: click.Context, joining: Joining, name: str, json_: bool, patience: float
) -> None:
    """Join, diagnose, print the result, and exit with 0 if nothing is wrong."""
    logging.getLogger("zexchange").setLevel(logging.CRITICAL)  # the result has all of it
    with ExitStack() as leaving:
        if name:
            # Peers tell the head of an exchange only to its subscribers.
            leaving.enter_context(match(name).subscribe(to_call(lambda msg: None)))
        node, aside = _join(joining, leaving)
        node._wait_known(patience)
        found = node.diagnose(name)
    if json_:
        click.echo(json.dumps(as_object(found), indent=2))
    elif sys.stdout.isatty():
        show(found, aside)
    else:
        click.echo("\n".join(as_lines(found, aside)))
    context.exit(0 if found.healthy else 1)


def _join(joining: Joining, leaving: ExitStack) -> tuple[Node, str]:
    """Join as the program would, on other ports if its port is taken.

    Returns:
        The node, and a note about the other ports, empty if they are the same.

    Raises:
        click.ClickException: the node cannot join.
    """
    try:
        return leaving.enter_context(joining.node("doctor", 0.0)), ""
    except click.ClickException as error:
        if not (isinstance(error.__cause__, Unreachable) and joining.listen):
            raise
        beside, _, port = joining.listen.removeprefix("tcp://").rpartition(":")
        if port == "0":
            raise
    near = (*joining.peers, f"tcp://{'127.0.0.1' if beside in WILD else beside}:{port}")
    elsewhere = replace(joining, listen=f"tcp://{beside}:0", peers=near)
    aside = (
        f"{joining.listen} is taken, by the program itself perhaps: this look is from other "
        "ports, which a firewall may treat otherwise."
    )
    return leaving.enter_context(elsewhere.node("doctor", 0.0)), aside


# --------------------------------------------------------------------------------- the output


def as_object(found: Diagnosis) -> dict[str, Any]:
    """Return the diagnosis as the object that ``--json`` prints."""
    facts = asdict(found.picture)
    facts["rejected"] = [
        {"source": source, "reason": reason, "count": count}
        for (source, reason), count in found.picture.rejected.items()
    ]
    findings = [asdict(finding) for finding in found.findings]
    return {
        "healthy": found.healthy,
        "conclusion": found.conclusion,
        "findings": findings,
        **facts,
    }


def as_lines(found: Diagnosis, aside: str) -> list[str]:
    """Return the whole output as plain lines, for a pipe."""
    lines = as_columns(facts(found))
    for table in (candidates(found), peers(found)):
        if len(table) > 1:
            lines += ["", *as_columns(table)]
    if also := findings(found, aside):
        lines += ["", *(f"{kind}: {text}" for kind, text in also)]
    return [*lines, "", printable(found.conclusion)]


def show(found: Diagnosis, aside: str) -> None:
    """Print the whole output with tables and colours, for a terminal."""
    from rich import box
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    about = Table.grid(padding=(0, 2))
    for key, value in facts(found):
        about.add_row(Text(key, "dim"), Text(value))
    console.print(Padding(about, (1, 1, 0, 1)))
    for rows in (candidates(found), peers(found)):
        if len(rows) > 1:
            console.print(_table(rows, Table(box=box.SIMPLE_HEAD, header_style="dim")))
    for kind, text in findings(found, aside):
        style = "bold red" if kind == "wrong" else "yellow"
        console.print(Text.assemble((f" {kind}: ", style), text))
    style = "bold green" if found.healthy else "bold red"
    console.print(Padding(Text(printable(found.conclusion), style), (1, 1)))


def _table(rows: Sequence[Row], table: Any) -> Any:
    from rich.text import Text

    for heading in rows[0]:
        table.add_column(heading.capitalize())
    for row in rows[1:]:
        cells = [Text(cell) for cell in row]
        cells[0].stylize("bold")
        for cell in cells[1:]:
            cell.stylize({"yes": "green", "no": "bold red"}.get(cell.plain, ""))
        table.add_row(*cells)
    return table
