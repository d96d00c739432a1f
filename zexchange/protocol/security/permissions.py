r"""Permissions of keys to publish and to subscribe: the permissions file, and decisions by it.

Names are compared by `names.matches`. ZeroMQ filters by prefix, so a subscription is honoured
only if every name that starts with it is permitted. Nothing here knows sockets or connections.
For any text of a file, the only error raised is `InvalidKeys`.
"""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from ...errors import InvalidKeys, InvalidName
from ...kinds import is_dict, is_list
from ...names import MAX_NAME_BYTES, check_scope, is_pattern, matches
from ..wire.data import DATA, read_token, topics
from ..wire.envelopes import MARK
from ..wire.fields import ID_BYTES
from .keys import belongs, mark, mark_of

DEFAULT = "default"
"""The entry for keys that have no entry of their own, and for fields that an entry leaves out."""
_FIELDS = {"publish", "subscribe", "hub"}
MAX_PERMISSIONS_BYTES = 1 << 20
Patterns = tuple[str, ...] | None
"""Names and patterns; None stands for everything, and an empty tuple for nothing."""


@dataclass(frozen=True, slots=True)
class Rights:
    """The permissions of one peer, and the name under which its key is authorized."""

    name: str
    publish: Patterns = None
    subscribe: Patterns = None
    hub: bool = False

    def may_publish(self, name: str) -> bool:
        """Return whether messages of the peer are accepted on an exchange."""
        return permitted(self.publish, name)

    def may_subscribe(self, name: str) -> bool:
        """Return whether the peer may receive the messages of an exchange."""
        return permitted(self.subscribe, name)

    def honours(self, topic: bytes) -> bool:
        """Return whether the peer may receive everything whose topic starts with a data topic."""
        patterns = self.subscribe
        return topic[:1] == DATA and (patterns is None or _all_permitted(patterns, topic[1:]))

    def within(self, other: "Rights") -> "Rights":
        """Return the rights that both permit, with the name of this one."""
        publish, subscribe = other.publish, other.subscribe
        if publish is None and subscribe is None:
            return self
        return replace(
            self, publish=both(self.publish, publish), subscribe=both(self.subscribe, subscribe)
        )

    def equal(self, other: "Rights") -> bool:
        """Return whether both permit the same, apart from their names."""
        return replace(self, name=other.name) == other


EVERYTHING = Rights("")
"""The rights of processes of the same user, and of those that have the node's own key."""
NOTHING = Rights("", (), ())


def permitted(patterns: Patterns, name: str) -> bool:
    """Return whether one of some patterns matches a name, or everything is permitted."""
    return patterns is None or any(matches(pattern, name) for pattern in patterns)


@lru_cache(maxsize=4096)
def _all_permitted(patterns: tuple[str, ...], prefix: bytes) -> bool:
    try:
        text = prefix.decode()
    except UnicodeDecodeError:
        return False
    name, end, rest = text.partition("\0")
    if end:  # one name and nothing else: a NUL ends it
        return not rest and bool(name) and permitted(patterns, name)
    return any(covers_prefix(pattern, text) for pattern in patterns)


def covers_prefix(pattern: str, prefix: str) -> bool:
    """Return whether a pattern covers every name that starts with a prefix.

    Only a pattern that ends in ``**`` can: names with any number of levels start with the prefix.
    """
    *head, last = pattern.split(".")
    if last != "**":
        return False
    levels = prefix.split(".")[:-1]  # the last level of a prefix may go on
    return len(levels) >= len(head) and all(
        segment in ("*", level) for segment, level in zip(head, levels, strict=False)
    )


def intersection(one: str, other: str) -> str | None:
    """Return the name or pattern that covers exactly what both cover; None if that is nothing."""
    left, right = one.split("."), other.split(".")
    if len(left) > len(right):
        left, right = right, left
    parts: list[str] = []
    for number, segment in enumerate(left):
        if segment == "**":  # the end of the shorter pattern: the rest is the other's
            parts += right[number:]
            break
        if right[number] == "**":  # both end here, at the same level
            parts += left[number:]
            break
        both = _level(segment, right[number])
        if both is None:
            return None
        parts.append(both)
    else:
        rest = right[len(left) :]
        if rest and rest != ["**"]:
            return None
    found = ".".join(parts)
    # The names that a longer pattern covers are too long as well (unless levels are empty), and a
    # peer that is told such a pattern refuses it.
    return found if len(found.encode()) <= MAX_NAME_BYTES else None


def _level(one: str, other: str) -> str | None:
    if one == other or other == "*":
        return one
    return other if one == "*" else None


def restricted(keys: Iterable[str], patterns: Patterns) -> dict[str, None]:
    """Return the names and patterns that cover what both ``keys`` and ``patterns`` cover."""
    if patterns is None:
        return dict.fromkeys(keys)
    found = (_part(key, pattern) for key in keys for pattern in patterns)
    return {part: None for part in found if part is not None}


def _part(key: str, pattern: str) -> str | None:
    if is_pattern(key):
        return intersection(key, pattern)
    return key if matches(pattern, key) else None


@lru_cache(maxsize=4096)
def both(one: Patterns, other: Patterns) -> Patterns:
    """Return the names and patterns that cover what both of two lists cover."""
    if one is None or other is None:
        return other if one is None else one
    return tuple(restricted(one, other))


def wants_by_name(key: str, rights: Rights) -> bool:
    """Return whether a peer can subscribe to what a key covers only name by name.

    A pattern is subscribed to by prefixes, and more names may start with them than the peer is
    permitted.
    """
    return is_pattern(key) and not all(rights.honours(topic) for topic in topics(key))


# ------------------------------------------------------------------------- the whole of it


class Policy:
    """The authorized keys and their rights: an immutable snapshot.

    Args:
        own: the node's own key, which may do everything.
        rights: the rights of the other authorized keys.
    """

    __slots__ = ("_owners", "_rights", "own")

    def __init__(self, own: bytes, rights: Mapping[bytes, Rights]) -> None:
        self.own = own
        self._rights = {**rights, own: EVERYTHING}
        self._owners = {mark(key): key for key in self._rights}

    def rights(self, key: bytes) -> Rights | None:
        """Return the rights of the owner of a key; None if the key is not authorized."""
        return self._rights.get(key)

    @property
    def authorized(self) -> tuple[bytes, ...]:
        """Every authorized key, our own included."""
        return tuple(self._rights)

    def named(self, name: str) -> list[bytes]:
        """Return the keys that are authorized under a name."""
        return [key for key, rights in self._rights.items() if rights.name == name]

    def is_hub(self, key: bytes) -> bool:
        """Return whether the owner of a key may carry messages of others."""
        rights = self._rights.get(key)
        return rights is not None and rights.hub

    def owner(self, node: bytes) -> bytes | None:
        """Return the authorized key that a node id goes with, or None."""
        return self._owners.get(mark_of(node))

    @property
    def hides_interest(self) -> bool:
        """Whether some key must not learn everything that others listen to."""
        return any(rights.publish is not None for rights in self._rights.values())

    def may_hear(self, key: bytes, topic: bytes) -> bool:
        r"""Return whether a subscription of the owner of a key is honoured.

        Tokens (``\xff``) and marks (``\xfe``) are honoured for the node whose id is in them.
        """
        rights = self._rights.get(key)
        if rights is None:
            return False
        node = owner_in(topic)
        return belongs(node, key) if node else rights.honours(topic)

    def changed(self, other: "Policy") -> set[bytes]:
        """Return the keys that have other rights in another policy, or are not authorized there."""
        return {key for key, rights in self._rights.items() if other.rights(key) != rights}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Policy) and self._rights == other._rights

    __hash__ = None  # type: ignore[assignment]


def owner_in(topic: bytes) -> bytes:
    """Return the node id in a token or mark; empty if the topic is neither."""
    token = read_token(topic)
    if token is not None:
        return token[0]
    return topic[1:] if topic[:1] == MARK and len(topic) == 1 + ID_BYTES else b""


def read_permissions(text: str) -> dict[str, Rights]:
    """Return the entries of a permissions file by name, completed by those of `DEFAULT`.

    Raises:
        InvalidKeys: if it is not TOML, or has an unknown field or a wrong value. Unknown fields are
            errors because a misspelt one must not permit everything.
    """
    if len(text) > MAX_PERMISSIONS_BYTES:
        raise InvalidKeys(f"over {MAX_PERMISSIONS_BYTES} characters")
    try:
        tables = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, ValueError, RecursionError) as error:
        raise InvalidKeys(f"not TOML: {error}") from None
    default = _entry(DEFAULT, tables.get(DEFAULT, {}), Rights(DEFAULT))
    return {
        DEFAULT: default,
        **{n: _entry(n, table, default) for n, table in tables.items() if n != DEFAULT},
    }


def _entry(name: str, table: Any, default: Rights) -> Rights:
    if not is_dict(table):
        raise InvalidKeys(f"{name!r} is not a table: write [{name}] above its lines")
    if unknown := sorted(table.keys() - _FIELDS):
        raise InvalidKeys(f"[{name}] has {', '.join(unknown)}; there are publish, subscribe, hub")
    hub = table.get("hub", False)
    if not isinstance(hub, bool) or (hub and name == DEFAULT):
        raise InvalidKeys(f"[{name}] hub is true or false, and never true by default")
    return Rights(
        name,
        _patterns(name, table, "publish", default.publish),
        _patterns(name, table, "subscribe", default.subscribe),
        hub,
    )


def _patterns(name: str, table: dict[str, Any], field: str, default: Patterns) -> Patterns:
    if field not in table:
        return default
    value = table[field]
    if not is_list(value):
        raise InvalidKeys(f"[{name}] {field} is a list of names and patterns")
    try:
        return tuple(map(check_scope, value))
    except InvalidName as error:
        raise InvalidKeys(f"[{name}] {field}: {error}") from None


def make_policy(
    own: bytes, authorized: Mapping[str, tuple[bytes, ...]], entries: Mapping[str, Rights]
) -> Policy:
    """Return the policy for some authorized keys.

    Args:
        own: the node's own key.
        authorized: the authorized keys, by name.
        entries: the entries of the permissions file, by name.

    Raises:
        InvalidKeys: if a key has two names, or a name is `DEFAULT`.
    """
    rights: dict[bytes, Rights] = {}
    for name, keys in authorized.items():
        if name == DEFAULT:
            raise InvalidKeys(f"{name}.pub: {DEFAULT!r} is the entry for all in the permissions")
        entry = entries.get(name) or _entry(name, {}, entries.get(DEFAULT, EVERYTHING))
        for key in keys:
            if key in rights:
                raise InvalidKeys(f"{name}.pub has the same key as {rights[key].name}.pub")
            rights[key] = entry
    return Policy(own, rights)


def overlaps(key: str, patterns: Patterns) -> bool:
    """Return whether some name is covered by a name or pattern, and by one of some patterns."""
    return patterns is None or any(intersection(key, pattern) for pattern in patterns)
