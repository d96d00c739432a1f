"""The hubs of a node: carries out the effects that `protocol/hub/client.py` asks for.

Runs on the control thread. It connects the messages of hubs with the session, the data socket and
the other parts of the engine. The only decision made here is when a hub may be dialled again.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from ...local.process.logs import log
from ...protocol.hub import client
from ...protocol.hub.messages import Detach
from ...protocol.security.permissions import Policy
from ...protocol.session.session import Session
from ...protocol.wire.envelopes import MARK, introduction_topic
from ..inbound.receiver import Receiver
from ..outbound.publisher import Publisher
from ..peering.hub_links import HubTransport
from ..security.guard import CurveGuard
from ..transport.dns import Resolver, needs_lookup
from ..transport.probes import Probes

PROBE_EVERY = 0.5
REFRESH = 5.0
"""Seconds between two look-ups of the name of a hub that has never answered."""


@dataclass(eq=False)
class HubClient:
    """Carries out the effects of a node's `HubSelector`."""

    federation: str
    session: Session
    outbound: Publisher
    inbound: Receiver
    probes: Probes
    monotonic: Callable[[], float]
    hubs: client.HubSelector
    ways: HubTransport
    lookups: Resolver
    guard: CurveGuard
    _asked: set[bytes] = field(default_factory=set[bytes], init=False)
    _secrets: dict[bytes, bytes] = field(default_factory=dict[bytes, bytes], init=False)
    _ups: dict[str, str] = field(default_factory=dict[str, str], init=False)
    _probe_at = 0.0
    _look_up_at = 0.0

    def __post_init__(self) -> None:
        self.ways.news = self.news
        for endpoint in self.hubs.hubs:
            self.ways.dial(endpoint)

    def tick(self, now: float) -> None:
        """Let time pass; probe hubs that are silent, to notice early that none listens there."""
        self.hubs.tick(now)
        if now >= self._probe_at:
            self._probe_at = now + PROBE_EVERY
            for hub in self.hubs.hubs.values():
                if now - hub.heard_at >= 2 * PROBE_EVERY or not hub.id:
                    self.probes.probe(hub.endpoint, now, self._probed)
        if now >= self._look_up_at:
            self._look_up_at = now + REFRESH
            for hub in self.hubs.hubs.values():
                if not hub.answered and needs_lookup(hub.endpoint):
                    self._look_up(hub.endpoint)
        self.news()

    def _look_up(self, endpoint: str) -> None:
        """Find out why a hub that was given by name does not answer."""

        def found(literals: list[str], why: str) -> None:
            if literals:
                literal = _first(literals)
                self.probes.probe(
                    literal, self.monotonic(), lambda _, up: self._probed(endpoint, up)
                )
            else:
                self.hubs.obstructed(endpoint, f"cannot resolve the name: {why}")

        self.lookups.ask(endpoint, found)

    def _probed(self, endpoint: str, listening: bool) -> None:
        self.hubs.probed(endpoint, listening)
        self.news()

    def news(self) -> None:
        """Carry out what follows from the last messages of the hubs."""
        now = self.monotonic()
        for effect in self.hubs.take():
            self._perform(effect, now)

    def _perform(self, effect: client.Effect, now: float) -> None:
        session = self.session
        match effect:
            case client.SendAttach(endpoint, word):
                self.ways.say(endpoint, word)
            case client.NodesAlive(nodes):
                session.behind.alive(nodes, now)
            case client.NodeReachable(node):
                session.behind.appeared(node, now)
            case client.NodeUnreachable(node, reason):
                session.behind.vanished(node, reason, now)
            case client.NodeMoved(node):
                session.behind.moved(node, now)
                session.behind.appeared(node, now)
            case client.Publish(up, connect, key):
                self._publish(up, connect, key)
            case client.Reconnect(down):
                self._renew(down)
            case client.RightsChanged():
                session.peering.judge_carried(now)
            case client.Introduce(hub, secret):
                self._secrets = {**self._secrets, hub: secret}
                if hub in self._asked:
                    self._introduce(hub)
                    # The hub did not pass on what we answered on that connection before.
                    session.behind.announce_again()
            case client.Redial(endpoint):
                self.ways.redial(endpoint)
            case client.HubLost(endpoint):
                self._warn(endpoint, "does not answer any more")
            case client.HubReturned(endpoint):
                self._warn(endpoint, "answers again")
            case client.HubRefused(endpoint, reason, text):
                session.reject(endpoint, f"refused: {reason}", text)

    def _warn(self, hub: str, text: str) -> None:
        log.warning("federation %r: the hub %s %s", self.federation, hub, text)

    def _publish(self, up: str, connect: bool, key: bytes) -> None:
        """Connect our data socket to a hub, or disconnect it. A name is looked up first."""
        if connect and needs_lookup(up):
            self.lookups.ask(up, lambda found, _: self._connect(up, _first(found), key))
        elif connect:
            self._connect(up, up, key)
        elif up in self._ups:
            self.outbound.connect_hub(self._ups.pop(up), False)

    def _connect(self, up: str, literal: str, key: bytes) -> None:
        if not literal or all(hub.up != up for hub in self.hubs.hubs.values()):
            return  # the name has no address, or the hub was left during the look-up
        self._ups[up] = literal
        prepare = partial(self.guard.unlock_up, endpoint=literal, key=key)
        self.outbound.connect_hub(literal, True, prepare)

    def _renew(self, down: str) -> None:
        key = next((hub.key for hub in self.hubs.hubs.values() if hub.down == down), b"")
        self.inbound.do(lambda: self.inbound.renew(down, key))

    def keys_changed(self, before: Policy, policy: Policy) -> None:
        """Leave hubs whose keys may no longer carry others; apply changed rights to the rest."""
        changed = before.changed(policy)
        for hub in self.hubs.hubs.values():
            if hub.key in changed and not policy.is_hub(hub.key):
                self.hubs.disowned(hub.endpoint)
            elif hub.key in changed:
                self._publish(hub.up, False, hub.key)
                self._publish(hub.up, True, hub.key)
            tried = self.ways.key_of(hub.endpoint)
            if not (before.is_hub(tried) and policy.is_hub(tried)):
                self.ways.redial(hub.endpoint)
        self.news()

    def asked(self, frame: bytes) -> None:
        """Take a subscription by which a hub asks to which node our data connection belongs."""
        if frame[1:2] == MARK and len(frame) == 18:
            hub = frame[2:]
            if frame[0] == 1:
                self._asked.add(hub)
                if hub in self._secrets:
                    self._introduce(hub)
            else:
                self._asked.discard(hub)

    def _introduce(self, hub: bytes) -> None:
        words = self.session.me + self._secrets[hub]
        self.outbound.introduce(introduction_topic(hub), words)

    def leave(self) -> None:
        """Say goodbye to every hub, after all that was said to the nodes there."""
        for endpoint in self.hubs.hubs:
            self.ways.say(endpoint, Detach(self.session.me))


def _first(found: list[str]) -> str:
    """Return the address of a hub to take: IPv4 first, as its other sockets are dialled."""
    return min(found, key=lambda endpoint: endpoint.startswith("tcp://["), default="")
