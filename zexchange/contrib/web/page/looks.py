"""The looks at what flows: one asker for all browsers, and none while no browser is there."""

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from .... import ExchangeError, Traffic
from ....display.tables import without
from ....local.process.logs import log
from ....net.engine.traffic import Seen
from ....protocol.traffic.flows import Flow
from ...membership import Membership

EVERY = 1.0
"""Seconds between two looks."""
FIRST_AFTER = 0.3
"""Seconds after the first look, which has no rates."""


@dataclass(frozen=True, slots=True)
class Look:
    """The traffic at one moment.

    Attributes:
        number: counts the looks, from 1.
        traffic: the exchanges and the nodes.
        flows: what flows from node to node; only while a browser shows the map.
        hidden: the id of the node that only looks; empty if it is shown.
    """

    number: int
    traffic: Traffic
    flows: tuple[Flow, ...]
    hidden: str


class Watcher:
    """One browser that waits for looks.

    Attributes:
        flows: whether it shows what flows from node to node.
        turn: set when there is something new for it.
    """

    def __init__(self) -> None:
        self.flows = False
        self.turn = asyncio.Event()


class Looks:
    """Asks all nodes what they have counted, once a second, as long as there are watchers.

    Everything here belongs to one event loop.

    Args:
        membership: the federation.
        pattern: what may be shown.
        hide: whether the node that asks is left out.
    """

    def __init__(self, membership: Membership, pattern: str, hide: bool) -> None:
        self.latest: Look | None = None
        """The newest look; None before the first, and when nobody has looked for a while."""
        self._membership = membership
        self._pattern = pattern
        self._hide = hide
        self._watchers: set[Watcher] = set()
        self._asking: asyncio.Task[None] | None = None
        self._number = 0
        self._soon = asyncio.Event()

    @property
    def asking(self) -> bool:
        """Whether nodes are asked now and then."""
        return self._asking is not None

    @contextmanager
    def watching(self) -> Generator[Watcher, None, None]:
        """Have looks inside the ``with`` block."""
        watcher = Watcher()
        self._watchers.add(watcher)
        if self._asking is None:
            self._asking = asyncio.ensure_future(self._ask())
        try:
            yield watcher
        finally:
            self._watchers.discard(watcher)
            if not self._watchers:
                self._stop_asking()

    def _stop_asking(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
            self._asking = self.latest = None

    def want_flows(self, watcher: Watcher, wanted: bool) -> None:
        """Note whether a watcher shows the map. If no other did so before, a look comes soon."""
        if wanted and not any(other.flows for other in self._watchers):
            self._soon.set()
        watcher.flows = wanted

    async def _ask(self) -> None:
        loop, failed = asyncio.get_running_loop(), False
        while True:
            began, first = loop.time(), self.latest is None
            self._soon.clear()
            try:
                await self._look()
                failed = False
            except ExchangeError as error:
                if not failed:  # told once, until a look succeeds again
                    log.warning("looks for browsers fail: %s", error)
                failed = True
            except Exception:  # it must not end for the browsers in silence
                if not failed:
                    log.exception("looks for browsers fail")
                failed = True
            pause = FIRST_AFTER if first else max(0.1, began + EVERY - loop.time())
            try:
                await asyncio.wait_for(self._soon.wait(), pause)
            except TimeoutError:
                pass

    async def _look(self) -> None:
        await self._membership.joined()
        node = await asyncio.to_thread(self._membership.join)
        seen = await node.aio._seen(self._pattern, EVERY)
        flows = any(watcher.flows for watcher in self._watchers)
        hidden = node.id if self._hide else ""
        self._number += 1
        made = _making(seen, self._number, hidden, flows)
        # On a thread: of 10,000 exchanges it takes a while.
        self.latest = await asyncio.to_thread(made)
        for watcher in self._watchers:
            watcher.turn.set()


def _making(seen: Seen, number: int, hidden: str, flows: bool) -> Callable[[], Look]:
    def make() -> Look:
        traffic = seen.traffic()
        found = seen.flows() if flows else ()
        if hidden:
            traffic = without(traffic, hidden)
            alone = (hidden,)
            exchanges = [
                replace(e, listeners=tuple([n for n in e.listeners if n != hidden]))
                if hidden in e.listeners
                else e
                for e in traffic.exchanges
            ]
            # A live tail listens; what only the page listens to is not shown as listened to.
            exchanges = [e for e in exchanges if e.listeners or e.senders != alone]
            traffic = replace(traffic, exchanges=tuple(exchanges))
            found = tuple([f for f in found if hidden not in (f.sender, f.listener)])
        return Look(number, traffic, found, hidden)

    return make
