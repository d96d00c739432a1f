"""Access rules of a hub that has keys, judged by the key that a connection has proven.

A node attaches under an id that goes with its key, and publishes under that id only; so the hub
can vouch for it. For nodes of another hub it trusts that hub, within the permissions of that
hub's own key. The permissions file of a hub says what each of its nodes may receive. No socket,
no clock. Keys are strings of hexadecimal digits, as in libzmq's `User-Id`.
"""

from collections.abc import Callable

from ..security.keys import belongs
from ..security.permissions import NOTHING, Policy, Rights
from ..wire.data import DATA
from .members import AccessRules
from .messages import MAX_PATTERNS, Attach, told_of

MAX_JUDGED = 100_000
"""Decisions about topics that are remembered: each frame needs one."""


class KeyedAccessRules(AccessRules):
    """Judges by the `Policy` that is in force at the time."""

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
        """Return why a node or hub is not carried under its id, as a code and a text."""
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
        """Return whether a connection may subscribe to a topic."""
        return self._policy().may_hear(bytes.fromhex(user), topic)

    def may_publish(self, user: str, topic: bytes) -> bool:
        """Return whether the owner of a key, node or hub, may publish on a topic."""
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
        """Return whether a hub may pass on what a node has published.

        Both keys have to permit the topic; the node's only if it is authorized here.
        """
        policy = self._policy()
        key = policy.owner(origin)
        return self.may_publish(user, topic) and (key is None or self.may_publish(key.hex(), topic))

    def may_have(self, user: str, topic: bytes) -> bool:
        """Return whether the owner of a key, node or hub, may receive a topic."""
        name = name_in(topic)
        return name is None or (bool(name) and self._rights(user).may_subscribe(name))

    def untold(self, user: str) -> str:
        """Return a warning if a key has more patterns than nodes are told of, else ``""``."""
        rights = self._rights(user)
        number = max(len(rights.publish or ()), len(rights.subscribe or ()))
        if number <= MAX_PATTERNS:
            return ""
        return (
            f"{self.name(user)} may publish, or have, {number:,} names and patterns, and nodes are"
            f" told of the first {MAX_PATTERNS:,}: permit fewer, by patterns that cover many"
        )

    def rights(self, user: str) -> Rights:
        """Return the rights of a node that is carried here, as other nodes are told of them."""
        return told_of(self._rights(user))

    def vouched(self, node: bytes, told: Rights, user: str) -> Rights:
        """Return the rights of a node of another hub; ``told`` is what that hub says of it.

        ``user`` is the key of the hub on whose link that was told.
        """
        policy = self._policy()
        hub, known = self._rights(user), policy.rights(policy.owner(node) or b"")
        rights = told.within(hub)
        return told_of(rights.within(Rights("", known.publish)) if known else rights)

    def name(self, user: str) -> str:
        """Return the name under which a key is authorized."""
        return self._rights(user).name or user


def name_in(topic: bytes) -> str | None:
    """Return the name of the exchange that a topic is for.

    ``""`` if the topic of data is not text, None if it is not a topic of data.
    """
    if topic[:1] != DATA:
        return None
    try:
        return topic[1:-1].decode()
    except UnicodeDecodeError:
        return ""
