"""The control sockets: one ROUTER that peers' links lead to, one DEALER to each endpoint.

Frames in and out, dialling, and finding out whether anything listens at an endpoint.
What a message means is the session's business. One thread, the control thread, owns
everything here.
"""

import errno
import logging
import socket as os_socket
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import zmq

from ..errors import DecodeError
from ..protocol.messages import control_frame, read_control
from ..protocol.values import Control, Hello, Ping, Welcome
from ..protocol.wire import DATA
from .endpoints import ipc_path, parse_tcp, resolve_wild
from .sockets import Poller, new_dealer, new_router

BUDGET = 256
"""Frames read from one control socket before the others have their turn."""
OUTBOX_MOST = 1000
PROBE_TIMEOUT = 2.0
_log = logging.getLogger("zexchange")

Received = Callable[[Control, Any, str | None], None]


@dataclass(slots=True, eq=False)
class Link:
    """The control connection to one endpoint, and what waits for it to stand."""

    endpoint: str
    socket: "zmq.Socket[bytes]"
    fd: int
    outbox: deque[Control] = field(default_factory=deque)

    def queue(self, message: Control) -> None:
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
            try:
                self.socket.send(control_frame(self.outbox[0]), zmq.NOBLOCK)
            except zmq.Again:
                break
            self.outbox.popleft()
            sent = True
        return sent


class Controls:
    """All control sockets of a node."""

    def __init__(
        self,
        context: "zmq.Context[zmq.Socket[bytes]]",
        poller: Poller,
        received: Received,
        rejected: Callable[[str, str], None],
        replayed: Callable[[str, bytes], None],
    ) -> None:
        self._context = context
        self._poller = poller
        self._received = received
        self._rejected = rejected
        self._replayed = replayed
        self._links: dict[str, Link] = {}
        self._by_fd: dict[int, Link] = {}
        self._unread: set[Link | None] = set()
        self._probes: dict[int, tuple[os_socket.socket, str, float]] = {}
        self.router = new_router(context)
        self.router_fd = int(self.router.getsockopt(zmq.FD))
        poller.watch(self.router_fd)

    @property
    def endpoints(self) -> Sequence[str]:
        """The endpoints that are linked or being dialled."""
        return tuple(self._links)

    @property
    def unread(self) -> bool:
        """Tell whether `settle` has work left."""
        return bool(self._unread)

    # ------------------------------------------------------------------------- effects

    def dial(self, endpoint: str) -> None:
        """Open a link."""
        socket = None
        try:
            socket = new_dealer(self._context)
            socket.connect(endpoint)
        except zmq.ZMQError as error:
            if socket is not None:
                socket.close()
            _log.warning("cannot dial %s: %s", endpoint, error)
            return
        link = Link(endpoint, socket, int(socket.getsockopt(zmq.FD)))
        self._links[endpoint] = self._by_fd[link.fd] = link
        self._poller.watch(link.fd)

    def hang_up(self, endpoint: str, linger: int = 0) -> None:
        """Close a link. Goodbyes that were sent before still go out within ``linger`` ms."""
        link = self._links.pop(endpoint, None)
        if link is not None:
            del self._by_fd[link.fd]
            self._poller.forget(link.fd)
            link.socket.close(linger=linger)

    def redial(self, endpoint: str) -> None:
        """Replace a link by a fresh one."""
        self.hang_up(endpoint)
        self.dial(endpoint)

    def say(self, endpoint: str, message: Control) -> None:
        """Send on a link, as soon as it stands."""
        link = self._links.get(endpoint)
        if link is not None:
            link.queue(message)
            link.flush()
            self._unread.add(link)

    def reply(self, route: Any, message: Control) -> None:
        """Answer a message that came in at our own endpoint."""
        with suppress(zmq.Again, zmq.ZMQError):
            self.router.send_multipart([route, control_frame(message)], zmq.NOBLOCK)
        self._unread.add(None)

    def replay(self, route: Any, frame: bytes) -> None:
        """Send a data frame again, to where it was asked for."""
        with suppress(zmq.Again, zmq.ZMQError):
            self.router.send_multipart([route, frame], zmq.NOBLOCK)
        self._unread.add(None)

    # -------------------------------------------------------------------------- events

    def ready(self, fd: int) -> bool:
        """Handle a descriptor that the poller named; tell whether it was one of ours."""
        if fd == self.router_fd:
            self.read_router()
        elif fd in self._by_fd:
            self._read_link(self._by_fd[fd])
        elif fd in self._probes:
            self._finish_probe(fd)
        else:
            return False
        return True

    def settle(self) -> bool:
        """Read the sockets that were sent on; tell whether there were any.

        A send takes in what its socket was told meanwhile, and with it the wake-up of
        its descriptor: what has arrived would lie there until the next message.
        """
        unread, self._unread = self._unread, set()
        for link in unread:
            if link is None:
                self.read_router()
            elif self._links.get(link.endpoint) is link:
                self._read_link(link)
        return bool(unread)

    def read_router(self) -> None:
        """Take what peers say on their links to us."""
        for _ in range(BUDGET):
            try:
                parts = self.router.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            if len(parts) != 2:
                self._rejected("control", f"control message of {len(parts)} frames")
                continue
            self._take(parts[1].bytes, parts[0].bytes, None, _peer_host(parts[1]))
        self._unread.add(None)

    def _read_link(self, link: Link) -> None:
        host = _host_of(link.endpoint)
        link.flush()
        for _ in range(BUDGET):
            try:
                frames = link.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                # This look may have taken in that the connection stands.
                if link.flush():
                    self._unread.add(link)
                return
            if len(frames) == 1:
                self._take(frames[0], None, link.endpoint, host)
            else:
                self._rejected(link.endpoint, f"control message of {len(frames)} frames")
            if self._links.get(link.endpoint) is not link:
                return
        self._unread.add(link)

    def _take(self, frame: bytes, route: Any, link: str | None, host: str | None) -> None:
        if link is not None and frame[:1] == DATA:
            self._replayed(link, frame)
            return
        try:
            message = read_control(frame)
        except DecodeError as error:
            self._rejected(link or host or "control", str(error))
            return
        self._received(_resolved(message, host), route, link)

    # -------------------------------------------------------------------------- probes

    def probe(self, endpoint: str, now: float, answer: Callable[[str, bool], None]) -> None:
        """Find out whether anything listens; ``answer`` hears of a clear yes or no.

        A connection of the operating system's own, since ZeroMQ retries in silence and
        tells neither refusal nor success.
        """
        self._answer = answer
        if any(probed == endpoint for _, probed, _ in self._probes.values()):
            return
        target = _probe_target(endpoint)
        if target is None:
            return
        family, address = target
        probe = os_socket.socket(family, os_socket.SOCK_STREAM | os_socket.SOCK_NONBLOCK)
        try:
            code = probe.connect_ex(address)
        except (OSError, ValueError):
            # Not an address at all: a path too long, or with a NUL in it.
            probe.close()
            return
        if code == errno.EINPROGRESS:
            self._probes[probe.fileno()] = (probe, endpoint, now + PROBE_TIMEOUT)
            self._poller.watch(probe.fileno(), writing=True)
            return
        probe.close()
        # EAGAIN: a Unix socket whose owner is too busy to accept. It lives.
        self._judge(endpoint, 0 if code == errno.EAGAIN else code)

    def _finish_probe(self, fd: int) -> None:
        probe, endpoint, _ = self._probes.pop(fd)
        self._poller.forget(fd)
        code = probe.getsockopt(os_socket.SOL_SOCKET, os_socket.SO_ERROR)
        probe.close()
        self._judge(endpoint, code)

    def _judge(self, endpoint: str, code: int) -> None:
        if code == 0:
            self._answer(endpoint, True)
        elif code in (errno.ECONNREFUSED, errno.ENOENT):
            self._answer(endpoint, False)

    def expire_probes(self, now: float) -> None:
        """Give up probes that nobody has answered: that is neither a yes nor a no."""
        for fd, (probe, _, until) in list(self._probes.items()):
            if now >= until:
                del self._probes[fd]
                self._poller.forget(fd)
                probe.close()

    def close(self, linger: float) -> None:
        """Close every socket; what was said still goes out within ``linger`` seconds."""
        for endpoint in list(self._links):
            self.hang_up(endpoint, linger=int(linger * 1000))
        for probe, _, _ in self._probes.values():
            probe.close()
        self._probes.clear()
        self.router.close(linger=int(linger * 1000))


def _resolved(message: Control, host: str | None) -> Control:
    """Return the message with wildcard addresses filled in by where it came from."""
    if isinstance(message, Hello):
        return replace(message, addresses=resolve_wild(message.addresses, host))
    if isinstance(message, Welcome):
        hello = replace(message.hello, addresses=resolve_wild(message.hello.addresses, host))
        return replace(message, hello=hello)
    return message


def _peer_host(frame: zmq.Frame) -> str | None:
    """Return the address that a frame came from; None for Unix sockets."""
    try:
        address = str(frame.get("Peer-Address"))
    except zmq.ZMQError:
        return None
    if ":" in address and "." not in address:
        return f"[{address}]"
    return address if address.count(".") == 3 else None


def _host_of(endpoint: str) -> str | None:
    try:
        return parse_tcp(endpoint).host
    except ValueError:
        return None


def _probe_target(endpoint: str) -> tuple[int, Any] | None:
    """Return the family and address to probe, or None where that would need a look-up."""
    path = ipc_path(endpoint)
    if path is not None:
        return os_socket.AF_UNIX, path
    try:
        tcp = parse_tcp(endpoint)
    except ValueError:
        return None
    if tcp.host == "localhost":
        return os_socket.AF_INET, ("127.0.0.1", tcp.port)
    family = os_socket.AF_INET6 if tcp.host.startswith("[") else os_socket.AF_INET
    try:
        os_socket.inet_pton(family, tcp.host.strip("[]"))
    except OSError:
        return None
    return family, (tcp.host.strip("[]"), tcp.port)
