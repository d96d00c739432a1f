"""The nodes of one registry: one for each federation that its exchanges are in.

They give a message the same number, and announce that in their hellos by an id that they share:
so a process that meets them in several federations hands each message on once. This file decides
for each exchange which of them carry it, and by which bridge.
"""

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

from ...local.registry import Exchange, Registry
from ..transport.per_registry import PerRegistry
from .bridge import Bridge
from .publisher import Publisher
from .shared import SharedBridge, share

STRAYS_FOR = 60.0
"""Seconds after an exchange was shared in which `Siblings.tick` looks for messages that were queued
by a `send` that had begun before: such a `send` notifies only the node that had the exchange."""


class Sibling:
    """A node as the other nodes of its registry see it: its bridges and its numbering."""

    def __init__(self, outbound: Publisher) -> None:
        self._outbound = outbound
        self.numbering = outbound.numbering
        """The places given to each exchange."""
        self._bridges: dict[str, Bridge] = {}
        self.spent: dict[str, int] = {}
        """The exchanges that this node could forget, but for the other nodes, and their heads."""

    def find(self, name: str) -> Bridge | None:
        """Return the bridge of an exchange, if there is one."""
        return self._bridges.get(name)

    def needs(self, name: str, head: int) -> bool:
        """Return whether this node needs an exchange to be remembered, or stands below ``head``.

        It does not need one without a bridge of which it has no numbers, or could forget them too.
        """
        at = self.numbering.heads.get(name)
        return name in self._bridges or (at is not None and not head <= at == self.spent.get(name))

    def knows(self, name: str) -> bool:
        """Return whether an exchange has a place here, even if that is 0."""
        return name in self._bridges or name in self.numbering.heads

    def begin_at(self, name: str, head: int, fresh: bool = False) -> None:
        """Number an exchange from ``head`` + 1 on, which this node does not carry now."""
        if head <= self.numbering.place(name):
            return
        with nullcontext() if fresh else self._outbound.held():
            self._outbound.begin_at(name, head)

    def heads(self) -> dict[str, int]:
        """Return, by exchange, the last number with everything queued counted as numbered."""
        bridges = list(self._bridges.values())
        queued, heads = {b.name: len(b.bodies) for b in bridges if b.bodies}, self.numbering.heads
        return {**queued, **{n: h + queued.get(n, 0) for n, h in dict(heads).items()}}


class Siblings:
    """The nodes of one registry in this process, and the exchanges that several of them carry.

    Args:
        new_id: returns an id that is unique across processes.
    """

    def __init__(self, new_id: Callable[[], bytes]) -> None:
        self.id = new_id()
        """The registry id that peers are told. It changes in a forked child, and when the last node
        has left."""
        self._new_id = new_id
        self._nodes: list[Sibling] = []
        self._placing = threading.RLock()
        self.naming = threading.RLock()
        """Held for a few steps while an exchange begins at a node, and while one is forgotten. May
        be taken while any other lock is held."""
        self._shared: dict[str, SharedBridge] = {}
        self._young: dict[SharedBridge, float] = {}
        """Those that were shared lately, in that order, and until when `tick` looks at them."""
        self._floor = 0
        """No number that was given by a node that has left is higher."""

    def join(self, node: Sibling) -> None:
        """Take in a node."""
        with self._placing:
            self._nodes.append(node)

    def leave(self, node: Sibling) -> None:
        """Remove a node that no longer carries any exchange."""
        with self._placing:
            if node not in self._nodes:
                return
            self._nodes.remove(node)
            heads = node.heads()
            self._floor = max(self._floor, node.numbering.floor, *heads.values())
            # On exchanges that it had, the others go on above its numbers.
            for other in self._nodes:
                for name in heads.keys() & dict(other.numbering.heads):
                    other.begin_at(name, heads[name])
            if not self._nodes:  # with a new id, numbers may begin at 1 again
                self.id, self._floor = self._new_id(), 0

    def place(
        self,
        node: Sibling,
        exchange: Exchange[Any] | None,
        bridge: Bridge,
        wanted: bool,
        idle: bool = False,
        fresh: bool = False,
    ) -> None:
        """Have a node carry an exchange, or no longer carry it.

        Args:
            node: the node.
            exchange: the exchange; None if this process has none of the bridge's name now.
            bridge: the node's bridge for that exchange.
            wanted: whether the node is to carry it.
            idle: whether to attach the bridge even if it is not wanted, as in dev mode.
            fresh: no other thread has the exchange yet, and the registry's lock is held.
        """
        with nullcontext() if fresh else self._placing:
            renewed = False
            with self.naming:  # so that `dissolve` does not remove it meanwhile
                shared = self._shared.get(bridge.name)
            if shared is None and wanted:
                others = (other.find(bridge.name) for other in self._nodes if other is not node)
                first = next((b for b in others if b is not None and b.wanted), None)
                if first is not None:
                    shared = self._share(exchange, first, bridge, fresh)
                else:
                    renewed = self._carry_alone(node, bridge, fresh)
            elif shared is None:
                bridge.wanted = False
            elif wanted and bridge not in shared.lanes:
                shared.take_in(bridge, fresh)
            elif not wanted and bridge in shared.lanes:
                shared = self._leave_shared(exchange, shared, bridge)
            finish = None
            if exchange is not None:
                if shared is not None or wanted or idle:
                    finish = exchange._begin_bridge(bridge if shared is None else shared)
                else:
                    exchange._detach_bridge(bridge)
                if renewed:
                    exchange._rerouted()
        if finish is not None:  # outside the lock: it may call user code
            finish()

    def _share(
        self, exchange: Exchange[Any] | None, first: Bridge, second: Bridge, fresh: bool
    ) -> SharedBridge:
        """Have a second node carry an exchange beside the first one."""
        if exchange is not None:
            exchange._finish_bridge(first)
        shared = self._shared[first.name] = share(first, second, fresh)
        if exchange is not None:
            exchange._replace_bridges((first, second), shared)
        shared.see_to(0)
        self._young[shared] = second.outbound.monotonic() + STRAYS_FOR
        return shared

    def _carry_alone(self, node: Sibling, bridge: Bridge, fresh: bool) -> bool:
        """Have a node carry an exchange alone; return whether its bridge got a new queue."""
        if bridge.wanted:
            return False
        renewed = bridge.handed is not None
        if renewed:
            bridge.renew()
        if self._floor or len(self._nodes) > 1:
            node.begin_at(bridge.name, self._head(node, bridge.name), fresh)
        bridge.wanted = True
        return renewed

    def _leave_shared(
        self, exchange: Exchange[Any] | None, shared: SharedBridge, bridge: Bridge
    ) -> SharedBridge | None:
        """Have a node no longer carry a shared exchange; return the bridge that is left, if any."""
        shared.let_go(bridge)
        bridge.wanted = False
        if shared.lanes:
            return shared
        del self._shared[bridge.name]
        if exchange is not None:
            exchange._detach_bridge(shared)
        return None

    def shared(self, covered: Callable[[str], bool]) -> list[str]:
        """Return the names for which ``covered`` is true of exchanges that several nodes carry."""
        return [name for name in list(self._shared) if covered(name)]

    def _head(self, node: Sibling, name: str) -> int:
        """Return the last number that any node may have given to a message of an exchange."""
        nodes = [other for other in self._nodes if name in other.numbering.heads]
        heads = [other.numbering.place(name) for other in nodes]
        return max(heads, default=max(node.numbering.place(name), self._floor))

    def begun(self, node: Sibling, name: str) -> tuple[int, int]:
        """Return where an exchange starts at a node, and its base. The caller holds `naming`.

        If other nodes know the exchange, it starts at their place. Else it starts above every
        number that any of them has forgotten, in all federations.
        """
        others = [other for other in list(self._nodes) if other is not node]
        found = [other.numbering for other in others if other.knows(name)]
        if found:
            return max(n.place(name) for n in found), min(n.base(name) for n in found)
        floor = max(self._floor, *(other.numbering.floor for other in [node, *others]))
        return floor, floor

    def keep(self, name: str) -> bool:
        """Return whether several nodes carry an exchange: then it must be remembered."""
        return name in self._shared

    @contextmanager
    def agreed(self, node: Sibling, name: str, head: int) -> Generator[bool, None, None]:
        """Yield whether the other nodes agree that a node forgets an exchange.

        They do if none of them uses it, or has given numbers that a peer lacks. Then nothing that
        was sent so far is still to come in any federation, and peers may forget their positions.
        The node that has given the highest numbers forgets last; the others then start above it.
        """
        with self.naming:
            others = [other for other in self._nodes if other is not node]
            needed = name in self._shared or any(other.needs(name, head) for other in others)
            if others:
                node.spent[name] = head
            if not needed:
                node.spent.pop(name, None)
            yield not needed

    def dissolve(self, name: str, has: Callable[[str], bool]) -> None:
        """Stop sharing an exchange that is gone. Any thread.

        ``has`` returns whether an exchange of a name exists, or is about to.
        """
        if name not in self._shared or not self._placing.acquire(False):
            return  # the thread that has the lock may wait for a lock that our caller holds
        try:
            with self.naming:
                shared = self._shared[name]
                if has(name) or shared.occupied:
                    return
                del self._shared[name]
                self._young.pop(shared, None)  # without the exchange there is no `send` any more
            for lane in shared.lanes:
                lane.wanted = False
        finally:
            self._placing.release()

    # ------------------------------------------------------------------- called by each node

    def settle(self) -> None:
        """Move everything that was queued before this call to the lanes of all nodes."""
        for shared in list(self._shared.values()):
            if shared.unsettled:
                shared.settle()

    def tick(self, now: float) -> None:
        """Send messages that were queued by sends that began before an exchange was shared."""
        young = self._young.copy()  # other threads change it
        for shared, until in young.items():
            if shared.unsettled:
                shared.see_to(0)
            if now >= until:
                self._young.pop(shared, None)


_siblings: PerRegistry[Siblings] = PerRegistry()


def siblings_of(registry: Registry, new_id: Callable[[], bytes]) -> Siblings:
    """Return the `Siblings` of a registry in this process, made if there are none."""
    return _siblings.get(registry, partial(Siblings, new_id))
