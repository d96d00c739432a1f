"""The control sockets: one ROUTER that peers' links lead to, one DEALER to each endpoint.

This module dials, and takes frames in and out. The session knows what a message means. Control
thread only.

Two facts of ZeroMQ shape the code. First, a socket's descriptor is edge-triggered: it signals a
change once. Any call on the socket, such as a send, a connect or a read of an option, processes the
pending commands and so may consume that signal. Messages that have arrived would then lie there
until the next one comes. Therefore every socket that was used is noted in `_unread`, and `settle`
reads it again before the thread waits. Second, a descriptor that has not been answered by a call
stays readable and would end every wait at once, so that a socket which must not be read is at least
asked for its `EVENTS`.

Reading is limited, since peers can send without end. A socket that has something to read waits in
`_unread`, and `settle` reads those in turn: from one at most `BUDGET` messages, or for its share of
the time, and one that was not read in this turn comes first in the next. So no flood keeps the
answers of other peers waiting. After `BUDGET_SECONDS` of processor time in a turn nothing more
is read, and the thread then rests for as long as the turn took: reading holds the interpreter's
lock, which the threads that deliver messages need. Token buckets limit the bytes of each
connection. Large messages have more buckets: one for each key, one for each connection without a
key on which a peer has spoken, and one for all strangers together. A malformed
message counts for more than it is. A message over its limit is dropped; if it is large and came in
at our own endpoint, its connection is cut. Links to hubs never rest.

Sending, reading and resting are in one file because they share `_unread` and these limits.
"""

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf
from typing import Any, Protocol

import zmq

from ...errors import DecodeError
from ...history import Body, Bulk, Frame
from ...local.process.logs import log
from ...protocol.rate_limit import MAX_KNOWN, TokenBucket
from ...protocol.session.effects import OpenReceiver
from ...protocol.session.session import Answer, Session
from ...protocol.wire.control import control_frame, read_control
from ...protocol.wire.data import DATA, MAX_CONTROL_BYTES
from ...protocol.wire.messages import Control, Hello, Ping, Welcome
from ..security.connections import connection_of, cut, peer_host
from ..security.guard import AuthListener, CurveGuard
from ..transport.dns import Resolver
from ..transport.endpoints import host_of, parse_tcp, resolve_wild
from ..transport.polling import Poller
from ..transport.sockets import EVENTS, Sockets, lends, receive_parts
from .dealers import DealerLink, DealerLinks

BUDGET = 256
"""Messages read from one control socket before others have their turn."""
BUDGET_SECONDS = 0.002
"""Seconds of processor time in a turn after which nothing more is read.

The interpreter's lock is held meanwhile, and the threads that deliver messages wait for it.
"""
REST_MOST = 0.1
"""Most seconds of rest after such a turn; otherwise the rest is as long as the turn."""
AT_ONCE, A_SECOND = 4 << 20, 512 << 10
"""Bytes of control messages that one connection may send, and that it may be answered: at once, and
per second."""
LARGE = 64 << 10
LARGE_FOR = 1.0
"""Seconds after dropping a large control message in which more of them are expected to wait."""
LARGE_AT_ONCE, LARGE_A_SECOND = 8 << 20, 1 << 20
"""Bytes of control messages over `LARGE` that are read, at once and per second: of one key, or of
one connection on which a peer has spoken."""
STRANGE_AT_ONCE, STRANGE_A_SECOND = 4 << 20, 64 << 10
"""The same for all other connections together.

Anybody can make new connections without end, and reading 4 MiB holds the interpreter's lock for
tens of milliseconds.
"""
REFUSED = 16
"""How many times a malformed message counts. One of a megabyte may hold the interpreter's lock for
a tenth of a second, and nobody sends such a message by mistake."""
MESSAGE_OVERHEAD = 256
"""Bytes that a message counts for in addition to its size."""
PAUSE = 0.02
"""Seconds for which peers' links are not read after a turn in which somebody has sent too much.

Dropping messages costs time as well. The turn itself goes on: otherwise each message of a flood of
many connections would keep those of others waiting for so long.
"""
OUTBOX_MOST = 1000


class AnswerTaker(Protocol):
    """The part of the engine that takes the answers of peers."""

    def take(self, answer: Answer, /) -> None:
        """Take an answer."""
        ...

    def replayed(self, link: str, frame: Body, /) -> None:
        """Take a frame that was sent again."""
        ...


@dataclass(eq=False)
class Link(DealerLink):
    """The control connection to one endpoint, and the messages that wait for it."""

    rests = True
    """Whether this link, too, is not read while the control thread rests."""
    turn: int = 0
    outbox: deque[Any] = field(default_factory=deque[Any])

    def queue(self, message: Any) -> None:
        """Queue a message. A hello or ping replaces an older one."""
        if isinstance(message, Hello | Ping):
            kept = [m for m in self.outbox if type(m) is not type(message)]
            if len(kept) != len(self.outbox):
                self.outbox = deque(kept)
        if len(self.outbox) < OUTBOX_MOST:
            self.outbox.append(message)

    def flush(self) -> bool:
        """Send queued messages until the socket takes no more; return whether any was removed."""
        sent = False
        while self.outbox:
            frame = self.frame(self.outbox[0])
            if len(frame) > MAX_CONTROL_BYTES:
                log.error(
                    "not sent to %s: a control message of %d bytes, of which %d are taken: attach "
                    "to fewer names, or by patterns",
                    *(self.endpoint, len(frame), MAX_CONTROL_BYTES),
                )
            else:
                try:
                    self.socket.send(frame, zmq.NOBLOCK)
                except zmq.Again:
                    break
            self.outbox.popleft()
            sent = True
        return sent

    def frame(self, message: Any) -> bytes:
        """Return the frame of a message."""
        return control_frame(self.guard.shaped(message, self.key))


@dataclass(eq=False)
class Controls(AuthListener):
    """All control sockets of a node."""

    sockets: Sockets
    poller: Poller
    lookups: Resolver
    router: "zmq.Socket[bytes]"
    session: Session
    answers: AnswerTaker
    monotonic: Callable[[], float]
    guard: CurveGuard

    def __post_init__(self) -> None:
        self._allowance = TokenBucket(AT_ONCE, A_SECOND)
        self._answered = TokenBucket(AT_ONCE, A_SECOND)
        self._large = TokenBucket(LARGE_AT_ONCE, LARGE_A_SECOND)
        self._strange = TokenBucket(STRANGE_AT_ONCE, STRANGE_A_SECOND)
        self._known = dict[bytes, None]()
        self.spent = self.monotonic
        """Returns the processor time of this thread. Time in which other threads ran does not
        count."""
        self._began = self._share = inf
        self._late = self._pausing = False
        self._large_at = -LARGE_FOR
        self._read_at = 0.0
        self._rejected = self.session.reject
        self._links = DealerLinks[Link](self.sockets, self.poller, self.guard, self._note)
        self._unread: dict[Link | None, None] = {}
        """The sockets that may have something to read, in the order in which they are read. None
        stands for the ROUTER."""
        self.poller.watch(int(self.router.getsockopt(zmq.FD)), partial(self._note, None))

    @property
    def endpoints(self) -> Sequence[str]:
        """The endpoints that are linked or being dialled."""
        return tuple(self._links)

    def patience(self, most: float) -> float:
        """Return the most seconds of the next wait: 0 if `settle` has work left."""
        if self._read_at:
            return min(most, max(0.0, self._read_at - self.monotonic()))
        return 0 if self._unread else most

    # ------------------------------------------------------------------------- effects

    def dial(self, endpoint: str, key: bytes = b"", turn: int = 0) -> None:
        """Open a link, to the node with a key if that is known.

        If the host is a name with several addresses, ``turn`` chooses among them.
        """
        link = self._links.open(Link, endpoint, key)
        if link is not None:
            link.turn = turn
            self.lookups.literal(endpoint, lambda literal: self._connect(link, literal), turn)

    def _connect(self, link: Link, literal: str) -> None:
        self._links.connect(link, literal)
        # Connecting may have consumed the wake-up of the descriptor.
        self._unread[link] = None

    def hang_up(self, endpoint: str) -> None:
        """Close a link."""
        self._links.close(endpoint)

    def redial(self, endpoint: str, key: bytes = b"") -> None:
        """Replace a link by a new one, which tries the next address of its host."""
        former = self._links.close(endpoint)
        self.dial(endpoint, key, former.turn + 1 if former else 0)

    def try_again(self, endpoint: str) -> None:
        """Replace a link that is not connected yet by one with the next key; keep its messages."""
        former = self._links.close(endpoint)
        if former is not None:
            self.dial(endpoint, turn=former.turn)
            link = self._links.get(endpoint)
            if link is not None:
                link.outbox = former.outbox

    def say(self, endpoint: str, message: Any) -> None:
        """Send on a link, as soon as it is connected."""
        link = self._links.get(endpoint)
        if link is not None:
            waiting = bool(link.outbox)
            link.queue(message)
            if not waiting:  # else there is no room: it is tried once in a turn, by `_read_link`
                link.flush()
            self._unread[link] = None

    def reply(self, route: Any, message: Control) -> None:
        """Answer a message that came in at our own endpoint.

        Answers to a peer that asks but does not read would wait in our memory, so they are limited
        as its requests are. The peer asks again for an answer that it did not get.
        """
        frame = control_frame(message)
        if not self._answered.take(route, len(frame) + MESSAGE_OVERHEAD, self.monotonic()):
            self._rejected("control", "more is asked than is answered")
            return
        with suppress(zmq.Again, zmq.ZMQError):
            self.router.send_multipart([route, frame], zmq.NOBLOCK)
        self._unread[None] = None

    def replay(self, route: Any, frame: Frame) -> None:
        """Send a data frame again, on the route by which it was asked for."""
        parts = [route, frame.data, *frame.buffers]
        with suppress(zmq.Again, zmq.ZMQError):
            self.router.send_multipart(parts, zmq.NOBLOCK, copy=not (frame.buffers and lends()))
        self._unread[None] = None

    def routed(self, asked: OpenReceiver) -> OpenReceiver:
        """Return a request with the endpoint of the peer's data, and the key there."""
        return asked

    # -------------------------------------------------------------------------- events

    def _note(self, link: Link | None) -> None:
        """Take note that a socket has something to read: `settle` reads it when its turn comes."""
        if (link is None or link.rests) and self._resting():
            # Reading its events quiets the descriptor, which else would end every wait.
            (self.router if link is None else link.socket).getsockopt(EVENTS)
        self._unread[link] = None

    def settle(self) -> bool:
        """Read the sockets that were used, or that have something; return whether there were any.

        A send consumes the wake-up of its socket's descriptor: messages that have arrived would lie
        there until the next one.
        """
        if self._resting():
            return False
        unread, self._unread = self._unread, {}
        left = list(unread)
        for done, link in enumerate(left):
            if done and self._resting():
                # They come first in the next turn.
                self._unread = {**dict.fromkeys(left[done:]), **self._unread}
                break
            self._share = self.spent() + BUDGET_SECONDS / len(left)
            if link is None:
                self.read_router()
            elif self._links.get(link.endpoint) is link:
                self._read_link(link)
        return bool(unread)

    def begin(self, now: float) -> None:
        """Begin a turn of the control thread."""
        self._began, self._late, self._pausing = self.spent(), False, False
        if now >= self._read_at:
            self._read_at = 0.0

    def end(self) -> None:
        """End a turn: if its time was too short to read everything, rest for as long."""
        if self._late:
            took = min(self.spent() - self._began, REST_MOST)
            self._read_at = max(self._read_at, self.monotonic() + took)
        if self._pausing:
            self._read_at = max(self._read_at, self.monotonic() + PAUSE)

    def _resting(self) -> bool:
        """Return whether nothing may be read now: for the rest of this turn, or for a while."""
        self._late = self._late or self.spent() - self._began > BUDGET_SECONDS
        return self._late or self._read_at > 0.0

    def _has_had_enough(self) -> bool:
        """Return whether no more is to be read now of a socket of which something was read."""
        return self._resting() or self.spent() > self._share

    def read_router(self) -> None:
        """Read messages that peers send on their links to us."""
        for read in range(BUDGET):
            if self._has_had_enough() if read else self._resting():
                # Reading its events quiets the descriptor, which else would end every wait.
                self.router.getsockopt(EVENTS)
                break
            try:
                parts = self.router.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            if len(parts) != 2:
                self._rejected("control", f"control message of {len(parts)} frames")
                continue
            key = self.guard.user(parts[1])
            if key is None:
                self._rejected("control", "key unknown")
                continue
            self._take(parts[1], parts[0].bytes, None, peer_host(parts[1]), key)
        self._unread[None] = None

    def _read_link(self, link: Link) -> None:
        link.flush()
        for read in range(BUDGET):
            if link.rests and (self._has_had_enough() if read else self._resting()):
                link.socket.getsockopt(EVENTS)
                break
            try:
                first, *others = receive_parts(link.socket)
            except zmq.Again:
                # The connection may just have been made, and this read have consumed its wake-up.
                if link.flush():
                    self._unread[link] = None
                return
            self._take_from(link, first, others)
            if self._links.get(link.endpoint) is not link:
                return
        self._unread[link] = None

    def _take_from(self, link: Link, first: zmq.Frame, others: list[zmq.Frame]) -> None:
        """Take a message that a peer sends on our link to it."""
        if bytes(first.buffer[:1]) == DATA:
            frame, buffers = first.bytes, tuple(other.buffer for other in others)
            self.answers.replayed(link.endpoint, Bulk(frame, buffers) if buffers else frame)
        elif others:
            self._rejected(link.endpoint, f"control message of {1 + len(others)} frames")
        else:
            self._take(first, None, link.endpoint, host_of(link.endpoint), link.key)

    def _take(self, frame: zmq.Frame, route: Any, link: str | None, host: str, key: bytes) -> None:
        now, size = self.monotonic(), len(frame)
        allowed = self._allowance.take(route or link, size + MESSAGE_OVERHEAD, now)
        if size > LARGE and route and not (allowed and self._takes_large(route, key, size, now)):
            # More messages as large may be waiting there, so the connection is cut. The frame is
            # not copied, and is freed at once.
            self._large_at = now
            cut(connection_of(frame))
            self._rejected(host or "control", "more large control messages than are taken")
            return
        if not allowed:
            self._rejected(link or host or "control", "more control messages than are taken")
            # No pause while the next messages may be large: they would fill the memory meanwhile.
            if link is None and now - self._large_at > LARGE_FOR:
                self._pausing = True
            return
        try:
            message = read_control(frame.bytes)
        except DecodeError as error:
            more = (REFUSED - 1) * (size + MESSAGE_OVERHEAD)
            self._allowance.take(route or link, more, now)
            if size > LARGE and route:
                self._takes_large(route, key, more, now)
            self._rejected(link or host or "control", str(error))
            return
        if self._received(_resolved(message, host), route, link, key) and route:
            self._know(route)

    def _received(
        self, message: Control, route: Any, link: str | None, key: bytes, hub: str = ""
    ) -> bool:
        """Hand a message to the session; return whether its sender is a peer."""
        session = self.session
        answer = session.receive(message, route, link, self.monotonic(), key, hub)
        if answer is not None:
            self.answers.take(answer)
        return message.sender in session.members.peers

    def _takes_large(self, route: bytes, key: bytes, size: int, now: float) -> bool:
        """Return whether a large message may be read now."""
        if key or route in self._known:
            return self._large.take(key or route, size, now)
        return self._strange.take("", size, now)

    def _know(self, route: bytes) -> None:
        """Take note that a peer has spoken on a connection."""
        self._known.pop(route, None)
        self._known[route] = None
        if len(self._known) > MAX_KNOWN:
            del self._known[next(iter(self._known))]

    def turned_away(self, source: str, reason: str, detail: str) -> None:
        """See `AuthListener`."""
        self.session.reject(source, reason, detail)
        self.session.candidates.turned_away(source, detail or reason)

    def shut_out(self, endpoint: str) -> None:
        """See `AuthListener`."""
        self.session.peering.shut_out(endpoint, self.monotonic())

    def close(self, linger: float) -> None:
        """Close every socket; queued messages are still sent within ``linger`` seconds."""
        for endpoint in list(self._links):
            self._links.close(endpoint, linger=int(linger * 1000))
        self.router.close(linger=int(linger * 1000))


def _resolved(message: Control, host: str) -> Control:
    """Return the message with wildcard addresses replaced by the host that it came from."""
    if isinstance(message, Hello):
        return replace(message, addresses=resolve_wild(message.addresses, host))
    if isinstance(message, Welcome):
        hello = replace(message.hello, addresses=resolve_wild(message.hello.addresses, host))
        return replace(message, hello=hello)
    return message


def seen_at(endpoint: str, host: str) -> str:
    """Return an endpoint that a hub tells; a wildcard host becomes the one it was reached at.

    Raises:
        DecodeError: if it is no endpoint.
    """
    try:
        return str(parse_tcp(endpoint).at(host))
    except ValueError as error:
        raise DecodeError(str(error)) from None
