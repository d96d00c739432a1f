"""Waiting for a node's state: `Node.wait_*`, `flush`, and their awaitable twins.

Each wait is written once, as a generator that yields the conditions to wait for. `NodeWaits.wait`
runs it on a thread, `NodeWaits.wait_here` in a coroutine. The control thread notifies both after
each turn.
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
    from .traffic import Seen

BEACON_EVERY = 0.25
"""Seconds after which a flush asks again which peers have acknowledged what."""
_NAMED = 5
R = TypeVar("R")

Step = tuple[Callable[[], object], float]
"""A condition on the session, and the seconds after which the wait goes on without it."""
Wait = Generator[Step, object, R]
"""The steps of a wait. Each ``yield`` returns what its condition returned when the step ended.

That result is final. By the next look, with the lock taken again, the state may have changed once
more: a wait that looked again gave up on something that had come.
"""
CLOSED = object()
"""The result of a condition that can no longer come true, because the node was closed."""


def others(engine: "Engine") -> list[str]:
    """Return what there is to say about other federations on this host."""
    with importing():
        from ..peering import elsewhere  # Windows does not have it

    return elsewhere.told(engine.plan.federation, engine.places.looked_into)


class NodeWaits:
    """The waits of one caller for one engine, until a deadline."""

    def __init__(self, engine: "Engine", timeout: float) -> None:
        self._engine = engine
        self._timeout = timeout
        self._monotonic = engine.world.monotonic
        self._deadline = self._monotonic() + timeout
        self._members = engine.session.members

    # ------------------------------------------------------------------- the two ways

    def wait(self, wait: Wait[R]) -> R:
        """Run a wait on this thread."""
        changed, held = self._engine.changed, None
        while True:
            try:
                condition, most = wait.send(held)
            except StopIteration as end:
                result: R = end.value
                return result
            held = changed.await_state(condition, most)

    async def wait_here(self, wait: Wait[R]) -> R:
        """Run a wait in this coroutine. If it is cancelled, nothing is left over."""
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
            The endpoints that are missing at the end: of the given ones, those that may still
            answer (see `Missing`); and of the ones that were found.
        """
        given, found = list[str](), list[str]()

        def complete() -> bool:
            given[:] = [missing.endpoint for missing in self._engine.missing.all() if missing.live]
            found[:] = self._pending()
            return not (given or found)

        yield from self.until(complete)
        return given, found

    def known(self) -> Wait[None]:
        """Wait until every living candidate is ready or has refused us, or the time is up."""

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

        Unless ``given`` is false, also until every endpoint that was given has answered once.
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
        """Wait for ``n`` peers that are promised what is sent, or have members of its groups."""

        def promised() -> int:
            sharing = self._engine.groups.nodes(name)
            return sum(
                peer.interest.in_force(name) or peer.id in sharing
                for peer in self._members.peers.values()
            )

        return self._counted(promised, n, f"nodes receive {name!r}", lambda: self._instead(name))

    def traffic(self, key: str, found: "list[Seen]") -> Wait[None]:
        """Wait until all nodes have told what flows; ``found`` gets what they have told by then."""
        engine, looks = self._engine, self._engine.traffic
        yield from self.run(lambda: looks.look(key))
        yield from self.until(lambda: looks.answered(key))
        found.append(engine.changed.look(lambda held: looks.seen(key)))

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

        Unless ``given`` is false, also until every endpoint that was given has answered once.
        """
        engine, lagging, goals, asked = self._engine, list[str](), list[Goal](), [True]
        shares = [(share, share.flushed()) for share in engine.groups.shares()]

        def acknowledged() -> bool:
            busy = [f"the members of {share!r}" for share, done in shares if not done()]
            lagging[:] = [*self._lagging(goals[0]), *busy, *self._never_met(given)]
            return not lagging

        def ask() -> None:
            engine.slow_peer_monitor.beacon(goals[0].heads)
            asked.append(True)

        if not (yield from self.run(lambda: goals.append(Goal(engine.heads())))):
            self._fail(f"after {self._timeout:g} s the control thread has not answered")
        most = 0.0
        while not (yield from self.until(acknowledged, most)):
            if self._monotonic() >= self._deadline:
                self._fail(f"not acknowledged by {', '.join(lagging)}")
            # A control thread that takes longer than this to answer is not given another request.
            if asked:
                asked.clear()
                engine.post(ask)
            most = BEACON_EVERY

    def run(
        self,
        command: Callable[[], None],
        post: Callable[[Callable[[], None]], None] | None = None,
    ) -> Wait[bool]:
        """Have the control thread run a command, and wait for it; return whether it did.

        Interest that was added before is taken in first. With `Engine.post_after_interest` as
        ``post``, interest that was dropped before is taken in first too.
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

        As for senders, those are all but the slow ones. A silent peer counts: messages are kept for
        it, and it may have received none of them yet.
        """
        lacks, slow = (
            self._engine.slow_peer_monitor.lacks,
            self._engine.outbound.window.slow_peers(),
        )
        return [
            f"{peer.label}{' (silent)' if peer.silent else ''}"
            for peer in self._members.peers.values()
            if peer.id not in slow and goal.missed(peer.id, lacks(peer, goal.heads))
        ]

    def until(self, condition: Callable[[], bool], most: float = math.inf) -> Wait[bool]:
        """Wait for a condition on the session until the time is up; return whether it held."""
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
        """Return the given endpoints that have never answered; nothing if those do not count."""
        return [missing.endpoint for missing in self._engine.missing.all()] if given else []

    def _pending(self) -> list[str]:
        engine = self._engine
        return [
            *engine.discovery.pending(self._monotonic()),
            *self._members.pending(engine.session.interest.epoch),
        ]

    def _all_missing(self, held: bool) -> list[str]:
        """Return the texts on given endpoints that are missing, and on some that were found."""
        found = self._pending()
        more = [f"and {len(found) - _NAMED} more"] if len(found) > _NAMED else []
        return [*map(str, self._engine.missing.all()), *found[:_NAMED], *more]

    def _nobody(self) -> str:
        """Return a text if there is no peer, else an empty one; under the lock."""
        return "" if self._members.peers else "nobody else is in it"

    def _instead(self, name: str) -> str:
        """Return what peers listen to, if none of them listens to an exchange; under the lock."""
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
