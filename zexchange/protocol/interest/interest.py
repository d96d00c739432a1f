"""Which names and patterns a node wants, on both sides of a link.

A *key* is a name or a pattern. Epochs number the states of one node's interest; a
peer answers a state only when it has been proven on the data path. Nothing here
knows how keys become subscriptions.
"""

from collections.abc import Iterable, Iterator

from ...names import is_pattern, matches
from ..security.permissions import restricted
from ..wire.limits import MAX_KEYS, MAX_PATTERNS
from ..wire.messages import Promise
from .coverage import FormerKeys, began

MAX_PROMISES = 16
"""Announcements remembered apart for a peer that confirms none of them."""


class NameSet:
    """A set of names and patterns that can tell whether it covers a name."""

    __slots__ = ("names", "patterns")

    def __init__(self, keys: Iterable[str] = ()) -> None:
        self.names: set[str] = set()
        self.patterns: set[str] = set()
        self.update(keys)

    def update(self, keys: Iterable[str]) -> None:
        """Add every key."""
        for key in keys:
            (self.patterns if is_pattern(key) else self.names).add(key)

    def remove(self, keys: Iterable[str]) -> None:
        """Take away every key that is there."""
        for key in keys:
            self.names.discard(key)
            self.patterns.discard(key)

    def covers(self, name: str) -> bool:
        """Tell whether a name is among the names, or covered by a pattern."""
        return name in self.names or any(matches(pattern, name) for pattern in self.patterns)

    def __iter__(self) -> Iterator[str]:
        yield from self.names
        yield from self.patterns

    def __contains__(self, key: object) -> bool:
        return key in self.names or key in self.patterns

    def __len__(self) -> int:
        return len(self.names) + len(self.patterns)


def common(some: NameSet, others: NameSet) -> NameSet:
    """Return what some keys cover that others cover, too."""
    if not (some and others):
        return NameSet()
    found = NameSet(name for name in some.names if others.covers(name))
    found.update(restricted(some.patterns, tuple(others)))
    return found


class OwnInterest:
    """What this node wants: its epoch grows by one with each change told to peers."""

    __slots__ = ("epoch", "keys")

    def __init__(self, keys: Iterable[str] = ()) -> None:
        self.keys = NameSet(keys)
        self.epoch = 1

    def change(self, steps: Iterable[tuple[str, bool]]) -> tuple[list[str], list[str]] | None:
        """Take steps of (key, wanted) as one change and return what was added and removed.

        A key that was dropped and wanted again is in neither list: its new task may have got
        something before this change is followed, and so is to get what comes next.
        Returns None if nothing changed.
        """
        last = dict(steps)
        added = [key for key, wanted in last.items() if wanted and key not in self.keys]
        removed = [key for key, wanted in last.items() if not wanted and key in self.keys]
        if not added and not removed:
            return None
        self.apply(self.epoch + 1, added, removed)
        return added, removed

    def apply(self, epoch: int, added: Iterable[str], removed: Iterable[str]) -> None:
        """Take a change as it was made elsewhere."""
        self.keys.remove(removed)
        self.keys.update(added)
        self.epoch = epoch


class PeerInterest:
    """What a peer wants, as it told us, and how much of that is announced to it.

    Attributes:
        account: which of our accounts of the peer this goes by, see `Ready`.
        epoch: of the peer's interest as we know it.
        keys: what it wants.
        whole: the epoch at which we were told everything; changes before it are not known
            one by one, so no ready of an earlier epoch can be right.
        announced: the last epoch that was announced on its connection; 0 on a fresh one.
        confirmed: the last epoch whose ready the peer has seen.
        promised: what the first announcements of epochs not confirmed yet said, in order.
        since: in which epoch each key was added, at the earliest. In changes that we missed it may
            have been dropped and added again: before ``whole`` that is not known.
    """

    def __init__(self, epoch: int = 0, keys: Iterable[str] = ()) -> None:
        self.epoch = self.whole = 0
        self.account = self.announced = self.confirmed = 0
        self.keys = NameSet()
        self.promised: tuple[Promise, ...] = ()
        self.since: dict[str, int] = {}
        self._dropped: dict[str, int] = {}
        self._former = FormerKeys()
        self._carried: frozenset[str] = frozenset()
        self._followed = NameSet()
        """What was held under keys that went, and is wanted under others still to be announced."""
        self.replace(epoch, keys)

    def replace(self, epoch: int, keys: Iterable[str]) -> set[str]:
        """Take the whole interest of a later epoch and return the keys that came or went.

        Every key is new then: in the changes that were missed one may have been dropped
        and wanted again, and the peer has forgotten where it stood with it. What was held
        for it is held on all the same: most likely it has not.
        """
        if epoch != self.epoch:
            held, keys = frozenset(self.held(self.announced)), frozenset(keys)
            self._carried = held & keys
            self._followed = common(NameSet(held - keys), NameSet(keys - held))
            self._dropped.clear()
            self.whole = epoch
        before, after = set(self.keys), set(keys)
        self._former.end(epoch, {key: self.since[key] for key in before - after})
        self.since = {key: self.since.get(key, epoch) for key in after}
        self.keys, self.epoch = NameSet(after), epoch
        return before ^ after

    def change(self, epoch: int, added: Iterable[str], removed: Iterable[str]) -> set[str]:
        """Take a change to the next epoch and return the keys that came or went."""
        gone = {key for key in removed if key in self.keys}
        ended = gone.intersection(self._under(self.announced, gone))
        self.keys.remove(gone)
        self._carried -= gone
        self._former.end(epoch, {key: self.since[key] for key in gone.difference(added)})
        for key in gone:
            self.since.pop(key, None)
            self._dropped[key] = epoch
        new = {key for key in added if key not in self.keys}
        self.keys.update(new)
        self.since.update((key, epoch) for key in added)
        self.epoch = epoch
        self._follow(ended, gone)
        return gone ^ new

    def _follow(self, ended: Iterable[str], gone: Iterable[str] = ()) -> None:
        """Hold on what was held under keys that have ended and others cover that are to come."""
        self._followed.update(ended)
        if self._followed:
            wanted = NameSet(self.keys)
            wanted.remove(gone)  # what was dropped and is wanted again is wanted anew
            wanted.remove(self._under(self.announced, self.keys))
            self._followed = common(self._followed, wanted)

    def exceeded_by(self, added: Iterable[str]) -> bool:
        """Tell whether keys that are added to these would make them too many."""
        new = [key for key in added if key not in self.keys]
        patterns = sum(map(is_pattern, new))
        return (
            len(self.keys) + len(new) > MAX_KEYS
            or len(self.keys.patterns) + patterns > MAX_PATTERNS
        )

    def answerable(self, epoch: int) -> bool:
        """Tell whether a token of an epoch can be answered with what we know."""
        return self.whole <= epoch <= self.epoch

    def unproven(self, epoch: int) -> tuple[str, ...]:
        """Return the keys whose heads go into an announcement of an epoch.

        They are all on a fresh connection and on one that asks again, which it does
        after a reconnect; else those that the peer has not confirmed. The ones that it
        dropped since are there too: its data path may not have got that far, and would
        take what it still waits for, and finds no head of, to stand at 0. A head that
        the peer has no use for does no harm.
        """
        late = tuple(k for k, at in self._dropped.items() if at > epoch and k not in self.keys)
        if self.announced in (0, epoch) or self.whole > self.confirmed:
            return (*self.keys, *late)
        return (*(key for key, at in self.since.items() if at > self.confirmed), *late)

    def announce(self, epoch: int, heads: dict[str, int], connected: bool = True) -> None:
        """Note that an epoch was announced, and with which heads.

        If the peer is not ``connected`` any more, that was still the promise: what is sent from
        then on counts as sent to it, and it may come back.

        The first announcement of an epoch is the promise. It is remembered until the
        peer confirms it: on a connection that is lost before, later heads would swallow
        what was sent, and lost, after the promise.
        """
        if connected:
            self.announced = max(self.announced, epoch)
        if epoch >= self.whole:
            self._carried = frozenset()
        self._follow(())
        self._dropped = {key: at for key, at in self._dropped.items() if at > epoch}
        if epoch > max(self.confirmed, self.promised[-1].epoch if self.promised else 0):
            self.promised = (*self.promised, Promise(epoch, heads))
            if len(self.promised) > MAX_PROMISES:
                self._forget_oldest()

    def _forget_oldest(self) -> None:
        """Have the second promise say what the first one did of what was wanted by then.

        A receiver looks at the first that is not of an epoch before it wanted a name: nothing that
        was lost after an earlier one goes untold.
        """
        first, second, *others = self.promised

        def wanted(name: str) -> bool:
            until = self._former.until(name, first.epoch)
            return began(name, self.since, self.keys.patterns, until)

        self.promised = (second.after(first, wanted), *others)

    def resume(self, before: "PeerInterest") -> None:
        """Go on from what was announced before the peer had left, and wanted since when."""
        self.account = before.account
        self.promised, self._former = before.promised, before._former
        gone = {key: at for key, at in before.since.items() if key not in self.since}
        self._former.end(self.epoch, gone)
        self.since.update((k, at) for k, at in before.since.items() if k in self.since)

    def confirm(self, epoch: int) -> None:
        """Note that the peer has seen the ready of an epoch."""
        if epoch > self.confirmed:
            self.confirmed = min(epoch, self.epoch)
            self.promised = tuple(p for p in self.promised if p.epoch > self.confirmed)
            self._former.confirmed(self.confirmed)

    def held(self, epoch: int) -> tuple[str, ...]:
        """Return the keys that the peer is promised once an epoch is announced.

        What was promised before stays promised: a connection that comes again may ask for
        an older epoch first. So does what is wanted all the time, under one key after another.
        """
        return (*self._under(epoch, self.since), *self._followed)

    def _under(self, epoch: int, keys: Iterable[str]) -> tuple[str, ...]:
        """Return those of the peer's keys that it is promised once an epoch is announced."""
        promised = self.promised[-1].epoch if self.promised else self.confirmed
        last, since = max(epoch, promised), self.since
        if self.whole > last:
            return tuple(k for k in keys if k in self._carried)
        return tuple(k for k in keys if since[k] <= last or k in self._carried)

    def in_force(self, name: str) -> bool:
        """Tell whether what is sent on ``name`` from now on is promised to the peer."""
        if not self.announced or self.announced < self.whole:
            return False
        return began(name, self.since, self.keys.patterns, self.announced)
