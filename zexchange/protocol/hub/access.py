"""Who may do what at a hub that has keys: judged by the key that a connection has proven.

A node attaches under an id that goes with its key, and publishes as that id alone; so the hub
can speak for it. Of nodes behind another hub it takes that hub's word, within what that
hub's own key may carry. A hub's file says what each of its nodes may have. No socket, no
clock; keys are written as libzmq tells them, in hexadecimal digits (`User-Id`).
"""

from collections.abc import Callable

from ..security.keys import belongs
from ..security.permissions import NOTHING, Policy, Rights
from ..wire.data import DATA
from .members import AccessRules
from .messages import MAX_PATTERNS, Attach, told_of

MAX_JUDGED = 100_000
"""Judgements of a frame's topic that are remembered: there is one for each frame."""


class KeyedAccessRules(AccessRules):
    """Judges by a `Policy`, as it stands now."""

    def __init__(self, policy: Callable[[], Policy]) -> None:
        self._policy = policy
        self._judged: dict[tuple[str, bytes], bool] = {}
        self._judged_by = policy()

    def _rights(self, user: str) -> Rights:
        try:
            return self._policy().rights(bytes.fromhex(user)) or NOTHING
        except ValueError:
            return NOTHING

    def objection(self, enter: Attach, user: str) -> tuple[str, str] | None:
        """Return why a node or hub is not carried under its id: a word, and a text."""
        rights = self._rights(user)
        if rights is NOTHING:
            return "key", "this key is not authorized here"
        if not belongs(enter.sender, bytes.fromhex(user)):
            return "identity", "the id that you enter under is of another key"
        if enter.hub and not rights.hub:
            name = rights.name or "NAME"
            text = f"this key may not carry others: hub = true under [{name}] in permissions.toml"
            return "key", text
        return None

    def may_want(self, user: str, topic: bytes) -> bool:
        """Tell whether a connection may subscribe to a topic."""
        return self._policy().may_hear(bytes.fromhex(user), topic)

    def may_publish(self, user: str, topic: bytes) -> bool:
        """Tell whether the owner of a key, node or hub, may publish on a topic."""
        policy = self._policy()
        if policy is not self._judged_by or len(self._judged) > MAX_JUDGED:
            self._judged.clear()
            self._judged_by = policy
        known = self._judged.get((user, topic))
        if known is None:
            known = self._judged[user, topic] = self._judge(user, topic)
        return known

    def _judge(self, user: str, topic: bytes) -> bool:
        name = name_in(topic)
        return name is None or (bool(name) and self._rights(user).may_publish(name))

    def may_vouch(self, user: str, origin: bytes, topic: bytes) -> bool:
        """Tell whether a hub may pass on what a node has published, if we know that one's key."""
        policy = self._policy()
        key = policy.owner(origin)
        return self.may_publish(user, topic) and (key is None or self.may_publish(key.hex(), topic))

    def may_have(self, user: str, topic: bytes) -> bool:
        """Tell whether the owner of a key, node or hub, may be sent what is on a topic."""
        name = name_in(topic)
        return name is None or (bool(name) and self._rights(user).may_subscribe(name))

    def untold(self, user: str) -> str:
        """Return what nodes are not told of the rights of the owner of a key, if anything."""
        rights = self._rights(user)
        number = max(len(rights.publish or ()), len(rights.subscribe or ()))
        if number <= MAX_PATTERNS:
            return ""
        return (
            f"{self.name(user)} may publish, or have, {number:,} names and patterns, and nodes are"
            f" told of the first {MAX_PATTERNS:,}: permit fewer, by patterns that cover many"
        )

    def rights(self, user: str) -> Rights:
        """Return what a node that is carried here may do."""
        return told_of(self._rights(user))

    def vouched(self, node: bytes, told: Rights, user: str) -> Rights:
        """Return what a node may do that another hub speaks for, whose key is given."""
        policy = self._policy()
        hub, known = self._rights(user), policy.rights(policy.owner(node) or b"")
        rights = told.within(hub)
        return told_of(rights.within(Rights("", known.publish)) if known else rights)

    def name(self, user: str) -> str:
        """Return the name under which a key is authorized."""
        return self._rights(user).name or user


def name_in(topic: bytes) -> str | None:
    """Return the exchange that a topic is of: nothing if it is no name, None for no data."""
    if topic[:1] != DATA:
        return None
    try:
        return topic[1:-1].decode()
    except UnicodeDecodeError:
        return ""
