"""`zexchange respond`: answer the questions on an exchange by running a program for each.

The program gets the question on its standard input and nowhere else: not in its arguments, which
are as they were given, and not through a shell. Its output is the answer.
"""

import asyncio
from asyncio.subprocess import PIPE

import click

from zexchange import Delivery, RequestFailed, get_exchange

from ..display.text import as_json as in_json
from ..display.text import as_text
from .options import Joining, joins
from .send import parsed, text_or_bytes

_HELP = """
Answer each question on the exchange NAME by what COMMAND prints.

COMMAND gets the question on its standard input, and is run without a shell. A newline at the end
of what it prints is dropped. If it ends with another status than 0, the asker is told so.
"""


@click.command(help=_HELP, context_settings={"ignore_unknown_options": True})
@click.argument("name")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("--json", "as_json", is_flag=True, help="Questions and answers are JSON values.")
@click.option(
    "--at-once",
    metavar="N",
    type=click.IntRange(min=1),
    default=4,
    show_default=True,
    help="Run at most N programs at a time; further questions wait.",
)
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    help="End a program that takes longer.",
)
@joins
def respond(
    joining: Joining,
    name: str,
    command: tuple[str, ...],
    as_json: bool,
    at_once: int,
    timeout: float,
) -> None:
    """Join, and answer until the command is ended."""
    show = in_json if as_json else as_text

    async def serve() -> None:
        turn = asyncio.Semaphore(at_once)

        @get_exchange(name).responder
        async def answer(question: object) -> object:
            given = show(Delivery(name, question, None, None, 0.0))[:-1]
            async with turn:
                printed = await run(command, given, timeout)
            printed = printed.removesuffix(b"\n")
            return parsed(printed) if as_json else text_or_bytes(printed)

        with joining.node("respond"):
            await asyncio.Event().wait()

    asyncio.run(serve())


async def run(command: tuple[str, ...], given: bytes, timeout: float) -> bytes:
    """Run a program with some input, and return what it prints.

    Raises:
        RequestFailed: it cannot be run, ends with another status than 0, or takes too long.
    """
    try:
        program = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE)
    except OSError as error:
        raise RequestFailed(type(error).__name__, f"{command[0]}: {error.strerror}") from error
    try:
        printed, _ = await asyncio.wait_for(program.communicate(given), timeout)
    except TimeoutError:
        raise RequestFailed("TimeoutError", f"{command[0]} took over {timeout:g} s") from None
    finally:
        if program.returncode is None:
            program.kill()
            await program.wait()
    if program.returncode:
        raise RequestFailed("ExitStatus", f"{command[0]} ended with {program.returncode}")
    return printed
