"""Events: what a node tells its user about the federation.

Frozen values without behaviour; `Node.events` hands them to whatever is attached there.
Nothing here knows why or when an event happens.
"""

from dataclasses import dataclass

from .values import Label


@dataclass(frozen=True, slots=True)
class PeerJoined:
    """A node has joined the federation."""

    peer: str
    label: Label


@dataclass(frozen=True, slots=True)
class PeerSilent:
    """Nothing was heard from a peer for a while; its connection is still there."""

    peer: str
    label: Label
    seconds: float


@dataclass(frozen=True, slots=True)
class PeerLeft:
    """A peer is gone: it said so (``bye``), its process died (``gone``), or ``silent``.

    Or ``crowded out``: it had proven nothing, and another needed its place.
    """

    peer: str
    label: Label
    reason: str


@dataclass(frozen=True, slots=True)
class Lost:
    """Messages ``first`` to ``last`` of an origin on an exchange did not arrive, and will not."""

    exchange: str
    origin: str
    first: int
    last: int
    reason: str


@dataclass(frozen=True, slots=True)
class PeerSlow:
    """A peer acknowledges too slowly and holds nobody any more, or (``False``) has caught up.

    With ``ourselves``, it is this node that is too slow for the peer, which says so.
    """

    peer: str
    label: Label
    slow: bool
    ourselves: bool = False


@dataclass(frozen=True, slots=True)
class Rejected:
    """Something that arrived was not taken: from where, why, and how often so far."""

    source: str
    reason: str
    count: int
    detail: str = ""


Event = PeerJoined | PeerSilent | PeerLeft | Lost | PeerSlow | Rejected
