"""The bridges of a node: which names peers want, and which exchanges have a bridge for them.

The control thread says which keys peers have begun or ceased to want; this file works out which
exchanges that concerns, and attaches or detaches their bridges.
"""

import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import islice

from ...errors import ExchangeError
from ...history import Frame
from ...local.exchange import Backpressure
from ...local.registry import Exchange, Registry
from ...names import is_pattern, matches
from ...protocol.interest.interest import NameSet
from .bridge import Bridge
from .publisher import Publisher
from .siblings import Sibling, Siblings

NAMES_MOST = 1_000_000
"""The most exchanges whose numbers are remembered. Each takes some 300 bytes, and as many for each
peer that has acknowledged it."""


class Bridges(Sibling):
    """All bridges of one node, and the names that some peer wants.

    In Python's dev mode every federated exchange has a bridge from the start, which encodes each
    message and throws the result away: so a message that cannot be encoded fails on one machine.
    """

    def __init__(
        self,
        registry: Registry,
        outbound: Publisher,
        federated: Callable[[str], bool],
        siblings: Siblings,
    ) -> None:
        super().__init__(outbound)
        self._registry = registry
        self._federated = federated
        self._made: list[str] = []
        self._wants = NameSet()
        self._open = True
        self._state = 0
        # May be taken while the registry's lock is held. No exchange's lock is taken while this
        # one is held, because an exchange asks for the registry's lock while it holds its own.
        self._lock = threading.RLock()
        self._siblings = siblings
        siblings.join(self)

    def get(self, name: str) -> Bridge:
        """Return the bridge of an exchange; make it if there is none."""
        with self._lock:
            bridge = self._bridges.get(name)
            if bridge is None:
                bridge = Bridge(name, self._outbound)
                with self._siblings.naming:
                    self.numbering.begin(name, *self._siblings.begun(self, name))
                    self._bridges[name] = bridge
                    self.spent.pop(name, None)
                heads = self.numbering.heads
                if len(heads) >= NAMES_MOST and name not in heads:
                    bridge.refuses = _too_many_text(name)
                    bridge.send_by(partial(_too_many, name))
                self._made.append(name)
                self._outbound.stir()
            return bridge

    def made(self) -> list[str]:
        """Return the names of the bridges that were made since the last call."""
        with self._lock:
            made, self._made = self._made, []
            return made

    def names(self) -> list[str]:
        """Return the names of all bridges. Any thread."""
        with self._lock:
            return list(self._bridges)

    def has(self, name: str) -> bool:
        """Return whether an exchange has a bridge, and so may have been sent on. Any thread."""
        return name in self._bridges

    def let_go(self, most: int) -> list[str]:
        """Drop bridges of exchanges that are gone, the oldest bridges first.

        Args:
            most: how many bridges are looked at.

        Returns:
            The exchanges among them on which nothing was sent: no numbers are left of them.
        """
        unused, heads = list[str](), self.numbering.heads
        with self._lock:
            oldest = list(islice(self._bridges, most))
        for name in oldest:
            self._siblings.dissolve(name, self._registry._has)
        with self._lock:
            for name in oldest:
                bridge = self._bridges.pop(name)
                # A thread that makes the exchange again has entered it in the registry by now, or
                # waits for our lock.
                used = bridge.bodies or bridge.listed or bridge.kept or self._registry._has(name)
                if used or self._siblings.keep(name):
                    self._bridges[name] = bridge
                else:
                    bridge.send_by(_gone)  # the closure refers to the bridge: a cycle
                    self.numbering.unused(name)
                    if name not in heads:
                        unused.append(name)
        return unused

    def forget(
        self, most: int, acked: Mapping[bytes, Mapping[str, int]]
    ) -> dict[bytes, dict[str, int]]:
        """Forget the numbers of exchanges that have no bridge. See `Publisher.forget`."""
        with self._lock:

            def used(name: str) -> bool:
                return name in self._bridges or self._siblings.keep(name)

            agreed = partial(self._siblings.agreed, self)
            return self._outbound.forget(most, used, acked, agreed)

    def __len__(self) -> int:
        """Return how many bridges there are. Any thread."""
        return len(self._bridges)

    def refresh(self, keys: Iterable[str], wanted: Callable[[str], bool]) -> None:
        """Update the bridges of the exchanges that ``keys`` cover.

        Args:
            keys: names and patterns that peers may have begun, or ceased, to want.
            wanted: returns whether any peer wants a key now.
        """
        keys = tuple(keys)
        with self._lock:
            self._state += 1
            for key in keys:
                (self._wants.update if wanted(key) else self._wants.remove)((key,))
        named = [self._registry.find(key) for key in keys if not is_pattern(key)]
        patterns = [key for key in keys if is_pattern(key)]
        for exchange in named:
            if exchange is not None:
                self.look(exchange)
        if patterns:
            for exchange in self._registry.exchanges():
                if any(matches(pattern, exchange.name) for pattern in patterns):
                    self.look(exchange)
        wanted = NameSet(keys).covers
        for name in self._siblings.shared(lambda n: wanted(n) and not self._registry._has(n)):
            self._place(name, None)

    def look(self, exchange: Exchange[object], fresh: bool = False) -> None:
        """Attach or detach an exchange's bridge, as peers' interest stands now. Any thread.

        ``fresh`` says that no other thread has the exchange yet.
        """
        self._place(exchange.name, exchange, fresh)

    def _place(self, name: str, exchange: Exchange[object] | None, fresh: bool = False) -> None:
        while True:
            with self._lock:
                state, found = self._state, self._judge(name)
            if found is None:
                return
            bridge, wanted = found
            idle = self._open and sys.flags.dev_mode
            self._siblings.place(self, exchange, bridge, wanted, idle, fresh)
            # The bridge was placed without our lock. If the interest has changed meanwhile, place
            # it again: so the last thread to act has seen the last state.
            if state == self._state:
                return

    def _judge(self, name: str) -> tuple[Bridge, bool] | None:
        """Return the bridge of a name and whether it is wanted; None if it needs no bridge."""
        if not self._federated(name):
            return None
        retained = self._registry.retention(name) if self._open else 0
        wanted = self._open and (retained > 0 or self._wants.covers(name))
        bridge = self.get(name) if wanted or sys.flags.dev_mode else self._bridges.get(name)
        if bridge is None:
            return None
        bridge.keep(retained)
        bridge.conflate(self._registry.conflated(name))
        return bridge, wanted

    def kept(self, key: str) -> dict[str, tuple[int, int]]:
        """Return the first and last place that is kept, by exchange that a key covers."""
        with self._lock:
            if is_pattern(key):
                found = [b for b in self._bridges.values() if b.kept and matches(key, b.name)]
            else:
                found = [self._bridges[key]] if key in self._bridges else []
        return self._outbound.kept(found)

    def recall(self, name: str, first: int, last: int) -> list[Frame]:
        """Return frames with kept messages of an exchange: a bounded part, oldest first."""
        bridge = self._bridges.get(name)
        return self._outbound.recall(bridge, first, last) if bridge is not None else []

    def close(self) -> None:
        """Detach every bridge, for good."""
        with self._lock:
            self._open = False
            self._state += 1
            bridges = list(self._bridges.values())
        for bridge in bridges:
            exchange = self._registry.find(bridge.name)
            self._siblings.place(self, exchange, bridge, False)
        self._siblings.leave(self)


def _too_many(name: str, msg: object) -> Backpressure | None:
    """Raise to the sender that no more exchanges can be remembered: the `send` of such a bridge.

    The sender's local tasks get the message all the same.
    """
    raise ExchangeError(_too_many_text(name))


def _too_many_text(name: str) -> str:
    return (
        f"exchange {name!r}: {NAMES_MOST:,} exchanges are remembered for peers already, and"
        " cannot be forgotten, because a peer is of an earlier version, slow or away;"
        " what is sent on more of them stays in this process"
    )


def _gone(msg: object) -> None:
    """Take the place of the `send` of a bridge whose exchange is gone."""
