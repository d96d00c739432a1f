"""Events: what a node tells its user about the federation.

They are frozen values without behaviour. `Node.events` hands them to every task that is attached
there. Nothing here knows why or when an event happens.
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
    """A peer was not heard from for a while; its connection is still there.

    Attributes:
        peer: its id, as hexadecimal text.
        label: its host, its process, and the name that it gave itself.
        seconds: for how long it was not heard from.
    """

    peer: str
    label: Label
    seconds: float


@dataclass(frozen=True, slots=True)
class PeerLeft:
    """A peer is gone: it said so (``bye``), nothing listens there (``gone``), or ``silent``.

    Or it was ``crowded out``: it had proven nothing, and another node needed its place. Only
    ``bye`` is final. A node that left otherwise and still lives resumes where it was, if it is back
    within ten minutes.

    Attributes:
        peer: its id, as hexadecimal text.
        label: its host, its process, and the name that it gave itself.
        reason: ``bye``, ``gone``, ``silent`` or ``crowded out``; with keys also ``revoked``, when
            its key may no longer join here, and ``permissions``, when its rights have changed.
    """

    peer: str
    label: Label
    reason: str


@dataclass(frozen=True, slots=True)
class PeerSlow:
    """A peer acknowledges too slowly and no longer blocks senders, or has caught up.

    With ``ourselves``, it is this node that is too slow, and the peer has told us so.

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
    """Something that arrived was not accepted.

    Attributes:
        source: an endpoint, a peer, or the part of this node that refused it.
        reason: a few words, the same ones in each such case.
        count: how often so far, for this source and reason.
        detail: more about this case, or empty.
    """

    source: str
    reason: str
    count: int
    detail: str = ""


Event = PeerJoined | PeerSilent | PeerLeft | Lost | PeerSlow | Rejected
