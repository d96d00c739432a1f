"""How an adapter has its node: joined at the first use, or given.

Joining waits, so an event loop leaves it to a thread. It is done once in each process, and
again when an adapter has attached something: joined means that all of it is in force at
every peer. An adapter that was made before a fork joins anew in each child.
"""

import asyncio
import threading
from collections.abc import Callable

from .. import AsyncNode, Node, NotReady, Registry
from ..local.process.fork import track
from ..local.process.logs import log
from ..local.registry import default_registry
from ..net.node.federate import enlist, revive
from ..net.node.lifetime import Backlog

JOIN_TIMEOUT = 5.0
"""Seconds that a newcomer waits for peers that are alive and do not answer. Longer than
`federate` waits by itself: all processes of a server start at the same moment, and who
lets clients in before the others hear it misses what they send."""
READY_TIMEOUT = 1.0
"""Seconds that what is attached later waits for them."""
FLUSH_TIMEOUT = 10.0
"""Seconds that they have to acknowledge what was sent."""
OVERHEAD = 128
"""Bytes that a message may take beyond its content."""


AnyNode = Node | AsyncNode


class Membership:
    """One adapter's place in a federation; its coroutines are for one event loop at a time.

    Args:
        federation: the name of the federation to join with the first use.
        node: a node of the program's own to use instead, which stays the program's.
        exchanges: the name or pattern of what the adapter uses: of a node that only adapters
            have joined by, nothing else takes part.

    Raises:
        TypeError: for both, or neither.
    """

    def __init__(self, federation: str | None, node: AnyNode | None, exchanges: str = "**") -> None:
        if (federation is None) == (node is None):
            raise TypeError("name the federation to join, or give a node=; one of the two")
        self._federation = federation or ""
        self._exchanges = exchanges
        self._given = None if node is None else node.node
        self._node = self._given
        track(self)._after_fork()

    def _after_fork(self) -> None:
        """Join anew: the node of a forked child is another one."""
        self._lock = threading.RLock()
        self._joining: asyncio.Future[Node] | None = None
        self._flushing: asyncio.Future[None] | None = None
        self._attached, self._in_force = 0, -1
        self._sent = self._most = 0

    @property
    def registry(self) -> Registry:
        """The registry whose exchanges the adapter uses; asking joins nothing."""
        return default_registry if self._given is None else self._given.registry

    @property
    def federation(self) -> str:
        """The name of the federation."""
        return self._federation if self._given is None else self._given.name

    def attached(self) -> None:
        """Note that something was attached, which whoever joins next has to wait for."""
        self._attached += 1

    @property
    def _joined(self) -> bool:
        return self._in_force >= self._attached

    def join(self) -> Node:
        """Join, and wait until all that is attached here is in force at every peer.

        Raises:
            ExchangeError: the federation cannot be joined; the next use tries again.
            RuntimeError: in a running event loop: see `joined` and `enter`.
        """
        with self._lock:
            node, attached = self._federated(), self._attached
            if not self._joined:
                timeout = JOIN_TIMEOUT if self._in_force < 0 else READY_TIMEOUT
                # What a program was given, and nobody is at, holds no adapter up again and again.
                _in_time(lambda: node._wait_ready(timeout, given=False), "joined, but")
                self._most = node.stats().window // 8
                self._in_force = attached
            return node

    def enter(self) -> None:
        """Do as `join`, but in a running event loop, where nothing waits, only begin to.

        Raises:
            ExchangeError: the federation cannot be joined.
        """
        if asyncio._get_running_loop() is None:
            self.join()
        else:
            with self._lock:
                self._federated()

    def _federated(self) -> Node:
        if self._node is None:
            node = enlist(self._federation, JOIN_TIMEOUT, self._exchanges)
            revive(node)
            self._node = node
        return self._node

    def enlist(self, backlog: Backlog) -> Node:
        """Return the node without joining, which is left to `Node._revive`. Waits for nobody.

        Args:
            backlog: what is to be sent as soon as it has joined.
        """
        node = self._node
        if node is None or backlog not in node._backlogs:
            with self._lock:
                if self._node is None:
                    self._node = enlist(self._federation, JOIN_TIMEOUT, self._exchanges)
                node = self._node
                if backlog not in node._backlogs:
                    node._backlogs.append(backlog)
        return node

    async def joined(self) -> None:
        """Do as `join`, while the event loop goes on."""
        while not self._joined:
            joining = self._joining
            if joining is None or joining.done():
                joining = self._joining = asyncio.ensure_future(asyncio.to_thread(self.join))
            await asyncio.shield(joining)  # it is the others', too

    async def sent(self, size: int) -> None:
        """Note that so many bytes were sent; wait now and then until peers have them.

        In an event loop `send` waits for nobody, and a loop that published without a pause
        would run away from its peers until they lose messages.
        """
        self._sent += size + OVERHEAD
        flushing = self._flushing
        if flushing is None or flushing.done():
            if self._sent < self._most:
                return
            self._sent = 0
            flushing = self._flushing = asyncio.ensure_future(asyncio.to_thread(self._flush))
        await asyncio.shield(flushing)

    def _flush(self) -> None:
        node = self._node
        if node is not None:
            _in_time(lambda: node._flush(FLUSH_TIMEOUT, given=False), "not flushed:")

    def leave(self, backlog: Backlog | None = None) -> None:
        """Leave the federation, if it was joined here; a given node stays."""
        with self._lock:
            node, self._node = self._node, self._given
            self._in_force = -1
        if node is not None and backlog in node._backlogs:
            node._backlogs.remove(backlog)
        if node is not None and node is not self._given:
            node.close()


def _in_time(wait: Callable[[], None], what: str) -> None:
    """Wait; who does not answer is logged, and holds nobody up for ever."""
    try:
        wait()
    except NotReady as error:
        log.warning("%s %s", what, error)
