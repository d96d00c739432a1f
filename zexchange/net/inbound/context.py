"""What everything that arrives at a node has in common: to whom it is told, and handed on."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from ...errors import DecodeError, InvalidName
from ...local.registry import Exchange, Registry
from ...protocol.delivery.sequence import ReceiveState
from ...protocol.elapsed import Elapsed
from ...protocol.security.permissions import Rights
from ...protocol.session.events import Lost
from ...protocol.wire.messages import Recall, Replay


class ReceiverEvents(Protocol):
    """What the data thread tells the control thread, where the engine is; tests stand in for it."""

    def proven(self, peer: bytes, epoch: int) -> None:
        """A ready arrived."""

    def forgot(self, peer: bytes, number: int) -> None:
        """We have forgotten what a peer has told us to."""

    def consumed(self, peer: bytes, positions: dict[str, int]) -> None:
        """Our tasks have been given a peer's messages up to these numbers."""

    def ask(self, peer: bytes, request: Replay | Recall) -> None:
        """Messages of a peer are missing, or wanted of before our time."""

    def lost(self, event: Lost) -> None:
        """Messages of a peer will not come any more."""

    def rejected(self, source: str, reason: str) -> None:
        """A frame was not taken."""

    def marked(self, hub_source: str, mark: int) -> None:
        """A hub asks how far we have read what it sends."""


@dataclass(eq=False)
class ReceiveContext:
    """What all peer receivers of a node share: to whom they report, and what they hand on to."""

    me: bytes
    registry: Registry
    federated: Callable[[str], bool]
    control: ReceiverEvents
    timeout: float
    monotonic: Callable[[], float]
    elapsed: Elapsed = field(default_factory=Elapsed, init=False)
    """What counts for ``timeout``: seconds in which the data thread, told by the control
    thread, looked in time at what is missing."""
    busy: tuple[float, str] | None = None
    """Since when, and with which exchange, tasks have held the thread."""
    refused: int = 0
    """Frames that were not taken."""

    def reject(self, source: str, reason: str) -> None:
        """Count a frame that is not taken, and tell of it."""
        self.refused += 1
        self.control.rejected(source, reason)

    def restrict(self, positions: ReceiveState, rights: Rights, epoch: int) -> None:
        """Have nothing taken of a peer on exchanges where it may not publish.

        What it may now, and might not before it left, is taken from ``epoch`` on.
        """
        positions.permit(rights.publish, epoch)

        def admits(name: str) -> bool:
            """Judge a name that nothing has been taken on yet."""
            permitted = rights.may_publish(name)
            if not permitted:
                self.reject(rights.name, f"may not publish on {name!r}")
            return permitted

        positions.admits = admits

    def exchange(self, name: str) -> Exchange[Any] | None:
        """Return the exchange of a name, made if need be; None if it takes no part.

        Raises:
            DecodeError: if it is no name.
        """
        try:
            return self.registry.get(name) if self.federated(name) else None
        except InvalidName as error:
            raise DecodeError(str(error)) from None
