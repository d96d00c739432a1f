"""Effects: what the session asks the engine around it to do, in order.

An effect is a frozen value, one for each thing that needs sockets or other parts of the node.
Nothing here knows how it is done.
"""

from dataclasses import dataclass, field
from typing import Any

from ..security.permissions import EVERYTHING, Rights
from ..wire.messages import Control, Count, Replay
from .events import Event


class Effect:
    """A request of the session to the engine."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Dial(Effect):
    """Open a control link to an endpoint; ``key`` is its public key, if it is known."""

    endpoint: str
    key: bytes = b""


@dataclass(frozen=True, slots=True)
class CloseLink(Effect):
    """Close the control link to an endpoint."""

    endpoint: str


@dataclass(frozen=True, slots=True)
class Redial(Effect):
    """Replace the control link to an endpoint by a fresh one, because this one is not answered."""

    endpoint: str
    key: bytes = b""


@dataclass(frozen=True, slots=True)
class Probe(Effect):
    """Find out whether anything listens at an endpoint, and report it to `Peering.probed`."""

    endpoint: str


@dataclass(frozen=True, slots=True)
class Send(Effect):
    """Send a message on the control link to an endpoint."""

    endpoint: str
    message: Control


@dataclass(frozen=True, slots=True)
class Reply(Effect):
    """Send a message back to the connection that a control message came from."""

    route: Any
    message: Control


@dataclass(frozen=True, slots=True)
class OpenReceiver(Effect):
    """Receive a peer's data from an endpoint; if it was received already, by a fresh socket.

    ``acknowledge``, ``registry`` and ``exchanges`` are those of the peer's `Hello`. ``key`` is its
    public key, if it has one, and ``rights`` is what it may send. ``unproven`` says that the socket
    is replaced because our interest was not proven in time: then a socket that has something to
    read may be kept.
    """

    peer: bytes
    endpoint: str
    acknowledge: tuple[int, int] = (0, 0)
    key: bytes = b""
    rights: Rights = EVERYTHING
    registry: bytes = b""
    exchanges: tuple[str, ...] = ()
    unproven: bool = False


@dataclass(frozen=True, slots=True)
class CloseReceiver(Effect):
    """Stop receiving a peer's data, after all that has already arrived.

    ``heads`` are the last numbers that it gave, as far as it has told us. Unless the end is
    ``final``, the peer may still live: if it is met again, we ask for what it sent meanwhile.
    ``acked`` is how far it has acknowledged what we sent.
    """

    peer: bytes
    heads: dict[str, int]
    final: bool = True
    acked: dict[str, int] = field(default_factory=dict[str, int])


@dataclass(frozen=True, slots=True)
class Resubscribe(Effect):
    """Change what is received from every peer, and prove it under a new epoch."""

    epoch: int
    added: tuple[str, ...]
    removed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SubscribeNames(Effect):
    """Subscribe at one peer to names that it has told us, and have it prove that."""

    peer: bytes
    names: tuple[str, ...]
    anew: bool = False
    """Whether the peer begins its list of names again, so that those told before no longer
    count."""


@dataclass(frozen=True, slots=True)
class Announce(Effect):
    """Publish, after all that was sent before, the heads of the names that ``keys`` cover.

    Add the heads that were promised to the peer and that it has not confirmed. Report the heads to
    `Readiness.announced`.
    """

    peer: bytes
    epoch: int
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class InterestChanged(Effect):
    """Check again which exchanges need a bridge, because remote interest has changed.

    ``keys`` are the names and patterns that gained or lost an interested peer.
    """

    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Emit(Effect):
    """Hand an event to the user."""

    event: Event


@dataclass(frozen=True, slots=True)
class Resend(Effect):
    """Send messages again to the peer at ``route``, and tell it how far that went.

    If the ``request`` has a number, the messages are taken from those kept for late joiners. The
    request gives places; the answer gives numbers, counted from ``start``.
    """

    route: Any
    request: Replay
    start: int = 0


@dataclass(frozen=True, slots=True)
class Recount(Effect):
    """Tell the peer at ``route`` which of the last messages under ``keys`` are kept.

    The answer gives places, or numbers if the peer knows no starts.
    """

    route: Any
    request: int
    keys: tuple[str, ...]
    places: bool = True


@dataclass(frozen=True, slots=True)
class TellCounts(Effect):
    """Tell the peer at ``route`` what flows on the exchanges that ``keys`` cover."""

    route: Any
    question: Count
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HaveForgotten(Effect):
    """Tell a peer, after all that was sent to it, to forget exchanges up to these places.

    It is published under the token of ``epoch``, to which the peer is subscribed.
    """

    peer: bytes
    epoch: int
    number: int
    heads: dict[str, int]
