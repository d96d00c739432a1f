"""Effects: what the session asks the shell around it to do, in order.

Frozen values, one for each thing that only somebody with sockets can do. Nothing here
knows how it is done.
"""

from dataclasses import dataclass, field
from typing import Any

from ..security.permissions import EVERYTHING, Rights
from ..wire.messages import Control, Replay
from .events import Event


class Effect:
    """Something that the session asks for."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Dial(Effect):
    """Open a control link to an endpoint, of which the public key may be known."""

    endpoint: str
    key: bytes = b""


@dataclass(frozen=True, slots=True)
class CloseLink(Effect):
    """Close the control link to an endpoint."""

    endpoint: str


@dataclass(frozen=True, slots=True)
class Redial(Effect):
    """Replace the control link to an endpoint by a fresh one: this one answers nothing."""

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
    """Send a message back to where a control message came from."""

    route: Any
    message: Control


@dataclass(frozen=True, slots=True)
class OpenReceiver(Effect):
    """Receive a peer's data from an endpoint; again for the same peer: with a fresh socket.

    ``acknowledge``, ``registry`` and ``exchanges`` are as in its `Hello`; ``key`` is its public
    key, if it has one, and what it sends is judged by ``rights``. ``unproven`` says that it is
    asked for because our interest was not proven in time: then a socket that has something to
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
    """Stop receiving a peer's data, after what has already arrived.

    ``heads`` are the last numbers that it gave, as far as it has told us. Unless it is ``final``,
    it may live, whatever we take it for: if it is met again, what it sent meanwhile is asked for.
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
    """Whether these are all, and it told others before that it has forgotten."""


@dataclass(frozen=True, slots=True)
class Announce(Effect):
    """Publish, behind what was sent before, the heads of the names that ``keys`` cover.

    With what was promised to the peer and is not confirmed; and report the heads to
    `Readiness.announced`.
    """

    peer: bytes
    epoch: int
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class InterestChanged(Effect):
    """Remote interest changed: look again which exchanges need a bridge.

    ``keys`` are the names and patterns that gained or lost an interested peer.
    """

    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Emit(Effect):
    """Hand an event to the user."""

    event: Event


@dataclass(frozen=True, slots=True)
class Resend(Effect):
    """Send messages again to who asks at ``route``, and tell it how far that went.

    With a number in the ``request``, they are taken from what is kept for late joiners. It says
    places; what is told in answer counts from ``start``.
    """

    route: Any
    request: Replay
    start: int = 0


@dataclass(frozen=True, slots=True)
class Recount(Effect):
    """Tell who asks at ``route`` what is kept of the last messages under ``keys``.

    By places, or by numbers, if it knows no starts.
    """

    route: Any
    request: int
    keys: tuple[str, ...]
    places: bool = True


@dataclass(frozen=True, slots=True)
class HaveForgotten(Effect):
    """Tell a peer, after all that was sent to it, to forget exchanges up to these places.

    By the token of ``epoch``, to which it is subscribed.
    """

    peer: bytes
    epoch: int
    number: int
    heads: dict[str, int]
