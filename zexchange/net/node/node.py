"""`Node`: what a program sees of the network half.

A node is a handle that outlives its running parts (the engine): closed with the last
of its users, made anew in a forked child at first use. Waiting happens here, on the
caller's thread; the engine never waits for a caller.
"""

import os
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from ...errors import Closed, NotReady
from ...imports import importing
from ...local.exchange import Exchange
from ...local.process import finalizers
from ...local.process.fork import end_as_child
from ...local.process.logs import log
from ...local.registry import Registry
from ...local.tasks import eventloops
from ...names import check_name
from ...protocol.session.events import Event
from ...protocol.wire.messages import Label
from ...seconds import seconds
from ..config import NodeConfig, Scope
from ..transport.descriptors import require
from . import process as lifetime
from .membership import NodeView
from .observer import NodeObserver

if TYPE_CHECKING:
    from ..doctor.rules import Diagnosis
    from ..engine.engine import Engine
    from ..engine.environment import NodeEnvironment
    from ..engine.waits import NodeWaits, Wait
    from .async_node import AsyncNode


class Backlog(Protocol):
    """What waits for a node to join."""

    def settle(self, patience: float) -> None:
        """Send it, or wait so many seconds for the thread that does; the node has joined."""
        ...

    def finish(self, patience: float) -> None:
        """Wait so many seconds until it has been sent: the process ends."""
        ...


class Node(NodeView):
    """One process's membership in a federation: made by `federate`, also a context manager.

    Every method may be called from any thread. Those that wait take a ``timeout`` in seconds, 10
    where none is given (5 for `close`), or None to wait without end. They raise `RuntimeError` on
    the data thread (inside a task that is given a remote message) and in a running event loop,
    where they would wait for themselves. Plain code in a notebook's cell may call them, though
    its kernel runs a loop.
    """

    def __init__(
        self,
        plan: NodeConfig,
        registry: Registry,
        join_timeout: float,
        world: "NodeEnvironment | None" = None,
        part: bool = False,
    ) -> None:
        self._plan = plan
        self._scope = Scope(plan.exchanges)
        self._part = part
        """Whether it was joined by adapters alone, which name what takes part."""
        self._registry = registry
        self._join_timeout = join_timeout
        self._world = world
        self._engine: Engine | None = None
        self._me = b""
        self._starting = threading.RLock()
        self._reviving = self._joined = False
        self._incomplete = False
        self._users = 1
        self._closed = False
        self._aio: AsyncNode | None = None
        self._backlogs: list[Backlog] = []
        self._observer = NodeObserver(self)
        self.events: Exchange[Event] = Registry().get("zexchange.events")
        """What happens to the federation: an exchange of frozen event values. Its tasks
        are called on the data thread."""

    # ------------------------------------------------------------------------- lifetime

    def _start(self) -> None:
        with importing():
            from ..engine.engine import Engine
            from ..engine.environment import NodeEnvironment
            from ..security.guard import CurveGuard
            from ..transport.polling import check_patched

        check_patched()
        world = self._world or NodeEnvironment()
        require(self._plan.descriptors(), world.descriptors(), f"federation {self.name!r}")
        guard = CurveGuard(self._plan.keys)
        self._me = guard.node_id(world.new_id())
        label = Label(socket.gethostname(), os.getpid(), self._plan.label)
        engine = Engine(
            *(self._plan, self._me, label, self._registry, self.events, world, guard),
            *(self._scope, self._join_timeout),
        )
        self._registry._unobserve(self._observer)
        self._engine = engine
        # What is kept already is numbered before any peer is promised what comes.
        for exchange in self._registry.exchanges():
            if sys.flags.dev_mode or self._registry.retention(exchange.name):
                engine.bridges.look(exchange)
        try:
            interest = sorted(self._registry._observe(self._observer))
            # Before the threads start: what a peer sends first waits for its history.
            for key, arrears in self._registry._joiners():
                self._observer.owes(engine, key, arrears)
            engine.start(interest)
        except BaseException:
            self._engine = None
            self._registry._unobserve(self._observer)
            engine.abandon()
            self._observer.met()
            raise
        end_as_child()

    def _asked_for(self, plan: NodeConfig, part: bool) -> None:
        """Have one user more, which has asked for a configuration. The lock of `process` is held.

        Raises:
            ValueError: it is not this one; the text names the difference.
        """
        named = part or self._part
        same = replace(plan, exchanges=self._plan.exchanges) if named else plan
        self._plan.check_same(same)
        if self._part and not part:
            self._part, self._plan = False, replace(self._plan, exchanges=plan.exchanges)
        self._users += 1

    def _widen(self, exchanges: Sequence[str]) -> None:
        """Have more exchanges take part, as far as they do not yet."""
        if self._scope.widen(exchanges) and (engine := self._engine) is not None:
            engine.widened()

    def _join(self) -> None:
        """Wait until every candidate that lives is ready in both directions."""
        if self._engine is not None and not self._joined and not self._would_wait_for_itself():
            self._wait(self._join_timeout, self._steps_to_join)
            self._settle(self._join_timeout)

    def _steps_to_join(self, waiter: "NodeWaits") -> "Wait[None]":
        given, found = yield from waiter.joined()
        self._incomplete = bool(given or found)
        for missing in found:
            log.warning("federation %r: %s", self.name, missing)

    def _others(self) -> list[str]:
        """Return what there is to say of other federations on this host."""
        with importing():
            from ..peering import elsewhere
        return elsewhere.told(self.name, self._running().places.looked_into)

    def _wait_known(self, timeout: float) -> None:
        """Wait until it is known of every living candidate whether it takes us."""
        self._wait(timeout, lambda waiter: waiter.known())

    def _wait_for_the_rest(self, timeout: float) -> bool:
        """Wait for those that were not ready when the time to join was up.

        From then on there is no rest. Returns whether what is sent now reaches anybody, or
        nobody is there whom it should reach.
        """
        pending: list[str] = []

        def steps(waiter: "NodeWaits") -> "Wait[None]":
            for missing in (yield from waiter.joined()):
                pending.extend(missing)

        try:
            self._wait(timeout, steps)
        finally:
            self._incomplete = False
        return not pending or any(peer.ready for peer in self.peers)

    def _settle(self, patience: float) -> None:
        """Have sent what waited for this, before anybody is told that the node has joined."""
        for backlog in list(self._backlogs):
            backlog.settle(patience)
        self._joined = True
        if (engine := self._engine) is not None:
            engine.inbound.do(lambda: engine.inbound.met(self._observer.met))

    @property
    def _has_joined(self) -> bool:
        """Whether what is sent reaches whoever was there; or nobody, since it is closed."""
        return (self._joined and not self._incomplete) or self._closed

    @property
    def _has_room(self) -> bool:
        """Whether senders need not wait now."""
        engine = self._engine
        return engine is None or not engine.outbound.window.full

    def _running(self) -> "Engine":
        """Return the engine, after making it anew in a forked child."""
        engine = self._engine
        if engine is None:
            if self._closed:
                raise Closed(f"the node in federation {self.name!r} is closed")
            # Through the registry, which else would wait for this thread to revive us
            # as soon as a new thread of ours asks it for an exchange.
            self._registry._wake()
            self._revive()
            engine = self._engine
            if engine is None:
                raise Closed(f"the node in federation {self.name!r} was closed")
        return engine

    def close(self, timeout: float | None = 5.0) -> None:
        """Leave the federation: flush, say goodbye, stop the threads, close the sockets.

        A node that several callers of `federate` share closes with the last of them.
        Closing again does nothing. On the data thread, and in a running event loop, it
        does not wait for acknowledgements.

        Args:
            timeout: seconds for everything, None for no end; who has not acknowledged by
                then is logged.
        """
        limit = seconds(timeout)
        if finalizers.later(self.close, timeout):
            return
        if self._release():
            self._shut(limit, not self._would_wait_for_itself())

    def run(self) -> None:
        """Wait until the process is told to end, by SIGTERM or Ctrl-C (SIGINT), then close.

        For a program that only has handlers. Returns then, also where another thread has closed
        the node. Without it, SIGTERM ends a process of Python's at once, if it has no handler of
        its own: nothing is flushed, and peers find out after 1.5 s that it is gone.

        Raises:
            RuntimeError: on another than the main thread, and in a running event loop.
        """
        with importing():
            from .signals import wait_for_end

        self._may_wait()
        try:
            wait_for_end(lambda: self._closed)
        finally:
            self.close()

    def _release(self) -> bool:
        """Have one user less; tell whether it was the last, behind which nothing works."""
        with lifetime.lock:
            self._users -= 1
            if self._closed or self._users > 0:
                return False
            self._closed = True
            for key in [key for key, node in lifetime.nodes.items() if node is self]:
                del lifetime.nodes[key]
            return True

    def _bridged(self) -> list[Exchange[Any]]:
        """Return the exchanges whose messages somebody elsewhere is given."""
        names = self._engine.bridges.names() if self._engine is not None else []
        found = [self._registry.find(name) for name in names]
        return [exchange for exchange in found if exchange and exchange.stats().bridges]

    def _shut(self, timeout: float, wait: bool) -> None:
        """End the running parts; ``wait`` for acknowledgements first."""
        with importing():
            from ..engine.waits import NodeWaits

        with self._starting:  # a start that has begun is not left running behind us
            engine = self._engine
        if engine is None:
            return
        waiter, monotonic = NodeWaits(engine, timeout), engine.world.monotonic
        deadline = monotonic() + timeout
        if wait:
            finalizers.settle(timeout)
        self._registry._unobserve(self._observer)
        if wait and timeout > 0:
            try:
                waiter.wait(waiter.flushed(given=False))
            except NotReady as error:
                log.warning("closing: %s", error)
        engine.close(min(max(deadline - monotonic(), 0.05), 1.0))
        self._engine = None
        for _, arrears in self._registry._joiners():
            arrears.noted(self._observer)
        log.flush()

    def __enter__(self) -> "Node":
        """Return the node, which the end of the block closes."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
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
            with importing():
                from .async_node import AsyncNode

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

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close, awaited."""
        await self.aio.close()

    # ---------------------------------------------------------------------------- fork

    def _revive(self) -> None:
        """Make the running parts, once, and join: in a forked child they are made anew."""
        with self._starting:
            if self._reviving:  # the registry, which wakes at its first use too
                return
            if self._engine is None and not self._closed:
                self._reviving = True
                try:
                    self._start()
                finally:
                    self._reviving = False
        self._join()

    def _after_fork(self) -> None:
        """In a forked child: let go of the parent's sockets, threads and files."""
        self._starting, self._reviving, self._joined = threading.RLock(), False, False
        self._observer._after_fork()
        self._incomplete = False
        engine, self._engine = self._engine, None
        if engine is not None:
            tcp = [a.control for a in engine.session.addresses if a.control.startswith("tcp:")]
            self._plan = self._plan.for_child(tcp[0] if tcp else None)
            lifetime.leave_parent_behind(engine)

    def __reduce__(self) -> NoReturn:
        """Refuse to be copied, or pickled."""
        raise TypeError("a node belongs to its process: pass what federate() was called with")

    def __repr__(self) -> str:
        """Name the federation and how many peers are known."""
        engine = self._engine
        if engine is None:
            return f"<Node {self.name!r} {'closed' if self._closed else 'forked'}>"
        return (
            f"<Node {self.name!r} {self._me.hex()[:8]} peers={len(engine.session.members.peers)}>"
        )

    # ------------------------------------------------------------------------ waiting

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

    def diagnose(self, exchange: str = "", timeout: float = 2.0) -> "Diagnosis":
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

    def _diagnosis(self, exchange: str, timeout: float) -> "Callable[[], Diagnosis]":
        """Return what takes a while and says why messages do not arrive."""
        with importing():
            from ..doctor.collect import examine
            from ..doctor.rules import diagnose

        engine, name = self._running(), exchange and check_name(exchange)
        return lambda: diagnose(examine(engine, name, timeout))

    def _wait(self, timeout: float | None, steps: "Callable[[NodeWaits], Wait[None]]") -> None:
        """Go through what ``steps`` waits for, on this thread."""
        with importing():
            from ..engine.waits import NodeWaits

        limit, engine = seconds(timeout), self._running()
        self._may_wait()
        waiter = NodeWaits(engine, limit)
        waiter.wait(steps(waiter))

    def _may_wait(self) -> None:
        """Raise RuntimeError where one must not wait."""
        if self._would_wait_for_itself():
            raise RuntimeError(
                "this would wait for itself: it was called on the node's data thread or in a "
                "running event loop; call it from another thread, or await that of `node.aio`"
            )

    def _would_wait_for_itself(self) -> bool:
        engine = self._engine
        if engine is not None and (
            engine.inbound.thread.current or engine.thread.current or engine.outbound.busy_here()
        ):
            return True
        return eventloops.held_up_here()
