"""A node in coroutines: what waits is awaited, and everything else is as with threads.

Nothing is done twice: the waits are those of `NodeWaits`, gone through in a coroutine, which
the control thread wakes. Under asyncio, uvloop, trio, and anyio on either.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from ...imports import importing
from ...names import check_name
from ...seconds import seconds
from .membership import NodeView

if TYPE_CHECKING:
    from ..doctor.rules import Diagnosis
    from ..engine.waits import NodeWaits, Wait
    from .node import Node


class AsyncNode(NodeView):
    """A `Node` whose waits are awaited: what ``async with federate(...)`` gives, or `Node.aio`.

    Whoever is cancelled while waiting leaves nothing behind.
    """

    def __init__(self, node: "Node") -> None:
        self._node = node
        self.events = node.events

    @property
    def node(self) -> "Node":
        """The node whose waits are for threads."""
        return self._node

    @property
    def aio(self) -> "AsyncNode":
        """This."""
        return self

    def __repr__(self) -> str:
        """Name the node."""
        return f"{self._node!r}.aio"

    async def _joined(self) -> None:
        """Wait, up to ``join_timeout``, until every living candidate is ready; log what is not."""
        node = self._node
        if node._engine is not None and not node._joined:
            await self._wait(node._join_timeout, node._steps_to_join)
            node._settle(0.0)

    async def wait_peers(self, n: int = 1, timeout: float | None = 10.0) -> None:
        """Wait until ``n`` other nodes are ready in both directions; see `Node.wait_peers`.

        Raises:
            NotReady: after ``timeout`` seconds, saying how many are and what is missing.
        """
        await self._wait(timeout, lambda waiter: waiter.peers(n))

    async def wait_ready(self, timeout: float | None = 10.0) -> None:
        """Wait until what is attached here is in force at every peer; see `Node.wait_ready`.

        Raises:
            NotReady: after ``timeout`` seconds, naming the peers that have not confirmed, and
                the addresses that have never answered.
        """
        await self._wait(timeout, lambda waiter: waiter.ready())

    async def wait_subscribers(self, name: str, n: int = 1, timeout: float | None = 10.0) -> None:
        """Wait until ``n`` other nodes will receive what is sent on an exchange.

        Raises:
            NotReady: after ``timeout`` seconds, saying how many will.
        """
        check_name(name)
        await self._wait(timeout, lambda waiter: waiter.subscribers(name, n))

    async def flush(self, timeout: float | None = 10.0) -> None:
        """Wait until every healthy peer has acknowledged what was sent before this call.

        In coroutines this is the back-pressure: `send` never waits there.

        Raises:
            NotReady: after ``timeout`` seconds, naming the peers that have not acknowledged, and
                the addresses that have never answered.
        """
        await self._wait(timeout, lambda waiter: waiter.flushed())

    async def diagnose(self, exchange: str = "", timeout: float = 2.0) -> "Diagnosis":
        """Say why messages do not arrive; see `Node.diagnose`."""
        found: list[Diagnosis] = []
        diagnose = self._node._diagnosis(exchange, timeout)
        await self._node._running().world.aside(lambda: found.append(diagnose()))
        return found[0]

    async def run(self) -> None:
        """Wait until the process is told to end, then close; see `Node.run`.

        Raises:
            RuntimeError: on another than the main thread.
        """
        with importing():
            from .signals import wait_for_end_here

        try:
            await wait_for_end_here(lambda: self._node._closed)
        finally:
            await self.close()

    async def close(self, timeout: float | None = 5.0) -> None:
        """Leave the federation, as `Node.close`, without holding up the event loop.

        A cancelled close goes on to its end on a thread of its own, and the interpreter
        waits for that before it exits.
        """
        node, limit = self._node, seconds(timeout)
        if node._release() and (engine := node._engine) is not None:
            await engine.world.aside(lambda: node._shut(limit, wait=True))

    async def _wait(
        self, timeout: float | None, steps: "Callable[[NodeWaits], Wait[None]]"
    ) -> None:
        with importing():
            from ..engine.waits import NodeWaits

        waiter = NodeWaits(self._node._running(), seconds(timeout))
        await waiter.wait_here(steps(waiter))
