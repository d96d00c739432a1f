"""The send window: which frames are held for which peers, which peers are too slow, and the wait.

A frame is held for the healthy peers to which it was promised until they acknowledge it. While
too much is held, senders wait for `Window.room` after their local tasks. Senders do not wait for
a slow peer: the frames that it misses are in the ring, or are lost for it. Everything happens
under the lock of the data socket, except the wait itself.

The file is long because every change here changes for which peers frames are held, and so which
senders wait; parts would have to share all of the state, and the lock.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...history import Frame, Ring
from ...local.exchange import Backpressure
from ...protocol.delivery.departed import LONGER, Departed
from ...protocol.delivery.sequence import Numbering, SentCounter
from ...protocol.interest.interest import NameSet
from ..security.connections import Connection, connection, cut
from ..transport.sync import LOOK_SECONDS, looking

if TYPE_CHECKING:
    from ..transport.environment import Environment

REPLAY_BYTES = 256 << 10
"""About how many bytes are sent again for one request; the peer asks again for the rest."""
STUCK_AFTER = 0.5
"""Seconds without a turn of the control thread after which senders go on without room."""
CONNECTIONS_MOST = 4096
SHARED_MOST = 64
FORMER_MOST = 256
"""Peers that have left for good, or for too long, and whose counts are still kept."""
UNREAD_BYTES = 64 << 20
"""Bytes that may be queued in the connection of a slow peer before it is cut. A stopped process
reads nothing, and ZeroMQ's own bound counts frames, however large they are."""


class WindowWait(Backpressure):
    """The wait of senders while too much is on its way.

    Args:
        window: the window.
        may_wait: returns whether the calling thread may wait.
        catch_up: sends everything queued, before the wait.
        world: makes the event that ends the wait, and the clock.
    """

    def __init__(
        self,
        window: "Window",
        may_wait: Callable[[], bool],
        catch_up: Callable[[], None],
        world: "Environment",
    ) -> None:
        self._window = window
        self._catch_up = catch_up
        self._may_wait = may_wait
        self._bell = world.bell()
        self._monotonic = world.monotonic
        self.waited = 0.0
        self.turned_at = world.monotonic()
        """When the control thread, which takes in acknowledgements, last took a turn."""

    def wait(self) -> None:
        """Wait until there is room; return at once in a thread that would wait for itself.

        A signal handler, a finaliser or a logging handler may call this inside a lock that the
        control thread waits for. So if the control thread takes no turn, the wait ends.
        """
        if not self._may_wait():
            self._window.overdraw()
            return
        started = self._monotonic()
        self._catch_up()
        bell = self._bell
        while True:
            waiter = bell.listen()  # before the look, or a ring could come in between
            if not self._window.holds_up():
                break
            bell.wait(waiter, 0.05)
            if self._monotonic() - max(started, self.turned_at) > STUCK_AFTER:
                break
        self.waited += self._monotonic() - started

    def open(self) -> None:
        """Wake all senders that wait."""
        self._bell.ring()


@dataclass(slots=True)
class SlowPeer:
    """A peer for which no frames are held: since when, and the most bytes in its connection."""

    since: float
    unread: int = 0
    told: bool = False
    """Whether the session was told. Control thread only."""


class Window:
    """The window of one node's data socket.

    Args:
        ring: keeps the frames.
        numbering: the places given to each exchange.
        lock: the lock of the data socket.
        may_wait: returns whether the calling thread may wait.
        catch_up: sends everything queued.
        if_free: calls a function under the lock, or leaves that to the thread that has it.
        world: the clocks and events.
    """

    def __init__(
        self,
        ring: Ring,
        numbering: Numbering,
        lock: threading.Lock,
        may_wait: Callable[[], bool],
        catch_up: Callable[[], None],
        if_free: Callable[[Callable[[], None]], None],
        world: "Environment",
    ) -> None:
        self._ring = ring
        self._numbering = numbering
        self._lock = lock
        self._accounts: dict[bytes, SentCounter] = {}
        self._departed = Departed[bytes, SentCounter](longer=LONGER)
        self._former: dict[bytes, SentCounter] = {}
        self._slow: dict[bytes, SlowPeer] = {}
        self._older = set[bytes]()
        """The peers that do not know offers: a conflated exchange that one of them wants is an
        ordinary one."""
        self._audiences: dict[str, tuple[bytes, ...]] = {}
        self._connections: dict[bytes, Connection] = {}
        self._shared: deque[Connection] = deque(maxlen=SHARED_MOST)
        self._closed = False
        self._may_wait = may_wait
        self._overdrawn_from = 0
        self._if_free = if_free
        self._monotonic = world.monotonic
        self.acknowledged: deque[tuple[bytes, dict[str, int]]] = deque()
        """Acknowledgements, by peer, that are still to be taken in under the lock."""
        self.full = False
        """Whether senders have to wait for `room`."""
        self.room = WindowWait(self, may_wait, catch_up, world)

    def holds_up(self) -> bool:
        """Return whether a sender has to wait."""
        return self.full and not self._closed

    def close(self) -> None:
        """Let all senders go on, for good."""
        self._closed = True
        self.room.open()

    def overdraw(self) -> None:
        """Take note that a sender that may not wait goes on without room. Any thread.

        From here on the excess is bounded. Senders that wait need no bound: each adds one message
        before it waits, although many threads together may well exceed a small ring.
        """
        if self.full and not self._overdrawn_from:
            self._overdrawn_from = max(self._ring.bytes, self._ring.most_bytes)

    # --------------------------------------------------- with the lock held by the caller

    def keep(self, frame: Frame) -> None:
        """Put a frame that is being sent into the ring, held for the peers it is promised to."""
        audience = self._audiences.get(frame.name)
        if audience is None:
            audience = self._audience(frame.name)
        frame.waiting.update(audience)
        self.full = self._ring.append(frame)
        if self._overdrawn_from:
            self._bound_overdraft(frame.size)
        if self._slow:
            self._count_unread(frame.name, frame.size)

    def _bound_overdraft(self, size: int) -> None:
        """Make peers slow until the ring is within its bound, once too much is overdrawn.

        Time does not count here, as it does elsewhere: the senders may not wait. So only the peers
        that hold the oldest frame are made slow, again and again; others with few frames are not.

        Args:
            size: of the message that was sent last, which may be larger than the bound.
        """
        ring = self._ring
        most = self._overdrawn_from + ring.window + size
        if ring.bytes > most:
            self.take_acknowledged()  # these have arrived, and count first
        while ring.bytes > most and (holders := ring.first_holders()):
            for peer in holders:
                self._make_slow(peer)
        if not self.full:
            self._overdrawn_from = 0

    def mend(self, frame: Frame) -> None:
        """Restore a valid state after a `keep` that an exception may have ended at any point."""
        self._ring.mend(frame)
        frame.waiting.clear()
        self._audiences.clear()
        for peer in self._slow:
            self._ring.release(peer)
        self._judge()

    def _audience(self, name: str) -> tuple[bytes, ...]:
        """Return the peers that frames of an exchange are held for: promised, and not slow."""
        audience = self._audiences[name] = tuple(
            peer
            for peer, account in self._accounts.items()
            if peer not in self._slow and account.keys.covers(name)
        )
        return audience

    def _count_unread(self, name: str, size: int) -> None:
        """Count a frame for slow peers; cut a connection in which too many bytes are queued."""
        for peer, slow in self._slow.items():
            if self.promised(peer).covers(name):
                slow.unread += size
                if slow.unread > UNREAD_BYTES:
                    slow.unread = 0
                    self._cut(peer)

    def _cut(self, peer: bytes) -> None:
        """Shut a peer's data connection down. If the peer lives, it connects again and asks."""
        cut(self._connections.pop(peer, None))

    def connected(self, peer: bytes, fd: int) -> None:
        """Note the descriptor of a peer's data connection."""
        if len(self._connections) >= CONNECTIONS_MOST:  # any node can send tokens, not only peers
            del self._connections[next(iter(self._connections))]
        found = connection(fd)
        if found is not None and found not in self._shared:
            self._connections[peer] = found

    def shared(self, fd: int) -> None:
        """Note the descriptor of a connection to a hub, on which tokens of many peers arrive.

        It is never cut: the hub bounds what is queued for each peer.
        """
        if (found := connection(fd)) is not None:
            self._shared.append(found)

    def promise_now(
        self, peer: bytes, keys: NameSet, forgets: bool = True, conflates: bool = True
    ) -> None:
        """Hold for a peer, from now on, what is sent under these keys, and nothing else.

        ``forgets`` says that the peer knows starts. If it does not, exchanges that it was promised
        are never forgotten. ``conflates`` says that it knows offers.
        """
        if not conflates:
            self._older.add(peer)
        account = self._accounts.get(peer)
        if account is None:
            account = self._departed.back(peer) or self._former.pop(peer, None) or SentCounter()
            self._accounts[peer] = account
        account.promise(keys, self._numbering)
        if not forgets:
            account.lasting.update(keys)
        self._audiences.clear()
        for name in self._ring.held():
            if not keys.covers(name):
                self._ring.release(peer, name)
        self._judge()

    def owes_every(self, name: str) -> bool:
        """Return whether a peer is promised an exchange that would take an offer for a gap."""
        older = self._older
        return bool(older) and any(self.promised(peer).covers(name) for peer in older)

    def free(self, name: str, head: int) -> bool:
        """Return whether an exchange may be forgotten as far as absent and older peers go.

        It may not if a peer that is away lacks some of it, or if a peer that knows no starts was
        promised it: such a peer would take messages that are numbered from 1 again for duplicates.
        """
        accounts = [*self._departed.there.values(), *self._accounts.values()]
        return not any(account.minds(name, head) for account in accounts)

    def audience(self, name: str) -> list[bytes]:
        """Return the peers that are promised an exchange, including slow ones."""
        found = self._audiences.get(name)
        slow = [peer for peer in self._slow if self.promised(peer).covers(name)]
        return [*(self._audience(name) if found is None else found), *slow]

    def forget_exchange(self, name: str) -> int:
        """Forget an exchange of which no peer lacks anything; return its head."""
        numbering = self._numbering
        start, head = numbering.start(name), numbering.forget(name)
        self._audiences.pop(name, None)
        for accounts in (self._accounts, self._departed.there, self._former):
            for account in accounts.values():
                account.forget(name, head, start)
        return head

    def _make_slow(self, peer: bytes) -> None:
        if peer not in self._slow:
            self._slow[peer] = SlowPeer(self._monotonic())
        self._audiences.clear()
        self._ring.release(peer)
        self._judge()

    def _judge(self) -> None:
        """Decide whether senders have to wait; wake them if they no longer have to."""
        was_full, self.full = self.full, self._ring.full
        if was_full and not self.full:
            self._overdrawn_from = 0
            self.room.open()

    def take_acknowledged(self) -> None:
        """Release the frames that peers have acknowledged."""
        while self.acknowledged:
            peer, positions = self.acknowledged.popleft()
            for name, position in positions.items():
                self._ring.acknowledge(peer, name, position)
        self._judge()

    # -------------------------------------------------------- called by the control thread

    def promise(
        self, peer: bytes, keys: Iterable[str], forgets: bool = True, conflates: bool = True
    ) -> None:
        """Take the lock and call `promise_now`."""
        with self._lock:
            self.promise_now(peer, NameSet(keys), forgets, conflates)

    def forget(self, peer: bytes, final: bool, acked: Mapping[str, int]) -> None:
        """Hold nothing for a peer that has left. It may come back unless that is ``final``.

        ``acked`` is up to which place it had acknowledged each exchange.
        """
        now = self._monotonic()
        with self._lock:
            account = self._accounts.pop(peer, None)
            if account is not None:
                account.leave(self._numbering, acked)
                if final:
                    self._remember(peer, account)
                else:
                    self._departed.leave(peer, account, now)
            self._slow.pop(peer, None)
            self._older.discard(peer)
            self._connections.pop(peer, None)
            self._audiences.clear()
            self._ring.release(peer)
            self._judge()

    def _remember(self, peer: bytes, account: SentCounter) -> None:
        """Keep only the counts of a peer that will not continue where it was."""
        account.lapse()
        self._former[peer] = account
        if len(self._former) > FORMER_MOST:
            del self._former[next(iter(self._former))]

    def expire(self, now: float) -> None:
        """Forget the positions of peers that have been away for too long."""
        if self._departed.next_at <= now:
            with self._lock:
                for peer, account in self._departed.expire(now):
                    self._remember(peer, account)

    def slow(self, peer: bytes) -> None:
        """Declare a peer slow: senders no longer wait for it."""
        with self._lock:
            self._make_slow(peer)

    def promised(self, peer: bytes) -> NameSet:
        """Return the keys under which frames are held for a peer, or would be if it is slow."""
        account = self._accounts.get(peer)
        return account.keys if account is not None else NameSet()

    def sent(self) -> dict[tuple[str, str], tuple[int, int]]:
        """Return, by exchange and peer, how many messages were sent to it.

        The second number is how many of them were not acknowledged when the peer left; it is 0 for
        peers that are here. Includes some peers that have left.
        """

        def look(held: bool) -> tuple[Numbering, dict[bytes, SentCounter]]:
            there = {**self._former, **self._departed.there, **self._accounts}
            return self._numbering.copy(), there

        numbering, accounts = looking(self._lock, look, LOOK_SECONDS if self._may_wait() else 0.0)
        # Without the lock: with many names and many peers this takes a while.
        return {
            (name, peer.hex()): (count, account.unacknowledged.get(name, 0))
            for peer, account in accounts.items()
            for name, count in account.counts(numbering).items()
        }

    def newest(self, most: int) -> list[Frame]:
        """Return the frames that were sent last, at most so many, oldest first.

        Any thread, without the lock.
        """
        return self._ring.newest(most)

    def oldest_held(self) -> dict[str, tuple[int, bytes]]:
        """Return, by exchange, the first place that is held, and a peer that holds it.

        Any thread. It takes no lock: senders would wait for a thread that waits for the
        interpreter's.
        """
        return self._ring.oldest_held()

    def filled(self) -> tuple[int, int, int]:
        """Return the bytes that are held, the size of the window, and the bytes that are kept."""
        return self._ring.held_bytes, self._ring.window, self._ring.bytes

    def slow_peers(self) -> dict[bytes, SlowPeer]:
        """Return the slow peers. Any thread."""
        return dict(self._slow)

    def holders(self) -> dict[bytes, str]:
        """Return the peers that senders wait for, each with an exchange to send it a beacon on."""
        with self._lock:
            return self._ring.holders() if self.full else {}

    def acknowledge(
        self, peer: bytes, acked: dict[str, int], positions: dict[str, int]
    ) -> SlowPeer | None:
        """Release what a peer has acknowledged; if that ends its slowness, return what that was.

        Args:
            peer: the peer.
            acked: up to which place it has acknowledged each exchange, in all.
            positions: the places that it has acknowledged now.
        """
        self.acknowledged.append((peer, positions))
        if peer not in self._slow:
            self._if_free(self.take_acknowledged)
            return None
        with self._lock:
            self.take_acknowledged()
            slow = self._slow.get(peer)
            if slow is not None:
                slow.unread = 0
                if self._has_caught_up(peer, acked):
                    del self._slow[peer]
                    self._audiences.clear()
                else:
                    slow = None
            self._judge()
            return slow

    def _has_caught_up(self, peer: bytes, acked: dict[str, int]) -> bool:
        """Return whether a slow peer lacks only a little, and all of it is kept; then hold that."""
        names, lacking = self._numbering.covered(self.promised(peer)), 0
        where = {n: max(acked.get(n, 0), self._numbering.start(n)) for n in names}
        for name, position in where.items():
            behind = self._ring.behind(name, position)
            if behind is None:
                return False
            lacking += behind
        if lacking > self._ring.window // 2:
            return False
        for name, position in where.items():
            self._ring.hold(peer, name, position)
        return True

    def unacknowledged(self) -> set[str]:
        """Return the exchanges of which frames are held."""
        with self._lock:
            return set(self._ring.held())

    def replay(self, name: str, first: int, last: int) -> list[Frame]:
        """Return frames with the messages that a peer asks for: a bounded part, oldest first."""
        with self._lock:
            return self._ring.replay(name, first, last, REPLAY_BYTES)
