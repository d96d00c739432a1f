"""`Node` and `AsyncNode`: a node as a program sees it, from threads and from coroutines.

Each wait is written once, in `NodeWaits`. `Node` goes through it on the caller's thread, and
`AsyncNode` in a coroutine, which the control thread wakes. Coroutines may run under asyncio,
uvloop or trio, and under anyio on any of these.

Both classes are in one file, most of which is documentation, so that the two forms of each wait can
be compared.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from ...imports import importing
from ...local.process import finalizers
from ...local.registry import Registry
from ...names import check_key, check_name
from ...protocol.traffic.traffic import Traffic
from ...seconds import seconds
from ..doctor.rules import Diagnosis, diagnose
from ..engine.waits import NodeWaits, Wait, others
from .lifetime import NodeLifetime
from .signals import wait_for_end, wait_for_end_here
from .stats import NodeStats, PeerStatus

if TYPE_CHECKING:
    from ..engine.traffic import Seen


class Node(NodeLifetime):
    """One process's membership in a federation: made by `federate`, also a context manager.

    Every method may be called from any thread. Those that wait take a ``timeout`` in seconds, or
    None to wait without limit; the default is 10, and 5 for `close`. They raise `RuntimeError` on
    the data thread (inside a task that is called with a remote message) and in a running event
    loop, because they would wait for themselves there. Plain code in a notebook cell may call
    them, although the kernel runs a loop.
    """

    _aio: "AsyncNode | None" = None

    def run(self) -> None:
        """Wait until the process is told to end, by SIGTERM or Ctrl-C (SIGINT), then close.

        This is for a program that only has handlers. It also returns when another thread has
        closed the node. Without it, SIGTERM ends a Python process at once if the program has no
        handler for it: nothing is flushed, and peers notice after 1.5 s that the node is gone.

        Raises:
            RuntimeError: on any thread but the main one, and in a running event loop.
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
        if reason[0] is None:
            self._registry._finish_jobs()
        self.close()

    @property
    def node(self) -> "Node":
        """The node itself."""
        return self

    @property
    def aio(self) -> "AsyncNode":
        """The node for coroutines, whose waits are awaited. Always the same object."""
        if self._aio is None:
            self._aio = AsyncNode(self)
        return self._aio

    async def __aenter__(self) -> "AsyncNode":
        """Wait until every living candidate is ready, and return `aio`."""
        try:
            await self.aio._joined()
        except BaseException:
            await self.aio.close(0.0)
            raise
        return self.aio

    async def __aexit__(self, *reason: object) -> None:
        if reason[0] is None:
            self._registry._finish_jobs()
        await self.aio.close()

    def wait_peers(self, n: int = 1, timeout: float | None = 10.0) -> None:
        """Wait until ``n`` other nodes are ready in both directions.

        Raises:
            NotReady: after ``timeout`` seconds, saying how many are and what is missing.
            RuntimeError: on the data thread and in a running event loop.
        """
        self._wait(timeout, lambda waiter: waiter.peers(n))

    def wait_ready(self, timeout: float | None = 10.0) -> None:
        """Wait until the subscriptions made here are in force at every peer that is known.

        It also waits until every address of ``peers=`` and ``hub=`` has answered once; an address
        of this node counts as answered. Everything that a peer sends after that reaches the tasks
        that were attached before this call. At a peer that reaches us and that we do not reach,
        the subscriptions cannot come into force.

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

        A node with a member of a group there counts: it will get its share.

        Raises:
            NotReady: after ``timeout`` seconds, saying how many will.
            RuntimeError: on the data thread and in a running event loop.
        """
        check_name(name)
        self._wait(timeout, lambda waiter: waiter.subscribers(name, n))

    def flush(self, timeout: float | None = 10.0) -> None:
        """Wait until every healthy peer has acknowledged what was sent before this call.

        A peer acknowledges messages when its tasks have been given them. Every peer is healthy
        that is not slow; a silent peer is waited for until it is heard again, or has left. An
        address of ``peers=`` and ``hub=`` that has never answered counts as a peer that has not
        acknowledged.

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
        """Return why messages do not arrive: `zexchange doctor`, for a node of this program.

        It takes up to two seconds, and ``timeout`` more where something does not answer. It
        tries endpoints by connections of its own, and changes nothing at peers.

        Args:
            exchange: the name of the exchange that is in question, or an empty string.
            timeout: seconds that a connection may take.

        Raises:
            RuntimeError: on the data thread and in a running event loop.
        """
        self._running()
        self._may_wait()
        return self._diagnosis(exchange, timeout)()

    def traffic(self, pattern: str = "**", timeout: float | None = 2.0) -> Traffic:
        """Return what flows in the federation: `zexchange top`, for a node of this program.

        Every node is asked what it has counted. Rates are those since the last call with the same
        pattern, so the first call has none; ten seconds after a call that is forgotten. Nobody
        subscribes to the traffic for this, and this node does not count as a listener. With keys, a
        node tells only of exchanges to which this one may subscribe.

        Args:
            pattern: a name or pattern: the exchanges that are asked for.
            timeout: seconds that nodes have to answer. Of those that do not, ``answered`` is false.

        Raises:
            InvalidName: ``pattern`` is malformed.
            RuntimeError: on the data thread and in a running event loop.
        """
        return self._seen(pattern, timeout).traffic()

    def _seen(self, pattern: str, timeout: float | None) -> "Seen":
        """Return what `traffic` is worked out from: the counts of each node on each exchange."""
        found: list[Seen] = []
        self._wait(timeout, self._steps_to_see(pattern, found))
        return found[0]

    @staticmethod
    def _steps_to_see(pattern: str, found: "list[Seen]") -> Callable[[NodeWaits], Wait[None]]:
        check_key(pattern)
        return lambda waiter: waiter.traffic(pattern, found)

    def _diagnosis(self, exchange: str, timeout: float) -> Callable[[], Diagnosis]:
        """Return a function that finds out why messages do not arrive, which takes a while."""
        with importing():
            from ..doctor.collect import examine

        engine, name = self._running(), exchange and check_name(exchange)
        return lambda: diagnose(examine(engine, name, timeout))

    def _others(self) -> list[str]:
        """Return notes on other federations on this host."""
        return others(self._running())

    def _wait_known(self, timeout: float) -> None:
        """Wait until every living candidate is ready, or has refused us."""
        self._wait(timeout, lambda waiter: waiter.known())

    def _wait_for_the_rest(self, timeout: float) -> bool:
        """Wait for the candidates that were not ready when ``join_timeout`` was over.

        After this call the node counts as joined, complete or not. Returns whether what is sent
        now reaches some node, or there is none that it should reach.
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
    """A `Node` whose waits are awaited. ``async with federate(...)`` and `Node.aio` return it.

    A wait that is cancelled leaves no trace in the node.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self.events = node.events

    @property
    def node(self) -> Node:
        """The node for threads."""
        return self._node

    @property
    def aio(self) -> "AsyncNode":
        """The node for coroutines: this object."""
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
        return f"{self._node!r}.aio"

    async def _joined(self) -> None:
        """Wait up to ``join_timeout`` until every living candidate is ready; log the others."""
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
        """Wait until the subscriptions made here are in force at every peer; see `Node.wait_ready`.

        Raises:
            NotReady: after ``timeout`` seconds, naming the peers that have not confirmed, and
                the addresses that have never answered.
        """
        await self._wait(timeout, lambda waiter: waiter.ready())

    async def wait_subscribers(self, name: str, n: int = 1, timeout: float | None = 10.0) -> None:
        """Wait until ``n`` other nodes will receive what is sent on an exchange.

        A node with a member of a group there counts: it will get its share.

        Raises:
            NotReady: after ``timeout`` seconds, saying how many will.
        """
        check_name(name)
        await self._wait(timeout, lambda waiter: waiter.subscribers(name, n))

    async def flush(self, timeout: float | None = 10.0) -> None:
        """Wait until every healthy peer has acknowledged what was sent before this call.

        Coroutines need it for back-pressure, because `send` never waits in an event loop.

        Raises:
            NotReady: after ``timeout`` seconds, naming the peers that have not acknowledged, and
                the addresses that have never answered.
        """
        await self._wait(timeout, lambda waiter: waiter.flushed())

    async def diagnose(self, exchange: str = "", timeout: float = 2.0) -> Diagnosis:
        """Return why messages do not arrive; see `Node.diagnose`."""
        found: list[Diagnosis] = []
        diagnose = self._node._diagnosis(exchange, timeout)
        await self._node._running().world.aside(lambda: found.append(diagnose()))
        return found[0]

    async def traffic(self, pattern: str = "**", timeout: float | None = 2.0) -> Traffic:
        """Return what flows in the federation; see `Node.traffic`.

        Raises:
            InvalidName: ``pattern`` is malformed.
        """
        made: list[Traffic] = []
        seen = await self._seen(pattern, timeout)
        await self._node._running().world.aside(lambda: made.append(seen.traffic()))
        return made[0]

    async def _seen(self, pattern: str, timeout: float | None) -> "Seen":
        """Ask all nodes what they have counted; the rest can be worked out on any thread."""
        found: list[Seen] = []
        await self._wait(timeout, self._node._steps_to_see(pattern, found))
        return found[0]

    async def run(self) -> None:
        """Wait until the process is told to end, then close; see `Node.run`.

        Raises:
            RuntimeError: on any thread but the main one.
        """
        try:
            await wait_for_end_here(lambda: self._node._closed)
        finally:
            await self.close()

    async def close(self, timeout: float | None = 5.0) -> None:
        """Leave the federation as `Node.close` does, without blocking the event loop.

        A close that is cancelled goes on to its end on a thread of its own, for which the
        interpreter waits before it exits.
        """
        node, limit = self._node, seconds(timeout)
        if node._release() and (engine := node._engine) is not None:
            await engine.world.aside(lambda: node._shut(limit, wait=True))

    async def _wait(self, timeout: float | None, steps: Callable[[NodeWaits], Wait[None]]) -> None:
        waiter = NodeWaits(self._node._running(), seconds(timeout))
        await waiter.wait_here(steps(waiter))
