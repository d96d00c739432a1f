"""`zexchange tail`: print the messages of exchanges, without loss.

Output is written in blocks while messages wait, and flushed as soon as none does; a member of a
group flushes after each message. A slow reader of
the output slows the senders down. Messages that are lost nevertheless are reported on standard
error. This module does not know how a message becomes text.
"""

import os
import select
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from typing import BinaryIO

import click

from zexchange import Delivery, Lost, Node, Stream, match

from ..display.text import (
    as_json,
    as_text,
    headers_json,
    named_json,
    named_text,
    on_terminal,
    printable,
    with_headers,
)
from .options import Joining, joins

LOOK_EVERY = 1.0
"""Seconds between two checks for losses, and for whether anybody still reads the output."""
BLOCK = 1 << 16
Show = Callable[[Delivery], bytes]
Items = Stream[Delivery | Lost]


_HELP = """
Print each message of exchanges or patterns, one a line.

Text and bytes are printed as they are, anything else as JSON. Quote patterns:
'prices.*' is one level, 'prices.**' any number.
"""


@click.command(help=_HELP)
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option("--json", "json_", is_flag=True, help="Print every message as JSON.")
@click.option("--names", "with_names", is_flag=True, help="Print the exchange's name first.")
@click.option(
    "--headers",
    "headers_too",
    is_flag=True,
    help="Print the headers first, as JSON; with --json an object of all that came.",
)
@click.option(
    "--count", metavar="N", type=click.IntRange(min=1), default=None, help="End after N messages."
)
@click.option(
    "--history",
    metavar="N",
    type=click.IntRange(min=0),
    default=0,
    help="First print the newest N that senders have kept (see zexchange.retain).",
)
@click.option(
    "--group",
    metavar="NAME",
    default=None,
    help="Take a share: each message goes to one member of the group only.",
)
@joins
def tail(
    joining: Joining,
    names: tuple[str, ...],
    json_: bool,
    with_names: bool,
    headers_too: bool,
    count: int | None,
    history: int,
    group: str | None,
) -> None:
    """Join, and print messages until ``count`` of them are printed, or until interrupted."""
    show = _form(json_, with_names, headers_too)
    if group is not None and history:
        raise click.UsageError("a member of a group gets no history: others have had it")
    with ExitStack() as leaving:
        stream = leaving.enter_context(attached(names, history, group))
        node = leaving.enter_context(joining.node("tail"))
        output = leaving.enter_context(open(1, "wb", buffering=BLOCK, closefd=False))
        losses = Losses(node)
        leaving.callback(losses.tell)
        # Closed before the node, whose data thread may be waiting for room in the stream. If a
        # message could not be printed, it goes to another member of the group.
        leaving.push(stream)
        copy(stream, output, show, count, losses.tell, at_once=group is not None)


def _form(json_: bool, with_names: bool, headers_too: bool) -> Show:
    """Return the function that formats a message as a line, according to the options."""
    plain: Show = named_text if with_names else as_text
    if headers_too:
        show: Show = headers_json if json_ else with_headers(plain)
    else:
        show = (named_json if with_names else as_json) if json_ else plain
    return on_terminal(show) if os.isatty(1) else show


@contextmanager
def attached(
    names: tuple[str, ...], history: int, group: str | None
) -> Generator[Items, None, None]:
    """Attach one stream to all names and patterns; a message that several cover comes once."""
    views = [match(name) for name in dict.fromkeys(names)]
    if group is None:
        first = views[0].stream(overflow="block", details=True, history=history)
    else:
        first = views[0].stream(details=True, group=group)
    with first as stream, ExitStack() as others:
        for view in views[1:]:
            view.attach(stream, history=history, group=group)
            others.callback(view.detach, stream)
        yield stream


def copy(
    stream: Items,
    output: BinaryIO,
    show: Show,
    count: int | None,
    look: Callable[[], None],
    at_once: bool = False,
) -> None:
    """Write messages until ``count`` of them are written, or without end if it is None.

    Args:
        stream: gives the messages.
        output: where to write them.
        show: formats a message as a line.
        count: how many messages to write.
        look: called about once in `LOOK_EVERY` seconds.
        at_once: whether each message is to be out before the next is taken, by which it counts as
            handled.

    Raises:
        BrokenPipeError: ``output`` has no reader left.
    """
    left, look_at = count or -1, time.monotonic() + LOOK_EVERY
    while left:
        if not len(stream):
            output.flush()
        item = _next(stream)
        if isinstance(item, Delivery):
            output.write(show(item))
            if at_once:
                output.flush()
            left -= 1
        if item is None or time.monotonic() >= look_at:
            look_at = time.monotonic() + LOOK_EVERY
            look()
            check_reader(output)


def _next(stream: Items) -> Delivery | Lost | None:
    """Return the next item, or None if none comes within `LOOK_EVERY` seconds."""
    try:
        return stream.get(LOOK_EVERY)
    except TimeoutError:
        return None


def check_reader(output: BinaryIO) -> None:
    """Check that ``output``, if it is a pipe, still has a reader.

    Without this check, ``tail | head -1`` would not end before the next message.

    Raises:
        BrokenPipeError: it has none.
    """
    poll = select.poll()
    poll.register(output.fileno(), 0)
    if any(event & select.POLLERR for _, event in poll.poll(0)):
        raise BrokenPipeError


class Losses:
    """Reports lost messages on standard error."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._told: dict[tuple[str, str], int] = {}

    def tell(self) -> None:
        """Report each exchange and origin of which messages were lost since the last call."""
        received = self._node.stats().received
        self._told = {key: lost for key, lost in self._told.items() if key in received}
        for key, came in received.items():
            # Forgotten exchanges are counted together under an empty name. Their losses have
            # been reported already.
            if key[0] and came.lost > self._told.get(key, 0):
                self._told[key] = came.lost
                name, origin = key
                click.echo(
                    f"zexchange: {came.lost:,} messages lost so far of {name!r}"
                    f" from {self._sender(origin)} ({came.received:,} received)",
                    err=True,
                )

    def _sender(self, origin: str) -> str:
        for peer in self._node.peers:
            if peer.id == origin:
                who = f"{peer.name or 'a process'} (pid {peer.pid} on {peer.host})"
                return printable(who)
        return f"node {origin[:8]}, which has left"
