"""Exchanges that several federations of one process carry: one queue, one number for each message.

All nodes of a registry give a message the same number, so that a receiver that is a peer in
several federations recognizes it as one message (`protocol/delivery/merging`). While only one
node carries an exchange, its bridge and its send queue do the work, and nothing in this file is
called. When a second node takes part, a `SharedBridge` replaces that bridge. It encodes each
message once, and has one queue, from which messages move to the lanes of all nodes in one step
and in one order. A lane numbers the next message one above its head. So all nodes give equal
numbers if their heads were equal when they were taken in: the head of a new node jumps past
the messages that were sent without it, before the node promises anything to a peer.

Locks: `Siblings._placing` is taken before an exchange's lock, and before `SharedBridge.moving`,
which is taken before those of data sockets. None of them is held while a message is encoded. No
sender waits for one: a thread that does not get `moving` leaves its message to the holder.
"""

import threading
from contextlib import AbstractContextManager, nullcontext
from functools import partial

from ...history import Body, Bulk
from ...local import parking
from ...local.exchange import Backpressure
from ...local.tasks.noted import Noted
from ...protocol.codec.attachments import LARGE, Encoder
from .bridge import SMALL_BYTES, Bridge, large_body, named_error, newest_body, whole_body

SETTLE_SECONDS = 1.0
"""The most seconds to wait for another thread that moves messages to the lanes."""


class Rooms(Backpressure):
    """The wait of a sender that has too much on its way in several federations."""

    __slots__ = ("_rooms",)

    def __init__(self, rooms: list[Backpressure]) -> None:
        self._rooms = rooms

    def wait(self) -> None:
        """Wait in each federation, one after the other."""
        for room in self._rooms:
            room.wait()


class SharedBridge(parking.Bridge):
    """The subscriber between one exchange and several nodes.

    Messages for late joiners are kept in the nodes' own bridges.

    Args:
        first: the bridge that carried the exchange so far.
        bodies: the former queue of that bridge: a `send` of it that is still running adds to it.
        head: the last number that was given.
    """

    def __init__(self, first: Bridge, bodies: list[Body], head: int) -> None:
        self.name = first.name
        self.bodies = bodies
        self.head = head
        """The number of the last message that was moved to the lanes."""
        self.lanes: tuple[Bridge, ...] = (first,)
        self.moving = threading.Lock()
        self._try_moving = partial(self.moving.acquire, False)
        self.noted = False
        self._encoder = Encoder()
        self._moved: list[Body] = []
        first.handed = head
        self.noted = first.noted

    def send(self, msg: object) -> Backpressure | None:
        """Encode a message on the caller's thread and queue it for every node.

        Returns:
            The wait that the sender makes after the local tasks, if too much is on its way already.

        Raises:
            EncodeError: naming the exchange and the path inside the message.
        """
        try:
            if self.lanes[0].conflated:
                newest = newest_body(self._encoder, msg)
                self.bodies.append(newest)
                room = self.see_to(len(newest))
                return None if self._offered() else room
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
        except BaseException:  # of a signal handler, perhaps right after `append`
            self.see_to(0)
            raise

    def send_noted(self, item: Noted) -> Backpressure | None:
        """Encode and queue a message with headers, or a question, as `send` does with others."""
        try:
            body = whole_body(self._encoder, item)
            self.noted = True  # before the message is queued
            conflated = self.lanes[0].conflated
            self.bodies.append(Bulk(body, ()) if conflated and isinstance(body, bytes) else body)
            room = self.see_to(len(body))
            return None if conflated and self._offered() else room
        except Exception as error:
            self.see_to(0)
            named = named_error(self.name, item.msg, error)
            if named is None:
                raise
            raise named from error
        except BaseException:  # of a signal handler, perhaps right after `append`
            self.see_to(0)
            raise

    def _offered(self) -> bool:
        """Return whether the messages of a conflated exchange are offered in every federation."""
        return all(lane.outbound.offers(self.name) for lane in self.lanes)

    @property
    def federations(self) -> int:
        """In how many federations messages are sent."""
        return len(self.lanes)

    def see_to(self, size: int) -> Backpressure | None:
        """Have every node send what is queued, now or soon; the last message has ``size`` bytes."""
        # Looked at again after the release, for what others have queued while we held the lock.
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
        """Move what is queued to all lanes. The caller holds `moving`.

        If an exception ends it, the next call begins with the rest.
        """
        bodies = self.bodies
        while True:
            if self._moved:
                moved, last = self._moved, self.head
                for lane in self.lanes:
                    if (lane.handed or 0) < last:
                        lane.noted = lane.noted or self.noted
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
        """Whether messages are queued that may not be in the lanes yet. Any thread."""
        return bool(self.bodies or self._moved) or self.moving.locked()

    @property
    def occupied(self) -> bool:
        """Whether messages are still to be sent, or are kept. Any thread."""
        return self.unsettled or any(x.bodies or x.listed or x.kept for x in self.lanes)

    def settle(self) -> None:
        """Move what was queued before this call to every lane, and list the lanes."""
        if self.moving.acquire(timeout=SETTLE_SECONDS):
            try:
                self._move()
            finally:
                self.moving.release()
        for lane in self.lanes:
            lane.enlist()

    def take_in(self, lane: Bridge, fresh: bool) -> None:
        """Have one more node carry the exchange from now on; ``fresh`` as in `_held`."""
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
        """Have a node no longer carry the exchange. It still sends what was queued before."""
        with self.moving:
            self._move()
            self.lanes = tuple(other for other in self.lanes if other is not lane)
        lane.outbound.see_to(lane, 0)

    def __repr__(self) -> str:
        """Name the exchange and how many nodes carry it."""
        return f"<SharedBridge {self.name!r}, {len(self.lanes)} federations>"


def _see_to(lane: Bridge, size: int) -> Backpressure | None:
    """Have the messages in a lane sent, now or soon, unless a thread is about to send them."""
    outbound = lane.outbound
    if lane.listed and size <= SMALL_BYTES and outbound.monotonic() < outbound.pace.quiet_until:
        return None
    return outbound.see_to(lane, size)


def _held(lane: Bridge, fresh: bool) -> AbstractContextManager[None]:
    """Return a context in which a node sends nothing; it does nothing if no message can be queued.

    If the exchange is ``fresh``, no other thread has it yet, and the registry's lock is held. Then
    no other lock may be taken, and none is needed, unless messages of a former exchange of that
    name are left.
    """
    return nullcontext() if fresh and not lane.bodies else lane.outbound.held()


def share(first: Bridge, second: Bridge, fresh: bool) -> SharedBridge:
    """Return a bridge for an exchange that a second node is to carry beside the first."""
    with _held(first, fresh):
        queue, first.bodies = first.bodies, []
        head = first.outbound.numbering.place(first.name)
    shared = SharedBridge(first, queue, head)
    shared.take_in(second, fresh)
    return shared
