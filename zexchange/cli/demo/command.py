"""`zexchange demo`: real processes, one of which is killed, on one channel, to look at.

The plot is in `play`, and how it is shown, in `display`. Whatever happens, no process is left.
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
        if not perform(f"demo-{os.getpid()}", errors):
            errors.seek(0)
            shutil.copyfileobj(errors, sys.stderr.buffer)
            sys.stderr.flush()
            raise SystemExit(1)


def perform(federation: str, errors: IO[bytes]) -> bool:
    """Run the demo; return whether everything that the living sent was received."""
    # Not at the top: the demo's processes come through here as well, and show nothing.
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
