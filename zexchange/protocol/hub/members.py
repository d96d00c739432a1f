"""The members of a hub, what they are told of each other, and the effects of a hub.

These are values and one small machine, `MemberList`; `core` decides when anything happens.
"""

from collections import deque
from dataclasses import dataclass, field
from math import inf
from typing import Any

from ..security.permissions import EVERYTHING, Rights
from ..wire.messages import Label
from .credit import Credit
from .messages import Attach, Word

LOG_MOST = 10_000
MARKS = 256


@dataclass(frozen=True, slots=True)
class SendToMember:
    """Send a message to where a control message came from."""

    route: Any
    word: Word


@dataclass(frozen=True, slots=True)
class SendToHub:
    """Send a message to a hub that we are linked to."""

    hub: bytes
    word: Word


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Subscribe to a topic at every node that we carry, or unsubscribe (not ``wanted``).

    ``anew``: unsubscribe and subscribe again, so that the nodes get a new subscription.
    """

    topic: bytes
    wanted: bool
    anew: bool = False


@dataclass(frozen=True, slots=True)
class DialHub:
    """Link to a hub, at its control endpoint."""

    endpoint: str


@dataclass(frozen=True, slots=True)
class Warn:
    """Log a warning for the operator of the hub; once for each cause."""

    text: str


@dataclass(frozen=True, slots=True)
class MemberLeft:
    """A node or hub is no longer a member."""

    member: "Member"


Effect = SendToMember | SendToHub | Subscribe | DialHub | Warn | MemberLeft


@dataclass(slots=True, eq=False)
class Member(Credit):
    """A node, or another hub, that is attached to this hub."""

    id: bytes
    label: Label
    route: Any
    secret: bytes
    hub: bool
    heard_at: float
    roster: int = 0
    answered_at: float = -1.0
    marks: deque[int] = field(default_factory=lambda: deque(maxlen=MARKS))
    """The counts (``sent``) that it was told last. If it repeats one, it has read up to there."""
    connections: set[int] = field(default_factory=set[int])
    """Descriptors of the data connections to us that it has proven to be its own."""
    was_connected: bool = False
    quiet: bool = False
    user: str = ""
    """The key that it has proven to have, in hexadecimal digits; ``""`` without keys."""
    fresh: bool = True
    """Whether it has to be sent the whole member list, whichever state it has."""
    apart_at: float = inf
    """Of a hub: since when its map has differed from ours, or when all states were last sent again
    for that."""


class AccessRules:
    """The rules of a hub without keys: everything is permitted."""

    def objection(self, enter: Attach, user: str) -> tuple[str, str] | None:
        """Return why a node or hub is not carried under its id, as a code and a text."""
        return None

    def untold(self, user: str) -> str:
        """Return a warning if a key has more patterns than nodes are told of, else ``""``."""
        return ""

    def may_want(self, user: str, topic: bytes) -> bool:
        """Return whether a connection may subscribe to a topic."""
        return True

    def may_publish(self, user: str, topic: bytes) -> bool:
        """Return whether a node may publish on a topic."""
        return True

    def may_vouch(self, user: str, origin: bytes, topic: bytes) -> bool:
        """Return whether a hub may pass on what a node has published."""
        return True

    def may_have(self, user: str, topic: bytes) -> bool:
        """Return whether a node or hub may receive a topic."""
        return True

    def rights(self, user: str) -> Rights:
        """Return the rights of a node that is carried here."""
        return EVERYTHING

    def vouched(self, node: bytes, told: Rights, user: str) -> Rights:
        """Return the rights of a node of another hub; ``told`` is what that hub says of it."""
        return told

    def name(self, user: str) -> str:
        """Return the name under which a key is authorized."""
        return user


Presence = tuple[bool, Rights]
"""Whether a node was silent lately, and its rights."""


class MemberList:
    """The nodes that can be reached, in numbered states, so that members get only changes."""

    def __init__(self) -> None:
        self.number = 1
        self.entries: dict[bytes, Presence] = {}
        self._reasons: dict[bytes, str] = {}
        self._log: deque[tuple[int, bytes]] = deque(maxlen=LOG_MOST)

    def update(self, entries: dict[bytes, Presence], reasons: dict[bytes, str]) -> bool:
        """Take the nodes that can be reached now; return whether that is a change.

        ``reasons`` says why nodes have left, as far as that is known.
        """
        before = self.entries
        changed = [node for node, entry in entries.items() if before.get(node) != entry]
        changed += [node for node in before if node not in entries]
        if changed:
            self.number += 1
            self._log.extend((self.number, node) for node in changed)
            self.entries, self._reasons = entries, reasons
        return bool(changed)

    def since(self, number: int) -> tuple[int, dict[bytes, Presence], dict[bytes, str]]:
        """Return the changes since a state.

        Returns:
            The number of the state that the changes apply to, which is 0 if all nodes are listed;
            the nodes that came or changed since; and those that left, with reasons.
        """
        whole = len(self._log) < LOG_MOST or self._log[0][0] <= number
        if not (0 < number <= self.number and whole):
            return 0, self.entries, {}
        nodes = {node for at, node in self._log if at > number}
        present = {node: self.entries[node] for node in nodes if node in self.entries}
        return number, present, {n: self._reasons.get(n, "") for n in nodes - present.keys()}
