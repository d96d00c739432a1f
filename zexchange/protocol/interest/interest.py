"""The names and patterns that a node wants, as the node and its peers know them.

A *key* is a name or a pattern. Each state of a node's interest has a number, its *epoch*, which
grows by one with each change (`OwnInterest`). The node tells its peers of the change, subscribes
to the new keys at their data sockets, and then to a token of that epoch. A token that arrives
proves that all subscriptions before it are in force. The peer answers it with a ready, which
*announces* the epoch and gives the heads of the exchanges. From then on everything that it sends
under these keys is promised to the node. The node *confirms* the ready on the control link.

`PeerInterest` is the view of the peer. A ready may be lost with its connection, and the node asks
again with the same token. So the first announcement of an epoch is the promise: its heads are
remembered until the node confirms the epoch, and later readies repeat them. Otherwise messages
that were sent, and lost, after the first announcement would be below the heads of the second one,
and nobody would report them.

Keys may come and go while announcements are on their way. A key that is dropped and wanted again
is new, and gets a promise of its own. But a name that is wanted without a break, under one key
after another, stays promised (`PeerInterest.held`, `FormerKeys`).

Nothing here knows how keys become subscriptions at a socket.
"""

from collections.abc import Iterable, Iterator

from ...names import is_pattern, matches
from ..security.permissions import restricted
from ..wire.limits import MAX_KEYS, MAX_PATTERNS
from ..wire.messages import Promise
from .coverage import FormerKeys, began

MAX_PROMISES = 16
"""The most announcements remembered for a peer that confirms none of them."""


class NameSet:
    """A set of names and patterns, with a check whether they cover a name."""

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
        """Return whether a name is in the set, or matches a pattern in it."""
        return name in self.names or any(matches(pattern, name) for pattern in self.patterns)

    def __iter__(self) -> Iterator[str]:
        yield from self.names
        yield from self.patterns

    def __contains__(self, key: object) -> bool:
        return key in self.names or key in self.patterns

    def __len__(self) -> int:
        return len(self.names) + len(self.patterns)


def common(some: NameSet, others: NameSet) -> NameSet:
    """Return keys that cover what both sets cover."""
    if not (some and others):
        return NameSet()
    found = NameSet(name for name in some.names if others.covers(name))
    found.update(restricted(some.patterns, tuple(others)))
    return found


class OwnInterest:
    """The keys that this node wants. The epoch grows by one with each change told to peers."""

    __slots__ = ("epoch", "keys")

    def __init__(self, keys: Iterable[str] = ()) -> None:
        self.keys = NameSet(keys)
        self.epoch = 1

    def change(self, steps: Iterable[tuple[str, bool]]) -> tuple[list[str], list[str]] | None:
        """Take steps of (key, wanted) as one change; return the added and the removed keys.

        A key that was dropped and wanted again is in neither list: its new task may have got
        messages before this change is followed, so it has to get the next ones, too.

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
        """Take a change that was made elsewhere, with its epoch."""
        self.keys.remove(removed)
        self.keys.update(added)
        self.epoch = epoch


class PeerInterest:
    """The interest of a peer, as it told us, and how much of it is announced to the peer.

    Attributes:
        account: our account of the peer to which this belongs (see `Ready`).
        epoch: the epoch of the peer's interest that we know.
        keys: the keys that it wants.
        whole: the epoch at which we were last told the whole interest. Changes before it are not
            known one by one, so no ready of an earlier epoch can be right.
        announced: the last epoch that was announced on its connection; 0 on a new one.
        confirmed: the last epoch whose ready the peer has seen.
        promised: the first announcements of epochs that are not confirmed, in order.
        since: by key, the epoch in which it was added, at the earliest. In changes before
            ``whole`` it may have been dropped and added again: that is not known.
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
        """Names held under keys that have ended, and wanted under others not announced yet."""
        self.replace(epoch, keys)

    def replace(self, epoch: int, keys: Iterable[str]) -> set[str]:
        """Take the whole interest of a later epoch; return the keys that came or went.

        Every key counts as new: in the changes that we missed it may have been dropped and wanted
        again, and then the peer has forgotten its position. Frames are held for it as before all
        the same, because most likely that did not happen.
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
        """Take a change to the next epoch; return the keys that came or went."""
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
        """Keep what was held under keys that have ended, if keys not announced yet cover it."""
        self._followed.update(ended)
        if self._followed:
            wanted = NameSet(self.keys)
            wanted.remove(gone)  # a key that was dropped and wanted again is a new one
            wanted.remove(self._under(self.announced, self.keys))
            self._followed = common(self._followed, wanted)

    def exceeded_by(self, added: Iterable[str]) -> bool:
        """Return whether these keys would be too many with some added."""
        new = [key for key in added if key not in self.keys]
        patterns = sum(map(is_pattern, new))
        return (
            len(self.keys) + len(new) > MAX_KEYS
            or len(self.keys.patterns) + patterns > MAX_PATTERNS
        )

    def answerable(self, epoch: int) -> bool:
        """Return whether we know enough to answer a token of an epoch."""
        return self.whole <= epoch <= self.epoch

    def unproven(self, epoch: int) -> tuple[str, ...]:
        """Return the keys whose heads go into an announcement of an epoch.

        On a new connection, and on one that asks again (as after a reconnect), these are all keys;
        else those that the peer has not confirmed. Keys that the peer has dropped since are
        included: its data path may not have processed the change yet, and it would treat a key
        without a head as being at 0. A head that the peer does not need does no harm.
        """
        late = tuple(k for k, at in self._dropped.items() if at > epoch and k not in self.keys)
        if self.announced in (0, epoch) or self.whole > self.confirmed:
            return (*self.keys, *late)
        return (*(key for key, at in self.since.items() if at > self.confirmed), *late)

    def announce(self, epoch: int, heads: dict[str, int], connected: bool = True) -> None:
        """Note that an epoch was announced, and with which heads.

        The first announcement of an epoch is the promise. It is remembered until the peer confirms
        the epoch: if the connection is lost before, a ready with later heads alone would hide what
        was sent, and lost, after the promise.

        If the peer is no longer ``connected``, the announcement is a promise all the same: what is
        sent from then on counts as sent to it, and it may come back.
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
        """Merge the first promise into the second, for the names that were wanted by then.

        A receiver takes the first promise that is not older than its key for a name. So messages
        that were lost after the first promise are still reported.
        """
        first, second, *others = self.promised

        def wanted(name: str) -> bool:
            until = self._former.until(name, first.epoch)
            return began(name, self.since, self.keys.patterns, until)

        self.promised = (second.after(first, wanted), *others)

    def resume(self, before: "PeerInterest") -> None:
        """Continue with the promises, and the epochs of keys, from before the peer had left."""
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

        Keys that were promised before stay promised: a new connection may ask for an older epoch
        first. So do names that are wanted without a break, under one key after another.
        """
        return (*self._under(epoch, self.since), *self._followed)

    def _under(self, epoch: int, keys: Iterable[str]) -> tuple[str, ...]:
        """Return which of some keys the peer is promised once an epoch is announced."""
        promised = self.promised[-1].epoch if self.promised else self.confirmed
        last, since = max(epoch, promised), self.since
        if self.whole > last:
            return tuple(k for k in keys if k in self._carried)
        return tuple(k for k in keys if since[k] <= last or k in self._carried)

    def in_force(self, name: str) -> bool:
        """Return whether messages sent on ``name`` from now on are promised to the peer."""
        if not self.announced or self.announced < self.whole:
            return False
        return began(name, self.since, self.keys.patterns, self.announced)
