"""Waiting for a node's state, on the caller's thread: what `Node.wait_*` and `flush` do.

The control thread notifies after each turn; here conditions are looked at in between.
"""

import math
from collections.abc import Callable
from typing import NoReturn

from ..errors import Closed, NotReady
from .engine import Engine

BEACON_EVERY = 0.25
"""Seconds after which a flush asks again who has what."""
_NAMED = 5


class Waiter:
    """One caller's wait for one engine, until a deadline."""

    def __init__(self, engine: Engine, timeout: float) -> None:
        self._engine = engine
        self._timeout = timeout
        self._monotonic = engine.world.monotonic
        self._deadline = self._monotonic() + timeout
        self._members = engine.session.members

    def joined(self) -> list[str]:
        """Wait until every living candidate is ready; return what is missing at the end."""
        self._until(lambda: not self._pending())
        return self._pending()

    def settled(self, condition: Callable[[], bool]) -> bool:
        """Wait until a condition on the session holds; tell whether it does at the end."""
        return self._until(condition)

    def peers(self, n: int) -> None:
        """Wait for ``n`` peers that are ready in both directions."""

        def ready() -> int:
            ours = self._engine.session.interest.epoch
            return sum(peer.ready(ours) for peer in self._members.peers.values())

        if not self._until(lambda: ready() >= n):
            self._fail(f"{ready()} of {n} peers are ready after {self._timeout:g} s")

    def ready(self) -> None:
        """Wait until our interest as of now is in force at every peer."""
        epochs: list[int] = []
        self._engine.call(lambda: epochs.append(self._engine.session.interest.epoch), self._timeout)

        def unconfirmed() -> list[str]:
            peers = self._members.peers.values()
            return [str(peer.label) for peer in peers if peer.ready_epoch < epochs[0]]

        if not epochs or not self._until(lambda: not unconfirmed()):
            who = ", ".join(unconfirmed()) if epochs else "the control thread"
            self._fail(f"after {self._timeout:g} s not confirmed by {who}")

    def subscribers(self, name: str, n: int) -> None:
        """Wait for ``n`` peers that are promised what is sent on an exchange."""

        def subscribers() -> int:
            return sum(peer.interest.in_force(name) for peer in self._members.peers.values())

        if not self._until(lambda: subscribers() >= n):
            self._fail(f"{subscribers()} of {n} nodes receive {name!r} after {self._timeout:g} s")

    def flushed(self) -> None:
        """Wait until the healthy peers have acknowledged all heads as of now."""
        engine, goal = self._engine, dict[str, int]()
        engine.call(lambda: goal.update(engine.outbound.heads()), self._timeout)
        while self._lagging(goal):
            if self._monotonic() >= self._deadline:
                self._fail(f"not acknowledged by {', '.join(self._lagging(goal))}")
            engine.post(lambda: engine.effects.beacon_unacknowledged(goal))
            self._until(lambda: not self._lagging(goal), BEACON_EVERY)

    def _lagging(self, goal: dict[str, int]) -> list[str]:
        """Return the healthy peers that have not acknowledged all of ``goal``.

        Those are all but the slow ones, as for senders: what is sent is held for one that is
        silent, and it may have nothing of it yet.
        """
        with self._engine.changed:
            peers = self._members.peers.values()
            return [
                f"{peer.label}{' (silent)' if peer.silent else ''}"
                for peer in peers
                if not peer.slow and self._engine.effects.lag(peer, goal)
            ]

    def _until(self, condition: Callable[[], bool], most: float = math.inf) -> bool:
        """Wait for a condition on the session; tell whether it holds at the end."""
        engine, left = self._engine, max(0.0, self._deadline - self._monotonic())
        with engine.changed:
            engine.changed.wait_for(lambda: engine.closed or condition(), min(left, most))
            if condition():
                return True
            if engine.closed:
                raise Closed(f"the node in federation {engine.plan.federation!r} was closed")
            return False

    def _pending(self) -> list[str]:
        engine = self._engine
        return [
            *engine.discovery.pending(self._monotonic()),
            *engine.pending(),
            *self._members.pending(engine.session.interest.epoch),
        ]

    def _fail(self, text: str) -> NoReturn:
        with self._engine.changed:
            missing = self._pending()[:_NAMED]
        more = f" ({'; '.join(missing)})" if missing else ""
        raise NotReady(f"federation {self._engine.plan.federation!r}: {text}{more}")
