"""Interest on both paths: told on control, proven on data.

A peer's interest and its token may come in any order; once both are there we announce
our heads behind them, which is what the peer calls ready. What is lost is told again:
by the epochs in pings, and by replacing a data socket on which nothing is proven.
"""

from collections.abc import Iterable

from . import membership as m
from .core import Core
from .effects import Announce, Resubscribe, Tune
from .membership import Peer
from .values import Hello, Interest, Ping, Resync

MAX_STRANGERS_TOKENS = 4096
"""Tokens remembered for nodes that have not said hello yet."""


class Proving:
    """Whose interest is known, announced and proven, in both directions."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._tokens: dict[bytes, int] = {}

    # ---------------------------------------------------------------------- our interest

    def change_interest(self, steps: Iterable[tuple[str, bool]], now: float) -> None:
        """See `Session.change_interest`."""
        core = self._core
        change = core.interest.change(steps)
        if change is not None:
            self._tell_change(tuple(change[0]), tuple(change[1]), now)

    def renew(self, now: float) -> None:
        """Begin a new epoch without a change, because a peer that had left is met again.

        It may never have noticed, and would answer the tokens and confirmations of our
        new start with what it had promised to the one before.
        """
        self._core.interest.epoch += 1
        self._tell_change((), (), now)

    def _tell_change(self, added: tuple[str, ...], removed: tuple[str, ...], now: float) -> None:
        core, epoch = self._core, self._core.interest.epoch
        core.do(Resubscribe(epoch, added, removed))
        for peer in core.members.peers.values():
            peer.unproven_at = now
            told = Interest(core.me, epoch, epoch - 1, peer.ready_epoch, added, removed)
            core.say(peer, told)

    def tell_all(self, peer: Peer) -> None:
        """Tell a peer our whole interest: it has missed a change."""
        core, keys = self._core, tuple(self._core.interest.keys)
        core.say(peer, Interest(core.me, core.interest.epoch, 0, peer.ready_epoch, keys))

    def proven(self, node: bytes, epoch: int) -> None:
        """See `Session.proven`."""
        peer = self._core.members.peers.get(node)
        if peer:
            peer.proven(epoch, self._core.interest.epoch)

    def tick(self, peer: Peer, now: float) -> None:
        """Replace a data socket on which our interest is not proven in time."""
        if peer.unproven_at is not None and now - peer.unproven_at >= peer.unproven_for:
            peer.unproven_at, data = now, peer.data_to_try()
            peer.unproven_for = min(2 * peer.unproven_for, m.UNPROVEN_MOST)
            self._core.do(Tune(peer.id, data, peer.acknowledge))

    # ------------------------------------------------------------------ a peer's interest

    def on_hello(self, peer: Peer, hello: Hello) -> None:
        """Take the interest in a hello of a peer that we know already."""
        # Whoever has lost where it stood with us says so by a later epoch.
        if hello.epoch > peer.interest.epoch:
            self._core.wanted(peer.interest.replace(hello.epoch, hello.interest))
            self.announce(peer)

    def on_interest(self, peer: Peer, message: Interest) -> None:
        """Take a change of a peer's interest, or ask for the whole if one was missed."""
        interest = peer.interest
        if message.base == 0 and message.epoch >= interest.epoch:
            changed = interest.replace(message.epoch, message.added)
        elif message.epoch <= interest.epoch:
            return  # told twice
        elif message.base == interest.epoch:
            changed = interest.change(message.epoch, message.added, message.removed)
        else:
            self._core.say(peer, Resync(self._core.me))
            return
        interest.confirm(message.confirmed)
        self._core.wanted(changed)
        self.announce(peer)

    def on_ping(self, peer: Peer, ping: Ping, now: float) -> None:
        """Compare epochs: what a peer knows of us, and what we know of it."""
        if ping.epoch != peer.interest.epoch:
            self._core.say(peer, Resync(self._core.me))
        peer.interest.confirm(ping.confirmed)
        if ping.announced < self._core.interest.epoch and peer.unproven_at is None:
            peer.unproven_at = now

    # --------------------------------------------------------------------------- tokens

    def token(self, node: bytes, epoch: int, subscribed: bool) -> None:
        """See `Session.token`."""
        peer = self._core.members.peers.get(node)
        latest = self._tokens.get(node, 0)
        if not subscribed:
            if latest == epoch:
                self._withdrawn(node, peer)
        elif epoch >= latest:
            # Else from a connection that a fresh one has overtaken, or repeated by a
            # reconnect, oldest first, because it was not answered.
            if latest or peer or len(self._tokens) < MAX_STRANGERS_TOKENS:
                self._tokens[node] = epoch
            if peer:
                self.announce(peer, again=True)

    def _withdrawn(self, node: bytes, peer: Peer | None) -> None:
        del self._tokens[node]
        if peer:
            peer.interest.announced = 0

    def announce(self, peer: Peer, again: bool = False) -> None:
        """Answer the peer's token, once its interest of that epoch is known as well.

        A token that comes again is a reconnect.
        """
        epoch = self._tokens.get(peer.id, 0)
        interest = peer.interest
        if epoch and interest.answerable(epoch) and (again or epoch != interest.announced):
            self._core.do(Announce(peer.id, epoch, interest.unproven(epoch)))

    def announced(self, node: bytes, epoch: int, heads: dict[str, int]) -> None:
        """See `Session.announced`."""
        peer = self._core.members.peers.get(node)
        if peer and self._tokens.get(node, 0) >= epoch:
            peer.interest.announce(epoch, heads)
