"""Events: what a node tells its user about the federation.

Frozen values without behaviour; `Node.events` hands them to whatever is attached there.
Nothing here knows why or when an event happens.
"""

from dataclasses import dataclass

from ...lost import Lost as Lost
from ..wire.messages import Label


@dataclass(frozen=True, slots=True)
class PeerJoined:
    """A node has joined the federation.

    Attributes:
        peer: its id, as hexadecimal text.
        label: its host, its process, and the name that it gave itself.
    """

    peer: str
    label: Label


@dataclass(frozen=True, slots=True)
class PeerSilent:
    """Nothing was heard from a peer for a while; its connection is still there.

    Attributes:
        peer: its id, as hexadecimal text.
        label: its host, its process, and the name that it gave itself.
        seconds: for so long.
    """

    peer: str
    label: Label
    seconds: float


@dataclass(frozen=True, slots=True)
class PeerLeft:
    """A peer is gone: it said so (``bye``), nothing listens there (``gone``), or ``silent``.

    Or ``crowded out``: it had proven nothing, and another needed its place. Only ``bye`` is
    final: whoever left otherwise and lives goes on where it was if it is back within ten minutes.

    Attributes:
        peer: its id, as hexadecimal text.
        label: its host, its process, and the name that it gave itself.
        reason: ``bye``, ``gone``, ``silent`` or ``crowded out``; with keys also ``revoked`` and
            ``permissions``, when its key may not come here any more, or may do something else.
    """

    peer: str
    label: Label
    reason: str


@dataclass(frozen=True, slots=True)
class PeerSlow:
    """A peer acknowledges too slowly and holds nobody any more, or (``False``) has caught up.

    With ``ourselves``, it is this node that is too slow for the peer, which says so.

    Attributes:
        peer: its id, as hexadecimal text.
        label: its host, its process, and the name that it gave itself.
        slow: whether it is slow from now on; False when it has caught up.
        ourselves: whether this node is the slow one.
    """

    peer: str
    label: Label
    slow: bool
    ourselves: bool = False


@dataclass(frozen=True, slots=True)
class Rejected:
    """Something that arrived was not taken.

    Attributes:
        source: an endpoint, a peer, or the part of this node that refused it.
        reason: in a few words, always the same ones.
        count: how often so far, of this source and reason.
        detail: more about this one, or empty.
    """

    source: str
    reason: str
    count: int
    detail: str = ""


Event = PeerJoined | PeerSilent | PeerLeft | Lost | PeerSlow | Rejected
