"""A node from its first user to its last, over forks and until the process ends.

A node is a handle that outlives its running parts (the engine). It closes with the last of its
users, and in a forked child its parts are made again at the first use. Callers wait on their own
threads, and the engine never waits for a caller. A process that ends without `close` says goodbye,
and has a second to deliver what it sent.

The class is long because a start, a fork, a close and the end of the process may meet at any
moment: each of them has to know how far the others are.
"""

import os
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from ...errors import Closed, NotReady
from ...imports import importing
from ...local.process import finalizers
from ...local.process.fork import at_exit, end_as_child
from ...local.process.logs import log
from ...local.registry import Exchange, Registry
from ...local.tasks import eventloops
from ...local.tasks.buffered import catch_up
from ...protocol.session.events import Event
from ...protocol.wire.messages import Label
from ...seconds import seconds
from ..config import NodeConfig, Scope
from ..engine.waits import NodeWaits, Wait
from ..transport.descriptors import require
from .observer import NodeObserver
from .process import TooLate, leave_parent_behind
from .stats import NodeStats, PeerStatus, peers_of, stats_of

if TYPE_CHECKING:
    from ..engine.engine import Engine
    from ..engine.environment import NodeEnvironment

START_TIMEOUT = 5.0
"""Seconds that a fork waits for nodes which are being started."""
EXIT_TIMEOUT = 1.0
"""Seconds in which a process that ends without `close` tries to deliver what it sent."""

nodes: "dict[tuple[str, int], NodeLifetime]" = {}
"""The nodes of this process, by federation and registry. Guarded by `lock`."""
lock = threading.RLock()
_held_up: "list[NodeLifetime]" = []


class Backlog(Protocol):
    """Messages that an adapter holds back until its node has joined."""

    def settle(self, patience: float) -> None:
        """Send them, or wait ``patience`` seconds for the thread that does: the node has joined."""

    def finish(self, patience: float) -> None:
        """Wait ``patience`` seconds until they have been sent: the process ends."""


class NodeLifetime:
    """A node's state from its first use to its end. `Node` adds the methods that wait."""

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
        """Whether all its users are adapters, which name the exchanges that take part."""
        self._registry = registry
        self._join_timeout = join_timeout
        self._world = world
        self._engine: Engine | None = None
        self._starting = threading.RLock()
        self._reviving = self._joined = False
        self._incomplete = False
        self._users = 1
        self._closed = False
        self._backlogs: list[Backlog] = []
        self._observer = NodeObserver(plan.federation, lambda: self._engine, self._revive)
        self.events: Exchange[Event] = Registry().get("zexchange.events")
        """An exchange on which the node sends what happens to the federation, as frozen event
        values. Its tasks are called on the data thread."""

    # --------------------------------------------------------------- what can be seen of it

    @property
    def id(self) -> str:
        """The node id, 32 hexadecimal digits: the origin of this node's messages."""
        return self._running().me.hex()

    @property
    def name(self) -> str:
        """The name of the federation."""
        return self._plan.federation

    @property
    def registry(self) -> Registry:
        """The registry whose exchanges this node shares."""
        return self._registry

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The control endpoints at which other nodes can dial this one."""
        return tuple(a.control for a in self._running().session.addresses)

    @property
    def peers(self) -> tuple[PeerStatus, ...]:
        """The peers that this node knows now, in the order in which they joined."""
        return peers_of(self._running())

    def stats(self) -> NodeStats:
        """Return what was sent, received and lost so far."""
        return stats_of(self._running())

    # ---------------------------------------------------------------------- its running parts

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
        me = guard.node_id(world.new_id())
        label = Label(socket.gethostname(), os.getpid(), self._plan.label)
        engine = Engine(
            *(self._plan, me, label, self._registry, self.events, world, guard),
            *(self._scope, self._join_timeout),
        )
        self._registry._unobserve(self._observer)
        self._engine, self._observer.answers = engine, engine.requests
        # Messages that are kept already are numbered before any peer is promised later ones.
        for exchange in self._registry.exchanges():
            if sys.flags.dev_mode or self._registry.retention(exchange.name):
                engine.bridges.look(exchange)
        try:
            interest = sorted(self._registry._observe(self._observer))
            for name in list(self._registry._answering):
                self._observer.responders_changed(name, True)
            if self._registry._roster is not None:
                for member in self._registry._roster.members():
                    self._observer.members_changed(member, True)
            # Before the threads start, so that a peer's first messages wait for its history.
            for key, joiner in self._registry._joiners():
                self._observer.owes(engine, key, joiner)
            engine.start(interest)
        except BaseException:
            self._engine = self._observer.answers = None
            self._registry._unobserve(self._observer)
            engine.abandon()
            self._observer.met()
            raise
        end_as_child()

    def _asked_for(self, plan: NodeConfig, part: bool) -> None:
        """Take in one more user, which has asked for a configuration. The caller holds `lock`.

        Raises:
            ValueError: that differs from the node's configuration; the text says where.
        """
        named = part or self._part
        same = replace(plan, exchanges=self._plan.exchanges) if named else plan
        self._plan.check_same(same)
        if self._part and not part:
            self._part, self._plan = False, replace(self._plan, exchanges=plan.exchanges)
        self._users += 1

    def _widen(self, exchanges: Sequence[str]) -> None:
        """Have more exchanges take part, if they do not yet."""
        if self._scope.widen(exchanges) and (engine := self._engine) is not None:
            engine.widened()

    def _join(self) -> None:
        """Wait until every candidate that lives is ready in both directions."""
        if self._engine is not None and not self._joined and not self._would_wait_for_itself():
            self._wait(self._join_timeout, self._steps_to_join)
            self._settle(self._join_timeout)

    def _steps_to_join(self, waiter: NodeWaits) -> Wait[None]:
        given, found = yield from waiter.joined()
        self._incomplete = bool(given or found)
        for missing in found:
            log.warning("federation %r: %s", self.name, missing)

    def _settle(self, patience: float) -> None:
        """Have the backlogs sent, before `_joined` tells that the node has joined."""
        for backlog in list(self._backlogs):
            backlog.settle(patience)
        self._joined = True
        if (engine := self._engine) is not None:
            engine.inbound.do(lambda: engine.inbound.met(self._observer.met))

    @property
    def _has_joined(self) -> bool:
        """Whether what is sent reaches all nodes that were there, or the node is closed."""
        return (self._joined and not self._incomplete) or self._closed

    @property
    def _has_room(self) -> bool:
        """Whether senders need not wait now."""
        engine = self._engine
        return engine is None or not engine.outbound.window.full

    def _running(self) -> "Engine":
        """Return the engine; in a forked child it is made again first."""
        engine = self._engine
        if engine is None:
            if self._closed:
                raise Closed(f"the node in federation {self.name!r} is closed")
            # Through the registry: otherwise, as soon as a new thread of ours asks it for an
            # exchange, it would wait for this thread to revive us.
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
            timeout: seconds for everything, None for no limit; peers that have not acknowledged
                by then are logged.
        """
        limit = seconds(timeout)
        if finalizers.later(self.close, timeout):
            return
        if self._release():
            self._shut(limit, not self._would_wait_for_itself())

    def _release(self) -> bool:
        """Note that a user has closed; return whether it was the last, so that the node ends."""
        with lock:
            self._users -= 1
            if self._closed or self._users > 0:
                return False
            self._closed = True
            for key in [key for key, node in nodes.items() if node is self]:
                del nodes[key]
            return True

    def _bridged(self) -> list[Exchange[Any]]:
        """Return the exchanges that have a bridge, and so pass messages to other nodes."""
        names = self._engine.bridges.names() if self._engine is not None else []
        found = [self._registry.find(name) for name in names]
        return [exchange for exchange in found if exchange and exchange.stats().bridges]

    def _shut(self, timeout: float, wait: bool) -> None:
        """End the running parts, and first wait for acknowledgements if ``wait``."""
        with self._starting:  # a start that has begun ends first, and is not left running
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
        self._engine = self._observer.answers = None
        for _, joiner in self._registry._joiners():
            joiner.noted(self._observer)
        log.flush()

    # ---------------------------------------------------------------------------- fork

    def _revive(self) -> None:
        """Make the running parts if there are none, as in a forked child, and join."""
        with self._starting:
            if self._reviving:  # called by the registry, which wakes at its first use too
                return
            if self._engine is None and not self._closed:
                self._reviving = True
                try:
                    self._start()
                finally:
                    self._reviving = False
        self._join()

    def _after_fork(self) -> None:
        """In a forked child, let go of the parent's sockets, threads and files."""
        self._starting, self._reviving, self._joined = threading.RLock(), False, False
        self._observer._after_fork()
        self._incomplete = False
        engine, self._engine, self._observer.answers = self._engine, None, None
        if engine is not None:
            tcp = [a.control for a in engine.session.addresses if a.control.startswith("tcp:")]
            self._plan = self._plan.for_child(tcp[0] if tcp else None)
            leave_parent_behind(engine)

    def __reduce__(self) -> NoReturn:
        """Refuse to be copied, or pickled."""
        raise TypeError("a node belongs to its process: pass what federate() was called with")

    def __repr__(self) -> str:
        """Return the federation, the start of the node id and how many peers are known."""
        engine = self._engine
        if engine is None:
            return f"<Node {self.name!r} {'closed' if self._closed else 'forked'}>"
        return (
            f"<Node {self.name!r} {engine.me.hex()[:8]} peers={len(engine.session.members.peers)}>"
        )

    # ------------------------------------------------------------------------- waiting

    def _wait(self, timeout: float | None, steps: Callable[[NodeWaits], Wait[None]]) -> None:
        """Go through the wait that ``steps`` returns, on this thread."""
        limit, engine = seconds(timeout), self._running()
        self._may_wait()
        waiter = NodeWaits(engine, limit)
        waiter.wait(steps(waiter))

    def _may_wait(self) -> None:
        """Raise RuntimeError on a thread that must not wait."""
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


def _close_all() -> None:
    catch_up()  # a thread that still has messages to come may send them on
    carried: list[Exchange[Any]] = []
    for node in list(nodes.values()):
        for backlog in list(node._backlogs):
            backlog.finish(node._join_timeout)
        carried += node._bridged()
        node._users = 1
        node.close(EXIT_TIMEOUT)
    for exchange in carried:
        exchange._attach_bridge(TooLate(exchange.name))


# Registered when this module is imported, not when a node is made: handlers that the program
# registers later are called earlier, so what they send is still delivered.
at_exit(_close_all)


def _before_fork() -> None:
    """Wait for starts before a fork: a child would inherit sockets that no table names yet.

    A start takes some milliseconds, and may be on any thread: in a server that forks workers, on
    that of an adapter.
    """
    for node in list(nodes.values()):
        if node._starting.acquire(timeout=START_TIMEOUT):
            _held_up.append(node)


def _forked() -> None:
    while _held_up:
        _held_up.pop()._starting.release()


def _after_fork() -> None:
    global lock
    lock = threading.RLock()
    _held_up.clear()
    for node in list(nodes.values()):
        node._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_forked, after_in_child=_after_fork)
