"""The late joiners of one peer's messages: what it keeps for them is fetched, then handed on.

What arrives live waits meanwhile (`RemoteCatchUp`), so that nothing is missing and nothing
comes twice. On the data thread, as the peer receiver whose part this is.
"""

from collections.abc import Callable
from itertools import groupby
from typing import Any

from ...errors import DecodeError
from ...history import Body
from ...local.late_join import RemoteCatchUp
from ...local.registry import Exchange
from ...local.tasks.stream import Delivery
from ...protocol.codec.attachments import decode_frame
from ...protocol.delivery.history import HistoryDone, HistoryRequests
from ...protocol.delivery.sequence import ReceiveState
from ...protocol.wire.messages import Batch
from .context import ReceiveContext

WAITED_BYTES = 32 << 20
"""Bytes that arrive live while a history is waited for, before that is given up."""


class HistoryFetcher:
    """Who waits for what a peer keeps."""

    def __init__(
        self, peer: bytes, receive_context: ReceiveContext, positions: ReceiveState
    ) -> None:
        self._peer = peer
        self.origin = peer.hex()
        self.handed: Callable[[str], int] = lambda name: 0
        """Returns up to where an exchange has come, by whatever way."""
        self._receive_context = receive_context
        self._positions = positions
        self._recalls = HistoryRequests(
            receive_context.me, receive_context.timeout, receive_context.elapsed
        )
        self.owed: dict[int, RemoteCatchUp] = {}
        """The joiners that wait, by the number of the recall; after its end, for others."""
        self._requests = 0
        self._bytes = 0

    def recall(self, key: str, arrears: RemoteCatchUp, expected: bool | None = None) -> None:
        """Have a late joiner given what the peer keeps for it, before anything live.

        With what others keep, if the peer is ``expected`` to tell soon: by itself, if it is ready.
        """
        if expected is None:
            expected = self._positions.ready_epoch > 0
        if arrears.begin(self.origin, expected):
            self._requests += 1
            self.owed[self._requests] = arrears
            now = self._receive_context.monotonic()
            self._recalls.add(self._requests, key, arrears.most, now)
            self.pursue(now)

    def owing(self) -> list[tuple[str, RemoteCatchUp]]:
        """Return the joiners that wait for this peer still, each with the key that it asked for."""
        asked, owed = self._recalls, self.owed.items()
        return [(asked.key(request), arrears) for request, arrears in owed if request in asked]

    def recounted(self, request: int, ranges: dict[str, tuple[int, int]]) -> None:
        """Take what the peer says it keeps."""
        arrears, receive_context = self.owed.get(request), self._receive_context
        if arrears is None:
            return

        def live(name: str) -> int | None:
            """Return the number from which the joiner has, or will have, all there is."""
            position = self._positions.positions.get(name)
            if position is None or not receive_context.federated(name):
                return None  # not for us; or promised before its first message: all is live
            # What came by another key that has ended since, and a hole behind it: kept as well.
            arrears.forgo(self.origin, name, self._positions.jumped.get(name, 0))
            waiting = arrears.live(self.origin, name)
            return max(position, self.handed(name)) + 1 if waiting is None else waiting

        now = receive_context.monotonic()
        self._recalls.counted(request, ranges, live, now)
        self.pursue(now)

    def delivered(self, size: int) -> None:
        """Note that a frame of so many bytes was handed on, and may wait with a late joiner."""
        self._bytes += size
        if self._bytes > WAITED_BYTES:
            for request, arrears in list(self.owed.items()):
                if request in self._recalls:
                    self._join(self._recalls.give_up(request))
                arrears.expire()

    def waits_from(self, name: str) -> int | None:
        """Return the number of the first message of an exchange that waits, None without any."""
        firsts = [arrears.live(self.origin, name) for arrears in self.owed.values()]
        return min((first for first in firsts if first is not None), default=None)

    def take(self, batch: Batch, frame: Body) -> bool:
        """Take a frame of history; tell whether it is one.

        Raises:
            DecodeError: if it is malformed, or not of this peer.
        """
        if not self._recalls.wants(batch.name, batch.first, batch.count):
            return False
        if batch.origin != self._peer:
            raise DecodeError(f"a frame of origin {batch.origin.hex()}, which is not this peer")
        values = decode_frame(frame, batch.body, batch.count)
        self._recalls.take(batch.name, batch.first, values, batch.sent_at)
        return True

    def resent(self, request: int, name: str, first: int, last: int, now: float) -> None:
        """The peer has sent what it keeps of a range: what came before ``first`` is gone."""
        self._recalls.answered(request, name, first, last, now)

    def pursue(self, now: float) -> None:
        """Ask on, and hand on what is complete."""
        for request, arrears in list(self.owed.items()):
            through = request not in self._recalls and not arrears.awaits(self.origin)
            if arrears.cancelled or through:
                del self.owed[request]
                self._recalls.drop(request)
        for step in self._recalls.due(now, self._positions.in_force):
            if isinstance(step, HistoryDone):
                self._join(step)
            else:
                self._receive_context.control.ask(self._peer, step)

    def end(self) -> None:
        """Let nobody wait any more: the peer has left."""
        for step in self._recalls.abandon():
            self._join(step, left=True)

    def _join(self, step: HistoryDone, left: bool = False) -> None:
        """Hand a late joiner its history, and then what has waited for that."""
        arrears, receive_context = self.owed.pop(step.request), self._receive_context
        if not self.owed:
            self._bytes = 0
        if not (step.complete or left or arrears.cancelled):
            receive_context.reject(
                self._peer.hex(), f"its history did not all come for {arrears!r}"
            )
        receive_context.busy = (
            self._receive_context.monotonic(),
            step.history[0].name if step.history else "",
        )
        history: list[Delivery] = []
        for name, kept in groupby(step.history, key=lambda k: k.name):
            exchange = self._exchange(name)
            if exchange is not None:
                history += exchange._rebuilt(
                    [Delivery(name, k.value, self.origin, k.number, k.sent_at) for k in kept]
                )
        arrears.complete(self.origin, history, through=not left)
        if arrears.awaits(self.origin) and not left:  # with that of others
            self.owed[step.request] = arrears
        receive_context.busy = None

    def _exchange(self, name: str) -> Exchange[Any] | None:
        """Return an exchange if it takes part: made, if only a pattern knew of it so far."""
        try:
            return self._receive_context.exchange(name)
        except DecodeError as error:
            self._receive_context.reject(self._peer.hex(), str(error))
            return None
