"""Diagnoses for browsers: one at a time, and one for all that ask at the same time."""

import asyncio

from .... import Diagnosis
from ...membership import Membership

FRESH = 3.0
"""Seconds for which a diagnosis is not repeated: each one opens connections to all endpoints."""


class Doctor:
    """Finds out why messages do not arrive at the node of a page. For one event loop."""

    def __init__(self, membership: Membership) -> None:
        self._membership = membership
        self._running: asyncio.Task[Diagnosis] | None = None
        self._until = 0.0

    async def diagnosis(self) -> Diagnosis:
        """Return a diagnosis that began a moment ago, or begins now.

        Raises:
            ExchangeError: there is none, as the node cannot join.
        """
        now = asyncio.get_running_loop().time()
        if self._running is None or (self._running.done() and now >= self._until):
            self._running = asyncio.ensure_future(self._diagnose())
            # It may fail when nobody waits for it any longer, which is then nobody's concern.
            self._running.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(self._running)

    async def _diagnose(self) -> Diagnosis:
        try:
            await self._membership.joined()
            node = await asyncio.to_thread(self._membership.join)
            return await node.aio.diagnose()
        finally:
            self._until = asyncio.get_running_loop().time() + FRESH

    async def close(self) -> None:
        """End what is under way."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
