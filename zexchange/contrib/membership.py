"""The node of an adapter: it joins with the first use, or the program provides it.

Joining waits for peers, so an event loop leaves it to a thread. Each process joins once, and waits
again after an adapter has attached a task: "joined" means that all its subscriptions are in force
at every peer. An adapter that was made before a fork joins again in each child.
"""

import asyncio
import threading
from collections.abc import Callable

from .. import AsyncNode, Node, NotReady
from ..local.process.fork import track
from ..local.process.logs import log
from ..local.registry import default_registry
from ..net.node.federate import enlist, revive
from ..net.node.lifetime import Backlog

JOIN_TIMEOUT = 5.0
"""Seconds that the first join waits for peers that are alive and do not answer. This is longer
than the default of `federate`: all processes of a server start at the same moment, and one that
accepts clients before it is connected to the others would miss their messages."""
READY_TIMEOUT = 1.0
"""Seconds that a later join, after another task was attached, waits for such peers."""
FLUSH_TIMEOUT = 10.0
"""Seconds that peers have to acknowledge sent messages."""
OVERHEAD = 128
"""Bytes that a message may take beyond its content."""


AnyNode = Node | AsyncNode


class Membership:
    """One adapter's membership in a federation; its coroutines are for one event loop at a time.

    Args:
        federation: the name of the federation to join with the first use.
        node: a node of the program's own, to use instead; the adapter never closes it.
        exchanges: the name or pattern of the exchanges that the adapter uses. As long as only
            adapters use the node, no other exchanges take part in the federation.

    Raises:
        TypeError: both ``federation`` and ``node`` are given, or neither.
    """

    def __init__(self, federation: str | None, node: AnyNode | None, exchanges: str = "**") -> None:
        if (federation is None) == (node is None):
            raise TypeError("name the federation to join, or give a node=; one of the two")
        self._exchanges = exchanges
        self._given = self._node = None if node is None else node.node
        self.registry = default_registry if node is None else node.registry
        """The registry whose exchanges the adapter uses."""
        self.federation = (federation or "") if node is None else node.name
        """The name of the federation."""
        track(self)._after_fork()

    def _after_fork(self) -> None:
        """Start from the beginning: a forked child has to join by itself."""
        self._lock = threading.RLock()
        self._joining: asyncio.Future[Node] | None = None
        self._flushing: asyncio.Future[None] | None = None
        self._attached, self._in_force = 0, -1
        self._sent = self._most = 0

    def attached(self) -> None:
        """Note that a task was attached: the next `join` waits until that is in force."""
        self._attached += 1

    @property
    def _joined(self) -> bool:
        return self._in_force >= self._attached

    def join(self) -> Node:
        """Join, and wait until all subscriptions of the adapter are in force at every peer.

        Peers that do not answer within the timeout are logged, and no longer waited for. Any
        thread.

        Raises:
            ExchangeError: the federation cannot be joined; the next use tries again.
            RuntimeError: the thread runs an event loop; use `joined` or `enter` there.
        """
        with self._lock:
            node, attached = self._federated(), self._attached
            if not self._joined:
                timeout = JOIN_TIMEOUT if self._in_force < 0 else READY_TIMEOUT
                # ``given=False``: an address of a program where nobody answers must not delay
                # its adapters again and again.
                _in_time(lambda: node._wait_ready(timeout, given=False), "joined, but")
                self._most = node.stats().window // 8
                self._in_force = attached
            return node

    def enter(self) -> None:
        """Do what `join` does; in a running event loop, join without waiting for peers.

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
            node = enlist(self.federation, JOIN_TIMEOUT, self._exchanges)
            revive(node)
            self._node = node
        return self._node

    def enlist(self, backlog: Backlog) -> Node:
        """Return the node without joining: `Node._revive` does that later. It never waits.

        Args:
            backlog: holds messages that the node sends as soon as it has joined.
        """
        node = self._node
        if node is None or backlog not in node._backlogs:
            with self._lock:
                if self._node is None:
                    self._node = enlist(self.federation, JOIN_TIMEOUT, self._exchanges)
                node = self._node
                if backlog not in node._backlogs:
                    node._backlogs.append(backlog)
        return node

    async def joined(self) -> None:
        """Do what `join` does, while the event loop goes on.

        Raises:
            ExchangeError: the federation cannot be joined; the next use tries again.
        """
        while not self._joined:
            joining = self._joining
            if joining is None or joining.done():
                joining = self._joining = asyncio.ensure_future(asyncio.to_thread(self.join))
            await asyncio.shield(joining)  # other coroutines may wait for the same join

    async def sent(self, size: int) -> None:
        """Note that ``size`` bytes were sent; wait now and then until peers acknowledge them.

        In an event loop `send` never waits. An event loop that publishes without a pause would
        overrun its peers, and they would lose messages.
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
        """Leave the federation, unless the program provided the node. Any thread.

        Args:
            backlog: as it was passed to `enlist`, if it was.
        """
        with self._lock:
            node, self._node = self._node, self._given
            self._in_force = -1
        if node is not None and backlog in node._backlogs:
            node._backlogs.remove(backlog)
        if node is not None and node is not self._given:
            node.close()


def _in_time(wait: Callable[[], None], what: str) -> None:
    """Call ``wait``, and log a warning if it reaches its timeout."""
    try:
        wait()
    except NotReady as error:
        log.warning("%s %s", what, error)
