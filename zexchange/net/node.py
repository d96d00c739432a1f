"""`federate` and `Node`: the face of the network half.

A node is a handle that outlives its running parts (the engine): closed with the last
of its users, made anew in a forked child at first use. Waiting happens here, on the
caller's thread; the engine never waits for a caller.
"""

import logging
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ..errors import Closed, NotReady, Unreachable
from ..local.exchange import Exchange
from ..local.registry import Registry, default_registry
from ..names import check_name, check_pattern
from ..protocol.events import Event
from ..protocol.values import Label
from . import lifetime
from .endpoints import check_secure, parse_pair, parse_tcp
from .status import NodeStats, PeerStatus, Received

if TYPE_CHECKING:
    from ..protocol.membership import Peer
    from .bridge import Bridge
    from .engine import Engine, Plan

_log = logging.getLogger("zexchange")
_BEACON_EVERY = 0.25


class Node:
    """One process's membership in a federation: made by `federate`, also a context manager.

    Every method may be called from any thread. Those that wait raise `RuntimeError` on
    the data thread (inside a task that is given a remote message) and in a running
    event loop, where they would wait for themselves.
    """

    def __init__(self, plan: "Plan", registry: Registry, join_timeout: float) -> None:
        self._plan = plan
        self._registry = registry
        self._join_timeout = join_timeout
        self._engine: Engine | None = None
        self._me = b""
        self._starting = threading.RLock()
        self._reviving = False
        self._users = 1
        self._closed = False
        self.events: Exchange[Event] = Registry().get("zexchange.events")
        """What happens to the federation: an exchange of frozen event values. Its tasks
        are called on the data thread."""

    # ------------------------------------------------------------------------- lifetime

    def _start(self) -> None:
        from .engine import Engine

        self._me = secrets.token_bytes(16)
        label = Label(socket.gethostname(), os.getpid(), self._plan.label)
        engine = Engine(self._plan, self._me, label, self._registry, self.events)
        self._registry.unobserve(self)
        self._engine = engine
        try:
            engine.start(sorted(k for k in self._registry.observe(self)))
        except BaseException:
            self._engine = None
            self._registry.unobserve(self)
            engine.abandon()
            raise
        if sys.flags.dev_mode:
            for exchange in self._registry.exchanges():
                engine.bridges.look(exchange)
        lifetime.close_at_exit()
        self._join(engine)

    def _join(self, engine: "Engine") -> None:
        """Wait until every candidate that lives is ready in both directions."""
        if self._would_wait_for_itself():
            return
        deadline = time.monotonic() + self._join_timeout
        self._wait(lambda: not self._pending(engine), deadline)
        for missing in self._pending(engine):
            _log.warning("federation %r: after %g s, %s", self.name, self._join_timeout, missing)

    @staticmethod
    def _pending(engine: "Engine") -> list[str]:
        session = engine.session
        return list(session.members.pending(session.interest.epoch))

    def _running(self) -> "Engine":
        """Return the engine, after making it anew in a forked child."""
        engine = self._engine
        if engine is None:
            if self._closed:
                raise Closed(f"the node in federation {self.name!r} is closed")
            # Through the registry, which else would wait for this thread to revive us
            # as soon as a new thread of ours asks it for an exchange.
            self._registry.wake()
            self.revive()
            engine = self._engine
            assert engine is not None
        return engine

    def close(self, timeout: float = 5.0) -> None:
        """Leave the federation: flush, say goodbye, stop the threads, close the sockets.

        A node that several callers of `federate` share closes with the last of them.
        Closing again does nothing. On the data thread, and in a running event loop, it
        does not wait for acknowledgements.

        Args:
            timeout: seconds for everything; who has not acknowledged by then is logged.
        """
        with lifetime.lock:
            self._users -= 1
            if self._closed or self._users > 0:
                return
            self._closed = True
            for key in [key for key, node in lifetime.nodes.items() if node is self]:
                del lifetime.nodes[key]
        engine = self._engine
        if engine is None:
            return
        deadline = time.monotonic() + timeout
        self._registry.unobserve(self)
        if not self._would_wait_for_itself():
            try:
                self._flush(engine, deadline)
            except NotReady as error:
                _log.warning("closing the node in federation %r: %s", self.name, error)
        engine.close(min(max(deadline - time.monotonic(), 0.05), 1.0))
        self._engine = None

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

    # ------------------------------------------- what the registry tells (local.Observer)

    def exchange_added(self, exchange: Exchange[Any]) -> None:
        """Give a new exchange its bridge, if some peer waits for it."""
        engine = self._engine
        if engine is not None:
            engine.bridges.look(exchange)

    def interest_added(self, key: str) -> None:
        """Tell peers that a name or pattern is wanted here from now on."""
        engine = self._engine
        if engine is not None:
            engine.want(key, True)

    def interest_removed(self, key: str) -> None:
        """Tell peers that a name or pattern is not wanted here any more."""
        engine = self._engine
        if engine is not None:
            engine.want(key, False)

    def revive(self) -> None:
        """Make the running parts anew in a forked child, once."""
        with self._starting:
            # The registry, which wakes at its first use too, may call back from inside.
            if self._engine is None and not self._closed and not self._reviving:
                self._reviving = True
                try:
                    self._start()
                finally:
                    self._reviving = False

    def after_fork(self) -> None:
        """In a forked child: let go of the parent's sockets, threads and files."""
        self._starting, self._reviving = threading.RLock(), False
        engine, self._engine = self._engine, None
        if engine is not None:
            tcp = [a.control for a in engine.session.addresses if a.control.startswith("tcp:")]
            self._plan = self._plan.for_child(tcp[0] if tcp else None)
            lifetime.leave_parent_behind(engine)

    # ------------------------------------------------------------------------ looking

    @property
    def id(self) -> str:
        """The node id, 32 hexadecimal digits: the origin of this node's messages."""
        self._running()
        return self._me.hex()

    @property
    def name(self) -> str:
        """The name of the federation."""
        return self._plan.federation

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The control endpoints that this node can be dialled at."""
        return tuple(a.control for a in self._running().session.addresses)

    @property
    def peers(self) -> tuple[PeerStatus, ...]:
        """The peers that this node knows now, in the order in which they joined."""
        engine = self._running()
        with engine.changed:
            ours, offset = engine.session.interest.epoch, time.time() - time.monotonic()
            return tuple(_status(p, ours, offset) for p in engine.session.members.peers.values())

    def stats(self) -> NodeStats:
        """Return what was sent, received and lost so far."""
        engine = self._running()
        inbound = engine.inbound
        positions = {i.origin: i.positions for i in list(inbound.inlets.values())}
        positions = {**inbound.departed, **positions}
        with engine.changed:
            return NodeStats(
                sent=engine.outbound.heads(),
                received={
                    (name, origin): Received(t.received, t.duplicates, t.lost)
                    for origin, where in positions.items()
                    for name, t in list(where.tallies.items())
                },
                frames=engine.outbound.frames,
                unwanted=sum(where.unwanted for where in positions.values()),
                rejected=engine.session.rejections(),
                slow_tasks=dict(engine.watch.holders),
            )

    def bridge(self, name: str) -> "Bridge":
        """Return the subscriber that carries an exchange's messages to this node."""
        return self._running().bridges.get(check_name(name))

    def __repr__(self) -> str:
        """Name the federation and how many peers are known."""
        engine = self._engine
        if engine is None:
            return f"<Node {self.name!r} {'closed' if self._closed else 'forked'}>"
        return (
            f"<Node {self.name!r} {self._me.hex()[:8]} peers={len(engine.session.members.peers)}>"
        )

    # ------------------------------------------------------------------------ waiting

    def wait_peers(self, n: int = 1, timeout: float = 10.0) -> None:
        """Wait until ``n`` other nodes are ready in both directions.

        Raises:
            NotReady: after ``timeout`` seconds, saying how many are and what is missing.
            RuntimeError: on the data thread and in a running event loop.
        """
        engine = self._may_wait()

        def ready() -> int:
            session = engine.session
            return sum(p.ready(session.interest.epoch) for p in session.members.peers.values())

        if not self._wait(lambda: ready() >= n, time.monotonic() + timeout):
            self._not_ready(engine, f"{ready()} of {n} peers are ready after {timeout:g} s")

    def wait_ready(self, timeout: float = 10.0) -> None:
        """Wait until what is attached here is in force at every peer that is known.

        Whatever a peer sends after that reaches the tasks attached before this call.

        Raises:
            NotReady: after ``timeout`` seconds, naming who has not confirmed.
            RuntimeError: on the data thread and in a running event loop.
        """
        engine = self._may_wait()
        deadline = time.monotonic() + timeout
        epochs: list[int] = []
        engine.call(lambda: epochs.append(engine.session.interest.epoch), timeout)

        def unconfirmed() -> list[str]:
            peers = engine.session.members.peers.values()
            return [str(p.label) for p in peers if p.ready_epoch < epochs[0]]

        if not epochs or not self._wait(lambda: not unconfirmed(), deadline):
            who = ", ".join(unconfirmed()) if epochs else "the control thread"
            self._not_ready(engine, f"after {timeout:g} s not confirmed by {who}")

    def wait_subscribers(self, name: str, n: int = 1, timeout: float = 10.0) -> None:
        """Wait until ``n`` other nodes will receive what is sent on an exchange.

        Raises:
            NotReady: after ``timeout`` seconds, saying how many will.
            RuntimeError: on the data thread and in a running event loop.
        """
        check_name(name)
        engine = self._may_wait()

        def subscribers() -> int:
            return sum(p.interest.in_force(name) for p in engine.session.members.peers.values())

        if not self._wait(lambda: subscribers() >= n, time.monotonic() + timeout):
            text = f"{subscribers()} of {n} nodes receive {name!r} after {timeout:g} s"
            self._not_ready(engine, text)

    def flush(self, timeout: float = 10.0) -> None:
        """Wait until every healthy peer has acknowledged what was sent before this call.

        Acknowledged means that its tasks have been given the messages.

        Raises:
            NotReady: after ``timeout`` seconds, naming who has not acknowledged.
            RuntimeError: on the data thread and in a running event loop.
        """
        self._flush(self._may_wait(), time.monotonic() + timeout)

    def _flush(self, engine: "Engine", deadline: float) -> None:
        goal: dict[str, int] = {}
        engine.call(lambda: goal.update(engine.outbound.heads()), deadline - time.monotonic())
        while lagging := self._lagging(engine, goal):
            now = time.monotonic()
            if now >= deadline:
                self._not_ready(engine, f"not acknowledged by {', '.join(lagging)}")
            engine.post(lambda: engine.beacon_unacknowledged(goal))
            again = min(now + _BEACON_EVERY, deadline)
            self._wait(lambda: not self._lagging(engine, goal), again)

    @staticmethod
    def _lagging(engine: "Engine", goal: dict[str, int]) -> list[str]:
        """Return the healthy peers that have not acknowledged all of ``goal``."""
        with engine.changed:
            return [
                str(peer.label)
                for peer in engine.session.members.peers.values()
                if not peer.silent and engine.lag(peer, goal)
            ]

    def _wait(self, condition: Callable[[], bool], deadline: float) -> bool:
        """Wait for a condition on the session; tell whether it holds at the end."""
        engine = self._running()
        with engine.changed:
            return engine.changed.wait_for(condition, max(0.0, deadline - time.monotonic()))

    def _not_ready(self, engine: "Engine", text: str) -> None:
        with engine.changed:
            missing = self._pending(engine)
        more = "; ".join(missing[:5])
        raise NotReady(f"federation {self.name!r}: {text}" + (f" ({more})" if more else ""))

    def _may_wait(self) -> "Engine":
        engine = self._running()
        if self._would_wait_for_itself():
            raise RuntimeError(
                "this would wait for itself: it was called on the node's data thread or in a "
                "running event loop; call it from another thread (asyncio.to_thread)"
            )
        return engine

    def _would_wait_for_itself(self) -> bool:
        engine = self._engine
        if engine is not None and threading.current_thread() is engine.inbound.thread:
            return True
        aio = sys.modules.get("asyncio")
        return aio is not None and aio._get_running_loop() is not None


def _status(peer: "Peer", ours: int, offset: float) -> PeerStatus:
    return PeerStatus(
        id=peer.id.hex(),
        host=peer.label.host,
        pid=peer.label.pid,
        name=peer.label.name,
        interest=tuple(sorted(peer.interest.keys)),
        since=peer.joined_at + offset,
        ready=peer.ready(ours),
        silent=peer.silent,
        control=peer.link,
    )


# -------------------------------------------------------------------------- federate


def federate(
    name: str,
    *,
    listen: str | Sequence[str] | None = None,
    advertise: str | Sequence[str] | None = None,
    peers: Sequence[str] = (),
    local: bool = True,
    exchanges: str | Sequence[str] = "**",
    registry: Registry | None = None,
    label: str = "",
    join_timeout: float = 1.0,
    insecure: bool = False,
) -> Node:
    """Join a federation: from here on, exchanges of one name are one channel.

    With no more than a name it finds every other process of the same user on this host.
    It returns when every candidate that is alive is ready in both directions, at the
    latest after ``join_timeout``, logging what is pending. Called again with the same
    name and registry it returns the same node, which closes with the last ``close()``.

    Args:
        name: the federation; its processes share their exchanges.
        listen: also bind TCP: ``tcp://HOST:PORT`` for control and the next port for data,
            or a pair of endpoints; port 0 chooses.
        advertise: what others are told instead of ``listen``, where that differs.
        peers: control endpoints to dial, ``tcp://HOST:PORT``, and to dial again.
        local: whether to use the rendezvous directory and Unix sockets of this host.
        exchanges: pattern or patterns of the names that take part.
        registry: whose exchanges to federate; the default one if None.
        label: a name for this node in logs and tables.
        join_timeout: seconds.
        insecure: allow TCP endpoints that other hosts can reach, without keys.

    Raises:
        InvalidName: if the name or a pattern is malformed.
        InsecureEndpoint: for an endpoint that is not loopback, unless ``insecure``.
        Unreachable: if an endpoint is taken, or the rendezvous directory cannot be used.
        ValueError: for a malformed endpoint, or if the node exists with other arguments.
    """
    if sys.platform == "win32":
        raise Unreachable("federate() needs Unix sockets and fork-safe locks: not on Windows")
    plan = _plan(name, listen, advertise, peers, local, exchanges, label, insecure)
    registry = registry or default_registry
    with lifetime.lock:
        known = lifetime.nodes.get((name, id(registry)))
        if known is not None:
            known._plan.check_same(plan)
            known._users += 1
            known._running()
            return known
        node = Node(plan, registry, join_timeout)
        lifetime.nodes[name, id(registry)] = node
        try:
            node.revive()
        except BaseException:
            del lifetime.nodes[name, id(registry)]
            raise
        return node


def _plan(
    name: str,
    listen: str | Sequence[str] | None,
    advertise: str | Sequence[str] | None,
    peers: Sequence[str],
    local: bool,
    exchanges: str | Sequence[str],
    label: str,
    insecure: bool,
) -> "Plan":
    from .engine import Plan

    check_name(name)
    bound = parse_pair(listen) if listen else None
    dialled = [parse_tcp(peer) for peer in ([peers] if isinstance(peers, str) else peers)]
    check_secure([*(bound or ()), *dialled], insecure)
    if bound is None and (dialled or not local):
        if not all(peer.loopback for peer in dialled):
            raise ValueError("peers on other hosts connect back: say where, with listen=")
        bound = parse_pair("tcp://127.0.0.1:0")
    patterns = (exchanges,) if isinstance(exchanges, str) else tuple(exchanges)
    return Plan(
        federation=name,
        label=label,
        listen=bound,
        advertise=parse_pair(advertise) if advertise else None,
        peers=tuple(map(str, dialled)),
        local=local,
        exchanges=tuple(map(check_pattern, patterns)),
    )
