"""Receives one peer: checks its frames, puts them in order and hands their messages on.

A `PeerReceiver` lives on the data thread and knows no socket: a `DataSource` brings it the frames.
For each exchange, its `ReceiveState` has the *position*: the last number that was received or given
up. A frame of messages is then one of these:

- It is next: its messages are handed on to the exchange (`_deliver`). If some of them have come
  before, these are skipped and counted as duplicates.
- It comes before its turn: `Recovery` parks it, and the peer is asked for the numbers in front of
  it. The frames that it sends again come over the control link (`replayed`), and the parked ones
  follow (`_advance`). Numbers that the peer no longer keeps, or that do not come in time, are given
  up: counted, and reported as lost (`_give_up`).
- Its exchange is not for us, or not yet: it is dropped, and counted as unwanted.

A *beacon* has no messages. It shows the head of an exchange, so that a lost tail is noticed, and
asks for an acknowledgement. A *ready* proves that an epoch of our interest is in force at the peer,
and says at which number each exchange begins for us (`_take_ready`).

Acknowledgements say up to which number our tasks have been given messages. They go out after a
number of bytes or messages (`ACKNOWLEDGE`), or when a beacon asks.

Nearly all frames are small and next, and take the short way at the top of `take`. While the same
process is met in other federations too, messages and losses go to `Sharing` instead of the tasks.

The class is long because all these steps read and change the same positions and counts, on one
thread.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from math import inf
from typing import Any

from ...errors import DecodeError
from ...history import FRAME_OVERHEAD, WINDOW, Body, Bulk
from ...local.late_join import CatchUp
from ...local.registry import Exchange
from ...local.routing import Routes
from ...local.tasks.noted import NO_HEADERS, Noted
from ...protocol.codec.attachments import decode_frame
from ...protocol.codec.batches import BatchDecoder, decode_batch_of
from ...protocol.codec.values import SMALL_BODY, TOP, decode_batch
from ...protocol.delivery.conflation import PASSED_OVER, Claims
from ...protocol.delivery.recovery import GiveUp, Recovery
from ...protocol.delivery.sequence import ReceiveCounts, ReceiveState, everything
from ...protocol.session.events import Lost
from ...protocol.wire.data import (
    ATTACHED,
    BASED,
    BASED_HEAD,
    CONFLATED,
    HEAD,
    LAST_NUMBER,
    LONGEST_TOPIC,
    NOTED,
    READY,
    STARTED,
    STARTED_HEAD,
    VERSION,
    arrived_whole,
    read_data,
    read_ready,
    topic,
    unpack_head,
    unpack_start,
    whole_ready,
)
from ...protocol.wire.jobs import REPLY, kind_of
from ...protocol.wire.messages import Batch, Ready, Replay
from ...protocol.wire.notes import QUESTION_BYTES, QUESTION_FORM, unpack_question
from .context import ReceiveContext
from .history_fetcher import HistoryFetcher
from .typed import decoder_for

ACKNOWLEDGE = WINDOW // 4, 250_000
"""Bytes and messages of one peer after which they are acknowledged without a request. A peer with
a small ring asks for less."""
ADVANCE_SECONDS = 0.005
"""Seconds after which the delivery of parked frames is left for another turn. A peer can have as
many parked as take the tasks many seconds."""
LARGE_TOGETHER = 8
"""Large messages that are acknowledged together, unless they are four times those bytes, which is
as much as the window of the peer holds. If each were acknowledged alone, that would cost a third of
what the messages cost."""
EXCHANGES_MOST = 8192
"""Exchanges that are looked up once and kept for the next frames on them."""
ASKING_HEAD = HEAD + 1 + QUESTION_BYTES
"""The size of the header of a frame that has a question without headers, and nothing before it."""
ASKING = QUESTION_BYTES, *QUESTION_FORM
NOBODY: Routes = (), (), ()
_NOTHING = "", None, ReceiveCounts(), None
unpack_small = TOP.unpack_small


class Sharing:
    """Stands for the other receivers of the same process, where there are none: it does nothing.

    `Share` is the subclass for a process that has named its registry, and may have others.
    """

    do: Callable[[Callable[[], None]], None]

    @property
    def pursuing(self) -> bool:
        """Whether `pursue` may have something to do."""
        return False

    def pursue(self) -> None:
        """Go on with what waits."""

    def bring(self, exchange: Exchange[Any], batch: Batch, frame: Body, skip: int) -> None:
        """Take the messages of a frame that is next in the peer receiver."""

    def lose(self, name: str, first: int, last: int, reason: str) -> None:
        """Take note of a loss of the peer receiver."""

    def given(self, positions: dict[str, int]) -> dict[str, int]:
        """Return up to which numbers all was handed on, for these positions of the receiver."""
        return positions

    def based(self, bases: dict[str, int]) -> None:
        """Take note that up to these numbers nothing will come that has not come yet."""

    def proven(self) -> None:
        """Take note that a proof has come."""

    def drop(self, names: Iterable[str]) -> None:
        """Take note that exchanges are no longer wanted."""

    def forgotten(self, heads: dict[str, int]) -> None:
        """Take note that the peer forgot exchanges, which were complete up to these numbers."""

    def end(self, final: bool, owed: Iterable[tuple[str, CatchUp]]) -> None:
        """Take note that the peer has left, and that joiners are still ``owed`` its history."""


ALONE = Sharing()


class PeerReceiver:
    """Receives the messages of one peer, and holds our position with it.

    Args:
        peer: its node id.
        receive_context: the one of the node.
        acknowledge: bytes and messages after which it wants acknowledgements; 0 for our own choice.
        positions: where we stood when it left, if it is back and resumes there.
        carries: returns whether an exchange may come from it.
    """

    def __init__(
        self,
        peer: bytes,
        receive_context: ReceiveContext,
        acknowledge: tuple[int, int] = (0, 0),
        positions: ReceiveState | None = None,
        carries: Callable[[str], bool] = everything,
    ) -> None:
        self.peer = peer
        self.origin = peer.hex()
        self.sender = self.origin
        """The origin that tasks see: perhaps another node of the same process."""
        self.returned = positions is not None
        """Whether the peer had left and resumes where it was."""
        self.ended = False
        """Whether the peer is leaving, and will not come back."""
        self.positions = positions or ReceiveState()
        self.recovery = Recovery(
            receive_context.me, self.positions, receive_context.timeout, receive_context.elapsed
        )
        self.claims = Claims()
        self._carries: Callable[[str], bool] = carries
        self._receive_context = receive_context
        self._control = receive_context.control
        self.patience = receive_context.timeout
        self.now = receive_context.monotonic
        self.history_fetcher = HistoryFetcher(peer, receive_context, self.positions)
        self._missing = self.recovery.missing
        self._owed = self.history_fetcher.owed
        self._ahead: dict[str, None] = {}
        """Exchanges of which parked frames are next that were left for another turn."""
        self._parts: list[Ready] = []
        self._exchanges: dict[str, tuple[Exchange[Any] | None, BatchDecoder | None]] = {}
        """By name, the exchange, if it takes part, and the decoder of its frames, if not msgpack.
        """
        self._plain: dict[
            bytes, tuple[str, Exchange[Any] | None, ReceiveCounts, BatchDecoder | None]
        ] = {}
        """By topic, the name, exchange, counts and decoder for the next frame on it.

        Only exchanges on which a frame has been handed on are in it.
        """
        self._touched: set[str] = set()
        most_bytes, most_messages = acknowledge
        self._most_bytes = min(most_bytes or ACKNOWLEDGE[0], ACKNOWLEDGE[0])
        self._most_messages = min(most_messages or ACKNOWLEDGE[1], ACKNOWLEDGE[1])
        self._bytes = self._messages = self._large = 0
        self.share = ALONE
        """Its part in what its process sends, if the peer has named the registry of that."""
        self.shared = ALONE
        """The same object while that process is met in other federations too, else `ALONE`."""

    def expect(self, epoch: int, added: tuple[str, ...], removed: tuple[str, ...]) -> None:
        """Note a change of our interest."""
        before: set[str] = set(self.positions.positions) if removed else set()
        self.positions.expect(epoch, added, removed)
        self.shared.drop(before.difference(self.positions.positions))
        self.recovery.forget_unwanted()
        self.claims.keep(self.positions.positions)
        self.look_again()

    def look_again(self) -> None:
        """Look up again which exchange a name stands for, and whether it takes part."""
        self._exchanges.clear()
        self._plain.clear()

    def begin_to_share(self) -> None:
        """Hand on together with the other receivers of the same process from now on."""
        self.shared = self.share
        self._plain.clear()

    def carries(self, name: str) -> bool:
        """Return whether an exchange may come from this peer, and takes part here."""
        return self._carries(name) and self.exchange(name) is not None

    # --------------------------------------------------------------------------- frames

    def take(self, frame: Body, rest: Callable[[bytes], Body] | None = None) -> int | None:
        """Take a frame; return the epoch that it proves, 0 for a part of a ready, else None.

        Args:
            frame: the first part of the frame, or all of it.
            rest: returns the whole frame for its first part, if that says that more belongs to it.

        Raises:
            DecodeError: if the frame is malformed, or not for us, or not of this peer.
        """
        # First a frame of small messages that is next, as nearly all are, without any call that
        # is not needed: a call in Python costs 0.05 µs in a flood, and 1 µs to a message that
        # comes alone, when caches are cold. All other frames are looked at in `_take_any`.
        if type(frame) is bytes and not self._missing and not self._owed:
            end = frame.find(0, 1, LONGEST_TOPIC) + 1
            name, exchange, tally, fast = self._plain.get(frame[:end], _NOTHING)
            if exchange is not None and len(frame) >= end + HEAD:
                first: int  # `unpack_head` has no types
                count: int
                size, version, origin, first, count, flags, sent_at = unpack_head(frame, end)
                body = end + HEAD
                if flags == STARTED and size == STARTED_HEAD and len(frame) >= body + 8:
                    first += unpack_start(frame, body)[0]
                    body, size, flags = body + 8, HEAD, 0
                elif flags == BASED and size == BASED_HEAD and len(frame) >= body + 16:
                    first += unpack_start(frame, body)[0]
                    body, size, flags = body + 16, HEAD, 0
                where, last = self.positions.positions, first + count - 1
                if (
                    first == where.get(name, last) + 1
                    and size == HEAD
                    and version == VERSION
                    and origin == self.peer
                    and not flags
                    and first <= last <= LAST_NUMBER
                ):
                    try:
                        if fast is not None and first >= fast.again:
                            values = fast.decode(frame, body, count, first)
                        elif count == 1 and len(frame) <= SMALL_BODY:
                            values = [unpack_small(frame[body:])]
                        else:
                            values = decode_batch(frame, count, None, body)
                    except Exception:  # taken once more, to find out what is wrong
                        return self._take_any(frame, rest)
                    where[name] = last
                    tally.received += count
                    self._receive_context.busy = (self.now(), name)
                    exchange._deliver(values, self.sender, first, sent_at / 1e6)
                    self._receive_context.busy = None
                    self._touched.add(name)
                    self._bytes += len(frame) + FRAME_OVERHEAD  # as its origin counts it
                    self._messages += count
                    if self._bytes >= self._most_bytes or self._messages >= self._most_messages:
                        self._acknowledge()
                    return None
                if (
                    flags == NOTED
                    and size == ASKING_HEAD
                    and count == 1
                    and first == where.get(name, last) + 1
                    and version == VERSION
                    and origin == self.peer
                    and len(frame) <= SMALL_BODY
                    and self._take_question(frame, body, exchange, first, sent_at / 1e6)
                ):
                    return None
        return self._take_any(frame, rest)

    def _take_question(
        self, frame: bytes, at: int, exchange: Exchange[Any], first: int, sent_at: float
    ) -> bool:
        """Take a frame of a small question that is next, as nearly all are, as `take` does.

        Args:
            frame: its name, position and origin have been looked at.
            at: where its notes begin.
            exchange: the one that it is on.
            first: its number.
            sent_at: when it was sent, in seconds since the epoch.

        Returns:
            Whether it was one; if not, nothing was done.
        """
        try:
            before, number, between, to = unpack_question(frame, at + 1)
            if (frame[at], before, between) != ASKING:
                return False
            value = unpack_small(frame[at + 1 + QUESTION_BYTES :])
        except Exception:  # taken once more, to find out what is wrong
            return False
        name, context = exchange.name, self._receive_context
        self.positions.positions[name] = first
        self.positions.tallies[name].received += 1
        context.busy = (self.now(), name)
        if exchange._routes != NOBODY or exchange._declared is not None:
            exchange._deliver((value,), self.sender, first, sent_at)
        if to == context.me:
            context.requests.asked(exchange, value, self.peer, number)
        context.busy = None
        self._touched.add(name)
        self._bytes += len(frame) + FRAME_OVERHEAD  # as its origin counts it
        self._messages += 1
        if self._bytes >= self._most_bytes or self._messages >= self._most_messages:
            self._acknowledge()
        return True

    def _take_any(self, frame: Body, rest: Callable[[bytes], Body] | None) -> int | None:
        """Take a frame of any kind, as `take` does."""
        head = frame if isinstance(frame, bytes) else frame.packed
        if head[:1] == READY and head is frame:
            if kind := kind_of(head):
                context = self._receive_context
                if kind == REPLY:
                    context.requests.take(head, self.peer)
                else:
                    context.groups.arrived(head, self.peer, kind)
                return None
            return self._take_ready(head)
        batch = read_data(head)
        if batch.flags & ATTACHED or head is not frame:
            if head is frame and rest is not None:
                frame = rest(head)
            if not arrived_whole(batch, frame):
                return None  # its origin sends it again
        if batch.origin != self.peer:
            raise DecodeError(f"a frame of origin {batch.origin.hex()}, which is not this peer")
        position = self.positions.where(batch.name, batch.start)
        if position is not None and position < batch.start:
            position = self._start(batch.name, batch.start)
        if position is None:
            self.positions.unwanted += batch.count
        elif batch.flags & CONFLATED:
            self._take_newest(batch, frame, position)
        elif batch.count == 0:
            self._take_beacon(batch)
        elif batch.first > position + 1:
            now = self.now()
            self.claims.forget(batch.name)
            self.recovery.park(batch.name, batch.first, batch.first + batch.count - 1, frame, now)
            self._recover(batch.name, now)
        else:
            self._deliver(batch, frame)
            if self.recovery:
                self._advance(batch.name)
        return None

    def _deliver(self, batch: Batch, frame: Body) -> None:
        """Take the messages of a frame that is next: hand them on, count and acknowledge them."""
        name, count = batch.name, batch.count
        skip = self.positions.receive(name, batch.first, count)
        if skip < count:
            exchange = self.exchange(name)
            if exchange is None:
                pass
            elif self.shared is not ALONE:
                self.shared.bring(exchange, batch, frame, skip)
                if batch.notes:
                    values = decode_frame(frame, batch.body, batch.count)
                    self._take_questions(exchange, batch, values, skip)
            elif (given := self.hand_on(exchange, batch, frame, skip, self)) is not None:
                tally, fast = self.positions.tallies[name], self._looked_up(name)[1]
                self._plain[topic(name)] = name, exchange, tally, fast
                if batch.notes:
                    self._take_questions(exchange, batch, given, skip)
            if self.history_fetcher.owed:
                self.history_fetcher.delivered(len(frame))
        self._touched.add(name)
        self._bytes += len(frame) + FRAME_OVERHEAD  # as its origin counts it
        self._messages += count
        most = self._most_bytes
        if isinstance(frame, Bulk):
            self._large += 1
            if self._large < LARGE_TOGETHER:
                most *= 4
        if self._bytes >= most or self._messages >= self._most_messages:
            self._acknowledge()

    def hand_on(
        self, exchange: Exchange[Any], batch: Batch, frame: Body, skip: int, by: "PeerReceiver"
    ) -> list[object] | None:
        """Hand on the messages of a frame that a receiver brought; return None if unreadable."""
        name, first = batch.name, batch.first + skip
        try:
            fast = None if batch.notes else self._looked_up(name)[1]
            values = decode_batch_of(frame, batch, fast)
        except DecodeError as error:
            count = batch.count - skip
            by.spoiled(name, count)
            self.tell_lost(name, first, first + count - 1, "undecodable")
            # Only the peer whose source is being read now rests for it.
            control = self._receive_context.control
            reject = self._receive_context.reject if by is self else control.rejected
            reject(by.origin, str(error))
            return None
        receive_context = self._receive_context
        receive_context.busy = (self.now(), name)
        if batch.notes:
            self._hand_on_noted(exchange, batch, values, skip)
        else:
            exchange._deliver(values[skip:] if skip else values, self.sender, first, batch.sent_at)
        receive_context.busy = None
        return values

    def _hand_on_noted(
        self, exchange: Exchange[Any], batch: Batch, values: list[object], skip: int
    ) -> None:
        """Hand on the messages of a frame of which some have headers."""
        headers = {batch.count - 1 - note.at: note.headers for note in batch.notes if note.headers}
        if not headers:
            rest = values[skip:] if skip else values
            exchange._deliver(rest, self.sender, batch.first + skip, batch.sent_at)
            return
        ends = sorted(at for at in {*headers, *(at + 1 for at in headers)} if at > skip)
        for start, end in pairwise((skip, *ends, batch.count)):
            if start < end:
                there = headers.get(start, NO_HEADERS)
                told = self.sender, batch.first + start, batch.sent_at, there
                exchange._deliver(values[start:end], *told)

    def _take_questions(
        self, exchange: Exchange[Any], batch: Batch, values: list[object], skip: int
    ) -> None:
        """Have the questions in a frame answered that are for this node.

        Not where the messages are handed on: if they come by several federations, that is done for
        the first one, and the answer is expected by the one that names this node.
        """
        for note in batch.notes:
            at = batch.count - 1 - note.at
            if note.number and at >= skip and note.to in (b"", self._receive_context.me):
                self._receive_context.busy = (self.now(), batch.name)
                requests = self._receive_context.requests
                msg = Noted(values[at], note.headers) if note.headers else values[at]
                requests.asked(exchange, msg, self.peer, note.number)
                self._receive_context.busy = None

    def spoiled(self, name: str, count: int) -> None:
        """Count messages as lost that came here unreadable. Also on other receivers' threads."""
        if self.shared is not ALONE:
            self.shared.do(lambda: self.positions.spoiled(name, count))
        else:
            self.positions.spoiled(name, count)

    def _take_newest(self, batch: Batch, frame: Body, position: int) -> None:
        """Take an offer, or the answer to a claim: the newest message of an exchange."""
        name, now = batch.name, self.now()
        if not batch.count:
            self.claims.offer(name, batch.first - 1)
            if batch.first - 1 <= position:
                self._touched.add(name)
                self._acknowledge()
        elif self.claims.arrived(name, batch.first, now):
            self._pass_over(name, batch.first - 1)
            self._deliver(batch, frame)
            self._plain.pop(topic(name), None)  # where offers are not expected
            if self.recovery:
                self._advance(name)
            if self.claims.doubtful:
                self._acknowledge()
        self._claim(name, now)

    def _claim(self, name: str, now: float) -> None:
        """Ask for the newest message of a conflated exchange, if that is due."""
        position = self.positions.positions.get(name)
        if position is not None and self.claims.due(name, position, now):
            self._control.ask(
                self.peer, Replay(self._receive_context.me, name, position + 1, position + 1)
            )

    def _pass_over(self, name: str, last: int) -> None:
        """Go on after messages that a newer one has replaced."""
        gap = self.positions.pass_over(name, last)
        if gap is not None and self.shared is not ALONE:
            self.shared.lose(name, gap.first, gap.last, PASSED_OVER)

    def expose(self, name: str, head: int, now: float) -> None:
        """Take note of a head that the peer has told: messages up to it may be missing."""
        if name in self.claims:
            self.claims.offer(name, head)
        else:
            self.recovery.expose(name, head, now)

    def _take_beacon(self, batch: Batch) -> None:
        """Take note of the peer's head, and acknowledge: that is what a beacon asks for."""
        now = self.now()
        self.expose(batch.name, batch.first - 1, now)
        self._touched.add(batch.name)
        self._acknowledge()
        self._recover(batch.name, now)

    def _start(self, name: str, start: int) -> int:
        """Go on at the start of an exchange that its origin had forgotten; return our position.

        The origin does not forget an exchange of which we miss something, unless we were away for
        too long.
        """
        if name in self._missing:
            self.recovery.unavailable(name, start, "forgotten by its origin")
            self._recover(name, self.now())
        self.positions.start(name, start)
        return self.positions.positions[name]

    def _take_ready(self, frame: bytes) -> int | None:
        part = read_ready(frame)
        if part.receiver != self._receive_context.me or part.origin != self.peer:
            raise DecodeError("a ready frame that is not for this node, or not of this peer")
        if part.number:
            self.forget(part.forget)
            self._control.forgot(self.peer, part.number)
            return 0
        ready = whole_ready(self._parts, part)
        if ready is None:
            return 0
        if self.positions.outlived(ready.account):
            self._begin_again()
        now = self.now()
        for name in [name for name in ready.starts if name in self._missing]:
            if self.positions.positions.get(name, 0) < ready.starts[name]:
                self._start(name, ready.starts[name])
        gaps = self.positions.ready(ready.epoch, ready.heads, ready.promised, ready.starts)
        for gap in gaps:
            if gap.first:
                self.expose(gap.name, gap.last, now)
                self._recover(gap.name, now)
            else:
                # Not compared with what comes by other federations: its numbers are unknown.
                self.tell_lost(gap.name, 0, gap.last, "its origin was away for too long")
        if self.history_fetcher.owed:
            self.history_fetcher.pursue(now)
        self.shared.pursue()  # after this, `shared` may be `ALONE`
        self.shared.based({**ready.starts, **ready.bases})
        self.shared.proven()
        self._control.proven(self.peer, ready.epoch)
        return ready.epoch

    def _begin_again(self) -> None:
        """Forget our positions, as the peer did: we were stopped for longer than it remembers."""
        self._abandon("its origin had forgotten this node")
        before = set(self.positions.positions)
        self.positions.begin_again()
        self.claims.keep({})
        self.shared.drop(before)
        self._touched.clear()
        self.look_again()

    def _acknowledge(self) -> None:
        """Tell the peer up to which numbers our tasks have been given its messages."""
        where = self.positions.positions
        given = {name: where[name] for name in self._touched if name in where}
        self._touched.clear()
        if self.history_fetcher.owed:
            for name, position in given.items():
                waiting = self.history_fetcher.waits_from(name)
                if waiting is not None:
                    given[name] = min(position, waiting - 1)
                    self._touched.add(name)
        if self.shared is not ALONE:
            given, behind = self.shared.given(given), given
            self._touched.update(n for n, at in behind.items() if given.get(n, 0) < at)
        self._control.consumed(self.peer, given)
        self._bytes = self._messages = self._large = 0

    def forget(self, heads: dict[str, int]) -> None:
        """Forget exchanges, as the peer did, if we have all of them up to these places."""
        gone: dict[str, int] = {}
        for name, head in heads.items():
            if name not in self._missing and self.positions.forget(name, head):
                self._exchanges.pop(name, None)
                self._plain.pop(topic(name), None)
                self._touched.discard(name)
                self.claims.forget(name)
                gone[name] = head
        if gone:
            self.shared.forgotten(gone)

    def exchange(self, name: str) -> Exchange[Any] | None:
        """Return the exchange of a name, made if need be; None if it takes no part."""
        return self._looked_up(name)[0]

    def _looked_up(self, name: str) -> tuple[Exchange[Any] | None, BatchDecoder | None]:
        try:
            return self._exchanges[name]
        except KeyError:
            if len(self._exchanges) >= EXCHANGES_MOST:  # of a peer that never has any forgotten
                # One by one. If all went at once, the collector would count as many fresh objects
                # as were ever made here, and look at everything that the process has for them.
                oldest = next(iter(self._exchanges))
                del self._exchanges[oldest]
                self._plain.pop(topic(oldest), None)
            exchange = self._receive_context.exchange(name)
            decoder = None if exchange is None else decoder_for(exchange)
            found = self._exchanges[name] = exchange, decoder
            return found

    # ------------------------------------------------------------------------- recovery

    def replayed(self, frame: Body) -> None:
        """Take a frame that the peer has sent again, over its control link: replay or history."""
        try:
            batch = read_data(_head(frame))
            if arrived_whole(batch, frame) and self.history_fetcher.take(batch, frame):
                return
            before = self.positions.positions.get(batch.name)
            if before is None:
                return  # it was asked for twice, and forgotten in between
            self.take(frame)
            now = self.positions.positions.get(batch.name, 0)
            if now > before and not batch.flags & CONFLATED:
                self.positions.tallies[batch.name].recovered += min(now - before, batch.count)
        except DecodeError as error:
            self._receive_context.reject(self.origin, str(error))

    def resent(self, name: str, first: int, last: int, request: int) -> None:
        """Take note that the peer has sent again what it could: all from ``first`` on.

        ``request`` is the number of the recall that it answers, 0 for a replay.
        """
        now = self.now()
        if request:
            self.history_fetcher.resent(request, name, first, last, now)
        else:
            if first > last and name in self.claims:
                # The origin has no newest message to give: the exchange is an ordinary one by now.
                self.recovery.expose(name, self.claims.forget(name), now)
            self.recovery.unavailable(name, first - 1, "no longer kept by its origin")
            self.recovery.answered(name, now)
            self._recover(name, now)
        if self.history_fetcher.owed:
            self.history_fetcher.pursue(now)

    def _recover(self, name: str, now: float) -> None:
        """Ask for what is missing of an exchange, if that is due, or give it up."""
        if name in self.claims:
            self._claim(name, now)
        again = name in self._missing
        while again:
            again = False
            for step in self.recovery.due_of(name, now):
                if isinstance(step, GiveUp):
                    self._give_up(step)
                    again = True
                else:
                    self._control.ask(self.peer, step)

    def pursuit(self, now: float) -> Iterator[None]:
        """Go on with all that is missing or owed, one exchange at each step of the iterator.

        Between the steps the caller may do something else.
        """
        for name in [*self._missing, *self.claims.waiting]:
            self._recover(name, now)
            yield
        if self.history_fetcher.owed:
            self.history_fetcher.pursue(now)
        self.shared.pursue()

    def end(self) -> None:
        """Account for what is missing: the peer has left."""
        self._abandon("its origin has left")
        for name, head in self.claims.lacking(self.positions.positions):
            self._pass_over(name, head - 1)
            self._give_up(GiveUp(name, head, "its origin has left"))
        owed = self.history_fetcher.owing()
        self.history_fetcher.end()
        self.share.end(self.ended, owed)

    @property
    def pursuing(self) -> bool:
        """Whether `pursuit` has anything to do."""
        return bool(
            self.recovery
            or self.history_fetcher.owed
            or self.claims.waiting
            or self.shared.pursuing
        )

    def go_on(self) -> bool:
        """Deliver some parked frames that were left for another turn; return whether some are."""
        if self._ahead:
            self._advance(next(iter(self._ahead)))
        return bool(self._ahead)

    def _advance(self, name: str, for_seconds: float = ADVANCE_SECONDS) -> None:
        """Deliver the parked frames that are next now; after some time the rest is for `go_on`."""
        self._ahead.pop(name, None)
        until = self.now() + for_seconds
        while (frame := self.recovery.in_turn(name)) is not None:
            self._deliver(read_data(_head(frame)), frame)
            if self.now() > until:
                self._ahead[name] = None
                self._receive_context.ahead[self.peer] = None
                break

    def _abandon(self, reason: str) -> None:
        """Deliver all parked frames, and give up what is missing between them."""
        for name in list(self._ahead):
            self._advance(name, inf)
        for step in self.recovery.abandon(reason):
            self._give_up(step, inf)

    def _give_up(self, step: GiveUp, for_seconds: float = ADVANCE_SECONDS) -> None:
        gap = self.positions.give_up(step.name, step.last)
        if gap is not None:
            self._lost(gap.name, gap.first, gap.last, step.reason)
            self._touched.add(gap.name)
        self._advance(step.name, for_seconds)

    def _lost(self, name: str, first: int, last: int, reason: str) -> None:
        """Report a loss, or leave that to the receivers of the same process together."""
        if self.shared is not ALONE and self.exchange(name) is not None:
            self.shared.lose(name, first, last, reason)
        else:
            self.tell_lost(name, first, last, reason)

    def tell_lost(
        self, name: str, first: int, last: int, reason: str, mark: int | None = None
    ) -> None:
        """Report a loss: to streams with details, in its place among the messages, and as an event.

        With a ``mark``, only to streams that were attached before the mark was made. Messages
        that a newer one has replaced are no loss.
        """
        if reason == PASSED_OVER:
            return
        lost = Lost(name, self.sender, first, last, reason)
        exchange = self.exchange(name)
        if exchange is not None:
            exchange._report(lost, mark)
        self._control.lost(lost)


def _head(frame: Body) -> bytes:
    """Return the first part of a frame, without attachments."""
    return frame if isinstance(frame, bytes) else frame.packed
