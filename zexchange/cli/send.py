"""`zexchange send`: send each line of a file, or of standard input, as a message.

The exit status is 0 only if every subscriber has acknowledged every line. Only a newline ends a
line; a carriage return is part of the text.
"""

import json
from collections.abc import Callable
from typing import BinaryIO

import click

from zexchange import EncodeError, Exchange, Node, NotReady, get_exchange

from .options import Joining, joins

Reader = Callable[[bytes], object]
"""Converts a line, without its newline, to a message."""
A_WHILE = 2.0
"""Seconds to wait for subscribers before the command prints that it waits."""


_HELP = """
Send each line of FILE, or of standard input, as a message.

The messages are sent on the exchange NAME.

A line travels as a str without its newline, or as bytes if it is not UTF-8. Ends when
everything was acknowledged, and only then with exit status 0: with 1, if nobody listened.
"""


@click.command(help=_HELP)
@click.argument("name")
@click.argument("file", type=click.File("rb"), default="-")
@click.option("--json", "as_json", is_flag=True, help="Each line is a JSON value.")
@click.option(
    "--wait",
    metavar="N",
    type=click.IntRange(min=0),
    default=0,
    help="First wait until N processes listen.",
)
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    help="How long to wait for listeners, and at the end for their acknowledgements.",
)
@joins
def send(
    joining: Joining, name: str, file: BinaryIO, as_json: bool, wait: int, timeout: float
) -> None:
    """Join, send all lines, and wait until they are acknowledged."""
    exchange = get_exchange(name)
    with joining.node("send") as node:
        if wait:
            _wait(node, name, wait, timeout)
        unheard = True  # whether some lines were sent to nobody; True until all are sent
        try:
            lines = send_lines(exchange, file, parsed if as_json else text_or_bytes)
            unheard = lines > node.stats().sent.get(name, 0)
        finally:
            # The command fails anyhow then, and need not wait for addresses that do not answer.
            node._flush(timeout, given=not unheard)
        _check_heard(node, name, lines)


def _wait(node: Node, name: str, n: int, timeout: float) -> None:
    """Wait for ``n`` subscribers; after `A_WHILE` seconds, print that and what is missing.

    Raises:
        NotReady: there are fewer after ``timeout`` seconds.
    """
    try:
        node.wait_subscribers(name, n, min(A_WHILE, timeout))
    except NotReady as error:
        if timeout <= A_WHILE:
            raise
        click.echo(f"zexchange: still waiting: {error}", err=True)
        node.wait_subscribers(name, n, timeout - A_WHILE)


def send_lines(exchange: Exchange[object], file: BinaryIO, read: Reader) -> int:
    """Send every line of ``file``; return the number of lines.

    Raises:
        click.ClickException: a line cannot be sent as a message; the text has its number.
    """
    number, give = 0, exchange.send
    # Iterating over a binary file splits only at \n, in C, and yields each line of a pipe as soon
    # as it arrives.
    for number, line in enumerate(file, 1):
        try:
            give(read(line.removesuffix(b"\n")))
        except (ValueError, EncodeError, RecursionError) as error:
            raise click.ClickException(f"line {number} is no message: {error}") from error
    return number


def text_or_bytes(line: bytes) -> str | bytes:
    """Return a line as str, or unchanged if it is not UTF-8."""
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line


def parsed(line: bytes) -> object:
    """Return the value that a line of JSON stands for.

    Raises:
        ValueError: the line is not JSON in UTF-8.
    """
    return json.loads(line.decode())


def _check_heard(node: Node, name: str, lines: int) -> None:
    """Fail if some lines were sent while there was no subscriber.

    Raises:
        click.ClickException: there are such lines; the text has their number.
    """
    unheard = lines - node.stats().sent.get(name, 0)
    if unheard > 0:
        raise click.ClickException(
            f"nobody listened to {unheard:,} of {lines:,} lines"
            " (--wait N waits for listeners first)"
        )
