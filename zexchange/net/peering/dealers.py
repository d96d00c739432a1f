"""Dialled control connections: one DEALER to each endpoint, with the key that is expected there.

Links to peers, to hubs and between hubs are opened, watched and closed alike. The owner of a link
decides which messages are sent on it and when; all of this runs on the owner's thread.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import zmq

from ...local.process.logs import log
from ..security.guard import CurveGuard
from ..transport.polling import Poller
from ..transport.sockets import Sockets, connect

if TYPE_CHECKING:
    from ..transport.sockets import Socket


@dataclass(eq=False)
class DealerLink:
    """The control connection to one endpoint."""

    endpoint: str
    socket: "Socket"
    fd: int
    key: bytes
    """The key that is expected there, or has proven to be there."""
    guard: CurveGuard


L = TypeVar("L", bound=DealerLink)


class DealerLinks(dict[str, L]):
    """The links that one node or hub has dialled, by endpoint.

    Args:
        sockets: makes the sockets of the links.
        poller: watches them.
        guard: has the keys.
        read: called with a link that can be read; None if the owner reads all links in each turn.
    """

    def __init__(
        self,
        sockets: Sockets,
        poller: Poller,
        guard: CurveGuard,
        read: Callable[[L], None] | None = None,
    ) -> None:
        super().__init__()
        self._reader = read
        self._sockets = sockets
        self._poller = poller
        self._guard = guard

    def open(self, kind: type[L], endpoint: str, key: bytes = b"", hub: bool = False) -> L | None:
        """Open a link: to the node with a key if that is known, else with the next key to try.

        Returns:
            The link, which is not connected yet; None if no key is authorized for that endpoint, or
            the socket cannot be made.
        """
        socket: Socket | None = None
        expected: bytes | None = None
        try:
            socket = self._sockets.dealer()
            expected = self._guard.approach(socket, endpoint, key, hub)
        except zmq.ZMQError as error:
            log.warning("cannot dial %s: %s", endpoint, error)
        if socket is None or expected is None:  # no authorized key can be at this endpoint
            self._guard.hung_up(endpoint)
            if socket is not None:
                socket.close()
            return None
        link = kind(endpoint, socket, int(socket.getsockopt(zmq.FD)), expected, self._guard)
        self[endpoint] = link
        self._poller.watch(link.fd, self._reader and partial(self._reader, link))
        return link

    def connect(self, link: L, literal: str) -> None:
        """Connect a link to an address, unless the link was closed during the look-up."""
        if self.get(link.endpoint) is link:
            try:
                connect(link.socket, literal)
            except zmq.ZMQError as error:
                log.warning("cannot dial %s: %s", literal, error)
                self.close(link.endpoint)

    def close(self, endpoint: str, linger: int = 0) -> L | None:
        """Close a link and return it. Queued messages are still sent within ``linger`` ms."""
        link = self.pop(endpoint, None)
        if link is not None:
            self._poller.forget(link.fd)
            self._guard.hung_up(endpoint)
            link.socket.close(linger=linger)
        return link
