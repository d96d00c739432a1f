"""What subscribers ask for at the data socket: taken in behind sends, kept for the control thread.

All under the lock of the data socket, but for what the control thread takes away.
"""

from collections import deque
from collections.abc import Callable
from contextlib import suppress

import zmq

from ...protocol.wire.data import read_token
from ...protocol.wire.envelopes import MARK
from ..security.connections import source
from ..security.subscription_filter import SubscriptionFilter, user_of
from ..transport.sockets import EVENTS, JUDGED_MARK, READABLE, XPUB_MANUAL
from .subscription_quota import SubscriptionQuota
from .window import Window

AT_ONCE, ALONG = 200, 20
"""Subscriptions read before whoever reads them goes on with its own work: the control thread, and
who sends."""
SECONDS = 0.02
"""Or as long: each lets go of the interpreter's lock, which comes back after 5 ms where somebody
computes. A peer that connects again has a subscription for each of its names."""


class SubscriptionReader:
    """The subscriptions that come in by the data socket.

    Args:
        socket: the XPUB.
        window: told which connection is whose.
        notify: has the control thread look.
        gate: who may subscribe to what, where there are keys.
        monotonic: tells the time.
    """

    def __init__(
        self,
        socket: "zmq.Socket[bytes]",
        window: Window,
        notify: Callable[[], None],
        gate: SubscriptionFilter | None,
        monotonic: Callable[[], float],
    ) -> None:
        self._socket = socket
        self._window = window
        self._notify = notify
        self._gate = gate
        self._monotonic = monotonic
        if gate is not None:
            socket.setsockopt(XPUB_MANUAL, 1)
            socket.setsockopt(zmq.RCVHWM, JUDGED_MARK)
        self.closed = False
        self.subscriptions: deque[bytes] = deque()
        """Tokens (un)subscribed on the socket, for the control thread."""
        self.unread = False
        """Whether there are more than were read at a time."""
        self.topics = SubscriptionQuota(each=gate is not None)

    def read(self, most: int = ALONG) -> None:
        """Take in what subscribers asked for, up to so many.

        Also behind sends, whose own look at the socket's state may have eaten the wake-up of
        the control thread. What that eats behind the last of many, its next look finds.
        """
        if self.closed:
            return
        socket, seen, late, until = self._socket, 0, False, 0.0
        if not int(socket.getsockopt(EVENTS)) & READABLE:
            self.unread = False
        else:
            # Asked for once: each time, libzmq takes in all that has come since, of a flood more
            # than is read. Bounded: this is the sender's time, and the lock.
            with suppress(zmq.Again):
                while seen < most and not late:
                    frame = socket.recv(zmq.NOBLOCK, copy=False)
                    seen += 1
                    self._take(frame)
                    until = until or self._monotonic() + SECONDS
                    late = self._monotonic() > until
            self.unread = late or seen == most
        if self._gate is not None and not self.unread:
            self._gate.drained()
        if seen:
            self._notify()

    def _take(self, frame: zmq.Frame) -> None:
        # Of what ends with its connection there is none.
        data, fd = frame.bytes, source(frame)
        # Before it is judged: libzmq keeps what we refuse, too.
        key = b"" if self._gate is None else user_of(frame) or b""
        if not self.topics.note(data, fd, self._monotonic(), key) and data[:1] == b"\1":
            return
        if self._gate is not None and not self._gate.admit(self._socket, frame):
            return
        token = read_token(data[1:])
        if token is None and data[1:2] != MARK:
            return
        self.subscriptions.append(data)
        if fd >= 0 and data[:1] == b"\1":
            if token is not None:
                self._window.connected(token[0], fd)
            else:  # of a hub, which asks whose the connection is
                self._window.shared(fd)
