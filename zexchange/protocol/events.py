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
    """A peer is gone: it said so (``bye``), nothing listens there (``gone``), or ``silent``.

    Or ``crowded out``: it had proven nothing, and another needed its place. Only ``bye`` is
    final: whoever left otherwise and lives goes on where it was if it is back within ten minutes.
    """

    peer: str
    label: Label
    reason: str


@dataclass(frozen=True, slots=True)
class Lost:
    """Messages ``first`` to ``last`` of an origin on an exchange did not arrive, and will not.

    ``first`` is 0 where nobody knows how many: the origin was away for more than ten minutes,
    and is back; or this node was stopped for more than eleven. Then what came of it before stays
    as it was, what was sent between that and ``last`` is lost, if anything was, and `Node.stats`
    does not count it.
    """

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
