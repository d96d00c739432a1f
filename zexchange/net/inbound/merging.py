"""Hands on each message once although the process that sends it is met in several federations.

A process that shares one registry in several federations has a node, and so is a peer, in each of
them. These nodes number a message alike. So its messages arrive once in each federation that both
processes are in, on the data thread of our node there.

A `Source` is such a process, and each of its peer receivers here has a `Share` in it. `Sources`
finds the source of a new peer by the registry id that the peer claims (see `identities`).

While a process is met in one federation only, its receiver hands on by itself, and nothing of this
module is on the way of its messages. When a second receiver joins, all of them begin to share.
Each says, on its own thread, how far it has handed on by itself (`Share.begin`). From then on it
gives its messages and losses to the `Merger` of the source, which decides what is next.

The decision is made under a lock, and carried out without it (`Source.run`). The thread that has
brought something hands on everything that is next on that exchange, also what other receivers
have brought. The merger lets one thread at a time do so for each exchange.

A receiver that is left alone hands on by itself again (`Source.part`), once it stands where all
stood. It does not while a peer that left may come back (`departed.REMEMBERED`): the merger must
know then what of its messages was handed on, or reported as lost.

The three classes are in one file because every step passes through all of them, under one lock.
"""

import threading
from collections.abc import Callable, Iterable
from typing import Any

from ...history import Body
from ...local.late_join import CatchUp
from ...local.registry import Exchange, Registry
from ...local.subscription import mark
from ...protocol.delivery import departed
from ...protocol.delivery.merging import HandOn, Merger, Settled
from ...protocol.delivery.sequence import ReceiveCounts
from ...protocol.security.keys import mark_of
from ...protocol.wire.data import LAST_NUMBER
from ...protocol.wire.messages import Batch
from ..transport.per_registry import PerRegistry
from .peer_stream import ALONE, PeerReceiver, Sharing

FORMER_MOST = 256
"""Processes that have left and may return, for which we remember what was handed on."""
Do = Callable[[Callable[[], None]], None]
"""Runs a command on the data thread of a peer receiver."""
Identity = tuple[bytes, bytes]
"""A registry id that a peer claims, and what vouches for that claim.

Peers count as one process only if they have both in common.
"""
_NEAR, _ANYBODY = b"near", b""


def identities(
    registry: bytes, peer: bytes, hub: bytes | None, endpoint: str, keyed: bool
) -> list[Identity]:
    """Return the identities of a peer that has named its registry.

    A registry id is no secret. If it were enough, a node that claims the id of another process
    would have its messages taken in place of those of that process.

    Args:
        registry: the registry id that the peer claims.
        peer: the id of the peer, which belongs to its key.
        hub: the key of the hub that it is received by; None if it is received directly.
        endpoint: the data endpoint that it is received from.
        keyed: whether this federation uses keys.
    """
    if not keyed:
        return [(registry, _ANYBODY)]
    if hub is not None:
        return [(registry, hub + mark_of(peer))]  # the hub alone says that this is its key
    near = [(registry, _NEAR)] if endpoint.startswith("ipc:") else []
    return [*near, (registry, mark_of(peer))]


class Sources:
    """The processes that one registry receives from, by any federation."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._there: dict[Identity, Source] = {}
        self._former: dict[Identity, Source] = {}

    def join(self, known: Iterable[Identity], peer_receiver: PeerReceiver, do: Do) -> None:
        """Add a peer receiver to those of the same process. On its data thread."""
        with self.lock:
            known = tuple(known)
            self._expire(peer_receiver.now())
            found = [self._there.get(one) or self._former.pop(one, None) for one in known]
            source = next(filter(None, found), None) or Source(
                peer_receiver.origin, self, peer_receiver.patience
            )
            for one in known:
                self._there.setdefault(one, source)
            peer_receiver.share = share = Share(peer_receiver, source, do)
            begin = source.add(share)
        for other in begin:
            if other is share:
                other.begin()
            else:
                other.do(other.begin)

    def emptied(self, source: "Source") -> None:
        """Remember a process that has no receiver left, if it may come back.

        The caller holds the lock.
        """
        for known in [known for known, there in self._there.items() if there is source]:
            del self._there[known]
            if source.away:
                self._former[known] = source
        while len(self._former) > FORMER_MOST:
            del self._former[next(iter(self._former))]

    def _expire(self, now: float) -> None:
        """Forget processes that have been away too long to resume. The caller holds the lock."""
        for known, source in list(self._former.items()):
            source.expire(now)
            if not source.away:
                del self._former[known]


class Source:
    """One peer process, and the shares that peer receivers have in what it sends."""

    def __init__(self, origin: str, sources: Sources, patience: float) -> None:
        self.origin = origin
        """The node that tasks see as the origin of all its messages: the one that was met first."""
        self.shared = False
        """Whether there has ever been more than one peer receiver."""
        self.away: dict[bytes, tuple[Share, float]] = {}
        """By peer that has left and may resume: the share of its receiver, and when it left."""
        self.lock = sources.lock
        self.merger = Merger(patience, mark)
        self._sources = sources
        self._shares: set[Share] = set()

    def add(self, share: "Share") -> "list[Share]":
        """Add a share; return the shares that have to `begin`. The caller holds the lock."""
        self.expire(share.peer_receiver.now())
        former, _ = self.away.pop(share.peer_receiver.peer, (None, 0.0))
        if not self.shared and self.away:  # what they have handed on by themselves counts
            for other, _ in self.away.values():
                self._note_left(other)
            self.shared = True
        alone = [other for other in self._shares if other not in self.merger.ways]
        self._shares.add(share)
        if not self.shared and not alone:
            return []
        self.shared = True
        for other in alone:
            self.merger.join(other, alone=True)
        self.merger.join(share)
        if former is not None and share.peer_receiver.returned:
            self.merger.resume(former, share, share.peer_receiver.positions.positions)
        elif former is not None:
            self.merger.lapse(former)
        return [share, *alone]

    def _note_left(self, share: "Share") -> None:
        """Tell the merger what a receiver whose peer has left had handed on by itself."""
        self.merger.share(share, share.so_far, share.mark)
        self.merger.leave(share, False)

    def expire(self, now: float) -> None:
        """Forget peers that have been away too long to resume. The caller holds the lock."""
        for peer, (share, left_at) in list(self.away.items()):
            if now - left_at > departed.REMEMBERED:
                del self.away[peer]
                self.merger.lapse(share)

    def leave(self, share: "Share", final: bool) -> "list[Share]":
        """Remove the share of a receiver that has ended; return the shares that are left.

        Unless it is ``final``, the peer may come back and resume.
        """
        with self.lock:
            self._shares.discard(share)
            if not final:
                share.peer_receiver.look_again()  # no frame needs its exchanges again
                self.away[share.peer_receiver.peer] = share, share.peer_receiver.now()
            if self.shared and share.peer_receiver.shared is ALONE:
                self.merger.share(share, share.so_far, share.mark)
            self.merger.leave(share, final)
        self.look(share.peer_receiver)
        with self.lock:
            if not self._shares:
                self._sources.emptied(self)
            return list(self._shares)

    def part(self, share: "Share") -> bool:
        """Return whether a receiver, the only one left, hands on by itself from now on."""
        with self.lock:
            self.expire(share.peer_receiver.now())
            alone = len(self._shares) == 1 and not self.away
            if not (alone and self.merger.quiet(share.at)):
                return False
            self.merger.leave(share, True)
            self.merger.forget()
            return True

    def lonely(self, now: float) -> bool:
        """Return whether one receiver is left, and no peer that left may resume. Any thread."""
        left = [at for _, at in list(self.away.values())]
        return len(self._shares) == 1 and all(now - at > departed.REMEMBERED for at in left)

    def look(self, peer_receiver: PeerReceiver) -> None:
        """Go on with every exchange on which something waits. On a receiver's data thread."""
        with self.lock:
            waiting = list(self.merger.waiting)
        for name in waiting:
            self.run(name, peer_receiver)

    def run(self, name: str, peer_receiver: PeerReceiver) -> None:
        """Hand on what is next on an exchange, until there is nothing or another thread does so."""
        merger, now = self.merger, peer_receiver.now()
        while True:
            with self.lock:
                step = merger.next(name, now)
                settled, merger.settled = merger.settled, []
            for one in settled:
                one.way.settle(one)
            if step is None:
                return
            try:
                if isinstance(step, HandOn):
                    exchange, batch, frame = step.item
                    skip = step.first - batch.first
                    peer_receiver.hand_on(exchange, batch, frame, skip, step.way.peer_receiver)
                else:
                    peer_receiver.tell_lost(name, step.first, step.last, step.reason, step.mark)
            finally:
                with self.lock:
                    merger.served(name)


class Share(Sharing):
    """The part that one peer receiver has in what a process sends.

    Its methods are called on the data thread of the receiver, unless they say otherwise.
    """

    def __init__(self, peer_receiver: PeerReceiver, source: Source, do: Do) -> None:
        self.peer_receiver = peer_receiver
        self.do = do
        self.mark = mark()
        """A mark of the moment at which the receiver began to hand on by itself."""
        self._source = source
        self._merger, self._lock = source.merger, source.lock
        self._questions: set[str] = set()
        if source.origin != peer_receiver.origin:
            peer_receiver.sender = source.origin
            peer_receiver.history_fetcher.origin = source.origin
        peer_receiver.history_fetcher.handed = self.handed

    @property
    def so_far(self) -> dict[str, tuple[int, int]]:
        """By exchange, where the receiver began, and up to where it has handed on by itself."""
        where, tallies = (
            self.peer_receiver.positions.positions,
            self.peer_receiver.positions.tallies,
        )
        counts = {name: tallies[name].received + tallies[name].lost for name in where}
        return {n: (max(at - counts[n], 0), at) for n, at in where.items()}

    def at(self, name: str) -> int:
        """Return the position of the receiver on an exchange.

        Where it has none, that is 0 if the exchange may still come, and else the highest number.
        """
        end = 0 if self.peer_receiver.carries(name) else LAST_NUMBER
        return self.peer_receiver.positions.positions.get(name, end)

    def begin(self) -> None:
        """Hand on together with the other receivers from now on."""
        peer_receiver = self.peer_receiver
        if peer_receiver.share is not self or peer_receiver.shared is not ALONE:
            return
        handed = self.so_far if self in self._merger.alone else {}
        peer_receiver.begin_to_share()
        with self._lock:
            self._merger.share(self, handed, self.mark)
        self._source.look(peer_receiver)

    def end(self, final: bool, owed: Iterable[tuple[str, CatchUp]]) -> None:
        """Leave the source: the peer has left.

        The joiners that are ``owed`` its history ask for it by the other receivers.
        """
        self.peer_receiver.share = ALONE
        for other in self._source.leave(self, final):
            for key, catch_up in owed:
                history_fetcher = other.peer_receiver.history_fetcher
                other.do(lambda to=history_fetcher, k=key, a=catch_up: to.recall(k, a))  # type: ignore[misc]

    def pursue(self) -> None:
        """Go on with what waits; hand on alone again if this is the only receiver left."""
        self._source.look(self.peer_receiver)
        if self._source.lonely(self.peer_receiver.now()) and self._source.part(self):
            self.peer_receiver.shared, self.mark = ALONE, mark()

    @property
    def pursuing(self) -> bool:
        """Whether `pursue` may have something to do. Any thread."""
        return bool(self._merger.waiting) or self._source.lonely(self.peer_receiver.now())

    # ------------------------------------------------------------------------ what comes

    def bring(self, exchange: Exchange[Any], batch: Batch, frame: Body, skip: int) -> None:
        """Take the messages of a frame that is next in this receiver, without the first ones."""
        name, first, last = batch.name, batch.first + skip, batch.first + batch.count - 1
        item, now = (exchange, batch, frame), self.peer_receiver.now()
        with self._lock:
            asked = self._merger.bring(self, name, first, last, item, len(frame), now, batch.base)
        self._ask(asked, name)
        self._source.run(name, self.peer_receiver)

    def lose(self, name: str, first: int, last: int, reason: str) -> None:
        """Take note of a loss of this receiver; ``first`` is 0 if nobody knows where it begins."""
        if not first:
            with self._lock:
                known = self._merger.handed(name) >= last
            if not known:
                self.peer_receiver.tell_lost(name, first, last, reason)
            return
        now = self.peer_receiver.now()
        with self._lock:
            asked = self._merger.lose(self, name, first, last, reason, now)
        self._ask(asked, name)
        self._source.run(name, self.peer_receiver)

    def _ask(self, asked: "Iterable[Share]", name: str) -> None:
        for other in asked:
            other.do(lambda other=other: other.say_where(name))  # type: ignore[misc]

    def say_where(self, name: str) -> None:
        """Tell the merger where this receiver stands on an exchange, once that is in force."""
        peer_receiver = self.peer_receiver
        positions = peer_receiver.positions
        at = positions.positions.get(name)
        if at is None and peer_receiver.carries(name):
            self._questions.add(name)  # it may come from the first message on
            return
        with self._lock:
            self._merger.answer(self, name, at)
        self._source.run(name, peer_receiver)

    def proven(self) -> None:
        """Answer the merger's open questions about exchanges that are in force by now."""
        positions = self.peer_receiver.positions.positions
        for name in [name for name in self._questions if name in positions]:
            self._questions.discard(name)
            self.say_where(name)

    def drop(self, names: Iterable[str]) -> None:
        """Take note that exchanges are no longer wanted."""
        gone = set(names)
        with self._lock:
            for name in gone:
                self._merger.drop(self, name)
            self._questions = {name for name in self._questions if self._merger.knows(name)}
        self._source.look(self.peer_receiver)

    def forgotten(self, heads: dict[str, int]) -> None:
        """Take note that the peer forgot exchanges, which were complete up to these numbers."""
        with self._lock:
            for name, head in heads.items():
                self._merger.forgotten(self, name, head)
            self._questions.difference_update(heads)
        self._source.look(self.peer_receiver)

    def based(self, bases: dict[str, int]) -> None:
        """Take note that up to these numbers nothing will come that has not come yet."""
        with self._lock:
            for name, base in bases.items():
                self._merger.based(name, base)
        self._source.look(self.peer_receiver)

    def settle(self, settled: Settled) -> None:
        """Correct the counts of messages that this receiver did not bring. Any thread."""
        tally = self.peer_receiver.positions.tallies.get(settled.name)
        if tally is not None:
            self.do(lambda: _count(tally, settled))

    # ---------------------------------------------------------------- what the peer receiver says

    def given(self, positions: dict[str, int]) -> dict[str, int]:
        """Return up to which numbers all was handed on, for these positions of the receiver."""
        with self._lock:
            given = {name: self._merger.given(name, at) for name, at in positions.items()}
        return {name: at for name, at in given.items() if at}

    def handed(self, name: str) -> int:
        """Return up to which number an exchange was handed on; 0 if that is not known."""
        with self._lock:
            return self._merger.handed(name)


def _count(tally: ReceiveCounts, settled: Settled) -> None:
    if settled.counted == "lost":
        lost = min(tally.lost, settled.filled)
        tally.lost -= lost
        tally.conflated -= settled.filled - lost
        tally.received += settled.filled
        tally.recovered += settled.filled
    else:
        tally.lost += settled.told
        if settled.counted:
            tally.received -= settled.told


_sources: PerRegistry[Sources] = PerRegistry()


def sources_of(registry: Registry) -> Sources:
    """Return the processes that a registry receives from, by all nodes of this process."""
    return _sources.get(registry, Sources)
