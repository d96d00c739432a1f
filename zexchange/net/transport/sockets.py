"""How every ZeroMQ socket of a node is set up.

One place for options, because most of them answer a trap of libzmq.
"""

import _thread
import os
import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import zmq
from zmq.backend import Socket as _Backend
from zmq.utils.garbage import gc as _collector

from ...protocol.wire.data import MAX_CONTROL_BYTES, MAX_DATA_BYTES

if TYPE_CHECKING:
    Socket = zmq.Socket[bytes]

SEND_MARK = 8_000
"""High-water mark of what publishes, in frames: twice what may lie there for a peer that is waited
for. libzmq tells a pipe what was read out of it after half of that, so that one which holds half
may look full."""
FRAMES_MARK = 4_000
"""High-water mark of data sockets, in frames: a second fence. The window bounds bytes, and
what is dropped at this mark is in the ring and is asked for again."""
MAX_SUBSCRIPTION_BYTES = 1024
"""A topic has 257 bytes at most. The limit is that of a handshake, too: CURVE's takes more."""
SUBSCRIPTIONS_MARK = 1
"""Subscriptions of one connection that wait to be read. libzmq reads on inside one call for
as long as any wait: with more, who floods us would hold the publisher in there, unseen."""
JUDGED_MARK = 2
"""Likewise with keys: with one, no connection that ZAP has to judge delivers any at all (libzmq
4.3.5)."""
SUBSCRIPTIONS_BUFFER = 64 << 10
CONTROL_MARK = 8
"""Control frames that wait to be read, for each connection: a second fence, for bytes are
what is bounded, but libzmq counts frames. A stranger that opens new connections has as many on
each."""
MAX_SOCKETS = 16_384
DIAL_TIMEOUT_MS = 1000
"""How long one attempt to connect may take. The kernel repeats what opens a connection after
1, 3, 7, 15 s and so on: a host that comes back would be found up to a minute later."""
DEAD_PATH_MS = 3000
"""How long what was sent on a dialled connection may stay unconfirmed by the other kernel."""

NotNow = zmq.Again
"""What a socket raises that has nothing to read, or no room."""
FD, SRCFD, EVENTS, RCVMORE = map(int, (zmq.FD, zmq.SRCFD, zmq.EVENTS, zmq.RCVMORE))
XPUB_MANUAL = int(zmq.XPUB_MANUAL)
READABLE, DO_NOT_WAIT, SNDMORE = map(int, (zmq.POLLIN, zmq.NOBLOCK, zmq.SNDMORE))
"""What stands in for a socket has to understand these."""


def plain_send(socket: Any) -> Callable[[bytes, int], object]:
    """Return what sends one frame that is copied.

    What is in C of a socket's `send`: pyzmq wraps it in Python, for kinds that a node does not
    use, at three times its cost (0.42 to 0.15 µs, with nobody subscribed).
    """
    return partial(_Backend.send, socket) if isinstance(socket, zmq.Socket) else socket.send


def lends() -> bool:
    """Return whether memory may be sent uncopied.

    Not with eventlet's greenlets: pyzmq's thread that lets go of such memory would be one, and
    wait in libzmq, which holds up all others for good. With gevent's, pyzmq sees to that.
    """
    return not _thread.start_new_thread.__module__.startswith("eventlet")


def start_collector() -> None:
    """Start pyzmq's thread that lets go of what was sent uncopied, before such a send.

    On a thread of its own: half started, by a signal handler that raises, it would block
    libzmq for good. Imported above, and so before a node asks to be closed at exit, it ends
    behind that: what libzmq still sends must not be freed.
    """
    if not _lending.is_set():
        _thread.start_new_thread(_start_collector, ())
        _lending.wait()


def _start_collector() -> None:
    with _starting:
        try:
            if not _lending.is_set():
                zmq.Frame(b"", copy=False)
                # Asked at each such send. `Thread.is_alive`, when a signal handler raises
                # in it, takes a thread that runs for ended (CPython 3.11, bpo-45274): pyzmq
                # would start another one, and free what libzmq is sending.
                _collector.thread.is_alive = lambda: True  # type: ignore[union-attr, method-assign]
        finally:
            _lending.set()


def _after_fork() -> None:
    global _lending, _starting
    _lending, _starting = threading.Event(), threading.RLock()


_lending, _starting = threading.Event(), threading.RLock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _keep_alive(socket: "zmq.Socket[bytes]", idle: int, every: int, times: int) -> None:
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, idle)
    socket.setsockopt(zmq.TCP_KEEPALIVE_INTVL, every)
    socket.setsockopt(zmq.TCP_KEEPALIVE_CNT, times)


def _dialling(socket: "zmq.Socket[bytes]") -> None:
    """Have a socket notice within three seconds that a host is gone, and soon that it is back.

    Only who dials does: it has little to send. At the bound end the same would cut off
    whoever reads slowly, whose kernel has confirmed everything but has no room.
    """
    _keep_alive(socket, idle=1, every=1, times=2)
    socket.setsockopt(zmq.TCP_MAXRT, DEAD_PATH_MS)
    socket.setsockopt(zmq.CONNECT_TIMEOUT, DIAL_TIMEOUT_MS)
    socket.setsockopt(zmq.RECONNECT_IVL, 50)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 500)


def connect(socket: "zmq.Socket[bytes]", endpoint: str) -> None:
    """Connect to an endpoint whose host, if it has one, is an address.

    libzmq takes addresses of one family at a time: with `IPV6` on, a name that has an
    IPv6 address is tried at that alone. And it would look names up on the one thread that
    serves every connection, so names never come here: see `dns`.
    """
    if endpoint.startswith("tcp://["):
        socket.setsockopt(zmq.IPV6, 1)
    socket.connect(endpoint)


def subscribe(socket: "zmq.Socket[bytes]", *topics: bytes) -> None:
    """Subscribe to topics; equal ones are counted."""
    for topic in topics:
        socket.send(b"\1" + topic, DO_NOT_WAIT)


def unsubscribe(socket: "zmq.Socket[bytes]", *topics: bytes) -> None:
    """Undo a subscription of each topic: what was subscribed to more often still comes."""
    for topic in topics:
        socket.send(b"\0" + topic, DO_NOT_WAIT)


def receive_parts(link: "zmq.Socket[bytes]") -> "list[zmq.Frame]":
    """Return the next message of a dealer, which may have several parts.

    At each hundredth part libzmq takes in what its own thread has told the socket. If that is,
    between two parts, that the connection is another one now, which with `IMMEDIATE` ends the
    old one at once, the whole process is aborted (libzmq 4.3.5, `!_more` in fq.cpp): every
    time 50 messages of two parts lay unread when a connection was cut. So it is taken in
    before a message. What is left are the microseconds between two parts.

    Raises:
        zmq.Again: there is none.
    """
    link.getsockopt(zmq.EVENTS)
    return link.recv_multipart(zmq.NOBLOCK, copy=False)


class Sockets:
    """The sockets of one node or hub, of one ZeroMQ context with room for two sockets a peer."""

    def __init__(self) -> None:
        self._context = zmq.Context(io_threads=1)
        self._context.set(zmq.MAX_SOCKETS, MAX_SOCKETS)

    def _make(self, kind: int, largest: int = -1) -> "Socket":
        socket = self._context.socket(kind)
        # No ZMTP heartbeats: on a SUB or DEALER that has reached its receive mark they
        # abort the whole process (libzmq 4.3.5, `_input_stopped`). TCP finds dead hosts.
        _keep_alive(socket, idle=5, every=5, times=3)
        socket.setsockopt(zmq.MAXMSGSIZE, largest)
        # Otherwise a context with a stalled peer never terminates.
        socket.setsockopt(zmq.LINGER, 0)
        return socket

    def xpub(self) -> "Socket":
        """Return the socket that a node publishes on."""
        socket = self._make(zmq.XPUB, MAX_SUBSCRIPTION_BYTES)
        socket.setsockopt(zmq.SNDHWM, SEND_MARK)
        socket.setsockopt(zmq.RCVHWM, SUBSCRIPTIONS_MARK)
        # What the kernel has taken is read to its end even after a connection was shut down.
        socket.setsockopt(zmq.RCVBUF, SUBSCRIPTIONS_BUFFER)
        # To a hub it connects itself: what a lost connection asked for must go with it.
        socket.setsockopt(zmq.IMMEDIATE, 1)
        # A reconnect subscribes again while the old connection may still look alive: pass
        # on what is already known too, or its token would never be answered.
        socket.setsockopt(zmq.XPUB_VERBOSE, 1)
        return socket

    def sub(self) -> "Socket":
        """Return a socket that receives from one peer."""
        socket = self.xsub()
        _dialling(socket)
        socket.setsockopt(zmq.RCVHWM, FRAMES_MARK)
        return socket

    def xsub(self) -> "Socket":
        r"""Return a socket that subscribes by `subscribe` and `unsubscribe`.

        No SUB: where that unsubscribes from what starts with ``\x01``, as data topics do, libzmq
        4.3.5 takes that for another subscription (xsub.cpp) and yet passes it on. So the publisher
        stops although another key of ours has the same topic, and after a reconnect it is asked
        for what nobody wants. What is sent on an XSUB starts with a byte that says which it is.
        """
        socket = self._make(zmq.XSUB, MAX_DATA_BYTES)
        # Subscriptions obey this mark: 8000 of them would arrive as 1000.
        socket.setsockopt(zmq.SNDHWM, 0)
        return socket

    def router(self) -> "Socket":
        """Return the socket that peers' control links lead to."""
        socket = self._make(zmq.ROUTER, MAX_CONTROL_BYTES)
        socket.setsockopt(zmq.SNDHWM, 1000)
        socket.setsockopt(zmq.RCVHWM, CONTROL_MARK)
        return socket

    def dealer(self) -> "Socket":
        """Return the socket of a control link."""
        socket = self._make(zmq.DEALER, MAX_DATA_BYTES)
        _dialling(socket)
        # Refuse to queue for a connection that does not exist: pings of an hour would be
        # waiting for a host that comes back.
        socket.setsockopt(zmq.IMMEDIATE, 1)
        socket.setsockopt(zmq.SNDHWM, 10_000)
        socket.setsockopt(zmq.RCVHWM, 10_000)
        return socket

    def zap(self) -> "Socket":
        """Return the socket at which libzmq asks whether a key may come in."""
        socket = self._make(zmq.REP)
        socket.bind("inproc://zeromq.zap.01")
        return socket

    def pair(self) -> "Socket":
        """Return a socket that a monitor of another one talks to."""
        return self._make(zmq.PAIR)

    def destroy(self) -> None:
        """Close every socket at once."""
        self._context.destroy(linger=0)

    def term(self) -> None:
        """Wait until what closed sockets still have to send has lingered."""
        self._context.term()
