"""Reads the subscriptions of peers at the data socket, and keeps tokens for the control thread.

Everything happens under the lock of the data socket, except that the control thread takes the
tokens away.
"""

from collections import deque
from collections.abc import Callable
from contextlib import suppress

import zmq

from ...protocol.wire.data import DATA, READY, read_token
from ...protocol.wire.envelopes import MARK
from ..security.connections import Connection, connection, source
from ..security.subscription_filter import SubscriptionFilter, user_of
from ..transport.sockets import EVENTS, JUDGED_MARK, READABLE, XPUB_MANUAL
from .subscription_quota import SubscriptionQuota
from .window import Window

AT_ONCE, ALONG = 200, 20
"""The most subscriptions that are read in one call: by the control thread, and by a sender."""
SECONDS = 0.002
"""The most seconds that are spent on it: so long may a sender have to leave its messages to others.
Each read releases the interpreter's lock, and gets it back only after 5 ms if another thread
computes; a peer that connects again subscribes to each of its names."""
TOPICS = DATA, READY, MARK
"""The first bytes of topics. No node subscribes to anything else."""


class SubscriptionReader:
    """Reads subscriptions that arrive at the data socket.

    Args:
        socket: the XPUB.
        window: told which connection belongs to which peer.
        notify: wakes the control thread.
        gate: judges subscriptions by keys; None without keys.
        monotonic: returns seconds on a monotonic clock.
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
        """Whether the last `read` has left some."""
        self._found: dict[int, Connection | None] = {}
        """The connections of descriptors, within one call."""
        self._quiet = True
        """Whether the last `read` has found nothing."""
        if gate is None:
            self.topics = SubscriptionQuota(find=self._by)
        else:
            narrow = gate.narrow
            self.topics = SubscriptionQuota(find=self._by, each=True, narrow=narrow)
            gate.room = lambda key: self.topics.has_room(key, monotonic())

    def read(self, most: int = ALONG) -> None:
        """Read at most so many subscriptions.

        Also called after sends: a send checks the socket's state, and may consume the control
        thread's wake-up. If the last send of a burst does so, the control thread's next poll
        catches it.
        """
        if self.closed:
            return
        socket, seen, late = self._socket, 0, False
        # The state is asked for once, and not in a flood: each time libzmq takes in all frames that
        # have come, more than are read here, and pyzmq holds the interpreter's lock meanwhile,
        # which it does not in `recv`.
        if self._quiet and not int(socket.getsockopt(EVENTS)) & READABLE:
            self.unread = False
        else:
            self._found.clear()
            until = self._monotonic() + SECONDS
            # Bounded, because it costs the sender time, and others wait for the lock.
            with suppress(zmq.Again):
                while seen < most and not late:
                    frame = socket.recv(zmq.NOBLOCK, copy=False)
                    seen += 1
                    self._take(frame)
                    late = self._monotonic() > until
            self.unread = late or seen == most
            self._quiet = not seen
        if self._gate is not None and not self.unread:
            self._gate.drained()
        if seen:
            self._notify()

    def _take(self, frame: zmq.Frame) -> None:
        # -1 for a subscription that ends with its connection.
        data, fd, gate = frame.bytes, source(frame), self._gate
        user, now = None if gate is None else user_of(frame), self._monotonic()
        # Counted before it is judged: libzmq keeps subscriptions that we refuse, too.
        if not self.topics.note(data, fd, now, user or b"") and data[:1] == b"\1":
            return
        if data[:1] == b"\1" and data[1:2] not in TOPICS:
            self.topics.bar(fd, now, user or b"")
            return
        if gate is not None and not gate.admit(self._socket, frame, user, self._find(fd)):
            if user and data[:1] == b"\1":
                self.topics.refused(data, fd, now, user)
            return
        token = read_token(data[1:])
        if token is None and data[1:2] != MARK:
            return
        self.subscriptions.append(data)
        if fd >= 0 and data[:1] == b"\1":
            if token is not None:
                self._window.connected(token[0], fd)
            else:  # from a hub, which asks whose connection this is
                self._window.shared(fd)

    def _find(self, fd: int) -> Connection | None:
        """Return the connection of a descriptor; it is looked up once within a call."""
        if fd not in self._found:
            self._found[fd] = connection(fd)
        return self._found[fd]

    def _by(self, fd: int) -> Connection:
        return self._find(fd) or (fd, -1)
