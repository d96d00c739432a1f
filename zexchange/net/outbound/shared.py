"""Exchanges that several federations of one process carry: one queue, one number a message.

The nodes of a registry number a message alike, so that a receiver which they have in common
can tell that two messages are one (`protocol/delivery/merging`). While one node alone carries an
exchange, its bridge and its send queue do all of it, and nothing here is on the way. With a
second one, a `SharedBridge` takes the place of that bridge: it encodes once, and has one queue
from which each message goes to the lanes of all nodes in one step, in one order. What a lane
sends next has the number after its head; so all heads are alike from the moment at which a
node is taken in. What was sent without it has raised the numbers: its head jumps, before it
promises anything to anybody.

Locks: `Siblings._placing` comes before an exchange's lock, and before `SharedBridge.moving`,
which comes before those of data sockets. None of them is held while a message is encoded, and
no sender waits for any: who does not get `moving` leaves the message to who has it.
"""

import threading
from contextlib import AbstractContextManager, nullcontext
from functools import partial

from ...history import Body
from ...local import parking
from ...local.exchange import Backpressure
from ...protocol.codec.attachments import LARGE, Encoder
from .bridge import SMALL_BYTES, Bridge, large_body, named_error

SETTLE_SECONDS = 1.0
"""Seconds that are waited, at most, for a thread that moves messages to the lanes."""


class Rooms(Backpressure):
    """What a sender waits for that has too much on its way in several federations."""

    __slots__ = ("_rooms",)

    def __init__(self, rooms: list[Backpressure]) -> None:
        self._rooms = rooms

    def wait(self) -> None:
        """Wait for one after the other."""
        for room in self._rooms:
            room.wait()


class SharedBridge(parking.Bridge):
    """The subscriber between one exchange and several nodes, which have what is kept.

    Args:
        bodies: the queue of the bridge that carried it so far: a send that has begun by that
            one still adds to it.
        head: the last number that was given.
    """

    def __init__(self, first: Bridge, bodies: list[Body], head: int) -> None:
        self.name = first.name
        self.bodies = bodies
        self.head = head
        """The last number that is in the lanes."""
        self.lanes: tuple[Bridge, ...] = (first,)
        self.moving = threading.Lock()
        self._try_moving = partial(self.moving.acquire, False)
        self._encoder = Encoder()
        self._moved: list[Body] = []
        first.handed = head

    def send(self, msg: object) -> Backpressure | None:
        """Encode a message on the caller's thread and queue it for every node.

        Returns:
            What the sender has to wait for, after the local tasks, if too much is on its
            way already.

        Raises:
            EncodeError: naming the exchange and the path inside the message.
        """
        try:
            body = self._encoder.encode(msg)
            if len(body) >= LARGE:
                body = large_body(self._encoder, msg, body)
            self.bodies.append(body)
            return self.see_to(len(body))
        except Exception as error:
            self.see_to(0)
            named = named_error(self.name, msg, error)
            if named is None:
                raise
            raise named from error
        except BaseException:  # of a signal handler, perhaps right behind `append`
            self.see_to(0)
            raise

    @property
    def federations(self) -> int:
        """Into how many federations it carries messages."""
        return len(self.lanes)

    def see_to(self, size: int) -> Backpressure | None:
        """Have what is queued sent by every node, now or soon."""
        # Looked at anew after the release, for what others have queued while we had it.
        while self.bodies or self._moved:
            moving = False
            try:
                for moving in iter(self._try_moving, False):  # noqa: B007
                    self._move()
                    break
            finally:
                if moving:
                    self.moving.release()
            if not moving:
                break
        rooms = [room for lane in self.lanes if (room := _see_to(lane, size)) is not None]
        if len(rooms) > 1:
            return Rooms(rooms)
        return rooms[0] if rooms else None

    def _move(self) -> None:
        """Move what is queued to all lanes; the lock is held.

        Whatever an exception leaves of it is done first by whoever comes next.
        """
        bodies = self.bodies
        while True:
            if self._moved:
                moved, last = self._moved, self.head
                for lane in self.lanes:
                    if (lane.handed or 0) < last:
                        # One step:
                        lane.bodies += moved
                        lane.handed = last
                self._moved = []
            count = len(bodies)
            if not count:
                return
            moved, last = bodies[:count], self.head + count
            # One step:
            self._moved = moved
            self.head = last
            del bodies[:count]

    @property
    def unsettled(self) -> bool:
        """Whether anything is queued that may not be in the lanes. Any thread."""
        return bool(self.bodies or self._moved) or self.moving.locked()

    @property
    def occupied(self) -> bool:
        """Whether anything of it is still to be sent, or kept. Any thread."""
        return self.unsettled or any(x.bodies or x.listed or x.kept for x in self.lanes)

    def settle(self) -> None:
        """Have what was sent before this call listed in every lane."""
        if self.moving.acquire(timeout=SETTLE_SECONDS):
            try:
                self._move()
            finally:
                self.moving.release()
        for lane in self.lanes:
            lane.enlist()

    def take_in(self, lane: Bridge, fresh: bool) -> None:
        """Have one more node carry the exchange from here on."""
        with self.moving:
            self._move()
            keeping = [other for other in self.lanes if other.kept is not None]
            if lane.kept is not None and keeping and not fresh:
                lane.kept = keeping[0].outbound.copy_kept(keeping[0])
            with _held(lane, fresh):
                lane.renew()
                kept = lane.kept.range() if lane.kept is not None else None
                lane.outbound.begin_at(self.name, self.head, kept[0] - 1 if kept else None)
                if lane.kept is not None:
                    lane.kept.cut(lane.outbound.numbering.start(self.name))
            lane.handed = self.head
            self.lanes = (*self.lanes, lane)

    def let_go(self, lane: Bridge) -> None:
        """Have a node carry the exchange no more; what was sent before this call it has."""
        with self.moving:
            self._move()
            self.lanes = tuple(other for other in self.lanes if other is not lane)
        lane.outbound.see_to(lane, 0)

    def __repr__(self) -> str:
        """Name the exchange and how many nodes carry it."""
        return f"<SharedBridge {self.name!r}, {len(self.lanes)} federations>"


def _see_to(lane: Bridge, size: int) -> Backpressure | None:
    """Have what is in a lane sent, now or soon, unless somebody is about to."""
    outbound = lane.outbound
    if lane.listed and size <= SMALL_BYTES and outbound.monotonic() < outbound.pace.quiet_until:
        return None
    return outbound.see_to(lane, size)


def _held(lane: Bridge, fresh: bool) -> AbstractContextManager[None]:
    """Hold what a node sends, unless nothing of the exchange is on its way.

    A ``fresh`` exchange nobody has yet, and the registry's lock is held: no other is taken then,
    if nothing is left of a former one of that name.
    """
    return nullcontext() if fresh and not lane.bodies else lane.outbound.held()


def share(first: Bridge, second: Bridge, fresh: bool) -> SharedBridge:
    """Return what carries an exchange for a second node, beside the one that has it."""
    with _held(first, fresh):
        queue, first.bodies = first.bodies, []
        head = first.outbound.numbering.place(first.name)
    shared = SharedBridge(first, queue, head)
    shared.take_in(second, fresh)
    return shared
