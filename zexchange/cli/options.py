"""The options that all commands share which join a federation, and the node made from them.

Each option can also be set by an environment variable, so that a shell can set the federation once
for all commands. This module does not know what a command does with its node.
"""

import functools
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from typing import Any

import click

from zexchange import ExchangeError, Node, federate

Command = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Joining:
    """The values of the shared options, named as the arguments of `federate`."""

    federation: str
    listen: str | None = None
    advertise: str | None = None
    peers: tuple[str, ...] = ()
    hub: tuple[str, ...] = ()
    keys: str | None = None
    insecure: bool = False

    @contextmanager
    def node(self, label: str, join_timeout: float = 1.0) -> Generator[Node, None, None]:
        """Be in the federation inside a ``with`` block.

        If the block raises, the node leaves at once, without waiting for acknowledgements.

        Args:
            label: the label of the node, by which peers name this command.
            join_timeout: seconds that other nodes have to answer.

        Raises:
            click.ClickException: the node cannot join; the text says why.
        """
        how = asdict(self)
        try:
            node = federate(how.pop("federation"), label=label, join_timeout=join_timeout, **how)
        except (ExchangeError, ValueError) as error:
            raise click.ClickException(str(error)) from error
        try:
            yield node
        except BaseException:
            node.close(timeout=0)
            raise
        node.close()


def option(flag: str, *name: str, help: str, **more: Any) -> Callable[[Command], Command]:
    """Return an option that can also be set by an environment variable ``ZEXCHANGE_…``."""
    variable = f"ZEXCHANGE_{flag.removeprefix('--').upper()}"
    return click.option(flag, *name, envvar=variable, show_envvar=True, help=help, **more)


federation = option(
    "--federation",
    metavar="NAME",
    default="default",
    show_default=True,
    help="The federation to join.",
)
insecure = option(
    "--insecure",
    is_flag=True,
    help="Allow TCP endpoints that other hosts can reach, without keys.",
)
keys = option(
    "--keys",
    metavar="DIR",
    help="A key directory, as keygen makes it: encrypt, and speak with whom it authorizes.",
)


def _options(listen: str) -> tuple[Callable[[Command], Command], ...]:
    """Return the shared options, the one to be reachable under the given name."""
    return (
        federation,
        click.option(
            listen,
            "listen",
            metavar="ENDPOINT",
            envvar="ZEXCHANGE_LISTEN",
            show_envvar=True,
            help="Also be reachable over TCP: tcp://HOST:PORT, and the next port for data.",
        ),
        option(
            "--advertise",
            metavar="ENDPOINT",
            help=f"What others are told to dial, where that differs from {listen}.",
        ),
        option(
            "--peer",
            "peers",
            metavar="ENDPOINT",
            multiple=True,
            help="A control endpoint to dial, or lan for the local network; may be repeated.",
        ),
        option(
            "--hub",
            metavar="ENDPOINT",
            multiple=True,
            help="A hub that leads to the others; may be repeated.",
        ),
        keys,
        insecure,
    )


def joins(command: Command) -> Command:
    """Add the shared options to a command, which gets them as one argument, ``joining``."""
    return joins_besides("--listen")(command)


def joins_besides(listen: str) -> Callable[[Command], Command]:
    """Return what `joins` is, for a command that has a ``--listen`` of its own.

    Args:
        listen: what the shared option is called there.
    """

    def add_options(command: Command) -> Command:
        @functools.wraps(command)
        def with_joining(**given: Any) -> Any:
            joining = Joining(**{field.name: given.pop(field.name) for field in fields(Joining)})
            return command(joining=joining, **given)

        decorated: Command = with_joining
        for add in reversed(_options(listen)):
            decorated = add(decorated)
        return decorated

    return add_options
