"""Carries out the effects of the session: here they meet sockets, threads and tasks.

Runs on the control thread. Effects that concern data sockets are passed on to the data thread,
which owns those sockets.
"""

from dataclasses import dataclass, replace
from typing import Any

from ...history import Frame
from ...local.process.logs import log
from ...local.registry import Exchange
from ...names import is_pattern
from ...protocol.interest.interest import NameSet
from ...protocol.rate_limit import TokenBucket
from ...protocol.session import effects
from ...protocol.session.events import Event, Lost, Rejected
from ...protocol.session.session import Session
from ...protocol.wire.messages import Pong, Recalled, Replay, Replayed
from ..inbound.receiver import Receiver
from ..outbound.bridges import Bridges
from ..outbound.publisher import Publisher
from ..peering.links import Controls
from ..transport.dns import Resolver
from ..transport.probes import Probes
from ..transport.sync import SignalSafeCondition
from .counting import NodeCounts
from .environment import NodeEnvironment
from .requests import NodeRequests
from .watchdog import Watchdog

AT_ONCE, A_SECOND = 64 << 20, 64 << 20
"""Bytes that are replayed to one peer at once, and per second.

A request of sixty bytes is answered with 256 KiB, which are looked up under the lock that senders
need.
"""
REQUEST = 16 << 10
"""Bytes that a request counts for at least."""
RECALL, RECALL_PATTERN = 64 << 10, 1 << 20
"""Bytes that a request for the range of kept numbers counts for: of one name, of a pattern."""
COUNT, COUNTED = 64 << 10, 16
"""Bytes that a request for counts counts for, and more for each exchange that is looked at."""


@dataclass(eq=False)
class EffectExecutor:
    """Carries out the effects of one session."""

    session: Session
    controls: Controls
    probes: Probes
    outbound: Publisher
    lookups: Resolver
    inbound: Receiver
    bridges: Bridges
    events: Exchange[Event]
    world: NodeEnvironment
    changed: SignalSafeCondition
    watch: Watchdog
    requests: NodeRequests
    counts: NodeCounts

    def __post_init__(self) -> None:
        self._requests = TokenBucket(AT_ONCE, A_SECOND)

    def carry_out(self) -> None:
        """Carry out effects until the session asks for nothing more."""
        while asked := self.session.take():
            for effect in asked:
                try:
                    self._perform(effect)
                except Exception:
                    # The other effects must still be carried out: the session takes them for done.
                    log.exception("could not carry out %.200s", effect)

    def _perform(self, effect: effects.Effect) -> None:
        """Carry out one effect. The most frequent cases come first."""
        match effect:
            case effects.Send(endpoint, message):
                self.controls.say(endpoint, message)
            case effects.Reply(route, message):
                signed = self.watch.sign(message) if isinstance(message, Pong) else message
                self.controls.reply(route, signed)
            case effects.Probe(endpoint):
                self.probes.probe(endpoint, self.world.monotonic(), self._probed)
            case effects.Announce(peer, epoch, keys):
                self._announce(peer, epoch, keys)
            case effects.Resubscribe():
                self.inbound.do(self.inbound.follow)
            case effects.OpenReceiver():
                asked = self.controls.routed(effect)
                self.lookups.literal(asked.endpoint, lambda literal: self._tune(asked, literal))
            case effects.SubscribeNames(peer, names, anew):
                self.inbound.do(lambda: self.inbound.narrow(peer, names, anew))
            case effects.CloseReceiver(peer, heads, final, acked):
                self.outbound.window.forget(peer, final, acked)
                self.outbound.leave(peer)
                self.inbound.do(lambda: self.inbound.hush(peer, heads, final))
                self.inbound.do(lambda: self.requests.left(peer, "it has left the federation"))
            case effects.Resend():
                self._resend(effect)
            case effects.Recount():
                self._recount(effect)
            case effects.TellCounts():
                self._tell_counts(effect)
            case effects.HaveForgotten(peer, epoch, number, heads):
                self.outbound.have_forgotten(peer, epoch, number, heads)
            case effects.InterestChanged(keys):
                # The lock is released meanwhile. Messages that were kept before the bridge existed
                # are encoded now, and that may call any code.
                with self.changed.aside():
                    self.bridges.refresh(keys, self.session.members.wanting)
            case effects.Emit(event):
                self._tell(event)
            case effects.Dial(endpoint, key):
                self.controls.dial(endpoint, key)
            case effects.CloseLink(endpoint):
                self.controls.hang_up(endpoint)
            case effects.Redial(endpoint, key):
                self.controls.redial(endpoint, key)
            case _:
                raise TypeError(f"no effect: {effect!r:.200}")

    def _tune(self, asked: effects.OpenReceiver, endpoint: str) -> None:
        if asked.peer in self.session.members.peers:  # it may have left during the look-up
            tuned = replace(asked, endpoint=endpoint)
            self.inbound.do(lambda: self.inbound.tune(tuned))

    def _probed(self, endpoint: str, listening: bool) -> None:
        self.session.peering.probed(endpoint, listening, self.world.monotonic())

    def _announce(self, node: bytes, epoch: int, keys: tuple[str, ...]) -> None:
        peer = self.session.members.peers.get(node)
        if peer is not None:
            heads, left_out = self.outbound.announce(peer, epoch, NameSet(keys), self.bridges.has)
            if left_out:
                reason = "more exchanges than a ready of its version holds; of the others it is"
                self.session.reject(
                    str(peer.label), f"{reason} told losses that are none", count=left_out
                )
            self.session.readiness.announced(node, epoch, heads)

    def _resend(self, asked: effects.Resend) -> None:
        """Send frames again, then say which they were.

        The peer that asked sets the pace: it asks for the rest afterwards.
        """
        request, now = asked.request, self.world.monotonic()
        if not self._allowed(asked.route, REQUEST, now):
            return
        frames, again = self._asked_for(request)
        if again:
            size = sum(frame.size for frame in frames)
            self._requests.take(asked.route, max(0, size - REQUEST), now)
        for frame in frames:
            self.controls.replay(asked.route, frame)
        start = frames[0].first if frames else request.last + 1
        end = frames[-1].last if frames else request.last
        first, last = (max(0, n - asked.start) for n in (max(request.first, start), end))
        answer = Replayed(self.session.me, request.name, first, last, request.request)
        self.controls.reply(asked.route, answer)

    def _asked_for(self, request: Replay) -> tuple[list[Frame], bool]:
        """Return the frames that answer a request, and whether they were sent to the peer before.

        A conflated exchange answers with its newest message. To be sent it once, as every message
        of an ordinary exchange, needs no bound.
        """
        if request.request:
            return self.bridges.recall(request.name, request.first, request.last), True
        latest, peer, name = self.outbound.latest, request.sender, request.name
        again = latest.answered(peer, name)
        newest = latest.claim(peer, name, request.first)
        if newest is not None:
            self.counts.claimed(name, newest)
            return [newest], again
        return self.outbound.window.replay(name, request.first, request.last), True

    def _recount(self, asked: effects.Recount) -> None:
        """Answer which numbers are kept for late joiners."""
        cost = RECALL_PATTERN if any(map(is_pattern, asked.keys)) else RECALL * len(asked.keys)
        if self._allowed(asked.route, cost, self.world.monotonic()):
            kept = self.bridges.kept
            ranges = {name: ends for key in asked.keys for name, ends in kept(key).items()}
            if not asked.places:
                start = self.outbound.numbering.start
                ranges = {n: (a - start(n), b - start(n)) for n, (a, b) in ranges.items()}
            self.controls.reply(asked.route, Recalled(self.session.me, asked.request, ranges))

    def _tell_counts(self, asked: effects.TellCounts) -> None:
        """Answer what flows on some exchanges."""
        cost = COUNT + COUNTED * len(self.counts)
        if self._allowed(asked.route, cost, self.world.monotonic()):
            self.controls.reply(asked.route, self.counts.answer(asked.question, asked.keys))

    def _allowed(self, route: Any, cost: int, now: float) -> bool:
        """Return whether a request is answered now. If not, the peer asks again later."""
        allowed = self._requests.take(route, cost, now)
        if not allowed:
            self.session.reject("control", "more requests for messages than are answered")
        return allowed

    def _tell(self, event: Event) -> None:
        """Log an event, and have the data thread hand it to the tasks of `Node.events`."""
        unheard = isinstance(event, Lost | Rejected) and not self.events._subscriptions()
        (log.warning if unheard else log.info)("%s", event)
        told_at = self.world.time()
        self.inbound.do(lambda: self.events._deliver([event], "", 0, told_at))
