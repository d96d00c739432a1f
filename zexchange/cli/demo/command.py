"""`zexchange demo`: real processes, one of which is killed, on one channel, to look at.

Here is who starts what and how it is shown; the plot is in `play`. Whatever
happens, no process is left behind.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

import click

from zexchange import Node, Stream, federate, match

from .board import Board, Tally
from .cast import cast
from .play import SCREEN, DemoError, Play

if TYPE_CHECKING:
    from .screen import Screen

ROOM = 10_000
"""Messages that may wait to be shown; so many never do."""


_HELP = """
Watch processes share exchanges: about ten seconds, no arguments.

Two sensors read this machine's counters, an analyst averages them, a third sensor
joins, the first is killed without warning; at the end everything is counted.
"""


@click.command(help=_HELP)
def demo() -> None:
    """Run the command."""
    with tempfile.TemporaryFile() as errors:
        try:
            whole = perform(f"demo-{os.getpid()}", errors)
        except DemoError as failure:
            click.echo(f"zexchange: the demo failed: {failure}", err=True)
            whole = False
        if not whole:
            _show(errors)
            raise SystemExit(1)


def perform(federation: str, errors: IO[bytes]) -> bool:
    """Run the demo; tell whether everything that the living sent was received.

    Raises:
        DemoError: a process did not do its part.
    """
    board = Board()
    screen = _screen(board, federation)
    with listening(federation) as (stream, node), cast(federation, errors) as company:
        with screen:
            tallies = Play(node, stream, board, company, screen).run()
    screen.verdict(tallies)
    return whole(tallies)


def whole(tallies: list[Tally]) -> bool:
    """Tell whether everything that the living sent was received."""
    return all(line.whole for line in tallies)


@contextmanager
def listening(federation: str) -> Generator[tuple[Stream[Any], Node], None, None]:
    """Have a node, and a stream of all that flows."""
    metrics, averages = match("metrics.**"), match("averages.**")
    with metrics.stream(ROOM, "block", details=True) as stream, averages.subscribe(stream):
        node = federate(federation, label=SCREEN)
        try:
            yield stream, node
        finally:
            stream.close()
            node.close(timeout=1.0)


def _show(errors: IO[bytes]) -> None:
    """Print what the processes complained of."""
    errors.seek(0)
    shutil.copyfileobj(errors, sys.stderr.buffer)
    sys.stderr.flush()


def _screen(board: Board, federation: str) -> "Screen":
    """Return the screen that suits standard output."""
    if not sys.stdout.isatty():
        from .screen import PlainScreen

        return PlainScreen(board, federation)
    from .live import LiveScreen

    return LiveScreen(board, federation)
