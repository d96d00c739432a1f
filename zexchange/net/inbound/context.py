"""The context of everything that arrives at a node: where it is reported, and handed on."""

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
    """The reports that the data thread makes to the engine's control thread; tests stand in."""

    def proven(self, peer: bytes, epoch: int) -> None:
        """A ready of a peer arrived: ``epoch`` of our interest is in force there."""

    def forgot(self, peer: bytes, number: int) -> None:
        """We have forgotten the exchanges that a peer told us to forget, by that ``number``."""

    def consumed(self, peer: bytes, positions: dict[str, int]) -> None:
        """Our tasks have been given a peer's messages up to these numbers."""

    def ask(self, peer: bytes, request: Replay | Recall) -> None:
        """Messages of a peer are missing, or a late joiner wants earlier ones."""

    def lost(self, event: Lost) -> None:
        """Messages of a peer will not come."""

    def rejected(self, source: str, reason: str) -> None:
        """A frame was rejected."""

    def marked(self, hub_source: str, mark: int) -> None:
        """A hub asks how far we have read what it sends."""


class QuestionEvents(Protocol):
    """Takes the questions and replies that arrive; called on the data thread."""

    def asked(self, exchange: Exchange[Any], msg: object, peer: bytes, number: int) -> None:
        """A peer asks this node a question, which its tasks have been given as a message."""

    def take(self, frame: bytes, peer: bytes) -> None:
        """A reply of a peer arrived.

        Raises:
            DecodeError: it is malformed, not for this node, or not of this peer.
        """


class NoQuestions:
    """Stands for `QuestionEvents` where nobody asks."""

    def asked(self, exchange: Exchange[Any], msg: object, peer: bytes, number: int) -> None:
        """Leave a question without an answer."""

    def take(self, frame: bytes, peer: bytes) -> None:
        """Drop a reply."""


class GroupEvents(Protocol):
    """Takes what arrives for groups; called on the data thread."""

    def arrived(self, frame: bytes, peer: bytes, kind: int) -> None:
        """Messages for a member here, or the progress of one at a peer arrived.

        Raises:
            DecodeError: it is malformed, not for this node, or not of this peer.
        """


class NoGroups:
    """Stands for `GroupEvents` where there are none."""

    def arrived(self, frame: bytes, peer: bytes, kind: int) -> None:
        """Drop a frame."""


@dataclass(eq=False)
class ReceiveContext:
    """The objects that all peer receivers of a node share, to report and to hand on."""

    me: bytes
    registry: Registry
    federated: Callable[[str], bool]
    control: ReceiverEvents
    timeout: float
    monotonic: Callable[[], float]
    requests: QuestionEvents = field(default_factory=NoQuestions)
    groups: GroupEvents = field(default_factory=NoGroups)
    elapsed: Elapsed = field(default_factory=Elapsed, init=False)
    """The clock for ``timeout``. It counts only seconds in which the data thread looked in time at
    what is missing, as the control thread tells it to."""
    busy: tuple[float, str] | None = None
    """Since when tasks have held the data thread, and which exchange called them; or None."""
    ahead: dict[bytes, None] = field(default_factory=dict[bytes, None], init=False)
    """Peers with parked frames that are next, and were left for another turn."""
    refused: int = 0
    """How many frames were rejected."""

    def reject(self, source: str, reason: str) -> None:
        """Count a frame that is rejected, and report it."""
        self.refused += 1
        self.control.rejected(source, reason)

    def restrict(self, positions: ReceiveState, rights: Rights, epoch: int) -> None:
        """Have nothing taken from a peer on exchanges where it may not publish.

        Exchanges where it may publish now, and might not before it left, are taken from ``epoch``
        on.
        """
        positions.permit(rights.publish, epoch)

        def admits(name: str) -> bool:
            """Return whether the peer may publish on a name that is not followed yet."""
            permitted = rights.may_publish(name)
            if not permitted:
                self.reject(rights.name, f"may not publish on {name!r}")
            return permitted

        positions.admits = admits

    def exchange(self, name: str) -> Exchange[Any] | None:
        """Return the exchange of a name, made if need be; None if it takes no part.

        Raises:
            DecodeError: if it is no valid name.
        """
        try:
            return self.registry.get(name) if self.federated(name) else None
        except InvalidName as error:
            raise DecodeError(str(error)) from None
