"""`zexchange request`: ask a question on an exchange, and print the answer.

The exit status is 0 only if every responder that was asked has answered.
"""

import json
import sys
from collections.abc import Callable

import click

from zexchange import Delivery, get_exchange

from ..display.text import as_json as in_json
from ..display.text import as_text, on_terminal
from .options import Joining, joins
from .send import parsed, text_or_bytes

_HELP = """
Ask MESSAGE on the exchange NAME, and print the answer.

Without MESSAGE, or with "-", the question is what comes on standard input. One of those that
answer on NAME is asked: see "zexchange respond". The exit status is 1 if none does.
"""


@click.command(help=_HELP)
@click.argument("name")
@click.argument("message", default="-")
@click.option("--json", "as_json", is_flag=True, help="Question and answers are JSON values.")
@click.option("--all", "everyone", is_flag=True, help="Ask all that answer; one answer a line.")
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    default=2.0,
    show_default=True,
    help="How long to wait for an answer.",
)
@click.option(
    "--wait",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    help="How long to wait before that for somebody who answers on NAME.",
)
@joins
def request(
    joining: Joining,
    name: str,
    message: str,
    as_json: bool,
    everyone: bool,
    timeout: float,
    wait: float | None,
) -> None:
    """Join, ask, and print what is answered."""
    if everyone and wait is not None:
        raise click.UsageError("--wait is for one answer: --all asks those that are there")
    given = sys.stdin.buffer.read() if message == "-" else message.encode()
    try:
        question = parsed(given) if as_json else text_or_bytes(given)
    except json.JSONDecodeError as error:
        raise click.ClickException(f"the question is no JSON: {error}") from error
    show: Callable[[Delivery], bytes] = in_json if as_json else as_text
    if sys.stdout.isatty():
        show = on_terminal(show)
    exchange = get_exchange(name)
    with joining.node("request"):
        if not everyone:
            _print(show(_shown(name, exchange.request(question, timeout, wait))))
            return
        replies = 0
        for reply in exchange.request_all(question, timeout):
            _print(show(_shown(name, reply.value)))
            replies += 1
        if not replies:
            raise click.ClickException(f"nobody answers on exchange {name!r}")


def _shown(name: str, value: object) -> Delivery[object]:
    return Delivery(name, value, None, None, 0.0)


def _print(line: bytes) -> None:
    sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()
