"""The data half of a hub: frames come in from the nodes that it carries, and go to subscribers.

Frames are passed on as they came, without a copy, and their messages are never opened. Only the
head is read: the origin, the topic and the numbers. A frame is accepted only over the connection
that its origin has shown to be its own. Everything is bounded: if a node leaves too much unread,
its connection is cut, and the node, if it lives, connects again and asks for what it missed.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import zmq

from ...errors import DecodeError
from ...protocol.hub.core import HubCore
from ...protocol.hub.flow_control import FlowControl
from ...protocol.hub.members import Member
from ...protocol.hub.topology import DuplicateFilter
from ...protocol.wire.data import DATA, MAX_ATTACHED
from ...protocol.wire.envelopes import (
    HEAD_BYTES,
    HOPS_MOST,
    MARK,
    FrameInfo,
    introduction_topic,
    look,
    mark_frame,
)
from ..security.connections import Connection, connection_of, cut, property_of, source
from ..security.subscription_filter import SubscriptionFilter
from ..transport.sockets import DO_NOT_WAIT, SNDMORE, subscribe
from .access import HubSubscriptions

if TYPE_CHECKING:
    from .sockets import HubSockets

BUDGET = 256
Trunks = Callable[[tuple[bytes, ...], bytes, int, bytes, list[zmq.Frame]], None]


class Forwarding:
    """Forwards data frames between nodes and hubs. Used by the hub's thread only."""

    def __init__(
        self,
        sockets: "HubSockets",
        core: HubCore,
        hub_sources: Trunks,
        gate: SubscriptionFilter | None,
    ) -> None:
        self._up, self._down = sockets.up, sockets.down
        self._keyed = gate is not None
        self._wanted = HubSubscriptions(gate, sockets.down)
        self._core = core
        self._hub_sources = hub_sources
        self._seen = DuplicateFilter(core.map)
        self._introduction = introduction_topic(core.me)
        self._connections: dict[bytes, Connection] = {}
        self.reading = FlowControl()
        self.dropped = self.cut = 0
        subscribe(sockets.up, self._introduction)

    # ------------------------------------------------------------------------------- in

    def read_up(self, now: float) -> int:
        """Pass on what nodes have sent, within a budget; return how many messages there were."""
        if self.reading.waits(now):
            return 0
        receive = self._up.recv
        for n in range(BUDGET):
            try:
                frame = receive(DO_NOT_WAIT, copy=False)
            except zmq.Again:
                return n
            frames = [frame]
            while frames[-1].more:
                frames.append(receive(DO_NOT_WAIT, copy=False))
            try:
                self._take(frames)
            except (DecodeError, zmq.ZMQError) as error:
                self._core.reject(str(error))
        return BUDGET

    def _take(self, frames: list[zmq.Frame]) -> None:
        first = frames[0]
        fd = source(first)
        head = first.bytes if len(first) <= HEAD_BYTES else bytes(first.buffer[:HEAD_BYTES])
        if head[:1] == MARK:
            if head.startswith(self._introduction) and len(head) == 49:
                self._core.introduced(fd, head[17:33], head[33:], property_of(first, "User-Id"))
            return
        member = self._core.by_connection.get(fd)
        passing = look(head)
        if member is None or member.id != passing.origin:
            self._core.reject("a frame over a connection that is not its origin's")
        elif self._keyed and property_of(first, "User-Id") != member.user:
            # The descriptor was closed, and belongs to another connection now.
            self._core.reject("a frame over a connection of another key than its origin's")
        elif len(frames) > MAX_ATTACHED + 1:
            self._core.reject("more attached frames than a message may have")
        elif not self._core.gate.may_publish(member.user, passing.topic):
            self._forbidden(member.user, "publish on", passing.topic)
        else:
            self._pass_on(passing, self._core.me, HOPS_MOST, b"", frames)

    def _forbidden(self, user: str, what: str, topic: bytes) -> None:
        exchange = topic[1:-1].decode(errors="replace")
        self._core.complain(f"{self._core.gate.name(user)} may not {what} {exchange!r}")

    def take_hub_source(
        self, root: bytes, hops: int, source: Member, frames: list[zmq.Frame]
    ) -> None:
        """Pass on a frame that came from another hub, and that entered the hubs at ``root``.

        Raises:
            DecodeError: if it is neither a data nor a ready frame.
        """
        first = frames[0]
        head = first.bytes if len(first) <= HEAD_BYTES else bytes(first.buffer[:HEAD_BYTES])
        passing, core = look(head), self._core
        if self._keyed and not core.map.carries(root, passing.origin):
            core.reject("a frame of a node that no other hub carries")
        elif not core.gate.may_vouch(source.user, passing.origin, passing.topic):
            self._forbidden(source.user, "publish on", passing.topic)
        else:
            self._pass_on(passing, root, hops, source.id, frames)

    def _pass_on(
        self, passing: FrameInfo, root: bytes, hops: int, source: bytes, frames: list[zmq.Frame]
    ) -> None:
        hubs = self._seen.onward(passing, root, hops, source)
        if hubs is None:
            self.dropped += 1
            return
        self._publish(passing.topic, frames)
        if hubs:
            self._hub_sources(hubs, root, hops - 1, passing.topic, frames)

    # ------------------------------------------------------------------------------ out

    def _publish(self, topic: bytes, frames: list[zmq.Frame]) -> None:
        """Publish a message to the nodes of this hub that subscribe to its topic."""
        send, last, size = self._down.send, frames[-1], 0
        for frame in frames:
            size += len(frame)
            send(frame, DO_NOT_WAIT if frame is last else DO_NOT_WAIT | SNDMORE, copy=False)
        due = self.reading.passed(topic, size)
        if due:
            for node in self.reading.overdue(due):
                self._cut(node)
            for reader in due:
                self._down.send(mark_frame(reader.node, reader.frames), DO_NOT_WAIT)

    def _cut(self, node: bytes) -> None:
        """Shut a node's connection down: ZeroMQ drops what is queued for it."""
        cut(self._connections.pop(node, None))
        self.reading.gone(node)
        self.cut += 1

    def forget(self, node: bytes) -> None:
        """Drop what is known of a node's data connection."""
        self._connections.pop(node, None)
        self.reading.gone(node)

    def read_down(self, now: float) -> int:
        """Read subscriptions of nodes, within a budget; return how many there were."""
        for n in range(BUDGET):
            try:
                frame = self._down.recv(DO_NOT_WAIT, copy=False)
            except zmq.Again:
                self._wanted.drained()
                return n
            self._judge(frame, now)
        return BUDGET

    def _judge(self, frame: zmq.Frame, now: float) -> None:
        """Accept a subscription, if the node may have the topic."""
        user, words, by = property_of(frame, "User-Id"), frame.bytes, connection_of(frame)
        refused = self._keyed and words[:1] == b"\x01"
        for topic, wanted in self._wanted.admit(frame, by, now):
            refused = False
            self._take_want(topic, wanted, by, user, now)
        if refused and words[1:2] == DATA and words[-1:] == b"\0":  # a name, and all of it
            self._forbidden(user, "subscribe to", words[1:])

    def _take_want(
        self, topic: bytes, wanted: bool, by: Connection | None, user: str, now: float
    ) -> None:
        if topic[:1] != MARK:
            if self._core.want(topic, wanted, user):
                self.reading.subscribed()
        elif by is not None and wanted and len(topic) == 17:
            self._connections[topic[1:]] = by
            self.reading.connected(topic[1:], self._wanted.topics(by), now)

    def tick(self, now: float) -> None:
        """Drop the subscriptions of nodes whose connections have closed."""
        for topic, wanted in self._wanted.tick(now):
            self._take_want(topic, wanted, None, "", now)
