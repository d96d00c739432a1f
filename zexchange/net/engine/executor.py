"""Carries out what the session asks for: the one place where its effects meet real parts.

On the control thread. What concerns data sockets is passed on to the data thread, which
owns them.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ...local.exchange import Exchange
from ...local.process.logs import log
from ...names import is_pattern
from ...protocol.delivery.stalls import Turns
from ...protocol.interest.interest import NameSet
from ...protocol.session.effects import (
    Acknowledged,
    Announce,
    CloseLink,
    CloseReceiver,
    Dial,
    Effect,
    Emit,
    HaveForgotten,
    InterestChanged,
    OpenReceiver,
    Probe,
    Recount,
    Recounted,
    Redial,
    Reply,
    Resend,
    Resent,
    Resubscribe,
    Send,
    SubscribeNames,
)
from ...protocol.session.events import Event, Lost, Rejected
from ...protocol.session.peers import Peer
from ...protocol.session.session import Session
from ...protocol.wire.data import topic
from ...protocol.wire.messages import Pong, Recalled, Replayed
from ..inbound.receiver import Receiver
from ..outbound.bridges import Bridges
from ..outbound.publisher import Publisher
from ..peering.links import Controls
from ..transport.dns import Resolver
from ..transport.probes import Probes
from ..transport.sync import SignalSafeCondition
from .environment import NodeEnvironment
from .health import NodeHealth
from .replays import RECALL, RECALL_PATTERN, REQUEST, ReplayQuota

BEACONS_MOST = 500
"""Exchanges asked about at a time. They lie in the same pipe as what is sent, and may fill it."""


class EffectExecutor:
    """Hands and feet of one session."""

    def __init__(
        self,
        session: Session,
        controls: Controls,
        probes: Probes,
        outbound: Publisher,
        lookups: Resolver,
        inbound: Receiver,
        bridges: Bridges,
        events: Exchange[Event],
        world: NodeEnvironment,
        changed: SignalSafeCondition,
    ) -> None:
        self._session = session
        self._controls = controls
        self._probes = probes
        self._outbound = outbound
        self._lookups = lookups
        self._inbound = inbound
        self._bridges = bridges
        self._events = events
        self._world = world
        self._changed = changed
        self.health = NodeHealth(inbound, world)
        self._requests = ReplayQuota()
        self._turns = Turns()

    def carry_out(self) -> None:
        """Do what the session asks for, until it asks for nothing more."""
        while effects := self._session.take():
            for effect in effects:
                try:
                    self._perform(effect)
                except Exception:
                    # The others must not be lost with it: the session takes them for done.
                    log.exception("could not carry out %.200s", effect)

    def _perform(self, effect: Effect) -> None:
        """Carry out one effect. The order of the cases is that of their frequency."""
        match effect:
            case Send(endpoint, message):
                self._controls.say(endpoint, message)
            case Reply(route, message):
                signed = self.health.sign(message) if isinstance(message, Pong) else message
                self._controls.reply(route, signed)
            case Probe(endpoint):
                self._probes.probe(endpoint, self._world.monotonic(), self._probed)
            case Announce(peer, epoch, keys):
                self._announce(peer, epoch, keys)
            case Resubscribe():
                self._inbound.do(self._inbound.follow)
            case OpenReceiver():
                asked = self._controls.routed(effect)
                self._lookups.literal(asked.endpoint, lambda literal: self._tune(asked, literal))
            case SubscribeNames(peer, names, anew):
                self._inbound.do(lambda: self._inbound.narrow(peer, names, anew))
            case CloseReceiver(peer, heads, final, acked):
                self._outbound.window.forget(peer, final, acked)
                self._inbound.do(lambda: self._inbound.hush(peer, heads, final))
            case Acknowledged(peer, positions):
                self.acknowledged(peer, positions)
            case Resend():
                self._resend(effect)
            case Resent(peer, name, first, last, request):
                self._inbound.with_peer_receiver(
                    peer, lambda peer_receiver: peer_receiver.resent(name, first, last, request)
                )
            case Recount():
                self._recount(effect)
            case Recounted(peer, request, ranges):
                self._inbound.with_peer_receiver(
                    peer,
                    lambda peer_receiver: peer_receiver.history_fetcher.recounted(request, ranges),
                )
            case HaveForgotten(peer, epoch, number, heads):
                self._outbound.have_forgotten(peer, epoch, number, heads)
            case InterestChanged(keys):
                # What was kept before a bridge came is encoded, which may call anything.
                with self._changed.aside():
                    self._bridges.refresh(keys, self._session.members.wanting)
            case Emit(event):
                self._tell(event)
            case Dial(endpoint, key):
                self._controls.dial(endpoint, key)
            case CloseLink(endpoint):
                self._controls.hang_up(endpoint)
            case Redial(endpoint, key):
                self._controls.redial(endpoint, key)

    def _tune(self, asked: OpenReceiver, endpoint: str) -> None:
        if asked.peer in self._session.members.peers:  # still, where a name was looked up
            tuned = replace(asked, endpoint=endpoint)
            self._inbound.do(lambda: self._inbound.tune(tuned))

    def _probed(self, endpoint: str, listening: bool) -> None:
        self._session.probed(endpoint, listening, self._world.monotonic())

    def _announce(self, node: bytes, epoch: int, keys: tuple[str, ...]) -> None:
        peer = self._session.members.peers.get(node)
        if peer is not None:
            interest = peer.interest
            heads, left_out = self._outbound.announce(
                node,
                epoch,
                NameSet(keys),
                interest.held(epoch),
                interest.promised,
                interest.account,
                peer.forgets,
                self._bridges.has,
            )
            if left_out:
                reason = "more exchanges than a ready of its version holds; of the others it is"
                self._session.reject(
                    str(peer.label), f"{reason} told losses that are none", count=left_out
                )
            self._session.announced(node, epoch, heads)

    def acknowledged(self, node: bytes, positions: dict[str, int]) -> None:
        """Let go of what a peer has; tell if it is slow no more. Control thread only."""
        peer = self._session.members.peers.get(node)
        if peer is not None and self._outbound.window.acknowledge(node, peer.acked, positions):
            # Told even if it was slow for a moment only, which no look at the clock has seen.
            now = self._world.monotonic()
            self._session.slow(node, True, now)
            self._session.slow(node, False, now)

    def _resend(self, asked: Resend) -> None:
        """Send frames again, then say which; the asker paces by asking for the rest."""
        name, first, last = asked.name, asked.first, asked.last
        now = self._world.monotonic()
        if not self._allowed(asked.route, REQUEST, now):
            return
        if asked.request:
            frames = self._bridges.recall(name, first, last)
        else:
            frames = self._outbound.window.replay(name, first, last)
        self._requests.sent(asked.route, sum(frame.size for frame in frames), now)
        for frame in frames:
            self._controls.replay(asked.route, frame)
        start = frames[0].first if frames else last + 1
        end = frames[-1].last if frames else last
        first, start, end = (max(0, n - asked.start) for n in (first, start, end))
        answer = Replayed(self._session.me, name, max(first, start), end, asked.request)
        self._controls.reply(asked.route, answer)

    def _recount(self, asked: Recount) -> None:
        """Tell what is kept for late joiners."""
        cost = RECALL_PATTERN if any(map(is_pattern, asked.keys)) else RECALL * len(asked.keys)
        if self._allowed(asked.route, cost, self._world.monotonic()):
            kept = self._bridges.kept
            ranges = {name: ends for key in asked.keys for name, ends in kept(key).items()}
            if not asked.places:
                start = self._outbound.numbering.start
                ranges = {n: (a - start(n), b - start(n)) for n, (a, b) in ranges.items()}
            self._controls.reply(asked.route, Recalled(self._session.me, asked.request, ranges))

    def _allowed(self, route: Any, cost: int, now: float) -> bool:
        """Tell whether a request is answered; one that is not is made again."""
        allowed = self._requests.allow(route, cost, now)
        if not allowed:
            self._session.reject("control", "more requests for messages than are answered")
        return allowed

    def _tell(self, event: Event) -> None:
        """Log an event and hand it to the tasks of `Node.events`, on the data thread."""
        unheard = isinstance(event, Lost | Rejected) and not self._events._occupied
        (log.warning if unheard else log.info)("%s", event)
        told_at = self._world.time()
        self._inbound.do(lambda: self._events._deliver([event], "", 0, told_at))

    def beacon_unacknowledged(self, goal: Mapping[str, int]) -> None:
        """Ask peers that lag behind ``goal`` how far they are. Control thread only.

        By some of the exchanges, and by others the next time: by one a peer tells all that it has.
        """
        peers = self._session.members.peers.values()
        names = {name for peer in peers for name in filter(self.lacks(peer, goal), goal)}
        self._outbound.beacon((n, topic(n)) for n in self._turns.take(names, BEACONS_MOST))

    def lacks(self, peer: Peer, goal: Mapping[str, int]) -> Callable[[str], bool]:
        """Return what tells whether a peer is promised an exchange and has not acknowledged it.

        Up to where ``goal`` says. What it was promised counts while its connection is cut, too.
        """
        acked, promised = peer.acked, self._outbound.window.promised(peer.id)
        lacks = self._outbound.numbering.lacks
        return lambda name: lacks(name, goal[name], acked) and promised.covers(name)

    def lags(self, peer: Peer, goal: Mapping[str, int]) -> bool:
        """Return whether a peer lacks something of ``goal``."""
        return any(map(self.lacks(peer, goal), goal))
