"""Finds out whether anything listens at an endpoint. Control thread only.

Plain sockets are used, since ZeroMQ retries silently and reports neither refusal nor success.
"""

import errno
import socket
from collections.abc import Callable
from functools import partial

from .endpoints import socket_address
from .polling import Poller

PROBE_TIMEOUT = 2.0

Answer = Callable[[str, bool], None]


class Probes:
    """The connections of one node that only test whether anything listens."""

    def __init__(self, poller: Poller) -> None:
        self._poller = poller
        self._probes: dict[int, tuple[socket.socket, str, float, Answer]] = {}

    def probe(self, endpoint: str, now: float, answer: Answer) -> None:
        """Find out whether anything listens; ``answer`` is called if that is clear.

        It gets the endpoint, and true if a connection was made, or false if it was refused. In all
        other cases it is not called.
        """
        if any(probed == endpoint for _, probed, _, _ in self._probes.values()):
            return
        target = socket_address(endpoint)
        if target is None:
            return
        family, address = target
        try:
            probe = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        except OSError:
            return  # no descriptor is left: the answer is not clear
        try:
            code = probe.connect_ex(address)
        except (OSError, ValueError):
            # not a valid address: a path that is too long or has a NUL in it
            probe.close()
            return
        if code == errno.EINPROGRESS:
            fd = probe.fileno()
            self._probes[fd] = (probe, endpoint, now + PROBE_TIMEOUT, answer)
            self._poller.watch(fd, partial(self._ended, fd), writing=True)
            return
        probe.close()
        # EAGAIN: the owner of a Unix socket is too busy to accept, but alive.
        _judge(endpoint, 0 if code == errno.EAGAIN else code, answer)

    def _ended(self, fd: int) -> None:
        """Judge an attempt to connect that has succeeded or failed."""
        probe, endpoint, _, answer = self._probes.pop(fd)
        self._poller.forget(fd)
        code = probe.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        probe.close()
        _judge(endpoint, code, answer)

    def expire(self, now: float) -> None:
        """Give up probes that have timed out; their answers are not called."""
        for fd, (probe, _, until, _) in list(self._probes.items()):
            if now >= until:
                del self._probes[fd]
                self._poller.forget(fd)
                probe.close()

    def close(self) -> None:
        """Give up every probe."""
        for probe, _, _, _ in self._probes.values():
            probe.close()
        self._probes.clear()


def _judge(endpoint: str, code: int, answer: Answer) -> None:
    if code == 0:
        answer(endpoint, True)
    elif code in (errno.ECONNREFUSED, errno.ENOENT):
        answer(endpoint, False)
