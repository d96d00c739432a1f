"""Nodes as pure machines, wired back to back: a session, and a shell made of memory.

Each machine does what the sockets' shell does, frame by frame and through the real wire
functions, and keeps account of what it was sent, got and missed.
"""

from collections import deque
from dataclasses import dataclass, field

from network import DEATH, Connection, Network
from strategies import NAMES
from taking import take

from zexchange.names import matches
from zexchange.protocol.codec.values import decode_batch, encode
from zexchange.protocol.delivery.departed import LONGER, Departed
from zexchange.protocol.delivery.sequence import Gap, Numbering, ReceiveState, SentCounter
from zexchange.protocol.interest.interest import NameSet
from zexchange.protocol.session import effects as fx
from zexchange.protocol.session import events as ev
from zexchange.protocol.session.session import Session
from zexchange.protocol.wire import data as wire
from zexchange.protocol.wire import messages as v
from zexchange.protocol.wire.control import control_frame, read_control


@dataclass(eq=False)
class Inlet:
    """What a machine receives from one peer, and what came of it."""

    peer: bytes
    endpoint: str
    made_at: int
    positions: ReceiveState = field(default_factory=ReceiveState)
    connection: Connection | None = None
    cuts: int = 0
    tokens: list[int] = field(default_factory=list)
    arrived: set[tuple[str, int]] = field(default_factory=set)
    received: list[tuple[str, int]] = field(default_factory=list)
    lost: set[tuple[str, int]] = field(default_factory=set)
    unsure: dict[str, int] = field(default_factory=dict)
    doubts: list[tuple[str, range]] = field(default_factory=list)
    """What may be missing, as was told at one time and another."""
    outlived: bool = False
    """Whether it was forgotten while its connection went on, and brought what was for others."""
    known: dict[str, int] = field(default_factory=dict)
    """Up to where all was accounted for when it was forgotten."""


@dataclass(eq=False)
class Promise:
    """A message sent while it was promised to a receiver, also if that was away."""

    receiver: "Machine"
    peer_receiver: Inlet
    connection: Connection | None
    message: tuple[str, int]
    excused: bool = False


@dataclass(eq=False)
class Link:
    """A control link: what waits for a connection, and the connection."""

    endpoint: str
    outbox: deque[v.Control] = field(default_factory=deque)
    connection: Connection | None = None


class Machine:
    """One node without sockets or threads."""

    def __init__(
        self, network: Network, endpoint: str, seeds: tuple[str, ...] = (), federation: str = "f"
    ) -> None:
        self.network, self.endpoint, self.seeds = network, endpoint, seeds
        network.serial += 1
        self.id = network.serial.to_bytes(16, "big")
        self.alive = self.running = True
        self.numbering, self.keys, self.epoch = Numbering(), NameSet(), 0
        self.links: dict[str, Link] = {}
        self.peer_receivers: dict[bytes, Inlet] = {}
        self.away = Departed[bytes, Inlet]()
        self.lapsed: dict[bytes, Inlet] = {}
        self.since: dict[str, int] = {}
        self.accounts: dict[bytes, SentCounter] = {}
        self.accounts_away = Departed[bytes, SentCounter](longer=LONGER)
        self.former_accounts: dict[bytes, SentCounter] = {}
        self.dropped: set[str] = set()
        self.subscribers: dict[Connection, set[bytes]] = {}
        self.wanted: set[str] = set()
        self.attached: dict[str, int] = {}
        self.covered_at: dict[str, int] = {}
        self.promises: list[Promise] = []
        self.history: list[Inlet] = []
        self.events: list[ev.Event] = []
        self.rescan_at = 0.0
        address = v.Address(endpoint, endpoint + "/data")
        network.machines.append(self)
        network.bound[address.control] = network.bound[address.data] = self
        label = v.Label(endpoint, network.serial)
        self.session = Session(self.id, federation, label, (address,), self.reachable, network.now)
        for seed in seeds:
            self.session.candidates.add(seed, "static", network.now)
        self.tick()

    def reachable(self, address: v.Address) -> bool:
        return not address.control.startswith("ipc:") or address.control in self.network.bound

    @property
    def peers(self) -> dict[bytes, v.Label]:
        return {peer.id: peer.label for peer in self.session.members.peers.values()}

    def told(self, kind: type) -> list[ev.Event]:
        return [event for event in self.events if isinstance(event, kind)]

    # ----------------------------------------------------------------- what happens to it

    def tick(self) -> None:
        network = self.network
        if self.endpoint.startswith("ipc:") and network.now >= self.rescan_at:
            self.rescan_at = network.now + 2.0
            self.rescan()
        self.session.tick(network.now)
        for peer, peer_receiver in self.away.expire(network.now):
            peer_receiver.known |= peer_receiver.positions.positions
            peer_receiver.positions.lapse()
            self.lapsed[peer] = peer_receiver
        for peer, account in self.accounts_away.expire(network.now):
            account.lapse()
            self.former_accounts[peer] = account
        self.work()

    def rescan(self) -> None:
        others = {m.endpoint for m in self.network.living() if m is not self}
        for endpoint in sorted(others):
            self.session.candidates.add(endpoint, "rendezvous", self.network.now)
        for candidate in list(self.session.members.candidates.values()):
            if candidate.source == "rendezvous" and candidate.endpoint not in others:
                self.session.candidates.drop(candidate.endpoint)

    def resume(self) -> None:
        self.running = True

    def kill(self) -> None:
        """End without a word; the operating system closes what was open."""
        self.alive = self.running = False
        network = self.network
        for endpoint in [e for e, machine in network.bound.items() if machine is self]:
            del network.bound[endpoint]
        for connection in list(network.alive_connections()):
            if self in (connection.dialler, connection.bound):
                connection.cut()
        for lane in [lane for lane in network.lanes if lane.owner is self]:
            network.lanes.remove(lane)

    def leave(self) -> None:
        """End with a goodbye."""
        self.session.peering.leave(dict(self.numbering.heads))
        self.work()
        self.network.flow()
        self.kill()

    # ------------------------------------------------------------------- what users do

    def attach(self, *keys: str) -> None:
        self.change([(key, True) for key in keys])

    def detach(self, *keys: str) -> None:
        self.change([(key, False) for key in keys])

    def change(self, steps: list[tuple[str, bool]]) -> None:
        """Take steps as one change: what is wanted again in it was wanted all the time."""
        self.session.readiness.change_interest(steps, self.network.now)
        epoch = self.session.interest.epoch
        steps = list(dict(steps).items())
        for key, wanted in steps:
            if not wanted:
                self.attached.pop(key, None)
                self.dropped.add(key)
            elif key not in self.attached:
                self.attached[key] = epoch
        dropped = {key for key, wanted in steps if not wanted}
        kept = [key for key in self.attached if key not in dropped]
        for name in NAMES:
            if not any(matches(key, name) for key in kept):
                self.covered_at.pop(name, None)
            if any(matches(key, name) for key in self.attached):
                self.covered_at.setdefault(name, self.network.serial)
        self.work()
        self.excuse()

    def excuse(self) -> None:
        """What has not been covered all the time since it was sent is not for this machine now."""
        for machine in self.network.machines:
            for promise in machine.promises:
                if promise.receiver is self and not promise.excused:
                    sent_at = self.network.sent_at[machine.id, *promise.message]
                    since = self.covered_at.get(promise.message[0])
                    promise.excused = since is None or since >= sent_at

    def send(self, name: str) -> None:
        if not any(matches(key, name) for key in self.wanted):
            return
        self.network.serial += 1
        number = self.numbering.take(name, 1)
        self.network.sent_at[self.id, name, number] = self.network.serial
        self.promises += self.promised((name, number))
        head = wire.data_head(wire.topic(name), self.id, number, 1, self.network.now)
        self.publish(head + encode([name, number]))

    def promised(self, message: tuple[str, int]) -> list[Promise]:
        """Every receiver to which the message is promised, as far as it still wants it."""
        promises, name = [], message[0]
        for machine in self.network.living():
            peer = self.session.members.peers.get(machine.id)
            peer_receiver = machine.peer_receivers.get(self.id) or machine.away.there.get(self.id)
            if peer_receiver is None:
                continue
            way = None
            if peer is not None and peer.interest.in_force(name):
                epoch = peer.interest.announced
                since = [at for key, at in machine.attached.items() if matches(key, name)]
                owed = any(at <= epoch for at in since)
                # A fresh connection that has not subscribed yet: a cut, as seen from here.
                token = wire.ready_topic(machine.id, epoch)
                if token in self.subscribers.get(peer_receiver.connection, set()):  # type: ignore[arg-type]
                    way = peer_receiver.connection
            else:
                owed = self.owed(machine.id, name) and peer_receiver.positions._takes(name)
            if owed:
                promises.append(Promise(machine, peer_receiver, way, message))
        return promises

    def owed(self, node: bytes, name: str) -> bool:
        """Tell whether what is sent is for a node by what it was promised before.

        It has left, and is owed it if it is back; or it wants it under another key by now.
        """
        account, away = self.accounts.get(node), self.accounts_away.there.get(node)
        return bool((account and account.keys.covers(name)) or (away and away._away.covers(name)))

    def beacon(self) -> None:
        for name, head in self.numbering.heads.items():
            self.publish(wire.data_head(wire.topic(name), self.id, head + 1, 0, self.network.now))

    # ------------------------------------------------------------------- publishing

    def publish(self, frame: bytes) -> None:
        for connection, prefixes in self.subscribers.items():
            if connection.open and any(frame.startswith(prefix) for prefix in prefixes):
                connection.down.queue.append(frame)

    def on_subscription(self, connection: Connection, frame: bytes) -> None:
        if frame == DEATH:
            self.network.drop(connection.up)
            topics = self.subscribers.pop(connection, set())
            gone = [b"\0" + topic for topic in sorted(topics)]
        elif frame[0] == 1:
            self.subscribers.setdefault(connection, set()).add(frame[1:])
            gone = []
            self.on_topic(frame)
        else:
            self.subscribers.get(connection, set()).discard(frame[1:])
            gone = [frame]
        for topic in gone:
            if not any(topic[1:] in topics for topics in self.subscribers.values()):
                self.on_topic(topic)

    def on_topic(self, frame: bytes) -> None:
        token = wire.read_token(frame[1:])
        if token is not None:
            self.session.readiness.token(*token, subscribed=frame[0] == 1)

    # ------------------------------------------------------------------- receiving

    def tune(self, peer: bytes, endpoint: str) -> None:
        peer_receiver = self.peer_receiver(peer, endpoint)
        self.cut(peer_receiver)
        peer_receiver.tokens = [self.epoch]
        self.reconnect(peer_receiver)

    def peer_receiver(self, peer: bytes, endpoint: str) -> Inlet:
        """Return the peer receiver of a peer, as it was if the peer is back."""
        peer_receiver = self.peer_receivers.get(peer) or self.away.back(peer)
        if peer_receiver is None:
            peer_receiver = Inlet(peer, endpoint, self.network.serial)
            if peer in self.lapsed:
                peer_receiver = self.lapsed.pop(peer)
                former, peer_receiver.positions = peer_receiver.positions, ReceiveState()
                peer_receiver.positions.count_on(former)
            for key, epoch in self.since.items():
                peer_receiver.positions.expect(epoch, (key,), ())
            if peer_receiver not in self.history:
                self.history.append(peer_receiver)
        self.peer_receivers[peer], peer_receiver.endpoint = peer_receiver, endpoint
        return peer_receiver

    def cut(self, peer_receiver: Inlet) -> None:
        if peer_receiver.connection is not None:
            peer_receiver.cuts += 1
            peer_receiver.connection.cut()
            peer_receiver.connection = None

    def reconnect(self, peer_receiver: Inlet) -> None:
        if peer_receiver.connection is not None:
            if peer_receiver.connection.open:
                return
            self.cut(peer_receiver)
        peer_receiver.connection = self.network.connect(
            self,
            peer_receiver.endpoint,
            ("subscriptions", "data"),
            lambda bound, made: lambda frame: bound.on_subscription(made, frame),
            lambda frame: self.on_frame(peer_receiver, frame),
        )
        if peer_receiver.connection:
            peer_receiver.connection.up.queue.extend(
                b"\1" + topic for topic in sorted(self.topics(peer_receiver))
            )

    def topics(self, peer_receiver: Inlet) -> set[bytes]:
        topics = {topic for key in self.keys for topic in wire.topics(key)}
        return topics | {wire.ready_topic(self.id, epoch) for epoch in peer_receiver.tokens}

    def resubscribe(self, effect: fx.Resubscribe) -> None:
        before = {
            peer_receiver: self.topics(peer_receiver)
            for peer_receiver in self.peer_receivers.values()
        }
        self.keys.remove(effect.removed)
        kept = {
            peer_receiver: self.topics(peer_receiver)
            for peer_receiver in self.peer_receivers.values()
        }
        self.change_keys(effect)
        for peer_receiver in self.peer_receivers.values():
            peer_receiver.positions.expect(effect.epoch, effect.added, effect.removed)
            peer_receiver.tokens.append(effect.epoch)
            self.subscribe(
                peer_receiver,
                before[peer_receiver] - kept[peer_receiver],
                self.topics(peer_receiver) - kept[peer_receiver],
            )

    def change_keys(self, effect: fx.Resubscribe) -> None:
        """Take note of other keys, also where we stand with those that are away."""
        self.epoch = effect.epoch
        self.keys.remove(effect.removed)
        self.keys.update(effect.added)
        for key in effect.removed:
            del self.since[key]
        self.since.update(dict.fromkeys(effect.added, effect.epoch))
        for peer_receiver in self.away.there.values():
            peer_receiver.positions.expect(effect.epoch, effect.added, effect.removed)
        for peer_receiver in self.lapsed.values():
            peer_receiver.positions.drop(effect.removed, self.keys)

    def subscribe(self, peer_receiver: Inlet, gone: set[bytes], new: set[bytes]) -> None:
        if peer_receiver.connection and peer_receiver.connection.open:
            changes = [b"\0" + topic for topic in sorted(gone)]
            peer_receiver.connection.up.queue.extend(
                changes + [b"\1" + topic for topic in sorted(new)]
            )

    def on_frame(self, peer_receiver: Inlet, frame: bytes) -> None:
        if not any(frame.startswith(topic) for topic in self.topics(peer_receiver)):
            return  # a SUB filters what arrives, too: it was unsubscribed meanwhile
        if frame[:1] == wire.READY:
            before = self.topics(peer_receiver)
            proven = self.take_ready(peer_receiver, wire.read_ready(frame))
            if proven is not None:
                peer_receiver.tokens = [epoch for epoch in peer_receiver.tokens if epoch >= proven]
                self.subscribe(peer_receiver, before - self.topics(peer_receiver), set())
        else:
            self.on_data(peer_receiver, frame)

    def take_ready(self, peer_receiver: Inlet, ready: v.Ready) -> int | None:
        """Take a ready; return the epoch that it proves, unless it is another node's."""
        assert ready.receiver == self.id
        if ready.origin != peer_receiver.peer:
            return None  # another node has taken over the endpoint
        if peer_receiver.positions.outlived(ready.account):
            peer_receiver.outlived = True
            peer_receiver.known |= peer_receiver.positions.positions
            peer_receiver.positions.begin_again()
        gaps = peer_receiver.positions.ready(ready.epoch, ready.heads, ready.promised)
        for gap in [gap for gap in gaps if not gap.first]:
            peer_receiver.unsure[gap.name] = gap.last
            peer_receiver.doubts.append(
                (gap.name, range(peer_receiver.known.get(gap.name, 0) + 1, gap.last + 1))
            )
        gaps = [gap for gap in gaps if gap.first]
        for gap in gaps:  # a machine without recovery: what is missing is lost
            peer_receiver.positions.give_up(gap.name, gap.last)
        self.missed(peer_receiver, gaps, again=bool(ready.promised))
        self.session.readiness.proven(peer_receiver.peer, ready.epoch)
        return ready.epoch

    def on_data(self, peer_receiver: Inlet, frame: bytes) -> None:
        batch = wire.read_data(frame)
        if batch.origin != peer_receiver.peer:
            return
        skip, gap = take(peer_receiver.positions, batch.name, batch.first, batch.count)
        self.missed(peer_receiver, [gap] if gap else [])
        values = decode_batch(frame[batch.body :], batch.count)
        assert values == [[batch.name, batch.first + i] for i in range(batch.count)]
        numbers = [(batch.name, batch.first + i) for i in range(batch.count)]
        if batch.name in peer_receiver.positions.positions:
            # Else it was dropped, and asked for later, if a ready shows that it was promised.
            peer_receiver.arrived.update(numbers)
            peer_receiver.received += numbers[skip:]
        peer = self.session.members.peers.get(peer_receiver.peer)
        if (
            batch.count == 0
            and peer
            and peer.link
            and batch.name in peer_receiver.positions.positions
        ):
            done = {batch.name: peer_receiver.positions.positions[batch.name]}
            self.say(peer.link, v.Ack(self.id, done, peer.id))

    def missed(self, peer_receiver: Inlet, gaps: list[Gap], again: bool = False) -> None:
        """Account for a gap: it may hold only what was lost since this machine wanted it.

        A promise that is told again may have gone, without a cut, to the peer receiver of the
        node that was at the same endpoint before.
        """
        for gap in gaps:
            assert peer_receiver.cuts or again, f"{gap} without any cut"
            since = max(peer_receiver.made_at, self.covered_at.get(gap.name, 1 << 62))
            for number in range(gap.first, gap.last + 1):
                assert (gap.name, number) not in peer_receiver.arrived
                assert self.network.sent_at[peer_receiver.peer, gap.name, number] > since
                peer_receiver.lost.add((gap.name, number))

    # ----------------------------------------------------------------- control links

    def say(self, endpoint: str, message: v.Control) -> None:
        link = self.links.get(endpoint)
        if link is not None:
            if isinstance(message, v.Hello | v.Ping):
                link.outbox = deque(m for m in link.outbox if type(m) is not type(message))
            link.outbox.append(message)
            self.flush(link)

    def flush(self, link: Link) -> None:
        if link.connection is None or not link.connection.open:
            link.connection = self.network.connect(
                self,
                link.endpoint,
                ("control", "answers"),
                lambda bound, made: lambda frame: bound.on_control(frame, made, None),
                lambda frame: self.on_control(frame, None, link),
            )
        if link.connection is not None:
            link.connection.up.queue.extend(map(control_frame, link.outbox))
            link.outbox.clear()

    def on_control(self, frame: bytes, route: Connection | None, link: Link | None) -> None:
        message = read_control(frame)
        endpoint = link.endpoint if link else None
        if link is None or self.links.get(link.endpoint) is link:
            self.session.receive(message, route, endpoint, self.network.now)

    def hang_up(self, endpoint: str) -> None:
        link = self.links.pop(endpoint, None)
        if link is not None and link.connection is not None:
            link.connection.cut()

    # ----------------------------------------------------------------------- effects

    def work(self) -> None:
        while self.alive and (effects := self.session.take()):
            for effect in effects:
                self.perform(effect)
        for link in self.links.values():
            self.flush(link)
        for peer_receiver in self.peer_receivers.values():
            self.reconnect(peer_receiver)

    def perform(self, effect: fx.Effect) -> None:
        match effect:
            case fx.Send(endpoint, message):
                self.say(endpoint, message)
            case fx.Reply(route, message):
                if route.open:
                    route.down.queue.append(control_frame(message))
            case fx.Probe(endpoint):
                self.probe(endpoint)
            case fx.Announce(peer, epoch, keys):
                self.announce(peer, epoch, keys)
            case fx.Resubscribe():
                self.resubscribe(effect)
            case fx.OpenReceiver(peer, endpoint):
                self.tune(peer, endpoint)
            case fx.CloseReceiver(peer, _, final, acked):
                self.hush(peer, final, acked)
            case fx.InterestChanged(keys):
                self.look_again(keys)
            case fx.Emit(event):
                self.events.append(event)
            case fx.Dial(endpoint):
                self.links[endpoint] = Link(endpoint)
            case fx.CloseLink(endpoint):
                self.hang_up(endpoint)
            case fx.Redial(endpoint):
                self.hang_up(endpoint)
                self.links[endpoint] = Link(endpoint)

    def hush(self, peer: bytes, final: bool, acked: dict[str, int]) -> None:
        peer_receiver = self.peer_receivers.pop(peer)
        self.cut(peer_receiver)
        account = self.accounts.pop(peer, None)
        if account is not None:
            account.leave(self.numbering, acked)
        if not final:
            self.away.leave(peer, peer_receiver, self.network.now)
            if account is not None:
                self.accounts_away.leave(peer, account, self.network.now)

    def probe(self, endpoint: str) -> None:
        bound = self.network.listening(endpoint)
        if bound is None or self.network.reaches(self, bound):
            self.session.peering.probed(endpoint, bound is not None, self.network.now)

    def announce(self, node: bytes, epoch: int, keys: tuple[str, ...]) -> None:
        peer = self.session.members.peers.get(node)
        if peer is not None:
            if node not in self.accounts:
                before = self.accounts_away.back(node) or self.former_accounts.pop(node, None)
                self.accounts[node] = before or SentCounter()
            self.accounts[node].promise(NameSet(peer.interest.held(epoch)), self.numbering)
            heads = self.numbering.covered(NameSet(keys))
            behind = tuple(promise.behind(heads) for promise in peer.interest.promised)
            ready = v.Ready(node, epoch, self.id, heads, behind, account=peer.interest.account)
            self.publish(wire.ready_frame(ready))
            self.session.readiness.announced(node, epoch, heads)

    def look_again(self, keys: tuple[str, ...]) -> None:
        for key in keys:
            wanting = self.session.members.wanting(key)
            (self.wanted.add if wanting else self.wanted.discard)(key)


def agreed(network: Network) -> list[str]:
    """Say what is still missing until every living machine sees the same federation."""
    missing = []
    living = network.living()
    for one in living:
        members, ours = one.session.members, one.session.interest.epoch
        others = {machine.id for machine in living if machine is not one}
        if set(members.peers) != others:
            missing.append(f"{one.endpoint} knows {len(members.peers)} of {len(others)}")
        missing += [f"{one.endpoint}: {text}" for text in members.pending(ours)]
        for other in living:
            peer = members.peers.get(other.id)
            if peer and set(peer.interest.keys) != set(other.attached):
                missing.append(f"{one.endpoint} has old interest of {other.endpoint}")
            if peer and not peer.ready(ours):
                missing.append(f"{one.endpoint} is not ready with {other.endpoint}")
        away = {k for lapsed in members._lapsed.there.values() for k in lapsed.wants}
        if one.wanted != away | {key for m in living if m is not one for key in m.attached}:
            missing.append(f"{one.endpoint} has bridges for {one.wanted}")
    return missing
