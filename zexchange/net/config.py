"""The configuration of a node: the arguments of `federate`, checked once and for all."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from ..errors import LimitReached
from ..names import check_federation, check_scope, is_pattern, matches
from ..protocol.wire.limits import MAX_PATTERNS
from ..protocol.wire.messages import MAX_ENDPOINT, MAX_LABEL
from .transport import descriptors as d
from .transport.endpoints import Tcp, check_secure, parse_pair, parse_tcp

LAN = "lan"
"""The word in ``peers=`` that stands for every node of the federation on the local network."""


class Scope:
    """The names and patterns of the exchanges that take part. More may be added later."""

    def __init__(self, exchanges: Sequence[str]) -> None:
        self.exchanges = tuple(exchanges)

    def __call__(self, name: str) -> bool:
        """Return whether an exchange takes part."""
        return any(matches(pattern, name) for pattern in self.exchanges)

    def widen(self, exchanges: Sequence[str]) -> bool:
        """Have more exchanges take part; return whether any of these patterns is new."""
        new = [pattern for pattern in exchanges if pattern not in self.exchanges]
        if not new or "**" in self.exchanges:
            return False
        self.exchanges = (*self.exchanges, *new)
        return True


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """The arguments of `federate`, which describes them, with their defaults and in one form."""

    federation: str
    label: str = ""
    listen: tuple[Tcp, Tcp] | None = None
    advertise: tuple[Tcp, Tcp] | None = None
    peers: tuple[str, ...] = ()
    parents: tuple[str, ...] = ()
    """Endpoints of the nodes that this one was forked from. The user has not named them."""
    lan: bool = False
    hubs: tuple[str, ...] = ()
    local: bool = True
    keys: Path | None = None
    exchanges: tuple[str, ...] = ("**",)
    replay_bytes: int = 32 << 20
    replay_messages: int = 1_000_000
    stall: float = 1.0
    recovery_timeout: float = 5.0

    def descriptors(self) -> int:
        """Return how many file descriptors a node with this configuration needs without peers."""
        tcp, unix = d.TCP if self.listen else 0, d.UNIX if self.local else 0
        named = d.A_CANDIDATE * len(self.peers) + d.A_HUB * len(self.hubs)
        keys, lan = d.KEYS if self.keys else 0, d.LAN if self.lan else 0
        return d.CONTEXT + unix + tcp + named + keys + lan

    def for_child(self, parent: str | None) -> "NodeConfig":
        """Return the configuration of a forked child.

        Its parent has the ports, so the child takes free ones. It dials its ``parent``, the only
        node that it knows of.
        """
        if self.listen is None:
            return self
        a = self.advertise
        return replace(
            self,
            listen=(Tcp(self.listen[0].host, 0), Tcp(self.listen[1].host, 0)),
            advertise=(Tcp(a[0].host, 0), Tcp(a[1].host, 0)) if a else None,
            parents=(*self.parents, parent) if parent else self.parents,
        )

    def check_same(self, asked: "NodeConfig") -> None:
        """Refuse to share this node with a caller that gave other arguments.

        Arguments that the caller left at their defaults do not count.

        Raises:
            ValueError: the text names the arguments that differ.
        """
        default = NodeConfig(self.federation)
        other = [
            f.name
            for f in fields(self)
            if getattr(asked, f.name) not in (getattr(default, f.name), getattr(self, f.name))
        ]
        if other:
            raise ValueError(
                f"this process is in federation {self.federation!r} already, with other "
                f"{', '.join(other)}: close that node first, or ask for the same"
            )


def _check_label(label: object) -> None:
    """Raise for a label that peers would refuse or cut."""
    if not isinstance(label, str):
        raise TypeError(f"label is a str, not {type(label).__name__}")
    if len(label) > MAX_LABEL:
        raise LimitReached(f"a label has at most {MAX_LABEL} characters, this one {len(label)}")


def _check_told(patterns: Sequence[str], endpoints: Sequence[Tcp]) -> None:
    """Refuse patterns and endpoints that would make peers refuse our whole hello.

    Raises:
        LimitReached: the text names the number and the limit.
    """
    number = sum(map(is_pattern, patterns))
    if number > MAX_PATTERNS:
        raise LimitReached(
            f"exchanges= has {number:,} patterns, and peers read {MAX_PATTERNS:,}: use one that"
            " covers many"
        )
    for endpoint in map(str, endpoints):
        if len(endpoint) > MAX_ENDPOINT:
            raise LimitReached(
                f"{endpoint[:40]}... has {len(endpoint):,} characters, and peers read"
                f" {MAX_ENDPOINT}: use an address, or a shorter name"
            )


def make_plan(
    name: str,
    listen: str | Sequence[str] | None,
    advertise: str | Sequence[str] | None,
    peers: Sequence[str],
    local: bool,
    exchanges: str | Sequence[str],
    label: str,
    insecure: bool,
    keys: str | os.PathLike[str] | None = None,
    hub: str | Sequence[str] | None = None,
) -> "NodeConfig":
    """Return the configuration for arguments of `federate`, which documents the errors as well."""
    check_federation(name)
    _check_label(label)
    bound = parse_pair(listen) if listen else None
    named = [peers] if isinstance(peers, str) else list(peers)
    dialled = [parse_tcp(peer) for peer in named if peer != LAN]
    hubs = [parse_tcp(h) for h in ([hub] if isinstance(hub, str) else hub or ())]
    check_secure([*(bound or ()), *dialled, *hubs], insecure or keys is not None)
    lan = LAN in named
    if lan and (bound is None or bound[0].loopback):
        raise ValueError(
            "peers=['lan'] has this node dialled by others on the local network: say where, "
            "with listen='tcp://0.0.0.0:PORT'"
        )
    if bound is None and (dialled or not (local or hubs)):
        if not all(peer.loopback for peer in dialled):
            raise ValueError("peers on other hosts connect back: say where, with listen=")
        bound = parse_pair("tcp://127.0.0.1:0")
    patterns = (exchanges,) if isinstance(exchanges, str) else tuple(exchanges)
    told = parse_pair(advertise) if advertise else None
    _check_told(patterns, (*(bound or ()), *(told or ())))
    return NodeConfig(
        federation=name,
        label=label,
        listen=bound,
        advertise=told,
        peers=tuple(map(str, dialled)),
        lan=lan,
        hubs=tuple(map(str, hubs)),
        local=local,
        keys=Path(keys) if keys is not None else None,
        exchanges=tuple(map(check_scope, patterns)),
    )
