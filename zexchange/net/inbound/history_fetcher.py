"""Fetches the history that one peer keeps, and hands it on to the late joiners that asked for it.

Messages that arrive live wait meanwhile in the `CatchUp` of each joiner, so that nothing is
missing and nothing comes twice. All of this runs on the data thread, as does the peer receiver
that a fetcher belongs to.
"""

from collections.abc import Callable
from itertools import groupby
from typing import Any

from ...errors import DecodeError
from ...history import Body
from ...local.late_join import CatchUp
from ...local.registry import Exchange
from ...local.tasks.noted import Noted, split
from ...local.tasks.stream import Delivery
from ...protocol.codec.attachments import decode_frame
from ...protocol.delivery.history_requests import HistoryDone, HistoryItem, HistoryRequests
from ...protocol.delivery.sequence import ReceiveState
from ...protocol.wire.messages import Batch
from .context import ReceiveContext

WAITED_BYTES = 32 << 20
"""Bytes that may arrive live while joiners wait for history; then they wait no longer."""


class HistoryFetcher:
    """The late joiners that wait for the history that one peer keeps."""

    def __init__(
        self, peer: bytes, receive_context: ReceiveContext, positions: ReceiveState
    ) -> None:
        self._peer = peer
        self.origin = peer.hex()
        self.handed: Callable[[str], int] = lambda name: 0
        """Returns up to which number an exchange was handed on, by any federation; else 0."""
        self._receive_context = receive_context
        self._positions = positions
        self._recalls = HistoryRequests(
            receive_context.me, receive_context.timeout, receive_context.elapsed
        )
        self.owed: dict[int, CatchUp] = {}
        """The joiners that wait, by the number of their recall.

        One whose recall has ended stays while it waits for the history of other peers.
        """
        self._requests = 0
        self._bytes = 0

    def recall(self, key: str, catch_up: CatchUp, expected: bool | None = None) -> None:
        """Fetch what the peer keeps for a late joiner, which gets it before anything live.

        Args:
            key: the name or pattern that the joiner is attached to.
            catch_up: stands in for the joiner.
            expected: whether the joiner waits for this peer before it is given what others keep;
                None for whether the peer is ready.
        """
        if expected is None:
            expected = self._positions.ready_epoch > 0
        if catch_up.begin(self.origin, expected):
            self._requests += 1
            self.owed[self._requests] = catch_up
            now = self._receive_context.monotonic()
            self._recalls.add(self._requests, key, catch_up.most, now)
            self.pursue(now)

    def owing(self) -> list[tuple[str, CatchUp]]:
        """Return the joiners that still wait for this peer, each with the key that it asked for."""
        asked, owed = self._recalls, self.owed.items()
        return [(asked.key(request), catch_up) for request, catch_up in owed if request in asked]

    def recounted(self, request: int, ranges: dict[str, tuple[int, int]]) -> None:
        """Take the answer to a recall: by exchange, the first and last number that are kept."""
        catch_up, receive_context = self.owed.get(request), self._receive_context
        if catch_up is None:
            return

        def live(name: str) -> int | None:
            """Return the number from which on the joiner has, or will get, every message."""
            position = self._positions.positions.get(name)
            if position is None or not receive_context.federated(name):
                return None  # not for us; or promised before its first message: all is live
            # Parked before a jump, under a key that has ended since: there is a hole between that
            # and what came after the jump. So it is dropped here, and the history reaches further.
            catch_up.forgo(self.origin, name, self._positions.jumped.get(name, 0))
            waiting = catch_up.live(self.origin, name)
            return max(position, self.handed(name)) + 1 if waiting is None else waiting

        now = receive_context.monotonic()
        self._recalls.counted(request, ranges, live, now)
        self.pursue(now)

    def delivered(self, size: int) -> None:
        """Count a frame of so many bytes, which was handed on and may wait with a late joiner."""
        self._bytes += size
        if self._bytes > WAITED_BYTES:
            for request, catch_up in list(self.owed.items()):
                if request in self._recalls:
                    self._join(self._recalls.give_up(request))
                catch_up.expire()

    def waits_from(self, name: str) -> int | None:
        """Return the lowest number of an exchange that waits with a joiner; None if none does."""
        firsts = [catch_up.live(self.origin, name) for catch_up in self.owed.values()]
        return min((first for first in firsts if first is not None), default=None)

    def take(self, batch: Batch, frame: Body) -> bool:
        """Take a frame if it is one of history; return whether it is.

        Raises:
            DecodeError: if it is malformed, or not of this peer.
        """
        if not self._recalls.wants(batch.name, batch.first, batch.count):
            return False
        if batch.origin != self._peer:
            raise DecodeError(f"a frame of origin {batch.origin.hex()}, which is not this peer")
        values = decode_frame(frame, batch.body, batch.count)
        for notes in batch.notes:
            place = batch.count - 1 - notes.at
            values[place] = Noted(values[place], notes.headers)
        self._recalls.take(batch.name, batch.first, values, batch.sent_at)
        return True

    def resent(self, request: int, name: str, first: int, last: int, now: float) -> None:
        """Take note that the peer has sent what it keeps of a range: all from ``first`` on."""
        self._recalls.answered(request, name, first, last, now)

    def pursue(self, now: float) -> None:
        """Send the requests that are due, and hand on each history that is complete."""
        for request, catch_up in list(self.owed.items()):
            through = request not in self._recalls and not catch_up.awaits(self.origin)
            if catch_up.cancelled or through:
                del self.owed[request]
                self._recalls.drop(request)
        for step in self._recalls.due(now, self._positions.in_force):
            if isinstance(step, HistoryDone):
                self._join(step)
            else:
                self._receive_context.control.ask(self._peer, step)

    def end(self) -> None:
        """Have all joiners wait for this peer no longer: it has left."""
        for step in self._recalls.abandon():
            self._join(step, left=True)

    def _join(self, step: HistoryDone, left: bool = False) -> None:
        """Hand a late joiner its history, and then the messages that have waited for it."""
        catch_up, receive_context = self.owed.pop(step.request), self._receive_context
        if not self.owed:
            self._bytes = 0
        if not (step.complete or left or catch_up.cancelled):
            receive_context.control.rejected(
                self._peer.hex(), f"its history did not all come for {catch_up!r}"
            )
        receive_context.busy = (
            self._receive_context.monotonic(),
            step.history[0].name if step.history else "",
        )
        history: list[Delivery] = []
        for name, kept in groupby(step.history, key=lambda k: k.name):
            exchange = self._exchange(name)
            if exchange is not None:
                history += exchange._rebuilt([self._delivery(name, k) for k in kept])
        catch_up.complete(self.origin, history, through=not left)
        if catch_up.awaits(self.origin) and not left:  # it waits for the history of others, too
            self.owed[step.request] = catch_up
        receive_context.busy = None

    def _delivery(self, name: str, kept: HistoryItem) -> Delivery:
        msg, headers = split(kept.value)
        return Delivery(name, msg, self.origin, kept.number, kept.sent_at, headers)

    def _exchange(self, name: str) -> Exchange[Any] | None:
        """Return the exchange of a name, made if need be; None if it takes no part."""
        try:
            return self._receive_context.exchange(name)
        except DecodeError as error:
            self._receive_context.reject(self._peer.hex(), str(error))
            return None
