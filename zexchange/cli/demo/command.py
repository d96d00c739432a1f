"""`zexchange demo`: watch real processes share exchanges while one of them is killed.

The course of events is in `play`, and the output in `display`. However the demo ends, none of its
processes is left running.
"""

import os
import shutil
import sys
import tempfile
from contextlib import ExitStack
from typing import IO

import click

from zexchange import federate, match

ROOM = 10_000
"""Messages that may wait to be shown. The demo never reaches this limit."""


_HELP = """
Watch processes share exchanges: about ten seconds, no arguments.

Two sensors read this machine's counters, an analyst averages them, a third sensor
joins, the first is killed without warning; at the end everything is counted.
"""


@click.command(help=_HELP)
def demo() -> None:
    """Run the demo; if it fails, print what its processes wrote to standard error."""
    with tempfile.TemporaryFile() as errors:
        if not perform(f"demo-{os.getpid()}", errors):
            errors.seek(0)
            shutil.copyfileobj(errors, sys.stderr.buffer)
            sys.stderr.flush()
            raise SystemExit(1)


def perform(federation: str, errors: IO[bytes]) -> bool:
    """Run the demo; return whether all messages of the processes not killed were received.

    Args:
        federation: the name of the federation to use.
        errors: a file for the standard error of the processes.
    """
    # Not imported at the top: the demo's processes import this module too, and show nothing.
    from .board import Board
    from .display import Display
    from .play import SCREEN, DemoError, Play

    board = Board()
    display = Display(board)
    try:
        with ExitStack() as leaving:
            stream = leaving.enter_context(match("metrics.**").stream(ROOM, "block", details=True))
            leaving.enter_context(match("averages.**").subscribe(stream))
            node = federate(federation, label=SCREEN)
            leaving.callback(node.close, timeout=1.0)
            leaving.callback(stream.close)
            play = Play(node, stream, board, display, errors)
            leaving.callback(play.close)
            with display.drawing():
                tallies = play.run()
    except DemoError as failure:
        click.echo(f"zexchange: the demo failed: {failure}", err=True)
        return False
    display.verdict(tallies)
    return all(line.whole for line in tallies)
