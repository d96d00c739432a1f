"""Carries out what the session asks for: the one place where its effects meet real parts.

On the control thread. What concerns data sockets is passed on to the data thread, which
owns them.
"""

from dataclasses import dataclass, replace
from typing import Any

from ...local.process.logs import log
from ...local.registry import Exchange
from ...names import is_pattern
from ...protocol.interest.interest import NameSet
from ...protocol.rate_limit import TokenBucket
from ...protocol.session import effects
from ...protocol.session.events import Event, Lost, Rejected
from ...protocol.session.session import Session
from ...protocol.wire.messages import Pong, Recalled, Replayed
from ..inbound.receiver import Receiver
from ..outbound.bridges import Bridges
from ..outbound.publisher import Publisher
from ..peering.links import Controls
from ..transport.dns import Resolver
from ..transport.probes import Probes
from ..transport.sync import SignalSafeCondition
from .environment import NodeEnvironment
from .watchdog import Watchdog

AT_ONCE, A_SECOND = 64 << 20, 64 << 20
"""Bytes sent again to one asker: at once, and a second. A request of sixty bytes is answered with
256 KiB, and looked up under the lock that senders need."""
REQUEST = 16 << 10
"""What a request is counted for at least."""
RECALL, RECALL_PATTERN = 64 << 10, 1 << 20
"""What asking for the numbers that are kept is counted for, of one name or of many."""


@dataclass(eq=False)
class EffectExecutor:
    """Hands and feet of one session."""

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

    def __post_init__(self) -> None:
        self._requests = TokenBucket(AT_ONCE, A_SECOND)

    def carry_out(self) -> None:
        """Do what the session asks for, until it asks for nothing more."""
        while asked := self.session.take():
            for effect in asked:
                try:
                    self._perform(effect)
                except Exception:
                    # The others must not be lost with it: the session takes them for done.
                    log.exception("could not carry out %.200s", effect)

    def _perform(self, effect: effects.Effect) -> None:
        """Carry out one effect. The order of the cases is that of their frequency."""
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
                self.inbound.do(lambda: self.inbound.hush(peer, heads, final))
            case effects.Resend():
                self._resend(effect)
            case effects.Recount():
                self._recount(effect)
            case effects.HaveForgotten(peer, epoch, number, heads):
                self.outbound.have_forgotten(peer, epoch, number, heads)
            case effects.InterestChanged(keys):
                # What was kept before a bridge came is encoded, which may call anything.
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
        if asked.peer in self.session.members.peers:  # still, where a name was looked up
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
        """Send frames again, then say which; the asker paces by asking for the rest."""
        request, now = asked.request, self.world.monotonic()
        if not self._allowed(asked.route, REQUEST, now):
            return
        again = self.bridges.recall if request.request else self.outbound.window.replay
        frames = again(request.name, request.first, request.last)
        size = sum(frame.size for frame in frames)
        self._requests.take(asked.route, max(0, size - REQUEST), now)
        for frame in frames:
            self.controls.replay(asked.route, frame)
        start = frames[0].first if frames else request.last + 1
        end = frames[-1].last if frames else request.last
        first, last = (max(0, n - asked.start) for n in (max(request.first, start), end))
        answer = Replayed(self.session.me, request.name, first, last, request.request)
        self.controls.reply(asked.route, answer)

    def _recount(self, asked: effects.Recount) -> None:
        """Tell what is kept for late joiners."""
        cost = RECALL_PATTERN if any(map(is_pattern, asked.keys)) else RECALL * len(asked.keys)
        if self._allowed(asked.route, cost, self.world.monotonic()):
            kept = self.bridges.kept
            ranges = {name: ends for key in asked.keys for name, ends in kept(key).items()}
            if not asked.places:
                start = self.outbound.numbering.start
                ranges = {n: (a - start(n), b - start(n)) for n, (a, b) in ranges.items()}
            self.controls.reply(asked.route, Recalled(self.session.me, asked.request, ranges))

    def _allowed(self, route: Any, cost: int, now: float) -> bool:
        """Tell whether a request is answered; one that is not is made again."""
        allowed = self._requests.take(route, cost, now)
        if not allowed:
            self.session.reject("control", "more requests for messages than are answered")
        return allowed

    def _tell(self, event: Event) -> None:
        """Log an event and hand it to the tasks of `Node.events`, on the data thread."""
        unheard = isinstance(event, Lost | Rejected) and not self.events._subscriptions()
        (log.warning if unheard else log.info)("%s", event)
        told_at = self.world.time()
        self.inbound.do(lambda: self.events._deliver([event], "", 0, told_at))
