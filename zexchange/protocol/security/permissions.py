r"""What a key may publish and subscribe to: one readable file, and the judgement by it.

Names are judged with `names.matches`. ZeroMQ filters by prefix, so a subscription is judged
by all that starts with it: it is honoured only if all of that is permitted. Nothing here
knows sockets or who is connected. Whatever the text of a file is, the only error out of
here is `InvalidKeys`.
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
"""The entry for all that have none of their own, and for what theirs leaves out."""
_FIELDS = {"publish", "subscribe", "hub"}
MAX_PERMISSIONS_BYTES = 1 << 20
Patterns = tuple[str, ...] | None
"""Names and patterns; None stands for everything, and an empty tuple for nothing."""


@dataclass(frozen=True, slots=True)
class Rights:
    """What one peer may do, by the name under which its key is authorized."""

    name: str
    publish: Patterns = None
    subscribe: Patterns = None
    hub: bool = False

    def may_publish(self, name: str) -> bool:
        """Tell whether what the peer sends on an exchange is taken."""
        return permitted(self.publish, name)

    def may_subscribe(self, name: str) -> bool:
        """Tell whether the peer may have what is sent on an exchange."""
        return permitted(self.subscribe, name)

    def honours(self, topic: bytes) -> bool:
        """Tell whether everything that starts with a data topic may go to the peer."""
        patterns = self.subscribe
        return topic[:1] == DATA and (patterns is None or _all_permitted(patterns, topic[1:]))

    def within(self, other: "Rights") -> "Rights":
        """Return what is permitted both here and there, under this name."""
        publish, subscribe = other.publish, other.subscribe
        if publish is None and subscribe is None:
            return self
        return replace(
            self, publish=both(self.publish, publish), subscribe=both(self.subscribe, subscribe)
        )

    def equal(self, other: "Rights") -> bool:
        """Tell whether the same is permitted, under whatever name."""
        return replace(self, name=other.name) == other


EVERYTHING = Rights("")
"""What whoever runs as the same user may do, or has the node's own key."""
NOTHING = Rights("", (), ())


def permitted(patterns: Patterns, name: str) -> bool:
    """Tell whether a name is among what is permitted."""
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
    """Tell whether a pattern covers every name that starts with a prefix.

    Only one that ends in ``**`` can: below any prefix there are levels without end.
    """
    *head, last = pattern.split(".")
    if last != "**":
        return False
    levels = prefix.split(".")[:-1]  # the last one is not complete yet
    return len(levels) >= len(head) and all(
        segment in ("*", level) for segment, level in zip(head, levels, strict=False)
    )


def intersection(one: str, other: str) -> str | None:
    """Return the name or pattern that covers what both cover, None if that is nothing."""
    left, right = one.split("."), other.split(".")
    if len(left) > len(right):
        left, right = right, left
    parts: list[str] = []
    for number, segment in enumerate(left):
        if segment == "**":  # the last one of a pattern that is no longer than the other
            parts += right[number:]
            break
        if right[number] == "**":  # only here: levels to come are the other's
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
    # No name is so long (but with empty levels), and whoever were told of it would refuse it.
    return found if len(found.encode()) <= MAX_NAME_BYTES else None


def _level(one: str, other: str) -> str | None:
    if one == other or other == "*":
        return one
    return other if one == "*" else None


def restricted(keys: Iterable[str], patterns: Patterns) -> dict[str, None]:
    """Return the names and patterns that cover what both ``keys`` and ``patterns`` do."""
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
    """Return the names and patterns that cover what two lists of them both do."""
    if one is None or other is None:
        return other if one is None else one
    return tuple(restricted(one, other))


def wants_by_name(key: str, rights: Rights) -> bool:
    """Tell whether what a key covers can only be subscribed to name by name.

    A pattern is subscribed to by prefixes, and there may be more below them than a peer is
    permitted.
    """
    return is_pattern(key) and not all(rights.honours(topic) for topic in topics(key))


# ------------------------------------------------------------------------- the whole of it


class Policy:
    """Whose keys are authorized, and for what: as it stands now, and never changed."""

    __slots__ = ("_owners", "_rights", "own")

    def __init__(self, own: bytes, rights: Mapping[bytes, Rights]) -> None:
        self.own = own
        self._rights = {**rights, own: EVERYTHING}
        self._owners = {mark(key): key for key in self._rights}

    def rights(self, key: bytes) -> Rights | None:
        """Return what the owner of a key may do; None if the key is not authorized."""
        return self._rights.get(key)

    @property
    def authorized(self) -> tuple[bytes, ...]:
        """Every authorized key, our own included."""
        return tuple(self._rights)

    def named(self, name: str) -> list[bytes]:
        """Return the keys that are authorized under a name."""
        return [key for key, rights in self._rights.items() if rights.name == name]

    def is_hub(self, key: bytes) -> bool:
        """Tell whether the owner of a key may carry messages of others."""
        rights = self._rights.get(key)
        return rights is not None and rights.hub

    def owner(self, node: bytes) -> bytes | None:
        """Return the authorized key that a node id goes with, if there is one."""
        return self._owners.get(mark_of(node))

    @property
    def hides_interest(self) -> bool:
        """Whether there is a key that must not be told all that is listened to."""
        return any(rights.publish is not None for rights in self._rights.values())

    def may_hear(self, key: bytes, topic: bytes) -> bool:
        r"""Tell whether a subscription of the owner of a key is honoured.

        Tokens (``\xff``) and marks (``\xfe``) are for the node whose id is in them.
        """
        rights = self._rights.get(key)
        if rights is None:
            return False
        node = owner_in(topic)
        return belongs(node, key) if node else rights.honours(topic)

    def changed(self, other: "Policy") -> set[bytes]:
        """Return the keys that are not authorized any more, or for something else."""
        return {key for key, rights in self._rights.items() if other.rights(key) != rights}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Policy) and self._rights == other._rights

    __hash__ = None  # type: ignore[assignment]


def owner_in(topic: bytes) -> bytes:
    """Return the node id in a token or mark, nothing if the topic is neither."""
    token = read_token(topic)
    if token is not None:
        return token[0]
    return topic[1:] if topic[:1] == MARK and len(topic) == 1 + ID_BYTES else b""


def read_permissions(text: str) -> dict[str, Rights]:
    """Return the entries of a permissions file, by name, what `DEFAULT` says filled in.

    Raises:
        InvalidKeys: if it is no TOML, or has in it what no permissions file has. A word that
            is misspelt must not come to permit everything.
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
    """Return the policy of authorized keys, by name, and what is permitted to them.

    Raises:
        InvalidKeys: if a key stands under two names, or a name is `DEFAULT`.
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
