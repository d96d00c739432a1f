"""The groups whose last member has left: what is sent to them is kept for some time.

A sender that has a queue for the group would know by that. This is for all others. Not thread-safe;
time is an argument.
"""

from collections.abc import Callable

from ...groups.queue import PATIENCE
from ...names import Patterns, is_pattern

LEFT_MOST = 10_000
"""Groups, by name or pattern, that are remembered."""

Groups = dict[str, tuple[float, Callable[[str], bool]]]
"""By group: when its last member left, and what returns whether an exchange was for it."""


class DepartedGroups:
    """The groups of a registry whose last member has left, each for `PATIENCE` seconds."""

    def __init__(self) -> None:
        self._order: dict[tuple[str, str], float] = {}
        """When each was left, by key and group, the oldest first."""
        self._named: dict[str, Groups] = {}
        self._covering: Patterns[Groups] = Patterns()

    def __len__(self) -> int:
        return len(self._order)

    def left(self, key: str, group: str, admits: Callable[[str], bool], now: float) -> None:
        """Take note that the last member of a group at a name or pattern has left."""
        self.came(key, group)
        self._order[key, group] = now
        groups = self._named.setdefault(key, {})
        groups[group] = now, admits
        if is_pattern(key):
            self._covering.set(key, groups)
        if len(self._order) > LEFT_MOST:
            self.came(*next(iter(self._order)))

    def came(self, key: str, group: str) -> None:
        """Take note that the group has a member there, or is to be forgotten."""
        if self._order.pop((key, group), None) is None:
            return
        groups = self._named[key]
        del groups[group]
        if not groups:
            del self._named[key]
            if is_pattern(key):
                self._covering.discard(key)

    def on(self, name: str) -> dict[str, float]:
        """Return the groups of an exchange, and since when each has had no member."""
        found: dict[str, float] = {}
        if self._order:
            for groups in (self._named.get(name, {}), *self._covering.covering(name)):
                for group, (since, admits) in groups.items():
                    if admits(name):
                        found[group] = max(since, found.get(group, since))
        return found

    def expire(self, now: float) -> list[str]:
        """Forget the groups that nobody came back to; return their names and patterns."""
        gone: list[str] = []
        while self._order:
            (key, group), since = next(iter(self._order.items()))
            if now - since < PATIENCE:
                break
            self.came(key, group)
            gone.append(key)
        return gone
