"""Control by way of hubs: one link to each, and what is said to the nodes behind them.

To the engine it is the control sockets, which also lead to endpoints that hubs lead to. What
is said there in one turn leaves together. The hub vouches for the sender of what comes back;
what a message means is the session's business. One thread, the control thread, owns it.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import zmq

from ...errors import DecodeError
from ...history import Body, Bulk, Frame
from ...protocol.hub import client as h
from ...protocol.hub.messages import WORD, Accepted, Refused, read_word, word_frame
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
    bundle,
    endpoint_of,
    node_at,
    read_relay,
    relay_head,
    unbundle,
)
from ...protocol.wire.messages import (
    Address,
    Control,
    Hello,
    Pong,
    Recalled,
    Refuse,
    Replayed,
    Stranger,
    Welcome,
)
from ..security.guard import CurveGuard
from ..transport.dns import Resolver
from ..transport.endpoints import HUB_PREFIX, Tcp, parse_tcp
from ..transport.sockets import EVENTS, Poller, Sockets, lends, receive_parts
from .links import BUDGET, Controls, Received, _host_of

ANSWERS = Welcome, Refuse, Stranger, Pong, Replayed, Recalled
"""What comes back on a link, and not at a node's own endpoint."""


@dataclass(frozen=True, slots=True)
class HubRoute:
    """Where an answer goes to a message that came through a hub."""

    node: bytes


@dataclass(slots=True, eq=False)
class HubLink:
    """The control connection to a hub, and what is to be said on it in this turn."""

    endpoint: str
    socket: "zmq.Socket[bytes]"
    fd: int
    parcels: list[Envelope]
    key: bytes = b""
    size: int = 0
    word: bytes = b""
    """What is to be said to the hub itself as soon as there is a connection."""

    def knock(self) -> bool:
        """Say it; tell whether it is said now."""
        with suppress(zmq.Again):
            if self.word:
                self.socket.send(self.word, zmq.NOBLOCK)
                self.word = b""
                return True
        return False


class HubTransport(Controls):
    """All control sockets of a node that has hubs."""

    def __init__(
        self,
        sockets: Sockets,
        poller: Poller,
        lookups: Resolver,
        received: Received,
        rejected: Callable[[str, str], None],
        replayed: Callable[[str, Body], None],
        me: bytes,
        hubs: h.HubSelector,
        monotonic: Callable[[], float],
        news: Callable[[], None],
        guard: CurveGuard | None = None,
        vouching: DelegatedRights | None = None,
    ) -> None:
        super().__init__(sockets, poller, lookups, received, rejected, replayed, monotonic, guard)
        self._me = me
        self._vouching = vouching
        self._hubs = hubs
        self._news = news
        self._hub_links: dict[str, HubLink] = {}
        self._hub_fds: dict[int, HubLink] = {}
        self._hub_unread: dict[HubLink, None] = {}

    def open(self) -> None:
        """Dial every hub; behind the guard, which is there for every connection."""
        for endpoint in self._hubs.hubs:
            self._dial_hub(endpoint)

    # -------------------------------------------------------------------------- to hubs

    def _dial_hub(self, endpoint: str) -> None:
        socket = self._sockets.dealer()
        key = self._guard.approach(socket, endpoint, hub=True) if self._guard else b""
        if key is None:  # nobody is authorized who could be there
            socket.close()
            return
        socket.connect(endpoint)
        link = HubLink(endpoint, socket, int(socket.getsockopt(zmq.FD)), [], key)
        self._hub_links[endpoint] = self._hub_fds[link.fd] = link
        self._poller.watch(link.fd)
        self._hub_unread[link] = None

    def redial_hub(self, endpoint: str) -> None:
        """Replace the link to a hub by a fresh one."""
        self._close_hub(endpoint, 0)
        self._dial_hub(endpoint)

    def try_again(self, endpoint: str) -> None:
        """Replace a link that has not stood yet, for the next key."""
        former = self._hub_links.get(endpoint)
        if former is None:
            super().try_again(endpoint)
            return
        self.redial_hub(endpoint)
        link = self._hub_links.get(endpoint)
        if link is not None:
            link.word = former.word
            self._hub_unread[link] = None

    def hang_up(self, endpoint: str, linger: int = 0) -> None:
        """Close a link; one to a hub is made again in a while."""
        if endpoint in self._hub_links:
            self._close_hub(endpoint, linger)
        else:
            super().hang_up(endpoint, linger)

    def _close_hub(self, endpoint: str, linger: int) -> None:
        link = self._hub_links.pop(endpoint, None)
        if link is None:
            return
        del self._hub_fds[link.fd]
        self._hub_unread.pop(link, None)
        self._poller.forget(link.fd)
        if self._guard:
            self._guard.hung_up(endpoint)
        link.socket.close(linger=linger)

    def key_of(self, endpoint: str) -> bytes:
        """Return the key that is tried at a hub now, or has proven to be there."""
        link = self._hub_links.get(endpoint)
        return link.key if link is not None else b""

    def _may_carry(self, link: HubLink) -> bool:
        """Tell whether the key at the other end of a link may be a hub's."""
        return self._guard is None or self._guard.may_carry(link.key)

    def tell_hub(self, endpoint: str, word: Any) -> None:
        """Say something to a hub itself, behind what was said to others through it."""
        link = self._hub_links.get(endpoint)
        if link is not None:
            self._flush(link)
            link.word = word_frame(word)
            if self._may_carry(link):
                link.knock()
            self._hub_unread[link] = None

    def _post(self, link: HubLink, parts: Sequence[Any], copy: bool = True) -> None:
        # What a hub has no room for is lost, as on any way: acknowledgements are asked for
        # again, epochs are compared.
        with suppress(zmq.Again):
            link.socket.send_multipart(parts, zmq.NOBLOCK, copy=copy)
        self._hub_unread[link] = None

    # ----------------------------------------------------------------- to nodes behind them

    def routed(self, asked: OpenReceiver) -> OpenReceiver:
        """Return where a peer's data comes from, by a hub perhaps, and which key is there."""
        node = node_at(asked.endpoint)
        if node is None:
            return asked
        hub = self._hubs.way(node) or next((h for h in self._hubs.hubs.values() if h.down), None)
        if hub is None:
            return replace(asked, endpoint=HUB_PREFIX)
        return replace(asked, endpoint=HUB_PREFIX + hub.down, key=hub.key)

    def dial(self, endpoint: str, key: bytes = b"", turn: int = 0) -> None:
        """Open a link; nothing is to be opened behind a hub."""
        if node_at(endpoint) is None:
            super().dial(endpoint, key, turn)

    def say(self, endpoint: str, message: Control) -> None:
        """Send on a link, or by the hub that leads to a node, at the end of this turn."""
        node = node_at(endpoint)
        if node is None:
            super().say(endpoint, message)
        else:
            rights = self._vouching.rights(node) if self._vouching else EVERYTHING
            if rights is not None:
                self._say_to(node, control_frame(as_seen_by(message, rights)))

    def reply(self, route: Any, message: Control) -> None:
        """Answer a message where it came from."""
        if isinstance(route, HubRoute):
            self._say_to(route.node, control_frame(message))
        else:
            super().reply(route, message)

    def replay(self, route: Any, frame: Frame) -> None:
        """Send a data frame again, to where it was asked for."""
        if not isinstance(route, HubRoute):
            super().replay(route, frame)
            return
        hub = self._hubs.way(route.node)
        link = self._hub_links.get(hub.endpoint) if hub is not None else None
        if hub is None or link is None or not self._may_carry(link):
            return
        if self._hubs.room(hub, frame.size, self._monotonic()):
            self._flush(link)
            head = relay_head(self._me, route.node)
            copy = not (frame.buffers and lends())
            self._post(link, [head, frame.data, *frame.buffers], copy=copy)

    def _say_to(self, node: bytes, content: bytes) -> None:
        hub = self._hubs.way(node)
        link = self._hub_links.get(hub.endpoint) if hub is not None else None
        if hub is None or link is None or not self._may_carry(link):
            return
        if not self._hubs.room(hub, len(content), self._monotonic()):
            return
        if len(content) > BUNDLE_BYTES:
            self._flush(link)
            self._post(link, [relay_head(self._me, node), content])
            return
        link.parcels.append(Envelope(self._me, node, HOPS_MOST, content))
        link.size += len(content)
        if link.size > BUNDLE_BYTES:
            self._flush(link)

    def _flush(self, link: HubLink) -> None:
        """Send what was said to nodes behind a hub, in one frame."""
        if link.parcels:
            parcels, link.parcels, link.size = link.parcels, [], 0
            self._post(link, [bundle(parcels)])

    # -------------------------------------------------------------------------- events

    @property
    def endpoints(self) -> Sequence[str]:
        """The endpoints that are linked or being dialled."""
        return (*super().endpoints, *self._hub_links)

    def patience(self, most: float) -> float:
        """Return how long the next wait may take: `settle` may have work left."""
        return 0.0 if self._hub_unread else super().patience(most)

    def ready(self, fd: int) -> bool:
        """Handle a descriptor that the poller named; tell whether it was one of ours."""
        link = self._hub_fds.get(fd)
        if link is None:
            return super().ready(fd)
        self._read_hub(link)
        return True

    def settle(self) -> bool:
        """Send what was gathered, and read the sockets that were sent on."""
        for link in self._hub_links.values():
            self._flush(link)
        unread, self._hub_unread = self._hub_unread, {}
        for link in unread:
            if self._hub_links.get(link.endpoint) is link:
                self._read_hub(link)
        return super().settle() or bool(unread)

    def _read_hub(self, link: HubLink) -> None:
        if not self._may_carry(link):
            link.socket.getsockopt(EVENTS)  # else its descriptor would end every wait
            return
        link.knock()
        for _ in range(BUDGET):
            try:
                first, *others = receive_parts(link.socket)
            except zmq.Again:
                # This look may have taken in that the connection stands.
                if link.knock():
                    self._hub_unread[link] = None
                return
            try:
                self._take_from(link, first.bytes, others)
            except DecodeError as error:
                self._rejected(link.endpoint, str(error))
            if self._hub_links.get(link.endpoint) is not link:
                return
        self._hub_unread[link] = None

    def _take_from(self, link: HubLink, frame: bytes, others: list[zmq.Frame]) -> None:
        now, kind = self._monotonic(), frame[:1]
        self._hubs.heard(link.endpoint, now)
        if kind == BUNDLE and not others:
            for parcel in unbundle(frame):
                self._open(link, parcel.sender, parcel.content)
        elif kind == RELAY and others:
            sender, _, _ = read_relay(frame)
            head = others[0].bytes
            if head[:1] == DATA:
                buffers = tuple(other.buffer for other in others[1:])
                body = Bulk(head, buffers) if buffers else head
                if self._vouching is None or self._vouching.rights(sender, link.endpoint):
                    self._replayed(endpoint_of(sender), body)
            elif len(others) == 1:
                self._open(link, sender, head)
        elif kind == WORD and not others:
            word = read_word(frame)
            if isinstance(word, Accepted):
                host = _host_of(link.endpoint)
                up, down = _reachable(word.up, host), _reachable(word.down, host)
                told = replace(word, up=up, down=down)
                self._hubs.carried(told, link.endpoint, now, link.key)
            elif isinstance(word, Refused):
                self._hubs.turned_away(word, link.endpoint, now)
            self._news()
        else:
            raise DecodeError(f"a message of {1 + len(others)} frames that no hub sends")

    def _open(self, link: HubLink, sender: bytes, content: bytes) -> None:
        """Take a control message that the hub vouches for."""
        if content[:1] != CONTROL:
            raise DecodeError("a parcel that is no control message")
        message = _sent_by(read_control(content), sender)
        if isinstance(message, ANSWERS):
            self._received(message, None, endpoint_of(sender), b"", link.endpoint)
        else:
            self._received(message, HubRoute(sender), None, b"", link.endpoint)

    def close(self, linger: float) -> None:
        """Close every socket; what was said still goes out within ``linger`` seconds."""
        for endpoint, link in list(self._hub_links.items()):
            self._flush(link)
            self._close_hub(endpoint, int(linger * 1000))
        super().close(linger)


def _reachable(endpoint: str, host: str | None) -> str:
    """Return an endpoint with the host that the hub was reached at, if it names none.

    Raises:
        DecodeError: if it is no endpoint.
    """
    try:
        told = parse_tcp(endpoint)
    except ValueError as error:
        raise DecodeError(str(error)) from None
    return str(Tcp(host, told.port)) if told.wild and host else endpoint


def _sent_by(message: Control, sender: bytes) -> Control:
    """Return a message with the way through hubs as its sender's only address.

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
