"""`Node` and `AsyncNode`: what a program sees of a node, from threads and from coroutines.

Nothing is done twice: the waits are those of `NodeWaits`, gone through on the caller's thread, or
in a coroutine, which the control thread wakes. Under asyncio, uvloop, trio, and anyio on either.
"""

from collections.abc import Callable

from ...imports import importing
from ...local.process import finalizers
from ...local.registry import Registry
from ...names import check_name
from ...seconds import seconds
from ..doctor.rules import Diagnosis, diagnose
from ..engine.waits import NodeWaits, Wait, others
from .lifetime import NodeLifetime
from .signals import wait_for_end, wait_for_end_here
from .stats import NodeStats, PeerStatus


class Node(NodeLifetime):
    """One process's membership in a federation: made by `federate`, also a context manager.

    Every method may be called from any thread. Those that wait take a ``timeout`` in seconds, 10
    where none is given (5 for `close`), or None to wait without end. They raise `RuntimeError` on
    the data thread (inside a task that is given a remote message) and in a running event loop,
    where they would wait for themselves. Plain code in a notebook's cell may call them, though
    its kernel runs a loop.
    """

    _aio: "AsyncNode | None" = None

    def run(self) -> None:
        """Wait until the process is told to end, by SIGTERM or Ctrl-C (SIGINT), then close.

        For a program that only has handlers. Returns then, also where another thread has closed
        the node. Without it, SIGTERM ends a process of Python's at once, if it has no handler of
        its own: nothing is flushed, and peers find out after 1.5 s that it is gone.

        Raises:
            RuntimeError: on another than the main thread, and in a running event loop.
        """
        self._may_wait()
        try:
            wait_for_end(lambda: self._closed)
        finally:
            self.close()

    def __enter__(self) -> "Node":
        """Return the node, which the end of the block closes."""
        return self

    def __exit__(self, *reason: object) -> None:
        """Close."""
        self.close()

    @property
    def node(self) -> "Node":
        """This."""
        return self

    @property
    def aio(self) -> "AsyncNode":
        """This, for coroutines: what waits here is awaited there. Always the same object."""
        if self._aio is None:
            self._aio = AsyncNode(self)
        return self._aio

    async def __aenter__(self) -> "AsyncNode":
        """Wait until every living candidate is ready, and return the node for coroutines."""
        try:
            await self.aio._joined()
        except BaseException:
            await self.aio.close(0.0)
            raise
        return self.aio

    async def __aexit__(self, *reason: object) -> None:
        """Close, awaited."""
        await self.aio.close()

    def wait_peers(self, n: int = 1, timeout: float | None = 10.0) -> None:
        """Wait until ``n`` other nodes are ready in both directions.

        Raises:
            NotReady: after ``timeout`` seconds, saying how many are and what is missing.
            RuntimeError: on the data thread and in a running event loop.
        """
        self._wait(timeout, lambda waiter: waiter.peers(n))

    def wait_ready(self, timeout: float | None = 10.0) -> None:
        """Wait until what is attached here is in force at every peer that is known.

        And until every address of ``peers=`` and ``hub=`` has answered once; one's own counts
        as answered. Whatever a peer sends after that reaches the tasks attached before this
        call. It cannot be in force at a peer that reaches us and that we do not reach.

        Raises:
            NotReady: after ``timeout`` seconds, naming the peers that have not confirmed, the
                addresses that have never answered, and why.
            RuntimeError: on the data thread and in a running event loop.
        """
        self._wait_ready(timeout)

    def _wait_ready(self, timeout: float | None, given: bool = True) -> None:
        self._wait(timeout, lambda waiter: waiter.ready(given))

    def wait_subscribers(self, name: str, n: int = 1, timeout: float | None = 10.0) -> None:
        """Wait until ``n`` other nodes will receive what is sent on an exchange.

        Raises:
            NotReady: after ``timeout`` seconds, saying how many will.
            RuntimeError: on the data thread and in a running event loop.
        """
        check_name(name)
        self._wait(timeout, lambda waiter: waiter.subscribers(name, n))

    def flush(self, timeout: float | None = 10.0) -> None:
        """Wait until every healthy peer has acknowledged what was sent before this call.

        Acknowledged means that its tasks have been given the messages. Healthy are all but
        those that are slow; one that is silent is waited for until it is heard, or has left.
        An address of ``peers=`` and ``hub=`` that has never answered counts as a peer that has
        not acknowledged.

        Raises:
            NotReady: after ``timeout`` seconds, naming the peers that have not acknowledged, the
                addresses that have never answered, and why.
            RuntimeError: on the data thread and in a running event loop.
        """
        self._flush(timeout)

    def _flush(self, timeout: float | None, given: bool = True) -> None:
        if not self._would_wait_for_itself():
            finalizers.settle(seconds(timeout))
        self._wait(timeout, lambda waiter: waiter.flushed(given))

    def diagnose(self, exchange: str = "", timeout: float = 2.0) -> Diagnosis:
        """Say why messages do not arrive: `zexchange doctor`, for a node of this program.

        Takes up to two seconds, and ``timeout`` more where something does not answer. It
        tries endpoints by connections of its own; to peers it does nothing.

        Args:
            exchange: the name of the exchange that is in question, if it is one.
            timeout: seconds that a connection may take.

        Raises:
            RuntimeError: on the data thread and in a running event loop.
        """
        self._running()
        self._may_wait()
        return self._diagnosis(exchange, timeout)()

    def _diagnosis(self, exchange: str, timeout: float) -> Callable[[], Diagnosis]:
        """Return what takes a while and says why messages do not arrive."""
        with importing():
            from ..doctor.collect import examine

        engine, name = self._running(), exchange and check_name(exchange)
        return lambda: diagnose(examine(engine, name, timeout))

    def _others(self) -> list[str]:
        """Return what there is to say of other federations on this host."""
        return others(self._running())

    def _wait_known(self, timeout: float) -> None:
        """Wait until it is known of every living candidate whether it takes us."""
        self._wait(timeout, lambda waiter: waiter.known())

    def _wait_for_the_rest(self, timeout: float) -> bool:
        """Wait for those that were not ready when the time to join was up.

        From then on there is no rest. Returns whether what is sent now reaches anybody, or
        nobody is there whom it should reach.
        """
        pending: list[str] = []

        def steps(waiter: NodeWaits) -> Wait[None]:
            for missing in (yield from waiter.joined()):
                pending.extend(missing)

        try:
            self._wait(timeout, steps)
        finally:
            self._incomplete = False
        return not pending or any(peer.ready for peer in self.peers)


class AsyncNode:
    """A `Node` whose waits are awaited: what ``async with federate(...)`` gives, or `Node.aio`.

    Whoever is cancelled while waiting leaves nothing behind.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self.events = node.events

    @property
    def node(self) -> Node:
        """The node whose waits are for threads."""
        return self._node

    @property
    def aio(self) -> "AsyncNode":
        """This."""
        return self

    @property
    def id(self) -> str:
        """See `Node.id`."""
        return self._node.id

    @property
    def name(self) -> str:
        """See `Node.name`."""
        return self._node.name

    @property
    def registry(self) -> Registry:
        """See `Node.registry`."""
        return self._node.registry

    @property
    def endpoints(self) -> tuple[str, ...]:
        """See `Node.endpoints`."""
        return self._node.endpoints

    @property
    def peers(self) -> tuple[PeerStatus, ...]:
        """See `Node.peers`."""
        return self._node.peers

    def stats(self) -> NodeStats:
        """See `Node.stats`."""
        return self._node.stats()

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

    async def diagnose(self, exchange: str = "", timeout: float = 2.0) -> Diagnosis:
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

    async def _wait(self, timeout: float | None, steps: Callable[[NodeWaits], Wait[None]]) -> None:
        waiter = NodeWaits(self._node._running(), seconds(timeout))
        await waiter.wait_here(steps(waiter))
