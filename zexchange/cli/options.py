"""The options that every joining command shares, and what they become: a node.

Each option has its environment variable, so that a shell says once which federation it
talks to. It must not know what a command does with its node.
"""

import functools
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import click

from zexchange import ExchangeError, Node, federate

Command = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Joining:
    """How to join, as the options say."""

    federation: str
    listen: str | None
    advertise: str | None
    peers: tuple[str, ...]
    hubs: tuple[str, ...]
    insecure: bool
    keys: str | None = None

    @contextmanager
    def node(self, label: str, join_timeout: float = 1.0) -> Generator[Node, None, None]:
        """Be in the federation inside a ``with`` block.

        A block that ends in an error leaves at once: nobody waits for what it sent.

        Args:
            label: what the others see this command as.
            join_timeout: seconds that others have to answer.

        Raises:
            click.ClickException: the node cannot join; the text says why.
        """
        node = self._join(label, join_timeout)
        try:
            yield node
        except BaseException:
            node.close(timeout=0)
            raise
        node.close()

    def _join(self, label: str, join_timeout: float) -> Node:
        try:
            return federate(
                self.federation,
                listen=self.listen,
                advertise=self.advertise,
                peers=self.peers,
                hub=self.hubs,
                keys=self.keys,
                insecure=self.insecure,
                label=label,
                join_timeout=join_timeout,
            )
        except (ExchangeError, ValueError) as error:
            raise click.ClickException(str(error)) from error


federation = click.option(
    "--federation",
    metavar="NAME",
    default="default",
    show_default=True,
    envvar="ZEXCHANGE_FEDERATION",
    show_envvar=True,
    help="The federation to join.",
)
insecure = click.option(
    "--insecure",
    is_flag=True,
    envvar="ZEXCHANGE_INSECURE",
    show_envvar=True,
    help="Allow TCP endpoints that other hosts can reach, without keys.",
)
keys = click.option(
    "--keys",
    metavar="DIR",
    envvar="ZEXCHANGE_KEYS",
    show_envvar=True,
    help="A key directory, as keygen makes it: encrypt, and speak with whom it authorizes.",
)
_OPTIONS: tuple[Callable[[Command], Command], ...] = (
    federation,
    click.option(
        "--listen",
        metavar="ENDPOINT",
        envvar="ZEXCHANGE_LISTEN",
        show_envvar=True,
        help="Also be reachable over TCP: tcp://HOST:PORT, and the next port for data.",
    ),
    click.option(
        "--advertise",
        metavar="ENDPOINT",
        envvar="ZEXCHANGE_ADVERTISE",
        show_envvar=True,
        help="What others are told to dial, where that differs from --listen.",
    ),
    click.option(
        "--peer",
        "peers",
        metavar="ENDPOINT",
        multiple=True,
        envvar="ZEXCHANGE_PEER",
        show_envvar=True,
        help="A control endpoint to dial, or lan for the local network; may be repeated.",
    ),
    click.option(
        "--hub",
        "hubs",
        metavar="ENDPOINT",
        multiple=True,
        envvar="ZEXCHANGE_HUB",
        show_envvar=True,
        help="A hub that leads to the others; may be repeated.",
    ),
    keys,
    insecure,
)


def joins(command: Command) -> Command:
    """Give a command the shared options; it gets them as one argument, ``joining``."""

    @functools.wraps(command)
    def with_joining(
        *,
        federation: str,
        listen: str | None,
        advertise: str | None,
        peers: tuple[str, ...],
        hubs: tuple[str, ...],
        keys: str | None,
        insecure: bool,
        **rest: Any,
    ) -> Any:
        joining = Joining(federation, listen, advertise, peers, hubs, insecure, keys)
        return command(joining=joining, **rest)

    decorated: Command = with_joining
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated
