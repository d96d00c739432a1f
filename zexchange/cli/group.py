"""The group of all commands, and their exit status.

Every command ends with one of these:

- 0: success.
- 1: failure, with a message.
- 2: wrong usage.
- 129, 130, 143: ended by SIGHUP (the terminal is gone), SIGINT (Ctrl-C) or SIGTERM.
- 141: nobody reads the output.

No command shows a traceback for a mistake of its user.
"""

import logging
import os
import signal
import sys
from importlib import import_module
from types import FrameType
from typing import Any

import click

from zexchange import ExchangeError, __version__
from zexchange.imports import importing

from .flags import as_flags

NAMES = (
    "demo",
    "doctor",
    "hub",
    "keygen",
    "metrics",
    "peers",
    "request",
    "respond",
    "send",
    "tail",
    "top",
    "web",
)
"""The commands. Each is in the module of its name here, which is imported when it is needed: all of
them take longer to import than a short command to run."""
INTERRUPTED = 128 + signal.SIGINT
BROKEN_PIPE = 128 + signal.SIGPIPE


class Commands(click.Group):
    """A group whose commands end with the exit status that a shell expects."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, in the order of the help."""
        return sorted(NAMES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, whose module is imported now; None if there is none of that name."""
        if cmd_name not in NAMES:
            return None
        module = import_module(f".{cmd_name}", __package__)
        found: click.Command = getattr(module, cmd_name)
        return found

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; turn its exceptions into an exit status."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise SystemExit(INTERRUPTED) from None
        except BrokenPipeError:
            forget_stdout()
            raise SystemExit(BROKEN_PIPE) from None
        except ExchangeError as error:
            raise click.ClickException(as_flags(str(error))) from error


def forget_stdout() -> None:
    """Discard buffered output, which nobody reads; flushing it at exit would fail."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.__stdout__.fileno() if sys.__stdout__ else 1)
    os.close(nowhere)


_HELP = """
Named channels between processes, without a broker.

Every command joins a federation like any program that calls zexchange.federate().
"""


def _show_version(context: click.Context, option: click.Parameter, asked: bool) -> None:
    if asked:
        with importing():
            from zexchange.protocol.codec.batches import decoder_name
        click.echo(f"zexchange, version {__version__}, decodes by {decoder_name()}")
        context.exit()


@click.group(cls=Commands, help=_HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version and what decodes messages, and exit.",
)
def commands() -> None:
    """Be the group of all commands; click calls this before each of them."""


def run() -> None:
    """Run the command that the arguments name, and end the process."""
    logging.basicConfig(format="zexchange: %(message)s", level=logging.WARNING)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores SIGHUP
            signal.signal(number, _terminated)
    try:
        try:
            commands(prog_name="zexchange")
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        forget_stdout()
        raise SystemExit(BROKEN_PIPE) from None
    except OSError as error:  # the disk is full, for instance
        forget_stdout()
        where = error.filename or "standard output"
        sys.stderr.write(f"zexchange: {where}: {error.strerror or error}\n")
        raise SystemExit(1) from None


def _terminated(number: int, frame: FrameType | None) -> None:
    # By an exception, so that nodes say goodbye and received messages are written. This lets
    # `timeout 5 zexchange tail ...` work as expected.
    raise SystemExit(128 + number)
