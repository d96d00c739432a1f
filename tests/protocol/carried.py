"""A hub and the nodes behind it as pure machines, beside those that reach each other directly.

The hub is the real core with connections in memory. What a node's shell does with its hub, and
with what comes of many by one connection, is done here as there, through the real wire functions.
"""

from dataclasses import dataclass, field
from typing import Any

from machines import Inlet, Machine
from network import DEATH, Connection, Network

from zexchange.net.inbound.sources import HubSource
from zexchange.net.peering.hub_links import ANSWERS, HubRoute, _sent_by
from zexchange.protocol.hub import client as h
from zexchange.protocol.hub import members as c
from zexchange.protocol.hub.core import HubCore
from zexchange.protocol.hub.messages import WORD, Accepted, Attach, Detach, read_word, word_frame
from zexchange.protocol.hub.topology import DuplicateFilter
from zexchange.protocol.session import effects as fx
from zexchange.protocol.wire import data as wire
from zexchange.protocol.wire import messages as v
from zexchange.protocol.wire.control import control_frame, read_control
from zexchange.protocol.wire.envelopes import (
    HOPS_MOST,
    MARK,
    Envelope,
    bundle,
    endpoint_of,
    introduction_topic,
    look,
    node_at,
    unbundle,
)

HUB = "tcp://hub"
UP, DOWN = HUB + "/up", HUB + "/down"
NOTICED = 0.5
"""Seconds after which a hub has noticed that a data connection to it has ended."""


class HubMachine:
    """One hub without sockets or threads."""

    def __init__(self, network: Network) -> None:
        network.serial += 1
        self.network = network
        self.id = network.serial.to_bytes(16, "big")
        self.endpoint = HUB
        self.alive = self.running = True
        self.core = HubCore(self.id, "f", (HUB, UP, DOWN), self.secret, network.now)
        self.seen = DuplicateFilter(self.core.map)
        self.asked: set[bytes] = {introduction_topic(self.id)}
        self.ups: dict[Connection, int] = {}
        self.downs: dict[Connection, set[bytes]] = {}
        self.ended: list[tuple[float, int]] = []
        network.hubs.append(self)
        for endpoint in (HUB, UP, DOWN):
            network.bound[endpoint] = self  # type: ignore[assignment]

    def secret(self) -> bytes:
        self.network.serial += 1
        return self.network.serial.to_bytes(16, "big")

    def kill(self) -> None:
        self.alive = self.running = False
        network = self.network
        network.hubs.remove(self)
        for endpoint in (HUB, UP, DOWN):
            del network.bound[endpoint]
        for connection in list(network.alive_connections()):
            if connection.bound is self:  # type: ignore[comparison-overlap]
                connection.cut()
        for lane in [lane for lane in network.lanes if lane.owner is self]:  # type: ignore[comparison-overlap]
            network.lanes.remove(lane)

    def tick(self) -> None:
        now = self.network.now
        for connection in [up for up in self.ups if not up.open]:
            self.ended.append((now + NOTICED, self.ups.pop(connection)))
        while self.ended and self.ended[0][0] <= now:
            self.core.disconnected(self.ended.pop(0)[1])
        self.core.tick(now)
        self.work()

    def work(self) -> None:
        for effect in self.core.take() if self.alive else ():
            match effect:
                case c.SendToMember(route, word):
                    if route.open:
                        route.down.queue.append(word_frame(word))
                case c.Subscribe(topic, wanted, anew):
                    if (anew or not wanted) and topic in self.asked:
                        self.ask(topic, False)
                    if wanted and topic not in self.asked:
                        self.ask(topic, True)

    # ------------------------------------------------------------------ what nodes say

    def on_link(self, frame: bytes, route: Connection) -> None:
        now = self.network.now
        if frame[:1] != WORD:
            if self.core.heard(route, now) is not None:
                for parcel in unbundle(frame):
                    member, _ = self.core.reached(parcel.to)
                    if member is not None and member.route.open:
                        member.route.down.queue.append(bundle([parcel]))
            return
        word = read_word(frame)
        member = self.core.heard(route, now)
        if isinstance(word, Attach):
            self.core.enter(word, route, now)
        elif isinstance(word, Detach) and member is not None:
            self.core.leave(member, "bye")

    # -------------------------------------------------------------------- what they send

    def ask(self, topic: bytes, wanted: bool) -> None:
        (self.asked.add if wanted else self.asked.discard)(topic)
        for up in self.ups:
            if up.open:
                up.down.queue.append((b"\1" if wanted else b"\0") + topic)

    def on_up(self, frame: bytes, connection: Connection) -> None:
        fd = self.ups.get(connection)
        if fd is None:
            return
        if frame[:1] == MARK:
            self.core.introduced(fd, frame[17:33], frame[33:])
            return
        member, passing = self.core.by_connection.get(fd), look(frame)
        if member is None or member.id != passing.origin:
            self.core.reject("a frame over a connection that is not its origin's")
        elif self.seen.onward(passing, self.id, HOPS_MOST) is not None:
            for down, prefixes in self.downs.items():
                if down.open and any(frame.startswith(prefix) for prefix in prefixes):
                    down.down.queue.append(frame)

    # --------------------------------------------------------------- what they subscribe to

    def on_subscription(self, connection: Connection, frame: bytes) -> None:
        if frame == DEATH:
            self.network.drop(connection.up)
            for topic in sorted(self.downs.pop(connection, set())):
                self.unwant(topic)
        elif frame[0] == 1:
            self.downs.setdefault(connection, set()).add(frame[1:])
            if frame[1:2] != MARK:
                self.core.want(frame[1:], True)
        else:
            self.downs.get(connection, set()).discard(frame[1:])
            self.unwant(frame[1:])

    def unwant(self, topic: bytes) -> None:
        if not any(topic in topics for topics in self.downs.values()):
            self.core.want(topic, False)


@dataclass(eq=False)
class Wire:
    """What a hub source subscribes by, where it thinks that it has a socket."""

    guest: "Guest"
    topics: dict[bytes, int] = field(default_factory=dict)

    def getsockopt(self, option: int) -> int:
        return 0

    def recv(self, flags: int = 0) -> bytes:
        raise AssertionError("frames are handed to the source")

    def send(self, frame: bytes, flags: int = 0) -> None:
        topic, down = frame[1:], self.guest.down
        before = self.topics.get(topic, 0)
        self.topics[topic] = after = before + (1 if frame[0] else -1)
        if after <= 0:
            del self.topics[topic]
        if bool(before) != bool(after > 0) and down is not None and down.open:
            down.up.queue.append(frame)


@dataclass(eq=False)
class Boarded:
    """A peer receiver as a hub source sees it."""

    guest: "Guest"
    peer_receiver: Inlet

    @property
    def peer(self) -> bytes:
        return self.peer_receiver.peer

    def take(self, frame: bytes, rest: object = None) -> int | None:
        if frame[:1] == wire.READY:
            return self.guest.take_ready(self.peer_receiver, wire.read_ready(frame))
        self.guest.on_data(self.peer_receiver, frame)
        return None


class Guest(Machine):
    """One node behind a hub."""

    def __init__(self, network: Network, name: str) -> None:
        self.hub_source: HubSource | None = None
        self.link: Connection | None = None
        self.up: Connection | None = None
        self.down: Connection | None = None
        self.up_to = ""
        self.secrets: dict[bytes, bytes] = {}
        self.asking: set[bytes] = set()
        self.word = b""
        self.probe_at = 0.0
        self.hubs: h.HubSelector | None = None
        super().__init__(network, name)
        self.hubs = h.HubSelector(self.id, "f", self.session.label, (HUB,), network.now)
        self.tick()

    @property
    def me(self) -> bytes:
        return self.id

    @property
    def control(self) -> Any:
        return self

    def marked(self, hub_source: str, mark: int) -> None:
        """Marks are not made here."""

    def reachable(self, address: v.Address) -> bool:
        return node_at(address.control) is not None

    def tick(self) -> None:
        now = self.network.now
        if self.hubs is not None:
            self.hubs.tick(now)
            hub = self.hubs.hubs[HUB]
            if now >= self.probe_at and (now - hub.heard_at >= 1.0 or not hub.id):
                self.probe_at = now + 0.5
                bound = self.network.listening(HUB)
                if bound is None and not self.cut_off():
                    self.hubs.lost(HUB)
            self.news()
        super().tick()

    def cut_off(self) -> bool:
        hub = self.network.bound.get(HUB)
        return hub is not None and not self.network.reaches(self, hub)

    def leave(self) -> None:
        self.session.peering.leave(dict(self.numbering.heads))
        self.work()
        if self.link is not None and self.link.open:
            self.link.up.queue.append(word_frame(Detach(self.id)))
        self.network.flow()
        self.kill()

    # ---------------------------------------------------------------------------- the hub

    def news(self) -> None:
        assert self.hubs is not None
        now, behind = self.network.now, self.session.behind
        for effect in self.hubs.take():
            match effect:
                case h.SendAttach(_, word):
                    self.word = word_frame(word)
                    self.knock()
                case h.Redial():
                    if self.link is not None:
                        self.link.cut()
                case h.NodesAlive(nodes):
                    behind.alive(nodes, now)
                case h.NodeReachable(node):
                    behind.appeared(node, now)
                case h.NodeUnreachable(node, reason):
                    behind.vanished(node, reason, now)
                case h.Publish(up, connect):
                    self.up_to = up if connect else ""
                    if self.up is not None:
                        self.up.cut()
                case h.Introduce(hub, secret):
                    self.secrets = {**self.secrets, hub: secret}
                    if hub in self.asking:
                        self.introduce(hub)
                        behind.announce_again()
        self.work()

    def knock(self) -> None:
        if self.link is None or not self.link.open:
            self.link = self.network.connect(
                self,
                HUB,
                ("control", "answers"),
                lambda hub, made: lambda frame: hub.on_link(frame, made),  # type: ignore[attr-defined]
                self.on_link,
            )
        if self.link is not None and self.word:
            self.link.up.queue.append(self.word)
            self.word = b""

    def on_link(self, frame: bytes) -> None:
        assert self.hubs is not None
        now = self.network.now
        self.hubs.heard(HUB, now)
        if frame[:1] == WORD:
            word = read_word(frame)
            if isinstance(word, Accepted):
                self.hubs.carried(word, HUB, now)
            self.news()
            return
        for parcel in unbundle(frame):
            message = _sent_by(read_control(parcel.content), parcel.sender)
            if isinstance(message, ANSWERS):
                self.session.receive(message, None, endpoint_of(parcel.sender), now, b"", "hub")
            else:
                self.session.receive(message, HubRoute(parcel.sender), None, now, b"", "hub")

    def introduce(self, hub: bytes) -> None:
        self.publish(introduction_topic(hub) + self.id + self.secrets[hub])

    def say(self, endpoint: str, message: v.Control) -> None:
        node = node_at(endpoint)
        if node is not None:
            self.say_to(node, message)

    def say_to(self, node: bytes, message: v.Control) -> None:
        known = self.hubs is not None and self.hubs.way(node) is not None
        if known and self.link is not None and self.link.open:
            parcel = Envelope(self.id, node, HOPS_MOST, control_frame(message))
            self.link.up.queue.append(bundle([parcel]))

    def perform(self, effect: fx.Effect) -> None:
        match effect:
            case fx.Reply(route, message):
                self.say_to(route.node, message)
            case fx.Dial() | fx.CloseLink() | fx.Redial() | fx.Probe():
                pass  # nothing is opened behind a hub
            case _:
                super().perform(effect)

    def work(self) -> None:
        super().work()
        if self.alive:
            self.knock()
            self.connect_up()
            self.connect_down()

    # -------------------------------------------------------------------- publishing

    def connect_up(self) -> None:
        if self.up is not None and not self.up.open:
            self.lost_up(self.up)
            self.up = None
        if self.up is None and self.up_to:
            self.up = self.network.connect(
                self,
                self.up_to,
                ("sent", "asked"),
                lambda hub, made: lambda frame: hub.on_up(frame, made),  # type: ignore[attr-defined]
                lambda frame: self.on_subscription(self.up, frame),  # type: ignore[arg-type]
            )
            if self.up is not None:
                hub: Any = self.up.bound
                self.network.serial += 1
                hub.ups[self.up] = self.network.serial
                self.up.down.queue.extend(b"\1" + topic for topic in sorted(hub.asked))

    def lost_up(self, connection: Connection) -> None:
        for topic in sorted(self.subscribers.pop(connection, set())):
            self.on_topic(b"\0" + topic)

    def on_topic(self, frame: bytes) -> None:
        if frame[1:2] == MARK:
            hub = frame[2:]
            (self.asking.add if frame[0] else self.asking.discard)(hub)
            if frame[0] and hub in self.secrets:
                self.introduce(hub)
        else:
            super().on_topic(frame)

    def publish(self, frame: bytes) -> None:
        for connection, prefixes in self.subscribers.items():
            if connection.open and any(frame.startswith(prefix) for prefix in prefixes):
                connection.up.queue.append(frame)

    # ---------------------------------------------------------------------- receiving

    def connect_down(self) -> None:
        if self.hub_source is None or (self.down is not None and self.down.open):
            return
        self.down = self.network.connect(
            self,
            DOWN,
            ("subscriptions", "data"),
            lambda hub, made: lambda frame: hub.on_subscription(made, frame),
            self.on_down,
        )
        if self.down is not None:
            topics: Any = self.hub_source.socket
            self.down.up.queue.extend(b"\1" + topic for topic in sorted(topics.topics))

    def on_down(self, frame: bytes) -> None:
        topics: Any = self.hub_source.socket if self.hub_source else None
        if self.hub_source is not None and frame.startswith(tuple(topics.topics)):
            proven = self.hub_source.take(frame)
            if proven is not None:
                self.proven(proven)

    def tune(self, peer: bytes, endpoint: str) -> None:
        before = self.peer_receivers.get(peer)
        if before is not None:
            self.prove_again()
            return
        peer_receiver = self.peer_receiver(peer, endpoint)
        peer_receiver.cuts, peer_receiver.made_at = (
            1,
            0,
        )  # what is lost on the way is nobody's cut here
        fresh = self.hub_source is None
        if self.hub_source is None:
            self.hub_source = HubSource("hub+" + DOWN, Wire(self), self)  # type: ignore[arg-type]
        proven = self.hub_source.board(Boarded(self, peer_receiver))  # type: ignore[arg-type]
        if fresh:
            for key in self.keys:
                self.subscribe_to(wire.topics(key), True)
            self.ask_proof()
        elif proven is not None:
            self.proven(proven)

    def subscribe_to(self, topics: Any, wanted: bool) -> None:
        socket: Any = self.hub_source.socket  # type: ignore[union-attr]
        for topic in topics:
            socket.send((b"\1" if wanted else b"\0") + topic)

    def ask_proof(self) -> None:
        assert self.hub_source is not None
        self.hub_source.ask_proof(self.epoch)

    def prove_again(self) -> None:
        assert self.hub_source is not None
        self.hub_source.prove_again(self.epoch, self.network.now)

    def proven(self, epoch: int) -> None:
        assert self.hub_source is not None
        self.hub_source.proven(epoch)

    def resubscribe(self, effect: fx.Resubscribe) -> None:
        self.change_keys(effect)
        for peer_receiver in self.peer_receivers.values():
            peer_receiver.positions.expect(effect.epoch, effect.added, effect.removed)
        if self.hub_source is not None:
            for key in effect.removed:
                self.subscribe_to(wire.topics(key), False)
            for key in effect.added:
                self.subscribe_to(wire.topics(key), True)
            self.ask_proof()

    def cut(self, peer_receiver: Inlet) -> None:
        """End what is received from one peer; the connection goes with the last."""
        if self.hub_source is not None:
            self.hub_source.leave(peer_receiver.peer)
            if not self.hub_source.peer_receivers:
                self.hub_source = None
                if self.down is not None:
                    self.down.cut()

    def reconnect(self, peer_receiver: Inlet) -> None:
        """Done for all at once."""
