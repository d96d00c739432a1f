"""Interest on both paths: told on the control path, proven on the data path.

A node must know from which message on it gets everything that a peer sends. ZeroMQ does not say
when a subscription has arrived, so the nodes prove it to each other. Each state of our interest has
a number, its epoch. For every change:

- We send an `Interest` on the control link: names and patterns added and removed, and the epoch.
- We subscribe to these at the peer's data socket, and after them to a *token*, a topic made of our
  id and the epoch. One connection keeps the order: where the token is, the names are, too.
- The peer waits for both, in any order. Then it publishes the heads of these exchanges under the
  token, after all that it has sent before. This is the *ready* frame, asked for by `Announce`.
- When the ready arrives here, all that the peer sends after these heads arrives as well. We confirm
  the epoch with our next ping or change, and the peer no longer repeats what it promised with it.

The same goes on in the other direction; a peer is ready when both directions are.

Any of these may be lost, so each side tells in its pings by which epochs it goes. A node that has
missed a change asks for the whole interest (`Resync`). If our interest is not proven in time, the
data socket is replaced, and a fresh one subscribes to everything again; the time doubles up to
`UNPROVEN_MOST`. Anybody may subscribe to a token with another node's id, so a token counts only
once the node itself has told us of its epoch. With permissions we may not honour the prefix of a
pattern; then we tell the peer the names, and it subscribes to each (`Named`).

Both directions are in one class because each message about one of them also confirms the other.
"""

from collections.abc import Collection, Iterable

from ..interest.interest import NameSet
from ..security.permissions import wants_by_name
from ..wire.messages import Hello, Interest, Named, Ping, Resync
from .effects import Announce, OpenReceiver, Resubscribe, SubscribeNames
from .peers import UNPROVEN_EACH, UNPROVEN_MOST, Peer
from .state import SessionState

MAX_STRANGERS_TOKENS = 4096
"""Nodes whose tokens are remembered although they have not said hello yet."""
MAX_TOKENS = 16
"""Tokens remembered of one node: only few epochs can be under way at a time."""
NAMES_AT_ONCE = 5_000
"""Names told in one message; each has 255 bytes at most."""
MAX_NAMES = 100_000
"""Names taken of one peer that wants to be subscribed to name by name."""


def tune(peer: Peer, unproven: bool = False) -> OpenReceiver:
    """Return the effect that has a peer's data received, as far as its rights permit."""
    hello = peer.hello
    said = hello.registry, hello.exchanges, unproven
    return OpenReceiver(peer.id, peer.data, hello.acknowledge, peer.key, peer.rights, *said)


class Readiness:
    """Knows which interest is known, announced and proven, in both directions."""

    def __init__(self, core: SessionState) -> None:
        self._core = core
        self._tokens: dict[bytes, tuple[int, ...]] = {}
        self._names: dict[str, None] = {}

    # ---------------------------------------------------------------------- our interest

    def change_interest(self, steps: Iterable[tuple[str, bool]], now: float) -> None:
        """Take what local tasks want now, as steps of (name or pattern, wanted)."""
        for key, wanted in steps:
            self._core.changes.step(key, wanted)
        self._core.changes.make(dropping=True)
        self.tell_changes(now)

    def tell_added(self, now: float) -> None:
        """Tell peers of the names and patterns that local tasks began to want since."""
        if self._core.changes.pending:
            self._core.changes.make(dropping=False)
            self.tell_changes(now)

    def tell_changes(self, now: float, leaving: Collection[Peer] = ()) -> None:
        """Have the data path follow each change of our interest, and tell peers of it."""
        core, gone = self._core, {peer.id for peer in leaving}
        for change in core.changes.to_tell():
            core.interest.apply(*change)
            core.do(Resubscribe(*change))
            epoch, before = change.epoch, change.epoch - 1
            for peer in [peer for peer in core.members.peers.values() if peer.id not in gone]:
                peer.unproven_at = now
                came, went = peer.told.change(change.added, change.removed)
                core.say(peer, Interest(core.me, epoch, before, peer.ready_epoch, came, went))

    def renew(self, now: float, leaving: Collection[Peer] = ()) -> None:
        """Begin a new epoch without a change, because a peer that had left is met again.

        The peer may not have noticed that we forgot it. Without a new epoch it would answer our
        tokens and confirmations with promises that it made before. Peers in ``leaving``, whose
        rights have changed, are skipped: they learn of the epoch, and of all of our interest that
        is for them, when they join again.
        """
        self._core.changes.renew()
        self.tell_changes(now, leaving)

    def tell_all(self, peer: Peer) -> None:
        """Tell a peer our whole interest, because it has missed a change."""
        core, keys = self._core, peer.told.replace(self._core.interest.keys)
        core.say(peer, Interest(core.me, core.interest.epoch, 0, peer.ready_epoch, keys))
        self._tell_all_names(peer)

    def proven(self, node: bytes, epoch: int) -> None:
        """Take note of a ready frame that arrived from a peer."""
        peer = self._core.members.peers.get(node)
        if peer:
            peer.proven(epoch, self._core.interest.epoch)
            self._core.restless = True

    def tick(self, peer: Peer, now: float) -> None:
        """Replace a data socket on which our interest is not proven in time."""
        if peer.unproven_at is None:
            return
        patience = peer.unproven_for + UNPROVEN_EACH * len(self._core.interest.keys)
        if now - peer.unproven_at >= min(patience, UNPROVEN_MOST):
            peer.unproven_at, peer.data = now, peer.data_to_try()
            peer.unproven_for = min(2 * peer.unproven_for, UNPROVEN_MOST)
            self._core.do(tune(peer, unproven=True))

    # ------------------------------------------------------------------ a peer's interest

    def on_hello(self, peer: Peer, hello: Hello) -> None:
        """Take the interest in a hello of a peer that we know already."""
        # A peer that has forgotten what we promised shows it by a later epoch.
        if hello.epoch > peer.interest.epoch:
            granted = peer.asked.replace(hello.interest)
            self._core.wanted(peer.interest.replace(hello.epoch, granted))
            self._judge(peer)
            if self._core.policy and peer.unproven_at is not None:
                self._core.do(tune(peer))  # it may have cut our connection to its data as well
            self.announce(peer)

    def on_interest(self, peer: Peer, message: Interest) -> None:
        """Take a change of a peer's interest, or ask for the whole if one was missed."""
        interest = peer.interest
        if message.base == 0 and message.epoch >= interest.epoch:
            changed = interest.replace(message.epoch, peer.asked.replace(message.added))
        elif message.epoch <= interest.epoch:
            return  # told twice
        elif message.base == interest.epoch and interest.exceeded_by(message.added):
            # Its whole interest is not asked for: it would be too large as well.
            self._core.reject(str(peer.label), "an interest in too many names or patterns")
            return
        elif message.base == interest.epoch:
            granted = peer.asked.change(message.added, message.removed)
            changed = interest.change(message.epoch, *granted)
        else:
            self._core.say(peer, Resync(self._core.me))
            return
        interest.confirm(message.confirmed)
        self._core.wanted(changed)
        self._judge(peer)
        self.announce(peer)

    def ping(self, peer: Peer, now: float) -> None:
        """Tell a peer by which epochs we go, and measure how long it takes to answer."""
        if peer.link is not None and peer.pinged_at is None:
            peer.pinged_at = now
        told = self._core.interest.epoch, peer.interest.announced, peer.ready_epoch
        number = self._core.responders.number if peer.answers else 0
        members = self._core.group_members.number if peer.shares else 0
        ping = Ping(self._core.me, *told, named=peer.names_said, responders=number, members=members)
        self._core.say(peer, ping)

    def on_ping(self, peer: Peer, ping: Ping, now: float) -> None:
        """Compare epochs: what a peer knows of us, and what we know of it."""
        lists = peer.responders.number, peer.group_members.number
        at = peer.interest.epoch, peer.names_told, *lists
        if (ping.epoch, ping.named, ping.responders, ping.members) != at:
            self._core.say(peer, Resync(self._core.me))
        peer.interest.confirm(ping.confirmed)
        epoch = self._core.interest.epoch
        if ping.announced >= epoch and peer.ready_epoch >= epoch:
            peer.unproven_at = None  # an earlier ping was older than the proof, and was read late
        elif ping.announced < epoch and peer.unproven_at is None:
            peer.unproven_at = now

    # ---------------------------------------------------------------------- permissions

    def admitted(self, peer: Peer) -> None:
        """Note what a new peer knows of us, and judge what it wants."""
        peer.told.replace(self._core.interest.keys)
        self._judge(peer)

    def _judge(self, peer: Peer) -> None:
        """Reject the keys that a peer may not have; tell it names to subscribe to one by one."""
        rights = peer.rights
        if rights.subscribe is None:
            return
        for key in peer.asked.refused():
            self._core.reject(rights.name, "may not subscribe", repr(key))
        asked = peer.asked.asked()
        # Of a peer behind a hub we are told only the part of its interest that we may publish: a
        # key that looks like a name may be left of a pattern.
        narrow = [key for key in asked if peer.carried or wants_by_name(key, rights)]
        peer.by_name = NameSet(part for key in narrow for part in peer.asked.under(key))
        self._name(peer, self._names)

    def unpublished(self, names: Iterable[str]) -> None:
        """Take note of names on which nothing is sent for now: peers are told of them again."""
        peers = self._core.members.peers.values()
        for name in names:
            self._names.pop(name, None)
            for peer in peers:
                peer.named.pop(name, None)

    def publishes(self, names: list[str]) -> None:
        """Take note of names that are, or may soon be, sent on and that were not told before."""
        self._names.update(dict.fromkeys(names))
        for peer in self._core.members.peers.values():
            self._name(peer, names)

    def _name(self, peer: Peer, names: Iterable[str]) -> None:
        if not peer.by_name:
            return
        new = tuple(n for n in names if n not in peer.named and peer.by_name.covers(n))
        before = peer.names_said
        peer.named.update(dict.fromkeys(new))
        peer.names_said += len(new)
        if peer.names_said > 2 * len(peer.named) + NAMES_AT_ONCE:
            self._tell_all_names(peer)  # it forgets the others, on which nothing is sent now
        elif new:
            self._tell_names(peer, new, before)

    def _tell_all_names(self, peer: Peer) -> None:
        if peer.names_said:
            peer.names_said = len(peer.named)
            self._tell_names(peer, tuple(peer.named), 0)

    def _tell_names(self, peer: Peer, names: tuple[str, ...], base: int) -> None:
        for start in range(0, max(1, len(names)), NAMES_AT_ONCE):
            part = names[start : start + NAMES_AT_ONCE]
            self._core.say(peer, Named(self._core.me, base + start, part))

    def on_named(self, peer: Peer, message: Named) -> None:
        """Subscribe to names that a peer has told us, unless some before them are missing."""
        told = message.base + len(message.names)
        if message.base > peer.names_told:
            self._core.say(peer, Resync(self._core.me))
        elif told > MAX_NAMES:
            self._core.reject(peer.id.hex(), "more names than are subscribed to one by one")
        else:
            peer.names_told = told if message.base == 0 else max(told, peer.names_told)
            self._core.do(SubscribeNames(peer.id, message.names, message.base == 0))

    # --------------------------------------------------------------------------- tokens

    def token(self, node: bytes, epoch: int, subscribed: bool) -> None:
        """Take a node's token that was subscribed, or unsubscribed, at our data endpoint."""
        peer = self._core.members.peers.get(node)
        latest = self._latest(node)
        if not subscribed:
            self._withdrawn(node, epoch, latest, peer)
        elif 0 < latest > epoch:
            pass  # an old one: of a replaced connection, or of a reconnect, which repeats them all
        elif epoch and self._note(node, epoch) and peer:
            self.announce(peer, again=True)

    def _latest(self, node: bytes) -> int:
        """Return the newest epoch of a node's tokens that the node itself has told us; else 0.

        Anybody may subscribe to a token with another node's id and any epoch. So a token of an
        epoch that the node itself has not told us yet waits, and replaces no other token.
        """
        peer = self._core.members.peers.get(node)
        if peer is None:
            return 0
        known = peer.interest.epoch
        return max((epoch for epoch in self._tokens.get(node, ()) if epoch <= known), default=0)

    def _note(self, node: bytes, epoch: int) -> bool:
        """Remember a token in place of those before it; return whether there was room."""
        if node not in self._tokens and not self._room(node):
            return False
        noted = self._tokens[node] = (*self._tokens.get(node, ()), epoch)
        latest = self._latest(node)
        self._tokens[node] = tuple(sorted({e for e in noted if e >= latest})[:MAX_TOKENS])
        return True

    def _room(self, node: bytes) -> bool:
        """Return whether a node's first token can be remembered: a peer's always can."""
        if len(self._tokens) < MAX_STRANGERS_TOKENS:
            return True
        peers = self._core.members.peers
        stranger = next((known for known in self._tokens if known not in peers), None)
        if node not in peers or stranger is None:
            return node in peers
        del self._tokens[stranger]
        return True

    def _withdrawn(self, node: bytes, epoch: int, latest: int, peer: Peer | None) -> None:
        left = tuple(e for e in self._tokens.get(node, ()) if e != epoch)
        if peer and epoch == latest > 0:
            peer.interest.announced = 0
            self._core.restless = True
            left = tuple(e for e in left if e > epoch)
        if left:
            self._tokens[node] = left
        else:
            self._tokens.pop(node, None)

    def announce(self, peer: Peer, again: bool = False) -> None:
        """Answer a peer's token, once its interest of that epoch is known as well.

        With ``again``, answer it even if that epoch was announced: the token came again by a
        reconnect.
        """
        epoch = self._latest(peer.id)
        interest = peer.interest
        if epoch and interest.answerable(epoch) and (again or epoch != interest.announced):
            self._core.do(Announce(peer.id, epoch, interest.unproven(epoch)))

    def announced(self, node: bytes, epoch: int, heads: dict[str, int]) -> None:
        """Take note that an `Announce` was carried out, and with which heads."""
        peer = self._core.members.peers.get(node)
        if peer:
            # The token may have been unsubscribed since, if both were read in one turn.
            peer.interest.announce(epoch, heads, connected=self._latest(node) >= epoch)
            self._core.restless = True
