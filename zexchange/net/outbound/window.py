"""The send window: what is held for whom, who is too slow to be waited for, and the wait.

A frame is held for the healthy peers that are promised it until they acknowledge it.
While too much is held, senders wait for `Window.room`, after their local tasks. A slow
peer holds nobody; what it misses meanwhile is in the ring, or is lost for it. All under
the lock of the data socket, except the wait itself.

One file, though a long one: whatever changes here changes for whom frames are held, and so who
waits; parts would have to share all of the state, and the lock.
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
"""About as many bytes are sent again for one request; the rest is asked for again."""
STUCK_AFTER = 0.5
"""Seconds without a turn of the control thread after which senders go on without room."""
CONNECTIONS_MOST = 4096
SHARED_MOST = 64
FORMER_MOST = 256
"""Peers that have left for good, or for too long, and of which is still known what was sent."""
UNREAD_BYTES = 64 << 20
"""Bytes that may lie in the connection of a slow peer before that is cut. A stopped
process reads nothing, and ZeroMQ's own bound counts frames, however large they are."""


class WindowWait(Backpressure):
    """What a sender waits for while too much is on its way."""

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
        """When the control thread, which opens, was last seen to take a turn."""

    def wait(self) -> None:
        """Wait until there is room; not at all where waiting would be for oneself.

        A signal handler, a finaliser or a logging handler may have come here inside a lock
        that the control thread stands before: if that takes no turn, nobody waits for it.
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
        """Let all go on that wait."""
        self._bell.ring()


@dataclass(slots=True)
class SlowPeer:
    """Since when a peer holds nobody, and what lies in its connection at most."""

    since: float
    unread: int = 0
    told: bool = False
    """Whether the session was told; by the control thread."""


class Window:
    """The window of one node's data socket."""

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
        self._audiences: dict[str, tuple[bytes, ...]] = {}
        self._connections: dict[bytes, Connection] = {}
        self._shared: deque[Connection] = deque(maxlen=SHARED_MOST)
        self._closed = False
        self._may_wait = may_wait
        self._overdrawn_from = 0
        self._if_free = if_free
        self._monotonic = world.monotonic
        self.acknowledged: deque[tuple[bytes, dict[str, int]]] = deque()
        """What peers have acknowledged and is still to be taken in, under the lock."""
        self.full = False
        """Whether whoever sends has to wait for `room`."""
        self.room = WindowWait(self, may_wait, catch_up, world)

    def holds_up(self) -> bool:
        """Tell whether a sender has to wait."""
        return self.full and not self._closed

    def close(self) -> None:
        """Let everybody go on, for good."""
        self._closed = True
        self.room.open()

    def overdraw(self) -> None:
        """Take note that a sender goes on without room: it may not wait. Any thread.

        From here on that is bounded. Senders that wait need no bound: each adds what it has in
        hand, so that many threads, or what is queued, may well exceed a small ring together.
        """
        if self.full and not self._overdrawn_from:
            self._overdrawn_from = max(self._ring.bytes, self._ring.most_bytes)

    # --------------------------------------------------- with the lock held by the caller

    def keep(self, frame: Frame) -> None:
        """Take a frame that is being sent into the ring, held for those it is promised to."""
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
        """Put things in order after a `keep` that an exception may have left anywhere."""
        self._ring.mend(frame)
        frame.waiting.clear()
        self._audiences.clear()
        for peer in self._slow:
            self._ring.release(peer)
        self._judge()

    def _audience(self, name: str) -> tuple[bytes, ...]:
        """Return the peers that a frame is held for: promised it, and not too slow."""
        audience = self._audiences[name] = tuple(
            peer
            for peer, account in self._accounts.items()
            if peer not in self._slow and account.keys.covers(name)
        )
        return audience

    def _count_unread(self, name: str, size: int) -> None:
        """Cut the connection of a slow peer in which too much lies."""
        for peer, slow in self._slow.items():
            if self.promised(peer).covers(name):
                slow.unread += size
                if slow.unread > UNREAD_BYTES:
                    slow.unread = 0
                    self._cut(peer)

    def _cut(self, peer: bytes) -> None:
        """Shut a peer's data connection down; if it lives, it comes back and asks."""
        cut(self._connections.pop(peer, None))

    def connected(self, peer: bytes, fd: int) -> None:
        """Note the descriptor of a peer's data connection."""
        if len(self._connections) >= CONNECTIONS_MOST:  # of strangers: any node has a token
            del self._connections[next(iter(self._connections))]
        found = connection(fd)
        if found is not None and found not in self._shared:
            self._connections[peer] = found

    def shared(self, fd: int) -> None:
        """Note the descriptor of a connection to a hub: many peers' tokens come by it.

        It is never cut: the hub bounds what lies there for each.
        """
        if (found := connection(fd)) is not None:
            self._shared.append(found)

    def promise_now(self, peer: bytes, keys: NameSet, forgets: bool = True) -> None:
        """Hold for a peer, from now on, what is sent under these keys, and nothing else.

        What a peer has been promised that knows no starts (``forgets``) is not forgotten.
        """
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

    def free(self, name: str, head: int) -> bool:
        """Tell whether no peer keeps an exchange from being forgotten, whatever it has of it.

        One that is away and lacks some of it would, and one that would take what is numbered anew
        for repetitions.
        """
        accounts = [*self._departed.there.values(), *self._accounts.values()]
        return not any(account.minds(name, head) for account in accounts)

    def audience(self, name: str) -> list[bytes]:
        """Return the peers that are promised an exchange, the slow ones included."""
        found = self._audiences.get(name)
        slow = [peer for peer in self._slow if self.promised(peer).covers(name)]
        return [*(self._audience(name) if found is None else found), *slow]

    def forget_exchange(self, name: str) -> int:
        """Forget an exchange that everybody has all of; return its head."""
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
        """Decide whether senders have to wait; wake them where they need not any more."""
        was_full, self.full = self.full, self._ring.full
        if was_full and not self.full:
            self._overdrawn_from = 0
            self.room.open()

    def take_acknowledged(self) -> None:
        """Let go of what peers have acknowledged."""
        while self.acknowledged:
            peer, positions = self.acknowledged.popleft()
            for name, position in positions.items():
                self._ring.acknowledge(peer, name, position)
        self._judge()

    # -------------------------------------------------------- called by the control thread

    def promise(self, peer: bytes, keys: Iterable[str], forgets: bool = True) -> None:
        """See `promise_now`."""
        with self._lock:
            self.promise_now(peer, NameSet(keys), forgets)

    def forget(self, peer: bytes, final: bool, acked: Mapping[str, int]) -> None:
        """Hold nothing for a peer any more: it has left, and may be back unless it is ``final``.

        ``acked`` is how far it had acknowledged what was sent.
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
            self._connections.pop(peer, None)
            self._audiences.clear()
            self._ring.release(peer)
            self._judge()

    def _remember(self, peer: bytes, account: SentCounter) -> None:
        """Remember what was sent to a peer that will not go on where it was."""
        account.lapse()
        self._former[peer] = account
        if len(self._former) > FORMER_MOST:
            del self._former[next(iter(self._former))]

    def expire(self, now: float) -> None:
        """Forget where peers were that have been away for too long."""
        if self._departed.next_at <= now:
            with self._lock:
                for peer, account in self._departed.expire(now):
                    self._remember(peer, account)

    def slow(self, peer: bytes) -> None:
        """Have a peer hold nobody any more."""
        with self._lock:
            self._make_slow(peer)

    def promised(self, peer: bytes) -> NameSet:
        """Return what is held for a peer, or would be if it were not slow."""
        account = self._accounts.get(peer)
        return account.keys if account is not None else NameSet()

    def sent(self) -> dict[tuple[str, str], tuple[int, int]]:
        """Return, by exchange and peer, what was for it: some that have left included.

        And how much of that was not acknowledged when it left; 0 for who is here.
        """

        def look(held: bool) -> tuple[Numbering, dict[bytes, SentCounter]]:
            there = {**self._former, **self._departed.there, **self._accounts}
            return self._numbering.copy(), there

        numbering, accounts = looking(self._lock, look, LOOK_SECONDS if self._may_wait() else 0.0)
        # Not under the lock: many names times many peers take a while.
        return {
            (name, peer.hex()): (count, account.unacknowledged.get(name, 0))
            for peer, account in accounts.items()
            for name, count in account.counts(numbering).items()
        }

    def filled(self) -> tuple[int, int, int]:
        """Return the bytes that are held, how many may be, and how many are kept."""
        return self._ring.held_bytes, self._ring.window, self._ring.bytes

    def slow_peers(self) -> dict[bytes, SlowPeer]:
        """Return the peers that hold nobody. Any thread."""
        return dict(self._slow)

    def holders(self) -> dict[bytes, str]:
        """Return the peers that senders wait for, and an exchange by which to ask each."""
        with self._lock:
            return self._ring.holders() if self.full else {}

    def acknowledge(
        self, peer: bytes, acked: dict[str, int], positions: dict[str, int]
    ) -> SlowPeer | None:
        """Let go of what a peer has; return how a slow one was that has caught up with that."""
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
        """Tell whether all that a slow peer lacks is kept, and little; then hold it again."""
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
        """Return the exchanges of which something is held."""
        with self._lock:
            return set(self._ring.held())

    def replay(self, name: str, first: int, last: int) -> list[Frame]:
        """Return frames that hold what is asked for again: a bounded part, oldest first."""
        with self._lock:
            return self._ring.replay(name, first, last, REPLAY_BYTES)
