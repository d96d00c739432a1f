"""Whom a hub carries, what they are told of each other, and what a hub has its shell do.

Values, and one small machine, `MemberList`; when anything happens is decided in `core`.
"""

from collections import deque
from dataclasses import dataclass, field
from math import inf
from typing import Any

from ..security.permissions import EVERYTHING, Rights
from ..wire.messages import Label
from .messages import Attach, Word

LOG_MOST = 10_000
MARKS = 256


@dataclass(frozen=True, slots=True)
class SendToMember:
    """Send a word to where a control message came from."""

    route: Any
    word: Word


@dataclass(frozen=True, slots=True)
class SendToHub:
    """Send a word to a hub that we are linked to."""

    hub: bytes
    word: Word


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Change what is asked of every node that we carry; anew: drop and ask again."""

    topic: bytes
    wanted: bool
    anew: bool = False


@dataclass(frozen=True, slots=True)
class DialHub:
    """Link to a hub, at its control endpoint."""

    endpoint: str


@dataclass(frozen=True, slots=True)
class Warn:
    """Tell whoever runs the hub; said once for each cause."""

    text: str


@dataclass(frozen=True, slots=True)
class MemberLeft:
    """A node or hub is carried no more."""

    member: "Member"


Effect = SendToMember | SendToHub | Subscribe | DialHub | Warn | MemberLeft


@dataclass(slots=True, eq=False)
class Member:
    """A node, or another hub, that is attached to this hub."""

    id: bytes
    label: Label
    route: Any
    secret: bytes
    hub: bool
    heard_at: float
    roster: int = 0
    answered_at: float = -1.0
    sent: int = 0
    """Bytes said to it, from some number on; up to ``taken`` they have arrived, or are lost."""
    taken: int = 0
    marks: deque[int] = field(default_factory=lambda: deque(maxlen=MARKS))
    """The numbers that it was told of these last: it has read up to where it can repeat one."""
    told: int = 0
    its_sent: int = 0
    connections: set[int] = field(default_factory=set[int])
    """Descriptors of its data connections to us that it has shown to be its own."""
    was_connected: bool = False
    quiet: bool = False
    user: str = ""
    """The key that it has proven to have, in hexadecimal digits; nothing without keys."""
    fresh: bool = True
    """Whether it has to be told the whole roster, whatever it knows."""
    apart_at: float = inf
    """Since when its map is another one than ours, if it is a hub; or when that was last mended."""


class AccessRules:
    """Who may do what: everybody everything, where there are no keys."""

    def objection(self, enter: Attach, user: str) -> tuple[str, str] | None:
        """Return why a node or hub is not carried under its id: a word, and a text."""
        return None

    def untold(self, user: str) -> str:
        """Return what nodes are not told of the rights of the owner of a key, if anything."""
        return ""

    def may_want(self, user: str, topic: bytes) -> bool:
        """Tell whether a connection may subscribe to a topic."""
        return True

    def may_publish(self, user: str, topic: bytes) -> bool:
        """Tell whether a node may publish on a topic."""
        return True

    def may_vouch(self, user: str, origin: bytes, topic: bytes) -> bool:
        """Tell whether a hub may pass on what a node has published."""
        return True

    def may_have(self, user: str, topic: bytes) -> bool:
        """Tell whether a node or hub may be sent what is on a topic."""
        return True

    def rights(self, user: str) -> Rights:
        """Return what a node that is carried here may do."""
        return EVERYTHING

    def vouched(self, node: bytes, told: Rights, user: str) -> Rights:
        """Return what a node may do that another hub speaks for."""
        return told

    def name(self, user: str) -> str:
        """Return the name under which a key is authorized."""
        return user

    @property
    def hides_interest(self) -> bool:
        """Whether somebody must not be told all that is listened to."""
        return False


Presence = tuple[bool, Rights]
"""Whether nothing was heard of a node lately, and what it may do."""


class MemberList:
    """Who can be reached, in numbered states, so that each is told what it lacks."""

    def __init__(self) -> None:
        self.number = 1
        self.entries: dict[bytes, Presence] = {}
        self._reasons: dict[bytes, str] = {}
        self._log: deque[tuple[int, bytes]] = deque(maxlen=LOG_MOST)

    def update(self, entries: dict[bytes, Presence], reasons: dict[bytes, str]) -> bool:
        """Take who can be reached now; tell whether that is a change."""
        before = self.entries
        changed = [node for node, entry in entries.items() if before.get(node) != entry]
        changed += [node for node in before if node not in entries]
        if changed:
            self.number += 1
            self._log.extend((self.number, node) for node in changed)
            self.entries, self._reasons = entries, reasons
        return bool(changed)

    def since(self, number: int) -> tuple[int, dict[bytes, Presence], dict[bytes, str]]:
        """Return the state to start from, 0 for none, and who came and who went since."""
        whole = len(self._log) < LOG_MOST or self._log[0][0] <= number
        if not (0 < number <= self.number and whole):
            return 0, self.entries, {}
        nodes = {node for at, node in self._log if at > number}
        present = {node: self.entries[node] for node in nodes if node in self.entries}
        return number, present, {n: self._reasons.get(n, "") for n in nodes - present.keys()}
