"""Control messages through hubs: one link to each hub, and messages to the nodes behind it.

For the engine, `HubTransport` takes the place of `Controls` and also reaches endpoints behind hubs.
Messages to nodes behind one hub are sent together at the end of a turn. The hub vouches for the
sender of each message that comes back; the session knows what the message means. Control thread
only.
"""

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import zmq

from ...errors import DecodeError
from ...history import Bulk, Frame
from ...protocol.hub.client import HubSelector
from ...protocol.hub.messages import WORD, Accepted, Refused, Word, read_word, word_frame
from ...protocol.hub.rights import DelegatedRights
from ...protocol.interest.permitted import as_seen_by
from ...protocol.security.permissions import EVERYTHING
from ...protocol.session.effects import OpenReceiver
from ...protocol.wire.control import control_frame, read_control
from ...protocol.wire.data import CONTROL, DATA
from ...protocol.wire.envelopes import (
    BUNDLE,
    BUNDLE_BYTES,
    HOPS_MOST,
    RELAY,
    Envelope,
    bundles,
    endpoint_of,
    node_at,
    read_relay,
    relay_head,
    unbundle,
)
from ...protocol.wire.messages import (
    Address,
    Control,
    Counted,
    Hello,
    Pong,
    Recalled,
    Refuse,
    Replayed,
    Stranger,
    Welcome,
)
from ..transport.endpoints import HUB_PREFIX, host_of
from ..transport.sockets import EVENTS, lends
from .links import Controls, Link, seen_at

ANSWERS = Welcome, Refuse, Stranger, Pong, Replayed, Recalled, Counted
"""Messages that arrive on our link to a peer, and not at our own endpoint."""


@dataclass(frozen=True, slots=True)
class HubRoute:
    """The route of an answer to a message that came through a hub."""

    node: bytes


@dataclass(eq=False)
class HubLink(Link):
    """The control connection to a hub, and the messages to send through it in this turn."""

    rests = False
    parcels: list[Envelope] = field(default_factory=list[Envelope])

    @property
    def may_carry(self) -> bool:
        """Whether the key at the other end may belong to a hub."""
        return self.guard.may_carry(self.key)

    def queue(self, message: Any) -> None:
        """Queue a word for the hub itself, instead of an older one; messages to nodes go first."""
        if isinstance(message, Word):  # other messages are meant for a node at this endpoint
            self.send_parcels()
            self.outbox = deque([message])

    def flush(self) -> bool:
        """Send the word, once there is a connection; return whether it was sent."""
        return self.may_carry and super().flush()

    def frame(self, message: Any) -> bytes:
        """Return a word as it is sent."""
        return word_frame(message)

    def post(self, parts: Sequence[Any], copy: bool = True) -> None:
        """Send to nodes behind the hub.

        A message is lost if the socket has no room for it. The protocol copes with that:
        acknowledgements are asked for again, and epochs are compared.
        """
        with suppress(zmq.Again):
            self.socket.send_multipart(parts, zmq.NOBLOCK, copy=copy)

    def send_parcels(self) -> None:
        """Send the gathered messages to nodes behind the hub, in as few frames as possible."""
        parcels, self.parcels = self.parcels, []
        for frame in bundles(parcels):
            self.post([frame])


@dataclass(eq=False)
class HubTransport(Controls):
    """All control sockets of a node that has hubs."""

    hubs: HubSelector
    vouching: DelegatedRights | None = None
    news: Callable[[], None] = field(init=False)
    """Called when a hub has sent a word; set before any hub is dialled."""

    def dial(self, endpoint: str, key: bytes = b"", turn: int = 0) -> None:
        """Open a link. An endpoint behind a hub needs none."""
        if endpoint not in self.hubs.hubs:
            if node_at(endpoint) is None:
                super().dial(endpoint, key, turn)
        elif endpoint not in self._links:  # else it is open already
            link = self._links.open(HubLink, endpoint, hub=True)
            if link is not None:
                self._connect(link, endpoint)

    def key_of(self, endpoint: str) -> bytes:
        """Return the key that is tried at a hub now, or has proven to be there; empty if none."""
        link = self._links.get(endpoint)
        return link.key if link is not None else b""

    # ----------------------------------------------------------------- to nodes behind them

    def routed(self, asked: OpenReceiver) -> OpenReceiver:
        """Return a request with the endpoint (perhaps a hub's) and key of a peer's data."""
        node = node_at(asked.endpoint)
        if node is None:
            return asked
        hub = self.hubs.way(node) or next((h for h in self.hubs.hubs.values() if h.down), None)
        if hub is None:
            return replace(asked, endpoint=HUB_PREFIX)
        return replace(asked, endpoint=HUB_PREFIX + hub.down, key=hub.key)

    def say(self, endpoint: str, message: Any) -> None:
        """Send on a link, or through the hub that leads to a node, at the end of this turn.

        A word for a hub itself is sent after the messages that it is to pass on.
        """
        node = node_at(endpoint)
        if node is None:
            super().say(endpoint, message)
        else:
            rights = self.vouching.rights(node) if self.vouching else EVERYTHING
            if rights is not None:
                self._say_to(node, control_frame(as_seen_by(message, rights)))

    def reply(self, route: Any, message: Control) -> None:
        """Answer a message on the route by which it came."""
        if isinstance(route, HubRoute):
            self._say_to(route.node, control_frame(message))
        else:
            super().reply(route, message)

    def replay(self, route: Any, frame: Frame) -> None:
        """Send a data frame again, on the route by which it was asked for."""
        if not isinstance(route, HubRoute):
            super().replay(route, frame)
            return
        link = self._leading_to(route.node, frame.size)
        if link is not None:
            link.send_parcels()
            head = relay_head(self.session.me, route.node)
            copy = not (frame.buffers and lends())
            link.post([head, frame.data, *frame.buffers], copy=copy)

    def _leading_to(self, node: bytes, size: int) -> HubLink | None:
        """Return the link that leads to a node, if there is one with room for so many bytes."""
        hub = self.hubs.way(node)
        link = self._links.get(hub.endpoint) if hub is not None else None
        if hub is None or not isinstance(link, HubLink) or not link.may_carry:
            return None
        if not self.hubs.room(hub, size, self.monotonic()):
            return None
        self._unread[link] = None
        return link

    def _say_to(self, node: bytes, content: bytes) -> None:
        link = self._leading_to(node, len(content))
        if link is None:
            return
        if len(content) > BUNDLE_BYTES:
            link.send_parcels()
            link.post([relay_head(self.session.me, node), content])
        else:
            link.parcels.append(Envelope(self.session.me, node, HOPS_MOST, content))

    # -------------------------------------------------------------------------- events

    def _unread_hubs(self) -> list[HubLink]:
        return [link for link in self._unread if isinstance(link, HubLink)]

    def patience(self, most: float) -> float:
        """Return the most seconds of the next wait: 0 while `settle` has work left."""
        return 0.0 if self._unread_hubs() else super().patience(most)

    def settle(self) -> bool:
        """Send gathered messages, and read the sockets that were used. Links to hubs never rest."""
        used = self._unread_hubs()
        for link in used:
            del self._unread[link]
        hubs = [link for link in used if self._links.get(link.endpoint) is link]  # not closed since
        for link in hubs:
            link.send_parcels()
        again = super().settle()
        for link in hubs:
            if self._links.get(link.endpoint) is link:
                self._read_link(link)
        return again or bool(used)

    def _read_link(self, link: Link) -> None:
        if isinstance(link, HubLink) and not link.may_carry:
            link.socket.getsockopt(EVENTS)  # else its descriptor would end every wait
        else:
            super()._read_link(link)

    def _take_from(self, link: Link, first: zmq.Frame, others: list[zmq.Frame]) -> None:
        if not isinstance(link, HubLink):
            super()._take_from(link, first, others)
            return
        try:
            self._take_relayed(link, first.bytes, others)
        except DecodeError as error:
            self._rejected(link.endpoint, str(error))

    def _take_relayed(self, link: Link, frame: bytes, others: list[zmq.Frame]) -> None:
        now, kind = self.monotonic(), frame[:1]
        self.hubs.heard(link.endpoint, now)
        if kind == BUNDLE and not others:
            for parcel in unbundle(frame):
                self._open(link, parcel.sender, parcel.content)
        elif kind == RELAY and others:
            sender, _, _ = read_relay(frame)
            head = others[0].bytes
            if head[:1] == DATA:
                buffers = tuple(other.buffer for other in others[1:])
                body = Bulk(head, buffers) if buffers else head
                if self.vouching is None or self.vouching.rights(sender, link.endpoint):
                    self.answers.replayed(endpoint_of(sender), body)
            elif len(others) == 1:
                self._open(link, sender, head)
        elif kind == WORD and not others:
            word = read_word(frame)
            if isinstance(word, Accepted):
                host = host_of(link.endpoint)
                told = replace(word, up=seen_at(word.up, host), down=seen_at(word.down, host))
                self.hubs.carried(told, link.endpoint, now, link.key)
            elif isinstance(word, Refused):
                self.hubs.turned_away(word, link.endpoint, now)
            self.news()
        else:
            raise DecodeError(f"a message of {1 + len(others)} frames that no hub sends")

    def _open(self, link: Link, sender: bytes, content: bytes) -> None:
        """Take a control message from a sender for which the hub vouches."""
        if content[:1] != CONTROL:
            raise DecodeError("a parcel that is no control message")
        message = _sent_by(read_control(content), sender)
        if isinstance(message, ANSWERS):
            self._received(message, None, endpoint_of(sender), b"", link.endpoint)
        else:
            self._received(message, HubRoute(sender), None, b"", link.endpoint)

    def turned_away(self, source: str, reason: str, detail: str) -> None:
        """See `AuthListener`. The connection may have been one to a hub."""
        super().turned_away(source, reason, detail)
        self.hubs.obstructed(source, detail or reason)

    def shut_out(self, endpoint: str) -> None:
        """See `AuthListener`. The endpoint may be a hub's."""
        super().shut_out(endpoint)
        self.hubs.shut_out(endpoint, self.monotonic())


def _sent_by(message: Control, sender: bytes) -> Control:
    """Return a message with the route through hubs as its sender's only address.

    Raises:
        DecodeError: if it names another sender than the hub does.
    """
    if message.sender != sender:
        raise DecodeError("a message that names another sender than the hub vouches for")
    endpoint = endpoint_of(sender)
    if isinstance(message, Hello):
        return replace(message, addresses=(Address(endpoint, endpoint),))
    if isinstance(message, Welcome):
        if message.hello.sender != sender:
            raise DecodeError("a welcome of another than its sender")
        hello = replace(message.hello, addresses=(Address(endpoint, endpoint),))
        return replace(message, hello=hello, known=())
    return message
