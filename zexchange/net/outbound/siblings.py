"""The nodes of one registry: one for each federation that its exchanges are in.

They number a message alike, and say so in their hellos by an id that they have in common: so a
process that meets them in several federations hands each message on once. Which of them carry
an exchange, and with what, is decided here, for one exchange after the other.
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
"""Seconds for which it is looked after messages that a send has queued which began before an
exchange was shared: only the node sees to them that had it alone."""


class Sibling:
    """What a node has of each exchange, as far as the other nodes of its registry ask for it."""

    def __init__(self, outbound: Publisher) -> None:
        self._outbound = outbound
        self.numbering = outbound.numbering
        """The places given to each exchange."""
        self._bridges: dict[str, Bridge] = {}
        self.spent: dict[str, int] = {}
        """Exchanges that could be forgotten here, were it not for other nodes; and their heads."""

    def find(self, name: str) -> Bridge | None:
        """Return the bridge of an exchange, if there is one."""
        return self._bridges.get(name)

    def needs(self, name: str, head: int) -> bool:
        """Tell whether an exchange has to be remembered for this node, or stands below ``head``."""
        at = self.numbering.heads.get(name)
        return name in self._bridges or (at is not None and not head <= at == self.spent.get(name))

    def knows(self, name: str) -> bool:
        """Tell whether an exchange has a place here, be it 0."""
        return name in self._bridges or name in self.numbering.heads

    def begin_at(self, name: str, head: int, fresh: bool = False) -> None:
        """Number an exchange, which this node does not carry now, from ``head`` + 1 on."""
        if head <= self.numbering.place(name):
            return
        with nullcontext() if fresh else self._outbound.held():
            self._outbound.begin_at(name, head)

    def heads(self) -> dict[str, int]:
        """Return the last numbers given, and to be given to what is queued."""
        bridges = list(self._bridges.values())
        queued, heads = {b.name: len(b.bodies) for b in bridges if b.bodies}, self.numbering.heads
        return {**queued, **{n: h + queued.get(n, 0) for n, h in dict(heads).items()}}


class Siblings:
    """What the nodes of one registry have in common.

    Args:
        new_id: returns an id that no other registry has, in whatever process.
    """

    def __init__(self, new_id: Callable[[], bytes]) -> None:
        self.id = new_id()
        """Said to peers; another one in a forked child, and once no node is left."""
        self._new_id = new_id
        self._nodes: list[Sibling] = []
        self._placing = threading.RLock()
        self.naming = threading.RLock()
        """Held where an exchange begins at a node, and where one is forgotten. Below all others,
        and for a few steps only."""
        self._shared: dict[str, SharedBridge] = {}
        self._young: list[tuple[float, SharedBridge]] = []
        self._floor = 0
        """No number that a node has given which is there no more is above."""

    def join(self, node: Sibling) -> None:
        """Take in a node."""
        with self._placing:
            self._nodes.append(node)

    def leave(self, node: Sibling) -> None:
        """Let go of a node that carries nothing any more."""
        with self._placing:
            if node not in self._nodes:
                return
            self._nodes.remove(node)
            heads = node.heads()
            self._floor = max(self._floor, node.numbering.floor, *heads.values())
            for other in self._nodes:  # they go on above it, on what both had carried
                for name in heads.keys() & dict(other.numbering.heads):
                    other.begin_at(name, heads[name])
            if not self._nodes:  # so numbers may begin anew
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
        """Have a node carry an exchange, or do so no more.

        Args:
            node: whose bridge it is.
            exchange: which; None while nobody has it, and only its name is carried on.
            bridge: of the node, for that exchange.
            wanted: whether it is to carry it.
            idle: whether to attach it in any case, where nothing else is.
            fresh: nobody has the exchange yet, and the registry's lock is held.
        """
        with nullcontext() if fresh else self._placing:
            renewed = False
            with self.naming:  # no other node lets go of it just now
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
        if finish is not None:  # which may call anything
            finish()

    def _share(
        self, exchange: Exchange[Any] | None, first: Bridge, second: Bridge, fresh: bool
    ) -> SharedBridge:
        """Have a second node carry an exchange beside the one that has it."""
        if exchange is not None:
            exchange._finish_bridge(first)
        shared = self._shared[first.name] = share(first, second, fresh)
        if exchange is not None:
            exchange._replace_bridges((first, second), shared)
        shared.see_to(0)
        self._young.append((second.outbound.monotonic() + STRAYS_FOR, shared))
        return shared

    def _carry_alone(self, node: Sibling, bridge: Bridge, fresh: bool) -> bool:
        """Have a node carry an exchange that no other does now; tell if by a queue of its own."""
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
        """Have one node less carry an exchange; return what carries it for the others."""
        shared.let_go(bridge)
        bridge.wanted = False
        if shared.lanes:
            return shared
        del self._shared[bridge.name]
        if exchange is not None:
            exchange._detach_bridge(shared)
        return None

    def shared(self, covered: Callable[[str], bool]) -> list[str]:
        """Return the names of exchanges that several nodes carry, of those that are asked for."""
        return [name for name in list(self._shared) if covered(name)]

    def _head(self, node: Sibling, name: str) -> int:
        """Return the last number that any node may have given to a message of an exchange."""
        nodes = [other for other in self._nodes if name in other.numbering.heads]
        heads = [other.numbering.place(name) for other in nodes]
        return max(heads, default=max(node.numbering.place(name), self._floor))

    def begun(self, node: Sibling, name: str) -> tuple[int, int]:
        """Return where an exchange starts at a node, and its base; `naming` is held.

        It starts where others of it are, if they are anywhere. Else behind all that any of them
        has forgotten, in all federations.
        """
        others = [other for other in list(self._nodes) if other is not node]
        found = [other.numbering for other in others if other.knows(name)]
        if found:
            return max(n.place(name) for n in found), min(n.base(name) for n in found)
        floor = max(self._floor, *(other.numbering.floor for other in [node, *others]))
        return floor, floor

    def keep(self, name: str) -> bool:
        """Tell whether an exchange must be remembered, though nobody has it: several carry it."""
        return name in self._shared

    @contextmanager
    def agreed(self, node: Sibling, name: str, head: int) -> Generator[bool, None, None]:
        """Say whether a node may forget an exchange, as far as the others are concerned.

        None has it in use, or has given numbers that a peer lacks. So by no federation anything of
        it will come that was sent so far, and peers may forget what they had by any. Whoever
        has given more numbers than others forgets last: those begin behind it.
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
        """Have nodes no longer carry an exchange together that is gone. Any thread.

        ``has`` tells whether there is, or is about to be, an exchange of a name.
        """
        if name not in self._shared or not self._placing.acquire(False):
            return  # who has the lock may wait for what our caller holds
        try:
            with self.naming:
                shared = self._shared[name]
                if has(name) or shared.occupied:
                    return
                del self._shared[name]
            for lane in shared.lanes:
                lane.wanted = False
        finally:
            self._placing.release()

    # ------------------------------------------------------------------- called by each node

    def settle(self) -> None:
        """Have what was sent before this call in the lanes of all nodes."""
        for shared in list(self._shared.values()):
            if shared.unsettled:
                shared.settle()

    def tick(self, now: float) -> None:
        """See to what sends have left that began before an exchange was shared."""
        for until, shared in list(self._young):
            if shared.unsettled:
                shared.see_to(0)
            if now >= until:
                self._young.remove((until, shared))


_siblings: PerRegistry[Siblings] = PerRegistry()


def siblings_of(registry: Registry, new_id: Callable[[], bytes]) -> Siblings:
    """Return what the nodes of a registry have in common, in this process."""
    return _siblings.get(registry, partial(Siblings, new_id))
