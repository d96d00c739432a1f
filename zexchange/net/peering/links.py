"""The control sockets: one ROUTER that peers' links lead to, one DEALER to each endpoint.

Frames in and out, and dialling. What a message means is the session's business. One
thread, the control thread, owns everything here.

Long, but of one piece: any call on a socket may eat the wake-up of its descriptor, so that those
who send, read and rest share what is left to be read; and what may be read depends on all that was.
"""

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
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
from ..security.guard import CurveGuard
from ..transport.dns import Resolver
from ..transport.endpoints import host_of, parse_tcp, resolve_wild
from ..transport.polling import Poller
from ..transport.sockets import EVENTS, Sockets, lends, receive_parts
from .dealers import DealerLink, DealerLinks

BUDGET = 256
"""Messages read from one control socket before the others have their turn."""
BUDGET_SECONDS = 0.002
"""Seconds of processor time in a turn after which nothing more is read: the interpreter's lock is
held meanwhile, and the threads that messages pass through wait for it."""
REST_MOST = 0.1
"""Seconds of rest after such a turn, at most: it lasts as long as the turn did."""
AT_ONCE, A_SECOND = 4 << 20, 512 << 10
"""Bytes of control messages that one connection may send, and may be answered: at once, and a
second."""
LARGE = 64 << 10
LARGE_FOR = 1.0
"""Seconds for which, once a large control message was thrown away, more are expected to wait."""
LARGE_AT_ONCE, LARGE_A_SECOND = 8 << 20, 1 << 20
"""Bytes of control messages over `LARGE` that are read, at once and a second: of one key, or of one
connection that a peer has spoken on."""
STRANGE_AT_ONCE, STRANGE_A_SECOND = 4 << 20, 64 << 10
"""And of all others together: connections can be made afresh without end, and to read 4 MiB holds
the interpreter's lock for tens of milliseconds."""
MESSAGE_OVERHEAD = 256
"""Bytes that a message is counted for beside its own."""
PAUSE = 0.02
"""Seconds that nothing is read from peers' links after somebody has sent too much: what has
to be thrown away costs time as well."""
OUTBOX_MOST = 1000


class AnswerTaker(Protocol):
    """Who waits for what peers answer."""

    def take(self, answer: Answer, /) -> None:
        """Take an answer."""
        ...

    def replayed(self, link: str, frame: Body, /) -> None:
        """Take a frame that was sent again."""
        ...


@dataclass(eq=False)
class Link(DealerLink):
    """The control connection to one endpoint, and what waits for it to stand."""

    rests = True
    """Whether nothing is read of it either while too much is said on all links."""
    turn: int = 0
    outbox: deque[Any] = field(default_factory=deque[Any])

    def queue(self, message: Any) -> None:
        """Queue a message; a newer hello or ping takes the place of an older one."""
        if isinstance(message, Hello | Ping):
            kept = [m for m in self.outbox if type(m) is not type(message)]
            if len(kept) != len(self.outbox):
                self.outbox = deque(kept)
        if len(self.outbox) < OUTBOX_MOST:
            self.outbox.append(message)

    def flush(self) -> bool:
        """Send what is queued, as far as a connection takes it; tell whether it took any."""
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
        """Return a message as it is sent."""
        return control_frame(self.guard.shaped(message, self.key))


@dataclass(eq=False)
class Controls:
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
        """Tells the processor time of this thread: a turn in which others ran has not read less."""
        self._began = inf
        self._late = False
        self._large_at = -LARGE_FOR
        self._read_at = 0.0
        self._rejected = self.session.reject
        self._links = DealerLinks[Link](self.sockets, self.poller, self.guard, self._read_link)
        self._unread: dict[Link | None, None] = {}
        self.poller.watch(int(self.router.getsockopt(zmq.FD)), self.read_router)

    @property
    def endpoints(self) -> Sequence[str]:
        """The endpoints that are linked or being dialled."""
        return tuple(self._links)

    def patience(self, most: float) -> float:
        """Return how long the next wait may take: `settle` may have work left."""
        if self._read_at:
            return min(most, max(0.0, self._read_at - self.monotonic()))
        return 0 if self._unread else most

    # ------------------------------------------------------------------------- effects

    def dial(self, endpoint: str, key: bytes = b"", turn: int = 0) -> None:
        """Open a link, to the node with a key if that is known.

        Of the addresses that a host's name stands for, to the ``turn``-th.
        """
        link = self._links.open(Link, endpoint, key)
        if link is not None:
            link.turn = turn
            self.lookups.literal(endpoint, lambda literal: self._connect(link, literal), turn)

    def _connect(self, link: Link, literal: str) -> None:
        self._links.connect(link, literal)
        # Connecting may have taken in the wake-up of the descriptor.
        self._unread[link] = None

    def hang_up(self, endpoint: str) -> None:
        """Close a link."""
        self._links.close(endpoint)

    def redial(self, endpoint: str, key: bytes = b"") -> None:
        """Replace a link by a fresh one."""
        former = self._links.close(endpoint)
        self.dial(endpoint, key, former.turn + 1 if former else 0)

    def try_again(self, endpoint: str) -> None:
        """Replace a link that has not stood yet, for the next key; what waits for it waits on."""
        former = self._links.close(endpoint)
        if former is not None:
            self.dial(endpoint, turn=former.turn)
            link = self._links.get(endpoint)
            if link is not None:
                link.outbox = former.outbox

    def say(self, endpoint: str, message: Any) -> None:
        """Send on a link, as soon as it stands."""
        link = self._links.get(endpoint)
        if link is not None:
            link.queue(message)
            link.flush()
            self._unread[link] = None

    def reply(self, route: Any, message: Control) -> None:
        """Answer a message that came in at our own endpoint.

        A peer that asks and does not read has its answers wait in memory of ours, so they are
        bounded like its questions. It asks again for what it was not told.
        """
        frame = control_frame(message)
        if not self._answered.take(route, len(frame) + MESSAGE_OVERHEAD, self.monotonic()):
            self._rejected("control", "more is asked than is answered")
            return
        with suppress(zmq.Again, zmq.ZMQError):
            self.router.send_multipart([route, frame], zmq.NOBLOCK)
        self._unread[None] = None

    def replay(self, route: Any, frame: Frame) -> None:
        """Send a data frame again, to where it was asked for."""
        parts = [route, frame.data, *frame.buffers]
        with suppress(zmq.Again, zmq.ZMQError):
            self.router.send_multipart(parts, zmq.NOBLOCK, copy=not (frame.buffers and lends()))
        self._unread[None] = None

    def routed(self, asked: OpenReceiver) -> OpenReceiver:
        """Return where a peer's data comes from, and which key is there."""
        return asked

    # -------------------------------------------------------------------------- events

    def settle(self) -> bool:
        """Read the sockets that were sent on; tell whether there were any.

        A send takes in what its socket was told meanwhile, and with it the wake-up of
        its descriptor: what has arrived would lie there until the next message.
        """
        if self._resting():
            return False
        unread, self._unread = self._unread, {}
        for link in unread:
            if link is None:
                self.read_router()
            elif self._links.get(link.endpoint) is link:
                self._read_link(link)
        return bool(unread)

    def begin(self, now: float) -> None:
        """A turn of the control thread begins."""
        self._began, self._late = self.spent(), False
        if now >= self._read_at:
            self._read_at = 0.0

    def end(self) -> None:
        """A turn ends: if not all was read in its time, rest as long again."""
        if self._late:
            took = min(self.spent() - self._began, REST_MOST)
            self._read_at = max(self._read_at, self.monotonic() + took)

    def _resting(self) -> bool:
        """Tell whether nothing is to be read now: in this turn any more, or for a while."""
        self._late = self._late or self.spent() - self._began > BUDGET_SECONDS
        return self._late or self._read_at > 0.0

    def read_router(self) -> None:
        """Take what peers say on their links to us."""
        for _ in range(BUDGET):
            if self._resting():
                # A look lets its descriptor be quiet, which else would end every wait.
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
        for _ in range(BUDGET):
            if link.rests and self._resting():
                link.socket.getsockopt(EVENTS)
                break
            try:
                first, *others = receive_parts(link.socket)
            except zmq.Again:
                # This look may have taken in that the connection stands.
                if link.flush():
                    self._unread[link] = None
                return
            self._take_from(link, first, others)
            if self._links.get(link.endpoint) is not link:
                return
        self._unread[link] = None

    def _take_from(self, link: Link, first: zmq.Frame, others: list[zmq.Frame]) -> None:
        """Take what a peer says on our link to it."""
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
            # What waits there may be as large. It is not copied, and so thrown away at once.
            self._large_at = now
            cut(connection_of(frame))
            self._rejected(host or "control", "more large control messages than are taken")
            return
        if not allowed:
            self._rejected(link or host or "control", "more control messages than are taken")
            # Not where what waits behind it may be large: that would fill the memory meanwhile.
            if link is None and now - self._large_at > LARGE_FOR:
                self._read_at = now + PAUSE
            return
        try:
            message = read_control(frame.bytes)
        except DecodeError as error:
            self._rejected(link or host or "control", str(error))
            return
        if self._received(_resolved(message, host), route, link, key) and route:
            self._know(route)

    def _received(
        self, message: Control, route: Any, link: str | None, key: bytes, hub: str = ""
    ) -> bool:
        """Hand on a message; return whether its sender is a peer."""
        session = self.session
        answer = session.receive(message, route, link, self.monotonic(), key, hub)
        if answer is not None:
            self.answers.take(answer)
        return message.sender in session.members.peers

    def _takes_large(self, route: bytes, key: bytes, size: int, now: float) -> bool:
        """Tell whether a large message may be read now."""
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
        """Close every socket; what was said still goes out within ``linger`` seconds."""
        for endpoint in list(self._links):
            self._links.close(endpoint, linger=int(linger * 1000))
        self.router.close(linger=int(linger * 1000))


def _resolved(message: Control, host: str) -> Control:
    """Return the message with wildcard addresses filled in by where it came from."""
    if isinstance(message, Hello):
        return replace(message, addresses=resolve_wild(message.addresses, host))
    if isinstance(message, Welcome):
        hello = replace(message.hello, addresses=resolve_wild(message.hello.addresses, host))
        return replace(message, hello=hello)
    return message


def seen_at(endpoint: str, host: str) -> str:
    """Return an endpoint that somebody tells, with the host that it was reached at if it has none.

    Raises:
        DecodeError: if it is no endpoint.
    """
    try:
        return str(parse_tcp(endpoint).at(host))
    except ValueError as error:
        raise DecodeError(str(error)) from None
