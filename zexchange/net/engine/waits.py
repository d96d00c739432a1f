"""Waiting for a node's state: what `Node.wait_*` and `flush` do, and their awaitable twins.

Each wait is written once, as a generator that says what it waits for. Who runs it waits
on a thread (`wait`) or in a coroutine (`wait_here`); the control thread notifies both
after each turn.
"""

import math
from collections.abc import Callable, Generator
from heapq import nsmallest
from typing import TYPE_CHECKING, NoReturn, TypeVar

from ...errors import Closed, NotReady
from ...imports import importing
from ...protocol.delivery.goal import Goal

if TYPE_CHECKING:
    from .engine import Engine

BEACON_EVERY = 0.25
"""Seconds after which a flush asks again who has what."""
_NAMED = 5
R = TypeVar("R")

Step = tuple[Callable[[], object], float]
"""A condition on the session, and the seconds after which to go on without it."""
Wait = Generator[Step, object, R]
"""What is waited for, step by step; it is told what each condition was when the wait ended.

That is the last word on it. The state may have changed again by the next look, under the lock
taken anew: a wait that looked again gave up on something that had come.
"""
CLOSED = object()
"""What a condition is that can hold no more."""


def others(engine: "Engine") -> list[str]:
    """Return what there is to say of other federations on this host."""
    with importing():
        from ..peering import elsewhere  # which Windows has not

    return elsewhere.told(engine.plan.federation, engine.places.looked_into)


class NodeWaits:
    """One caller's wait for one engine, until a deadline."""

    def __init__(self, engine: "Engine", timeout: float) -> None:
        self._engine = engine
        self._timeout = timeout
        self._monotonic = engine.world.monotonic
        self._deadline = self._monotonic() + timeout
        self._members = engine.session.members

    # ------------------------------------------------------------------- the two ways

    def wait(self, wait: Wait[R]) -> R:
        """Go through a wait on this thread."""
        changed, held = self._engine.changed, None
        while True:
            try:
                condition, most = wait.send(held)
            except StopIteration as end:
                result: R = end.value
                return result
            held = changed.await_state(condition, most)

    async def wait_here(self, wait: Wait[R]) -> R:
        """Go through a wait in this coroutine; cancelled, it leaves nothing behind."""
        changed, held = self._engine.changed, None
        while True:
            try:
                condition, most = wait.send(held)
            except StopIteration as end:
                result: R = end.value
                return result
            held = await changed.wait_for_here(condition, most)

    # ------------------------------------------------------------------ what for

    def joined(self) -> Wait[tuple[list[str], list[str]]]:
        """Wait until every living candidate is ready.

        Returns:
            What is missing at the end: of what was given, as far as it may still answer, which
            `Missing` tells of; and of what was found.
        """
        given, found = list[str](), list[str]()

        def complete() -> bool:
            given[:] = [missing.endpoint for missing in self._engine.missing.all() if missing.live]
            found[:] = self._pending()
            return not (given or found)

        yield from self.until(complete)
        return given, found

    def known(self) -> Wait[None]:
        """Wait until every living candidate is ready, or has refused us, or the time is up."""

        def complete() -> bool:
            undecided = (m for m in self._engine.missing.all() if m.live and not m.refused)
            return not self._pending() and not any(undecided)

        yield from self.until(complete)

    def peers(self, n: int) -> Wait[None]:
        """Wait for ``n`` peers that are ready in both directions."""

        def ready() -> int:
            ours = self._engine.session.interest.epoch
            return sum(peer.ready(ours) for peer in self._members.peers.values())

        return self._counted(ready, n, "peers are ready", self._nobody)

    def ready(self, given: bool = True) -> Wait[None]:
        """Wait until our interest as of now is in force at every peer.

        And, unless ``given`` is false, until every endpoint that was given has answered once.
        """
        epochs: list[int] = []
        unconfirmed = ["the control thread"]

        def confirmed() -> bool:
            peers = self._members.peers.values()
            unconfirmed[:] = [str(peer.label) for peer in peers if peer.ready_epoch < epochs[0]]
            unconfirmed.extend(self._never_met(given))
            return not unconfirmed

        engine = self._engine
        yield from self.run(
            lambda: epochs.append(engine.session.interest.epoch), engine.post_after_interest
        )
        if not epochs or not (yield from self.until(confirmed)):
            self._fail(f"after {self._timeout:g} s not confirmed by {', '.join(unconfirmed)}")

    def subscribers(self, name: str, n: int) -> Wait[None]:
        """Wait for ``n`` peers that are promised what is sent on an exchange."""

        def promised() -> int:
            return sum(peer.interest.in_force(name) for peer in self._members.peers.values())

        return self._counted(promised, n, f"nodes receive {name!r}", lambda: self._instead(name))

    def _counted(
        self, count: Callable[[], int], n: int, what: str, why: Callable[[], str]
    ) -> Wait[None]:
        found = 0

        def enough() -> bool:
            nonlocal found
            found = count()
            return found >= n

        if not (yield from self.until(enough)):
            self._fail(f"{found} of {n} {what} after {self._timeout:g} s", why)

    def flushed(self, given: bool = True) -> Wait[None]:
        """Wait until the healthy peers have acknowledged all heads as of now.

        And, unless ``given`` is false, until every endpoint that was given has answered once.
        """
        engine, lagging, goals, asked = self._engine, list[str](), list[Goal](), [True]

        def acknowledged() -> bool:
            lagging[:] = [*self._lagging(goals[0]), *self._never_met(given)]
            return not lagging

        def ask() -> None:
            engine.stalls.beacon(goals[0].heads)
            asked.append(True)

        if not (yield from self.run(lambda: goals.append(Goal(engine.heads())))):
            self._fail(f"after {self._timeout:g} s the control thread has not answered")
        most = 0.0
        while not (yield from self.until(acknowledged, most)):
            if self._monotonic() >= self._deadline:
                self._fail(f"not acknowledged by {', '.join(lagging)}")
            # A control thread that takes longer than this is not given more of it to do.
            if asked:
                asked.clear()
                engine.post(ask)
            most = BEACON_EVERY

    def run(
        self,
        command: Callable[[], None],
        post: Callable[[Callable[[], None]], None] | None = None,
    ) -> Wait[bool]:
        """Have the control thread run a command, and wait for it; tell whether it did.

        Interest that was added before is taken in first; with `Engine.post_after_interest` as
        ``post``, also what was dropped.
        """
        engine, done = self._engine, list[bool]()

        def run() -> None:
            command()
            done.append(True)

        (post or engine.post)(run)
        yield lambda: bool(done) or engine.finished, max(0.0, self._deadline - self._monotonic())
        if engine.finished and not done:
            raise self._closed()
        return bool(done)

    # ------------------------------------------------------------------ parts of them

    def _lagging(self, goal: Goal) -> list[str]:
        """Return the healthy peers that have not acknowledged all of ``goal``; under the lock.

        Those are all but the slow ones, as for senders: what is sent is held for one that is
        silent, and it may have nothing of it yet.
        """
        lacks, slow = self._engine.stalls.lacks, self._engine.outbound.window.slow_peers()
        return [
            f"{peer.label}{' (silent)' if peer.silent else ''}"
            for peer in self._members.peers.values()
            if peer.id not in slow and goal.missed(peer.id, lacks(peer, goal.heads))
        ]

    def until(self, condition: Callable[[], bool], most: float = math.inf) -> Wait[bool]:
        """Wait for a condition on the session, to the end of the time; return whether it held."""
        engine, held = self._engine, None
        until = min(self._deadline, self._monotonic() + most)

        def look() -> object:
            return condition() or (CLOSED if engine.closed else None)

        while not held:
            left = until - self._monotonic()
            held = yield look, max(0.0, left)
            if left <= 0:
                break
        if held is CLOSED:
            raise self._closed()
        return bool(held)

    def _closed(self) -> Closed:
        return Closed(f"the node in federation {self._engine.plan.federation!r} was closed")

    def _never_met(self, given: bool) -> list[str]:
        """Return the endpoints that were given and have never answered, if those count."""
        return [missing.endpoint for missing in self._engine.missing.all()] if given else []

    def _pending(self) -> list[str]:
        engine = self._engine
        return [
            *engine.discovery.pending(self._monotonic()),
            *self._members.pending(engine.session.interest.epoch),
        ]

    def _all_missing(self, held: bool) -> list[str]:
        """Return what there is to say of given endpoints that are missing, and of some found."""
        found = self._pending()
        more = [f"and {len(found) - _NAMED} more"] if len(found) > _NAMED else []
        return [*map(str, self._engine.missing.all()), *found[:_NAMED], *more]

    def _nobody(self) -> str:
        """Return that there is no peer, if so; under the lock."""
        return "" if self._members.peers else "nobody else is in it"

    def _instead(self, name: str) -> str:
        """Return what peers listen to, if none of them to an exchange; under the lock."""
        interests = [peer.interest.keys for peer in self._members.peers.values()]
        if not interests or any(keys.covers(name) for keys in interests):
            return self._nobody()
        keys = {key for keys in interests for key in keys}
        more = [f"{len(keys) - _NAMED} more"] if len(keys) > _NAMED else []
        told = ", ".join([*map(repr, nsmallest(_NAMED, keys)), *more]) or "nothing"
        return f"its peers listen to {told}"

    def _fail(self, text: str, why: Callable[[], str] = str) -> NoReturn:
        def look(held: bool) -> list[str]:
            return [*filter(None, [why()]), *self._all_missing(held)]

        missing = self._engine.changed.look(look)
        if not self._members.peers:
            missing += others(self._engine)
        more = f" ({'; '.join(missing)})" if missing else ""
        raise NotReady(f"federation {self._engine.plan.federation!r}: {text}{more}")
