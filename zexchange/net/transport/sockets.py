"""The options of every ZeroMQ socket of a node.

They are in one place because most of them avoid a trap of libzmq.
"""

import _thread
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import zmq
from zmq.utils.garbage import gc as _collector

from ...protocol.wire.data import MAX_CONTROL_BYTES, MAX_DATA_BYTES
from . import native

if TYPE_CHECKING:
    Socket = zmq.Socket[bytes]

SEND_MARK = 8_000
"""High-water mark of the publishing socket, in frames: twice as many as may lie there for a peer
that senders wait for.

libzmq reports frames as read only after half of the mark. A pipe that is half full may therefore
count as full.
"""
FRAMES_MARK = 4_000
"""High-water mark of data sockets, in frames.

It is a second limit: the window limits bytes. Frames dropped at this mark are in the ring, and are
asked for again.
"""
MAX_SUBSCRIPTION_BYTES = 1024
"""Most bytes of a subscription. A topic has 257 at most, but the limit also applies to handshakes,
and CURVE's needs more."""
SUBSCRIPTIONS_MARK = 1
"""Subscriptions of one connection that wait to be read.

libzmq reads on inside one call for as long as any wait. With a higher mark, a connection that
floods us would keep the publisher inside that call, unnoticed.
"""
JUDGED_MARK = 2
"""The same with keys. With a mark of one, no connection that ZAP has to judge delivers anything
(libzmq 4.3.5)."""
SUBSCRIPTIONS_BUFFER = 64 << 10
CONTROL_MARK = 8
"""Control frames of each connection that wait to be read.

It is a second limit: bytes are limited elsewhere, but libzmq counts frames. A stranger that opens
new connections has as many on each.
"""
MAX_SOCKETS = 16_384
DIAL_TIMEOUT_MS = 1000
"""Most milliseconds of one attempt to connect.

The kernel repeats the opening packet after 1, 3, 7, 15 s and so on, so that a host that comes back
could be found up to a minute late.
"""
DEAD_PATH_MS = 3000
"""Milliseconds for which the other kernel may leave data on a dialled connection unconfirmed."""

NotNow = zmq.Again
"""Raised by a socket that has nothing to read, or no room."""
FD, SRCFD, EVENTS, RCVMORE = map(int, (zmq.FD, zmq.SRCFD, zmq.EVENTS, zmq.RCVMORE))
XPUB_MANUAL = int(zmq.XPUB_MANUAL)
READABLE, DO_NOT_WAIT, SNDMORE = map(int, (zmq.POLLIN, zmq.NOBLOCK, zmq.SNDMORE))
"""Substitutes for sockets have to understand these."""


def plain_send(socket: Any) -> Callable[[bytes, int], object]:
    """Return a function that sends one frame, which is copied. It never waits: see `native`."""
    plain = isinstance(socket, zmq.Socket)
    return native.sender(cast("Socket", socket)) if plain else socket.send


def plain_receive(socket: Any) -> Callable[[int], bytes]:
    """Return a function that receives one frame as bytes. It never waits: see `native`."""
    plain = isinstance(socket, zmq.Socket)
    return native.receiver(cast("Socket", socket)) if plain else socket.recv


def lends() -> bool:
    """Return whether memory may be sent without copying it.

    It may not with eventlet: the thread by which pyzmq releases such memory would be a greenlet
    that blocks in libzmq, and so would block all others for ever. With gevent, pyzmq takes care of
    that.
    """
    return not _thread.start_new_thread.__module__.startswith("eventlet")


def start_collector() -> None:
    """Start the thread by which pyzmq releases memory that was sent without a copy.

    To be called before the first such send. It is started from a thread of its own: if a signal
    handler raised during the start, it would block libzmq for good. pyzmq's collector is imported
    above, before any node registers to be closed at exit, so that it ends after the nodes: memory
    that libzmq still sends must not be freed.
    """
    if not _lending.is_set():
        _thread.start_new_thread(_start_collector, ())
        _lending.wait()


def _start_collector() -> None:
    with _starting:
        try:
            if not _lending.is_set():
                zmq.Frame(b"", copy=False)
                # pyzmq asks this at each such send. If a signal handler raises in
                # `Thread.is_alive`, that takes a running thread for ended (CPython 3.11,
                # bpo-45274): pyzmq would start another one, and free memory that libzmq is sending.
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

    Only for sockets that dial, since they have little to send. At the bound end these options would
    cut off a slow reader, whose kernel has confirmed everything but has no room.
    """
    _keep_alive(socket, idle=1, every=1, times=2)
    socket.setsockopt(zmq.TCP_MAXRT, DEAD_PATH_MS)
    socket.setsockopt(zmq.CONNECT_TIMEOUT, DIAL_TIMEOUT_MS)
    socket.setsockopt(zmq.RECONNECT_IVL, 50)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 500)


def connect(socket: "zmq.Socket[bytes]", endpoint: str) -> None:
    """Connect to an endpoint whose host, if it has one, is an address.

    Names never come here (see `dns`). libzmq would look them up on the one thread that serves every
    connection. It also uses one family at a time: with `IPV6` on, a name that has an IPv6 address
    is tried at that alone.
    """
    if endpoint.startswith("tcp://["):
        socket.setsockopt(zmq.IPV6, 1)
    socket.connect(endpoint)


def subscribe(socket: "zmq.Socket[bytes]", *topics: bytes) -> None:
    """Subscribe to topics. Equal ones are counted."""
    for topic in topics:
        socket.send(b"\1" + topic, DO_NOT_WAIT)


def unsubscribe(socket: "zmq.Socket[bytes]", *topics: bytes) -> None:
    """Undo one subscription to each topic. A topic with others left still arrives."""
    for topic in topics:
        socket.send(b"\0" + topic, DO_NOT_WAIT)


def receive_parts(link: "zmq.Socket[bytes]") -> "list[zmq.Frame]":
    """Return the next message of a DEALER, as its parts.

    At each hundredth part libzmq processes the commands of its own thread. One of them may say that
    the connection was replaced, and with `IMMEDIATE` that ends the old one at once. If this happens
    between two parts, the whole process is aborted (libzmq 4.3.5, `!_more` in fq.cpp): this
    occurred whenever 50 messages of two parts lay unread as a connection was cut. So the commands
    are processed before each message. Only the microseconds between two parts remain.

    Raises:
        zmq.Again: there is none.
    """
    link.getsockopt(zmq.EVENTS)
    return link.recv_multipart(zmq.NOBLOCK, copy=False)


class Sockets:
    """The sockets of one node or hub: a ZeroMQ context with room for two sockets a peer."""

    def __init__(self) -> None:
        self._context = zmq.Context(io_threads=1)
        self._context.set(zmq.MAX_SOCKETS, MAX_SOCKETS)

    def _make(self, kind: int, largest: int = -1) -> "Socket":
        socket = self._context.socket(kind)
        # No ZMTP heartbeats: on a SUB or DEALER that has reached its receive mark they abort the
        # whole process (libzmq 4.3.5, `_input_stopped`). TCP keep-alive finds dead hosts.
        _keep_alive(socket, idle=5, every=5, times=3)
        socket.setsockopt(zmq.MAXMSGSIZE, largest)
        # otherwise a context with a stalled peer never terminates
        socket.setsockopt(zmq.LINGER, 0)
        return socket

    def xpub(self) -> "Socket":
        """Return the socket that a node publishes on."""
        socket = self._make(zmq.XPUB, MAX_SUBSCRIPTION_BYTES)
        socket.setsockopt(zmq.SNDHWM, SEND_MARK)
        socket.setsockopt(zmq.RCVHWM, SUBSCRIPTIONS_MARK)
        # A small buffer, as it is read to its end even after a connection was shut down.
        socket.setsockopt(zmq.RCVBUF, SUBSCRIPTIONS_BUFFER)
        # The socket also connects to hubs: the subscriptions of a lost connection must go with it.
        socket.setsockopt(zmq.IMMEDIATE, 1)
        # After a reconnect a peer subscribes again while the old connection may still look alive.
        # Verbose passes on repeated subscriptions too; otherwise the peer's token would never be
        # answered.
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

        It is no SUB. If a SUB unsubscribes from a topic that starts with ``\x01``, as data topics
        do, libzmq 4.3.5 takes that for another subscription (xsub.cpp), and yet passes it on. So
        the publisher would stop although another of our keys has the same topic, and after a
        reconnect we would ask for topics that nobody wants. On an XSUB the first byte of each frame
        says which of the two it is.
        """
        socket = self._make(zmq.XSUB, MAX_DATA_BYTES)
        # subscriptions obey this mark: of 8000 only 1000 would arrive
        socket.setsockopt(zmq.SNDHWM, 0)
        return socket

    def router(self) -> "Socket":
        """Return the socket to which peers' control links connect."""
        socket = self._make(zmq.ROUTER, MAX_CONTROL_BYTES)
        socket.setsockopt(zmq.SNDHWM, 1000)
        socket.setsockopt(zmq.RCVHWM, CONTROL_MARK)
        return socket

    def dealer(self) -> "Socket":
        """Return the socket of a control link."""
        socket = self._make(zmq.DEALER, MAX_DATA_BYTES)
        _dialling(socket)
        # Do not queue for a connection that does not exist: the pings of an hour would wait for a
        # host that comes back.
        socket.setsockopt(zmq.IMMEDIATE, 1)
        socket.setsockopt(zmq.SNDHWM, 10_000)
        socket.setsockopt(zmq.RCVHWM, 10_000)
        return socket

    def zap(self) -> "Socket":
        """Return the socket on which libzmq asks whether a key may connect."""
        socket = self._make(zmq.REP)
        socket.bind("inproc://zeromq.zap.01")
        return socket

    def pair(self) -> "Socket":
        """Return a socket that receives the events of a monitored socket."""
        return self._make(zmq.PAIR)

    def destroy(self) -> None:
        """Close every socket at once."""
        self._context.destroy(linger=0)

    def term(self) -> None:
        """Wait until closed sockets have sent what they still had, or have lingered."""
        self._context.term()
