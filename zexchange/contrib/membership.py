"""How an adapter has its node: joined at the first use, or given.

Joining waits, so an event loop leaves it to a thread. It is done once in each process:
an adapter that was made before a fork joins anew in each child. Adapters attach what
they want to hear before they join: joined then means that it is in force at every peer.
"""

import asyncio
import logging
import threading

from .. import Node, NotReady, Registry, federate
from ..local.forking import track
from ..local.registry import default_registry

JOIN_TIMEOUT = 5.0
"""Seconds that a newcomer waits for peers that are alive and do not answer. Longer than
`federate` waits by itself: all processes of a server start at the same moment, and who
is let in before the others hear it misses what they send."""
_log = logging.getLogger("zexchange")


class Membership:
    """One adapter's place in a federation.

    Args:
        federation: the name of the federation to join with the first use.
        node: a node of the program's own to use instead, which stays the program's.

    Raises:
        TypeError: for both, or neither.
    """

    def __init__(self, federation: str | None, node: Node | None) -> None:
        if (federation is None) == (node is None):
            raise TypeError("name the federation to join, or give a node=; one of the two")
        self._federation = federation or ""
        self._given = node
        self._node: Node | None = node
        track(self).after_fork()

    def after_fork(self) -> None:
        """Join anew: the node of a forked child is another one."""
        self._lock = threading.RLock()
        self._joining: asyncio.Future[None] | None = None
        self._joined = False

    @property
    def registry(self) -> Registry:
        """The registry whose exchanges the adapter uses; asking joins nothing."""
        return default_registry if self._given is None else self._given.registry

    def join(self) -> Node:
        """Join, once, and wait until all that is attached here is in force at every peer.

        Raises:
            ExchangeError: the federation cannot be joined; the next use tries again.
        """
        node = self._node
        if self._joined and node is not None:
            return node
        with self._lock:
            if self._node is None:
                self._node = federate(self._federation, join_timeout=JOIN_TIMEOUT)
            if not self._joined:
                _wait_ready(self._node)
                self._joined = True
            return self._node

    async def joined(self) -> None:
        """Do as `join`, for an event loop, which goes on meanwhile."""
        if self._joined:
            return
        if self._joining is None:
            self._joining = asyncio.ensure_future(asyncio.to_thread(self.join))
            self._joining.add_done_callback(self._tried)
        await asyncio.shield(self._joining)  # it is the others', too

    def _tried(self, done: "asyncio.Future[Node]") -> None:
        self._joining = None

    def leave(self) -> None:
        """Leave the federation, if it was joined here; a given node stays."""
        with self._lock:
            node, self._node = self._node, self._given
            self._joined = False
        if node is not None and node is not self._given:
            node.close()


def _wait_ready(node: Node) -> None:
    """Wait for every peer; who does not answer is logged, and holds nobody up for ever."""
    try:
        node.wait_ready(JOIN_TIMEOUT)
    except NotReady as error:
        _log.warning("joined with peers missing: %s", error)
