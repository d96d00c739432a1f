"""A hub: a process that carries many nodes, so that each needs only a few connections.

It passes messages between nodes without opening them. Nodes behind a hub are peers of each
other, and the hub is a peer of none. Its decisions are made in `protocol/hub/core.py`; here are
its thread, its links to other hubs, and its counters.

The file is long because reading, passing on and sending are one turn of one thread.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import zmq

from ...errors import DecodeError
from ...local.process.logs import log
from ...names import check_federation
from ...protocol.hub import members
from ...protocol.hub.core import HubCore
from ...protocol.hub.messages import WORD, Attach, Detach, HubState, Word, read_word, word_frame
from ...protocol.wire.data import DATA
from ...protocol.wire.envelopes import (
    BUNDLE,
    HEAD_BYTES,
    RELAY,
    TRUNK,
    Envelope,
    bundles,
    hub_source_head,
    look,
    read_hub_source,
    read_relay,
    relay_head,
    unbundle,
)
from ...protocol.wire.messages import Label
from ..engine.environment import NodeEnvironment
from ..peering.links import seen_at
from ..security.connections import peer_host
from ..security.guard import CurveGuard
from ..transport.descriptors import A_HUB, HUB, KEYS, require
from ..transport.endpoints import check_secure, parse_tcp
from ..transport.sockets import subscribe, unsubscribe
from ..transport.threads import Ready
from .forwarding import BUDGET, Forwarding
from .keys import HubAuth
from .links import FORGET_AFTER, HubLinks
from .sockets import HubSockets

TICK = 0.1


@dataclass(frozen=True, slots=True)
class HubStats:
    """The nodes that a hub carries now, and its counters since it was started.

    Attributes:
        nodes: how many nodes it carries itself.
        hubs: how many other hubs it is linked to.
        reachable: how many nodes can be reached, including those that other hubs carry.
        topics: how many topics its nodes subscribe to.
        frames: data frames passed on to nodes of this hub; a frame may hold many messages.
        bytes: the bytes in these frames.
        relayed: control messages passed on.
        dropped: frames and control messages that were not passed on, because they had passed
            before or because there was no room. Nodes ask again for what they miss.
        cut: connections that were cut because their nodes read too slowly.
        rejected: how often something was refused, by reason.
    """

    nodes: int
    hubs: int
    reachable: int
    topics: int
    frames: int
    bytes: int
    relayed: int
    dropped: int
    cut: int
    rejected: dict[str, int]


class Hub:
    """A running hub; `close` ends it.

    Args:
        federation: the federation that it carries.
        listen: ``tcp://HOST:PORT`` of its control socket; the next two ports are for data.
        advertise: the endpoint that nodes are told, if they reach the hub by another one.
        peers: control endpoints of other hubs.
        keys: a key directory: nodes and hubs need a key that is authorized there, and may do
            what its permissions say. Other hubs need the mark ``hub`` there.
        insecure: allow endpoints that other hosts can reach, without keys.
        label: a name in logs and tables.

    Raises:
        InsecureEndpoint: for an endpoint that is not loopback, without keys or ``insecure``.
        InvalidKeys: if the key directory cannot be used.
        TooFewDescriptors: if this process may not open as many files as a hub takes.
        Unreachable: if an endpoint is taken.
        ValueError: for a malformed endpoint.
    """

    def __init__(
        self,
        federation: str,
        listen: str,
        *,
        advertise: str | None = None,
        peers: Sequence[str] = (),
        keys: str | os.PathLike[str] | None = None,
        insecure: bool = False,
        label: Label | None = None,
        world: NodeEnvironment | None = None,
    ) -> None:
        check_federation(federation)
        check_secure([parse_tcp(e) for e in (listen, *peers)], insecure or keys is not None)
        self._world = world or NodeEnvironment()
        needed = HUB + A_HUB * len(peers) + (KEYS if keys else 0)
        require(needed, self._world.descriptors(), "a hub")
        self._guard = CurveGuard(Path(keys) if keys is not None else None)
        self._me = self._guard.node_id(self._world.new_id())
        self._sockets = HubSockets(listen, advertise)
        self._waker, self._poller = self._world.waker(), self._world.poller()
        self._keys = HubAuth(self._guard, self._sockets, self._poller)
        try:
            self._sockets.bind(self._guard.lock)
        except BaseException:
            self._end()
            raise
        self.endpoint = self._sockets.endpoints[0]
        self._make_parts(federation, label or Label("hub", 0))
        self._out: dict[Any, list[Envelope]] = {}
        self._relayed = self._dropped = 0
        self._tick_at = 0.0
        self._closing = False
        for endpoint in peers:
            self._links.keep(str(parse_tcp(endpoint)))
        self._thread = self._world.loop("zexchange-hub", self._poller.wait, self._turn, self._end)
        self._thread.start()

    def _make_parts(self, federation: str, label: Label) -> None:
        """Make the core, the forwarding and the links, now that the endpoints are known."""
        guard, sockets, world = self._guard, self._sockets, self._world
        self._core = HubCore(
            self._me,
            federation,
            sockets.endpoints,
            world.new_id,
            world.monotonic(),
            self._keys.gate,
        )
        self._forwarding = Forwarding(sockets, self._core, self._pass_on, guard.gate)
        self._poller.watch(self._waker.fd, self._waker.clear)
        for fd in sockets.fds:
            self._poller.watch(fd)
        hello = Attach(self._me, federation, label, hub=True, endpoint=self.endpoint)
        self._links = HubLinks(sockets, self._poller, self._core, hello, world.monotonic, guard)
        self._keys.start(self._core, self._links)

    # ---------------------------------------------------------------- from other threads

    def stats(self) -> HubStats:
        """Return what the hub carries, and its counters. Any thread."""
        core, forwarding = self._core, self._forwarding
        return HubStats(
            nodes=sum(not member.hub for member in list(core.members.values())),
            hubs=len(core.linked),
            reachable=len(core.map.nodes()),
            topics=len(core.wants),
            frames=forwarding.reading.frames,
            bytes=forwarding.reading.bytes,
            relayed=self._relayed,
            dropped=self._dropped + forwarding.dropped + self._links.dropped,
            cut=forwarding.cut,
            rejected=dict(core.rejected),
        )

    def close(self) -> None:
        """End the hub. Its nodes go on once a hub answers there again. Any thread but its own."""
        self._closing = True
        self._waker.wake()
        self._thread.join(timeout=5.0)
        log.flush()

    def _end(self) -> None:
        self._guard.close()
        self._sockets.close(0.2)
        self._poller.close()
        self._waker.close()

    # ------------------------------------------------------------------------ the thread

    def _turn(self, ready: Ready) -> float | None:
        now = self._world.monotonic()
        self._poller.handle(ready)
        self._keys.read_ended()
        # Another turn follows each one in which anything was read: a call on a socket may have
        # consumed the wake-up for what came meanwhile.
        done = self._forwarding.read_up(now) + self._read_router(now)
        done += sum(self._links.read(link, now) for link in list(self._links.values()))
        done += self._forwarding.read_down(now)
        if now >= self._tick_at:
            self._tick_at = now + TICK
            self._keys.tick(now)
            self._forwarding.tick(now)
            self._core.tick(now)
            self._links.tick(now)
        self._links.busy = False
        self._carry_out()
        self._flush()
        if self._closing:
            for link in self._links.values():
                self._links.say(link, Detach(self._me))
            return None
        return 0.0 if done or self._links.busy else TICK

    def _read_router(self, now: float) -> int:
        for n in range(BUDGET):
            try:
                route, *frames = self._sockets.control.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return n
            try:
                if frames:
                    self._take(route.bytes, frames, now)
            except DecodeError as error:
                self._core.reject(str(error))
        return BUDGET

    def _take(self, route: bytes, frames: list[zmq.Frame], now: float) -> None:
        """Take a message that a node or hub has sent on its link to us."""
        first, *others = frames
        user = self._keys.user(first)
        if user is None:
            return
        kind = first.bytes[:1]
        if kind == WORD:
            self._take_word(read_word(first.bytes), route, first, user, now)
            return
        member = self._core.heard(route, now)
        if member is None or member.user != user:
            self._core.reject("a message of somebody who has not entered")
        elif kind == BUNDLE:
            for parcel in unbundle(first.bytes):
                self._relay(member, parcel)
        elif kind == RELAY and others:
            self._relay_whole(member, first.bytes, others)
        elif kind == TRUNK and others and member.hub:
            root, hops = read_hub_source(first.bytes)
            self._forwarding.take_hub_source(root, hops, member, others)
        else:
            raise DecodeError(f"a message of {len(frames)} frames that is for no hub")

    def _take_word(self, word: Word, route: bytes, frame: zmq.Frame, user: str, now: float) -> None:
        if isinstance(word, Attach):
            if word.endpoint:
                word = replace(word, endpoint=seen_at(word.endpoint, peer_host(frame)))
            self._core.enter(word, route, now, user)
            self._forwarding.reading.confirmed(word.sender, word.mark, now)
            return
        member = self._core.heard(route, now)
        if member is None or member.user != user:
            self._core.reject("a word of somebody who has not entered")
        elif isinstance(word, HubState) and member.hub:
            self._core.state(word)
        elif isinstance(word, Detach):
            self._core.leave(member, "bye")

    # ----------------------------------------------------------------------- passing on

    def _relay(self, source: members.Member, parcel: Envelope) -> None:
        """Pass a control message on, to its receiver or to the next hub on the way there."""
        if not source.hub and parcel.sender != source.id:
            self._core.reject("a message under the name of another node")
            return
        self._relayed += 1
        member, hub = self._core.reached(parcel.to)
        if member is not None and self._core.room(member, len(parcel.content)):
            self._out.setdefault(member.route, []).append(parcel)
        elif hub is not None and parcel.hops > 1:
            link = self._links.to(hub)
            if link is not None:
                link.parcels.append(parcel._replace(hops=parcel.hops - 1))
        else:
            self._dropped += 1

    def _relay_whole(self, source: members.Member, head: bytes, frames: list[zmq.Frame]) -> None:
        """Pass on a message of several frames as it came."""
        sender, to, hops = read_relay(head)
        if not source.hub and sender != source.id:
            self._core.reject("a message under the name of another node")
            return
        member, hub = self._core.reached(to)
        receiver = member or self._core.members.get(hub or b"")
        if receiver is None or not self._judged(source, sender, receiver, frames[0]):
            self._dropped += 1
            return
        self._relayed += 1
        size = sum(map(len, frames))
        if member is not None and self._core.room(member, size):
            self._flush_to(member.route)
            self._send([member.route, head, *frames])
        elif hub is not None and hops > 1:
            link = self._links.to(hub)
            if link is not None:
                self._links.flush(link)
                self._links.send(link, [relay_head(sender, to, hops - 1), *frames], size)
        else:
            self._dropped += 1

    def _judged(
        self, source: members.Member, sender: bytes, receiver: members.Member, frame: zmq.Frame
    ) -> bool:
        """Return whether a message may be passed on; only replayed data is judged."""
        gate, head = self._core.gate, bytes(frame.buffer[:HEAD_BYTES])
        if head[:1] != DATA or self._keys.gate is None:
            return True
        passing = look(head)
        if passing.origin != sender:
            self._core.complain(f"{gate.name(source.user)} sends again what is another's")
            return False
        if source.hub:
            permitted = gate.may_vouch(source.user, sender, passing.topic)
        else:
            permitted = gate.may_publish(source.user, passing.topic)
        return permitted and gate.may_have(receiver.user, passing.topic)

    def _pass_on(
        self,
        hubs: tuple[bytes, ...],
        root: bytes,
        hops: int,
        topic: bytes,
        frames: list[zmq.Frame],
    ) -> None:
        """Pass a data frame on to other hubs."""
        size = sum(map(len, frames))
        for hub in hubs:
            link = self._links.to(hub)
            if link is not None and self._core.gate.may_have(link.key.hex(), topic):
                self._links.send(link, [hub_source_head(root, hops), *frames], size)

    def _send(self, parts: Sequence[Any]) -> None:
        with suppress(zmq.Again, zmq.ZMQError):
            self._sockets.control.send_multipart(parts, zmq.NOBLOCK, copy=False)

    def _flush(self) -> None:
        """Send the control messages of this turn, bundled by receiver."""
        for route in list(self._out):
            self._flush_to(route)
        for link in self._links.values():
            self._links.flush(link)

    def _flush_to(self, route: Any) -> None:
        for frame in bundles(self._out.pop(route, [])):
            self._send([route, frame])

    # ------------------------------------------------------------------ effects and links

    def _carry_out(self) -> None:
        for effect in self._core.take():
            match effect:
                case members.SendToMember(route, word):
                    self._flush_to(route)
                    self._send([route, word_frame(word)])
                case members.SendToHub(hub, word):
                    link = self._links.to(hub)
                    if link is not None:
                        self._links.say(link, word)
                case members.Subscribe(topic, wanted, anew):
                    self._subscribe(topic, wanted, anew)
                case members.Warn(text):
                    log.warning("%s", text)
                case members.DialHub(endpoint):
                    self._links.call(endpoint, self._world.monotonic() + FORGET_AFTER)
                case members.MemberLeft(member):
                    self._forwarding.forget(member.id)
                    self._out.pop(member.route, None)

    def _subscribe(self, topic: bytes, wanted: bool, anew: bool) -> None:
        self._links.busy = True
        if topic[:1] == DATA and not self._keys.names(topic, wanted):
            return
        if anew or not wanted:
            unsubscribe(self._sockets.up, topic)
        if wanted:
            subscribe(self._sockets.up, topic)
