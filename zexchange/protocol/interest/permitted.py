"""The permitted part of an interest, kept up to date as the interest changes.

An interest is told as a whole or in steps, as names and patterns. Permissions may reduce several
of them to the same part, which then ends with the last of them. If nothing is restricted, all keys
pass through and nothing is remembered.
"""

from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import replace
from typing import Generic, TypeVar

from ..security.permissions import Patterns, Rights, overlaps, restricted
from ..wire.messages import Bye, Control, Hello

Said = TypeVar("Said", bound=Control)
K = TypeVar("K", bound=Hashable)


def as_seen_by(message: Said, rights: Rights) -> Said:
    """Return a message to all peers without the names that one receiver must not learn.

    It is told our interest in names on which it may publish, our heads of names to which it may
    subscribe, and our exchanges for which it may do either.
    """
    if isinstance(message, Hello) and rights.publish is not None:
        interest = tuple(restricted(message.interest, rights.publish))
        exchanges = message.exchanges
        if rights.subscribe is not None:
            exchanges = tuple(restricted(exchanges, rights.publish + rights.subscribe))
        number, names = message.responders
        responders = number, tuple(filter(rights.may_publish, names))
        number, members = message.members
        told = number, tuple([m for m in members if overlaps(m.key, rights.publish)])
        return replace(
            message, interest=interest, exchanges=exchanges, responders=responders, members=told
        )
    if isinstance(message, Bye) and rights.subscribe is not None:
        heads = {n: head for n, head in message.heads.items() if rights.may_subscribe(n)}
        return replace(message, heads=heads)
    return message


class PermittedParts(Generic[K]):
    """The permitted parts of some keys. A part that several keys share ends with the last."""

    __slots__ = ("_counts", "of")

    def __init__(self) -> None:
        self.of: dict[K, tuple[K, ...]] = {}
        self._counts: Counter[K] = Counter()

    def add(self, key: K, parts: tuple[K, ...]) -> list[K]:
        """Add a key that is not there, with its parts; return the parts that no other key has."""
        new = [part for part in parts if not self._counts[part]]
        self.of[key] = parts
        self._counts.update(parts)
        return new

    def remove(self, key: K) -> list[K]:
        """Forget a key; return its parts that no other key has."""
        parts = self.of.pop(key, ())
        self._counts.subtract(parts)
        gone = [part for part in parts if not self._counts[part]]
        for part in gone:
            del self._counts[part]
        return gone


class PermittedInterest:
    """The part of an interest that some patterns permit; all of it if they are None."""

    __slots__ = ("_parts", "patterns")

    def __init__(self, patterns: Patterns = None) -> None:
        self.patterns = patterns
        self._parts = PermittedParts[str]()

    def under(self, key: str) -> tuple[str, ...]:
        """Return the permitted parts of a name or pattern."""
        if self.patterns is None:
            return (key,)
        found = self._parts.of.get(key)
        return tuple(restricted([key], self.patterns)) if found is None else found

    def replace(self, keys: Iterable[str]) -> tuple[str, ...]:
        """Take a whole interest; return its permitted part."""
        if self.patterns is None:
            return tuple(keys)
        self._parts = PermittedParts[str]()
        return self._add(keys)

    def change(
        self, added: Iterable[str], removed: Iterable[str]
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Take a change of the interest; return the keys that were added to the part, and removed.

        A key in both was dropped and wanted again, as in the interest itself.
        """
        if self.patterns is None:
            return tuple(added), tuple(removed)
        gone = tuple(part for key in removed for part in self._parts.remove(key))
        return self._add(added), gone

    def _add(self, keys: Iterable[str]) -> tuple[str, ...]:
        new = (key for key in keys if key not in self._parts.of)  # looked at one by one
        return tuple(part for key in new for part in self._parts.add(key, self.under(key)))

    def refused(self) -> list[str]:
        """Return the names and patterns of the interest of which no part is permitted."""
        return [key for key, parts in self._parts.of.items() if not parts]

    def asked(self) -> tuple[str, ...]:
        """Return the whole interest as it was told; empty if nothing is restricted."""
        return tuple(self._parts.of)
